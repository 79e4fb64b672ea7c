// Package laboratory runs what a test laboratory runs on a random number generator, by a plan that is fixed
// beforehand, and reports everything it saw.
//
// Three kinds of data are examined, and each says something else:
//
//   - Samples of a noise source, by the estimators of NIST SP 800-90B: is there at least
//     the entropy that the house relies on?
//   - Sequences of bits of a generator, by NIST SP 800-22 (package sp80022).
//   - The integers that a game draws, as it draws them, by the classical tests (package
//     battery): each range by itself, and the draws of one round against each other.
//
// The p-values of the last two are one family and have one verdict, by the plan's rule (package verdict), whose
// chance to accuse a generator without fault is stated in the plan. When the rule asks for a repeat, all bits
// and games are examined once more with what their sources give next. The estimators know no p-values: each is
// a bound at 99 % confidence, and a source for which it is below what is declared fails.
//
// That a generator passes does not show that it cannot be predicted: a counter run through a cipher whose key
// everybody knows passes.
package laboratory

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"countroom/rngcert/battery"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/sp80090b"
	"countroom/rngcert/verdict"
)

var (
	// ErrPlan reports a plan that cannot be followed.
	ErrPlan = errors.New("laboratory: plan")
	// ErrDraw reports draws that are not what the plan says the game draws.
	ErrDraw = errors.New("laboratory: draw")
)

// Plan is what is examined, and by what rule it is judged. Names are those of the report, each given once.
type Plan struct {
	Rule  verdict.Rule `json:"rule"`
	Raw   []Raw        `json:"raw"`
	Bits  []Bits       `json:"bits"`
	Games []Game       `json:"games"`
}

// Raw is a noise source before any conditioning.
type Raw struct {
	Name          string `json:"name"`
	BitsPerSymbol int    `json:"bits_per_symbol"` // 1 to 8
	// Declared is the min-entropy of a symbol, in bits, that the house relies on.
	Declared float64 `json:"declared"`
	Samples  int     `json:"samples"`
	// Data has a symbol in each byte.
	Data io.Reader `json:"-"`
}

// Bits is the output of a generator before it is scaled.
type Bits struct {
	Name      string    `json:"name"`
	Sequences int       `json:"sequences"`
	Length    int       `json:"length"` // of a sequence, in bits: a multiple of 8
	Data      io.Reader `json:"-"`
}

// Game is a game whose rounds are played for the laboratory.
type Game struct {
	Name string `json:"name"`
	// Ranges are those whose draws are examined: all integers drawn in [0, n), in the order in which they were
	// drawn, for each n of Ranges.
	Ranges []uint32 `json:"ranges"`
	// Positions are the ranges of the draws with which every round begins, such as a slot's reels. They are
	// held against each other, two and two. Empty, or two and more.
	Positions []uint32 `json:"positions"`
	Sequences int      `json:"sequences"`
	// Draws is the length of a sequence: draws of one range, or rounds.
	Draws int `json:"draws"`
	// Round plays the next round and appends its draws to record.
	Round func(record []Draw) ([]Draw, error) `json:"-"`
}

// Draw is the integer V, drawn in [0, N).
type Draw struct{ N, V uint32 }

// Progress says how far a run is.
type Progress struct {
	Run         int // 1, of the repeat 2
	Name        string
	Done, Total int // sequences; of a raw source assessments
}

// Report is what was planned, seen and concluded. It holds no data, only what was counted.
type Report struct {
	Plan    Plan            `json:"plan"`
	Outcome verdict.Outcome `json:"outcome"`
	Raw     []RawReport     `json:"raw"`
	// Runs are the first run, and the repeat if there was one.
	Runs []RunReport `json:"runs"`
}

// RawReport is about one noise source.
type RawReport struct {
	Name       string               `json:"name"`
	Assessment *sp80090b.Assessment `json:"assessment"`
	// Enough: the assessed entropy is at least what is declared.
	Enough bool `json:"enough"`
}

// RunReport is about one run over all bits and games.
type RunReport struct {
	Tests     []TestReport      `json:"tests"`
	Games     []GameReport      `json:"games"`
	Judgement verdict.Judgement `json:"judgement"`
}

// TestReport is about one test over all sequences.
type TestReport struct {
	Source  string `json:"source"` // of the plan
	Stream  string `json:"stream"` // of a game: which of its draws
	Test    string `json:"test"`
	Variant string `json:"variant"`
	// P are the p-values, Statistic and N the statistics and numbers of observations, in the order of the
	// sequences. A test of SP 800-22 that says nothing of a sequence has none for it, and gives its p-values
	// only.
	P         []float64 `json:"p"`
	Statistic []float64 `json:"statistic"`
	N         []int     `json:"n"`
	Degrees   int       `json:"degrees"` // of freedom, of a chi-square statistic
	// Below is how many p-values are below 0.01.
	Below int `json:"below"`
	// Uniformity is P_T of SP 800-22, section 4.2.2, which the publication asks to be at least 0.0001; nil of
	// fewer than 55 p-values.
	Uniformity *float64 `json:"uniformity"`
	// Members are what the test contributes to the family.
	Members []verdict.Value `json:"members"`
	// Histogram is over all sequences.
	Histogram []battery.Bin `json:"histogram"`
}

