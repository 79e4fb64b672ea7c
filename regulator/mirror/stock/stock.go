// Package stock feeds a mirror's log into a stock Trillian, one with its own storage
// and its own signer, and holds that to the house's log: for a regulator whose tools
// speak Trillian and who wants a copy that somebody else's code has built.
//
// The mirror has verified what is fed. Each root that the stock Trillian shows must be
// one that the house's signed tree had; every leaf that it shows must be the entry at
// its place. Anything else is an alarm: it is kept as evidence, and nothing more is
// fed.
//
// Trillian's signer stops at sizes of its own, and its roots are not signed. So the
// house's tiles are the truth: a consistency proof made of them leads from the stock
// root to the signed checkpoint, or there is no such proof.
package stock

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"countroom/regulator/evidence"
	"countroom/regulator/mirror"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Config is how a mirror feeds a stock Trillian.
type Config struct {
	Mirror  *mirror.Mirror // with leaves; another goroutine may run its rounds
	Dir     string         // what is remembered, in a folder of its own
	Address string         // what the stock Trillian is called in evidence
	Conn    grpc.ClientConnInterface
	// Tree is a tree that is there; 0: the one that was made before, or a new one.
	Tree     int64
	Patience time.Duration // for a call, default a minute
	Stall    time.Duration // for the stock signer to go on, default a minute
	Settle   time.Duration // before a smaller root is asked for again, default a second
	Clock    func() time.Time
	Log      *slog.Logger
}

const (
	batchMost      = 1000
	batchMostBytes = 2 << 20 // a stock server takes 4 MiB, and sends what it was asked for
	windowMost     = 16 * batchMost
	settleMost     = 3
	rootMost       = 1 << 17
	answerMost     = 8 << 20
)

// Feeder is a mirror's end of a stock Trillian. Its rounds are for one goroutine.
type Feeder struct {
	cfg    Config
	log    trillian.TrillianLogClient
	admin  trillian.TrillianAdminClient
	state  state
	opened bool // the tree was looked at
	counts counts

	truth   *truth
	fed     uint64    // leaves below were taken
	there   uint64    // of them, were there before
	moved   time.Time // when the stock signer went on, or had nothing to do
	audited uint64    // leaves below were compared
	again   uint64    // of them, below were compared once more, in this pass
	alarm   *Refusal
}

// truth is a head of the mirror with its tree.
type truth struct {
	evidence.Head
	tree *evidence.Tree
}

