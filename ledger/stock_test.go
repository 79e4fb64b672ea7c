package ledger

import (
	"context"
	"net"
	"testing"
	"time"

	"countroom/ledger/trillian"

	gtrillian "github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/types"
	tclock "github.com/google/trillian/util/clock"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// Trillian's own gRPC server over our storage, and its stock client, which
// verifies what it is told.
func TestTrilliansStockClientVerifiesTheLog(t *testing.T) {
	r := newRig(t)
	r.change = func(c *Config) { c.LeafHashes = true }
	r.open()
	defer r.close()
	var leaves [][]byte
	add := func(n int) {
		for i := range n {
			leaves = append(leaves, r.must(add(name(i%5), 1)).Leaf)
		}
	}
	add(1)

	rpc := served(t, r.Ledger)
	ctx := t.Context()
	c := client.New(trillian.TreeID, rpc, client.NewLogVerifier(rfc6962.DefaultHasher), types.LogRootV1{})

	for _, n := range []int{0, 1, 5, 254, 300} {
		add(n)
		root, err := c.UpdateRoot(ctx) // verifies consistency with the root before
		if err != nil {
			t.Fatal(err)
		}
		if root.TreeSize != uint64(len(leaves)) {
			t.Fatalf("size %d, want %d", root.TreeSize, len(leaves))
		}
		for i := 0; i < len(leaves); i += 1 + len(leaves)/20 {
			if err := c.WaitForInclusion(ctx, leaves[i]); err != nil {
				t.Fatalf("leaf %d of %d: %v", i, len(leaves), err)
			}
		}
	}
	got, err := c.ListByIndex(ctx, 3, 7)
	if err != nil || len(got) != 7 || string(got[0].LeafValue) != string(leaves[3]) {
		t.Fatalf("ListByIndex: %d leaves, %v", len(got), err)
	}
	if err := c.WaitForInclusion(shortly(t), []byte("never logged")); err == nil {
		t.Fatal("a leaf that was never logged is proven")
	}
	// Nobody writes but the ledger.
	if _, err := rpc.QueueLeaf(ctx, &gtrillian.QueueLeafRequest{LogId: trillian.TreeID, Leaf: &gtrillian.LogLeaf{LeafValue: []byte("x")}}); err == nil {
		t.Fatal("a leaf was queued")
	}
	_, err = rpc.AddSequencedLeaves(ctx, &gtrillian.AddSequencedLeavesRequest{LogId: trillian.TreeID, Leaves: []*gtrillian.LogLeaf{{LeafValue: []byte("x"), LeafIndex: int64(len(leaves))}}})
	if status.Code(err) != codes.PermissionDenied {
		t.Fatalf("a sequenced leaf: %v", err)
	}
	if _, err := rpc.GetLatestSignedLogRoot(ctx, &gtrillian.GetLatestSignedLogRootRequest{LogId: 2}); err == nil {
		t.Fatal("another log is served")
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// served is Trillian's own server over the storage of a ledger.
func served(t *testing.T, l *Ledger) gtrillian.TrillianLogClient {
	lis := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	gtrillian.RegisterTrillianLogServer(s, server.NewTrillianLogRPCServer(extension.Registry{
		AdminStorage: trillian.Admin{}, LogStorage: l.Driver(), QuotaManager: quota.Noop(),
	}, tclock.System))
	go s.Serve(lis)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///log", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return gtrillian.NewTrillianLogClient(conn)
}

// root is the root that a client is shown.
func root(t *testing.T, rpc gtrillian.TrillianLogClient) (r types.LogRootV1) {
	t.Helper()
	answer, err := rpc.GetLatestSignedLogRoot(t.Context(), &gtrillian.GetLatestSignedLogRootRequest{LogId: trillian.TreeID})
	if err == nil {
		err = r.UnmarshalBinary(answer.SignedLogRoot.LogRoot)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is durable is nobody's before it is signed: neither its root nor a leaf, a
// proof or a node of it. The root that is shown carries the signed checkpoint.
func TestTrilliansClientsSeeWhatIsSigned(t *testing.T) {
	r, s := slowRig(t, 1)
	defer r.close()
	rpc := served(t, r.Ledger)
	done := r.later(add("a", 1))
	gate := <-s.asked
	r.awaitDurable(2)
	const id = trillian.TreeID
	if got := root(t, rpc); got.TreeSize != 1 || string(got.Metadata) != string(r.Signed().Checkpoint) {
		t.Errorf("size %d with %q, want 1 with %q", got.TreeSize, got.Metadata, r.Signed().Checkpoint)
	}
	leaves, err := rpc.GetLeavesByRange(t.Context(), &gtrillian.GetLeavesByRangeRequest{LogId: id, StartIndex: 0, Count: 10})
	if err != nil || len(leaves.Leaves) != 1 {
		t.Errorf("%d leaves, %v", len(leaves.GetLeaves()), err)
	}
	if p, err := rpc.GetInclusionProof(t.Context(), &gtrillian.GetInclusionProofRequest{LogId: id, LeafIndex: 1, TreeSize: 2}); err != nil || p.Proof != nil {
		t.Errorf("a proof of what is not signed: %v, %v", p, err)
	}
	if p, err := rpc.GetConsistencyProof(t.Context(), &gtrillian.GetConsistencyProofRequest{LogId: id, FirstTreeSize: 1, SecondTreeSize: 2}); err != nil || p.Proof != nil {
		t.Errorf("a proof of what is not signed: %v, %v", p, err)
	}
	if e, err := rpc.GetEntryAndProof(t.Context(), &gtrillian.GetEntryAndProofRequest{LogId: id, LeafIndex: 1, TreeSize: 2}); err != nil || e.Leaf != nil {
		t.Errorf("an entry that is not signed: %v, %v", e, err)
	}
	gate <- nil
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := root(t, rpc); got.TreeSize != 2 || got.RootHash == nil || string(got.Metadata) != string(r.Signed().Checkpoint) {
		t.Errorf("signed: %+v", got)
	}
}

// The passive machine of a pair shows the same root as the active one.
func TestTrilliansClientsOfAPassiveMachine(t *testing.T) {
	p := newPair(t)
	for range 5 {
		p.must(add("a", 1))
	}
	p.notice()
	a, b := root(t, served(t, p.Ledger)), root(t, served(t, p.b.Ledger))
	if a.TreeSize != 5 || b.TreeSize != 5 || string(a.RootHash) != string(b.RootHash) || a.TimestampNanos != b.TimestampNanos {
		t.Errorf("%+v, and the passive machine says %+v", a, b)
	}
	p.rig.close()
	p.b.close()
}

// A log that was not always indexed by leaf hash never says of an entry that it is
// not there: it says from where on it knows.
func TestTheIndexByLeafHashSaysWhereItBegins(t *testing.T) {
	r := newRig(t)
	hashes := func(on bool) { r.change = func(c *Config) { c.LeafHashes = on } }
	find := func(leaf []byte, want codes.Code) {
		t.Helper()
		h := rfc6962.DefaultHasher.HashLeaf(leaf)
		_, err := served(t, r.Ledger).GetInclusionProofByHash(t.Context(), &gtrillian.GetInclusionProofByHashRequest{LogId: trillian.TreeID, LeafHash: h, TreeSize: int64(r.Signed().Size)})
		if status.Code(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	write := func() {
		t.Helper()
		if err := r.index.flush(1); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	first := r.must(add("a", 1)).Leaf
	find(first, codes.Unimplemented)
	write()
	r.close()
	hashes(true)
	r.open()
	second := r.must(add("a", 1)).Leaf
	find(first, codes.FailedPrecondition)
	find(second, codes.OK)
	write()
	r.close()
	r.open() // and goes on
	find(second, codes.OK)
	find([]byte("never"), codes.FailedPrecondition)
	if from := r.driver.HashedFrom; from != 1 {
		t.Errorf("indexed from %d on, want 1", from)
	}
	write()
	r.close()
	hashes(false)
	r.open()
	third := r.must(add("a", 1)).Leaf
	write()
	r.close()
	hashes(true)
	r.open()
	find(third, codes.FailedPrecondition)
	if from := r.driver.HashedFrom; from != 3 {
		t.Errorf("indexed from %d on, want 3", from)
	}
	r.close()

	r = newRig(t)
	hashes(true)
	r.open()
	leaf := r.must(add("a", 1)).Leaf
	write()
	r.close()
	r.open()
	find(leaf, codes.OK)
	find([]byte("never"), codes.NotFound)
	r.close()
}
