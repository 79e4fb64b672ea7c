// Package backup is a copy of a log in one stream: the entries, the signed
// checkpoint that covers them, and the vault as of the same head. Nothing in it
// can be derived from the rest, and no key is in it.
//
// A stream is the line of Magic and then chunks:
//
//	type (1 byte) ‖ length of the payload (4 bytes, big-endian) ‖ payload ‖ digest (32 bytes)
//
// Each digest is SHA-256 over the digest before it, type, length and payload;
// before the first chunk it is SHA-256 of Magic. So no chunk can be lost, moved
// or taken from another stream, and the last digest names the whole. Types, in
// this order:
//
//	h  size at which the stream begins (8 bytes) ‖ the roots of the complete
//	   subtrees of that size, largest first ‖ checkpoint (c2sp.org/tlog-checkpoint)
//	e  index of the first entry (8 bytes) ‖ entries, each after its length (2 bytes)
//	v  rows of the vault in order of their keys, each: length (2 bytes) ‖ key ‖
//	   length (4 bytes) ‖ value
//	t  number of entries (8 bytes) ‖ number of rows (8 bytes); nothing follows
//
// A stream that begins at a size above 0 continues another one, and its vault
// replaces the vault there.
package backup

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"countroom/ledger/store"
	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Magic is the first line of a stream.
const Magic = "countroom backup v1\n"

