package entry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"countroom/ledger/money"
)

// Coder walks the members of one JSON object, writing or reading them. Each
// method takes a member's name ("" inside an array) and a pointer to its value.
// The first failure sticks; later calls do nothing.
type Coder struct {
	b       []byte // what is written so far, or the whole input
	i       int    // reading: the next byte
	reading bool
	comma   bool // a member stands before the next one at this level
	request bool // reading: the leaf has a fingerprint, so it must have a key
	depth   int
	err     error

	currency money.Currency // writing: the last, which is known to be one
}

func (c *Coder) fail(field, expected string) {
	if c.err != nil {
		return
	}
	at := c.i
	if !c.reading {
		at = len(c.b)
	}
	c.err = &FieldError{Offset: at, Field: field, Expected: expected}
}

// name writes or demands `,"name":`, the comma where one is due. It reports
// whether the visit may go on.
func (c *Coder) name(name string) bool {
	if c.err != nil {
		return false
	}
	if !c.reading {
		if c.comma {
			c.b = append(c.b, ',')
		}
		c.comma = true
		if name != "" {
			c.b = append(c.b, '"')
			c.b = append(c.b, name...)
			c.b = append(c.b, '"', ':')
		}
		return true
	}
	n := c.peek(name)
	if n < 0 {
		c.fail(name, "this member next, and no other")
		return false
	}
	c.i += n
	c.comma = true
	return true
}

// peek returns the length of `,"name":` if it comes next, or -1.
func (c *Coder) peek(name string) int {
	b, n := c.b[c.i:], 0
	if c.comma {
		if len(b) == 0 || b[0] != ',' {
			return -1
		}
		n = 1
	}
	if name == "" {
		return n
	}
	end := n + len(name) + 3
	if len(b) < end {
		return -1
	}
	if b = b[n:end]; b[0] != '"' || b[len(b)-2] != '"' || b[len(b)-1] != ':' || string(b[1:len(b)-2]) != name {
		return -1
	}
	return end
}

func (c *Coder) byte(field string, b byte) bool {
	if c.err != nil {
		return false
	}
	if !c.reading {
		c.b = append(c.b, b)
		return true
	}
	if c.i >= len(c.b) || c.b[c.i] != b {
		c.fail(field, strconv.QuoteRune(rune(b)))
		return false
	}
	c.i++
	return true
}

// Optional reports whether the member is present: as told when writing, as
// found when reading. The caller visits it only then.
func (c *Coder) Optional(name string, present bool) bool {
	if !c.reading || c.err != nil {
		return present
	}
	return c.peek(name) >= 0
}

// Expect fails the visit unless something holds of a member that was visited.
func (c *Coder) Expect(name string, holds bool, expected string) {
	if !holds {
		c.fail(name, expected)
	}
}

// Object opens a nested object, which End closes.
func (c *Coder) Object(name string) { c.open(name, '{') }

// End closes the object that was opened last.
func (c *Coder) End() { c.close('}') }

const maxDepth = 16

func (c *Coder) open(name string, bracket byte) {
	if c.depth > 0 && !c.name(name) {
		return
	}
	if c.depth++; c.depth > maxDepth {
		c.fail(name, "fewer levels")
		return
	}
	c.byte(name, bracket)
	c.comma = false
}

func (c *Coder) close(bracket byte) {
	c.byte("", bracket)
	c.depth--
	c.comma = true // what was closed is itself a member
}

// List visits an array of at most limit elements. When reading it grows the
// slice one element at a time, so that no length is believed unchecked.
func List[T any](c *Coder, name string, list *[]T, limit int, each func(*Coder, *T)) {
	c.open(name, '[')
	if !c.reading {
		if len(*list) > limit {
			c.fail(name, "at most "+strconv.Itoa(limit)+" elements")
		}
		for i := range *list {
			each(c, &(*list)[i])
		}
	} else {
		*list = (*list)[:0]
		for c.err == nil && c.i < len(c.b) && c.b[c.i] != ']' {
			if len(*list) == limit {
				c.fail(name, "at most "+strconv.Itoa(limit)+" elements")
				break
			}
			if n := len(*list); n < cap(*list) {
				*list = (*list)[:n+1] // an element of an earlier reading: equal texts stay as they are
			} else {
				var v T
				*list = append(*list, v)
			}
			each(c, &(*list)[len(*list)-1])
		}
	}
	c.close(']')
}

