package slots

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// returns are the exact returns to player of bundled definitions, by maths
// hash, as decimal fractions of the stake cut to ten digits. A test of package
// par works each out again.
var returns = map[string]string{
	"aba683ea939206e84253c8e0a4f283273edfac470f9ed87b9a40775651016ff7": "0.9563691476",
}

// Return returns the exact return to player of a bundled definition, a decimal
// fraction of the stake cut to ten digits, by its maths hash.
func Return(maths [32]byte) (string, bool) {
	r, ok := returns[hex.EncodeToString(maths[:])]
	return r, ok
}

// variances are the exact variances of a round's payout, in squared stakes,
// rounded up to six digits.
var variances = map[string]string{
	"aba683ea939206e84253c8e0a4f283273edfac470f9ed87b9a40775651016ff7": "26.345822",
}

// Theory is the exact mathematics that live play can be held against.
type Theory struct {
	ReturnMillionths   uint64 // of the stake, cut
	VarianceMillionths uint64 // of a round's payout in squared stakes, rounded up
}

// TheoryOf returns the theory of a bundled definition, by its maths hash.
func TheoryOf(maths [32]byte) (t Theory, ok bool) {
	r, ok := Return(maths)
	if !ok {
		return t, false
	}
	t.ReturnMillionths = millionths(r)
	t.VarianceMillionths = millionths(variances[hex.EncodeToString(maths[:])])
	return t, true
}

// millionths reads a decimal fraction of a table above, cut to six digits.
func millionths(s string) uint64 {
	whole, part, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole+(part + "000000")[:6], 10, 64)
	if err != nil {
		panic("slots: " + err.Error())
	}
	return n
}
