package vault

import (
	"context"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

// house is a log of some bundles over two days.
func house() (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 5, Step: 30 * time.Second})
	people := []logtest.Player{h.Join(400_000), h.Join(500_000)}
	h.Play(people, 450)
	h.Withdraw(people[0], 777)
	h.Wait(11 * time.Hour)
	for i := range people {
		people[i].Session = h.Open(people[i])
	}
	h.Play(people, 150)
	return h, people
}

func read(t testing.TB, h *logtest.House, src verify.Source, note []byte) (*Log, error) {
	t.Helper()
	ring, err := verify.NewKeyring(h.VKey)
	if err != nil {
		t.Fatal(err)
	}
	return Open(t.Context(), src, ring, note)
}

// What is read of a range are its leaves, whatever the log has become since.
func TestRanges(t *testing.T) {
	h, people := house()
	kept, size := h.Checkpoint(), h.Size()
	h.Play(people, 300)
	src := verify.Dir(h.Publish())
	for _, c := range []struct {
		note []byte
		size uint64
	}{{kept, size}, {nil, h.Size()}} {
		l, err := read(t, h, src, c.note)
		if err != nil {
			t.Fatal(err)
		}
		if l.Head().Size != c.size {
			t.Errorf("a head of %d, want %d", l.Head().Size, c.size)
		}
		for _, r := range [][2]uint64{{0, c.size}, {0, 0}, {255, 257}, {256, 512}, {c.size - 1, c.size}, {300, 301}} {
			next := r[0]
			if err := l.Leaves(r[0], r[1], func(index uint64, leaf []byte) error {
				if index != next || string(leaf) != string(h.Leaf(index)) {
					t.Errorf("entry %d is not the log's", index)
				}
				next++
				return nil
			}); err != nil || next != r[1] {
				t.Errorf("%v: %d, %v", r, next, err)
			}
		}
		if err := l.Leaves(5, c.size+1, nil); err == nil {
			t.Error("entries beyond the checkpoint")
		}
		if _, err := l.Vouch(kept); err != nil {
			t.Error(err)
		}
	}
}

// changed is a source of whose resources one is not what it was.
type changed struct {
	verify.Source
	path string
	do   func(b []byte) []byte
}

func (c changed) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	b, err := c.Source.Read(ctx, buf, path, limit)
	if path == c.path && err == nil {
		b = c.do(b)
	}
	return b, err
}

// Nothing is believed that does not lead to the signed root.
func TestHostileLogs(t *testing.T) {
	h, _ := house()
	honest := verify.Dir(h.Publish())
	last := int(h.Size() % tlog.TileWidth)
	flip := func(at int) func(b []byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	for _, c := range []struct {
		name, path string
		do         func(b []byte) []byte
	}{
		{"a byte of a full bundle", tlog.EntriesPath(1, tlog.TileWidth), flip(5000)},
		{"a byte of the last bundle", tlog.EntriesPath(h.Size()/tlog.TileWidth, last), flip(500)},
		{"a bundle cut short", tlog.EntriesPath(1, tlog.TileWidth), func(b []byte) []byte { return b[:len(b)-9] }},
		{"a bundle without its last entry", tlog.EntriesPath(0, tlog.TileWidth), func(b []byte) []byte {
			leaves, _ := tlog.ParseBundle(b)
			return b[:len(b)-2-len(leaves[len(leaves)-1])]
		}},
		{"another bundle", tlog.EntriesPath(1, tlog.TileWidth), func([]byte) []byte {
			b, _ := honest.Read(context.Background(), nil, tlog.EntriesPath(0, tlog.TileWidth), 1<<30)
			return b
		}},
		{"a hash of a full tile", tlog.TilePath(0, 1, tlog.TileWidth), flip(100)},
		{"a hash of the last tile", tlog.TilePath(0, h.Size()/tlog.TileWidth, last), flip(40)},
		{"a short tile", tlog.TilePath(0, h.Size()/tlog.TileWidth, last), func(b []byte) []byte { return b[:32] }},
		{"the checkpoint's size", "checkpoint", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "\n", "\n1", 1))
		}},
		{"no checkpoint", "checkpoint", func([]byte) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := read(t, h, changed{honest, c.path, c.do}, nil)
			if err == nil {
				err = l.Leaves(0, h.Size(), func(index uint64, leaf []byte) error {
					if string(leaf) != string(h.Leaf(index)) {
						t.Errorf("entry %d was believed", index)
					}
					return nil
				})
			}
			if err == nil {
				t.Error("believed")
			}
		})
	}
}

