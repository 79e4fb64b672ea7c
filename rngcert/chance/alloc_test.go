//go:build !race

package chance

import "testing"

// The race detector makes some buffers escape, so this holds without it.
func TestExpansionDoesNotAllocate(t *testing.T) {
	x := new(Expander)
	x.Reset(Hash{})
	var r Hash
	if n := testing.AllocsPerRun(100, func() {
		r[0]++
		x.Reset(r)
		for range 20 {
			x.Int(52)
		}
	}); n != 0 {
		t.Errorf("%v allocations for one expansion, want none", n)
	}
}
