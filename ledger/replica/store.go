package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"countroom/ledger/store"
	"countroom/ledger/tlog"
)

// Store is the ledger's store on a machine of a pair. Commit has the batch committed by the group first; everything else
// is that of the store inside. It is also the node's Machine: what the other machine proposed it applies by way of the
// function given to OnApply, which folds the leaves and commits to Local.
//
// Its rows of the vault under replica/ are nobody else's business, and not shown.
type Store struct {
	inner store.Store
	local *local
	// Evidence is a directory for what is not a beginning of the group's history; empty keeps none.
	Evidence string

	node   atomic.Pointer[Node]
	apply  func(context.Context, Batch) error
	closed atomic.Bool
	own    sync.Mutex   // one Commit at a time
	writes sync.Mutex   // one write of the inner store at a time, with what goes into it beside
	beside *accompanies // of the write under way; nil adds nothing
	// freely lets batches have terms of their own: the conformance suite's store knows of no consensus.
	freely bool
}

// accompanies is what a local commit is to contain beside what its caller wrote.
type accompanies struct {
	index      uint64
	checkpoint []byte
	done       bool
}

const (
	reserved   = "replica/"
	appliedKey = "replica/applied"
)

var _ store.Store = (*Store)(nil)
var _ Machine = (*Store)(nil)

// NewStore wraps the store of this machine.
func NewStore(inner store.Store) *Store {
	s := &Store{inner: inner}
	s.local = &local{Store: s}
	return s
}

// Attach tells the store its node, which was opened with the store as its machine.
func (s *Store) Attach(n *Node) { s.node.Store(n) }

// OnApply sets what folds a batch that another machine proposed, and commits it to Local. It is set before the node is
// opened. Batches without leaves, and what is known here already, do not get there.
func (s *Store) OnApply(f func(context.Context, Batch) error) { s.apply = f }

// Local is the same store, but its Commit asks nobody: it is for the function given to OnApply alone.
func (s *Store) Local() store.Store { return s.local }

// Commit has b committed by the group, and then by the store inside together with the entry's index. ErrNotActive comes
// as a store.ErrConflict: nothing was written. ErrOutcomeUnknown says that this machine is not the active one any more;
// the store goes on, and will have the batch if the group has it.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	s.own.Lock()
	defer s.own.Unlock()
	if err := s.ready(ctx, b); err != nil {
		return err
	}
	n := s.node.Load()
	if n == nil {
		return fmt.Errorf("%w: %w", store.ErrConflict, ErrNotActive)
	}
	term := b.Next.Term
	if s.freely {
		term = n.Role().Term
	}
	data := AppendBatch(nil, Batch{
		Term: b.Next.Term, Base: b.Prev.Size, At: b.Next.At, Folds: b.Next.Folds, Root: &b.Next.Root,
		Leaves: b.Leaves, Vault: b.Vault, Checkpoint: b.Checkpoint,
	})
	err := n.Propose(ctx, term, data, func(index uint64) error {
		return s.commitHere(context.Background(), b, &accompanies{index: index, checkpoint: b.Checkpoint})
	})
	if errors.Is(err, ErrNotActive) {
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	}
	return err
}

// ready says what is wrong before anything is proposed: what the group has committed must succeed here.
func (s *Store) ready(ctx context.Context, b *store.Batch) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	if err := b.Check(); err != nil {
		return err
	}
	for i, r := range b.Vault {
		if bytes.HasPrefix(r.Key, []byte(reserved)) {
			return fmt.Errorf("%w: Vault[%d].Key begins with %s", store.ErrInvalid, i, reserved)
		}
	}
	with := *b
	with.Vault = append(slices.Clip(b.Vault), appliedRow(0))
	if err := with.Check(); err != nil {
		return err
	}
	if head := s.inner.Head(); head != b.Prev {
		return fmt.Errorf("%w: it is %+v, want %+v", store.ErrConflict, head, b.Prev)
	}
	return ctx.Err()
}

func appliedRow(index uint64) store.Row {
	return store.Row{Key: []byte(appliedKey), Value: binary.BigEndian.AppendUint64(nil, index)}
}

