package laboratory

import (
	"fmt"
	"io"
	"strings"

	"countroom/rngcert/battery"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/verdict"
)

// run is one run under way.
type run struct {
	report   RunReport
	place    map[[4]string]int // of a test in the report
	progress func(name string, done, total int)
}

func (r *run) all(p Plan, judge func([]verdict.Value) (verdict.Judgement, error)) error {
	r.place = map[[4]string]int{}
	for _, b := range p.Bits {
		if err := r.bits(b); err != nil {
			return fmt.Errorf("laboratory: %s: %w", b.Name, err)
		}
	}
	for _, g := range p.Games {
		if err := r.game(g); err != nil {
			return fmt.Errorf("laboratory: %s: %w", g.Name, err)
		}
	}
	var family []verdict.Value
	for i := range r.report.Tests {
		t := &r.report.Tests[i]
		*t = Concluded(*t)
		family = append(family, t.Members...)
	}
	var err error
	r.report.Judgement, err = judge(family)
	return err
}

// Concluded returns the report of a test with what follows from its p-values.
func Concluded(t TestReport) TestReport {
	t.Below, t.Uniformity = verdict.Below(t.P), nil
	if pT, ok := verdict.Uniformity(t.P); ok {
		t.Uniformity = &pT
	}
	t.Members = verdict.Sequences(t.name(), t.P)
	return t
}

// RangeName is what the draws of a range are called in a report.
func RangeName(n uint32) string { return fmt.Sprintf("range %d", n) }

// name is what a test is called in the family.
func (t TestReport) name() string {
	var parts []string
	for _, part := range []string{t.Source, t.Stream, t.Test, t.Variant} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// test returns the report of a test, a new one when it comes for the first time.
func (r *run) test(source, stream, test, variant string) *TestReport {
	key := [4]string{source, stream, test, variant}
	i, ok := r.place[key]
	if !ok {
		i = len(r.report.Tests)
		r.place[key] = i
		r.report.Tests = append(r.report.Tests, TestReport{Source: source, Stream: stream, Test: test, Variant: variant})
	}
	return &r.report.Tests[i]
}

func (r *run) bits(b Bits) error {
	data := make([]byte, b.Length/8)
	for n := range b.Sequences {
		if _, err := io.ReadFull(b.Data, data); err != nil {
			return err
		}
		values, err := sp80022.Suite(sp80022.Unpack(data))
		if err != nil {
			return err
		}
		for _, v := range values {
			t := r.test(b.Name, "", v.Test, v.Variant)
			t.P = append(t.P, v.P)
		}
		r.progress(b.Name, n+1, b.Sequences)
	}
	return nil
}

// take adds what the battery said of a sequence.
func (r *run) take(game, stream string, results []battery.Result) {
	for _, x := range results {
		t := r.test(game, stream, x.Test, x.Variant)
		t.P = append(t.P, x.P)
		t.Statistic = append(t.Statistic, x.Statistic)
		t.N = append(t.N, x.N)
		t.Degrees = x.Degrees
		if t.Histogram == nil {
			t.Histogram = x.Histogram
			continue
		}
		for i, b := range x.Histogram { // of streams of one length and range the classes are the same
			t.Histogram[i].Observed += b.Observed
			t.Histogram[i].Expected += b.Expected
		}
	}
}

// patience is how many rounds are played for each draw that is wanted of a range, before the range counts as
// one that the game does not draw.
const patience = 1000

// pool gathers a sequence.
type pool struct {
	stream battery.Stream
	done   int // sequences
}

func (r *run) game(g Game) error {
	pools := map[uint32]*pool{}
	for _, n := range g.Ranges {
		pools[n] = &pool{stream: battery.Stream{Name: RangeName(n), M: n}}
	}
	positions := make([]battery.Stream, len(g.Positions))
	for i, n := range g.Positions {
		positions[i] = battery.Stream{Name: fmt.Sprintf("draw %d", i+1), M: n}
	}
	interplays, total := 0, g.Sequences*len(pools)
	if len(positions) > 0 {
		total += g.Sequences
	}
	report := GameReport{Name: g.Name}
	done := 0
	finished := func() {
		done++
		r.progress(g.Name, done, total)
	}
	var draws []Draw
	for done < total {
		if report.Rounds == patience*g.Sequences*g.Draws {
			return fmt.Errorf("%w: %d rounds did not give %d draws of each range", ErrDraw, report.Rounds, g.Sequences*g.Draws)
		}
		var err error
		if draws, err = g.Round(draws[:0]); err != nil {
			return err
		}
		report.Rounds++
		report.Draws += len(draws)
		for i, d := range draws {
			if d.V >= d.N {
				return fmt.Errorf("%w: round %d, draw %d is %d, expected below %d", ErrDraw, report.Rounds, i+1, d.V, d.N)
			}
			p := pools[d.N]
			switch {
			case p == nil:
				report.Other++
				continue
			case p.done == g.Sequences:
				continue
			}
			p.stream.Values = append(p.stream.Values, d.V)
			if len(p.stream.Values) < g.Draws {
				continue
			}
			results, err := battery.Run(p.stream)
			if err != nil {
				return err
			}
			r.take(g.Name, p.stream.Name, results)
			p.stream.Values = p.stream.Values[:0]
			p.done++
			finished()
		}
		for i := range positions {
			s := &positions[i]
			if i >= len(draws) || draws[i].N != s.M {
				return fmt.Errorf("%w: round %d, draw %d is missing or of another range, expected %d", ErrDraw, report.Rounds, i+1, s.M)
			}
			if interplays < g.Sequences {
				s.Values = append(s.Values, draws[i].V)
			}
		}
		if len(positions) == 0 || len(positions[0].Values) < g.Draws {
			continue
		}
		results, err := battery.Interplay(positions)
		if err != nil {
			return err
		}
		r.take(g.Name, "", results)
		for i := range positions {
			positions[i].Values = positions[i].Values[:0]
		}
		interplays++
		finished()
	}
	r.report.Games = append(r.report.Games, report)
	return nil
}
