package verdict

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHolm is worked by hand.
func TestHolm(t *testing.T) {
	adjusted, err := Holm([]Value{{"a", 0.01}, {"b", 0.04}, {"c", 0.03}, {"d", 0.005}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Value{{"d", 0.02}, {"a", 0.03}, {"c", 0.06}, {"b", 0.06}} {
		if adjusted[i].Name != want.Name || math.Abs(adjusted[i].P-want.P) > 1e-12 {
			t.Errorf("number %d: %v, expected %v", i, adjusted[i], want)
		}
	}
}

func TestNothingToJudge(t *testing.T) {
	for name, family := range map[string][]Value{
		"nobody": {}, "no number": {{"x", math.NaN()}}, "below 0": {{"x", 0.5}, {"y", -1e-9}}, "above 1": {{"x", 1.5}},
	} {
		if j, err := Default.First(family); !errors.Is(err, ErrFamily) {
			t.Errorf("%s: judged %+v, %v", name, j, err)
		}
	}
	one := []Value{{"x", 0.5}}
	for _, r := range []Rule{{}, {Alpha: 0.1, Repeat: 0.05}, {Alpha: 0.1, Repeat: 1}, {Alpha: -1, Repeat: 0.1}, {Alpha: math.NaN(), Repeat: 0.1}} {
		if j, err := r.First(one); !errors.Is(err, ErrRule) {
			t.Errorf("%+v: judged %+v, %v", r, j, err)
		}
		if j, err := r.Second(one); !errors.Is(err, ErrRule) {
			t.Errorf("%+v: judged %+v, %v", r, j, err)
		}
	}
	if members := Sequences("nothing", nil); members != nil {
		t.Errorf("no sequences gave %v", members)
	}
}

// TestOneRun walks through the default rule with a family of a hundred.
func TestOneRun(t *testing.T) {
	family := make([]Value, 100)
	for i := range family {
		family[i] = Value{fmt.Sprint(i), 0.5}
	}
	for _, c := range []struct {
		smallest      float64
		first, second Outcome
	}{
		{0.011, Pass, Pass}, // the old way would have failed a generator for this every other time
		{1.1e-4, Pass, Pass},
		{0.9e-4, Unclear, Pass},
		{0.9 * 0.005 / 100, Unclear, Fail},
		{0.6e-6, Unclear, Fail},
		{0.4e-6, Fail, Fail},
		{0, Fail, Fail},
	} {
		family[17].P = c.smallest
		first, err := Default.First(family)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Default.Second(family)
		if err != nil {
			t.Fatal(err)
		}
		if first.Outcome != c.first || second.Outcome != c.second {
			t.Errorf("smallest %v: first %s, second %s; expected %s, %s", c.smallest, first.Outcome, second.Outcome, c.first, c.second)
		}
		for _, j := range []Judgement{first, second} {
			if j.Outcome != Pass && (len(j.Odd) != 1 || j.Odd[0].Name != "17") || j.Outcome == Pass && len(j.Odd) > 0 || j.Family != 100 {
				t.Errorf("smallest %v: %+v, expected 17 to be named", c.smallest, j)
			}
		}
	}
}

// judge follows the whole rule, with fresh data for the repeat.
func judge(t *testing.T, r Rule, family func() []Value) Outcome {
	t.Helper()
	j, err := r.First(family())
	if err == nil && j.Outcome == Unclear {
		j, err = r.Second(family())
	}
	if err != nil {
		t.Fatal(err)
	}
	return j.Outcome
}

// TestFalseAlarms counts how often generators without fault fail, at levels at which it can be counted. Each
// family has uniform p-values; they differ in how these hang together. The seed is fixed.
func TestFalseAlarms(t *testing.T) {
	const members, runs = 40, 20_000
	rule := Rule{Alpha: 0.1, Repeat: 0.3}
	// Of independent p-values the chances can be computed.
	chance := func(level float64) float64 { return 1 - math.Pow(1-level/members, members) }
	first := chance(rule.Alpha / 2)
	independent := first + (chance(rule.Repeat)-first)*chance(rule.Alpha/(2*rule.Repeat))
	// Of p-values of which only one can be small at a time, Bonferroni's bound is reached.
	disjoint := rule.Alpha/2 + (rule.Repeat-rule.Alpha/2)*rule.Alpha/(2*rule.Repeat)

	for _, c := range []struct {
		name   string
		chance float64 // NaN: not known
		fill   func(r *rand.Rand, p []float64)
	}{
		{"independent", independent, func(r *rand.Rand, p []float64) {
			for i := range p {
				p[i] = r.Float64()
			}
		}},
		{"never two at a time", disjoint, func(r *rand.Rand, p []float64) {
			u := r.Float64()
			for i := range p {
				_, p[i] = math.Modf(u + float64(i)/members)
			}
		}},
		{"all the same", math.NaN(), func(r *rand.Rand, p []float64) {
			u := r.Float64()
			for i := range p {
				p[i] = u
			}
		}},
		{"opposites", math.NaN(), func(r *rand.Rand, p []float64) {
			u := r.Float64()
			for i := range p {
				p[i] = u
				if i%2 == 1 {
					p[i] = 1 - u
				}
			}
		}},
		{"small ones together", math.NaN(), func(r *rand.Rand, p []float64) {
			shift := r.NormFloat64()
			for i := range p {
				z := (shift + r.NormFloat64()) / math.Sqrt2
				p[i] = math.Erfc(z/math.Sqrt2) / 2
			}
		}},
	} {
		r := rand.New(rand.NewChaCha8([32]byte{1}))
		p := make([]float64, members)
		failed := 0
		for range runs {
			outcome := judge(t, rule, func() []Value {
				c.fill(r, p)
				family := make([]Value, members)
				for i := range family {
					family[i].P = p[i]
				}
				return family
			})
			if outcome == Fail {
				failed++
			}
		}
		rate := float64(failed) / runs
		deviation := math.Sqrt(rule.Alpha * (1 - rule.Alpha) / runs)
		if rate > rule.Alpha+4*deviation {
			t.Errorf("%s: %.4f of the runs fail, stated is at most %v", c.name, rate, rule.Alpha)
		}
		if math.Abs(rate-c.chance) > 4*deviation {
			t.Errorf("%s: %.4f of the runs fail, %.4f was computed", c.name, rate, c.chance)
		}
	}
}

// TestFalseAlarmsOfSequences does the same through Sequences: twenty tests over sixty sequences, half of the
// tests looking at the same thing.
func TestFalseAlarmsOfSequences(t *testing.T) {
	const tests, sequences, runs = 20, 60, 1500
	rule := Rule{Alpha: 0.1, Repeat: 0.3}
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	failed, unclear := 0, 0
	p := make([]float64, sequences)
	family := func() (family []Value) {
		for i := range tests {
			for s := range p {
				if i <= tests/2 {
					p[s] = r.Float64()
				} else {
					p[s] = 1 - p[s]
				}
			}
			family = append(family, Sequences(fmt.Sprint(i), p)...)
		}
		return family
	}
	for range runs {
		j, err := rule.First(family())
		if err != nil {
			t.Fatal(err)
		}
		if j.Family != 3*tests {
			t.Fatalf("%d members, expected %d", j.Family, 3*tests)
		}
		if j.Outcome == Unclear {
			unclear++
			if j, err = rule.Second(family()); err != nil {
				t.Fatal(err)
			}
		}
		if j.Outcome == Fail {
			failed++
		}
	}
	for name, c := range map[string]struct {
		n      int
		stated float64
	}{"fail": {failed, rule.Alpha}, "are repeated": {unclear, rule.Repeat}} {
		if rate := float64(c.n) / runs; rate > c.stated+4*math.Sqrt(c.stated*(1-c.stated)/runs) {
			t.Errorf("%.4f of the runs %s, stated is at most %v", rate, name, c.stated)
		}
	}
	if failed == 0 {
		t.Error("no run fails: the count says nothing")
	}
}

// TestFaults: what Sequences contributes fails for each kind of fault, and names it.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		p    func(u float64, i int) float64
		odd  string
	}{
		{"one sequence is wrong", 1000, func(u float64, i int) float64 {
			if i == 500 {
				return 1e-20
			}
			return u
		}, "x, smallest"},
		{"one is all there is", 1, func(float64, int) float64 { return 1e-12 }, "x, smallest"},
		{"one in twelve fails", 300, func(u float64, i int) float64 {
			if i%12 == 0 {
				return u / 150
			}
			return u
		}, "x, proportion"},
		{"too good to be true", 200, func(u float64, _ int) float64 { return 0.5 + u/2 }, "x, uniformity"},
		{"never far out", 300, func(u float64, _ int) float64 { return 0.25 + u/2 }, "x, uniformity"},
	} {
		r := rand.New(rand.NewChaCha8([32]byte{3}))
		p := make([]float64, c.n)
		for i := range p {
			p[i] = c.p(r.Float64(), i)
		}
		j, err := Default.First(Sequences("x", p))
		if err != nil {
			t.Fatal(err)
		}
		if j.Outcome != Fail || !slices.ContainsFunc(j.Odd, func(v Value) bool { return v.Name == c.odd && v.P <= j.Level }) {
			t.Errorf("%s: %+v, expected it to fail for %q", c.name, j, c.odd)
		}
	}
}

