package battery

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func generator(seed byte) *rand.Rand { return rand.New(rand.NewChaCha8([32]byte{seed})) }

func uniform(r *rand.Rand, m uint32, n int) Stream {
	s := Stream{Name: "uniform", M: m, Values: make([]uint32, n)}
	for i := range s.Values {
		s.Values[i] = r.Uint32N(m)
	}
	return s
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(1, math.Abs(b)) }

// each calls f with every sequence of t integers in [0, m).
func each(m uint32, t int, f func(values []uint32)) {
	values := make([]uint32, t)
	for {
		f(values)
		i := 0
		for ; i < t; i++ {
			if values[i]++; values[i] < m {
				break
			}
			values[i] = 0
		}
		if i == t {
			return
		}
	}
}

// TestLaws holds the laws of the tests against every sequence there is.
func TestLaws(t *testing.T) {
	// Seven values in three classes, of 3, 2 and 2 values.
	const m = 7
	classOf := func(v uint32) uint16 { return uint16(v * 3 / m) }
	c := Stream{M: m, Values: []uint32{0, 1, 2, 3, 4, 5, 6}}.classes(3)
	for v, class := range c.of {
		if class != classOf(uint32(v)) {
			t.Errorf("%d is in class %d", v, class)
		}
	}
	if !slices.Equal(c.p, []float64{3.0 / 7, 2.0 / 7, 2.0 / 7}) {
		t.Errorf("classes have probabilities %v", c.p)
	}

	byPairs := map[int]float64{}
	each(m, 5, func(values []uint32) {
		pairs := 0
		for i, v := range values {
			for _, w := range values[:i] {
				if classOf(v) == classOf(w) {
					pairs++
				}
			}
		}
		byPairs[pairs] += math.Pow(m, -5)
	})
	sum := 0.0
	for pairs, p := range pokerLaw(c.p) {
		sum += p
		if !near(p, byPairs[pairs]) {
			t.Errorf("%d pairs: %v, counted %v", pairs, p, byPairs[pairs])
		}
	}
	for _, h := range hands {
		sum -= pokerLaw(c.p)[h.pairs]
	}
	if math.Abs(sum) > 1e-12 {
		t.Errorf("patterns without a name have %v", sum)
	}

	law := couponLaw(c.p)
	for length := 1; length <= 6; length++ {
		counted := 0.0
		each(m, length, func(values []uint32) {
			seen, before := 0, 0
			for _, v := range values {
				before = seen
				seen |= 1 << classOf(v)
			}
			if seen == 7 && before != 7 {
				counted += math.Pow(m, -float64(length))
			}
		})
		if !near(law[length-1], counted) {
			t.Errorf("all coupons after %d: %v, counted %v", length, law[length-1], counted)
		}
	}
	// Of ten equal coupons the mean is 10 (1 + 1/2 + … + 1/10).
	mean, total := 0.0, 0.0
	for i, p := range couponLaw(slices.Repeat([]float64{0.1}, 10)) {
		mean += p * float64(i+1)
		total += p
	}
	if math.Abs(mean-29.28968253968254) > 1e-9 || math.Abs(total-1) > 1e-12 {
		t.Errorf("ten coupons take %v, with total probability %v", mean, total)
	}

	// A run upwards among five values, of which the first four can be ordered: runs of 1, 2 and 3 end within them.
	counts := make([]float64, 5)
	each(5, 4, func(values []uint32) {
		length := 1
		for length < 4 && values[length] > values[length-1] {
			length++
		}
		counts[length] += math.Pow(5, -4)
	})
	r := results{}
	r.directionRuns(uniform(generator(1), 5, Least))
	for _, x := range r.list {
		for i, b := range x.Histogram[:2] {
			if !near(b.Expected, counts[i+1]*float64(x.N)) || b.Label != fmt.Sprint(i+1) {
				t.Errorf("%s: %+v, expected %v", x.Variant, b, counts[i+1]*float64(x.N))
			}
		}
	}

	orders := map[int]int{}
	each(6, 4, func(values []uint32) { orders[order(values)]++ })
	for i := range 24 {
		if orders[i] != 15 { // of the C(6,4) choices of four
			t.Errorf("order %d comes %d times", i, orders[i])
		}
	}
	if orders[24] != 6*6*6*6-24*15 || len(orders) != 25 {
		t.Errorf("orders %v", orders)
	}

	// Changes of side among five values of three, of which one is below the middle.
	first, second := 0.0, 0.0
	each(3, 5, func(values []uint32) {
		changes := 0
		for i := 1; i < 5; i++ {
			if (values[i] >= 1) != (values[i-1] >= 1) {
				changes++
			}
		}
		first += float64(changes) / 243
		second += float64(changes*changes) / 243
	})
	if mean, variance := changes(5, 1.0/3); !near(mean, first) || !near(variance, second-first*first) {
		t.Errorf("changes %v ± %v, counted %v ± %v", mean, variance, first, second-first*first)
	}

	// Birthdays: four in a year of six days.
	first, second = 0, 0
	each(6, 4, func(values []uint32) {
		found := 0
		for i, v := range values {
			if slices.Contains(values[:i], v) {
				found++
			}
		}
		first += float64(found) / 1296
		second += float64(found*found) / 1296
	})
	if mean, variance := duplicatesOf(4, 6); !near(mean, first) || !near(variance, second-first*first) {
		t.Errorf("duplicates %v ± %v, counted %v ± %v", mean, variance, first, second-first*first)
	}
}

