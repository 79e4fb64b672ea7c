package sp80022

import (
	"math"
)

// excursionStates are the states of the random excursions test.
var excursionStates = [8]int{-4, -3, -2, -1, 1, 2, 3, 4}

// variantMost is the farthest state of the variant: −9 … −1, 1 … 9.
const variantMost = 9

func variantState(i int) int {
	if i < variantMost {
		return i - variantMost
	}
	return i - variantMost + 1
}

// walk is the random walk of a sequence, cut into cycles at its returns to zero.
type walk struct {
	cycles int
	// visits[i][k] is the number of cycles that visit excursionStates[i] k times, 5 for five and more.
	visits [8][6]int
	// total[x+9] is how often state x is visited.
	total [2*variantMost + 1]int
}

func newWalk(b Bits) *walk {
	w := &walk{}
	var cycle [8]int
	end := func() {
		w.cycles++
		for i, k := range cycle {
			w.visits[i][min(k, 5)]++
		}
		cycle = [8]int{}
	}
	s := 0
	for _, v := range b {
		s += 2*int(v) - 1
		switch {
		case s == 0:
			end()
		case s >= -4 && s < 0:
			cycle[s+4]++
		case s > 0 && s <= 4:
			cycle[s+3]++
		}
		if s >= -variantMost && s <= variantMost {
			w.total[s+variantMost]++
		}
	}
	if s != 0 {
		end() // a zero is appended
	}
	return w
}

// leastCycles is how often the walk of n bits has to come back for the tests to say anything.
func leastCycles(n int) int { return max(500, int(math.Ceil(0.005*math.Sqrt(float64(n))))) }

// RandomExcursions is the random excursions test, section 2.14, of the states −4 … −1, 1 … 4. It says nothing (ok is false)
// of a sequence with fewer than 500 cycles.
func RandomExcursions(b Bits) (p [8]float64, ok bool) {
	w := newWalk(b)
	return w.excursions(), w.cycles >= leastCycles(len(b))
}

func (w *walk) excursions() (p [8]float64) {
	for i, x := range excursionStates {
		p[i] = chiP(chiSquare(w.visits[i][:], visitProbabilities(x)), 5)
	}
	return p
}

// visitProbabilities are those of 0, 1 … 4, and more visits to x in a cycle (section 3.14).
func visitProbabilities(x int) []float64 {
	stay := 1 / (2 * math.Abs(float64(x)))
	p := make([]float64, 6)
	p[0] = 1 - stay
	for k := 1; k < 5; k++ {
		p[k] = stay * stay * math.Pow(1-stay, float64(k-1))
	}
	p[5] = stay * math.Pow(1-stay, 4)
	return p
}

// RandomExcursionsVariant is the random excursions variant test, section 2.15, of the states −9 … −1, 1 … 9. It says nothing (ok
// is false) of a sequence with fewer than 500 cycles.
func RandomExcursionsVariant(b Bits) (p [18]float64, ok bool) {
	w := newWalk(b)
	return w.variant(), w.cycles >= leastCycles(len(b))
}

func (w *walk) variant() (p [18]float64) {
	j := float64(w.cycles)
	for i := range p {
		x := variantState(i)
		d := math.Abs(float64(w.total[x+variantMost]) - j)
		p[i] = math.Erfc(d / math.Sqrt(2*j*(4*math.Abs(float64(x))-2)))
	}
	return p
}
