package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
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
