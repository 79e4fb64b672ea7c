// Package epoch is the book of seeds. A seed's life has four entries:
//
//	seed.committed   a hash binds the house to a secret nobody has seen
//	seed.activated   the secret, with what the outside added, now decides draws
//	seed.closed      by rule: so many draws, or so much time
//	seed.revealed    the secret itself, by which every draw can be recomputed
//
// One epoch at a time is active, at most one is committed ahead, none is
// skipped, and draws are numbered without gaps in the order of the log.
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

// PolicyNone: nothing from outside enters the seed, so that only the house's
// word says it did not try many secrets and keep the one it liked ("the house
// can grind S").
const PolicyNone = "none"

// Reasons for closing an epoch.
const (
	ByDraws = "draws"
	ByTime  = "time"
)

// ErrNoEpoch says that no epoch can serve a draw now.
var ErrNoEpoch = errors.New("no active seed epoch")

// Source is a source of entropy that went into a secret.
type Source struct {
	Bytes       uint64
	Conditioned bool // its raw noise cannot be seen
	Healthy     bool
	Name        string
}

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

// Committed binds the house to a secret ("seed.committed").
type Committed struct {
	entry.Header
	Statement
	Signature []byte // by the seeds key over Statement.Message: ECDSA P-256, ASN.1 DER, over SHA-256
}

// Statement is what the seeds key signs.
type Statement struct {
	Assurance  string   // of the sealing key
	Commitment [32]byte // chance.Commitment of origin, epoch, secret and salt
	Epoch      uint64   // from 1
	Limits     Limits
	Policy     string // what the outside adds at activation
	Sealed     []byte // the secret and salt, sealed to the house's key
	Sources    []Source
}

// Type is "seed.committed".
func (*Committed) Type() string { return "seed.committed" }

// Code visits the members.
func (r *Committed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Text("assurance", &r.Assurance, 32)
	c.At(&r.Header)
	c.Hex("commitment", r.Commitment[:])
	c.Uint("epoch", &r.Epoch)
	c.ID(&r.Header)
	r.Limits.code(c)
	c.Text("policy", &r.Policy, 32)
	c.Binary("sealed", &r.Sealed, 1024)
	c.Binary("signature", &r.Signature, 256)
	codeSources(c, &r.Sources)
	c.Is("type", r.Type())
}

func (l *Limits) code(c *entry.Coder) {
	c.Object("limits")
	c.Uint("age_seconds", &l.AgeSeconds)
	c.Uint("draws", &l.Draws)
	c.Uint("reveal_delay_seconds", &l.RevealDelaySeconds)
	c.End()
}

func codeSources(c *entry.Coder, list *[]Source) {
	entry.List(c, "sources", list, 16, func(c *entry.Coder, s *Source) {
		c.Object("")
		c.Uint("bytes", &s.Bytes)
		c.Bool("conditioned", &s.Conditioned)
		c.Bool("healthy", &s.Healthy)
		c.Text("name", &s.Name, 64)
		c.End()
	})
}

// Message is the canonical JSON that the seeds key signs: the statement with
// the log's origin and a tag.
func (s *Statement) Message(origin string) ([]byte, error) {
	return entry.AppendObject(nil, &message{s, origin})
}

type message struct {
	*Statement
	origin string
}

func (m *message) Code(c *entry.Coder) {
	c.Text("assurance", &m.Assurance, 32)
	c.Hex("commitment", m.Commitment[:])
	c.Uint("epoch", &m.Epoch)
	m.Limits.code(c)
	c.Text("origin", &m.origin, 255)
	c.Text("policy", &m.Policy, 32)
	c.Binary("sealed", &m.Sealed, 1024)
	codeSources(c, &m.Sources)
	c.Is("tag", "countroom/seed-statement/v1")
}

// Activated makes an epoch the one that decides draws ("seed.activated").
type Activated struct {
	entry.Header
	Epoch    uint64
	External []byte // external entropy; empty with policy none
	Policy   string // the policy that was carried out
}

// Type is "seed.activated".
func (*Activated) Type() string { return "seed.activated" }

