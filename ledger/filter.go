package ledger

import (
	"encoding/binary"
	"fmt"
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

// probes are the bits of a name: six of one cache line. Names are halves of
// SHA-256 hashes, so their own bits are as good as a hash of them.
const probes = 6

func (f *filter) block(name *[16]byte) (line []atomic.Uint64, h uint64) {
	at := binary.BigEndian.Uint64(name[:8]) % filterBlocks * 8
	return f.words[at : at+8], binary.BigEndian.Uint64(name[8:])
}

func (f *filter) add(name [16]byte) {
	line, h := f.block(&name)
	for range probes {
		line[h&7].Or(1 << (h >> 3 & 63))
		h >>= 9
	}
}

// absent reports that a key is certainly not in the store.
func (f *filter) absent(name [16]byte) bool {
	if !f.ready.Load() {
		return false
	}
	line, h := f.block(&name)
	for range probes {
		if line[h&7].Load()&(1<<(h>>3&63)) == 0 {
			return true
		}
		h >>= 9
	}
	return false
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
		if len(row.Key) != keyLen {
			return fmt.Errorf("%w: index row %x has a key of %d bytes, want %d", store.ErrCorrupt, row.Key, len(row.Key), keyLen)
		}
		f.add([16]byte(row.Key[1:]))
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
