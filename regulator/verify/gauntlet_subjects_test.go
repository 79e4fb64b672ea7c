package verify

import (
	"fmt"
	"strings"
	"testing"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
	"countroom/regulator/verify/logtest"
)

// A house that lets what it knows of people vanish, and calls it erasure; that
// goes on with somebody who is erased; or says too much of its vault.

func init() { contradictions = append(contradictions, subjectFrauds...) }

// leaving is a player who is known, has no money left, and whose account is
// closed, in a town with officers.
func (t *town) leaving() logtest.Player {
	t.Officers()
	p := t.Register("EUR")
	t.Record(p, "kyc", "passed", "name", "Maud Lampwick")
	t.Record(p, "email", "maud@example.com")
	t.Change(p, players.Closed)
	return p
}

// gone is one who is erased.
func (t *town) gone() logtest.Player {
	p := t.leaving()
	t.Erase(p, "anna", "berta")
	return p
}

// erasing is an entry that erases a player, changed after the officers signed.
func (t *town) erasing(p logtest.Player, change func(*subjects.Erased), by ...string) uint64 {
	return approved(t, &subjects.Erased{Commitments: subjects.Find(t.Rows(), p.Ref).Commitments, Player: p.Ref}, change, by...)
}

// knows is an entry of attributes of the first player, whatever they are called.
func (t *town) knows(names ...string) uint64 {
	r := &subjects.Recorded{Player: t.who[0].Ref}
	r.Actor, r.Request = "operator", t.Request("operator")
	for i, name := range names {
		r.Attributes = append(r.Attributes, subjects.Value{Commitment: [32]byte{byte(i + 1)}, Name: name})
	}
	return t.Append(r)
}

