package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"countroom/games/certificates"
	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/wallet"
	"countroom/regulator/export/archive"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"

	"github.com/labstack/echo/v4"
)

// problem is a kind of refusal (RFC 9457). Its type URI is /problems/ and the
// name, where this server explains it.
type problem struct {
	name    string
	status  int
	title   string
	about   string // what the client can do
	retry   int    // seconds, for Retry-After
	outcome string // of a command, where the client could be in doubt
}

// What became of a command that was answered with 503 or 500.
const (
	notAccepted    = "not-accepted"
	outcomeUnknown = "outcome-unknown"
)

// The problems of the protocol.
var (
	malformed       = &problem{name: "malformed-body", status: 400, title: "The body cannot be parsed", about: "The body must be one JSON text in UTF-8 (RFC 8259, RFC 7493) without repeated names."}
	badKey          = &problem{name: "idempotency-key", status: 400, title: "The idempotency key is missing or malformed", about: "Every command needs exactly one Idempotency-Key header of 1 to 255 printable ASCII characters."}
	unauthorized    = &problem{name: "unauthorized", status: 401, title: "No valid token", about: "Send a valid token as Authorization: Bearer."}
	sessionOver     = &problem{name: "session-over", status: 401, title: "The session is closed or has expired", about: "Open a new session. Requests that were accepted can still be repeated with their keys."}
	forbidden       = &problem{name: "forbidden", status: 403, title: "The token is of another role", about: "The token is valid, but what it stands for may not do this."}
	notFound        = &problem{name: "not-found", status: 404, title: "No such resource", about: "Nothing is at this address, or nothing that this token may see."}
	methodNotAllow  = &problem{name: "method-not-allowed", status: 405, title: "The resource does not know this method", about: "The Allow header lists the methods."}
	tooLarge        = &problem{name: "body-too-large", status: 413, title: "The body is too large", about: "A body may have at most 65536 bytes."}
	unsupportedType = &problem{name: "unsupported-media-type", status: 415, title: "The body is not declared as JSON", about: "Send Content-Type: application/json."}
	noSuchPart      = &problem{name: "range-not-satisfiable", status: 416, title: "The file has no such part", about: "The Range header asks for bytes beyond the end of the file. Content-Range says how long it is."}
	invalid         = &problem{name: "invalid-value", status: 422, title: "A field is not what it must be", about: "The field member names the field, detail says what was expected."}
	internal        = &problem{name: "internal-error", status: 500, title: "The server failed", about: "If the request was a command its outcome is not known: repeat it with the same key."}
	draining        = &problem{name: "draining", status: 503, title: "The server is about to stop", about: "Send requests to another one.", retry: 5, outcome: notAccepted}
	notReady        = &problem{name: "not-ready", status: 503, title: "The server is not ready", about: "The detail member says why.", retry: 5, outcome: notAccepted}
)

