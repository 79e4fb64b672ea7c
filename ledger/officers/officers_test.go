package officers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

const origin = "casino.example/log"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// person has an officer's key.
type person struct {
	name, algorithm string
	public          []byte
	key             crypto.Signer
}

func who(name, algorithm string) *person {
	seed := sha256.Sum256([]byte(name))
	p := &person{name: name, algorithm: algorithm}
	if algorithm == Ed25519 {
		key := ed25519.NewKeyFromSeed(seed[:])
		p.key, p.public = key, key.Public().(ed25519.PublicKey)
	} else {
		key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:]))
		p.key, p.public = key, must(x509.MarshalPKIXPublicKey(key.Public()))
	}
	return p
}

func (p *person) approves(action, subject string) Approval {
	msg, opts := Message(origin, action, subject), crypto.SignerOpts(crypto.Hash(0))
	if p.algorithm == ECDSAP256 {
		digest := sha256.Sum256(msg)
		msg, opts = digest[:], crypto.SHA256
	}
	return Approval{p.name, must(p.key.Sign(nil, msg, opts))}
}

// log is a fold under test.
type log struct {
	t     *testing.T
	rows  book.Memory
	index uint64
}

func newLog(t *testing.T) *log {
	l := &log{t: t, rows: book.Memory{}}
	l.holds(&system.HouseCreated{Origin: origin})
	return l
}

func (l *log) holds(r entry.Record) {
	l.t.Helper()
	if err := Fold(l.rows, l.index, r); err != nil {
		l.t.Fatalf("%s: %v", r.Type(), err)
	}
	l.index++
}

// breaks demands that an entry breaks a rule and changes nothing.
func (l *log) breaks(rule, found string, r entry.Record) {
	l.t.Helper()
	before := List(l.rows)
	err := Fold(l.rows, l.index, r)
	var v *book.Violation
	if !errors.As(err, &v) || v.Rule != rule || !strings.Contains(v.Error(), found) {
		l.t.Errorf("%s: got %v, want %s about %q", r.Type(), err, rule, found)
	}
	if after := List(l.rows); len(before) != len(after) {
		l.t.Errorf("%s: a refused entry changed the officers", r.Type())
	}
}

func enrol(p *person, by ...*person) *Enrolled {
	r := &Enrolled{Algorithm: p.algorithm, Officer: p.name, Public: p.public}
	for _, b := range by {
		r.Approvals = append(r.Approvals, b.approves(ActionEnrol, r.Subject()))
	}
	return r
}

func retire(p *person, by ...*person) *Retired {
	r := &Retired{Officer: p.name}
	for _, b := range by {
		r.Approvals = append(r.Approvals, b.approves(ActionRetire, r.Subject()))
	}
	return r
}

// The operator enrols the first two; from then on nothing goes without two of
// those who are enrolled.
func TestOfficersComeAndGoByTwo(t *testing.T) {
	anna, bert, cora, dora := who("anna", Ed25519), who("bert", ECDSAP256), who("cora", Ed25519), who("dora", ECDSAP256)
	l := newLog(t)
	l.breaks("approvals", "none for the first two", enrol(anna, anna, bert))
	l.holds(enrol(anna))
	l.holds(enrol(bert))
	l.breaks("approvals", "two officers", enrol(cora))
	l.breaks("approvals", "two officers", enrol(cora, anna))
	l.breaks("approvals", "two officers", enrol(cora, anna, bert, cora))
	l.breaks("approvals", "different", enrol(cora, anna, anna))
	l.breaks("approvals", "sorted", enrol(cora, bert, anna))
	l.breaks("approvals", "enrolled", enrol(cora, anna, dora))
	l.breaks("officers-least", "1", retire(anna, anna, bert))
	l.holds(enrol(cora, anna, bert))
	l.breaks("officer-once", "bert", enrol(&person{"bert", dora.algorithm, dora.public, dora.key}, anna, bert))
	l.breaks("officer-key", "that of cora", enrol(&person{"dora", cora.algorithm, cora.public, cora.key}, anna, bert))

	// What was approved is this and nothing else.
	other := enrol(dora, anna, bert)
	other.Officer = "emil"
	l.breaks("approvals", "anna", other)
	elsewhere := enrol(dora)
	for _, p := range []*person{anna, bert} {
		elsewhere.Approvals = append(elsewhere.Approvals, p.approves(ActionRetire, elsewhere.Subject()))
	}
	l.breaks("approvals", "anna", elsewhere)

	l.holds(retire(bert, anna, bert))
	l.breaks("officer-serving", "bert", retire(bert, anna, cora))
	l.breaks("officer-serving", "emil", retire(&person{name: "emil"}, anna, cora))
	l.breaks("approvals", "enrolled", enrol(dora, anna, bert))
	l.breaks("officer-once", "bert", enrol(who("bert", Ed25519), anna, cora))
	l.holds(enrol(dora, anna, cora))
	if all := List(l.rows); len(all) != 4 || !all[1].Retired || all[3].Name != "dora" || all[3].Index != l.index-1 {
		t.Errorf("officers %+v", all)
	}
}