// Open reads what is remembered of the stock Trillian. Nothing is asked of it yet.
func Open(cfg Config) (*Feeder, error) {
	if !cfg.Mirror.Leaves() {
		return nil, errors.New("a mirror of tiles only has no leaves for a Trillian")
	}
	cfg.Patience, cfg.Stall, cfg.Settle = cmp.Or(cfg.Patience, time.Minute), cmp.Or(cfg.Stall, time.Minute), cmp.Or(cfg.Settle, time.Second)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	f := &Feeder{cfg: cfg, log: trillian.NewTrillianLogClient(cfg.Conn), admin: trillian.NewTrillianAdminClient(cfg.Conn), moved: cfg.Clock()}
	f.counts.n.Refusals = map[string]uint64{}
	var err error
	if f.state, err = readState(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.Tree != 0 && f.state.Tree != cfg.Tree {
		f.state = state{Tree: cfg.Tree}
	}
	return f, nil
}

// Follow makes rounds until the context ends, more often while there is much to do.
func (f *Feeder) Follow(ctx context.Context, interval time.Duration) {
	for {
		wait := interval
		err := f.Round(ctx)
		var r *Refusal
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &r) && r.Alarm():
			f.cfg.Log.Error("ALARM: the stock Trillian is not what the house signed; nothing more is fed", "reason", r.Reason, "evidence", r.File, "error", err)
			<-ctx.Done()
			return
		case err != nil:
			f.cfg.Log.Error("the stock Trillian is not fed", "error", err)
		case f.busy():
			wait = min(interval, 100*time.Millisecond)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (f *Feeder) busy() bool {
	h := f.cfg.Mirror.Head()
	return h != nil && f.state.Size < h.Size
}

// Once feeds all that the mirror has, waits for the stock signer, and compares every
// root that it shows meanwhile and then every leaf.
func (f *Feeder) Once(ctx context.Context) error {
	for {
		err := f.Round(ctx)
		if err != nil || f.truth != nil && !f.busy() && f.audited == f.state.Size {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Alarm returns the alarm that was raised, nil without.
func (f *Feeder) Alarm() *Refusal { return f.alarm }

// Tree is the tree that is fed, 0 before it is known, and its size that was compared.
func (f *Feeder) Tree() (id int64, size uint64) { return f.state.Tree, f.state.Size }

// Round looks once: it compares the newest root and some leaves, and feeds some more.
// Its error is a *Refusal or the context's. After an alarm it is that alarm.
func (f *Feeder) Round(ctx context.Context) error {
	if f.alarm != nil {
		return f.alarm
	}
	err := f.round(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		r := new(Refusal)
		if !errors.As(err, &r) {
			r = &Refusal{Reason: Disk, Err: err}
		}
		if r.Alarm() {
			f.alarm = r
		}
		f.counts.change(func(n *Counts) {
			n.Refusals[r.Reason]++
			n.Alarm = f.alarm != nil
		})
		return r
	}
	f.counts.change(func(n *Counts) {
		if !f.busy() {
			n.Done = f.cfg.Clock().Unix()
		}
	})
	return nil
}

func (f *Feeder) round(ctx context.Context) error {
	if err := f.look(ctx); err != nil || f.truth == nil {
		return err
	}
	if err := f.open(ctx); err != nil {
		return err
	}
	root, err := f.root(ctx)
	if err != nil {
		return err
	}
	if err := f.compare(ctx, root); err != nil {
		return err
	}
	if err := f.audit(ctx, min(root.TreeSize, f.truth.Size)); err != nil {
		return err
	}
	return f.feed(ctx)
}

// look takes the mirror's newest head. A mirror that goes on tidies away the parts of
// tiles that an older one needs.
func (f *Feeder) look(ctx context.Context) error {
	for try := 1; ; try++ {
		h := f.cfg.Mirror.Head()
		if h == nil || f.truth != nil && f.truth.Checkpoint == h.Checkpoint {
			return nil
		}
		tree, err := evidence.Open(ctx, h.Checkpoint, evidence.Tiles(f.cfg.Mirror.Log()))
		if err == nil {
			f.truth = &truth{*h, tree}
			return nil
		}
		if try == 3 {
			return fmt.Errorf("the mirror's tree of size %d: %w", h.Size, err)
		}
	}
}

// stockRoot is a root as it was shown.
type stockRoot struct {
	types.LogRootV1
	raw []byte
}

// latest asks for the newest root.
func (f *Feeder) latest(ctx context.Context) (r stockRoot, err error) {
	answer, err := call(ctx, f, "GetLatestSignedLogRoot", f.log.GetLatestSignedLogRoot, &trillian.GetLatestSignedLogRootRequest{LogId: f.state.Tree})
	if err != nil {
		return r, err
	}
	r.raw = answer.GetSignedLogRoot().GetLogRoot()
	return r, parseRoot(&r)
}

func parseRoot(r *stockRoot) error {
	if len(r.raw) > rootMost {
		return refuse(Malformed, "a root of %d bytes, expected at most %d", len(r.raw), rootMost)
	}
	if err := r.UnmarshalBinary(r.raw); err != nil {
		return refuse(Malformed, "a root: %w", err)
	}
	if again, err := r.MarshalBinary(); err != nil || !bytes.Equal(again, r.raw) {
		return refuse(Malformed, "a root with more after it")
	}
	if len(r.RootHash) != rfc6962.DefaultHasher.Size() || r.TreeSize > 1<<62 {
		return refuse(Malformed, "a root of size %d with a hash of %d bytes", r.TreeSize, len(r.RootHash))
	}
	return nil
}

// root asks for the newest root, again if it is smaller than one before: several
// servers of one stock Trillian may see its database a moment apart.
func (f *Feeder) root(ctx context.Context) (r stockRoot, err error) {
	for try := 1; ; try++ {
		if r, err = f.latest(ctx); err != nil || r.TreeSize >= f.state.Size {
			return r, err
		}
		if try == settleMost {
			return r, f.raise(Shrunk, fmt.Sprintf("root %d", r.TreeSize), r.raw, fmt.Sprintf("size %d or more", f.state.Size), fmt.Sprintf("size %d", r.TreeSize))
		}
		select {
		case <-time.After(f.cfg.Settle):
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
	}
}

// compare holds a root against the house's tree and against the root before.
func (f *Feeder) compare(ctx context.Context, r stockRoot) error {
	t, size := f.truth, r.TreeSize
	if size == f.state.Size && size > 0 && f.state.Root != fmt.Sprintf("%x", r.RootHash) {
		return f.raise(Root, fmt.Sprintf("root %d", size), r.raw, f.state.Root, fmt.Sprintf("%x", r.RootHash))
	}
	if size <= t.Size {
		b, err := t.tree.Builder(ctx, size)
		if err != nil {
			return err
		}
		want := b.Root()
		var hashes [][]byte
		if size > 0 {
			if hashes, err = t.tree.Consistency(ctx, size); err != nil {
				return err
			}
		}
		if err := leads(size, t.Size, hashes, r.RootHash, t.Root[:]); err != nil {
			return f.raise(Root, fmt.Sprintf("root %d", size), r.raw, fmt.Sprintf("%x", want), fmt.Sprintf("%x", r.RootHash))
		}
	} else if err := f.proven(ctx, t.Size, t.Root[:], r); err != nil {
		return err
	}
	if f.state.Size > 0 && f.state.Size < size {
		if err := f.proven(ctx, f.state.Size, f.state.hash(), r); err != nil {
			return err
		}
	}
	if size > f.state.Size {
		f.state.Size, f.state.Root = size, fmt.Sprintf("%x", r.RootHash)
		if err := f.state.write(f.cfg.Dir); err != nil {
			return err
		}
		f.moved = f.cfg.Clock()
	}
	f.counts.change(func(n *Counts) { n.Size, n.Roots = size, n.Roots+1 })
	if size > t.Size {
		return refuse(Ahead, "tree %d has %d leaves, and this mirror no more than %d of the house: its root continues the house's, and more is compared when the mirror has it", f.state.Tree, size, t.Size)
	}
	return nil
}

// proven asks the stock Trillian itself for the proof that a root of its own continues
// a smaller one.
func (f *Feeder) proven(ctx context.Context, first uint64, root []byte, second stockRoot) error {
	if first == 0 {
		return nil
	}
	answer, err := call(ctx, f, "GetConsistencyProof", f.log.GetConsistencyProof, &trillian.GetConsistencyProofRequest{LogId: f.state.Tree, FirstTreeSize: int64(first), SecondTreeSize: int64(second.TreeSize)})
	if err != nil {
		return err
	}
	if err := leads(first, second.TreeSize, answer.GetProof().GetHashes(), root, second.RootHash); err != nil {
		return f.raise(Proof, fmt.Sprintf("proof %d %d", first, second.TreeSize), second.raw, fmt.Sprintf("a proof that it continues %x", root), err.Error())
	}
	return nil
}

// leads verifies a consistency proof.
func leads(first, second uint64, hashes [][]byte, firstRoot, secondRoot []byte) error {
	if first == 0 {
		if !bytes.Equal(firstRoot, rfc6962.DefaultHasher.EmptyRoot()) {
			return errors.New("the empty tree has one root")
		}
		return nil
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, first, second, hashes, firstRoot, secondRoot)
}

// audit reads leaves back that the stock Trillian has under its root, and compares
// them: its root says nothing of a leaf that was changed in its database afterwards.
// Those that were never compared are fast; all of them are again, slowly and for ever,
// however the house goes on.
func (f *Feeder) audit(ctx context.Context, size uint64) error {
	if f.audited > 0 {
		if err := f.auditBatch(ctx, &f.again, f.audited); err != nil {
			return err
		}
		if f.again == f.audited {
			f.again = 0
		}
	}
	for batches := windowMost / batchMost; batches > 0 && f.audited < size; batches-- {
		if err := f.auditBatch(ctx, &f.audited, size); err != nil {
			return err
		}
	}
	return nil
}

func (f *Feeder) auditBatch(ctx context.Context, from *uint64, size uint64) error {
	leaves, err := f.leaves(ctx, *from, size)
	if err != nil {
		return err
	}
	for len(leaves) > 0 {
		got, err := f.given(ctx, *from, len(leaves))
		if err != nil {
			return err
		}
		if len(got) > len(leaves) {
			return refuse(Malformed, "%d leaves from %d on, and %d were asked for", len(got), *from, len(leaves))
		}
		if len(got) == 0 {
			return f.raise(Leaf, fmt.Sprintf("leaf %d", *from), nil, fmt.Sprintf("%x", rfc6962.DefaultHasher.HashLeaf(leaves[0])), "nothing")
		}
		for i, l := range got {
			hash := rfc6962.DefaultHasher.HashLeaf(leaves[i])
			if l.GetLeafIndex() != int64(*from) || !bytes.Equal(l.GetLeafValue(), leaves[i]) || !bytes.Equal(l.GetMerkleLeafHash(), hash) {
				return f.raise(Leaf, fmt.Sprintf("leaf %d", *from), l.GetLeafValue(), fmt.Sprintf("%x", hash),
					fmt.Sprintf("%x, said to be %x at %d", rfc6962.DefaultHasher.HashLeaf(l.GetLeafValue()), l.GetMerkleLeafHash(), l.GetLeafIndex()))
			}
			(*from)++
		}
		f.counts.change(func(n *Counts) { n.Leaves += uint64(len(got)) })
		leaves = leaves[len(got):]
	}
	return nil
}

// given asks for leaves: for fewer where that fails, since a leaf that is gone makes
// a stock Trillian refuse all that were asked for with it.
func (f *Feeder) given(ctx context.Context, from uint64, count int) ([]*trillian.LogLeaf, error) {
	for {
		answer, err := call(ctx, f, "GetLeavesByRange", f.log.GetLeavesByRange, &trillian.GetLeavesByRangeRequest{LogId: f.state.Tree, StartIndex: int64(from), Count: int64(count)})
		if err == nil || count == 1 || status.Code(err) != codes.Unknown && status.Code(err) != codes.Internal {
			return answer.GetLeaves(), err
		}
		count /= 2
	}
}

// feed hands over leaves, not far beyond what the stock signer has integrated.
func (f *Feeder) feed(ctx context.Context) error {
	size := f.state.Size
	if f.fed <= size {
		f.fed, f.moved = size, f.cfg.Clock()
	}
	for f.fed < f.truth.Size && f.fed-size < windowMost {
		leaves, err := f.leaves(ctx, f.fed, f.truth.Size)
		if err != nil {
			return err
		}
		request := &trillian.AddSequencedLeavesRequest{LogId: f.state.Tree}
		for i, leaf := range leaves {
			request.Leaves = append(request.Leaves, &trillian.LogLeaf{LeafIndex: int64(f.fed) + int64(i), LeafValue: leaf})
		}
		answer, err := call(ctx, f, "AddSequencedLeaves", f.log.AddSequencedLeaves, request)
		if err != nil {
			return err
		}
		if len(answer.GetResults()) != len(leaves) {
			return refuse(Malformed, "%d results for %d leaves", len(answer.GetResults()), len(leaves))
		}
		for i, r := range answer.GetResults() {
			switch c := codes.Code(r.GetStatus().GetCode()); c {
			case codes.OK:
			case codes.AlreadyExists, codes.FailedPrecondition:
				// What was handed over before, and is not integrated, cannot be looked
				// at: by the one code a stock Trillian says that something is at the
				// index, by the other that the leaf is there, at whichever index. The
				// next root shows whether it is the right one.
				f.there++
			default:
				return refuse(Refused, "leaf %d: %v: %.200q", f.fed+uint64(i), c, r.GetStatus().GetMessage())
			}
		}
		f.fed += uint64(len(leaves))
		f.counts.change(func(n *Counts) { n.Fed = f.fed })
	}
	if f.fed > size && f.cfg.Clock().Sub(f.moved) > f.cfg.Stall {
		return refuse(Stalled, "it has %d leaves, of which %d were there before, and the signer has stood at %d for %v", f.fed, f.there, size, f.cfg.Stall)
	}
	return nil
}

// Dial returns a connection to a stock Trillian that is not waited for, nor believed
// more than it may say at once.
func Dial(address string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMost)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 20 * time.Second}))
}
