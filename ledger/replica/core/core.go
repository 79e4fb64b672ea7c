// Package core decides for one node of the group: raft, and around it the rules of a pair with an arbiter. It has no clock,
// no disk and no network: ticks, messages and the log are arguments, so that thousands of worlds with every fault can be
// told from a seed.
//
// The arbiter votes and keeps the log, and is the last to stand for election: it must do that, because an entry that was
// committed by a machine and the arbiter is known to nobody else when that machine dies. Leading, it catches the other
// machine up, hands over to it, and takes no proposal.
package core

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// A tick is TickMillis of real time.
const (
	TickMillis     = 25
	heartbeatTicks = 2
	electionTicks  = 12 // a follower stands after one to two times as many without a word from the leader

	// The last ones to stand do not count raft's ticks. The arbiter stops believing in a silent leader when it may vote
	// for another, and stands when every machine that can has had its chance. So does an unfit machine, later still.
	forgetTicks  = electionTicks
	arbiterTicks = 28
	unfitTicks   = 44

	// lostTicks is how long a node waits that saw the leader's connection break, so that the others see it too.
	lostTicks = 2
	// handOverTicks is how often a leader that should not lead looks for another.
	handOverTicks = 4
	// snapshotTicks is when a leader believes that a state it offered is not being fetched.
	snapshotTicks = 80
	// reportTicks is how long a peer's report counts.
	reportTicks = 40
)

var (
	// ErrNotLeader: this node does not lead, so nothing was proposed.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy: nothing was proposed; leadership is being handed over, or too much is under way.
	ErrBusy = errors.New("leadership is being handed over")
	// ErrBroken: what the node holds and what the group says cannot both be true. The node must stop.
	ErrBroken = errors.New("this node's log contradicts the group")
)

// Disk is what the core writes to: a Log.
type Disk interface {
	raft.Storage
	Save(hard *raftpb.HardState, entries []*raftpb.Entry, sync bool) error
	SaveConf(Conf) error
	Conf(index uint64) Conf
	Hard() Hard
	Reset(Start) error
}

// Outside is what the core does to the world.
type Outside interface {
	// Send sends a message, or loses it.
	Send(*raftpb.Message)
	// Apply takes over committed entries in order; Core.Applied is told when they are applied.
	Apply(*Committed)
}

// Committed are entries to be applied.
type Committed struct {
	Entries []*raftpb.Entry
	// Active is the term in which this node is the active one once the entries are applied, 0 when that is not new.
	Active uint64

	responses []*raftpb.Message
}

// Report is what a node says of itself to the others.
type Report struct {
	Fit       bool   // it can be active
	Restoring bool   // it is fetching a state
	Durable   uint64 // up to which index its state is durable; an arbiter's log
}

// Config of a Core.
type Config struct {
	Origin  string
	Self    Member
	Disk    Disk
	Applied uint64
	Logger  raft.Logger // nil is Silence
}

// Core is one node. One goroutine uses it.
type Core struct {
	cfg     Config
	id      uint64
	rn      *raft.RawNode
	members []Member
	byID    map[uint64]Member
	fit     bool
	reports map[uint64]*heard

	silent    int // ticks without a word from a leader, of one that stands last
	lost      int // ticks until it stands because the leader's connection broke
	ticks     int
	announced uint64 // term in which Committed.Active was given
	offered   map[uint64]int
	proposed  bool // a change of the group is under way, in the belief of this node
	changes   uint64

	asked, confirmed uint64 // questions whether this node leads still
}

// Confirm asks the others whether this node leads still: one that was cut off or asleep believes it for a while. Once
// Confirmed has come to the question, it led after it was asked.
func (c *Core) Confirm() (question uint64, err error) {
	defer c.guard(&err)
	if s := c.State(); c.cfg.Self.Arbiter || !s.Leader || c.announced != s.Term {
		return 0, ErrNotLeader
	}
	c.asked++
	c.rn.ReadIndex(binary.BigEndian.AppendUint64(nil, c.asked))
	return c.asked, nil
}

// Confirmed is up to which question the others have said so.
func (c *Core) Confirmed() uint64 { return c.confirmed }

// Changes counts the changes of the group that were made since the core was made. One that was proposed and is under way
// no more, without another being counted, was dropped and is to be proposed again: raft drops a change when the one before
// it may not be applied everywhere here yet, and says so to nobody.
func (c *Core) Changes() uint64 { return c.changes }

// Changing says whether a change of the group is under way.
func (c *Core) Changing() bool {
	return c.proposed || len(c.rn.Status().Config.Voters[1]) > 0
}

