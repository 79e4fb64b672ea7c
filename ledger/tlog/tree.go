package tlog

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/transparency-dev/merkle/compact"
)

// Loader reads a full hash tile, 8192 bytes, of a tile level (tree level
// 8*level). It is called by many goroutines at once, for tiles that were full
// at a size given to NewTree or Advance. The slice is the tree's from then on.
type Loader func(level int, index uint64) ([]byte, error)

// Tile is a full hash tile: 256 hashes, 8192 bytes.
type Tile struct {
	Level int // tree level / 8
	Index uint64
	Data  []byte
}

// Tree is a log's Merkle tree (RFC 6962, section 2.1) as its server keeps it:
// the newest part in memory, the rest read back from full tiles as needed, so
// that its memory does not grow with the log.
//
// One goroutine, the integrator, adds to it: Set for each node of a batch,
// FullTiles for what to store with the batch, and Advance when the batch is
// stored. After a batch that failed it sets the next one in its place. All
// other methods, except where they say so, may be called by any goroutine at
// any time; they see the tree as of the last Advance.
type Tree struct {
	load  Loader
	cache *cache // blocks read back

	// head is replaced by Advance. A reader loads it before it touches a
	// block and reads only nodes that are complete at the head's size: the
	// integrator wrote those before it stored the head and does not write
	// them again. So blocks need no lock, though later nodes of the same
	// block are being written meanwhile.
	head atomic.Pointer[head]

	// hot[l][i%hotBlocks] is the block i of tile level l while it is among
	// the newest hotBlocks of its level.
	hot [8][hotBlocks]atomic.Pointer[block]

	// fresh holds the integrator's blocks that no published node is in. They
	// turn hot with Advance and not before: a batch may be longer than the
	// hot window, and none of its tiles can be read back yet.
	fresh map[tileID]*block
}

const (
	hotBlocks   = 64
	cacheBlocks = 256
	headEdges   = 16
)

type tileID struct {
	level int
	index uint64
}

// block is a hash tile with the nodes between it and the one above: row r has
// the nodes of tree level 8*level+r, its 256>>r nodes starting at
// 512 - 512>>r. A zero hash is a node that was not set.
type block struct {
	tileID
	nodes [510]Hash
}

// place returns where a node lives.
func place(id compact.NodeID) (tileID, int) {
	row := id.Level % 8
	tile := tileID{int(id.Level / 8), id.Index >> (8 - row)}
	return tile, 512 - 512>>row + int(id.Index&(255>>row))
}

// fill computes the rows above the first from its first width hashes.
func (b *block) fill(width int) {
	for row := 1; row < 8; row++ {
		first := 512 - 512>>row
		for i := first; i < first+width>>row; i++ {
			child := 2 * (i - TileWidth)
			b.nodes[i] = nodeHash(&b.nodes[child], &b.nodes[child+1])
		}
	}
}

// root returns the root of a full tile.
func (b *block) root() Hash { return nodeHash(&b.nodes[508], &b.nodes[509]) }

// data returns the first width hashes of the tile.
func (b *block) data(width int) []byte {
	data := make([]byte, 0, width*len(Hash{}))
	for i := range width {
		data = append(data, b.nodes[i][:]...)
	}
	return data
}

type head struct {
	// edges has the right edges of the newest published sizes, newest first:
	// most proofs are for a size that was published a moment ago.
	edges []*edge
}

func (h *head) size() uint64 { return h.edges[0].size }

// edge holds the hashes that every proof in the tree of one size ends with.
type edge struct {
	size uint64
	// node[l] roots what the tree has of the level-l subtree that contains
	// its last leaf; the last one is the root of the tree.
	node []Hash
	// left[l] is the left sibling of node[l], if that is a right child.
	left []Hash
}

func (e *edge) root() Hash { return e.node[len(e.node)-1] }

