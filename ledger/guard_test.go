package ledger

import (
	"os"
	"path/filepath"
	"testing"
)

// The power may go while the guard's file is new. Nothing was let pass by then:
// whatever there is of it, unless it says something, it is begun anew.
func TestAGuardWhoseFileWasNotFinished(t *testing.T) {
	for _, size := range []int{0, 1, slotBytes, slotStride, 2*slotStride - 1} {
		path := filepath.Join(t.TempDir(), "guard")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		head := SignedHead{Term: 1, Size: 1, Root: [32]byte{1}}
		for _, want := range []SignedHead{{}, head} {
			g, err := OpenGuard(path, "o")
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if g.Last() != want {
				t.Errorf("%d bytes: %+v, expected %+v", size, g.Last(), want)
			}
			if err := g.Allow(head, nil); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(path, slotStride); err != nil {
			t.Fatal(err)
		}
		if g, err := OpenGuard(path, "o"); err == nil {
			t.Errorf("a record that was cut short is taken: %+v", g.Last())
		}
	}
}
