package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"countroom/ledger/replica/core"

	"go.etcd.io/raft/v3/raftpb"
)

// Status is what a node knows of the group.
type Status struct {
	Name      string
	Arbiter   bool
	Role      Role
	Term      uint64
	Committed uint64 // index of entries
	Applied   uint64
	First     uint64 // of the log
	Last      uint64
	LogBytes  int64
	Unfit     string // why this node cannot be active
	Failed    string // why this node has stopped
	Peers     []Peer
}

// Peer is another member as this node knows it.
type Peer struct {
	Member
	Heard     time.Time // when it last said something, zero for never
	Fit       bool
	Restoring bool
	Durable   uint64
	Match     uint64 // on the leader: up to which index its log is known to be durable
}

// Status returns what this node knows.
func (n *Node) Status() Status {
	s := Status{
		Name: n.self.Name, Arbiter: n.self.Arbiter, Role: n.Role(), Applied: n.applied.Load(), Committed: n.committed.Load(),
		LogBytes: n.log.Bytes(),
	}
	s.First, _ = n.log.FirstIndex()
	s.Last, _ = n.log.LastIndex()
	if err := n.unfit.Load(); err != nil {
		s.Unfit = (*err).Error()
	}
	if err := n.Err(); err != nil {
		s.Failed = err.Error()
	}
	got := make(chan struct{})
	if !n.do(func() {
		s.Term = n.core.State().Term
		progress := n.core.Progress()
		for _, m := range n.core.Members() {
			if m.Name == n.self.Name {
				continue
			}
			p := Peer{Member: m, Match: progress[m.ID(n.cfg.Origin)].Match}
			var r core.Report
			r, p.Heard = n.peers.last(m.Name)
			p.Fit, p.Restoring, p.Durable = r.Fit, r.Restoring, r.Durable
			s.Peers = append(s.Peers, p)
		}
		close(got)
	}) {
		return s
	}
	select {
	case <-got:
	case <-n.ended:
	}
	return s
}

// Members returns the group as this node knows it.
func (n *Node) Members() (ms []Member) {
	got := make(chan struct{})
	if n.do(func() { ms = n.members(); close(got) }) {
		select {
		case <-got:
		case <-n.ended:
		}
	}
	return ms
}

// Confirm returns nil when this node has been the active one at some moment since the call: what it has applied then is
// everything that was acknowledged by anybody before. ErrNotActive says that it is not, any more.
func (n *Node) Confirm(ctx context.Context) error {
	var question, term uint64
	return n.until(ctx, func() (err error) {
		term = n.core.State().Term
		if question, err = n.core.Confirm(); errors.Is(err, core.ErrNotLeader) {
			return ErrNotActive
		}
		return err
	}, func() (bool, error) {
		if s := n.core.State(); !s.Leader || s.Term != term {
			return false, ErrNotActive
		}
		return n.core.Confirmed() >= question, nil
	})
}

// Join adds a member. It first listens only, and gets its vote when it has nearly everything; then Join returns. The new
// node is opened with Config.Join, before or after.
func (n *Node) Join(ctx context.Context, m Member) error {
	if err := n.listen(ctx, m, ""); err != nil {
		return fmt.Errorf("joining %s: %w", m.Name, err)
	}
	if err := n.change(ctx, func(ms []Member) []Member { return ms }, single(raftpb.ConfChangeType_ConfChangeAddNode, m.ID(n.cfg.Origin))); err != nil {
		return fmt.Errorf("joining %s: giving it a vote: %w", m.Name, err)
	}
	return nil
}

