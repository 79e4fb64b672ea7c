package tlog

import (
	"math/bits"
)

// Builder computes a tree leaf by leaf, as a verifier does that reads a whole
// log: one node hash per leaf on average, and memory that grows with the
// logarithm of the size only. The zero value is an empty tree.
type Builder struct {
	// OnTile, if set, is called with each hash tile as it becomes full, a
	// tile before those of upper levels. Data is overwritten after the call.
	OnTile func(Tile)

	size  uint64
	peaks [64]Hash // peaks[l] roots a full subtree of 2^l leaves if size has bit l
	tiles [8][]byte
}

// Add appends a leaf by its hash.
func (b *Builder) Add(leafHash Hash) {
	h := leafHash
	level := 0
	for ; ; level++ {
		if level%8 == 0 {
			b.tileHash(level/8, &h, b.size>>level)
		}
		if b.size>>level&1 == 0 {
			break
		}
		h = nodeHash(&b.peaks[level], &h)
	}
	b.peaks[level] = h
	b.size++
}

// tileHash adds the hash at a position within a tile level to its tile.
func (b *Builder) tileHash(level int, h *Hash, pos uint64) {
	if b.tiles[level] == nil {
		b.tiles[level] = make([]byte, 0, TileWidth*len(h))
	}
	data := append(b.tiles[level], h[:]...)
	b.tiles[level] = data
	if len(data) == cap(data) {
		if b.OnTile != nil {
			b.OnTile(Tile{Level: level, Index: pos / TileWidth, Data: data})
		}
		b.tiles[level] = data[:0]
	}
}

// Size returns the number of leaves added.
func (b *Builder) Size() uint64 { return b.size }

// Root returns the root of the tree of the leaves added.
func (b *Builder) Root() Hash {
	if b.size == 0 {
		return emptyRoot()
	}
	level := bits.TrailingZeros64(b.size)
	h := b.peaks[level]
	for level++; b.size>>level != 0; level++ {
		if b.size>>level&1 == 1 {
			h = nodeHash(&b.peaks[level], &h)
		}
	}
	return h
}

// Partial returns the unfinished tile of a tile level, 0 to 7: the hashes
// added to it so far, none when the last tile is full. The next Add overwrites
// them.
func (b *Builder) Partial(level int) []byte { return b.tiles[level] }