// What entries come to is what the verifier's replay of the whole log says.
func TestTotalsAreTheVerifiers(t *testing.T) {
	h, _ := house()
	l, err := read(t, h, verify.Dir(h.Publish()), nil)
	if err != nil {
		t.Fatal(err)
	}
	totals, err := l.Totals(t.Context(), 0, h.Size())
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Log(t.Context(), verify.Dir(h.Publish()), verify.Options{VKey: h.VKey})
	if err != nil || !report.OK() {
		t.Fatalf("%v, %+v", err, report.Findings)
	}
	var play Play
	for _, k := range totals.PlayKeys() {
		p := totals.Play[k]
		play.Rounds, play.Stakes, play.Payouts = play.Rounds+p.Rounds, play.Stakes+p.Stakes, play.Payouts+p.Payouts
	}
	var cash Cash
	for _, k := range totals.CashKeys() {
		cash.Deposits, cash.Withdrawals = cash.Deposits+totals.Cash[k].Deposits, cash.Withdrawals+totals.Cash[k].Withdrawals
	}
	g, m := report.Games[0], report.Cash[0]
	if len(totals.Play) != 2 || play.Rounds != g.Rounds || play.Stakes != g.Stakes.Big().Int64() || play.Payouts != g.Payouts.Big().Int64() ||
		cash.Deposits != m.Deposits.Big().Int64() || cash.Withdrawals != m.Withdrawals.Big().Int64() {
		t.Errorf("%+v\n%+v\n%+v", totals, g, m)
	}
	// In any parts they are the same.
	parts := NewTotals()
	for _, r := range [][2]uint64{{0, 1}, {1, 400}, {400, 401}, {401, h.Size()}} {
		part, err := l.Totals(t.Context(), r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		for k, p := range part.Play {
			parts.Add(k, p)
		}
		for k, c := range part.Cash {
			parts.AddCash(k, c)
		}
	}
	if err := totals.Reconcile(parts); err != nil {
		t.Error(err)
	}
}

// Each figure that differs is named, with its day.
func TestReconcile(t *testing.T) {
	k, c := PlayKey{"2026-03-01", "lamplight-quay", "EUR"}, CashKey{"2026-03-01", "EUR"}
	of := func(p Play, m Cash) *Totals {
		return &Totals{map[PlayKey]Play{k: p}, map[CashKey]Cash{c: m}}
	}
	log := of(Play{3, 300, 250}, Cash{1000, 20, 2, 1})
	for _, v := range []*Totals{
		of(Play{2, 300, 250}, Cash{1000, 20, 2, 1}), of(Play{3, 301, 250}, Cash{1000, 20, 2, 1}), of(Play{3, 300, 0}, Cash{1000, 20, 2, 1}),
		of(Play{3, 300, 250}, Cash{1001, 20, 2, 1}), of(Play{3, 300, 250}, Cash{1000, 0, 2, 1}), of(Play{3, 300, 250}, Cash{1000, 20, 1, 1}), of(Play{3, 300, 250}, Cash{1000, 20, 2, 0}),
		NewTotals(),
	} {
		var d *Difference
		if err := log.Reconcile(v); !errors.As(err, &d) || d.Rule != "totals" || !strings.HasPrefix(d.Where, "2026-03-01 ") {
			t.Errorf("%+v: %v", v, err)
		}
		if err := v.Reconcile(log); err == nil {
			t.Error("the other way about")
		}
	}
	if err := log.Reconcile(of(Play{3, 300, 250}, Cash{1000, 20, 2, 1})); err != nil {
		t.Error(err)
	}
	if err := log.Add(k, Play{1, 1<<63 - 1, 0}); err == nil {
		t.Error("a total beyond 63 bits")
	}
	if err := log.AddCash(c, Cash{Deposits: -1}); err == nil {
		t.Error("a deposit below zero")
	}
}

func TestBefore(t *testing.T) {
	h, _ := house()
	l, err := read(t, h, verify.Dir(h.Publish()), nil)
	if err != nil {
		t.Fatal(err)
	}
	midnight := entry.TimeOf(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))
	at, err := l.Before(midnight)
	if err != nil {
		t.Fatal(err)
	}
	before, err := l.Record(at - 1)
	if err != nil {
		t.Fatal(err)
	}
	after, err := l.Record(at)
	if err != nil || before.Head().At >= midnight || after.Head().At < midnight {
		t.Errorf("%v, %v, %v", before.Head().At, after.Head().At, err)
	}
	if _, err := l.Before(h.Now.Add(time.Hour)); err == nil {
		t.Error("a day that is not over")
	}
}

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		amount   int64
		currency money.Currency
		places   int
		want     string
	}{
		{0, "EUR", 2, "0.00"}, {5, "EUR", 2, "0.05"}, {1234, "EUR", 2, "12.34"}, {-7, "EUR", 2, "-0.07"}, {money.Max, "EUR", 2, "90071992547409.91"},
		{1234, "EUR", 10, "12.3400000000"}, {1234, "JPY", 2, "1234.00"}, {1234, "JPY", 0, "1234"}, {1234, "KWD", 2, "1.234"}, {1, "KWD", 10, "0.0010000000"},
		{-1 << 63, "EUR", 2, "-92233720368547758.08"},
	} {
		s := Decimal(c.amount, c.currency, c.places)
		if s != c.want {
			t.Errorf("%d %s: %s, want %s", c.amount, c.currency, s, c.want)
		}
		if back, err := ParseDecimal(s, c.currency, c.places); err != nil || back != c.amount {
			t.Errorf("%s: %d, %v", s, back, err)
		}
	}
	for _, s := range []string{"", "1", "1.0", "1.000", "01.00", "+1.00", "-0.00", "1,00", ".50", "1.5a", "99999999999999999999.00", "1e2.00"} {
		if n, err := ParseDecimal(s, "EUR", 2); err == nil {
			t.Errorf("%q was read as %d", s, n)
		}
	}
}

