// Package trillian puts Trillian's sequencer into the write path. It implements
// Trillian's log storage over a store.Store and the server's Merkle tree, so
// that log.IntegrateBatch computes each batch's part of the tree inside the one
// commit that also makes entries, books and vault durable. The same storage,
// read-only and up to the newest signed head, serves Trillian's gRPC Log API to its
// stock clients.
//
// Every batch is a check of the one before: the sequencer recomputes the stored
// head from the tree's nodes before it adds to it.
package trillian

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/tlog"

	trillian "github.com/google/trillian"
	"github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/google/trillian/util/clock"
	"github.com/transparency-dev/merkle/compact"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TreeID is the identity of the one log that a house has.
const TreeID = 1

var logTree = &trillian.Tree{
	TreeId:      TreeID,
	TreeState:   trillian.TreeState_ACTIVE,
	TreeType:    trillian.TreeType_PREORDERED_LOG, // the ledger's writer decides the order
	DisplayName: "countroom",
}

var initMetrics sync.Once

// Log drives the sequencer over a store. One goroutine integrates; the storage
// interface may be read by any.
type Log struct {
	store store.Store
	tree  *tlog.Tree
	// Shown returns the newest head that may be shown to others, nil before the
	// first. Without it nothing is.
	Shown func() (*Head, error)
	// ByHash finds the index of a leaf by its hash; nil answers Unimplemented. It
	// knows the leaves from HashedFrom on.
	ByHash     func(leafHash []byte) (index uint64, found bool, err error)
	HashedFrom uint64

	leaves []*trillian.LogLeaf // reused from batch to batch
}

// Head is a head that others may see.
type Head struct {
	Size uint64
	Root tlog.Hash
	At   int64 // Unix nanoseconds, later with each head
	// Checkpoint is the signed note, which is the metadata of Trillian's root.
	Checkpoint []byte
}

// New returns a driver for the log in st, whose Merkle tree is given as of the
// store's head.
func New(st store.Store, t *tlog.Tree) *Log {
	initMetrics.Do(func() { log.InitMetrics(nil) })
	return &Log{store: st, tree: t}
}

// Integrate sequences the batch's leaves, fills in what follows from them
// (Next.Size, Next.Root, Tiles) and commits everything at once. Prev must be
// the store's head; Next.Term, Next.At and Next.Folds are the caller's. If want
// is not nil, another root than that ends the batch before the commit.
func (l *Log) Integrate(ctx context.Context, b *store.Batch, want *tlog.Hash) error {
	if len(b.Leaves) == 0 {
		return errors.New("a batch without leaves")
	}
	tx := &writeTx{readTx: readTx{l: l, head: Head{Size: b.Prev.Size, Root: b.Prev.Root, At: b.Prev.At}}, batch: b, want: want}
	n, err := log.IntegrateBatch(ctx, logTree, len(b.Leaves), 0, 0, stopped(b.Next.At), transaction{l, tx}, quota.Noop())
	if tx.err != nil {
		return tx.err // the sequencer's error has only its text
	}
	if err != nil {
		return err
	}
	if n != len(b.Leaves) {
		return fmt.Errorf("the sequencer took %d leaves of %d", n, len(b.Leaves))
	}
	return l.tree.Advance(b.Next.Size)
}

// ErrRoot says that a batch leads to another root than it should.
var ErrRoot = errors.New("the batch leads to another root")

// stopped is a clock that stands at the batch's time, which never goes back.
type stopped int64

func (s stopped) Now() time.Time { return time.Unix(0, int64(s)) }

func (s stopped) NewTimer(d time.Duration) clock.Timer { return clock.System.NewTimer(d) }

// transaction is the LogStorage of one Integrate.
type transaction struct {
	*Log
	tx *writeTx
}

// ReadWriteTransaction runs f over the batch and commits once.
func (t transaction) ReadWriteTransaction(ctx context.Context, _ *trillian.Tree, f storage.LogTXFunc) error {
	if err := f(ctx, t.tx); err != nil {
		return err
	}
	b := t.tx.batch
	var err error
	if b.Tiles, err = storeTiles(t.tree, b); err != nil {
		return err
	}
	return t.store.Commit(ctx, b)
}

