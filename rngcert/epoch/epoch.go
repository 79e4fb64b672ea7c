// Package epoch is the book of seeds. A seed's life has four entries:
//
//	seed.committed.v2   a hash binds the house to a secret nobody has seen
//	seed.activated.v2   the secret, with what the outside added, now decides draws
//	seed.closed         by rule: so many draws, or so much time
//	seed.revealed       the secret itself, by which every draw can be recomputed
//
// Older logs have seed.committed and seed.activated, which know of nothing from
// outside. Where a secret is lost, or known to somebody, the operator halts its
// epoch, and two officers end or abandon it (package decision).
//
// One epoch at a time is active, at most one is committed ahead, none is
// skipped but those abandoned, and draws are numbered without gaps in the order
// of the log.
package epoch

import (
	"errors"
	"strconv"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// The largest limits that an epoch may commit to.
const (
	DrawsMost       = 1 << 20
	AgeMost         = 10 * time.Minute
	RevealDelayMost = time.Hour
)

// SourceBytesLeast is the length of a secret: what its sources give together is
// not less.
const SourceBytesLeast = 32

// Policies: what the outside adds to a secret at activation.
const (
	// PolicyNone: nothing from outside enters the seed, so that only the house's
	// word says it did not try many secrets and keep the one it liked ("the house
	// can grind S").
	PolicyNone = "none"
	// PolicyWitness: nonces of witnesses, who committed to them before the house
	// committed to the secret and show them after.
	PolicyWitness = "witness"
	// PolicyBeacon: the round of a public beacon, named in the commitment before
	// it existed.
	PolicyBeacon = "beacon"
)

// Reasons for closing an epoch.
const (
	ByDraws = "draws"
	ByTime  = "time"
)

// ErrNoEpoch says that no epoch can serve a draw now.
var ErrNoEpoch = errors.New("no active seed epoch")

// Limits end an epoch; they are committed before its first draw.
type Limits struct {
	AgeSeconds         uint64 // of log time, from activation
	Draws              uint64
	RevealDelaySeconds uint64 // of log time, from closing
}

// Age is the epoch's longest life.
func (l Limits) Age() time.Duration { return time.Duration(l.AgeSeconds) * time.Second }

// RevealDelay is how long after closing the secret stays secret.
func (l Limits) RevealDelay() time.Duration { return time.Duration(l.RevealDelaySeconds) * time.Second }

// Default are the limits of a house that sets none.
var Default = Limits{AgeSeconds: 600, Draws: DrawsMost, RevealDelaySeconds: 120}

// Check tells whether an epoch may have these limits.
func (l Limits) Check() error {
	if l.Draws < 1 || l.Draws > DrawsMost || l.AgeSeconds < 1 || l.AgeSeconds > uint64(AgeMost/time.Second) || l.RevealDelaySeconds > uint64(RevealDelayMost/time.Second) {
		return errors.New("expected 1 to 1048576 draws, an age of 1 to 600 seconds and a reveal delay of at most 3600 seconds")
	}
	return nil
}

// Closed ends an epoch ("seed.closed").
type Closed struct {
	entry.Header
	Draws  uint64 // that the epoch decided
	Epoch  uint64
	Reason string
}

// Type is "seed.closed".
func (*Closed) Type() string { return "seed.closed" }

// Code visits the members.
func (r *Closed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("draws", &r.Draws)
	c.Uint("epoch", &r.Epoch)
	c.ID(&r.Header)
	c.Text("reason", &r.Reason, 16)
	c.Is("type", r.Type())
}

// Revealed shows an epoch's secret ("seed.revealed").
type Revealed struct {
	entry.Header
	Epoch  uint64
	Salt   [32]byte
	Secret [32]byte
}

// Type is "seed.revealed".
func (*Revealed) Type() string { return "seed.revealed" }

// Code visits the members.
func (r *Revealed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.ID(&r.Header)
	c.Hex("salt", r.Salt[:])
	c.Hex("secret", r.Secret[:])
	c.Is("type", r.Type())
}

// State is the row of where the seeds stand. Epochs are counted from 1; zero
// says that there is none yet.
type State struct {
	Active      uint64 // 0: no epoch is active
	ActivatedAt entry.Time
	Ahead       uint64 // the one that comes into use next; 0: none is committed to
	Closed      uint64 // the latest that came into use and was closed
	Committed   uint64 // the latest that was committed
	Downgraded  bool   // the active epoch came into use with less than was committed to
	Draws       uint64 // of the active epoch
	Halted      uint64 // the one that two officers have to decide about; 0: none
	Limits      Limits // of the active epoch
	Revealed    uint64 // all up to this one were revealed, in order, or abandoned
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Time("activated_at", &s.ActivatedAt)
	c.Uint("active", &s.Active)
	c.Uint("ahead", &s.Ahead)
	c.Uint("closed", &s.Closed)
	c.Uint("committed", &s.Committed)
	c.Bool("downgraded", &s.Downgraded)
	c.Uint("draws", &s.Draws)
	c.Uint("halted", &s.Halted)
	s.Limits.code(c)
	c.Uint("revealed", &s.Revealed)
}

// Epoch is the row of one epoch. An index of 0 says that there is no such entry
// yet (entry 0 is always house.created).
type Epoch struct {
	AbandonedIndex uint64
	ActivatedIndex uint64
	ClosedAt       entry.Time
	ClosedIndex    uint64 // of whatever closed it
	Commitment     [32]byte
	CommittedIndex uint64
	Draws          uint64
	External       []byte
	HaltedIndex    uint64 // of the latest seed.halted
	Limits         Limits
	Policy         string
	RevealedIndex  uint64
}

// Code visits the members.
func (e *Epoch) Code(c *entry.Coder) {
	c.Uint("abandoned_index", &e.AbandonedIndex)
	c.Uint("activated_index", &e.ActivatedIndex)
	c.Time("closed_at", &e.ClosedAt)
	c.Uint("closed_index", &e.ClosedIndex)
	c.Hex("commitment", e.Commitment[:])
	c.Uint("committed_index", &e.CommittedIndex)
	c.Uint("draws", &e.Draws)
	c.Binary("external", &e.External, 1024)
	c.Uint("halted_index", &e.HaltedIndex)
	e.Limits.code(c)
	c.Text("policy", &e.Policy, 32)
	c.Uint("revealed_index", &e.RevealedIndex)
}

// StateKey is the key of the row State.
const StateKey = "epochs"

// Key is the key of an epoch's row.
func Key(n uint64) string { return "epoch/" + strconv.FormatUint(n, 10) }

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	"epochs": func() book.Row { return new(State) },
	"epoch":  func() book.Row { return new(Epoch) },
}

