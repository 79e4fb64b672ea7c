package trillian

import (
	"context"
	"fmt"
	"testing"

	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/tlog"

	trillian "github.com/google/trillian"
	"github.com/transparency-dev/merkle/compact"
)

// Whatever a client of the gRPC API asks the storage for, it gets leaves and
// nodes of the log, or an error.
func FuzzRead(f *testing.F) {
	ctx := context.Background()
	st, err := pebble.Open(f.TempDir(), pebble.Options{Create: true, ReserveBytes: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { st.Close() })
	tree, err := tlog.NewTree(0, st.Tile, nil)
	if err != nil {
		f.Fatal(err)
	}
	l := New(st, tree)
	leaf := func(i uint64) []byte { return fmt.Append(nil, "leaf ", i) }
	byHash := map[tlog.Hash]uint64{}
	const size, shown = 600, 590 // what is durable, and what is signed
	for base := uint64(0); base < size; base += 200 {
		b := &store.Batch{Prev: st.Head(), Next: store.Head{Term: 1, At: int64(base) + 1, Folds: 1}}
		for i := base; i < base+200; i++ {
			b.Leaves = append(b.Leaves, leaf(i))
			byHash[tlog.LeafHash(leaf(i))] = i
		}
		if err := l.Integrate(ctx, b, nil); err != nil {
			f.Fatal(err)
		}
	}
	l.Shown = func() (*Head, error) {
		h := st.Head()
		return &Head{Size: shown, Root: h.Root, At: h.At}, nil
	}
	l.ByHash = func(h []byte) (uint64, bool, error) {
		if len(h) != len(tlog.Hash{}) {
			return 0, false, nil
		}
		i, ok := byHash[tlog.Hash(h)]
		return i, ok, nil
	}
	some := tlog.LeafHash(leaf(7))
	f.Add(int64(0), int64(size), some[:], uint8(0), uint64(7))
	f.Add(int64(599), int64(1<<62), some[:31], uint8(9), uint64(1))
	f.Add(int64(589), int64(4), some[:], uint8(0), uint64(595))
	f.Add(int64(600), int64(1), []byte{}, uint8(63), uint64(0))
	f.Add(int64(1<<62), int64(1<<62), []byte{}, uint8(64), uint64(0))
	f.Add(int64(-1), int64(0), []byte{}, uint8(255), uint64(1<<63))
	f.Fuzz(func(t *testing.T, start, count int64, hash []byte, level uint8, index uint64) {
		tx, err := l.SnapshotForTree(ctx, &trillian.Tree{TreeId: TreeID})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Close()
		check := func(ll *trillian.LogLeaf, i uint64) {
			h := tlog.LeafHash(ll.LeafValue)
			if ll.LeafIndex != int64(i) || string(ll.LeafValue) != string(leaf(i)) || string(ll.MerkleLeafHash) != string(h[:]) {
				t.Fatalf("leaf %d is %v", i, ll)
			}
		}
		leaves, err := tx.GetLeavesByRange(ctx, start, count)
		switch most := int64(shown) - start; {
		case (start < 0 || count < 1) != (err != nil):
			t.Fatalf("%d leaves from %d: %v", count, start, err)
		case int64(len(leaves)) > max(most, 0), err == nil && count > 0 && most > 0 && len(leaves) == 0:
			t.Fatalf("%d leaves from %d: %d", count, start, len(leaves))
		}
		for i, ll := range leaves {
			check(ll, uint64(start)+uint64(i))
		}
		leaves, err = tx.GetLeavesByHash(ctx, [][]byte{hash, some[:]}, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, ll := range leaves {
			check(ll, uint64(ll.LeafIndex))
			if ll.LeafIndex >= shown {
				t.Fatalf("leaf %d is not signed", ll.LeafIndex)
			}
		}
		if len(leaves) == 0 {
			t.Fatal("a leaf of the log was not found by its hash")
		}
		id := compact.NewNodeID(uint(level), index)
		nodes, err := tx.GetMerkleNodes(ctx, []compact.NodeID{id})
		if complete := level < 64 && index < shown>>level; complete != (err == nil) {
			t.Fatalf("node %d of level %d: %v, %v", index, level, nodes, err)
		}
		if level == 0 && err == nil {
			if h := tlog.LeafHash(leaf(index)); string(nodes[0].Hash) != string(h[:]) {
				t.Fatalf("leaf hash %d is %x", index, nodes[0].Hash)
			}
		}
	})
}
