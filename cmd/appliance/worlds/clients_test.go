package worlds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// client is a player with whoever acts for him, or, where it has no player, an
// operator who turns the game off and on. It does one thing after another, and
// repeats each with the same key until it knows what became of it.
type client struct {
	w    *world
	rnd  *rand.Rand
	left int // commands still to be given
	keys int

	now  *command // under way
	wait time.Time

	player, session, token string
	balance                int64
	created, suspended     bool
	off                    bool // the operator's: the game is
	done                   []*command
}

// command is something a client wants, with all that it heard of it.
type command struct {
	client            *client
	kind              string
	method, path      string
	key, body, bearer string
	want              []int // statuses that end it
	tries             int
	inside            int      // attempts that may still be carried out
	open              bool     // some attempt was not answered, or with outcome-unknown
	accepted          *answer  // the first 201
	reuses            *command // the key is this one's
}

// attempt is one request for a command.
type attempt struct {
	cmd     *command
	n       int
	process *process
	alone   bool // no earlier attempt could be carried out any more when it was made

	// Under process.mu.
	heard *httptest.ResponseRecorder

	abandoned bool // the client waits no longer
}

// answer is what is kept of an accepted command.
type answer struct {
	body   []byte // as received
	index  uint64
	leaf   []byte
	record entry.Record
	size   uint64 // of the checkpoint in its receipt
	note   []byte
}

func (c *client) String() string {
	if c.player == "" {
		return "operator"
	}
	return c.player
}

const game = "lamplight-quay"

var stakes = []int64{20, 40, 100, 200, 500, 1000}

// people makes the clients.
func (w *world) people() {
	each := w.weather.commands / w.weather.clients
	for i := range w.weather.clients {
		c := &client{w: w, rnd: rand.New(rand.NewPCG(w.seed, uint64(100+i))), left: each}
		if i > 0 {
			c.player = fmt.Sprint("p", i)
		}
		w.clients = append(w.clients, c)
	}
}

// finished reports whether the client got to the end of its script.
func (c *client) finished() bool { return c.left == 0 && c.now == nil }

// ready reports whether a client would send something now.
func (c *client) ready() bool {
	if c.finished() || time.Now().Before(c.wait) {
		return false
	}
	return c.now == nil || !c.waiting()
}

// waiting reports whether the client waits for an answer.
func (c *client) waiting() bool {
	return slices.ContainsFunc(c.w.attempts, func(a *attempt) bool { return a.cmd == c.now && !a.abandoned })
}

// next decides what the client does after what it did.
func (c *client) next() *command {
	c.left--
	if c.player == "" {
		return c.nextOfOperator()
	}
	switch {
	case !c.created:
		return c.post("create", "/v1/players", fmt.Sprintf(`{"id":"%s","currency":"EUR"}`, c.player), 201)
	case c.balance < 1000 && !c.suspended:
		return c.deposit()
	case c.suspended && c.rnd.IntN(3) == 0:
		return c.state("open")
	case c.token == "" && !c.suspended:
		return c.post("seat", "/v1/sessions", fmt.Sprintf(`{"player":"%s","game":"%s"}`, c.player, game), 201, 409)
	}
	if c.w.periodsEnd() && c.keys%8 == 7 {
		return c.record()
	}
	switch n := c.rnd.IntN(100); {
	case n < 55 && c.token != "":
		cmd := c.post("spin", "/v1/spins", fmt.Sprintf(`{"stake":%d}`, stakes[c.rnd.IntN(len(stakes))]), 201, 401, 409)
		cmd.bearer = c.token
		return cmd
	case n < 58 && c.token != "":
		cmd := c.post("spin of 33", "/v1/spins", `{"stake":33}`, 401, 409, 422)
		cmd.bearer = c.token
		return cmd
	case n < 63:
		return c.deposit()
	case n < 68:
		return c.post("withdraw", c.path("/withdrawals"), fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, 1+c.rnd.IntN(500)), 201, 409)
	case n < 70:
		return c.post("overdraw", c.path("/withdrawals"), `{"amount":900000000,"currency":"EUR"}`, 409)
	case n < 72:
		return c.post("deposit in yen", c.path("/deposits"), `{"amount":5,"currency":"JPY"}`, 409, 422)
	case n < 73:
		return c.post("rubbish", c.path("/deposits"), `{"amount":5,"amount":6}`, 400)
	case n < 75 && !c.suspended:
		return c.state("suspended")
	case n < 77 && c.session != "":
		return c.post("leave", "/v1/sessions/"+c.session+"/close", "", 201)
	case n < 82:
		return c.get("balance", c.path(""))
	case n < 84:
		return c.get("rounds", c.path("/rounds?limit=3"))
	case n < 86:
		return c.get("transactions", c.path("/transactions"))
	case len(c.done) > 0 && n < 92: // once more, long after
		return c.done[c.rnd.IntN(len(c.done))]
	case len(c.done) > 0 && n < 96: // another request under an old key
		old := c.done[c.rnd.IntN(len(c.done))]
		cmd := c.post("reuse", c.path("/deposits"), `{"amount":777777,"currency":"EUR"}`, 409)
		cmd.key, cmd.bearer, cmd.reuses = old.key, c.w.token, old
		if old.kind == "spin" {
			cmd.path, cmd.body, cmd.bearer = "/v1/spins", `{"stake":33}`, old.bearer
		}
		return cmd
	case len(c.done) > 0:
		old := c.done[c.rnd.IntN(len(c.done))]
		cmd := c.get("entry", "/v1/entries/"+strconv.FormatUint(old.accepted.index, 10))
		cmd.accepted = old.accepted
		return cmd
	}
	return c.get("games", "/v1/games")
}

