// Package mirror follows the published log of a house into a directory of plain
// files and keeps nothing there that it has not verified: so that a content network,
// an edge machine or a regulator's own web server can carry the reads (package edge). It needs nothing of the house but what the house publishes.
//
// The directory is the log as c2sp.org/tlog-tiles has it:
//
//	checkpoint           the newest head of which everything below is there
//	tile/…  blob/…       tiles, entry bundles, and what entries name by digest
//	vkey                 the verifier key that the log is checked by
//	checkpoints/<size>   heads that were kept, one for each Config.Keep
//	evidence/            what was refused, one file each (package evidence)
//	.mirror/             what is the mirror's own: lock, accepted head, keys
//
// A head is accepted when it is signed, cosigned as asked for, and extends the one
// that was accepted before; it is written down before anything is fetched for it.
// Then the tree is gone down from its root: a tile is kept when it leads to the
// root, a bundle when its entries are the leaves of its tile. The checkpoint comes
// last. Every file is written beside its place, synced and renamed.
package mirror

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
)

// Config is how a log is mirrored.
type Config struct {
	Dir    string
	Source verify.Source
	From   string // what the source is called in evidence, such as its URL
	// VKeys are the verifier keys that the log is checked by: one, or the newest
	// ones where the mirror has no entries that lead from key to key. Without any
	// the key is taken from the house itself once, and kept.
	VKeys []string
	// Trust says whose cosignatures a head must have. With witnesses, the
	// house's newest cosigned head is followed.
	Trust verify.Trust
	// Leaves has entries and blobs mirrored, too: the source lets us have them.
	Leaves   bool
	Workers  int           // bundles at once, default 8
	Patience time.Duration // for one resource of the source, default a minute
	Settle   time.Duration // before a smaller head is asked for again, default a second
	Keep     time.Duration // one old checkpoint for each, default an hour
	Clock    func() time.Time
	Log      *slog.Logger
}

// Mirror is an open mirror. Round is for one goroutine; the handler is for any.
type Mirror struct {
	cfg       Config
	origin    string
	lock      *os.File
	src       verify.Source // with patience
	cosigners []*tlog.Cosigner
	counts    counts

	head     atomic.Pointer[evidence.Head] // complete, and served
	signedBy atomic.Pointer[[]string]      // who may sign it
	accepted evidence.Head                 // not behind head
	learnt   []string                      // keys that the log led to, kept over restarts
	chain    *verify.Chain
	chained  uint64 // entries that the chain has seen
	verified uint64 // entries below are there, looked at by this process
	checked  bool   // what was there at the start was looked at
	pruned   uint64 // size up to which partial tiles were tidied away
	missing  map[[32]byte]bool
	offered  evidence.Head // signed, and being held against the accepted one
	alarms   int           // that this process raised
	kept     map[string]kept

	dirtyMu sync.Mutex
	dirty   map[string]bool // folders in which names are not durable yet
}

const (
	// settleMost is how often a smaller head is asked for before it is taken for
	// what the house says: a machine of a pair may be a moment behind.
	settleMost = 3
	// missingMost bounds the blobs that are asked for again.
	missingMost = 1 << 16
)

