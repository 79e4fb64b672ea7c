package stock

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"countroom/ledger/tlog"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// liar is a Trillian in memory, which integrates at once. Instead changes what it
// answers.
type liar struct {
	mu      sync.Mutex
	leaves  [][]byte
	instead map[string]func(request proto.Message) (proto.Message, error)
}

func newLiar() *liar {
	return &liar{instead: map[string]func(proto.Message) (proto.Message, error){}}
}

// lie has a method answer something else, or nothing else with nil.
func (l *liar) lie(method string, instead func(request proto.Message) (proto.Message, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instead[method] = instead
}

func (l *liar) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no streams")
}

func (l *liar) Invoke(_ context.Context, method string, request, reply any, _ ...grpc.CallOption) error {
	l.mu.Lock()
	instead := l.instead[path.Base(method)]
	l.mu.Unlock()
	answer, err := l.honest(request.(proto.Message))
	if instead != nil {
		answer, err = instead(request.(proto.Message))
	}
	if err != nil {
		return err
	}
	proto.Merge(reply.(proto.Message), answer)
	return nil
}

func (l *liar) hashes(size int) (list []tlog.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, leaf := range l.leaves[:size] {
		list = append(list, tlog.LeafHash(leaf))
	}
	return list
}

func (l *liar) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.leaves)
}

func (l *liar) honest(request proto.Message) (proto.Message, error) {
	switch q := request.(type) {
	case *trillian.CreateTreeRequest:
		q.Tree.TreeId = 7
		return q.Tree, nil
	case *trillian.GetTreeRequest:
		return &trillian.Tree{TreeId: q.TreeId, TreeType: trillian.TreeType_PREORDERED_LOG, TreeState: trillian.TreeState_ACTIVE}, nil
	case *trillian.ListTreesRequest:
		return &trillian.ListTreesResponse{}, nil
	case *trillian.InitLogRequest:
		return &trillian.InitLogResponse{}, nil
	case *trillian.GetLatestSignedLogRootRequest:
		return rootOf(l.hashes(l.size())), nil
	case *trillian.GetConsistencyProofRequest:
		if q.SecondTreeSize > int64(l.size()) { // as a stock server
			return &trillian.GetConsistencyProofResponse{}, nil
		}
		return &trillian.GetConsistencyProofResponse{Proof: &trillian.Proof{Hashes: consistency(int(q.FirstTreeSize), l.hashes(int(q.SecondTreeSize)), true)}}, nil
	case *trillian.GetLeavesByRangeRequest:
		l.mu.Lock()
		defer l.mu.Unlock()
		answer := &trillian.GetLeavesByRangeResponse{}
		for i := q.StartIndex; i < min(q.StartIndex+q.Count, int64(len(l.leaves))); i++ {
			answer.Leaves = append(answer.Leaves, &trillian.LogLeaf{LeafIndex: i, LeafValue: l.leaves[i], MerkleLeafHash: rfc6962.DefaultHasher.HashLeaf(l.leaves[i])})
		}
		return answer, nil
	case *trillian.AddSequencedLeavesRequest:
		l.mu.Lock()
		defer l.mu.Unlock()
		answer := &trillian.AddSequencedLeavesResponse{}
		for _, leaf := range q.Leaves {
			s := status.New(codes.OK, "")
			if leaf.LeafIndex < int64(len(l.leaves)) {
				s = status.New(codes.AlreadyExists, "")
			} else if leaf.LeafIndex == int64(len(l.leaves)) {
				l.leaves = append(l.leaves, bytes.Clone(leaf.LeafValue))
			}
			answer.Results = append(answer.Results, &trillian.QueuedLogLeaf{Status: s.Proto()})
		}
		return answer, nil
	}
	return nil, status.Error(codes.Unimplemented, "not known")
}

func rootOf(hashes []tlog.Hash) *trillian.GetLatestSignedLogRootResponse {
	b := new(tlog.Builder)
	for _, h := range hashes {
		b.Add(h)
	}
	root := b.Root()
	return shown(types.LogRootV1{TreeSize: uint64(len(hashes)), RootHash: root[:], TimestampNanos: 1})
}

func shown(r types.LogRootV1) *trillian.GetLatestSignedLogRootResponse {
	raw, err := r.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return &trillian.GetLatestSignedLogRootResponse{SignedLogRoot: &trillian.SignedLogRoot{LogRoot: raw}}
}

