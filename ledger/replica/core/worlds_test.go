package core_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"countroom/ledger/replica/core"
	"countroom/ledger/replica/wal"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

var (
	worlds = flag.Int("worlds", 60, "how many seeded worlds to run")
	first  = flag.Uint64("first", 0, "the first seed")
	update = flag.Bool("update", false, "write the transcripts anew")
)

const house = "house.example/log"

// world is a group in which nothing happens but by its random numbers: time, the network, the disks, who dies when.
type world struct {
	t     testing.TB
	rnd   *rand.Rand
	names []string // of the nodes there ever were, in order
	nodes map[string]*node
	group []core.Member

	air     []flying
	blocked map[[2]string]bool // from, to
	loss    float64            // of messages
	now     int

	// What must hold.
	history  map[uint64]string // what was applied at an index, by whoever applied it first
	actives  map[uint64]string // who was active in a term
	said     int               // proposals so far
	most     uint64            // entries of which the last was acknowledged
	acked    map[string]bool   // proposals that were acknowledged
	changing string            // a node that is to join
	replaces string

	confirmed int // how often a node was told that it leads
	story     *strings.Builder

	// Sabotage.
	lying    bool // disks sync nothing
	mute     bool // the arbiter never stands
	hasty    bool // what is proposed is acknowledged
	sure     bool // who believes that it leads is not told otherwise
	findings string
}

type flying struct {
	from, to string
	raw      []byte
	due      int
}

// node is one machine with its disk, and its process while it runs.
type node struct {
	w    *world
	self core.Member
	id   uint64
	rate float64 // ticks in a unit of time
	fs   *vfs.MemFS

	// The state on its disk, a full machine's only. It is durable with each entry.
	applied uint64 // index of the newest batch
	said    []string
	founded bool // it has been opened before

	core  *core.Core
	log   *wal.Log
	torn  bool // the next write is the last
	upTo  uint64
	queue []*core.Committed
	reign uint64
	mine  string // the proposal under way
	known map[string]uint64

	asked, acked uint64 // a question whether it leads, and how much was acknowledged by anybody when it was asked
}

var errPower = errors.New("the power fails")

// disk is the log of a node whose power may fail in the middle of a write.
type disk struct {
	*wal.Log
	n *node
}

func (d disk) Save(h *raftpb.HardState, es []*raftpb.Entry, sync bool) error {
	if !d.n.torn {
		return d.Log.Save(h, es, sync && !d.n.w.lying)
	}
	if err := d.Log.Save(h, es, false); err != nil {
		return err
	}
	return errPower
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), nodes: map[string]*node{}, blocked: map[[2]string]bool{},
		history: map[uint64]string{}, actives: map[uint64]string{}, acked: map[string]bool{}, story: &strings.Builder{},
		group: []core.Member{{Name: "A", Address: "a"}, {Name: "B", Address: "b"}, {Name: "W", Address: "w", Arbiter: true}},
	}
	for _, m := range w.group {
		w.add(m)
	}
	return w
}

func (w *world) add(m core.Member) *node {
	n := &node{w: w, self: m, id: m.ID(house), rate: 0.8 + 0.4*w.rnd.Float64(), fs: vfs.NewCrashableMem(), known: map[string]uint64{}}
	w.names = append(w.names, m.Name)
	w.nodes[m.Name] = n
	return n
}

func (w *world) tell(f string, v ...any) {
	fmt.Fprintf(w.story, "%5d  "+f+"\n", append([]any{w.now}, v...)...)
}

func (w *world) fatal(f string, v ...any) {
	w.t.Helper()
	if w.sabotaged() {
		w.findings = fmt.Sprintf(f, v...)
		panic(found{})
	}
	lines := strings.Split(w.story.String(), "\n")
	w.t.Fatalf("at %d: %s\n%s", w.now, fmt.Sprintf(f, v...), strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.fatal("%v", err)
	}
}