// TestCounting: a stream that counts from 0 to 9 and again, in which everything can be foreseen.
func TestCounting(t *testing.T) {
	s := Stream{Name: "counting", M: 10}
	for i := range 10_000 {
		s.Values = append(s.Values, uint32(i%10))
	}
	results, err := Run(s)
	if err != nil {
		t.Fatal(err)
	}
	// Where each histogram has its observations.
	for name, want := range map[string]string{
		"chi-square, values":             "0:1000 1:1000 2:1000 3:1000 4:1000 5:1000 6:1000 7:1000 8:1000 9:1000",
		"runs, lengths below the median": "5:1000",
		"runs, lengths above the median": "5:999", // the last has not ended
		"runs, lengths up":               "4 to 16:999",
		"runs, lengths down":             "1:5000", // the value after each is thrown away
		"gaps, 0 to 0":                   "1:1 10 to 11:999",
		"gaps, 4 to 4":                   "5:1 10 to 11:999",
		"gaps, 9 to 9":                   "10 to 11:1000",
		"coupon collector, 10 coupons":   "1 to 19:1000",
		"poker, 10 values":               "all different:2000",
		"permutations, groups of 4":      "order 1:2000 order 17:500", // 8901 is the 17th
	} {
		i := slices.IndexFunc(results, func(r Result) bool { return r.Test+", "+r.Variant == name })
		if i < 0 {
			t.Errorf("%s is missing", name)
			continue
		}
		var seen []string
		for _, b := range results[i].Histogram {
			if b.Observed > 0 {
				seen = append(seen, fmt.Sprintf("%s:%d", b.Label, b.Observed))
			}
		}
		if got := strings.Join(seen, " "); got != want {
			t.Errorf("%s: %s, expected %s", name, got, want)
		}
	}
}

// TestOverlaps holds the statistic against its definition, a difference of two statistics of overlapping tuples.
func TestOverlaps(t *testing.T) {
	s := uniform(generator(2), 4, 5000)
	for _, length := range []int{2, 3, 4} {
		psi := func(length int) float64 {
			counts := map[string]float64{}
			for i := range s.Values {
				tuple := ""
				for j := range length {
					tuple += fmt.Sprint(s.Values[(i+j)%len(s.Values)])
				}
				counts[tuple]++
			}
			expected := float64(len(s.Values)) / math.Pow(4, float64(length))
			sum := 0.0
			for _, c := range counts {
				sum += (c - expected) * (c - expected) / expected
			}
			return sum + expected*(math.Pow(4, float64(length))-float64(len(counts)))
		}
		var rs results
		rs.overlapping(s.classes(4), length)
		if got, want := rs.list[0].Statistic, psi(length)-psi(length-1); math.Abs(got-want) > 1e-8 {
			t.Errorf("tuples of %d: %v, expected %v", length, got, want)
		}
	}
}

