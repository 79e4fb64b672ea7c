package tlog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// Receipt proves that the log's signed tree holds a leaf (c2sp.org/tlog-proof,
// without its extra line).
type Receipt struct {
	Index      uint64 // of the leaf
	Hashes     []Hash // inclusion proof, leaf to root
	Checkpoint []byte // signed note
}

const receiptHeader = "c2sp.org/tlog-proof@v1\n"

// AppendReceipt appends the text of a receipt.
func AppendReceipt(dst []byte, index uint64, hashes []Hash, checkpoint []byte) []byte {
	dst = append(dst, receiptHeader...)
	dst = append(dst, "index "...)
	dst = strconv.AppendUint(dst, index, 10)
	dst = append(dst, '\n')
	for i := range hashes {
		dst = base64.StdEncoding.AppendEncode(dst, hashes[i][:])
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	return append(dst, checkpoint...)
}

// ParseReceipt is the exact inverse of AppendReceipt. It does not look into
// the checkpoint, which Verify does.
func ParseReceipt(b []byte) (Receipt, error) {
	var p tlogproof.TLogProof
	if err := p.Unmarshal(b); err != nil {
		return Receipt{}, fmt.Errorf("%w receipt: %v", ErrFormat, err)
	}
	// The codec forgives carriage returns, leading zeros, loose base64 and a
	// missing end, and reads an extra line, which this log never writes.
	if !bytes.Equal(AppendReceipt(make([]byte, 0, len(b)), p.Index, p.Hashes, p.Checkpoint), b) {
		return Receipt{}, fmt.Errorf("%w receipt: not in the one form that its values have", ErrFormat)
	}
	return Receipt{Index: p.Index, Hashes: p.Hashes, Checkpoint: p.Checkpoint}, nil
}

// Verify checks that the receipt's checkpoint is signed by v and that its
// tree has leaf at the receipt's index, and returns that checkpoint. The error
// is ErrFormat, ErrSignature or ErrProof.
func (r Receipt) Verify(leaf []byte, v note.Verifier) (Checkpoint, error) {
	c, err := Open(r.Checkpoint, v)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("receipt: %w", err)
	}
	return r.includes(leaf, c)
}

// Includes checks that the tree of the receipt's checkpoint has leaf at the
// receipt's index, and returns that checkpoint, whoever signed it. The error is
// ErrFormat or ErrProof.
func (r Receipt) Includes(leaf []byte) (Checkpoint, error) {
	c, err := Peek(r.Checkpoint)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("receipt: %w", err)
	}
	return r.includes(leaf, c)
}

func (r Receipt) includes(leaf []byte, c Checkpoint) (Checkpoint, error) {
	hashes := make([][]byte, len(r.Hashes))
	for i := range r.Hashes {
		hashes[i] = r.Hashes[i][:]
	}
	leafHash := LeafHash(leaf)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, r.Index, c.Size, leafHash[:], hashes, c.Root[:]); err != nil {
		return Checkpoint{}, fmt.Errorf("receipt: leaf %d of %d: %w: %v", r.Index, c.Size, ErrProof, err)
	}
	return c, nil
}