// open starts a node's process, as Node.Open does.
func (n *node) open(join bool) {
	w := n.w
	opt := wal.Options{FS: n.fs, Dir: "log", Origin: house, Node: n.id, SegmentBytes: 4096}
	var err error
	if n.founded {
		n.log, err = wal.Open(opt)
	} else {
		s := core.Start{Conf: core.Conf{State: &raftpb.ConfState{}, Members: core.EncodeMembers(w.group)}}
		if !join {
			s.Index, s.Term, s.Hard, s.Conf.Index = 1, 1, core.Hard{Term: 1, Commit: 1}, 1
			n.applied = 1
			for _, m := range w.group {
				s.Conf.State.Voters = append(s.Conf.State.Voters, m.ID(house))
			}
		}
		n.log, err = wal.Create(opt, s)
		n.founded = true
	}
	w.must(err)
	n.upTo = n.applied
	if n.self.Arbiter {
		first, _ := n.log.FirstIndex()
		last, _ := n.log.LastIndex()
		n.upTo = max(first-1, n.log.Conf(last).Index)
	}
	w.must(n.log.Applied(n.upTo))
	if !n.self.Arbiter {
		n.log.OnSnapshot(func() (*raftpb.Snapshot, error) {
			term, err := n.log.Term(n.upTo)
			if err != nil {
				return nil, err
			}
			c := n.log.Conf(n.upTo)
			return &raftpb.Snapshot{Data: c.Members, Metadata: &raftpb.SnapshotMetadata{Index: new(n.upTo), Term: new(term), ConfState: c.State}}, nil
		})
	}
	n.core, err = core.New(core.Config{Origin: house, Self: n.self, Disk: disk{n.log, n}, Applied: n.upTo})
	w.must(err)
	n.queue, n.reign, n.mine, n.torn, n.asked = nil, 0, "", false, 0
	w.tell("%s starts", n.self.Name)
}

// crash ends a node's process; percent of what was not synced is kept.
func (n *node) crash(percent int) {
	if n.core == nil {
		return
	}
	n.w.tell("%s crashes", n.self.Name)
	left := n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: n.w.rnd})
	n.w.must(n.log.Close())
	n.fs, n.core, n.log, n.queue = left, nil, nil, nil
}

// Send implements core.Outside.
func (n *node) Send(m *raftpb.Message) {
	w := n.w
	to, ok := n.core.Member(m.GetTo())
	if !ok {
		return
	}
	if n.self.Arbiter && m.GetType() == raftpb.MessageType_MsgSnap {
		w.fatal("the arbiter offers a state")
	}
	for range 1 + w.chance(w.loss/4) {
		if w.chance(w.loss) == 1 {
			continue
		}
		raw, err := core.EncodeMessage(m)
		w.must(err)
		w.air = append(w.air, flying{n.self.Name, to.Name, raw, w.now + 1 + w.rnd.IntN(1+int(w.loss*40))})
	}
}

func (w *world) chance(p float64) int {
	if w.rnd.Float64() < p {
		return 1
	}
	return 0
}

// Apply implements core.Outside.
func (n *node) Apply(c *core.Committed) { n.queue = append(n.queue, c) }

// work lets the core do what is to be done; a fault of the disk ends the process.
func (n *node) work(err error) {
	if err == nil {
		err = n.core.Work(n)
	}
	if errors.Is(err, errPower) {
		n.w.tell("%s tears what it writes", n.self.Name)
		n.crash(n.w.rnd.IntN(101))
		return
	}
	n.w.must(err)
	if s := n.core.State(); s.Leader && n.self.Arbiter && n.w.actives[s.Term] == "" {
		n.w.actives[s.Term] = "nobody"
		n.w.tell("the arbiter leads in term %d and serves nobody", s.Term)
	}
	if s := n.core.State(); n.reign != 0 && (!s.Leader || s.Term != n.reign) {
		n.w.tell("%s is not active any more", n.self.Name)
		n.reign, n.mine, n.asked = 0, "", 0 // what was under way: nobody knows
	}
}

