package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
)

// inTwo adds to a counter in two steps, the second of which waits until the first is
// durable and signed. It counts its runs.
func inTwo(name string, runs *atomic.Int64) Command {
	const first = 1 // entry
	key := counterKey(name)
	return Command{Reads: []string{key}, Run: func(tx *Tx) error {
		runs.Add(1)
		if sumOf(tx, name) == 0 {
			if i, err := tx.Append(&added{Header: entry.Header{Actor: "toy"}, Amount: 1, After: 1, Name: name}); err != nil || i != first {
				return fmt.Errorf("the first step is entry %d: %w", i, err)
			}
		}
		if err := tx.Await(first); err != nil {
			return err
		}
		sum := sumOf(tx, name) + 1
		_, err := tx.Answer(&added{Header: entry.Header{Actor: "toy"}, Amount: 1, After: sum, Name: name})
		return err
	}}
}

// What a command waits for is signed before it goes on, nobody else waits for it,
// and those who wait together go on in the order in which they came.
func TestACommandAwaitsItsOwnEntry(t *testing.T) {
	r, s := slowRig(t, 1)
	defer r.close()
	var runs atomic.Int64
	done := []chan error{r.later(keyed(inTwo("b", &runs), "two steps", ""))}
	gate := <-s.asked
	for i := range int64(3) {
		done = append(done, r.later(inTwo("b", &runs)))
		for runs.Load() < 2+i { // each comes while the first waits
			time.Sleep(time.Millisecond)
		}
	}
	done = append(done, r.later(keyed(inTwo("b", &runs), "two steps", ""))) // again, by its key
	other := r.later(add("a", 1))
	r.awaitDurable(3) // a's first, b's first, a's second
	for _, d := range done {
		r.stillWaits("a command in two steps", d)
	}
	s.open.Store(true)
	gate <- nil
	for _, d := range append(done, other) {
		if err := <-d; err != nil {
			t.Fatal(err)
		}
	}
	if sum := r.sum("b"); sum != 5 {
		t.Errorf("the sum is %d", sum)
	}
	if got, err := r.Update(t.Context(), keyed(inTwo("b", &runs), "two steps", "")); err != nil || !got.Replayed || got.Index != 3 {
		t.Errorf("the first of those who waited is entry %d, %v", got.Index, err)
	}
}

// A ledger that ends tells those who wait that it does not know; what they had
// appended is there if it was committed, and they can ask again.
func TestWhoAwaitsIsNotForgotten(t *testing.T) {
	for _, durable := range []bool{false, true} {
		r := newRig(t)
		var broken atomic.Bool
		lost := errors.New("the disk went away")
		hook := func(*store.Batch) error {
			if broken.Load() {
				return lost
			}
			return nil
		}
		r.wrap = func(s store.Store) store.Store {
			if durable {
				return &brokenStore{Store: s, after: hook}
			}
			return &brokenStore{Store: s, before: hook}
		}
		r.open()
		r.must(add("a", 1))
		broken.Store(true)
		var runs atomic.Int64
		if _, err := r.Update(t.Context(), keyed(inTwo("b", &runs), "lost", "")); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("durable %v: the caller was told %v", durable, err)
		}
		if err := <-r.fatal; !errors.Is(err, lost) {
			t.Fatal(err)
		}
		// Nor does who reads what is durable wait for a signature that will not come.
		err := r.View(t.Context(), func(book.Reader) error { return nil })
		if durable && !errors.Is(err, ErrStopped) || !durable && err != nil {
			t.Errorf("durable %v: a reader was told %v", durable, err)
		}
		r.close()
		broken.Store(false)
		r.open()
		want := int64(0)
		if durable {
			want = 1
		}
		if sum := r.sum("b"); sum != want {
			t.Errorf("durable %v: the sum is %d", durable, sum)
		}
		if got := r.must(keyed(inTwo("b", &runs), "lost", "")); got.Replayed || r.sum("b") != 2 {
			t.Errorf("durable %v: the retry: replayed %v, sum %d", durable, got.Replayed, r.sum("b"))
		}
		r.close()
	}
}

// Close lets those who wait come to their end.
func TestCloseDrainsThoseWhoAwait(t *testing.T) {
	r, s := slowRig(t, 1)
	var runs atomic.Int64
	done := r.later(inTwo("b", &runs))
	gate := <-s.asked
	closed := make(chan error, 1)
	go func() { closed <- r.Ledger.Close(context.Background()) }()
	r.stillWaits("the close", closed)
	s.open.Store(true)
	gate <- nil
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	r.close()
}

// A command that has its answer cannot wait: it would be answered twice.
func TestAnAnswerAwaitsNothing(t *testing.T) {
	r := newRig(t).open()
	defer r.close()
	r.must(add("a", 1))
	_, err := r.Update(t.Context(), Command{Reads: []string{counterKey("a")}, Run: func(tx *Tx) error {
		i, err := tx.Answer(&added{Header: entry.Header{Actor: "toy"}, Amount: 1, After: 2, Name: "a"})
		if err != nil {
			return err
		}
		return tx.Await(i)
	}})
	if err == nil || slices.Contains([]error{errAwaits, ErrUnknownOutcome}, err) || r.sum("a") != 1 {
		t.Errorf("%v, sum %d", err, r.sum("a"))
	}
}
