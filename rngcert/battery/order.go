package battery

import (
	"fmt"
	"math"
	"strconv"
)

// longest is the length from which runs, gaps and segments are one class. What is that long is merged with its
// neighbours in any stream that fits into memory.
const longest = 1000

// medianRuns looks at the runs of values below and not below the middle of the range: how many there are, and
// how long those of each kind are. For an odd range the middle belongs to the upper side, and the sides'
// probabilities are not equal.
func (rs *results) medianRuns(s Stream) {
	middle := s.M / 2
	var lengths [2][]int
	lengths[0], lengths[1] = make([]int, longest), make([]int, longest)
	changed, length := 0, 1
	for i := 1; i < len(s.Values); i++ {
		before, now := s.Values[i-1] >= middle, s.Values[i] >= middle
		if before == now {
			length++
			continue
		}
		side := 0
		if before {
			side = 1
		}
		lengths[side][min(length, longest)-1]++
		changed++
		length = 1
	}

	below := float64(middle) / float64(s.M)
	above := 1 - below
	n := float64(len(s.Values))
	mean, variance := changes(n, below)
	z := (float64(changed) + rs.tie - 0.5 - mean) / math.Sqrt(variance)
	rs.add(Result{Test: "runs", Variant: "number, about the median", P: normal(z), Statistic: z, N: changed + 1})
	about := n * below * above
	rs.chiSquare("runs", "lengths below the median", lengths[0], geometric(above), about, ordinal)
	rs.chiSquare("runs", "lengths above the median", lengths[1], geometric(below), about, ordinal)
}

// changes returns mean and variance of how often n values change sides, of which one has the probability p.
func changes(n, p float64) (mean, variance float64) {
	change := 2 * p * (1 - p)
	// Changes at neighbouring places have the covariance p(1−p) − change², at others none.
	return (n - 1) * change, (n-1)*change*(1-change) + 2*(n-2)*(p*(1-p)-change*change)
}

// ordinal names class i of what begins at 1.
func ordinal(i int) string { return strconv.Itoa(i + 1) }

// geometric is the law of how long it takes, 1 or more, for something of probability p to come; the last class
// has the rest.
func geometric(p float64) []float64 {
	law := make([]float64, longest)
	rest := 1.0
	for i := range law {
		law[i] = rest * p
		rest *= 1 - p
	}
	law[longest-1] += rest
	return law
}

// directionRuns is the run test of section 3.3.2 G, upwards and downwards. The value that ends a run is thrown
// away (exercise 14), so that the lengths are independent; runs are strict, so that a run of r comes with the
// probability of an ordered choice of r of m.
func (rs *results) directionRuns(s Stream) {
	const classes = 16 // longer runs are one in 17!
	// atLeast is C(m, r) / m^r, with r = i + 1.
	var atLeast [classes + 1]float64
	atLeast[0] = 1
	for i := 1; i < classes; i++ {
		atLeast[i] = max(0, atLeast[i-1]*(float64(s.M)-float64(i))/float64(s.M)/float64(i+1))
	}
	p := make([]float64, classes)
	mean := 0.0
	for i := range p {
		p[i] = atLeast[i] - atLeast[i+1]
		mean += p[i] * float64(i+2)
	}
	about := float64(len(s.Values)) / mean
	rs.chiSquare("runs", "lengths up", runLengths(s.Values, classes, func(a, b uint32) bool { return a < b }), p, about, ordinal)
	rs.chiSquare("runs", "lengths down", runLengths(s.Values, classes, func(a, b uint32) bool { return a > b }), p, about, ordinal)
}

func runLengths(values []uint32, classes int, goesOn func(a, b uint32) bool) []int {
	counts := make([]int, classes)
	length := 0 // of the run so far; 0: a new one begins
	for i, v := range values {
		if length > 0 && !goesOn(values[i-1], v) {
			counts[min(length, classes)-1]++
			length = 0
			continue
		}
		length++
	}
	return counts
}

// gaps is the gap test of section 3.3.2 B for the lowest, the middle and the highest eighth of the range.
func (rs *results) gaps(s Stream) {
	width := max(1, s.M/8)
	p := float64(width) / float64(s.M)
	law := geometric(p)
	for i, low := range []uint32{0, (s.M - width) / 2, s.M - width} {
		if i == 1 && low == 0 {
			continue // of two values the middle is the lowest
		}
		counts := make([]int, longest)
		gap := 0
		for _, v := range s.Values {
			gap++
			if v-low < width { // below low it wraps around
				counts[min(gap, longest)-1]++
				gap = 0
			}
		}
		rs.chiSquare("gaps", fmt.Sprintf("%d to %d", low, low+width-1), counts, law, float64(len(s.Values))*p, ordinal)
	}
}

