package entry

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"reflect"
	"regexp"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"countroom/ledger/money"
)

// spent fails the test if f allocates more than it may for n bytes of input:
// so many times n, and a mebibyte that others in the process may have taken.
func spent(t *testing.T, n, times int, f func()) {
	t.Helper()
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	got := uint64(math.MaxUint64)
	for range 5 { // others may take more at any time, but f takes as much each time
		metrics.Read(s)
		before := s[0].Value.Uint64()
		f()
		metrics.Read(s)
		if got = min(got, s[0].Value.Uint64()-before); got <= uint64(times*n+1<<20) {
			return
		}
	}
	t.Errorf("%d bytes of input took %d bytes of memory", n, got)
}

// examples are all entries and answers that docs/formats shows.
func examples(f *testing.F) (list [][]byte) {
	const dir = "../../docs/formats/examples/"
	files, err := os.ReadDir(dir)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".json") {
			continue
		}
		b, err := os.ReadFile(dir + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// What is taken for JSON, and its RFC 8785 form, is what a reference of another
// make takes and writes.
func FuzzCanonical(f *testing.F) {
	for _, b := range examples(f) {
		f.Add(b)
	}
	for _, s := range []string{
		`{"a":[1,2.5,-0,"\ud83d\ude00"],"b":null}`, `"\u20ac\u2028\u007f\b\/"`, `[1e30,1e21,1e-7,-0.0,5e-324,123456789012345678901234567890]`, ` [ [ ] , { } ] `,
		`{"\ud83d\ude00":1,"\ufb33":2,"é":3,"\r":4,"a\uffff":5,"a\ud800\udc00":6,"a\udbff\udfff":7,"a":8,"\ue000":9}`, `{"a":1,"\u0061":2}`, `"\ud800"`, `"\ud800\u0041"`, `"\u0000"`, "\"\xff\"", `1e999`, "\ufeff{}",
		strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("[", 66) + strings.Repeat("]", 66),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []byte
		var err error
		spent(t, len(b), 512, func() { got, err = Canonical(b) })
		want, refused := reference(b)
		if (err == nil) != (refused == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%q:\n got %q, %v\nwant %q, %v", b, got, err, want, refused)
		}
		if err != nil {
			if !errors.Is(err, ErrJSON) {
				t.Fatalf("%v is no ErrJSON", err)
			}
			return
		}
		if again, err := Canonical(got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q, then %q, %v", got, again, err)
		}
	})
}

// reference is RFC 8785 over RFC 7493 by way of encoding/json, with the limits
// that Parse documents.
func reference(b []byte) ([]byte, error) {
	switch {
	case !json.Valid(b):
		return nil, errors.New("not JSON")
	case !utf8.Valid(b):
		return nil, errors.New("not UTF-8")
	case surrogatesAlone(b):
		return nil, errors.New("a surrogate alone")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	out, err := referenceValue(nil, d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return out, nil
}

var escapes = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\.`)

// surrogatesAlone looks for halves of pairs, for which encoding/json puts
// U+FFFD.
func surrogatesAlone(b []byte) bool {
	low := -1 // where the second half of a pair has to begin
	for _, m := range escapes.FindAllIndex(b, -1) {
		unit, err := strconv.ParseUint(string(b[m[0]+2:m[1]]), 16, 16)
		isLow := err == nil && unit>>10 == 0xdc00>>10
		if (low == m[0]) != isLow || low >= 0 && low != m[0] {
			return true
		}
		low = -1
		if err == nil && unit>>10 == 0xd800>>10 {
			low = m[1]
		}
	}
	return low >= 0
}

func referenceValue(dst []byte, d *json.Decoder, depth int) ([]byte, error) {
	if depth > 64 {
		return nil, errors.New("too deep")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			dst = append(dst, '[')
			for n := 0; d.More(); n++ {
				if n > 0 {
					dst = append(dst, ',')
				}
				if dst, err = referenceValue(dst, d, depth+1); err != nil {
					return nil, err
				}
			}
			_, err = d.Token()
			return append(dst, ']'), err
		}
		members, names := map[string][]byte{}, []string(nil)
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := token.(string)
			if _, twice := members[name]; twice || len(names) == 1024 {
				return nil, errors.New("a name twice, or too many")
			}
			names = append(names, name)
			if members[name], err = referenceValue(nil, d, depth+1); err != nil {
				return nil, err
			}
		}
		slices.SortFunc(names, func(a, b string) int { return bytes.Compare(utf16Bytes(a), utf16Bytes(b)) })
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = referenceString(dst, name); err != nil {
				return nil, err
			}
			dst = append(append(dst, ':'), members[name]...)
		}
		_, err = d.Token()
		return append(dst, '}'), err
	case string:
		return referenceString(dst, v)
	case json.Number:
		n, err := v.Float64()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			n = 0 // not -0
		}
		b, err := json.Marshal(n) // as ECMAScript does, by its documentation
		return append(dst, b...), err
	}
	b, err := json.Marshal(token)
	return append(dst, b...), err
}

func utf16Bytes(s string) (b []byte) {
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, unit)
	}
	return b
}

// referenceString escapes what encoding/json escapes, but for the two line
// separators.
func referenceString(dst []byte, s string) ([]byte, error) {
	if strings.Contains(s, "\x00") {
		return nil, errors.New("U+0000")
	}
	dst = append(dst, '"')
	for len(s) > 0 {
		n := strings.IndexAny(s, "\u2028\u2029")
		if n == 0 {
			n = len("\u2028")
			dst = append(dst, s[:n]...)
		} else {
			if n < 0 {
				n = len(s)
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			if err := e.Encode(s[:n]); err != nil {
				return nil, err
			}
			dst = append(dst, b.Bytes()[1:b.Len()-2]...)
		}
		s = s[n:]
	}
	return append(dst, '"'), nil
}

// What can be read is written as it was, is in range, is canonical JSON if its
// raw member is, and does not depend on what the record held before.
func FuzzDecode(f *testing.F) {
	leaf, err := Append(nil, aSample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf)
	bare := aSample()
	bare.Request, bare.Legs, bare.Blob = Request{}, nil, nil
	short, err := Append(nil, bare)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(short)
	f.Add([]byte(`{"active":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sample
		var err error
		spent(t, len(b), 64, func() { err = Decode(b, &s) })
		if err != nil {
			var field *FieldError
			if !errors.Is(err, ErrFormat) || len(b) <= MaxSize && (!errors.As(err, &field) || field.Offset > len(b) || field.Expected == "") {
				t.Fatalf("%q is refused with %#v", b, err)
			}
			return
		}
		if again, err := Append(nil, &s); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %q, written %q, %v", b, again, err)
		}
		used := aSample()
		if err := Decode(b, used); err != nil {
			t.Fatalf("%q cannot be read into a used record: %v", b, err)
		}
		if again, err := Append(nil, used); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %q into a used record, written %q, %v", b, again, err)
		}
		if typ, err := TypeOf(b); err != nil || typ != s.Type() {
			t.Fatalf("type %q, %v", typ, err)
		}
		inRange := s.At >= 0 && s.At <= maxTime && s.ID.valid() && s.Count <= money.Max && len(s.Blob) <= 8 && len(s.Text) <= 20 && len(s.Actor) <= 64
		for _, amount := range []int64{s.Level, s.Sum.Amount} {
			inRange = inRange && amount >= -money.Max && amount <= money.Max
		}
		for _, p := range s.Legs {
			_, err := money.ParseCurrency(string(p.Currency))
			inRange = inRange && err == nil
		}
		if !inRange {
			t.Fatalf("%q was read as %+v", b, s)
		}
		if game, err := Canonical(s.Game); err == nil && bytes.Equal(game, s.Game) {
			if whole, err := Canonical(b); err != nil || !bytes.Equal(whole, b) {
				t.Fatalf("%q is not canonical: %q, %v", b, whole, err)
			}
		}
	})
}