// ErrDamaged says that a stream is not as it was written: cut short, changed,
// reordered or put together from several.
var ErrDamaged = errors.New("the back-up is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// Types of chunks.
const (
	chunkHeader  = 'h'
	chunkEntries = 'e'
	chunkVault   = 'v'
	chunkTrailer = 't'
)

const (
	// payloadMost bounds what is read at once.
	payloadMost = 1 << 20
	// payloadFull is when a chunk of entries or rows is closed; one more entry or
	// row always fits.
	payloadFull = 256 << 10
	// rowMost is the longest value of a vault row.
	rowMost = 512 << 10
	// checkpointMost is the longest checkpoint, witnesses' lines included.
	checkpointMost = 64 << 10
)

// Summary is what a whole stream came to.
type Summary struct {
	From    uint64    // size at which it begins
	Entries uint64    // From+Entries is the size of its checkpoint
	Rows    uint64    // of the vault
	Bytes   uint64    // of the stream
	Digest  tlog.Hash // the last chunk's
}

// chain is the running digest of a stream.
type chain struct {
	digest tlog.Hash
	bytes  uint64
}

func newChain() chain { return chain{sha256.Sum256([]byte(Magic)), uint64(len(Magic))} }

const frameLen = 1 + 4 // type and length

func (c *chain) add(frame, payload []byte) {
	h := sha256.New()
	h.Write(c.digest[:])
	h.Write(frame)
	h.Write(payload)
	h.Sum(c.digest[:0])
	c.bytes += uint64(len(frame) + len(payload) + len(c.digest))
}

// Write writes a back-up of the log in a snapshot, whose head the checkpoint
// signs. Of since, the head of an earlier back-up that this one continues, size
// and root are looked at; the zero head says that there is none. An ErrHistory
// comes before the first byte.
func Write(w io.Writer, r store.Reader, checkpoint []byte, since tlog.Checkpoint) (Summary, error) {
	head, from := r.Head(), since.Size
	if from > head.Size {
		return Summary{}, fmt.Errorf("%w: it ends at size %d, the log at size %d", ErrHistory, from, head.Size)
	}
	header, err := begin(r, since)
	if err != nil {
		return Summary{}, err
	}
	o := &writer{w: w, chain: newChain(), sum: Summary{From: from}}
	if _, err := io.WriteString(w, Magic); err != nil {
		return o.sum, err
	}
	if err := o.chunk(chunkHeader, append(header, checkpoint...)); err != nil {
		return o.sum, err
	}
	if err := o.entries(r, from, head.Size); err != nil {
		return o.sum, err
	}
	if err := o.vault(r); err != nil {
		return o.sum, err
	}
	counts := binary.BigEndian.AppendUint64(nil, o.sum.Entries)
	if err := o.chunk(chunkTrailer, binary.BigEndian.AppendUint64(counts, o.sum.Rows)); err != nil {
		return o.sum, err
	}
	o.sum.Bytes, o.sum.Digest = o.chain.bytes, o.chain.digest
	return o.sum, nil
}

// begin returns the header's part about the tree that a stream continues.
func begin(r store.Reader, since tlog.Checkpoint) ([]byte, error) {
	size := since.Size
	var tail []tlog.Hash
	err := r.Leaves(size-size%tlog.TileWidth, size, func(_ uint64, leaf []byte) error {
		tail = append(tail, tlog.LeafHash(leaf))
		return nil
	})
	if err != nil {
		return nil, err
	}
	tree, err := tlog.NewTree(size, r.Tile, tail)
	if err != nil {
		return nil, err
	}
	if root, err := tree.Root(size); err != nil || size > 0 && root != since.Root {
		return nil, cmp.Or(err, fmt.Errorf("%w: at size %d its root is %x, the log's is %x", ErrHistory, size, since.Root, root))
	}
	header := binary.BigEndian.AppendUint64(nil, size)
	for _, id := range compact.RangeNodes(0, size, nil) {
		peak, err := tree.Node(id)
		if err != nil {
			return nil, err
		}
		header = append(header, peak[:]...)
	}
	return header, nil
}

type writer struct {
	w     io.Writer
	chain chain
	sum   Summary
}

func (o *writer) chunk(typ byte, payload []byte) error {
	frame := binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(payload)))
	o.chain.add(frame, payload)
	for _, b := range [][]byte{frame, payload, o.chain.digest[:]} {
		if _, err := o.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// entries reads a chunk at a time, so that whoever takes the stream slowly holds
// nothing but the snapshot.
func (o *writer) entries(r store.Reader, from, to uint64) error {
	payload := make([]byte, 0, payloadFull+2+store.MaxLeaf)
	for from < to {
		payload = binary.BigEndian.AppendUint64(payload[:0], from)
		err := r.Leaves(from, to, func(_ uint64, leaf []byte) error {
			payload = tlog.AppendBundle(payload, leaf)
			if from++; len(payload) >= payloadFull {
				return store.ErrStop
			}
			return nil
		})
		if err == nil {
			err = o.chunk(chunkEntries, payload)
		}
		if err != nil {
			return err
		}
	}
	o.sum.Entries = to - o.sum.From
	return nil
}

func (o *writer) vault(r store.Reader) error {
	var payload []byte
	err := r.ScanVault(nil, func(row store.Row) error {
		if len(row.Value) > rowMost {
			return fmt.Errorf("vault row %s has %d bytes, expected at most %d", row.Key, len(row.Value), rowMost)
		}
		payload = binary.BigEndian.AppendUint16(payload, uint16(len(row.Key)))
		payload = append(payload, row.Key...)
		payload = binary.BigEndian.AppendUint32(payload, uint32(len(row.Value)))
		payload = append(payload, row.Value...)
		o.sum.Rows++
		if len(payload) < payloadFull {
			return nil
		}
		err := o.chunk(chunkVault, payload)
		payload = payload[:0]
		return err
	})
	if err == nil && len(payload) > 0 {
		err = o.chunk(chunkVault, payload)
	}
	return err
}

// Reader reads a stream and refuses one that is not whole. It is damaged for
// good after its first error.
type Reader struct {
	in    io.Reader
	chain chain
	sum   Summary

	Checkpoint []byte // signed note; the caller checks the signature
	peaks      []tlog.Hash

	buf    []byte
	leaves [][]byte
	rows   []store.Row
	last   []byte // key of the latest row
	phase  byte   // type of the latest chunk
}

// NewReader reads as far as the header.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: in, chain: newChain()}
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != Magic {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return nil, damaged("it does not begin with %q", Magic)
	}
	typ, payload, err := r.chunk()
	if err != nil {
		return nil, err
	}
	if typ != chunkHeader || len(payload) < 8 {
		return nil, damaged("its first chunk is not a header")
	}
	r.sum.From = binary.BigEndian.Uint64(payload)
	payload = payload[8:]
	r.peaks = make([]tlog.Hash, bits.OnesCount64(r.sum.From))
	if len(payload) < 32*len(r.peaks) || len(payload)-32*len(r.peaks) > checkpointMost {
		return nil, damaged("the header's length does not fit the size %d at which it begins", r.sum.From)
	}
	for i := range r.peaks {
		r.peaks[i] = tlog.Hash(payload[32*i:])
	}
	r.Checkpoint = bytes.Clone(payload[32*len(r.peaks):])
	r.phase = typ
	return r, nil
}

// From is the size of the log at which the stream begins.
func (r *Reader) From() uint64 { return r.sum.From }

// Summary is complete when Next has returned io.EOF.
func (r *Reader) Summary() Summary { return r.sum }