// Code visits the members.
func (r *Activated) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.Binary("external", &r.External, 1024)
	c.ID(&r.Header)
	c.Text("policy", &r.Policy, 32)
	c.Is("type", r.Type())
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
	Closed      uint64 // the latest that was closed
	Committed   uint64 // the latest that was committed
	Draws       uint64 // of the active epoch
	Limits      Limits // of the active epoch
	Revealed    uint64 // the latest that was revealed; they are revealed in order
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Time("activated_at", &s.ActivatedAt)
	c.Uint("active", &s.Active)
	c.Uint("closed", &s.Closed)
	c.Uint("committed", &s.Committed)
	c.Uint("draws", &s.Draws)
	s.Limits.code(c)
	c.Uint("revealed", &s.Revealed)
}

// Epoch is the row of one epoch. An index of 0 says that there is no such entry
// yet (entry 0 is always house.created).
type Epoch struct {
	ActivatedIndex uint64
	ClosedAt       entry.Time
	ClosedIndex    uint64
	Commitment     [32]byte
	CommittedIndex uint64
	Draws          uint64
	External       []byte
	Limits         Limits
	Policy         string
	RevealedIndex  uint64
}

// Code visits the members.
func (e *Epoch) Code(c *entry.Coder) {
	c.Uint("activated_index", &e.ActivatedIndex)
	c.Time("closed_at", &e.ClosedAt)
	c.Uint("closed_index", &e.ClosedIndex)
	c.Hex("commitment", e.Commitment[:])
	c.Uint("committed_index", &e.CommittedIndex)
	c.Uint("draws", &e.Draws)
	c.Binary("external", &e.External, 1024)
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
func (s *State) Due(at entry.Time) string {
	switch {
	case s.Active == 0:
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
		if r.Epoch != s.Committed+1 {
			return book.Broken("epoch-order", s.Committed+1, r.Epoch)
		}
		if latest := max(s.Active, s.Closed); s.Committed > latest {
			return book.Broken("epoch-ahead", "at most one epoch committed ahead", r.Epoch)
		}
		if err := r.Limits.Check(); err != nil {
			return book.Broken("epoch-limits", err, r.Limits)
		}
		if len(r.Sources) == 0 {
			return book.Broken("epoch-sources", "at least one source of entropy", "none")
		}
		var bytes uint64
		for _, src := range r.Sources {
			if !src.Healthy {
				return book.Broken("epoch-sources", "healthy sources", src.Name)
			}
			bytes += src.Bytes
		}
		if bytes < SourceBytesLeast {
			return book.Broken("epoch-sources", strconv.Itoa(SourceBytesLeast)+" bytes or more from all sources", bytes)
		}
		if r.Policy != PolicyNone {
			return book.Broken("epoch-policy", PolicyNone, r.Policy)
		}
		s.Committed = r.Epoch
		rows.Put(Key(r.Epoch), &Epoch{Commitment: r.Commitment, CommittedIndex: index, Limits: r.Limits, Policy: r.Policy})
	case *Activated:
		e := book.Get[Epoch](rows, Key(r.Epoch))
		if s.Active != 0 || r.Epoch != s.Closed+1 || e == nil {
			return book.Broken("epoch-activation", "the committed epoch "+strconv.FormatUint(s.Closed+1, 10)+", once the one before is closed", r.Epoch)
		}
		if r.Policy != e.Policy || len(r.External) != 0 {
			return book.Broken("epoch-policy", "policy "+e.Policy+" as committed", r.Policy)
		}
		s.Active, s.ActivatedAt, s.Draws, s.Limits = r.Epoch, r.At, 0, e.Limits
		active := *e
		active.ActivatedIndex, active.External = index, r.External
		rows.Put(Key(r.Epoch), &active)
	case *Closed:
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
		s.Active, s.Closed = 0, r.Epoch
		closed := *e
		closed.ClosedIndex, closed.ClosedAt, closed.Draws = index, r.At, r.Draws
		rows.Put(Key(r.Epoch), &closed)
	case *Revealed:
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
	default:
		return nil
	}
	rows.Put(StateKey, &s)
	return nil
}
