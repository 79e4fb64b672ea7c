// Package vault is what the vaults of gaming authorities share: reading a part of a house's published log under a signed
// checkpoint, what it comes to for each day, and putting deliveries down whole or not at all.
//
// A vault holds what a house told its authority, in the authority's format. It is worth no more than the log behind it,
// so each delivery is held against the log before it is let go (a Difference says what would not reconcile), and anybody
// with the leaves can do the same later.
package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"countroom/games/books"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/export"
	"countroom/regulator/verify"

	"github.com/transparency-dev/merkle/compact"
)

// Difference is why a delivery does not reconcile with the log.
type Difference struct {
	Rule     string `json:"rule"` // short and stable
	Where    string `json:"where"`
	Expected string `json:"expected"` // as the log has it
	Found    string `json:"found"`
}

func (d *Difference) Error() string {
	return fmt.Sprintf("%s: %s: expected %s, found %s", d.Where, d.Rule, d.Expected, d.Found)
}

// Log is a published log up to a signed checkpoint. What it yields is proven to be under that. One goroutine uses it at a
// time.
type Log struct {
	ctx  context.Context
	src  verify.Source
	ring *verify.Keyring
	note []byte
	head tlog.Checkpoint
	tree *tlog.Tree
	tail []tlog.Hash // of the leaves that are in no full tile

	number uint64 // of the bundle that was read last
	last   [][]byte
}

// Open reads the tree of a log under a checkpoint, the newest published if there is none. A key of the ring must have
// signed it.
func Open(ctx context.Context, src verify.Source, ring *verify.Keyring, note []byte) (*Log, error) {
	var err error
	if note == nil {
		if note, err = src.Read(ctx, nil, "checkpoint", verify.CheckpointMost); err != nil {
			return nil, fmt.Errorf("the checkpoint: %w", err)
		}
	}
	l := &Log{ctx: ctx, src: src, ring: ring, note: note}
	if l.head, err = tlog.Peek(note); err != nil {
		return nil, err
	}
	if err := ring.Signed(note, l.head); err != nil {
		return nil, err
	}
	if width := int(l.head.Size % tlog.TileWidth); width > 0 {
		data, err := l.part(width, tlog.TileWidth*len(tlog.Hash{}), func(width int) string { return tlog.TilePath(0, l.head.Size/tlog.TileWidth, width) })
		if err != nil {
			return nil, err
		}
		if len(data) < width*len(tlog.Hash{}) {
			return nil, fmt.Errorf("the last tile: expected %d hashes, found %d bytes", width, len(data))
		}
		for i := range width {
			l.tail = append(l.tail, tlog.Hash(data[i*len(tlog.Hash{}):]))
		}
	}
	load := func(level int, index uint64) ([]byte, error) {
		return src.Read(ctx, nil, tlog.TilePath(level, index, tlog.TileWidth), tlog.TileWidth*len(tlog.Hash{}))
	}
	if l.tree, err = tlog.NewTree(l.head.Size, load, l.tail); err != nil {
		return nil, err
	}
	return l, l.at(l.head)
}

// at demands that the log had a root at a size.
func (l *Log) at(head tlog.Checkpoint) error {
	if head.Origin != l.head.Origin {
		return &Difference{"checkpoint", "the checkpoint", "the log " + l.head.Origin, head.Origin}
	}
	root, err := l.tree.Root(head.Size)
	if err == nil && root != head.Root {
		err = &Difference{"checkpoint", fmt.Sprintf("the checkpoint of size %d", head.Size), fmt.Sprintf("root %x, which the published tiles have", root), fmt.Sprintf("%x", head.Root)}
	}
	return err
}

// Vouch demands that a note is a checkpoint that the house signed, of this log and not beyond it.
func (l *Log) Vouch(note []byte) (tlog.Checkpoint, error) {
	head, err := tlog.Peek(note)
	if err == nil {
		err = l.ring.Signed(note, head)
	}
	if err == nil {
		err = l.at(head)
	}
	return head, err
}