// NewTree returns the tree of a log that has size leaves. The tail is the
// hashes of the leaves that are not in a full tile, the last size%256. Full
// tiles come from load: here only those whose roots are in a tile that is not
// full itself. The caller compares Root(size) with what the log signed.
func NewTree(size uint64, load Loader, tail []Hash) (*Tree, error) {
	if got, want := uint64(len(tail)), size%TileWidth; got != want {
		return nil, fmt.Errorf("tree of %d leaves: tail of %d hashes, want %d", size, got, want)
	}
	t := &Tree{load: load, cache: newCache(cacheBlocks), fresh: map[tileID]*block{}}
	for i := range tail {
		t.set(compact.NewNodeID(0, size-uint64(len(tail)-i)), &tail[i])
	}
	for level, tiles := 0, size/TileWidth; tiles > 0; level, tiles = level+1, tiles/TileWidth {
		for index := tiles - tiles%TileWidth; index < tiles; index++ {
			b, err := t.read(tileID{level, index})
			if err != nil {
				return nil, fmt.Errorf("tree of %d leaves: %w", size, err)
			}
			t.makeHot(b)
			root := b.root()
			t.set(compact.NewNodeID(uint(8*(level+1)), index), &root)
		}
	}
	for id, b := range t.fresh { // the tiles that are not full: first rows so far
		b.fill(int(size >> (8 * id.level) % TileWidth))
	}
	t.head.Store(&head{edges: []*edge{{node: []Hash{emptyRoot()}}}})
	if err := t.Advance(size); err != nil {
		return nil, err
	}
	return t, nil
}

// read returns a full tile from the loader as a block.
func (t *Tree) read(id tileID) (*block, error) {
	data, err := t.readData(id)
	if err != nil {
		return nil, err
	}
	b := &block{tileID: id}
	for i := range TileWidth {
		b.nodes[i] = Hash(data[i*len(Hash{}):])
	}
	b.fill(TileWidth)
	return b, nil
}

func (t *Tree) readData(id tileID) ([]byte, error) {
	data, err := t.load(id.level, id.index)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", TilePath(id.level, id.index, TileWidth), err)
	}
	if got, want := len(data), TileWidth*len(Hash{}); got != want {
		return nil, fmt.Errorf("load %s: %w: %d bytes, want %d", TilePath(id.level, id.index, TileWidth), ErrFormat, got, want)
	}
	return data, nil
}

// block returns the block that holds a published node.
func (t *Tree) block(id tileID) (*block, error) {
	if b := t.hotBlock(id); b != nil {
		return b, nil
	}
	return t.cache.get(id, t.readChecked)
}

// readChecked is read for a tile whose root the tree knows, so that a store
// gone bad is an error here and not a wrong proof in somebody's hands.
func (t *Tree) readChecked(id tileID) (*block, error) {
	b, err := t.read(id)
	if err != nil {
		return nil, err
	}
	want, err := t.node(compact.NewNodeID(uint(8*(id.level+1)), id.index))
	if err != nil {
		return nil, err
	}
	if b.root() != want {
		return nil, fmt.Errorf("load %s: %w: it does not hash to its parent", TilePath(id.level, id.index, TileWidth), ErrFormat)
	}
	return b, nil
}

func (t *Tree) hotBlock(id tileID) *block {
	if b := t.hot[id.level][id.index%hotBlocks].Load(); b != nil && b.tileID == id {
		return b
	}
	return nil
}

func (t *Tree) makeHot(b *block) { t.hot[b.level][b.index%hotBlocks].Store(b) }

// node returns a published node.
func (t *Tree) node(id compact.NodeID) (Hash, error) {
	tile, at := place(id)
	b, err := t.block(tile)
	if err != nil {
		return Hash{}, err
	}
	return b.node(id, at)
}

func (b *block) node(id compact.NodeID, at int) (Hash, error) {
	h := b.nodes[at]
	if h == (Hash{}) {
		return h, fmt.Errorf("tree node %d at level %d was never set", id.Index, id.Level)
	}
	return h, nil
}

// Set adds a node that is complete with the integrator's batch: each leaf and
// each node above that gets its last leaf, in any order. Integrator only. It
// panics for a node that is published already.
func (t *Tree) Set(id compact.NodeID, hash []byte) {
	if id.Index < t.Size()>>id.Level {
		panic(fmt.Sprintf("tlog: node %d at level %d is already published", id.Index, id.Level))
	}
	t.set(id, (*Hash)(hash))
}

func (t *Tree) set(id compact.NodeID, h *Hash) {
	tile, at := place(id)
	b := t.integratorBlock(tile)
	if b == nil {
		b = &block{tileID: tile}
		t.fresh[tile] = b
	}
	b.nodes[at] = *h
}

