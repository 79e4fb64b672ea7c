package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
)

// A batch of a restore is applied when it has so much in it.
const (
	batchEntries = 4096
	batchBytes   = 8 << 20
)

// Restore makes an empty store the log in a back-up that begins with entry 0.
// Books, tiles and root follow from the entries by the road that every batch of
// the log takes; a root other than the signed one ends it. Rows that the caller
// adds to the vault, once the summary is known, are durable together with the
// checkpoint, in the last commit.
//
// A store whose Restore failed is of no use any more.
func Restore(ctx context.Context, st store.Store, books ledger.Books, in *Verified, add func(Summary) ([]store.Row, error)) (Summary, error) {
	if st.Head() != (store.Head{}) {
		return Summary{}, fmt.Errorf("the store holds a log of size %d: expected an empty one", st.Head().Size)
	}
	if from := in.streams[0].From(); from != 0 {
		return Summary{}, fmt.Errorf("the first back-up begins at size %d: expected the one that it continues before it", from)
	}
	applier, err := ledger.NewApplier(st, books)
	if err != nil {
		return Summary{}, err
	}
	o := &restoring{store: st, books: books, applier: applier, head: in.Head(), arena: make([]byte, 0, batchBytes+payloadMost)}
	for {
		p, err := in.Next()
		if err == io.EOF {
			break
		}
		if err == nil && p.Leaves != nil {
			err = o.entries(ctx, p.Leaves)
		} else if err == nil {
			err = o.vault(ctx, p.Vault, nil)
		}
		if err != nil {
			return in.Summary(), err
		}
	}
	sum := in.Summary()
	rows, err := add(sum)
	if err != nil {
		return sum, err
	}
	return sum, o.vault(ctx, rows, in.Checkpoint())
}

type restoring struct {
	store   store.Store
	books   ledger.Books
	applier *ledger.Applier
	head    tlog.Checkpoint
	arena   []byte
	batch   ledger.Batch
}

// entries takes entries into the open batch and applies it when it is full or
// completes the log.
func (o *restoring) entries(ctx context.Context, leaves [][]byte) error {
	b := &o.batch
	for _, leaf := range leaves {
		n := len(o.arena)
		o.arena = append(o.arena, leaf...)
		b.Leaves = append(b.Leaves, o.arena[n:len(o.arena):len(o.arena)])
	}
	size := b.Base + uint64(len(b.Leaves))
	if len(b.Leaves) < batchEntries && len(o.arena) < batchBytes && size < o.head.Size {
		return nil
	}
	if size == o.head.Size {
		b.Root = &o.head.Root
	}
	if err := o.date(); err != nil {
		return err
	}
	if err := o.applier.Apply(ctx, *b); err != nil {
		return err
	}
	o.arena = o.arena[:0]
	b.Base, b.Leaves = size, b.Leaves[:0]
	return nil
}

// date finds the batch's term and time in its entries: a writer's reign begins
// with its house.active, of one version or the other.
func (o *restoring) date() error {
	b := &o.batch
	for i, leaf := range b.Leaves {
		typ, err := entry.TypeOf(leaf)
		var active system.HouseActive
		var ofPair system.PairActive
		switch {
		case err != nil:
		case typ == active.Type():
			err = entry.Decode(leaf, &active)
		case typ == ofPair.Type():
			err = entry.Decode(leaf, &ofPair)
		}
		b.Term = max(b.Term, active.Term, ofPair.Term)
		if err != nil {
			return fmt.Errorf("entry %d: %w", b.Base+uint64(i), err)
		}
	}
	last, err := o.books.Decode(b.Leaves[len(b.Leaves)-1])
	if err != nil {
		return fmt.Errorf("entry %d: %w", b.Base+uint64(len(b.Leaves))-1, err)
	}
	b.At = int64(last.Head().At) * 1000
	return nil
}

// vault commits rows of the vault beside the log.
func (o *restoring) vault(ctx context.Context, rows []store.Row, checkpoint []byte) error {
	prev := o.store.Head()
	if prev.Size == 0 {
		return errors.New("a log without entries")
	}
	next := prev
	next.At++
	return o.store.Commit(ctx, &store.Batch{Prev: prev, Next: next, Vault: rows, Checkpoint: checkpoint})
}
