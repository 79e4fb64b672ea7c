package sp80022

import (
	"math"
)

// windows returns, for each place of b, the m bits that begin there as a number, of which the first bit is
// the highest. If it wraps, the sequence goes on from its start after its end.
func windows(b Bits, m int, wraps bool) []uint32 {
	n := len(b)
	places := n
	if !wraps {
		places = max(n-m+1, 0)
	}
	w := make([]uint32, places)
	mask := uint32(1)<<m - 1
	v := uint32(0)
	for i := range min(m-1, n) {
		v = v<<1 | uint32(b[i])
	}
	for i := range w {
		next := i + m - 1
		if next >= n {
			next %= n
		}
		v = (v<<1 | uint32(b[next])) & mask
		w[i] = v
	}
	return w
}

// Aperiodic returns the templates of m bits that cannot overlap themselves, in rising order (section 2.7.2).
func Aperiodic(m int) []uint32 {
	var list []uint32
	for t := range uint32(1) << m {
		overlaps := false
		for shift := 1; shift < m; shift++ {
			overlaps = overlaps || t>>shift == t&(1<<(m-shift)-1)
		}
		if !overlaps {
			list = append(list, t)
		}
	}
	return list
}

// NonOverlapping is the non-overlapping template matching test, section 2.7, of each template of m bits over a number
// of blocks.
func NonOverlapping(b Bits, templates []uint32, m, blocks int) []float64 {
	length := len(b) / blocks
	mean := float64(length-m+1) / math.Exp2(float64(m))
	variance := float64(length) * (1/math.Exp2(float64(m)) - float64(2*m-1)/math.Exp2(float64(2*m)))
	// For each template the places where it stands, so that not every template has to look at every place.
	number := make([]int32, 1<<m)
	for i := range number {
		number[i] = -1
	}
	for i, t := range templates {
		number[t] = int32(i)
	}
	sums := make([]float64, len(templates))
	found, until := make([]int, len(templates)), make([]int, len(templates))
	for block := range blocks {
		clear(found)
		clear(until)
		for place, w := range windows(b[block*length:(block+1)*length], m, false) {
			if i := number[w]; i >= 0 && place >= until[i] {
				found[i]++
				until[i] = place + m
			}
		}
		for i, f := range found {
			d := float64(f) - mean
			sums[i] += d * d / variance
		}
	}
	for i, s := range sums {
		sums[i] = igamc(float64(blocks)/2, s/2)
	}
	return sums
}

// overlappingProbabilities are those of 0, 1 … 4, and more matches of nine ones in a block of 1,032 bits, by Hamano and
// Kaneko, which section 3.8 gives in place of an approximation.
var overlappingProbabilities = []float64{0.364091, 0.185659, 0.139381, 0.100571, 0.0704323, 0.139865}

// Overlapping is the overlapping template matching test, section 2.8, with nine ones as template and blocks of 1,032 bits.
func Overlapping(b Bits) float64 {
	return chiP(chiSquare(overlappingCounts(b, 9, 1032), overlappingProbabilities), 5)
}

func overlappingCounts(b Bits, m, length int) []int {
	counts := make([]int, 6)
	template := uint32(1)<<m - 1
	for ; len(b) >= length; b = b[length:] {
		found := 0
		for _, w := range windows(b[:length], m, false) {
			if w == template {
				found++
			}
		}
		counts[min(found, 5)]++
	}
	return counts
}

// universalLengths are the sequence lengths from which blocks of 6, 7 … 16 bits are taken (section 2.9.7).
var universalLengths = []int{387_840, 904_960, 2_068_480, 4_654_080, 10_342_400, 22_753_280, 49_643_520, 107_560_960, 231_669_760, 496_435_200, 1_059_061_760}

// universalMoments are mean and variance of log2 of the distance between blocks of 1, 2 … 16 bits (section 2.9.4).
var universalMoments = [][2]float64{
	{0.7326495, 0.690}, {1.5374383, 1.338}, {2.4016068, 1.901}, {3.3112247, 2.358}, {4.2534266, 2.705},
	{5.2177052, 2.954}, {6.1962507, 3.125}, {7.1836656, 3.238}, {8.1764248, 3.311}, {9.1723243, 3.356}, {10.170032, 3.384},
	{11.168765, 3.401}, {12.168070, 3.410}, {13.167693, 3.416}, {14.167488, 3.419}, {15.167379, 3.421},
}

// Universal is Maurer's universal statistical test, section 2.9, for at least 387,840 bits.
func Universal(b Bits) float64 {
	l := 6
	for l < 16 && len(b) >= universalLengths[l-5] {
		l++
	}
	f, k := universalStatistic(b, l, 10<<l)
	moments := universalMoments[l-1]
	c := 0.7 - 0.8/float64(l) + (4+32/float64(l))*math.Pow(float64(k), -3/float64(l))/15
	return math.Erfc(math.Abs(f-moments[0]) / (math.Sqrt2 * c * math.Sqrt(moments[1]/float64(k))))
}

// universalStatistic returns f over k blocks of l bits, after q blocks of initialisation.
func universalStatistic(b Bits, l, q int) (f float64, k int) {
	last := make([]int, 1<<l)
	blocks := len(b) / l
	for i := range blocks {
		v := 0
		for _, bit := range b[i*l : (i+1)*l] {
			v = v<<1 | int(bit)
		}
		if i >= q {
			f += math.Log2(float64(i + 1 - last[v]))
		}
		last[v] = i + 1
	}
	k = blocks - q
	return f / float64(k), k
}

// Serial is the serial test over patterns of m bits, section 2.11: the first and the second difference.
func Serial(b Bits, m int) (first, second float64) {
	psi0, psi1, psi2 := psi(b, m), psi(b, m-1), psi(b, m-2)
	return igamc(math.Exp2(float64(m-2)), (psi0-psi1)/2), igamc(math.Exp2(float64(m-3)), (psi0-2*psi1+psi2)/2)
}

// psi is ψ² of section 2.11.4.
func psi(b Bits, m int) float64 {
	if m <= 0 {
		return 0
	}
	sum := 0.0
	for _, c := range patternCounts(b, m) {
		sum += float64(c) * float64(c)
	}
	n := float64(len(b))
	return sum*math.Exp2(float64(m))/n - n
}

func patternCounts(b Bits, m int) []int {
	counts := make([]int, 1<<m)
	for _, w := range windows(b, m, true) {
		counts[w]++
	}
	return counts
}

// ApproximateEntropy is the approximate entropy test over patterns of m and m+1 bits, section 2.12.
func ApproximateEntropy(b Bits, m int) float64 {
	n := float64(len(b))
	phi := func(m int) (sum float64) {
		if m == 0 {
			return 0
		}
		for _, c := range patternCounts(b, m) {
			if c > 0 {
				share := float64(c) / n
				sum += share * math.Log(share)
			}
		}
		return sum
	}
	statistic := 2 * n * (math.Ln2 - (phi(m) - phi(m+1)))
	return igamc(math.Exp2(float64(m-1)), statistic/2)
}