// TestCalendar holds the days against arithmetic without limits, for narrow and for the widest ranges.
func TestCalendar(t *testing.T) {
	r := generator(3)
	for _, m := range []uint32{2, 7, 1000, 1<<31 + 11, 1<<32 - 1} {
		for _, wanted := range []uint64{1, 365, 1 << 26, 1<<48 - 1} {
			c, birthdays := newCalendar(m, 1000, func(float64) float64 { return float64(wanted) })
			numbers := new(big.Int).Exp(big.NewInt(int64(m)), big.NewInt(int64(c.digits)), nil)
			fewer := new(big.Int).Div(numbers, big.NewInt(int64(m)))
			if c.days < wanted || c.days > 2*wanted || birthdays != 1000/c.digits || c.digits > 1 && fewer.Cmp(new(big.Int).SetUint64(wanted)) >= 0 {
				t.Errorf("range %d, %d days wanted: %v for %d birthdays", m, wanted, c, birthdays)
			}
			s := uniform(r, m, 1000)
			for i := range 2 * c.digits { // the last number there is, twice
				s.Values[i] = m - 1
			}
			var got, want []uint64
			c.birthdays(s, 1000, func(day uint64) { got = append(got, day) })
			for values := range slices.Chunk(s.Values, c.digits) {
				number := new(big.Int)
				for _, v := range values {
					number.Add(number.Mul(number, big.NewInt(int64(m))), big.NewInt(int64(v)))
				}
				day := number.Div(number, new(big.Int).SetUint64(c.size))
				if len(values) == c.digits && day.Cmp(new(big.Int).SetUint64(c.days)) < 0 {
					want = append(want, day.Uint64())
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("range %d, %v: %d days, expected %d", m, c, len(got), len(want))
			}
		}
	}
}

// TestBirthdaySpacings: equal spacings are counted as Marsaglia has them, on days that can be looked at.
func TestBirthdaySpacings(t *testing.T) {
	// Days 1, 2, 4, 7 and 8 of ten: spacings 1, 2, 3, 1 and 3 round the end, of which two are there before.
	if got := equalSpacings([]uint64{8, 1, 4, 7, 2}, 10); got != 2 {
		t.Errorf("%d equal spacings, expected 2", got)
	}
	if got := equalSpacings([]uint64{3, 3, 3}, 10); got != 2 {
		t.Errorf("three on one day: %d equal spacings, expected 2", got)
	}
}

func TestPoisson(t *testing.T) {
	// Of mean 2: 0 comes with e^−2, 1 with 2 e^−2.
	e := math.Exp(-2)
	for _, c := range []struct {
		k           int
		share, want float64
	}{{0, 1, 2 * e}, {0, 0, 0}, {0, 0.5, e}, {1, 0.5, 4 * e}, {5, 0, 2 * (1 - 7*e)}, {5, 1, 2 * (1 - e*(7+4.0/15))}} {
		if got := poisson(c.k, 2, c.share); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d, share %v: %v, expected %v", c.k, c.share, got, c.want)
		}
	}
}