func FuzzParseDecimal(f *testing.F) {
	f.Add("12.34", "EUR", 2)
	f.Add("0.0010000000", "KWD", 10)
	f.Add("1.", "JPY", 0)
	f.Fuzz(func(t *testing.T, s, currency string, places int) {
		if places < 0 || places > 20 {
			return
		}
		if n, err := ParseDecimal(s, money.Currency(currency), places); err == nil && Decimal(n, money.Currency(currency), places) != s {
			t.Errorf("%q is %d", s, n)
		}
	})
}

// Files are read within bounds, in one form.
func TestDecode(t *testing.T) {
	type file struct {
		XMLName xml.Name `xml:"a"`
		B       []string `xml:"b"`
	}
	good, err := Encode(&file{B: []string{"1 < 2"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Decode(good, new(file)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "<a></a>", string(good) + " ", string(good) + "<a></a>", strings.Replace(string(good), "<b>", "<b c=\"\">", 1), strings.Replace(string(good), "<b>", "<!-- x --><b>", 1),
		strings.Replace(string(good), "<a>", "<a><c></c>", 1), xml.Header + "<a>" + strings.Repeat("<b></b>", tagsMost) + "</a>\n",
		strings.Repeat(" ", FileMost+1),
	} {
		if err := Decode([]byte(bad), new(file)); err == nil {
			t.Errorf("%.80q was read", bad)
		}
	}
}

// A delivery gets its name with all that is in it, or is not there.
func TestPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "vault")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	write := func(folder string) error { return os.WriteFile(filepath.Join(folder, "a"), []byte("x"), 0o644) }
	if err := d.Place("one", write); err != nil {
		t.Fatal(err)
	}
	if err := d.Place("one", write); err == nil {
		t.Error("over one that is there")
	}
	refused := errors.New("refused")
	if err := d.Place("two", func(folder string) error { return errors.Join(write(folder), refused) }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := OpenDir(dir); err == nil {
		t.Error("two writers")
	}
	os.MkdirAll(filepath.Join(dir, newMark+"three"), 0o755)
	d.Close()
	if d, err = OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	every := func(string) bool { return true }
	if names, err := List(os.DirFS(dir), every); err != nil || len(names) != 1 || names[0] != "one" {
		t.Errorf("%v, %v", names, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, newMark+"*")); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	if _, err := List(fstest.MapFS{"stray": {Data: []byte("x")}}, every); err == nil {
		t.Error("a stray file")
	}
	if _, err := ReadFile(fstest.MapFS{"big": {Data: make([]byte, 9)}}, "big", 8); err == nil {
		t.Error("a file that is too long")
	}
	if _, err := ReadFile(fstest.MapFS{"dir": {Mode: fs.ModeDir}}, "dir", 8); err == nil {
		t.Error("a folder for a file")
	}
}
