package tlog

import (
	"crypto/ed25519"
	"math/rand/v2"
	"testing"
)

const benchSize = 2_000_003

// benchTree is a tree of two million leaves, read from its tiles.
func benchTree(b *testing.B) *Tree {
	s := newStore()
	builder := Builder{OnTile: func(tile Tile) {
		tile.Data = append([]byte(nil), tile.Data...)
		s.put([]Tile{tile})
	}}
	for i := range uint64(benchSize) {
		builder.Add(testHash(i))
	}
	tree, err := NewTree(benchSize, s.load, hashesOf(benchSize-benchSize%TileWidth, benchSize))
	if err != nil {
		b.Fatal(err)
	}
	if root, err := tree.Root(benchSize); err != nil || root != builder.Root() {
		b.Fatalf("root %x, %v", root, err)
	}
	return tree
}

func BenchmarkInclusionNewest(b *testing.B) {
	tree := benchTree(b)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var hashes []Hash
		for i := uint64(0); pb.Next(); i++ {
			var err error
			if hashes, err = tree.Inclusion(hashes[:0], benchSize-1-i%1000, benchSize); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Leaves anywhere: most have their tile read back and hashed.
func BenchmarkInclusionAnywhere(b *testing.B) {
	tree := benchTree(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	var hashes []Hash
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if hashes, err = tree.Inclusion(hashes[:0], rnd.Uint64N(benchSize), benchSize); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceipt(b *testing.B) {
	tree := benchTree(b)
	s, _ := testSigner(b, origin, testKey)
	root, err := tree.Root(benchSize)
	if err != nil {
		b.Fatal(err)
	}
	checkpoint, err := Sign(Checkpoint{origin, benchSize, root}, s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var hashes []Hash
		var text []byte
		for i := uint64(0); pb.Next(); i++ {
			index := benchSize - 1 - i%1000
			var err error
			if hashes, err = tree.Inclusion(hashes[:0], index, benchSize); err != nil {
				b.Fatal(err)
			}
			text = AppendReceipt(text[:0], index, hashes, checkpoint)
		}
	})
}

// BenchmarkSign is the note without the signature itself.
func BenchmarkSign(b *testing.B) {
	sig := make([]byte, ed25519.SignatureSize)
	s, err := NewSigner(origin, testKey.Public().(ed25519.PublicKey), func([]byte) ([]byte, error) { return sig, nil })
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(Checkpoint{Origin: origin, Size: benchSize}, s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIntegrate is what the tree costs per leaf in batches of 256: Set of
// its nodes, FullTiles and Advance.
func BenchmarkIntegrate(b *testing.B) {
	l := newLog(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		nodes := l.nodes(b, 256)
		b.StartTimer()
		for id, h := range nodes {
			l.Set(id, h)
		}
		tiles, err := l.FullTiles(l.Size(), l.rng.End())
		if err != nil {
			b.Fatal(err)
		}
		l.store.put(tiles)
		if err := l.Advance(l.rng.End()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/leaf")
}

func BenchmarkBuilder(b *testing.B) {
	var builder Builder
	h := testHash(1)
	b.ReportAllocs()
	for b.Loop() {
		builder.Add(h)
	}
}

func BenchmarkLeafHash(b *testing.B) {
	leaf := make([]byte, 600)
	b.ReportAllocs()
	for b.Loop() {
		LeafHash(leaf)
	}
}
