package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/regulator/vault"
	"countroom/regulator/vault/cdb"
	"countroom/regulator/vault/safe"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

// vaults runs countroom vault, and returns what it said and its exit status.
func vaults(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"vault"}, args...)...)
	cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func says(t *testing.T, want string, status int, args ...string) {
	t.Helper()
	if out, code := vaults(t, args...); code != status || !strings.Contains(out, want) {
		t.Fatalf("countroom vault %s: %d\n%swant %d and %q", strings.Join(args, " "), code, out, status, want)
	}
}

// A house that plays delivers to its control databank, plays on, delivers again and corrects a record; what its
// authority then has reconciles with the log that everybody reads.
func TestAHouseDeliversToAControlDatabank(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	keys := 0
	post := func(path, token, body string) map[string]any {
		t.Helper()
		keys++
		status, answer := s.post(s.client, path, token, fmt.Sprint("key ", keys), body)
		var v map[string]any
		if err := json.Unmarshal(answer, &v); err != nil || status != 201 {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
		return v
	}
	operator := s.token("operator")
	post("/v1/players", operator, `{"id":"alice","currency":"EUR"}`)
	post("/v1/players/alice/deposits", operator, `{"amount":5000,"currency":"EUR"}`)
	session := post("/v1/sessions", operator, `{"player":"alice","game":"lamplight-quay"}`)["token"].(string)
	for range 5 {
		post("/v1/spins", session, `{"stake":20}`)
	}
	out := filepath.Join(t.TempDir(), "cdb")
	config := filepath.Join(t.TempDir(), "house.yaml")
	if err := os.WriteFile(config, []byte("listen: "+s.addr+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := []string{"--data", s.dir, "--config", config, "-o", out}
	says(t, "delivery 1: entries, entries 0 up to", 0, append([]string{"cdb"}, here...)...)
	for range 3 {
		post("/v1/spins", session, `{"stake":40}`)
	}
	there := []string{"--log", "http://" + s.addr, "--vkey", filepath.Join(s.dir, "log.vkey"), "--token", filepath.Join(s.dir, "credentials", "auditor.key"), "-o", out}
	says(t, "delivery 2: entries", 0, append([]string{"cdb"}, there...)...)
	says(t, "expected one that was delivered", 2, append([]string{"correct", "--replace", "4000"}, here...)...)

	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	src, err := verify.HTTP("http://"+s.addr, s.token("auditor"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := verify.NewKeyring(strings.TrimSpace(string(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	log, err := vault.Open(t.Context(), src, ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := cdb.Audit(t.Context(), log, os.DirFS(out))
	if err != nil || r.Records[cdb.Bets] != 8 || r.Deliveries != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// published writes the log of a house of three days as a mirror has it, and returns how to read it.
func published(t *testing.T) (h *logtest.House, args []string) {
	t.Helper()
	h = logtest.New(logtest.Config{Seed: 31, Step: 20 * time.Second})
	people := []logtest.Player{h.Join(50_000), h.Join(60_000)}
	h.Play(people, 40)
	h.Wait(24 * time.Hour)
	for i := range people {
		people[i].Session = h.Open(people[i])
	}
	h.Play(people, 20)
	h.Wait(24 * time.Hour)
	h.Register("EUR")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "mirror"), h.Publish()); err != nil {
		t.Fatal(err)
	}
	vkey := filepath.Join(dir, "log.vkey")
	if err := os.WriteFile(vkey, []byte(h.VKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return h, []string{"--data", filepath.Join(dir, "mirror"), "--vkey", vkey}
}

// A vault of a mirror: days and indexes, corrections, and what is refused.
func TestVaultsOfAMirror(t *testing.T) {
	t.Parallel()
	h, mirror := published(t)
	out := filepath.Join(t.TempDir(), "vault")
	with := func(args ...string) []string { return append(args, append(mirror, "-o", out)...) }
	says(t, "--output: expected", 2, append([]string{"cdb"}, mirror...)...)
	says(t, "expected the index of an entry, a day", 2, with("cdb", "--to", "noon")...)
	says(t, "not over", 2, with("cdb", "--to", "2027-01-01")...)
	says(t, "delivery 1: entries, entries 0 up to", 0, with("cdb", "--to", "2026-03-02")...)
	says(t, "where the last delivery ended", 2, with("cdb", "--from", "3")...)
	says(t, fmt.Sprintf("up to %d, ", h.Size()), 0, with("cdb")...)
	says(t, "nothing to deliver", 0, with("cdb")...)
	says(t, "expected INDEX=REASON", 2, with("correct", "--cancel", "7")...)
	says(t, "delivery 3: corrections", 0, with("correct", "--cancel", "4=test-account", "--replace", "5")...)
	says(t, "refused: delivery-00000004", 1, with("correct", "--replace", "4")...)
}

// Days of a SAFE, sealed by a program that speaks to the token service.
func TestASAFE(t *testing.T) {
	t.Parallel()
	_, mirror := published(t)
	out := filepath.Join(t.TempDir(), "vault")
	program := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncase $1 in\nissue) echo token/$2/$3 ;;\nseal) echo seal/$3 ;;\nesac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) []string { return append(args, append(mirror, "-o", out)...) }
	says(t, "--from: expected the first day", 2, with("safe")...)
	says(t, "2026-03-01: entries 0 up to", 0, with("safe", "--from", "2026-03-01", "--token-program", program)...)
	says(t, "token service", 2, with("safe", "--token-program", "/bin/false")...)
	says(t, ", not sealed", 0, with("safe")...)
	says(t, "not over", 2, with("safe")...)
	seal, err := os.ReadFile(filepath.Join(out, "2026-03-01", safe.SealName))
	if err != nil || !strings.Contains(string(seal), "<Token>token/logtest.example/house/2026-03-01</Token>") {
		t.Errorf("%s, %v", seal, err)
	}
}