func storeTiles(t *tlog.Tree, b *store.Batch) ([]store.Tile, error) {
	full, err := t.FullTiles(b.Prev.Size, b.Next.Size)
	if err != nil || len(full) == 0 {
		return nil, err
	}
	tiles := make([]store.Tile, len(full))
	for i, f := range full {
		tiles[i] = store.Tile{Level: f.Level, Index: f.Index, Data: f.Data}
	}
	return tiles, nil
}

// Log itself is the storage that others see: read-only.

// CheckDatabaseAccessible always succeeds: the store is in this process.
func (l *Log) CheckDatabaseAccessible(context.Context) error { return nil }

// GetActiveLogIDs returns the one log.
func (l *Log) GetActiveLogIDs(context.Context) ([]int64, error) { return []int64{TreeID}, nil }

// SnapshotForTree reads as of the newest head that may be shown.
func (l *Log) SnapshotForTree(_ context.Context, t *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	if t.TreeId != TreeID {
		return nil, status.Errorf(codes.NotFound, "tree %d is not this log", t.TreeId)
	}
	var head *Head
	if l.Shown != nil {
		var err error
		if head, err = l.Shown(); err != nil {
			return nil, err
		}
	}
	if head == nil {
		return nil, status.Error(codes.Unavailable, "nothing is signed yet")
	}
	return &readTx{l: l, head: *head}, nil
}

// ErrReadOnly is what whoever wants to write is answered.
var ErrReadOnly = status.Error(codes.PermissionDenied, "entries are appended by the ledger only")

// ReadWriteTransaction is refused.
func (l *Log) ReadWriteTransaction(context.Context, *trillian.Tree, storage.LogTXFunc) error {
	return ErrReadOnly
}

// QueueLeaves is refused.
func (l *Log) QueueLeaves(context.Context, *trillian.Tree, []*trillian.LogLeaf, time.Time) ([]*trillian.QueuedLogLeaf, error) {
	return nil, ErrReadOnly
}

// AddSequencedLeaves is refused.
func (l *Log) AddSequencedLeaves(context.Context, *trillian.Tree, []*trillian.LogLeaf, time.Time) ([]*trillian.QueuedLogLeaf, error) {
	return nil, ErrReadOnly
}

// readTx reads as of one head.
type readTx struct {
	l    *Log
	head Head
}

func (*readTx) Commit(context.Context) error { return nil }
func (*readTx) Close() error                 { return nil }

// GetMerkleNodes returns nodes that are complete under the head: the tree in memory
// may be ahead of what is signed.
func (tx *readTx) GetMerkleNodes(_ context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	for _, id := range ids {
		if id.Level > 63 || id.Index >= tx.head.Size>>id.Level {
			return nil, status.Errorf(codes.OutOfRange, "node %d of level %d is not in the tree of size %d", id.Index, id.Level, tx.head.Size)
		}
	}
	return merkleNodes(ids, tx.l.tree.Node)
}

func merkleNodes(ids []compact.NodeID, get func(compact.NodeID) (tlog.Hash, error)) ([]tree.Node, error) {
	nodes := make([]tree.Node, len(ids))
	for i, id := range ids {
		h, err := get(id)
		if err != nil {
			return nil, err
		}
		nodes[i] = tree.Node{ID: id, Hash: h[:]}
	}
	return nodes, nil
}

