package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"countroom/ledger/store"

	"github.com/jackc/pgx/v5"
)

// foldsBuilder is a store.FoldsBuilder: its rows stand beside the current ones, under their version. They are written
// unsynced, and a server that dies may lose the last of them while the store goes on with the next server. So they are
// counted beside themselves, under the empty key, which no row has: each write, and the swap, finds all before it or fails.
type foldsBuilder struct {
	s       *Store
	version uint32
	token   [8]byte // of this builder among all
	writes  uint64
	done    bool // guarded by Store.mu
}

// mark is what stands under the empty key after so many writes.
func (f *foldsBuilder) mark(writes uint64) []byte {
	return binary.BigEndian.AppendUint64(f.token[:], writes)
}

func (f *foldsBuilder) queueMark(b *pgx.Batch, writes uint64) {
	b.Queue("INSERT INTO countroom.rows (folds, key, value) VALUES ($1, '', $2) ON CONFLICT (folds, key) DO UPDATE SET value = excluded.value", int64(f.version), f.mark(writes))
}

// queueMarked ends a transaction unless one of the marks is there: where none is the division fails.
func (f *foldsBuilder) queueMarked(b *pgx.Batch, marks ...[]byte) {
	b.Queue("SELECT 1 / count(*) FROM countroom.rows WHERE folds = $1 AND key = '' AND value = ANY ($2::bytea[])", int64(f.version), marks)
}

// BuildFolds implements store.Store.
func (s *Store) BuildFolds(version uint32) (store.FoldsBuilder, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	if err := s.mayWrite(context.Background()); err != nil {
		return nil, err
	}
	f, err := s.beginBuilder(version)
	if err != nil {
		return nil, err
	}
	s.stopTidying()
	rand.Read(f.token[:])
	err = s.unsynced(func(b *pgx.Batch) {
		f.queueDrop(b) // an earlier builder may have left rows
		f.queueMark(b, 0)
	})
	if err != nil {
		f.finish()
		return nil, err
	}
	return f, nil
}

func (s *Store) beginBuilder(version uint32) (*foldsBuilder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.builder != nil:
		return nil, fmt.Errorf("%w: fold version %d is being built", store.ErrInvalid, s.builder.version)
	case s.head.Size == 0:
		return nil, fmt.Errorf("%w: the log is empty, its first batch chooses the fold version", store.ErrInvalid)
	case version == s.head.Folds:
		return nil, fmt.Errorf("%w: fold version %d is the current one", store.ErrInvalid, version)
	}
	s.builder = &foldsBuilder{s: s, version: version}
	return s.builder, nil
}

func (f *foldsBuilder) queueDrop(b *pgx.Batch) {
	b.Queue("DELETE FROM countroom.rows WHERE folds = $1", int64(f.version))
}

func (f *foldsBuilder) enter() error {
	f.s.mu.Lock()
	done := f.done
	f.s.mu.Unlock()
	if done {
		return store.ErrClosed
	}
	return f.s.gate.Enter()
}

// Write implements store.FoldsBuilder.
func (f *foldsBuilder) Write(rows []store.Row) error {
	if _, err := store.CheckRows("rows", rows); err != nil {
		return err
	}
	if err := f.enter(); err != nil {
		return err
	}
	defer f.s.gate.Leave()
	version := int64(f.version)
	err := f.s.unsynced(func(b *pgx.Batch) {
		f.queueMarked(b, f.mark(f.writes), f.mark(f.writes+1)) // it may be sent twice
		queueRows(b, "countroom.rows", &version, rows)
		f.queueMark(b, f.writes+1)
	})
	if err == nil {
		f.writes++
	}
	return err
}

// Row implements store.FoldsBuilder.
func (f *foldsBuilder) Row(key []byte) ([]byte, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.s.gate.Leave()
	return get(f.s.read).row(f.version, key)
}

// Swap implements store.FoldsBuilder. The rows it makes current were committed before it, so what makes it durable covers
// them.
func (f *foldsBuilder) Swap(ctx context.Context, at store.Head) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.s.gate.Leave()
	next := at
	next.Folds = f.version
	err := f.s.move(ctx, at, next, func(b *pgx.Batch) {
		f.queueMarked(b, f.mark(f.writes))
		b.Queue("DELETE FROM countroom.rows WHERE folds = $1 AND key = ''", int64(f.version))
	})
	if err != nil {
		return err
	}
	f.finish()
	return nil
}

func (f *foldsBuilder) finish() {
	f.s.mu.Lock()
	f.done, f.s.builder = true, nil
	f.s.mu.Unlock()
	f.s.tidy()
}

// Close implements store.FoldsBuilder.
func (f *foldsBuilder) Close() error {
	f.s.mu.Lock()
	done := f.done
	f.s.mu.Unlock()
	if done {
		return nil
	}
	if err := f.s.gate.Enter(); err != nil {
		return err
	}
	defer f.s.gate.Leave()
	err := f.s.unsynced(f.queueDrop)
	f.finish()
	return err
}

// tidyPage is how many rows are deleted at a time, so that nothing waits long.
const tidyPage = 5000

// tidy deletes, in the background, the rows of fold versions that are not current: those before a swap, and what a builder
// left that was never closed. It does not run while there is a builder.
func (s *Store) tidy() {
	s.stopTidying()
	s.tidyMu.Lock()
	defer s.tidyMu.Unlock()
	head := s.Head()
	if s.closed.Load() || head.Size == 0 { // the first batch is yet to choose the version
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.tidying = cancel
	current := int64(head.Folds)
	s.tidied.Go(func() {
		for ctx.Err() == nil {
			tag, err := s.pool.Exec(ctx, `DELETE FROM countroom.rows WHERE ctid = ANY (ARRAY(
				(SELECT ctid FROM countroom.rows WHERE folds < $1 LIMIT $2) UNION ALL (SELECT ctid FROM countroom.rows WHERE folds > $1 LIMIT $2)))`,
				current, tidyPage)
			if err == nil && tag.RowsAffected() == 0 {
				return
			}
			if err != nil { // it can wait; the next start goes on
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}
	})
}

func (s *Store) stopTidying() {
	s.tidyMu.Lock()
	defer s.tidyMu.Unlock()
	if s.tidying != nil {
		s.tidying()
		s.tidied.Wait()
		s.tidying = nil
	}
}
