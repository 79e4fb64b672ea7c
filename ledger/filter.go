package ledger

import (
	"encoding/binary"
	"sync/atomic"

	"countroom/ledger/store"
)

// filter says which request keys are certainly not in the store's index, so
// that a new key, as nearly all are, costs no look-up there. It is a Bloom
// filter of fixed size, blocked by cache lines (Putze, Sanders, Singler,
// "Cache-, Hash- and Space-Efficient Bloom Filters"): with the log's length it
// gets less useful, never wrong, and its memory stays the same.
type filter struct {
	words []atomic.Uint64
	ready atomic.Bool // all keys of the store are in
}

const (
	filterBytes  = 32 << 20
	filterBlocks = filterBytes / 64
	// filterMost keys is where nearly every answer would be "perhaps".
	filterMost = filterBytes * 8 / 2
)

func newFilter() *filter { return &filter{words: make([]atomic.Uint64, filterBlocks*8)} }

// bits yields the word and bit for each of six probes. Names are halves of
// SHA-256 hashes, so their own bits are as good as a hash of them.
func (f *filter) bits(name [16]byte, probe func(word *atomic.Uint64, bit uint64) bool) bool {
	block := binary.BigEndian.Uint64(name[:8]) % filterBlocks * 8
	h := binary.BigEndian.Uint64(name[8:])
	for range 6 {
		if !probe(&f.words[block+h&7], 1<<(h>>3&63)) {
			return false
		}
		h >>= 9
	}
	return true
}

func (f *filter) add(name [16]byte) {
	f.bits(name, func(word *atomic.Uint64, bit uint64) bool {
		word.Or(bit)
		return true
	})
}

// absent reports that a key is certainly not in the store.
func (f *filter) absent(name [16]byte) bool {
	return f.ready.Load() && !f.bits(name, func(word *atomic.Uint64, bit uint64) bool { return word.Load()&bit != 0 })
}

// fill reads the keys that the store has; keys that are written meanwhile are
// added by the indexer.
func (f *filter) fill(s store.Store, quit <-chan struct{}) error {
	r, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	n, complete := 0, true
	err = r.ScanIndex([]byte{byte(ByKey)}, []byte{byte(ByKey) + 1}, false, func(row store.Row) error {
		f.add([16]byte(row.Key[1:17]))
		if n++; n%4096 == 0 {
			select {
			case <-quit:
				complete = false
				return store.ErrStop
			default:
			}
			if n > filterMost {
				complete = false
				return store.ErrStop
			}
		}
		return nil
	})
	if err == nil && complete {
		f.ready.Store(true)
	}
	return err
}
