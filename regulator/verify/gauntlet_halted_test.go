package verify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// A house that ends or gives up a seed by itself, or plays on while it is halted.

func init() { contradictions = append(contradictions, haltFrauds...) }

// halted halts the active epoch of a town with officers, and returns its number.
func (t *town) halted() uint64 {
	t.Turn()
	t.Officers()
	n := epoch.Now(t.Rows()).Active
	t.Halt(n)
	return n
}

var haltFrauds = []contradiction{
	{name: "an epoch is halted that is revealed", typ: "seed.halted", rule: "epoch-halt", expected: "neither revealed nor abandoned",
		commit: func(t *town) uint64 { t.Wait(10 * time.Second); t.Turn(); return t.Halt(1) }},
	{name: "a halt hides another", typ: "seed.halted", rule: "epoch-halt", expected: "no other epoch that is halted",
		commit: func(t *town) uint64 { n := t.halted(); return t.Halt(n + 1) }},
	{name: "a halt by the house itself", typ: "seed.halted", rule: "actor", expected: "operator",
		commit: func(t *town) uint64 {
			return with(t, func(r *epoch.Halted) { r.Actor = "house" }, func() { n := t.halted(); t.End(n, "anna", "berta") })
		}},
	{name: "play goes on in a halted epoch", typ: "round.settled", rule: "epoch-halted", expected: "two officers",
		commit: func(t *town) uint64 { t.halted(); return t.settle(t.who[0]) }},
	{name: "play goes on while the epoch ahead is halted", typ: "round.settled", rule: "epoch-halted",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Halt(epoch.Now(t.Rows()).Ahead)
			return t.settle(t.who[0])
		}},
	{name: "a halted epoch is closed by its rule", typ: "seed.closed", rule: "epoch-halted",
		commit: func(t *town) uint64 {
			s := t.exhaust()
			t.Halt(s.Active)
			return t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		}},
	{name: "another seed is made while one is halted", typ: "seed.committed.v2", rule: "epoch-halted",
		commit: func(t *town) uint64 {
			s := t.end()
			t.Activate(s.Ahead)
			t.Halt(s.Ahead)
			return t.Commit()
		}},
	{name: "an epoch comes into use while one is halted", typ: "seed.activated.v2", rule: "epoch-halted",
		commit: func(t *town) uint64 { s := t.end(); t.Halt(s.Ahead); return t.Activate(s.Ahead) }},
	{name: "a halted secret is shown", typ: "seed.revealed", rule: "epoch-halted", found: "its secret",
		commit: func(t *town) uint64 {
			s := t.end()
			t.Wait(10 * time.Second)
			t.Turn()
			for n := epoch.Now(t.Rows()).Revealed; n < s.Active-1; n++ {
				t.Reveal(n + 1)
			}
			if epoch.Now(t.Rows()).Revealed >= s.Active {
				s = t.end()
				t.Wait(10 * time.Second)
			}
			t.Halt(s.Active)
			return t.Reveal(s.Active)
		}},
	{name: "an epoch is ended by one officer", typ: "seed.ended", rule: "approvals", found: "1",
		commit: func(t *town) uint64 { n := t.halted(); return t.End(n, "anna") }},
	{name: "an epoch is abandoned by nobody", typ: "seed.abandoned", rule: "approvals", found: "0",
		commit: func(t *town) uint64 { n := t.halted(); return t.Abandon(n) }},
	{name: "an epoch is abandoned by the approvals of its end", typ: "seed.abandoned", rule: "approvals", expected: "seed.abandoned of epoch",
		commit: func(t *town) uint64 {
			n := t.halted()
			s := epoch.Now(t.Rows())
			d := decision.Decision{Draws: s.Draws, Epoch: n}
			ended, abandoned := &decision.Ended{Decision: d}, &decision.Abandoned{Decision: d}
			t.Approve(ended, "anna", "berta")
			t.Approve(abandoned, "anna", "berta")
			abandoned.Approvals = ended.Approvals
			return t.Append(abandoned)
		}},
	{name: "an epoch is ended that nobody halted", typ: "seed.ended", rule: "epoch-undecided", expected: "halted epoch 0",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Officers()
			return t.End(epoch.Now(t.Rows()).Active, "anna", "berta")
		}},
	{name: "another epoch is abandoned than was halted", typ: "seed.abandoned", rule: "epoch-undecided",
		commit: func(t *town) uint64 { n := t.halted(); return t.Abandon(n+1, "anna", "berta") }},
	{name: "an epoch is ended that is not in use", typ: "seed.ended", rule: "epoch-end", expected: "active epoch",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Officers()
			n := epoch.Now(t.Rows()).Ahead
			t.Halt(n)
			return t.End(n, "anna", "berta")
		}},
	{name: "an end hides a draw", typ: "seed.ended", rule: "epoch-draws",
		commit: func(t *town) uint64 {
			return with(t, func(r *decision.Ended) { r.Draws-- }, func() { n := t.halted(); t.End(n, "anna", "berta") })
		}},
	{name: "more draws are abandoned than there were", typ: "seed.abandoned", rule: "epoch-draws",
		commit: func(t *town) uint64 {
			return with(t, func(r *decision.Abandoned) { r.Draws++ }, func() { n := t.halted(); t.Abandon(n, "anna", "berta") })
		}},
	{name: "a reason is put in after the officers signed", typ: "seed.abandoned", rule: "approvals",
		commit: func(t *town) uint64 {
			return with(t, func(r *decision.Abandoned) { r.Reason[0] ^= 1 }, func() { n := t.halted(); t.Abandon(n, "anna", "berta") })
		}},
	{name: "a secret is shown that was abandoned", typ: "seed.revealed", rule: "epoch-reveal",
		commit: func(t *town) uint64 {
			n := t.halted()
			t.Abandon(n, "anna", "berta")
			t.Wait(10 * time.Second)
			return t.Reveal(n)
		}},
	{name: "a round is drawn from an epoch that was abandoned", typ: "round.settled", rule: "draw-epoch",
		commit: func(t *town) uint64 {
			n := t.halted()
			t.Abandon(n, "anna", "berta")
			t.Turn()
			return t.old(n)
		}},
	{name: "an epoch that was abandoned comes into use", typ: "seed.activated.v2", rule: "epoch-activation",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Officers()
			s := t.end()
			t.Halt(s.Ahead)
			t.Abandon(s.Ahead, "anna", "berta")
			return t.Activate(s.Ahead)
		}},
}

