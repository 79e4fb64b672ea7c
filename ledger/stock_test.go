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

	lis := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	gtrillian.RegisterTrillianLogServer(s, server.NewTrillianLogRPCServer(extension.Registry{
		AdminStorage: trillian.Admin{}, LogStorage: r.Driver(), QuotaManager: quota.Noop(),
	}, tclock.System))
	go s.Serve(lis)
	defer s.Stop()
	conn, err := grpc.NewClient("passthrough:///log", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	rpc := gtrillian.NewTrillianLogClient(conn)
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
