// Package sp80022 is the statistical test suite of NIST SP 800-22 revision 1a: fifteen
// tests that ask of a sequence of bits whether it could come from a fair coin. Each answers
// with p-values: the chance that a perfect generator makes a sequence that looks at least as
// odd. What to conclude from many p-values is not decided here.
//
// A test may be run with any parameters on a sequence of any length, as the publication's
// small examples do; the approximations it rests on hold only for long ones, and Suite runs
// what the publication recommends for a length.
//
// Where the publication and its reference program print probabilities of categories to few
// digits, the same digits stand here, so that its examples come out to the last digit
// printed.
package sp80022

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Bits is a sequence: a byte of 0 or 1 for each bit.
type Bits []byte

// Unpack returns the bits of data, the most significant of each byte first.
func Unpack(data []byte) Bits {
	b := make(Bits, 0, 8*len(data))
	for _, c := range data {
		for shift := 7; shift >= 0; shift-- {
			b = append(b, c>>shift&1)
		}
	}
	return b
}

// Value is a p-value: of which test, and, of a test that gives several, which of them.
type Value struct {
	Test    string
	Variant string
	P       float64
}

// Least is the shortest sequence, in bits, that Suite takes: the least for which every test
// of the suite is recommended.
const Least = 1_000_000

// Always are the tests that say something of every sequence: all but the two of random excursions.
var Always = []string{
	"frequency", "block frequency", "runs", "longest run of ones", "binary matrix rank", "discrete Fourier transform",
	"non-overlapping template matching", "overlapping template matching", "universal statistical", "linear complexity",
	"serial", "approximate entropy", "cumulative sums",
}

// ErrShort reports a sequence below Least.
var ErrShort = errors.New("sp80022: the sequence is too short")

// Parameters that Suite uses, within the recommendations of section 2 and as the reference
// program has them.
const (
	blockFrequencyM = 128
	templateM       = 9
	templateBlocks  = 8
	linearM         = 500
	serialM         = 16
	entropyM        = 10
)

// Suite runs all fifteen tests on a sequence of at least Least bits. The two random excursions tests
// say nothing of a sequence whose random walk comes back too seldom (sections 2.14.4 and 2.15.4): their
// values are then not among the results.
func Suite(b Bits) ([]Value, error) {
	if len(b) < Least {
		return nil, fmt.Errorf("%w: %d bits, expected at least %d", ErrShort, len(b), Least)
	}
	forward, backward := CumulativeSums(b)
	serial1, serial2 := Serial(b, serialM)
	vs := []Value{
		{"frequency", "", Frequency(b)},
		{"block frequency", "", BlockFrequency(b, blockFrequencyM)},
		{"runs", "", Runs(b)},
		{"longest run of ones", "", LongestRun(b)},
		{"binary matrix rank", "", Rank(b)},
		{"discrete Fourier transform", "", Spectral(b)},
	}
	for i, p := range NonOverlapping(b, Aperiodic(templateM), templateM, templateBlocks) {
		vs = append(vs, Value{"non-overlapping template matching", fmt.Sprintf("%0*b", templateM, Aperiodic(templateM)[i]), p})
	}
	vs = append(vs,
		Value{"overlapping template matching", "", Overlapping(b)},
		Value{"universal statistical", "", Universal(b)},
		Value{"linear complexity", "", LinearComplexity(b, linearM)},
		Value{"serial", "first difference", serial1},
		Value{"serial", "second difference", serial2},
		Value{"approximate entropy", "", ApproximateEntropy(b, entropyM)},
		Value{"cumulative sums", "forward", forward},
		Value{"cumulative sums", "backward", backward},
	)
	walk := newWalk(b)
	if walk.cycles < leastCycles(len(b)) {
		return vs, nil
	}
	for i, p := range walk.excursions() {
		vs = append(vs, Value{"random excursions", fmt.Sprintf("state %+d", excursionStates[i]), p})
	}
	for i, p := range walk.variant() {
		vs = append(vs, Value{"random excursions variant", fmt.Sprintf("state %+d", variantState(i)), p})
	}
	return vs, nil
}

// igamc is the regularised upper incomplete gamma function Q(a, x).
func igamc(a, x float64) float64 {
	if x <= 0 {
		return 1
	}
	return mathext.GammaIncRegComp(a, x)
}

