package ledger

import (
	"os"
	"path/filepath"
	"testing"
)

// A guard's file is read or refused, whatever is in it; one that is read goes on.
func FuzzGuardFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "guard")
	g, err := OpenGuard(path, "o")
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint64(2) {
		if err := g.Allow(SignedHead{Term: i + 1, Size: 1, Root: [32]byte{1}}, nil); err != nil {
			f.Fatal(err)
		}
	}
	g.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:slotStride])
	f.Add(good[:10])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "guard")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := OpenGuard(path, "o")
		if err != nil {
			return
		}
		defer g.Close()
		next := g.Last()
		next.Term++
		if next.Term == 0 {
			return
		}
		if err := g.Allow(next, nil); err != nil {
			t.Fatalf("after %+v: %v", g.Last(), err)
		}
	})
}
