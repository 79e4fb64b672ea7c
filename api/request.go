package api

import (
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf8"

	"countroom/games/house"
	"countroom/games/subjects"
	"countroom/ledger/entry"
	"countroom/ledger/money"

	"github.com/labstack/echo/v4"
)

// bodyMost is the largest body in bytes.
const bodyMost = 64 << 10

// buffer is the memory that one request's body and answer are made in.
type buffer struct{ in, canonical, out []byte }

var buffers = sync.Pool{New: func() any { return &buffer{in: make([]byte, 512)} }}

// command is a POST as received: the look-up of its key needs no more than
// that its body can be parsed. Its methods read the fields; the first that is
// not what it must be sticks.
type command struct {
	req     house.Request
	session *house.Session // nil: the operator
	buffer  *buffer
	body    entry.Value // without the members that were read
	bad     error       // why the request cannot be carried out
}

// command reads a POST. The caller calls done after the answer.
func (s *Server) command(c echo.Context, session *house.Session, bodyNeeded bool) (*command, error) {
	r := c.Request()
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	cmd := &command{session: session, buffer: buffers.Get().(*buffer)}
	cmd.req = house.Request{Key: key, Method: r.Method, Path: r.URL.Path, Principal: "operator"}
	if session != nil {
		cmd.req.Principal = session.Principal()
	}
	if err := cmd.parse(r, bodyNeeded); err != nil {
		cmd.done()
		return nil, err
	}
	return cmd, nil
}

func (cmd *command) done() { buffers.Put(cmd.buffer) }

func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header["Idempotency-Key"]
	if len(values) != 1 {
		return "", badKey.with(fmt.Sprintf("expected one Idempotency-Key header, got %d", len(values)))
	}
	key := values[0]
	if len(key) < 1 || len(key) > 255 {
		return "", badKey.with(fmt.Sprintf("expected 1 to 255 characters, got %d", len(key)))
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", badKey.with("expected printable ASCII characters")
		}
	}
	return key, nil
}

func (cmd *command) parse(r *http.Request, needed bool) error {
	b := cmd.buffer
	n, err := readBody(r, &b.in)
	if err != nil {
		return err
	}
	if r.Context().Err() != nil { // as of streams that are opened and reset to make work
		return malformed.with("the request was withdrawn")
	}
	if n == 0 && !needed {
		cmd.body.Kind = entry.KindObject
		cmd.req.Body = append(b.canonical[:0], "{}"...)
		return nil
	}
	if err := wantJSON(r); err != nil {
		return err
	}
	if cmd.body, err = entry.Parse(b.in[:n]); err != nil {
		return err
	}
	b.canonical = cmd.body.AppendCanonical(b.canonical[:0])
	cmd.req.Body = b.canonical
	return nil
}

// readBody reads the body into *into, which grows as needed.
func readBody(r *http.Request, into *[]byte) (n int, err error) {
	if r.ContentLength > bodyMost {
		return 0, tooLarge.with("")
	}
	for b := *into; ; {
		if n == len(b) {
			if n > bodyMost {
				return 0, tooLarge.with("")
			}
			b = append(b, make([]byte, min(3*n, bodyMost+1-n))...)
			*into = b
		}
		m, err := r.Body.Read(b[n:])
		n += m
		switch {
		case n > bodyMost:
			return 0, tooLarge.with("")
		case err == io.EOF:
			return n, nil
		case err != nil:
			return 0, malformed.with("the body ended early")
		}
	}
}

func wantJSON(r *http.Request) error {
	values := r.Header["Content-Type"]
	if len(values) == 1 {
		if values[0] == "application/json" {
			return nil
		}
		if t, _, err := mime.ParseMediaType(values[0]); err == nil && t == "application/json" {
			return nil
		}
	}
	return unsupportedType.with("")
}

// fail notes that a field is not what was expected.
func (cmd *command) fail(field, expected string) {
	if cmd.bad == nil {
		cmd.bad = &refusal{problem: invalid, field: field, detail: field + ": expected " + expected}
	}
}

