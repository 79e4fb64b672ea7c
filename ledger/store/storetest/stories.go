package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"countroom/ledger/store"
)

func testEmpty(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	if got := h.store.Head(); got != (store.Head{}) {
		t.Fatalf("Head is %+v, want the zero Head", got)
	}
	h.verify()
	r := h.snapshot()
	defer r.Close()
	for _, g := range []store.Getter{h.store, r} {
		wantAbsent(t, g.Row, "a")
		wantAbsent(t, g.Vault, "a")
		wantAbsent(t, g.Index, "a")
		tile, err := g.Tile(0, 0)
		if err != nil || tile != nil {
			t.Fatalf("Tile(0, 0) = %d bytes, %v, want none", len(tile), err)
		}
		if cursor, err := g.IndexCursor(); err != nil || cursor != 0 {
			t.Fatalf("IndexCursor = %d, %v, want 0", cursor, err)
		}
		_, err = g.Leaf(0)
		wantErr(t, err, store.ErrInvalid)
	}
	if checkpoint, err := h.store.Checkpoint(); err != nil || checkpoint != nil {
		t.Fatalf("Checkpoint = %q, %v, want none", checkpoint, err)
	}
	_, err := h.store.BuildFolds(7)
	wantErr(t, err, store.ErrInvalid)
}

func testReadBack(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()

	// Any bytes are a leaf, from none to the longest.
	b := h.batch([]byte{}, []byte{0}, []byte("\xff\x00\n"), bytes.Repeat([]byte{0xa5}, store.MaxLeaf), []byte("last"))
	b.Rows = []store.Row{row("wallet/1", "100"), row("\x00", "\x00"), row("empty", ""), row("\xff\xff", "end")}
	b.Vault = []store.Row{row("player/1", "sealed"), row("wallet/1", "not the wallet")}
	b.Checkpoint = []byte("signed head 0\n")
	h.commit(b)
	h.verify()
	wantCheckpoint(t, h.store, "signed head 0\n")

	// The batch's memory is the caller's again.
	clear(b.Leaves[4])
	clear(b.Rows[0].Value)
	clear(b.Vault[0].Key)
	clear(b.Checkpoint)
	h.verify()
	wantCheckpoint(t, h.store, "signed head 0\n")

	// A nil checkpoint leaves the stored one. The log may stand still while the term rises and the vault forgets.
	b = h.batch()
	b.Next.Term++
	b.Vault = []store.Row{deleted("player/1")}
	h.commit(b)
	h.verify()
	wantAbsent(t, h.store.Vault, "player/1")
	wantCheckpoint(t, h.store, "signed head 0\n")
	check(t, h.store.SetCheckpoint([]byte("signed head 1\n")))
	wantCheckpoint(t, h.store, "signed head 1\n")

	// Tiles of two levels; level 1 is full at 65,536 leaves.
	b = h.batch(make([][]byte, 65_536-int(h.head.Size))...)
	for i := range uint64(256) {
		b.Tiles = append(b.Tiles, store.Tile{Index: i, Data: bytes.Repeat([]byte{byte(i)}, store.TileSize)})
	}
	b.Tiles = append(b.Tiles, store.Tile{Level: 1, Data: bytes.Repeat([]byte("1"), store.TileSize)})
	h.commit(b)
	h.verify()
	tile, err := h.store.Tile(1, 0)
	if err != nil || !bytes.Equal(tile, b.Tiles[256].Data) {
		t.Fatalf("Tile(1, 0) = %d bytes, %v", len(tile), err)
	}
	if tile, err = h.store.Tile(0, 256); err != nil || tile != nil {
		t.Fatalf("Tile(0, 256) = %d bytes, %v, want none", len(tile), err)
	}
	for _, level := range []int{-1, store.MaxTileLevel + 1} {
		_, err = h.store.Tile(level, 0)
		wantErr(t, err, store.ErrInvalid)
	}
}

func wantCheckpoint(t *testing.T, s store.Store, want string) {
	t.Helper()
	if got, err := s.Checkpoint(); err != nil || string(got) != want {
		t.Fatalf("Checkpoint = %q, %v, want %q", got, err, want)
	}
}