func (c *client) nextOfOperator() *command {
	switch n := c.rnd.IntN(20); {
	case c.off && (n < 10 || c.left == 0):
		return c.post("enable", "/v1/games/"+game+"/state", `{"state":"enabled","reason":"repaired"}`, 201)
	case n < 2 && c.left > 0:
		return c.post("disable", "/v1/games/"+game+"/state", `{"state":"disabled","reason":"looked at"}`, 201)
	case n < 6:
		return c.get("epoch", "/v1/epochs/1", 404)
	case n < 10:
		return c.get("checkpoint", "/log/checkpoint", 404)
	case n < 14:
		return c.get("ready", "/readyz")
	}
	cmd := c.get("game", "/v1/games/"+game)
	if len(c.w.evidence.answers) == 0 { // a house that had no room to be founded can be read, and is empty
		cmd.want = append(cmd.want, 404)
	}
	return cmd
}

func (c *client) path(more string) string { return "/v1/players/" + c.player + more }

func (c *client) deposit() *command {
	return c.post("deposit", c.path("/deposits"), fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, 1000+c.rnd.IntN(20000)), 201, 409)
}

// record tells the house something about the player, in place of what it was told before.
func (c *client) record() *command {
	name := []string{"address", "email", "kyc"}[c.keys/8%3]
	cmd := c.post("record", c.path("/subject"), fmt.Sprintf(`{"values":{"%s":"%s, as of %d"}}`, name, c.player, c.keys), 201)
	cmd.method = http.MethodPut
	return cmd
}

func (c *client) state(s string) *command {
	return c.post(s, c.path("/state"), fmt.Sprintf(`{"state":"%s","reason":"so it is"}`, s), 201)
}

func (c *client) post(kind, path, body string, want ...int) *command {
	c.keys++
	return &command{
		client: c, kind: kind, method: http.MethodPost, path: path, body: body, bearer: c.w.token,
		key: fmt.Sprintf("%s-%d", c, c.keys), want: want,
	}
}

func (c *client) get(kind, path string, also ...int) *command {
	return &command{client: c, kind: kind, method: http.MethodGet, path: path, bearer: c.w.token, want: append(also, 200)}
}

// send makes one attempt.
func (c *client) send() {
	if c.now == nil {
		c.now = c.next()
		c.w.evidence.census.commands++
		if c.now.method != http.MethodGet && c.now.tries == 0 {
			c.w.evidence.commands = append(c.w.evidence.commands, c.now)
		}
	}
	cmd := c.now
	cmd.tries++
	a := &attempt{cmd: cmd, n: cmd.tries, process: c.w.process, alone: cmd.inside == 0}
	c.w.say("%v sends %s %q, try %d", c, cmd.kind, cmd.key, cmd.tries)
	if c.w.chance(c.w.weather.lose) {
		c.w.say("it gets lost")
		c.w.evidence.census.lost++
		c.wait = time.Now().Add(time.Duration(c.rnd.IntN(2000)) * time.Millisecond)
		return
	}
	if !c.w.up() {
		c.wait = time.Now().Add(time.Duration(c.rnd.IntN(1000)) * time.Millisecond)
		c.w.say("nobody is there")
		return
	}
	cmd.inside++
	c.w.attempts = append(c.w.attempts, a)
	r := httptest.NewRequest(cmd.method, cmd.path, strings.NewReader(cmd.body))
	r.Header.Set("Authorization", "Bearer "+cmd.bearer)
	if cmd.method != http.MethodGet {
		r.Header.Set("Idempotency-Key", cmd.key)
		r.Header.Set("Content-Type", "application/json")
	}
	go func() {
		rec := httptest.NewRecorder()
		a.process.handler.ServeHTTP(rec, r)
		a.process.mu.Lock()
		defer a.process.mu.Unlock()
		a.heard = rec
	}()
	// Whoever neither has an answer nor waits for a turn waits for a signature.
	before := c.w.commandTurns
	c.w.settle()
	if !a.isHeard() && c.w.commandTurns == before {
		c.w.viewer, c.w.viewerTurns = a, before
	}
}

func (a *attempt) isHeard() bool {
	a.process.mu.Lock()
	defer a.process.mu.Unlock()
	return a.heard != nil
}

// disconnect lets a client notice that the house is gone.
func (c *client) disconnect(p *process) {
	c.w.attempts = slices.DeleteFunc(c.w.attempts, func(a *attempt) bool {
		if a.process != p || a.cmd.client != c {
			return false
		}
		a.cmd.inside--
		a.cmd.open = true
		return true
	})
}

