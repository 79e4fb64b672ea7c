// Package system holds the entries by which a house speaks of itself: its
// creation with the keys to check it by, each process that became active, that it
// was restored from a back-up, steps of its clock, and alarms.
package system

import (
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Format is the version of the log's format that this code writes and reads.
const Format = 1

// Assurance says what holds a key.
const (
	AssuranceSoftware = "software" // a file on the machine: for demonstration and tests
)

// Roles of the keys in HouseCreated.
const (
	RoleCheckpoint = "checkpoint" // Ed25519, as a C2SP note verifier key
	RoleSeeds      = "seeds"      // ECDSA P-256, SubjectPublicKeyInfo in hex
	RoleExports    = "exports"    // the same
)

// Key is a public key of the house.
type Key struct {
	Algorithm string // "ed25519" or "ecdsa-p256"
	Assurance string
	Public    string
	Role      string
}

// HouseCreated is entry 0 of every log ("house.created").
type HouseCreated struct {
	entry.Header
	Format uint64
	Keys   []Key
	Origin string
}

// Type is "house.created".
func (*HouseCreated) Type() string { return "house.created" }

// Code visits the members.
func (r *HouseCreated) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("format", &r.Format)
	c.ID(&r.Header)
	entry.List(c, "keys", &r.Keys, 16, func(c *entry.Coder, k *Key) {
		c.Object("")
		c.Text("algorithm", &k.Algorithm, 32)
		c.Text("assurance", &k.Assurance, 32)
		c.Text("public", &k.Public, 1024)
		c.Text("role", &k.Role, 32)
		c.End()
	})
	c.Text("origin", &r.Origin, 255)
	c.Is("type", r.Type())
}

// Key returns the key of a role, or nil.
func (r *HouseCreated) Key(role string) *Key {
	for i := range r.Keys {
		if r.Keys[i].Role == role {
			return &r.Keys[i]
		}
	}
	return nil
}

// HouseActive says that a process became the writer of the log
// ("house.active"): the term it writes in, on which node, by which release of
// the software, and on top of which head.
type HouseActive struct {
	entry.Header
	Node    string
	Reason  string // "created", "start"
	Release string
	Root    [32]byte // of the head it found
	Size    uint64
	Term    uint64
}

// Type is "house.active".
func (*HouseActive) Type() string { return "house.active" }

// Code visits the members.
func (r *HouseActive) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.ID(&r.Header)
	c.Text("node", &r.Node, 64)
	c.Text("reason", &r.Reason, 32)
	c.Text("release", &r.Release, 64)
	c.Hex("root", r.Root[:])
	c.Uint("size", &r.Size)
	c.Uint("term", &r.Term)
	c.Is("type", r.Type())
}

// Reasons for which a machine of a pair becomes the writer; a first process's is
// "created".
const (
	ReasonStart      = "start"      // it was the writer before
	ReasonTakeover   = "takeover"   // another was, and did not hand over
	ReasonSwitchover = "switchover" // another was, and handed over as planned
)

// Roles of a pair's members.
const (
	RoleMachine = "machine" // keeps the log and may be its writer
	RoleArbiter = "arbiter" // votes, and never writes
)

// Member is one of a pair: a machine or the arbiter.
type Member struct{ Name, Role string }

// PairActive says that a machine of a pair became the writer of the log
// ("house.active.v2"). Its term is that of the consensus between the members,
// in which terms without a writer may have passed.
type PairActive struct {
	entry.Header
	Members []Member // by name
	Node    string
	Reason  string
	Release string
	Root    [32]byte // of the head it found
	Size    uint64
	Term    uint64
}

// Type is "house.active.v2".
func (*PairActive) Type() string { return "house.active.v2" }

// Code visits the members.
func (r *PairActive) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.ID(&r.Header)
	entry.List(c, "members", &r.Members, 16, func(c *entry.Coder, m *Member) {
		c.Object("")
		c.Text("name", &m.Name, 64)
		c.Text("role", &m.Role, 32)
		c.End()
	})
	c.Text("node", &r.Node, 64)
	c.Text("reason", &r.Reason, 32)
	c.Text("release", &r.Release, 64)
	c.Hex("root", r.Root[:])
	c.Uint("size", &r.Size)
	c.Uint("term", &r.Term)
	c.Is("type", r.Type())
}

// member tells what is wrong with the members, "" when nothing is.
func (r *PairActive) member() string {
	writer := false
	for i, m := range r.Members {
		switch {
		case i > 0 && r.Members[i-1].Name >= m.Name:
			return m.Name + " after " + r.Members[i-1].Name
		case m.Role != RoleMachine && m.Role != RoleArbiter:
			return m.Name + " as " + m.Role
		case m.Name == r.Node && m.Role == RoleMachine:
			writer = true
		}
	}
	if !writer {
		return "no machine " + r.Node
	}
	return ""
}

