package entry

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrJSON says that bytes are not JSON as RFC 7493 (I-JSON) and the log ask:
// valid UTF-8, no name twice in an object, no U+0000, no lone surrogates, at
// most 64 levels deep and 1024 names to an object.
var ErrJSON = errors.New("not acceptable JSON")

// Kind is the kind of a JSON value.
type Kind byte

// The kinds of JSON values.
const (
	KindNull Kind = iota + 1
	KindTrue
	KindFalse
	KindNumber
	KindString
	KindArray
	KindObject
)

// Value is a parsed JSON value.
type Value struct {
	Kind    Kind
	Text    string   // KindString: the characters; KindNumber: the literal as written
	Items   []Value  // KindArray
	Members []Member // KindObject, in the order written
}

// Member is one name and value of an object.
type Member struct {
	Name  string
	Value Value
}

// Get returns the member of that name.
func (v *Value) Get(name string) (*Value, bool) {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i].Value, true
		}
	}
	return nil, false
}

// Parse reads one JSON text strictly.
func Parse(src []byte) (Value, error) {
	p := parser{b: src}
	p.space()
	v := p.value(0)
	p.space()
	if p.err == nil && p.i != len(src) {
		p.fail("nothing after the value")
	}
	if p.err != nil {
		return Value{}, p.err
	}
	return v, nil
}

// Canonical returns the RFC 8785 (JCS) form of a JSON text.
func Canonical(src []byte) ([]byte, error) {
	v, err := Parse(src)
	if err != nil {
		return nil, err
	}
	return v.AppendCanonical(make([]byte, 0, len(src))), nil
}

// AppendCanonical appends the RFC 8785 form of v.
func (v *Value) AppendCanonical(dst []byte) []byte {
	switch v.Kind {
	case KindTrue:
		return append(dst, "true"...)
	case KindFalse:
		return append(dst, "false"...)
	case KindNumber:
		return appendNumber(dst, v.Text)
	case KindString:
		return appendString(dst, v.Text)
	case KindArray:
		dst = append(dst, '[')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.Items[i].AppendCanonical(dst)
		}
		return append(dst, ']')
	case KindObject:
		sorted := slices.Clone(v.Members)
		slices.SortFunc(sorted, func(a, b Member) int { return compareUTF16(a.Name, b.Name) })
		dst = append(dst, '{')
		for i := range sorted {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, sorted[i].Name), ':')
			dst = sorted[i].Value.AppendCanonical(dst)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// compareUTF16 orders names by UTF-16 code units (RFC 8785, 3.2.3). That is the
// order of their bytes, but for characters above U+FFFF, whose surrogates come
// before U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		const private, above = 0xee, 0xf0 // first bytes of U+E000 and of U+10000
		if x >= private && y >= private && (x >= above) != (y >= above) {
			return cmp.Compare(y, x)
		}
		return cmp.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b >= ' ':
			dst = append(dst, b)
		case b == '\b':
			dst = append(dst, '\\', 'b')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\f':
			dst = append(dst, '\\', 'f')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return append(dst, '"')
}

// appendNumber writes a number as ECMAScript's Number::toString does (RFC
// 8785, 3.2.2.3). The literal was checked by Parse.
func appendNumber(dst []byte, literal string) []byte {
	f, _ := strconv.ParseFloat(literal, 64)
	if f == 0 {
		return append(dst, '0')
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go pads the exponent to two digits, ECMAScript does not.
	if e := len(dst) - 2; e > start && dst[e] == '0' && (dst[e-1] == '+' || dst[e-1] == '-') {
		dst = append(dst[:e], dst[e+1])
	}
	return dst
}

// maxMembers keeps the search for repeated names cheap on hostile input.
const maxMembers = 1024

type parser struct {
	b   []byte
	i   int
	err error
}

func (p *parser) fail(expected string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: byte %d: expected %s", ErrJSON, p.i, expected)
	}
}

func (p *parser) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\t' || p.b[p.i] == '\n' || p.b[p.i] == '\r') {
		p.i++
	}
}

func (p *parser) next(b byte) bool {
	if p.i < len(p.b) && p.b[p.i] == b {
		p.i++
		return true
	}
	return false
}

