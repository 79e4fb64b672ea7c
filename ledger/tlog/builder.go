package tlog

import (
	"fmt"
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

// ResumeBuilder returns the builder of a tree of a size, from the unfinished tile
// of each tile level, as Partial gives them. Whether these are the tree's shows in
// its Root.
func ResumeBuilder(size uint64, partial func(level int) ([]byte, error)) (*Builder, error) {
	b := &Builder{size: size}
	for level := range b.tiles {
		width := int(size >> (8 * level) % TileWidth)
		if width == 0 {
			continue
		}
		data, err := partial(level)
		if err != nil {
			return nil, err
		}
		if len(data) != width*len(Hash{}) {
			return nil, fmt.Errorf("%w tile of level %d: %d bytes, want %d", ErrFormat, level, len(data), width*len(Hash{}))
		}
		b.tiles[level] = append(make([]byte, 0, TileWidth*len(Hash{})), data...)
		for bit := 7; bit >= 0; bit-- {
			if n := 1 << bit; width&n != 0 {
				b.peaks[8*level+bit] = Subtree(data[:n*len(Hash{})])
				data = data[n*len(Hash{}):]
			}
		}
	}
	return b, nil
}

// Subtree returns the node over hashes of one level, such as those of a full
// tile, whose number must be a power of two.
func Subtree(hashes []byte) Hash {
	if len(hashes) == len(Hash{}) {
		return Hash(hashes)
	}
	half := len(hashes) / 2
	left, right := Subtree(hashes[:half]), Subtree(hashes[half:])
	return nodeHash(&left, &right)
}
