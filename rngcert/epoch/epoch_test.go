package epoch_test

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// Times are seconds after noon.
var noon = entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

func after(seconds int) entry.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// limits of the story: two draws, a minute, and half a minute until the reveal.
var limits = epoch.Limits{AgeSeconds: 60, Draws: 2, RevealDelaySeconds: 30}

func committed(n uint64) *epoch.Committed {
	return &epoch.Committed{Statement: epoch.Statement{
		Commitment: [32]byte{byte(n)}, Epoch: n, Limits: limits, Minimum: 2, Policy: epoch.PolicyNone,
		Sources: []epoch.Source{{Bytes: 64, Conditioned: true, Group: "kernel", Healthy: true, Name: "linux-getrandom"}, {Bytes: 32, Group: "cpu", Healthy: true, Name: "jitter"}},
	}}
}

func activated(n uint64, at entry.Time) *epoch.Activated {
	return &epoch.Activated{Header: entry.Header{At: at}, Epoch: n, Policy: epoch.PolicyNone}
}

func closed(n, draws uint64, reason string, at entry.Time) *epoch.Closed {
	return &epoch.Closed{Header: entry.Header{At: at}, Draws: draws, Epoch: n, Reason: reason}
}

func revealed(n uint64, at entry.Time) *epoch.Revealed {
	return &epoch.Revealed{Header: entry.Header{At: at}, Epoch: n}
}

// drawn stands for an entry of another book that made a draw.
type drawn struct {
	entry.Header
	epoch, number uint64
}

func (*drawn) Type() string      { return "test.drawn" }
func (*drawn) Code(*entry.Coder) {}

func draw(n, number uint64, at entry.Time) *drawn {
	return &drawn{Header: entry.Header{At: at}, epoch: n, number: number}
}

// fold applies the entry at an index.
func fold(rows book.Rows, index uint64, r entry.Record) error {
	if d, ok := r.(*drawn); ok {
		return epoch.Draw(rows, d.epoch, d.number, d.At)
	}
	if err := decision.Fold(rows, index, r); err != nil {
		return err
	}
	return epoch.Fold(rows, index, r)
}

// step is an entry and the name by which the cases say where they come in.
type step struct {
	name string
	r    entry.Record
}

// Epoch 1 ends by its draws and epoch 2 by its time, each the next one
// committed before it; epoch 3 is active and epoch 4 ahead.
func story() []step {
	return []step{
		{"created", &stranger{}},
		{"1 committed", committed(1)},
		{"1 activated", activated(1, after(0))},
		{"1 drew once", draw(1, 1, after(1))},
		{"2 committed", committed(2)},
		{"1 drew twice", draw(1, 2, after(2))},
		{"1 closed", closed(1, 2, epoch.ByDraws, after(3))},
		{"2 activated", activated(2, after(4))},
		{"2 drew once", draw(2, 1, after(64)-1)}, // the last instant
		{"3 committed", committed(3)},
		{"1 revealed", revealed(1, after(33))},
		{"2 closed", closed(2, 1, epoch.ByTime, after(64))},
		{"3 activated", activated(3, after(64))},
		{"4 committed", committed(4)},
		{"2 revealed", revealed(2, after(100))},
	}
}

type stranger struct{ entry.Header }

func (*stranger) Type() string      { return "stranger.came" }
func (*stranger) Code(*entry.Coder) {}

// tell folds the story up to and with the step of that name.
func tell(t *testing.T, last string) (rows book.Memory, index uint64) {
	t.Helper()
	rows = book.Memory{}
	for i, s := range story() {
		if err := fold(rows, uint64(i), s.r); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.name == last {
			return rows, uint64(i) + 1
		}
	}
	t.Fatalf("the story has no step %q", last)
	return nil, 0
}

