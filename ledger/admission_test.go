package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"countroom/ledger/store"
)

// When callers are refused because others wait, the house's own commands are
// not, nor is who has an entry already.
func TestWhoIsLetInUnderOverload(t *testing.T) {
	r := newRig(t)
	r.change = func(c *Config) { c.QueueMost = 3 }
	gate := make(chan struct{})
	hold := make(chan struct{})
	r.wrap = func(s store.Store) store.Store {
		return &brokenStore{Store: s, before: func(*store.Batch) error {
			select {
			case <-hold:
				<-gate
			default:
			}
			return nil
		}}
	}
	r.open()
	defer r.close()
	r.must(keyed(add("a", 1), "old", ""))
	close(hold)
	results := make(chan error, 5)
	update := func(c Command) {
		go func() {
			_, err := r.Update(context.Background(), c)
			results <- err
		}()
	}
	for i := range 3 {
		update(keyed(add("a", 1), fmt.Sprint("new ", i), ""))
	}
	for r.inside.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Update(context.Background(), keyed(add("a", 1), "late", "")); !errors.Is(err, ErrOverloaded) {
		t.Fatalf("three are inside, three are let in, and one more is answered with %v", err)
	}
	update(keyed(add("a", 1), "old", "")) // a retry
	update(add("a", 1))                   // the house's own
	for r.inside.Load() < 5 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := r.sum("a"); got != 5 {
		t.Errorf("%d commands ran, expected 5", got)
	}
	if n := r.inside.Load(); n != 0 {
		t.Errorf("%d are inside after all have left", n)
	}
	if _, err := r.Update(context.Background(), keyed(add("a", 1), "late", "")); err != nil {
		t.Errorf("the refused command, repeated: %v", err)
	}
}
