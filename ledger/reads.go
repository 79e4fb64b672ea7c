package ledger

import (
	"context"
	"errors"
	"fmt"

	"countroom/ledger/book"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	"github.com/transparency-dev/merkle/compact"
)

// Entry returns an entry with its receipt under the newest checkpoint.
func (l *Ledger) Entry(index uint64) (Receipt, error) {
	s := l.signed.Load()
	if s == nil || index >= s.Size {
		return Receipt{}, ErrNotFound
	}
	leaf, err := l.store.Leaf(index)
	if err != nil {
		return Receipt{}, err
	}
	return l.receipt(Receipt{Index: index, Leaf: leaf}, s)
}

// Find returns up to limit entries below an index that a name leads to, newest
// first, among those that are signed.
func (l *Ledger) Find(g Group, name [16]byte, below uint64, limit int) ([]uint64, error) {
	s := l.signed.Load()
	if s == nil {
		return nil, nil
	}
	return l.index.find(g, name, min(below, s.Size), limit)
}

// View reads books and vault as of one head, and returns when that head is
// signed.
func (l *Ledger) View(ctx context.Context, read func(rows book.Reader) error) error {
	s, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	v := &view{r: s, kinds: l.books.Kinds}
	err = read(v)
	size := s.Head().Size
	s.Close()
	if v.err != nil {
		return v.err
	}
	if err != nil {
		return err
	}
	return l.awaitSigned(ctx, size)
}

func (l *Ledger) awaitSigned(ctx context.Context, size uint64) error {
	for {
		l.signedMu.Lock()
		more := l.signedMore
		l.signedMu.Unlock()
		if s := l.signed.Load(); size == 0 || s != nil && s.Size >= size {
			return nil
		}
		if l.cfg.ReadOnly {
			return nil // what is beyond the checkpoint was never shown, but it is durable
		}
		select {
		case <-more:
		case <-l.quit:
			return ErrStopped
		case <-l.failed:
			return ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

type view struct {
	r     store.Getter
	kinds book.Kinds
	err   error
}

func (v *view) Get(key string) book.Row {
	row, err := readRow(v.r, v.kinds, key)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return nil
	}
	return row
}

// Vault yields the rows of the vault whose keys begin with a prefix, in the order of
// their keys, as of one durable head. They are valid until yield returns.
func (l *Ledger) Vault(prefix string, yield func(key string, value []byte) error) error {
	return l.Peek(func(d Durable) error { return d.Vault(prefix, yield) })
}

// Leaves yields entries of the signed log in order.
func (l *Ledger) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	s := l.signed.Load()
	if s == nil || to > s.Size || from > to {
		return ErrNotFound
	}
	r, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	return r.Leaves(from, to, yield)
}

// Tile returns the first width hashes of a hash tile of the signed log.
func (l *Ledger) Tile(level int, index uint64, width int) ([]byte, error) {
	s := l.signed.Load()
	if s == nil {
		return nil, ErrNotFound
	}
	b, err := l.tree.TileData(level, index, width, s.Size)
	if errors.Is(err, tlog.ErrRange) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return b, err
}

// Inclusion is the proof of an entry in the tree of a size up to that of the signed log, from the leaf to the root.
func (l *Ledger) Inclusion(index, size uint64) ([]tlog.Hash, error) {
	if s := l.signed.Load(); s == nil || size > s.Size {
		return nil, ErrNotFound
	}
	return l.tree.Inclusion(nil, index, size)
}

// Node is the hash of a full subtree of the signed log, by its level and its place there.
func (l *Ledger) Node(level uint, index uint64) (tlog.Hash, error) {
	if s := l.signed.Load(); s == nil || level > 63 || index > s.Size>>level || (index+1)<<level > s.Size {
		return tlog.Hash{}, ErrNotFound
	}
	return l.tree.Node(compact.NewNodeID(level, index))
}

// shown is what Trillian's clients see: the newest checkpoint, at the time of the last
// entry under it, which is the same on whichever machine they ask.
func (l *Ledger) shown() (*trillian.Head, error) {
	s := l.signed.Load()
	if s == nil {
		return nil, nil
	}
	if h := l.head.Load(); h != nil && h.of == s {
		return &h.Head, nil
	}
	h := &shownHead{of: s, Head: trillian.Head{Size: s.Size, Root: s.Root, Checkpoint: s.Checkpoint}}
	if s.Size > 0 {
		leaf, err := l.store.Leaf(s.Size - 1)
		if err != nil {
			return nil, err
		}
		record, err := l.books.Decode(leaf)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %v", store.ErrCorrupt, s.Size-1, err)
		}
		h.At = record.Head().At.Std().UnixNano()
	}
	l.head.Store(h)
	return &h.Head, nil
}

// shownHead is the head of a checkpoint, kept until there is another.
type shownHead struct {
	of *Signed
	trillian.Head
}

// Root returns the root that the log had when it was of a size.
func (l *Ledger) Root(size uint64) (tlog.Hash, error) {
	s := l.signed.Load()
	if s == nil || size > s.Size {
		return tlog.Hash{}, ErrNotFound
	}
	return l.tree.Root(size)
}

// Consistency returns the proof that the signed log of one size continues that
// of a smaller one.
func (l *Ledger) Consistency(from, to uint64) ([]tlog.Hash, error) {
	s := l.signed.Load()
	if s == nil || to > s.Size || from > to {
		return nil, ErrNotFound
	}
	return l.tree.Consistency(from, to)
}
