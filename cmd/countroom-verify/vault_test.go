package main

import (
	"bytes"
	"os"
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

// Somebody outside holds a vault against the log: of both formats, honest and not.
func TestAVaultFromOutside(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 41, Step: 20 * time.Second})
	people := []logtest.Player{h.Join(50_000)}
	h.Play(people, 30)
	h.Wait(24 * time.Hour)
	h.Register("EUR")
	ring, err := verify.NewKeyring(h.VKey)
	if err != nil {
		t.Fatal(err)
	}
	log, err := vault.Open(t.Context(), verify.Dir(h.Publish()), ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	databank, days, mirror, vkey := filepath.Join(dir, "cdb"), filepath.Join(dir, "safe"), filepath.Join(dir, "mirror"), filepath.Join(dir, "log.vkey")
	if _, err := cdb.Deliver(t.Context(), log, databank, nil, h.Size()); err != nil {
		t.Fatal(err)
	}
	if _, err := safe.Deliver(t.Context(), log, days, "2026-03-01", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(mirror, h.Publish()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vkey, []byte(h.VKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(want int, says string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"vault"}, args...), nil, &out, &errs); code != want || !strings.Contains(out.String()+errs.String(), says) {
			t.Errorf("%v: %d\n%s%swant %d and %q", args, code, out.String(), errs.String(), want, says)
		}
	}
	check(0, "30 of type bet", databank, "--log", mirror, "--vkey", vkey)
	check(0, "with 30 rounds", days, "--log="+mirror, "--vkey", vkey)
	check(2, "expected --log", databank, "--vkey", vkey)
	check(2, "expected --vkey", databank, "--log", mirror)
	check(2, "unknown flag", databank, "--lag", mirror)
	check(2, "one DIR", "--log", mirror, "--vkey", vkey)
	check(2, "no such file", mirror+"-none", "--log", mirror, "--vkey", vkey)

	bets := filepath.Join(databank, "delivery-00000001", "bet-00001.xml")
	b, err := os.ReadFile(bets)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bets, bytes.Replace(b, []byte("<Payout>"), []byte("<Payout>1"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	check(1, "file-digest", databank, "--log", mirror, "--vkey", vkey)
}