// coupons is the coupon collector's test of section 3.3.2 E: how many values it takes until each class has come.
func (rs *results) coupons(c classes) {
	counts := make([]int, longest)
	all := uint32(1)<<len(c.p) - 1
	seen, length := uint32(0), 0
	for _, v := range c.of {
		length++
		seen |= 1 << v
		if seen == all {
			counts[min(length, longest)-1]++
			seen, length = 0, 0
		}
	}
	law := couponLaw(c.p)
	mean := 0.0
	for i, p := range law {
		mean += p * float64(i+1)
	}
	rs.chiSquare("coupon collector", fmt.Sprintf("%d coupons", len(c.p)), counts, law, float64(len(c.of))/mean, ordinal)
}

// couponLaw is the law of how many values it takes until each class has come. Classes have one of two
// probabilities, so the state is how many of each kind are still missing.
func couponLaw(p []float64) []float64 {
	var kinds [2]int
	var chance [2]float64
	for _, v := range p {
		k := 0
		if v != p[0] {
			k = 1
		}
		kinds[k]++
		chance[k] = v
	}
	state := func(a, b int) int { return a*(kinds[1]+1) + b }
	now := make([]float64, (kinds[0]+1)*(kinds[1]+1))
	now[state(kinds[0], kinds[1])] = 1
	law := make([]float64, longest)
	rest := 1.0
	for i := range law {
		// In place: a state is entered only from those with more missing, which come later.
		for a := range kinds[0] + 1 {
			for b := range kinds[1] + 1 {
				if a+b == 0 {
					continue
				}
				v := now[state(a, b)]
				first, second := v*float64(a)*chance[0], v*float64(b)*chance[1]
				now[state(a, b)] = v - first - second
				if a > 0 {
					now[state(a-1, b)] += first
				}
				if b > 0 {
					now[state(a, b-1)] += second
				}
			}
		}
		law[i] = now[0]
		rest -= now[0]
		now[0] = 0
	}
	law[longest-1] += max(0, rest)
	return law
}

// hands are the patterns of the poker test, by how many pairs of their five values are equal.
var hands = []struct {
	pairs int
	name  string
}{{0, "all different"}, {1, "one pair"}, {2, "two pairs"}, {3, "three of a kind"}, {4, "full house"}, {6, "four of a kind"}, {10, "five of a kind"}}

// poker is the poker test of section 3.3.2 D with its seven patterns.
func (rs *results) poker(c classes) {
	var byPairs [11]int
	for h := c.of; len(h) >= 5; h = h[5:] {
		pairs := 0
		for i := range 4 {
			for _, v := range h[i+1 : 5] {
				if v == h[i] {
					pairs++
				}
			}
		}
		byPairs[pairs]++
	}
	law := pokerLaw(c.p)
	var counts []int
	var p []float64
	for i := range hands {
		pairs := hands[len(hands)-1-i].pairs // rare ones first, so that they are merged with each other
		counts = append(counts, byPairs[pairs])
		p = append(p, law[pairs])
	}
	rs.chiSquare("poker", fmt.Sprintf("%d values", len(c.p)), counts, p, float64(len(c.of)/5), func(i int) string { return hands[len(hands)-1-i].name })
}

// pokerLaw is the law of the number of equal pairs among five values of given probabilities.
func pokerLaw(p []float64) (law [11]float64) {
	// ways[k][e] is the chance, over k!, that of the classes so far k values have come, e pairs of them equal.
	var ways [6][11]float64
	ways[0][0] = 1
	for _, v := range p {
		var next [6][11]float64
		for k := range ways {
			for e, w := range ways[k] {
				weight := w
				for t := 0; k+t <= 5 && e+t*(t-1)/2 <= 10; t++ {
					next[k+t][e+t*(t-1)/2] += weight
					weight *= v / float64(t+1)
				}
			}
		}
		ways = next
	}
	for e, w := range ways[5] {
		law[e] = 120 * w
	}
	return law
}

// permutations is the permutation test of section 3.3.2 F on groups of four values, fewer if the range has
// fewer. A group with a tie has no order; given that there is none all orders are equally likely.
func (rs *results) permutations(s Stream) {
	t := int(min(4, s.M))
	orders, untied := 1, 1.0
	for i := 1; i <= t; i++ {
		orders *= i
		untied *= 1 - float64(i-1)/float64(s.M)
	}
	counts := make([]int, orders+1)
	for g := s.Values; len(g) >= t; g = g[t:] {
		counts[order(g[:t])]++
	}
	p := make([]float64, orders+1)
	for i := range orders {
		p[i] = untied / float64(orders)
	}
	p[orders] = 1 - untied
	rs.chiSquare("permutations", fmt.Sprintf("groups of %d", t), counts, p, float64(len(s.Values)/t), func(i int) string {
		if i == orders {
			return "a tie"
		}
		return "order " + strconv.Itoa(i+1)
	})
}

// order numbers the order of the values: for each, how many after it are smaller, in the factorial number
// system. If two are equal it is the factorial of their number.
func order(g []uint32) int {
	number, tie := 0, false
	for i, v := range g {
		smaller := 0
		for _, w := range g[i+1:] {
			if w < v {
				smaller++
			}
			tie = tie || w == v
		}
		number = number*(len(g)-i) + smaller
	}
	if tie {
		number = 1
		for i := range g {
			number *= i + 1
		}
	}
	return number
}
