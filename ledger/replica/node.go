package replica

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger/replica/core"
	"countroom/ledger/replica/wal"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Member is a node of the group.
type Member = core.Member

// Config of Open.
type Config struct {
	Origin string // of the house
	Name   string // of this node, one of Members
	// Members is the group as this node finds it the first time it is opened, itself among them; later its log knows
	// better. One alone founds a group on a machine that may have a history; several begin together with empty machines.
	Members []Member
	// Join opens a node that is to join a group: it waits until the active node adds it.
	Join bool
	// Term is the lowest term that a new group may have.
	Term uint64
	Dir  string
	// TLS has the node's certificate, which names it, and in RootCAs the authority that signs those of the group.
	TLS *tls.Config
	// Listener is the node's door; nil listens on the member's own address.
	Listener net.Listener
	// Machine is the state of a full node; an arbiter has none.
	Machine Machine
	// Role is told between two entries what this node is from now on, in the order of the entries: what it is told when it
	// ceases to be active comes after everything it did as the active node, and before what others did.
	Role func(Role)
	// Fit says why this node cannot be the active one, nil when it can. It is asked each second, and no answer is a no. Nil
	// is always fit.
	Fit func() error
	// RetainBytes of the log are kept at least, RetainMost at most for the sake of a full machine that lags behind while
	// the other can send it a state. An arbiter, which has none, keeps what a machine may still need. 0 is 256 MiB and 4 GiB.
	RetainBytes, RetainMost int64
	Log                     *slog.Logger
	// FS replaces the operating system's file system.
	FS vfs.FS
	// SegmentBytes of the log; 0 is 16 MiB.
	SegmentBytes int64
	// Wire replaces TCP.
	Wire Wire
	// Tick is how long a tick lasts; 0 is core.TickMillis. Where it is longer, so is everything that nodes wait for one
	// another: a group on a machine that is slow, or busy, keeps who leads.
	Tick time.Duration

	network func(*Node) (network, error)
	manual  bool // no ticks of its own
}

// network is how nodes reach each other.
type network interface {
	// send sends a message or loses it; it does not wait.
	send(to Member, m *raftpb.Message)
	// fetch asks a node for its state.
	fetch(ctx context.Context, from Member, have []byte) (io.ReadCloser, error)
	// changed says that the members have changed.
	changed([]Member)
	close() error
}

// Node is a member of the group. It needs Close.
type Node struct {
	cfg  Config
	self Member
	id   uint64
	fs   vfs.FS
	log  *wal.Log
	core *core.Core
	net  network
	lock io.Closer

	events chan func() // run by the loop
	quit   chan struct{}
	done   sync.WaitGroup
	once   sync.Once
	failed atomic.Pointer[error]
	ended  chan struct{} // closed when the node has failed or is closed

	// The loop's own.
	pending map[uint64]*proposal // proposed, by nonce
	waiting []*proposal          // to be proposed once a hand-over has ended
	nonce   uint64
	was     core.State
	reign   uint64 // term in which this node is or becomes active
	waits   map[*wait]struct{}
	fetches bool // a state is being fetched
	ticked  int
	known   []Member // to the network

	// applier
	amu   sync.Mutex
	queue []*item
	wake  chan struct{}

	applied   atomic.Uint64 // by the applier
	durable   atomic.Uint64 // Machine.Applied, for an arbiter the end of its log
	committed atomic.Uint64
	restoring atomic.Bool
	unfit     atomic.Pointer[error]
	role      atomic.Pointer[Role]
	peers     peers
}

// item is work of the applier.
type item struct {
	committed *core.Committed
	proposals map[uint64]*proposal // by index
	role      *Role
	restore   *raftpb.Message
	between   func() // to be run between two entries
}

type proposal struct {
	term  uint64
	data  []byte
	apply func(index uint64) error
	err   chan error
}

type wait struct {
	met func() (bool, error)
	err chan error
}

const (
	tick = core.TickMillis * time.Millisecond
	// An entry's data begins with its format, its term and a number that tells proposals of one node apart.
	entryVersion = 1
	entryHead    = 17
)

