package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ErrTile says that a hash tile is not the one under a signed root.
var ErrTile = errors.New("not what the signed root says")

// BadTile is a tile that does not go with a head.
type BadTile struct {
	Head  tlog.Checkpoint
	Path  string // of one of the tiles that do not lead to the root together, where it is not known which
	Data  []byte
	Found tlog.Hash // what the tile, or all edges together, come to
	Want  tlog.Hash
}

func (e *BadTile) Error() string {
	return fmt.Sprintf("%s: %v: it comes to %x, expected %x under size %d", e.Path, ErrTile, e.Found, e.Want, e.Head.Size)
}

func (e *BadTile) Unwrap() error { return ErrTile }

// Reader reads the hash tile of a level and index, whose width is given.
type Reader func(ctx context.Context, level int, index uint64, width int) ([]byte, error)

// Tiles reads from a published log. A log that has grown may hold only the full
// tile in place of a part of it.
func Tiles(src verify.Source) Reader {
	return func(ctx context.Context, level int, index uint64, width int) ([]byte, error) {
		const limit = tlog.TileWidth * len(tlog.Hash{})
		path, want := tlog.TilePath(level, index, width), width*len(tlog.Hash{})
		data, err := src.Read(ctx, nil, path, limit)
		if width < tlog.TileWidth && errors.Is(err, fs.ErrNotExist) {
			if full, err := src.Read(ctx, nil, tlog.TilePath(level, index, tlog.TileWidth), limit); err == nil && len(full) == limit {
				return full[:want], nil
			}
		}
		if err == nil && len(data) != want {
			err = fmt.Errorf("%s: %w: %d bytes, want %d", path, tlog.ErrFormat, len(data), want)
		}
		return data, err
	}
}

// Tree reads the tree under a head, and returns nothing that does not lead to
// its root. One goroutine uses it.
type Tree struct {
	Head tlog.Checkpoint

	read  Reader
	edge  *tlog.Builder
	cache map[[2]uint64][]byte
}

// cached bounds the tiles that a tree keeps: eight of each level.
const cached = 64

// Open reads the unfinished tiles of a head, which prove each other.
func Open(ctx context.Context, head tlog.Checkpoint, read Reader) (*Tree, error) {
	t := &Tree{Head: head, read: read}
	bad := &BadTile{Head: head, Want: head.Root}
	var err error
	t.edge, err = tlog.ResumeBuilder(head.Size, func(level int) ([]byte, error) {
		index, width := head.Size>>(8*level)/tlog.TileWidth, int(head.Size>>(8*level)%tlog.TileWidth)
		data, err := read(ctx, level, index, width)
		bad.Path, bad.Data = tlog.TilePath(level, index, width), data
		return data, err
	})
	if err != nil {
		return nil, err
	}
	if bad.Found = t.edge.Root(); bad.Found != bad.Want {
		if bad.Path == "" {
			bad.Path = "checkpoint" // the empty tree has one root
		}
		return nil, bad
	}
	return t, nil
}

// Edge returns the unfinished tile of a level, without hashes where there is none.
func (t *Tree) Edge(level int) []byte { return t.edge.Partial(level) }

// Full returns a full tile.
func (t *Tree) Full(ctx context.Context, level int, index uint64) ([]byte, error) {
	if level > 7 || index >= t.Head.Size>>(8*level)/tlog.TileWidth {
		return nil, fmt.Errorf("tile %d of level %d: %w of size %d", index, level, tlog.ErrRange, t.Head.Size)
	}
	key := [2]uint64{uint64(level), index}
	if data := t.cache[key]; data != nil {
		return data, nil
	}
	parent, err := t.over(ctx, level+1, index/tlog.TileWidth)
	if err != nil {
		return nil, err
	}
	data, err := t.read(ctx, level, index, tlog.TileWidth)
	if err != nil {
		return nil, err
	}
	if err := t.Under(level, index, data, parent); err != nil {
		return nil, err
	}
	if len(t.cache) >= cached || t.cache == nil {
		t.cache = map[[2]uint64][]byte{}
	}
	t.cache[key] = data
	return data, nil
}

// over returns the tile of a level that holds the roots of tiles below.
func (t *Tree) over(ctx context.Context, level int, index uint64) ([]byte, error) {
	if level < 8 && index < t.Head.Size>>(8*level)/tlog.TileWidth {
		return t.Full(ctx, level, index)
	}
	return t.Edge(level), nil
}

// Under holds a full tile against the one over it.
func (t *Tree) Under(level int, index uint64, data, over []byte) error {
	const size = len(tlog.Hash{})
	want := tlog.Hash(over[index%tlog.TileWidth*uint64(size):][:size])
	if len(data) != tlog.TileWidth*size {
		return fmt.Errorf("%s: %w: %d bytes, want %d", tlog.TilePath(level, index, tlog.TileWidth), tlog.ErrFormat, len(data), tlog.TileWidth*size)
	}
	if found := tlog.Subtree(data); found != want {
		return &BadTile{Head: t.Head, Path: tlog.TilePath(level, index, tlog.TileWidth), Data: data, Found: found, Want: want}
	}
	return nil
}

// Builder returns the builder of the tree at an earlier size, to go on from there.
func (t *Tree) Builder(ctx context.Context, size uint64) (*tlog.Builder, error) {
	if size > t.Head.Size {
		return nil, fmt.Errorf("size %d: %w of size %d", size, tlog.ErrRange, t.Head.Size)
	}
	return tlog.ResumeBuilder(size, func(level int) ([]byte, error) {
		index, width := size>>(8*level)/tlog.TileWidth, int(size>>(8*level)%tlog.TileWidth)
		data, err := t.over(ctx, level, index)
		if err != nil {
			return nil, err
		}
		return data[:width*len(tlog.Hash{})], nil
	})
}

// Consistency returns the proof (RFC 6962, section 2.1.2) that the tree extends
// the one that it was at an earlier size.
func (t *Tree) Consistency(ctx context.Context, size uint64) ([][]byte, error) {
	nodes, err := proof.Consistency(size, t.Head.Size)
	if err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, id := range nodes.IDs {
		h, err := t.node(ctx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

func (t *Tree) node(ctx context.Context, id compact.NodeID) ([]byte, error) {
	level, row := int(id.Level/8), id.Level%8
	first := id.Index << row // among the hashes of the tile level
	data, err := t.over(ctx, level, first/tlog.TileWidth)
	if err != nil {
		return nil, err
	}
	const size = uint64(len(tlog.Hash{}))
	from, to := first%tlog.TileWidth*size, (first%tlog.TileWidth+1<<row)*size
	if to > uint64(len(data)) {
		return nil, fmt.Errorf("node %d of level %d: %w of size %d", id.Index, id.Level, tlog.ErrRange, t.Head.Size)
	}
	h := tlog.Subtree(data[from:to])
	return bytes.Clone(h[:]), nil
}