// commitHere commits to the inner store with what is to go beside.
func (s *Store) commitHere(ctx context.Context, b *store.Batch, with *accompanies) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.beside = with
	defer func() { s.beside = nil }()
	return s.put(ctx, b)
}

func (s *Store) put(ctx context.Context, b *store.Batch) error {
	w := s.beside
	if w == nil {
		return s.inner.Commit(ctx, b)
	}
	with := *b
	if w.index > 0 {
		with.Vault = append(slices.Clip(b.Vault), appliedRow(w.index))
	}
	with.Checkpoint = w.checkpoint
	if err := s.inner.Commit(ctx, &with); err != nil {
		return err
	}
	w.done = true
	return nil
}

// local is the store whose Commit asks nobody.
type local struct{ *Store }

func (l *local) Commit(ctx context.Context, b *store.Batch) error { return l.put(ctx, b) }

// Applied implements Machine.
func (s *Store) Applied() (uint64, error) {
	b, err := s.inner.Vault([]byte(appliedKey))
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: the row %s has %d bytes, want 8", store.ErrCorrupt, appliedKey, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// Empty implements Machine.
func (s *Store) Empty() (bool, error) { return s.inner.Head() == store.Head{}, nil }

// Apply implements Machine. What a batch has and the store has already (a state that was taken over in part) must be the
// same.
func (s *Store) Apply(index, term uint64, data []byte) error {
	b, err := DecodeBatch(data)
	if err != nil {
		return err
	}
	if b.Term != term && !s.freely {
		return fmt.Errorf("%w: the batch is of term %d", ErrDiverged, b.Term)
	}
	head := s.inner.Head()
	if b.Base > head.Size {
		return fmt.Errorf("%w: the batch follows %d leaves, this machine has %d", ErrDiverged, b.Base, head.Size)
	}
	known := int(min(head.Size-b.Base, uint64(len(b.Leaves))))
	for i, want := range b.Leaves[:known] {
		leaf, err := s.inner.Leaf(b.Base + uint64(i))
		if err != nil {
			return err
		}
		if !bytes.Equal(leaf, want) {
			return s.diverged(b.Base+uint64(i), fmt.Errorf("leaf %d is another", b.Base+uint64(i)))
		}
	}
	if known > 0 {
		b.Base, b.Leaves = b.Base+uint64(known), b.Leaves[known:]
	}
	if b.Base < head.Size { // as the batch began before a state that goes on after it
		b.Root = nil
	}
	if b.Base == head.Size && len(b.Leaves) == 0 && b.Root != nil && *b.Root != head.Root {
		return s.diverged(0, fmt.Errorf("the root of %d leaves is %x, the group's %x", head.Size, head.Root, *b.Root))
	}
	if err := s.applyHere(b, &accompanies{index: index, checkpoint: b.Checkpoint}); err != nil {
		return err
	}
	if now := s.inner.Head(); b.Root != nil && now.Root != *b.Root {
		return s.diverged(b.Base, fmt.Errorf("the root of %d leaves is %x, the group's %x", now.Size, now.Root, *b.Root))
	}
	return nil
}

// applyHere makes a batch durable here: one with leaves by way of the folds.
func (s *Store) applyHere(b Batch, with *accompanies) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.beside = with
	defer func() { s.beside = nil }()
	var err error
	if len(b.Leaves) > 0 {
		err = s.apply(context.Background(), b)
	} else {
		prev := s.inner.Head()
		next := prev
		next.Term, next.At = max(prev.Term, b.Term), max(b.At, prev.At+1)
		if prev.Size == 0 {
			next.Folds = b.Folds
		}
		err = s.put(context.Background(), &store.Batch{Prev: prev, Next: next, Vault: b.Vault})
	}
	if err == nil && !with.done {
		err = errors.New("the batch was applied and not committed to the local store")
	}
	return err
}

