package subjects_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
)

const origin = "casino.example/log"

var (
	ann = entry.Ref{0xaa}
	bob = entry.Ref{0xbb}
	eve = entry.Ref{0xee} // was never created
)

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// log is a fold under test.
type log struct {
	t     testing.TB
	rows  book.Memory
	index uint64
}

func (l *log) fold(r entry.Record) error {
	for _, fold := range []func() error{
		func() error { return officers.Fold(l.rows, l.index, r) },
		func() error { return wallet.Fold(l.rows, r) },
		func() error { return players.Fold(l.rows, r) },
		func() error { return subjects.Fold(l.rows, l.index, r) },
	} {
		if err := fold(); err != nil {
			return err
		}
	}
	l.index++
	return nil
}

func (l *log) holds(r entry.Record) {
	l.t.Helper()
	if err := l.fold(r); err != nil {
		l.t.Fatalf("%s: %v", r.Type(), err)
	}
}

// breaks demands that an entry breaks a rule and changes no row.
func (l *log) breaks(rule, found string, r entry.Record) {
	l.t.Helper()
	before := written(l.t, l.rows)
	err := l.fold(r)
	var v *book.Violation
	if !errors.As(err, &v) || v.Rule != rule || !strings.Contains(v.Error(), found) {
		l.t.Errorf("%s: got %v, want %s about %q", r.Type(), err, rule, found)
	}
	if after := written(l.t, l.rows); after != before {
		l.t.Errorf("%s: a refused entry changed the rows from\n%s\nto\n%s", r.Type(), before, after)
	}
}

// written gives the rows of the book as stored.
func written(t testing.TB, rows book.Memory) string {
	t.Helper()
	var b strings.Builder
	for _, k := range []string{subjects.StateKey, subjects.Key(ann), subjects.Key(bob), subjects.Key(eve)} {
		row := rows.Get(k)
		if row == nil {
			continue
		}
		stored, err := entry.AppendObject(nil, row)
		if err == nil {
			_, err = subjects.Kinds.Decode(k, stored)
		}
		if err != nil {
			t.Fatalf("row %s: %v", k, err)
		}
		fmt.Fprintf(&b, "%s %s\n", k, stored)
	}
	return b.String()
}

// newLog has two officers and two players: Ann, and Bob who has ten euros.
func newLog(t testing.TB) *log {
	l := &log{t: t, rows: book.Memory{}}
	l.holds(&system.HouseCreated{Origin: origin})
	for _, name := range []string{"anna", "bert"} {
		l.holds(&officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: key(name).Public().(ed25519.PublicKey)})
	}
	l.holds(&players.Created{Currency: "EUR", Player: ann})
	l.holds(&players.Created{Currency: "EUR", Player: bob})
	l.moves(bob, 10)
	return l
}

func (l *log) moves(player entry.Ref, amount int64) {
	l.t.Helper()
	m := money.Money{Amount: max(amount, -amount), Currency: "EUR"}
	from, to := wallet.Cashier, wallet.Cash(player)
	if amount < 0 {
		from, to = to, from
	}
	postings, err := wallet.Transfer(l.rows, from, to, m)
	if err != nil {
		l.t.Fatal(err)
	}
	movement := wallet.Movement{Amount: m, Player: player, Postings: postings}
	if amount < 0 {
		l.holds(&wallet.Withdrawn{Movement: movement})
	} else {
		l.holds(&wallet.Deposited{Movement: movement})
	}
}

// recorded is an entry of attributes, each with a commitment of its own text.
func recorded(player entry.Ref, values ...string) *subjects.Recorded {
	r := &subjects.Recorded{Player: player}
	for _, v := range values {
		attribute, value, _ := strings.Cut(v, "=")
		r.Attributes = append(r.Attributes, subjects.Value{Name: attribute, Commitment: subjects.Commit(attribute, [32]byte{1}, value)})
	}
	return r
}

func closed(player entry.Ref) *players.StateChanged {
	return &players.StateChanged{Player: player, State: players.Closed}
}

func erased(player entry.Ref, commitments uint64, by ...string) *subjects.Erased {
	r := &subjects.Erased{Commitments: commitments, Player: player}
	for _, name := range by {
		msg := officers.Message(origin, subjects.ActionErase, r.Subject())
		r.Approvals = append(r.Approvals, officers.Approval{Officer: name, Signature: ed25519.Sign(key(name), msg)})
	}
	return r
}

