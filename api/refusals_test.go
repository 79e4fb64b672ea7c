package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/ledger"
	"countroom/rngcert/epoch"

	"github.com/labstack/echo/v4"
	"github.com/sigstore/sigstore/pkg/signature"
)

// unchanged demands that no request had an entry made while check ran.
func (w *world) unchanged(check func()) {
	w.t.Helper()
	before := w.size()
	check()
	if caused := w.caused(before); len(caused) != 0 {
		w.t.Fatalf("the log grew:\n%s", strings.Join(caused, "\n"))
	}
}

// caused returns the entries since a size of the log that requests had made;
// the house turns its seeds and raises alarms by itself.
func (w *world) caused(since uint64) (leaves []string) {
	w.t.Helper()
	err := w.house.Ledger.Leaves(since, w.size(), func(_ uint64, leaf []byte) error {
		if !strings.Contains(string(leaf), `"actor":"house"`) {
			leaves = append(leaves, string(leaf))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return leaves
}

func TestValuesAreRefusedByField(t *testing.T) {
	w := open(t)
	token := w.player("p", 1000)
	const (
		players  = "/v1/players"
		deposits = "/v1/players/p/deposits"
		state    = "/v1/players/p/state"
		sessions = "/v1/sessions"
		games    = "/v1/games/" + game + "/state"
		spins    = "/v1/spins"
	)
	long := strings.Repeat("x", 256)
	w.unchanged(func() {
		for _, c := range []struct{ path, body, field string }{
			{players, `{}`, "id"},
			{players, `{"id":"a"}`, "currency"},
			{players, `{"id":"a","currency":"EUR","name":"Ada"}`, "name"},
			{players, `{"id":"a","currency":"EUR","":1}`, ""},
			{players, `{"id":"","currency":"EUR"}`, "id"},
			{players, `{"id":".a","currency":"EUR"}`, "id"},
			{players, `{"id":"-a","currency":"EUR"}`, "id"},
			{players, `{"id":"a/b","currency":"EUR"}`, "id"},
			{players, `{"id":"a\nb","currency":"EUR"}`, "id"},
			{players, `{"id":"a\n","currency":"EUR"}`, "id"},
			{players, `{"id":"ä","currency":"EUR"}`, "id"},
			{players, `{"id":"` + strings.Repeat("a", 65) + `","currency":"EUR"}`, "id"},
			{players, `{"id":7,"currency":"EUR"}`, "id"},
			{players, `{"id":null,"currency":"EUR"}`, "id"},
			{players, `{"id":["a"],"currency":"EUR"}`, "id"},
			{players, `{"id":"a","currency":"eur"}`, "currency"},
			{players, `{"id":"a","currency":"XXX"}`, "currency"},
			{players, `{"id":"a","currency":"EURO"}`, "currency"},
			{players, `{"id":"a","currency":978}`, "currency"},
			{players, `[]`, "body"},
			{players, `null`, "body"},
			{players, `"id"`, "body"},
			{deposits, `{"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":0,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":-0,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":-1,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":1.0,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":1e2,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":"100","currency":"EUR"}`, "amount"},
			{deposits, `{"amount":true,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":9007199254740992,"currency":"EUR"}`, "amount"},
			{deposits, `{"amount":92233720368547758080,"currency":"EUR"}`, "amount"},
			{"/v1/players/p/withdrawals", `{"amount":0.5,"currency":"EUR"}`, "amount"},
			{state, `{"state":"asleep","reason":"x"}`, "state"},
			{state, `{"state":"open","reason":""}`, "reason"},
			{state, `{"state":"open","reason":"` + long + `"}`, "reason"},
			{state, `{"state":"open","reason":"a\u0007b"}`, "reason"},
			{state, `{"state":"open","reason":"a\u202eb"}`, "reason"},
			{state, `{"state":"open"}`, "reason"},
			{sessions, `{"player":"p"}`, "game"},
			{sessions, `{"player":"p","game":"` + long + `"}`, "game"},
			{sessions, `{"player":"p","game":"A"}`, "game"},
			{sessions, `{"player":"../p","game":"` + game + `"}`, "player"},
			{games, `{"state":"on","reason":"x"}`, "state"},
			{games, `{"state":"disabled"}`, "reason"},
			{spins, `{}`, "stake"},
			{spins, `{"stake":0}`, "stake"},
			{spins, `{"stake":-20}`, "stake"},
			{spins, `{"stake":20.5}`, "stake"},
			{spins, `{"stake":20,"game":"` + game + `"}`, "game"},
			{spins, `{"stake":[20]}`, "stake"},
			{spins, `{"stake":{"amount":20}}`, "stake"},
		} {
			by := operatorToken
			if c.path == spins {
				by = token
			}
			a := w.post(c.path, by, c.body).refused(422, "invalid-value", c.field)
			if !strings.HasPrefix(a.text("detail"), c.field+": expected ") {
				t.Errorf("%s %s: detail %q", c.path, c.body, a.text("detail"))
			}
		}
		w.post(spins, token, `{"stake":21}`).refused(422, "stake-not-offered", "stake")
		w.post(spins, token, `{"stake":9007199254740991}`).refused(422, "stake-not-offered", "stake")
		w.post(deposits, operatorToken, `{"amount":1,"currency":"USD"}`).refused(422, "other-currency", "currency")
		w.post(spins, token, `{"stake":20,"`+strings.Repeat("y", 1000)+`":1}`).refused(422, "invalid-value", strings.Repeat("y", 64)+"…")
	})
}

func TestConflictsAndUnknowns(t *testing.T) {
	w := open(t)
	token := w.player("p", 30)
	w.post("/v1/players", operatorToken, `{"id":"shut","currency":"EUR"}`).want(201)
	w.post("/v1/players/shut/deposits", operatorToken, `{"amount":9007199254740991,"currency":"EUR"}`).refused(409, "balance-limit", "")
	w.post("/v1/players/shut/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`).want(201)
	w.post("/v1/players/shut/state", operatorToken, `{"state":"closed","reason":"x"}`).want(201)
	w.unchanged(func() {
		w.post("/v1/players", operatorToken, `{"id":"p","currency":"EUR"}`).refused(409, "player-exists", "")
		w.post("/v1/players/p/withdrawals", operatorToken, `{"amount":31,"currency":"EUR"}`).refused(409, "insufficient-funds", "")
		w.post("/v1/players/p/state", operatorToken, `{"state":"open","reason":"x"}`).refused(409, "player-unchanged", "")
		w.post("/v1/players/shut/state", operatorToken, `{"state":"open","reason":"x"}`).refused(409, "player-closed", "")
		w.post("/v1/players/shut/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`).refused(409, "player-closed", "")
		w.post("/v1/sessions", operatorToken, `{"player":"shut","game":"`+game+`"}`).refused(409, "player-closed", "")
		w.post("/v1/spins", token, `{"stake":40}`).refused(409, "insufficient-funds", "")

		w.post("/v1/players/nobody/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`).refused(404, "unknown-player", "")
		w.post("/v1/players/nobody/withdrawals", operatorToken, `{"amount":5,"currency":"EUR"}`).refused(404, "unknown-player", "")
		w.post("/v1/players/nobody/state", operatorToken, `{"state":"open","reason":"x"}`).refused(404, "unknown-player", "")
		w.post("/v1/sessions", operatorToken, `{"player":"nobody","game":"`+game+`"}`).refused(404, "unknown-player", "")
		w.post("/v1/sessions", operatorToken, `{"player":"p","game":"nothing"}`).refused(404, "unknown-game", "")
		w.post("/v1/sessions/00000000-0000-4000-8000-000000000000/close", operatorToken, `{}`).refused(404, "unknown-session", "")
		w.post("/v1/sessions/7/close", operatorToken, ``).refused(404, "unknown-session", "")
		w.get("/v1/players/nobody", operatorToken).refused(404, "unknown-player", "")
		w.get("/v1/players/nobody/rounds", operatorToken).refused(404, "unknown-player", "")
		w.get("/v1/players/nobody/transactions", operatorToken).refused(404, "unknown-player", "")
		w.get("/v1/rounds/00000000-0000-4000-8000-000000000000", operatorToken).refused(404, "not-found", "")
		w.get("/v1/rounds/x", operatorToken).refused(404, "not-found", "")
		w.get("/v1/games/nothing", "").refused(404, "unknown-game", "")
		for _, index := range []string{"999999", "18446744073709551615", "18446744073709551616", "-1", "+1", "01", "1e1", "0x1", "1/2"} {
			w.get("/v1/entries/"+index, operatorToken).refused(404, "not-found", "")
		}
	})
	w.post("/v1/players/shut/withdrawals", operatorToken, `{"amount":5,"currency":"EUR"}`).want(201)
	created := w.get("/v1/entries/0", operatorToken).want(200)
	id := created.text("leaf", "id")
	w.get("/v1/rounds/"+id, operatorToken).refused(404, "not-found", "") // an entry, but no round
}

func TestBodiesThatCannotBeParsed(t *testing.T) {
	w := open(t)
	token := w.player("p", 100)
	w.unchanged(func() {
		for _, body := range []string{
			"", " ", "{", `{"stake":20`, `{"stake":20}}`, `{"stake":20}{}`, `{'stake':20}`, `{"stake":20,}`, `{stake:20}`,
			`{"stake":020}`, `{"stake":+20}`, `{"stake":.5}`, `{"stake":2.}`, `{"stake":NaN}`, `{"stake":1e999}`,
			`{"stake":20,"stake":20}`, `{"stake":20,"st\u0061ke":20}`, "\ufeff" + `{"stake":20}`, "{\"stake\":\"\xff\"}", "{\"stake\":\"\x01\"}",
			`{"stake":"\ud800"}`, `{"stake":"\u0000"}`, `{"stake":"\x"}`, strings.Repeat("[", 66) + strings.Repeat("]", 66),
			strings.Repeat("[", 60000), "\x00", "stake=20", "<stake>20</stake>",
		} {
			w.post("/v1/spins", token, body).refused(400, "malformed-body", "")
		}
	})
}

func TestBodySizes(t *testing.T) {
	w := open(t)
	token := w.player("p", 100)
	fit := `{"stake":20` + strings.Repeat(" ", bodyMost-12) + `}`
	w.unchanged(func() {
		w.post("/v1/spins", token, fit+" ").refused(413, "body-too-large", "")
		// Without a length that could be looked at.
		for _, extra := range []int{1, 1 << 20} {
			body := io.MultiReader(strings.NewReader(fit), strings.NewReader(strings.Repeat(" ", extra)))
			req, _ := http.NewRequest("POST", w.url+"/v1/spins", body)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Idempotency-Key", "chunked")
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			read(t, resp).refused(413, "body-too-large", "")
		}
		// With a length that lies: half a body, then the end.
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/spins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: lies\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"stake\":20}", token)
		conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		read(t, withRequest(resp)).refused(400, "malformed-body", "")
	})
	w.post("/v1/spins", token, fit).want(201)
}

func TestIdempotencyKeysAreDemanded(t *testing.T) {
	w := open(t)
	token := w.player("p", 100)
	spin := func(headers ...string) *answer {
		return w.do("POST", "/v1/spins", `{"stake":20}`, append(headers, "Authorization", "Bearer "+token, "Content-Type", "application/json")...)
	}
	w.unchanged(func() {
		spin().refused(400, "idempotency-key", "")
		spin("Idempotency-Key", "").refused(400, "idempotency-key", "")
		spin("Idempotency-Key", "a", "Idempotency-Key", "a").refused(400, "idempotency-key", "")
		spin("Idempotency-Key", strings.Repeat("k", 256)).refused(400, "idempotency-key", "")
		spin("Idempotency-Key", "ü").refused(400, "idempotency-key", "")
		spin("Idempotency-Key", "a\tb").refused(400, "idempotency-key", "")
		for _, r := range w.api.routes(nil) {
			if r.method == "POST" {
				by := operatorToken
				if r.path == "/v1/spins" || r.path == "/v1/rounds/{id}/displayed" {
					by = token
				}
				if r.path == "/v1/exports" {
					by = auditorToken
				}
				w.do("POST", strings.ReplaceAll(r.path, "{id}", "p"), `{}`, "Authorization", "Bearer "+by, "Content-Type", "application/json").refused(400, "idempotency-key", "")
			}
		}
	})
	spin("Idempotency-Key", strings.Repeat("k", 255)).want(201)
	spin("Idempotency-Key", ` a "b" ~ ! `).want(201)
}

func TestContentTypes(t *testing.T) {
	w := open(t)
	token := w.player("p", 1000)
	n := 0
	spin := func(types ...string) *answer {
		n++
		h := []string{"Authorization", "Bearer " + token, "Idempotency-Key", fmt.Sprint("type ", n)}
		for _, typ := range types {
			h = append(h, "Content-Type", typ)
		}
		return w.do("POST", "/v1/spins", `{"stake":20}`, h...)
	}
	for _, good := range []string{"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"} {
		spin(good).want(201)
	}
	w.unchanged(func() {
		spin().refused(415, "unsupported-media-type", "")
		for _, bad := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json5", "json", "application/problem+json", ";"} {
			spin(bad).refused(415, "unsupported-media-type", "")
		}
		spin("application/json", "application/json").refused(415, "unsupported-media-type", "")
	})
}

func TestRolesAndTokens(t *testing.T) {
	w := open(t)
	token := w.player("p", 1000)
	foreign := w.player("q", 1000)
	round := w.post("/v1/spins", token, `{"stake":20}`).want(201)
	later := w.session("p").text("token")
	roundPath, entryPath := "/v1/rounds/"+round.text("round"), fmt.Sprintf("/v1/entries/%v", round.json["index"])

	// Who may call what; everybody else who is somebody gets 403.
	all := map[string]string{"operator": operatorToken, "regulator": regulatorToken, "auditor": auditorToken, "session": token}
	for path, may := range map[string]string{
		"POST /v1/players": "operator", "POST /v1/players/p/deposits": "operator", "POST /v1/players/p/withdrawals": "operator",
		"POST /v1/players/p/state": "operator", "POST /v1/sessions": "operator", "POST /v1/sessions/x/close": "operator",
		"POST /v1/games/x/state": "operator", "POST /v1/spins": "session",
		"GET /v1/players/p": "operator", "GET /v1/players/p/rounds": "operator", "GET /v1/players/p/transactions": "operator",
		"GET " + roundPath: "operator regulator session", "GET " + entryPath: "operator regulator auditor session",
		"GET /log/tile/entries/000.p/1": "regulator auditor", "GET /log/blob/" + strings.Repeat("0", 64): "regulator auditor",
		"POST /v1/exports": "regulator auditor", "GET /v1/exports/x": "regulator auditor", "GET /v1/exports/x/file": "regulator auditor", "GET /v1/exports/x/certificate": "regulator auditor",
	} {
		method, path, _ := strings.Cut(path, " ")
		call := func(headers ...string) *answer {
			body := ""
			if method == "POST" {
				body = "{" // so that nothing is accepted
				headers = append(headers, "Idempotency-Key", "roles", "Content-Type", "application/json")
			}
			return w.do(method, path, body, headers...)
		}
		w.unchanged(func() {
			for who, token := range all {
				a := call("Authorization", "Bearer "+token)
				if !strings.Contains(may, who) {
					a.refused(403, "forbidden", "")
				} else if a.status == 401 || a.status == 403 || a.status >= 500 {
					t.Errorf("%s %s by the %s: %d %s", method, path, who, a.status, a.body)
				}
			}
			if a := call().refused(401, "unauthorized", ""); a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s without a token is challenged with %q", path, a.header.Get("WWW-Authenticate"))
			}
			forged := []byte(token)
			forged[len(forged)-2] ^= 1
			for _, bad := range []string{"x", string(forged), operatorToken + "x", operatorToken[1:], strings.Repeat("t", 4000), token + "=", token[:40]} {
				a := call("Authorization", "Bearer "+bad).refused(401, "unauthorized", "")
				if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
					t.Errorf("%s with a bad token is challenged with %q", path, got)
				}
			}
			for _, header := range []string{"Bearer", "Bearer ", "Basic " + operatorToken, operatorToken} {
				call("Authorization", header).refused(401, "unauthorized", "")
			}
			call("Authorization", "Bearer "+operatorToken, "Authorization", "Bearer "+token).refused(401, "unauthorized", "")
		})
	}
	w.do("GET", "/v1/players/p", "", "Authorization", "bearer "+operatorToken).want(200)

	// A round is its player's, in whichever session, and for others not there.
	w.get(roundPath, later).want(200)
	w.get(entryPath, later).want(200)
	w.get(roundPath, foreign).refused(404, "not-found", "")
	w.get(entryPath, foreign).refused(404, "not-found", "")
	w.get("/v1/entries/0", token).refused(404, "not-found", "") // the house's own
	w.get("/v1/entries/0", auditorToken).want(200)
}

func TestAbsentTokensAdmitNobody(t *testing.T) {
	w := open(t)
	s := New(w.house.House, Options{})
	for _, header := range []string{"Bearer ", "Bearer  ", "Bearer x"} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/v1/players/p", nil)
		req.Header.Set("Authorization", header)
		s.ServeHTTP(rec, req)
		read(t, withRequest(rec.Result())).refused(401, "unauthorized", "")
	}
}

func TestSessionsExpire(t *testing.T) {
	const age = 300 * time.Millisecond
	w := open(t, func(_ *ledger.Config, c *house.Config) { c.SessionAge = age })
	opened := w.post("/v1/players", operatorToken, `{"id":"p","currency":"EUR"}`).want(201)
	w.post("/v1/players/p/deposits", operatorToken, `{"amount":100,"currency":"EUR"}`).want(201)
	session := w.session("p")
	token := session.text("token")
	time.Sleep(age)
	w.unchanged(func() {
		w.post("/v1/spins", token, `{"stake":20}`).refused(401, "session-over", "")
		a := w.get(fmt.Sprintf("/v1/entries/%v", opened.json["index"]), token).refused(401, "session-over", "")
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
			t.Errorf("an expired session is challenged with %q", got)
		}
	})
}