// Open starts a node. The first time it makes the node's directory.
func Open(cfg Config) (*Node, error) {
	n := &Node{
		cfg: cfg, fs: cfg.FS, events: make(chan func(), 256), quit: make(chan struct{}), ended: make(chan struct{}),
		pending: map[uint64]*proposal{}, waits: map[*wait]struct{}{}, wake: make(chan struct{}, 1),
	}
	if n.fs == nil {
		n.fs = vfs.Default
	}
	if n.cfg.Log == nil {
		n.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if n.cfg.RetainBytes == 0 {
		n.cfg.RetainBytes = 256 << 20
	}
	if n.cfg.Tick == 0 {
		n.cfg.Tick = tick
	}
	if n.cfg.RetainMost == 0 {
		n.cfg.RetainMost = 4 << 30
	}
	n.role.Store(&Role{})
	n.peers.init()
	if err := n.open(); err != nil {
		if n.log != nil {
			err = errors.Join(err, n.log.Close())
		}
		if n.lock != nil {
			err = errors.Join(err, n.lock.Close())
		}
		return nil, fmt.Errorf("replica: %w", err)
	}
	return n, nil
}

func (n *Node) open() (err error) {
	if err := core.CheckMembers(n.cfg.Origin, n.cfg.Members); err != nil {
		return err
	}
	i := slices.IndexFunc(n.cfg.Members, func(m Member) bool { return m.Name == n.cfg.Name })
	if i < 0 {
		return fmt.Errorf("node %q is not among the members", n.cfg.Name)
	}
	n.self = n.cfg.Members[i]
	n.id = n.self.ID(n.cfg.Origin)
	if n.self.Arbiter != (n.cfg.Machine == nil) {
		return fmt.Errorf("node %q: an arbiter has no machine, everyone else has one", n.cfg.Name)
	}
	if err := n.fs.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		return err
	}
	// Or a power cut could take the name, and the log with it, from a machine whose state goes on.
	if err := n.syncDir(n.fs.PathDir(n.cfg.Dir)); err != nil {
		return err
	}
	if n.lock, err = n.fs.Lock(n.fs.PathJoin(n.cfg.Dir, "lock")); err != nil {
		return fmt.Errorf("%s is in use by another process: %w", n.cfg.Dir, err)
	}
	if err := n.openLog(); err != nil {
		return err
	}
	n.core, err = core.New(core.Config{Origin: n.cfg.Origin, Self: n.self, Disk: n.log, Applied: n.applied.Load(), Logger: raftLogger{log: n.cfg.Log}})
	if err != nil {
		return err
	}
	n.askFit()
	n.core.SetFit(n.unfit.Load() == nil)
	n.was = n.core.State()
	n.committed.Store(n.was.Commit)
	n.peers.load(n)
	switch {
	case n.cfg.network != nil:
		n.net, err = n.cfg.network(n)
	case n.cfg.Wire != nil:
		n.net = newOnWire(n)
	default:
		n.net, err = listen(n)
	}
	if err != nil {
		return err
	}
	n.known = n.members()
	n.net.changed(n.known)
	n.done.Go(n.applyAll)
	n.done.Go(n.loop)
	if n.cfg.Fit != nil {
		n.done.Go(n.watchFit)
	}
	return nil
}

// openLog opens the log, or makes it the first time, and holds the state against it.
func (n *Node) openLog() error {
	opt := wal.Options{FS: n.fs, Dir: n.fs.PathJoin(n.cfg.Dir, "log"), Origin: n.cfg.Origin, Node: n.id, SegmentBytes: n.cfg.SegmentBytes}
	has, err := wal.Exists(opt.FS, opt.Dir)
	if err != nil {
		return err
	}
	applied := uint64(0)
	if n.cfg.Machine != nil {
		if applied, err = n.cfg.Machine.Applied(); err != nil {
			return err
		}
	}
	if has {
		n.log, err = wal.Open(opt)
	} else {
		var start core.Start
		if start, err = n.start(applied); err == nil {
			n.log, err = wal.Create(opt, start)
		}
	}
	if errors.Is(err, wal.ErrDamaged) {
		err = fmt.Errorf("%w. Nothing was changed: keep its directory as evidence, remove this node from the group and let the machine join under a new name with an empty one", err)
	}
	if err != nil {
		return err
	}
	n.log.OnOverwritten(n.keepOverwritten)
	if err := n.finishRestore(applied); err != nil {
		return err
	}
	first, _ := n.log.FirstIndex()
	switch {
	case n.cfg.Machine == nil:
		// It has nothing to apply but the group, as of which each segment begins.
		last, _ := n.log.LastIndex()
		applied = max(first-1, n.log.Conf(last).Index)
	case applied == 0 && first == 2:
		applied = 1 // what was there before
	}
	if err := n.log.Applied(applied); err != nil {
		return fmt.Errorf("%w: put nothing back by hand; remove this node from the group and let the machine join under a new name", err)
	}
	n.applied.Store(applied)
	n.setDurable()
	if n.cfg.Machine != nil {
		n.log.OnSnapshot(n.offer)
	}
	return nil
}

