package pebble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"countroom/ledger/store"

	"github.com/cockroachdb/pebble/v2"
)

var batchSizes = []int{1, 16, 64, 256, 1024}

func openBench(b *testing.B) *Store {
	s, err := Open(b.TempDir(), Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// word is the n-th of a fixed sequence of 32 random-looking bytes.
func word(n uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return sum[:]
}

// BenchmarkCommit commits batches of leaves of 780 bytes with two rows of 60 bytes each, one under a key that is new and
// random (an idempotency key) and one that is replaced (a wallet).
func BenchmarkCommit(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openBench(b)
			leaf := make([]byte, 780)
			value := make([]byte, 28)
			var batch store.Batch
			var words uint64
			b.SetBytes(int64(n * (780 + 2*60)))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				batch.Leaves, batch.Rows = batch.Leaves[:0], batch.Rows[:0]
				for range n {
					words++
					batch.Leaves = append(batch.Leaves, leaf)
					batch.Rows = append(batch.Rows, store.Row{Key: word(words), Value: value},
						store.Row{Key: word(words % 10_000), Value: value})
				}
				batch.Prev = batch.Next
				batch.Next.Size += uint64(n)
				batch.Next.At++
				if err := s.Commit(context.Background(), &batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
}

// BenchmarkRawPebble is what there is to compare with: one synced Pebble batch of as many rows of 640 bytes.
func BenchmarkRawPebble(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openBench(b)
			value := make([]byte, 632)
			var next uint64
			b.SetBytes(int64(n * 640))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				batch := s.db.NewBatch()
				for range n {
					next++
					if err := batch.Set(binary.BigEndian.AppendUint64(nil, next), value, nil); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.db.Apply(batch, pebble.Sync); err != nil {
					b.Fatal(err)
				}
				if err := batch.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// indexRows returns rows of 24 bytes in key order, three for each of n leaves from first on.
func indexRows(first uint64, n int) []store.Row {
	rows := make([]store.Row, 0, 3*n)
	for i := range uint64(3 * n) {
		rows = append(rows, store.Row{Key: word(3*first + i)[:16], Value: make([]byte, 8)})
	}
	slices.SortFunc(rows, func(a, b store.Row) int { return slices.Compare(a.Key, b.Key) })
	return rows
}

// grow makes the log n leaves longer, at no cost worth measuring.
func grow(b *testing.B, s *Store, n int) {
	prev := s.Head()
	next := prev
	next.Size += uint64(n)
	next.At++
	if err := s.Commit(context.Background(), &store.Batch{Prev: prev, Next: next, Leaves: make([][]byte, n)}); err != nil {
		b.Fatal(err)
	}
}

const indexStep = 32_768

func BenchmarkWriteIndex(b *testing.B) {
	s := openBench(b)
	var next uint64
	for range b.N {
		b.StopTimer()
		grow(b, s, indexStep)
		rows := indexRows(next, indexStep)
		b.StartTimer()
		next += indexStep
		if err := s.WriteIndex(next, rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*3*indexStep)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkLookup reads rows of an index of six million rows.
func BenchmarkLookup(b *testing.B) {
	s := openBench(b)
	const leaves = 2_000_000
	for next := uint64(0); next < leaves; {
		grow(b, s, indexStep)
		rows := indexRows(next, indexStep)
		next += indexStep
		if err := s.WriteIndex(next, rows); err != nil {
			b.Fatal(err)
		}
	}
	lookup := func(name string, keys func(i uint64) uint64, method func(key []byte) ([]byte, error), found bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				value, err := method(word(keys(uint64(i)))[:16])
				if err != nil || (value != nil) != found {
					b.Fatal(value, err)
				}
			}
		})
	}
	present := func(i uint64) uint64 { return i * 2_654_435_761 % (3 * leaves) }
	absent := func(i uint64) uint64 { return 1<<40 + i }
	lookup("index/present", present, s.Index, true)
	lookup("index/absent", absent, s.Index, false)
	r, err := s.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	lookup("reader/present", present, r.Index, true)
	lookup("reader/absent", absent, r.Index, false)
	lookup("snapshot/present", present, func(key []byte) ([]byte, error) {
		r, err := s.Snapshot()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return r.Index(key)
	}, true)
	b.Run("leaf", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if leaf, err := s.Leaf(present(uint64(i)) / 3); err != nil || leaf == nil {
				b.Fatal(leaf, err)
			}
		}
	})
}