// Open opens a mirror's directory, which it creates if need be.
func Open(ctx context.Context, cfg Config) (_ *Mirror, err error) {
	cfg.Dir = filepath.Clean(cfg.Dir)
	cfg.Workers, cfg.Patience, cfg.Settle, cfg.Keep = cmp.Or(cfg.Workers, 8), cmp.Or(cfg.Patience, time.Minute), cmp.Or(cfg.Settle, time.Second), cmp.Or(cfg.Keep, time.Hour)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	m := &Mirror{cfg: cfg, counts: counts{n: Counts{Refusals: map[string]uint64{}, Fetched: map[string]uint64{}}}, chain: &verify.Chain{}, kept: map[string]kept{}, missing: map[[32]byte]bool{}, dirty: map[string]bool{}}
	m.src = patient{cfg.Source, cfg.Patience}
	for _, vkey := range cfg.Trust.Witnesses {
		c, err := tlog.NewCosigner(vkey)
		if err != nil {
			return nil, err
		}
		m.cosigners = append(m.cosigners, c)
	}
	if cfg.Trust.Quorum < 0 || cfg.Trust.Quorum > len(m.cosigners) {
		return nil, fmt.Errorf("a quorum of %d: expected at most the %d witnesses", cfg.Trust.Quorum, len(m.cosigners))
	}
	for _, d := range []string{"", private, "checkpoints", "evidence", "tile", "blob"} {
		if err := os.MkdirAll(m.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	if m.lock, err = lock(m.path(private, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if err := m.sweep(); err != nil {
		return nil, err
	}
	if err := m.keys(ctx); err != nil {
		return nil, err
	}
	m.chain.Origin = m.origin
	if err := m.load(); err != nil {
		return nil, err
	}
	m.noteSigners()
	vkey := []byte(m.cfg.VKeys[0] + "\n")
	if bytes.Equal(m.Stored(ctx, "vkey", verify.CheckpointMost), vkey) {
		return m, nil
	}
	return m, m.write("vkey", vkey, 0o644)
}

// Close lets another process have the directory.
func (m *Mirror) Close() error { return unlock(m.lock) }

// Alarms is how many findings against what was served were made since Open.
func (m *Mirror) Alarms() int { return m.alarms }

// Head returns the newest complete head, nil when there is none.
func (m *Mirror) Head() *evidence.Head { return m.head.Load() }

// patient bounds the time for one resource.
type patient struct {
	verify.Source
	patience time.Duration
}

var errSlow = errors.New("the server is too slow")

func (p patient) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	inner, cancel := context.WithTimeoutCause(ctx, p.patience, errSlow)
	defer cancel()
	buf, err := p.Source.Read(inner, buf, path, limit)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(inner), errSlow) {
		err = fmt.Errorf("%s: %w: not there after %v", path, errSlow, p.patience)
	}
	return buf, err
}

// keys settles by which keys the log is checked.
func (m *Mirror) keys(ctx context.Context) error {
	kept, err := os.ReadFile(m.path("vkey"))
	switch {
	case len(m.cfg.VKeys) > 0:
	case err == nil:
		m.cfg.VKeys = []string{strings.TrimSpace(string(kept))}
	case !errors.Is(err, os.ErrNotExist):
		return err
	default:
		given, err := m.src.Read(ctx, nil, "vkey", verify.CheckpointMost)
		if err != nil {
			return fmt.Errorf("no verifier key was given, and the house's own was not to be had: %w", err)
		}
		m.cfg.VKeys = []string{strings.TrimSpace(string(given))}
		m.cfg.Log.Warn("the verifier key was taken from the house itself: compare it with one that came another way", "vkey", m.cfg.VKeys[0])
	}
	for _, vkey := range m.cfg.VKeys {
		v, err := tlog.NewVerifier(vkey)
		if err != nil {
			return err
		}
		if m.origin != "" && m.origin != v.Name() {
			return fmt.Errorf("verifier keys of %s and of %s: expected keys of one log", m.origin, v.Name())
		}
		m.origin = v.Name()
	}
	learnt, err := os.ReadFile(m.path(private, "keys"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.learnt = strings.Fields(string(learnt))
	return nil
}

// load reads the heads that are there. A damaged one is passed over: what is below
// a head is looked at again anyway.
func (m *Mirror) load() error {
	names, err := filepath.Glob(m.path("checkpoints", "*"))
	if err != nil {
		return err
	}
	for _, name := range append(names, m.path(private, "accepted"), m.path("checkpoint")) {
		msg, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c, err := m.open(msg)
		if err != nil {
			m.cfg.Log.Error("a checkpoint in the directory is damaged, or of another log: it is passed over", "file", name, "error", err)
			continue
		}
		h := evidence.Head{Checkpoint: c, Note: msg, From: m.cfg.From}
		if m.accepted.Note == nil || c.Size > m.accepted.Size {
			m.accepted = h
		}
		if name == m.path("checkpoint") {
			m.head.Store(&h)
		}
	}
	if len(names) > 0 && m.accepted.Note == nil {
		return fmt.Errorf("%s holds a log, and none of its checkpoints is signed by %s: was another verifier key given?", m.cfg.Dir, strings.Join(m.signers(), ", "))
	}
	_, err = m.evidenceFiles()
	return err
}

// Signed opens a checkpoint that one of the log's keys signed, wherever it was
// shown, and names those keys. It is not for another goroutine than Round's.
func (m *Mirror) Signed(msg []byte) (c tlog.Checkpoint, vkeys []string, err error) {
	c, err = m.open(msg)
	return c, m.signers(), err
}

// signers are the keys that may sign the next head.
func (m *Mirror) signers() (list []string) {
	for _, k := range append(append(append([]string{}, m.cfg.VKeys...), m.learnt...), m.chain.InForce(m.chained)...) {
		if !slices.Contains(list, k) && !m.chain.Retired(k) {
			list = append(list, k)
		}
	}
	return list
}

// Signers are the keys that may have signed Head. Any goroutine may ask.
func (m *Mirror) Signers() []string { return *m.signedBy.Load() }

func (m *Mirror) noteSigners() {
	list := m.signers()
	m.signedBy.Store(&list)
}

// open returns a checkpoint that one of the signers signed.
func (m *Mirror) open(msg []byte) (tlog.Checkpoint, error) { return openBy(msg, m.signers()) }

func openBy(msg []byte, vkeys []string) (c tlog.Checkpoint, err error) {
	err = fmt.Errorf("checkpoint: %w: there is none", tlog.ErrSignature)
	for _, k := range vkeys {
		v, bad := tlog.NewVerifier(k)
		if bad != nil {
			err = bad
			continue
		}
		if c, err = tlog.Open(msg, v); err == nil {
			return c, nil
		}
	}
	return c, err
}

// Follow makes rounds until the context ends.
func (m *Mirror) Follow(ctx context.Context, interval time.Duration) {
	for {
		err := m.Round(ctx)
		var r *Refusal
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &r):
			m.cfg.Log.Error("not mirrored", "reason", r.Reason, "evidence", r.File, "error", err)
		case err != nil:
			m.cfg.Log.Error("not mirrored", "error", err)
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// Round looks once: it fetches what is new, and everything that is missing. Its
// error is a *Refusal or the context's.
func (m *Mirror) Round(ctx context.Context) error {
	err := m.round(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return m.refuse(err)
	}
	m.counts.change(func(n *Counts) { n.Done = m.cfg.Clock().Unix() })
	return nil
}

func (m *Mirror) round(ctx context.Context) error {
	if h := m.head.Load(); h != nil && !m.checked {
		tree, err := m.treeOf(ctx, *h)
		if err == nil {
			err = m.complete(ctx, *h, tree)
		}
		// What the house has no more, in this width, is part of what it has now.
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	m.checked = true
	next, tree, err := m.next(ctx)
	if err != nil {
		return err
	}
	if tree != nil {
		if err := m.complete(ctx, next, tree); err != nil {
			return err
		}
	}
	return m.blobs(ctx)
}

// next reads the house's head and accepts it. Without a tree there is nothing new.
func (m *Mirror) next(ctx context.Context) (h evidence.Head, tree *evidence.Tree, err error) {
	for try := 1; ; try++ {
		if h, err = m.fetch(ctx); err != nil {
			return h, nil, err
		}
		if h.Size >= m.accepted.Size || m.accepted.Note == nil || try == settleMost {
			break
		}
		select {
		case <-time.After(m.cfg.Settle):
		case <-ctx.Done():
			return h, nil, context.Cause(ctx)
		}
	}
	tree, err = m.accept(ctx, h)
	return h, tree, err
}

// fetch reads the house's newest head, and demands its signatures.
func (m *Mirror) fetch(ctx context.Context) (h evidence.Head, err error) {
	var msg []byte
	err = os.ErrNotExist
	if len(m.cosigners) > 0 {
		msg, err = m.src.Read(ctx, nil, "cosigned", verify.CheckpointMost)
	}
	if errors.Is(err, os.ErrNotExist) {
		msg, err = m.src.Read(ctx, nil, "checkpoint", verify.CheckpointMost)
	}
	if err != nil {
		return h, err
	}
	c, err := tlog.Peek(msg)
	if err != nil {
		return h, err
	}
	if c.Origin != m.origin {
		return h, fmt.Errorf("%w: a checkpoint of %q, expected one of %q", tlog.ErrSignature, c.Origin, m.origin)
	}
	if _, unsigned := m.open(msg); errors.Is(unsigned, tlog.ErrSignature) {
		if err := m.ahead(ctx, msg, c, unsigned); err != nil {
			return h, err
		}
	} else if unsigned != nil {
		return h, unsigned
	}
	good, _, err := tlog.Cosigned(msg, m.cosigners)
	if err != nil {
		return h, fmt.Errorf("%w: %w", errCosignatures, err)
	}
	if len(good) < m.cfg.Trust.Quorum {
		return h, fmt.Errorf("%w: %d of the %d that are asked for, at size %d", errCosignatures, len(good), m.cfg.Trust.Quorum, c.Size)
	}
	m.offered = evidence.Head{Checkpoint: c, Note: msg, From: m.cfg.From}
	return m.offered, nil
}

// accept holds a signed head against the one accepted before.
func (m *Mirror) accept(ctx context.Context, h evidence.Head) (tree *evidence.Tree, err error) {
	last, at := m.accepted, m.cfg.Clock()
	var found *evidence.File
	switch {
	case last.Note == nil || h.Size > last.Size:
		if tree, err = evidence.Open(ctx, h.Checkpoint, evidence.Tiles(m.src)); err != nil {
			return nil, err
		}
		if last.Note != nil {
			found, err = evidence.Compare(ctx, m.signers(), at, last, h, tree)
		}
	case h.Size == last.Size:
		if found, err = evidence.Compare(ctx, m.signers(), at, last, h, nil); found == nil && err == nil {
			return m.again(ctx, h)
		}
	default:
		// Where the larger tree cannot be had any more, nothing shows more than
		// that this is smaller.
		old, bad := m.treeOf(ctx, last)
		if bad == nil {
			found, bad = evidence.Compare(ctx, m.signers(), at, h, last, old)
		}
		if bad != nil || found == nil {
			found = evidence.Smaller(m.signers(), at, h, last)
		}
	}
	if err != nil {
		return nil, err
	}
	if found != nil {
		return nil, &Refusal{Reason: found.Kind, Err: fmt.Errorf("a signed head of size %d with root %x, where size %d with root %x was accepted", h.Size, h.Root, last.Size, last.Root), Evidence: found}
	}
	if err := m.write(filepath.Join(private, "accepted"), h.Note, 0o644); err != nil {
		return nil, err
	}
	m.accepted = h
	return tree, nil
}

// again takes a head of the accepted size and root: it may have more cosignatures,
// or be what an earlier round did not complete.
func (m *Mirror) again(ctx context.Context, h evidence.Head) (*evidence.Tree, error) {
	held := m.head.Load()
	if held == nil || held.Size < h.Size {
		return evidence.Open(ctx, h.Checkpoint, evidence.Tiles(m.src))
	}
	old, _, err := tlog.Cosigned(held.Note, m.cosigners)
	now, _, bad := tlog.Cosigned(h.Note, m.cosigners)
	if err == nil && bad == nil && len(now) > len(old) {
		return nil, m.publish(h)
	}
	return nil, nil
}

// treeOf reads the tree under a head that was accepted, from here if it can.
func (m *Mirror) treeOf(ctx context.Context, h evidence.Head) (*evidence.Tree, error) {
	if tree, err := evidence.Open(ctx, h.Checkpoint, m.local()); err == nil {
		return tree, nil
	}
	return evidence.Open(ctx, h.Checkpoint, evidence.Tiles(m.src))
}

// aheadMost is how long may be read on the word of a checkpoint whose key is not
// known: whoever wrote it may have no end of entries.
const aheadMost = time.Hour

// ahead looks whether the log leads to the key that signed a head: it reads the
// entries up to it, keeping nothing, which the root of the head has to be that of.
func (m *Mirror) ahead(ctx context.Context, msg []byte, c tlog.Checkpoint, unsigned error) error {
	v, err := tlog.NewVerifier(m.cfg.VKeys[0])
	if err != nil {
		return err
	}
	if named, ours := tlog.SignedUnder(msg, v); !named || ours || !m.cfg.Leaves || c.Size <= m.accepted.Size {
		return unsigned
	}
	ctx, cancel := context.WithTimeoutCause(ctx, aheadMost, errSlow)
	defer cancel()
	b, chain, seen := &tlog.Builder{}, &verify.Chain{Origin: m.origin}, uint64(0)
	if h := m.head.Load(); h != nil && m.checked {
		tree, err := evidence.Open(ctx, h.Checkpoint, m.local())
		if err != nil {
			return err
		}
		if b, err = tree.Builder(ctx, min(h.Size, m.chained)/tlog.TileWidth*tlog.TileWidth); err != nil {
			return err
		}
		chain, seen = m.chain.Clone(), m.chained
	}
	for b.Size() < c.Size {
		leaves, err := m.leaves(ctx, b.Size()/tlog.TileWidth, int(min(c.Size-b.Size(), tlog.TileWidth)))
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if b.Size() >= seen {
				chain.Leaf(b.Size(), leaf)
			}
			b.Add(tlog.LeafHash(leaf))
		}
	}
	if b.Root() != c.Root {
		return fmt.Errorf("%w, and the entries do not lead to its root", unsigned)
	}
	if !slices.ContainsFunc(m.cfg.VKeys, chain.Has) {
		return fmt.Errorf("%w, and its log does not name the key", unsigned)
	}
	if _, err := openBy(msg, chain.InForce(c.Size)); err != nil {
		return err
	}
	return m.learn(chain.InForce(c.Size))
}

// learn keeps keys that the log leads to.
func (m *Mirror) learn(vkeys []string) error {
	known := len(m.learnt)
	for _, k := range vkeys {
		if !slices.Contains(m.learnt, k) && !slices.Contains(m.cfg.VKeys, k) {
			m.learnt = append(m.learnt, k)
		}
	}
	if len(m.learnt) == known {
		return nil
	}
	return m.write(filepath.Join(private, "keys"), []byte(strings.Join(m.learnt, "\n")+"\n"), 0o644)
}

// publish makes a head whose everything is there the one that is served.
func (m *Mirror) publish(h evidence.Head) error {
	if err := m.sync(); err != nil {
		return err
	}
	last, err := m.newestKept()
	if err != nil {
		return err
	}
	if m.cfg.Clock().Sub(last) >= m.cfg.Keep {
		if err := m.write(filepath.Join("checkpoints", strconv.FormatUint(h.Size, 10)), h.Note, 0o644); err != nil {
			return err
		}
	}
	if kept, err := os.ReadFile(m.path("checkpoint")); err != nil || !bytes.Equal(kept, h.Note) {
		if err := m.write("checkpoint", h.Note, 0o644); err != nil {
			return err
		}
	}
	m.noteSigners()
	m.head.Store(&h)
	return m.prune(h.Size)
}