// consistency is the proof of RFC 6962, section 2.1.2, word for word.
func consistency(m int, d []tlog.Hash, whole bool) [][]byte {
	root := func(d []tlog.Hash) []byte {
		b := new(tlog.Builder)
		for _, h := range d {
			b.Add(h)
		}
		r := b.Root()
		return r[:]
	}
	if m == len(d) {
		if whole {
			return nil
		}
		return [][]byte{root(d)}
	}
	k := 1
	for 2*k < len(d) {
		k *= 2
	}
	if m <= k {
		return append(consistency(m, d[:k], whole), root(d[k:]))
	}
	return append(consistency(m-k, d[k:], false), root(d[:k]))
}

// Whatever a stock Trillian answers, the round ends with a reason, and only what
// contradicts the house is an alarm.
func TestALyingTrillian(t *testing.T) {
	type lie struct {
		method string
		answer func(w *world, l *liar, request proto.Message) (proto.Message, error)
	}
	fails := func(code codes.Code) func(*world, *liar, proto.Message) (proto.Message, error) {
		return func(*world, *liar, proto.Message) (proto.Message, error) { return nil, status.Error(code, "no") }
	}
	raw := func(change func(r *types.LogRootV1, raw *[]byte)) func(*world, *liar, proto.Message) (proto.Message, error) {
		return func(w *world, l *liar, _ proto.Message) (proto.Message, error) {
			var r types.LogRootV1
			if err := r.UnmarshalBinary(rootOf(l.hashes(l.size())).SignedLogRoot.LogRoot); err != nil {
				return nil, err
			}
			b := []byte(nil)
			change(&r, &b)
			if b != nil {
				return &trillian.GetLatestSignedLogRootResponse{SignedLogRoot: &trillian.SignedLogRoot{LogRoot: b}}, nil
			}
			return shown(r), nil
		}
	}
	leaves := func(change func(*trillian.GetLeavesByRangeResponse)) func(*world, *liar, proto.Message) (proto.Message, error) {
		return func(w *world, l *liar, q proto.Message) (proto.Message, error) {
			a, err := l.honest(q)
			change(a.(*trillian.GetLeavesByRangeResponse))
			return a, err
		}
	}
	other := func(i int) []byte { h := tlog.LeafHash([]byte{byte(i)}); return h[:] }
	for name, c := range map[string]struct {
		lie    lie
		reason string
		alarm  bool
	}{
		"another root": {lie{"GetLatestSignedLogRoot", raw(func(r *types.LogRootV1, _ *[]byte) { r.RootHash = other(1) })}, Root, true},
		"a root that went back": {lie{"GetLatestSignedLogRoot", func(_ *world, l *liar, _ proto.Message) (proto.Message, error) {
			return rootOf(l.hashes(l.size() / 2)), nil
		}}, Shrunk, true},
		"an empty tree again":    {lie{"GetLatestSignedLogRoot", raw(func(r *types.LogRootV1, _ *[]byte) { r.TreeSize = 0 })}, Shrunk, true},
		"a size out of thin air": {lie{"GetLatestSignedLogRoot", raw(func(r *types.LogRootV1, _ *[]byte) { r.TreeSize, r.RootHash = 1<<40, other(2) })}, Proof, true},
		"a size without end":     {lie{"GetLatestSignedLogRoot", raw(func(r *types.LogRootV1, _ *[]byte) { r.TreeSize = 1 << 63 })}, Malformed, false},
		"a short hash":           {lie{"GetLatestSignedLogRoot", raw(func(r *types.LogRootV1, _ *[]byte) { r.RootHash = r.RootHash[:31] })}, Malformed, false},
		"no root":                {lie{"GetLatestSignedLogRoot", raw(func(_ *types.LogRootV1, b *[]byte) { *b = []byte{} })}, Malformed, false},
		"not a root":             {lie{"GetLatestSignedLogRoot", raw(func(_ *types.LogRootV1, b *[]byte) { *b = []byte("not a root") })}, Malformed, false},
		"an endless root":        {lie{"GetLatestSignedLogRoot", raw(func(_ *types.LogRootV1, b *[]byte) { *b = make([]byte, 1<<20) })}, Malformed, false},
		"no answer":              {lie{"GetLatestSignedLogRoot", fails(codes.Unavailable)}, Unreachable, false},
		"nothing in time":        {lie{"GetLatestSignedLogRoot", fails(codes.DeadlineExceeded)}, Slow, false},
		"a quota":                {lie{"AddSequencedLeaves", fails(codes.ResourceExhausted)}, Exhausted, false},
		"a tree that is gone":    {lie{"GetLatestSignedLogRoot", fails(codes.NotFound)}, Tree, false},
		"no rights":              {lie{"AddSequencedLeaves", fails(codes.PermissionDenied)}, Refused, false},
		"fewer results": {lie{"AddSequencedLeaves", func(*world, *liar, proto.Message) (proto.Message, error) {
			return &trillian.AddSequencedLeavesResponse{Results: make([]*trillian.QueuedLogLeaf, 1)}, nil
		}}, Malformed, false},
		"leaves not taken": {lie{"AddSequencedLeaves", func(_ *world, _ *liar, q proto.Message) (proto.Message, error) {
			a := &trillian.AddSequencedLeavesResponse{}
			for range q.(*trillian.AddSequencedLeavesRequest).Leaves {
				a.Results = append(a.Results, &trillian.QueuedLogLeaf{Status: status.New(codes.Internal, "").Proto()})
			}
			return a, nil
		}}, Refused, false},
		"a proof of nothing": {lie{"GetConsistencyProof", func(*world, *liar, proto.Message) (proto.Message, error) {
			return &trillian.GetConsistencyProofResponse{}, nil
		}}, Proof, true},
		"an endless proof": {lie{"GetConsistencyProof", func(*world, *liar, proto.Message) (proto.Message, error) {
			return &trillian.GetConsistencyProofResponse{Proof: &trillian.Proof{Hashes: make([][]byte, 1<<16)}}, nil
		}}, Proof, true},
		"more leaves than asked": {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves = append(a.Leaves, a.Leaves...) })}, Malformed, false},
		"no leaves":              {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves = nil })}, Leaf, true},
		"empty leaves":           {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves[0] = new(trillian.LogLeaf) })}, Leaf, true},
		"another leaf":           {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves[0].LeafValue = []byte("{}") })}, Leaf, true},
		"another hash":           {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves[0].MerkleLeafHash = other(3) })}, Leaf, true},
		"another index":          {lie{"GetLeavesByRange", leaves(func(a *trillian.GetLeavesByRangeResponse) { a.Leaves[0].LeafIndex++ })}, Leaf, true},
		"leaves that fail":       {lie{"GetLeavesByRange", fails(codes.Unknown)}, Refused, false},
		"a tree of another kind": {lie{"GetTree", func(*world, *liar, proto.Message) (proto.Message, error) {
			return &trillian.Tree{TreeType: trillian.TreeType_LOG, TreeState: trillian.TreeState_ACTIVE}, nil
		}}, Tree, false},
		"a tree without a name": {lie{"CreateTree", func(*world, *liar, proto.Message) (proto.Message, error) {
			return new(trillian.Tree), nil
		}}, Malformed, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar()
			w := newWorld(t, l, 1, 60)
			f := w.feeder(0)
			if c.lie.method != "GetTree" && c.lie.method != "CreateTree" { // those lies come first
				w.all(f)
				w.play(10)
			}
			l.lie(c.lie.method, func(q proto.Message) (proto.Message, error) { return c.lie.answer(w, l, q) })
			if c.lie.method == "GetLeavesByRange" {
				f = w.feeder(0) // looks at all of them again
			}
			if c.alarm {
				w.alarmed(t, f, c.reason)
				return
			}
			if r := refused(t, f.Once(t.Context()), c.reason); r.Alarm() || f.Alarm() != nil {
				t.Errorf("that is no alarm: %v", r)
			}
			l.lie(c.lie.method, nil)
			w.all(f) // and it goes on when the answer is good
		})
	}
}

