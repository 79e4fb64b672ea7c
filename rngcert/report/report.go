// Package report is a laboratory's report as it is kept: what was examined, by which program, and everything that
// was seen, as JSON for programs and as a page for people.
//
// A report can be checked by whoever has it: Check works out again, from the p-values and assessments in it, what
// the family means by the plan's rule. That the p-values are those of the house's chance is the house's word, which
// it signs.
package report

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"countroom/rngcert/laboratory"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/verdict"
)

const (
	// Format names the form of the JSON document.
	Format = "countroom/rng-report/1"
	// Most bounds the JSON document, in bytes.
	Most = 4 << 20
)

// ErrReport reports a document that is malformed, or says what does not follow from itself.
var ErrReport = errors.New("report")

// Document is a report with what it is about.
type Document struct {
	Format string `json:"format"`
	Origin string `json:"origin"` // the log of the house
	// Release, Code and Configuration say what ran: the release of the program, and the SHA-256 of its file and of
	// the configuration in force, in hex.
	Release       string            `json:"release"`
	Code          string            `json:"code"`
	Configuration string            `json:"configuration"`
	Started       time.Time         `json:"started"`
	Finished      time.Time         `json:"finished"`
	Sources       []Source          `json:"sources"`
	Games         []Game            `json:"games"`
	Report        laboratory.Report `json:"report"`
}

// Source is an entropy source of the house.
type Source struct {
	Name string `json:"name"`
	// Conditioned: the noise cannot be seen, only what a generator inside the source makes of it. Its bits are
	// examined, its entropy cannot be assessed.
	Conditioned bool `json:"conditioned"`
	// MinEntropyPerByte is what the house relies on.
	MinEntropyPerByte float64 `json:"min_entropy_per_byte"`
}

// Game is a game whose draws were examined.
type Game struct {
	Game    string `json:"game"`
	Release string `json:"release"`
	Maths   string `json:"maths"` // SHA-256 of the definition, in hex
}

// JSON writes the document.
func (d *Document) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	b = append(b, '\n')
	if len(b) > Most {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d: plan fewer sequences", ErrReport, len(b), Most)
	}
	return b, nil
}

// Parse reads a document and checks it.
func Parse(data []byte) (*Document, error) {
	if len(data) > Most {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", ErrReport, len(data), Most)
	}
	d := new(Document)
	r := json.NewDecoder(bytes.NewReader(data))
	r.DisallowUnknownFields()
	if err := r.Decode(d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if again, err := d.JSON(); err != nil || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: expected its one spelling, as JSON writes it", ErrReport)
	}
	return d, d.Check()
}

// Check reports what in a document does not follow from the rest of it.
func (d *Document) Check() error {
	if d.Format != Format {
		return fmt.Errorf("%w: format %q, expected %s", ErrReport, d.Format, Format)
	}
	for _, h := range []struct{ name, value string }{{"code", d.Code}, {"configuration", d.Configuration}} {
		if b, err := hex.DecodeString(h.value); err != nil || len(b) != 32 {
			return fmt.Errorf("%w: %s %q, expected a SHA-256 in hex", ErrReport, h.name, h.value)
		}
	}
	for _, g := range d.Games {
		if b, err := hex.DecodeString(g.Maths); err != nil || len(b) != 32 {
			return fmt.Errorf("%w: maths of %s: %q, expected a SHA-256 in hex", ErrReport, g.Game, g.Maths)
		}
	}
	if d.Finished.Before(d.Started) {
		return fmt.Errorf("%w: finished %v, expected not before %v", ErrReport, d.Finished, d.Started)
	}
	r := &d.Report
	if err := d.checkNames(); err != nil {
		return err
	}
	if err := r.Plan.Rule.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrReport, err)
	}
	outcome := verdict.Pass
	if len(r.Raw) != len(r.Plan.Raw) {
		return fmt.Errorf("%w: %d raw sources, expected the %d of the plan", ErrReport, len(r.Raw), len(r.Plan.Raw))
	}
	for i, raw := range r.Raw {
		if err := checkRaw(r.Plan.Raw[i], raw); err != nil {
			return err
		}
		if !raw.Enough {
			outcome = verdict.Fail
		}
	}
	if len(r.Plan.Bits)+len(r.Plan.Games) > 0 {
		last, err := checkRuns(r)
		if err != nil {
			return err
		}
		if last != verdict.Pass {
			outcome = verdict.Fail
		}
	} else if len(r.Runs) != 0 || len(r.Raw) == 0 {
		return fmt.Errorf("%w: %d runs and %d raw sources, expected what was planned, and something", ErrReport, len(r.Runs), len(r.Raw))
	}
	if r.Outcome != outcome {
		return fmt.Errorf("%w: outcome %q, expected %q by the rule", ErrReport, r.Outcome, outcome)
	}
	return nil
}