type heard struct {
	Report
	ago int
}

// New makes the core of a node whose log is opened and told what is applied.
func New(cfg Config) (c *Core, err error) {
	if cfg.Logger == nil {
		cfg.Logger = Silence{}
	}
	c = &Core{cfg: cfg, id: cfg.Self.ID(cfg.Origin), fit: true, reports: map[uint64]*heard{}, offered: map[uint64]int{}}
	if err := c.setMembers(cfg.Disk.Conf(cfg.Applied).Members); err != nil {
		return nil, err
	}
	defer c.guard(&err)
	c.rn, err = raft.NewRawNode(&raft.Config{
		ID: c.id, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks,
		Storage: cfg.Disk, Applied: cfg.Applied, AsyncStorageWrites: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 16 << 20, MaxUncommittedEntriesSize: 64 << 20,
		MaxInflightMsgs: 64, MaxInflightBytes: 16 << 20,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: cfg.Logger,
	})
	return c, err
}

func (c *Core) setMembers(b []byte) error {
	ms, err := DecodeMembers(b)
	if err != nil {
		return err
	}
	c.members, c.byID = ms, map[uint64]Member{}
	for _, m := range ms {
		c.byID[m.ID(c.cfg.Origin)] = m
	}
	return nil
}

// fault is what raft's logger panics with.
type fault string

// guard turns a panic of raft, which has found the log and the group to contradict one another, into ErrBroken.
func (c *Core) guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrBroken, r)
	}
}

// Members returns the group as of what is handed over to be applied.
func (c *Core) Members() []Member { return c.members }

// Member finds a member by its number.
func (c *Core) Member(id uint64) (Member, bool) {
	m, ok := c.byID[id]
	return m, ok
}

// State is what a node believes.
type State struct {
	Term    uint64
	Lead    uint64 // 0: nobody
	Leader  bool   // it is this node
	Commit  uint64
	Applied uint64
	Busy    bool // leadership is being handed over
}

// State returns what the node believes.
func (c *Core) State() State {
	s := c.rn.BasicStatus()
	return State{
		Term: s.GetTerm(), Lead: s.Lead, Leader: s.RaftState == raft.StateLeader, Commit: s.GetCommit(), Applied: s.Applied,
		Busy: s.LeadTransferee != 0,
	}
}

// last says whether this node stands for election after all others.
func (c *Core) last() bool { return c.cfg.Self.Arbiter || !c.fit }

// SetFit says whether this node can be active.
func (c *Core) SetFit(fit bool) { c.fit = fit }

// Report takes what another node says of itself.
func (c *Core) Report(id uint64, r Report) { c.reports[id] = &heard{Report: r} }

// Lost says that the connection from a node broke. When it leads and is gone, there is no need to wait.
func (c *Core) Lost(id uint64) {
	if s := c.State(); s.Lead == id && !s.Leader && c.lost == 0 {
		c.lost = lostTicks
	}
}

// Tick lets time pass.
func (c *Core) Tick() (err error) {
	defer c.guard(&err)
	c.ticks++
	for _, h := range c.reports {
		h.ago++
	}
	s := c.rn.BasicStatus()
	if c.lost > 0 {
		if c.lost--; c.lost == 0 && s.RaftState == raft.StateFollower {
			if err := c.giveUp(); err != nil {
				return err
			}
		}
	}
	switch {
	case s.RaftState == raft.StateLeader:
		c.rn.Tick()
		c.lead()
	case !c.last():
		c.silent = 0
		c.rn.Tick()
	default:
		return c.standLast(s)
	}
	return nil
}

// giveUp ends the belief in a leader whose connection broke. Only where the others gave up too is there an election.
func (c *Core) giveUp() error {
	if !c.last() {
		return c.rn.Campaign()
	}
	c.silent = max(c.silent, forgetTicks)
	return c.rn.ForgetLeader()
}

func (c *Core) standLast(s raft.BasicStatus) error {
	c.silent++
	limit := arbiterTicks
	if !c.cfg.Self.Arbiter {
		limit = unfitTicks
	}
	switch {
	case c.silent >= limit:
		c.silent = forgetTicks
		return c.rn.Campaign()
	case c.silent == forgetTicks && s.Lead != raft.None && s.RaftState == raft.StateFollower:
		// Without this its lease would refuse every vote for ever.
		return c.rn.ForgetLeader()
	}
	return nil
}

