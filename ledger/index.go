package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"countroom/ledger/entry"
	"countroom/ledger/store"
)

// Group is a secondary index: which entries a 16-byte name leads to.
type Group byte

// The ledger's own groups; those of the books are lower-case letters.
const (
	ByKey      Group = 'K' // the first half of a request's key hash
	ByID       Group = 'I' // an entry's UUID
	ByLeafHash Group = 'L' // the first half of a leaf hash
)

// IndexRow leads from a name to an entry.
type IndexRow struct {
	Group Group
	Name  [16]byte
	Index uint64
}

// An index row is stored under group ‖ name ‖ index (8 bytes, big-endian), so
// that the entries of one name are in the order of the log. A request key leads
// to one entry for ever and is looked up with each command: its row is group ‖
// name with the index as value, which a Bloom filter serves.
const (
	rowLen = keyLen + 8
	keyLen = 1 + 16
)

func (r *IndexRow) appendKey(dst []byte) []byte {
	dst = append(dst, byte(r.Group))
	dst = append(dst, r.Name[:]...)
	return binary.BigEndian.AppendUint64(dst, r.Index)
}

// indexer trails behind the log: it writes the rows of entries that are durable
// in large sorted runs, so that the random names cost the writer nothing. What
// is not written yet is searched in memory, and is read again from the log at a
// start.
type indexer struct {
	store  store.Store
	filter *filter

	mu      sync.Mutex
	tail    []IndexRow // rows of entries not in the store
	flying  []IndexRow // the part of them that is being written now
	next    uint64     // entries below it are in tail, flying or the store
	written uint64     // entries below it are in the store

	// Used again from run to run.
	sorted []IndexRow
	arena  []byte
	rows   []store.Row
}

var empty = []byte{}

// indexRun is how many rows make a run, unless Config says otherwise.
const indexRun = 12288

// add takes the rows of one more entry.
func (x *indexer) add(rows []IndexRow, index uint64) {
	x.mu.Lock()
	x.tail = append(x.tail, rows...)
	x.next = index + 1
	x.mu.Unlock()
}

// flush writes the tail if it is long enough.
func (x *indexer) flush(least int) error {
	x.mu.Lock()
	if len(x.tail) < max(least, 1) {
		x.mu.Unlock()
		return nil
	}
	run, next := x.tail, x.next
	x.flying, x.tail = run, make([]IndexRow, 0, least+least/4)
	x.mu.Unlock()

	x.sorted = append(x.sorted[:0], run...)
	sorted := x.sorted
	slices.SortFunc(sorted, func(a, b IndexRow) int {
		if a.Group != b.Group {
			return cmp.Compare(a.Group, b.Group)
		}
		if c := cmp.Compare(binary.BigEndian.Uint64(a.Name[:]), binary.BigEndian.Uint64(b.Name[:])); c != 0 {
			return c
		}
		if c := bytes.Compare(a.Name[8:], b.Name[8:]); c != 0 {
			return c
		}
		return cmp.Compare(a.Index, b.Index)
	})
	arena := slices.Grow(x.arena[:0], len(sorted)*rowLen)
	rows := slices.Grow(x.rows[:0], len(sorted))[:len(sorted)]
	x.arena, x.rows = arena, rows
	for i := range sorted {
		n := len(arena)
		arena = sorted[i].appendKey(arena)
		if sorted[i].Group == ByKey {
			x.filter.add(sorted[i].Name)
			rows[i] = store.Row{Key: arena[n : n+keyLen : n+keyLen], Value: arena[n+keyLen:]}
		} else {
			rows[i] = store.Row{Key: arena[n:], Value: empty}
		}
	}
	if err := x.store.WriteIndex(next, rows); err != nil {
		return err
	}
	x.mu.Lock()
	x.flying, x.written = nil, next
	x.mu.Unlock()
	return nil
}

// pending returns how many rows are not in the store yet.
func (x *indexer) pending() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.tail)
}

// cursor returns the log size up to which the store answers.
func (x *indexer) cursor() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written
}

