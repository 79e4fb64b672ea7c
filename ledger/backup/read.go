package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/note"
)

// ErrHistory says that a back-up is whole and contradicts something that the
// house signed.
var ErrHistory = errors.New("the back-up contradicts what the house signed")

// Statement is something signed about the log that is known from elsewhere: a
// head, and where Leaf is set an entry under it.
type Statement struct {
	Name  string // for messages: the file's
	Head  tlog.Checkpoint
	Leaf  bool
	Index uint64
	Hash  tlog.Hash // of the leaf
}

// Verified is a stream, or a chain of streams that continue one another, whose
// parts are held against its checkpoint as they are read.
type Verified struct {
	streams []*Reader
	at      int
	heads   []tlog.Checkpoint // of the streams
	tree    *compact.Range
	watch   []Statement // not reached yet, by size of their heads
	beyond  []Statement
	leaves  map[uint64][]Statement
}

// Open opens a checkpoint that one of several keys of a log signed.
func Open(checkpoint []byte, by []note.Verifier) (c tlog.Checkpoint, err error) {
	err = fmt.Errorf("%w: no key to check it by", tlog.ErrSignature)
	for _, v := range by {
		if c, err = tlog.Open(checkpoint, v); !errors.Is(err, tlog.ErrSignature) {
			return c, err
		}
	}
	return c, err
}

// Verify readies streams, the first of which may continue one that is not
// there, to be read by Next. The checkpoints' signatures are checked now, each by
// one of the log's keys, the known statements as the entries come by.
func Verify(by []note.Verifier, known []Statement, streams ...*Reader) (*Verified, error) {
	r := &Verified{streams: streams, leaves: map[uint64][]Statement{}}
	for i, s := range streams {
		c, err := Open(s.Checkpoint, by)
		if err != nil {
			return nil, err
		}
		if c.Size < s.From() {
			return nil, damaged("it begins at size %d and its checkpoint is of size %d", s.From(), c.Size)
		}
		if i > 0 && s.From() != r.heads[i-1].Size {
			return nil, fmt.Errorf("a back-up from size %d does not continue one that ends at size %d", s.From(), r.heads[i-1].Size)
		}
		r.heads = append(r.heads, c)
	}
	hashes := make([][]byte, len(streams[0].peaks))
	for i := range hashes {
		hashes[i] = streams[0].peaks[i][:]
	}
	var err error
	if r.tree, err = hasher.NewRange(0, streams[0].From(), hashes); err != nil {
		return nil, damaged("header: %w", err)
	}
	for _, k := range known {
		if k.Head.Size > r.Head().Size {
			r.beyond = append(r.beyond, k)
		} else if k.Head.Size >= streams[0].From() {
			r.watch = append(r.watch, k)
		}
		if k.Leaf {
			r.leaves[k.Index] = append(r.leaves[k.Index], k)
		}
	}
	slices.SortStableFunc(r.watch, func(a, b Statement) int { return cmp.Compare(a.Head.Size, b.Head.Size) })
	return r, r.compare()
}

// Head is what the last stream's checkpoint signs.
func (r *Verified) Head() tlog.Checkpoint { return r.heads[len(r.heads)-1] }

// Beyond are the known statements of heads that were signed after the back-up's.
func (r *Verified) Beyond() []Statement { return r.beyond }

// Checkpoint is the last stream's, a signed note.
func (r *Verified) Checkpoint() []byte { return r.streams[len(r.streams)-1].Checkpoint }

// Summary is complete when Next has returned io.EOF. Its digest is the last
// stream's.
func (r *Verified) Summary() Summary {
	sum := Summary{From: r.streams[0].From()}
	for _, s := range r.streams {
		one := s.Summary()
		sum.Entries += one.Entries
		sum.Bytes += one.Bytes
		sum.Rows, sum.Digest = one.Rows, one.Digest
	}
	return sum
}

// Next returns the next part, and io.EOF when every stream is whole and led to
// the root that its checkpoint signs. A part of the vault is of the last stream.
// Entries that complete the tree of a checkpoint are not returned before the
// root was found to be the signed one.
func (r *Verified) Next() (Part, error) {
	for {
		p, err := r.streams[r.at].Next()
		switch {
		case err == io.EOF:
			if size := r.heads[r.at].Size; r.tree.End() != size {
				return p, damaged("it holds the entries up to size %d, its checkpoint is of size %d", r.tree.End(), size)
			}
			if r.at == len(r.streams)-1 {
				return p, io.EOF
			}
			r.at++
			if err := r.compare(); err != nil { // it may hold no entries
				return p, err
			}
		case err != nil:
			return p, err
		case p.Leaves != nil:
			return p, r.add(p)
		case r.at == len(r.streams)-1:
			return p, nil
		}
	}
}

func (r *Verified) add(p Part) error {
	head := r.heads[r.at]
	for i, leaf := range p.Leaves {
		index := p.First + uint64(i)
		if index >= head.Size {
			return damaged("it holds entry %d, its checkpoint is of size %d", index, head.Size)
		}
		hash := tlog.LeafHash(leaf)
		for _, k := range r.leaves[index] {
			if k.Hash != hash {
				return fmt.Errorf("%w: its entry %d is not the one in %s", ErrHistory, index, k.Name)
			}
		}
		if err := r.tree.Append(hash[:], nil); err != nil {
			return err
		}
		if err := r.compare(); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the tree so far against what is known of its size.
func (r *Verified) compare() error {
	size := r.tree.End()
	atHead := size == r.heads[r.at].Size && size > 0
	if !atHead && (len(r.watch) == 0 || r.watch[0].Head.Size != size) {
		return nil
	}
	root := rootOf(r.tree)
	if atHead && root != r.heads[r.at].Root {
		return damaged("its entries lead to the root %x at size %d, its checkpoint signs %x", root, size, r.heads[r.at].Root)
	}
	for ; len(r.watch) > 0 && r.watch[0].Head.Size == size; r.watch = r.watch[1:] {
		if k := &r.watch[0]; k.Head.Root != root {
			return fmt.Errorf("%w: at size %d its root is %x, in %s it is %x", ErrHistory, size, root, k.Name, k.Head.Root)
		}
	}
	return nil
}

func rootOf(r *compact.Range) tlog.Hash {
	b, err := r.GetRootHash(nil)
	if err != nil || len(b) == 0 {
		return tlog.Hash{} // of no entries, which nobody signs
	}
	return tlog.Hash(b)
}
