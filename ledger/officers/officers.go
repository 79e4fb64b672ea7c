// Package officers is the book of the people without whom certain things must
// not be done: each has a key of his own, kept off the house's machines, and
// what they alone may allow carries the signatures of two.
//
// The first two are enrolled by the operator. From then on officers come and go
// by the approval of two who are enrolled, and two are always left.
package officers

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// Quorum is how many officers have to approve, and how many must always be left.
const Quorum = 2

// Most is how many officers a house may ever enrol.
const Most = 64

// NameMost is the length of the longest name.
const NameMost = 32

// Algorithms of officers' keys.
const (
	Ed25519   = "ed25519"    // Public: the 32 bytes of RFC 8032
	ECDSAP256 = "ecdsa-p256" // Public: SubjectPublicKeyInfo; signatures are ASN.1 DER over SHA-256
)

// What is approved, by the type of the entry that carries the approvals.
const (
	ActionEnrol  = "officer.enrolled"
	ActionRetire = "officer.retired"
)

// Approval is an officer's signature over a Message.
type Approval struct {
	Officer   string
	Signature []byte
}

// Message is what officers sign to approve of an action: canonical JSON. Each
// subject is unique by its nature, so that no approval serves twice.
func Message(origin, action, subject string) []byte {
	b, err := entry.AppendObject(nil, &message{action, origin, subject})
	if err != nil {
		return nil // and nothing verifies under it
	}
	return b
}

type message struct{ action, origin, subject string }

// SubjectMost is the length of the longest subject.
const SubjectMost = 4096

func (m *message) Code(c *entry.Coder) {
	c.Text("action", &m.action, 64)
	c.Text("origin", &m.origin, 255)
	c.Text("subject", &m.subject, SubjectMost)
	c.Is("tag", "countroom/approval/v1")
}

// CodeApprovals visits the member "approvals".
func CodeApprovals(c *entry.Coder, list *[]Approval) {
	entry.List(c, "approvals", list, 8, func(c *entry.Coder, a *Approval) {
		c.Object("")
		c.Text("officer", &a.Officer, NameMost)
		c.Binary("signature", &a.Signature, 256)
		c.End()
	})
}

// Check holds the approvals of an entry against the officers who are enrolled
// before it: two, of different officers, sorted by name, each good. The origin is
// that of the log (Origin).
func Check(rows book.Reader, origin, action, subject string, list []Approval) error {
	if len(list) != Quorum {
		return book.Broken("approvals", "those of two officers", len(list))
	}
	r := roster(rows)
	msg := Message(origin, action, subject)
	for i, a := range list {
		if i > 0 && list[i-1].Officer >= a.Officer {
			return book.Broken("approvals", "two different officers, sorted by name", list[i-1].Officer+" and "+a.Officer)
		}
		o := r.Find(a.Officer)
		if o == nil || o.Retired {
			return book.Broken("approvals", "an officer who is enrolled", strconv.Quote(a.Officer))
		}
		if len(msg) == 0 || !o.Verify(msg, a.Signature) {
			return book.Broken("approvals", "the signature of "+a.Officer+" over "+action+" of "+subject, hex.EncodeToString(a.Signature))
		}
	}
	return nil
}

// Approved is an entry that officers approve of.
type Approved interface {
	entry.Record
	// Subject is what they approve of; the action is the entry's type.
	Subject() string
	Approval() *[]Approval
}

// Actor is who causes an entry that officers approve of: the first of them by
// name, or the operator where there need be none.
func Actor(r Approved) string {
	list := *r.Approval()
	if len(list) == 0 {
		return "operator"
	}
	return "officer/" + list[0].Officer
}

// Enrolled makes somebody an officer ("officer.enrolled").
type Enrolled struct {
	entry.Header
	Algorithm string
	Approvals []Approval // none for the first two
	Officer   string
	Public    []byte
}

// Type is "officer.enrolled".
func (*Enrolled) Type() string { return ActionEnrol }

// Code visits the members.
func (r *Enrolled) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Text("algorithm", &r.Algorithm, 32)
	CodeApprovals(c, &r.Approvals)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("officer", &r.Officer, NameMost)
	c.Binary("public", &r.Public, 128)
	c.Is("type", r.Type())
}

// Subject is what two officers approve of.
func (r *Enrolled) Subject() string {
	return r.Officer + " " + r.Algorithm + " " + hex.EncodeToString(r.Public)
}

// Approval is the list of approvals.
func (r *Enrolled) Approval() *[]Approval { return &r.Approvals }

// Retired takes an officer's signature out of use for ever
// ("officer.retired").
type Retired struct {
	entry.Header
	Approvals []Approval
	Officer   string
}

// Type is "officer.retired".
func (*Retired) Type() string { return ActionRetire }

// Code visits the members.
func (r *Retired) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	CodeApprovals(c, &r.Approvals)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("officer", &r.Officer, NameMost)
	c.Is("type", r.Type())
}

// Subject is what two officers approve of.
func (r *Retired) Subject() string { return r.Officer }

// Officer is an officer as the log knows him.
type Officer struct {
	Algorithm string
	Index     uint64 // of the entry that enrolled him
	Name      string
	Public    []byte
	Retired   bool
}

// Approval is the list of approvals.
func (r *Retired) Approval() *[]Approval { return &r.Approvals }

// Verify reports whether a signature over a message is the officer's.
func (o *Officer) Verify(msg, signature []byte) bool {
	return Verify(o.Algorithm, o.Public, msg, signature)
}

// Verify reports whether a signature is good under a public key of an algorithm.
func Verify(algorithm string, public, msg, signature []byte) bool {
	switch algorithm {
	case Ed25519:
		return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, msg, signature)
	case ECDSAP256:
		key := p256(public)
		digest := sha256.Sum256(msg)
		return key != nil && ecdsa.VerifyASN1(key, digest[:], signature)
	}
	return false
}

