// Package sp80090b estimates the min-entropy of a noise source from its samples, by the
// ten estimators of NIST SP 800-90B (January 2018), section 6.3, and asks by the tests of
// section 5 whether the samples could be independent and identically distributed.
//
// The estimators are bounds from below, each at 99 % confidence and each for its own way of
// being predictable; the assessment is the least of them. They see what an attacker with no
// knowledge of the source sees: a counter run through a cipher passes them all. They can show that a
// source has less entropy than its maker declares, and never that it has as much.
package sp80090b

import (
	"errors"
	"fmt"
	"math"
)

// z is the 99.5th percentile of the normal distribution: the bounds hold with 99 % confidence.
const z = 2.5758293035489008

// Least is how many samples the standard demands (section 3.1.1).
const Least = 1_000_000

var (
	// ErrSamples reports samples that cannot be assessed.
	ErrSamples = errors.New("sp80090b: samples")
)

// Estimate is what one estimator says.
type Estimate struct {
	Name string `json:"name"`
	// MinEntropy is in bits per sample of the sequence it was made of: per symbol, or per bit of the bit string.
	MinEntropy float64 `json:"min_entropy"`
}

// Assessment is the non-IID assessment of section 3.1.3.
type Assessment struct {
	BitsPerSymbol int `json:"bits_per_symbol"`
	Samples       int `json:"samples"`
	// Literal are the estimates of the symbols; of binary sources there are none.
	Literal []Estimate `json:"literal"`
	// BitString are the estimates of the symbols written out as bits.
	BitString []Estimate `json:"bit_string"`
	// MinEntropy is the assessed entropy of a symbol in bits: the least of all estimates and the symbol's width.
	MinEntropy float64 `json:"min_entropy"`
}

// Assess estimates the entropy of samples, each a symbol of 1 to 8 bits. There are at least Least of them.
func Assess(samples []byte, bitsPerSymbol int) (*Assessment, error) {
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
	a := &Assessment{BitsPerSymbol: bitsPerSymbol, Samples: len(samples), MinEntropy: float64(bitsPerSymbol)}
	bits := samples
	if bitsPerSymbol > 1 {
		a.Literal = literal(samples, 1<<bitsPerSymbol)
		for _, e := range a.Literal {
			a.MinEntropy = min(a.MinEntropy, e.MinEntropy)
		}
		bits = bitString(samples, bitsPerSymbol)
	}
	a.BitString = append([]Estimate{
		{"collision", Collision(bits)}, {"Markov", Markov(bits)}, {"compression", Compression(bits)},
	}, literal(bits, 2)...)
	for _, e := range a.BitString {
		a.MinEntropy = min(a.MinEntropy, e.MinEntropy*float64(bitsPerSymbol))
	}
	return a, nil
}

// literal runs the estimators that take any alphabet.
func literal(samples []byte, alphabet int) []Estimate {
	tuple, repeated := Tuples(samples)
	return []Estimate{
		{"most common value", MostCommonValue(samples)},
		{"t-tuple", tuple}, {"longest repeated substring", repeated},
		{"multi most common in window", MultiMCW(samples, alphabet)},
		{"lag", Lag(samples, alphabet)},
		{"multi Markov model with counting", MultiMMC(samples, alphabet)},
		{"LZ78Y", LZ78Y(samples, alphabet)},
	}
}

// bitString writes symbols out, the most significant bit first (section 3.1.3).
func bitString(samples []byte, width int) []byte {
	bits := make([]byte, 0, len(samples)*width)
	for _, s := range samples {
		for shift := width - 1; shift >= 0; shift-- {
			bits = append(bits, s>>shift&1)
		}
	}
	return bits
}

// upper is the upper end of the confidence interval of a proportion seen in n samples.
func upper(p float64, n int) float64 {
	return min(1, p+z*math.Sqrt(p*(1-p)/float64(n-1)))
}

// minEntropy is −log2 p, without the negative zero of p = 1.
func minEntropy(p float64) float64 { return math.Abs(math.Log2(p)) }

// MostCommonValue is the estimate of section 6.3.1.
func MostCommonValue(samples []byte) float64 {
	var counts [256]int
	most := 0
	for _, s := range samples {
		counts[s]++
		most = max(most, counts[s])
	}
	return minEntropy(upper(float64(most)/float64(len(samples)), len(samples)))
}