// TestGoodGenerator: p-values of a good generator are uniform, for ranges of all sizes, in streams of the least
// length. The seed is fixed, so the test cannot fail by chance, but would if a law were off.
func TestGoodGenerator(t *testing.T) {
	const sequences = 100
	r := generator(4)
	// The battery has 32 results, and two more for a pair of streams. Of two values there is no middle gap; of few
	// there are longer tuples, and in so short a stream too few birthdays; of many there are residues.
	for _, c := range []struct {
		m     uint32
		tests int
	}{{2, 34 - 1 - 1 + 1}, {5, 34 - 1}, {37, 34}, {1000, 34 + 1}, {1<<32 - 1, 34 + 1}} {
		m := c.m
		values := map[string][]float64{}
		for range sequences {
			s := uniform(r, m, Least)
			results, err := Run(s)
			if err != nil {
				t.Fatal(err)
			}
			pairs, err := Interplay([]Stream{s, uniform(r, 37, Least)})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range append(results, pairs...) {
				if !(x.P >= 0 && x.P <= 1) {
					t.Errorf("range %d, %s, %s: p-value %v", m, x.Test, x.Variant, x.P)
				}
				name := x.Test + ", " + x.Variant
				values[name] = append(values[name], x.P)
			}
		}
		if len(values) != c.tests {
			t.Errorf("range %d: %d tests, expected %d", m, len(values), c.tests)
		}
		low, all := 0, 0
		for name, p := range values {
			if len(p) != sequences {
				t.Errorf("range %d, %s: %d values of %d sequences", m, name, len(p), sequences)
			}
			tenths := make([]int, 10)
			for _, v := range p {
				tenths[min(int(10*v), 9)]++
				if v < 0.01 {
					low++
				}
				all++
			}
			statistic := 0.0
			for _, n := range tenths {
				statistic += float64((n-sequences/10)*(n-sequences/10)) / (sequences / 10)
			}
			if p := upperTail(statistic, 9); p < 1e-5 {
				t.Errorf("range %d, %s: p-values in tenths %v", m, name, tenths)
			}
		}
		// Tests on one sequence depend on each other, so that this is wider than a binomial law has it.
		if mean := float64(all) / 100; math.Abs(float64(low)-mean) > 6*math.Sqrt(mean) {
			t.Errorf("range %d: %d of %d p-values are below 0.01", m, low, all)
		}
	}
}

// TestFaults: faults that one test is there for.
func TestFaults(t *testing.T) {
	r := generator(5)
	for _, c := range []struct {
		test string
		m    uint32
		next func(before []uint32) uint32
	}{
		{"chi-square, residues", 1 << 30, func([]uint32) uint32 { return r.Uint32N(1<<29) << 1 }},
		{"serial correlation, lag 13", 37, func(before []uint32) uint32 {
			if len(before) >= 13 && r.IntN(8) == 0 {
				return before[len(before)-13]
			}
			return r.Uint32N(37)
		}},
		{"runs, number, about the median", 6, func(before []uint32) uint32 {
			v := r.Uint32N(6)
			if n := len(before); n > 0 && r.IntN(8) == 0 {
				v = v%3 + 3 - before[n-1]/3*3 // the other side
			}
			return v
		}},
		{"permutations, groups of 4", 1000, func(before []uint32) uint32 {
			v := r.Uint32N(1000)
			if n := len(before); n%4 == 3 && r.IntN(8) == 0 {
				v = max(v, before[n-1]) // the last of four is seldom the least
			}
			return v
		}},
		{"overlaps, 2-tuples of 28 values", 52, func(before []uint32) uint32 {
			v := r.Uint32N(52)
			if n := len(before); n > 0 && v == before[n-1] {
				return r.Uint32N(52) // a card hardly ever comes twice
			}
			return v
		}},
	} {
		s := Stream{Name: "faulty", M: c.m}
		for range 4 * Least {
			s.Values = append(s.Values, c.next(s.Values))
		}
		results, err := Run(s)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(results, func(x Result) bool { return x.Test+", "+x.Variant == c.test })
		if i < 0 || results[i].P > 1e-6 {
			t.Errorf("%s does not see it: %+v", c.test, results)
		}
	}

	// The third reel is the mirror of the first in one round of ten.
	reels := []Stream{uniform(r, 32, Least), uniform(r, 33, Least), uniform(r, 32, Least)}
	for i := range reels[2].Values {
		if r.IntN(10) == 0 {
			reels[2].Values[i] = 31 - reels[0].Values[i]
		}
	}
	for i := range reels {
		reels[i].Name = fmt.Sprint(i + 1)
	}
	results, err := Interplay(reels)
	if err != nil || len(results) != 6 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, x := range results {
		if odd := x.P < 1e-6; odd != (x.Variant == "1 with 3") {
			t.Errorf("%s, %s: %v", x.Test, x.Variant, x.P)
		}
	}
	if c := results[slices.IndexFunc(results, func(x Result) bool { return x.Variant == "1 with 3" })].Statistic; c > -0.05 || c < -0.15 {
		t.Errorf("the coefficient is %v, expected about −0.1", c)
	}
}