// diverged says that this machine's leaves are not those of the group, and keeps them from one on.
func (s *Store) diverged(from uint64, why error) error {
	err := fmt.Errorf("%w: %w. Nothing was changed; remove this node from the group, keep its directory, and let the machine join under a new name with an empty one", ErrDiverged, why)
	if s.Evidence == "" {
		return err
	}
	name, kerr := s.keep(from)
	if kerr != nil {
		return errors.Join(err, fmt.Errorf("its leaves could not be copied: %w", kerr))
	}
	return fmt.Errorf("%w; its leaves from %d on are in %s", err, from, name)
}

// keep writes the leaves from one on as an entry bundle of c2sp.org/tlog-tiles.
func (s *Store) keep(from uint64) (name string, err error) {
	r, err := s.inner.Snapshot()
	if err != nil {
		return "", err
	}
	defer r.Close()
	if err := os.MkdirAll(s.Evidence, 0o700); err != nil {
		return "", err
	}
	size := r.Head().Size
	name = filepath.Join(s.Evidence, fmt.Sprintf("diverged-%d-to-%d", from, size))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return name, nil // from an earlier start
	}
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	err = r.Leaves(from, size, func(_ uint64, leaf []byte) error {
		_, err := w.Write(tlog.AppendBundle(nil, leaf))
		return err
	})
	return name, errors.Join(err, w.Flush(), f.Sync(), f.Close())
}

// Have implements Machine.
func (s *Store) Have() ([]byte, error) {
	head := s.inner.Head()
	return append(binary.BigEndian.AppendUint64(nil, head.Size), head.Root[:]...), nil
}

// State implements Machine: the leaves that are missing, the whole vault, and the head. Rows and tiles follow.
func (s *Store) State(have []byte) (func(io.Writer) error, error) {
	if len(have) != 40 {
		return nil, fmt.Errorf("what a machine has is described by %d bytes, want 40", len(have))
	}
	from, root := binary.BigEndian.Uint64(have), store.Hash(have[8:])
	r, err := s.inner.Snapshot()
	if err != nil {
		return nil, err
	}
	head := r.Head()
	if err := begins(r, from, root); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	checkpoint, err := s.inner.Checkpoint()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return func(out io.Writer) error {
		defer r.Close()
		if out == nil {
			return nil
		}
		w := bufio.NewWriterSize(out, chunkBytes)
		if _, err := w.Write(AppendBatch(nil, Batch{Term: head.Term, Base: from, At: head.At, Folds: head.Folds, Root: &head.Root, Checkpoint: checkpoint})); err != nil {
			return err
		}
		if err := binary.Write(w, binary.BigEndian, head.Size); err != nil {
			return err
		}
		var b []byte
		err := r.Leaves(from, head.Size, func(_ uint64, leaf []byte) error {
			b = append(binary.BigEndian.AppendUint16(b[:0], uint16(len(leaf))), leaf...)
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return err
		}
		err = r.ScanVault(nil, func(row store.Row) error {
			if bytes.HasPrefix(row.Key, []byte(reserved)) {
				return nil
			}
			b = appendRow(append(b[:0], 1), row)
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return err
		}
		if err := w.WriteByte(0); err != nil {
			return err
		}
		return w.Flush()
	}, nil
}

// begins wants a log to begin with size leaves of a root.
func begins(r store.Reader, size uint64, root store.Hash) error {
	head := r.Head()
	if size > head.Size {
		return fmt.Errorf("%w: it has %d leaves, the group %d", ErrDiverged, size, head.Size)
	}
	if size == 0 {
		return nil
	}
	var tail []tlog.Hash
	err := r.Leaves(head.Size-head.Size%tlog.TileWidth, head.Size, func(_ uint64, leaf []byte) error {
		tail = append(tail, tlog.LeafHash(leaf))
		return nil
	})
	if err != nil {
		return err
	}
	tree, err := tlog.NewTree(head.Size, r.Tile, tail)
	if err != nil {
		return err
	}
	got, err := tree.Root(size)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("%w: the root of its %d leaves is %x, the group's %x", ErrDiverged, size, root, got)
	}
	return nil
}

const (
	restoreLeaves = 2048
	restoreBytes  = 4 << 20
	// batchHead is the length of an encoded batch without leaves, vault and checkpoint.
	batchHead = 8 + 8 + 8 + 4 + 32 + 4 + 4 + 1
)

// Restore implements Machine. The leaves are folded in steps, each durable; then the vault is made the same, and the last
// step says so.
func (s *Store) Restore(index uint64, in io.Reader) error {
	r := bufio.NewReaderSize(in, chunkBytes)
	bad := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errCutOff
		}
		return fmt.Errorf("a state: %w", err)
	}
	b, size, err := readStateOf(r)
	if err != nil {
		return bad(err)
	}
	if have := s.inner.Head().Size; b.Base != have || size < have {
		return fmt.Errorf("a state that goes from %d leaves to %d, want from %d", b.Base, size, have)
	}
	step := Batch{Term: b.Term, Folds: b.Folds}
	bytes := 0
	flush := func() error {
		if len(step.Leaves) == 0 {
			return nil
		}
		head := s.inner.Head()
		step.Base, step.At = head.Size, head.At+1
		if err := s.applyHere(step, &accompanies{}); err != nil {
			return err
		}
		step.Leaves, bytes = nil, 0
		return nil
	}
	for range size - b.Base {
		leaf, err := readShort(r)
		if err != nil {
			return bad(err)
		}
		step.Leaves = append(step.Leaves, leaf)
		if bytes += len(leaf); len(step.Leaves) >= restoreLeaves || bytes >= restoreBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if head := s.inner.Head(); head.Root != *b.Root {
		return s.diverged(b.Base, fmt.Errorf("the root of %d leaves is %x, the group's %x", head.Size, head.Root, *b.Root))
	}
	if err := s.restoreVault(r); err != nil {
		return bad(err)
	}
	return s.applyHere(Batch{Term: b.Term, At: b.At, Folds: b.Folds}, &accompanies{index: index, checkpoint: b.Checkpoint})
}

