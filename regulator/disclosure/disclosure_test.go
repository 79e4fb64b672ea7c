package disclosure_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger/entry"
	"countroom/regulator/disclosure"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

// world is a house that knows three people, of whom the second is erased.
type world struct {
	t     *testing.T
	h     *logtest.House
	who   []logtest.Player
	lines []disclosure.Line // that an honest house shows
	gone  []disclosure.Line // what it had of the second
	at    uint64            // of the erasure
}

func lines(known []logtest.Known) (list []disclosure.Line) {
	for _, k := range known {
		list = append(list, disclosure.Line{Attribute: k.Name, Index: k.Index, Player: k.Player, Salt: k.Salt, Value: k.Value})
	}
	return list
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, h: logtest.New(logtest.Config{Seed: 4})}
	w.h.Officers()
	for range 3 {
		w.who = append(w.who, w.h.Register("EUR"))
	}
	w.lines = lines(w.h.Record(w.who[0], "kyc", "refer", "name", "Ann Jones"))
	w.gone = lines(w.h.Record(w.who[1], "kyc", "passed", "name", "Bob \"Mill\""))
	w.lines = append(w.lines, lines(w.h.Record(w.who[0], "kyc", "passed"))...)
	w.gone = append(w.gone, lines(w.h.Record(w.who[1], "kyc", "failed"))...)
	w.lines = append(w.lines, lines(w.h.Record(w.who[2], "address", "1 Quay\nLamplight"))...)
	w.h.Change(w.who[1], players.Closed)
	w.at = w.h.Erase(w.who[1], "anna", "berta")
	return w
}

// check holds lines against the log, as somebody outside does.
func (w *world) check(shown []disclosure.Line, only ...entry.Ref) *disclosure.Report {
	w.t.Helper()
	c := disclosure.New(only...)
	r, err := verify.Log(w.t.Context(), verify.Dir(w.h.Publish()), verify.Options{VKey: w.h.VKey, Subjects: c.Entry})
	if err != nil || !r.OK() {
		w.t.Fatalf("%v, %+v", err, r.Findings)
	}
	var file []byte
	for _, l := range shown {
		file = l.Append(file)
	}
	if err := disclosure.Read(bytes.NewReader(file), c.Line); err != nil {
		w.t.Fatal(err)
	}
	return c.Report()
}

// said is the report in short.
func said(r *disclosure.Report) string {
	var b strings.Builder
	for _, s := range r.Subjects {
		for _, k := range s.Commitments {
			fmt.Fprintf(&b, "%s=%s ", k.Attribute, k.State)
		}
		fmt.Fprint(&b, "| ")
	}
	return strings.TrimSuffix(b.String(), " | ")
}