func TestPathTricks(t *testing.T) {
	w := open(t)
	w.player("p", 100)
	w.unchanged(func() {
		for _, path := range []string{
			"//", "/v1", "/v2/players", "/v1/", "/v1//players", "/v1/players/", "/v1/players/p/", "/v1/players//rounds",
			"/v1/players/%70", "/v1/players/p%2Frounds", "/v1/players/..", "/v1/players/../players/p", "/v1/players/%2e%2e", "/v1/players/p%00",
			"/v1/players/p%0a", "/v1/players/" + strings.Repeat("p", 65), "/v1/players/" + strings.Repeat("p", 8000), "/v1/players/p;a=b", "/v1/players/p%20",
			"/v1/players/%ff", "/v1/players/p/rounds/x", "/V1/players/p", "/v1/games/" + strings.Repeat("g", 2000), "/v1/games/%00", "/v1/games/..%2f",
			"/v1/rounds/%00", "/v1/rounds/..", "/v1/entries/%30", "/v1/entries/", "/log", "/log/", "/log/..", "/log/tile", "/log/tile/", "/log/tile/..",
			"/log/tile/0/000/../000", "/log/tile/0/%30%30%30.p/1", "/log/tile/entries", "/log/blob/", "/log/checkpoint/x", "/log/checkpoint%00",
			"/problems/", "/problems/..", "/openapi.json/", "/docs/", "/docs/..", "/docs/style.css/", "/docs/page.html", "/metrics/x", "/*", "/:id", "/v1/players/:id", "/v1/players/*",
		} {
			a := w.get(path, operatorToken)
			if a.status != 404 || a.header.Get("Content-Type") != "application/problem+json" {
				if !(strings.HasPrefix(path, "/log/tile/entries") || strings.HasPrefix(path, "/log/blob")) || a.status != 403 {
					t.Errorf("GET %.80s: %d %.200s", path, a.status, a.body)
				}
			}
		}
		for _, path := range []string{"/v1/players/../deposits", "/v1/players/%00/deposits", "/v1/players/" + strings.Repeat("p", 8000) + "/deposits", "/v1/players//deposits", "/v1/players/p%2F/deposits"} {
			w.post(path, operatorToken, `{"amount":1,"currency":"EUR"}`).refused(404, "unknown-player", "")
		}
	})
}

