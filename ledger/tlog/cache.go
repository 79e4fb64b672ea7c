package tlog

import (
	"container/list"
	"sync"
)

// cache keeps the blocks read back from full tiles that were used last.
type cache struct {
	capacity int

	mu     sync.Mutex
	recent list.List // of *cached, last used first
	byID   map[tileID]*list.Element
}

type cached struct {
	id   tileID
	once sync.Once
	b    *block
	err  error
}

func newCache(capacity int) *cache {
	return &cache{capacity: capacity, byID: make(map[tileID]*list.Element, capacity+1)}
}

// get returns a block, by read if the cache does not have it. Who asks for a
// block that is being read waits for it. Errors are not kept.
func (c *cache) get(id tileID, read func(tileID) (*block, error)) (*block, error) {
	c.mu.Lock()
	el, ok := c.byID[id]
	if ok {
		c.recent.MoveToFront(el)
	} else {
		el = c.recent.PushFront(&cached{id: id})
		c.byID[id] = el
		if c.recent.Len() > c.capacity {
			c.remove(c.recent.Back())
		}
	}
	e := el.Value.(*cached)
	c.mu.Unlock()

	e.once.Do(func() { e.b, e.err = read(id) })
	if e.err != nil {
		c.mu.Lock()
		c.remove(el)
		c.mu.Unlock()
	}
	return e.b, e.err
}

// remove takes an element out, if it still is in. The caller holds mu.
func (c *cache) remove(el *list.Element) {
	if id := el.Value.(*cached).id; c.byID[id] == el {
		delete(c.byID, id)
		c.recent.Remove(el)
	}
}