// Now returns where the seeds stand.
func Now(rows book.Reader) State {
	if s := book.Get[State](rows, StateKey); s != nil {
		return *s
	}
	return State{}
}

// Due returns the reason for which the active epoch ends at that time, or "".
// Nothing ends by rule while two officers have to decide.
func (s *State) Due(at entry.Time) string {
	switch {
	case s.Active == 0 || s.Halted != 0:
		return ""
	case s.Draws >= s.Limits.Draws:
		return ByDraws
	case at >= s.ActivatedAt.Add(s.Limits.Age()):
		return ByTime
	}
	return ""
}

// Draw counts a draw, which must be the next of the active epoch.
func Draw(rows book.Rows, epoch, number uint64, at entry.Time) error {
	s := Now(rows)
	if s.Halted != 0 {
		return s.idle("a draw of epoch " + strconv.FormatUint(epoch, 10))
	}
	switch {
	case s.Active == 0 || epoch != s.Active:
		return book.Broken("draw-epoch", "the active epoch "+strconv.FormatUint(s.Active, 10), epoch)
	case number != s.Draws+1:
		return book.Broken("draw-number", s.Draws+1, number)
	case s.Due(at) != "":
		return book.Broken("epoch-over", "no draw after the epoch's limits", "one more, over the limit of "+s.Due(at))
	}
	s.Draws++
	rows.Put(StateKey, &s)
	return nil
}

