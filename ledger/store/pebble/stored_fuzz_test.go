package pebble

import (
	"bytes"
	"errors"
	"testing"

	"countroom/ledger/store"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whatever the rows of leaves hold, a reader yields what was asked for, leaf by
// leaf and the same one by one, or finds them corrupt.
func FuzzLeaves(f *testing.F) {
	const size = 10
	s := mustOpen(f, "data", Options{Create: true, FS: vfs.NewMem()})
	f.Cleanup(func() { check(f, s.Close()) })
	pack := func(leaves ...string) []byte {
		var list [][]byte
		for _, l := range leaves {
			list = append(list, []byte(l))
		}
		n, bytes := packedSpan(list)
		packed := make([]byte, bytes)
		for rest, i := packed, 0; i < n; i++ {
			rest = packLeaf(rest, list[i])
		}
		return packed
	}
	key := func(first uint64) []byte { return leavesKey(nil, first)[1:] }
	three, seven := pack("0", "1", ""), pack("3", "4", "5", "6", "7", "8", "9")
	f.Add(key(0), three, key(3), seven, uint8(0), uint8(size))
	f.Add(key(0), three, key(3), seven, uint8(2), uint8(3))
	f.Add(key(0), three, key(4), seven, uint8(1), uint8(5))
	f.Add(key(1), three, key(3), seven, uint8(0), uint8(2))
	f.Add(key(0), three, key(3), seven[:9], uint8(3), uint8(9))
	f.Add(key(0), []byte{}, []byte{}, seven, uint8(0), uint8(1))
	f.Add(key(0)[:7], three, append(key(2), 0), seven, uint8(0), uint8(4))
	f.Fuzz(func(t *testing.T, keyA, a, keyB, b []byte, from, to uint8) {
		check(t, s.db.DeleteRange([]byte{kindLeaves}, []byte{kindLeaves + 1}, pebble.NoSync))
		check(t, s.db.Set(append([]byte{kindLeaves}, keyA...), a, pebble.NoSync))
		check(t, s.db.Set(append([]byte{kindLeaves}, keyB...), b, pebble.NoSync))
		v := &view{snap: s.db.NewSnapshot(), head: store.Head{Size: size}}
		defer v.snap.Close()
		var leaves [][]byte
		err := v.leaves(uint64(from), uint64(to), func(i uint64, leaf []byte) error {
			if i != uint64(from)+uint64(len(leaves)) {
				t.Fatalf("leaf %d after %d of them from %d on", i, len(leaves), from)
			}
			leaves = append(leaves, bytes.Clone(leaf))
			return nil
		})
		switch {
		case from > to || to > size:
			if !errors.Is(err, store.ErrInvalid) || leaves != nil {
				t.Fatalf("leaves %d to %d: %q, %v", from, to, leaves, err)
			}
		case err != nil:
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
		case len(leaves) != int(to-from):
			t.Fatalf("leaves %d to %d are %q", from, to, leaves)
		}
		if overlap(keyA, a, keyB) || overlap(keyB, b, keyA) {
			return // of two leaves for one index either is shown
		}
		strange := len(keyA) != 8 || len(keyB) != 8 // which a look-up can meet where a scan ends before it
		for i, want := range leaves {
			leaf, err := v.leaf(uint64(from) + uint64(i))
			if strange && errors.Is(err, store.ErrCorrupt) {
				continue
			}
			if err != nil || !bytes.Equal(leaf, want) {
				t.Fatalf("leaf %d is %q, %v; among others it was %q", int(from)+i, leaf, err, want)
			}
		}
	})
}

// overlap reports whether the leaves of a row reach into the row of another key.
func overlap(key, packed, other []byte) bool {
	first, err := parseLeavesKey(append([]byte{kindLeaves}, key...))
	next, otherErr := parseLeavesKey(append([]byte{kindLeaves}, other...))
	if err != nil || otherErr != nil || next < first {
		return false
	}
	for ; len(packed) > 0 && err == nil; first++ {
		if _, packed, err = unpackLeaf(packed); err == nil && first >= next {
			return true
		}
	}
	return false
}