var subjectFrauds = []contradiction{
	{name: "something is known of somebody who is nobody", typ: "subject.recorded", rule: "player-state", found: "unknown player",
		commit: func(t *town) uint64 { return t.Record(logtest.Player{Ref: entry.Ref{9}}, "name", "x")[0].Index }},
	{name: "something is known of somebody who was erased", typ: "subject.recorded", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.gone(); return t.Record(p, "name", "x")[0].Index }},
	{name: "the house records a name by itself", typ: "subject.recorded", rule: "actor", expected: "operator",
		commit: func(t *town) uint64 {
			return with(t, func(r *subjects.Recorded) { r.Actor = "house" }, func() { t.knows("name") })
		}},
	{name: "an entry that records nothing", typ: "subject.recorded", rule: "subject-attribute", found: "none",
		commit: func(t *town) uint64 { return t.knows() }},
	{name: "a name in the place of an attribute's", typ: "subject.recorded", rule: "subject-attribute", found: "Maud Lampwick",
		commit: func(t *town) uint64 { return t.knows("Maud Lampwick") }},
	{name: "two values of one attribute at once", typ: "subject.recorded", rule: "subject-attribute", found: "name and name",
		commit: func(t *town) uint64 { return t.knows("name", "name") }},
	{name: "attributes in another order", typ: "subject.recorded", rule: "subject-attribute", expected: "rising",
		commit: func(t *town) uint64 { return t.knows("name", "kyc") }},
	{name: "more attributes than there may be", typ: "subject.recorded", rule: "subject-most", found: "33",
		commit: func(t *town) uint64 {
			names := make([]string, subjects.Most)
			for i := range names {
				names[i] = fmt.Sprintf("a%02d", i)
			}
			t.knows(names...)
			return t.knows("zzz")
		}},
	{name: "an old commitment passes for a new value", typ: "subject.recorded", rule: "subject-commitment", expected: "another commitment",
		commit: func(t *town) uint64 { t.knows("name"); return t.knows("name") }},

	{name: "a player is erased by one officer", typ: "subject.erased", rule: "approvals", found: "1",
		commit: func(t *town) uint64 { p := t.leaving(); return t.Erase(p, "anna") }},
	{name: "a player is erased by nobody", typ: "subject.erased", rule: "approvals", found: "0",
		commit: func(t *town) uint64 { p := t.leaving(); return t.Erase(p) }},
	{name: "another player is erased than the officers approved of", typ: "subject.erased", rule: "approvals", expected: "subject.erased of player",
		commit: func(t *town) uint64 {
			p, other := t.leaving(), t.Register("EUR")
			t.Record(other, "email", "x", "kyc", "y", "name", "z")
			t.Change(other, players.Closed)
			return t.erasing(p, func(r *subjects.Erased) { r.Player = other.Ref }, "anna", "berta")
		}},
	{name: "the operator erases a player in the officers' name", typ: "subject.erased", rule: "actor", expected: "officer/anna",
		commit: func(t *town) uint64 {
			p := t.leaving()
			return t.erasing(p, func(r *subjects.Erased) { r.Actor = "operator" }, "anna", "berta")
		}},
	{name: "a player who still plays is erased", typ: "subject.erased", rule: "player-state", found: "open",
		commit: func(t *town) uint64 { t.Officers(); return t.Erase(t.who[0], "anna", "berta") }},
	{name: "a suspended player is erased", typ: "subject.erased", rule: "player-state", found: "suspended",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Change(t.who[0], players.Suspended)
			return t.Erase(t.who[0], "anna", "berta")
		}},
	{name: "somebody is erased who never was", typ: "subject.erased", rule: "player-state", found: "unknown",
		commit: func(t *town) uint64 {
			t.Officers()
			return t.Erase(logtest.Player{Ref: entry.Ref{9}}, "anna", "berta")
		}},
	{name: "a player is erased twice", typ: "subject.erased", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.gone(); return t.Erase(p, "anna", "berta") }},
	{name: "a player is erased with his money", typ: "subject.erased", rule: "subject-money", expected: "nothing",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Change(t.who[0], players.Closed)
			return t.Erase(t.who[0], "anna", "berta")
		}},
	{name: "an erasure hides a commitment", typ: "subject.erased", rule: "subject-commitments", expected: "3", found: "2",
		commit: func(t *town) uint64 {
			p := t.leaving()
			r := &subjects.Erased{Commitments: 2, Player: p.Ref}
			t.Approve(r, "anna", "berta")
			return t.Append(r)
		}},
	{name: "an erasure invents a commitment", typ: "subject.erased", rule: "subject-commitments", expected: "3", found: "4",
		commit: func(t *town) uint64 {
			p := t.leaving()
			r := &subjects.Erased{Commitments: 4, Player: p.Ref}
			t.Approve(r, "anna", "berta")
			return t.Append(r)
		}},

	{name: "somebody who was erased comes back", typ: "player.created", rule: "player-once",
		commit: func(t *town) uint64 {
			p := t.gone()
			return t.Append(&players.Created{Header: t.asked(), Currency: "EUR", Player: p.Ref})
		}},
	{name: "the account of somebody who was erased is opened again", typ: "player.state-changed", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.gone(); return t.Change(p, players.Open) }},
	{name: "a player becomes nobody without officers", typ: "player.state-changed", rule: "player-state", found: "no such state",
		commit: func(t *town) uint64 { return t.Change(t.who[0], players.Erased) }},
	{name: "a session for somebody who was erased", typ: "session.opened", rule: "session-player", found: "erased",
		commit: func(t *town) uint64 {
			p := t.gone()
			t.Open(p)
			return t.Size() - 1
		}},
	{name: "a session of somebody who was erased is closed", typ: "session.closed", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.played(); t.Close(p); return t.Size() - 1 }},
	{name: "money for somebody who was erased", typ: "wallet.deposited", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.gone(); return t.transfer(p, 5) }},
	{name: "money from somebody who was erased", typ: "wallet.withdrawn", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.gone(); return t.transfer(p, -5) }},
	{name: "somebody who was erased plays on", typ: "round.settled", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.played(); t.Turn(); return t.settle(p) }},
	{name: "somebody who was erased sets a nonce", typ: "player.nonce-set", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 { p := t.played(); t.SetNonce(p); return t.Size() - 1 }},
	{name: "somebody who was erased saw something", typ: "round.displayed", rule: "player-state", found: "erased",
		commit: func(t *town) uint64 {
			t.Officers()
			p := t.who[0]
			t.Turn()
			shown := t.Spin(p, 100)
			t.cashOut(p)
			t.Erase(p, "anna", "berta")
			t.Show(p, shown, true)
			return t.Size() - 1
		}},

	{name: "a period of the vault is left out", typ: "vault.rewrapped", rule: "vault-period", expected: "2", found: "3",
		commit: func(t *town) uint64 {
			t.Rewrap()
			return t.Append(&subjects.Rewrapped{Period: 3, Subjects: 1})
		}},
	{name: "a period of the vault comes again", typ: "vault.rewrapped", rule: "vault-period", expected: "2", found: "1",
		commit: func(t *town) uint64 {
			t.Rewrap()
			return t.Append(&subjects.Rewrapped{Period: 1, Subjects: 1})
		}},
	{name: "the vault keeps the key of somebody who was erased", typ: "vault.rewrapped", rule: "vault-subjects", expected: "3 subjects at most", found: "4",
		commit: func(t *town) uint64 {
			t.gone()
			return t.Append(&subjects.Rewrapped{Period: 1, Subjects: 4})
		}},
	{name: "the operator has the vault wrapped", typ: "vault.rewrapped", rule: "actor", expected: "house",
		commit: func(t *town) uint64 {
			return with(t, func(r *subjects.Rewrapped) { r.Actor = "operator" }, func() { t.Rewrap() })
		}},
}

