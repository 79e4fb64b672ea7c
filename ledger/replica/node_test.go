package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A batch is committed by two of three, applied by the proposer's own closure and by the other's machine.
func TestThreeNodes(t *testing.T) {
	c := newTrio(t, nil)
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("spin ", i))
		c.say(want[i])
	}
	if got := c.same("A", "B"); !slices.Equal(got, want) {
		t.Fatalf("said %q", got)
	}
	n := c.active()
	other := "A"
	if n.self.Name == "A" {
		other = "B"
	}
	if err := c.propose(c.nodes[other], "x"); !errors.Is(err, ErrNotActive) {
		t.Fatalf("the passive machine proposed: %v", err)
	}
	if err := n.Propose(context.Background(), n.Role().Term+1, []byte("x"), nil); !errors.Is(err, ErrNotActive) {
		t.Fatalf("a batch of another term was proposed: %v", err)
	}
	eventually(t, "the passive machine knows who is active", func() bool { return c.nodes[other].Role() == Role{Leader: n.self.Name} })
	s := n.Status()
	if s.Name != n.self.Name || s.Committed < 20 || len(s.Peers) != 2 || s.LogBytes == 0 {
		t.Fatalf("status: %+v", s)
	}
}

// Each of the three may be lost.
func TestOneIsLost(t *testing.T) {
	for _, lost := range []string{"the active machine", "the passive machine", "the arbiter"} {
		t.Run(lost, func(t *testing.T) {
			c := newTrio(t, nil)
			c.say("before")
			c.same("A", "B")
			name := map[bool]string{true: "A", false: "B"}[(c.active().self.Name == "A") == (lost == "the active machine")]
			if lost == "the arbiter" {
				name = "W"
			}
			c.close(name)
			c.say("while")
			c.open(name)
			c.say("after")
			if got := c.same("A", "B"); !slices.Equal(got, []string{"before", "while", "after"}) {
				t.Fatalf("said %q", got)
			}
		})
	}
}

// A machine and the arbiter commit while the other machine is behind, and then that machine dies: what was acknowledged is
// in the arbiter's log alone. It leads until the other machine has it, and hands over.
func TestTheArbiterAloneKnows(t *testing.T) {
	c := newTrio(t, nil)
	c.say("known to all")
	c.same("A", "B")
	a := c.active()
	b := map[string]string{"A": "B", "B": "A"}[a.self.Name]
	c.w.part(b)
	for i := range 30 {
		c.say(fmt.Sprint("known to two ", i))
	}
	c.close(a.self.Name)
	c.w.heal()
	if n := c.active(); n.self.Name != b {
		t.Fatalf("%s is active", n.self.Name)
	}
	c.say("after")
	c.open(a.self.Name)
	if got := c.same("A", "B"); len(got) != 32 || got[31] != "after" {
		t.Fatalf("said %q", got)
	}
	if c.nodes["W"].Role().Term != 0 {
		t.Fatal("the arbiter is active")
	}
}

// Who is cut off ceases to be active and acknowledges nothing; what he had under way gives way, and is kept.
func TestCutOff(t *testing.T) {
	c := newTrio(t, nil)
	c.say("before")
	a := c.active()
	c.w.part(a.self.Name)
	if err := c.propose(a, "lost"); !errors.Is(err, ErrOutcomeUnknown) {
		t.Fatalf("cut off, a proposal gives %v", err)
	}
	if err := c.propose(a, "late"); !errors.Is(err, ErrNotActive) {
		t.Fatalf("deposed, a proposal gives %v", err)
	}
	b := c.active(a.self.Name)
	if err := c.propose(b, "while"); err != nil {
		t.Fatal(err)
	}
	c.w.heal()
	c.say("after")
	if got := c.same("A", "B"); !slices.Equal(got, []string{"before", "while", "after"}) {
		t.Fatalf("said %q", got)
	}
	if names, err := c.fs[a.self.Name].List("node/evidence"); err != nil || len(names) != 1 {
		t.Fatalf("evidence of what gave way: %q, %v", names, err)
	}
}

// A planned switchover lets what is under way end, and fails nothing.
func TestSwitchover(t *testing.T) {
	c := newTrio(t, nil)
	c.say("before")
	for range 4 {
		a := c.active()
		to := map[string]string{"A": "B", "B": "A"}[a.self.Name]
		if err := a.Transfer(context.Background(), to); err != nil {
			t.Fatal(err)
		}
		if n := c.active(a.self.Name); n.self.Name != to {
			t.Fatalf("%s is active, want %s", n.self.Name, to)
		}
		c.say("at " + to)
		if err := a.Transfer(context.Background(), a.self.Name); !errors.Is(err, ErrNotActive) {
			t.Fatalf("the passive machine hands over: %v", err)
		}
	}
	if err := c.active().Transfer(context.Background(), "W"); err == nil {
		t.Fatal("the arbiter took over")
	}
	if got := c.same("A", "B"); len(got) != 5 {
		t.Fatalf("said %q", got)
	}
}

