// Package storetest holds every store.Store to its contract.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/store"
)

// Place is somewhere one store can be kept. Its functions fail the test themselves when they cannot do their work.
type Place struct {
	// Open opens the store that is kept here, and makes an empty one the first time. At most one is open at a time.
	Open func(t testing.TB) store.Store
	// Crash cuts the power while s is open here and may be writing: what s has not synced is lost or not, by chance. It
	// releases what s holds; s is not used again. Nil when a place cannot do it.
	Crash func(t testing.TB, s store.Store)
	// Break makes every write from now on fail, until the function it returns is called. Nil when a place cannot do it.
	Break func(t testing.TB) (mend func())
	// Faults is nil when a place cannot do it.
	Faults *Faults
}

// Run runs the suite; newPlace gives each test a fresh place.
func Run(t *testing.T, newPlace func(t testing.TB) Place) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"an empty store shows nothing", testEmpty},
		{"a batch is read back exactly", testReadBack},
		{"a batch that breaks the contract writes nothing", testInvalid},
		{"the head moves by compare-and-swap", testConflict},
		{"of two writers one wins", testTwoWriters},
		{"leaves are read across batches at any range", testLeaves},
		{"rows are put, replaced, deleted and scanned", testRows},
		{"the index trails with its cursor", testIndex},
		{"a snapshot stands still", testSnapshot},
		{"opened again it is the same", testReopen},
		{"a fold version is built beside and swapped", testFolds},
		{"what a builder leaves behind is dropped", testFoldsAbandoned},
		{"readers see whole batches while the writer goes on", testConcurrent},
		{"a context that is over writes nothing", testContext},
		{"a closed store says so", testClose},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newPlace(t)) })
	}
	if place := newPlace(t); place.Crash != nil {
		t.Run("a power cut takes no committed batch and tears none", func(t *testing.T) { testCrash(t, newPlace) })
		t.Run("a power cut leaves the old folds or the new", func(t *testing.T) { testCrashFolds(t, newPlace) })
	}
	if place := newPlace(t); place.Break != nil {
		t.Run("a write that failed poisons the store", func(t *testing.T) { testPoisoned(t, newPlace(t)) })
	}
	if place := newPlace(t); place.Faults != nil {
		t.Run("no change of the disk that fails loses a committed batch", func(t *testing.T) { testEveryFault(t, newPlace) })
		t.Run("a damaged file is found out", func(t *testing.T) { testDamage(t, newPlace(t)) })
	}
}

// house writes batches as a ledger would, and remembers what the store must show.
type house struct {
	t      testing.TB
	store  store.Store
	head   store.Head
	leaves [][]byte
	tiles  map[[2]uint64][]byte
	rows   map[string]string
	vault  map[string]string
}

func open(t testing.TB, p Place) *house {
	s := p.Open(t)
	return &house{
		t: t, store: s, head: s.Head(),
		tiles: map[[2]uint64][]byte{}, rows: map[string]string{}, vault: map[string]string{},
	}
}

func (h *house) close() {
	h.t.Helper()
	check(h.t, h.store.Close())
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// batch returns a batch on top of the head. Its root stands for the Merkle root: a hash of all leaves.
func (h *house) batch(leaves ...[]byte) *store.Batch {
	next := h.head
	next.Size += uint64(len(leaves))
	next.At += 1000
	for _, leaf := range leaves {
		next.Root = sha256.Sum256(append(next.Root[:], leaf...))
	}
	if h.head.Size == 0 {
		next.Folds = 1
	}
	return &store.Batch{Prev: h.head, Next: next, Leaves: leaves}
}

// commit commits b and remembers it.
func (h *house) commit(b *store.Batch) {
	h.t.Helper()
	check(h.t, h.store.Commit(context.Background(), b))
	h.took(b)
}

func (h *house) took(b *store.Batch) {
	h.head = b.Next
	for _, leaf := range b.Leaves {
		h.leaves = append(h.leaves, bytes.Clone(leaf))
	}
	for _, t := range b.Tiles {
		h.tiles[[2]uint64{uint64(t.Level), t.Index}] = bytes.Clone(t.Data)
	}
	apply(h.rows, b.Rows)
	apply(h.vault, b.Vault)
}

func apply(m map[string]string, rows []store.Row) {
	for _, r := range rows {
		if r.Value == nil {
			delete(m, string(r.Key))
		} else {
			m[string(r.Key)] = string(r.Value)
		}
	}
}

// leaf returns the content of leaf i, of some 300 to 800 bytes.
func leaf(i uint64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf(`{"n":%d}`, i)), 40+int(i*7%30))
}

func leaves(from, to uint64) [][]byte {
	var out [][]byte
	for i := from; i < to; i++ {
		out = append(out, leaf(i))
	}
	return out
}

func row(key, value string) store.Row { return store.Row{Key: []byte(key), Value: []byte(value)} }
func deleted(key string) store.Row    { return store.Row{Key: []byte(key)} }

// verify compares everything the store shows with what was committed.
func (h *house) verify() {
	h.t.Helper()
	r := h.snapshot()
	defer r.Close()
	h.verifyReader(r)
	if got := h.store.Head(); got != h.head {
		h.t.Fatalf("Head is %+v, want %+v", got, h.head)
	}
	for i := 0; i < len(h.leaves); i += 1 + len(h.leaves)/1000 {
		want := h.leaves[i]
		if got, err := h.store.Leaf(uint64(i)); err != nil || !bytes.Equal(got, want) {
			h.t.Fatalf("Leaf(%d) = %.40q, %v, want %.40q", i, got, err, want)
		}
	}
	for key, want := range h.rows {
		wantValue(h.t, h.store.Row, key, want)
	}
	for key, want := range h.vault {
		wantValue(h.t, h.store.Vault, key, want)
	}
}

