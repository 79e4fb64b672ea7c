package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"countroom/ledger/tlog"
)

// A snapshot that is taken while entries are coming in is of exactly the head
// that its checkpoint signs.
func TestSnapshotIsOfASignedHead(t *testing.T) {
	r := newRig(t)
	r.open()
	if _, _, err := r.Snapshot(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("of an empty log: %v", err)
	}
	v, err := tlog.NewVerifier(r.VKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Update(t.Context(), add("a", 1)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var adding sync.WaitGroup
	for i := range 8 {
		adding.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.Update(context.Background(), add(fmt.Sprint("counter-", i), 1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sizes := map[uint64]bool{}
	for range 60 {
		r.must(add("mine", 1))
		s, signed, err := r.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := tlog.Open(signed.Checkpoint, v)
		if head := s.Head(); err != nil || c.Size != head.Size || c.Root != head.Root || signed.Size != head.Size {
			t.Errorf("a snapshot of size %d, root %x, under %+v, %v", head.Size, head.Root, c, err)
		}
		sizes[c.Size] = true
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	adding.Wait()
	if len(sizes) != 60 {
		t.Errorf("60 snapshots of %d heads", len(sizes))
	}
}