func (tx *readTx) GetLeavesByRange(_ context.Context, start, count int64) ([]*trillian.LogLeaf, error) {
	if start < 0 || count <= 0 {
		return nil, status.Errorf(codes.InvalidArgument, "start %d, count %d: expected a range", start, count)
	}
	from := uint64(start)
	to := min(tx.head.Size, from+uint64(min(count, leavesMost)))
	if from >= to {
		return nil, nil
	}
	r, err := tx.l.store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var leaves []*trillian.LogLeaf
	bytes := 0
	err = r.Leaves(from, to, func(index uint64, leaf []byte) error {
		if bytes += len(leaf); bytes > leavesMostBytes && len(leaves) > 0 {
			return errEnough
		}
		leaves = append(leaves, logLeaf(index, append([]byte(nil), leaf...)))
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return leaves, err
}

// One answer has so many leaves at most, whatever was asked for: the API says "it
// will be shorter if count is too big to handle in one go".
const (
	leavesMost      = 1024
	leavesMostBytes = 1 << 20
)

var errEnough = errors.New("enough leaves for one answer")

func logLeaf(index uint64, leaf []byte) *trillian.LogLeaf {
	h := tlog.LeafHash(leaf)
	return &trillian.LogLeaf{LeafIndex: int64(index), LeafValue: leaf, MerkleLeafHash: h[:], LeafIdentityHash: h[:]}
}

func (tx *readTx) GetLeavesByHash(_ context.Context, hashes [][]byte, _ bool) ([]*trillian.LogLeaf, error) {
	if tx.l.ByHash == nil {
		return nil, status.Error(codes.Unimplemented, "no index by leaf hash")
	}
	var leaves []*trillian.LogLeaf
	for _, h := range hashes {
		index, found, err := tx.l.ByHash(h)
		if err != nil {
			return nil, err
		}
		if !found && tx.l.HashedFrom > 0 {
			return nil, status.Errorf(codes.FailedPrecondition, "no entry from %d on has this hash, and those before are not indexed by it: ask by index", tx.l.HashedFrom)
		}
		if !found || index >= tx.head.Size {
			continue
		}
		leaf, err := tx.l.store.Leaf(index)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, logLeaf(index, leaf))
	}
	return leaves, nil
}

func (tx *readTx) LatestSignedLogRoot(context.Context) (*trillian.SignedLogRoot, error) {
	root := types.LogRootV1{TreeSize: tx.head.Size, RootHash: tx.head.Root[:], TimestampNanos: uint64(tx.head.At), Metadata: tx.head.Checkpoint}
	if tx.head.Size == 0 { // a log before its first batch
		root.RootHash = emptyRoot
	}
	b, err := root.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return &trillian.SignedLogRoot{LogRoot: b}, nil
}

var emptyRoot = func() []byte {
	b := new(tlog.Builder)
	h := b.Root()
	return h[:]
}()

// writeTx is the sequencer's view of the batch under way.
type writeTx struct {
	readTx
	batch *store.Batch
	want  *tlog.Hash
	err   error
}

// GetMerkleNodes also sees nodes that the batch has set.
func (tx *writeTx) GetMerkleNodes(_ context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	return merkleNodes(ids, tx.l.tree.Integrated)
}

// DequeueLeaves hands out the batch. The sequencer looks at hashes and indexes
// only.
func (tx *writeTx) DequeueLeaves(_ context.Context, limit int, _ time.Time) ([]*trillian.LogLeaf, error) {
	l, n := tx.l, len(tx.batch.Leaves)
	if n > limit {
		return nil, fmt.Errorf("asked for %d leaves of a batch of %d", limit, n)
	}
	for len(l.leaves) < n {
		l.leaves = append(l.leaves, new(trillian.LogLeaf))
	}
	for i, leaf := range tx.batch.Leaves {
		h := tlog.LeafHash(leaf)
		ll := l.leaves[i]
		ll.LeafIndex = int64(tx.batch.Prev.Size) + int64(i)
		ll.MerkleLeafHash = append(ll.MerkleLeafHash[:0], h[:]...)
	}
	return l.leaves[:n], nil
}

func (*writeTx) UpdateSequencedLeaves(context.Context, []*trillian.LogLeaf) error {
	return errors.New("the order of a preordered log is not the sequencer's to change")
}

func (tx *writeTx) SetMerkleNodes(_ context.Context, nodes []tree.Node) error {
	for i := range nodes {
		tx.l.tree.Set(nodes[i].ID, nodes[i].Hash)
	}
	return nil
}

func (tx *writeTx) StoreSignedLogRoot(_ context.Context, root *trillian.SignedLogRoot) error {
	var r types.LogRootV1
	if err := r.UnmarshalBinary(root.LogRoot); err != nil {
		return err
	}
	b := tx.batch
	if r.TreeSize != b.Prev.Size+uint64(len(b.Leaves)) || int64(r.TimestampNanos) != b.Next.At {
		return fmt.Errorf("the sequencer's root is of size %d at %d, expected %d at %d", r.TreeSize, r.TimestampNanos, b.Prev.Size+uint64(len(b.Leaves)), b.Next.At)
	}
	b.Next.Size, b.Next.Root = r.TreeSize, tlog.Hash(r.RootHash)
	if tx.want != nil && *tx.want != b.Next.Root {
		tx.err = fmt.Errorf("%w: %x at size %d, expected %x", ErrRoot, b.Next.Root, r.TreeSize, *tx.want)
		return tx.err
	}
	return nil
}