func TestMethods(t *testing.T) {
	w := open(t)
	w.unchanged(func() {
		for _, c := range []struct{ method, path, allow string }{
			{"GET", "/v1/spins", "POST"}, {"DELETE", "/v1/players/p", "GET"}, {"PUT", "/v1/players", "POST"}, {"PATCH", "/v1/games/x", "GET"},
			{"POST", "/log/checkpoint", "GET"}, {"PUT", "/log/tile/0/000", "GET"}, {"POST", "/readyz", "GET"}, {"BREW", "/v1/epochs/1", "GET"},
		} {
			a := w.do(c.method, c.path, "").refused(405, "method-not-allowed", "")
			if !strings.Contains(a.header.Get("Allow"), c.allow) {
				t.Errorf("%s %s: Allow %q, want %s in it", c.method, c.path, a.header.Get("Allow"), c.allow)
			}
		}
	})
	head := w.do("HEAD", "/v1/games", "").want(200)
	if len(head.body) != 0 || head.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d bytes, length %q", len(head.body), head.header.Get("Content-Length"))
	}
}

func TestWhatStopsIsSaid(t *testing.T) {
	w := open(t)
	token := w.player("p", 100)
	first := w.postKey("/v1/spins", token, "first", `{"stake":20}`).want(201)
	w.get("/livez", "").want(200)
	w.get("/readyz", "").want(200)

	w.api.Drain()
	a := w.get("/readyz", "").refused(503, "draining", "")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.postKey("/v1/spins", token, "first", `{"stake":20}`).want(201) // it still serves

	if err := w.house.Ledger.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"stake":20}`, `{"stake":"x"}`} {
		a = w.postKey("/v1/spins", token, "first", body).refused(503, "stopped", "")
		if a.text("outcome") != "not-accepted" || a.header.Get("Retry-After") == "" {
			t.Errorf("a stopped ledger answers %s", a.body)
		}
	}
	w.get("/livez", "").want(200)
	w.get("/log/checkpoint", "").want(200)
	if again := w.get("/v1/rounds/"+first.text("round"), operatorToken).want(200); again.leaf() != first.leaf() {
		t.Errorf("a stopped ledger shows %s", again.body)
	}
}

// moody is a signer that can fall silent.
type moody struct {
	signature.Signer
	silent atomic.Bool
}

func (m *moody) SignMessage(msg io.Reader, opts ...signature.SignOption) ([]byte, error) {
	if m.silent.Load() {
		return nil, errors.New("the device is gone")
	}
	return m.Signer.SignMessage(msg, opts...)
}

func TestASilentSigner(t *testing.T) {
	signer := new(moody)
	w := open(t, func(l *ledger.Config, _ *house.Config) { signer.Signer, l.Signer = l.Signer, signer })
	token, unseen := w.player("p", 1000), w.player("q", 1000)
	w.api.patient, w.api.sharing = time.Second, time.Millisecond // long enough to be let in, on any machine
	time.Sleep(2 * time.Millisecond)                             // the context that is shared now has the old patience
	signer.silent.Store(true)

	a := w.postKey("/v1/spins", token, "k", `{"stake":20}`).refused(503, "outcome-unknown", "")
	if a.text("outcome") != "outcome-unknown" || a.header.Get("Retry-After") == "" {
		t.Errorf("with a silent signer the first spin is answered with %s", a.body)
	}
	a = w.postKey("/v1/spins", token, "l", `{"stake":20}`).refused(503, "signer-silent", "")
	if a.text("outcome") != "not-accepted" || a.header.Get("Retry-After") == "" {
		t.Errorf("with a silent signer the second spin is answered with %s", a.body)
	}
	w.get("/readyz", "").refused(503, "signer-silent", "")
	w.get("/v1/players/p", operatorToken).refused(503, "timeout", "")                   // the balance is not signed yet
	a = w.postKey("/v1/spins", unseen, "m", `{"stake":20}`).refused(503, "timeout", "") // nor is the session
	if a.text("outcome") != "outcome-unknown" || a.header.Get("Retry-After") == "" {
		t.Errorf("with a silent signer the first spin of a session is answered with %s", a.body)
	}
	before := w.size()
	w.get("/log/checkpoint", "").want(200)

	signer.silent.Store(false)
	for a = w.postKey("/v1/spins", token, "k", `{"stake":20}`); a.status == 503; {
		a = w.postKey("/v1/spins", token, "k", `{"stake":20}`)
	}
	w.accepted(a.want(201))
	if caused := w.caused(before); len(caused) != 1 || caused[0] != a.leaf() {
		t.Errorf("one spin was asked for and one was not accepted; the log has\n%s", strings.Join(caused, "\n"))
	}
}

// stuck is a signer that can be held up, for as long as somebody has the lock.
type stuck struct {
	signature.Signer
	sync.RWMutex
}

func (s *stuck) SignMessage(msg io.Reader, opts ...signature.SignOption) ([]byte, error) {
	s.RLock()
	defer s.RUnlock()
	return s.Signer.SignMessage(msg, opts...)
}

func TestOverload(t *testing.T) {
	const most = 4
	signer := new(stuck)
	w := open(t, func(l *ledger.Config, _ *house.Config) {
		signer.Signer, l.Signer = l.Signer, signer
		l.QueueMost = most
	})
	token := w.player("p", 1000)
	w.api.patient, w.api.sharing = 2*time.Second, time.Millisecond // long enough to be let in, on any machine
	time.Sleep(2 * time.Millisecond)
	signer.Lock()
	defer signer.Unlock()
	answers := make(chan *answer, most+1)
	for i := range most + 1 {
		go func() { answers <- w.postKey("/v1/spins", token, fmt.Sprint("k", i), `{"stake":20}`) }()
	}
	refused := 0
	for range most + 1 {
		a := <-answers
		if a.status == 503 && a.json["type"] == "/problems/overloaded" {
			if refused++; a.text("outcome") != "not-accepted" || a.header.Get("Retry-After") == "" {
				t.Errorf("overload is answered with %s", a.body)
			}
			continue
		}
		a.refused(503, "outcome-unknown", "")
	}
	if refused == 0 {
		t.Errorf("%d commands wait and one more was let in", most)
	}
}

func TestReadinessOfOthers(t *testing.T) {
	w := open(t)
	s := New(w.house.House, Options{Log: slog.New(slog.DiscardHandler), Ready: func() error { return errors.New("the seeds key does not answer") }})
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/readyz", nil))
	a := read(t, withRequest(rec.Result())).refused(503, "not-ready", "")
	if a.text("detail") != "the seeds key does not answer" {
		t.Errorf("detail %q", a.text("detail"))
	}
}

func TestNoSeedNoPlay(t *testing.T) {
	secrets := 0
	w := open(t, func(_ *ledger.Config, c *house.Config) {
		healthy := c.Secret
		c.Limits = epoch.Limits{AgeSeconds: 600, Draws: 1, RevealDelaySeconds: 120}
		c.Secret = func(ctx context.Context) ([32]byte, []epoch.Source, error) {
			if secrets++; secrets > 2 { // a secret and its salt make one epoch
				return [32]byte{}, nil, errors.New("the noise source is dead")
			}
			return healthy(ctx)
		}
	})
	token := w.player("p", 100)
	w.post("/v1/spins", token, `{"stake":20}`).want(201)
	a := w.postKey("/v1/spins", token, "later", `{"stake":20}`).refused(503, "no-seed-epoch", "")
	if a.text("outcome") != "not-accepted" || a.header.Get("Retry-After") == "" {
		t.Errorf("without a seed the answer is %s", a.body)
	}
}

func TestPanicsAreInternalErrors(t *testing.T) {
	w := open(t)
	w.api.add(&route{"POST", "/panic", func(echo.Context) error { panic("secret of the house") }})
	w.api.add(&route{"GET", "/panic", func(c echo.Context) error {
		write(c, 200, textType, []byte("ok"))
		panic("after the answer")
	}})
	call := func(method string) *answer {
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, httptest.NewRequest(method, "/panic", nil))
		return read(t, withRequest(rec.Result()))
	}
	a := call("POST").refused(500, "internal-error", "")
	if strings.Contains(string(a.body), "secret") || a.text("outcome") != "outcome-unknown" {
		t.Errorf("a panic is answered with %s", a.body)
	}
	if a := call("GET").want(200); string(a.body) != "ok" {
		t.Errorf("an answer that was given became %s", a.body)
	}
}

func TestMetrics(t *testing.T) {
	w := open(t)
	token := w.player("p", 100)
	w.post("/v1/spins", token, `{"stake":20}`).want(201)
	w.post("/v1/spins", token, `{"stake":21}`).want(422)
	w.get("/none", "").want(404)
	least := w.size()
	page := string(w.get("/metrics", "").want(200).body)
	for _, line := range []string{
		`countroom_http_requests_total{method="POST",route="/v1/spins",status="201"} 1`,
		`countroom_http_requests_total{method="POST",route="/v1/spins",status="422"} 1`,
		`countroom_http_requests_total{method="any",route="none",status="404"} 1`,
		`countroom_http_request_seconds_count{method="POST",route="/v1/spins"} 2`,
		`countroom_refusals_total{problem="stake-not-offered"} 1`,
		`countroom_refusals_total{problem="insufficient-funds"} 0`,
		`countroom_rounds_settled_total 1`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	// The house turns its seeds meanwhile.
	_, size, _ := strings.Cut(page, "\ncountroom_ledger_size ")
	size, _, _ = strings.Cut(size, "\n")
	if n, err := strconv.ParseUint(size, 10, 64); err != nil || n < least || n > w.size() {
		t.Errorf("the metrics say that the size is %q, it was %d to %d", size, least, w.size())
	}
}
