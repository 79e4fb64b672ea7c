package tlog

import (
	"encoding/binary"
	"fmt"
)

// AppendBundle appends one entry to a bundle (c2sp.org/tlog-tiles): its
// length as a big-endian uint16, then its bytes. It panics over MaxEntrySize.
func AppendBundle(dst, leaf []byte) []byte {
	if len(leaf) > MaxEntrySize {
		panic(fmt.Sprintf("tlog: entry of %d bytes, want at most %d", len(leaf), MaxEntrySize))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(leaf)))
	return append(dst, leaf...)
}

// ParseBundle splits a bundle into its 1 to TileWidth entries, which alias b.
func ParseBundle(b []byte) ([][]byte, error) {
	n := 0
	for rest := b; len(rest) > 0; n++ {
		if len(rest) < 2 {
			return nil, fmt.Errorf("%w bundle: entry %d: length cut short", ErrFormat, n)
		}
		size := int(binary.BigEndian.Uint16(rest))
		if len(rest)-2 < size {
			return nil, fmt.Errorf("%w bundle: entry %d: %d bytes, want %d", ErrFormat, n, len(rest)-2, size)
		}
		rest = rest[2+size:]
	}
	if n < 1 || n > TileWidth {
		return nil, fmt.Errorf("%w bundle: %d entries, want 1 to %d", ErrFormat, n, TileWidth)
	}
	leaves := make([][]byte, n)
	for i := range leaves {
		end := 2 + int(binary.BigEndian.Uint16(b))
		leaves[i], b = b[2:end:end], b[end:]
	}
	return leaves, nil
}
