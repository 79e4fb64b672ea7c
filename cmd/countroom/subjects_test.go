package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/regulator/disclosure"
	"countroom/regulator/verify"
)

// put sends a PUT of the operator's and returns the answer, which must be a 201.
func (s *server) put(path, key, body string) []byte {
	s.t.Helper()
	req, err := http.NewRequest("PUT", "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token("operator"))
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	return s.answered(req, http.StatusCreated)
}

func (s *server) read(path string, want int) []byte {
	s.t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token("operator"))
	return s.answered(req, want)
}

func (s *server) answered(req *http.Request, want int) []byte {
	s.t.Helper()
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		s.t.Fatalf("%s %s: %d %s, %v; want %d", req.Method, req.URL.Path, resp.StatusCode, b, err, want)
	}
	return b
}

func (s *server) standStill() {
	s.t.Helper()
	if err := s.signal(syscall.SIGTERM); err != nil {
		s.t.Fatalf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// vaultOf changes rows of the vault of a house that stands, as somebody might who has
// its disk.
func vaultOf(t *testing.T, dir string, change func(rows map[string][]byte) map[string][]byte) {
	t.Helper()
	st, err := pebble.Open(filepath.Join(dir, "store"), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]byte{}
	err = r.ScanVault(nil, func(row store.Row) error {
		rows[string(row.Key)] = append([]byte{}, row.Value...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	prev := st.Head()
	next := prev
	next.At++
	var list []store.Row
	for key, value := range change(rows) {
		list = append(list, store.Row{Key: []byte(key), Value: value})
	}
	if err := st.Commit(t.Context(), &store.Batch{Prev: prev, Next: next, Vault: list}); err != nil {
		t.Fatal(err)
	}
}

// A player is recorded, shown and disclosed, and erased by two officers. What was taken
// from the vault without them is missed. The house wraps its vault anew twice, and then
// its back-ups from before bring nobody back, with the keys it has by then.
func TestAPlayerIsErasedForGood(t *testing.T) {
	s := newServer(t)
	s.start()
	c := &ceremony{t: t, dir: t.TempDir(), data: s.dir}
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
		c.does("", "officers", "enrol", name+".pub", "--data", c.data)
	}
	operator := s.token("operator")
	post := func(path, key, body string) {
		t.Helper()
		if status, answer := s.post(s.client, path, operator, key, body); status != 201 {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
	}
	post("/v1/players", "ann", `{"id":"ann","currency":"EUR"}`)
	post("/v1/players", "bob", `{"id":"bob","currency":"EUR"}`)
	s.put("/v1/players/ann/subject", "ann's", `{"values":{"name":"Ann Example","email":"ann@example.org"}}`)
	again := s.put("/v1/players/ann/subject", "ann's", `{"values":{"email":"ann@example.org","name":"Ann Example"}}`)
	var recorded struct{ Leaf struct{ Player string } }
	if err := json.Unmarshal(again, &recorded); err != nil {
		t.Fatal(err)
	}
	ann := recorded.Leaf.Player
	var shown struct {
		Player     string
		Attributes []struct{ Attribute, State, Value string }
	}
	if err := json.Unmarshal(s.read("/v1/players/ann/subject", 200), &shown); err != nil || shown.Player != ann || len(shown.Attributes) != 2 || shown.Attributes[1].Value != "Ann Example" || shown.Attributes[1].State != "present" {
		t.Errorf("%+v, %v", shown, err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "bob.json"), []byte(`{"name":"Bob Example","kyc":"passed"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.does("bob.answer", "subjects", "record", "bob", "bob.json", "--data", c.data)
	if out := c.does("", "subjects", "show", "bob", "--data", c.data); !strings.Contains(out, "name  entry") || !strings.Contains(out, "present  Bob Example") {
		t.Errorf("bob is shown as\n%s", out)
	}
	for text, want := range map[string]string{`{"name":"Bob","name":"Rob"}`: "each name once", "{\"name\":\"B\xf6b\"}": "valid UTF-8", `{"name":""}`: "expected 1 to 1024"} {
		if err := os.WriteFile(filepath.Join(c.dir, "bad.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.refused(want, "subjects", "record", "bob", "bad.json", "--data", c.data)
	}
	c.refused("expected a player's id", "subjects", "show", "--data", c.data)
	c.refused("unknown player", "subjects", "show", "nobody", "--data", c.data)

	// What is disclosed opens what the log has.
	c.does("", "subjects", "disclose", "ann", "-o", "ann.jsonl", "--data", c.data)
	c.does("all.jsonl", "subjects", "disclose", "-o", "-", "--data", c.data)
	bob := entry.Ref{}
	if who, ok := strings.CutPrefix(c.does("", "subjects", "show", "bob", "--data", c.data), "player "); !ok {
		t.Fatal(who)
	} else if bob, _ = house.ParseRef(who[:32]); bob == (entry.Ref{}) {
		t.Fatal(who)
	}
	if r := s.discloses(filepath.Join(c.dir, "all.jsonl")); !r.OK() || r.Players != 2 || r.Present != 4 {
		t.Errorf("all that is disclosed: %+v", r)
	}
	annRef, err := house.ParseRef(ann)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.discloses(filepath.Join(c.dir, "ann.jsonl"), annRef); !r.OK() || r.Present != 2 {
		t.Errorf("what is disclosed of ann: %+v", r)
	}
	if r := s.discloses(filepath.Join(c.dir, "ann.jsonl"), annRef, bob); r.OK() || r.Missing != 2 {
		t.Errorf("bob in a disclosure of ann: %+v", r)
	}
	first := filepath.Join(c.dir, "first.backup")
	mustRun(t, "backup", "--data", s.dir, "-o", first)

	// Two officers erase ann.
	c.refused("whose account is closed", "subjects", "erase", "ann", "--data", c.data)
	post("/v1/players/ann/state", "close", `{"state":"closed","reason":"she wants to be forgotten"}`)
	c.does("", "officers", "submit", c.proposed("ann"), "anna.approval", "berta.approval", "--data", c.data)
	s.read("/v1/players/ann", 404)
	s.read("/v1/players/ann/subject", 404)
	if out := c.does("", "subjects", "show", "--ref", ann, "--data", c.data); !strings.Contains(out, "erased (entry ") || strings.Contains(out, "Ann") {
		t.Errorf("ann is shown as\n%s", out)
	}
	audit := c.does("", "subjects", "audit", "--data", c.data)
	if !strings.Contains(audit, "player "+ann+"  2 erased (entry ") || !strings.Contains(audit, "2 players: 2 values present, 2 erased, 0 missing") {
		t.Errorf("audit:\n%s", audit)
	}
	c.does("", "subjects", "disclose", "-o", "after.jsonl", "--data", c.data)
	if r := s.discloses(filepath.Join(c.dir, "after.jsonl")); !r.OK() || r.Present != 2 || r.Erased != 2 {
		t.Errorf("after the erasure: %+v", r)
	}
	if r := s.discloses(filepath.Join(c.dir, "all.jsonl")); r.OK() || r.NotErased != 2 {
		t.Errorf("what somebody kept: %+v", r)
	}
	post("/v1/players", "another ann", `{"id":"ann","currency":"EUR"}`) // is nobody's heir
	if err := json.Unmarshal(s.read("/v1/players/ann/subject", 200), &shown); err != nil || shown.Player == ann || len(shown.Attributes) != 0 {
		t.Errorf("%+v, %v", shown, err)
	}

	// A row that somebody takes away is no erasure.
	s.standStill()
	var taken string
	var kept []byte
	vaultOf(t, s.dir, func(rows map[string][]byte) map[string][]byte {
		for key, value := range rows {
			if strings.HasPrefix(key, "vault/value/") {
				taken, kept = key, value
				return map[string][]byte{key: nil}
			}
		}
		t.Fatal("no value is in the vault")
		return nil
	})
	s.start()
	c.refused("MISSING in the vault", "subjects", "audit", "--data", c.data)
	c.refused("MISSING in the vault", "subjects", "show", "bob", "--data", c.data)
	s.standStill()
	vaultOf(t, s.dir, func(map[string][]byte) map[string][]byte { return map[string][]byte{taken: kept} })
	s.start()
	c.does("", "subjects", "audit", "--data", c.data)

	// The period before is at hand after one turn, and gone after two.
	restored := func(name, backup string, lost bool) *server {
		t.Helper()
		r := newServer(t)
		out := mustRun(t, "restore", backup, "--data", r.dir, "--keys", filepath.Join(s.dir, "keys"))
		if strings.Contains(out, "LOST") != lost {
			t.Errorf("%s: %s", name, out)
		}
		return r
	}
	turn := func(period int) {
		t.Helper()
		if out := c.does("", "subjects", "rewrap", "--data", c.data); !strings.HasPrefix(out, fmt.Sprintf("period %d of the vault began", period)) || !strings.Contains(out, "the keys of 2 players") {
			t.Errorf("rewrap: %s", out)
		}
	}
	turn(1)
	restored("after one turn", first, false)
	turn(2)
	second := filepath.Join(c.dir, "second.backup")
	mustRun(t, "backup", "--data", s.dir, "-o", second)
	s.standStill()
	old := restored("after two turns", first, true)
	old.start()
	for _, id := range []string{"ann", "bob"} {
		if answer := old.read("/v1/players/"+id+"/subject", 409); !strings.Contains(string(answer), "player-lost") {
			t.Errorf("%s of a period that is over: %s", id, answer)
		}
	}
	oc := &ceremony{t: t, dir: c.dir, data: old.dir}
	oc.refused("MISSING in the vault", "subjects", "audit", "--data", oc.data)
	old.verify()
	old.standStill()

	fresh := restored("a back-up of this period", second, false)
	fresh.start()
	if err := json.Unmarshal(fresh.read("/v1/players/bob/subject", 200), &shown); err != nil || len(shown.Attributes) != 2 || shown.Attributes[1].Value != "Bob Example" {
		t.Errorf("%+v, %v", shown, err)
	}
	fresh.verify()
	fresh.standStill()

	// The keys of the periods that are over are in no file.
	b, err := os.ReadFile(filepath.Join(s.dir, "keys", "vault-period.key"))
	if err != nil || !strings.HasPrefix(string(b), "1 ") {
		t.Errorf("vault-period.key is %q, %v", b, err)
	}
	if info, err := os.Stat(filepath.Join(s.dir, "keys", "vault-period.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if list, err := filepath.Glob(filepath.Join(s.dir, "keys", ".*")); err != nil || len(list) > 0 {
		t.Errorf("%q is left, %v", list, err)
	}
}

// discloses holds a disclosure against the published log.
func (s *server) discloses(file string, only ...entry.Ref) *disclosure.Report {
	s.t.Helper()
	src, err := verify.HTTP("http://"+s.addr, s.token("regulator"))
	if err != nil {
		s.t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		s.t.Fatal(err)
	}
	check := disclosure.New(only...)
	report, err := verify.Log(s.t.Context(), src, verify.Options{VKey: strings.TrimSpace(string(vkey)), Subjects: check.Entry})
	if err != nil || !report.OK() {
		s.t.Fatalf("%v, %+v", err, report)
	}
	f, err := os.Open(file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := disclosure.Read(f, check.Line); err != nil {
		s.t.Fatal(err)
	}
	return check.Report()
}

// proposed has officers approve of a player's erasure, and names the proposal.
func (c *ceremony) proposed(id string) string {
	c.t.Helper()
	c.does("erase.proposal", "subjects", "erase", id, "--data", c.data)
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".approval", "officers", "approve", "erase.proposal", "--officer", name, "--key", "file:"+name+".pem")
	}
	return "erase.proposal"
}

// verify checks the whole log as an outsider would.
func (s *server) verify() {
	s.t.Helper()
	if r := s.verifyWith(); !r.OK() {
		s.t.Errorf("%+v", r.Findings)
	}
}
