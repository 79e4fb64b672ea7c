package tlog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	sumdb "golang.org/x/mod/sumdb/tlog"
)

// store stands for the durable store: it has the full tiles of the batches
// that were committed, and counts how often it is asked.
type store struct {
	mu    sync.Mutex
	tiles map[tileID][]byte
	loads map[tileID]int
}

func newStore() *store { return &store{tiles: map[tileID][]byte{}, loads: map[tileID]int{}} }

func (s *store) put(tiles []Tile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tile := range tiles {
		s.tiles[tileID{tile.Level, tile.Index}] = tile.Data
	}
}

func (s *store) load(level int, index uint64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads[tileID{level, index}]++
	data, ok := s.tiles[tileID{level, index}]
	if !ok {
		return nil, fmt.Errorf("no tile %d of level %d", index, level)
	}
	return bytes.Clone(data), nil
}

// log is a tree with its store, grown the way Trillian's sequencer does it: a
// compact range computes the nodes, which arrive in map order.
type log struct {
	*Tree
	store *store
	rng   *compact.Range
}

var rangeFactory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

func newLog(t testing.TB) *log {
	t.Helper()
	s := newStore()
	tree, err := NewTree(0, s.load, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &log{tree, s, rangeFactory.NewEmptyRange(0)}
}

// nodes returns the nodes that a batch of n more leaves completes.
func (l *log) nodes(t testing.TB, n int) map[compact.NodeID][]byte {
	t.Helper()
	nodes := map[compact.NodeID][]byte{}
	for range n {
		h := testHash(l.rng.End())
		if err := l.rng.Append(h[:], func(id compact.NodeID, hash []byte) { nodes[id] = hash }); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

func (l *log) grow(t testing.TB, n int) {
	t.Helper()
	for id, h := range l.nodes(t, n) {
		l.Set(id, h)
	}
	size := l.rng.End()
	tiles, err := l.FullTiles(l.Size(), size)
	if err != nil {
		t.Fatal(err)
	}
	l.store.put(tiles)
	if err := l.Advance(size); err != nil {
		t.Fatal(err)
	}
}

func testLeaf(i uint64) []byte { return strconv.AppendUint([]byte("leaf "), i, 10) }
func testHash(i uint64) Hash   { return LeafHash(testLeaf(i)) }

// reference is the tree of transparency-dev/merkle with the same leaves.
func reference(size uint64) *testonly.Tree {
	tree := testonly.New(rfc6962.DefaultHasher)
	for i := range size {
		tree.AppendData(testLeaf(i))
	}
	return tree
}

// like says whether hashes of ours are those of the reference.
func like(ours []Hash, theirs [][]byte) bool {
	if len(ours) != len(theirs) {
		return false
	}
	for i := range ours {
		if !bytes.Equal(ours[i][:], theirs[i]) {
			return false
		}
	}
	return true
}

func slicesOf(hashes []Hash) [][]byte {
	s := make([][]byte, len(hashes))
	for i := range hashes {
		s[i] = hashes[i][:]
	}
	return s
}

func checkInclusion(t *testing.T, tree *Tree, ref *testonly.Tree, index, size uint64) {
	t.Helper()
	got, err := tree.Inclusion(nil, index, size)
	if err != nil {
		t.Fatalf("inclusion of %d in %d: %v", index, size, err)
	}
	want, err := ref.InclusionProof(index, size)
	if err != nil {
		t.Fatal(err)
	}
	if !like(got, want) {
		t.Fatalf("inclusion of %d in %d: %x, want %x", index, size, got, want)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, ref.LeafHash(index), slicesOf(got), ref.HashAt(size)); err != nil {
		t.Fatalf("inclusion of %d in %d: %v", index, size, err)
	}
}

func checkConsistency(t *testing.T, tree *Tree, ref *testonly.Tree, from, to uint64) {
	t.Helper()
	got, err := tree.Consistency(from, to)
	if err != nil {
		t.Fatalf("consistency of %d and %d: %v", from, to, err)
	}
	want, err := ref.ConsistencyProof(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if !like(got, want) {
		t.Fatalf("consistency of %d and %d: %x, want %x", from, to, got, want)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, to, slicesOf(got), ref.HashAt(from), ref.HashAt(to)); err != nil {
		t.Fatalf("consistency of %d and %d: %v", from, to, err)
	}
}

func checkRoot(t *testing.T, tree *Tree, ref *testonly.Tree, size uint64) {
	t.Helper()
	root, err := tree.Root(size)
	if err != nil {
		t.Fatalf("root of %d: %v", size, err)
	}
	if !bytes.Equal(root[:], ref.HashAt(size)) {
		t.Fatalf("root of %d: %x, want %x", size, root, ref.HashAt(size))
	}
}

func TestEveryProofOfSmallTreesIsTheReferences(t *testing.T) {
	const sizeMax = 600
	ref := reference(sizeMax)
	l := newLog(t)
	for size := uint64(0); ; size++ {
		checkRoot(t, l.Tree, ref, size)
		for index := range size {
			got, err := l.Inclusion(nil, index, size)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := ref.InclusionProof(index, size)
			if !like(got, want) {
				t.Fatalf("inclusion of %d in %d: %x, want %x", index, size, got, want)
			}
		}
		for from := range size + 1 {
			got, err := l.Consistency(from, size)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := ref.ConsistencyProof(from, size)
			if !like(got, want) {
				t.Fatalf("consistency of %d and %d: %x, want %x", from, size, got, want)
			}
		}
		if size == sizeMax {
			break
		}
		l.grow(t, 1)
	}
	// The same with the last tree only: every older size is computed anew.
	for size := uint64(1); size <= sizeMax; size += 7 {
		for index := uint64(0); index < size; index += 5 {
			checkInclusion(t, l.Tree, ref, index, size)
			checkConsistency(t, l.Tree, ref, index, size)
		}
	}
}

// A tree of more than 65,536 leaves has three tile levels, and more level-0
// tiles than the hot window.
const largeSize = 140_000

func TestProofsOfALargeTree(t *testing.T) {
	ref := reference(largeSize)
	l := newLog(t)
	l.cache.capacity = 20 // so that blocks come and go
	rnd := rand.New(rand.NewPCG(1, 2))
	for l.Size() < largeSize {
		n := 1 + rnd.Uint64N(900)
		if rnd.IntN(20) == 0 {
			n = 20_000 // longer than the hot window
		}
		l.grow(t, int(min(n, largeSize-l.Size())))
		size := l.Size()
		checkRoot(t, l.Tree, ref, size)
		for range 5 {
			checkInclusion(t, l.Tree, ref, rnd.Uint64N(size), size)
			checkInclusion(t, l.Tree, ref, size-1-rnd.Uint64N(min(size, 500)), size)
			checkConsistency(t, l.Tree, ref, rnd.Uint64N(size+1), size)
		}
	}
	for range 1500 {
		size := 1 + rnd.Uint64N(largeSize)
		checkRoot(t, l.Tree, ref, size)
		checkInclusion(t, l.Tree, ref, rnd.Uint64N(size), size)
		checkConsistency(t, l.Tree, ref, rnd.Uint64N(size+1), size)
	}
	for _, size := range []uint64{255, 256, 257, 65_535, 65_536, 65_537, 131_072, largeSize} {
		for _, index := range []uint64{0, size / 2, size - 1} {
			checkInclusion(t, l.Tree, ref, index, size)
			checkConsistency(t, l.Tree, ref, index, size)
		}
	}
	if got := l.cache.recent.Len(); got > 20 || got != len(l.cache.byID) {
		t.Errorf("cache has %d blocks listed, %d known, want at most 20", got, len(l.cache.byID))
	}
}

func TestNodesAreTheReferences(t *testing.T) {
	const size = 70_000
	l := newLog(t)
	want := map[compact.NodeID][]byte{}
	for range 7 {
		nodes := l.nodes(t, size/7)
		for id, h := range nodes {
			want[id] = h
			l.Set(id, h)
		}
		for id := range nodes {
			if h, err := l.Integrated(id); err != nil || !bytes.Equal(h[:], want[id]) {
				t.Fatalf("integrated node %v: %x, %v, want %x", id, h, err, want[id])
			}
			if _, err := l.Node(id); !errors.Is(err, ErrRange) {
				t.Fatalf("node %v before it is published: %v, want ErrRange", id, err)
			}
		}
		l.grow(t, 0)
	}
	for id, w := range want {
		if h, err := l.Node(id); err != nil || !bytes.Equal(h[:], w) {
			t.Fatalf("node %v: %x, %v, want %x", id, h, err, w)
		}
	}
	for level := uint(0); level < 70; level++ {
		id := compact.NewNodeID(level, size>>level)
		if _, err := l.Node(id); !errors.Is(err, ErrRange) {
			t.Errorf("node %v: %v, want ErrRange", id, err)
		}
		if _, err := l.Integrated(id); err == nil {
			t.Errorf("integrated node %v, which nobody set", id)
		}
	}
}

func TestTreeReloadsFromTilesAtAnySize(t *testing.T) {
	const sizeMax = 70_000
	ref := reference(sizeMax)
	l := newLog(t)
	l.grow(t, sizeMax)
	rnd := rand.New(rand.NewPCG(3, 4))
	sizes := []uint64{0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_792, sizeMax}
	for range 15 {
		sizes = append(sizes, rnd.Uint64N(sizeMax))
	}
	for _, size := range sizes {
		var tail []Hash
		for i := size - size%TileWidth; i < size; i++ {
			tail = append(tail, testHash(i))
		}
		s := &store{tiles: maps.Clone(l.store.tiles), loads: map[tileID]int{}}
		tree, err := NewTree(size, s.load, tail)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		var want int // the tiles whose roots are in a tile that is not full
		for full := size / TileWidth; full > 0; full /= TileWidth {
			want += int(full % TileWidth)
		}
		if size > 0 && size%65_536 == 0 {
			want++ // and the one that the last leaf is in
		}
		if got := len(s.loads); got != want {
			t.Errorf("size %d: %d tiles loaded, want %d", size, got, want)
		}
		for id, n := range s.loads {
			if n > 1 {
				t.Errorf("size %d: tile %v loaded %d times", size, id, n)
			}
		}
		checkRoot(t, tree, ref, size)
		if size > 0 {
			for range 20 {
				checkInclusion(t, tree, ref, rnd.Uint64N(size), size)
				checkConsistency(t, tree, ref, rnd.Uint64N(size+1), size)
			}
		}
		for level := 0; size>>(8*level) > 0; level++ {
			hashes := size >> (8 * level)
			index, width := (hashes-1)/TileWidth, int((hashes-1)%TileWidth)+1
			got, err1 := tree.TileData(level, index, width, size)
			want, err2 := l.TileData(level, index, width, sizeMax)
			if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
				t.Fatalf("size %d: tile %d of level %d differs from the live tree's: %v, %v", size, index, level, err1, err2)
			}
		}
		// It goes on as the live tree did.
		var peaks [][]byte
		for _, id := range compact.RangeNodes(0, size, nil) {
			h, err := tree.Node(id)
			if err != nil {
				t.Fatal(err)
			}
			peaks = append(peaks, h[:])
		}
		rng, err := rangeFactory.NewRange(0, size, peaks)
		if err != nil {
			t.Fatal(err)
		}
		reloaded := &log{tree, s, rng}
		reloaded.grow(t, int(min(sizeMax-size, 700)))
		checkRoot(t, tree, ref, reloaded.Size())
		checkConsistency(t, tree, ref, size, reloaded.Size())
	}
}

func TestFullTilesAreReportedOnceWithTheirBytes(t *testing.T) {
	const size = 66_000
	s := newStore()
	want := map[tileID][]byte{}
	builder := Builder{OnTile: func(tile Tile) {
		want[tileID{tile.Level, tile.Index}] = bytes.Clone(tile.Data)
	}}
	tree, err := NewTree(0, s.load, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{tree, s, rangeFactory.NewEmptyRange(0)}
	rnd := rand.New(rand.NewPCG(5, 6))
	got := 0
	for l.Size() < size {
		from := l.Size()
		for id, h := range l.nodes(t, int(min(size-from, 1+rnd.Uint64N(3000)))) {
			l.Set(id, h)
		}
		to := l.rng.End()
		for i := from; i < to; i++ {
			builder.Add(testHash(i))
		}
		tiles, err := l.FullTiles(from, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, tile := range tiles {
			got++
			if !bytes.Equal(tile.Data, want[tileID{tile.Level, tile.Index}]) {
				t.Fatalf("tile %d of level %d differs from the builder's", tile.Index, tile.Level)
			}
		}
		s.put(tiles)
		if err := l.Advance(to); err != nil {
			t.Fatal(err)
		}
		if root, err := l.Root(to); err != nil || root != builder.Root() {
			t.Fatalf("root of %d: %x, %v, want the builder's %x", to, root, err, builder.Root())
		}
	}
	if got != len(want) || got != size/256+size/65536 {
		t.Errorf("%d tiles, the builder has %d, want %d", got, len(want), size/256+size/65536)
	}
	again, err := l.FullTiles(0, size)
	if err != nil || len(again) != got {
		t.Errorf("%d tiles from the start: %v, want %d", len(again), err, got)
	}
}

func TestTilesOfEveryWidthUpToASizeAreServed(t *testing.T) {
	const size = 66_000
	l := newLog(t)
	l.grow(t, size)
	// Index 0 was read back from the store, 256 is hot, 257 is not full.
	for _, c := range []struct {
		level int
		index uint64
	}{{0, 0}, {0, 256}, {0, 257}, {1, 0}, {1, 1}, {2, 0}} {
		hashes := uint64(size) >> (8 * c.level)
		most := int(min(hashes-c.index*TileWidth, TileWidth))
		full, err := l.TileData(c.level, c.index, most, size)
		if err != nil {
			t.Fatal(err)
		}
		for width := 1; width <= most; width++ {
			data, err := l.TileData(c.level, c.index, width, size)
			if err != nil || !bytes.Equal(data, full[:width*32]) {
				t.Fatalf("tile %d of level %d, width %d: %v", c.index, c.level, width, err)
			}
		}
		h, err := l.Node(compact.NewNodeID(uint(8*c.level), c.index*TileWidth+uint64(most)-1))
		if err != nil || !bytes.Equal(h[:], full[most*32-32:]) {
			t.Errorf("tile %d of level %d does not end with its node: %v", c.index, c.level, err)
		}
	}
	for _, c := range []struct {
		level int
		index uint64
		width int
		size  uint64
	}{
		{0, 257, 209, size}, {0, 258, 1, size}, {1, 1, 2, size}, {2, 0, 2, size}, {3, 0, 1, size}, // not there
		{0, 0, 11, 10}, {0, 0, 1, 0}, {1, 0, 1, 255}, // not there yet
		{0, 0, 0, size}, {0, 0, 257, size}, {-1, 0, 1, size}, {64, 0, 1, size}, {8, 0, 1, size}, // no such tile
		{0, 1 << 56, 1, size}, {0, 1<<64 - 1, 256, size},
		{0, 0, 1, size + 1}, // no such tree
	} {
		if _, err := l.TileData(c.level, c.index, c.width, c.size); !errors.Is(err, ErrRange) {
			t.Errorf("%+v: %v, want ErrRange", c, err)
		}
	}
}

func TestTreeRefusesWhatIsOutside(t *testing.T) {
	l := newLog(t)
	l.grow(t, 300)
	outside := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrRange) {
			t.Errorf("%s: %v, want ErrRange", what, err)
		}
	}
	_, err := l.Inclusion(nil, 300, 300)
	outside("leaf 300 of 300", err)
	_, err = l.Inclusion(nil, 0, 0)
	outside("leaf 0 of 0", err)
	_, err = l.Inclusion(nil, 0, 301)
	outside("leaf in a tree to come", err)
	_, err = l.Consistency(10, 301)
	outside("consistency with a tree to come", err)
	_, err = l.Consistency(11, 10)
	outside("consistency backwards", err)
	_, err = l.Root(301)
	outside("root to come", err)
	outside("going back", l.Advance(299))
	if err := l.Advance(300); err != nil {
		t.Errorf("staying: %v", err)
	}
	if _, err := NewTree(300, l.store.load, make([]Hash, 43)); err == nil {
		t.Error("a tail that is too short was taken")
	}
}

func TestAMissingNodeIsNoticedBeforeTheCommit(t *testing.T) {
	l := newLog(t)
	l.grow(t, 100)
	nodes := l.nodes(t, 1000)
	for _, missing := range []compact.NodeID{{Level: 0, Index: 100}, {Level: 0, Index: 1099}, {Level: 3, Index: 50}, {Level: 8, Index: 2}, {Level: 10, Index: 0}} {
		tree, err := NewTree(100, l.store.load, hashesOf(0, 100))
		if err != nil {
			t.Fatal(err)
		}
		for id, h := range nodes {
			if id != missing {
				tree.Set(id, h)
			}
		}
		if _, err := tree.FullTiles(100, 1100); err == nil {
			t.Errorf("node %v is missing and was not missed", missing)
		}
		tree.Set(missing, nodes[missing])
		if _, err := tree.FullTiles(100, 1100); err != nil {
			t.Errorf("nothing is missing: %v", err)
		}
	}
	// An edge node that is missing is noticed by Advance, too.
	if err := l.Advance(1100); err == nil {
		t.Error("advanced to leaves that nobody set")
	}
}

func hashesOf(from, to uint64) []Hash {
	var hashes []Hash
	for i := from; i < to; i++ {
		hashes = append(hashes, testHash(i))
	}
	return hashes
}

func TestABatchThatFailedIsSetAnew(t *testing.T) {
	l := newLog(t)
	l.grow(t, 200)
	// A batch of other leaves, longer than the hot window, is not committed.
	other, err := rangeFactory.NewRange(0, 200, l.rng.Hashes())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		h := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		if err := other.Append(h[:], l.Set); err != nil {
			t.Fatal(err)
		}
	}
	ref := reference(2000)
	l.rng = rangeFactory.NewEmptyRange(0)
	l.nodes(t, 200)
	l.grow(t, 30)
	checkRoot(t, l.Tree, ref, 230)
	l.grow(t, 1770)
	for index := range uint64(2000) {
		checkInclusion(t, l.Tree, ref, index, 2000)
	}
}

func TestSettingAPublishedNodePanics(t *testing.T) {
	l := newLog(t)
	l.grow(t, 10)
	defer func() {
		if recover() == nil {
			t.Error("a published leaf was set again")
		}
	}()
	h := testHash(9)
	l.Set(compact.NewNodeID(0, 9), h[:])
}

func TestATileGoneBadIsAnError(t *testing.T) {
	l := newLog(t)
	l.grow(t, 70_000)
	ask := func() error {
		_, err := l.Inclusion(nil, 100, 70_000)
		return err
	}
	good := l.store.tiles[tileID{0, 0}]
	bad := bytes.Clone(good)
	bad[5000] ^= 1
	l.store.tiles[tileID{0, 0}] = bad
	if err := ask(); !errors.Is(err, ErrFormat) {
		t.Errorf("flipped bit: %v, want ErrFormat", err)
	}
	l.store.tiles[tileID{0, 0}] = good[:8000]
	if err := ask(); !errors.Is(err, ErrFormat) {
		t.Errorf("short tile: %v, want ErrFormat", err)
	}
	delete(l.store.tiles, tileID{0, 0})
	if err := ask(); err == nil {
		t.Error("missing tile: no error")
	}
	// An error is not remembered.
	l.store.tiles[tileID{0, 0}] = good
	if err := ask(); err != nil {
		t.Errorf("tile is back: %v", err)
	}
	loads := l.store.loads[tileID{0, 0}]
	if err := ask(); err != nil || l.store.loads[tileID{0, 0}] != loads {
		t.Errorf("tile was read again: %v", err)
	}
}

func TestReadersSeeWholeTreesWhileItGrows(t *testing.T) {
	const sizeMax = 45_000
	ref := reference(sizeMax)
	l := newLog(t)
	l.cache.capacity = 8
	var done atomic.Bool
	var proofs atomic.Int64
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var buf []Hash
			for last := false; !last; {
				last = done.Load() // one more round with the whole tree
				size := l.Size()
				if size == 0 {
					continue
				}
				if rnd.IntN(4) == 0 {
					size = 1 + rnd.Uint64N(size)
				}
				index := size - 1 - rnd.Uint64N(min(size, 400))
				if rnd.IntN(4) == 0 {
					index = rnd.Uint64N(size)
				}
				var err error
				if buf, err = l.Inclusion(buf[:0], index, size); err != nil {
					t.Errorf("inclusion of %d in %d: %v", index, size, err)
					return
				}
				if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, ref.LeafHash(index), slicesOf(buf), ref.HashAt(size)); err != nil {
					t.Errorf("inclusion of %d in %d: %v", index, size, err)
					return
				}
				from := rnd.Uint64N(size + 1)
				c, err := l.Consistency(from, size)
				if err != nil {
					t.Errorf("consistency of %d and %d: %v", from, size, err)
					return
				}
				if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, size, slicesOf(c), ref.HashAt(from), ref.HashAt(size)); err != nil {
					t.Errorf("consistency of %d and %d: %v", from, size, err)
					return
				}
				width := int((size-1)%TileWidth) + 1
				data, err := l.TileData(0, (size-1)/TileWidth, width, size)
				if err != nil || !bytes.HasSuffix(data, ref.LeafHash(size-1)) {
					t.Errorf("last tile of %d: %v", size, err)
					return
				}
				if h, err := l.Node(compact.NewNodeID(0, index)); err != nil || !bytes.Equal(h[:], ref.LeafHash(index)) {
					t.Errorf("leaf %d of %d: %v", index, size, err)
					return
				}
				proofs.Add(1)
			}
		})
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	for l.Size() < sizeMax && !t.Failed() {
		l.grow(t, int(min(sizeMax-l.Size(), 1+rnd.Uint64N(200))))
	}
	done.Store(true)
	readers.Wait()
	if n := proofs.Load(); n < 4 {
		t.Errorf("only %d proofs were checked", n)
	}
}

