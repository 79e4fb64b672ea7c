package formats_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/wallet"
	"countroom/regulator/disclosure"
	"countroom/regulator/verify"
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

// disclosed is what the house can still show.
func (s *story) disclosed() (file []byte) {
	for _, k := range s.known {
		if k.Player == s.player.String() {
			l := disclosure.Line{Attribute: k.Attribute, Index: k.Index, Player: s.player, Value: k.Value}
			copy(l.Salt[:], must(hex.DecodeString(k.Salt)))
			file = l.Append(file)
		}
	}
	return file
}

// Two verifiers hold the same files against the same log.
func TestCheckersAgreeOnDisclosures(t *testing.T) {
	t.Parallel()
	vkey := strings.TrimSpace(string(read(t, "examples/log.vkey")))
	shown := string(read(t, "examples/subjects.jsonl"))
	one, _, _ := strings.Cut(shown, "\n")
	var all []known
	if err := json.Unmarshal(read(t, "vectors/subjects.json"), &all); err != nil {
		t.Fatal(err)
	}
	gone := all[slices.IndexFunc(all, func(k known) bool { return k.Value == "Bob Mill" })]
	kept := fmt.Sprintf(`{"attribute":"name","index":%d,"player":"%s","salt":"%s","value":"Bob Mill"}`, gone.Index, gone.Player, gone.Salt)
	for name, c := range map[string]struct {
		file   string
		status int
		want   string // the counts
	}{
		"all of it":       {shown, 0, `{"present": 4, "erased": 1, "missing": 0, "false": 0, "not_erased": 0}`},
		"spaced":          {strings.ReplaceAll(shown, `":`, `" : `), 0, `{"present": 4, "erased": 1, "missing": 0, "false": 0, "not_erased": 0}`},
		"one of it":       {one, 1, `{"present": 1, "erased": 1, "missing": 3, "false": 0, "not_erased": 0}`},
		"nothing":         {"", 1, `{"present": 0, "erased": 1, "missing": 4, "false": 0, "not_erased": 0}`},
		"another value":   {strings.Replace(shown, "passed", "refer", 1), 1, `{"present": 3, "erased": 1, "missing": 0, "false": 1, "not_erased": 0}`},
		"of another name": {strings.Replace(shown, `"birth-date"`, `"born"`, 1), 1, `{"present": 3, "erased": 1, "missing": 1, "false": 1, "not_erased": 0}`},
		"not erased":      {shown + kept, 1, `{"present": 4, "erased": 0, "missing": 0, "false": 0, "not_erased": 1}`},
		"said twice":      {shown + one, 2, ""},
		"an empty line":   {shown + "\n\n", 2, ""},
		"no disclosure":   {"name", 2, ""},
		"a member more":   {strings.Replace(shown, "{", `{"a":1,`, 1), 2, ""},
		"no value":        {strings.Replace(shown, "passed", "", 1), 2, ""},
	} {
		check := disclosure.New()
		if r, err := verify.Log(t.Context(), verify.Dir(os.DirFS("examples/log")), verify.Options{VKey: vkey, Subjects: check.Entry}); err != nil || !r.OK() {
			t.Fatalf("%v, %+v", err, r.Findings)
		}
		ours, status := "", 2
		if err := disclosure.Read(strings.NewReader(c.file), check.Line); err == nil {
			r := check.Report()
			ours = fmt.Sprintf(`{"present": %d, "erased": %d, "missing": %d, "false": %d, "not_erased": %d}`, r.Present, r.Erased, r.Missing, r.False, r.NotErased)
			if status = 1; r.OK() {
				status = 0
			}
		}
		path := filepath.Join(t.TempDir(), "shown.jsonl")
		write(t, path, []byte(c.file))
		out, theirs := python(t, nil, "checker/check.py", "subjects", path, "--log", "examples/log", "--vkey", "examples/log.vkey")
		if second := strings.TrimSpace(string(out)); ours != c.want || second != c.want || status != c.status || theirs != c.status {
			t.Errorf("%s: regulator/disclosure %d %s, checker %d %s, want %d %s", name, status, ours, theirs, second, c.status, c.want)
		}
	}
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

// A real house, over its store and its vault: what it shows of two people is held
// against what it published, before and after one of them is erased.
func TestCheckersAgreeOnARealVault(t *testing.T) {
	t.Parallel()
	h := housetest.Open(t, t.TempDir())
	g := &guests{t: t, h: h}
	g.arrive("guest-0", "EUR")
	g.arrive("guest-1", "EUR")
	for _, name := range []string{"agnes", "bertram"} {
		algorithm, public, _ := officer(name)
		g.must(h.Approve(t.Context(), &officers.Enrolled{Algorithm: algorithm, Officer: name, Public: public}, house.Words{}))
	}
	for id, list := range map[string][]house.Attribute{
		"guest-0": {{Name: "name", Value: "Zoë <Quayside>"}, {Name: "kyc", Value: "refer"}}, "guest-1": {{Name: "name", Value: "Bob Mill"}},
	} {
		g.must(h.RecordSubject(t.Context(), g.request("/v1/players/"+id+"/subject"), id, list))
	}
	g.must(h.RecordSubject(t.Context(), g.request("/v1/players/guest-0/subject"), "guest-0", []house.Attribute{{Name: "kyc", Value: "passed"}}))
	show := func() (file []byte) {
		err := h.Kept(t.Context(), entry.Ref{}, func(k house.Kept) error {
			if k.State == house.ValuePresent {
				file = disclosure.Line{Attribute: k.Attribute, Index: k.Index, Player: k.Player, Salt: k.Salt, Value: k.Value}.Append(file)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	before := show()
	player, err := h.Subject(t.Context(), "guest-1")
	if err != nil {
		t.Fatal(err)
	}
	g.move("withdrawals", "guest-1", 500_000)
	g.state("guest-1", players.Closed)
	erasure, err := h.Erasure(t.Context(), player.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"agnes", "bertram"} {
		_, _, sign := officer(name)
		erasure.Approvals = append(erasure.Approvals, officers.Approval{Officer: name, Signature: sign(officers.Message(housetest.Origin, erasure.Type(), erasure.Subject()))})
	}
	g.must(h.Approve(t.Context(), erasure, house.Words{}))
	if _, err := h.Rewrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := g.save()
	agree(t, ours(t, p), theirs(t, p)[0])
	dir := t.TempDir()
	for name, f := range p.files {
		write(t, filepath.Join(dir, "log", name), f.Data)
	}
	write(t, filepath.Join(dir, "vkey"), []byte(p.vkey+"\n"))
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"after the erasure": {show(), `{"present": 3, "erased": 1, "missing": 0, "false": 0, "not_erased": 0}`},
		"a copy of before":  {before, `{"present": 3, "erased": 0, "missing": 0, "false": 0, "not_erased": 1}`},
	} {
		check := disclosure.New()
		if r, err := verify.Log(t.Context(), verify.Dir(p.files), verify.Options{VKey: p.vkey, Subjects: check.Entry}); err != nil || !r.OK() || r.Subjects.Commitments != 4 || r.Subjects.Erased != 1 || r.Subjects.Period == 0 {
			t.Fatalf("%v, %+v", err, r)
		}
		if err := disclosure.Read(strings.NewReader(string(c.file)), check.Line); err != nil {
			t.Fatal(err)
		}
		r := check.Report()
		ours := fmt.Sprintf(`{"present": %d, "erased": %d, "missing": %d, "false": %d, "not_erased": %d}`, r.Present, r.Erased, r.Missing, r.False, r.NotErased)
		write(t, filepath.Join(dir, "shown"), c.file)
		out, _ := python(t, nil, "checker/check.py", "subjects", filepath.Join(dir, "shown"), "--log", filepath.Join(dir, "log"), "--vkey", filepath.Join(dir, "vkey"))
		if theirs := strings.TrimSpace(string(out)); ours != c.want || theirs != c.want {
			t.Errorf("%s: regulator/disclosure %s, checker %s", name, ours, theirs)
		}
	}
}
