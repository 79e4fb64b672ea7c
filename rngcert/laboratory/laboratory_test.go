package laboratory_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"countroom/rngcert/laboratory"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/verdict"
)

// TestWholePlan walks through a plan with all three kinds of data: what is reported of each, and that a report
// can be kept.
func TestWholePlan(t *testing.T) {
	source := chacha(20)
	noise := read(func(p []byte) {
		for i := range p {
			p[i] = byte(source.Uint64() & 1)
		}
	})
	plan := laboratory.Plan{
		Rule:  verdict.Default,
		Raw:   []laboratory.Raw{{Name: "noise", BitsPerSymbol: 1, Declared: 0.8, Samples: 1_000_000, Data: noise}},
		Bits:  []laboratory.Bits{{Name: "generator", Sequences: 1, Length: sp80022.Least, Data: chacha(21)}},
		Games: []laboratory.Game{game(3, 10_000, scaled(chacha(22)), 6, 37, 6)},
	}
	var seen []laboratory.Progress
	report, err := laboratory.Run(plan, func(p laboratory.Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	// Two ranges of three sequences, and the positions' three.
	if n := len(seen); n != 1+1+9 || seen[0] != (laboratory.Progress{Run: 1, Name: "noise", Done: 1, Total: 1}) ||
		seen[1] != (laboratory.Progress{Run: 1, Name: "generator", Done: 1, Total: 1}) ||
		seen[10] != (laboratory.Progress{Run: 1, Name: "game", Done: 9, Total: 9}) {
		t.Errorf("progress %+v", seen)
	}
	if report.Outcome != verdict.Pass || len(report.Runs) != 1 {
		t.Fatalf("%s after %d runs: %+v", report.Outcome, len(report.Runs), report.Runs[0].Judgement)
	}
	if r := report.Raw[0]; !r.Enough || r.Assessment.MinEntropy < 0.8 {
		t.Errorf("%+v", r)
	}
	run := report.Runs[0]
	// A sequence of the range 37 needs 10,000 rounds; meanwhile the range 6 has all it needs.
	if g := run.Games[0]; g.Rounds != 30_000 || g.Draws != 90_000 || g.Other != 0 {
		t.Errorf("%+v", g)
	}
	family := 0
	tests := map[string]laboratory.TestReport{}
	for _, test := range run.Tests {
		family += len(test.Members)
		tests[test.Source+"/"+test.Stream+"/"+test.Test+"/"+test.Variant] = test
	}
	if family != run.Judgement.Family {
		t.Errorf("the tests have %d members, the family %d", family, run.Judgement.Family)
	}
	if x := tests["generator//linear complexity/"]; len(x.P) != 1 || len(x.Members) != 2 {
		t.Errorf("%+v", x)
	}
	if x := tests["game//interplay chi-square/draw 1 with draw 3"]; len(x.P) != 3 || x.Degrees != 35 {
		t.Errorf("%+v", x)
	}
	x := tests["game/range 6/chi-square/values"]
	observed, expected := 0, 0.0
	for _, b := range x.Histogram {
		observed += b.Observed
		expected += b.Expected
	}
	if len(x.P) != 3 || len(x.Statistic) != 3 || x.N[2] != 10_000 || x.Degrees != 5 || len(x.Histogram) != 6 || observed != 30_000 || expected != 30_000 {
		t.Errorf("%+v", x)
	}

	kept, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var again laboratory.Report
	if err := json.Unmarshal(kept, &again); err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again); err != nil || !bytes.Equal(kept, second) {
		t.Errorf("the report is another one after it was kept: %v", err)
	}
}

// TestTooLittleEntropy: a source fails by itself, whatever becomes of the rest.
func TestTooLittleEntropy(t *testing.T) {
	if raceEnabled {
		return // the estimators take long then, and TestWholePlan has run them already
	}
	stuck := read(func(p []byte) { clear(p) })
	report := examine(t, laboratory.Plan{Raw: []laboratory.Raw{{Name: "noise", BitsPerSymbol: 1, Declared: 0.8, Samples: 1_000_000, Data: stuck}}})
	if r := report.Raw[0]; report.Outcome != verdict.Fail || r.Enough || r.Assessment.MinEntropy != 0 {
		t.Errorf("%s: %+v", report.Outcome, r)
	}
}

// TestRepeat: a run that is unclear is repeated once with what comes next, and then there is a verdict.
func TestRepeat(t *testing.T) {
	rule := verdict.Rule{Alpha: 1e-12, Repeat: 0.5}
	for _, c := range []struct {
		name  string
		later uint32 // the range from which the second run's draws are
		want  verdict.Outcome
	}{{"good again", 37, verdict.Pass}, {"bad this time", 30, verdict.Fail}} {
		good := scaled(chacha(24))
		drawn := 0
		g := game(2, 10_000, func(n uint32) uint32 {
			drawn++
			if drawn > 20_000 {
				return good(c.later)
			}
			v := good(n)
			if v == 0 && good(3) == 0 { // odd, but not odd enough for this rule
				return 1
			}
			return v
		}, 37)
		report, err := laboratory.Run(laboratory.Plan{Rule: rule, Games: []laboratory.Game{g}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Runs) != 2 || report.Runs[0].Judgement.Outcome != verdict.Unclear || report.Outcome != c.want || drawn != 40_000 {
			t.Errorf("%s: %s after %d runs and %d draws: %+v", c.name, report.Outcome, len(report.Runs), drawn, report.Runs[0].Judgement)
		}
	}
}

// TestBrokenData: without the data that were planned there is no verdict.
func TestBrokenData(t *testing.T) {
	lost := errors.New("the game is gone")
	good := scaled(chacha(25))
	for name, c := range map[string]struct {
		change func(p *laboratory.Plan)
		want   error
	}{
		"bits end": {func(p *laboratory.Plan) {
			p.Bits = []laboratory.Bits{{Name: "b", Sequences: 1, Length: sp80022.Least, Data: strings.NewReader("short")}}
		}, io.ErrUnexpectedEOF},
		"noise ends": {func(p *laboratory.Plan) {
			p.Raw = []laboratory.Raw{{Name: "r", BitsPerSymbol: 8, Declared: 1, Samples: 1_000_000, Data: strings.NewReader("short")}}
		}, io.ErrUnexpectedEOF},
		"the game ends": {func(p *laboratory.Plan) {
			p.Games[0].Round = func([]laboratory.Draw) ([]laboratory.Draw, error) { return nil, lost }
		}, lost},
		"an integer beyond its range": {func(p *laboratory.Plan) {
			p.Games[0].Round = func(r []laboratory.Draw) ([]laboratory.Draw, error) {
				return append(r, laboratory.Draw{N: 6, V: 6}), nil
			}
		}, laboratory.ErrDraw},
		"a round without its draws": {func(p *laboratory.Plan) {
			p.Games[0].Round = func(r []laboratory.Draw) ([]laboratory.Draw, error) {
				return append(r, laboratory.Draw{N: 6, V: 1}), nil
			}
		}, laboratory.ErrDraw},
		"a round with other draws": {func(p *laboratory.Plan) {
			p.Games[0].Round = func(r []laboratory.Draw) ([]laboratory.Draw, error) {
				return append(r, laboratory.Draw{N: 6, V: 1}, laboratory.Draw{N: 7, V: 1}), nil
			}
		}, laboratory.ErrDraw},
		"a range that never comes": {func(p *laboratory.Plan) {
			p.Games[0].Ranges = []uint32{6, 52}
			p.Games[0].Round = func(r []laboratory.Draw) ([]laboratory.Draw, error) {
				return append(r, laboratory.Draw{N: 6, V: 1}, laboratory.Draw{N: 6, V: 2}), nil
			}
		}, laboratory.ErrDraw},
	} {
		p := laboratory.Plan{Rule: verdict.Default, Games: []laboratory.Game{game(1, 10_000, good, 6, 6)}}
		c.change(&p)
		if report, err := laboratory.Run(p, nil); !errors.Is(err, c.want) || report != nil {
			t.Errorf("%s: %v, %v", name, report, err)
		}
	}
}

func TestBadPlans(t *testing.T) {
	for name, change := range map[string]func(p *laboratory.Plan){
		"nothing":                func(p *laboratory.Plan) { p.Raw, p.Bits, p.Games = nil, nil, nil },
		"the same name":          func(p *laboratory.Plan) { p.Bits[0].Name = p.Games[0].Name },
		"no name":                func(p *laboratory.Plan) { p.Raw[0].Name = "" },
		"no noise":               func(p *laboratory.Plan) { p.Raw[0].Data = nil },
		"no entropy":             func(p *laboratory.Plan) { p.Raw[0].Declared = 0 },
		"too much entropy":       func(p *laboratory.Plan) { p.Raw[0].Declared = 8.1 },
		"few samples":            func(p *laboratory.Plan) { p.Raw[0].Samples = 999_999 },
		"no bits":                func(p *laboratory.Plan) { p.Bits[0].Data = nil },
		"no sequences":           func(p *laboratory.Plan) { p.Bits[0].Sequences = 0 },
		"short sequences":        func(p *laboratory.Plan) { p.Bits[0].Length = 999_992 },
		"half a byte":            func(p *laboratory.Plan) { p.Bits[0].Length = 1_000_004 },
		"no rounds":              func(p *laboratory.Plan) { p.Games[0].Round = nil },
		"no sequences of a game": func(p *laboratory.Plan) { p.Games[0].Sequences = 0 },
		"few draws":              func(p *laboratory.Plan) { p.Games[0].Draws = 9_999 },
		"no ranges":              func(p *laboratory.Plan) { p.Games[0].Ranges = nil },
		"a range of one":         func(p *laboratory.Plan) { p.Games[0].Ranges = []uint32{1} },
		"a range twice":          func(p *laboratory.Plan) { p.Games[0].Ranges = []uint32{6, 6} },
		"one position":           func(p *laboratory.Plan) { p.Games[0].Positions = []uint32{6} },
		"a position of one":      func(p *laboratory.Plan) { p.Games[0].Positions = []uint32{6, 1} },
	} {
		p := laboratory.Plan{
			Rule:  verdict.Default,
			Raw:   []laboratory.Raw{{Name: "noise", BitsPerSymbol: 8, Declared: 1, Samples: 1_000_000, Data: chacha()}},
			Bits:  []laboratory.Bits{{Name: "bits", Sequences: 1, Length: sp80022.Least, Data: chacha()}},
			Games: []laboratory.Game{game(1, 10_000, scaled(chacha()), 6, 6)},
		}
		change(&p)
		if report, err := laboratory.Run(p, nil); !errors.Is(err, laboratory.ErrPlan) || report != nil {
			t.Errorf("%s: %v, %v", name, report, err)
		}
	}
	if _, err := laboratory.Run(laboratory.Plan{}, nil); !errors.Is(err, verdict.ErrRule) {
		t.Errorf("no rule: %v", err)
	}
}