func TestNamesAndKeysAreChecked(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "anna-2": true, strings.Repeat("a", 32): true,
		"": false, "Anna": false, "2anna": false, "-a": false, "an na": false, "a/b": false, strings.Repeat("a", 33): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	l := newLog(t)
	bad := enrol(who("anna", Ed25519))
	bad.Officer = "Anna"
	l.breaks("officer-name", "Anna", bad)
	for _, p := range []*person{
		{"anna", Ed25519, make([]byte, 31), nil}, {"anna", ECDSAP256, make([]byte, 91), nil}, {"anna", "rsa", make([]byte, 32), nil},
		{"anna", ECDSAP256, append(slices.Clone(who("x", ECDSAP256).public), 0), nil},
	} {
		l.breaks("officer-key", "algorithm", enrol(p))
	}
}

func TestThereIsAMostOfOfficers(t *testing.T) {
	l := newLog(t)
	first, second := who("officer-00", Ed25519), who("officer-01", Ed25519)
	l.holds(enrol(first))
	l.holds(enrol(second))
	for i := 2; i < Most; i++ {
		l.holds(enrol(who(fmt.Sprintf("officer-%02d", i), Ed25519), first, second))
	}
	l.breaks("officers-most", "65", enrol(who("officer-64", Ed25519), first, second))
}

// An approval is of one log, one action and one subject.
func TestMessageIsOfOneThing(t *testing.T) {
	want := `{"action":"officer.retired","origin":"casino.example/log","subject":"anna","tag":"countroom/approval/v1"}`
	if got := string(Message(origin, ActionRetire, "anna")); got != want {
		t.Errorf("%s", got)
	}
	if got := Message(origin, ActionRetire, `an "na`); got != nil {
		t.Errorf("a subject that has no plain form gave %s", got)
	}
}

func FuzzRecords(f *testing.F) {
	anna, bert, cora := who("anna", Ed25519), who("bert", ECDSAP256), who("cora", Ed25519)
	for _, r := range []entry.Record{enrol(anna), enrol(cora, anna, bert), retire(cora, anna, bert)} {
		r.Head().ID = entry.NewUUID([16]byte{1})
		r.Head().Request = entry.Request{Key: [32]byte{1}}
		f.Add(must(entry.Append(nil, r)))
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		for _, r := range []entry.Record{new(Enrolled), new(Retired)} {
			if entry.Decode(leaf, r) != nil {
				continue
			}
			if again, err := entry.Append(nil, r); err != nil || string(again) != string(leaf) {
				t.Errorf("written again it is %s, %v", again, err)
			}
			l := newLog(t)
			l.holds(enrol(anna))
			l.holds(enrol(bert))
			if err := Fold(l.rows, l.index, r); err != nil && !errors.Is(err, book.ErrBroken) {
				t.Errorf("%v", err)
			}
		}
	})
}