// chunk reads one chunk; the payload is valid until the next.
func (r *Reader) chunk() (typ byte, payload []byte, err error) {
	var frame [frameLen]byte
	if err := r.full(frame[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(frame[1:])
	if n > payloadMost {
		return 0, nil, damaged("the chunk at byte %d says that it has %d bytes, at most %d are written", r.chain.bytes, n, payloadMost)
	}
	if uint32(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	payload = r.buf[:n]
	if err := r.full(payload); err != nil {
		return 0, nil, err
	}
	var digest tlog.Hash
	if err := r.full(digest[:]); err != nil {
		return 0, nil, err
	}
	at := r.chain.bytes
	if r.chain.add(frame[:], payload); digest != r.chain.digest {
		return 0, nil, damaged("the chunk at byte %d, or one before it, was changed, moved or taken from another back-up: its digest is not that of its bytes", at)
	}
	return frame[0], payload, nil
}

func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it ends within the chunk at byte %d: it was cut short", r.chain.bytes)
	}
	return err
}

// Part is what a chunk holds: entries or rows of the vault, valid until the next.
type Part struct {
	First  uint64 // index of the first of Leaves
	Leaves [][]byte
	Vault  []store.Row
}

// Next returns the next part, and io.EOF at the end of a stream that is whole.
func (r *Reader) Next() (Part, error) {
	at := r.chain.bytes
	typ, payload, err := r.chunk()
	if err != nil {
		return Part{}, err
	}
	was := r.phase
	r.phase = typ
	switch {
	case typ == chunkEntries && (was == chunkHeader || was == chunkEntries):
		return r.parseEntries(at, payload)
	case typ == chunkVault && was != chunkTrailer:
		return r.parseVault(at, payload)
	case typ == chunkTrailer && was != chunkTrailer:
		return Part{}, cmp.Or(r.parseTrailer(payload), io.EOF)
	}
	return Part{}, damaged("a chunk of type %q at byte %d, after one of type %q", typ, at, was)
}

func (r *Reader) parseEntries(at uint64, payload []byte) (Part, error) {
	if len(payload) <= 8 {
		return Part{}, damaged("the chunk at byte %d holds no entries", at)
	}
	p := Part{First: binary.BigEndian.Uint64(payload)}
	if want := r.sum.From + r.sum.Entries; p.First != want {
		return Part{}, damaged("the chunk at byte %d begins with entry %d, expected %d", at, p.First, want)
	}
	r.leaves = r.leaves[:0]
	for rest := payload[8:]; len(rest) > 0; {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return Part{}, damaged("the chunk at byte %d ends within an entry", at)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		r.leaves = append(r.leaves, rest[2:end:end])
		rest = rest[end:]
	}
	r.sum.Entries += uint64(len(r.leaves))
	p.Leaves = r.leaves
	return p, nil
}

func (r *Reader) parseVault(at uint64, payload []byte) (Part, error) {
	if len(payload) == 0 {
		return Part{}, damaged("the chunk at byte %d holds no rows", at)
	}
	r.rows = r.rows[:0]
	for rest := payload; len(rest) > 0; {
		var row store.Row
		if row.Key, rest = cut(rest, 2); len(row.Key) == 0 || len(row.Key) > store.MaxKey {
			return Part{}, damaged("the chunk at byte %d has a row whose key is cut short, empty or longer than %d bytes", at, store.MaxKey)
		}
		if row.Value, rest = cut(rest, 4); row.Value == nil {
			return Part{}, damaged("the chunk at byte %d ends within the row %q", at, row.Key)
		}
		if bytes.Compare(row.Key, r.last) <= 0 {
			return Part{}, damaged("the row %q does not follow the row %q", row.Key, r.last)
		}
		r.last = append(r.last[:0], row.Key...)
		r.rows = append(r.rows, row)
	}
	r.sum.Rows += uint64(len(r.rows))
	return Part{Vault: r.rows}, nil
}

// cut splits off what follows its length, of 2 or 4 bytes; nil when it is cut
// short.
func cut(b []byte, width int) (value, rest []byte) {
	if len(b) < width {
		return nil, nil
	}
	n := uint64(binary.BigEndian.Uint16(b))
	if width == 4 {
		n = uint64(binary.BigEndian.Uint32(b))
	}
	if b = b[width:]; uint64(len(b)) < n {
		return nil, nil
	}
	return b[:n:n], b[n:]
}

func (r *Reader) parseTrailer(payload []byte) error {
	want := binary.BigEndian.AppendUint64(nil, r.sum.Entries)
	want = binary.BigEndian.AppendUint64(want, r.sum.Rows)
	if !bytes.Equal(payload, want) {
		return damaged("its trailer does not count the %d entries and %d vault rows before it", r.sum.Entries, r.sum.Rows)
	}
	n, err := io.ReadFull(r.in, make([]byte, 1))
	if n > 0 {
		return damaged("something follows its trailer, at byte %d", r.chain.bytes)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	r.sum.Bytes, r.sum.Digest = r.chain.bytes, r.chain.digest
	return nil
}

// hasher is what RFC 6962 hashes with.
var hasher = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