// key looks a request key up in the store alone.
func (x *indexer) key(name [16]byte) (index uint64, found bool, err error) {
	if x.filter.absent(name) {
		return 0, false, nil
	}
	var k [keyLen]byte
	k[0] = byte(ByKey)
	copy(k[1:], name[:])
	v, err := x.store.Index(k[:])
	if err != nil || v == nil {
		return 0, false, err
	}
	if len(v) != 8 {
		return 0, false, fmt.Errorf("%w: index row %x has a value of %d bytes, want 8", store.ErrCorrupt, k, len(v))
	}
	return binary.BigEndian.Uint64(v), true, nil
}

// find returns up to limit entries below an index that a name leads to, newest
// first.
func (x *indexer) find(g Group, name [16]byte, below uint64, limit int) ([]uint64, error) {
	x.mu.Lock()
	var found []uint64
	for _, part := range [][]IndexRow{x.tail, x.flying} {
		for i := len(part) - 1; i >= 0 && len(found) < limit; i-- {
			if r := &part[i]; r.Index < below && r.Group == g && r.Name == name {
				found = append(found, r.Index)
			}
		}
	}
	written := x.written
	x.mu.Unlock()
	if len(found) >= limit {
		return found, nil
	}
	s, err := x.store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	from := IndexRow{Group: g, Name: name}
	to := IndexRow{Group: g, Name: name, Index: min(below, written)}
	err = s.ScanIndex(from.appendKey(nil), to.appendKey(nil), true, func(r store.Row) error {
		if len(found) == limit {
			return store.ErrStop
		}
		if len(r.Key) != rowLen {
			return fmt.Errorf("%w: index row %x has a key of %d bytes, want %d", store.ErrCorrupt, r.Key, len(r.Key), rowLen)
		}
		found = append(found, binary.BigEndian.Uint64(r.Key[keyLen:]))
		return nil
	})
	return found, err
}

// appendIndexRows appends the ledger's own index rows of an entry.
func (l *Ledger) appendIndexRows(dst []IndexRow, index uint64, r entry.Record) ([]IndexRow, error) {
	h := r.Head()
	dst = append(dst, IndexRow{ByID, h.ID, index})
	if !h.Request.IsZero() {
		dst = append(dst, IndexRow{ByKey, [16]byte(h.Request.Key[:16]), index})
	}
	if l.cfg.LeafHashes {
		leafHash, err := l.leafHash(index)
		if err != nil {
			return dst, err
		}
		dst = append(dst, IndexRow{ByLeafHash, [16]byte(leafHash[:16]), index})
	}
	return l.books.Index(dst, index, r), nil
}

// keys are the request keys of the newest entries, for the writer: all entries
// from on. What is older is in the store's index. The writer alone changes them.
type keys struct {
	mu           sync.RWMutex // held by the writer to change, by others to look
	from, middle uint64
	most         int                 // keys that are young
	old, young   map[[16]byte]uint64 // entries below middle, and from middle on
}

func newKeys(from uint64, most int) *keys {
	return &keys{from: from, middle: from, most: most, old: map[[16]byte]uint64{}, young: map[[16]byte]uint64{}}
}

func (k *keys) find(name [16]byte) (uint64, bool) {
	if i, ok := k.young[name]; ok {
		return i, true
	}
	i, ok := k.old[name]
	return i, ok
}

// mayHave reports whether a name that the store's index did not have, when it
// covered so much of the log, may be an entry's. Any goroutine.
func (k *keys) mayHave(name [16]byte, seen uint64) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, found := k.find(name)
	return found || seen < k.from
}

func (k *keys) add(name [16]byte, index uint64) {
	k.mu.Lock()
	k.young[name] = index
	k.mu.Unlock()
}

// age forgets the older half when the store's index has it.
func (k *keys) age(written, next uint64) {
	if written < k.middle || len(k.young) < k.most {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from, k.middle = k.middle, next
	k.old, k.young = k.young, make(map[[16]byte]uint64, len(k.young))
}