func (p *parser) value(depth int) (v Value) {
	if depth > 64 {
		p.fail("at most 64 levels")
		return
	}
	if p.i >= len(p.b) {
		p.fail("a value")
		return
	}
	switch b := p.b[p.i]; b {
	case '{':
		p.i++
		v.Kind = KindObject
		p.space()
		for more := !p.next('}'); more && p.err == nil; {
			p.space()
			name := p.str()
			if _, twice := v.Get(name); twice && p.err == nil {
				p.fail(fmt.Sprintf("each name once, not %q again", name))
			}
			p.space()
			if !p.next(':') {
				p.fail("':'")
			}
			p.space()
			if len(v.Members) == maxMembers {
				p.fail("at most 1024 names in an object")
			}
			v.Members = append(v.Members, Member{name, p.value(depth + 1)})
			p.space()
			if more = p.next(','); !more && !p.next('}') {
				p.fail("',' or '}'")
			}
		}
	case '[':
		p.i++
		v.Kind = KindArray
		p.space()
		for more := !p.next(']'); more && p.err == nil; {
			p.space()
			v.Items = append(v.Items, p.value(depth+1))
			p.space()
			if more = p.next(','); !more && !p.next(']') {
				p.fail("',' or ']'")
			}
		}
	case '"':
		v.Kind, v.Text = KindString, p.str()
	case 't':
		v.Kind = KindTrue
		p.literal("true")
	case 'f':
		v.Kind = KindFalse
		p.literal("false")
	case 'n':
		v.Kind = KindNull
		p.literal("null")
	default:
		v.Kind, v.Text = KindNumber, p.number()
	}
	return v
}

func (p *parser) literal(s string) {
	if len(p.b)-p.i < len(s) || string(p.b[p.i:p.i+len(s)]) != s {
		p.fail(s)
		return
	}
	p.i += len(s)
}

func (p *parser) number() string {
	start := p.i
	digits := func() bool {
		from := p.i
		for p.i < len(p.b) && p.b[p.i]-'0' <= 9 {
			p.i++
		}
		return p.i > from
	}
	p.next('-')
	if !p.next('0') && !digits() {
		p.fail("a value")
		return ""
	}
	if p.next('.') && !digits() {
		p.fail("a digit")
		return ""
	}
	if p.next('e') || p.next('E') {
		if !p.next('+') {
			p.next('-')
		}
		if !digits() {
			p.fail("a digit")
			return ""
		}
	}
	s := string(p.b[start:p.i])
	if f, err := strconv.ParseFloat(s, 64); err != nil || math.IsInf(f, 0) {
		p.fail("a number within the range of a double")
	}
	return s
}

func (p *parser) str() string {
	if !p.next('"') {
		p.fail("'\"'")
		return ""
	}
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= ' ' && p.b[p.i] < utf8.RuneSelf && p.b[p.i] != '"' && p.b[p.i] != '\\' {
		p.i++
	}
	if p.i < len(p.b) && p.b[p.i] == '"' { // the common case needs no decoding
		p.i++
		return string(p.b[start : p.i-1])
	}
	s := append([]byte(nil), p.b[start:p.i]...)
	for p.err == nil {
		if p.i >= len(p.b) {
			p.fail("'\"'")
			break
		}
		switch b := p.b[p.i]; {
		case b == '"':
			p.i++
			return string(s)
		case b == '\\':
			p.i++
			s = p.escape(s)
		case b < ' ':
			p.fail("no control character in a string")
		default:
			r, n := utf8.DecodeRune(p.b[p.i:])
			if r == utf8.RuneError && n <= 1 {
				p.fail("valid UTF-8")
				break
			}
			s = append(s, p.b[p.i:p.i+n]...)
			p.i += n
		}
	}
	return ""
}

func (p *parser) escape(s []byte) []byte {
	if p.i >= len(p.b) {
		p.fail("an escape")
		return s
	}
	b := p.b[p.i]
	p.i++
	switch b {
	case '"', '\\', '/':
		return append(s, b)
	case 'b':
		return append(s, '\b')
	case 'f':
		return append(s, '\f')
	case 'n':
		return append(s, '\n')
	case 'r':
		return append(s, '\r')
	case 't':
		return append(s, '\t')
	case 'u':
		r := p.hex4()
		if utf16.IsSurrogate(r) {
			if !p.next('\\') || !p.next('u') {
				p.fail("the second half of a surrogate pair")
				return s
			}
			if r = utf16.DecodeRune(r, p.hex4()); r == utf8.RuneError {
				p.fail("a surrogate pair")
			}
		}
		if r == 0 {
			p.fail("no U+0000")
		}
		return utf8.AppendRune(s, r)
	}
	p.fail("an escape")
	return s
}

func (p *parser) hex4() (r rune) {
	if len(p.b)-p.i < 4 {
		p.fail("four hex digits")
		return 0
	}
	for range 4 {
		b := p.b[p.i]
		if b >= 'A' && b <= 'F' {
			b += 'a' - 'A'
		}
		d := unhex[b]
		if d > 15 {
			p.fail("four hex digits")
			return 0
		}
		r = r<<4 | rune(d)
		p.i++
	}
	return r
}