// What can be written is read as it was.
func FuzzAppend(f *testing.F) {
	s := aSample()
	f.Add(s.Actor, int64(s.At), s.ID[:], s.Blob, s.Count, s.Level, s.Small, s.Text, "EUR", s.Request.Key[:], uint8(2))
	f.Add("", int64(0), []byte{}, []byte{}, uint64(0), int64(0), uint32(0), "", "JPY", []byte{}, uint8(0))
	f.Add("\"", int64(-1), []byte{1}, make([]byte, 9), uint64(1<<53), int64(math.MinInt64), uint32(math.MaxUint32), "\\", "eur", []byte{1}, uint8(65))
	f.Fuzz(func(t *testing.T, actor string, at int64, id, blob []byte, count uint64, level int64, small uint32, text, currency string, key []byte, legs uint8) {
		s := &sample{
			Header: Header{Actor: actor, At: Time(at)}, Active: small%2 == 0, Blob: append([]byte{}, blob...), Count: count, Game: []byte(`{}`),
			Level: level, Small: small, Text: text, Sum: money.Money{Amount: -level, Currency: money.Currency(currency)},
		}
		copy(s.ID[:], id)
		copy(s.Request.Key[:], key)
		for i := range legs {
			s.Legs = append(s.Legs, money.Posting{Account: text, Amount: level, Balance: int64(i), Currency: money.Currency(currency)})
		}
		leaf, err := Append([]byte("before"), s)
		if err != nil {
			if !errors.Is(err, ErrFormat) || string(leaf) != "before" {
				t.Fatalf("%q, %v", leaf, err)
			}
			return
		}
		leaf = leaf[len("before"):]
		var back sample
		if err := Decode(leaf, &back); err != nil || !reflect.DeepEqual(&back, s) {
			t.Fatalf("written %s\nread %+v, %v\nwant %+v", leaf, back, err, *s)
		}
	})
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func FuzzParseUUID(f *testing.F) {
	f.Add("0f1e2d3c-0000-4000-8000-000000000000")
	f.Add("0F1E2D3C-0000-4000-8000-000000000000")
	f.Add("0f1e2d3c-0000-1000-8000-000000000000\n")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUUID(s)
		if (err == nil) != (len(s) == 36 && uuidForm.MatchString(s)) {
			t.Fatalf("%q: %v", s, err)
		}
		if err == nil && u.String() != s {
			t.Fatalf("%q was read as %q", s, u)
		}
	})
}

// A time is read as package time reads it, in its one spelling.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"1970-01-01T00:00:00.000000Z", "2024-02-29T12:30:45.000001Z", "2100-02-29T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2016-12-31T23:59:60.000000Z", "2026-01-01T00:00:00,000000Z"} {
		f.Add(s)
	}
	const form = "2006-01-02T15:04:05.000000Z"
	f.Fuzz(func(t *testing.T, s string) {
		std, err := time.Parse(form, s)
		want := err == nil && std.Year() >= 1970 && std.Format(form) == s
		var got Time
		if ok := got.parse([]byte(s)); ok != want {
			t.Fatalf("%q: %t, want %t", s, ok, want)
		}
		if want && (got != TimeOf(std) || got.String() != s || !got.Std().Equal(std)) {
			t.Fatalf("%q was read as %s", s, got)
		}
	})
}
