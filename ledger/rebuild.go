package ledger

import (
	"context"
	"fmt"
	"slices"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/compact"
)

func (l *Ledger) leafHash(index uint64) (tlog.Hash, error) {
	return l.tree.Node(compact.NewNodeID(0, index))
}

// openFolds builds the rows anew when the code folds by another version than
// the stored rows were made by.
func (l *Ledger) openFolds(ctx context.Context, head store.Head) error {
	if head.Size == 0 || head.Folds == l.books.Version {
		return nil
	}
	l.cfg.Log.Info("building the books anew", "from", head.Folds, "to", l.books.Version, "entries", head.Size)
	b, err := l.store.BuildFolds(l.books.Version)
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	rows := &building{builder: b, kinds: l.books.Kinds, rows: map[string]book.Row{}}
	err = r.Leaves(0, head.Size, func(i uint64, leaf []byte) error {
		record, err := l.books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if err := l.books.Fold(rows, i, record); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if rows.err == nil && len(rows.rows) >= 1<<16 {
			rows.flush()
		}
		return rows.err
	})
	if err != nil {
		return err
	}
	if rows.flush(); rows.err != nil {
		return rows.err
	}
	return b.Swap(ctx, head)
}

// building is the state of a rebuild: rows in memory over those written so far.
type building struct {
	builder store.FoldsBuilder
	kinds   book.Kinds
	rows    map[string]book.Row
	changed []string
	err     error
}

func (b *building) Get(key string) book.Row {
	if r, ok := b.rows[key]; ok {
		return r
	}
	v, err := b.builder.Row([]byte(key))
	var r book.Row
	if err == nil && v != nil {
		r, err = b.kinds.Decode(key, v)
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	b.rows[key] = r
	return r
}

func (b *building) Put(key string, r book.Row) {
	b.rows[key] = r
	b.changed = append(b.changed, key)
}

func (b *building) flush() {
	slices.Sort(b.changed)
	var rows []store.Row
	for _, key := range slices.Compact(b.changed) {
		v, err := entry.AppendObject(nil, b.rows[key])
		if err != nil && b.err == nil {
			b.err = err
		}
		rows = append(rows, store.Row{Key: []byte(key), Value: v})
	}
	if b.err == nil {
		b.err = b.builder.Write(rows)
	}
	b.rows, b.changed = map[string]book.Row{}, nil
}