// apply applies what was handed over first.
func (n *node) apply() {
	if n.core == nil || len(n.queue) == 0 {
		return
	}
	w, c := n.w, n.queue[0]
	n.queue = n.queue[1:]
	for _, e := range c.Entries {
		i := e.GetIndex()
		if i <= n.upTo {
			continue
		}
		what := fmt.Sprintf("%d %x", e.GetTerm(), e.Data)
		if was, ok := w.history[i]; ok && was != what {
			w.fatal("%s applies %q at %d, where %q was applied before", n.self.Name, what, i, was)
		}
		w.history[i] = what
		if e.GetType() == raftpb.EntryType_EntryNormal && len(e.Data) > 0 && !n.self.Arbiter {
			base, say := binary.BigEndian.Uint64(e.Data), string(e.Data[8:])
			if base != uint64(len(n.said)) {
				w.fatal("%s applies %q, which follows %d, to %d", n.self.Name, say, base, len(n.said))
			}
			n.said, n.applied = append(slices.Clip(n.said), say), i
			if n.mine == say && n.reign == e.GetTerm() {
				w.acked[say], n.mine = true, ""
				w.most = max(w.most, uint64(len(n.said)))
			}
		}
		n.upTo = i
	}
	if c.Active != 0 {
		if s := n.core.State(); s.Leader && s.Term == c.Active {
			if n.self.Arbiter {
				w.fatal("the arbiter is active")
			}
			if other, ok := w.actives[c.Active]; ok && other != n.self.Name {
				w.fatal("%s and %s are active in term %d", other, n.self.Name, c.Active)
			}
			w.actives[c.Active], n.reign = n.self.Name, c.Active
			w.tell("%s is active in term %d, with %d entries", n.self.Name, c.Active, len(n.said))
		}
	}
	n.work(n.core.Applied(c))
}

// confirm has an active node ask whether it is that still, and wants everything that was acknowledged before in what it
// has applied when the answer is yes.
func (n *node) confirm() {
	if n.core == nil || n.reign == 0 {
		return
	}
	if n.w.sure && n.asked == 0 {
		n.asked, n.acked = 1, n.w.most
	}
	if n.asked != 0 && (n.core.Confirmed() >= n.asked || n.w.sure) {
		if uint64(len(n.said)) < n.acked {
			n.w.fatal("%s was told that it leads, and has applied %d of %d that were acknowledged when it asked", n.self.Name, len(n.said), n.acked)
		}
		n.w.confirmed++
		n.asked = 0
	}
	if n.asked == 0 && n.w.rnd.IntN(8) == 0 {
		q, err := n.core.Confirm()
		if errors.Is(err, core.ErrNotLeader) {
			return
		}
		n.w.must(err)
		n.asked, n.acked = q, n.w.most
		n.work(nil)
	}
}

// propose has an active node say something, one thing at a time.
func (n *node) propose() {
	if n.core == nil || n.reign == 0 || n.mine != "" || len(n.queue) > 0 {
		return
	}
	n.w.said++
	say := fmt.Sprint("entry ", n.w.said)
	data := append(binary.BigEndian.AppendUint64(nil, uint64(len(n.said))), say...)
	data = append(data, bytes.Repeat([]byte("."), n.w.rnd.IntN(200))...)
	say = string(data[8:])
	switch err := n.core.Propose(n.reign, data); {
	case err == nil:
		n.mine = say
		if n.w.hasty {
			n.w.acked[say] = true
		}
		n.work(nil)
	case !errors.Is(err, core.ErrBusy) && !errors.Is(err, core.ErrNotLeader):
		n.w.must(err)
	}
}

func (w *world) up() (ns []*node) {
	for _, name := range w.names {
		if n := w.nodes[name]; n.core != nil {
			ns = append(ns, n)
		}
	}
	return ns
}

// pass lets one unit of time pass, about a tick.
func (w *world) pass() {
	w.now++
	for _, n := range w.up() {
		for r := n.rate; r > 0 && n.core != nil; r-- {
			if mute := w.mute && n.self.Arbiter && !n.core.State().Leader; !mute && (r >= 1 || w.rnd.Float64() < r) {
				n.work(n.core.Tick())
			}
		}
		if n.core != nil && w.now%4 == 0 {
			n.report()
		}
	}
	for range 3 {
		w.deliver()
		for _, n := range w.up() {
			if w.rnd.IntN(3) > 0 {
				n.apply()
			}
			n.propose()
			n.confirm()
		}
	}
}

func (n *node) report() {
	durable := n.applied
	if n.self.Arbiter {
		last, _ := n.log.LastIndex()
		durable = min(last, n.log.Hard().Commit)
	}
	for _, to := range n.w.up() {
		if to != n && !n.w.blocked[[2]string{n.self.Name, to.self.Name}] {
			to.core.Report(n.id, core.Report{Fit: true, Durable: durable})
			to.known[n.self.Name] = max(to.known[n.self.Name], durable)
		}
	}
}

