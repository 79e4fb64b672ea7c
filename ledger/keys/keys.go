// Package keys is the book of the keys that a house signs with. Entry 0 has the
// first of each role. A key is exchanged in two steps: key.introduced names the
// new one, signed by the old and the new key, and from there on both sign; with
// key.retired the old one is used no more. So who has any key of a log is led to
// every other by the log itself. Both steps need two officers.
package keys

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
)

// Most is how many keys a log may ever have.
const Most = 256

// Introduced brings a new key of a role into use ("key.introduced").
type Introduced struct {
	entry.Header
	Algorithm    string
	Approvals    []officers.Approval
	Assurance    string
	Public       string // as in house.created
	Role         string
	SignatureNew []byte // by the new key over the Statement
	SignatureOld []byte // by the key that it is to replace
}

// Type is "key.introduced".
func (*Introduced) Type() string { return "key.introduced" }

// Code visits the members.
func (r *Introduced) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Text("algorithm", &r.Algorithm, 32)
	officers.CodeApprovals(c, &r.Approvals)
	c.Text("assurance", &r.Assurance, 32)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("public", &r.Public, 1024)
	c.Text("role", &r.Role, 32)
	c.Binary("signature_new", &r.SignatureNew, 256)
	c.Binary("signature_old", &r.SignatureOld, 256)
	c.Is("type", r.Type())
}

// Subject is what two officers approve of.
func (r *Introduced) Subject() string {
	return r.Role + " " + r.Algorithm + " " + r.Assurance + " " + r.Public
}

// Approval is the list of approvals.
func (r *Introduced) Approval() *[]officers.Approval { return &r.Approvals }

// Statement is what the old and the new key sign: canonical JSON.
func (r *Introduced) Statement(origin, replaces string) []byte {
	b, err := entry.AppendObject(nil, &statement{r, origin, replaces})
	if err != nil {
		return nil // and nothing verifies under it
	}
	return b
}

type statement struct {
	*Introduced
	origin, replaces string
}

func (s *statement) Code(c *entry.Coder) {
	c.Text("algorithm", &s.Algorithm, 32)
	c.Text("assurance", &s.Assurance, 32)
	c.Text("origin", &s.origin, 255)
	c.Text("public", &s.Public, 1024)
	c.Text("replaces", &s.replaces, 1024)
	c.Text("role", &s.Role, 32)
	c.Is("tag", "countroom/key-statement/v1")
}

// CrossSigned reports whether a key that is replaced, and the new one itself,
// signed the statement.
func (r *Introduced) CrossSigned(origin, replaces string) (by struct{ Old, New bool }) {
	msg := r.Statement(origin, replaces)
	if msg != nil {
		by.Old = Verify(r.Role, replaces, msg, r.SignatureOld)
		by.New = Verify(r.Role, r.Public, msg, r.SignatureNew)
	}
	return by
}

// Retired takes a key out of use for ever ("key.retired").
type Retired struct {
	entry.Header
	Approvals []officers.Approval
	Public    string
	Reason    [32]byte // commitment to the officers' words
	Role      string
}

// Type is "key.retired".
func (*Retired) Type() string { return "key.retired" }

// Code visits the members.
func (r *Retired) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	officers.CodeApprovals(c, &r.Approvals)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("public", &r.Public, 1024)
	c.Hex("reason", r.Reason[:])
	c.Text("role", &r.Role, 32)
	c.Is("type", r.Type())
}

// Because is the commitment to the officers' words.
func (r *Retired) Because() [32]byte { return r.Reason }

// Subject is what two officers approve of.
func (r *Retired) Subject() string {
	return r.Role + " " + r.Public + " reason " + hex.EncodeToString(r.Reason[:])
}

// Approval is the list of approvals.
func (r *Retired) Approval() *[]officers.Approval { return &r.Approvals }

// Algorithm is that of the keys of a role, or "" for a role that there is not.
func Algorithm(role string) string {
	switch role {
	case system.RoleCheckpoint:
		return officers.Ed25519
	case system.RoleSeeds, system.RoleExports:
		return officers.ECDSAP256
	}
	return ""
}

// Check tells whether a text is a public key of a role: of checkpoints a
// verifier key of the log's name, else SubjectPublicKeyInfo in hex.
func Check(role, origin, public string) error {
	if role == system.RoleCheckpoint {
		v, err := tlog.NewVerifier(public)
		if err == nil && v.Name() != origin {
			return fmt.Errorf("verifier key of %q: expected one of %q", v.Name(), origin)
		}
		return err
	}
	der, err := hex.DecodeString(public)
	if err != nil || hex.EncodeToString(der) != public {
		return fmt.Errorf("public key %q: expected lower-case hex", public)
	}
	return officers.CheckKey(officers.ECDSAP256, der)
}

// Verify reports whether a signature over a message is good under a key of a
// role.
func Verify(role, public string, msg, signature []byte) bool {
	if role == system.RoleCheckpoint {
		v, err := tlog.NewVerifier(public)
		return err == nil && v.Verify(msg, signature)
	}
	der, err := hex.DecodeString(public)
	return err == nil && officers.Verify(officers.ECDSAP256, der, msg, signature)
}