// field takes a member out of the body.
func (cmd *command) field(name string) (v entry.Value, ok bool) {
	i := slices.IndexFunc(cmd.body.Members, func(m entry.Member) bool { return m.Name == name })
	if i < 0 {
		if cmd.body.Kind == entry.KindObject {
			cmd.fail(name, "this field to be present")
		}
		return v, false
	}
	v = cmd.body.Members[i].Value
	cmd.body.Members = slices.Delete(cmd.body.Members, i, i+1)
	return v, true
}

// integer reads an integer, written in digits only.
func (cmd *command) integer(name string, least, most int64) int64 {
	v, found := cmd.field(name)
	if !found {
		return 0
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	if v.Kind != entry.KindNumber || err != nil || n < least || n > most {
		cmd.fail(name, fmt.Sprintf("an integer from %d to %d, in digits", least, most))
		return 0
	}
	return n
}

// text reads a string.
func (cmd *command) text(name string, ok func(string) bool, expected string) string {
	v, found := cmd.field(name)
	if !found {
		return ""
	}
	if v.Kind != entry.KindString || !ok(v.Text) {
		cmd.fail(name, expected)
		return ""
	}
	return v.Text
}

// bytes32 reads 32 bytes in hex.
func (cmd *command) bytes32(name string) (v [32]byte) {
	cmd.text(name, func(text string) bool {
		n, err := hex.Decode(v[:], []byte(text[:min(len(text), 2*len(v))]))
		return err == nil && n == len(v) && text == hex.EncodeToString(v[:])
	}, "32 bytes in 64 lower-case hex digits")
	return v
}

var (
	playerID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	gameID   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
)

func (cmd *command) player(name string) string {
	return cmd.text(name, playerID.MatchString, "1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
}

func (cmd *command) game(name string) string {
	return cmd.text(name, gameID.MatchString, "1 to 32 lower-case letters, digits and '-'")
}

func (cmd *command) currency(name string) money.Currency {
	return money.Currency(cmd.text(name, func(s string) bool {
		_, err := money.ParseCurrency(s)
		return err == nil
	}, "an active ISO 4217 code such as EUR"))
}

// oneOf reads one of a few words.
func (cmd *command) oneOf(name string, words ...string) string {
	return cmd.text(name, func(s string) bool { return slices.Contains(words, s) }, fmt.Sprintf("one of %q", words))
}

// words reads an operator's reason.
func (cmd *command) words(name string) string {
	return cmd.text(name, func(s string) bool {
		for _, r := range s {
			if !unicode.IsPrint(r) {
				return false
			}
		}
		n := utf8.RuneCountInString(s)
		return n >= 1 && n <= 255
	}, "1 to 255 printable characters")
}

// attributes reads an object of texts about a player. What it refuses it does not
// repeat: it is personal.
func (cmd *command) attributes(name string) (list []house.Attribute) {
	v, found := cmd.field(name)
	if !found {
		return nil
	}
	if v.Kind != entry.KindObject || len(v.Members) < 1 || len(v.Members) > subjects.Most {
		cmd.fail(name, fmt.Sprintf("an object of 1 to %d texts", subjects.Most))
		return nil
	}
	for _, m := range v.Members {
		switch {
		case subjects.CheckAttribute(m.Name) != nil:
			cmd.fail(name, "names of 1 to 32 lower-case letters, digits and '-', a letter first")
		case m.Value.Kind != entry.KindString || subjects.CheckValue(m.Value.Text) != nil:
			cmd.fail(name+"."+m.Name, fmt.Sprintf("a text of 1 to %d bytes", subjects.ValueMost))
		}
		list = append(list, house.Attribute{Name: m.Name, Value: m.Value.Text})
	}
	return list
}

// clip keeps what is repeated to the client short.
func clip(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return s
}

// end says, after all fields were read, why the command cannot be carried out.
func (cmd *command) end() error {
	switch {
	case cmd.bad != nil:
	case cmd.body.Kind != entry.KindObject:
		cmd.fail("body", "a JSON object")
	case len(cmd.body.Members) > 0:
		cmd.fail(clip(cmd.body.Members[0].Name), "no field of this name")
	}
	return cmd.bad
}
