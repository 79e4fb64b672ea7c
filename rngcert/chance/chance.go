// Package chance holds the byte formats of a seed epoch and of the draws made
// in it: the commitment, the epoch key, the draw, its expansion into integers,
// and the seal under which the secret is kept.
//
// # Framing
//
// Whatever is hashed here is first framed, in one way: each field is its length
// as a big-endian uint32, then its bytes. An integer is a field of 8 bytes,
// big-endian. The first field is an ASCII tag that names the format and its
// version, so no two formats, and no two lists of fields, share an encoding.
//
// # From secret to integers
//
//	commitment = SHA-256(frame("countroom/seed-commitment/v1", origin, epoch, S, salt))
//	K          = HKDF-SHA256(IKM S, salt commitment ‖ external, info "countroom/epoch-key/v1", 32 bytes)
//	r          = HMAC-SHA256(K, frame("countroom/draw/v1", origin, game, version, player, n, step, nonce))
//	words      = HMAC_DRBG(SHA-256)(entropy_input r, nonce "countroom/drbg/1")
//	sealed     = iv ‖ AES-256-GCM(key, iv, S ‖ salt, AAD frame("countroom/sealed-secret/v1", context))
//
// S and salt are 32 bytes each, player 16, nonce 32 or none, iv 12; epoch, n and
// step are integers. HMAC_DRBG is that of SP 800-90A Rev. 1, section 10.1.2, with an
// empty personalisation string and no additional input. Each generate call
// asks for 32 bytes, which are eight big-endian 32-bit words. An integer in
// [0, n) takes the next words by the rule of package uniform, also when n is 1.
//
// The bytes in testdata/vectors.json follow from these lines alone.
//
// # What zeroing does not reach
//
// Drawer.Destroy overwrites what this package keeps of K. Copies that crypto/hkdf,
// crypto/sha256 or crypto/aes made inside themselves stay on the heap until it is
// reused, and copies on stacks until those are. A process that holds K should
// lock its memory and write no core dumps.
package chance

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
)

// Hash is a SHA-256 or HMAC-SHA256 value.
type Hash = [sha256.Size]byte

const (
	commitmentTag = "countroom/seed-commitment/v1"
	epochKeyInfo  = "countroom/epoch-key/v1"
	drawTag       = "countroom/draw/v1"
)

// NonceSize is the length of a player's standing nonce, in bytes.
const NonceSize = 32

// Commitment binds the house named origin to the secret of an epoch before
// external entropy is known and before the first draw.
func Commitment(origin string, epoch uint64, secret, salt [32]byte) Hash {
	b := appendField(nil, commitmentTag)
	b = appendField(b, origin)
	b = appendInt(b, epoch)
	b = appendField(b, secret[:])
	b = appendField(b, salt[:])
	return sha256.Sum256(b)
}

// DeriveKey returns the epoch's key K (RFC 5869). external is the external
// entropy recorded when the epoch was activated, empty under policy none. The
// policy fixes its length: HMAC fills a short salt up with zeros, so lengths
// that differ only in zeros at the end would give one key.
func DeriveKey(secret [32]byte, commitment Hash, external []byte) (key [32]byte) {
	salt := append(commitment[:], external...)
	k, err := hkdf.Key(sha256.New, secret[:], salt, epochKeyInfo, len(key))
	if err != nil {
		panic(fmt.Sprintf("chance: HKDF-SHA256 of 32 bytes: %v", err)) // only a length over 255 blocks can fail
	}
	copy(key[:], k)
	clear(k)
	return key
}

// Drawer makes the draws of one epoch of one house. It is safe for concurrent
// use.
type Drawer struct {
	mu        sync.RWMutex
	destroyed bool
	key       hmacKey // with the tag and the origin already taken in
}

// NewDrawer returns a Drawer for the house named origin under the epoch key. The
// caller should clear his copy of the key.
func NewDrawer(key [32]byte, origin string) *Drawer {
	d := &Drawer{}
	s := scratches.Get().(*scratch)
	defer s.release()
	s.message = appendField(s.message[:0], drawTag)
	s.message = appendField(s.message, origin)
	d.key.set(s.hasher, &key, s.message)
	return d
}

// Draw returns r of one step of one round: n is the player's round number at
// the game, nonce the player's standing nonce, NonceSize bytes or none.
//
// It panics after Destroy, because a draw under an erased key would be one that
// anybody can compute; and on a nonce of another length.
func (d *Drawer) Draw(game, version string, player [16]byte, n uint64, step uint32, nonce []byte) Hash {
	if len(nonce) != 0 && len(nonce) != NonceSize {
		panic(fmt.Sprintf("chance: player nonce of %d bytes, want 0 or %d", len(nonce), NonceSize))
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	b := appendField(s.message[:0], game)
	b = appendField(b, version)
	b = appendField(b, player[:])
	b = appendInt(b, n)
	b = appendInt(b, uint64(step))
	s.message = appendField(b, nonce)

	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.destroyed {
		panic("chance: draw after the epoch key was destroyed")
	}
	d.key.mac(s.hasher, &s.r, s.message)
	return s.r
}

// Destroy waits for draws under way and overwrites the key.
func (d *Drawer) Destroy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.destroyed = true
	clear(d.key.inner)
	clear(d.key.outer)
}

// scratch is what one draw works in.
type scratch struct {
	hasher  *hasher
	message []byte
	r       Hash
}

var scratches = sync.Pool{New: func() any { return &scratch{hasher: newHasher()} }}

func (s *scratch) release() {
	s.hasher.sha.Reset() // it holds a state that follows from K
	scratches.Put(s)
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

func appendInt(b []byte, v uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, v)
}