// refusals says as which problem each error of the house is shown. The first
// that matches counts. What is not listed is internal.
var refusals = []struct {
	err error
	*problem
}{
	{ledger.ErrUnknownOutcome, &problem{name: "outcome-unknown", status: 503, title: "The outcome is not known yet", about: "Repeat the request with the same key: either it was carried out and is answered, or it is carried out then.", retry: 1, outcome: outcomeUnknown}},
	{ledger.ErrKeyReused, &problem{name: "key-reused", status: 409, title: "The idempotency key was used for another request", about: "Use a new key for each new request."}},
	{ledger.ErrOverloaded, &problem{name: "overloaded", status: 503, title: "Too many requests are waiting", about: "Nothing was accepted. Repeat the request with the same key.", retry: 1, outcome: notAccepted}},
	{ledger.ErrNoSpace, &problem{name: "no-space", status: 503, title: "The disk is nearly full", about: "Nothing was accepted. Play stops until the operator has made room.", retry: 30, outcome: notAccepted}},
	{ledger.ErrSigner, &problem{name: "signer-silent", status: 503, title: "The signer does not answer", about: "Nothing was accepted. Play stops until the signer is back.", retry: 5, outcome: notAccepted}},
	{ledger.ErrWitnesses, &problem{name: "witnesses-silent", status: 503, title: "Not enough witnesses answer", about: "Nothing was accepted. Play stops until enough witnesses outside the house cosign what it signs.", retry: 5, outcome: notAccepted}},
	{ledger.ErrStopped, &problem{name: "stopped", status: 503, title: "The ledger accepts no commands", about: "Nothing was accepted. Repeat the request with the same key when the server is back.", retry: 5, outcome: notAccepted}},
	{ledger.ErrPassive, &problem{name: "passive", status: 503, title: "This machine of the pair does not write", about: "Nothing was accepted. Repeat the request with the same key; the machine that writes is being elected.", retry: 1, outcome: notAccepted}},
	{epoch.ErrNoEpoch, &problem{name: "no-seed-epoch", status: 503, title: "No seed epoch is active", about: "Nothing was accepted. Play stops until the house has committed to a seed.", retry: 1, outcome: notAccepted}},
	{epoch.ErrHalted, &problem{name: "seed-halted", status: 503, title: "A seed epoch is halted", about: "Nothing was accepted. Play stops until two officers of the house have ended or abandoned the epoch.", retry: 30, outcome: notAccepted}},
	{house.ErrSealed, &problem{name: "seed-sealed", status: 503, title: "The secret of a seed epoch does not open", about: "Nothing was accepted. Play stops until the device that sealed it is back, or two officers of the house have abandoned the epoch.", retry: 30, outcome: notAccepted}},
	{noise.ErrStopped, &problem{name: "entropy-failed", status: 503, title: "Too few sources of entropy are healthy", about: "Nothing was accepted. Play stops until enough of them have passed their tests again.", retry: 5, outcome: notAccepted}},
	{archive.ErrBusy, &problem{name: "exports-busy", status: 503, title: "Too many exports are waiting", about: "Ask for it again when some of them are done.", retry: 60, outcome: notAccepted}},
	{archive.ErrRequest, &problem{name: "export-refused", status: 409, title: "The log has no such range", about: "The detail member says why: the range has to be within the log, a span of time has to be over, and a checkpoint has to be one that this house signed."}},
	{archive.ErrUnknown, &problem{name: "unknown-export", status: 404, title: "No such export", about: "It was never asked for here, is not done yet, or is kept no more. POST /v1/exports makes it again: the same bytes, for the same checkpoint."}},
	{errPatience, &problem{name: "timeout", status: 503, title: "The answer takes too long", about: "Repeat the request later.", retry: 5}},
	{ledger.ErrNotFound, notFound},

	{house.ErrToken, unauthorized},
	{players.ErrSessionExpired, sessionOver},
	{players.ErrSessionClosed, sessionOver},
	{house.ErrPlayerExists, &problem{name: "player-exists", status: 409, title: "A player of this id exists", about: "An id is free again only after its player was erased. Use another id."}},
	{house.ErrCurrency, &problem{name: "other-currency", status: 422, title: "The player's account is in another currency", about: "An account keeps the currency it was opened in."}},
	{house.ErrBalanceFull, &problem{name: "balance-limit", status: 409, title: "The balance could leave the range of the ledger", about: "No balance may pass 2^53-1 minor units. Withdraw first."}},
	{house.ErrGameState, &problem{name: "game-unchanged", status: 409, title: "The game is in that state already", about: "Nothing needs to be done."}},
	{players.ErrUnknownPlayer, &problem{name: "unknown-player", status: 404, title: "Unknown player", about: "No player of this id was created."}},
	{house.ErrPeriodOver, &problem{name: "player-lost", status: 409, title: "What is known of the player does not open any more", about: "The house was restored from a back-up of a period of its vault that is over. The account's entries are in the log; nobody can tell any more whose they are."}},
	{house.ErrMoving, &problem{name: "vault-moving", status: 503, title: "The vault is being rearranged", about: "Nothing was accepted. An older house's vault is wrapped anew for the first time; repeat the request with the same key.", retry: 1, outcome: notAccepted}},
	{house.ErrAttributes, &problem{name: "too-many-attributes", status: 409, title: "The player would have too many attributes", about: "A player has at most 32 attributes. A new value of one takes the place of the former."}},
	{players.ErrSuspended, &problem{name: "player-suspended", status: 409, title: "The player's account is suspended", about: "The operator can open it again."}},
	{players.ErrErased, &problem{name: "player-erased", status: 409, title: "The player was erased", about: "Nothing can be done any more in the name of somebody who was erased."}},
	{players.ErrClosed, &problem{name: "player-closed", status: 409, title: "The player's account is closed", about: "A closed account stays closed. What it holds can be withdrawn."}},
	{players.ErrUnchanged, &problem{name: "player-unchanged", status: 409, title: "The player's account is in that state already", about: "Nothing needs to be done."}},
	{players.ErrUnknownSession, &problem{name: "unknown-session", status: 404, title: "Unknown session", about: "No session of this id was opened."}},
	{rounds.ErrUnknownGame, &problem{name: "unknown-game", status: 404, title: "Unknown game", about: "GET /v1/games lists the games."}},
	{rounds.ErrGameDisabled, &problem{name: "game-disabled", status: 409, title: "The game is disabled", about: "The operator can enable it again."}},
	{certificates.ErrUncertified, &problem{name: "game-uncertified", status: 409, title: "No certificate is in force for the game", about: "The house is in production: the operator has to import a laboratory's certificate for the game's maths and the running program."}},
	{certificates.ErrUnverified, &problem{name: "software-unverified", status: 503, title: "The program is not what it should be", about: "Nothing was accepted. The house is in production, and its program, configuration or games were not found to be what the log says. Play stops until they are.", retry: 30, outcome: notAccepted}},
	{slots.ErrStake, &problem{name: "stake-not-offered", status: 422, title: "The game does not offer this stake", about: "GET /v1/games lists the stakes of each game."}},
	{wallet.ErrFunds, &problem{name: "insufficient-funds", status: 409, title: "Insufficient funds", about: "The balance does not cover the amount."}},

	{entry.ErrJSON, malformed},
}

