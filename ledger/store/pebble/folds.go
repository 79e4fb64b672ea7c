package pebble

import (
	"context"
	"fmt"
	"math"

	"countroom/ledger/store"

	"github.com/cockroachdb/pebble/v2"
)

// foldsBuilder is a store.FoldsBuilder: its rows lie beside the current ones, under the key prefix of their version.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builder != nil {
		return nil, fmt.Errorf("%w: fold version %d is being built", store.ErrInvalid, s.builder.version)
	}
	switch head := s.view.head; {
	case head.Size == 0:
		return nil, fmt.Errorf("%w: the log is empty, its first batch chooses the fold version", store.ErrInvalid)
	case version == head.Folds:
		return nil, fmt.Errorf("%w: fold version %d is the current one", store.ErrInvalid, version)
	}
	s.builder = &foldsBuilder{s: s, version: version}
	return s.builder, nil
}

func (f *foldsBuilder) isDone() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.done
}

func (f *foldsBuilder) enter() error {
	if f.isDone() {
		return store.ErrClosed
	}
	return f.s.gate.Enter()
}

// Write implements store.FoldsBuilder.
func (f *foldsBuilder) Write(rows []store.Row) error {
	size, err := store.CheckRows("rows", rows)
	if err != nil {
		return err
	}
	if err := f.enter(); err != nil {
		return err
	}
	defer f.s.gate.Leave()
	return f.s.writeUnsynced(func(b *pebble.Batch) error {
		return putRows(b, rowsPrefix(nil, f.version), rows)
	}, pebble.WithInitialSizeBytes(size+len(rows)*16))
}

// Row implements store.FoldsBuilder.
func (f *foldsBuilder) Row(key []byte) ([]byte, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.s.gate.Leave()
	return f.s.latest(append(rowsPrefix(make([]byte, 0, 64), f.version), key...))
}

// Swap implements store.FoldsBuilder. The rows it makes current were written before it to the same write-ahead log, so its
// sync covers them.
func (f *foldsBuilder) Swap(ctx context.Context, at store.Head) error {
	if err := f.enter(); err != nil {
		return err
	}
	s := f.s
	defer s.gate.Leave()
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	head := s.view.head
	if head != at {
		return fmt.Errorf("%w: it is term %d, size %d, root %x, not term %d, size %d, root %x", store.ErrConflict,
			head.Term, head.Size, head.Root, at.Term, at.Size, at.Root)
	}
	old := rowsPrefix(nil, head.Folds)
	head.Folds = f.version
	s.batch.Reset()
	if err := s.batch.Set(keyHead, appendHead(nil, head), nil); err != nil {
		return err
	}
	if err := s.batch.DeleteRange(old, prefixEnd(old), nil); err != nil {
		return err
	}
	if err := s.write(s.db, s.batch, true); err != nil {
		return err
	}
	s.publish(head)
	f.finish()
	return nil
}

func (f *foldsBuilder) finish() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.done, f.s.builder = true, nil
}

// Close implements store.FoldsBuilder.
func (f *foldsBuilder) Close() error {
	if f.isDone() {
		return nil
	}
	if err := f.s.gate.Enter(); err != nil {
		return err
	}
	defer f.s.gate.Leave()
	space := rowsPrefix(nil, f.version)
	err := f.s.writeUnsynced(func(b *pebble.Batch) error { return b.DeleteRange(space, prefixEnd(space), nil) })
	f.finish()
	return err
}

// dropOtherFolds deletes what a builder left that was not closed.
func (s *Store) dropOtherFolds(current uint32) error {
	drop := func(from, to []byte) error {
		if empty, err := s.isEmpty(from, to); err != nil || empty {
			return err
		}
		return s.db.DeleteRange(from, to, pebble.NoSync)
	}
	if err := drop([]byte{kindRow}, rowsPrefix(nil, current)); err != nil {
		return err
	}
	if current == math.MaxUint32 {
		return nil
	}
	return drop(rowsPrefix(nil, current+1), []byte{kindRow + 1})
}