// deliver brings what is due, in any order.
func (w *world) deliver() {
	due := w.air[:0:0]
	rest := w.air[:0:0]
	for _, m := range w.air {
		if m.due <= w.now {
			due = append(due, m)
		} else {
			rest = append(rest, m)
		}
	}
	w.air = rest
	if w.loss > 0 {
		w.rnd.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	}
	for _, m := range due {
		n := w.nodes[m.to]
		if n.core == nil || w.blocked[[2]string{m.from, m.to}] {
			continue
		}
		from := w.nodes[m.from]
		msg, err := core.DecodeMessage(m.raw, from.id, n.id)
		w.must(err)
		if msg.GetType() == raftpb.MessageType_MsgSnap && !n.self.Arbiter {
			n.takeOver(from, msg)
			continue
		}
		n.work(n.core.Step(msg))
	}
}

// takeOver fetches a state, as Node.restore does.
func (n *node) takeOver(from *node, m *raftpb.Message) {
	w := n.w
	if from.core == nil || w.blocked[[2]string{n.self.Name, from.self.Name}] || len(n.queue) > 0 {
		return
	}
	if m.GetSnapshot().GetMetadata().GetIndex() <= n.upTo {
		n.work(n.core.Step(m))
		return
	}
	if from.upTo < m.GetSnapshot().GetMetadata().GetIndex() {
		return
	}
	term, err := from.log.Term(from.upTo)
	w.must(err)
	c := from.log.Conf(from.upTo)
	if len(from.said) < len(n.said) || !slices.Equal(from.said[:len(n.said)], n.said) {
		w.fatal("%s takes over a state that does not go on from its own", n.self.Name)
	}
	w.tell("%s takes over the state of %s", n.self.Name, from.self.Name)
	n.said, n.applied, n.upTo = from.said, from.upTo, from.upTo
	m = proto.Clone(m).(*raftpb.Message)
	m.Snapshot = &raftpb.Snapshot{Data: c.Members, Metadata: &raftpb.SnapshotMetadata{Index: new(from.upTo), Term: new(term), ConfState: c.State}}
	m.Term = new(max(m.GetTerm(), n.core.State().Term))
	n.work(n.core.Step(m))
}

// drop lets a node's log begin later, by the rules of retention.
func (n *node) drop() {
	if n.core == nil {
		return
	}
	to := n.applied
	if n.self.Arbiter {
		to = n.log.Hard().Commit
		for _, m := range n.core.Members() {
			if !m.Arbiter {
				to = min(to, n.known[m.Name])
			}
		}
	}
	n.w.must(n.log.DropTo(to, 0))
}

func (w *world) active() *node {
	for _, n := range w.up() {
		if n.reign != 0 && n.core.State().Leader {
			return n
		}
	}
	return nil
}

// change begins or goes on with the replacement of a node.
func (w *world) change() {
	n := w.active()
	if n == nil || n.core.Changing() {
		return
	}
	ms := slices.Clone(n.core.Members())
	if w.changing == "" {
		old := ms[w.rnd.IntN(len(ms))]
		if old.Name == n.self.Name {
			return
		}
		m := core.Member{Name: fmt.Sprintf("%.1s%d", old.Name, len(w.names)), Address: "x", Arbiter: old.Arbiter}
		w.changing, w.replaces = m.Name, old.Name
		w.add(m)
		w.group = append(ms, m)
		w.nodes[m.Name].open(true)
		w.tell("%s is to replace %s", m.Name, old.Name)
	}
	x := w.nodes[w.changing]
	if !slices.ContainsFunc(ms, func(m core.Member) bool { return m.Name == w.changing }) {
		err := n.core.ProposeConf(append(ms, x.self), single(raftpb.ConfChangeType_ConfChangeAddLearnerNode, x.id))
		if err == nil {
			n.work(nil)
		}
		return
	}
	progress := n.core.Progress()
	pr, commit := progress[x.id], n.core.State().Commit
	if !pr.IsLearner || pr.Match == 0 || pr.Match+8 < commit {
		if !pr.IsLearner && pr.Match > 0 {
			w.changing = ""
		}
		return
	}
	for _, m := range ms {
		if x.self.Arbiter && !m.Arbiter && progress[m.ID(house)].Match < commit {
			return
		}
	}
	old := w.nodes[w.replaces]
	ms = slices.DeleteFunc(ms, func(m core.Member) bool { return m.Name == w.replaces })
	err := n.core.ProposeConf(ms, single(raftpb.ConfChangeType_ConfChangeAddNode, x.id), single(raftpb.ConfChangeType_ConfChangeRemoveNode, old.id))
	if err == nil {
		w.tell("%s proposes %s for %s", n.self.Name, x.self.Name, old.self.Name)
		n.work(nil)
	}
}