// checkNames demands that the sources and games are those that were examined.
func (d *Document) checkNames() error {
	var raw, bits, games []string
	for _, r := range d.Report.Plan.Raw {
		raw = append(raw, r.Name)
	}
	for _, b := range d.Report.Plan.Bits {
		bits = append(bits, b.Name)
	}
	for _, g := range d.Report.Plan.Games {
		games = append(games, g.Name)
	}
	for _, s := range d.Sources {
		in := raw
		if s.Conditioned {
			in = bits
		}
		if !slices.Contains(in, SourceName(s.Name)) {
			return fmt.Errorf("%w: source %s, expected one that was examined", ErrReport, s.Name)
		}
	}
	if len(raw) > len(d.Sources) {
		return fmt.Errorf("%w: %d raw sources were examined, expected only the %d sources", ErrReport, len(raw), len(d.Sources))
	}
	if !slices.EqualFunc(d.Games, games, func(g Game, name string) bool { return GameName(g.Game, g.Release) == name }) {
		return fmt.Errorf("%w: games %q were examined, expected those that are named", ErrReport, games)
	}
	return nil
}

// SourceName is what an entropy source is called in a plan.
func SourceName(source string) string { return "source " + source }

// GameName is what a game is called in a plan.
func GameName(game, release string) string { return game + " " + release }

func checkRaw(plan laboratory.Raw, raw laboratory.RawReport) error {
	a := raw.Assessment
	if a == nil || raw.Name != plan.Name || a.Samples != plan.Samples || a.BitsPerSymbol != plan.BitsPerSymbol || len(a.BitString) == 0 {
		return fmt.Errorf("%w: raw source %s: expected the assessment that was planned", ErrReport, plan.Name)
	}
	least := float64(a.BitsPerSymbol)
	for _, e := range a.Literal {
		least = min(least, e.MinEntropy)
	}
	for _, e := range a.BitString {
		least = min(least, e.MinEntropy*float64(a.BitsPerSymbol))
	}
	if a.MinEntropy != least || raw.Enough != (least >= plan.Declared) {
		return fmt.Errorf("%w: raw source %s: min-entropy %v, enough: %t; expected %v and %t", ErrReport, plan.Name, a.MinEntropy, raw.Enough, least, least >= plan.Declared)
	}
	return nil
}

// checkRuns returns the outcome of the last run.
func checkRuns(r *laboratory.Report) (last verdict.Outcome, err error) {
	judge := r.Plan.Rule.First
	for i, run := range r.Runs {
		if i > 0 && (i > 1 || last != verdict.Unclear) {
			return "", fmt.Errorf("%w: run %d, expected none after %q", ErrReport, i+1, last)
		}
		var family []verdict.Value
		for _, t := range run.Tests {
			if err := checkTest(&r.Plan, &t); err != nil {
				return "", fmt.Errorf("%w, run %d", err, i+1)
			}
			family = append(family, t.Members...)
		}
		if err := complete(&r.Plan, &run); err != nil {
			return "", fmt.Errorf("%w, run %d", err, i+1)
		}
		j, err := judge(family)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrReport, err)
		}
		if !same(j, run.Judgement) {
			return "", fmt.Errorf("%w: run %d is judged %q over %d values, expected %q over %d", ErrReport, i+1, run.Judgement.Outcome, run.Judgement.Family, j.Outcome, j.Family)
		}
		last, judge = j.Outcome, r.Plan.Rule.Second
	}
	if last == "" || last == verdict.Unclear {
		return "", fmt.Errorf("%w: %d runs, expected them to end with a verdict", ErrReport, len(r.Runs))
	}
	return last, nil
}