// Key is a key as the log knows it.
type Key struct {
	Algorithm  string
	Assurance  string
	Introduced uint64 // index of the entry that has it first
	Public     string
	Retired    uint64 // index of the entry that retires it, 0 for none
	Role       string
}

// Demo reports whether a key is for demonstration and tests: it is in a file.
func (k *Key) Demo() bool { return Demo(k.Assurance) }

// Demo reports whether an assurance says that whoever can read the machine's
// files has the key.
func Demo(assurance string) bool { return assurance == system.AssuranceSoftware }

// InForce reports whether a checkpoint of a size is signed with the key.
func (k *Key) InForce(size uint64) bool {
	return k.Introduced < size && (k.Retired == 0 || k.Retired >= size)
}

// Ring is the row of all keys there ever were, in the order of the log.
type Ring struct{ Keys []Key }

// Code visits the members.
func (r *Ring) Code(c *entry.Coder) {
	entry.List(c, "keys", &r.Keys, Most, func(c *entry.Coder, k *Key) {
		c.Object("")
		c.Text("algorithm", &k.Algorithm, 32)
		c.Text("assurance", &k.Assurance, 32)
		c.Uint("introduced", &k.Introduced)
		c.Text("public", &k.Public, 1024)
		c.Uint("retired", &k.Retired)
		c.Text("role", &k.Role, 32)
		c.End()
	})
}

// RingKey is the key of the row Ring.
const RingKey = "keys"

// Kinds are the rows of this book.
var Kinds = book.Kinds{RingKey: func() book.Row { return new(Ring) }}

// List returns all keys there ever were.
func List(rows book.Reader) []Key {
	if r := book.Get[Ring](rows, RingKey); r != nil {
		return r.Keys
	}
	return nil
}

// InForce returns the keys of a role that are not retired, in the order of the
// log.
func InForce(all []Key, role string) (list []Key) {
	for _, k := range all {
		if k.Role == role && k.Retired == 0 {
			list = append(list, k)
		}
	}
	return list
}

// Current returns the key that a role signs with now: the newest in force. For
// checkpoints all in force sign.
func Current(rows book.Reader, role string) *Key {
	list := InForce(List(rows), role)
	if len(list) == 0 {
		return nil
	}
	return &list[len(list)-1]
}

// Fold applies an entry of this package.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *system.HouseCreated:
		if book.Get[Ring](rows, RingKey) != nil {
			return nil
		}
		ring := new(Ring)
		for _, k := range r.Keys {
			ring.Keys = append(ring.Keys, Key{Algorithm: k.Algorithm, Assurance: k.Assurance, Public: k.Public, Role: k.Role})
		}
		rows.Put(RingKey, ring)
	case *Introduced:
		all, origin := List(rows), officers.Origin(rows)
		now := InForce(all, r.Role)
		if len(now) != 1 {
			return book.Broken("key-exchange", "one key of the role "+strconv.Quote(r.Role)+" in force before", len(now))
		}
		if r.Algorithm != now[0].Algorithm {
			return book.Broken("key-new", now[0].Algorithm+", as the key that it replaces", r.Algorithm)
		}
		if err := Check(r.Role, origin, r.Public); err != nil {
			return book.Broken("key-new", "a public key of the role "+r.Role, err)
		}
		for i := range all {
			if all[i].Public == r.Public {
				return book.Broken("key-new", "a key that the log never had", "the "+all[i].Role+" key of entry "+strconv.FormatUint(all[i].Introduced, 10))
			}
		}
		if len(all) == Most {
			return book.Broken("keys-most", Most, Most+1)
		}
		if by := r.CrossSigned(origin, now[0].Public); !by.Old || !by.New {
			return book.Broken("key-statement", "signatures of the old and the new key over the statement", signedBy(by.Old, by.New))
		}
		if err := officers.Check(rows, origin, r.Type(), r.Subject(), r.Approvals); err != nil {
			return err
		}
		rows.Put(RingKey, &Ring{append(append([]Key(nil), all...), Key{
			Algorithm: r.Algorithm, Assurance: r.Assurance, Introduced: index, Public: r.Public, Role: r.Role,
		})})
	case *Retired:
		all := List(rows)
		now := InForce(all, r.Role)
		if len(now) != 2 || now[0].Public != r.Public && now[1].Public != r.Public {
			return book.Broken("key-retired", "one of two keys of the role "+strconv.Quote(r.Role)+" in force", r.Public+" of "+strconv.Itoa(len(now)))
		}
		if err := officers.Check(rows, officers.Origin(rows), r.Type(), r.Subject(), r.Approvals); err != nil {
			return err
		}
		rest := append([]Key(nil), all...)
		for i := range rest {
			if rest[i].Public == r.Public {
				rest[i].Retired = index
			}
		}
		rows.Put(RingKey, &Ring{rest})
	}
	return nil
}

func signedBy(old, new bool) string {
	switch {
	case old:
		return "only that of the old key"
	case new:
		return "only that of the new key"
	}
	return "neither"
}
