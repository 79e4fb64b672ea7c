package pebble

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"countroom/ledger/store"

	"github.com/cockroachdb/pebble/v2"
)

// view is the durable state as of one head, shared by all who read it.
type view struct {
	snap *pebble.Snapshot
	head store.Head
	refs int
}

// indexView is the secondary indexes as of one cursor, likewise.
type indexView struct {
	snap   *pebble.Snapshot
	cursor uint64
	refs   int
}

// state is what one reader sees. The cursor is never beyond the head, as only durable leaves are indexed.
type state struct {
	*view
	indexed *indexView
}

// publish makes what has been written the state that is read. It is called under commitMu, so that nothing is applied and
// not yet synced, but for what needs no sync.
func (s *Store) publish(head store.Head) {
	v := &view{snap: s.db.NewSnapshot(), head: head, refs: 1}
	s.mu.Lock()
	old := s.view
	s.view = v
	s.mu.Unlock()
	if err := s.release(old); err != nil {
		s.log.Error("close snapshot", "error", err.Error())
	}
}

// publishIndex makes what has been written to the indexes what is read. It is called under indexMu.
func (s *Store) publishIndex(cursor uint64) {
	v := &indexView{snap: s.indexes.NewSnapshot(), cursor: cursor, refs: 1}
	s.mu.Lock()
	old := s.indexed
	s.indexed = v
	s.mu.Unlock()
	if err := s.releaseIndex(old); err != nil {
		s.log.Error("close snapshot", "error", err.Error())
	}
}

func (s *Store) acquire() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.refs++
	s.indexed.refs++
	return state{s.view, s.indexed}
}

func (s *Store) release(v *view) error {
	s.mu.Lock()
	v.refs--
	last := v.refs == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	return v.snap.Close()
}

func (s *Store) releaseIndex(v *indexView) error {
	s.mu.Lock()
	v.refs--
	last := v.refs == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	return v.snap.Close()
}

func (s *Store) releaseState(v state) error {
	return errors.Join(s.release(v.view), s.releaseIndex(v.indexed))
}

// get returns a copy of a value, nil when absent.
func get(from pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, damage(err)
	}
	out := make([]byte, len(value)) // not nil when empty
	copy(out, value)
	return out, closer.Close()
}

// damage makes Pebble's corruption errors ErrCorrupt.
func damage(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// latest reads a key as last written, durable or not.
func (s *Store) latest(key []byte) ([]byte, error) { return get(s.db, key) }

func (v *view) row(key []byte) ([]byte, error) {
	return get(v.snap, append(rowsPrefix(make([]byte, 0, 64), v.head.Folds), key...))
}

func (v *view) vault(key []byte) ([]byte, error) {
	return get(v.snap, append(append(make([]byte, 0, 64), kindVault), key...))
}

func (v state) row(key []byte) ([]byte, error)   { return v.view.row(key) }
func (v state) vault(key []byte) ([]byte, error) { return v.view.vault(key) }

func (v state) index(key []byte) ([]byte, error) {
	return get(v.indexed.snap, append(append(make([]byte, 0, 64), kindIndex), key...))
}

func (v *view) tile(level int, index uint64) ([]byte, error) {
	if level < 0 || level > store.MaxTileLevel {
		return nil, fmt.Errorf("%w: tile level %d, want 0 to %d", store.ErrInvalid, level, store.MaxTileLevel)
	}
	data, err := get(v.snap, tileKey(make([]byte, 0, 16), level, index))
	if err == nil && data != nil && len(data) != store.TileSize {
		err = fmt.Errorf("%w: tile (level %d, index %d) has %d bytes", store.ErrCorrupt, level, index, len(data))
	}
	return data, err
}

func (v *view) leaf(index uint64) (leaf []byte, err error) {
	if index >= v.head.Size {
		return nil, fmt.Errorf("%w: leaf %d of a log of size %d", store.ErrInvalid, index, v.head.Size)
	}
	err = v.leaves(index, index+1, func(_ uint64, b []byte) error {
		leaf = make([]byte, len(b))
		copy(leaf, b)
		return nil
	})
	return leaf, err
}

func (v *view) leaves(from, to uint64, yield func(uint64, []byte) error) (err error) {
	if from > to || to > v.head.Size {
		return fmt.Errorf("%w: leaves %d to %d of a log of size %d", store.ErrInvalid, from, to, v.head.Size)
	}
	if from == to {
		return nil
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{
		LowerBound: []byte{kindLeaves},
		UpperBound: leavesKey(make([]byte, 0, 9), to),
	})
	if err != nil {
		return damage(err)
	}
	defer func() { err = cmp.Or(err, it.Close()) }()

	// The row that holds leaf from is the last one whose first leaf is not after it.
	it.SeekLT(leavesKey(make([]byte, 0, 9), from+1))
	for next := from; next < to; it.Next() {
		if !it.Valid() {
			if err := it.Error(); err != nil {
				return damage(err)
			}
			return fmt.Errorf("%w: leaf %d is missing", store.ErrCorrupt, next)
		}
		packed, err := it.ValueAndErr()
		if err != nil {
			return damage(err)
		}
		first, err := parseLeavesKey(it.Key())
		if err != nil {
			return err
		}
		if first > next || next > from && first != next {
			return fmt.Errorf("%w: leaves %d and %d do not follow one another", store.ErrCorrupt, next, first)
		}
		for at := first; len(packed) > 0 && next < to; at++ {
			var leaf []byte
			if leaf, packed, err = unpackLeaf(packed); err != nil {
				return err
			}
			if at < next {
				continue
			}
			if err := yield(at, leaf); err != nil {
				return stopped(err)
			}
			next++
		}
	}
	return nil
}

// scan yields the rows with from <= key < to, their keys without the first strip bytes.
func scan(in pebble.Reader, from, to []byte, strip int, reverse bool, yield func(store.Row) error) (err error) {
	it, err := in.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return damage(err)
	}
	defer func() { err = cmp.Or(err, it.Close()) }()
	start, step := it.First, it.Next
	if reverse {
		start, step = it.Last, it.Prev
	}
	for ok := start(); ok; ok = step() {
		value, err := it.ValueAndErr()
		if err != nil {
			return damage(err)
		}
		key := it.Key()[strip:]
		if err := yield(store.Row{Key: key[:len(key):len(key)], Value: value}); err != nil {
			return stopped(err)
		}
	}
	return damage(it.Error())
}

