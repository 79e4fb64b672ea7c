// Package uniform turns 32-bit random words into unbiased integers.
//
// It is the only range reduction of the house: production draws, replay and
// simulation all call it, so what is certified by simulation is what is played.
//
// The rule, for an integer in [0, n) and a word w, n ≥ 1:
//
//	t = floor(2^32 / n) * n
//	w < t:  the integer is w mod n
//	w ≥ t:  w is discarded and the next word is taken
//
// The accepted words fall into n classes of equal size, so the result is
// exactly uniform when the words are. Words made from a byte stream are four
// bytes each, big-endian.
package uniform

// Last returns the greatest word accepted for n, that is floor(2^32/n)*n − 1.
// It panics when n is 0.
func Last(n uint32) uint32 {
	// 2^32 mod n, computed in 32 bits.
	excess := -n % n
	return ^uint32(0) - excess
}

// Reduce maps the word w to an integer v in [0, n), or reports that w must be
// discarded. It panics when n is 0.
func Reduce(w, n uint32) (v uint32, ok bool) {
	// At most n−1 words are discarded, so only the topmost need the exact limit.
	if w > -n && w > Last(n) {
		return 0, false
	}
	return w % n, true
}
