package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/tlog"
	"countroom/regulator/export/archive"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	sumdb "golang.org/x/mod/sumdb/tlog"
)

const (
	operatorToken  = "operator-0123456789abcdef"
	regulatorToken = "regulator-0123456789abcdef"
	auditorToken   = "auditor-0123456789abcdef"
	game           = "lamplight-quay"
)

// world is a house that is served.
type world struct {
	t     testing.TB
	house *housetest.House
	api   *Server
	url   string
	keys  atomic.Int64
}

func open(t testing.TB, options ...func(*ledger.Config, *house.Config)) *world {
	return openIn(t, t.TempDir(), options...)
}

func openIn(t testing.TB, dir string, options ...func(*ledger.Config, *house.Config)) *world {
	h := housetest.Open(t, dir, options...)
	exports := archive.New(filepath.Join(dir, "exports"), h.Records(func() error { return nil }))
	t.Cleanup(exports.Close)
	w := &world{t: t, house: h, api: New(h.House, Options{
		Tokens: Tokens{operatorToken, regulatorToken, auditorToken}, Log: slog.New(slog.DiscardHandler), Exports: exports,
	})}
	w.api.patient = 5 * time.Minute
	server := httptest.NewUnstartedServer(nil)
	server.Config = HTTPServer(w.api)
	// The limits of time are tried by a siege. Here a machine that is slow is none.
	c := server.Config
	c.ReadHeaderTimeout, c.ReadTimeout, c.WriteTimeout, c.IdleTimeout = 5*time.Minute, 5*time.Minute, 10*time.Minute, 10*time.Minute
	server.Start()
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// answer is what a request got.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	json   map[string]any // of a JSON body
}

func (w *world) do(method, path, body string, headers ...string) *answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	a := read(w.t, resp)
	a.conforms(method, path, body)
	return a
}

func read(t testing.TB, resp *http.Response) *answer {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{t: t, status: resp.StatusCode, header: resp.Header, body: b}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && len(b) > 0 {
		if err := json.Unmarshal(b, &a.json); err != nil {
			t.Fatalf("%s: not JSON: %v: %.300s", resp.Request.URL, err, b)
		}
	}
	return a
}

func (w *world) get(path, token string) *answer {
	w.t.Helper()
	if token == "" {
		return w.do("GET", path, "")
	}
	return w.do("GET", path, "", "Authorization", "Bearer "+token)
}

// post posts under a fresh key.
func (w *world) post(path, token, body string) *answer {
	w.t.Helper()
	return w.postKey(path, token, "key "+strconv.FormatInt(w.keys.Add(1), 10), body)
}

func (w *world) postKey(path, token, key, body string) *answer {
	w.t.Helper()
	return w.do("POST", path, body, "Authorization", "Bearer "+token, "Idempotency-Key", key, "Content-Type", "application/json")
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %.500s", a.status, status, a.body)
	}
	return a
}

// refused checks that the answer is a problem.
func (a *answer) refused(status int, name, field string) *answer {
	a.t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Fatalf("status %d %s, want problem %d: %.500s", a.status, a.header.Get("Content-Type"), status, a.body)
	}
	got, _ := a.json["field"].(string)
	if a.json["type"] != "/problems/"+name || a.json["status"] != float64(status) || a.json["title"] == "" || got != field {
		a.t.Fatalf("got problem %s, want %s with field %q", a.body, name, field)
	}
	return a
}

func (a *answer) text(path ...string) string {
	a.t.Helper()
	var v any = a.json
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, ok := v.(string)
	if !ok {
		a.t.Fatalf("no text %v in %.500s", path, a.body)
	}
	return s
}

// leaf returns the bytes of the answer's leaf member, as they came.
func (a *answer) leaf() string {
	a.t.Helper()
	var v struct{ Leaf json.RawMessage }
	if err := json.Unmarshal(a.body, &v); err != nil || v.Leaf == nil {
		a.t.Fatalf("no leaf in %.500s", a.body)
	}
	return string(v.Leaf)
}

// player makes a player with money and returns a session's token.
func (w *world) player(id string, amount int64) (token string) {
	w.t.Helper()
	w.post("/v1/players", operatorToken, fmt.Sprintf(`{"id":%q,"currency":"EUR"}`, id)).want(201)
	if amount > 0 {
		w.post("/v1/players/"+id+"/deposits", operatorToken, fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, amount)).want(201)
	}
	return w.session(id).text("token")
}

