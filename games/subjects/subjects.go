// Package subjects is the book of what a house knows of the people behind the
// references: a name, an address, the result of a check. The log holds salted
// commitments to it, the house's vault the values and what opens them.
//
//	subject.recorded   values of attributes of a player, each as a commitment
//	subject.erased     two officers had all of it erased, for good: nothing is
//	                   about that player any more
//	vault.rewrapped    the keys of all subjects are wrapped anew: what back-ups
//	                   of two periods before hold is of no use to anybody
//
// So what is erased is told from what is lost or was taken away, and no proof
// needs a value.
package subjects

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"countroom/games/players"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/wallet"
)

const (
	// Most is how many attributes a subject can have.
	Most = 32
	// NameMost is the length of the longest name of an attribute.
	NameMost = 32
	// ValueMost is the length of the longest value, in bytes.
	ValueMost = 1024
)

// ActionErase is what officers approve of when they erase a subject.
const ActionErase = "subject.erased"

// Commit is the commitment to the value of an attribute. Nobody who lacks the
// salt can tell from it what the value is, however few there may be.
func Commit(attribute string, salt [32]byte, value string) [32]byte {
	return entry.Frame([]byte("countroom/subject/v1"), []byte(attribute), salt[:], []byte(value))
}

// CheckAttribute tells whether an attribute may have a name: 1 to 32 lower-case
// letters, digits and hyphens, beginning with a letter.
func CheckAttribute(name string) error {
	ok := len(name) >= 1 && len(name) <= NameMost && name[0] >= 'a' && name[0] <= 'z'
	for i := 0; ok && i < len(name); i++ {
		b := name[i]
		ok = b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-'
	}
	if !ok {
		return fmt.Errorf("attribute %q: expected %s", name, attributeForm)
	}
	return nil
}

const attributeForm = "1 to 32 lower-case letters, digits and hyphens, a letter first"

// CheckValue tells whether a text can be the value of an attribute.
func CheckValue(value string) error {
	switch {
	case value == "" || len(value) > ValueMost:
		return fmt.Errorf("value of %d bytes: expected 1 to %d", len(value), ValueMost)
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return fmt.Errorf("value: expected UTF-8 without U+0000")
	}
	return nil
}

// Value is what an entry says of one attribute.
type Value struct {
	Commitment [32]byte
	Name       string // of the attribute
}

// Recorded is what the house knows of a player from here on
// ("subject.recorded"). A value takes the place of the former one of its
// attribute; both stay committed to.
type Recorded struct {
	entry.Header
	Attributes []Value // by rising name
	Player     entry.Ref
}

// Type is "subject.recorded".
func (*Recorded) Type() string { return "subject.recorded" }

// Code visits the members.
func (r *Recorded) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	entry.List(c, "attributes", &r.Attributes, Most, func(c *entry.Coder, v *Value) {
		c.Object("")
		c.Hex("commitment", v.Commitment[:])
		c.Text("name", &v.Name, NameMost)
		c.End()
	})
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Is("type", r.Type())
}

// Erased is the end of all that could tell who a player was ("subject.erased").
type Erased struct {
	entry.Header
	Approvals   []officers.Approval
	Commitments uint64 // all that were recorded of him
	Player      entry.Ref
}

// Type is "subject.erased".
func (*Erased) Type() string { return ActionErase }

// Code visits the members.
func (r *Erased) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	officers.CodeApprovals(c, &r.Approvals)
	c.At(&r.Header)
	c.Uint("commitments", &r.Commitments)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Is("type", r.Type())
}

// Subject is what two officers approve of. A player is erased once.
func (r *Erased) Subject() string {
	return "player " + r.Player.String() + " commitments " + strconv.FormatUint(r.Commitments, 10)
}

// Approval is the list of approvals.
func (r *Erased) Approval() *[]officers.Approval { return &r.Approvals }

// Rewrapped begins a period of the vault ("vault.rewrapped"): the keys of its
// subjects are wrapped under a key that back-ups of earlier periods do not lead
// to, and the key of the period before the last is gone.
type Rewrapped struct {
	entry.Header
	Period   uint64
	Subjects uint64 // whose keys are in the vault
}

// Type is "vault.rewrapped".
func (*Rewrapped) Type() string { return "vault.rewrapped" }

// Code visits the members.
func (r *Rewrapped) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.ID(&r.Header)
	c.Uint("period", &r.Period)
	c.Uint("subjects", &r.Subjects)
	c.Is("type", r.Type())
}

// Attribute is the latest commitment to an attribute.
type Attribute struct {
	Value
	Index uint64 // of the entry that recorded it
}

// Subject is the row of a player of whom something was recorded, or who was
// erased.
type Subject struct {
	Attributes  []Attribute // by rising name
	Commitments uint64      // with those whose place another took
	Erased      uint64      // index of the entry that erased him, 0 if none did
}