// Head is the checkpoint, and Note its signed text.
func (l *Log) Head() tlog.Checkpoint { return l.head }

// Note is the signed text of the checkpoint.
func (l *Log) Note() []byte { return slices.Clone(l.note) }

// part reads a tile or bundle of a width. A log that has grown meanwhile may hold only the full one.
func (l *Log) part(width, limit int, path func(width int) string) ([]byte, error) {
	b, err := l.src.Read(l.ctx, nil, path(width), limit)
	if width < tlog.TileWidth && errors.Is(err, fs.ErrNotExist) {
		if full, err := l.src.Read(l.ctx, nil, path(tlog.TileWidth), limit); err == nil {
			return full, nil
		}
	}
	return b, err
}

// bundle reads a bundle of entries, which must have the hashes that the tree has.
func (l *Log) bundle(n uint64) ([][]byte, error) {
	if l.last != nil && l.number == n {
		return l.last, nil
	}
	leaves, err := l.read(n)
	if err == nil {
		l.number, l.last = n, leaves
	}
	return leaves, err
}

func (l *Log) read(n uint64) ([][]byte, error) {
	width := int(min(tlog.TileWidth, l.head.Size-n*tlog.TileWidth))
	data, err := l.part(width, verify.BundleMost, func(width int) string { return tlog.EntriesPath(n, width) })
	if err != nil {
		return nil, err
	}
	leaves, err := tlog.ParseBundle(data)
	if err != nil {
		return nil, err
	}
	if len(leaves) < width {
		return nil, fmt.Errorf("%s: %d entries, expected %d", tlog.EntriesPath(n, width), len(leaves), width)
	}
	leaves = leaves[:width]
	if width < tlog.TileWidth {
		for i := range leaves {
			if tlog.LeafHash(leaves[i]) != l.tail[i] {
				return nil, fmt.Errorf("entry %d: its bytes are not those under the checkpoint", n*tlog.TileWidth+uint64(i))
			}
		}
		return leaves, nil
	}
	hashes := make([]byte, 0, tlog.TileWidth*len(tlog.Hash{}))
	for _, leaf := range leaves {
		h := tlog.LeafHash(leaf)
		hashes = append(hashes, h[:]...)
	}
	want, err := l.tree.Node(compact.NewNodeID(8, n))
	if err == nil && tlog.Subtree(hashes) != want {
		err = fmt.Errorf("%s: its entries are not those under the checkpoint", tlog.EntriesPath(n, width))
	}
	return leaves, err
}

// Leaves yields entries in order, each proven to be under the checkpoint.
func (l *Log) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	if from > to || to > l.head.Size {
		return fmt.Errorf("entries %d to %d of a log of %d", from, to, l.head.Size)
	}
	for index := from; index < to; {
		leaves, err := l.bundle(index / tlog.TileWidth)
		if err != nil {
			return err
		}
		for _, leaf := range leaves[index%tlog.TileWidth:] {
			if index == to {
				break
			}
			if err := yield(index, leaf); err != nil {
				return err
			}
			index++
		}
	}
	return l.ctx.Err()
}

// Records yields entries decoded.
func (l *Log) Records(from, to uint64, yield func(index uint64, leaf []byte, r entry.Record) error) error {
	return l.Leaves(from, to, func(index uint64, leaf []byte) error {
		r, err := books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		return yield(index, leaf, r)
	})
}

// Record returns one entry.
func (l *Log) Record(index uint64) (record entry.Record, err error) {
	err = l.Records(index, index+1, func(_ uint64, _ []byte, r entry.Record) error { record = r; return nil })
	return record, err
}

// Before is how many entries are before an instant, after which there must be some: else more could still come.
func (l *Log) Before(at entry.Time) (uint64, error) {
	r, err := export.Between(entries{l: l}, l.head.Size, export.SpanOf(at.Add(-time.Microsecond), at))
	return r.To, err
}

// entries is the log as a fold of a range reads it, which asks for nothing but leaves.
type entries struct {
	export.Log
	l *Log
}

func (e entries) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	return e.l.Leaves(from, to, yield)
}
