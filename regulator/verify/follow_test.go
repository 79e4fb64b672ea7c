package verify

import (
	"encoding/json"
	"testing"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// whole is what Log says of the same.
func whole(t *testing.T, h *logtest.House) (*Report, error) {
	return Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Workers: 2})
}

// plain is a report without the tiles: those that are not full yet are compared
// each time.
func plain(t *testing.T, r *Report) string {
	c := *r
	c.Tiles = 0
	b, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A follower says at each head what a check of the whole log says, also when the
// key was exchanged meanwhile, and a fraud is found when it comes.
func TestFollower(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 21, Limits: epoch.Limits{AgeSeconds: 60, Draws: 100, RevealDelaySeconds: 2}})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	f, err := Follow(Options{VKey: h.VKey, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	step := func(what string) *Report {
		t.Helper()
		got, err := f.Advance(t.Context(), Dir(h.Publish()), h.Checkpoint())
		want, wantErr := whole(t, h)
		if (err == nil) != (wantErr == nil) || plain(t, got) != plain(t, want) {
			t.Fatalf("%s:\n%s, %v\nexpected\n%s, %v", what, plain(t, got), err, plain(t, want), wantErr)
		}
		if f.Size() != h.Size() {
			t.Fatalf("%s: size %d of %d", what, f.Size(), h.Size())
		}
		return got
	}
	for _, n := range []int{0, 1, 0, 200, 56, 300, 2} {
		h.Play(who, n)
		step("play")
	}
	h.Officers()
	h.Introduce(system.RoleCheckpoint, "anna", "berta")
	step("both keys sign")
	h.RetireKey(system.RoleCheckpoint, "anna", "berta")
	h.Play(who, 50)
	step("another key")
	h.Wait(time.Hour)
	h.Turn()
	step("revealed")
	h.Tamper = func(_ uint64, r entry.Record) { r.Head().Actor = "house" }
	h.Withdraw(who[1], 500)
	h.Tamper = nil
	if r := step("fraud"); r.OK() {
		t.Error("the fraud was not found")
	}
	h.Play(who, 10)
	if r := step("after the fraud"); len(r.Findings) == 0 {
		t.Error("the fraud was forgotten")
	}
}
