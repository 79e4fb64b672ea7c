// Package verdict turns many p-values into one verdict, with a stated chance of accusing a generator that has
// no fault.
//
// A battery of a thousand tests of which each must pass at 99 % fails every good generator. So nothing is
// judged by itself here: all p-values of a run are one family, and a Rule, fixed before any data are seen, says
// what the family means.
//
// # The rule
//
// Let α be Rule.Alpha and β be Rule.Repeat. The p-values of a run are adjusted by Holm's method. If an adjusted
// one is at most α/2, the generator fails. Otherwise, if one is at most β, the run is repeated once, as a whole
// and with fresh data; the repeat fails if an adjusted p-value is at most α/(2β), and otherwise passes. There
// is no third run.
//
// # What it guarantees
//
// A generator without fault fails with a chance of at most α. Holm's method keeps the chance of a false
// rejection in one run below its level whatever the dependence between the p-values is, as Bonferroni's does,
// so the first run fails falsely at most at α/2. It asks for a repeat at most at β, and the repeat, whose data
// do not depend on the first, fails falsely at most at α/(2β): together α/2 + β·α/(2β) = α.
//
// What is presupposed: that each p-value is at most x with a chance of at most x, for each x that matters.
// Members of a family made by Sequences say how they come by that.
//
// # Repeated sequences
//
// A test that ran on many sequences gives many p-values, and section 4.2 of NIST SP 800-22 asks two things of
// them: how many are below 0.01, and whether they are uniform. Sequences adds the smallest, because a fault
// that shows in one sequence of a thousand changes neither. Dependence between tests does not matter; between
// the sequences of one test there is none, if the generator has no fault.
package verdict

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

var (
	// ErrRule reports levels that make no rule.
	ErrRule = errors.New("verdict: rule")
	// ErrFamily reports p-values that cannot be judged.
	ErrFamily = errors.New("verdict: p-values")
)

// Value is a p-value and the name of what it belongs to. Small values are odd.
type Value struct {
	Name string  `json:"name"`
	P    float64 `json:"p"`
}

// Outcome is what a run means.
type Outcome string

// The outcomes of a run. Only the first run of two can be Unclear.
const (
	Pass    Outcome = "pass"
	Unclear Outcome = "repeat with fresh data"
	Fail    Outcome = "fail"
)

// Rule is fixed before any data are seen.
type Rule struct {
	// Alpha bounds the chance that a generator without fault fails, the repeat included.
	Alpha float64 `json:"alpha"`
	// Repeat bounds the chance that a generator without fault is asked for a second run.
	Repeat float64 `json:"repeat"`
}

// Default is a rule for a laboratory: one false accusation in ten thousand certifications, one repeat in a
// hundred.
var Default = Rule{Alpha: 1e-4, Repeat: 1e-2}

// Check reports a rule that cannot be followed.
func (r Rule) Check() error {
	if !(r.Alpha > 0 && r.Alpha/2 < r.Repeat && r.Repeat < 1) {
		return fmt.Errorf("%w: alpha %v and repeat %v, expected 0 < alpha/2 < repeat < 1", ErrRule, r.Alpha, r.Repeat)
	}
	return nil
}

// Judgement is the verdict on one run.
type Judgement struct {
	Outcome Outcome `json:"outcome"`
	// Family is the number of p-values.
	Family int `json:"family"`
	// Level is the family-wise level at which the run fails.
	Level float64 `json:"level"`
	// Odd are the values that led to an outcome other than Pass, the smallest first, each with its P adjusted.
	Odd []Value `json:"odd"`
}

// First judges a first run.
func (r Rule) First(family []Value) (Judgement, error) {
	return r.judge(family, r.Alpha/2, r.Repeat)
}

// Second judges the repeat of a run that was Unclear.
func (r Rule) Second(family []Value) (Judgement, error) {
	level := r.Alpha / (2 * r.Repeat)
	return r.judge(family, level, level)
}

