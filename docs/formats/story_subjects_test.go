package formats_test

import (
	"encoding/hex"
	"fmt"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger/entry"
	"countroom/ledger/wallet"
)

// known is a value of a subject with its opening, and what the house keeps in its
// vault.
type known struct {
	Player     string `json:"player"`
	Index      uint64 `json:"index"` // of the entry
	Attribute  string `json:"attribute"`
	Salt       string `json:"salt"`
	Value      string `json:"value"`
	Commitment string `json:"commitment"`
}

// subjects tell who they are. One leaves the house, and nobody can tell any more
// who he was.
func (s *story) subjects() {
	s.t.Helper()
	other := entry.Ref(fixed16("player 4232"))
	created := &players.Created{Currency: "EUR", Player: other}
	s.byOperator(created, "new-2", "/v1/players", `{"currency":"EUR","id":"bob"}`)
	s.knows(s.player, "alice", "subject-1", "birth-date", "1984-07-21", "kyc", "refer", "name", "Alice Quayside")
	s.knows(other, "bob", "subject-2", "name", "Bob Mill")
	s.add(&subjects.Rewrapped{Period: 1, Subjects: 2})
	s.knows(s.player, "alice", "subject-3", "kyc", "passed")
	changed := &players.StateChanged{Player: other, Reason: s.because("he asked to be forgotten"), State: players.Closed}
	s.byOperator(changed, "state-2", "/v1/players/bob/state", `{"reason":"he asked to be forgotten","state":"closed"}`)
	s.approve(&subjects.Erased{Commitments: 1, Player: other}, "erase", "agnes", "bertram")
	s.add(&subjects.Rewrapped{Period: 2, Subjects: 1})
}

func (s *story) knows(ref entry.Ref, id, key string, pairs ...string) {
	s.t.Helper()
	r := &subjects.Recorded{Player: ref}
	body := ""
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		salt := fixed("salt of " + id + " " + name + " " + value)
		c := subjects.Commit(name, salt, value)
		r.Attributes = append(r.Attributes, subjects.Value{Commitment: c, Name: name})
		s.known = append(s.known, known{ref.String(), s.builder.Size(), name, hex.EncodeToString(salt[:]), value, hex.EncodeToString(c[:])})
		body += fmt.Sprintf(`,"%s":"%s"`, name, value)
	}
	s.byOperator(r, key, "/v1/players/"+id+"/subject", `{"values":{`+body[1:]+`}}`)
}

// leaving is a player of a town with officers who is known, and whose account is
// empty and closed.
func (t *town) leaving() {
	t.Officers()
	t.leaver = t.Register("EUR")
	t.Record(t.leaver, "kyc", "passed", "name", "Maud Lampwick")
	t.Record(t.leaver, "kyc", "refer")
	t.Change(t.leaver, players.Closed)
}

func (t *town) gone() { t.leaving(); t.Erase(t.leaver, "anna", "berta") }

// subjectFrauds are those of a house that lets what it knows vanish.
var subjectFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"something is known of somebody who was erased", func(t *town) { t.gone(); t.Record(t.leaver, "name", "x") }, "player-state"},
	{"attributes in another order", func(t *town) { t.Record(t.who[0], "name", "x", "kyc", "y") }, "subject-attribute"},
	{"an attribute with a capital letter", func(t *town) { t.Record(t.who[0], "Name", "x") }, "subject-attribute"},
	{"an entry that records nothing", func(t *town) {
		with(t, func(r *subjects.Recorded) { r.Attributes = nil }, func() { t.Record(t.who[0], "name", "x") })
	}, "subject-attribute"},
	{"a commitment stands for a new value", func(t *town) {
		first := t.Record(t.who[0], "name", "x")[0]
		with(t, func(r *subjects.Recorded) { r.Attributes[0].Commitment = subjects.Commit("name", first.Salt, "x") }, func() { t.Record(t.who[0], "name", "y") })
	}, "subject-commitment"},
	{"an attribute too many", func(t *town) {
		for i := range subjects.Most + 1 {
			t.Record(t.who[0], fmt.Sprint("a", i), "x")
		}
	}, "subject-most"},
	{"a player is erased by one officer", func(t *town) { t.leaving(); t.Erase(t.leaver, "anna") }, "approvals"},
	{"a player who still plays is erased", func(t *town) { t.Officers(); t.Erase(t.who[0], "anna", "berta") }, "player-state"},
	{"a player is erased with his money", func(t *town) {
		t.Officers()
		t.Change(t.who[0], players.Closed)
		t.Erase(t.who[0], "anna", "berta")
	}, "subject-money"},
	{"a player is erased twice", func(t *town) { t.gone(); t.Erase(t.leaver, "anna", "berta") }, "player-state"},
	{"an erasure hides a commitment", func(t *town) {
		t.leaving()
		r := &subjects.Erased{Commitments: 2, Player: t.leaver.Ref}
		t.Approve(r, "anna", "berta")
		t.Append(r)
	}, "subject-commitments"},
	{"somebody who was erased comes back", func(t *town) { t.gone(); t.Change(t.leaver, players.Open) }, "player-state"},
	{"somebody who was erased gets a session", func(t *town) { t.gone(); t.Open(t.leaver) }, "session-player"},
	{"a session of somebody who was erased is closed", func(t *town) {
		t.Officers()
		p := t.who[0]
		t.Withdraw(p, wallet.Balance(t.Rows(), wallet.Cash(p.Ref), "EUR"))
		t.Change(p, players.Closed)
		t.Erase(p, "anna", "berta")
		t.Close(p)
	}, "player-state"},
	{"a player becomes nobody without officers", func(t *town) { t.Change(t.who[0], players.Erased) }, "player-state"},
	{"a period of the vault comes again", func(t *town) { t.Rewrap(); t.Append(&subjects.Rewrapped{Period: 1, Subjects: 3}) }, "vault-period"},
	{"the vault keeps the key of somebody who was erased", func(t *town) { t.gone(); t.Append(&subjects.Rewrapped{Period: 1, Subjects: 4}) }, "vault-subjects"},
	{"the operator has the vault wrapped", func(t *town) {
		with(t, func(r *subjects.Rewrapped) { r.Actor = "operator" }, func() { t.Rewrap() })
	}, "actor"},
}
