package ledger

import (
	"sync"

	"countroom/ledger/book"
)

// cache holds the rows that were used lately. The writer owns the rows; only
// which keys are there may be asked by others.
//
// It has two generations: what is looked up moves to the young one, and when
// that is full the old one is dropped, but for rows that are not durable yet.
type cache struct {
	mu         sync.RWMutex // held by the writer to change a map, by others to look
	young, old map[string]*slot
	limit      int    // rows of the young generation
	dropped    uint64 // rows dropped so far had not changed at or after this log size
}

// slot holds a row; nil says that there is none in the store.
type slot struct {
	row     book.Row
	changed uint64 // 1 + the index of the entry that last changed it
	batch   uint64 // number of the batch it was last changed in, and its place there
	pos     int
}

func newCache(limit int) *cache {
	return &cache{young: map[string]*slot{}, old: map[string]*slot{}, limit: limit}
}

// absent appends to dst the keys that are not in the cache. Any goroutine.
func (c *cache) absent(dst, keys []string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, k := range keys {
		if c.young[k] == nil && c.old[k] == nil {
			dst = append(dst, k)
		}
	}
	return dst
}

// get returns the slot of a key, or nil when the row is not in memory. Writer
// only, like all that follows.
func (c *cache) get(key string) *slot {
	if s := c.young[key]; s != nil {
		return s
	}
	s := c.old[key]
	if s != nil {
		c.mu.Lock()
		delete(c.old, key)
		c.young[key] = s
		c.mu.Unlock()
	}
	return s
}

// add puts a slot for a row that was read from the store.
func (c *cache) add(key string, row book.Row) *slot {
	s := &slot{row: row}
	c.mu.Lock()
	c.young[key] = s
	c.mu.Unlock()
	return s
}

// age drops the old generation once the young one is full. Rows changed at or
// above the durable size stay.
func (c *cache) age(durable uint64) {
	if len(c.young) < c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*slot, c.limit/4)
	for k, s := range c.old {
		if s.changed > durable {
			next[k] = s
		}
	}
	c.old, c.young = c.young, next
	c.dropped = durable
}