func TestStory(t *testing.T) {
	const limits = `"limits":{"age_seconds":60,"draws":2,"reveal_delay_seconds":30}`
	commitment := func(n int) string { return fmt.Sprintf(`%02x`, n) + strings.Repeat("00", 31) }
	want := strings.Join([]string{
		`epoch/1 {"abandoned_index":0,"activated_index":2,"closed_at":"2026-03-01T12:00:03.000000Z","closed_index":6,"commitment":"` + commitment(1) + `","committed_index":1,"draws":2,"external":"","halted_index":0,` + limits + `,"policy":"none","revealed_index":10}`,
		`epoch/2 {"abandoned_index":0,"activated_index":7,"closed_at":"2026-03-01T12:01:04.000000Z","closed_index":11,"commitment":"` + commitment(2) + `","committed_index":4,"draws":1,"external":"","halted_index":0,` + limits + `,"policy":"none","revealed_index":14}`,
		`epoch/3 {"abandoned_index":0,"activated_index":12,"closed_at":"1970-01-01T00:00:00.000000Z","closed_index":0,"commitment":"` + commitment(3) + `","committed_index":9,"draws":0,"external":"","halted_index":0,` + limits + `,"policy":"none","revealed_index":0}`,
		`epoch/4 {"abandoned_index":0,"activated_index":0,"closed_at":"1970-01-01T00:00:00.000000Z","closed_index":0,"commitment":"` + commitment(4) + `","committed_index":13,"draws":0,"external":"","halted_index":0,` + limits + `,"policy":"none","revealed_index":0}`,
		`epochs {"activated_at":"2026-03-01T12:01:04.000000Z","active":3,"ahead":4,"closed":2,"committed":4,"downgraded":false,"draws":0,"halted":0,` + limits + `,"revealed":2}`,
	}, "\n")
	rows, _ := tell(t, "2 revealed")
	if got := booktest.Written(t, epoch.Kinds, rows); got != want {
		t.Errorf("rows:\n%s\nwant:\n%s", got, want)
	}
	if now := epoch.Now(book.Memory{}); now != (epoch.State{}) {
		t.Errorf("before all entries the seeds stand at %+v", now)
	}
}

// A row that was put stays as it was: whoever read it holds what it said then.
func TestRowsAreNotChangedInPlace(t *testing.T) {
	rows := book.Memory{}
	for i, s := range story() {
		before := maps.Clone(rows)
		was := booktest.Written(t, epoch.Kinds, before)
		if err := fold(rows, uint64(i), s.r); err != nil {
			t.Fatal(err)
		}
		if is := booktest.Written(t, epoch.Kinds, before); is != was {
			t.Errorf("%s: rows that were read before:\n%s\nnow say:\n%s", s.name, was, is)
		}
	}
}

