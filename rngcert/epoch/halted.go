package epoch

import (
	"errors"
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// An epoch whose secret is lost, or is known to somebody, does not end by rule.
// The operator halts it ("seed.halted"), and with it all play; two officers
// decide what becomes of it (package decision).

// ErrHalted refuses play until two officers have decided about an epoch.
var ErrHalted = errors.New("a seed epoch is halted until two officers decide about it")

// Halted stops play for an epoch's sake ("seed.halted").
type Halted struct {
	entry.Header
	Epoch  uint64
	Reason [32]byte // commitment to the operator's words
}

// Type is "seed.halted".
func (*Halted) Type() string { return "seed.halted" }

// Code visits the members.
func (r *Halted) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("reason", r.Reason[:])
	c.Is("type", r.Type())
}

// halt takes a seed.halted.
func halt(rows book.Rows, index uint64, s *State, r *Halted) error {
	e := book.Get[Epoch](rows, Key(r.Epoch))
	switch {
	case s.Halted != 0:
		return book.Broken("epoch-halt", "no other epoch that is halted", "epoch "+strconv.FormatUint(s.Halted, 10))
	case e == nil:
		return book.Broken("epoch-halt", "an epoch from 1 to "+strconv.FormatUint(s.Committed, 10), r.Epoch)
	case e.RevealedIndex != 0 || e.AbandonedIndex != 0:
		return book.Broken("epoch-halt", "an epoch that is neither revealed nor abandoned", r.Epoch)
	}
	s.Halted = r.Epoch
	halted := *e
	halted.HaltedIndex = index
	rows.Put(Key(r.Epoch), &halted)
	return nil
}

// Decide takes what two officers decided about the halted epoch: its end, or to
// abandon it. They approved if approved returns nil, which is asked last.
func Decide(rows book.Rows, index uint64, at entry.Time, n, draws uint64, abandon bool, approved func() error) error {
	s, e := Now(rows), book.Get[Epoch](rows, Key(n))
	if s.Halted == 0 || n != s.Halted || e == nil {
		return book.Broken("epoch-undecided", "the halted epoch "+strconv.FormatUint(s.Halted, 10), n)
	}
	active, drawn := n == s.Active, e.Draws
	if active {
		drawn = s.Draws
	}
	if !abandon && !active {
		return book.Broken("epoch-end", "the active epoch "+strconv.FormatUint(s.Active, 10), n)
	}
	if draws != drawn {
		return book.Broken("epoch-draws", drawn, draws)
	}
	if err := approved(); err != nil {
		return err
	}
	decided := *e
	if active {
		s.Active, s.Closed, s.Downgraded = 0, n, false
		decided.ClosedIndex, decided.ClosedAt, decided.Draws = index, at, draws
	}
	if abandon {
		decided.AbandonedIndex = index
		if s.Ahead == n {
			s.Ahead = 0
		}
	}
	s.Halted = 0
	rows.Put(Key(n), &decided)
	s.pass(rows)
	rows.Put(StateKey, &s)
	return nil
}

// pass goes over epochs that were abandoned, of which no reveal will come.
func (s *State) pass(rows book.Reader) {
	for e := book.Get[Epoch](rows, Key(s.Revealed+1)); e != nil && e.AbandonedIndex != 0; e = book.Get[Epoch](rows, Key(s.Revealed+1)) {
		s.Revealed++
	}
}

// idle breaks what must not happen while an epoch is halted.
func (s *State) idle(what string) error {
	if s.Halted == 0 {
		return nil
	}
	return book.Broken("epoch-halted", "a decision of two officers about epoch "+strconv.FormatUint(s.Halted, 10)+" first", what)
}
