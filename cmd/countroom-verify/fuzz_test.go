package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
)

// Arguments are taken or refused, and what is taken is complete.
func FuzzArguments(f *testing.F) {
	for _, line := range []string{
		"log\x00https://h\x00--vkey\x00k\x00--known\x00a", "receipt\x00--vkey=k\x00-", "log\x00--workers\x001024\x00--json=false\x00--vkey\x00k\x00/", "--help", "-version",
		"log\x00--\x00--vkey", "receipt\x00-\x00--vkey\x00--", "log\x00http://h\x00--vkey\x00k\x00--save\x00d\x00--token\x00t", "",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		a, err := parse(args)
		if (a == nil) == (err == nil) {
			t.Fatalf("%v, %v", a, err)
		}
		if err != nil {
			return
		}
		ok := false
		switch a.command {
		case "help", "version":
			ok = true
		case "receipt":
			ok = a.token == "" && a.save == "" && len(a.known) == 0 && !a.json && a.workers == 0 && a.vkey != ""
		case "log":
			ok = a.vkey != "" && a.workers >= 0 && a.workers <= 1024 && (isURL(a.subject) || a.token == "" && a.save == "")
		}
		if !ok {
			t.Fatalf("%q was taken as %+v", args, a)
		}
		for _, name := range append(a.known, a.subject, a.vkey, a.token, a.save) {
			if !strings.Contains(line, name) {
				t.Fatalf("%q was taken as %+v", args, a)
			}
		}
	})
}

// Whatever a saved answer and a verifier key hold, the command ends with one of
// its statuses, says OK only with 0, and gives the terminal no commands; no
// name that a house can have does, either.
func FuzzReceipt(f *testing.F) {
	h := logtest.New(logtest.Config{Seed: 1})
	leaf := h.Leaf(h.Deposit(h.Join(100), 5))
	house := func(origin string) (vkey string, answer []byte) { // whose log is that one entry
		key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		s, err := tlog.NewSigner(origin, key.Public().(ed25519.PublicKey), func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
		if err != nil {
			f.Fatal(err)
		}
		checkpoint, err := tlog.Sign(tlog.Checkpoint{Origin: origin, Size: 1, Root: tlog.LeafHash(leaf)}, s)
		if err != nil {
			f.Fatal(err)
		}
		if vkey, err = tlog.VKey(origin, key.Public().(ed25519.PublicKey)); err != nil {
			f.Fatal(err)
		}
		if answer, err = json.Marshal(map[string]any{"leaf": json.RawMessage(leaf), "receipt": string(tlog.AppendReceipt(nil, 0, nil, checkpoint))}); err != nil {
			f.Fatal(err)
		}
		return vkey, answer
	}
	vkey, answer := house("casino.example/main")
	f.Add(vkey, answer)
	f.Add(vkey+"\n", bytes.Replace(answer, []byte(`"amount":5`), []byte(`"amount":6`), 1))
	f.Add(vkey, bytes.Replace(answer, []byte("wallet.deposited"), []byte("\\u009bwallet"), 1))
	f.Add(vkey, []byte(`{"leaf":{},"receipt":"c2sp.org/tlog-proof@v1\nindex 0\n\n\u001b]0;x\n"}`))
	f.Add("\x1b+12345678+AAAA", answer)
	for _, origin := range []string{"casino\u009b31m", "\u202ecasino", "casino\x7f"} {
		vkey, answer := house(origin)
		f.Add(vkey, answer)
	}
	path := filepath.Join(f.TempDir(), "log.vkey")
	f.Fuzz(func(t *testing.T, vkey string, answer []byte) {
		if err := os.WriteFile(path, []byte(vkey), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, problems bytes.Buffer
		code := run(t.Context(), []string{"receipt", "-", "--vkey", path}, bytes.NewReader(answer), &out, &problems)
		if code < exitHolds || code > exitUnchecked || strings.HasSuffix(out.String(), "OK\n") != (code == exitHolds) || (problems.Len() > 0) != (code == exitUnchecked) {
			t.Fatalf("status %d, %q, %q", code, &out, &problems)
		}
		for _, r := range out.String() + problems.String() {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Fatalf("%q, %q", &out, &problems)
			}
		}
	})
}