// Collision is the estimate of section 6.3.2, of bits: how long it takes until a value comes twice.
func Collision(bits []byte) float64 {
	v, sum, squares := 0, 0, 0
	for i := 0; ; {
		t := 2
		if i+1 >= len(bits) {
			break
		}
		if bits[i] != bits[i+1] {
			t = 3 // of three bits two are equal
		}
		if i+t > len(bits) {
			break
		}
		v++
		sum += t
		squares += t * t
		i += t
	}
	mean := float64(sum) / float64(v)
	deviation := math.Sqrt((float64(squares) - float64(sum)*mean) / float64(v-1))
	low := max(2, mean-z*deviation/math.Sqrt(float64(v)))
	if low >= 2.5 {
		return 1 // more than chance allows: p is at its least, 1/2
	}
	// The expectation of step 7 is 2 + 2p(1−p) for two values; the root above 1/2.
	return minEntropy(0.5 + math.Sqrt(1.25-low/2))
}

// Markov is the estimate of section 6.3.3, of bits: the most likely sequence of 128 bits in a first-order model.
func Markov(bits []byte) float64 {
	var n [2]float64
	var pairs [2][2]float64
	for i, b := range bits {
		n[b]++
		if i > 0 {
			pairs[bits[i-1]][b]++
		}
	}
	first := [2]float64{math.Log2(n[0] / float64(len(bits))), math.Log2(n[1] / float64(len(bits)))}
	var step [2][2]float64 // log2 of the chance; −Inf where a step was never seen
	for a := range step {
		for b := range step[a] {
			step[a][b] = math.Inf(-1)
			if pairs[a][b] > 0 {
				step[a][b] = math.Log2(pairs[a][b] / (pairs[a][0] + pairs[a][1]))
			}
		}
	}
	best := math.Inf(-1)
	for _, p := range []float64{
		first[0] + 127*step[0][0],
		first[0] + 64*step[0][1] + 63*step[1][0],
		first[0] + step[0][1] + 126*step[1][1],
		first[1] + step[1][0] + 126*step[0][0],
		first[1] + 64*step[1][0] + 63*step[0][1],
		first[1] + 127*step[1][1],
	} {
		best = max(best, p)
	}
	return min(math.Abs(best)/128, 1)
}

// Of the compression estimate: bits of a block, and blocks that fill the dictionary.
const (
	compressionBits = 6
	compressionD    = 1000
)

// Compression is the estimate of section 6.3.4, of bits: how far apart equal blocks are, as Maurer's universal statistic has it.
func Compression(bits []byte) float64 {
	const alphabet = 1 << compressionBits
	blocks := len(bits) / compressionBits
	logs := make([]float64, blocks+1)
	for i := 1; i <= blocks; i++ {
		logs[i] = math.Log2(float64(i))
	}
	var last [alphabet]int
	sum, squares := 0.0, 0.0
	for i := range blocks {
		v := 0
		for _, b := range bits[i*compressionBits : (i+1)*compressionBits] {
			v = v<<1 | int(b)
		}
		if i >= compressionD {
			l := logs[i+1-last[v]]
			sum += l
			squares += l * l
		}
		last[v] = i + 1
	}
	v := float64(blocks - compressionD)
	mean := sum / v
	deviation := 0.5907 * math.Sqrt(squares/(v-1)-mean*mean)
	low := mean - z*deviation/math.Sqrt(v)
	expectation := func(p float64) float64 {
		return compressionG(p, logs) + (alphabet-1)*compressionG((1-p)/(alphabet-1), logs)
	}
	least := 1.0 / alphabet
	if expectation(least) <= low {
		return 1
	}
	// The expectation falls as p rises.
	a, b := least, 1.0
	for range 200 {
		p := (a + b) / 2
		if p == a || p == b {
			break
		}
		if expectation(p) > low {
			a = p
		} else {
			b = p
		}
	}
	return minEntropy(b) / compressionBits
}

// compressionG is G of section 6.3.4, step 7: the double sum over t and u, taken in one pass over u. With
// a(u) = log2(u) (1−p)^(u−1), each u < t adds p² a(u) for every t after it, and u = t adds p a(t).
func compressionG(p float64, logs []float64) float64 {
	blocks := len(logs) - 1
	if p >= 1 {
		return 0
	}
	inner, ends := 0.0, 0.0
	power := 1.0                                     // (1−p)^(u−1)
	for u := 1; u <= blocks && power > 1e-300; u++ { // what is smaller adds nothing
		a := logs[u] * power
		inner += float64(blocks-max(u, compressionD)) * a
		if u > compressionD {
			ends += a
		}
		power *= 1 - p
	}
	return p * (p*inner + ends) / float64(blocks-compressionD)
}