// sessionClosed is what closing a closed session is refused with: there it is
// the state of a resource and not of the caller's token.
var sessionClosed = &problem{name: "session-closed", status: 409, title: "The session is closed", about: "Nothing needs to be done."}

// problems are all that this server answers with.
var problems = func() []*problem {
	all := []*problem{
		malformed, badKey, unauthorized, sessionOver, forbidden, notFound, methodNotAllow, tooLarge, unsupportedType, noSuchPart, invalid, internal,
		draining, notReady, sessionClosed,
	}
	seen := map[*problem]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for _, r := range refusals {
		if !seen[r.problem] {
			seen[r.problem] = true
			all = append(all, r.problem)
		}
	}
	return all
}()

// refusal is a problem that is met, with what is particular to it.
type refusal struct {
	*problem
	detail, field string
}

func (r *refusal) Error() string { return r.name + ": " + r.field + " " + r.detail }

func (p *problem) with(detail string) *refusal { return &refusal{problem: p, detail: detail} }

// refusalOf finds how an error is shown.
func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	for _, known := range refusals {
		if !errors.Is(err, known.err) {
			continue
		}
		r = &refusal{problem: known.problem}
		switch known.err {
		case slots.ErrStake:
			r.field, r.detail = "stake", err.Error()
		case house.ErrCurrency:
			r.field, r.detail = "currency", err.Error()
		case entry.ErrJSON:
			r.detail = err.Error()
		}
		return r
	}
	return &refusal{problem: internal}
}

// writeProblem answers with a problem and returns its status.
func (s *Server) writeProblem(c echo.Context, err error) int {
	r := refusalOf(err)
	s.metrics.problem(r.name)
	body := struct {
		Type    string `json:"type"`
		Title   string `json:"title"`
		Status  int    `json:"status"`
		Detail  string `json:"detail,omitempty"`
		Field   string `json:"field,omitempty"`
		Outcome string `json:"outcome,omitempty"`
	}{"/problems/" + r.name, r.title, r.status, r.detail, r.field, r.outcome}
	if body.Detail == "" {
		body.Detail = r.about
	}
	if r.status >= 500 && r.outcome == "" && isCommand(c.Request().Method) {
		body.Outcome = outcomeUnknown // its key was perhaps not even looked up
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and integers
	}
	h := c.Response().Header()
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retry))
	}
	switch r.problem {
	case unauthorized:
		h.Set("WWW-Authenticate", "Bearer")
		if c.Request().Header.Get("Authorization") != "" {
			h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		}
	case sessionOver:
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case forbidden:
		h.Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
	}
	h.Set("Cache-Control", "no-store")
	write(c, r.status, problemType, b)
	return r.status
}

// explainProblem serves the page that a problem's type leads to.
func (s *Server) explainProblem(c echo.Context) error {
	for _, p := range problems {
		if p.name == c.Param("name") {
			write(c, http.StatusOK, textType, []byte(strconv.Itoa(p.status)+" "+p.title+"\n\n"+p.about+"\n"))
			return nil
		}
	}
	return notFound.with("")
}