// What is known of Bob grows and changes; in the end he leaves, and is forgotten.
func TestASubjectIsRecordedAndErased(t *testing.T) {
	l := newLog(t)
	l.holds(recorded(bob, "kyc=refer", "name=Bob Smith"))
	l.holds(recorded(bob, "birth-date=1990-02-03", "kyc=passed"))
	l.holds(recorded(ann, "name=Ann Jones"))
	s := subjects.Find(l.rows, bob)
	if s.Commitments != 4 || len(s.Attributes) != 3 || s.Attributes[0].Name != "birth-date" || s.Attributes[1].Index != 7 || s.Attributes[2].Index != 6 ||
		s.Attributes[1].Commitment != subjects.Commit("kyc", [32]byte{1}, "passed") {
		t.Errorf("%+v", s)
	}
	l.breaks("subject-commitment", "entry 7", recorded(bob, "kyc=passed"))
	l.holds(recorded(bob, "kyc=refer")) // what it was before may come again

	l.breaks("player-state", "open", erased(bob, 5, "anna", "bert"))
	l.holds(closed(bob))
	l.breaks("subject-money", "10", erased(bob, 5, "anna", "bert"))
	l.moves(bob, -10)
	l.breaks("subject-commitments", "found 4", erased(bob, 4, "anna", "bert"))
	l.breaks("approvals", "two officers", erased(bob, 5, "anna"))
	other := erased(ann, 5, "anna", "bert")
	other.Player = bob
	l.breaks("approvals", "anna", other)
	if now := subjects.Now(l.rows); now.Live != 2 {
		t.Errorf("before it %+v", now)
	}
	at := l.index
	l.holds(erased(bob, 5, "anna", "bert"))
	if now, s := subjects.Now(l.rows), subjects.Find(l.rows, bob); now.Live != 1 || s.Erased != at || s.Commitments != 5 || len(s.Attributes) != 3 {
		t.Errorf("after it %+v, %+v", now, s)
	}

	// He is nobody now.
	for _, r := range []entry.Record{recorded(bob, "name=Bob"), erased(bob, 5, "anna", "bert"), closed(bob), &players.StateChanged{Player: bob, State: players.Open}} {
		l.breaks("player-state", "erased", r)
	}
	l.breaks("player-once", "", &players.Created{Currency: "EUR", Player: bob})
	l.breaks("session-player", "erased", &players.SessionOpened{Expires: 9, Game: "g", Player: bob})
	for _, may := range []func(book.Reader, entry.Ref) (*players.Player, error){players.MayPlay, players.MayWithdraw, players.Present} {
		if _, err := may(l.rows, bob); !errors.Is(err, players.ErrErased) {
			t.Error(err)
		}
	}
	if p, err := players.Find(l.rows, bob); err != nil || p.State != players.Erased || p.Currency != "EUR" {
		t.Errorf("%+v, %v", p, err)
	}

	// Who never told anything of himself can be erased as well.
	l.holds(&players.Created{Currency: "EUR", Player: eve})
	l.holds(closed(eve))
	l.holds(erased(eve, 0, "anna", "bert"))
	if s := subjects.Find(l.rows, eve); s.Erased == 0 || s.Commitments != 0 {
		t.Errorf("%+v", s)
	}
}

// Nobody makes a player a nobody by the way of his account's state, and nobody
// closes a session of one who is.
func TestErasedIsNoStateOfAnAccount(t *testing.T) {
	l := newLog(t)
	l.breaks("player-state", "no such state", &players.StateChanged{Player: ann, State: players.Erased})
	id := entry.NewUUID([16]byte{7})
	l.holds(&players.SessionOpened{Header: entry.Header{ID: id}, Expires: 9, Game: "g", Player: ann})
	l.holds(closed(ann))
	l.holds(erased(ann, 0, "anna", "bert"))
	l.breaks("player-state", "erased", &players.SessionClosed{Player: ann, Session: id})
}