func (h *house) snapshot() store.Reader {
	h.t.Helper()
	r, err := h.store.Snapshot()
	check(h.t, err)
	return r
}

func (h *house) verifyReader(r store.Reader) {
	h.t.Helper()
	if got := r.Head(); got != h.head {
		h.t.Fatalf("the snapshot's Head is %+v, want %+v", got, h.head)
	}
	wantLeaves(h.t, r, h.leaves, 0, h.head.Size)
	for at, want := range h.tiles {
		got, err := r.Tile(int(at[0]), at[1])
		if err != nil || !bytes.Equal(got, want) {
			h.t.Fatalf("Tile(%d, %d): %d bytes, error %v; want the %d bytes written", at[0], at[1], len(got), err, len(want))
		}
	}
	for key, want := range h.rows {
		wantValue(h.t, r.Row, key, want)
	}
	for key, want := range h.vault {
		wantValue(h.t, r.Vault, key, want)
	}
	wantRows(h.t, h.rows, func(yield func(store.Row) error) error { return r.ScanRows(nil, yield) })
	wantRows(h.t, h.vault, func(yield func(store.Row) error) error { return r.ScanVault(nil, yield) })
}

func wantLeaves(t testing.TB, r store.Reader, all [][]byte, from, to uint64) {
	t.Helper()
	next := from
	check(t, r.Leaves(from, to, func(i uint64, got []byte) error {
		if i != next {
			t.Fatalf("Leaves(%d, %d) yields leaf %d, want %d", from, to, i, next)
		}
		if !bytes.Equal(got, all[i]) {
			t.Fatalf("leaf %d is %.40q, want %.40q", i, got, all[i])
		}
		next++
		return nil
	}))
	if next != to {
		t.Fatalf("Leaves(%d, %d) ended before leaf %d", from, to, next)
	}
}

func wantValue(t testing.TB, get func([]byte) ([]byte, error), key, want string) {
	t.Helper()
	if got, err := get([]byte(key)); err != nil || got == nil || string(got) != want {
		t.Fatalf("the value of %q is %q, %v, want %q", key, got, err, want)
	}
}

func wantAbsent(t testing.TB, get func([]byte) ([]byte, error), key string) {
	t.Helper()
	if got, err := get([]byte(key)); err != nil || got != nil {
		t.Fatalf("the value of %q is %q, %v, want none", key, got, err)
	}
}

// scanned returns what a scan yields, as "key=value" in the order of the scan.
func scanned(t testing.TB, scan func(yield func(store.Row) error) error) []string {
	t.Helper()
	var got []string
	check(t, scan(func(r store.Row) error {
		got = append(got, string(r.Key)+"="+string(r.Value))
		return nil
	}))
	return got
}

// wantRows wants the rows of m in key order.
func wantRows(t testing.TB, m map[string]string, scan func(yield func(store.Row) error) error) {
	t.Helper()
	var want []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		want = append(want, key+"="+m[key])
	}
	if got := scanned(t, scan); !slices.Equal(got, want) {
		t.Fatalf("the scan yields %.200q, want %.200q", got, want)
	}
}

func wantScan(t testing.TB, scan func(yield func(store.Row) error) error, want string) {
	t.Helper()
	if got := strings.Join(scanned(t, scan), " "); got != want {
		t.Fatalf("the scan yields %q, want %q", got, want)
	}
}

// indexFold is the index that the tests keep: a row for each leaf, by the hash of its number, and one row that is replaced.
func indexFold(from, to uint64) []store.Row {
	if from == to {
		return nil
	}
	rows := []store.Row{{Key: []byte("~count"), Value: binary.BigEndian.AppendUint64(nil, to)}}
	for i := from; i < to; i++ {
		rows = append(rows, store.Row{Key: indexKey(i), Value: binary.BigEndian.AppendUint64(nil, i)})
	}
	slices.SortFunc(rows, func(a, b store.Row) int { return bytes.Compare(a.Key, b.Key) })
	return rows
}

func indexKey(i uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
	return []byte(fmt.Sprintf("%x", sum[:8]))
}

// verifyIndex wants exactly the rows of the leaves below the cursor, and returns it.
func verifyIndex(t testing.TB, r store.Reader) uint64 {
	t.Helper()
	cursor, err := indexed(r)
	check(t, err)
	return cursor
}

// indexed is verifyIndex as whole is verifyWhole.
func indexed(r store.Reader) (cursor uint64, err error) {
	if cursor, err = r.IndexCursor(); err != nil {
		return 0, err
	}
	if size := r.Head().Size; cursor > size {
		return 0, fmt.Errorf("%w: the index cursor %d is beyond log size %d", errWrong, cursor, size)
	}
	want := indexFold(0, cursor)
	err = r.ScanIndex(nil, nil, false, func(got store.Row) error {
		if len(want) == 0 || !bytes.Equal(got.Key, want[0].Key) || !bytes.Equal(got.Value, want[0].Value) {
			return fmt.Errorf("%w: index row %q is %x, %d rows are left", errWrong, got.Key, got.Value, len(want))
		}
		want = want[1:]
		return nil
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%w: %d rows of the index are missing", errWrong, len(want))
	}
	return cursor, err
}