func stopped(err error) error {
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}

// read calls a method of the newest state.
func read[T any](s *Store, method func(state) (T, error)) (value T, err error) {
	if err := s.gate.Enter(); err != nil {
		return value, err
	}
	defer s.gate.Leave()
	v := s.acquire()
	value, err = method(v)
	return value, cmp.Or(err, s.releaseState(v))
}

// Head implements store.Getter.
func (s *Store) Head() store.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view.head
}

// Row implements store.Getter.
func (s *Store) Row(key []byte) ([]byte, error) {
	return read(s, func(v state) ([]byte, error) { return v.row(key) })
}

// Vault implements store.Getter.
func (s *Store) Vault(key []byte) ([]byte, error) {
	return read(s, func(v state) ([]byte, error) { return v.vault(key) })
}

// Index implements store.Getter.
func (s *Store) Index(key []byte) ([]byte, error) {
	return read(s, func(v state) ([]byte, error) { return v.index(key) })
}

// IndexCursor implements store.Getter.
func (s *Store) IndexCursor() (uint64, error) {
	return read(s, func(v state) (uint64, error) { return v.indexed.cursor, nil })
}

// Leaf implements store.Getter.
func (s *Store) Leaf(index uint64) ([]byte, error) {
	return read(s, func(v state) ([]byte, error) { return v.leaf(index) })
}

// Tile implements store.Getter.
func (s *Store) Tile(level int, index uint64) ([]byte, error) {
	return read(s, func(v state) ([]byte, error) { return v.tile(level, index) })
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() (store.Reader, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	r := &reader{s: s, view: s.acquire()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[r] = struct{}{}
	return r, nil
}

// reader is a store.Reader: a state that is held on to.
type reader struct {
	s      *Store
	view   state
	closed atomic.Bool
}

func (r *reader) enter() error {
	if r.closed.Load() {
		return store.ErrClosed
	}
	return r.s.gate.Enter()
}

func (r *reader) get(method func(state, []byte) ([]byte, error), key []byte) ([]byte, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.s.gate.Leave()
	return method(r.view, key)
}

func (r *reader) Head() store.Head                 { return r.view.head }
func (r *reader) Row(key []byte) ([]byte, error)   { return r.get(state.row, key) }
func (r *reader) Vault(key []byte) ([]byte, error) { return r.get(state.vault, key) }
func (r *reader) Index(key []byte) ([]byte, error) { return r.get(state.index, key) }

func (r *reader) IndexCursor() (uint64, error) {
	if err := r.enter(); err != nil {
		return 0, err
	}
	defer r.s.gate.Leave()
	return r.view.indexed.cursor, nil
}

func (r *reader) Leaf(index uint64) ([]byte, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.s.gate.Leave()
	return r.view.leaf(index)
}

func (r *reader) Tile(level int, index uint64) ([]byte, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.s.gate.Leave()
	return r.view.tile(level, index)
}

func (r *reader) Leaves(from, to uint64, yield func(uint64, []byte) error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	return r.view.leaves(from, to, yield)
}

func (r *reader) ScanRows(prefix []byte, yield func(store.Row) error) error {
	return r.scanPrefix(rowsPrefix(nil, r.view.head.Folds), prefix, yield)
}

func (r *reader) ScanVault(prefix []byte, yield func(store.Row) error) error {
	return r.scanPrefix([]byte{kindVault}, prefix, yield)
}

func (r *reader) scanPrefix(space, prefix []byte, yield func(store.Row) error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	from := slices.Concat(space, prefix)
	return scan(r.view.snap, from, prefixEnd(from), len(space), false, yield)
}

func (r *reader) ScanIndex(from, to []byte, reverse bool, yield func(store.Row) error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	lower, upper := append([]byte{kindIndex}, from...), []byte{kindIndex + 1}
	if to != nil {
		upper = append([]byte{kindIndex}, to...)
	}
	return scan(r.view.indexed.snap, lower, upper, 1, reverse, yield)
}

func (r *reader) Close() error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	if r.closed.Swap(true) {
		return store.ErrClosed
	}
	r.s.mu.Lock()
	delete(r.s.readers, r)
	r.s.mu.Unlock()
	return r.s.releaseState(r.view)
}