// GameReport says what was drawn.
type GameReport struct {
	Name   string `json:"name"`
	Rounds int    `json:"rounds"`
	Draws  int    `json:"draws"`
	// Other is how many of the draws have a range that is not examined.
	Other int `json:"other"`
}

// Run follows the plan. An error means that there is no verdict: the plan, a source or a game is broken.
func Run(p Plan, progress func(Progress)) (*Report, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	report := &Report{Plan: p, Outcome: verdict.Pass}
	for _, r := range p.Raw {
		raw, err := r.assess()
		if err != nil {
			return nil, err
		}
		if !raw.Enough {
			report.Outcome = verdict.Fail
		}
		report.Raw = append(report.Raw, raw)
		progress(Progress{Run: 1, Name: r.Name, Done: 1, Total: 1})
	}
	if len(p.Bits)+len(p.Games) == 0 {
		return report, nil
	}
	judge := p.Rule.First
	for n := 1; ; n++ {
		run := run{progress: func(name string, done, total int) { progress(Progress{Run: n, Name: name, Done: done, Total: total}) }}
		if err := run.all(p, judge); err != nil {
			return nil, err
		}
		report.Runs = append(report.Runs, run.report)
		switch run.report.Judgement.Outcome {
		case verdict.Unclear:
			judge = p.Rule.Second
			continue
		case verdict.Fail:
			report.Outcome = verdict.Fail
		}
		return report, nil
	}
}

func (p Plan) check() error {
	if err := p.Rule.Check(); err != nil {
		return err
	}
	names := map[string]bool{"": true}
	name := func(kind, s string) error {
		if names[s] {
			return fmt.Errorf("%w: %s %q, expected a name of its own", ErrPlan, kind, s)
		}
		names[s] = true
		return nil
	}
	for _, r := range p.Raw {
		if err := name("raw source", r.Name); err != nil {
			return err
		}
		switch {
		case r.Data == nil:
			return fmt.Errorf("%w: %s: no data", ErrPlan, r.Name)
		case !(r.Declared > 0 && r.Declared <= float64(r.BitsPerSymbol)):
			return fmt.Errorf("%w: %s: %v bits of entropy declared, expected more than 0 and at most %d", ErrPlan, r.Name, r.Declared, r.BitsPerSymbol)
		case r.Samples < sp80090b.Least:
			return fmt.Errorf("%w: %s: %d samples, expected at least %d", ErrPlan, r.Name, r.Samples, sp80090b.Least)
		}
	}
	for _, b := range p.Bits {
		if err := name("bits", b.Name); err != nil {
			return err
		}
		switch {
		case b.Data == nil:
			return fmt.Errorf("%w: %s: no data", ErrPlan, b.Name)
		case b.Sequences < 1:
			return fmt.Errorf("%w: %s: %d sequences, expected at least 1", ErrPlan, b.Name, b.Sequences)
		case b.Length < sp80022.Least || b.Length%8 != 0:
			return fmt.Errorf("%w: %s: sequences of %d bits, expected at least %d and a multiple of 8", ErrPlan, b.Name, b.Length, sp80022.Least)
		}
	}
	for _, g := range p.Games {
		if err := name("game", g.Name); err != nil {
			return err
		}
		switch {
		case g.Round == nil:
			return fmt.Errorf("%w: %s: no rounds", ErrPlan, g.Name)
		case g.Sequences < 1:
			return fmt.Errorf("%w: %s: %d sequences, expected at least 1", ErrPlan, g.Name, g.Sequences)
		case g.Draws < battery.Least:
			return fmt.Errorf("%w: %s: sequences of %d draws, expected at least %d", ErrPlan, g.Name, g.Draws, battery.Least)
		case len(g.Ranges) == 0:
			return fmt.Errorf("%w: %s: no range, expected at least one", ErrPlan, g.Name)
		case len(g.Positions) == 1:
			return fmt.Errorf("%w: %s: one position, expected none, or two and more", ErrPlan, g.Name)
		}
		for i, n := range g.Ranges {
			if n < 2 || slices.Contains(g.Ranges[:i], n) {
				return fmt.Errorf("%w: %s: range %d, expected at least 2, each given once", ErrPlan, g.Name, n)
			}
		}
		for _, n := range g.Positions {
			if n < 2 {
				return fmt.Errorf("%w: %s: a position of range %d, expected at least 2", ErrPlan, g.Name, n)
			}
		}
	}
	if len(names) == 1 {
		return fmt.Errorf("%w: nothing to examine", ErrPlan)
	}
	return nil
}

func (r Raw) assess() (RawReport, error) {
	samples := make([]byte, r.Samples)
	if _, err := io.ReadFull(r.Data, samples); err != nil {
		return RawReport{}, fmt.Errorf("laboratory: %s: %w", r.Name, err)
	}
	a, err := sp80090b.Assess(samples, r.BitsPerSymbol)
	if err != nil {
		return RawReport{}, fmt.Errorf("laboratory: %s: %w", r.Name, err)
	}
	return RawReport{Name: r.Name, Assessment: a, Enough: a.MinEntropy >= r.Declared}, nil
}