// integratorBlock returns the hot or fresh block, or nil.
func (t *Tree) integratorBlock(id tileID) *block {
	if b := t.hotBlock(id); b != nil {
		return b
	}
	return t.fresh[id]
}

// Integrated is Node for the integrator only: it also returns nodes that were
// set since the last Advance.
func (t *Tree) Integrated(id compact.NodeID) (Hash, error) {
	if id.Level > 63 || id.Index < t.Size()>>id.Level {
		return t.Node(id)
	}
	tile, at := place(id)
	b := t.integratorBlock(tile)
	if b == nil {
		return Hash{}, fmt.Errorf("tree node %d at level %d was never set", id.Index, id.Level)
	}
	return b.node(id, at)
}

// FullTiles returns the hash tiles that are full at size to and were not at
// size from, in the order of their levels. Integrator only. It fails if a node
// between the two sizes was not set, so that nothing incomplete is stored.
func (t *Tree) FullTiles(from, to uint64) ([]Tile, error) {
	for level := uint(0); to>>level > 0; level++ {
		for index := from >> level; index < to>>level; index++ {
			if _, err := t.Integrated(compact.NewNodeID(level, index)); err != nil {
				return nil, err
			}
		}
	}
	var tiles []Tile
	for level := 0; to>>(8*level) >= TileWidth; level++ {
		shift := 8 * (level + 1)
		for index := from >> shift; index < to>>shift; index++ {
			id := tileID{level, index}
			b := t.integratorBlock(id)
			if b == nil { // from is an older size
				var err error
				if b, err = t.block(id); err != nil {
					return nil, err
				}
			}
			tiles = append(tiles, Tile{Level: level, Index: index, Data: b.data(TileWidth)})
		}
	}
	return tiles, nil
}

// Advance publishes the tree of the given size: its nodes are set and what
// FullTiles returned for it can be loaded. Integrator only.
func (t *Tree) Advance(size uint64) error {
	old := t.head.Load()
	if size < old.size() {
		return fmt.Errorf("advance to %d leaves: %w: it has %d", size, ErrRange, old.size())
	}
	if size == old.size() {
		return nil
	}
	// Upper levels first: who finds a tile gone from the hot ones checks what
	// it reads back against the level above.
	fresh := slices.SortedFunc(maps.Keys(t.fresh), func(a, b tileID) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.index, b.index))
	})
	for _, id := range fresh {
		// A block of a longer batch that failed may have nothing to publish.
		if id.index<<8 < size>>(8*id.level) {
			t.makeHot(t.fresh[id])
		}
	}
	clear(t.fresh)
	e, err := t.newEdge(size)
	if err != nil {
		return fmt.Errorf("advance to %d leaves: %w", size, err)
	}
	edges := append(make([]*edge, 0, headEdges), e)
	edges = append(edges, old.edges[:min(len(old.edges), headEdges-1)]...)
	t.head.Store(&head{edges})
	return nil
}

// Size returns the number of leaves that are published.
func (t *Tree) Size() uint64 { return t.head.Load().size() }

// Node returns a complete node of the published tree, at any tree level.
func (t *Tree) Node(id compact.NodeID) (Hash, error) {
	if size := t.Size(); id.Index >= size>>id.Level {
		return Hash{}, fmt.Errorf("tree node %d at level %d: %w of %d leaves", id.Index, id.Level, ErrRange, size)
	}
	return t.node(id)
}

// edge returns the edge of a published size.
func (t *Tree) edge(size uint64) (*edge, error) {
	h := t.head.Load()
	if size > h.size() {
		return nil, fmt.Errorf("tree size %d: %w of %d leaves", size, ErrRange, h.size())
	}
	for _, e := range h.edges {
		if e.size == size {
			return e, nil
		}
	}
	return t.newEdge(size)
}

func (t *Tree) newEdge(size uint64) (*edge, error) {
	if size == 0 {
		return &edge{node: []Hash{emptyRoot()}}, nil
	}
	last := size - 1
	levels := bits.Len64(last)
	e := &edge{size: size, node: make([]Hash, levels+1), left: make([]Hash, levels)}
	h, err := t.node(compact.NewNodeID(0, last))
	if err != nil {
		return nil, err
	}
	e.node[0] = h
	for level := range levels {
		if index := last >> level; index&1 == 1 {
			if e.left[level], err = t.node(compact.NewNodeID(uint(level), index-1)); err != nil {
				return nil, err
			}
			h = nodeHash(&e.left[level], &h)
		}
		e.node[level+1] = h
	}
	return e, nil
}

