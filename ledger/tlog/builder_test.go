package tlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/transparency-dev/merkle/compact"
)

func TestBuilderBuildsTheReferencesTreeAndTiles(t *testing.T) {
	const sizeMax = 66_000
	l := newLog(t)
	l.grow(t, sizeMax)
	last := map[int]uint64{}
	tiles := 0
	b := Builder{OnTile: func(tile Tile) {
		tiles++
		want, err := l.TileData(tile.Level, tile.Index, TileWidth, sizeMax)
		if err != nil || !bytes.Equal(tile.Data, want) {
			t.Fatalf("tile %d of level %d differs: %v", tile.Index, tile.Level, err)
		}
		if tile.Index != last[tile.Level] {
			t.Fatalf("tile %d of level %d, want %d", tile.Index, tile.Level, last[tile.Level])
		}
		last[tile.Level]++
	}}
	rng := rangeFactory.NewEmptyRange(0)
	for size := uint64(0); ; size++ {
		if b.Size() != size {
			t.Fatalf("size %d, want %d", b.Size(), size)
		}
		if size < 1200 || size%97 == 0 || size > 65_500 {
			want, err := rng.GetRootHash(nil)
			if err != nil {
				t.Fatal(err)
			}
			if size == 0 {
				empty := emptyRoot()
				want = empty[:]
			}
			if got := b.Root(); !bytes.Equal(got[:], want) {
				t.Fatalf("root of %d: %x, want %x", size, got, want)
			}
			for level := range 3 {
				width := int(size >> (8 * level) % TileWidth)
				if len(b.Partial(level)) != 32*width {
					t.Fatalf("size %d: %d bytes of the tile at level %d, want %d hashes", size, len(b.Partial(level)), level, width)
				}
				if width == 0 {
					continue
				}
				want, err := l.TileData(level, size>>(8*level)/TileWidth, width, size)
				if err != nil || !bytes.Equal(b.Partial(level), want) {
					t.Fatalf("size %d: tile at level %d differs: %v", size, level, err)
				}
			}
		}
		if size == sizeMax {
			break
		}
		h := testHash(size)
		b.Add(h)
		if err := rng.Append(h[:], func(compact.NodeID, []byte) {}); err != nil {
			t.Fatal(err)
		}
	}
	if tiles != sizeMax/256+sizeMax/65_536 {
		t.Errorf("%d tiles, want %d", tiles, sizeMax/256+sizeMax/65_536)
	}
}

// A builder that goes on from the unfinished tiles of another is that builder.
func TestBuilderIsResumed(t *testing.T) {
	for _, size := range []uint64{0, 1, 2, 255, 256, 257, 511, 768, 65_535, 65_536, 65_537, 66_049} {
		var b Builder
		for i := range size {
			b.Add(testHash(i))
		}
		again, err := ResumeBuilder(size, func(level int) ([]byte, error) { return b.Partial(level), nil })
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(300) {
			if again.Size() != b.Size() || again.Root() != b.Root() {
				t.Fatalf("resumed at %d: another root at %d", size, again.Size())
			}
			again.Add(testHash(size + i))
			b.Add(testHash(size + i))
		}
	}
	if _, err := ResumeBuilder(5, func(int) ([]byte, error) { return make([]byte, 4*32), nil }); !errors.Is(err, ErrFormat) {
		t.Errorf("four hashes for five: %v", err)
	}
}
