package slots

import "encoding/hex"

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