func TestProportion(t *testing.T) {
	for _, c := range []struct {
		n, below int
		want     float64
	}{
		{10, 0, 1},
		{10, 1, 1 - math.Pow(0.99, 10)},
		{2, 2, 1e-4},
		{1000, 1000, 0},
	} {
		if got := proportion(c.n, c.below); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d of %d: %v, expected %v", c.below, c.n, got, c.want)
		}
	}
}

// TestUniformity: the example of section 4.2.2 is not printed with its data, so the statistic is worked by hand.
func TestUniformity(t *testing.T) {
	var p []float64
	for i := range 60 {
		p = append(p, (float64(i)+0.5)/60)
	}
	if pT, ok := Uniformity(p); !ok || pT != 1 {
		t.Errorf("six in each class: %v, %t", pT, ok)
	}
	for i := range 6 {
		p[i] = 1 // belongs to the last class
	}
	// 0, 12 and eight times 6 over 6: a statistic of 12.
	if pT, _ := Uniformity(p); math.Abs(pT-0.2133093) > 1e-7 {
		t.Errorf("an empty class: %v", pT)
	}
	if _, ok := Uniformity(p[:54]); ok {
		t.Error("54 sequences were judged, the publication wants 55")
	}
}

// TestDiscountIsEnough computes the exact law of ten classes, and the exact law of a small class beside two
// large ones, and holds the discounted p-values against them: none between 0.5 and 1e-9 is smaller than its
// chance.
func TestDiscountIsEnough(t *testing.T) {
	const least = 1e-9
	for _, n := range []int{uniformLeast, 100} {
		tails := tailsOfTenClasses(n, n*n/10+9*n) // up to a statistic of 90, far below least
		for s, chance := range tails {
			statistic := float64(10*s)/float64(n) - float64(n)
			attained := s+1 == len(tails) || chance > tails[s+1]
			if attained && chance <= 0.5 && max(discount(chiSquare9(statistic)), least) < chance {
				p := discount(chiSquare9(statistic))
				t.Errorf("%d sequences: a statistic of %v gives %v, its chance is %v", n, statistic, p, chance)
			}
		}
	}
	// With two degrees of freedom the tail is exp(−x/2); the other two classes are as good as normal.
	const expected = 50
	for x := 1.0; x < 60; x++ {
		chance := 0.0
		for k := range 400 {
			d := (float64(k) - expected) * (float64(k) - expected) / expected
			logFactorial, _ := math.Lgamma(float64(k + 1))
			chance += math.Exp(float64(k)*math.Log(expected)-expected-logFactorial) * math.Erfc(math.Sqrt(max(0, x-d)/2))
		}
		if p := max(discount(math.Exp(-x/2)), least); p < chance {
			t.Errorf("a statistic of %v gives %v, its chance is %v", x, p, chance)
		}
	}
}

// tailsOfTenClasses returns, for n uniform p-values, the chance that the squares of the counts of ten classes
// add up to at least s, for each s up to most. Chances are added up from the far end, so that small ones keep
// their digits.
func tailsOfTenClasses(n, most int) []float64 {
	table := func() [][]float64 {
		rows := make([][]float64, n+1)
		for i := range rows {
			rows[i] = make([]float64, most+1)
		}
		return rows
	}
	// now[i][s] is the chance, over n!, that the classes so far hold i values and their squares add up to s.
	now := table()
	now[0][0] = 1
	for range 10 {
		next := table()
		for i := range now {
			for s, chance := range now[i] {
				if chance == 0 {
					continue
				}
				weight := 1.0
				for c := 0; i+c <= n && s+c*c <= most; c++ {
					next[i+c][s+c*c] += chance * weight
					weight /= 10 * float64(c+1)
				}
			}
		}
		now = next
	}
	logFactorial, _ := math.Lgamma(float64(n + 1))
	tails := make([]float64, most+1)
	sum := 0.0
	for s := most; s >= 0; s-- {
		sum += now[n][s] * math.Exp(logFactorial)
		tails[s] = sum
	}
	return tails
}
