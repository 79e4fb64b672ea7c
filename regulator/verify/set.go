package verify

import "hash/maphash"

// set is a set of 16-byte keys that do not repeat in an honest log: 16 bytes a
// slot, at most three quarters full. The hash is seeded, so that nobody can
// write a log whose keys all fall into one place.
type set struct {
	seed  maphash.Seed
	slots [][16]byte // the zero key marks a free one
	n     int
	zero  bool // the zero key is in
}

func newSet() *set { return &set{seed: maphash.MakeSeed(), slots: make([][16]byte, 1<<10)} }

// add reports whether the key was new.
func (s *set) add(key [16]byte) bool {
	if key == ([16]byte{}) {
		was := s.zero
		s.zero = true
		return !was
	}
	if s.n >= len(s.slots)/4*3 {
		old := s.slots
		s.slots = make([][16]byte, 2*len(old))
		for i := range old {
			if old[i] != ([16]byte{}) {
				*s.find(&old[i]) = old[i]
			}
		}
	}
	slot := s.find(&key)
	if *slot == key {
		return false
	}
	*slot = key
	s.n++
	return true
}

// has reports whether the key is in.
func (s *set) has(key [16]byte) bool {
	if key == ([16]byte{}) {
		return s.zero
	}
	return *s.find(&key) == key
}

// find returns the slot that holds the key, or else the one it goes to.
func (s *set) find(key *[16]byte) *[16]byte {
	mask := uint64(len(s.slots) - 1)
	for i := maphash.Bytes(s.seed, key[:]) & mask; ; i = (i + 1) & mask {
		if slot := &s.slots[i]; *slot == *key || *slot == ([16]byte{}) {
			return slot
		}
	}
}
