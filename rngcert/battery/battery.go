// Package battery is the classical tests that laboratories run on scaled outcomes: integers in [0, m) as a game
// draws them, of which it asks whether each is uniform and independent of all others.
//
// The tests are those of Knuth, The Art of Computer Programming, volume 2, section 3.3.2, with the birthday
// spacings of Marsaglia. Ties and ranges of any size are counted, not approximated: the probabilities of the
// classes of each test are exact for integers in [0, m), computed from the draws' own law. What is approximate
// is the law of the statistic, chi-square, normal or Poisson.
//
// Where values have to be put into classes, m is cut into parts whose sizes differ by one at most and whose
// probabilities are exact. Neighbouring classes are merged until 50 are expected in each; the customary 5 make
// tails that are too heavy for verdicts on many p-values, which look far out. Which tests run, and with which
// classes, depends on the length and the range of a stream only, never on its values; a test for which the
// stream is too short is left out.
//
// The p-value of a chi-square statistic is that of its upper tail, of other statistics that of both. What to
// conclude from many p-values is not decided here.
package battery

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Least is the shortest stream that is tested.
const Least = 10_000

// ErrStream reports a stream that cannot be tested.
var ErrStream = errors.New("battery: stream")

// Stream is integers in [0, M), in the order in which they were drawn.
type Stream struct {
	Name   string
	M      uint32
	Values []uint32
}

// Result is what one test says of a stream.
type Result struct {
	Test    string
	Variant string
	// P is the chance that a perfect generator gives a statistic at least as odd.
	P         float64
	Statistic float64
	// Degrees are those of freedom of a chi-square statistic. A serial or interplay correlation is a
	// coefficient in [−1, 1]; the number of runs and of duplicates are normal deviates, birthday spacings a
	// count: they have none.
	Degrees int
	// N is the number of observations: draws, pairs, gaps, segments …
	N int
	// Histogram has the classes of a chi-square statistic, where there are few.
	Histogram []Bin
}

// Bin is a class of a histogram.
type Bin struct {
	Label    string  `json:"label"`
	Observed int     `json:"observed"`
	Expected float64 `json:"expected"`
}

func (s Stream) check() error {
	if s.M < 2 {
		return fmt.Errorf("%w %q: range %d, expected at least 2", ErrStream, s.Name, s.M)
	}
	if len(s.Values) < Least {
		return fmt.Errorf("%w %q: %d values, expected at least %d", ErrStream, s.Name, len(s.Values), Least)
	}
	for i, v := range s.Values {
		if v >= s.M {
			return fmt.Errorf("%w %q: value %d is %d, expected below %d", ErrStream, s.Name, i, v, s.M)
		}
	}
	return nil
}

// Run runs the battery on one stream of at least Least values.
func Run(s Stream) ([]Result, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	rs := results{tie: tie(s.Values)}
	digits := s.classes(10)
	rs.frequency(s)
	rs.serialCorrelation(s)
	rs.medianRuns(s)
	rs.directionRuns(s)
	rs.gaps(s)
	rs.coupons(digits)
	rs.poker(digits)
	rs.permutations(s)
	rs.overlaps(s)
	rs.duplicates(s)
	rs.birthdaySpacings(s)
	return rs.list, nil
}

// Interplay holds the streams of one round against each other, two and two: value i of each was drawn in round
// i. The streams, at least two, are equally long.
func Interplay(streams []Stream) ([]Result, error) {
	if len(streams) < 2 {
		return nil, fmt.Errorf("%w: %d given, expected at least two", ErrStream, len(streams))
	}
	for _, s := range streams {
		if err := s.check(); err != nil {
			return nil, err
		}
		if len(s.Values) != len(streams[0].Values) {
			return nil, fmt.Errorf("%w %q: %d values, expected %d as in %q",
				ErrStream, s.Name, len(s.Values), len(streams[0].Values), streams[0].Name)
		}
	}
	var rs results
	for i, a := range streams {
		for _, b := range streams[i+1:] {
			rs.interplay(a, b)
		}
	}
	return rs.list, nil
}

type results struct {
	list []Result
	tie  float64
}

func (rs *results) add(r Result) { rs.list = append(rs.list, r) }

