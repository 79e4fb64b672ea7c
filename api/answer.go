package api

import (
	"bytes"
	"fmt"
	"strconv"

	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/money"

	"github.com/labstack/echo/v4"
)

// Header values are shared, not made for each answer.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	textType    = []string{"text/plain; charset=utf-8"}
	htmlType    = []string{"text/html; charset=utf-8"}
	octetType   = []string{"application/octet-stream"}
)

// write answers with a whole body. A client that has gone away is no concern of
// anybody.
func write(c echo.Context, status int, contentType []string, body []byte) {
	w := c.Response()
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// writeJSON answers a read.
func writeJSON(c echo.Context, body []byte) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	write(c, 200, jsonType, body)
	return nil
}

// appendEntry appends an entry with its receipt, and leaves the object open.
func appendEntry(dst []byte, r *ledger.Receipt) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendUint(dst, r.Index, 10)
	dst = append(dst, `,"leaf":`...)
	dst = append(dst, r.Leaf...)
	dst = append(dst, `,"receipt":"`...)
	// Of what JSON would have escaped a receipt holds line ends only: the
	// origin is the one part of it that is not base64 or decimal, and
	// house.created has it in plain characters.
	for rest := r.Proof; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			dst = append(dst, rest...)
			break
		}
		dst = append(dst, rest[:i]...)
		dst = append(dst, '\\', 'n')
		rest = rest[i+1:]
	}
	return append(dst, '"')
}

// appendEntryOrNull appends an entry, or null for one that is not written yet.
func appendEntryOrNull(dst []byte, r *ledger.Receipt) []byte {
	if r.Leaf == nil {
		return append(dst, "null"...)
	}
	return append(appendEntry(dst, r), '}')
}

// appendQuoted appends a string that needs no escapes, after a member's name.
func appendQuoted[T ~string | ~[]byte](dst []byte, name string, v T) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	dst = append(dst, v...)
	return append(dst, '"')
}

func appendMoney(dst []byte, name string, m money.Money) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":{"amount":`...)
	dst = strconv.AppendInt(dst, m.Amount, 10)
	dst = appendQuoted(dst, "currency", m.Currency)
	return append(dst, '}')
}

// answer answers an accepted command; more appends the conveniences of its kind.
func (cmd *command) answer(c echo.Context, r *ledger.Receipt, more func(r *ledger.Receipt, dst []byte) ([]byte, error)) error {
	out := appendEntry(cmd.buffer.out[:0], r)
	if more != nil {
		var err error
		if out, err = more(r, out); err != nil {
			return err
		}
	}
	out = append(out, '}', '\n')
	cmd.buffer.out = out
	if r.Replayed {
		c.Response().Header()["Idempotency-Replayed"] = replayed
	}
	write(c, 201, jsonType, out)
	return nil
}

var replayed = []string{"true"}

// appendSpin appends what a client wants to know of a round without reading its
// leaf: the round's id and the balance after it.
func appendSpin(answer *ledger.Receipt, dst []byte) ([]byte, error) {
	r, ok := answer.Record.(*rounds.Settled)
	if !ok || len(r.Postings) != 2 {
		return dst, fmt.Errorf("entry %d is not a round with two postings", answer.Index)
	}
	p := &r.Postings[1] // from the game's hold to the player
	dst = appendMoney(dst, "balance", money.Money{Amount: p.Balance, Currency: p.Currency})
	dst = append(dst, `,"round":"`...)
	dst = r.ID.Append(dst)
	return append(dst, '"'), nil
}

func appendSession(answer *ledger.Receipt, dst []byte, token string) ([]byte, error) {
	r, ok := answer.Record.(*players.SessionOpened)
	if !ok {
		return dst, fmt.Errorf("entry %d does not open a session", answer.Index)
	}
	dst = appendQuoted(dst, "expires", r.Expires.Append(nil))
	dst = appendQuoted(dst, "id", r.ID.Append(nil))
	return appendQuoted(dst, "token", token), nil
}

func appendPlayer(dst []byte, v *house.PlayerView) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, v.ID...)
	dst = append(dst, '"')
	dst = appendMoney(dst, "balance", money.Money{Amount: v.Balance, Currency: v.Currency})
	dst = appendQuoted(dst, "currency", v.Currency)
	dst = appendQuoted(dst, "player", v.Ref.String())
	dst = appendQuoted(dst, "state", v.State)
	return append(dst, '}')
}
