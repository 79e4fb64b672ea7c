package logtest

import (
	"context"
	"fmt"
	"slices"

	"countroom/games/books"
	"countroom/ledger/book"
	"countroom/ledger/keys"
	"countroom/ledger/tlog"
	"countroom/rngcert/epoch"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Tree is a house's log as of now, for what reads it by index and asks for proofs.
type Tree struct {
	h      *House
	leaves [][]byte
	levels [][]tlog.Hash // hashes of full subtrees
}

// Tree returns the log as of now.
func (h *House) Tree() *Tree {
	t := &Tree{h: h, leaves: slices.Clone(h.leaves)}
	level := make([]tlog.Hash, len(t.leaves))
	for i, leaf := range t.leaves {
		level[i] = tlog.LeafHash(leaf)
	}
	for len(level) > 0 {
		t.levels = append(t.levels, level)
		next := make([]tlog.Hash, len(level)/2)
		for i := range next {
			next[i] = tlog.Hash(rfc6962.DefaultHasher.HashChildren(level[2*i][:], level[2*i+1][:]))
		}
		level = next
	}
	return t
}

// Leaves yields entries in order.
func (t *Tree) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	for i := from; i < to; i++ {
		if err := yield(i, t.leaves[i]); err != nil {
			return err
		}
	}
	return nil
}

// Node is the hash of a full subtree.
func (t *Tree) Node(level uint, index uint64) (tlog.Hash, error) {
	if level >= uint(len(t.levels)) || index >= uint64(len(t.levels[level])) {
		return tlog.Hash{}, fmt.Errorf("no node %d of level %d", index, level)
	}
	return t.levels[level][index], nil
}

// Inclusion is the proof of an entry in the tree of a size.
func (t *Tree) Inclusion(index, size uint64) ([]tlog.Hash, error) {
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	var raw [][]byte
	for _, id := range nodes.IDs {
		h, err := t.Node(id.Level, id.Index)
		if err != nil {
			return nil, err
		}
		raw = append(raw, h[:])
	}
	if raw, err = nodes.Rehash(raw, rfc6962.DefaultHasher.HashChildren); err != nil {
		return nil, err
	}
	var list []tlog.Hash
	for _, h := range raw {
		list = append(list, tlog.Hash(h))
	}
	return list, nil
}

// Epoch returns the entries of a seed epoch.
func (t *Tree) Epoch(_ context.Context, n uint64) (list []uint64, err error) {
	row := book.Get[epoch.Epoch](t.h.rows, epoch.Key(n))
	if row == nil {
		return nil, fmt.Errorf("no epoch %d", n)
	}
	for _, index := range []uint64{row.CommittedIndex, row.ActivatedIndex, row.ClosedIndex, row.RevealedIndex} {
		if index > 0 {
			list = append(list, index)
		}
	}
	return list, nil
}

// Keys returns the entries of the house's keys.
func (t *Tree) Keys(context.Context) (list []uint64, err error) {
	for i, leaf := range t.leaves {
		record, err := books.Decode(leaf)
		if err != nil {
			return nil, err
		}
		switch record.(type) {
		case *keys.Introduced, *keys.Retired:
			list = append(list, uint64(i))
		default:
			if i == 0 {
				list = append(list, 0)
			}
		}
	}
	return list, nil
}

// Blob is what an entry names by its digest.
func (t *Tree) Blob(_ context.Context, digest [32]byte) ([]byte, error) {
	f := t.h.blobs[fmt.Sprintf("blob/%x", digest)]
	if f == nil {
		return nil, fmt.Errorf("no document %x", digest)
	}
	return f.Data, nil
}

// SignExport signs a statement with the key for exports.
func (h *House) SignExport(payload []byte) ([]byte, error) {
	return h.Statement(h.exports, payload), nil
}