// appendPath appends the proof that the tree of the edge's size includes the
// subtree of the given level and index, which is complete in it.
func (t *Tree) appendPath(dst []Hash, level uint, index uint64, e *edge) ([]Hash, error) {
	// Up to the level where the path meets the edge, the siblings are complete
	// nodes; there, it is the edge's own node; above, left siblings of the edge.
	meet := uint(bits.Len64(index ^ (e.size-1)>>level))
	var b *block
	for up := uint(0); up+1 < meet; up++ {
		id := compact.NewNodeID(level+up, index>>up^1)
		tile, at := place(id)
		if b == nil || b.tileID != tile {
			var err error
			if b, err = t.block(tile); err != nil {
				return nil, err
			}
		}
		h, err := b.node(id, at)
		if err != nil {
			return nil, err
		}
		dst = append(dst, h)
	}
	if meet > 0 {
		dst = append(dst, e.node[level+meet-1])
	}
	for up := meet; index>>up > 0; up++ {
		if index>>up&1 == 1 {
			dst = append(dst, e.left[level+up])
		}
	}
	return dst, nil
}

// Inclusion appends the proof that the tree of the given published size has
// the leaf with the given index, leaf to root (RFC 6962, section 2.1.1).
func (t *Tree) Inclusion(dst []Hash, index, size uint64) ([]Hash, error) {
	e, err := t.edge(size)
	if err != nil {
		return nil, err
	}
	if index >= size {
		return nil, fmt.Errorf("leaf %d: %w of %d leaves", index, ErrRange, size)
	}
	return t.appendPath(dst, 0, index, e)
}

// Consistency returns the proof that the tree of size to, which is published,
// extends the tree of size from (RFC 6962, section 2.1.2). It is empty if from
// is 0 or to.
func (t *Tree) Consistency(from, to uint64) ([]Hash, error) {
	e, err := t.edge(to)
	if err != nil {
		return nil, err
	}
	if from > to {
		return nil, fmt.Errorf("consistency from size %d: %w of %d leaves", from, ErrRange, to)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	// The largest complete subtree that ends the old tree is in the new one
	// too; who checks knows it already if it is the whole old tree.
	level := uint(bits.TrailingZeros64(from))
	index := (from - 1) >> level
	proof := make([]Hash, 0, bits.Len64(to)+1)
	if index > 0 {
		h, err := t.node(compact.NewNodeID(level, index))
		if err != nil {
			return nil, err
		}
		proof = append(proof, h)
	}
	return t.appendPath(proof, level, index, e)
}

// Root returns the root of the tree of a published size.
func (t *Tree) Root(size uint64) (Hash, error) {
	e, err := t.edge(size)
	if err != nil {
		return Hash{}, err
	}
	return e.root(), nil
}

// TileData returns the first width hashes, 1 to 256, of a tile, 32 bytes each.
// They must be complete in the tree of the given published size; the tile may
// be wider by now.
func (t *Tree) TileData(level int, index uint64, width int, size uint64) ([]byte, error) {
	if published := t.Size(); size > published {
		return nil, fmt.Errorf("tree size %d: %w of %d leaves", size, ErrRange, published)
	}
	if level < 0 || level > levelMax || width < 1 || width > TileWidth {
		return nil, fmt.Errorf("tile %d of level %d, width %d: %w", index, level, width, ErrRange)
	}
	hashes := size >> (8 * level) // on this tile level
	if index > hashes/TileWidth || index*TileWidth+uint64(width) > hashes {
		return nil, fmt.Errorf("tile %d of level %d, width %d: %w of %d leaves", index, level, width, ErrRange, size)
	}
	id := tileID{level, index}
	if b := t.hotBlock(id); b != nil {
		return b.data(width), nil
	}
	// Not by the cache: someone who reads the whole log would empty it.
	data, err := t.readData(id)
	if err != nil {
		return nil, err
	}
	return data[: width*len(Hash{}) : width*len(Hash{})], nil
}
