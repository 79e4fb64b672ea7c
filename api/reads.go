package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/regulator/portal"

	"github.com/labstack/echo/v4"
)

// getPlayer: GET /v1/players/{id}.
func (s *Server) getPlayer(c echo.Context) error {
	if err := s.admit(c, operator); err != nil {
		return err
	}
	id := c.Param("id")
	if !playerID.MatchString(id) {
		return players.ErrUnknownPlayer
	}
	v, err := s.house.Player(s.context(), id)
	if err != nil {
		return err
	}
	return writeJSON(c, appendPlayer(nil, &v))
}

// getSubject: GET /v1/players/{id}/subject.
func (s *Server) getSubject(c echo.Context) error {
	if err := s.admit(c, operator); err != nil {
		return err
	}
	id := c.Param("id")
	if !playerID.MatchString(id) {
		return players.ErrUnknownPlayer
	}
	v, err := s.house.Subject(s.context(), id)
	if err != nil {
		return err
	}
	type attribute struct {
		Attribute  string `json:"attribute"`
		Commitment string `json:"commitment"`
		Index      uint64 `json:"index"`
		State      string `json:"state"`
		Value      string `json:"value,omitempty"`
	}
	answer := struct {
		ID         string      `json:"id"`
		Attributes []attribute `json:"attributes"`
		Player     string      `json:"player"`
	}{v.ID, []attribute{}, v.Ref.String()}
	for _, a := range v.Attributes {
		if a.Why != nil {
			s.log.Error("a value that the log has a commitment to is missing", "player", v.Ref, "attribute", a.Attribute, "entry", a.Index, "error", a.Why)
		}
		answer.Attributes = append(answer.Attributes, attribute{a.Attribute, hex.EncodeToString(a.Commitment[:]), a.Index, a.State, a.Value})
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return writeJSON(c, b)
}

// listRounds: GET /v1/players/{id}/rounds.
func (s *Server) listRounds(c echo.Context) error { return s.history(c, s.house.Rounds) }

// listTransactions: GET /v1/players/{id}/transactions.
func (s *Server) listTransactions(c echo.Context) error { return s.history(c, s.house.Transactions) }

func (s *Server) history(c echo.Context, find func(ctx context.Context, id string, below uint64, limit int) ([]ledger.Receipt, error)) error {
	if err := s.admit(c, operator); err != nil {
		return err
	}
	id := c.Param("id")
	if !playerID.MatchString(id) {
		return players.ErrUnknownPlayer
	}
	below, limit, err := page(c, 1<<63)
	if err != nil {
		return err
	}
	// One more than asked for tells whether there is another page.
	var list []ledger.Receipt
	if err := s.turns.take(func() (err error) {
		list, err = find(s.context(), id, below, limit+1)
		return err
	}); err != nil {
		return err
	}
	more := len(list) > limit
	if more {
		list = list[:limit]
	}
	out := append([]byte(nil), `{"items":[`...)
	for i := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendEntry(out, &list[i]), '}')
	}
	out = append(out, `],"next":`...)
	if more {
		out = appendCursor(out, list[limit-1].Index)
	} else {
		out = append(out, "null"...)
	}
	return writeJSON(c, append(out, '}'))
}

// A cursor is the base64url form of a position.

func appendCursor(dst []byte, at uint64) []byte {
	dst = append(dst, '"')
	dst = base64.RawURLEncoding.AppendEncode(dst, binary.BigEndian.AppendUint64(nil, at))
	return append(dst, '"')
}

// page reads ?cursor and ?limit.
func page(c echo.Context, first uint64) (at uint64, limit int, err error) {
	query := c.QueryParams()
	at, limit = first, 20
	if query.Has("cursor") {
		cursor := query.Get("cursor")
		b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
		if err != nil || len(b) != 8 || len(cursor) != base64.RawURLEncoding.EncodedLen(8) { // the decoder passes over line ends
			return 0, 0, &refusal{problem: invalid, field: "cursor", detail: "cursor: expected the next member of an earlier page"}
		}
		at = min(binary.BigEndian.Uint64(b), 1<<63)
	}
	if query.Has("limit") {
		limit, err = strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > 100 {
			return 0, 0, &refusal{problem: invalid, field: "limit", detail: "limit: expected an integer from 1 to 100"}
		}
	}
	return at, limit, nil
}

// getRound: GET /v1/rounds/{id}.
func (s *Server) getRound(c echo.Context) error {
	session, err := s.reader(c, operator|regulator)
	if err != nil {
		return err
	}
	id, err := entry.ParseUUID(c.Param("id"))
	if err != nil {
		return ledger.ErrNotFound
	}
	r, owner, err := s.house.Round(id)
	if err != nil {
		return err
	}
	if session != nil && owner != session.Player() {
		return ledger.ErrNotFound // and not 403, which would say that there is one
	}
	out, err := appendSpin(&r, appendEntry(nil, &r))
	if err != nil {
		return err
	}
	return writeJSON(c, append(out, '}'))
}

// getDisputePack: GET /v1/rounds/{id}/dispute-pack.
func (s *Server) getDisputePack(c echo.Context) error {
	if err := s.admit(c, operator|regulator|auditor); err != nil {
		return err
	}
	id, err := entry.ParseUUID(c.Param("id"))
	if err != nil {
		return ledger.ErrNotFound
	}
	var pack []byte
	if err := s.turns.take(func() (err error) {
		pack, err = s.pages.Pack(s.context(), id)
		return err
	}); err != nil {
		return err
	}
	portal.PackHeader(c.Response().Header(), id.String())
	write(c, 200, htmlType, pack)
	return nil
}