// start is the beginning of a new log.
func (n *Node) start(applied uint64) (s core.Start, err error) {
	if applied != 0 {
		return s, fmt.Errorf("the state in this machine has applied entry %d, and %s holds no log: remove this node from the group and let it join under a new name", applied, n.cfg.Dir)
	}
	s.Conf.State = &raftpb.ConfState{}
	s.Conf.Members = core.EncodeMembers(n.cfg.Members)
	s.Hard.Term = n.cfg.Term
	if n.cfg.Machine != nil && (n.cfg.Join || len(n.cfg.Members) > 1) {
		empty, err := n.cfg.Machine.Empty()
		if err != nil {
			return s, err
		}
		if !empty && !n.cfg.Join {
			return s, errors.New("this machine has a history: found the group on it alone, and let the others join")
		}
	}
	if n.cfg.Join {
		return s, nil
	}
	for _, m := range n.cfg.Members {
		s.Conf.State.Voters = append(s.Conf.State.Voters, m.ID(n.cfg.Origin))
	}
	slices.Sort(s.Conf.State.Voters)
	// What was there before, a history or nothing, and who the first members are stands for the first entry: so whoever
	// joins gets it as a state, and never an empty group that a change is applied to.
	s.Index, s.Term = 1, 1
	if len(n.cfg.Members) == 1 {
		s.Term = max(1, n.cfg.Term)
	}
	s.Hard.Term, s.Hard.Commit = max(s.Hard.Term, s.Term), 1
	s.Conf.Index = 1
	return s, nil
}

func (n *Node) members() []Member { return slices.Clone(n.core.Members()) }

// Self returns this node's own member.
func (n *Node) Self() Member { return n.self }

// Role returns what this node is, as last told to Config.Role.
func (n *Node) Role() Role { return *n.role.Load() }

// Ended is closed when the node has stopped; Err says why.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// Err returns why the node stopped, nil while it runs.
func (n *Node) Err() error {
	if err := n.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail stops the node: what it holds is as it was.
func (n *Node) fail(err error) {
	if n.failed.CompareAndSwap(nil, &err) {
		if !errors.Is(err, ErrClosed) {
			n.cfg.Log.Error("this node has stopped", "node", n.self.Name, "error", err)
		}
		close(n.quit)
	}
}

// Close stops the node.
func (n *Node) Close() (err error) {
	n.fail(ErrClosed)
	n.once.Do(func() {
		err = n.net.close()
		n.done.Wait()
		err = errors.Join(err, n.log.Close(), n.lock.Close())
	})
	return err
}

// do lets the loop run f; false when the node has ended.
func (n *Node) do(f func()) bool {
	select {
	case n.events <- f:
		return true
	case <-n.quit:
		return false
	}
}

// scaled is a time that is meant for ticks of the usual length.
func (n *Node) scaled(d time.Duration) time.Duration { return d * n.cfg.Tick / tick }

// loop is the only goroutine that uses the core and writes the log.
func (n *Node) loop() {
	defer n.end()
	var ticks <-chan time.Time
	if !n.cfg.manual {
		t := time.NewTicker(n.cfg.Tick)
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case f := <-n.events:
			f()
		case <-ticks:
			n.tick()
		case <-n.quit:
			return
		}
	more:
		for range 64 {
			select {
			case f := <-n.events:
				f()
			default:
				break more
			}
		}
		if n.failed.Load() == nil {
			n.must(n.core.Work(n))
			n.after()
		}
	}
}