func TestBrokenRules(t *testing.T) {
	commit := func(n uint64, spoil func(*epoch.Committed)) entry.Record {
		r := committed(n)
		spoil(r)
		return r
	}
	activate := func(n uint64, spoil func(*epoch.Activated)) entry.Record {
		r := activated(n, after(4))
		spoil(r)
		return r
	}
	commitV1 := func(spoil func(*epoch.CommittedV1)) entry.Record {
		r := &epoch.CommittedV1{Statement: committed(1).Statement}
		spoil(r)
		return r
	}
	const end = "2 revealed"
	for name, c := range map[string]struct {
		after string // the last step of the story before it
		r     entry.Record
		rule  string
	}{
		"commit 0":                             {"created", committed(0), "epoch-order"},
		"commit 2 first":                       {"created", committed(2), "epoch-order"},
		"commit 1 again":                       {"1 committed", committed(1), "epoch-order"},
		"commit 3 after 1":                     {"1 activated", committed(3), "epoch-order"},
		"commit one that is revealed":          {end, committed(1), "epoch-order"},
		"commit 2 before 1 is active":          {"1 committed", committed(2), "epoch-ahead"},
		"commit two ahead":                     {"2 committed", committed(3), "epoch-ahead"},
		"commit two ahead of none":             {"1 closed", committed(3), "epoch-ahead"},
		"commit without limits":                {"created", commit(1, func(r *epoch.Committed) { r.Limits = epoch.Limits{} }), "epoch-limits"},
		"commit to too many draws":             {"created", commit(1, func(r *epoch.Committed) { r.Limits.Draws = epoch.DrawsMost + 1 }), "epoch-limits"},
		"commit without a source":              {"created", commit(1, func(r *epoch.Committed) { r.Sources = nil }), "epoch-sources"},
		"commit with a sick source":            {"created", commit(1, func(r *epoch.Committed) { r.Sources[0].Healthy = false }), "epoch-sources"},
		"commit with a second sick":            {"created", commit(1, func(r *epoch.Committed) { r.Sources[1].Healthy = false }), "epoch-sources"},
		"commit to too little":                 {"created", commit(1, func(r *epoch.Committed) { r.Sources[0].Bytes, r.Sources[1].Bytes = 16, 15 }), "epoch-sources"},
		"commit to two from one place":         {"created", commit(1, func(r *epoch.Committed) { r.Sources[1].Group = "kernel" }), "epoch-sources"},
		"commit to more than there are":        {"created", commit(1, func(r *epoch.Committed) { r.Minimum = 3 }), "epoch-sources"},
		"commit to no source at least":         {"created", commit(1, func(r *epoch.Committed) { r.Minimum = 0 }), "epoch-sources"},
		"commit to a beacon that is not named": {"created", commit(1, func(r *epoch.Committed) { r.Policy = "beacon" }), "epoch-policy"},
		"commit to witnesses without one":      {"created", commit(1, func(r *epoch.Committed) { r.Policy = "witness" }), "epoch-policy"},
		"commit to a beacon for nothing":       {"created", commit(1, func(r *epoch.Committed) { r.Beacon = &epoch.Beacon{} }), "epoch-policy"},
		"commit to a witness for nothing":      {"created", commit(1, func(r *epoch.Committed) { r.Nonces = []epoch.Nonce{{}} }), "epoch-policy"},
		"commit to a beacon and a witness":     {"created", commit(1, func(r *epoch.Committed) { r.Policy, r.Beacon, r.Nonces = "beacon", &epoch.Beacon{}, []epoch.Nonce{{}} }), "epoch-policy"},
		"commit as of old to a sick source":    {"created", commitV1(func(r *epoch.CommittedV1) { r.Sources[0].Healthy = false }), "epoch-sources"},
		"commit as of old to a beacon":         {"created", commitV1(func(r *epoch.CommittedV1) { r.Policy = "beacon" }), "epoch-policy"},
		"activate as of old with something":    {"1 closed", &epoch.ActivatedV1{Activated: epoch.Activated{Epoch: 2, External: []byte{0}, Policy: epoch.PolicyNone}}, "epoch-policy"},
		"activate as of old by a policy":       {"1 closed", &epoch.ActivatedV1{Activated: epoch.Activated{Epoch: 2, Policy: "beacon"}}, "epoch-policy"},
		"commit to no policy at all":           {"created", commit(1, func(r *epoch.Committed) { r.Policy = "" }), "epoch-policy"},

		"activate what is not committed":  {"created", activated(1, after(0)), "epoch-activation"},
		"activate 0":                      {"1 committed", activated(0, after(0)), "epoch-activation"},
		"activate 2 first":                {"1 committed", activated(2, after(0)), "epoch-activation"},
		"activate twice":                  {"1 activated", activated(1, after(0)), "epoch-activation"},
		"activate 2 beside 1":             {"1 drew twice", activated(2, after(3)), "epoch-activation"},
		"activate a closed one":           {"1 closed", activated(1, after(4)), "epoch-activation"},
		"activate 3, not committed":       {"1 closed", activated(3, after(4)), "epoch-activation"},
		"activate a revealed one":         {"2 closed", activated(1, after(64)), "epoch-activation"},
		"activate by another policy":      {"1 closed", activate(2, func(r *epoch.Activated) { r.Policy = "beacon" }), "epoch-policy"},
		"activate with something outside": {"1 closed", activate(2, func(r *epoch.Activated) { r.External = []byte{0} }), "epoch-policy"},

		"draw before all":                {"created", draw(0, 1, after(0)), "draw-epoch"},
		"draw of what is only committed": {"1 committed", draw(1, 1, after(0)), "draw-epoch"},
		"draw of the one ahead":          {"2 committed", draw(2, 1, after(2)), "draw-epoch"},
		"draw between epochs":            {"1 closed", draw(1, 3, after(3)), "draw-epoch"},
		"draw between epochs, of none":   {"1 closed", draw(0, 3, after(3)), "draw-epoch"},
		"draw of the one closed":         {"2 activated", draw(1, 3, after(5)), "draw-epoch"},
		"draw 0":                         {"1 activated", draw(1, 0, after(1)), "draw-number"},
		"draw 2 first":                   {"1 activated", draw(1, 2, after(1)), "draw-number"},
		"draw 1 again":                   {"1 drew once", draw(1, 1, after(1)), "draw-number"},
		"draw numbered on from 1":        {"2 activated", draw(2, 3, after(5)), "draw-number"},
		"a draw too many":                {"1 drew twice", draw(1, 3, after(3)), "epoch-over"},
		"a draw too late":                {"1 drew once", draw(1, 2, after(60)), "epoch-over"},
		"a draw much too late":           {"1 drew once", draw(1, 2, after(6000)), "epoch-over"},

		"close before all":            {"created", closed(0, 0, epoch.ByTime, after(0)), "epoch-closing"},
		"close what is not active":    {"1 committed", closed(1, 0, epoch.ByTime, after(60)), "epoch-closing"},
		"close the one ahead":         {"1 drew twice", closed(2, 2, epoch.ByDraws, after(3)), "epoch-closing"},
		"close twice":                 {"1 closed", closed(1, 2, epoch.ByDraws, after(3)), "epoch-closing"},
		"close by draws, too early":   {"1 drew once", closed(1, 1, epoch.ByDraws, after(2)), "epoch-early"},
		"close by time, too early":    {"1 drew once", closed(1, 1, epoch.ByTime, after(60)-1), "epoch-early"},
		"close for another reason":    {"1 drew twice", closed(1, 2, "operator", after(3)), "epoch-early"},
		"close for no reason":         {"1 drew once", closed(1, 1, "", after(2)), "epoch-early"},
		"by time instead of draws":    {"1 drew twice", closed(1, 2, epoch.ByTime, after(3)), "epoch-early"},
		"by draws instead of time":    {"1 drew once", closed(1, 1, epoch.ByDraws, after(60)), "epoch-early"},
		"by time when both are over":  {"1 drew twice", closed(1, 2, epoch.ByTime, after(60)), "epoch-early"},
		"close with a draw too few":   {"1 drew twice", closed(1, 1, epoch.ByDraws, after(3)), "epoch-draws"},
		"close with a draw too many":  {"1 drew twice", closed(1, 3, epoch.ByDraws, after(3)), "epoch-draws"},
		"close with 1's draws also":   {"1 revealed", closed(2, 3, epoch.ByTime, after(64)), "epoch-draws"},
		"close with draws not drawn":  {"3 activated", closed(3, 1, epoch.ByTime, after(124)), "epoch-draws"},
		"reveal what is unknown":      {"created", revealed(1, after(0)), "epoch-reveal"},
		"reveal what is committed":    {"1 committed", revealed(1, after(99)), "epoch-reveal"},
		"reveal what is active":       {"1 drew twice", revealed(1, after(99)), "epoch-reveal"},
		"reveal twice":                {"1 revealed", revealed(1, after(99)), "epoch-reveal"},
		"reveal 0":                    {"1 revealed", revealed(0, after(99)), "epoch-reveal"},
		"reveal the active, in order": {end, revealed(3, after(999)), "epoch-reveal"},
		"reveal an instant early":     {"1 closed", revealed(1, after(33)-1), "epoch-reveal-early"},
		"reveal as it closes":         {"2 closed", revealed(2, after(64)), "epoch-reveal-early"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, index := tell(t, c.after)
			before := booktest.Written(t, epoch.Kinds, rows)
			booktest.Breaks(t, fold(rows, index, c.r), c.rule)
			if is := booktest.Written(t, epoch.Kinds, rows); is != before {
				t.Errorf("the refused entry changed the rows:\n%s", is)
			}
		})
	}
	t.Run("reveal out of order", func(t *testing.T) {
		rows := book.Memory{}
		for i, s := range story() {
			if s.name == "1 revealed" {
				continue
			}
			if s.name == end {
				booktest.Breaks(t, fold(rows, uint64(i), s.r), "epoch-reveal")
				return
			}
			if err := fold(rows, uint64(i), s.r); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
	})
}

