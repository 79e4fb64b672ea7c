package verify

import "hash/maphash"

// set is a set of 16-byte keys that do not repeat in an honest log, each with a
// V: the size of both a slot, at most three quarters full. The hash is seeded,
// so that nobody can write a log whose keys all fall into one place.
type set[V any] struct {
	seed  maphash.Seed
	slots []slot[V] // the zero key marks a free one
	n     int
	zero  *slot[V] // of the zero key, if it is in
}

type slot[V any] struct {
	of  V // before the key: a V of no size takes none
	key [16]byte
}

func newSet[V any]() *set[V] {
	return &set[V]{seed: maphash.MakeSeed(), slots: make([]slot[V], 1<<10)}
}

// add returns what belongs to the key, until the next add, and reports whether
// the key was new.
func (s *set[V]) add(key [16]byte) (of *V, added bool) {
	if key == ([16]byte{}) {
		if added = s.zero == nil; added {
			s.zero = new(slot[V])
		}
		return &s.zero.of, added
	}
	if s.n >= len(s.slots)/4*3 {
		old := s.slots
		s.slots = make([]slot[V], 2*len(old))
		for i := range old {
			if old[i].key != ([16]byte{}) {
				*s.find(&old[i].key) = old[i]
			}
		}
	}
	slot := s.find(&key)
	if slot.key == key {
		return &slot.of, false
	}
	slot.key = key
	s.n++
	return &slot.of, true
}

// get returns what belongs to the key, or nil when the key is not in.
func (s *set[V]) get(key [16]byte) *V {
	if key == ([16]byte{}) {
		if s.zero == nil {
			return nil
		}
		return &s.zero.of
	}
	if slot := s.find(&key); slot.key == key {
		return &slot.of
	}
	return nil
}

// find returns the slot that holds the key, or else the one it goes to.
func (s *set[V]) find(key *[16]byte) *slot[V] {
	mask := uint64(len(s.slots) - 1)
	for i := maphash.Bytes(s.seed, key[:]) & mask; ; i = (i + 1) & mask {
		if slot := &s.slots[i]; slot.key == *key || slot.key == ([16]byte{}) {
			return slot
		}
	}
}
