package battery

import (
	"fmt"
	"math"
	"strconv"
)

// frequencyMost is into how many classes the values are put at most.
const frequencyMost = 1024

// frequency is the test of section 3.3.2 A, the equidistribution test. A range too wide to count each value is
// cut into parts, and also into residues: the first show a wrong share of high values, the second weak low
// digits.
func (rs *results) frequency(s Stream) {
	d := min(len(s.Values)/least, frequencyMost, int(s.M))
	c := s.classes(d)
	counts := make([]int, d)
	for _, v := range c.of {
		counts[v]++
	}
	label := strconv.Itoa
	if d < int(s.M) {
		label = func(i int) string { return fmt.Sprintf("part %d of %d", i+1, d) }
	}
	rs.chiSquare("chi-square", "values", counts, c.p, float64(len(s.Values)), label)
	if d == int(s.M) {
		return
	}
	clear(counts)
	for _, v := range s.Values {
		counts[v%uint32(d)]++
	}
	p := make([]float64, d)
	for i := range p {
		p[i] = float64((uint64(s.M)+uint64(d-1-i))/uint64(d)) / float64(s.M)
	}
	rs.chiSquare("chi-square", "residues", counts, p, float64(len(s.Values)), strconv.Itoa)
}

// lags are 1 … lags of the serial correlation: three spins of five reels.
const lags = 16

// serialCorrelation is the test of section 3.3.2 K at several lags, the sequence going on from its start after
// its end.
func (rs *results) serialCorrelation(s Stream) {
	x := centred(s)
	sum, squares := sums(x)
	n := float64(len(x))
	for lag := 1; lag <= lags; lag++ {
		products := 0.0
		for i, v := range x[:len(x)-lag] {
			products += v * x[i+lag]
		}
		for i, v := range x[len(x)-lag:] {
			products += v * x[i]
		}
		c := coefficient(n*products-sum*sum, n*squares-sum*sum)
		z := (c + 1/(n-1)) * (n - 1) * math.Sqrt(n-2) / n
		rs.add(Result{Test: "serial correlation", Variant: fmt.Sprintf("lag %d", lag), P: normal(z), Statistic: c, N: len(x)})
	}
}

// centred returns the values less their mean in theory, so that sums keep their digits.
func centred(s Stream) []float64 {
	mean := (float64(s.M) - 1) / 2
	x := make([]float64, len(s.Values))
	for i, v := range s.Values {
		x[i] = float64(v) - mean
	}
	return x
}

func sums(x []float64) (sum, squares float64) {
	for _, v := range x {
		sum += v
		squares += v * v
	}
	return sum, squares
}

// interplay asks whether two values of a round hang together: by the coefficient of correlation, and by a table
// of both.
func (rs *results) interplay(a, b Stream) {
	variant := a.Name + " with " + b.Name
	x, y := centred(a), centred(b)
	sumX, squaresX := sums(x)
	sumY, squaresY := sums(y)
	n, products := float64(len(x)), 0.0
	for i, v := range x {
		products += v * y[i]
	}
	c := coefficient(n*products-sumX*sumY, math.Sqrt(max(0, n*squaresX-sumX*sumX))*math.Sqrt(max(0, n*squaresY-sumY*sumY)))
	rs.add(Result{Test: "interplay correlation", Variant: variant, P: normal(c * math.Sqrt(n-1)), Statistic: c, N: len(x)})

	d := int(math.Sqrt(n / least))
	ca, cb := a.classes(d), b.classes(d)
	counts := make([]int, len(ca.p)*len(cb.p))
	for i, v := range ca.of {
		counts[int(v)*len(cb.p)+int(cb.of[i])]++
	}
	p := make([]float64, 0, len(counts))
	for _, pa := range ca.p {
		for _, pb := range cb.p {
			p = append(p, pa*pb)
		}
	}
	rs.chiSquare("interplay chi-square", variant, counts, p, n, func(i int) string {
		return fmt.Sprintf("%d, %d", i/len(cb.p), i%len(cb.p))
	})
}