// must stops the node on an error.
func (n *Node) must(err error) {
	if err == nil {
		return
	}
	if errors.Is(err, core.ErrBroken) {
		err = fmt.Errorf("%w: %w: its log is left as it is for evidence; remove this node from the group and let the machine join under a new name", ErrDiverged, err)
	}
	n.fail(err)
}

func (n *Node) tick() {
	n.ticked++
	n.core.SetFit(n.unfit.Load() == nil)
	n.must(n.core.Tick())
	if n.ticked%40 == 0 {
		n.setDurable()
		n.must(n.retain())
		n.peers.save(n)
	}
}

// end answers everybody who waits.
func (n *Node) end() {
	n.amu.Lock()
	defer n.amu.Unlock()
	for _, p := range n.pending {
		p.err <- ErrOutcomeUnknown
	}
	for _, p := range n.waiting {
		p.err <- ErrNotActive
	}
	for w := range n.waits {
		w.err <- n.Err()
	}
	n.pending, n.waiting, n.waits = nil, nil, nil
	for {
		select {
		case f := <-n.events:
			_ = f // whoever waits for it watches that the node ends
		default:
			close(n.ended)
			return
		}
	}
}

// Send implements core.Outside.
func (n *Node) Send(m *raftpb.Message) {
	if to, ok := n.core.Member(m.GetTo()); ok {
		n.net.send(to, m)
	}
}

// Apply implements core.Outside.
func (n *Node) Apply(c *core.Committed) {
	it := &item{committed: c}
	for _, e := range c.Entries {
		if e.GetType() != raftpb.EntryType_EntryNormal || len(e.Data) < entryHead {
			continue
		}
		nonce := binary.BigEndian.Uint64(e.Data[9:])
		if p := n.pending[nonce]; p != nil && p.term == e.GetTerm() {
			delete(n.pending, nonce)
			if it.proposals == nil {
				it.proposals = map[uint64]*proposal{}
			}
			it.proposals[e.GetIndex()] = p
		}
	}
	if c.Active != 0 {
		n.reign = c.Active
		it.role = &Role{Term: c.Active, Leader: n.self.Name}
	}
	n.enqueue(it)
}

