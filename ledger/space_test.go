package ledger

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/store"
)

// A commit waits for room on a full disk, and others ask meanwhile. Nobody
// waits with it but those whose command is in it: what is new is refused, what
// was answered before is answered again.
func TestWithoutRoomNobodyWaitsForACommitThatDoes(t *testing.T) {
	r := newRig(t)
	var full *fullStore
	room, at := make(chan struct{}), make(chan struct{}, 1)
	var waits atomic.Bool
	r.wrap = func(s store.Store) store.Store {
		full = &fullStore{Store: &brokenStore{Store: s, before: func(*store.Batch) error {
			if waits.Load() {
				select {
				case at <- struct{}{}:
				default:
				}
				<-room
			}
			return nil
		}}}
		return full
	}
	r.open()
	defer r.close()
	first := r.must(keyed(add("a", 1), "first", ""))
	waits.Store(true)
	under := make(chan error, 1)
	go func() {
		_, err := r.Update(context.Background(), keyed(add("a", 1), "under way", ""))
		under <- err
	}()
	<-at // it ran, and is being made durable
	full.full.Store(true)
	for !errors.Is(r.Ready(), ErrNoSpace) {
		time.Sleep(10 * time.Millisecond)
	}

	if again := r.must(keyed(add("a", 1), "first", "")); !again.Replayed || !bytes.Equal(again.Leaf, first.Leaf) {
		t.Errorf("a command that was answered before is answered by entry %d", again.Index)
	}
	if _, err := r.Update(context.Background(), keyed(add("a", 1), "first", "another body")); !errors.Is(err, ErrKeyReused) {
		t.Errorf("a key that was used before: %v", err)
	}
	if _, err := r.Update(context.Background(), keyed(add("a", 1), "new", "")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a new command: %v", err)
	}
	// To say of this one that it was not accepted would be wrong.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Update(ctx, keyed(add("a", 1), "under way", "")); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a command that is under way: %v", err)
	}

	full.full.Store(false)
	close(room)
	if err := <-under; err != nil {
		t.Error(err)
	}
	if again := r.must(keyed(add("a", 1), "under way", "")); !again.Replayed {
		t.Error("what was under way was carried out twice")
	}
	if sum := r.sum("a"); sum != 2 {
		t.Errorf("sum %d", sum)
	}
}

// A ledger that could only be opened for reading shows everything that was
// acknowledged, also what came after the checkpoint that was stored last.
func TestReadOnlyShowsAllThatWasAcknowledged(t *testing.T) {
	r := newRig(t).open()
	r.must(add("a", 1))
	last := r.must(keyed(add("a", 1), "last", ""))
	r.close()

	r.change = func(c *Config) { c.ReadOnly = true }
	r.wrap = func(s store.Store) store.Store { return readOnlyStore{s} }
	r.open()
	if e, err := r.Entry(last.Index); err != nil || !bytes.Equal(e.Leaf, last.Leaf) {
		t.Errorf("entry %d: %q, %v", last.Index, e.Leaf, err)
	} else {
		r.verify(e)
	}
	if again := r.must(keyed(add("a", 1), "last", "")); !again.Replayed || !bytes.Equal(again.Leaf, last.Leaf) {
		t.Errorf("a command that was answered before is answered by entry %d", again.Index)
	}
	for _, c := range []Command{add("a", 1), keyed(add("a", 1), "new", "")} {
		if _, err := r.Update(context.Background(), c); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a new command: %v", err)
		}
	}
	if sum := r.sum("a"); sum != 2 || r.Signed().Size != 2 {
		t.Errorf("sum %d, size %d", sum, r.Signed().Size)
	}
	r.close()

	r.change, r.wrap = nil, nil
	r.open()
	defer r.close()
	r.must(add("a", 1))
}

// Without a signer it shows what was signed; of a command that was carried out
// but not signed it cannot say anything yet.
func TestReadOnlyWithoutASigner(t *testing.T) {
	signer := new(faultySigner)
	r := newRig(t)
	r.change = func(c *Config) { signer.Signer, c.Signer = c.Signer, signer }
	r.open()
	first := r.must(keyed(add("a", 1), "signed", ""))
	signer.silent.Store(true)
	if err := r.untilSilent(keyed(add("a", 1), "not signed", "")); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("without a signer: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	r.Ledger.Close(over) // which does not wait for what is not signed
	r.close()

	silent := r.change
	r.change = func(c *Config) { silent(c); c.ReadOnly = true }
	r.wrap = func(s store.Store) store.Store { return readOnlyStore{s} }
	r.open()
	if _, err := r.Update(t.Context(), keyed(add("a", 1), "not signed", "")); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("what was not signed is answered: %v", err)
	}
	if again, err := r.Update(t.Context(), keyed(add("a", 1), "signed", "")); err != nil || again.Index != first.Index {
		t.Errorf("what was signed is answered with entry %d, %v", again.Index, err)
	}
	r.close()
}

// readOnlyStore takes nothing.
type readOnlyStore struct{ store.Store }

func (readOnlyStore) Commit(context.Context, *store.Batch) error    { return store.ErrReadOnly }
func (readOnlyStore) SetCheckpoint([]byte) error                    { return store.ErrReadOnly }
func (readOnlyStore) WriteIndex(uint64, []store.Row) error          { return store.ErrReadOnly }
func (readOnlyStore) ResetIndex() error                             { return store.ErrReadOnly }
func (readOnlyStore) BuildFolds(uint32) (store.FoldsBuilder, error) { return nil, store.ErrReadOnly }