// tie is a number in [0, 1) made of the values. It breaks the ties of statistics that take few values, which
// would give p-values that are not uniform: of those that are equal, this one counts as larger than this share.
func tie(values []uint32) float64 {
	h := uint64(14695981039346656037) // FNV-1a, over words
	for _, v := range values {
		h = (h ^ uint64(v)) * 1099511628211
	}
	return float64(h>>11) / (1 << 53)
}

// least is the expectation below which classes are merged.
const least = 50

// histogramMost is how many classes a histogram has at most.
const histogramMost = 64

// chiSquare adds Pearson's test of counts in ordered classes with probabilities p. About so many observations
// were expected; neighbours are merged by that number, and not by the one that came about, so that the classes
// are the same for every stream of this length. With fewer than two classes there is no test; with no
// observations the statistic is that of the number that was expected.
func (rs *results) chiSquare(test, variant string, counts []int, p []float64, about float64, label func(i int) string) {
	n := 0
	for _, c := range counts {
		n += c
	}
	total := float64(n)
	if n == 0 {
		total = about
	}
	var bins []Bin
	for _, r := range merge(p, about) {
		b := Bin{Label: label(r.first)}
		if r.last > r.first {
			b.Label += " to " + label(r.last)
		}
		for i := r.first; i <= r.last; i++ {
			b.Observed += counts[i]
			b.Expected += p[i] * total
		}
		bins = append(bins, b)
	}
	if len(bins) < 2 {
		return
	}
	r := Result{Test: test, Variant: variant, Degrees: len(bins) - 1, N: n}
	for _, b := range bins {
		d := float64(b.Observed) - b.Expected
		r.Statistic += d * d / b.Expected
	}
	r.P = upperTail(r.Statistic, r.Degrees)
	if len(bins) <= histogramMost {
		r.Histogram = bins
	}
	rs.add(r)
}

// span is classes first … last.
type span struct{ first, last int }

// merge joins neighbouring classes until of about n observations at least least are expected in each.
func merge(p []float64, n float64) (spans []span) {
	first, sum := 0, 0.0
	for i, v := range p {
		sum += v * n
		if sum >= least {
			spans = append(spans, span{first, i})
			first, sum = i+1, 0
		}
	}
	if len(spans) > 0 {
		spans[len(spans)-1].last = len(p) - 1
	}
	return spans
}

// upperTail is the p-value of a chi-square statistic.
func upperTail(statistic float64, degrees int) float64 {
	if statistic <= 0 {
		return 1
	}
	return mathext.GammaIncRegComp(float64(degrees)/2, statistic/2)
}

// coefficient is one of correlation. Of a constant it is not defined: it hangs together as closely as can be.
func coefficient(covariance, spread float64) float64 {
	if spread <= 0 {
		return 1
	}
	return max(-1, min(1, covariance/spread))
}

// normal is the p-value of a normal deviate, on both sides.
func normal(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// poisson is the p-value of a count with a mean, on both sides. Of the chance of the count itself a share falls
// to the lower side.
func poisson(k int, mean, share float64) float64 {
	upTo, below := mathext.GammaIncRegComp(float64(k+1), mean), 0.0
	above, from := mathext.GammaIncReg(float64(k+1), mean), 1.0
	if k > 0 {
		below, from = mathext.GammaIncRegComp(float64(k), mean), mathext.GammaIncReg(float64(k), mean)
	}
	lower := below + share*(upTo-below)
	upper := above + (1-share)*(from-above)
	return min(1, 2*min(lower, upper))
}

// classes are a stream's values put into parts of its range.
type classes struct {
	of []uint16  // of each value
	p  []float64 // of each class
}

// classes cuts the range into d parts, or into single values if there are no more than d of them.
func (s Stream) classes(d int) classes {
	d = min(d, int(s.M))
	c := classes{of: make([]uint16, len(s.Values)), p: make([]float64, d)}
	if uint32(d) == s.M {
		for i, v := range s.Values {
			c.of[i] = uint16(v)
		}
	} else {
		for i, v := range s.Values {
			c.of[i] = uint16(uint64(v) * uint64(d) / uint64(s.M))
		}
	}
	start := uint64(0)
	for i := range c.p {
		end := (uint64(i+1)*uint64(s.M) + uint64(d) - 1) / uint64(d)
		c.p[i] = float64(end-start) / float64(s.M)
		start = end
	}
	return c
}
