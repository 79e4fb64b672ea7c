package sp80022

import (
	"math"
	"math/bits"

	"gonum.org/v1/gonum/dsp/fourier"
)

// rankProbabilities are those of a random 32 by 32 matrix over GF(2) of full rank, of one less, and of any
// lower one (section 3.5).
var rankProbabilities = func() []float64 {
	p := func(r int) float64 {
		const m = 32
		product := 1.0
		for i := range r {
			d := 1 - math.Exp2(float64(i-m))
			product *= d * d / (1 - math.Exp2(float64(i-r)))
		}
		return math.Exp2(float64(r*(2*m-r)-m*m)) * product
	}
	return []float64{p(32), p(31), 1 - p(32) - p(31)}
}()

// Rank is the binary matrix rank test with 32 by 32 matrices, section 2.5.
func Rank(b Bits) float64 { return chiP(chiSquare(rankCounts(b, 32), rankProbabilities), 2) }

// rankCounts counts the m by m matrices of full rank, of one less, and of less.
func rankCounts(b Bits, m int) []int {
	counts := make([]int, 3)
	rows := make([]uint64, m)
	for ; len(b) >= m*m; b = b[m*m:] {
		for i := range rows {
			rows[i] = 0
			for _, v := range b[i*m : (i+1)*m] {
				rows[i] = rows[i]<<1 | uint64(v)
			}
		}
		counts[min(m-rank(rows), 2)]++
	}
	return counts
}

// rank eliminates; rows are used up.
func rank(rows []uint64) (r int) {
	for i, pivot := range rows {
		if pivot == 0 {
			continue
		}
		r++
		lowest := pivot & -pivot
		for j := i + 1; j < len(rows); j++ {
			if rows[j]&lowest != 0 {
				rows[j] ^= pivot
			}
		}
	}
	return r
}

// Spectral is the discrete Fourier transform test, section 2.6.
func Spectral(b Bits) float64 {
	n := len(b)
	x := make([]float64, n)
	for i, v := range b {
		x[i] = 2*float64(v) - 1
	}
	peaks := fourier.NewFFT(n).Coefficients(nil, x)
	below := 0
	limit := math.Log(1/0.05) * float64(n) // of the squared modulus
	for _, c := range peaks[:n/2] {
		if real(c)*real(c)+imag(c)*imag(c) < limit {
			below++
		}
	}
	d := (float64(below) - 0.95*float64(n)/2) / math.Sqrt(float64(n)*0.95*0.05/4)
	return math.Erfc(math.Abs(d) / math.Sqrt2)
}

// linearProbabilities are those of the categories of section 2.10.4.
var linearProbabilities = []float64{0.01047, 0.03125, 0.125, 0.5, 0.25, 0.0625, 0.020833}

// LinearComplexity is the linear complexity test with blocks of m bits, section 2.10.
func LinearComplexity(b Bits, m int) float64 {
	return chiP(chiSquare(linearCounts(b, m), linearProbabilities), 6)
}

func linearCounts(b Bits, m int) []int {
	sign := 1 - 2*float64(m&1)
	mean := float64(m)/2 + (9-sign)/36 - (float64(m)/3+2.0/9)/math.Exp2(float64(m))
	counts := make([]int, 7)
	for ; len(b) >= m; b = b[m:] {
		t := sign*(float64(shortestRegister(b[:m]))-mean) + 2.0/9
		// The categories end at −2.5, −1.5 … 2.5, each end within the lower one.
		counts[min(max(int(math.Ceil(t+2.5)), 0), 6)]++
	}
	return counts
}

// shortestRegister is the length of the shortest linear feedback shift register that makes b, by the algorithm
// of Berlekamp and Massey over words of 64 bits.
func shortestRegister(b Bits) int {
	words := len(b)/64 + 1
	c, before, kept, seen := make([]uint64, words), make([]uint64, words), make([]uint64, words), make([]uint64, words)
	c[0], before[0] = 1, 1
	length, since := 0, 0
	for n, v := range b {
		// Bit i of seen is the bit of b that came i before this one.
		carry := uint64(v)
		parity := uint64(0)
		for i := range seen {
			next := seen[i] >> 63
			seen[i] = seen[i]<<1 | carry
			carry = next
			parity ^= c[i] & seen[i]
		}
		since++
		if bits.OnesCount64(parity)&1 == 0 {
			continue
		}
		longer := 2*length <= n
		if longer {
			copy(kept, c)
		}
		for i, w := 0, since/64; w < words; i, w = i+1, w+1 {
			c[w] ^= before[i] << (since % 64)
			if since%64 != 0 && w+1 < words {
				c[w+1] ^= before[i] >> (64 - since%64)
			}
		}
		if longer {
			length, since = n+1-length, 0
			before, kept = kept, before
		}
	}
	return length
}