// Int visits an integer within ±(2^53−1).
func (c *Coder) Int(name string, v *int64) {
	if !c.name(name) {
		return
	}
	if !c.reading {
		if *v > money.Max || *v < -money.Max {
			c.fail(name, "an integer within ±(2^53-1)")
			return
		}
		c.b = strconv.AppendInt(c.b, *v, 10)
		return
	}
	negative := c.i < len(c.b) && c.b[c.i] == '-'
	if negative {
		c.i++
	}
	n, ok := c.digits()
	if !ok || negative && n == 0 {
		c.fail(name, "a canonical integer within ±(2^53-1)")
		return
	}
	if *v = int64(n); negative {
		*v = -*v
	}
}

// Uint visits an integer from 0 to 2^53−1.
func (c *Coder) Uint(name string, v *uint64) {
	if !c.name(name) {
		return
	}
	if !c.reading {
		if *v > money.Max {
			c.fail(name, "an integer from 0 to 2^53-1")
			return
		}
		c.b = strconv.AppendUint(c.b, *v, 10)
		return
	}
	n, ok := c.digits()
	if !ok {
		c.fail(name, "a canonical integer from 0 to 2^53-1")
		return
	}
	*v = n
}

// Uint32 visits an integer from 0 to 2^32−1.
func (c *Coder) Uint32(name string, v *uint32) {
	n := uint64(*v)
	c.Uint(name, &n)
	if n > 1<<32-1 {
		c.fail(name, "an integer below 2^32")
		return
	}
	*v = uint32(n)
}

func (c *Coder) digits() (uint64, bool) {
	n, next, ok := digits(c.b, c.i)
	c.i = next
	return n, ok
}

// digits reads a canonical integer from b[i] on, and returns where it ends.
func digits(b []byte, i int) (n uint64, next int, ok bool) {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		if i-start >= 16 {
			return 0, start, false
		}
		n = n*10 + uint64(b[i]-'0')
		i++
	}
	if i == start || n > money.Max || b[start] == '0' && i-start > 1 {
		return 0, start, false
	}
	return n, i, true
}

// Pair visits an array of two integers below 2^32.
func (c *Coder) Pair(name string, a, b *uint32) {
	if c.reading && c.err == nil && c.readPair(name, a, b) {
		return
	}
	c.open(name, '[')
	c.Uint32("", a)
	c.Uint32("", b)
	c.close(']')
}

// readPair reads a pair at once, since rounds have many. If there is none it
// leaves the reading where it was.
func (c *Coder) readPair(name string, a, b *uint32) bool {
	n := c.peek(name)
	if n < 0 {
		return false
	}
	in, i := c.b, c.i+n
	if i >= len(in) || in[i] != '[' {
		return false
	}
	v, i, ok := digits(in, i+1)
	if !ok || v >= 1<<32 || i >= len(in) || in[i] != ',' {
		return false
	}
	w, i, ok := digits(in, i+1)
	if !ok || w >= 1<<32 || i >= len(in) || in[i] != ']' {
		return false
	}
	*a, *b = uint32(v), uint32(w)
	c.i, c.comma = i+1, true
	return true
}

// Bool visits true or false.
func (c *Coder) Bool(name string, v *bool) {
	if !c.name(name) {
		return
	}
	if !c.reading {
		c.b = strconv.AppendBool(c.b, *v)
		return
	}
	switch rest := c.b[c.i:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		*v = true
		c.i += 4
	case bytes.HasPrefix(rest, []byte("false")):
		*v = false
		c.i += 5
	default:
		c.fail(name, "true or false")
	}
}

