package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/store"
)

// testCrash cuts the power again and again while a writer, an indexer and a checkpoint signer are at work.
func testCrash(t *testing.T, newPlace func(testing.TB) Place) {
	p := newPlace(t)
	for round := range 12 {
		h := open(t, p)
		var acked, tried atomic.Pointer[store.Batch]
		stop := make(chan struct{})
		writer, indexer := make(chan error, 1), make(chan error, 1)
		go func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					writer <- nil
					return
				default:
				}
				b := told(h, 1+n*37%130)
				tried.Store(b)
				if err := h.store.Commit(context.Background(), b); err != nil {
					writer <- err
					return
				}
				acked.Store(b)
				h.head = b.Next
			}
		}()
		go func() {
			for {
				select {
				case <-stop:
					indexer <- nil
					return
				default:
				}
				cursor, err := h.store.IndexCursor()
				size := h.store.Head().Size
				if err == nil {
					err = h.store.WriteIndex(size, indexFold(cursor, size))
				}
				if err = errors.Join(err, h.store.SetCheckpoint([]byte(fmt.Sprint(size)))); err != nil {
					indexer <- err
					return
				}
			}
		}()
		time.Sleep(time.Duration(round) * 3 * time.Millisecond) // some rounds end early, some late
		must := acked.Load()                                    // what is acknowledged later, while the store is closed, may already be lost
		p.Crash(t, crashing{h.store, func() error {
			close(stop)
			return errors.Join(<-writer, <-indexer)
		}})

		s := p.Open(t)
		head := s.Head()
		if must != nil && head.Size < must.Next.Size {
			t.Fatalf("size %d was acknowledged, %d is left", must.Next.Size, head.Size)
		}
		if b := tried.Load(); b != nil && head.Size > b.Next.Size {
			t.Fatalf("size is %d, only %d was ever tried", head.Size, b.Next.Size)
		}
		verifyWhole(t, s)
		check(t, s.Close())
	}
}

// crashing lets the work on a store end once the power is cut, but before the store is released.
type crashing struct {
	store.Store
	stop func() error
}

func (c crashing) Close() error { return errors.Join(c.stop(), c.Store.Close()) }

// verifyWhole wants rows, vault, tiles and index to be those of the leaves up to the head, as testCrash writes them.
func verifyWhole(t testing.TB, s store.Store) {
	t.Helper()
	check(t, whole(s))
}

var errWrong = errors.New("not what was written")