// lead is the leader's own housekeeping.
func (c *Core) lead() {
	for id, since := range c.offered {
		pr, ok := c.rn.Status().Progress[id]
		switch h := c.reports[id]; {
		case !ok || pr.State != tracker.StateSnapshot:
			delete(c.offered, id)
		case h != nil && h.Restoring && h.ago < reportTicks:
			c.offered[id] = c.ticks
		case c.ticks-since > snapshotTicks:
			delete(c.offered, id)
			c.rn.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
	if c.ticks%handOverTicks == 0 {
		c.handOver()
	}
}

// handOver looks for a better leader, when this one is the arbiter or unfit.
func (c *Core) handOver() {
	s := c.rn.Status()
	if !c.last() || s.LeadTransferee != 0 {
		return
	}
	best, bestFit, bestMatch := uint64(0), false, uint64(0)
	for id, pr := range s.Progress {
		m, ok := c.byID[id]
		if !ok || id == c.id || m.Arbiter || pr.IsLearner || !pr.RecentActive {
			continue
		}
		h := c.reports[id]
		fit := h != nil && h.Fit && h.ago < reportTicks
		if !fit && !c.cfg.Self.Arbiter {
			continue // no better than this one
		}
		if best == 0 || fit && !bestFit || fit == bestFit && (pr.Match > bestMatch || pr.Match == bestMatch && id < best) {
			best, bestFit, bestMatch = id, fit, pr.Match
		}
	}
	if best != 0 {
		c.rn.TransferLeader(best)
	}
}

// Step takes a message from another node that Check accepted.
func (c *Core) Step(m *raftpb.Message) (err error) {
	defer c.guard(&err)
	before := c.rn.BasicStatus()
	vote, term := before.GetVote(), before.GetTerm()
	if err := c.rn.Step(m); err != nil && !errors.Is(err, raft.ErrProposalDropped) && !errors.Is(err, raft.ErrStepPeerNotFound) {
		return err
	}
	after := c.rn.BasicStatus()
	if after.RaftState != raft.StateLeader {
		c.proposed = false
	}
	switch {
	case after.Lead == m.GetFrom() && fromLeader(m.GetType()):
		c.silent, c.lost = 0, 0
	case after.GetVote() != vote || after.GetTerm() != term:
		c.silent = 0 // somebody stands who may win
	}
	if after.RaftState == raft.StateLeader && c.cfg.Self.Arbiter && m.GetType() == raftpb.MessageType_MsgAppResp {
		c.handOver()
	}
	return nil
}

func fromLeader(t raftpb.MessageType) bool {
	return t == raftpb.MessageType_MsgApp || t == raftpb.MessageType_MsgHeartbeat || t == raftpb.MessageType_MsgSnap
}

// Propose proposes data in a term. ErrNotLeader and ErrBusy mean that nothing was proposed.
func (c *Core) Propose(term uint64, data []byte) (err error) {
	defer c.guard(&err)
	s := c.State()
	switch {
	case c.cfg.Self.Arbiter || !s.Leader || s.Term != term || c.announced != term:
		return ErrNotLeader
	case s.Busy:
		return ErrBusy
	}
	if err := c.rn.Propose(data); errors.Is(err, raft.ErrProposalDropped) {
		return ErrBusy
	} else if err != nil {
		return err
	}
	return nil
}

// ProposeConf proposes another group: changes, and who its members are then.
func (c *Core) ProposeConf(members []Member, changes ...*raftpb.ConfChangeSingle) (err error) {
	defer c.guard(&err)
	s := c.State()
	if !s.Leader || c.announced != s.Term {
		return ErrNotLeader
	}
	if s.Busy {
		return ErrBusy
	}
	c.proposed = true
	// Transition auto: one change is made at once, several by joint consensus, which ends by itself.
	return c.rn.ProposeConfChange(&raftpb.ConfChangeV2{
		Transition: raftpb.ConfChangeTransition_ConfChangeTransitionAuto.Enum(), Changes: changes, Context: EncodeMembers(members),
	})
}

// Transfer hands leadership over to a node, if this one has it.
func (c *Core) Transfer(id uint64) (err error) {
	defer c.guard(&err)
	if !c.State().Leader {
		return ErrNotLeader
	}
	c.rn.TransferLeader(id)
	return nil
}

// Progress returns, on the leader, up to which index each other node's log is known to be durable.
func (c *Core) Progress() map[uint64]tracker.Progress { return c.rn.Status().Progress }

// Applied takes note that entries are applied.
func (c *Core) Applied(done *Committed) (err error) {
	defer c.guard(&err)
	for _, m := range done.responses {
		if err := c.rn.Step(m); err != nil {
			return err
		}
	}
	return nil
}

// Work does what is to be done: it sends, makes durable, and hands over what is committed.
func (c *Core) Work(out Outside) (err error) {
	defer c.guard(&err)
	for c.rn.HasReady() {
		rd := c.rn.Ready()
		for _, r := range rd.ReadStates {
			c.confirmed = max(c.confirmed, binary.BigEndian.Uint64(r.RequestCtx))
		}
		// What may go before the disk has answered goes first: both disks work at once.
		for _, m := range rd.Messages {
			if !raft.IsLocalMsgTarget(m.GetTo()) {
				c.send(out, m)
			}
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				if err := c.save(out, m); err != nil {
					return err
				}
			case raft.LocalApplyThread:
				if err := c.apply(out, m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *Core) send(out Outside, m *raftpb.Message) {
	if m.GetType() == raftpb.MessageType_MsgSnap {
		if _, ok := c.offered[m.GetTo()]; !ok {
			c.offered[m.GetTo()] = c.ticks
		}
	}
	out.Send(m)
}

func (c *Core) save(out Outside, m *raftpb.Message) error {
	if snap := m.GetSnapshot(); snap.GetMetadata().GetIndex() > 0 {
		if err := c.reset(m, snap); err != nil {
			return err
		}
	}
	var hard *raftpb.HardState
	if m.Term != nil {
		hard = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		if m.Vote == nil {
			hard.Vote = new(uint64(0))
		}
		if m.Commit == nil {
			hard.Commit = new(uint64(0))
		}
	}
	was := c.cfg.Disk.Hard()
	sync := len(m.Entries) > 0 || hard != nil && (hard.GetTerm() != was.Term || hard.GetVote() != was.Vote)
	if hard != nil || len(m.Entries) > 0 {
		if err := c.cfg.Disk.Save(hard, m.Entries, sync); err != nil {
			return err
		}
	}
	for _, r := range m.Responses {
		if r.GetTo() == c.id {
			if err := c.rn.Step(r); err != nil {
				return err
			}
			continue
		}
		out.Send(r)
	}
	return nil
}

// reset begins the log anew after a state that this node has taken over.
func (c *Core) reset(m *raftpb.Message, snap *raftpb.Snapshot) error {
	meta := snap.GetMetadata()
	hard := c.cfg.Disk.Hard()
	if m.Term != nil {
		hard.Term, hard.Vote = m.GetTerm(), m.GetVote()
	}
	hard.Commit = max(hard.Commit, meta.GetIndex())
	if err := c.setMembers(snap.Data); err != nil {
		return err
	}
	return c.cfg.Disk.Reset(Start{
		Index: meta.GetIndex(), Term: meta.GetTerm(), Hard: hard,
		Conf: Conf{Index: meta.GetIndex(), State: meta.GetConfState(), Members: snap.Data},
	})
}

func (c *Core) apply(out Outside, m *raftpb.Message) error {
	s := c.State()
	done := &Committed{Entries: m.Entries, responses: m.Responses}
	for _, e := range m.Entries {
		if s.Leader && e.GetTerm() == s.Term && c.announced != s.Term && !c.cfg.Self.Arbiter {
			// Only what it applied in its own term tells a leader that it has everything that was committed before.
			c.announced, done.Active = s.Term, s.Term
		}
		switch {
		case e.GetType() == raftpb.EntryType_EntryConfChangeV2:
			if err := c.applyConf(e); err != nil {
				return err
			}
		case len(e.Data) == 0 && c.announced == e.GetTerm() && done.Active == 0:
			c.proposed = false // an empty entry has taken the place of the change
		}
	}
	out.Apply(done)
	return nil
}

func (c *Core) applyConf(e *raftpb.Entry) error {
	cc, err := ParseConfChange(e.Data)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrBroken, e.GetIndex(), err)
	}
	if len(cc.Context) > 0 { // none when joint consensus ends
		if err := c.setMembers(cc.Context); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrBroken, e.GetIndex(), err)
		}
	}
	c.proposed = false
	if len(cc.Context) > 0 {
		c.changes++
	}
	state := c.rn.ApplyConfChange(cc)
	if c.cfg.Disk.Conf(e.GetIndex()).Index == e.GetIndex() && e.GetIndex() > 0 {
		return nil // known from before a restart
	}
	return c.cfg.Disk.SaveConf(Conf{Index: e.GetIndex(), State: state, Members: EncodeMembers(c.members)})
}
