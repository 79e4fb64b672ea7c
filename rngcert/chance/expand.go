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
	v Hash
	// used counts the bytes of v already taken.
	used int
	// ready is set by the first Reset, updateDue from the first generate call of
	// an r.
	ready, updateDue bool
	// inner is what the inner hash of an HMAC takes: the key's block, then V and,
	// in an update, a separator, r and the nonce. outer is the key's other block
	// and the inner hash. Hashing a key's block again costs less than to save and
	// restore the state behind it.
	inner [sha256.BlockSize + messageSize]byte
	outer [sha256.BlockSize + sha256.Size]byte
}

const (
	ipad, opad  = 0x3636363636363636, 0x5c5c5c5c5c5c5c5c // RFC 2104, section 2
	messageSize = sha256.Size + 1 + sha256.Size + len(drbgNonce)
)

// Reset begins the expansion of r.
func (x *Expander) Reset(r Hash) {
	for i := range x.v {
		x.v[i] = 0x01
	}
	message := x.inner[sha256.BlockSize:]
	copy(message[len(x.v)+1:], r[:])
	copy(message[len(x.v)+1+len(r):], drbgNonce)
	if !x.ready { // else the halves that no key reaches are in place
		x.ready = true
		for i := sha256.Size; i < sha256.BlockSize; i += 8 {
			binary.NativeEndian.PutUint64(x.inner[i:], ipad)
			binary.NativeEndian.PutUint64(x.outer[i:], opad)
		}
	}
	x.setKey(&Hash{})
	x.update(0x00, messageSize)
	x.update(0x01, messageSize)
	x.used = len(x.v)
	x.updateDue = false
}

// Int returns the next integer in [0, n), uniform if r is, for n ≥ 1. It panics
// when n is 0 and before the first Reset.
func (x *Expander) Int(n uint32) uint32 {
	if !x.ready {
		panic("chance: Expander used before Reset")
	}
	for {
		if x.used == len(x.v) {
			if x.updateDue {
				x.update(0x00, len(x.v)+1)
			}
			x.next()
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
// V = HMAC(K, V). size is that of the message.
func (x *Expander) update(separator byte, size int) {
	x.inner[sha256.BlockSize+len(x.v)] = separator
	k := x.mac(size)
	x.setKey(&k)
	x.next()
}

// next sets V = HMAC(K, V).
func (x *Expander) next() { x.v = x.mac(len(x.v)) }

// mac returns the HMAC of a message that begins with V, which it puts in place.
func (x *Expander) mac(size int) Hash {
	copy(x.inner[sha256.BlockSize:], x.v[:])
	sum := sha256.Sum256(x.inner[:sha256.BlockSize+size])
	copy(x.outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(x.outer[:])
}

func (x *Expander) setKey(k *Hash) {
	for i := 0; i < len(k); i += 8 {
		word := binary.NativeEndian.Uint64(k[i:])
		binary.NativeEndian.PutUint64(x.inner[i:], word^ipad)
		binary.NativeEndian.PutUint64(x.outer[i:], word^opad)
	}
}