// tiles serves a tree to the tile reader of golang.org/x/mod/sumdb/tlog, which
// checks every tile against the root.
type tiles struct {
	*Tree
	size uint64
}

func (r tiles) Height() int { return 8 }

func (r tiles) SaveTiles([]sumdb.Tile, [][]byte) {}

func (r tiles) ReadTiles(want []sumdb.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range want {
		// Its own path is tile/8/<level>/<index>[.p/<width>].
		path := TilePath(tile.L, uint64(tile.N), tile.W)
		if own := "tile/8/" + path[len("tile/"):]; own != tile.Path() {
			return nil, fmt.Errorf("path %s, theirs is %s", path, tile.Path())
		}
		r0, err := ParsePath(path)
		if err != nil {
			return nil, err
		}
		d, err := r.TileData(r0.Level, r0.Index, r0.Width, r.size)
		if err != nil {
			return nil, err
		}
		data = append(data, d)
	}
	return data, nil
}

func TestSumdbReadsOurTilesAndProofs(t *testing.T) {
	const sizeMax = 70_000
	l := newLog(t)
	l.grow(t, sizeMax)
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 150 {
		size := 1 + rnd.Uint64N(sizeMax)
		index, from := rnd.Uint64N(size), 1+rnd.Uint64N(size)
		root, err := l.Root(size)
		if err != nil {
			t.Fatal(err)
		}
		reader := sumdb.TileHashReader(sumdb.Tree{N: int64(size), Hash: root}, tiles{l.Tree, size})

		theirs, err := sumdb.ProveRecord(int64(size), int64(index), reader)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := l.Inclusion(nil, index, size)
		if err != nil {
			t.Fatal(err)
		}
		p := make(sumdb.RecordProof, len(ours))
		for i, h := range ours {
			p[i] = h
		}
		if fmt.Sprint(p) != fmt.Sprint(theirs) {
			t.Fatalf("inclusion of %d in %d: %v, theirs is %v", index, size, p, theirs)
		}
		if err := sumdb.CheckRecord(p, int64(size), root, int64(index), sumdb.RecordHash(testLeaf(index))); err != nil {
			t.Fatalf("inclusion of %d in %d: %v", index, size, err)
		}

		oldRoot, err := l.Root(from)
		if err != nil {
			t.Fatal(err)
		}
		consistency, err := l.Consistency(from, size)
		if err != nil {
			t.Fatal(err)
		}
		tp := make(sumdb.TreeProof, len(consistency))
		for i, h := range consistency {
			tp[i] = h
		}
		if err := sumdb.CheckTree(tp, int64(size), root, int64(from), oldRoot); err != nil {
			t.Fatalf("consistency of %d and %d: %v", from, size, err)
		}
	}
}