func (w *world) session(id string) *answer {
	w.t.Helper()
	return w.post("/v1/sessions", operatorToken, fmt.Sprintf(`{"player":%q,"game":%q}`, id, game)).want(201)
}

func (w *world) size() uint64 { return w.house.Ledger.Signed().Size }

// accepted checks an answer's receipt by our own code and by two others'.
func (w *world) accepted(a *answer) {
	w.t.Helper()
	leaf, receipt := []byte(a.leaf()), []byte(a.text("receipt"))
	v, err := tlog.NewVerifier(w.house.Ledger.VKey())
	if err != nil {
		w.t.Fatal(err)
	}
	ours, err := tlog.ParseReceipt(receipt)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := ours.Verify(leaf, v); err != nil {
		w.t.Fatal(err)
	}

	verifier, err := note.NewVerifier(w.house.Ledger.VKey())
	if err != nil {
		w.t.Fatal(err)
	}
	var p proof.TLogProof
	if err := p.Unmarshal(receipt); err != nil {
		w.t.Fatal(err)
	}
	n, err := note.Open(p.Checkpoint, note.VerifierList(verifier))
	if err != nil {
		w.t.Fatal(err)
	}
	var origin, root string
	var size int64
	if _, err := fmt.Sscanf(n.Text, "%s\n%d\n%s\n", &origin, &size, &root); err != nil || origin != housetest.Origin {
		w.t.Fatalf("checkpoint %q: %v", n.Text, err)
	}
	rootHash, err := base64.StdEncoding.DecodeString(root)
	if err != nil || len(rootHash) != 32 {
		w.t.Fatalf("root %q: %v", root, err)
	}
	var path sumdb.RecordProof
	for _, h := range p.Hashes {
		path = append(path, sumdb.Hash(h))
	}
	if err := sumdb.CheckRecord(path, size, sumdb.Hash(rootHash), int64(p.Index), sumdb.RecordHash(leaf)); err != nil {
		w.t.Fatal(err)
	}
	if got := a.json["index"]; got != float64(p.Index) {
		w.t.Fatalf("index is %v, the receipt's %d", got, p.Index)
	}
}

func TestLifeOfAPlayer(t *testing.T) {
	w := open(t)

	created := w.post("/v1/players", operatorToken, `{"id":"Ada.1","currency":"EUR"}`).want(201)
	w.accepted(created)
	if created.text("id") != "Ada.1" || strings.Contains(created.leaf(), "Ada") {
		t.Errorf("want the id beside the leaf and not in it: %s", created.body)
	}
	deposited := w.post("/v1/players/Ada.1/deposits", operatorToken, `{"amount":10000,"currency":"EUR"}`).want(201)
	w.accepted(deposited)

	session := w.session("Ada.1")
	w.accepted(session)
	token := session.text("token")
	if session.text("id") != session.text("leaf", "id") || session.text("expires") != session.text("leaf", "expires") {
		t.Errorf("id and expires are not the leaf's: %s", session.body)
	}
	if strings.Contains(session.leaf(), token) {
		t.Error("the leaf holds the token")
	}

	balance := int64(10000)
	var round *answer
	for range 5 {
		round = w.post("/v1/spins", token, `{"stake":100}`).want(201)
		w.accepted(round)
		payout := round.json["leaf"].(map[string]any)["payout"].(map[string]any)["amount"].(float64)
		balance += int64(payout) - 100
		if got := round.json["balance"].(map[string]any)["amount"]; got != float64(balance) {
			t.Fatalf("balance %v after a round that paid %v, want %d", got, payout, balance)
		}
	}

	again := w.get("/v1/rounds/"+round.text("round"), token).want(200)
	w.accepted(again)
	if again.leaf() != round.leaf() {
		t.Errorf("the round reads\n%s\nit was answered as\n%s", again.leaf(), round.leaf())
	}
	byIndex := w.get(fmt.Sprintf("/v1/entries/%v", round.json["index"]), token).want(200)
	w.accepted(byIndex)
	if byIndex.leaf() != round.leaf() {
		t.Errorf("the entry reads\n%s", byIndex.leaf())
	}

	withdrawn := w.post("/v1/players/Ada.1/withdrawals", operatorToken, fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, balance)).want(201)
	w.accepted(withdrawn)
	got := w.get("/v1/players/Ada.1", operatorToken).want(200)
	want := `{"id":"Ada.1","balance":{"amount":0,"currency":"EUR"},"currency":"EUR","player":"` + created.text("leaf", "player") + `","state":"open"}`
	if string(got.body) != want {
		t.Errorf("the player is\n%s, want\n%s", got.body, want)
	}

	w.accepted(w.post("/v1/players/Ada.1/state", operatorToken, `{"state":"suspended","reason":"sie bat darum – für einen Monat"}`).want(201))
	w.post("/v1/spins", token, `{"stake":100}`).refused(409, "player-suspended", "")
	w.accepted(w.post("/v1/players/Ada.1/state", operatorToken, `{"state":"open","reason":"over"}`).want(201))

	closed := w.do("POST", "/v1/sessions/"+session.text("id")+"/close", "", "Authorization", "Bearer "+operatorToken, "Idempotency-Key", "c").want(201)
	w.accepted(closed)
	w.post("/v1/spins", token, `{"stake":100}`).refused(401, "session-over", "")
	w.get("/v1/rounds/"+round.text("round"), token).refused(401, "session-over", "")
	w.post("/v1/sessions/"+session.text("id")+"/close", operatorToken, `{}`).refused(409, "session-closed", "")
}

