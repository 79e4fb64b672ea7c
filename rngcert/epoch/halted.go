package epoch

import (
	"encoding/hex"
	"errors"
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
)

// An epoch whose secret is lost, or is known to somebody, does not end by rule.
// The operator halts it, and with it all play; two officers decide what becomes
// of it:
//
//	seed.halted      nobody plays until it is decided
//	seed.ended       it ends early, and is revealed like any other
//	seed.abandoned   it ends, and is never revealed: its draws can be proven by nobody

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

// Decision is what two officers say of a halted epoch.
type Decision struct {
	entry.Header
	Approvals []officers.Approval
	Draws     uint64 // that the epoch decided
	Epoch     uint64
	Reason    [32]byte // commitment to the officers' words
}

func (d *Decision) code(c *entry.Coder, typ string) {
	c.Actor(&d.Header)
	officers.CodeApprovals(c, &d.Approvals)
	c.At(&d.Header)
	c.Uint("draws", &d.Draws)
	c.Uint("epoch", &d.Epoch)
	c.Fingerprint(&d.Header)
	c.ID(&d.Header)
	c.Key(&d.Header)
	c.Hex("reason", d.Reason[:])
	c.Is("type", typ)
}

// Subject is what two officers approve of. An epoch is ended once and abandoned
// once.
func (d *Decision) Subject() string {
	return "epoch " + strconv.FormatUint(d.Epoch, 10) + " draws " + strconv.FormatUint(d.Draws, 10) + " reason " + hex.EncodeToString(d.Reason[:])
}

// Approval is the list of approvals.
func (d *Decision) Approval() *[]officers.Approval { return &d.Approvals }

// Because is the commitment to the officers' words.
func (d *Decision) Because() [32]byte { return d.Reason }

// Ended ends the active epoch before its limits ("seed.ended").
type Ended struct{ Decision }

// Type is "seed.ended".
func (*Ended) Type() string { return "seed.ended" }

// Code visits the members.
func (r *Ended) Code(c *entry.Coder) { r.code(c, r.Type()) }

// Abandoned gives up an epoch's secret for ever ("seed.abandoned").
type Abandoned struct{ Decision }

// Type is "seed.abandoned".
func (*Abandoned) Type() string { return "seed.abandoned" }

// Code visits the members.
func (r *Abandoned) Code(c *entry.Coder) { r.code(c, r.Type()) }

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

// decide takes what two officers decided about the halted epoch.
func decide(rows book.Rows, index uint64, s *State, r officers.Approved, d *Decision) error {
	e := book.Get[Epoch](rows, Key(d.Epoch))
	if s.Halted == 0 || d.Epoch != s.Halted || e == nil {
		return book.Broken("epoch-undecided", "the halted epoch "+strconv.FormatUint(s.Halted, 10), d.Epoch)
	}
	active, draws := d.Epoch == s.Active, e.Draws
	if active {
		draws = s.Draws
	}
	_, abandoned := r.(*Abandoned)
	if !abandoned && !active {
		return book.Broken("epoch-end", "the active epoch "+strconv.FormatUint(s.Active, 10), d.Epoch)
	}
	if d.Draws != draws {
		return book.Broken("epoch-draws", draws, d.Draws)
	}
	if err := officers.Check(rows, officers.Origin(rows), r.Type(), d.Subject(), d.Approvals); err != nil {
		return err
	}
	decided := *e
	if active {
		s.Active, s.Closed, s.Downgraded = 0, d.Epoch, false
		decided.ClosedIndex, decided.ClosedAt, decided.Draws = index, d.At, d.Draws
	}
	if abandoned {
		decided.AbandonedIndex = index
		if s.Ahead == d.Epoch {
			s.Ahead = 0
		}
	}
	s.Halted = 0
	rows.Put(Key(d.Epoch), &decided)
	s.pass(rows)
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