// CheckKey tells whether bytes are a public key of an algorithm.
func CheckKey(algorithm string, public []byte) error {
	switch {
	case algorithm == Ed25519 && len(public) == ed25519.PublicKeySize:
		return nil
	case algorithm == ECDSAP256 && p256(public) != nil:
		return nil
	case algorithm == Ed25519:
		return fmt.Errorf("public key of %d bytes: expected the 32 of an Ed25519 key", len(public))
	case algorithm == ECDSAP256:
		return errors.New("public key: expected the SubjectPublicKeyInfo of a P-256 key")
	}
	return fmt.Errorf("algorithm %q: expected ed25519 or ecdsa-p256", algorithm)
}

// p256 reads the SubjectPublicKeyInfo of a P-256 key in its one form, or
// returns nil.
func p256(der []byte) *ecdsa.PublicKey {
	pub, err := x509.ParsePKIXPublicKey(der)
	key, ok := pub.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil
	}
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || string(again) != string(der) {
		return nil
	}
	return key
}

// CheckName tells whether an officer may have a name: 1 to 32 lower-case
// letters, digits and hyphens, beginning with a letter.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= NameMost && name[0] >= 'a' && name[0] <= 'z'
	for i := 0; ok && i < len(name); i++ {
		b := name[i]
		ok = b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-'
	}
	if !ok {
		return fmt.Errorf("officer %q: expected 1 to %d lower-case letters, digits and hyphens, a letter first", name, NameMost)
	}
	return nil
}

// Roster is the row of all officers there ever were, in the order of the log.
type Roster struct {
	Officers []Officer
	Origin   string
}

// Code visits the members.
func (r *Roster) Code(c *entry.Coder) {
	entry.List(c, "officers", &r.Officers, Most, func(c *entry.Coder, o *Officer) {
		c.Object("")
		c.Text("algorithm", &o.Algorithm, 32)
		c.Uint("index", &o.Index)
		c.Text("name", &o.Name, NameMost)
		c.Binary("public", &o.Public, 128)
		c.Bool("retired", &o.Retired)
		c.End()
	})
	c.Text("origin", &r.Origin, 255)
}

// Find returns the officer of a name, or nil.
func (r *Roster) Find(name string) *Officer {
	for i := range r.Officers {
		if r.Officers[i].Name == name {
			return &r.Officers[i]
		}
	}
	return nil
}

// Serving counts the officers who are not retired.
func (r *Roster) Serving() (n int) {
	for i := range r.Officers {
		if !r.Officers[i].Retired {
			n++
		}
	}
	return n
}

// RosterKey is the key of the row Roster.
const RosterKey = "officers"

// Kinds are the rows of this book.
var Kinds = book.Kinds{RosterKey: func() book.Row { return new(Roster) }}

func roster(rows book.Reader) *Roster {
	if r := book.Get[Roster](rows, RosterKey); r != nil {
		return r
	}
	return new(Roster)
}

// List returns all officers there ever were.
func List(rows book.Reader) []Officer { return roster(rows).Officers }

// Origin is the log's name, which every approval names.
func Origin(rows book.Reader) string { return roster(rows).Origin }

// Fold applies an entry of this package.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *system.HouseCreated:
		if book.Get[Roster](rows, RosterKey) == nil {
			rows.Put(RosterKey, &Roster{Origin: r.Origin})
		}
	case *Enrolled:
		now := roster(rows)
		if err := CheckName(r.Officer); err != nil {
			return book.Broken("officer-name", "1 to 32 lower-case letters, digits and hyphens, a letter first", r.Officer)
		}
		if now.Find(r.Officer) != nil {
			return book.Broken("officer-once", "a name that no officer ever had", r.Officer)
		}
		if err := CheckKey(r.Algorithm, r.Public); err != nil {
			return book.Broken("officer-key", "a public key of its algorithm", err)
		}
		for i := range now.Officers {
			if string(now.Officers[i].Public) == string(r.Public) {
				return book.Broken("officer-key", "a key that no officer ever had", "that of "+now.Officers[i].Name)
			}
		}
		if len(now.Officers) == Most {
			return book.Broken("officers-most", Most, Most+1)
		}
		if len(now.Officers) < Quorum { // there is nobody to ask yet
			if len(r.Approvals) != 0 {
				return book.Broken("approvals", "none for the first two officers", len(r.Approvals))
			}
		} else if err := Check(rows, now.Origin, ActionEnrol, r.Subject(), r.Approvals); err != nil {
			return err
		}
		more := append(append([]Officer(nil), now.Officers...), Officer{Algorithm: r.Algorithm, Index: index, Name: r.Officer, Public: r.Public})
		rows.Put(RosterKey, &Roster{Officers: more, Origin: now.Origin})
	case *Retired:
		now := roster(rows)
		o := now.Find(r.Officer)
		if o == nil || o.Retired {
			return book.Broken("officer-serving", "an officer who is enrolled", strconv.Quote(r.Officer))
		}
		if now.Serving() <= Quorum {
			return book.Broken("officers-least", "two officers or more afterwards", now.Serving()-1)
		}
		if err := Check(rows, now.Origin, ActionRetire, r.Subject(), r.Approvals); err != nil {
			return err
		}
		fewer := append([]Officer(nil), now.Officers...)
		for i := range fewer {
			fewer[i].Retired = fewer[i].Retired || fewer[i].Name == r.Officer
		}
		rows.Put(RosterKey, &Roster{Officers: fewer, Origin: now.Origin})
	}
	return nil
}