func single(t raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
	return &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)}
}

// fault makes something go wrong.
func (w *world) fault() {
	name := w.names[w.rnd.IntN(len(w.names))]
	n := w.nodes[name]
	switch w.rnd.IntN(12) {
	case 0, 1:
		n.crash(w.rnd.IntN(101))
	case 2:
		n.torn = true
	case 3, 4, 5:
		if n.core == nil && w.serves(n) {
			n.open(false)
		}
	case 6:
		other := w.names[w.rnd.IntN(len(w.names))]
		w.blocked[[2]string{name, other}] = true // one way
	case 7:
		for _, other := range w.names {
			w.blocked[[2]string{name, other}], w.blocked[[2]string{other, name}] = true, true
		}
	case 8, 9:
		clear(w.blocked)
	case 10:
		w.loss = []float64{0, 0.02, 0.1, 0.4}[w.rnd.IntN(4)]
	case 11:
		n.rate = 0.5 + w.rnd.Float64()
		n.drop()
	}
}

// serves says whether a node is still of use: not once it was replaced.
func (w *world) serves(n *node) bool {
	for _, other := range w.nodes {
		if other.core == nil {
			continue
		}
		if ms := other.core.Members(); slices.ContainsFunc(ms, func(m core.Member) bool { return m.Name == n.self.Name }) {
			return true
		}
	}
	return len(w.up()) == 0
}

// heal ends all faults and wants service again, within bounds.
func (w *world) heal() {
	w.loss, w.air = 0, nil
	clear(w.blocked)
	for _, name := range w.names {
		n := w.nodes[name]
		n.rate = 1
		n.torn = false
		if n.core == nil {
			n.open(false)
		}
	}
	w.tell("all is well again; %d times a node has been told that it leads", w.confirmed)
	healed, acked := w.now, len(w.acked)
	for w.now-healed < 1200 {
		w.pass()
		if w.changing != "" && w.now%10 == 0 {
			w.change()
		}
		if a := w.active(); a != nil && len(w.acked) > acked+3 && w.converged(a) && w.changing == "" {
			w.tell("all have %d entries again", len(a.said))
			return
		}
	}
	for _, n := range w.up() {
		s := n.core.State()
		last, _ := n.log.LastIndex()
		w.tell("%s: %+v, %d said, log to %d, %v", n.self.Name, s, len(n.said), last, n.core.Members())
	}
	w.fatal("no service %d ticks after all was well again", w.now-healed)
}

func (w *world) converged(a *node) bool {
	for _, m := range a.core.Members() {
		n := w.nodes[m.Name]
		if !m.Arbiter && (n.core == nil || len(n.said) < len(a.said)-1) {
			return false
		}
	}
	have := map[string]bool{}
	for _, say := range a.said {
		have[say] = true
	}
	for say := range w.acked {
		if !have[say] {
			w.fatal("%q was acknowledged, and %s does not have it", say, a.self.Name)
		}
	}
	return true
}

func run(t *testing.T, seed uint64) string {
	cryptotest.SetGlobalRandom(t, seed)
	w := newWorld(t, seed)
	w.live()
	return w.story.String()
}

func (w *world) live() {
	for _, name := range w.names {
		w.nodes[name].open(false)
	}
	often := 0.01 + 0.06*w.rnd.Float64()
	members := w.rnd.IntN(3) == 0
	for range 3 {
		for range 150 + w.rnd.IntN(250) {
			w.pass()
			if w.chance(often) == 1 {
				w.fault()
			}
			if members && w.now%10 == 0 && (w.changing != "" || w.chance(0.05) == 1) {
				w.change()
			}
		}
		w.heal()
	}
}