// getEntry: GET /v1/entries/{index}.
func (s *Server) getEntry(c echo.Context) error {
	session, err := s.reader(c, operator|regulator|auditor)
	if err != nil {
		return err
	}
	index, err := number(c.Param("index"))
	if err != nil {
		return err
	}
	r, err := s.house.Ledger().Entry(index)
	if err != nil {
		return err
	}
	if session != nil {
		owner, has, err := s.house.Owner(r.Leaf)
		if err != nil {
			return err
		}
		if !has || owner != session.Player() {
			return ledger.ErrNotFound
		}
	}
	return writeJSON(c, append(appendEntry(nil, &r), '}'))
}

// number reads a number in a path, in its one spelling.
func number(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, ledger.ErrNotFound
	}
	return n, nil
}

// listGames: GET /v1/games.
func (s *Server) listGames(c echo.Context) error {
	at, limit, err := page(c, 0)
	if err != nil {
		return err
	}
	games, err := s.house.Games(s.context())
	if err != nil {
		return err
	}
	from := min(at, uint64(len(games)))
	to := min(from+uint64(limit), uint64(len(games)))
	out := append([]byte(nil), `{"items":[`...)
	for i := range games[from:to] {
		if i > 0 {
			out = append(out, ',')
		}
		out = s.appendGame(out, &games[from:to][i])
	}
	out = append(out, `],"next":`...)
	if to < uint64(len(games)) {
		out = appendCursor(out, to)
	} else {
		out = append(out, "null"...)
	}
	return writeJSON(c, append(out, '}'))
}

// getGame: GET /v1/games/{id}.
func (s *Server) getGame(c echo.Context) error {
	id := c.Param("id")
	if !gameID.MatchString(id) {
		return rounds.ErrUnknownGame
	}
	v, err := s.house.Game(s.context(), id)
	if err != nil {
		return err
	}
	return writeJSON(c, s.appendGame(nil, &v))
}

func (s *Server) appendGame(dst []byte, v *house.GameView) []byte {
	state := stateDisabled
	if v.On {
		state = stateEnabled
	}
	dst = append(dst, `{"id":"`...)
	dst = append(dst, v.ID...)
	dst = append(dst, '"')
	dst = appendQuoted(dst, "version", v.Release)
	dst = appendQuoted(dst, "maths", hex.EncodeToString(v.Maths[:]))
	dst = appendQuoted(dst, "state", state)
	if certified, ok := s.returns[v.Maths]; ok {
		dst = appendQuoted(dst, "return", certified)
	} else {
		dst = append(dst, `,"return":null`...)
	}
	dst = append(dst, `,"stakes":[`...)
	for i, stake := range v.Definition.Stakes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, stake, 10)
	}
	dst = append(dst, `],"definition":`...)
	dst = append(dst, v.Definition.Canonical()...)
	dst = append(dst, `,"enabled":`...)
	dst = append(appendEntry(dst, &v.Enabled), '}')
	return append(dst, '}')
}

// getEpoch: GET /v1/epochs/{n}.
func (s *Server) getEpoch(c echo.Context) error {
	n, err := number(c.Param("n"))
	if err != nil {
		return err
	}
	v, err := s.house.Epoch(s.context(), n)
	if err != nil {
		return err
	}
	status := "committed"
	for _, step := range []struct {
		name string
		ledger.Receipt
	}{{"active", v.Activated}, {"closed", v.Closed}, {"revealed", v.Revealed}, {"abandoned", v.Abandoned}} {
		if step.Leaf != nil {
			status = step.name
		}
	}
	out := fmt.Appendf(nil, `{"epoch":%d,"status":"%s","committed":`, n, status)
	out = appendEntryOrNull(out, &v.Committed)
	out = appendEntryOrNull(append(out, `,"activated":`...), &v.Activated)
	out = appendEntryOrNull(append(out, `,"closed":`...), &v.Closed)
	out = appendEntryOrNull(append(out, `,"revealed":`...), &v.Revealed)
	out = appendEntryOrNull(append(out, `,"halted":`...), &v.Halted)
	out = appendEntryOrNull(append(out, `,"abandoned":`...), &v.Abandoned)
	return writeJSON(c, append(out, '}'))
}

// livez: GET /livez.
func (s *Server) livez(c echo.Context) error {
	write(c, 200, textType, []byte("ok\n"))
	return nil
}

// readyz: GET /readyz.
func (s *Server) readyz(c echo.Context) error {
	if s.draining.Load() {
		return draining.with("")
	}
	// The passive machine of a pair answers by the other one, if that is there.
	if err := s.house.Ready(); err != nil && !(errors.Is(err, ledger.ErrPassive) && s.ready != nil) {
		return err
	}
	if s.ready != nil {
		if err := s.ready(); err != nil {
			return notReady.with(err.Error())
		}
	}
	write(c, 200, textType, []byte("ok\n"))
	return nil
}

// describe: GET /openapi.json.
func (s *Server) describe(c echo.Context) error {
	write(c, 200, jsonType, openAPI)
	return nil
}
