package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

// class is what a call's latency counts as.
type class int

const (
	spins    class = iota
	commands       // all others, and what must be refused
	reads
	classes
)

func (c class) String() string { return [classes]string{"spins", "commands", "reads"}[c] }

// call is one kind of request; weight is how many of a thousand are of it.
type call struct {
	name   string
	class  class
	weight int
	make   func(w *worker) request
	// after looks at an answer that was as wanted.
	after func(w *worker, q *request, a *answer) error
}

// mix is every call of the API, in the proportions that are offered.
var mix = []call{
	{"spin", spins, 690, (*worker).spin, (*worker).spun},
	{"spin again with its key", spins, 20, (*worker).spinAgain, (*worker).sameLeaf},
	{"a key used for something else", commands, 5, (*worker).reuse, nil},
	{"what must be refused", commands, 40, (*worker).bad, nil},

	{"POST /v1/players", commands, 1, (*worker).create, (*worker).accepted},
	{"POST /v1/players/{id}/deposits", commands, 14, (*worker).deposit, (*worker).accepted},
	{"POST /v1/players/{id}/withdrawals", commands, 9, (*worker).withdraw, (*worker).accepted},
	{"POST /v1/players/{id}/state", commands, 2, (*worker).setState, (*worker).stateSet},
	{"POST /v1/sessions, /close", commands, 3, (*worker).session, (*worker).sessionDone},
	{"POST /v1/games/{id}/state", commands, 1, (*worker).setGame, nil},

	{"GET /v1/players/{id}", reads, 30, func(w *worker) request { return w.read("/v1/players/"+w.player, w.operator) }, nil},
	{"GET /v1/players/{id}/rounds", reads, 15, func(w *worker) request { return w.read("/v1/players/"+w.player+"/rounds"+w.limit(), w.operator) }, nil},
	{"GET /v1/players/{id}/transactions", reads, 10, func(w *worker) request { return w.read("/v1/players/"+w.player+"/transactions", w.operator) }, nil},
	{"GET /v1/rounds/{id}", reads, 30, (*worker).getRound, (*worker).proven},
	{"GET /v1/entries/{index}", reads, 40, (*worker).getEntry, (*worker).proven},
	{"GET /v1/games", reads, 5, func(w *worker) request { return w.read("/v1/games", "") }, nil},
	{"GET /v1/games/{id}", reads, 5, func(w *worker) request { return w.read("/v1/games/"+gameID, "") }, nil},
	{"GET /v1/epochs/{n}", reads, 5, func(w *worker) request { return w.read("/v1/epochs/1", "") }, nil},
	{"GET /log/checkpoint", reads, 30, func(w *worker) request { return w.read("/log/checkpoint", "") }, nil},
	{"GET /log/tile/{tile}", reads, 25, func(w *worker) request { return w.read("/log/"+tlog.TilePath(0, w.bundle(), 256), "") }, nil},
	{"GET /log/tile/entries/{bundle}", reads, 8, (*worker).getEntries, nil},
	{"GET /log/vkey", reads, 2, func(w *worker) request { return w.read("/log/vkey", "") }, nil},
	{"GET /livez", reads, 5, func(w *worker) request { return w.read("/livez", "") }, nil},
	{"GET /readyz", reads, 4, func(w *worker) request { return w.read("/readyz", "") }, nil},
	{"GET /openapi.json", reads, 1, func(w *worker) request { return w.read("/openapi.json", "") }, nil},
}

// drawn has each call of the mix as often as it weighs.
var drawn = func() (all []*call) {
	for i := range mix {
		for range mix[i].weight {
			all = append(all, &mix[i])
		}
	}
	return all
}()

const (
	gameID = "lamplight-quay"
	stake  = 20
)

// worker plays one player, and the house's back office, over one connection.
// What it remembers is of its own requests only.
type worker struct {
	conn
	*load
	rng    *rand.Rand
	n      int // the worker's number
	keys   int
	player string
	token  string // of the player's session

	lastKey   string // of the spin that was accepted last
	lastLeaf  tlog.Hash
	lastRound string
	extra     string // a session that is open beside
	idler     string // state of a player who does not play; "" before there is one
}

func (w *worker) key() string {
	w.keys++
	return fmt.Sprintf("soak-%d-%d", w.n, w.keys)
}

func (w *worker) post(path, token, body string, want int) request {
	return request{method: http.MethodPost, path: path, token: token, key: w.key(), body: []byte(body), want: want}
}

func (w *worker) read(path, token string) request {
	return request{method: http.MethodGet, path: path, token: token, want: 200}
}

var stakeBody = fmt.Appendf(nil, `{"stake":%d}`, stake)

func (w *worker) spin() request {
	return request{method: http.MethodPost, path: "/v1/spins", token: w.token, key: w.key(), body: stakeBody, want: 201}
}

func (w *worker) spun(q *request, a *answer) error {
	leaf, err := w.accept(a)
	if err != nil {
		return err
	}
	if a.replayed {
		return errors.New("a new key is answered with an old entry")
	}
	w.lastKey, w.lastLeaf = q.key, leaf
	_, after, ok := bytes.Cut(a.body, []byte(`"round":"`))
	if !ok || len(after) < 36 {
		return errors.New("no round in the answer")
	}
	w.lastRound = string(after[:36])
	return nil
}

// spinAgain repeats the last spin, or makes the first.
func (w *worker) spinAgain() request {
	q := w.spin()
	if w.lastKey != "" {
		q.key = w.lastKey
	}
	return q
}

func (w *worker) sameLeaf(q *request, a *answer) error {
	if q.key != w.lastKey {
		return w.spun(q, a)
	}
	leaf, err := w.accept(a)
	if err == nil && (leaf != w.lastLeaf || !a.replayed) {
		err = fmt.Errorf("the retry of %s got another answer (replayed: %v): %.300s", q.key, a.replayed, a.body)
	}
	return err
}