// In no world are there two histories, nothing acknowledged is lost, no term has two active nodes, the arbiter is never
// active and never offers a state, and when all is well again there is service within bounds.
func TestWorlds(t *testing.T) {
	seen := map[string]int{}
	for seed := *first; seed < *first+uint64(*worlds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			story := run(t, seed)
			for _, what := range []string{"crashes", "is active in term", "is not active any more", "takes over the state", "tears", "is to replace", "proposes", "the arbiter leads"} {
				seen[what] += strings.Count(story, what)
			}
		})
	}
	t.Log(seen)
	if *worlds >= 50 {
		for what, n := range seen {
			if n < 10 {
				t.Errorf("in all worlds it happened %d times only: %s", n, what)
			}
		}
	}
}

// A seed is a world: told again, it is the same to the letter.
func TestSameSeedSameWorld(t *testing.T) {
	var told [2]string
	for i := range told {
		t.Run("telling", func(t *testing.T) { told[i] = run(t, 5) })
	}
	if told[0] != told[1] {
		t.Fatal("the world is another when it is told again")
	}
}

// The story of the arbiter that alone has what was acknowledged, tick by tick.
func TestTheArbiterLeadsLast(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	w := newWorld(t, 1)
	for _, name := range w.names {
		w.nodes[name].rate = 1
		w.nodes[name].open(false)
	}
	until := func(what string, met func() bool) {
		for limit := w.now + 500; !met(); w.pass() {
			if w.now > limit {
				w.fatal("waited in vain until %s", what)
			}
		}
		w.tell("- %s", what)
	}
	until("somebody is active", func() bool { return w.active() != nil })
	a := w.active()
	b := w.nodes[map[string]string{"A": "B", "B": "A"}[a.self.Name]]
	for _, other := range w.names {
		w.blocked[[2]string{other, b.self.Name}], w.blocked[[2]string{b.self.Name, other}] = true, true
	}
	w.tell("%s is cut off", b.self.Name)
	had := len(b.said)
	until("ten more are acknowledged by "+a.self.Name+" and the arbiter", func() bool { return len(a.said) >= had+10 })
	a.crash(0)
	clear(w.blocked)
	w.tell("%s is back, with %d entries", b.self.Name, len(b.said))
	until("it is active with everything", func() bool { return w.active() == b && len(b.said) >= had+10 })
	a.open(false)
	until("both machines have the same", func() bool { return w.active() != nil && w.converged(w.active()) })
	name := filepath.Join("testdata", "arbiter.txt")
	if *update {
		w.must(os.MkdirAll("testdata", 0o755))
		w.must(os.WriteFile(name, []byte(w.story.String()), 0o644))
	}
	want, err := os.ReadFile(name)
	w.must(err)
	if w.story.String() != string(want) {
		t.Fatalf("the story is another (go test -update):\n%s", w.story)
	}
}

// Raft drops a change of the group that is proposed before it has heard that the one before is applied, and says so to
// nobody. The core finds out, so that who proposed it does so again.
func TestAChangeRightAfterAnother(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 3)
	w := newWorld(t, 3)
	for _, name := range w.names {
		w.nodes[name].rate = 1
		w.nodes[name].open(false)
	}
	for w.active() == nil {
		w.pass()
	}
	a := w.active()
	x := w.add(core.Member{Name: "X", Address: "x"})
	w.group = append(slices.Clone(a.core.Members()), x.self)
	x.open(true)
	for len(a.queue) > 0 {
		a.apply()
	}
	w.must(a.core.ProposeConf(w.group, single(raftpb.ConfChangeType_ConfChangeAddLearnerNode, x.id)))
	a.work(nil)
	for a.core.Changing() {
		w.now++
		w.deliver()
	}
	if len(a.queue) == 0 {
		t.Fatal("the change is applied everywhere: this is not the moment")
	}
	dropped := 0
	for limit := w.now + 400; ; w.pass() {
		if pr := a.core.Progress()[x.id]; !pr.IsLearner {
			break
		}
		if w.now > limit {
			w.fatal("X has no vote; under way: %v", a.core.Changing())
		}
		if !a.core.Changing() {
			dropped++
			w.must(a.core.ProposeConf(w.group, single(raftpb.ConfChangeType_ConfChangeAddNode, x.id)))
			a.work(nil)
		}
	}
	if dropped < 2 || a.core.Changes() != 2 {
		t.Fatalf("proposed %d times, %d changes were made: want one that is dropped, and two", dropped, a.core.Changes())
	}
}