func (r Rule) judge(family []Value, fail, unclear float64) (Judgement, error) {
	if err := r.Check(); err != nil {
		return Judgement{}, err
	}
	adjusted, err := Holm(family)
	if err != nil {
		return Judgement{}, err
	}
	j := Judgement{Outcome: Pass, Family: len(family), Level: fail}
	for _, v := range adjusted {
		if v.P <= unclear {
			j.Odd = append(j.Odd, v)
		}
	}
	switch {
	case adjusted[0].P <= fail:
		j.Outcome = Fail
	case adjusted[0].P <= unclear:
		j.Outcome = Unclear
	}
	return j, nil
}

// Holm returns the family with its p-values adjusted by Holm's method (Scandinavian Journal of Statistics 6,
// 1979), the smallest first: those adjusted to at most a level are rejected at this family-wise level. A family
// without members says nothing, and is an error.
func Holm(family []Value) ([]Value, error) {
	if len(family) == 0 {
		return nil, fmt.Errorf("%w: none, expected at least one", ErrFamily)
	}
	for _, v := range family {
		if !(v.P >= 0 && v.P <= 1) {
			return nil, fmt.Errorf("%w: %s has %v, expected 0 to 1", ErrFamily, v.Name, v.P)
		}
	}
	adjusted := slices.Clone(family)
	slices.SortStableFunc(adjusted, func(a, b Value) int { return cmp.Compare(a.P, b.P) })
	most := 0.0
	for i := range adjusted {
		most = max(most, min(1, float64(len(adjusted)-i)*adjusted[i].P))
		adjusted[i].P = most
	}
	return adjusted, nil
}

const (
	// Significance is that of a single test: laboratories test at 99 % confidence.
	Significance = 0.01
	// uniformLeast is how many sequences section 4.2.2 of SP 800-22 wants for its test of uniformity.
	uniformLeast = 55
)

// discount is what an approximate p-value is worth. Nearly all tests compare a statistic with its limit, a
// chi-square or normal law, and the true tails are heavier: a p-value of 1e-9 may stand for one of 3e-8. The
// exponent makes up for that, and costs little where there is a fault.
//
// Of uniformity over 55 sequences the exact law can be computed, and the exponent is enough for it from 0.5
// down to 1e-9. It is also enough for a class with 50 expected beside two others, counted exactly.
func discount(p float64) float64 { return math.Pow(p, 0.75) }

// Sequences returns the members of a family that a test contributes with its p-values over independent
// sequences: the smallest (by Bonferroni), how many are below Significance (by the binomial law), and, of 55
// sequences and more, their uniformity over ten classes. So that approximate p-values keep the guarantee, each
// is raised to the power 0.75 before it counts. That is for the tails; over many thousand sequences uniformity
// would show the middle of an approximate law, too.
func Sequences(name string, p []float64) []Value {
	if len(p) == 0 {
		return nil
	}
	members := []Value{
		{name + ", smallest", min(1, float64(len(p))*discount(slices.Min(p)))},
		{name + ", proportion", discount(proportion(len(p), Below(p)))},
	}
	if pT, ok := Uniformity(p); ok {
		members = append(members, Value{name + ", uniformity", discount(pT)})
	}
	return members
}

// Below counts the p-values below Significance.
func Below(p []float64) (n int) {
	for _, v := range p {
		if v < Significance {
			n++
		}
	}
	return n
}

// proportion is the chance that of n uniform p-values at least so many are below Significance.
func proportion(n, below int) float64 {
	if below == 0 {
		return 1
	}
	return mathext.RegIncBeta(float64(below), float64(n-below+1), Significance)
}

// Uniformity is the p-value P_T of section 4.2.2 of SP 800-22 for p-values of independent sequences, which the
// publication asks to be at least 0.0001. It wants 55 of them; of fewer, ok is false.
func Uniformity(p []float64) (pT float64, ok bool) {
	if len(p) < uniformLeast {
		return 0, false
	}
	var counts [10]int
	for _, v := range p {
		counts[min(int(10*v), 9)]++
	}
	return chiSquare9(tenClasses(counts)), true
}

func chiSquare9(statistic float64) float64 { return mathext.GammaIncRegComp(9.0/2, statistic/2) }

// tenClasses is Pearson's statistic of ten classes that are equally likely.
func tenClasses(counts [10]int) (sum float64) {
	n := 0
	for _, c := range counts {
		n += c
	}
	expected := float64(n) / 10
	for _, c := range counts {
		d := float64(c) - expected
		sum += d * d / expected
	}
	return sum
}
