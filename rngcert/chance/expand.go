package chance

import (
	"crypto/sha256"
	"encoding/binary"

	"countroom/rngcert/uniform"
)

// drbgNonce is the nonce of every expansion, 16 bytes of ASCII.
const drbgNonce = "countroom/drbg/1"

// Expander turns one draw r into as many integers as a step needs. It is the
// HMAC_DRBG of package drbg written out for the one shape that a draw has, and
// gives the same words. The update that ends a generate call is left until
// there is another call, because most draws need only one.
//
// A zero Expander must be Reset before use. It is not safe for concurrent use.
type Expander struct {
	hasher *hasher
	key    hmacKey
	k, v   Hash
	// used counts the bytes of v already taken.
	used int
	// updateDue is set from the first generate call of an r.
	updateDue bool
	// message is V, a separator, r and the nonce: the provided data of an update.
	message [sha256.Size + 1 + sha256.Size + len(drbgNonce)]byte
}

// zeroKey is the key that every instantiation begins with.
var zeroKey = func() (k hmacKey) {
	k.set(newHasher(), &Hash{}, nil)
	return k
}()

// Reset begins the expansion of r.
func (x *Expander) Reset(r Hash) {
	if x.hasher == nil {
		x.hasher = newHasher()
	}
	for i := range x.v {
		x.v[i] = 0x01
	}
	copy(x.message[len(x.v)+1:], r[:])
	copy(x.message[len(x.v)+1+len(r):], drbgNonce)
	x.update(&zeroKey, 0x00, x.message[:])
	x.update(&x.key, 0x01, x.message[:])
	x.used = len(x.v)
	x.updateDue = false
}

// Int returns the next integer in [0, n), uniform if r is, for n ≥ 1. It panics
// when n is 0 and before the first Reset.
func (x *Expander) Int(n uint32) uint32 {
	if x.hasher == nil {
		panic("chance: Expander used before Reset")
	}
	for {
		if x.used == len(x.v) {
			if x.updateDue {
				x.update(&x.key, 0x00, x.message[:len(x.v)+1])
			}
			x.key.mac(x.hasher, &x.v, x.v[:])
			x.used = 0
			x.updateDue = true
		}
		w := binary.BigEndian.Uint32(x.v[x.used:])
		x.used += 4
		if v, ok := uniform.Reduce(w, n); ok {
			return v
		}
	}
}

// update is half of HMAC_DRBG_Update: K = HMAC(old, V ‖ separator ‖ …), then
// V = HMAC(K, V).
func (x *Expander) update(old *hmacKey, separator byte, message []byte) {
	copy(message, x.v[:])
	message[len(x.v)] = separator
	old.mac(x.hasher, &x.k, message)
	x.key.set(x.hasher, &x.k, nil)
	x.key.mac(x.hasher, &x.v, x.v[:])
}
