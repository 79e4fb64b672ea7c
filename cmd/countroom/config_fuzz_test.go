package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// Whatever a configuration file holds, reading and checking it gives an answer,
// and what passes can be written and read again.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../deploy/countroom.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{
		"", "listen: 127.0.0.1:1", "epoch: {age: 3s}", "epoch: [1]", "a: &a [*a]", "--- x\n--- y", "queue_most: 1e9", "session_age: -1", "listen: '[::1]:08080'",
		"data: \"\\u0085\"", "epoch: {draws: 0x10}", "data: a\ndata: b", "<<: {data: a}", "data: !!binary YQ==", "tls: {certificate: a, key: b}\nlisten: :1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := defaults()
		if err := c.read(b); err != nil {
			if strings.Contains(err.Error(), "into main.") || strings.Contains(err.Error(), "struct {") {
				t.Fatalf("the error speaks of Go: %v", err)
			}
			return
		}
		if c.check() != nil {
			return
		}
		if c.limits().Check() != nil || c.Data == "" {
			t.Fatalf("%q passed the check as %+v", b, c)
		}
		again, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back := defaults()
		if err := back.read(again); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%q was read as\n%+v, written as\n%s, read again as\n%+v, %v", b, c, again, back, err)
		}
	})
}

var plainScalar = regexp.MustCompile(`^[0-9A-Za-z._+-]+$`)

// A setting means the same in the file, in the environment and as a flag, where
// more than one of them takes it.
func FuzzSetting(f *testing.F) {
	for i, o := range defaults().options() {
		values := []string{"a b"}
		switch o.value.(type) {
		case *bool:
			values = []string{"true", "1"}
		case *int, *uint64:
			values = []string{"010", "0x100", "1_000", "-1", "99999999999999999999"}
		case *time.Duration:
			values = []string{"10m", "1"}
		}
		for _, value := range values {
			f.Add(uint8(i), value)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		options := defaults().options()
		o := options[int(which)%len(options)]
		load := func(file string, environ []string, flags ...string) (*config, error) {
			c := defaults()
			cmd := &cobra.Command{Use: "serve"}
			c.flags(cmd)
			if err := cmd.ParseFlags(flags); err != nil {
				return nil, err
			}
			return c.load(cmd, file, environ)
		}
		ways := map[string]*config{}
		add := func(way string, c *config, err error) {
			if err == nil {
				ways[way] = c
			}
		}
		c, err := load("", []string{"COUNTROOM_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_")) + "=" + value})
		add("environment", c, err)
		c, err = load("", nil, "--"+o.name+"="+value)
		add("flag", c, err)

		text := value
		if _, isText := o.value.(*string); isText {
			if !utf8.ValidString(value) {
				return // no file of YAML holds it
			}
			b, err := json.Marshal(value) // YAML too, on one line whatever it holds
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		} else if !plainScalar.MatchString(value) {
			return // it could be anything else of YAML
		}
		line := strings.ReplaceAll(o.name, "-", "_") + ": " + text
		for _, group := range []string{"tls", "epoch"} {
			if rest, ok := strings.CutPrefix(line, group+"_"); ok {
				line = group + ":\n  " + strings.ReplaceAll(rest, "\n", "\n  ")
			}
		}
		path := filepath.Join(dir, "countroom.yaml")
		if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err = load(path, nil)
		add("file", c, err)
		for way, c := range ways {
			for other, d := range ways {
				if !reflect.DeepEqual(c, d) {
					t.Fatalf("%s %q: %s gives\n%+v, %s\n%+v", o.name, value, way, c, other, d)
				}
			}
		}
	})
}