// reuse sends another request under the key of the last spin.
func (w *worker) reuse() request {
	if w.lastKey == "" {
		return w.spin()
	}
	q := w.spin()
	q.key, q.body, q.want, q.problem = w.lastKey, []byte(`{"stake":40}`), 409, "key-reused"
	return q
}

var tooLong = bytes.Repeat([]byte(" "), 64<<10+1)

// bad is one of the requests that must be refused.
func (w *worker) bad() request {
	q := w.spin()
	refused := func(status int, problem string) { q.want, q.problem = status, problem }
	switch w.rng.IntN(12) {
	case 0:
		q.key = ""
		refused(400, "idempotency-key")
	case 1:
		q.body = []byte(`{"stake":`)
		refused(400, "malformed-body")
	case 2:
		q.token = "nobody"
		refused(401, "unauthorized")
	case 3:
		q.token = w.regulator
		refused(403, "forbidden")
	case 4:
		q.path = "/v1/nothing"
		refused(404, "not-found")
	case 5:
		q.method = http.MethodDelete
		refused(405, "method-not-allowed")
	case 6:
		q.body = tooLong
		refused(413, "body-too-large")
	case 7:
		q.contentType = "text/plain"
		refused(415, "unsupported-media-type")
	case 8:
		q.body = []byte(`{"stake":"20"}`)
		refused(422, "invalid-value")
	case 9:
		q.body = []byte(`{"stake":21}`)
		refused(422, "stake-not-offered")
	case 10:
		q = w.post("/v1/players/"+w.player+"/withdrawals", w.operator, `{"amount":9007199254740991,"currency":"EUR"}`, 409)
		q.problem = "insufficient-funds"
	case 11:
		q = w.read("/v1/players/"+w.player+"/rounds?limit=1000", w.operator)
		refused(422, "invalid-value")
	}
	return q
}

func (w *worker) accepted(_ *request, a *answer) error {
	_, err := w.accept(a)
	return err
}

func (w *worker) create() request {
	return w.post("/v1/players", w.operator, fmt.Sprintf(`{"id":"guest-%d-%d","currency":"EUR"}`, w.n, w.keys), 201)
}

func (w *worker) deposit() request {
	return w.post("/v1/players/"+w.player+"/deposits", w.operator, `{"amount":1000,"currency":"EUR"}`, 201)
}

func (w *worker) withdraw() request {
	return w.post("/v1/players/"+w.player+"/withdrawals", w.operator, `{"amount":10,"currency":"EUR"}`, 201)
}

// setState suspends and opens a player who does not play, and makes it first.
func (w *worker) setState() request {
	id := "idler-" + strconv.Itoa(w.n)
	if w.idler == "" {
		return w.post("/v1/players", w.operator, fmt.Sprintf(`{"id":%q,"currency":"EUR"}`, id), 201)
	}
	return w.post("/v1/players/"+id+"/state", w.operator, fmt.Sprintf(`{"state":%q,"reason":"soak"}`, otherState[w.idler]), 201)
}

var otherState = map[string]string{"": "open", "open": "suspended", "suspended": "open"}

func (w *worker) stateSet(_ *request, a *answer) error {
	w.idler = otherState[w.idler]
	_, err := w.accept(a)
	return err
}

// session opens a second session or closes the one that it opened last.
func (w *worker) session() request {
	if w.extra == "" {
		return w.post("/v1/sessions", w.operator, fmt.Sprintf(`{"player":%q,"game":%q}`, w.player, gameID), 201)
	}
	q := w.post("/v1/sessions/"+w.extra+"/close", w.operator, "", 201)
	q.body = nil
	return q
}

func (w *worker) sessionDone(_ *request, a *answer) error {
	if _, err := w.accept(a); err != nil {
		return err
	}
	if w.extra != "" {
		w.extra = ""
		return nil
	}
	var opened struct{ ID string }
	err := json.Unmarshal(a.body, &opened)
	w.extra = opened.ID
	return err
}

// setGame enables the game, which is enabled.
func (w *worker) setGame() request {
	q := w.post("/v1/games/"+gameID+"/state", w.operator, `{"state":"enabled","reason":"soak"}`, 409)
	q.problem = "game-unchanged"
	return q
}

func (w *worker) limit() string {
	if w.rng.IntN(8) == 0 {
		return "?limit=100"
	}
	return ""
}

func (w *worker) getRound() request {
	if w.lastRound == "" {
		return w.read("/log/checkpoint", "")
	}
	return w.read("/v1/rounds/"+w.lastRound, w.token)
}

func (w *worker) getEntry() request {
	return w.read("/v1/entries/"+strconv.FormatUint(w.rng.Uint64N(w.size.Load()), 10), w.regulator)
}

// bundle picks a full bundle of entries.
func (w *worker) bundle() uint64 { return w.rng.Uint64N(w.size.Load() / tlog.TileWidth) }

func (w *worker) getEntries() request {
	q := w.read("/log/"+tlog.EntriesPath(w.bundle(), 256), w.regulator)
	q.gzip = true
	return q
}

// proven checks the receipt of a sample of what was read.
func (w *worker) proven(q *request, a *answer) error {
	if w.rng.IntN(sampled) > 0 || q.path == "/log/checkpoint" {
		return nil
	}
	return w.prove(a)
}

func (w *worker) prove(a *answer) error {
	proofs, err := verify.Receipt(a.body, w.vkey)
	if err == nil && len(proofs) != 1 {
		err = fmt.Errorf("%d proofs in an answer: %.300s", len(proofs), a.body)
	}
	if err == nil {
		w.proofs.Add(1)
	}
	return err
}