// Text visits a string of at most limit printable ASCII characters, quotation
// mark and backslash excluded.
func (c *Coder) Text(name string, v *string, limit int) {
	if !c.reading {
		if len(*v) > limit || !plainText(*v) {
			c.fail(name, "at most "+strconv.Itoa(limit)+" plain ASCII characters")
			return
		}
		if c.name(name) {
			c.b = append(c.b, '"')
			c.b = append(c.b, *v...)
			c.b = append(c.b, '"')
		}
		return
	}
	s, ok := c.quoted(name, limit)
	switch {
	case !ok:
	case string(s) == *v && *v != "": // as an earlier reading, which looked at it
	case !plainText(s):
		c.fail(name, "plain ASCII characters")
	default:
		*v = string(s)
	}
}

// Is visits a string that has only one right value.
func (c *Coder) Is(name, value string) {
	if !c.reading {
		c.Text(name, &value, MaxSize)
		return
	}
	if s, ok := c.quoted(name, MaxSize); ok && string(s) != value {
		c.fail(name, strconv.Quote(value))
	}
}

// quoted reads a string and returns what stands between the quotation marks,
// aliasing the input. The caller demands a form in which nothing is escaped.
func (c *Coder) quoted(name string, limit int) ([]byte, bool) {
	if !c.name(name) {
		return nil, false
	}
	if c.i >= len(c.b) || c.b[c.i] != '"' {
		return nil, c.byte(name, '"')
	}
	c.i++
	b := c.b[c.i:]
	n := bytes.IndexByte(b, '"')
	if n < 0 || n > limit {
		c.fail(name, "a string of at most "+strconv.Itoa(limit)+" characters")
		return nil, false
	}
	c.i += n + 1
	return b[:n], true
}

func plainText[S string | []byte](s S) bool {
	for i := 0; i < len(s); i++ {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

// Hex visits binary of a fixed length as lower-case hex.
func (c *Coder) Hex(name string, v []byte) {
	if !c.reading {
		if c.name(name) {
			c.b = append(c.b, '"')
			c.b = appendHex(c.b, v)
			c.b = append(c.b, '"')
		}
		return
	}
	if s, ok := c.quoted(name, 2*len(v)); ok && (len(s) != 2*len(v) || !readHex(v, s)) {
		c.fail(name, strconv.Itoa(2*len(v))+" lower-case hex digits")
	}
}

// Binary visits binary of 0 to limit bytes as lower-case hex.
func (c *Coder) Binary(name string, v *[]byte, limit int) {
	if !c.reading {
		if len(*v) > limit {
			c.fail(name, "at most "+strconv.Itoa(limit)+" bytes")
			return
		}
		c.Hex(name, *v)
		return
	}
	s, ok := c.quoted(name, 2*limit)
	if !ok {
		return
	}
	*v = make([]byte, len(s)/2)
	if len(s)%2 != 0 || !readHex(*v, s) {
		c.fail(name, "lower-case hex")
	}
}

const hexDigits = "0123456789abcdef"

func appendHex(dst, v []byte) []byte { return hex.AppendEncode(dst, v) }

// unhex maps a lower-case hex digit to its value, anything else to 0xff.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range hexDigits {
		t[hexDigits[i]] = byte(i)
	}
	return
}()