func FuzzMessage(f *testing.F) {
	m := &raftpb.Message{
		Type: raftpb.MessageType_MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)), Index: new(uint64(4)), LogTerm: new(uint64(2)),
		Entries: []*raftpb.Entry{{Index: new(uint64(5)), Term: new(uint64(3)), Data: []byte("x")}},
	}
	b, err := core.EncodeMessage(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := core.DecodeMessage(b, 1, 2)
		if err != nil {
			return
		}
		// A node takes what was let pass without a panic, or says that it contradicts its log.
		fs := vfs.NewMem()
		ms := []core.Member{{Name: "A", Address: "a"}}
		l, err := wal.Create(wal.Options{FS: fs, Dir: "log", Origin: house, Node: ms[0].ID(house), SegmentBytes: 4096}, core.Start{
			Conf: core.Conf{State: &raftpb.ConfState{Voters: []uint64{1, 2, ms[0].ID(house)}}, Members: core.EncodeMembers(ms)},
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := core.New(core.Config{Origin: house, Self: ms[0], Disk: l})
		if err != nil {
			t.Fatal(err)
		}
		m.To = new(ms[0].ID(house))
		if err = c.Step(m); err == nil {
			err = c.Work(nowhere{})
		}
		if err != nil && !errors.Is(err, core.ErrBroken) {
			t.Log(err)
		}
	})
}

type nowhere struct{}

func (nowhere) Send(*raftpb.Message)  {}
func (nowhere) Apply(*core.Committed) {}

func TestMembers(t *testing.T) {
	ms := []core.Member{{Name: "W", Address: "w:1", Arbiter: true}, {Name: "A", Address: "a:1"}}
	got, err := core.DecodeMembers(core.EncodeMembers(ms))
	if err != nil || len(got) != 2 || got[0].Name != "A" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, wrong := range [][]core.Member{
		nil,
		{{Name: "W", Address: "w", Arbiter: true}},
		{{Name: "A", Address: "a"}, {Name: "A", Address: "b"}},
		{{Name: "", Address: "a"}},
		{{Name: "a b", Address: "a"}},
		{{Name: strings.Repeat("x", 65), Address: "a"}},
		{{Name: "A"}},
	} {
		if core.CheckMembers(house, wrong) == nil {
			t.Errorf("%v is taken for a group", wrong)
		}
	}
	ids := map[uint64]bool{}
	for i := range 1000 {
		ids[core.Member{Name: fmt.Sprint("n", i)}.ID(house)] = true
	}
	if len(slices.Collect(maps.Keys(ids))) != 1000 {
		t.Error("two names have one number")
	}
}

type found struct{}

func (w *world) sabotaged() bool { return w.lying || w.mute || w.hasty || w.sure }

// The worlds find what is wrong: disks that sync nothing, an arbiter that never stands, answers before the commit, reads
// by a node that was deposed and does not know it.
func TestSabotage(t *testing.T) {
	for name, sabotage := range map[string]func(*world){
		"disks that sync nothing":        func(w *world) { w.lying = true },
		"an arbiter that never stands":   func(w *world) { w.mute = true },
		"an answer before it is settled": func(w *world) { w.hasty = true },
		"reads by who believes to lead":  func(w *world) { w.sure = true },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				cryptotest.SetGlobalRandom(t, seed)
				w := newWorld(t, seed)
				sabotage(w)
				func() {
					defer func() {
						if r := recover(); r != nil {
							if _, ok := r.(found); !ok {
								panic(r)
							}
						}
					}()
					w.live()
				}()
				if w.findings != "" {
					t.Logf("seed %d: %.200s", seed, w.findings)
					return
				}
			}
			t.Error("it was not found")
		})
	}
}
