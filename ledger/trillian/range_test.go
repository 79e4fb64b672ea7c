package trillian

import (
	"bytes"
	"testing"

	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/tlog"

	trillian "github.com/google/trillian"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// However large the leaves are, an answer fits what a client takes by default, and
// whoever goes on asking gets all of them.
func TestAnAnswerIsBounded(t *testing.T) {
	st, err := pebble.Open(t.TempDir(), pebble.Options{Create: true, ReserveBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	tree, err := tlog.NewTree(0, st.Tile, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := New(st, tree)
	if _, err := l.SnapshotForTree(t.Context(), &trillian.Tree{TreeId: TreeID}); status.Code(err) != codes.Unavailable {
		t.Errorf("with nothing to show: %v", err)
	}
	b := &store.Batch{Prev: st.Head(), Next: store.Head{Term: 1, At: 1, Folds: 1}}
	for i := range 100 {
		b.Leaves = append(b.Leaves, bytes.Repeat([]byte{byte(i)}, 65_535))
	}
	if err := l.Integrate(t.Context(), b, nil); err != nil {
		t.Fatal(err)
	}
	l.Shown = func() (*Head, error) { h := st.Head(); return &Head{Size: h.Size, Root: h.Root, At: h.At}, nil }
	tx, err := l.SnapshotForTree(t.Context(), &trillian.Tree{TreeId: TreeID})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for at := 0; at < len(b.Leaves); {
		leaves, err := tx.GetLeavesByRange(t.Context(), int64(at), 1000)
		if err != nil || len(leaves) == 0 {
			t.Fatalf("%d leaves from %d, %v", len(leaves), at, err)
		}
		size := 0
		for _, leaf := range leaves {
			if leaf.LeafIndex != int64(at) || !bytes.Equal(leaf.LeafValue, b.Leaves[at]) {
				t.Fatalf("leaf %d is %d", at, leaf.LeafIndex)
			}
			size += len(leaf.LeafValue)
			at++
		}
		if size > leavesMostBytes {
			t.Fatalf("%d bytes at once", size)
		}
	}
}
