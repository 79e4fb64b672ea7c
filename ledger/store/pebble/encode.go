package pebble

import (
	"encoding/binary"
	"fmt"

	"countroom/ledger/store"
)

// Every key begins with the byte of its kind. Numbers in keys are big-endian, so that they sort.
const (
	kindLeaves = 'e' // + first index (8 bytes) → packed leaves
	kindLog    = 'l' // + number of a write-ahead log (8 bytes) → nothing; see logs
	kindMeta   = 'm' // + name
	kindRow    = 'r' // + fold version (4 bytes) + key → value
	kindTile   = 't' // + level (1 byte) + index (8 bytes) → 8192 bytes
	kindVault  = 'v' // + key → value
	kindIndex  = 'x' // + key → value
)

var (
	keyFormat     = []byte("mformat")     // formatVersion as a uint32
	keyHead       = []byte("mhead")       // see appendHead; absent while the store is empty
	keyCheckpoint = []byte("mcheckpoint") // newest signed checkpoint
	keyCursor     = []byte("mcursor")     // next leaf to index as a uint64, absent when 0
)

// A row of packed leaves is closed when it has packLeaves leaves or packBytes bytes. A row for each leaf costs the writer a
// good part of its speed, and a row of a whole large batch would have to be read to find one leaf in it.
const (
	packLeaves = 256
	packBytes  = 64 << 10
)

func leavesKey(dst []byte, first uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kindLeaves), first)
}

func parseLeavesKey(key []byte) (first uint64, err error) {
	if len(key) != 1+8 {
		return 0, fmt.Errorf("%w: key of leaves has %d bytes, want 9", store.ErrCorrupt, len(key))
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

func logKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindLog}, number)
}

func parseLogKey(key []byte) (number uint64, err error) {
	if len(key) != 1+8 {
		return 0, fmt.Errorf("%w: key of a write-ahead log has %d bytes, want 9", store.ErrCorrupt, len(key))
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

func tileKey(dst []byte, level int, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kindTile, byte(level)), index)
}

func rowsPrefix(dst []byte, folds uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, kindRow), folds)
}

// prefixEnd returns the first key after all keys that start with prefix, nil when there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// Packed leaves are leaves one after another, each after its length as a big-endian uint16: the form of an entry bundle of
// c2sp.org/tlog-tiles.

// packedSpan returns how many of leaves, at least one, go into the next row and the size of that row.
func packedSpan(leaves [][]byte) (n, size int) {
	for n < len(leaves) && n < packLeaves && size < packBytes {
		size += 2 + len(leaves[n])
		n++
	}
	return n, size
}

// packLeaf writes one leaf at the start of dst, which must have room for it, and returns the rest of dst.
func packLeaf(dst, leaf []byte) (rest []byte) {
	binary.BigEndian.PutUint16(dst, uint16(len(leaf)))
	return dst[2+copy(dst[2:], leaf):]
}

// unpackLeaf returns the first leaf of packed, which aliases it, and the rest.
func unpackLeaf(packed []byte) (leaf, rest []byte, err error) {
	if len(packed) < 2 {
		return nil, nil, fmt.Errorf("%w: packed leaves end within a length", store.ErrCorrupt)
	}
	n := 2 + int(binary.BigEndian.Uint16(packed))
	if len(packed) < n {
		return nil, nil, fmt.Errorf("%w: packed leaves end within a leaf", store.ErrCorrupt)
	}
	return packed[2:n:n], packed[n:], nil
}

const headSize = 8 + 8 + 32 + 8 + 4

// appendHead writes term, size, root, at and folds, big-endian.
func appendHead(dst []byte, h store.Head) []byte {
	dst = binary.BigEndian.AppendUint64(dst, h.Term)
	dst = binary.BigEndian.AppendUint64(dst, h.Size)
	dst = append(dst, h.Root[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.At))
	return binary.BigEndian.AppendUint32(dst, h.Folds)
}

func parseHead(b []byte) (h store.Head, err error) {
	if len(b) != headSize {
		return h, fmt.Errorf("%w: head has %d bytes, want %d", store.ErrCorrupt, len(b), headSize)
	}
	h.Term = binary.BigEndian.Uint64(b)
	h.Size = binary.BigEndian.Uint64(b[8:])
	copy(h.Root[:], b[16:])
	h.At = int64(binary.BigEndian.Uint64(b[48:]))
	h.Folds = binary.BigEndian.Uint32(b[56:])
	return h, nil
}

func parseCursor(b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: index cursor has %d bytes, want 8", store.ErrCorrupt, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