// Remove removes a member. Its name is not used again.
func (n *Node) Remove(ctx context.Context, name string) error {
	old, err := n.find(name)
	if err == nil && name == n.self.Name {
		err = fmt.Errorf("the active node does not remove itself: switch over first")
	}
	if err == nil {
		err = n.change(ctx, without(name), single(raftpb.ConfChangeType_ConfChangeRemoveNode, old.ID(n.cfg.Origin)))
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// Replace puts a new member in the place of an old one, which may be gone: the new one listens until it has nearly
// everything, then one step of joint consensus makes the change.
func (n *Node) Replace(ctx context.Context, name string, m Member) error {
	old, err := n.find(name)
	switch {
	case err != nil:
	case name == n.self.Name:
		err = fmt.Errorf("the active node does not replace itself: switch over first")
	case old.Arbiter != m.Arbiter:
		err = fmt.Errorf("an arbiter is replaced by an arbiter, and a machine by a machine")
	default:
		err = n.listen(ctx, m, name)
	}
	if err == nil {
		err = n.change(ctx, without(name),
			single(raftpb.ConfChangeType_ConfChangeAddNode, m.ID(n.cfg.Origin)), single(raftpb.ConfChangeType_ConfChangeRemoveNode, old.ID(n.cfg.Origin)))
	}
	if err != nil {
		return fmt.Errorf("replacing %s by %s: %w", name, m.Name, err)
	}
	return nil
}

func single(t raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
	return &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(id)}
}

func without(name string) func([]Member) []Member {
	return func(ms []Member) []Member {
		return slices.DeleteFunc(ms, func(m Member) bool { return m.Name == name })
	}
}

func (n *Node) find(name string) (Member, error) {
	ms := n.Members()
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, fmt.Errorf("%w: no member is called %q", ErrStale, name)
	}
	return ms[i], nil
}

// nearly is how many entries a node that listens may lack when it gets its vote.
const nearly = 64

// listen adds a member without a vote and waits until it has nearly everything. An arbiter begins its log where it is
// added: what a machine lacks from before, nobody could give it if the other machine were lost. So every machine, but for
// the one that is being replaced, must have what was committed by then.
func (n *Node) listen(ctx context.Context, m Member, replaced string) error {
	err := n.change(ctx, func(ms []Member) []Member {
		return append(without(m.Name)(ms), m)
	}, single(raftpb.ConfChangeType_ConfChangeAddLearnerNode, m.ID(n.cfg.Origin)))
	if err != nil {
		return fmt.Errorf("adding it to listen: %w", err)
	}
	id := m.ID(n.cfg.Origin)
	var from uint64
	err = n.until(ctx, func() error { from = n.core.State().Commit; return nil }, func() (bool, error) {
		s := n.core.State()
		if !s.Leader {
			return false, ErrNotActive
		}
		progress := n.core.Progress()
		pr, ok := progress[id]
		if !ok {
			return false, fmt.Errorf("%w: it was removed again", ErrStale)
		}
		if m.Arbiter {
			for _, other := range n.core.Members() {
				if !other.Arbiter && other.Name != replaced && progress[other.ID(n.cfg.Origin)].Match < from {
					return false, nil
				}
			}
		}
		return pr.Match > 0 && pr.Match+nearly >= s.Commit, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until it has the log: %w", err)
	}
	return nil
}

// change proposes another group and waits until it is in force. A proposal that was dropped is made again.
func (n *Node) change(ctx context.Context, next func([]Member) []Member, changes ...*raftpb.ConfChangeSingle) error {
	var term, before uint64
	propose := func() error {
		ms := next(n.members())
		if err := core.CheckMembers(n.cfg.Origin, ms); err != nil {
			return err
		}
		before = n.core.Changes()
		return n.core.ProposeConf(ms, changes...)
	}
	return n.until(ctx, func() error {
		s := n.core.State()
		if !s.Leader || n.self.Arbiter {
			return ErrNotActive
		}
		if n.core.Changing() {
			return fmt.Errorf("%w: another change is under way", ErrStale)
		}
		term = s.Term
		return propose()
	}, func() (bool, error) {
		if s := n.core.State(); !s.Leader || s.Term != term {
			return false, ErrOutcomeUnknown
		}
		switch {
		case n.core.Changing():
			return false, nil
		case n.core.Changes() > before:
			return true, nil
		}
		if err := propose(); !errors.Is(err, core.ErrBusy) {
			return false, err
		}
		return false, nil
	})
}

// raftLogger puts what raft says into the log.
type raftLogger struct {
	core.Silence
	log *slog.Logger
}

func (l raftLogger) Infof(f string, v ...any)    { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l raftLogger) Warningf(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l raftLogger) Errorf(f string, v ...any)   { l.log.Error(fmt.Sprintf(f, v...)) }