// whole gives errWrong for what the store shows and nobody wrote, and the errors of the store.
func whole(s store.Store) error {
	r, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	head := r.Head()
	var root store.Hash
	err = r.Leaves(0, head.Size, func(i uint64, got []byte) error {
		if !bytes.Equal(got, leaf(i)) {
			return fmt.Errorf("%w: leaf %d is %.40q, want %.40q", errWrong, i, got, leaf(i))
		}
		root = sha256.Sum256(append(root[:], got...))
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := indexed(r); err != nil || head.Size == 0 {
		return err
	}
	if head.Root != root {
		return fmt.Errorf("%w: the root at size %d is not that of the leaves", errWrong, head.Size)
	}
	for _, get := range []func([]byte) ([]byte, error){r.Row, r.Vault} {
		b, err := get([]byte("size"))
		if err != nil {
			return err
		}
		if number(b) != head.Size {
			return fmt.Errorf("%w: the row of size %d is %x", errWrong, head.Size, b)
		}
	}
	for i := range head.Size / 256 {
		tile, err := r.Tile(0, i)
		if err != nil {
			return err
		}
		if !bytes.Equal(tile, bytes.Repeat([]byte{byte(i), 7}, store.TileSize/2)) {
			return fmt.Errorf("%w: tile %d has %d bytes", errWrong, i, len(tile))
		}
	}
	// From batch to batch, the rows lead to the head.
	at := uint64(0)
	for at < head.Size {
		next, err := r.Row([]byte(fmt.Sprint("batch ", at)))
		if err != nil {
			return err
		}
		if n := number(next); n <= at || n > head.Size {
			return fmt.Errorf("%w: the batch at %d ends at %d, the log at %d", errWrong, at, n, head.Size)
		}
		at = number(next)
	}
	extra, err := r.Row([]byte(fmt.Sprint("batch ", at)))
	if err == nil && extra != nil {
		err = fmt.Errorf("%w: a row of the batch at %d is left, the batch is not", errWrong, at)
	}
	return err
}

// testCrashFolds cuts the power before, while and after new folds become current.
func testCrashFolds(t *testing.T, newPlace func(testing.TB) Place) {
	const rows = 200
	for round := range 12 {
		p := newPlace(t)
		h := open(t, p)
		b := h.batch(leaf(0))
		for i := range rows {
			b.Rows = append(b.Rows, row(fmt.Sprintf("%03d", i), "old"))
		}
		h.commit(b)
		fb, err := h.store.BuildFolds(2)
		check(t, err)
		for i := range rows {
			check(t, fb.Write([]store.Row{row(fmt.Sprintf("%03d", i), "new")}))
		}
		var swapped atomic.Bool
		done := make(chan error, 1)
		swap := func() {
			if err := fb.Swap(context.Background(), h.head); err != nil {
				done <- err
				return
			}
			swapped.Store(true)
			done <- nil
		}
		switch round % 3 {
		case 0: // before
			done <- nil
		case 1: // while
			go swap()
			time.Sleep(time.Duration(round) * 20 * time.Microsecond)
		case 2: // after
			swap()
		}
		must := swapped.Load()
		p.Crash(t, crashing{h.store, func() error { return <-done }})

		h.store = p.Open(t)
		version := h.store.Head().Folds
		if must && version != 2 || round%3 == 0 && version != 1 {
			t.Fatalf("the fold version is %d, swapped: %v", version, must)
		}
		h.head.Folds = version
		for key := range h.rows {
			h.rows[key] = map[uint32]string{1: "old", 2: "new"}[version]
		}
		h.verify()
		fb, err = h.store.BuildFolds(3 - version)
		check(t, err)
		wantAbsent(t, fb.Row, "000")
		wantAbsent(t, fb.Row, "199")
		h.close()
	}
}

func testPoisoned(t *testing.T, p Place) {
	h := open(t, p)
	b := h.batch(leaves(0, 5)...)
	b.Rows = []store.Row{row("a", "1")}
	b.Vault = []store.Row{row("a", "1")}
	h.commit(b)
	fb, err := h.store.BuildFolds(2)
	check(t, err)

	mend := p.Break(t)
	lost := h.batch(leaves(5, 8)...)
	lost.Rows = []store.Row{row("a", "2")}
	lost.Vault = []store.Row{row("a", "2")}
	err = h.store.Commit(context.Background(), lost)
	for _, clear := range []error{nil, store.ErrConflict, store.ErrInvalid, store.ErrPoisoned, store.ErrReadOnly, store.ErrClosed} {
		if errors.Is(err, clear) {
			t.Fatalf("a commit on a broken disk gives %v, want an error that is no answer of the contract", err)
		}
	}
	mend() // too late

	// Reads show what is known to be durable, writes are refused.
	h.verify()
	wantErr(t, h.store.Commit(context.Background(), lost), store.ErrPoisoned)
	wantErr(t, h.store.SetCheckpoint([]byte("x")), store.ErrPoisoned)
	wantErr(t, h.store.WriteIndex(5, nil), store.ErrPoisoned)
	wantErr(t, h.store.ResetIndex(), store.ErrPoisoned)
	wantErr(t, fb.Write([]store.Row{row("a", "3")}), store.ErrPoisoned)
	wantErr(t, fb.Swap(context.Background(), h.head), store.ErrPoisoned)
	_, err = h.store.BuildFolds(3)
	wantErr(t, err, store.ErrPoisoned)
	h.verify()
	_ = h.store.Close() // may well repeat the error

	// A start finds out: the batch is there whole or not at all.
	h.store = p.Open(t)
	switch got := h.store.Head(); got {
	case h.head:
	case lost.Next:
		h.took(lost)
	default:
		t.Fatalf("Head is %+v, want %+v or %+v", got, h.head, lost.Next)
	}
	h.verify()
	h.commit(h.batch(leaf(8)))
	h.verify()
	h.close()
}