// hear gives a client the answer of an attempt, unless it waits no longer.
func (w *world) hear(a *attempt) *violation {
	w.attempts = slices.DeleteFunc(w.attempts, func(b *attempt) bool { return a == b })
	cmd, c := a.cmd, a.cmd.client
	cmd.inside--
	body := a.heard.Body.Bytes()
	if a.abandoned || w.chance(w.weather.lose) {
		w.say("%v does not hear %d of %s %q", c, a.heard.Code, cmd.kind, cmd.key)
		w.evidence.census.lost++
		cmd.open = true
		return nil
	}
	w.say("%v hears %d of %s %q, try %d: %s", c, a.heard.Code, cmd.kind, cmd.key, a.n, bytes.TrimSpace(body))
	if a.heard.Code >= 500 {
		w.evidence.census.unavailable++
		outcome, v := unavailable(a)
		if v != nil {
			return v
		}
		cmd.open = cmd.open || outcome != "not-accepted"
		retry, _ := strconv.Atoi(a.heard.Header().Get("Retry-After"))
		c.wait = time.Now().Add(time.Duration(c.rnd.IntN(retry*1000+1)) * time.Millisecond)
		return nil
	}
	if cmd.reuses != nil && a.heard.Code == http.StatusCreated {
		return broken(lawTwice, "%q was used for entry %d, and is accepted again: %s", cmd.key, cmd.reuses.accepted.index, body)
	}
	if !slices.Contains(cmd.want, a.heard.Code) {
		return &violation{lawAnswers, fmt.Sprintf("%s %q of %v is answered with %d, expected one of %v: %s", cmd.kind, cmd.key, c, a.heard.Code, cmd.want, body)}
	}
	if v := c.learn(cmd, a, body); v != nil {
		return v
	}
	c.now = nil
	return nil
}

// learn draws the client's conclusions from a final answer.
func (c *client) learn(cmd *command, a *attempt, body []byte) *violation {
	w := c.w
	switch {
	case a.heard.Code == http.StatusCreated:
		got, v := w.evidence.receive(body)
		if v != nil {
			return v
		}
		if first := cmd.accepted; first != nil {
			w.evidence.census.replayed++
			return sameAnswer(cmd, first, got)
		}
		w.evidence.census.accepted++
		cmd.accepted = got
		c.done = append(c.done, cmd)
		c.follow(cmd, got)
	case a.heard.Code == http.StatusOK:
		return c.read(cmd, body)
	case cmd.accepted != nil && cmd.method != http.MethodGet:
		return &violation{lawTwice, fmt.Sprintf("%s %q was accepted as entry %d, then answered with %d", cmd.kind, cmd.key, cmd.accepted.index, a.heard.Code)}
	default:
		w.evidence.census.refused++
		if a.alone {
			cmd.open = false // whatever was tried before, its key was not found
		}
		if a.heard.Code == http.StatusUnauthorized {
			c.token, c.session = "", ""
		}
		if cmd.kind == "seat" || cmd.kind == "deposit" || cmd.kind == "spin" { // the game is off, or a suspension
			c.wait = time.Now().Add(300 * time.Millisecond)
		}
	}
	return nil
}

// follow keeps the client's own view of things.
func (c *client) follow(cmd *command, got *answer) {
	switch cmd.kind {
	case "create":
		c.created = true
	case "suspended":
		c.suspended = true
	case "open":
		c.suspended = false
	case "disable":
		c.off = true
	case "enable":
		c.off = false
	case "leave":
		c.token, c.session = "", ""
	case "seat":
		var seat struct{ ID, Token string }
		must(json.Unmarshal(got.body, &seat))
		c.session, c.token = seat.ID, seat.Token
	}
	for _, p := range postings(got.record) {
		if strings.HasPrefix(p.Account, "player/") {
			c.balance = p.Balance
		}
	}
}

// read holds an answer that may be read again against what the client knows.
func (c *client) read(cmd *command, body []byte) *violation {
	switch cmd.kind {
	case "balance":
		var player struct{ Balance money.Money }
		must(json.Unmarshal(body, &player))
		if c.settled() && player.Balance.Amount != c.balance {
			return &violation{lawReads, fmt.Sprintf("the balance of %v reads %d, the last entry it was shown left %d", c, player.Balance.Amount, c.balance)}
		}
	case "entry":
		got, v := c.w.evidence.receive(body)
		if v != nil {
			return v
		}
		if !bytes.Equal(got.leaf, cmd.accepted.leaf) {
			return &violation{lawReads, fmt.Sprintf("entry %d reads %s, it was answered as %s", got.index, got.leaf, cmd.accepted.leaf)}
		}
	}
	return nil
}

// settled reports whether nothing of the client's may have been carried out
// without its knowledge.
func (c *client) settled() bool {
	for _, cmd := range c.w.evidence.commands {
		if cmd.client == c && cmd.accepted == nil && (cmd.inside > 0 || cmd.open) {
			return false
		}
	}
	return true
}