// Code visits the members.
func (s *Subject) Code(c *entry.Coder) {
	entry.List(c, "attributes", &s.Attributes, Most, func(c *entry.Coder, a *Attribute) {
		c.Object("")
		c.Hex("commitment", a.Commitment[:])
		c.Uint("index", &a.Index)
		c.Text("name", &a.Name, NameMost)
		c.End()
	})
	c.Uint("commitments", &s.Commitments)
	c.Uint("erased", &s.Erased)
}

// State is the row of all subjects.
type State struct {
	Live   uint64 // players who are not erased; each has a key in the vault
	Period uint64 // of the vault, 0 before the first
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Uint("live", &s.Live)
	c.Uint("period", &s.Period)
}

// Keys of rows.
const (
	StateKey = "subjects"
	prefix   = "subject/"
)

// Key is the key of a subject's row.
func Key(ref entry.Ref) string {
	return string(ref.Append(append(make([]byte, 0, 40), prefix...)))
}

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	StateKey:  func() book.Row { return new(State) },
	"subject": func() book.Row { return new(Subject) },
}

// Now returns a copy of the row of all subjects.
func Now(rows book.Reader) State {
	if s := book.Get[State](rows, StateKey); s != nil {
		return *s
	}
	return State{}
}

// Find returns a copy of a player's row, which is empty where nothing was
// recorded of him.
func Find(rows book.Reader, ref entry.Ref) Subject {
	if s := book.Get[Subject](rows, Key(ref)); s != nil {
		return *s
	}
	return Subject{}
}

// Fold applies an entry of this package, and counts accounts.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *players.Created:
		s := Now(rows)
		s.Live++
		rows.Put(StateKey, &s)
	case *Recorded:
		return record(rows, index, r)
	case *Erased:
		return erase(rows, index, r)
	case *Rewrapped:
		s := Now(rows)
		if r.Period != s.Period+1 {
			return book.Broken("vault-period", s.Period+1, r.Period)
		}
		if r.Subjects > s.Live {
			return book.Broken("vault-subjects", "the keys of "+strconv.FormatUint(s.Live, 10)+" subjects at most", r.Subjects)
		}
		s.Period = r.Period
		rows.Put(StateKey, &s)
	}
	return nil
}

func record(rows book.Rows, index uint64, r *Recorded) error {
	if _, err := players.Present(rows, r.Player); err != nil {
		return book.Broken("player-state", "an account that is not erased", err)
	}
	if len(r.Attributes) == 0 {
		return book.Broken("subject-attribute", "an attribute at least", "none")
	}
	for i, v := range r.Attributes {
		if CheckAttribute(v.Name) != nil {
			return book.Broken("subject-attribute", attributeForm, strconv.Quote(v.Name))
		}
		if i > 0 && r.Attributes[i-1].Name >= v.Name {
			return book.Broken("subject-attribute", "each once, in rising order", r.Attributes[i-1].Name+" and "+v.Name)
		}
	}
	s := Find(rows, r.Player)
	merged := make([]Attribute, 0, len(s.Attributes)+len(r.Attributes))
	old := s.Attributes
	for _, v := range r.Attributes {
		for len(old) > 0 && old[0].Name < v.Name {
			merged, old = append(merged, old[0]), old[1:]
		}
		if len(old) > 0 && old[0].Name == v.Name {
			if old[0].Commitment == v.Commitment {
				return book.Broken("subject-commitment", "another commitment than that of entry "+strconv.FormatUint(old[0].Index, 10), v.Name+" "+hex.EncodeToString(v.Commitment[:]))
			}
			old = old[1:]
		}
		merged = append(merged, Attribute{v, index})
	}
	if merged = append(merged, old...); len(merged) > Most {
		return book.Broken("subject-most", Most, len(merged))
	}
	s.Attributes, s.Commitments = merged, s.Commitments+uint64(len(r.Attributes))
	rows.Put(Key(r.Player), &s)
	return nil
}

func erase(rows book.Rows, index uint64, r *Erased) error {
	p, err := players.Present(rows, r.Player)
	if err != nil {
		return book.Broken("player-state", "an account that is not erased", err)
	}
	if p.State != players.Closed {
		return book.Broken("player-state", "an account that is closed", string(p.State))
	}
	if left := wallet.Balance(rows, wallet.Cash(r.Player), p.Currency); left != 0 {
		return book.Broken("subject-money", "an account that holds nothing", left)
	}
	s := Find(rows, r.Player)
	if r.Commitments != s.Commitments {
		return book.Broken("subject-commitments", s.Commitments, r.Commitments)
	}
	if err := officers.Check(rows, officers.Origin(rows), r.Type(), r.Subject(), r.Approvals); err != nil {
		return err
	}
	s.Erased = index
	rows.Put(Key(r.Player), &s)
	players.Erase(rows, r.Player)
	all := Now(rows)
	all.Live--
	rows.Put(StateKey, &all)
	return nil
}