func TestWhatIsShownIsHeldAgainstTheLog(t *testing.T) {
	w := newWorld(t)
	with := func(change func(list []disclosure.Line) []disclosure.Line) []disclosure.Line {
		return change(slices.Clone(w.lines))
	}
	for name, c := range map[string]struct {
		shown []disclosure.Line
		only  []entry.Ref
		want  string
		ok    bool
	}{
		"all of it":       {w.lines, nil, "kyc=present name=present kyc=present | kyc=erased name=erased kyc=erased | address=present", true},
		"nothing":         {nil, nil, "kyc=missing name=missing kyc=missing | kyc=erased name=erased kyc=erased | address=missing", false},
		"another order":   {with(func(l []disclosure.Line) []disclosure.Line { slices.Reverse(l); return l }), nil, "kyc=present name=present kyc=present | kyc=erased name=erased kyc=erased | address=present", true},
		"a line less":     {w.lines[:3], nil, "kyc=present name=present kyc=present | kyc=erased name=erased kyc=erased | address=missing", false},
		"an old value":    {w.lines[1:], nil, "kyc=missing name=present kyc=present | kyc=erased name=erased kyc=erased | address=present", false},
		"not quite":       {with(func(l []disclosure.Line) []disclosure.Line { l[1].Value = "Ann Jone"; return l }), nil, "kyc=present name=false kyc=present | kyc=erased name=erased kyc=erased | address=present", false},
		"another salt":    {with(func(l []disclosure.Line) []disclosure.Line { l[1].Salt[0] ^= 1; return l }), nil, "kyc=present name=false kyc=present | kyc=erased name=erased kyc=erased | address=present", false},
		"of another":      {with(func(l []disclosure.Line) []disclosure.Line { l[3].Player = w.who[0].Ref; return l }), nil, "kyc=present name=present kyc=present address=false | kyc=erased name=erased kyc=erased | address=missing", false},
		"a later value":   {with(func(l []disclosure.Line) []disclosure.Line { l[0].Index = l[2].Index; return l[:2] }), nil, "kyc=missing name=present kyc=false | kyc=erased name=erased kyc=erased | address=missing", false},
		"of a stranger":   {append(slices.Clone(w.lines), disclosure.Line{Attribute: "name", Index: 7, Player: entry.Ref{1}, Value: "Eve"}), nil, "kyc=present name=present kyc=present | kyc=erased name=erased kyc=erased | address=present | name=false", false},
		"not erased":      {append(slices.Clone(w.lines), w.gone[1]), nil, "kyc=present name=present kyc=present | kyc=erased name=not erased kyc=erased | address=present", false},
		"erased, and not": {append(slices.Clone(w.lines), disclosure.Line{Attribute: "name", Index: w.gone[1].Index, Player: w.who[1].Ref, Value: "Bill"}), nil, "kyc=present name=present kyc=present | kyc=erased name=false kyc=erased | address=present", false},
		"one player":      {w.lines, []entry.Ref{w.who[2].Ref}, "address=present", true},
		"one is missing":  {w.lines[:3], []entry.Ref{w.who[2].Ref}, "address=missing", false},
		"an erased one":   {w.lines, []entry.Ref{w.who[1].Ref}, "kyc=erased name=erased kyc=erased", true},
		"nobody":          {w.lines, []entry.Ref{{9}}, "| ", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.check(c.shown, c.only...)
			if got := said(r); got != c.want || r.OK() != c.ok {
				t.Errorf("%s, %v\nwant %s, %v", got, r.OK(), c.want, c.ok)
			}
			total := r.Present + r.Erased + r.Missing + r.False + r.NotErased
			if int(total) != strings.Count(c.want, "=") {
				t.Errorf("%+v", r)
			}
		})
	}
	r := w.check(w.lines)
	if s := r.Subjects[1]; s.Erased != w.at || s.Player != w.who[1].Ref.String() || r.Players != 3 || r.Erased != 3 || r.Others != 0 {
		t.Errorf("%+v", r)
	}
	if k := r.Subjects[0].Commitments[0]; k.Value != "refer" || k.Index != w.lines[0].Index || k.At == 0 {
		t.Errorf("%+v", k)
	}
	if r := w.check(w.lines, w.who[2].Ref); r.Others != 3 || r.Players != 1 {
		t.Errorf("%+v", r)
	}
}

func TestALineThatComesTwice(t *testing.T) {
	w := newWorld(t)
	c := disclosure.New()
	c.Entry(9, &subjects.Recorded{Player: w.who[0].Ref, Attributes: []subjects.Value{{Name: "name"}}})
	l := disclosure.Line{Attribute: "name", Index: 9, Player: w.who[0].Ref, Value: "x"}
	if err := c.Line(l); err != nil {
		t.Fatal(err)
	}
	if err := c.Line(l); !errors.Is(err, disclosure.ErrFormat) || !strings.Contains(err.Error(), "comes twice") {
		t.Error(err)
	}
}