// Fold applies an entry of this package. That a revealed secret fits its
// commitment is for the verifier.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	s := Now(rows)
	switch r := r.(type) {
	case *Committed:
		if err := commit(rows, index, &s, &r.Statement, r.Statement.check()); err != nil {
			return err
		}
	case *CommittedV1:
		if err := commit(rows, index, &s, &r.Statement, r.check()); err != nil {
			return err
		}
	case *Activated:
		if err := activate(rows, index, &s, r, r.carriedOut); err != nil {
			return err
		}
	case *ActivatedV1:
		if err := activate(rows, index, &s, &r.Activated, r.carriedOut); err != nil {
			return err
		}
	case *Halted:
		if err := halt(rows, index, &s, r); err != nil {
			return err
		}
	case *Closed:
		if err := s.idle("the end of epoch " + strconv.FormatUint(r.Epoch, 10)); err != nil {
			return err
		}
		e := book.Get[Epoch](rows, Key(r.Epoch))
		if s.Active == 0 || r.Epoch != s.Active || e == nil {
			return book.Broken("epoch-closing", "the active epoch "+strconv.FormatUint(s.Active, 10), r.Epoch)
		}
		if due := s.Due(r.At); due == "" || r.Reason != due {
			return book.Broken("epoch-early", "an epoch closed only at its limits", r.Reason+" after "+strconv.FormatUint(s.Draws, 10)+" draws and "+r.At.Sub(s.ActivatedAt).String())
		}
		if r.Draws != s.Draws {
			return book.Broken("epoch-draws", s.Draws, r.Draws)
		}
		s.Active, s.Closed, s.Downgraded = 0, r.Epoch, false
		closed := *e
		closed.ClosedIndex, closed.ClosedAt, closed.Draws = index, r.At, r.Draws
		rows.Put(Key(r.Epoch), &closed)
	case *Revealed:
		if r.Epoch == s.Halted && r.Epoch != 0 {
			return s.idle("its secret")
		}
		e := book.Get[Epoch](rows, Key(r.Epoch))
		if r.Epoch != s.Revealed+1 || e == nil || e.ClosedIndex == 0 {
			return book.Broken("epoch-reveal", "the closed epoch "+strconv.FormatUint(s.Revealed+1, 10), r.Epoch)
		}
		if earliest := e.ClosedAt.Add(e.Limits.RevealDelay()); r.At < earliest {
			return book.Broken("epoch-reveal-early", "a reveal not before "+earliest.String(), r.At)
		}
		s.Revealed = r.Epoch
		revealed := *e
		revealed.RevealedIndex = index
		rows.Put(Key(r.Epoch), &revealed)
		s.pass(rows)
	default:
		return nil
	}
	rows.Put(StateKey, &s)
	return nil
}

// commit takes a commitment, of which unsound says what is wrong with sources
// and policy.
func commit(rows book.Rows, index uint64, s *State, st *Statement, unsound error) error {
	if err := s.idle("a commitment"); err != nil {
		return err
	}
	if st.Epoch != s.Committed+1 {
		return book.Broken("epoch-order", s.Committed+1, st.Epoch)
	}
	if s.Ahead != 0 {
		return book.Broken("epoch-ahead", "at most one epoch committed ahead", st.Epoch)
	}
	if err := st.Limits.Check(); err != nil {
		return book.Broken("epoch-limits", err, st.Limits)
	}
	if unsound != nil {
		return unsound
	}
	s.Committed, s.Ahead = st.Epoch, st.Epoch
	rows.Put(Key(st.Epoch), &Epoch{Commitment: st.Commitment, CommittedIndex: index, Limits: st.Limits, Policy: st.Policy})
	return nil
}

// activate takes an activation, whose policy must be what carriedOut makes of the
// one that was committed to.
func activate(rows book.Rows, index uint64, s *State, r *Activated, carriedOut func(committed string) error) error {
	if err := s.idle("the activation of epoch " + strconv.FormatUint(r.Epoch, 10)); err != nil {
		return err
	}
	e := book.Get[Epoch](rows, Key(r.Epoch))
	if s.Active != 0 || s.Ahead == 0 || r.Epoch != s.Ahead || e == nil {
		return book.Broken("epoch-activation", "the epoch committed ahead, "+strconv.FormatUint(s.Ahead, 10)+", once the one before is closed", r.Epoch)
	}
	if err := carriedOut(e.Policy); err != nil {
		return err
	}
	s.Active, s.ActivatedAt, s.Ahead, s.Downgraded, s.Draws, s.Limits = r.Epoch, r.At, 0, r.Downgraded(e.Policy), 0, e.Limits
	active := *e
	active.ActivatedIndex, active.External = index, r.External
	rows.Put(Key(r.Epoch), &active)
	return nil
}