func same(a, b verdict.Judgement) bool {
	return a.Outcome == b.Outcome && a.Family == b.Family && a.Level == b.Level &&
		slices.EqualFunc(a.Odd, b.Odd, func(a, b verdict.Value) bool { return a.Name == b.Name && near(a.P, b.P) })
}

// near compares what another machine may have rounded otherwise.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

func checkTest(p *laboratory.Plan, t *laboratory.TestReport) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: %s: %s: expected %s", ErrReport, t.Source, t.Test, what)
	}
	if len(t.P) == 0 {
		return bad("p-values")
	}
	game := slices.IndexFunc(p.Games, func(g laboratory.Game) bool { return g.Name == t.Source })
	bits := slices.IndexFunc(p.Bits, func(b laboratory.Bits) bool { return b.Name == t.Source })
	switch {
	case game >= 0 && bits >= 0:
		return bad("a name for one source")
	case game >= 0 && len(t.P) != p.Games[game].Sequences:
		return bad("a p-value for each sequence")
	case bits >= 0 && len(t.P) > p.Bits[bits].Sequences:
		return bad("no more p-values than sequences")
	case game < 0 && bits < 0:
		return bad("a source of the plan")
	}
	if slices.ContainsFunc(t.P, func(p float64) bool { return !(p >= 0 && p <= 1) }) {
		return bad("p-values from 0 to 1")
	}
	again := laboratory.Concluded(*t)
	switch {
	case again.Below != t.Below:
		return bad(fmt.Sprintf("%d p-values below %v", again.Below, verdict.Significance))
	case (again.Uniformity == nil) != (t.Uniformity == nil) || again.Uniformity != nil && !near(*again.Uniformity, *t.Uniformity):
		return bad("the uniformity of the p-values")
	case !slices.EqualFunc(again.Members, t.Members, func(a, b verdict.Value) bool { return a.Name == b.Name && near(a.P, b.P) }):
		return bad("the members of the family that follow from the p-values")
	}
	return nil
}

// complete demands what was planned: of bits, a p-value of each sequence by each test that can say something of
// every sequence; of games, tests of each range and of the positions.
func complete(p *laboratory.Plan, run *laboratory.RunReport) error {
	has := func(source, stream, test string, n int) bool {
		return slices.ContainsFunc(run.Tests, func(t laboratory.TestReport) bool {
			return t.Source == source && t.Stream == stream && t.Test == test && len(t.P) == n
		})
	}
	for _, b := range p.Bits {
		for _, test := range sp80022.Always {
			if !has(b.Name, "", test, b.Sequences) {
				return fmt.Errorf("%w: %s: expected %s of %d sequences", ErrReport, b.Name, test, b.Sequences)
			}
		}
	}
	if len(run.Games) != len(p.Games) {
		return fmt.Errorf("%w: %d games, expected the %d of the plan", ErrReport, len(run.Games), len(p.Games))
	}
	for i, g := range p.Games {
		if run.Games[i].Name != g.Name {
			return fmt.Errorf("%w: game %s, expected %s", ErrReport, run.Games[i].Name, g.Name)
		}
		for _, n := range g.Ranges {
			if stream := laboratory.RangeName(n); !has(g.Name, stream, "chi-square", g.Sequences) {
				return fmt.Errorf("%w: %s: expected chi-square of %s", ErrReport, g.Name, stream)
			}
		}
		if len(g.Positions) > 0 && !has(g.Name, "", "interplay chi-square", g.Sequences) && !has(g.Name, "", "interplay correlation", g.Sequences) {
			return fmt.Errorf("%w: %s: expected the interplay of its positions", ErrReport, g.Name)
		}
	}
	return nil
}