func (n *Node) enqueue(it *item) {
	n.amu.Lock()
	n.queue = append(n.queue, it)
	n.amu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// after looks at what has changed.
func (n *Node) after() {
	s := n.core.State()
	n.committed.Store(s.Commit)
	if n.reign != 0 && (!s.Leader || s.Term != n.reign) {
		n.reign = 0
		for nonce, p := range n.pending {
			p.err <- ErrOutcomeUnknown
			delete(n.pending, nonce)
		}
		n.notActive(s)
	} else if n.reign == 0 && (s.Lead != n.was.Lead || s.Term != n.was.Term) {
		n.notActive(s)
	}
	n.was = s
	if !slices.Equal(n.known, n.core.Members()) {
		n.known = n.members()
		n.net.changed(n.known)
	}
	if len(n.waiting) > 0 && !s.Busy {
		again := n.waiting
		n.waiting = nil
		for _, p := range again {
			n.propose(p)
		}
		n.must(n.core.Work(n))
	}
	for w := range n.waits {
		if met, err := w.met(); met || err != nil {
			w.err <- err
			delete(n.waits, w)
		}
	}
}

// notActive tells the machine's side who leads instead.
func (n *Node) notActive(s core.State) {
	r := &Role{}
	if m, ok := n.core.Member(s.Lead); ok && !m.Arbiter && s.Lead != n.id {
		r.Leader = m.Name
	}
	n.enqueue(&item{role: r})
}

// Propose has a batch committed by the group and then applied here by apply, instead of by Machine.Apply. It returns when
// that is done. ErrNotActive means that nothing was proposed; ErrOutcomeUnknown, that nobody here knows. A context that ends
// before the batch is proposed gives its error; once proposed, a batch is not given up.
func (n *Node) Propose(ctx context.Context, term uint64, data []byte, apply func(index uint64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r := n.role.Load(); r.Term != term || term == 0 {
		return ErrNotActive
	}
	p := &proposal{term: term, data: data, apply: apply, err: make(chan error, 1)}
	if !n.do(func() { n.propose(p) }) {
		return ErrNotActive
	}
	select {
	case err := <-p.err:
		return err
	case <-n.ended:
		select {
		case err := <-p.err:
			return err
		default:
			return ErrOutcomeUnknown
		}
	}
}

func (n *Node) propose(p *proposal) {
	n.nonce++
	head := make([]byte, 0, entryHead+len(p.data))
	head = append(head, entryVersion)
	head = binary.BigEndian.AppendUint64(head, p.term)
	head = binary.BigEndian.AppendUint64(head, n.nonce)
	switch err := n.core.Propose(p.term, append(head, p.data...)); {
	case err == nil:
		n.pending[n.nonce] = p
	case errors.Is(err, core.ErrBusy):
		n.waiting = append(n.waiting, p)
	case errors.Is(err, core.ErrNotLeader):
		p.err <- ErrNotActive
	default:
		p.err <- ErrOutcomeUnknown
		n.must(err)
	}
}

// until waits until the loop finds a condition met.
func (n *Node) until(ctx context.Context, begin func() error, met func() (bool, error)) error {
	w := &wait{met: met, err: make(chan error, 1)}
	if !n.do(func() {
		if err := begin(); err != nil {
			w.err <- err
			return
		}
		n.waits[w] = struct{}{}
	}) {
		return n.Err()
	}
	select {
	case err := <-w.err:
		return err
	case <-n.quit:
		return n.Err()
	case <-ctx.Done():
		n.do(func() { delete(n.waits, w) })
		return ctx.Err()
	}
}

// Transfer hands the active role over to another full node, and returns when that one leads.
func (n *Node) Transfer(ctx context.Context, to string) error {
	var id uint64
	return n.until(ctx, func() error {
		i := slices.IndexFunc(n.core.Members(), func(m Member) bool { return m.Name == to })
		if i < 0 {
			return fmt.Errorf("replica: switching over: no member is called %q", to)
		}
		m := n.core.Members()[i]
		if m.Arbiter {
			return fmt.Errorf("replica: switching over: %q is the arbiter, which is never active", to)
		}
		id = m.ID(n.cfg.Origin)
		if err := n.core.Transfer(id); errors.Is(err, core.ErrNotLeader) {
			return ErrNotActive
		} else if err != nil {
			return err
		}
		return nil
	}, func() (bool, error) {
		s := n.core.State()
		if s.Lead == id {
			return true, nil
		}
		if s.Leader && !s.Busy {
			return false, fmt.Errorf("replica: switching over: %s did not take over in time; this node goes on", to)
		}
		if m, ok := n.core.Member(s.Lead); ok && !s.Leader {
			return false, fmt.Errorf("replica: switching over: %s leads instead of %s", m.Name, to)
		}
		return false, nil
	})
}

// applyAll is the applier: it applies what is committed, in order.
func (n *Node) applyAll() {
	defer func() {
		// Nobody may go on as if this node were active.
		if r := n.role.Load(); r.Term != 0 {
			n.setRole(&Role{})
		}
	}()
	for {
		select {
		case <-n.wake:
		case <-n.quit:
			return
		}
		n.amu.Lock()
		todo := n.queue
		n.queue = nil
		n.amu.Unlock()
		for i, it := range todo {
			if n.failed.Load() != nil {
				for _, it := range todo[i:] {
					for _, p := range it.proposals {
						p.err <- ErrOutcomeUnknown
					}
				}
				return
			}
			n.work(it)
		}
	}
}

func (n *Node) work(it *item) {
	switch {
	case it.restore != nil:
		n.restore(it.restore)
		return
	case it.between != nil:
		it.between()
		return
	}
	if c := it.committed; c != nil {
		for _, e := range c.Entries {
			p := it.proposals[e.GetIndex()]
			err := n.applyEntry(e, p)
			if p != nil {
				if err != nil {
					p.err <- fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
				} else {
					p.err <- nil
				}
			}
			if err != nil {
				n.must(err)
				return
			}
		}
	}
	if it.role != nil {
		n.setRole(it.role)
	}
	if c := it.committed; c != nil {
		n.do(func() { n.must(n.core.Applied(c)) })
	}
}

// Between has f run between two entries, where Config.Role is told roles.
func (n *Node) Between(f func()) { n.enqueue(&item{between: f}) }

func (n *Node) setRole(r *Role) {
	if *n.role.Load() == *r {
		return
	}
	n.cfg.Log.Info("role", "node", n.self.Name, "active in term", r.Term, "leader", r.Leader)
	n.role.Store(r)
	if n.cfg.Role != nil && !n.self.Arbiter {
		n.cfg.Role(*r)
	}
}

// applyEntry applies one entry, unless a state that was taken over has it already.
func (n *Node) applyEntry(e *raftpb.Entry, p *proposal) error {
	index := e.GetIndex()
	if index <= n.applied.Load() {
		return nil
	}
	if e.GetType() == raftpb.EntryType_EntryNormal && len(e.Data) > 0 && n.cfg.Machine != nil {
		if len(e.Data) < entryHead || e.Data[0] != entryVersion {
			return fmt.Errorf("entry %d: its format is not version %d: use the program that wrote it", index, entryVersion)
		}
		if term := binary.BigEndian.Uint64(e.Data[1:]); term != e.GetTerm() {
			return fmt.Errorf("%w: entry %d was proposed in term %d and stands in term %d", ErrDiverged, index, term, e.GetTerm())
		}
		var err error
		if p != nil {
			err = p.apply(index)
		} else {
			err = n.cfg.Machine.Apply(index, e.GetTerm(), e.Data[entryHead:])
		}
		if err != nil {
			return fmt.Errorf("applying entry %d of term %d: %w", index, e.GetTerm(), err)
		}
		n.durable.Store(index)
	}
	n.applied.Store(index)
	return nil
}

// setDurable notes what others may count on.
func (n *Node) setDurable() {
	if n.cfg.Machine == nil {
		last, _ := n.log.LastIndex()
		n.durable.Store(min(last, n.log.Hard().Commit))
		return
	}
	if n.durable.Load() == 0 {
		n.durable.Store(n.applied.Load())
	}
}

func (n *Node) askFit() {
	if n.cfg.Fit != nil {
		n.setFit(n.cfg.Fit())
	}
}

func (n *Node) setFit(err error) {
	was := n.unfit.Load()
	if err == nil {
		n.unfit.Store(nil)
	} else {
		n.unfit.Store(&err)
	}
	if (was == nil) != (err == nil) {
		n.cfg.Log.Warn("fitness to be active", "node", n.self.Name, "unfit", err)
	}
}

var errNoAnswer = errors.New("the check of what is needed to be active does not answer")

// watchFit asks each second. Who does not answer is not fit: a device that hangs is as good as none.
func (n *Node) watchFit() {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	answer := make(chan error, 1)
	asked := 0 // seconds ago
	for {
		select {
		case <-every.C:
			if asked++; asked == 1 {
				go func() { answer <- n.cfg.Fit() }()
			} else {
				n.setFit(errNoAnswer)
			}
		case err := <-answer:
			asked = 0
			n.setFit(err)
		case <-n.quit:
			return
		}
	}
}

// report is what this node says of itself to others.
func (n *Node) report() core.Report {
	return core.Report{Fit: n.unfit.Load() == nil && !n.self.Arbiter, Restoring: n.restoring.Load(), Durable: n.durable.Load()}
}

// received is called by the network with a message that Check accepted.
func (n *Node) received(m *raftpb.Message) {
	n.do(func() {
		if m.GetType() == raftpb.MessageType_MsgSnap && n.cfg.Machine != nil {
			n.wantsState(m)
			return
		}
		n.must(n.core.Step(m))
	})
}

// reported is called by the network with what another node says of itself.
func (n *Node) reported(from Member, r core.Report) {
	n.do(func() {
		n.peers.report(from.Name, r)
		n.core.Report(from.ID(n.cfg.Origin), r)
	})
}

// lost is called by the network when the connection from a node broke.
func (n *Node) lost(from Member) {
	n.do(func() { n.core.Lost(from.ID(n.cfg.Origin)) })
}

// random is for what must differ from one run to the next.
func random() (b [16]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

var _ core.Outside = (*Node)(nil)
var _ raft.Storage = (*wal.Log)(nil)