// old settles a round of an epoch that is over.
func (t *town) old(n uint64) uint64 {
	r := t.Round(t.who[0], 100)
	r.Draw.Epoch = n
	t.Settle(r)
	return t.Append(r)
}

// Two officers end one epoch and abandon the next two: what was ended is proven,
// and the rounds of what was abandoned are said to be unprovable, for ever and
// however old they are.
func TestAbandonedEpochs(t *testing.T) {
	h := newTown()
	ended := h.halted()
	r, err := check(t, h.House)
	mustHold(t, r, err)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "is halted") {
		t.Errorf("while it is halted: %q", r.Warnings)
	}
	h.End(ended, "anna", "berta")
	h.Play(h.who, 10)
	h.Wait(10 * time.Second)
	h.Turn()
	ahead := epoch.Now(h.Rows()).Ahead
	h.Halt(ahead)
	h.Abandon(ahead, "anna", "berta")
	r, err = check(t, h.House)
	mustHold(t, r, err)
	if e := r.Epochs; e.Abandoned != 1 || r.Rounds.Unprovable != 0 || len(r.Abandoned) != 1 || r.Abandoned[0].Epoch != ahead || r.Abandoned[0].Rounds != 0 {
		t.Errorf("with an epoch that nobody played in: %+v, %+v", e, r.Abandoned)
	}
	lost := epoch.Now(h.Rows())
	h.Halt(lost.Active)
	index := h.Abandon(lost.Active, "anna", "berta")
	h.Play(h.who, 100)
	for range 4 {
		h.Wait(LateReveal)
		h.Play(h.who, 5)
	}
	r, err = check(t, h.House)
	if !errors.Is(err, ErrUnprovable) || !errors.Is(err, ErrUnchecked) || !r.OK() || !strings.Contains(err.Error(), "decided 10 of the rounds") {
		t.Fatalf("%v, %+v", err, r.Findings)
	}
	if want := (Abandoned{lost.Active, index, 10}); lost.Draws != 10 || r.Rounds.Unprovable != 10 || len(r.Abandoned) != 2 || r.Abandoned[1] != want || r.Epochs.Abandoned != 2 || len(r.Warnings) != 0 {
		t.Errorf("%+v, %+v, %q", r.Rounds, r.Abandoned, r.Warnings)
	}
	if all := r.Types["round.settled"]; r.Rounds.Proven+r.Rounds.Unproven+r.Rounds.Unprovable != all || r.Rounds.Proven < 100 {
		t.Errorf("%+v of %d", r.Rounds, all)
	}
}

// halts are decided in the story of all types, and nobody's round is lost.
func (s *story) halts() {
	s.Turn()
	now := epoch.Now(s.Rows())
	s.Halt(now.Ahead)
	s.Abandon(now.Ahead, "anna", "berta")
	s.Halt(now.Active)
	s.End(now.Active, "anna", "berta")
	s.Wait(2 * time.Second)
	s.Reveal(now.Active)
}