// readHex reads eight digits at a time: a third of a round's leaf is hex.
func readHex(dst, s []byte) bool {
	const each = 0x0101010101010101
	for len(dst) >= 4 {
		w := binary.LittleEndian.Uint64(s)
		// Of 0 to 9 the low half is the value, of a to f it is 9 less.
		n := w&(0x0f*each) + w>>6&each*9
		letter := (n + (0x80-10)*each) >> 7 & each
		// What is no digit does not come back as it was, or leaves a value above 15.
		if n&(0xf0*each)|((n+'0'*each+letter*('a'-'0'-10))^w) != 0 {
			return false
		}
		n = (n<<4 | n>>8) & 0x00ff00ff00ff00ff
		n = (n | n>>8) & 0x0000ffff0000ffff
		binary.LittleEndian.PutUint32(dst, uint32(n|n>>16))
		dst, s = dst[4:], s[8:]
	}
	for i := range dst {
		hi, lo := unhex[s[2*i]], unhex[s[2*i+1]]
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

// UUID visits a version 4 UUID in its lower-case text form.
func (c *Coder) UUID(name string, v *UUID) {
	if !c.reading {
		if !v.valid() {
			c.fail(name, "a version 4 UUID")
		} else if c.name(name) {
			c.b = append(c.b, '"')
			c.b = v.Append(c.b)
			c.b = append(c.b, '"')
		}
		return
	}
	if s, ok := c.quoted(name, 36); ok && !v.parse(s) {
		c.fail(name, "a lower-case version 4 UUID")
	}
}

// Time visits an RFC 3339 UTC time with exactly six fractional digits.
func (c *Coder) Time(name string, v *Time) {
	if !c.reading {
		if *v < 0 || *v > maxTime {
			c.fail(name, "a time from 1970 to 9999")
		} else if c.name(name) {
			c.b = append(c.b, '"')
			c.b = v.Append(c.b)
			c.b = append(c.b, '"')
		}
		return
	}
	if s, ok := c.quoted(name, timeLen); ok && !v.parse(s) {
		c.fail(name, "a time such as 2006-01-02T15:04:05.000000Z")
	}
}

// Currency visits an ISO 4217 code.
func (c *Coder) Currency(name string, v *money.Currency) {
	if !c.reading {
		s := string(*v)
		if *v != c.currency || s == "" { // an entry has hardly ever more than one
			if _, err := money.ParseCurrency(s); err != nil {
				c.fail(name, "an ISO 4217 code")
				return
			}
			c.currency = *v
		}
		c.Text(name, &s, 3)
		return
	}
	s, ok := c.quoted(name, 3)
	if !ok || string(s) == string(*v) && len(s) == 3 {
		return
	}
	cur, err := money.ParseCurrency(string(s))
	if err != nil {
		c.fail(name, "an ISO 4217 code")
		return
	}
	*v = cur
}

// Money visits {"amount":…,"currency":…}.
func (c *Coder) Money(name string, v *money.Money) {
	c.Object(name)
	c.Int("amount", &v.Amount)
	c.Currency("currency", &v.Currency)
	c.End()
}

// Postings visits the lines of a double entry.
func (c *Coder) Postings(name string, v *[]money.Posting) {
	List(c, name, v, 64, func(c *Coder, p *money.Posting) {
		c.Object("")
		c.Text("account", &p.Account, 128)
		c.Int("amount", &p.Amount)
		c.Int("balance", &p.Balance)
		c.Currency("currency", &p.Currency)
		c.End()
	})
}

// Raw visits a JSON value of somebody else's form, such as a game's outcome.
// Reading takes a well-nested value without judging whether it is canonical:
// the reader either compares it with what it recomputed or calls Canonical.
func (c *Coder) Raw(name string, v *[]byte) {
	if !c.reading {
		if len(*v) == 0 {
			c.fail(name, "a JSON value")
		} else if c.name(name) {
			c.b = append(c.b, *v...)
		}
		return
	}
	if !c.name(name) {
		return
	}
	n := skipValue(c.b[c.i:])
	if n <= 0 {
		c.fail(name, "a JSON value")
		return
	}
	*v = c.b[c.i : c.i+n]
	c.i += n
}

// skipValue returns the length of the JSON value that b starts with, minding
// only strings and nesting, or 0.
func skipValue(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if i >= len(b) {
				return 0
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return 0
}

// The header's members; each record visits them where their names sort.

// Actor visits who caused the entry.
func (c *Coder) Actor(h *Header) { c.Text("actor", &h.Actor, 64) }

// At visits the entry's time.
func (c *Coder) At(h *Header) { c.Time("at", &h.At) }

// ID visits the entry's UUID.
func (c *Coder) ID(h *Header) { c.UUID("id", &h.ID) }

// Fingerprint visits the request's fingerprint, absent when there is none. Its
// name sorts before Key's.
func (c *Coder) Fingerprint(h *Header) {
	c.request = c.Optional("fingerprint", !h.Request.IsZero())
	if c.reading {
		h.Request = Request{}
	}
	if c.request {
		c.Hex("fingerprint", h.Request.Fingerprint[:])
	}
}

// Key visits the request's key hash, which is there when the fingerprint is.
func (c *Coder) Key(h *Header) {
	if !c.request {
		return
	}
	c.Hex("key", h.Request.Key[:])
	if c.err == nil && h.Request.IsZero() {
		c.fail("key", "a request, or neither key nor fingerprint")
	}
}
