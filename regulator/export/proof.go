package export

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"

	"countroom/ledger/dsse"
	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// rangeProof binds a range of leaves to a root: the hashes of the largest full subtrees to its left and to its right,
// in the order of the leaves. How many there are follows from the range and the size.
type rangeProof struct {
	Left  []string `json:"left"` // hex
	Right []string `json:"right"`
}

// proveRange gathers the proof of a range in a tree of a size.
func proveRange(from, to, size uint64, node func(level uint, index uint64) (tlog.Hash, error)) (*rangeProof, error) {
	p := &rangeProof{Left: []string{}, Right: []string{}}
	for _, side := range []struct {
		from, to uint64
		into     *[]string
	}{{0, from, &p.Left}, {to, size, &p.Right}} {
		for _, id := range compact.RangeNodes(side.from, side.to, nil) {
			h, err := node(id.Level, id.Index)
			if err != nil {
				return nil, err
			}
			*side.into = append(*side.into, hex.EncodeToString(h[:]))
		}
	}
	return p, nil
}

func parseRangeProof(data []byte) (*rangeProof, error) {
	p := new(rangeProof)
	return p, dsse.Strict(data, p)
}

// root is the root of the tree in which the leaves of a range stand between what the proof has.
func (p *rangeProof) root(leaves *compact.Range, size uint64) (root tlog.Hash, err error) {
	side := func(from, to uint64, list []string) (*compact.Range, error) {
		if want := compact.RangeSize(from, to); len(list) != want {
			return nil, fmt.Errorf("%d hashes for the entries %d to %d, expected %d", len(list), from, to, want)
		}
		hashes := make([][]byte, len(list))
		for i, s := range list {
			h, err := hex.DecodeString(s)
			if err != nil || len(h) != len(root) || hex.EncodeToString(h) != s {
				return nil, fmt.Errorf("%q: expected a hash in hex", s)
			}
			hashes[i] = h
		}
		return ranges.NewRange(from, to, hashes)
	}
	whole, err := side(0, leaves.Begin(), p.Left)
	if err != nil {
		return root, err
	}
	right, err := side(leaves.End(), size, p.Right)
	if err != nil {
		return root, err
	}
	for _, next := range []*compact.Range{leaves, right} {
		if err := whole.AppendRange(next, nil); err != nil {
			return root, err
		}
	}
	if size == 0 {
		return tlog.Hash(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	h, err := whole.GetRootHash(nil)
	copy(root[:], h)
	return root, err
}

// proven is a line of a file of entries with their proofs:
//
//	{"hashes":["…"],"index":5,"leaf":{…}}
//
// with the leaf's own bytes, or without a leaf where that stands on the same line of another file. Hashes are base64,
// from the leaf to the root.
type proven struct {
	hashes []tlog.Hash
	index  uint64
	leaf   []byte
}

const (
	provenHashes = `{"hashes":[`
	provenIndex  = `],"index":`
	provenLeaf   = `,"leaf":`
)

func (p *proven) append(b []byte) []byte {
	b = append(b, provenHashes...)
	for i := range p.hashes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, p.hashes[i][:])
		b = append(b, '"')
	}
	b = append(b, provenIndex...)
	b = strconv.AppendUint(b, p.index, 10)
	if p.leaf != nil {
		b = append(b, provenLeaf...)
		b = append(b, p.leaf...)
	}
	return append(b, '}')
}

// parseProven is the exact inverse of append. The leaf aliases line.
func parseProven(line []byte, leaf bool) (p proven, err error) {
	malformed := fmt.Errorf("%w: expected a line %s…%sN%s…}", tlog.ErrFormat, provenHashes, provenIndex, map[bool]string{true: provenLeaf}[leaf])
	rest, ok := bytes.CutPrefix(line, []byte(provenHashes))
	list, rest, found := bytes.Cut(rest, []byte(provenIndex))
	if !ok || !found || len(list) > 64*48 {
		return p, malformed
	}
	for len(list) > 0 {
		one, more, _ := bytes.Cut(list, []byte(","))
		if len(one) < 2 {
			return p, malformed
		}
		h, err := base64.StdEncoding.DecodeString(string(one[1 : len(one)-1]))
		if err != nil || len(h) != len(tlog.Hash{}) {
			return p, malformed
		}
		p.hashes, list = append(p.hashes, tlog.Hash(h)), more
	}
	number, found := bytes.CutSuffix(rest, []byte("}"))
	if leaf {
		number, p.leaf, found = bytes.Cut(rest, []byte(provenLeaf))
		if !found || len(p.leaf) < 2 {
			return p, malformed
		}
		p.leaf = p.leaf[:len(p.leaf)-1]
	}
	if p.index, err = strconv.ParseUint(string(number), 10, 64); err != nil || !found || !bytes.Equal(p.append(nil), line) {
		return p, malformed
	}
	return p, nil
}

// includes reports whether a proof leads from a leaf to the checkpoint.
func (p *proven) includes(leaf []byte, checkpoint []byte) error {
	_, err := tlog.Receipt{Index: p.index, Hashes: p.hashes, Checkpoint: checkpoint}.Includes(leaf)
	return err
}
