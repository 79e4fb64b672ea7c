package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"countroom/ledger/store"
)

// Batch is what the group agrees on: one step of the log, from which rows and tiles follow on each machine.
type Batch struct {
	Term   uint64
	Base   uint64 // size of the log before
	At     int64  // Unix nanoseconds
	Folds  uint32 // version of the folds on the proposing machine
	Root   *store.Hash
	Leaves [][]byte
	Vault  []store.Row
	// Checkpoint is the newest signed one that the proposer had, nil for none.
	Checkpoint []byte
}

// AppendBatch appends the encoding of a batch, whose Root is known. There is one encoding of a batch.
func AppendBatch(dst []byte, b Batch) []byte {
	dst = binary.BigEndian.AppendUint64(dst, b.Term)
	dst = binary.BigEndian.AppendUint64(dst, b.Base)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.At))
	dst = binary.BigEndian.AppendUint32(dst, b.Folds)
	dst = append(dst, b.Root[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Leaves)))
	for _, leaf := range b.Leaves {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(leaf)))
		dst = append(dst, leaf...)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Vault)))
	for _, r := range b.Vault {
		dst = appendRow(dst, r)
	}
	return appendOptional(dst, b.Checkpoint)
}

func appendRow(dst []byte, r store.Row) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Key)))
	dst = append(dst, r.Key...)
	return appendOptional(dst, r.Value)
}

// appendOptional appends bytes that may be nil, which is not the same as empty.
func appendOptional(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}

// reader takes fields off bytes; after the first that is cut off there are none.
type reader struct {
	b   []byte
	err error
}

var errCutOff = errors.New("it is cut off")

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errCutOff
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint8() (n uint8) {
	if b := r.take(1); b != nil {
		n = b[0]
	}
	return n
}

func (r *reader) uint16() (n uint16) {
	if b := r.take(2); b != nil {
		n = binary.BigEndian.Uint16(b)
	}
	return n
}

func (r *reader) uint32() (n uint32) {
	if b := r.take(4); b != nil {
		n = binary.BigEndian.Uint32(b)
	}
	return n
}

func (r *reader) uint64() (n uint64) {
	if b := r.take(8); b != nil {
		n = binary.BigEndian.Uint64(b)
	}
	return n
}

func (r *reader) optional() []byte {
	switch r.uint8() {
	case 0:
		return nil
	case 1:
		b := r.take(int(r.uint32()))
		if b == nil && r.err == nil {
			b = []byte{}
		}
		return b
	}
	r.err = errors.New("a field is neither there nor not")
	return nil
}

func (r *reader) row() store.Row {
	key := r.take(int(r.uint16()))
	return store.Row{Key: key, Value: r.optional()}
}

// DecodeBatch is the inverse of AppendBatch. What it returns lies in b.
func DecodeBatch(b []byte) (out Batch, err error) {
	r := &reader{b: b}
	out.Term, out.Base, out.At, out.Folds = r.uint64(), r.uint64(), int64(r.uint64()), r.uint32()
	out.Root = new(store.Hash)
	copy(out.Root[:], r.take(len(out.Root)))
	n := r.uint32()
	if int64(n) > int64(len(r.b))/2 {
		return out, fmt.Errorf("batch: %d leaves: %w", n, errCutOff)
	}
	if n > 0 {
		out.Leaves = make([][]byte, n)
	}
	for i := range out.Leaves {
		out.Leaves[i] = r.take(int(r.uint16()))
	}
	if n = r.uint32(); int64(n) > int64(len(r.b))/3 {
		return out, fmt.Errorf("batch: %d rows of the vault: %w", n, errCutOff)
	}
	if n > 0 {
		out.Vault = make([]store.Row, n)
	}
	for i := range out.Vault {
		out.Vault[i] = r.row()
	}
	out.Checkpoint = r.optional()
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.b))
	}
	if r.err != nil {
		return out, fmt.Errorf("batch: %w", r.err)
	}
	return out, nil
}