func TestHistoryByPages(t *testing.T) {
	w := open(t)
	token := w.player("pages", 1000)
	w.player("other", 1000)
	var want []string
	for i := range 7 {
		want = append([]string{w.post("/v1/spins", token, `{"stake":20}`).want(201).leaf()}, want...)
		if i%2 == 0 {
			w.post("/v1/players/pages/deposits", operatorToken, `{"amount":1,"currency":"EUR"}`).want(201)
		}
	}
	var got []string
	cursor := ""
	for pages := 0; ; pages++ {
		page := w.get("/v1/players/pages/rounds?limit=3"+cursor, operatorToken).want(200)
		var list struct {
			Items []struct {
				Index   uint64
				Leaf    json.RawMessage
				Receipt string
			}
			Next *string
		}
		if err := json.Unmarshal(page.body, &list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			got = append(got, string(item.Leaf))
			w.accepted(&answer{t: t, body: fmt.Appendf(nil, `{"leaf":%s}`, item.Leaf), json: map[string]any{"receipt": item.Receipt, "index": float64(item.Index)}})
		}
		if list.Next == nil {
			if pages != 2 {
				t.Errorf("%d pages of three hold 7 rounds", pages+1)
			}
			break
		}
		cursor = "&cursor=" + *list.Next
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rounds\n%s\nwant, newest first,\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	movements := w.get("/v1/players/pages/transactions", operatorToken).want(200)
	if n := bytes.Count(movements.body, []byte(`"type":"wallet.deposited"`)); n != 5 {
		t.Errorf("%d deposits, want 5: %s", n, movements.body)
	}
	if empty := w.get("/v1/players/other/rounds", operatorToken).want(200); string(empty.body) != `{"items":[],"next":null}` {
		t.Errorf("a player who never played has the rounds %s", empty.body)
	}
	for _, bad := range []string{"limit=0", "limit=101", "limit=x", "limit="} {
		w.get("/v1/players/pages/rounds?"+bad, operatorToken).refused(422, "invalid-value", "limit")
	}
	for _, bad := range []string{"cursor=", "cursor=7", "cursor=AAAAAAAAAAB", "cursor=AAAAAAAAAAAA", "cursor=%00"} {
		w.get("/v1/players/pages/rounds?"+bad, operatorToken).refused(422, "invalid-value", "cursor")
	}
}

func TestGamesAndTheirState(t *testing.T) {
	w := open(t)
	token := w.player("gamer", 1000)
	one := w.get("/v1/games/"+game, "").want(200)
	if one.text("state") != "enabled" || one.json["return"] != nil || one.text("maths") != one.text("enabled", "leaf", "maths") {
		t.Errorf("the game is %.300s", one.body)
	}
	enabled := one.json["enabled"].(map[string]any)
	var raw struct {
		Enabled struct{ Leaf json.RawMessage }
	}
	if err := json.Unmarshal(one.body, &raw); err != nil {
		t.Fatal(err)
	}
	w.accepted(&answer{t: t, body: fmt.Appendf(nil, `{"leaf":%s}`, raw.Enabled.Leaf), json: enabled})
	list := w.get("/v1/games", "").want(200)
	if string(list.body) != `{"items":[`+string(one.body)+`],"next":null}` {
		t.Errorf("the list is not the one game: %.300s", list.body)
	}
	if past := w.get("/v1/games?cursor=AAAAAAAAAAE", "").want(200); string(past.body) != `{"items":[],"next":null}` {
		t.Errorf("after the last game: %s", past.body)
	}

	w.accepted(w.post("/v1/games/"+game+"/state", operatorToken, `{"state":"disabled","reason":"audit"}`).want(201))
	w.post("/v1/games/"+game+"/state", operatorToken, `{"state":"disabled","reason":"audit"}`).refused(409, "game-unchanged", "")
	w.post("/v1/spins", token, `{"stake":20}`).refused(409, "game-disabled", "")
	w.post("/v1/sessions", operatorToken, `{"player":"gamer","game":"`+game+`"}`).refused(409, "game-disabled", "")
	if w.get("/v1/games/"+game, "").want(200).text("state") != "disabled" {
		t.Error("the game does not say that it is disabled")
	}
	w.accepted(w.post("/v1/games/"+game+"/state", operatorToken, `{"state":"enabled","reason":"audited"}`).want(201))
	w.post("/v1/spins", token, `{"stake":20}`).want(201)
	w.post("/v1/games/other/state", operatorToken, `{"state":"enabled","reason":"x"}`).refused(404, "unknown-game", "")
	w.post("/v1/games/Other/state", operatorToken, `{"state":"disabled","reason":"x"}`).refused(404, "unknown-game", "")
}

func TestGamesByPages(t *testing.T) {
	w := open(t, func(_ *ledger.Config, c *house.Config) {
		for _, id := range []string{"second", "third"} {
			d := slots.Bundled()
			d.ID = id
			c.Games = append(c.Games, d)
		}
	})
	var got []string
	for cursor := ""; ; {
		page := w.get("/v1/games?limit=1"+cursor, "").want(200)
		items := page.json["items"].([]any)
		if len(items) != 1 {
			t.Fatalf("a page of one has %d games", len(items))
		}
		got = append(got, items[0].(map[string]any)["id"].(string))
		if page.json["next"] == nil {
			break
		}
		cursor = "&cursor=" + page.text("next")
	}
	if !slices.Equal(got, []string{game, "second", "third"}) {
		t.Errorf("the pages hold %v", got)
	}
}

func TestCertifiedReturnIsShown(t *testing.T) {
	h := housetest.Open(t, t.TempDir())
	view, err := h.Game(t.Context(), game)
	if err != nil {
		t.Fatal(err)
	}
	s := New(h.House, Options{Returns: map[[32]byte]string{view.Maths: "0.95636915"}})
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/v1/games/"+game, nil))
	if a := read(t, withRequest(rec.Result())); a.text("return") != "0.95636915" {
		t.Errorf("the return is %v", a.json["return"])
	}
}

func withRequest(r *http.Response) *http.Response {
	r.Request = httptest.NewRequest("GET", "/", nil)
	return r
}

func TestEpochs(t *testing.T) {
	w := open(t)
	before := w.get("/v1/epochs/1", "").want(200)
	if before.text("status") != "committed" || before.json["activated"] != nil {
		t.Errorf("before the first draw epoch 1 is %s", before.body)
	}
	w.post("/v1/spins", w.player("e", 100), `{"stake":20}`).want(201)
	after := w.get("/v1/epochs/1", "").want(200)
	if after.text("status") != "active" || after.text("activated", "leaf", "type") != "seed.activated.v2" || after.json["revealed"] != nil {
		t.Errorf("after the first draw epoch 1 is %s", after.body)
	}
	for _, n := range []string{"0", "99", "-1", "01", "x", "18446744073709551616", ""} {
		w.get("/v1/epochs/"+n, "").refused(404, "not-found", "")
	}
}