// When an epoch is due to end, and why: its draws are asked first.
func TestDue(t *testing.T) {
	for name, c := range map[string]struct {
		last string
		at   entry.Time
		want string
	}{
		"no epoch yet":             {"1 committed", after(9999), ""},
		"as it begins":             {"1 activated", after(0), ""},
		"the last instant":         {"1 drew once", after(60) - 1, ""},
		"its age":                  {"1 drew once", after(60), epoch.ByTime},
		"its draws":                {"1 drew twice", after(2), epoch.ByDraws},
		"both":                     {"1 drew twice", after(60), epoch.ByDraws},
		"between epochs":           {"1 closed", after(9999), ""},
		"counted anew by the next": {"2 activated", after(64) - 1, ""},
		"aged from its activation": {"2 activated", after(64), epoch.ByTime},
	} {
		rows, _ := tell(t, c.last)
		if s := epoch.Now(rows); s.Due(c.at) != c.want {
			t.Errorf("%s: due %q, want %q", name, s.Due(c.at), c.want)
		}
	}
}

// The limits that may be committed to, each to the unit, and that those which
// may not are refused by the fold.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits epoch.Limits
		good   bool
	}{
		"the house's own":    {epoch.Default, true},
		"the least":          {epoch.Limits{AgeSeconds: 1, Draws: 1}, true},
		"the most":           {epoch.Limits{AgeSeconds: 600, Draws: 1 << 20, RevealDelaySeconds: 3600}, true},
		"no draws":           {epoch.Limits{AgeSeconds: 600}, false},
		"a draw too many":    {epoch.Limits{AgeSeconds: 600, Draws: 1<<20 + 1}, false},
		"no age":             {epoch.Limits{Draws: 1}, false},
		"a second too old":   {epoch.Limits{AgeSeconds: 601, Draws: 1}, false},
		"a second too late":  {epoch.Limits{AgeSeconds: 600, Draws: 1, RevealDelaySeconds: 3601}, false},
		"draws that wrap":    {epoch.Limits{AgeSeconds: 1, Draws: math.MaxUint64}, false},
		"an age that wraps":  {epoch.Limits{AgeSeconds: 18_446_744_074, Draws: 1}, false},
		"a delay that wraps": {epoch.Limits{AgeSeconds: 1, Draws: 1, RevealDelaySeconds: math.MaxUint64}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.limits.Check(); (err == nil) != c.good {
				t.Errorf("Check: %v", err)
			}
			r := committed(1)
			r.Limits = c.limits
			if err := epoch.Fold(book.Memory{}, 1, r); !c.good {
				booktest.Breaks(t, err, "epoch-limits")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// What the seeds key signs changes with each member of the statement and with
// the log it is for.
func TestMessageBindsTheWholeStatement(t *testing.T) {
	seen := map[string]string{}
	add := func(what, origin string, spoil func(*epoch.Statement)) {
		s := committed(1).Statement
		spoil(&s)
		b, err := s.Message(origin)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if jcs, err := entry.Canonical(b); err != nil || string(jcs) != string(b) {
			t.Errorf("%s: not canonical: %s, %v", what, b, err)
		}
		if other, twice := seen[string(b)]; twice {
			t.Errorf("%s and %s give one message", what, other)
		}
		seen[string(b)] = what
	}
	add("honest", "house.example", func(*epoch.Statement) {})
	add("origin", "other.example", func(*epoch.Statement) {})
	add("assurance", "house.example", func(s *epoch.Statement) { s.Assurance = "hsm" })
	add("commitment", "house.example", func(s *epoch.Statement) { s.Commitment[31]++ })
	add("epoch", "house.example", func(s *epoch.Statement) { s.Epoch++ })
	add("age", "house.example", func(s *epoch.Statement) { s.Limits.AgeSeconds++ })
	add("draws", "house.example", func(s *epoch.Statement) { s.Limits.Draws++ })
	add("delay", "house.example", func(s *epoch.Statement) { s.Limits.RevealDelaySeconds++ })
	add("policy", "house.example", func(s *epoch.Statement) { s.Policy = "beacon" })
	add("sealed", "house.example", func(s *epoch.Statement) { s.Sealed = []byte{1} })
	add("beacon", "house.example", func(s *epoch.Statement) { s.Beacon = &epoch.Beacon{} })
	add("round", "house.example", func(s *epoch.Statement) { s.Beacon = &epoch.Beacon{Round: 1} })
	add("escrow", "house.example", func(s *epoch.Statement) { s.Escrow = &epoch.Escrow{} })
	add("recipients", "house.example", func(s *epoch.Statement) { s.Escrow = &epoch.Escrow{Recipients: []string{"a"}} })
	add("minimum", "house.example", func(s *epoch.Statement) { s.Minimum++ })
	add("nonces", "house.example", func(s *epoch.Statement) { s.Nonces = []epoch.Nonce{{}} })
	add("witness", "house.example", func(s *epoch.Statement) { s.Nonces = []epoch.Nonce{{Witness: "a"}} })
	add("group", "house.example", func(s *epoch.Statement) { s.Sources[0].Group = "tpm" })
	add("physical", "house.example", func(s *epoch.Statement) { s.Sources[0].Physical = true })
	add("sources", "house.example", func(s *epoch.Statement) { s.Sources = s.Sources[:1] })
	add("health", "house.example", func(s *epoch.Statement) { s.Sources[1].Healthy = false })
	add("bytes", "house.example", func(s *epoch.Statement) { s.Sources[0].Bytes++ })
}