// However much is made up, the report stays small and counts it.
func TestWhatIsMadeUpIsCounted(t *testing.T) {
	c := disclosure.New()
	for i := range disclosure.StrangeMost + 7 {
		if err := c.Line(disclosure.Line{Attribute: "name", Index: uint64(i), Player: entry.Ref{byte(i), byte(i >> 8)}, Value: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.Report(); r.False != disclosure.StrangeMost+7 || r.More != 7 || len(r.Subjects) != disclosure.StrangeMost || r.OK() {
		t.Errorf("%d false, %d more, %d subjects", r.False, r.More, len(r.Subjects))
	}
}

func TestLinesAreReadStrictly(t *testing.T) {
	player, salt := strings.Repeat("ab", 16), strings.Repeat("cd", 32)
	good := `{"attribute":"name","index":7,"player":"` + player + `","salt":"` + salt + `","value":"Zo\u00eb"}`
	read := func(text string) (list []disclosure.Line, err error) {
		err = disclosure.Read(strings.NewReader(text), func(l disclosure.Line) error { list = append(list, l); return nil })
		return list, err
	}
	for _, text := range []string{good, good + "\n", strings.ReplaceAll(good, ":", " : ") + "\r\n"} {
		if list, err := read(text); err != nil || len(list) != 1 || list[0].Value != "Zoë" || list[0].Index != 7 {
			t.Errorf("%v, %v", list, err)
		}
	}
	if list, err := read(""); err != nil || list != nil {
		t.Errorf("an empty file: %v, %v", list, err)
	}
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":            {"name", "line 1"},
		"an empty line":      {good + "\n\n", "line 2"},
		"a list":             {"[" + good + "]", "line 1"},
		"a member less":      {strings.Replace(good, `"index":7,`, "", 1), "4 members"},
		"a member more":      {strings.Replace(good, `{`, `{"a":1,`, 1), "6 members"},
		"another name":       {strings.Replace(good, `"value"`, `"Value"`, 1), "value: expected a text"},
		"a name twice":       {strings.Replace(good, `{`, `{"value":"x",`, 1), "line 1"},
		"a number for text":  {strings.Replace(good, `"name"`, `4`, 1), "attribute: expected a text"},
		"null for text":      {strings.Replace(good, `"name"`, `null`, 1), "attribute: expected a text"},
		"text for a number":  {strings.Replace(good, `7`, `"7"`, 1), "index"},
		"a negative index":   {strings.Replace(good, `7`, `-7`, 1), "index"},
		"a broken index":     {strings.Replace(good, `7`, `7.5`, 1), "index"},
		"an index too large": {strings.Replace(good, `7`, `9007199254740993`, 1), "index"},
		"a short player":     {strings.Replace(good, player, player[2:], 1), "player: expected 16 bytes"},
		"a player in caps":   {strings.Replace(good, player, strings.ToUpper(player), 1), "player: expected 16 bytes"},
		"a long salt":        {strings.Replace(good, salt, salt+"00", 1), "salt: expected 32 bytes"},
		"no attribute":       {strings.Replace(good, `"name"`, `"Name"`, 1), "attribute"},
		"no value":           {strings.Replace(good, `Zo\u00eb`, "", 1), "value of 0 bytes"},
		"a value too long":   {strings.Replace(good, `Zo\u00eb`, strings.Repeat("x", 1025), 1), "value of 1025 bytes"},
		"an endless line":    {strings.Repeat("x", disclosure.LineMost+1), "longer than"},
	} {
		if _, err := read(c.text); !errors.Is(err, disclosure.ErrFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// Whatever a file holds, it is refused or read in one way.
func FuzzRead(f *testing.F) {
	f.Add(disclosure.Line{Attribute: "name", Index: 7, Player: entry.Ref{1}, Salt: [32]byte{2}, Value: "Zoë <b>\\\"\n"}.Append(nil))
	f.Add([]byte(`{"attribute":"a","index":1e0,"player":"","salt":"","value":""}`))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var again []byte
		c := disclosure.New()
		n := 0
		if err := disclosure.Read(bytes.NewReader(file), func(l disclosure.Line) error {
			again = l.Append(again)
			n++
			return c.Line(l)
		}); err != nil {
			return
		}
		m := 0
		if err := disclosure.Read(bytes.NewReader(again), func(disclosure.Line) error { m++; return nil }); err != nil || m != n {
			t.Fatalf("%d lines, written again %d, %v:\n%s", n, m, err, again)
		}
		if r := c.Report(); r.False != uint64(n) || n > 0 && r.OK() {
			t.Fatalf("%+v of %d lines about an empty log", r, n)
		}
	})
}