// A root of the size before is that root, also beyond what the mirror knows.
func TestTwoRootsOfOneSize(t *testing.T) {
	l := newLiar()
	w := newWorld(t, l, 1, 60)
	w.all(w.feeder(0))
	l.leaves = append(l.leaves, []byte("one way"))
	f := w.feeder(0)
	refused(t, f.Once(t.Context()), Ahead)
	l.leaves[len(l.leaves)-1] = []byte("another")
	w.alarmed(t, f, Root)
}

// A tree of another history is not taken for the house's, whoever was fed from it
// first: nothing is remembered of it yet.
func TestAnotherHistory(t *testing.T) {
	for _, size := range []int{1, 3, 300} {
		l := newLiar()
		w := newWorld(t, l, 1, 300)
		for i := range size {
			l.leaves = append(l.leaves, w.house.Leaf(uint64(i)))
		}
		l.leaves[size-1] = []byte("another")
		f := w.feeder(7)
		w.alarmed(t, f, Root)
		if n := l.size(); n != size {
			t.Errorf("%d leaves were fed", n-size)
		}
	}
}

// What a stock Trillian sends without end is cut off, and one that says nothing is
// not waited for.
func TestAnEndlessTrillian(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &endless{liar: newLiar(), release: make(chan struct{})}
	s := grpc.NewServer(grpc.MaxSendMsgSize(64<<20), grpc.UnaryInterceptor(e.answer))
	trillian.RegisterTrillianLogServer(s, trillian.UnimplementedTrillianLogServer{})
	trillian.RegisterTrillianAdminServer(s, trillian.UnimplementedTrillianAdminServer{})
	go s.Serve(lis)
	defer s.Stop()
	defer close(e.release)
	conn, err := Dial(lis.Addr().String(), insecure.NewCredentials())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := newWorld(t, conn, 1, 60)
	w.all(w.feeder(0))
	e.lie("GetLeavesByRange", func(proto.Message) (proto.Message, error) {
		return &trillian.GetLeavesByRangeResponse{Leaves: []*trillian.LogLeaf{{LeafValue: make([]byte, 32<<20)}}}, nil
	})
	refused(t, w.feeder(0).Once(t.Context()), Exhausted)
	e.lie("GetLatestSignedLogRoot", func(proto.Message) (proto.Message, error) {
		<-e.release
		return nil, status.Error(codes.Aborted, "at last")
	})
	w.change = func(c *Config) { c.Patience = 20 * time.Millisecond }
	refused(t, w.feeder(0).Once(t.Context()), Slow)
}

