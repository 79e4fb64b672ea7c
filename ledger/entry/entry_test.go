package entry

import (
	"bytes"
	"errors"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"countroom/ledger/money"
)

// sample visits one member of every kind.
type sample struct {
	Header
	Active bool
	Blob   []byte
	Count  uint64
	Game   []byte
	Legs   []money.Posting
	Level  int64
	Sum    money.Money
	Small  uint32
	Text   string
	Words  []uint32
}

func (s *sample) Type() string { return "sample.taken" }
func (s *sample) Code(c *Coder) {
	c.Bool("active", &s.Active)
	c.Actor(&s.Header)
	c.At(&s.Header)
	c.Binary("blob", &s.Blob, 8)
	c.Uint("count", &s.Count)
	c.Fingerprint(&s.Header)
	c.Raw("game", &s.Game)
	c.ID(&s.Header)
	c.Key(&s.Header)
	c.Postings("legs", &s.Legs)
	c.Int("level", &s.Level)
	c.Uint32("small", &s.Small)
	c.Money("sum", &s.Sum)
	c.Text("text", &s.Text, 20)
	c.Is("type", s.Type())
}

func aSample() *sample {
	var random [16]byte
	for i := range random {
		random[i] = byte(i * 17)
	}
	return &sample{
		Header: Header{
			Actor: "session/0f1e2d3c-0000-4000-8000-000000000000", At: TimeOf(time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.UTC)),
			ID: NewUUID(random), Request: Request{Key: RequestKey("operator", "k1"), Fingerprint: RequestFingerprint("k1", "POST", "/v1/players", "operator", []byte(`{}`))},
		},
		Active: true, Blob: []byte{0, 0xab}, Count: 7, Game: []byte(`{"a":[1,"}"]}`), Level: -math.MaxInt32, Small: math.MaxUint32,
		Legs: []money.Posting{{Account: "house/cashier", Amount: -5, Balance: -5, Currency: "EUR"}, {Account: "player/x/cash", Amount: 5, Balance: 5, Currency: "EUR"}},
		Sum:  money.Money{Amount: money.Max, Currency: "JPY"}, Text: "hello, world",
	}
}

func TestGoldenLeaf(t *testing.T) {
	leaf, err := Append(nil, aSample())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(leaf, bytes.TrimSpace(want)) {
		t.Fatalf("leaf:\n%s\ntestdata/sample.json:\n%s", leaf, want)
	}
	canonical, err := Canonical(leaf)
	if err != nil || !bytes.Equal(canonical, leaf) {
		t.Fatalf("the leaf is not its own RFC 8785 form: %v\n%s", err, canonical)
	}
	if typ, err := TypeOf(leaf); err != nil || typ != "sample.taken" {
		t.Fatalf("TypeOf = %q, %v", typ, err)
	}
	var back sample
	if err := Decode(leaf, &back); err != nil {
		t.Fatal(err)
	}
	again, err := Append(nil, &back)
	if err != nil || !bytes.Equal(again, leaf) {
		t.Fatalf("decoded and written again: %v\n%s", err, again)
	}
}

// Every departure from the one canonical form is refused, and the error names
// the field.
func TestStrictDecoding(t *testing.T) {
	leaf, _ := Append(nil, aSample())
	for _, c := range []struct{ name, old, new, field string }{
		{"unknown name", `"blob":`, `"blot":1,"blob":`, "blob"},
		{"name twice", `"count":7,`, `"count":7,"count":7,`, "game"},
		{"missing", `"count":7,`, ``, "count"},
		{"order", `"active":true,"actor":"`, `"actor":"","active":true,"x":"`, "active"},
		{"white space", `"count":7`, `"count": 7`, "count"},
		{"leading zero", `"count":7`, `"count":07`, "count"},
		{"plus", `"count":7`, `"count":+7`, "count"},
		{"fraction", `"count":7`, `"count":7.0`, "game"},
		{"exponent", `"count":7`, `"count":7.0`, "game"},
		{"negative", `"count":7`, `"count":-7`, "count"},
		{"minus zero", `"level":-2147483647`, `"level":-0`, "level"},
		{"too large", `"count":7`, `"count":9007199254740992`, "count"},
		{"much too large", `"count":7`, `"count":99999999999999999999999`, "count"},
		{"uint32", `"small":4294967295`, `"small":4294967296`, "small"},
		{"string for number", `"count":7`, `"count":"7"`, "count"},
		{"bool", `"active":true`, `"active":1`, "active"},
		{"escape", `hello`, `h\u0065llo`, "text"},
		{"control", "hello", "hel\nlo", "text"},
		{"not ASCII", "hello", "héllo", "text"},
		{"too long", "hello", "hello hello hello hello", "text"},
		{"upper-case hex", `"00ab"`, `"00AB"`, "blob"},
		{"odd hex", `"00ab"`, `"00a"`, "blob"},
		{"long hex", `"00ab"`, `"00ab00ab00ab00ab00"`, "blob"},
		{"UUID version", "-4677-", "-5677-", "id"},
		{"UUID case", "ccdd", "CCDD", "id"},
		{"30 February", "2026-02-28", "2026-02-30", "at"},
		{"hour 24", "T23:", "T24:", "at"},
		{"milliseconds", ".123456Z", ".123Z", "at"},
		{"zone", ".123456Z", ".123456+", "at"},
		{"currency", `"JPY"`, `"jpy"`, "currency"},
		{"another type", "sample.taken", "sample.token", "type"},
		{"trailing", `"type":"sample.taken"}`, `"type":"sample.taken"} `, ""},
		{"cut off", `,"type":"sample.taken"}`, ``, "type"},
		{"bad nesting", `[1,"}"]`, `[1,"}"`, "id"},
	} {
		bad := strings.Replace(string(leaf), c.old, c.new, 1)
		if bad == string(leaf) {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		err := Decode([]byte(bad), &sample{})
		var fe *FieldError
		if !errors.Is(err, ErrFormat) || !errors.As(err, &fe) {
			t.Errorf("%s: %v", c.name, err)
		} else if fe.Field != c.field {
			t.Errorf("%s: the error names %q, want %q: %v", c.name, fe.Field, c.field, err)
		}
	}
	for n := range leaf {
		if err := Decode(leaf[:n], &sample{}); err == nil {
			t.Fatalf("%d of %d bytes were taken for the whole", n, len(leaf))
		}
	}
}

func TestWritingRefusesWhatCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(*sample){
		"text too long":    func(s *sample) { s.Text = strings.Repeat("x", 21) },
		"quotation mark":   func(s *sample) { s.Text = `"` },
		"integer":          func(s *sample) { s.Level = money.Max + 1 },
		"unsigned":         func(s *sample) { s.Count = money.Max + 1 },
		"time":             func(s *sample) { s.At = -1 },
		"identity":         func(s *sample) { s.ID = UUID{} },
		"empty raw":        func(s *sample) { s.Game = nil },
		"blob":             func(s *sample) { s.Blob = make([]byte, 9) },
		"over 65535 bytes": func(s *sample) { s.Game = bytes.Repeat([]byte("1"), MaxSize) },
	} {
		s := aSample()
		spoil(s)
		if leaf, err := Append([]byte("before"), s); err == nil || string(leaf) != "before" {
			t.Errorf("%s: written as %s, %v", name, leaf, err)
		}
	}
}

