package chance

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// hasher is SHA-256 with its scratch space. What is passed through an interface
// escapes to the heap; kept here, it does so once and not for each hash.
type hasher struct {
	sha   resumable
	block [sha256.BlockSize]byte
	sum   Hash
}

// resumable is what crypto/sha256 promises of its hash.
type resumable interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

func newHasher() *hasher { return &hasher{sha: sha256.New().(resumable)} }

// hmacKey is HMAC-SHA256 under one key (RFC 2104), kept as the two states of
// SHA-256 after the key's blocks. crypto/hmac keeps the same, but allocates
// for each key, and an expansion changes its key at every step.
type hmacKey struct {
	inner, outer []byte
}

// set makes key the key. prefix begins every message.
func (k *hmacKey) set(h *hasher, key *Hash, prefix []byte) {
	k.inner = h.keyState(k.inner[:0], key, 0x3636363636363636, prefix)
	k.outer = h.keyState(k.outer[:0], key, 0x5c5c5c5c5c5c5c5c, nil)
}

func (h *hasher) keyState(state []byte, key *Hash, pad uint64, prefix []byte) []byte {
	for i := 0; i < len(h.block); i += 8 {
		word := pad
		if i < len(key) {
			word ^= binary.NativeEndian.Uint64(key[i:])
		}
		binary.NativeEndian.PutUint64(h.block[i:], word)
	}
	h.sha.Reset()
	h.sha.Write(h.block[:])
	h.sha.Write(prefix)
	clear(h.block[:])
	if state == nil {
		// Room for a SHA-256 state, so that appending to it leaves no copies behind.
		state = make([]byte, 0, 128)
	}
	state, err := h.sha.AppendBinary(state)
	if err != nil {
		panic("chance: SHA-256 state cannot be saved: " + err.Error())
	}
	return state
}

// mac sets out to the MAC of prefix and message. out may be message.
func (k *hmacKey) mac(h *hasher, out *Hash, message []byte) {
	h.restore(k.inner)
	h.sha.Write(message)
	h.sha.Sum(h.sum[:0])
	h.restore(k.outer)
	h.sha.Write(h.sum[:])
	h.sha.Sum(out[:0])
}

func (h *hasher) restore(state []byte) {
	if err := h.sha.UnmarshalBinary(state); err != nil {
		panic("chance: SHA-256 state cannot be restored: " + err.Error())
	}
}
