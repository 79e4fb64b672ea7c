package ledger

import (
	"context"
	"fmt"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"
)

// Batch is one step of a log, from which rows, tiles and head follow.
type Batch struct {
	Term   uint64
	Base   uint64 // size of the log before
	At     int64  // Unix nanoseconds, later than the batch before
	Leaves [][]byte
	Vault  []store.Row // personal data that was written beside them
	Root   *tlog.Hash  // of the log after; nil when it is not known yet
}

// Applier makes the log in a store longer, one batch at a time. It is the only
// road by which anything gets there: the writer commits by it, and whoever
// copies or rebuilds a log applies its batches by it, with the same result.
type Applier struct {
	store  store.Store
	books  Books
	tree   *tlog.Tree
	driver *trillian.Log
}

// NewApplier readies a store: it rebuilds the edge of its Merkle tree and holds
// it against the head.
func NewApplier(st store.Store, books Books) (*Applier, error) {
	r, err := st.Snapshot()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	head := r.Head()
	var tail []tlog.Hash
	err = r.Leaves(head.Size-head.Size%tlog.TileWidth, head.Size, func(_ uint64, leaf []byte) error {
		tail = append(tail, tlog.LeafHash(leaf))
		return nil
	})
	if err != nil {
		return nil, err
	}
	a := &Applier{store: st, books: books}
	if a.tree, err = tlog.NewTree(head.Size, st.Tile, tail); err != nil {
		return nil, err
	}
	root, err := a.tree.Root(head.Size)
	if err != nil {
		return nil, err
	}
	if head.Size > 0 && root != head.Root {
		return nil, fmt.Errorf("%w: the leaves of size %d have the root %x, the head says %x", store.ErrCorrupt, head.Size, root, head.Root)
	}
	a.driver = trillian.New(st, a.tree)
	return a, nil
}

// Apply folds a batch that was made elsewhere and commits it. A batch that
// breaks a rule or leads to another root changes nothing.
func (a *Applier) Apply(ctx context.Context, b Batch) error {
	if size := a.store.Head().Size; size != b.Base {
		return fmt.Errorf("%w: the store is at size %d, the batch at %d", store.ErrConflict, size, b.Base)
	}
	rows := &staged{store: a.store, kinds: a.books.Kinds, at: map[string]int{}, read: map[string]book.Row{}}
	for i, leaf := range b.Leaves {
		record, err := a.books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", b.Base+uint64(i), err)
		}
		if err := a.books.Fold(rows, b.Base+uint64(i), record); err != nil {
			return fmt.Errorf("entry %d: %w", b.Base+uint64(i), err)
		}
		if rows.err != nil {
			return rows.err
		}
	}
	_, err := a.commit(ctx, b, rows.changed, nil)
	return err
}

// commit makes a batch durable with the rows that its folds made.
func (a *Applier) commit(ctx context.Context, b Batch, rows []dirty, checkpoint []byte) (store.Head, error) {
	prev := a.store.Head()
	if prev.Size != b.Base {
		return prev, fmt.Errorf("%w: the store is at size %d, the batch at %d", store.ErrConflict, prev.Size, b.Base)
	}
	sb := &store.Batch{
		Prev: prev, Next: store.Head{Term: b.Term, At: max(b.At, prev.At+1), Folds: a.books.Version},
		Leaves: b.Leaves, Vault: b.Vault, Checkpoint: checkpoint,
	}
	arena := make([]byte, 0, 160*len(rows))
	sb.Rows = make([]store.Row, 0, len(rows))
	for i := range rows {
		k := len(arena)
		arena = append(arena, rows[i].key...)
		n := len(arena)
		key := arena[k:n:n]
		if v, ok := rows[i].row.(*VaultRow); ok {
			sb.Vault = append(sb.Vault, store.Row{Key: key, Value: v.Value})
			continue
		}
		var err error
		if arena, err = entry.AppendObject(arena, rows[i].row); err != nil {
			return prev, fmt.Errorf("row %s: %w", rows[i].key, err)
		}
		sb.Rows = append(sb.Rows, store.Row{Key: key, Value: arena[n:len(arena):len(arena)]})
	}
	if len(b.Leaves) == 0 { // rows of the vault alone: the tree stays as it is
		if len(sb.Rows) > 0 {
			return prev, fmt.Errorf("%d rows of books without an entry that they follow from", len(sb.Rows))
		}
		sb.Next.Size, sb.Next.Root = prev.Size, prev.Root
		if err := a.store.Commit(ctx, sb); err != nil {
			return prev, err
		}
		return sb.Next, nil
	}
	if err := a.driver.Integrate(ctx, sb, b.Root); err != nil {
		return prev, err
	}
	return sb.Next, nil
}

// staged are the rows of one batch over those of the store.
type staged struct {
	store   store.Getter
	kinds   book.Kinds
	at      map[string]int      // position in changed
	read    map[string]book.Row // those of the store that were asked for
	changed []dirty
	err     error
}

func (s *staged) Get(key string) book.Row {
	if i, ok := s.at[key]; ok {
		return s.changed[i].row
	}
	row, ok := s.read[key]
	if !ok {
		var err error
		if row, err = readRow(s.store, s.kinds, key); err != nil && s.err == nil {
			s.err = err
		}
		s.read[key] = row
	}
	return row
}

func (s *staged) Put(key string, r book.Row) {
	if i, ok := s.at[key]; ok {
		s.changed[i].row = r
		return
	}
	s.at[key] = len(s.changed)
	s.changed = append(s.changed, dirty{key, r})
}