type endless struct {
	*liar
	release chan struct{}
}

func (e *endless) answer(ctx context.Context, q any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	e.mu.Lock()
	instead := e.instead[path.Base(info.FullMethod)]
	e.mu.Unlock()
	if instead != nil {
		return instead(q.(proto.Message))
	}
	return e.honest(q.(proto.Message))
}

// It follows until an alarm, and has figures of it.
func TestFollowsUntilAnAlarm(t *testing.T) {
	l := newLiar()
	w := newWorld(t, l, 1, 60)
	f := w.feeder(0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		f.Follow(ctx, time.Millisecond)
		close(ended)
	}()
	until := func(what string, holds func(n Counts) bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
			if holds(f.Counts()) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("in vain waited until %s: %+v", what, f.Counts())
	}
	until("it has everything", func(n Counts) bool { return n.Size == w.house.Size() && n.Done > 0 })
	w.play(20)
	until("it has more", func(n Counts) bool { return n.Size == w.house.Size() && n.Leaves >= n.Size })
	l.lie("GetLatestSignedLogRoot", func(proto.Message) (proto.Message, error) { return rootOf(l.hashes(3)), nil })
	until("there is an alarm", func(n Counts) bool { return n.Alarm && n.Refusals[Shrunk] == 1 })
	cancel()
	<-ended
	registry := prometheus.NewRegistry()
	registry.MustRegister(f)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, m := range all {
		found[m.GetName()] = m.Metric[0].GetGauge().GetValue() + m.Metric[0].GetCounter().GetValue()
	}
	if found["countroom_mirror_trillian_alarm"] != 1 || found["countroom_mirror_trillian_size"] != float64(w.house.Size()) || found["countroom_mirror_trillian_refusals_total"] != 1 {
		t.Errorf("%v", found)
	}
}

// A disk that changed an entry of the mirror's does not reach the stock Trillian.
func TestADamagedMirrorFeedsNothing(t *testing.T) {
	l := newLiar()
	w := newWorld(t, l, 1, 300)
	name := filepath.Join(w.dir, tlog.EntriesPath(0, tlog.TileWidth))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := refused(t, w.feeder(0).Once(t.Context()), Disk); r.Alarm() {
		t.Error("that is no alarm")
	}
	if n := l.size(); n != 0 {
		t.Errorf("%d leaves were fed", n)
	}
}

