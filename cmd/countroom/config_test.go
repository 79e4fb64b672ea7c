package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

const example = "../../deploy/countroom.yaml"

// loaded is what is in force with a file, an environment and flags.
func loaded(t *testing.T, file string, environ []string, flags ...string) (*config, error) {
	t.Helper()
	c := defaults()
	cmd := &cobra.Command{Use: "serve"}
	path := c.flags(cmd)
	if file != "" {
		flags = append(flags, "--config", file)
	}
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	return c.load(cmd, *path, environ)
}

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "countroom.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheExampleIsValid(t *testing.T) {
	c, err := loaded(t, example, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Data, want.LogFormat, want.Quiet = "/var/lib/countroom", "json", true
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the example is\n%+v, want the defaults but for data, log_format and quiet:\n%+v", c, want)
	}
}

// What the example shows behind # are all settings with their defaults.
func TestTheExampleShowsTheDefaults(t *testing.T) {
	b, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, line := range strings.Split(string(b), "\n") {
		if setting, ok := strings.CutPrefix(line, "#"); ok && setting != "" && (setting[0] != ' ' || strings.HasPrefix(setting, "  ")) {
			shown = append(shown, setting)
		}
	}
	text := strings.Join(shown, "\n")
	c := new(config)
	if err := c.read([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, defaults()) {
		t.Errorf("the example shows\n%+v, the defaults are\n%+v", c, defaults())
	}
	var missing func(typ reflect.Type, indent string)
	missing = func(typ reflect.Type, indent string) {
		for i := range typ.NumField() {
			key := typ.Field(i).Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)^` + indent + key + `:`).MatchString(text) {
				t.Errorf("the example does not show %s", key)
			}
			if typ.Field(i).Type.Kind() == reflect.Struct {
				missing(typ.Field(i).Type, "  ")
			}
		}
	}
	missing(reflect.TypeFor[config](), "")
}

// Each setting of the file is an option of the environment and the flags, too.
func TestEverySettingIsAnOption(t *testing.T) {
	options := map[string]bool{}
	for _, o := range defaults().options() {
		options[o.name] = true
	}
	var missing func(typ reflect.Type, prefix string)
	missing = func(typ reflect.Type, prefix string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := prefix + strings.ReplaceAll(f.Tag.Get("yaml"), "_", "-")
			if f.Type.Kind() == reflect.Struct {
				missing(f.Type, name+"-")
			} else if !options[name] {
				t.Errorf("no option %s", name)
			}
		}
	}
	missing(reflect.TypeFor[config](), "")
}

func TestAnUnknownKeyIsNamedWithItsLine(t *testing.T) {
	for _, c := range []struct{ text, line, key string }{
		{"data: x\n\nsesion_age: 1h\n", "line 3", "sesion_age"},
		{"epoch:\n  age: 5m\n  drawz: 10\n", "line 3", "drawz"},
	} {
		_, err := loaded(t, written(t, c.text), nil)
		if err == nil || !strings.Contains(err.Error(), c.line) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%q: error %v, want one that names %s and %s", c.text, err, c.line, c.key)
		}
	}
	if _, err := loaded(t, "", []string{"COUNTROOM_DATTA=x"}); err == nil || !strings.Contains(err.Error(), "COUNTROOM_DATTA") {
		t.Errorf("error %v, want one that names COUNTROOM_DATTA", err)
	}
	if _, err := loaded(t, written(t, "data: x\n---\ndata: y\n"), nil); err == nil {
		t.Error("a second document was read over")
	}
}

func TestEnvironmentGoesOverFileAndFlagsOverBoth(t *testing.T) {
	file := written(t, "node: file\nsession_age: 1h\nepoch:\n  age: 1m\n  draws: 100\n")
	environ := []string{"PATH=/bin", "COUNTROOM_CONFIG=elsewhere", "COUNTROOM_NODE=environment", "COUNTROOM_EPOCH_AGE=2m", "COUNTROOM_QUIET=true"}
	c, err := loaded(t, file, environ, "--node", "flag", "--queue-most", "7")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Node, want.QueueMost = "flag", 7
	want.Epoch.Age, want.Quiet = 2*time.Minute, true
	want.SessionAge, want.Epoch.Draws = time.Hour, 100
	if !reflect.DeepEqual(c, want) {
		t.Errorf("in force is\n%+v, want\n%+v", c, want)
	}
	// A flag counts also when it says what is the default.
	if c, err := loaded(t, file, environ, "--epoch-age", "10m"); err != nil || c.Epoch.Age != 10*time.Minute {
		t.Errorf("epoch age %v, %v, want the flag's", c.Epoch.Age, err)
	}
}

func TestServingOtherMachinesNeedsTLS(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:8080", ":8080", "[::]:8080", "192.0.2.1:443", "casino.example:443"} {
		if _, err := loaded(t, "", nil, "--listen", listen); err == nil || !strings.Contains(err.Error(), "listen") || !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s without TLS: error %v", listen, err)
		}
		if _, err := loaded(t, "", nil, "--listen", listen, "--allow-plaintext"); err != nil {
			t.Errorf("%s behind something that adds TLS: %v", listen, err)
		}
		if _, err := loaded(t, "", nil, "--listen", listen, "--tls-certificate", "c.pem", "--tls-key", "k.pem"); err != nil {
			t.Errorf("%s with TLS: %v", listen, err)
		}
	}
	for _, listen := range []string{"127.0.0.1:8080", "[::1]:0", "localhost:8080"} {
		if _, err := loaded(t, "", nil, "--listen", listen); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

func TestBadValuesNameTheirSetting(t *testing.T) {
	for flag, setting := range map[string]string{
		"--listen=8080": "listen", "--listen=127.0.0.1:http": "listen", "--tls-key=k.pem": "tls", "--data=": "data",
		"--trillian-listen=127.0.0.1:0": "trillian", "--trillian-clients=ca.pem": "trillian",
		"--epoch-age=11m": "epoch", "--epoch-age=1500ms": "epoch", "--epoch-draws=0": "epoch", "--epoch-reveal-delay=2h": "epoch",
		"--signatures=65": "signatures", "--session-age=0s": "session_age", "--queue-most=0": "queue_most", "--reserve-mib=1": "reserve_mib", "--pair-hold=1ms": "pair.hold",
		"--drain-delay=9s": "drain_delay", "--log-format=xml": "log_format", "--log-level=loud": "log_level",
	} {
		if _, err := loaded(t, "", nil, flag); err == nil || !strings.HasPrefix(err.Error(), setting) {
			t.Errorf("%s: error %v, want one that names %s", flag, err, setting)
		}
	}
	if _, err := loaded(t, "", []string{"COUNTROOM_QUEUE_MOST=many"}); err == nil || !strings.Contains(err.Error(), "COUNTROOM_QUEUE_MOST") {
		t.Errorf("error %v, want one that names COUNTROOM_QUEUE_MOST", err)
	}
}

// The systemd unit starts this program with the example's place, lets it write
// where the example keeps the data, and waits longer than a stop takes.
func TestTheUnitFitsTheProgram(t *testing.T) {
	b, err := os.ReadFile("../../deploy/countroom.service")
	if err != nil {
		t.Fatal(err)
	}
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(string(b))
		if m == nil {
			t.Fatalf("the unit does not set %s", name)
		}
		return m[1]
	}
	args := strings.Fields(setting("ExecStart"))
	cmd, rest, err := root().Find(args[1:])
	if err != nil || cmd.Name() != "serve" {
		t.Fatalf("ExecStart runs %v, %v", cmd, err)
	}
	if err := cmd.ParseFlags(rest); err != nil || cmd.Flag("config").Value.String() != "/etc/countroom/countroom.yaml" {
		t.Errorf("ExecStart: %v, configuration %s", err, cmd.Flag("config").Value)
	}
	c, err := loaded(t, example, nil)
	if err != nil || c.Data != "/var/lib/"+setting("StateDirectory") {
		t.Errorf("the unit may write to /var/lib/%s, the data is in %s (%v)", setting("StateDirectory"), c.Data, err)
	}
	if patience, err := time.ParseDuration(setting("TimeoutStopSec") + "s"); err != nil || patience <= drainMost {
		t.Errorf("the unit waits %v (%v), a stop takes up to %v", patience, err, drainMost)
	}
}