func TestWithoutRequest(t *testing.T) {
	s := aSample()
	s.Request = Request{}
	leaf, err := Append(nil, s)
	if err != nil || bytes.Contains(leaf, []byte(`"key"`)) || bytes.Contains(leaf, []byte(`"fingerprint"`)) {
		t.Fatalf("%v: %s", err, leaf)
	}
	back := sample{}
	if err := Decode(leaf, &back); err != nil || !back.Request.IsZero() {
		t.Fatal(err)
	}
}

// A request has both its members or neither, and is not nothing.
func TestHalfARequest(t *testing.T) {
	leaf, _ := Append(nil, aSample())
	key := regexp.MustCompile(`"key":"[0-9a-f]{64}",`)
	fingerprint := regexp.MustCompile(`"fingerprint":"[0-9a-f]{32}",`)
	zeros := fingerprint.ReplaceAll(leaf, []byte(`"fingerprint":"`+strings.Repeat("0", 32)+`",`))
	zeros = key.ReplaceAll(zeros, []byte(`"key":"`+strings.Repeat("0", 64)+`",`))
	for name, bad := range map[string][]byte{
		"no key": key.ReplaceAll(leaf, nil), "no fingerprint": fingerprint.ReplaceAll(leaf, nil), "zeros": zeros,
	} {
		if bytes.Equal(bad, leaf) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := Decode(bad, aSample()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, s := range []string{"1970-01-01T00:00:00.000000Z", "2000-02-29T12:30:45.000001Z", "2100-02-28T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z", "2026-11-22T07:41:00.500000Z"} {
		std, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := TimeOf(std).String(); got != s {
			t.Errorf("%s written as %s", s, got)
		}
		var back Time
		if !back.parse([]byte(s)) || back != TimeOf(std) || !back.Std().Equal(std) {
			t.Errorf("%s read as %s", s, back)
		}
	}
	for d := Time(0); d < maxTime; d += 13*day + 7 { // every month and leap year
		if d.String() != d.Std().Format("2006-01-02T15:04:05.000000Z") {
			t.Fatalf("%d: %s, want %s", d, d, d.Std())
		}
	}
}

func TestTypeOf(t *testing.T) {
	for _, bad := range []string{"", "{}", `{"type":"x"}`, `{"a":1,"type":"X"}`, `{"a":1,"type":""}`, `{"a":1,"type":".x"}`, `{"a":1,"type":"x"} `, `{"a":1,"typo":"x"}`} {
		if got, err := TypeOf([]byte(bad)); err == nil {
			t.Errorf("%s has the type %q", bad, got)
		}
	}
}

func TestRequestHashesDependOnEveryPart(t *testing.T) {
	seen := map[any]string{}
	add := func(v any, what string) {
		if other, twice := seen[v]; twice {
			t.Errorf("%s and %s hash alike", what, other)
		}
		seen[v] = what
	}
	add(RequestKey("operator", "k"), "operator k")
	add(RequestKey("operatork", ""), "operatork")
	add(RequestKey("", "operatork"), "empty scope")
	for _, parts := range [][]string{{"k", "m", "p", "w", "b"}, {"km", "", "p", "w", "b"}, {"k", "mp", "", "w", "b"}, {"k", "m", "pw", "", "b"}, {"k", "m", "p", "wb", ""}} {
		add(RequestFingerprint(parts[0], parts[1], parts[2], parts[3], []byte(parts[4])), strings.Join(parts, "|"))
	}
}

func BenchmarkAppend(b *testing.B) {
	s, buf := aSample(), make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = Append(buf[:0], s)
	}
}

func BenchmarkDecode(b *testing.B) {
	leaf, _ := Append(nil, aSample())
	var s sample
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(leaf, &s); err != nil {
			b.Fatal(err)
		}
	}
}