// asked is the header of an operator's request.
func (t *town) asked() entry.Header {
	return entry.Header{Actor: "operator", Request: t.Request("operator")}
}

// played is somebody who was erased and has an open session.
func (t *town) played() logtest.Player {
	t.Officers()
	p := t.who[0]
	t.cashOut(p)
	t.Erase(p, "anna", "berta")
	return p
}

// cashOut takes all that a player has, and closes his account.
func (t *town) cashOut(p logtest.Player) {
	t.transfer(p, -wallet.Balance(t.Rows(), wallet.Cash(p.Ref), "EUR"))
	t.Change(p, players.Closed)
}

// transfer moves money from the cashier to a player, or back, whatever the books
// say.
func (t *town) transfer(p logtest.Player, amount int64) uint64 {
	cash := wallet.Cash(p.Ref)
	from, to, m := wallet.Cashier, cash, money.Money{Amount: amount, Currency: "EUR"}
	if amount < 0 {
		from, to, m.Amount = to, from, -amount
	}
	left := func(account string, change int64) money.Posting {
		return money.Posting{Account: account, Amount: change, Balance: wallet.Balance(t.Rows(), account, "EUR") + change, Currency: "EUR"}
	}
	movement := wallet.Movement{Header: t.asked(), Amount: m, Player: p.Ref, Postings: []money.Posting{left(from, -m.Amount), left(to, m.Amount)}}
	if amount < 0 {
		return t.Append(&wallet.Withdrawn{Movement: movement})
	}
	return t.Append(&wallet.Deposited{Movement: movement})
}

// subjects are known, and one is erased, in the story of all types.
func (s *story) subjects() {
	p := s.Register("EUR")
	s.Record(p, "kyc", "passed", "name", "Maud Lampwick")
	s.Record(p, "kyc", "refer")
	s.Record(s.who[0], "email", "x@example.com", "name", "Nell Quayside")
	s.Record(s.who[1], "name", "Tom Mill", "phone", "+44 1")
	s.Rewrap()
	s.Change(p, players.Closed)
	s.Erase(p, "anna", "berta")
	s.Rewrap()
}

// What the vault has lost is said by the house, and told to whoever reads.
func TestAVaultThatLostKeysIsAWarning(t *testing.T) {
	h := newTown()
	h.Rewrap()
	r, err := check(t, h.House)
	mustHold(t, r, err)
	if len(r.Warnings) != 0 {
		t.Errorf("%q", r.Warnings)
	}
	h.Append(&subjects.Rewrapped{Period: 2, Subjects: 1})
	r, err = check(t, h.House)
	mustHold(t, r, err)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "period 2 of the vault has the keys of 1 of 3 subjects") {
		t.Errorf("%q", r.Warnings)
	}
}