func TestBadStreams(t *testing.T) {
	good := uniform(generator(6), 6, Least)
	short, beyond, longer := good, good, uniform(generator(7), 6, Least+1)
	short.Values = good.Values[1:]
	beyond.Values = slices.Clone(good.Values)
	beyond.Values[17] = 6
	for name, s := range map[string]Stream{"short": short, "beyond its range": beyond, "of one value": {M: 1, Values: make([]uint32, Least)}, "none": {}} {
		if results, err := Run(s); !errors.Is(err, ErrStream) {
			t.Errorf("%s: %v, %v", name, results, err)
		}
		if results, err := Interplay([]Stream{good, s}); !errors.Is(err, ErrStream) {
			t.Errorf("with one %s: %v, %v", name, results, err)
		}
	}
	for name, streams := range map[string][]Stream{"alone": {good}, "none": {}, "of other length": {good, longer}} {
		if results, err := Interplay(streams); !errors.Is(err, ErrStream) {
			t.Errorf("%s: %v, %v", name, results, err)
		}
	}
}

// FuzzRun: whatever the values, the same tests run as on a good stream, and their results are numbers. The
// stream is a pattern again and again, so the worst of it are constants.
func FuzzRun(f *testing.F) {
	for _, m := range []uint32{2, 3, 10, 37, 1000, 1 << 31, 1<<32 - 1} {
		f.Add(m, []byte{0})
		f.Add(m, []byte{255, 255, 255, 255})
		f.Add(m, []byte("a pattern"))
	}
	f.Fuzz(func(t *testing.T, m uint32, pattern []byte) {
		if m < 2 || len(pattern) == 0 {
			return
		}
		s := Stream{Name: "pattern", M: m, Values: make([]uint32, Least)}
		for i := range s.Values {
			v := uint32(0)
			for j := range 4 {
				v = v<<8 | uint32(pattern[(i+j)%len(pattern)])
			}
			high, _ := bits.Mul32(v, m)
			if v == 1<<32-1 {
				high = m - 1
			}
			s.Values[i] = high
		}
		results, err := Run(s)
		if err != nil {
			t.Fatal(err)
		}
		good, err := Run(uniform(generator(8), m, Least))
		if err != nil {
			t.Fatal(err)
		}
		odd := 0
		for i, x := range results {
			if len(results) != len(good) || x.Test != good[i].Test || x.Variant != good[i].Variant || x.Degrees != good[i].Degrees || len(x.Histogram) != len(good[i].Histogram) {
				t.Fatalf("result %d of %d is %+v, of a good stream %+v of %d", i, len(results), x, good[i], len(good))
			}
			if !(x.P >= 0 && x.P <= 1) || math.IsNaN(x.Statistic) || math.IsInf(x.Statistic, 0) {
				t.Errorf("%+v", x)
			}
			if x.P < 1e-6 {
				odd++
			}
		}
		if len(pattern) < 20 && odd == 0 {
			t.Errorf("a pattern of %d bytes again and again is not odd to any test", len(pattern))
		}
	})
}

// BenchmarkRun is the whole battery on a million values of one range.
func BenchmarkRun(b *testing.B) {
	for _, m := range []uint32{2, 37, 1_000_000} {
		b.Run(fmt.Sprint(m), func(b *testing.B) {
			s := uniform(generator(9), m, 1_000_000)
			for b.Loop() {
				if _, err := Run(s); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(s.Values))/b.Elapsed().Seconds(), "draws/s")
		})
	}
}