// Whatever bytes a stock Trillian answers with, no root is taken that the house's
// tree never had.
func FuzzAnswers(f *testing.F) {
	l := newLiar()
	w := newWorld(f, l, 1, 60)
	fed := w.feeder(0)
	w.all(fed)
	truth := map[uint64]string{}
	b := new(tlog.Builder)
	for _, h := range l.hashes(l.size()) {
		b.Add(h)
		root := b.Root()
		truth[b.Size()] = string(root[:])
	}
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	half := l.size() / 2
	proof := bytes.Join(consistency(half, l.hashes(l.size()), true), nil)
	some, err := l.honest(&trillian.GetLeavesByRangeRequest{Count: 5})
	if err != nil {
		f.Fatal(err)
	}
	for _, size := range []int{0, 1, half, l.size()} {
		f.Add(rootOf(l.hashes(size)).SignedLogRoot.LogRoot, proof, marshal(some), marshal(&trillian.AddSequencedLeavesResponse{}))
	}
	f.Add(rootOf(l.hashes(half)[1:]).SignedLogRoot.LogRoot, proof, marshal(some), []byte{})
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Add(shown(types.LogRootV1{TreeSize: 1 << 62, RootHash: make([]byte, 32)}).SignedLogRoot.LogRoot, []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, root, proof, leaves, results []byte) {
		fake := newLiar()
		fake.lie("GetLatestSignedLogRoot", func(proto.Message) (proto.Message, error) {
			return &trillian.GetLatestSignedLogRootResponse{SignedLogRoot: &trillian.SignedLogRoot{LogRoot: root}}, nil
		})
		fake.lie("GetConsistencyProof", func(proto.Message) (proto.Message, error) {
			return &trillian.GetConsistencyProofResponse{Proof: &trillian.Proof{Hashes: slices.Collect(slices.Chunk(proof, 32))}}, nil
		})
		for method, a := range map[string]struct {
			bytes []byte
			into  proto.Message
		}{"GetLeavesByRange": {leaves, new(trillian.GetLeavesByRangeResponse)}, "AddSequencedLeaves": {results, new(trillian.AddSequencedLeavesResponse)}} {
			if proto.Unmarshal(a.bytes, a.into) != nil {
				return // what a connection refuses by itself
			}
			fake.lie(method, func(proto.Message) (proto.Message, error) { return a.into, nil })
		}
		fresh := w.in(t)
		fresh.conn = fake
		if err := os.RemoveAll(filepath.Join(w.dir, "trillian")); err != nil {
			t.Fatal(err)
		}
		f := fresh.feeder(7)
		for range 2 {
			err := f.Round(t.Context())
			var r *Refusal
			if err != nil && (!errors.As(err, &r) || r.Reason == Disk) {
				t.Fatal(err)
			}
		}
		if _, size := f.Tree(); size > 0 && size <= w.house.Size() && string(f.state.hash()) != truth[size] {
			t.Fatalf("root %s was taken at size %d", f.state.Root, size)
		}
	})
}

// A leaf that is changed after it was compared is found while the house goes on, so that
// the stock Trillian never has all that the mirror has.
func TestALeafIsComparedAgainWhileTheHousePlays(t *testing.T) {
	l := newLiar()
	w := newWorld(t, l, 6, 50)
	f := w.feeder(0)
	w.all(f)
	for range 3 {
		w.play(1)
		if err := f.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l.mu.Lock()
	l.leaves[7] = append(bytes.Clone(l.leaves[7]), ' ')
	l.mu.Unlock()
	// Its tree still has the root that it had.
	l.lie("GetLatestSignedLogRoot", func(proto.Message) (proto.Message, error) {
		return rootOf(w.hashes(l.size())), nil
	})
	l.lie("GetConsistencyProof", func(q proto.Message) (proto.Message, error) {
		p := q.(*trillian.GetConsistencyProofRequest)
		return &trillian.GetConsistencyProofResponse{Proof: &trillian.Proof{Hashes: consistency(int(p.FirstTreeSize), w.hashes(int(p.SecondTreeSize)), true)}}, nil
	})
	for round := 0; ; round++ {
		w.play(1)
		if err := f.Round(t.Context()); err != nil {
			refused(t, err, Leaf)
			return
		}
		if round == 10 {
			t.Fatalf("after %d rounds, with %d of %d leaves compared", round, f.audited, w.house.Size())
		}
	}
}

// hashes are those of the house's leaves.
func (w *world) hashes(size int) (list []tlog.Hash) {
	for index := range size {
		list = append(list, tlog.LeafHash(w.house.Leaf(uint64(index))))
	}
	return list
}