// chiSquare is Pearson's statistic of counts against the probabilities of their categories.
func chiSquare(counts []int, probabilities []float64) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	sum := 0.0
	for i, c := range counts {
		expected := float64(n) * probabilities[i]
		d := float64(c) - expected
		sum += d * d / expected
	}
	return sum
}

// chiP is the p-value of a statistic with k degrees of freedom.
func chiP(statistic float64, k int) float64 { return igamc(float64(k)/2, statistic/2) }

func ones(b Bits) int {
	n := 0
	for _, v := range b {
		n += int(v)
	}
	return n
}

// Frequency is the frequency (monobit) test, section 2.1.
func Frequency(b Bits) float64 {
	n := float64(len(b))
	s := math.Abs(2*float64(ones(b)) - n)
	return math.Erfc(s / math.Sqrt(n) / math.Sqrt2)
}

// BlockFrequency is the frequency test within blocks of m bits, section 2.2.
func BlockFrequency(b Bits, m int) float64 {
	blocks := len(b) / m
	sum := 0.0
	for i := range blocks {
		d := float64(ones(b[i*m:(i+1)*m]))/float64(m) - 0.5
		sum += d * d
	}
	return igamc(float64(blocks)/2, 2*float64(m)*sum)
}

// Runs is the runs test, section 2.3. It is 0 where the frequency test, its prerequisite, fails.
func Runs(b Bits) float64 {
	n := float64(len(b))
	share := float64(ones(b)) / n
	if math.Abs(share-0.5) >= 2/math.Sqrt(n) {
		return 0
	}
	runs := 1.0
	for i := 1; i < len(b); i++ {
		if b[i] != b[i-1] {
			runs++
		}
	}
	both := share * (1 - share)
	return math.Erfc(math.Abs(runs-2*n*both) / (2 * math.Sqrt(2*n) * both))
}

// longestRuns are the block lengths of section 2.4.2 and the categories of section 3.4: the longest run of a
// block counts as at least low, and at most low + len(probabilities) − 1.
var longestRuns = []struct {
	least, m, low int
	probabilities []float64
}{
	{750_000, 10_000, 10, []float64{0.0882, 0.2092, 0.2483, 0.1933, 0.1208, 0.0675, 0.0727}},
	{6272, 128, 4, []float64{0.1174035788, 0.242955959, 0.249363483, 0.17517706, 0.102701071, 0.112398847}},
	{0, 8, 1, []float64{0.21484375, 0.3671875, 0.23046875, 0.1875}},
}

// LongestRun is the test for the longest run of ones in a block, section 2.4.
func LongestRun(b Bits) float64 {
	for _, l := range longestRuns {
		if len(b) >= l.least {
			return chiP(chiSquare(longestRunCounts(b, l.m, l.low, len(l.probabilities)), l.probabilities), len(l.probabilities)-1)
		}
	}
	panic("unreachable: the last row takes any length")
}

func longestRunCounts(b Bits, m, low, categories int) []int {
	counts := make([]int, categories)
	for ; len(b) >= m; b = b[m:] {
		longest, run := 0, 0
		for _, v := range b[:m] {
			run = (run + 1) * int(v)
			longest = max(longest, run)
		}
		counts[min(max(longest-low, 0), categories-1)]++
	}
	return counts
}

// CumulativeSums is the cumulative sums test, section 2.13, from both ends of the sequence.
func CumulativeSums(b Bits) (forward, backward float64) {
	n := len(b)
	sum, high, low := 0, 0, 0
	for _, v := range b {
		sum += 2*int(v) - 1
		high, low = max(high, sum), min(low, sum)
	}
	// The walk from the end is the total less the walk from the start.
	return cusumP(n, max(high, -low)), cusumP(n, max(sum-low, high-sum))
}

func cusumP(n, z int) float64 {
	if z == 0 {
		return 1 // of no bits at all
	}
	root := math.Sqrt(float64(n))
	phi := func(k int) float64 { return 0.5 * math.Erfc(-float64(k*z)/root/math.Sqrt2) }
	p := 1.0
	// Quotients are truncated towards zero, as in the reference program.
	for k := (-n/z + 1) / 4; k <= (n/z-1)/4; k++ {
		p -= phi(4*k+1) - phi(4*k-1)
	}
	for k := (-n/z - 3) / 4; k <= (n/z-1)/4; k++ {
		p += phi(4*k+3) - phi(4*k+1)
	}
	return min(max(p, 0), 1)
}
