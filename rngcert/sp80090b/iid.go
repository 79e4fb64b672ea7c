package sp80090b

import (
	"compress/flate"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// iidAlpha is the significance of each chi-square test and of the longest repeated substring (section 5.2).
const iidAlpha = 0.001

// Result is what one of the IID tests says.
type Result struct {
	Name   string
	Passed bool
	// P is the p-value of a chi-square test or of the repeated substring; of a permutation test it is the share of
	// shuffles that were at least as extreme, on the side on which there were fewer.
	P float64
	// Shuffles is how many a permutation test took to be decided.
	Shuffles int
}

// IID runs the tests of section 5 on samples of so many bits each: those on up to so many shuffles (the standard has 10,000, and fails a
// statistic when no more than 5 of them are at least as extreme on one side), the chi-square tests and the longest repeated
// substring. Any failure says that the samples are not independent and identically distributed. A statistic is decided, and not
// computed any more, once it cannot fail.
//
// uniform returns an unbiased integer in [0, n).
//
// One statistic is not the standard's: the compressed length is that of DEFLATE and not of bzip2. A permutation test is as sound
// with any statistic; what it can notice differs.
func IID(samples []byte, bitsPerSymbol, shuffles int, uniform func(n uint32) uint32) ([]Result, error) {
	if bitsPerSymbol < 1 || bitsPerSymbol > 8 {
		return nil, fmt.Errorf("%w: %d bits per symbol, expected 1 to 8", ErrSamples, bitsPerSymbol)
	}
	if len(samples) < Least {
		return nil, fmt.Errorf("%w: %d, expected at least %d", ErrSamples, len(samples), Least)
	}
	for i, s := range samples {
		if int(s)>>bitsPerSymbol != 0 {
			return nil, fmt.Errorf("%w: number %d is %d, expected %d bits", ErrSamples, i, s, bitsPerSymbol)
		}
	}
	return iid(samples, bitsPerSymbol, shuffles, uniform), nil
}

func iid(samples []byte, bitsPerSymbol, shuffles int, uniform func(n uint32) uint32) []Result {
	results := permutationTests(samples, bitsPerSymbol == 1, shuffles, uniform)
	if bitsPerSymbol == 1 {
		results = append(results, binaryIndependence(samples), goodnessOfFit(samples))
	} else {
		results = append(results, independence(samples), goodnessOfFit(samples))
	}
	return append(results, longestRepeated(samples))
}

// extremes is how many shuffles may at most be as extreme for a statistic to fail.
const extremes = 5

func permutationTests(samples []byte, binary bool, shuffles int, uniform func(n uint32) uint32) []Result {
	original := newStatistics(samples, binary)
	results := make([]Result, len(original.list))
	type tail struct{ above, below int } // shuffles at least as large, and at most as large
	tails := make([]tail, len(results))
	open := make([]int, len(results))
	first := make([]float64, len(results))
	for i, s := range original.list {
		results[i].Name, open[i], first[i] = s.name, i, s.of()
	}
	shuffled := slices.Clone(samples)
	work := original
	for n := 1; n <= shuffles && len(open) > 0; n++ {
		for i := len(shuffled) - 1; i > 0; i-- {
			j := uniform(uint32(i + 1))
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		work.take(shuffled)
		open = slices.DeleteFunc(open, func(i int) bool {
			v := work.list[i].of()
			if v >= first[i] {
				tails[i].above++
			}
			if v <= first[i] {
				tails[i].below++
			}
			results[i].Shuffles = n
			results[i].Passed = min(tails[i].above, tails[i].below) > extremes
			return results[i].Passed
		})
	}
	for i := range results {
		results[i].P = float64(min(tails[i].above, tails[i].below)) / float64(max(results[i].Shuffles, 1))
	}
	return results
}

// statistics are those of section 5.1 over one sequence.
type statistics struct {
	binary         bool
	mean, middle   float64 // of the original; a shuffle has the same
	samples        []byte
	weights, bytes []byte // conversions I and II of binary data; of other data the samples
	list           []statistic
	flated         *flate.Writer
	length         counter
}

type statistic struct {
	name string
	of   func() float64
}

// counter counts what is written.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func newStatistics(samples []byte, binary bool) *statistics {
	s := &statistics{binary: binary}
	sum := 0
	for _, v := range samples {
		sum += int(v)
	}
	s.mean, s.middle = float64(sum)/float64(len(samples)), median(samples)
	if binary {
		s.middle = 0.5
	}
	s.take(samples)
	add := func(name string, of func() float64) { s.list = append(s.list, statistic{name, of}) }
	add("excursion", s.excursion)
	directions := func() []bool { return compare(s.weights[:len(s.weights)-1], s.weights[1:]) }
	sides := func() []bool {
		b := make([]bool, len(s.samples))
		for i, v := range s.samples {
			b[i] = float64(v) >= s.middle
		}
		return b
	}
	add("number of directional runs", func() float64 { n, _ := runs(directions()); return n })
	add("length of directional runs", func() float64 { _, l := runs(directions()); return l })
	add("increases and decreases", func() float64 {
		up := 0
		d := directions()
		for _, v := range d {
			if v {
				up++
			}
		}
		return float64(max(up, len(d)-up))
	})
	add("number of runs based on the median", func() float64 { n, _ := runs(sides()); return n })
	add("length of runs based on the median", func() float64 { _, l := runs(sides()); return l })
	add("average collision", func() float64 { mean, _ := collisions(s.bytes); return mean })
	add("maximum collision", func() float64 { _, most := collisions(s.bytes); return most })
	for _, lag := range []int{1, 2, 8, 16, 32} {
		add(fmt.Sprintf("periodicity, lag %d", lag), func() float64 {
			n := 0
			for i := range len(s.weights) - lag {
				if s.weights[i] == s.weights[i+lag] {
					n++
				}
			}
			return float64(n)
		})
	}
	for _, lag := range []int{1, 2, 8, 16, 32} {
		add(fmt.Sprintf("covariance, lag %d", lag), func() float64 {
			n := 0
			for i := range len(s.weights) - lag {
				n += int(s.weights[i]) * int(s.weights[i+lag])
			}
			return float64(n)
		})
	}
	add("compression", s.compression)
	return s
}

// take makes the statistics those of another order of the same samples.
func (s *statistics) take(samples []byte) {
	s.samples, s.weights, s.bytes = samples, samples, samples
	if !s.binary {
		return
	}
	s.weights, s.bytes = make([]byte, 0, len(samples)/8+1), make([]byte, 0, len(samples)/8+1)
	for i, v := range samples {
		if i%8 == 0 {
			s.weights, s.bytes = append(s.weights, 0), append(s.bytes, 0)
		}
		s.weights[i/8] += v
		s.bytes[i/8] |= v << (7 - i%8)
	}
}

func (s *statistics) excursion() float64 {
	sum, most := 0.0, 0.0
	for i, v := range s.samples {
		sum += float64(v)
		most = max(most, math.Abs(sum-float64(i+1)*s.mean))
	}
	return most
}

func (s *statistics) compression() float64 {
	s.length = 0
	if s.flated == nil {
		w, err := flate.NewWriter(&s.length, flate.DefaultCompression)
		if err != nil {
			panic(err) // the level is a constant
		}
		s.flated = w
	} else {
		s.flated.Reset(&s.length)
	}
	// Neither the writer below nor the one above can fail.
	s.flated.Write(s.bytes)
	s.flated.Close()
	return float64(s.length)
}

// compare says of each pair whether the second is no less.
func compare(a, b []byte) []bool {
	r := make([]bool, len(a))
	for i := range a {
		r[i] = a[i] <= b[i]
	}
	return r
}

// runs returns the number of runs of equal values and the length of the longest.
func runs(s []bool) (number, longest float64) {
	run := 0.0
	for i, v := range s {
		if i == 0 || v != s[i-1] {
			number++
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	return number, longest
}

// collisions returns the mean and the largest number of samples up to one that came already (sections 5.1.7 and 5.1.8).
func collisions(s []byte) (mean, most float64) {
	var seen [256]int
	n, sum, from := 0, 0, 0
	for i, v := range s {
		if seen[v] > from {
			n++
			sum += i + 1 - from
			most = max(most, float64(i+1-from))
			from = i + 1
			continue
		}
		seen[v] = i + 1
	}
	if n == 0 {
		return 0, 0
	}
	return float64(sum) / float64(n), most
}

func median(samples []byte) float64 {
	var counts [256]int
	for _, v := range samples {
		counts[v]++
	}
	at := func(rank int) float64 {
		for v, c := range counts {
			if rank < c {
				return float64(v)
			}
			rank -= c
		}
		panic("unreachable: the rank is below the number of samples")
	}
	return (at((len(samples)-1)/2) + at(len(samples)/2)) / 2
}

func chiSquare(name string, statistic float64, degrees int) Result {
	p := 1.0
	if statistic > 0 && degrees > 0 {
		p = mathext.GammaIncRegComp(float64(degrees)/2, statistic/2)
	}
	return Result{Name: name, P: p, Passed: p >= iidAlpha}
}

// bins merges categories, rarest first, until each is expected at least 5 times. It returns the bin of each category
// and the expectations of the bins.
func bins(expected []float64) (bin []int, sums []float64) {
	order := make([]int, len(expected))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if expected[a] < expected[b] {
			return -1
		} else if expected[a] > expected[b] {
			return 1
		}
		return 0
	})
	bin = make([]int, len(expected))
	for _, c := range order {
		if len(sums) == 0 || sums[len(sums)-1] >= 5 {
			sums = append(sums, 0)
		}
		bin[c] = len(sums) - 1
		sums[len(sums)-1] += expected[c]
	}
	if n := len(sums); n > 1 && sums[n-1] < 5 {
		sums[n-2] += sums[n-1]
		sums = sums[:n-1]
		for c := range bin {
			bin[c] = min(bin[c], n-2)
		}
	}
	return bin, sums
}

func statisticOf(counts []int, expected []float64) (sum float64) {
	for i, c := range counts {
		d := float64(c) - expected[i]
		sum += d * d / expected[i]
	}
	return sum
}

// symbols numbers the symbols that occur and counts them.
func symbols(samples []byte) (number [256]int, counts []int) {
	var all [256]int
	for _, v := range samples {
		all[v]++
	}
	for v, c := range all {
		if c > 0 {
			number[v] = len(counts)
			counts = append(counts, c)
		}
	}
	return number, counts
}

// independence is the test of section 5.2.1: pairs of neighbours occur as often as their members make likely.
func independence(samples []byte) Result {
	const name = "chi-square, independence"
	number, counts := symbols(samples)
	k, n := len(counts), float64(len(samples))
	pairs := len(samples) / 2
	expected := make([]float64, k*k)
	for a, ca := range counts {
		for b, cb := range counts {
			expected[a*k+b] = float64(ca) / n * float64(cb) / n * float64(pairs)
		}
	}
	bin, sums := bins(expected)
	seen := make([]int, len(sums))
	for i := range pairs {
		seen[bin[number[samples[2*i]]*k+number[samples[2*i+1]]]]++
	}
	return chiSquare(name, statisticOf(seen, sums), len(sums)-k)
}

// goodnessOfFit is the test of sections 5.2.2 and 5.2.4: ten parts of the sequence have the distribution of the whole.
func goodnessOfFit(samples []byte) Result {
	const name = "chi-square, goodness of fit"
	const parts = 10
	number, counts := symbols(samples)
	expected := make([]float64, len(counts))
	for i, c := range counts {
		expected[i] = float64(c) / parts
	}
	bin, sums := bins(expected)
	total := 0.0
	length := len(samples) / parts
	for part := range parts {
		seen := make([]int, len(sums))
		for _, v := range samples[part*length : (part+1)*length] {
			seen[bin[number[v]]]++
		}
		total += statisticOf(seen, sums)
	}
	return chiSquare(name, total, (parts-1)*(len(sums)-1))
}

// binaryIndependence is the test of section 5.2.3: tuples of bits occur as often as their bits make likely.
func binaryIndependence(samples []byte) Result {
	const name = "chi-square, independence"
	ones := 0
	for _, v := range samples {
		ones += int(v)
	}
	p1 := float64(ones) / float64(len(samples))
	m := 11
	for m >= 2 && math.Pow(min(p1, 1-p1), float64(m))*float64(len(samples)/m) < 5 {
		m--
	}
	if m < 2 {
		return Result{Name: name} // so biased that it fails
	}
	blocks := len(samples) / m
	seen := make([]int, 1<<m)
	for i := range blocks {
		v := 0
		for _, b := range samples[i*m : (i+1)*m] {
			v = v<<1 | int(b)
		}
		seen[v]++
	}
	expected := make([]float64, len(seen))
	for v := range expected {
		w := bits.OnesCount(uint(v))
		expected[v] = math.Pow(p1, float64(w)) * math.Pow(1-p1, float64(m-w)) * float64(blocks)
	}
	return chiSquare(name, statisticOf(seen, expected), len(seen)-2)
}

// longestRepeated is the test of section 5.2.5: the longest repeated substring is no longer than chance makes it.
func longestRepeated(samples []byte) Result {
	const name = "longest repeated substring"
	n := float64(len(samples))
	_, counts := symbols(samples)
	collide := 0.0
	for _, c := range counts {
		collide += float64(c) / n * float64(c) / n
	}
	if len(counts) == 1 {
		return Result{Name: name, P: 1, Passed: true} // of a constant every length is certain
	}
	most, _ := repetitions(samples)
	w := float64(len(most) - 1)
	pairs := (n - w + 1) * (n - w) / 2
	p := -math.Expm1(pairs * math.Log1p(-math.Pow(collide, w)))
	return Result{Name: name, P: p, Passed: p >= iidAlpha}
}
