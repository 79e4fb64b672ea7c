package formats_test

import (
	"fmt"
	"testing"
	"time"

	"countroom/games/rounds"
	"countroom/ledger/book"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// halts stop play twice: the seed ahead is given up, and the one in use, in which
// nobody has played, is ended early.
func (s *story) halts() {
	s.t.Helper()
	now := epoch.Now(s.rows)
	s.halt(now.Ahead, "the disk of count-2 was read by a stranger")
	s.approve(&decision.Abandoned{Decision: decision.Decision{Epoch: now.Ahead, Reason: s.because("its seed may be known")}}, "abandon", "agnes", "bertram")
	s.promise(now.Ahead+1, func(st *epoch.Statement) { st.Minimum = 1 })
	s.halt(now.Active, "the same stranger")
	s.approve(&decision.Ended{Decision: decision.Decision{Draws: now.Draws, Epoch: now.Active, Reason: s.because("its seed may be known, too")}}, "end", "agnes", "bertram")
	s.add(&epoch.Activated{Epoch: now.Ahead + 1, Policy: epoch.PolicyNone})
	s.after(book.Get[epoch.Epoch](s.rows, epoch.Key(now.Active)).Limits.RevealDelay())
	s.add(&epoch.Revealed{Epoch: now.Active, Salt: fixed(fmt.Sprintf("salt %d", now.Active)), Secret: fixed(fmt.Sprintf("secret %d", now.Active))})
}

func (s *story) halt(n uint64, words string) {
	s.t.Helper()
	s.byOperator(&epoch.Halted{Epoch: n, Reason: s.because(words)}, fmt.Sprint("halt-", n), "/seeds/halt", fmt.Sprintf(`{"epoch":%d}`, n))
}

// halted halts the active epoch of a town with officers.
func (t *town) halted() uint64 {
	t.Turn()
	t.Officers()
	n := epoch.Now(t.Rows()).Active
	t.Halt(n)
	return n
}

// haltFrauds are those of a house that ends seeds as it likes.
var haltFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"an epoch is ended by one officer", func(t *town) { n := t.halted(); t.End(n, "anna") }, "approvals"},
	{"a draw while an epoch is halted", func(t *town) { t.halted(); t.Append(t.round()) }, "epoch-halted"},
	{"an epoch is abandoned that nobody halted", func(t *town) {
		t.Turn()
		t.Officers()
		t.Abandon(epoch.Now(t.Rows()).Active, "anna", "berta")
	}, "epoch-undecided"},
	{"the epoch ahead is ended", func(t *town) {
		t.Turn()
		t.Officers()
		n := epoch.Now(t.Rows()).Ahead
		t.Halt(n)
		t.End(n, "anna", "berta")
	}, "epoch-end"},
	{"a secret is shown that was abandoned", func(t *town) {
		n := t.halted()
		t.Abandon(n, "anna", "berta")
		t.Wait(10 * time.Second)
		t.Reveal(n)
	}, "epoch-reveal"},
	{"an end hides a draw", func(t *town) {
		with(t, func(r *decision.Ended) { r.Draws-- }, func() { n := t.halted(); t.End(n, "anna", "berta") })
	}, "epoch-draws"},
	{"an epoch is halted twice", func(t *town) { n := t.halted(); t.Halt(n) }, "epoch-halt"},
}

// round is the next one of the town, settled whatever the epochs say.
func (t *town) round() *rounds.Settled {
	r := t.Round(t.who[0], 100)
	t.Settle(r)
	return r
}

// What was ended is proven, what was abandoned is unprovable: both say how much.
func TestCheckersAgreeOnAbandonedEpochs(t *testing.T) {
	t.Parallel()
	h := newTown()
	var logs []published
	note := func() { logs = append(logs, publish(h.House)) }
	n := h.halted()
	note()
	h.End(n, "anna", "berta")
	h.Play(h.who, 50)
	ahead := epoch.Now(h.Rows()).Ahead
	h.Halt(ahead)
	h.Abandon(ahead, "anna", "berta")
	h.Play(h.who, 50)
	note()
	n = epoch.Now(h.Rows()).Active
	h.Halt(n)
	h.Abandon(n, "anna", "berta")
	h.more()
	h.more()
	note()
	for i, second := range theirs(t, logs...) {
		o := ours(t, logs[i])
		agree(t, o, second)
		if want := []int{0, 0, 2}[i]; o.Status != want || (o.Lost > 0) != (want == 2) || o.Epochs.Abandoned != uint64(i) {
			t.Errorf("log %d: %+v", i, o)
		}
	}
}
