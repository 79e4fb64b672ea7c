package postgres

import (
	"context"
	"fmt"
	"time"

	"countroom/ledger/store"

	"github.com/jackc/pgx/v5"
)

// foldsBuilder is a store.FoldsBuilder: its rows stand beside the current ones, under their version.
type foldsBuilder struct {
	s       *Store
	version uint32
	done    bool // guarded by Store.mu
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
	if err := f.empty(); err != nil { // an earlier builder may have left rows
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

func (f *foldsBuilder) empty() error {
	return f.s.unsynced(func(b *pgx.Batch) { b.Queue("DELETE FROM countroom.rows WHERE folds = $1", int64(f.version)) })
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
	return f.s.unsynced(func(b *pgx.Batch) { queueRows(b, "countroom.rows", &version, rows) })
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
	if err := f.s.move(ctx, at, next, func(*pgx.Batch) {}); err != nil {
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
	err := f.empty()
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
