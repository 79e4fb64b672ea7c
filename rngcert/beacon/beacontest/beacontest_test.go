package beacontest

import (
	"testing"

	"countroom/rngcert/beacon"
)

// The rounds hold by the rules of every beacon, and those of one key not by
// another.
func TestRounds(t *testing.T) {
	b := New("a", 3, 1000)
	c, err := beacon.ParseInfo(b.Info())
	if err != nil || c.Hash() != b.Hash() {
		t.Fatalf("%v, %v", c, err)
	}
	if _, err := c.Verify(7, b.Sign(7)); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(8, b.Sign(7)); err == nil {
		t.Error("round 7 passes for round 8")
	}
	if _, err := c.Verify(7, New("b", 3, 1000).Sign(7)); err == nil {
		t.Error("another key's round passes")
	}
}
