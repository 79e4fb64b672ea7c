package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"countroom/hardware/pkcs11/softhsm"
	"countroom/hardware/signer"
	"countroom/ledger/tlog"

	"github.com/spf13/cobra"
)

// said waits for the line that a witness prints when it serves.
type said struct{ line chan string }

func (s said) Write(b []byte) (int, error) {
	select {
	case s.line <- string(b):
	default:
	}
	return len(b), nil
}

// start runs the program with arguments until the returned function.
func start(t *testing.T, args ...string) (url, vkey string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := said{make(chan string, 1)}, make(chan error, 1)
	cmd := command()
	cmd.SetArgs(append(args, "--listen", "127.0.0.1:0"))
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	select {
	case line := <-out.line:
		f := strings.Fields(line)
		url, vkey = "http://"+f[3], f[1]
	case err := <-ended:
		t.Fatal(err)
	}
	return url, vkey, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A house's head, then a restart, then its next.
func TestAWitnessFromTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	s, err := tlog.NewSigner("casino.example/main", key.Public().(ed25519.PublicKey), func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := tlog.VKey("casino.example/main", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	vkeyFile := filepath.Join(dir, "log.vkey")
	if err := os.WriteFile(vkeyFile, []byte(logKey+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	msg, err := tlog.Sign(tlog.Checkpoint{Origin: "casino.example/main", Size: 1, Root: tlog.LeafHash(nil)}, s)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", filepath.Join(dir, "w1"), "--name", "witness.example/w1", "--log", vkeyFile}
	first := ""
	for old := range 2 {
		url, vkey, stop := start(t, args...)
		if first == "" {
			first = vkey
		} else if vkey != first {
			t.Fatalf("another key after a restart: %s", vkey)
		}
		res, err := http.Post(url+"/add-checkpoint", "", strings.NewReader(fmt.Sprintf("old %d\n\n%s", old, msg)))
		if err != nil {
			t.Fatal(err)
		}
		line, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %s, %v", res.StatusCode, line, err)
		}
		c, err := tlog.NewCosigner(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if good, _, err := tlog.Cosigned(append(bytes.Clone(msg), line...), []*tlog.Cosigner{c}); err != nil || len(good) != 1 {
			t.Fatalf("%v, %v", good, err)
		}
		stop()
	}
	b, err := os.ReadFile(filepath.Join(dir, "w1", "witness.vkey"))
	if err != nil || string(b) != first+"\n" {
		t.Fatalf("%q, %v", b, err)
	}
	// Without its key a witness that has cosigned is not replaced by another.
	if err := os.Remove(filepath.Join(dir, "w1", "witness.pem")); err != nil {
		t.Fatal(err)
	}
	if err := refused(args...); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Fatalf("it started without its key: %v", err)
	}
}

func refused(args ...string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // in case it does start
	cmd := command()
	cmd.SetArgs(append(args, "--listen", "127.0.0.1:0"))
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	return cmd.ExecuteContext(ctx)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"":                                 "name: expected",
		"--name w":                         "logs: expected",
		"--name w --log nowhere":           "logs[0]",
		"--name w --log a+b+c":             "verifier key",
		"--name w --log a+b+c --tls-key k": "tls: expected both",
		"--name w --log a+b+c --rate 0":    "rate",
		"--name w --log a+b+c --nonces":    "verifier key",
		"--name w --log a+b+c --data=":     "data",
		"--name w --log a+b+c --key ftp:x": "key",
		"--config nowhere":                 "nowhere",
		"--colour":                         "unknown flag",
		"serve":                            "unknown command",
	} {
		if err := refused(append([]string{"--data", filepath.Join(dir, "w")}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %s", args, err, want)
		}
	}
}

// The shipped file is whole, and has the defaults where it does not say otherwise.
func TestTheShippedConfiguration(t *testing.T) {
	c, err := read("../../deploy/countroom-witness.yaml")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../deploy/countroom-witness.service")
	if err != nil {
		t.Fatal(err)
	}
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(string(unit))
		if m == nil {
			t.Fatalf("the unit does not set %s", name)
		}
		return m[1]
	}
	if c.Data != "/var/lib/"+setting("StateDirectory") || c.Name == "" || len(c.Logs) != 1 || c.Rate != 1000 || c.Nonces {
		t.Errorf("%+v", c)
	}
	cmd := command()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f := cmd.Flag("config").Value.String(); f != "/etc/countroom-witness/countroom-witness.yaml" {
			t.Errorf("the unit's configuration: %s", f)
		}
		return nil
	}
	cmd.SetArgs(strings.Fields(setting("ExecStart"))[1:])
	if err := cmd.Execute(); err != nil {
		t.Error(err)
	}
}

// Flags go over the file, and a setting that does not exist is an error.
func TestFlagsGoOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(file, []byte("name: a\nrate: 7\nlogs: [{vkeys: [x+y+z]}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command()
	if err := cmd.ParseFlags([]string{"--name", "b", "--nonces"}); err != nil {
		t.Fatal(err)
	}
	c.over(cmd, &config{Name: "b", Rate: 1000, Nonces: true})
	c.Data = t.TempDir()
	if c.Name != "b" || c.Rate != 7 || !c.Nonces {
		t.Errorf("%+v", c)
	}
	if err := serve(context.Background(), c, io.Discard, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a verifier key of nonsense was taken")
	}
	for _, bad := range []string{"colour: red\n", "name: [a]\n", "a: b\n---\nc: d\n", "\t"} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzConfig(f *testing.F) {
	b, err := os.ReadFile("../../deploy/countroom-witness.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("name: a\nlogs: [{vkeys: [x]}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
	})
}

// A witness whose key is on a token cosigns like one whose key is in a file.
func TestAKeyOnAToken(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("witness")
	uri := hsm.URI("witness", "cosignatures")
	made, err := signer.Generate(t.Context(), uri, signer.Ed25519, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	house := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	logKey, err := tlog.VKey("casino.example/main", house.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	s, err := tlog.NewSigner("casino.example/main", house.Public().(ed25519.PublicKey), func(m []byte) ([]byte, error) { return ed25519.Sign(house, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	msg, err := tlog.Sign(tlog.Checkpoint{Origin: "casino.example/main", Size: 1, Root: tlog.LeafHash(nil)}, s)
	if err != nil {
		t.Fatal(err)
	}
	url, vkey, stop := start(t, "--data", filepath.Join(t.TempDir(), "w"), "--name", "witness.example/hsm", "--log", logKey, "--key", uri)
	defer stop()
	res, err := http.Post(url+"/add-checkpoint", "", strings.NewReader("old 0\n\n"+string(msg)))
	if err != nil {
		t.Fatal(err)
	}
	line, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %s, %v", res.StatusCode, line, err)
	}
	c, err := tlog.NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if good, _, err := tlog.Cosigned(append(msg, line...), []*tlog.Cosigner{c}); err != nil || len(good) != 1 {
		t.Fatalf("%v, %v", good, err)
	}
}
