package monitor

import "math/bits"

// one is an evidence of one bit: evidence is counted in 2^-32 bits.
const one = 1 << 32

// log2 returns the binary logarithm of a number above 0 in units of 2^-32, cut: never above the true one, and less than
// 2^-32 + 2^-60 below it. It is the integer part, then one binary digit for each squaring of the mantissa.
func log2(hi, lo uint64) int64 {
	n := bits.LeadingZeros64(hi)
	if hi == 0 {
		n = 64 + bits.LeadingZeros64(lo)
	}
	k := int64(127 - n)
	// The mantissa: 64 bits, the first of them 1; what is below is cut.
	var x uint64
	switch {
	case n == 0:
		x = hi
	case n < 64:
		x = hi<<n | lo>>(64-n)
	default:
		x = lo << (n - 64)
	}
	l := k
	for range 32 {
		l <<= 1
		h, m := bits.Mul64(x, x) // of 2·63 binary places
		if h>>63 == 1 {
			l |= 1
			x = h
		} else {
			x = h<<1 | m>>63
		}
	}
	return l
}

// low is log2 of a 64-bit number, for a numerator.
func low(n uint64) int64 { return log2(0, n) }

// high is not below the logarithm of a 64-bit number, for a denominator.
func high(n uint64) int64 { return log2(0, n) + 2 }
