// Package tlog holds the formats and proofs of the published log: hash tiles
// and entry bundles (c2sp.org/tlog-tiles), signed checkpoints
// (c2sp.org/tlog-checkpoint, c2sp.org/signed-note) and receipts
// (c2sp.org/tlog-proof), over the Merkle tree of RFC 6962, section 2.1.
//
// Every parser is strict: what it accepts, the matching Append or Path
// function turns back into the same bytes. [Tree] is the server's tree in
// memory, [Builder] the verifier's sequential one.
package tlog

import (
	"crypto/sha256"
	"errors"
	"hash"
	"sync"
)

// Hash is a SHA-256 leaf or node hash.
type Hash = [sha256.Size]byte

const (
	// TileWidth is the number of hashes in a full tile and of entries in a
	// full bundle.
	TileWidth = 256
	// MaxEntrySize is the size in bytes of the largest entry a bundle can
	// carry.
	MaxEntrySize = 65535
)

var (
	// ErrFormat says that bytes are not what their format prescribes.
	ErrFormat = errors.New("malformed")
	// ErrSignature says that a checkpoint is well formed but carries no good
	// signature of the expected key.
	ErrSignature = errors.New("not signed by the expected key")
	// ErrProof says that a signed tree does not contain what is claimed.
	ErrProof = errors.New("proof does not lead to the signed root")
	// ErrRange says that a leaf, node, tile or tree size is outside the tree.
	ErrRange = errors.New("outside the tree")
)

// A digest passed to Write through hash.Hash escapes to the heap, hence the
// pool for leaves that do not fit on the stack.
var digests = sync.Pool{New: func() any { return &digest{Hash: sha256.New()} }}

type digest struct {
	hash.Hash
	sum Hash
}

// LeafHash returns SHA-256(0x00 ‖ leaf), the leaf hash of RFC 6962.
func LeafHash(leaf []byte) Hash {
	var buf [2048]byte
	if len(leaf) < len(buf) {
		n := 1 + copy(buf[1:], leaf)
		return sha256.Sum256(buf[:n])
	}
	d := digests.Get().(*digest)
	d.Reset()
	d.sum[0] = 0
	d.Write(d.sum[:1])
	d.Write(leaf)
	d.Sum(d.sum[:0])
	sum := d.sum
	digests.Put(d)
	return sum
}

// nodeHash returns SHA-256(0x01 ‖ left ‖ right), the node hash of RFC 6962.
func nodeHash(left, right *Hash) Hash {
	var buf [1 + 2*sha256.Size]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[1+sha256.Size:], right[:])
	return sha256.Sum256(buf[:])
}

// emptyRoot is the root of the tree without leaves, SHA-256 of nothing.
func emptyRoot() Hash { return sha256.Sum256(nil) }
