// Package entry is the form of a log entry: one RFC 8785 (JCS) canonical JSON
// object per leaf, written append-style and read strictly.
//
// A record type visits its members once, in canonical order, with a Coder; the
// same visit writes the leaf and reads it, so the two cannot drift apart. A
// reader accepts exactly the bytes that a writer of the same record would
// produce: an unknown, missing, repeated or misplaced name, white space, an
// escape or a number with a leading zero is refused, naming the field.
//
// Rules of the format that are narrower than JSON: names and texts are
// printable ASCII without quotation mark and backslash (so nothing is ever
// escaped), numbers are integers within ±(2^53−1), binary values are lower-case
// hex, and no top-level name sorts after "type", so each leaf ends in its type.
package entry

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

// MaxSize is the size in bytes of the largest entry; its length must fit the
// uint16 of a C2SP entry bundle.
const MaxSize = 65535

// ErrFormat says that bytes are not the canonical form of the record.
var ErrFormat = errors.New("not a canonical entry")

// FieldError tells where a leaf departs from its record's form. It is an
// ErrFormat.
type FieldError struct {
	Offset   int    // bytes into the leaf
	Field    string // the member at fault
	Expected string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%v: byte %d, field %q: expected %s", ErrFormat, e.Offset, e.Field, e.Expected)
}

func (e *FieldError) Unwrap() error { return ErrFormat }

// Record is one type of entry. Code visits all members of the JSON object,
// those of the header included, in canonical (byte) order of their names.
type Record interface {
	Head() *Header
	Type() string
	Code(c *Coder)
}

// Header is what every entry carries.
type Header struct {
	Actor   string // who caused it: "house", "operator", "session/<uuid>"
	At      Time   // never goes back along the log
	ID      UUID   // version 4; its random bits also blind an open hash tile
	Request Request
}

// Head makes Header the part of Record that all types share by embedding.
func (h *Header) Head() *Header { return h }

// Request is the idempotency of the command that caused the entry; the zero
// value means that the entry was caused by no outside command.
type Request struct {
	Key         [32]byte // RequestKey
	Fingerprint [16]byte // RequestFingerprint
}

// IsZero reports whether there was no request.
func (r *Request) IsZero() bool { return *r == Request{} }

// Object is a JSON object that visits its own members in canonical order.
type Object interface{ Code(c *Coder) }

// Append appends the canonical leaf of r to dst.
func Append(dst []byte, r Record) ([]byte, error) {
	b, err := AppendObject(dst, r)
	if err != nil {
		return dst, fmt.Errorf("entry %s: %w", r.Type(), err)
	}
	if n := len(b) - len(dst); n > MaxSize {
		return dst, fmt.Errorf("entry %s: %d bytes, at most %d fit a leaf", r.Type(), n, MaxSize)
	}
	return b, nil
}

// Decode reads a leaf into r, whose type it must have. The raw members of r
// alias the leaf.
func Decode(leaf []byte, r Record) error {
	if len(leaf) > MaxSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrFormat, len(leaf), MaxSize)
	}
	return DecodeObject(leaf, r)
}

// AppendObject appends the canonical JSON of o to dst.
func AppendObject(dst []byte, o Object) ([]byte, error) {
	c := Coder{b: dst}
	c.Object("")
	o.Code(&c)
	c.End()
	if c.err != nil {
		return dst, c.err
	}
	return c.b, nil
}

// DecodeObject reads what AppendObject wrote, and nothing else.
func DecodeObject(b []byte, o Object) error {
	c := coders.Get().(*Coder)
	*c = Coder{b: b, reading: true}
	c.Object("")
	o.Code(c)
	c.End()
	if c.err == nil && c.i != len(b) {
		c.fail("", "the end of the object")
	}
	err := c.err
	*c = Coder{}
	coders.Put(c)
	return err
}

// coders are those that wait to read: there are millions of leaves.
var coders = sync.Pool{New: func() any { return new(Coder) }}

var typeMark = []byte(`,"type":"`)

// TypeOf returns the type of a leaf from its last member, without reading the
// rest.
func TypeOf(leaf []byte) (string, error) {
	if n := len(leaf); n > 2 && string(leaf[n-2:]) == `"}` {
		if i := bytes.LastIndexByte(leaf[:n-2], '"') + 1; i >= len(typeMark) && bytes.Equal(leaf[i-len(typeMark):i], typeMark) && validType(leaf[i:n-2]) {
			return string(leaf[i : n-2]), nil
		}
	}
	return "", fmt.Errorf("%w: does not end in a \"type\" member", ErrFormat)
}

// validType: dotted words of lower-case letters, digits and hyphens.
func validType(t []byte) bool {
	if len(t) == 0 || len(t) > 64 {
		return false
	}
	for i, b := range t {
		word := b >= 'a' && b <= 'z' || b >= '0' && b <= '9'
		if !word && (b != '.' && b != '-' || i == 0 || i == len(t)-1) {
			return false
		}
	}
	return true
}