func TestWhatCanBeRecorded(t *testing.T) {
	l := newLog(t)
	l.breaks("player-state", "unknown", recorded(eve, "name=Eve"))
	l.breaks("player-state", "unknown", erased(eve, 0, "anna", "bert"))
	l.breaks("subject-attribute", "none", recorded(ann))
	l.breaks("subject-attribute", "name and kyc", recorded(ann, "name=Ann", "kyc=passed"))
	l.breaks("subject-attribute", "name and name", recorded(ann, "name=Ann", "name=Anna"))
	for _, name := range []string{"", "Name", "2nd", "-a", "first name", "a/b", "é", strings.Repeat("a", 33)} {
		l.breaks("subject-attribute", "letter first", recorded(ann, name+"=x"))
	}
	var all []string
	for i := range subjects.Most {
		all = append(all, fmt.Sprintf("a%02d=x", i))
	}
	l.holds(recorded(ann, all...))
	l.breaks("subject-most", "33", recorded(ann, "b=x"))
	l.holds(recorded(ann, "a00=y"))
	if s := subjects.Find(l.rows, ann); s.Commitments != subjects.Most+1 || len(s.Attributes) != subjects.Most {
		t.Errorf("%+v", s)
	}
	for value, ok := range map[string]bool{
		"x": true, "Zoë 王": true, strings.Repeat("x", subjects.ValueMost): true,
		"": false, strings.Repeat("x", subjects.ValueMost+1): false, "a\x00b": false, "\xff": false,
	} {
		if err := subjects.CheckValue(value); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPeriodsOfTheVault(t *testing.T) {
	l := newLog(t)
	l.breaks("vault-period", "found 0", &subjects.Rewrapped{Subjects: 2})
	l.breaks("vault-period", "found 2", &subjects.Rewrapped{Period: 2, Subjects: 2})
	l.breaks("vault-subjects", "2 subjects", &subjects.Rewrapped{Period: 1, Subjects: 3})
	l.holds(&subjects.Rewrapped{Period: 1, Subjects: 2})
	l.breaks("vault-period", "found 1", &subjects.Rewrapped{Period: 1, Subjects: 2})
	l.holds(closed(ann))
	l.holds(erased(ann, 0, "anna", "bert"))
	l.breaks("vault-subjects", "found 2", &subjects.Rewrapped{Period: 2, Subjects: 2})
	l.holds(&subjects.Rewrapped{Period: 2}) // one has been lost, and it is said
	if now := subjects.Now(l.rows); now != (subjects.State{Live: 1, Period: 2}) {
		t.Errorf("%+v", now)
	}
}

// The commitment is of these bytes: docs/formats/vault.md.
func TestCommitment(t *testing.T) {
	salt := [32]byte{31: 1}
	sum := sha256.Sum256([]byte("\x00\x00\x00\x14countroom/subject/v1\x00\x00\x00\x04name\x00\x00\x00\x20" + string(salt[:]) + "\x00\x00\x00\x09Ann Jones"))
	got := subjects.Commit("name", salt, "Ann Jones")
	if got != sum {
		t.Errorf("%x", got)
	}
	for _, other := range [][32]byte{subjects.Commit("names", salt, "Ann Jones"), subjects.Commit("name", [32]byte{}, "Ann Jones"), subjects.Commit("name", salt, "Ann Jone")} {
		if other == got {
			t.Error("another opening gave the same commitment")
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, r := range []entry.Record{recorded(ann, "kyc=refer", "name=Ann"), erased(ann, 0, "anna", "bert"), &subjects.Rewrapped{Period: 1, Subjects: 2}} {
		r.Head().ID = entry.NewUUID([16]byte{1})
		if r.Type() != "vault.rewrapped" {
			r.Head().Request = entry.Request{Key: [32]byte{1}}
		}
		leaf, err := entry.Append(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf)
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		for _, r := range []entry.Record{new(subjects.Recorded), new(subjects.Erased), new(subjects.Rewrapped)} {
			if entry.Decode(leaf, r) != nil {
				continue
			}
			if again, err := entry.Append(nil, r); err != nil || string(again) != string(leaf) {
				t.Errorf("written again it is %s, %v", again, err)
			}
			l := newLog(t)
			if err := l.fold(r); err != nil && !errors.Is(err, book.ErrBroken) {
				t.Error(err)
			}
			written(t, l.rows)
		}
	})
}