// HouseRestored says that the log was restored from a back-up
// ("house.restored"). It follows the HouseActive of the first process after
// that, in one commit. Where Signed is above Size, entries that the house had
// signed are gone.
type HouseRestored struct {
	entry.Header
	Backup [32]byte // digest of the back-up
	Reason [32]byte // commitment to the operator's words
	Root   [32]byte // of the log that was restored
	Signed uint64   // largest size that was then known to have been signed
	Size   uint64   // of the log that was restored
}

// Type is "house.restored".
func (*HouseRestored) Type() string { return "house.restored" }

// Code visits the members.
func (r *HouseRestored) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Hex("backup", r.Backup[:])
	c.ID(&r.Header)
	c.Hex("reason", r.Reason[:])
	c.Hex("root", r.Root[:])
	c.Uint("signed", &r.Signed)
	c.Uint("size", &r.Size)
	c.Is("type", r.Type())
}

// ClockStepped says that the machine's clock was found to have jumped
// ("clock.stepped"). Entries' times go on without going back.
type ClockStepped struct {
	entry.Header
	StepMicroseconds int64 // negative: the clock was set back
}

// Type is "clock.stepped".
func (*ClockStepped) Type() string { return "clock.stepped" }

// Code visits the members.
func (r *ClockStepped) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.ID(&r.Header)
	c.Int("step_microseconds", &r.StepMicroseconds)
	c.Is("type", r.Type())
}

// AlarmKeyReused: one idempotency key came with two different requests.
const AlarmKeyReused = "request-key-reused"

// AlarmExternalMissing: what the outside was to add to the seed epoch of a
// commitment has not come in time.
const AlarmExternalMissing = "external-missing"

// AlarmDisplayed: a client showed its player another result than the log has.
const AlarmDisplayed = "displayed-mismatch"

// AlarmSoftware: the process found its program, its configuration or its games not
// to be what they should be.
const AlarmSoftware = "software-mismatch"

// AlarmRaised is an alarm that a regulator can read in the log
// ("alarm.raised").
type AlarmRaised struct {
	entry.Header
	About [32]byte // what it is about: for request-key-reused the key's hash, for software-mismatch the program's
	Alarm string
	Count uint64 // occurrences since the last alarm of this kind
}

// Type is "alarm.raised".
func (*AlarmRaised) Type() string { return "alarm.raised" }

// Code visits the members.
func (r *AlarmRaised) Code(c *entry.Coder) {
	c.Hex("about", r.About[:])
	c.Actor(&r.Header)
	c.Text("alarm", &r.Alarm, 64)
	c.At(&r.Header)
	c.Uint("count", &r.Count)
	c.ID(&r.Header)
	c.Is("type", r.Type())
}

// State is the row of the house: what the latest entries of this package said.
type State struct {
	Format uint64
	Term   uint64
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Uint("format", &s.Format)
	c.Uint("term", &s.Term)
}

// StateKey is the key of the house's row.
const StateKey = "house"

// Kinds are the rows of this book.
var Kinds = book.Kinds{"house": func() book.Row { return new(State) }}

// Fold applies an entry of this package.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *HouseCreated:
		s := book.Get[State](rows, StateKey)
		if index != 0 || s != nil {
			return book.Broken("house-created-first", "house.created as entry 0 and nowhere else", "entry "+strconv.FormatUint(index, 10))
		}
		if r.Format != Format {
			return book.Broken("format", Format, r.Format)
		}
		rows.Put(StateKey, &State{Format: r.Format})
	case *HouseActive:
		s := book.Get[State](rows, StateKey)
		if s == nil {
			return book.Broken("house-created-first", "house.created as entry 0", "house.active")
		}
		if r.Size != index {
			return book.Broken("active-head", "size "+strconv.FormatUint(index, 10), r.Size)
		}
		if r.Term != s.Term+1 {
			return book.Broken("term", s.Term+1, r.Term)
		}
		rows.Put(StateKey, &State{Format: s.Format, Term: r.Term})
	case *PairActive:
		s := book.Get[State](rows, StateKey)
		if s == nil {
			return book.Broken("house-created-first", "house.created as entry 0", "house.active.v2")
		}
		if r.Size != index {
			return book.Broken("active-head", "size "+strconv.FormatUint(index, 10), r.Size)
		}
		if r.Term <= s.Term {
			return book.Broken("term", "above "+strconv.FormatUint(s.Term, 10), r.Term)
		}
		if found := r.member(); found != "" {
			return book.Broken("active-member", "machines and arbiters by name, and the node one of the machines", found)
		}
		rows.Put(StateKey, &State{Format: s.Format, Term: r.Term})
	case *HouseRestored:
		if r.Size+1 != index {
			return book.Broken("restored-head", "size "+strconv.FormatUint(index-1, 10)+", that of the log before the house.active before it", r.Size)
		}
		if r.Signed < r.Size {
			return book.Broken("restored-signed", "at least size "+strconv.FormatUint(r.Size, 10), r.Signed)
		}
	}
	return nil
}