func testInvalid(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	first := h.batch(leaves(0, 10)...)
	first.Rows = []store.Row{row("a", "1")}
	first.Next.Term = 3
	h.commit(first)

	for name, spoil := range map[string]func(*store.Batch){
		"a leaf too many":                   func(b *store.Batch) { b.Leaves = append(b.Leaves, leaf(11)) },
		"a leaf too few":                    func(b *store.Batch) { b.Leaves = nil },
		"a size that falls":                 func(b *store.Batch) { b.Leaves, b.Next.Size = nil, 9 },
		"a leaf too long":                   func(b *store.Batch) { b.Leaves[0] = make([]byte, store.MaxLeaf+1) },
		"a term that falls":                 func(b *store.Batch) { b.Next.Term = 2 },
		"a time that stands still":          func(b *store.Batch) { b.Next.At = b.Prev.At },
		"a time that falls":                 func(b *store.Batch) { b.Next.At = b.Prev.At - 1 },
		"another fold version":              func(b *store.Batch) { b.Next.Folds++ },
		"another root without a leaf":       func(b *store.Batch) { b.Leaves, b.Next.Size = nil, 10 },
		"an empty key":                      func(b *store.Batch) { b.Rows = append(b.Rows, row("", "1")) },
		"an empty key in the vault":         func(b *store.Batch) { b.Vault = []store.Row{row("", "1")} },
		"a key too long":                    func(b *store.Batch) { b.Rows[0].Key = make([]byte, store.MaxKey+1) },
		"a tile too short":                  func(b *store.Batch) { b.Tiles = []store.Tile{{Data: make([]byte, store.TileSize-1)}} },
		"a tile that is not yet full":       func(b *store.Batch) { b.Tiles = []store.Tile{{Data: make([]byte, store.TileSize)}} },
		"a tile of no level":                func(b *store.Batch) { b.Tiles = []store.Tile{{Level: -1, Data: make([]byte, store.TileSize)}} },
		"a tile of a level that no log has": func(b *store.Batch) { b.Tiles = []store.Tile{{Level: 8, Data: make([]byte, store.TileSize)}} },
		"more than fits a batch": func(b *store.Batch) {
			b.Rows = append(b.Rows, store.Row{Key: []byte("z"), Value: make([]byte, store.MaxBatch)})
		},
	} {
		b := h.batch(leaf(10))
		b.Rows = []store.Row{row("a", "2"), row("b", "2")}
		spoil(b)
		if err := h.store.Commit(context.Background(), b); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	h.verify()

	// The longest key is a key.
	b := h.batch(leaf(10))
	b.Rows = []store.Row{row(string(bytes.Repeat([]byte("k"), store.MaxKey)), "1")}
	h.commit(b)
	h.verify()
}

func testConflict(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	first := h.batch(leaves(0, 3)...)
	first.Rows = []store.Row{row("a", "1")}
	first.Vault = []store.Row{row("a", "1")}
	first.Checkpoint = []byte("one")
	h.commit(first)
	second := h.batch(leaf(3))
	second.Next.Term = 5
	h.commit(second)

	for name, stale := range map[string]func(*store.Head){
		"term":         func(prev *store.Head) { prev.Term-- },
		"size":         func(prev *store.Head) { prev.Size-- },
		"root":         func(prev *store.Head) { prev.Root[31] ^= 1 },
		"time":         func(prev *store.Head) { prev.At-- },
		"fold version": func(prev *store.Head) { prev.Folds++ },
		"batch":        func(prev *store.Head) { *prev = first.Next },
		"log":          func(prev *store.Head) { *prev = store.Head{} },
		"future":       func(prev *store.Head) { prev.Term++ },
	} {
		at := h.head
		stale(&at)
		liar := house{t: t, store: h.store, head: at}
		b := liar.batch(leaf(4))
		b.Rows = []store.Row{row("a", "2"), row("b", "2")}
		b.Vault = []store.Row{deleted("a")}
		b.Checkpoint = []byte("two")
		if err := h.store.Commit(context.Background(), b); !errors.Is(err, store.ErrConflict) {
			t.Errorf("another %s: got error %v, want %v", name, err, store.ErrConflict)
		}
	}
	h.verify()
	wantCheckpoint(t, h.store, "one")

	// A conflict is no fault of the store: the next batch goes through.
	h.commit(h.batch(leaf(4)))
	h.verify()
}

func testTwoWriters(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	for round := range uint64(20) {
		batches := [2]*store.Batch{}
		errs := [2]error{}
		var wg sync.WaitGroup
		for i := range batches {
			b := h.batch([]byte(fmt.Sprintf("round %d writer %d", round, i)))
			b.Rows = []store.Row{row(fmt.Sprint(round), fmt.Sprint(i)), row(fmt.Sprintf("%d/%d", round, i), "won")}
			batches[i] = b
			wg.Go(func() { errs[i] = h.store.Commit(context.Background(), b) })
		}
		wg.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		check(t, errs[winner])
		wantErr(t, errs[1-winner], store.ErrConflict)
		h.took(batches[winner])
	}
	h.verify()
}

func testLeaves(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []uint64{1, 1, 3, 700, 1, 250, 2, 0, 5} { // some batches are longer than any row of a store may be
		b := h.batch(leaves(h.head.Size, h.head.Size+n)...)
		h.commit(b)
	}
	h.commit(h.batch(bytes.Repeat([]byte{1}, store.MaxLeaf), nil, bytes.Repeat([]byte{2}, store.MaxLeaf), nil, nil))
	h.verify()
	r := h.snapshot()
	defer r.Close()
	for from := range uint64(12) {
		for to := from; to < 12; to++ {
			wantLeaves(t, r, h.leaves, from, to)
			wantLeaves(t, r, h.leaves, h.head.Size-to, h.head.Size-from)
		}
	}
	for range 200 {
		to := rnd.Uint64N(h.head.Size + 1)
		wantLeaves(t, r, h.leaves, rnd.Uint64N(to+1), to)
	}

	var seen uint64
	check(t, r.Leaves(3, h.head.Size, func(i uint64, _ []byte) error {
		seen = i
		if i == 400 {
			return store.ErrStop
		}
		return nil
	}))
	if seen != 400 {
		t.Fatalf("ErrStop at leaf 400 ended the scan after leaf %d", seen)
	}
	mine := errors.New("mine")
	wantErr(t, r.Leaves(0, 1, func(uint64, []byte) error { return mine }), mine)
	none := func(i uint64, _ []byte) error { return fmt.Errorf("yielded leaf %d", i) }
	wantErr(t, r.Leaves(0, h.head.Size+1, none), store.ErrInvalid)
	wantErr(t, r.Leaves(2, 1, none), store.ErrInvalid)
	for _, g := range []store.Getter{h.store, r} {
		for _, i := range []uint64{h.head.Size, 1<<64 - 1} {
			_, err := g.Leaf(i)
			wantErr(t, err, store.ErrInvalid)
		}
	}
}

func testRows(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	b := h.batch(leaf(0))
	b.Rows = []store.Row{
		row("w/1", "10"), row("w/2", "20"), row("w", "w"), row("x", "x"), row("w/", "empty name"), row("w/\xff", "high"),
		row("\xff", "1"), row("\xff\xff", "2"), row("\xff\xff\x00", "3"),
	}
	b.Vault = []store.Row{row("p/1", "one"), row("p/2", "two"), row("w/1", "vault")}
	h.commit(b)
	h.verify()

	b = h.batch(leaf(1))
	b.Rows = []store.Row{
		row("w/1", "9"),                  // replaced
		deleted("w/2"), deleted("never"), // deleted
		row("twice", "1"), row("twice", "2"), // the last one counts
		row("gone", "1"), deleted("gone"), //
		deleted("back"), row("back", "here"), row("x", ""), // an empty value is a value
	}
	b.Vault = []store.Row{deleted("p/1"), row("p/2", "TWO")}
	h.commit(b)
	h.verify()
	wantAbsent(t, h.store.Row, "w/2")
	wantAbsent(t, h.store.Row, "gone")
	wantAbsent(t, h.store.Row, "p/2")
	wantAbsent(t, h.store.Vault, "p/1")
	wantAbsent(t, h.store.Index, "w/1")
	wantValue(t, h.store.Row, "x", "")

	r := h.snapshot()
	defer r.Close()
	rows := func(prefix string) func(func(store.Row) error) error {
		return func(yield func(store.Row) error) error { return r.ScanRows([]byte(prefix), yield) }
	}
	wantScan(t, rows("w/"), "w/=empty name w/1=9 w/\xff=high")
	wantScan(t, rows("w/\xff"), "w/\xff=high")
	wantScan(t, rows("\xff"), "\xff=1 \xff\xff=2 \xff\xff\x00=3")
	wantScan(t, rows("\xff\xff"), "\xff\xff=2 \xff\xff\x00=3")
	wantScan(t, rows("nothing"), "")
	wantScan(t, func(yield func(store.Row) error) error { return r.ScanVault([]byte("p/"), yield) }, "p/2=TWO")

	n := 0
	check(t, r.ScanRows(nil, func(store.Row) error { n++; return store.ErrStop }))
	if n != 1 {
		t.Fatalf("ErrStop at the first row ended the scan after %d", n)
	}
	mine := errors.New("mine")
	wantErr(t, r.ScanVault(nil, func(store.Row) error { return mine }), mine)

	// A scan may look other things up.
	check(t, r.ScanRows([]byte("w/"), func(row store.Row) error {
		wantValue(t, r.Row, string(row.Key), string(row.Value))
		wantValue(t, h.store.Row, string(row.Key), string(row.Value))
		return nil
	}))
}

func testIndex(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	h.commit(h.batch(leaves(0, 40)...))

	check(t, h.store.WriteIndex(10, indexFold(0, 10)))
	wantValue(t, h.store.Index, string(indexKey(9)), string(binary.BigEndian.AppendUint64(nil, 9)))
	wantAbsent(t, h.store.Index, string(indexKey(10)))
	old := h.snapshot() // without a commit in between
	defer old.Close()
	check(t, h.store.WriteIndex(40, indexFold(10, 40)))
	check(t, h.store.WriteIndex(40, nil))
	if cursor, err := h.store.IndexCursor(); err != nil || cursor != 40 {
		t.Fatalf("IndexCursor = %d, %v, want 40", cursor, err)
	}
	if cursor := verifyIndex(t, old); cursor != 10 {
		t.Fatalf("the cursor of the snapshot is %d, want 10", cursor)
	}
	now := h.snapshot()
	defer now.Close()
	if cursor := verifyIndex(t, now); cursor != 40 {
		t.Fatalf("the cursor is %d, want 40", cursor)
	}
	h.verify()

	wantErr(t, h.store.WriteIndex(39, nil), store.ErrInvalid) // the cursor does not fall
	wantErr(t, h.store.WriteIndex(41, nil), store.ErrInvalid) // nor pass the log
	h.commit(h.batch(leaves(40, 50)...))
	wantErr(t, h.store.WriteIndex(50, []store.Row{row("b", ""), row("a", "")}), store.ErrInvalid)
	wantErr(t, h.store.WriteIndex(50, []store.Row{row("a", ""), row("a", "")}), store.ErrInvalid)
	wantErr(t, h.store.WriteIndex(50, []store.Row{row("", "")}), store.ErrInvalid)
	now = h.snapshot()
	defer now.Close()
	if cursor := verifyIndex(t, now); cursor != 40 {
		t.Fatalf("the cursor is %d after writes that were refused, want 40", cursor)
	}

	check(t, h.store.ResetIndex())
	now = h.snapshot()
	defer now.Close()
	if cursor := verifyIndex(t, now); cursor != 0 {
		t.Fatalf("the cursor is %d after a reset, want 0", cursor)
	}
	check(t, h.store.WriteIndex(1, []store.Row{row("a", "1"), row("b", "2"), row("b\x00", "3"), row("c", "4"), row("\xff\xff", "5")}))
	check(t, h.store.WriteIndex(2, []store.Row{deleted("b\x00"), row("c", "")}))
	r := h.snapshot()
	defer r.Close()
	wantAbsent(t, h.store.Index, "b\x00")
	scan := func(from, to []byte, reverse bool) func(func(store.Row) error) error {
		return func(yield func(store.Row) error) error { return r.ScanIndex(from, to, reverse, yield) }
	}
	wantScan(t, scan(nil, nil, false), "a=1 b=2 c= \xff\xff=5")
	wantScan(t, scan(nil, nil, true), "\xff\xff=5 c= b=2 a=1")
	wantScan(t, scan([]byte("b"), []byte("c"), false), "b=2")
	wantScan(t, scan([]byte("a\x00"), []byte("c\x00"), true), "c= b=2")
	wantScan(t, scan([]byte("b"), nil, true), "\xff\xff=5 c= b=2")
	wantScan(t, scan(nil, []byte("b"), false), "a=1")
	wantScan(t, scan([]byte("b"), []byte("b"), false), "")
	wantScan(t, scan([]byte("c"), []byte("a"), true), "")
	wantScan(t, scan(nil, []byte{}, false), "")
}

func testSnapshot(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	b := h.batch(leaves(0, 5)...)
	b.Rows = []store.Row{row("a", "1"), row("b", "1")}
	b.Vault = []store.Row{row("secret", "1")}
	h.commit(b)
	then := house{t: t, store: h.store, head: h.head, leaves: h.leaves[:5:5],
		rows: map[string]string{"a": "1", "b": "1"}, vault: map[string]string{"secret": "1"}}
	r, other := h.snapshot(), h.snapshot()

	for i := range uint64(20) {
		b := h.batch(leaves(h.head.Size, h.head.Size+3)...)
		b.Rows = []store.Row{row("a", fmt.Sprint(i)), deleted("b"), row(fmt.Sprint(i), "new")}
		b.Vault = []store.Row{deleted("secret")}
		h.commit(b)
		check(t, h.store.WriteIndex(h.head.Size, []store.Row{row(fmt.Sprint(i), "x")}))
		then.verifyReader(r)
		wantAbsent(t, r.Row, "0")
		wantAbsent(t, r.Index, "0")
		_, err := r.Leaf(5)
		wantErr(t, err, store.ErrInvalid)
	}
	h.verify()
	check(t, r.Close())
	wantErr(t, r.Close(), store.ErrClosed)
	_, err := r.Row([]byte("a"))
	wantErr(t, err, store.ErrClosed)
	wantErr(t, r.ScanRows(nil, func(store.Row) error { return nil }), store.ErrClosed)
	then.verifyReader(other)
	check(t, other.Close())
}

func testReopen(t *testing.T, p Place) {
	h := open(t, p)
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 4 {
		for range 10 {
			b := h.batch(leaves(h.head.Size, h.head.Size+rnd.Uint64N(200))...)
			for range rnd.IntN(20) {
				b.Rows = append(b.Rows, row(fmt.Sprint(rnd.IntN(50)), fmt.Sprint(rnd.Int())), deleted(fmt.Sprint(rnd.IntN(50))))
				b.Vault = append(b.Vault, row(fmt.Sprint(rnd.IntN(50)), fmt.Sprint(rnd.Int())), deleted(fmt.Sprint(rnd.IntN(50))))
			}
			if h.head.Size == 0 && len(b.Leaves) == 0 {
				b.Rows = nil
			}
			for i := h.head.Size / 256; i < b.Next.Size/256; i++ {
				b.Tiles = append(b.Tiles, store.Tile{Index: i, Data: bytes.Repeat([]byte{byte(i), 1}, store.TileSize/2)})
			}
			h.commit(b)
		}
		check(t, h.store.SetCheckpoint([]byte(fmt.Sprint("round ", round))))
		cursor, err := h.store.IndexCursor()
		check(t, err)
		check(t, h.store.WriteIndex(h.head.Size, indexFold(cursor, h.head.Size)))
		h.close()

		h.store = p.Open(t)
		h.verify()
		wantCheckpoint(t, h.store, fmt.Sprint("round ", round))
		r := h.snapshot()
		if cursor := verifyIndex(t, r); cursor != h.head.Size {
			t.Fatalf("the index cursor is %d after a clean close, want %d", cursor, h.head.Size)
		}
		check(t, r.Close())
	}
	h.close()
}

func testFolds(t *testing.T, p Place) {
	h := open(t, p)
	defer func() { h.close() }()
	b := h.batch(leaves(0, 4)...)
	b.Rows = []store.Row{row("a", "old"), row("b", "old")}
	h.commit(b)
	before := house{t: t, store: h.store, head: h.head, leaves: h.leaves, rows: map[string]string{"a": "old", "b": "old"}}
	r := h.snapshot()
	defer func() { check(t, r.Close()) }()

	_, err := h.store.BuildFolds(h.head.Folds)
	wantErr(t, err, store.ErrInvalid)
	fb, err := h.store.BuildFolds(9)
	check(t, err)
	_, err = h.store.BuildFolds(10)
	wantErr(t, err, store.ErrInvalid)
	check(t, fb.Write([]store.Row{row("a", "new"), row("c", "new"), row("d", "new")}))
	check(t, fb.Write([]store.Row{deleted("d"), row("c", "newer")}))
	wantErr(t, fb.Write([]store.Row{row("", "")}), store.ErrInvalid)
	wantValue(t, fb.Row, "c", "newer")
	wantAbsent(t, fb.Row, "d")
	wantAbsent(t, fb.Row, "b")
	wantAbsent(t, h.store.Row, "c")
	h.verify()

	// The old rows go on, and a swap that missed a batch is refused.
	missed := h.head
	b = h.batch(leaf(4))
	b.Rows = []store.Row{row("b", "old 2")}
	h.commit(b)
	wantErr(t, fb.Swap(context.Background(), missed), store.ErrConflict)
	h.verify()
	check(t, fb.Write([]store.Row{row("b", "new 2")}))
	check(t, fb.Swap(context.Background(), h.head))
	pipelined := h.batch(leaf(5)) // prepared before the swap, for rows of the old version
	h.head.Folds = 9
	h.rows = map[string]string{"a": "new", "b": "new 2", "c": "newer"}
	h.verify()
	wantErr(t, h.store.Commit(context.Background(), pipelined), store.ErrConflict)
	wantErr(t, fb.Write([]store.Row{row("late", "1")}), store.ErrClosed)
	wantErr(t, fb.Swap(context.Background(), h.head), store.ErrClosed)
	check(t, fb.Close())
	before.verifyReader(r)

	// Life goes on with the new rows, also after a start, and the way back is built like any other.
	b = h.batch(leaf(5))
	b.Rows = []store.Row{deleted("a"), row("e", "new")}
	h.commit(b)
	h.verify()
	check(t, r.Close())
	h.close()
	h.store = p.Open(t)
	h.verify()
	fb, err = h.store.BuildFolds(1)
	check(t, err)
	wantAbsent(t, fb.Row, "a")
	check(t, fb.Swap(context.Background(), h.head))
	check(t, fb.Close())
	h.head.Folds = 1
	clear(h.rows)
	h.verify()
	r = h.snapshot()
}

func testFoldsAbandoned(t *testing.T, p Place) {
	h := open(t, p)
	b := h.batch(leaf(0))
	b.Next.Folds = 5
	b.Rows = []store.Row{row("a", "5")}
	h.commit(b)
	build := func(version uint32) store.FoldsBuilder {
		fb, err := h.store.BuildFolds(version)
		check(t, err)
		for _, key := range []string{"a", "b", "c"} {
			wantAbsent(t, fb.Row, key)
		}
		check(t, fb.Write([]store.Row{row("a", "new"), row("b", "new")}))
		return fb
	}
	for _, version := range []uint32{6, 4, 0, 1<<32 - 1} {
		fb := build(version)
		check(t, fb.Close())
		check(t, fb.Close())
		wantErr(t, fb.Write(nil), store.ErrClosed)
		build(version) // as fresh as the first, and left open
		h.close()
		wantErr(t, fb.Close(), nil)
		h.store = p.Open(t)
		h.verify()
		check(t, build(version).Close())
	}
	h.close()
}

func testConcurrent(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	const batches = 150
	done := make(chan struct{})
	var wg sync.WaitGroup
	untilDone := func(work func() error) {
		wg.Go(func() {
			for last := false; !last; {
				select {
				case <-done:
					last = true
				default:
				}
				if err := work(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// Each batch notes its size in a row and in the vault, and moves money between two wallets.
	whole := func(r store.Reader) error {
		size := r.Head().Size
		if size == 0 {
			return nil
		}
		count, err1 := r.Row([]byte("count"))
		noted, err2 := r.Vault([]byte("count"))
		a, err3 := r.Row([]byte("a"))
		b, err4 := r.Row([]byte("b"))
		last, err5 := r.Leaf(size - 1)
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			return err
		}
		if number(count) != size || number(noted) != size || number(a)+number(b) != 1_000_000 || !bytes.Equal(last, leaf(size-1)) {
			return fmt.Errorf("at size %d: count %d, in the vault %d, wallets %d + %d", size, number(count), number(noted), number(a), number(b))
		}
		return nil
	}
	for range 3 {
		untilDone(func() error {
			r, err := h.store.Snapshot()
			if err != nil {
				return err
			}
			return errors.Join(whole(r), r.Close())
		})
	}
	untilDone(func() error { // what a getter shows never lags behind what it showed before
		size := h.store.Head().Size
		if size == 0 {
			return nil
		}
		count, err := h.store.Row([]byte("count"))
		if err == nil && number(count) < size {
			err = fmt.Errorf("row of size %d after the head was at %d", number(count), size)
		}
		if err == nil {
			_, err = h.store.Leaf(size - 1)
		}
		return err
	})
	untilDone(func() error { // the index
		cursor, err := h.store.IndexCursor()
		if err != nil {
			return err
		}
		size := h.store.Head().Size
		return errors.Join(h.store.WriteIndex(size, indexFold(cursor, size)), h.store.SetCheckpoint([]byte(fmt.Sprint(size))))
	})
	for i := range uint64(batches) {
		b := h.batch(leaves(h.head.Size, h.head.Size+1+i%7)...)
		b.Rows = []store.Row{numbered("count", b.Next.Size), numbered("a", i), numbered("b", 1_000_000-i)}
		b.Vault = []store.Row{numbered("count", b.Next.Size)}
		h.commit(b)
	}
	close(done)
	wg.Wait()
	h.verify()
	r := h.snapshot()
	defer r.Close()
	if cursor := verifyIndex(t, r); cursor != h.head.Size {
		t.Fatalf("the index cursor is %d, want %d", cursor, h.head.Size)
	}
}

func numbered(key string, n uint64) store.Row {
	return store.Row{Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n)}
}

// number reads the value of numbered; all ones stand for none.
func number(b []byte) uint64 {
	if len(b) != 8 {
		return 1<<64 - 1
	}
	return binary.BigEndian.Uint64(b)
}

func testContext(t *testing.T, p Place) {
	h := open(t, p)
	defer h.close()
	h.commit(h.batch(leaf(0)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantErr(t, h.store.Commit(ctx, h.batch(leaf(1))), context.Canceled)
	fb, err := h.store.BuildFolds(2)
	check(t, err)
	wantErr(t, fb.Swap(ctx, h.head), context.Canceled)
	check(t, fb.Close())
	h.verify()
	h.commit(h.batch(leaf(1)))
	h.verify()
}

func testClose(t *testing.T, p Place) {
	h := open(t, p)
	h.commit(h.batch(leaf(0)))
	r := h.snapshot() // left open
	fb, err := h.store.BuildFolds(2)
	check(t, err)
	h.close()

	wantErr(t, h.store.Close(), store.ErrClosed)
	wantErr(t, h.store.Commit(context.Background(), h.batch(leaf(1))), store.ErrClosed)
	wantErr(t, h.store.SetCheckpoint(nil), store.ErrClosed)
	wantErr(t, h.store.WriteIndex(1, nil), store.ErrClosed)
	wantErr(t, h.store.ResetIndex(), store.ErrClosed)
	wantErr(t, fb.Write(nil), store.ErrClosed)
	wantErr(t, fb.Swap(context.Background(), h.head), store.ErrClosed)
	_, err = h.store.Snapshot()
	wantErr(t, err, store.ErrClosed)
	_, err = h.store.BuildFolds(3)
	wantErr(t, err, store.ErrClosed)
	_, err = h.store.Checkpoint()
	wantErr(t, err, store.ErrClosed)
	_, err = h.store.Free()
	wantErr(t, err, store.ErrClosed)
	for _, g := range []store.Getter{h.store, r} {
		_, err = g.Row([]byte("a"))
		wantErr(t, err, store.ErrClosed)
		_, err = g.Leaf(0)
		wantErr(t, err, store.ErrClosed)
	}
	wantErr(t, r.Leaves(0, 1, func(uint64, []byte) error { return nil }), store.ErrClosed)

	h.store = p.Open(t)
	h.verify()
	h.close()
}