// A machine that becomes unfit hands over by itself; with both unfit, the one that is active goes on.
func TestUnfit(t *testing.T) {
	sick := map[string]chan error{"A": make(chan error, 1), "B": make(chan error, 1), "W": make(chan error, 1)}
	c := newTrio(t, func(cfg *Config) {
		var now error
		cfg.Fit = func() error {
			select {
			case now = <-sick[cfg.Name]:
			default:
			}
			return now
		}
	})
	c.say("before")
	a := c.active().self.Name
	b := map[string]string{"A": "B", "B": "A"}[a]
	sick[a] <- errors.New("the HSM does not answer")
	if n := c.active(a); n.self.Name != b {
		t.Fatalf("%s is active", n.self.Name)
	}
	c.say("handed over")
	if s := c.nodes[a].Status(); s.Unfit != "the HSM does not answer" {
		t.Fatalf("status: %+v", s)
	}
	eventually(t, b+" knows that "+a+" is unfit", func() bool {
		peers := c.nodes[b].Status().Peers
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == a })
		return i >= 0 && !peers[i].Heard.IsZero() && !peers[i].Fit
	})
	sick[b] <- errors.New("the disk is nearly full")
	eventually(t, "both are unfit", func() bool { return c.nodes[b].unfit.Load() != nil })
	c.say("both unfit")
	if n := c.active(); n.self.Name != b {
		t.Fatalf("%s is active", n.self.Name)
	}
	sick[a] <- nil
	if n := c.active(b); n.self.Name != a {
		t.Fatalf("%s is active", n.self.Name)
	}
	c.say("mended")
	if got := c.same("A", "B"); len(got) != 4 {
		t.Fatalf("said %q", got)
	}
}

// A machine that was away for longer than the log reaches back fetches what it lacks from the other machine, while that
// one goes on; the arbiter, which has no state, meanwhile keeps everything the machine may need.
func TestAwayForLong(t *testing.T) {
	c := newTrio(t, func(cfg *Config) { cfg.RetainBytes, cfg.RetainMost = 1, 1 })
	c.say("before")
	c.same("A", "B")
	a := c.active()
	b := map[string]string{"A": "B", "B": "A"}[a.self.Name]
	c.close(b)
	for i := range 60 {
		c.say(fmt.Sprint(i, strings.Repeat(".", 8000)))
	}
	eventually(t, "the active machine's log begins later", func() bool { return a.Status().First > 10 })
	if first := c.nodes["W"].Status().First; first > 3 {
		t.Fatalf("the arbiter's log begins with entry %d", first)
	}
	c.open(b)
	c.say("after")
	if got := c.same("A", "B"); len(got) != 62 {
		t.Fatalf("%d were said", len(got))
	}
	eventually(t, "the arbiter's log begins later too", func() bool { return c.nodes["W"].Status().First > 10 })
	// And a start goes on from there.
	c.close(b)
	c.open(b)
	c.say("at last")
	c.same("A", "B")
}

// A group is founded on one machine that has a history; the arbiter and the second machine join while it plays.
func TestFoundedAndJoined(t *testing.T) {
	c := newTrio(t, nil)
	for _, name := range []string{"A", "B", "W"} {
		c.close(name)
		c.fs[name], c.tapes[name] = nil, nil
	}
	history := &tape{said: [][]byte{[]byte("from before")}}
	c.tapes["A"] = history
	c.tune = func(cfg *Config) {
		switch cfg.Name {
		case "A":
			cfg.Members, cfg.Term = c.ms[:1], 41
		default:
			cfg.Join = true
		}
	}
	a := c.open("A")
	c.say("alone")
	if a.Role().Term <= 41 {
		t.Fatalf("the term is %d; the machine had been in 41 before", a.Role().Term)
	}
	ctx := context.Background()
	c.open("W")
	must(t, a.Join(ctx, c.ms[2]))
	c.say("with the arbiter")
	c.open("B")
	must(t, a.Join(ctx, c.ms[1]))
	c.say("with both")
	if got := c.same("A", "B"); !slices.Equal(got, []string{"from before", "alone", "with the arbiter", "with both"}) {
		t.Fatalf("said %q", got)
	}
	c.close("A")
	c.say("without the founder")
	c.open("A")
	c.same("A", "B")

	// A machine that has a history is no second founder, and nobody begins together with one.
	if _, err := Open(Config{Origin: origin, Name: "A", Members: c.ms, Dir: "x", FS: vfs.NewMem(), Machine: history, network: c.w.network}); err == nil || !strings.Contains(err.Error(), "remove this node") {
		t.Fatalf("a machine without its log: %v", err)
	}
	old := &tape{said: [][]byte{[]byte("x")}}
	if _, err := Open(Config{Origin: origin, Name: "A", Members: c.ms, Dir: "x", FS: vfs.NewMem(), Machine: old, network: c.w.network}); err == nil || !strings.Contains(err.Error(), "found the group on it alone") {
		t.Fatalf("three begin with a history: %v", err)
	}
}