// readStateOf reads the beginning of a state.
func readStateOf(r *bufio.Reader) (b Batch, size uint64, err error) {
	head := make([]byte, batchHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return b, 0, err
	}
	if head[batchHead-1] == 1 {
		var n [4]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return b, 0, err
		}
		rest := binary.BigEndian.Uint32(n[:])
		if rest > headMost {
			return b, 0, fmt.Errorf("a checkpoint of %d bytes, want at most %d", rest, headMost)
		}
		head = append(append(head, n[:]...), make([]byte, rest)...)
		if _, err := io.ReadFull(r, head[batchHead+4:]); err != nil {
			return b, 0, err
		}
	}
	if b, err = DecodeBatch(head); err != nil {
		return b, 0, err
	}
	err = binary.Read(r, binary.BigEndian, &size)
	return b, size, err
}

func readShort(r io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func readRow(r *bufio.Reader) (row store.Row, end bool, err error) {
	more, err := r.ReadByte()
	if err != nil || more == 0 {
		return row, true, err
	}
	if row.Key, err = readShort(r); err != nil {
		return row, false, err
	}
	there, err := r.ReadByte()
	if err != nil {
		return row, false, err
	}
	var n uint32
	if err := binary.Read(r, binary.BigEndian, &n); err != nil {
		return row, false, err
	}
	if more != 1 || there != 1 || n > store.MaxBatch {
		return row, false, errors.New("a row of the vault that is none")
	}
	row.Value = make([]byte, 0, min(n, restoreBytes))
	for k := uint32(0); k < n; k = uint32(len(row.Value)) {
		row.Value = append(row.Value, make([]byte, min(n-k, restoreBytes))...)
		if _, err := io.ReadFull(r, row.Value[k:]); err != nil {
			return row, false, err
		}
	}
	return row, false, nil
}

// restoreVault makes the vault what the reader has.
func (s *Store) restoreVault(r *bufio.Reader) error {
	snap, err := s.inner.Snapshot()
	if err != nil {
		return err
	}
	var have [][]byte
	err = snap.ScanVault(nil, func(row store.Row) error {
		if !bytes.HasPrefix(row.Key, []byte(reserved)) {
			have = append(have, bytes.Clone(row.Key))
		}
		return nil
	})
	if err = errors.Join(err, snap.Close()); err != nil {
		return err
	}
	var step []store.Row
	size := 0
	put := func(rows ...store.Row) error {
		for _, row := range rows {
			step = append(step, row)
			size += len(row.Key) + len(row.Value)
		}
		if size < restoreBytes && len(rows) > 0 || len(step) == 0 {
			return nil
		}
		head := s.inner.Head()
		err := s.applyHere(Batch{Term: head.Term, At: head.At + 1, Folds: head.Folds, Vault: step}, &accompanies{})
		step, size = nil, 0
		return err
	}
	var last []byte
	for {
		row, end, err := readRow(r)
		if err != nil {
			return err
		}
		if !end && (bytes.Compare(row.Key, last) <= 0 || bytes.HasPrefix(row.Key, []byte(reserved))) {
			return fmt.Errorf("the row %.60q of the vault follows %.60q", row.Key, last)
		}
		last = row.Key
		for len(have) > 0 && (end || bytes.Compare(have[0], row.Key) < 0) {
			if err := put(store.Row{Key: have[0]}); err != nil {
				return err
			}
			have = have[1:]
		}
		if end {
			return put()
		}
		if len(have) > 0 && bytes.Equal(have[0], row.Key) {
			have = have[1:]
			old, err := s.inner.Vault(row.Key)
			if err != nil {
				return err
			}
			if old != nil && bytes.Equal(old, row.Value) {
				continue
			}
		}
		if err := put(row); err != nil {
			return err
		}
	}
}

// What follows passes through.

func (s *Store) Head() store.Head               { return s.inner.Head() }
func (s *Store) Row(key []byte) ([]byte, error) { return s.inner.Row(key) }
func (s *Store) Vault(key []byte) ([]byte, error) {
	if bytes.HasPrefix(key, []byte(reserved)) {
		return nil, nil
	}
	return s.inner.Vault(key)
}
func (s *Store) Index(key []byte) ([]byte, error)             { return s.inner.Index(key) }
func (s *Store) IndexCursor() (uint64, error)                 { return s.inner.IndexCursor() }
func (s *Store) Leaf(index uint64) ([]byte, error)            { return s.inner.Leaf(index) }
func (s *Store) Tile(level int, index uint64) ([]byte, error) { return s.inner.Tile(level, index) }
func (s *Store) Checkpoint() ([]byte, error)                  { return s.inner.Checkpoint() }
func (s *Store) SetCheckpoint(checkpoint []byte) error        { return s.inner.SetCheckpoint(checkpoint) }
func (s *Store) WriteIndex(next uint64, rows []store.Row) error {
	return s.inner.WriteIndex(next, rows)
}
func (s *Store) ResetIndex() error                               { return s.inner.ResetIndex() }
func (s *Store) BuildFolds(v uint32) (store.FoldsBuilder, error) { return s.inner.BuildFolds(v) }
func (s *Store) Free() (store.FreeSpace, error)                  { return s.inner.Free() }

// Snapshot is that of the store inside, without what is reserved.
func (s *Store) Snapshot() (store.Reader, error) {
	r, err := s.inner.Snapshot()
	if err != nil {
		return nil, err
	}
	return hiding{r}, nil
}

type hiding struct{ store.Reader }

func (h hiding) Vault(key []byte) ([]byte, error) {
	if bytes.HasPrefix(key, []byte(reserved)) {
		return nil, nil
	}
	return h.Reader.Vault(key)
}

func (h hiding) ScanVault(prefix []byte, yield func(store.Row) error) error {
	return h.Reader.ScanVault(prefix, func(r store.Row) error {
		if bytes.HasPrefix(r.Key, []byte(reserved)) {
			return nil
		}
		return yield(r)
	})
}

// Close closes the store inside. The node is closed before.
func (s *Store) Close() error {
	s.closed.Store(true)
	return s.inner.Close()
}
