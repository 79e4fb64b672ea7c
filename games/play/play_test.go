package play

import (
	"crypto/sha256"
	"slices"
	"testing"

	"countroom/games/slots"
)

// What is shown, what is written down and what is paid are of one round, and a
// round is the same whatever was played before it.
func TestARoundFollowsFromItsDrawAlone(t *testing.T) {
	m, err := slots.Compile(slots.Bundled())
	if err != nil {
		t.Fatal(err)
	}
	var used Play
	for i := range byte(100) {
		r := sha256.Sum256([]byte{i})
		var fresh Play
		if err := used.Round(m, r, 100); err != nil {
			t.Fatal(err)
		}
		if err := fresh.Round(m, r, 100); err != nil {
			t.Fatal(err)
		}
		if string(used.Outcome) != string(fresh.Outcome) || used.Payout != fresh.Payout || !slices.Equal(used.Values, fresh.Values) {
			t.Fatalf("draw %d: %s, and by a fresh Play %s", i, used.Outcome, fresh.Outcome)
		}
		if len(used.Values) != 5*len(used.Shown.Spins) {
			t.Errorf("draw %d: %d integers for %d spins of five reels", i, len(used.Values), len(used.Shown.Spins))
		}
		for s, spin := range used.Shown.Spins {
			for reel, stop := range spin.Stops {
				if v := used.Values[5*s+reel].Value; v != uint32(stop) {
					t.Errorf("draw %d, spin %d: reel %d stands at %d, drawn was %d", i, s, reel, stop, v)
				}
			}
		}
	}
	if err := used.Round(m, sha256.Sum256(nil), 101); err == nil {
		t.Error("a stake that is not offered was played")
	}
}