// A machine and an arbiter that are lost for good are replaced, each in one step; their names are not let in again.
func TestReplaced(t *testing.T) {
	c := newTrio(t, nil)
	c.say("before")
	c.same("A", "B")
	ctx := context.Background()
	a := c.active()
	b := map[string]string{"A": "B", "B": "A"}[a.self.Name]
	c.close(b)
	c.ms = append(c.ms, Member{Name: "C", Address: "c:1"})
	c.tune = func(cfg *Config) { cfg.Join = cfg.Name == "C" || cfg.Name == "V" }
	c.open("C")
	must(t, a.Replace(ctx, b, c.ms[3]))
	c.say("with C")
	c.same(a.self.Name, "C")

	c.close("W")
	c.ms = append(c.ms, Member{Name: "V", Address: "v:1", Arbiter: true})
	c.open("V")
	must(t, c.active().Replace(ctx, "W", c.ms[4]))
	c.say("with V")
	c.same(a.self.Name, "C")
	var names []string
	for _, m := range c.active().Members() {
		names = append(names, m.Name)
	}
	if !slices.Equal(names, []string{a.self.Name, "C", "V"}) {
		t.Fatalf("the group is %q", names)
	}
	// The new three do without the active one.
	c.close(a.self.Name)
	c.say("without the last of the old machines")
	if err := c.active().Remove(ctx, "nobody"); !errors.Is(err, ErrStale) {
		t.Fatalf("removing nobody: %v", err)
	}
	if err := c.active().Replace(ctx, "V", Member{Name: "D", Address: "d"}); err == nil {
		t.Fatal("a machine takes the arbiter's place")
	}
	must(t, c.active().Remove(ctx, a.self.Name))
	c.say("two are left")
}

// The power fails between a state that was taken over whole and the log that is to follow it: the next start mends that.
// Without the note that a state was under way, a state ahead of its log is refused.
func TestPowerFailsAfterAState(t *testing.T) {
	c := newTrio(t, func(cfg *Config) { cfg.RetainBytes, cfg.RetainMost = 1, 1 })
	c.say("before")
	c.same("A", "B")
	a := c.active()
	b := map[string]string{"A": "B", "B": "A"}[a.self.Name]
	c.close(b)
	for i := range 40 {
		c.say(fmt.Sprint(i, strings.Repeat(".", 8000)))
	}
	index := a.applied.Load()
	term, err := a.log.Term(index)
	must(t, err)
	whole := &tape{applied: index, said: append([][]byte(nil), c.tapes[a.self.Name].said...)}
	c.tapes[b] = whole
	cfg := c.config(b)
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "under a new name") {
		t.Fatalf("a state ahead of its log: %v", err)
	}
	note := &Node{cfg: cfg, fs: cfg.FS}
	head := appendStateHead(nil, stateHead{index: index, term: term, conf: a.log.Conf(index)})
	must(t, note.writeFile(restoredName, append([]byte("x"), head...)))
	if _, err := Open(cfg); err == nil {
		t.Fatal("a note that is none was believed")
	}
	must(t, note.writeFile(restoredName, head))
	c.open(b)
	c.say("after")
	if got := c.same("A", "B"); len(got) != 42 {
		t.Fatalf("%d were said", len(got))
	}
}

// A directory that another process has open is left alone; an arbiter has no machine, and nobody is a stranger to himself.
func TestNotOpened(t *testing.T) {
	c := newTrio(t, nil)
	for _, wrong := range []struct {
		change func(*Config)
		say    string
	}{
		{func(*Config) {}, "in use"},
		{func(cfg *Config) { cfg.Name = "C" }, "not among the members"},
		{func(cfg *Config) { cfg.Machine = nil }, "an arbiter has no machine"},
		{func(cfg *Config) { cfg.Members = append(cfg.Members[:2:2], cfg.Members[0]) }, "two have the name"},
		{func(cfg *Config) { cfg.FS, cfg.network, cfg.Machine = vfs.NewMem(), nil, &tape{} }, "a certificate and the group's authority"},
	} {
		cfg := c.config("A")
		wrong.change(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), wrong.say) {
			t.Errorf("got %v, want %q", err, wrong.say)
		}
	}
	// The group as a node's own log knows it counts, not an old list of its configuration.
	c.close("A")
	stale := c.config("A")
	stale.Members = slices.Clone(stale.Members)
	stale.Members[1].Address = "elsewhere:1"
	n, err := Open(stale)
	must(t, err)
	c.nodes["A"] = n
	if ms := n.Members(); ms[1].Address != "b:1" {
		t.Fatalf("the group is %v", ms)
	}
	// The log of another house.
	c.close("A")
	other := c.config("A")
	other.Origin = "other.example/log"
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), `log of the house "house.example/log"`) {
		t.Fatalf("another house: %v", err)
	}
}

// A device that hangs is no better than one that says no.
func TestFitDoesNotAnswer(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	var mu sync.Mutex
	hangs := ""
	c := newTrio(t, func(cfg *Config) {
		cfg.Fit = func() error {
			mu.Lock()
			is := hangs == cfg.Name
			mu.Unlock()
			if is {
				<-hang
			}
			return nil
		}
	})
	c.say("before")
	a := c.active().self.Name
	mu.Lock()
	hangs = a
	mu.Unlock()
	c.active(a)
	c.say("handed over")
	c.same("A", "B")
}
