package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"
)

// yard is a house whose log is in a store, with a vault beside it.
type yard struct {
	t testing.TB
	*logtest.House
	who     []logtest.Player
	store   store.Store
	applier *ledger.Applier
	at      uint64 // leaves below it are in the store
}

func emptyStore(t testing.TB) store.Store {
	t.Helper()
	st, err := pebble.Open("store", pebble.Options{Create: true, FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func newYard(t testing.TB, rounds int) *yard { return yardIn(t, emptyStore(t), rounds) }

func yardIn(t testing.TB, st store.Store, rounds int) *yard {
	t.Helper()
	y := &yard{t: t, House: logtest.New(logtest.Config{Seed: 4}), store: st}
	var err error
	if y.applier, err = ledger.NewApplier(y.store, house.Books()); err != nil {
		t.Fatal(err)
	}
	y.who = []logtest.Player{y.Join(500_000), y.Join(500_000)}
	y.Play(y.who, rounds)
	y.settle(row("vault/a", "one"), row("vault/b", strings.Repeat("two", 100)), row("vault/c", ""))
	return y
}

func row(key, value string) store.Row { return store.Row{Key: []byte(key), Value: []byte(value)} }

// settle brings the store up to the log.
func (y *yard) settle(vault ...store.Row) {
	y.t.Helper()
	for y.at < y.Size() {
		b := ledger.Batch{Term: 1, Base: y.at, At: int64(y.at + 1)}
		for ; y.at < y.Size() && len(b.Leaves) < 700; y.at++ {
			b.Leaves = append(b.Leaves, y.Leaf(y.at))
		}
		if y.at == y.Size() {
			b.Vault = vault
		}
		if err := y.applier.Apply(context.Background(), b); err != nil {
			y.t.Fatal(err)
		}
	}
}

func (y *yard) verifier() note.Verifier {
	v, err := tlog.NewVerifier(y.VKey)
	if err != nil {
		y.t.Fatal(err)
	}
	return v
}

// backUp returns a back-up from a head on, and the head at which it ends.
func (y *yard) backUp(since tlog.Checkpoint) ([]byte, tlog.Checkpoint) {
	y.t.Helper()
	r, err := y.store.Snapshot()
	if err != nil {
		y.t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	sum, err := Write(&b, r, y.Checkpoint(), since)
	if err != nil {
		y.t.Fatal(err)
	}
	if sum.Bytes != uint64(b.Len()) || sum.Entries != y.Size()-since.Size {
		y.t.Fatalf("%+v of %d bytes", sum, b.Len())
	}
	head, err := tlog.Open(y.Checkpoint(), y.verifier())
	if err != nil {
		y.t.Fatal(err)
	}
	return b.Bytes(), head
}

func (y *yard) restore(known []Statement, streams ...[]byte) (store.Store, error) {
	y.t.Helper()
	var rs []*Reader
	for _, s := range streams {
		r, err := NewReader(bytes.NewReader(s))
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	in, err := Verify([]note.Verifier{y.verifier()}, known, rs...)
	if err != nil {
		return nil, err
	}
	st := emptyStore(y.t)
	_, err = Restore(y.t.Context(), st, house.Books(), in, func(Summary) ([]store.Row, error) {
		return []store.Row{row("vault/restored", "yes")}, nil
	})
	return st, err
}

// content is everything that a store holds but for indexes, term and time.
func content(t testing.TB, st store.Store) map[string]string {
	t.Helper()
	r, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := r.Head()
	all := map[string]string{"head": fmt.Sprintf("%d %x %d", head.Size, head.Root, head.Folds)}
	keep := func(kind string) func(store.Row) error {
		return func(row store.Row) error {
			all[kind+string(row.Key)] = string(row.Value)
			return nil
		}
	}
	err = errors.Join(r.ScanRows(nil, keep("row ")), r.ScanVault(nil, keep("vault ")), r.Leaves(0, head.Size, func(i uint64, leaf []byte) error {
		all[fmt.Sprint("leaf ", i)] = string(leaf)
		return nil
	}))
	for level := 0; head.Size>>(8*(level+1)) > 0; level++ {
		for i := range head.Size >> (8 * (level + 1)) {
			tile, tileErr := r.Tile(level, i)
			err = errors.Join(err, tileErr)
			all[fmt.Sprint("tile ", level, i)] = string(tile)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mustEqual(t testing.TB, got, want store.Store) {
	t.Helper()
	a, b := content(t, got), content(t, want)
	if a["vault vault/restored"] != "yes" {
		t.Error("the row that was added is not there")
	}
	delete(a, "vault vault/restored")
	for k, v := range b {
		if a[k] != v {
			t.Errorf("%s: restored as %q, was %q", k, a[k], v)
		}
		delete(a, k)
	}
	for k := range a {
		t.Errorf("%s: restored, and was not there", k)
	}
}

// What is restored is what was backed up: leaves, tiles, vault and checkpoint,
// and rows that came about by folding.
func TestRestoredIsWhatWasBackedUp(t *testing.T) {
	y := newYard(t, 6000)
	stream, head := y.backUp(tlog.Checkpoint{})
	st, err := y.restore(nil, stream)
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, st, y.store)
	if cp, err := st.Checkpoint(); err != nil || !bytes.Equal(cp, y.Checkpoint()) {
		t.Errorf("checkpoint %q, %v", cp, err)
	}
	if got := st.Head(); got.Size != head.Size || got.Root != head.Root || got.Term != 1 || got.Size < 6000 {
		t.Errorf("head %+v", got)
	}
}

// A back-up that continues another holds what came since, and the vault as it
// is then: what was erased meanwhile does not come back.
func TestContinuedBackups(t *testing.T) {
	y := newYard(t, 300)
	first, head := y.backUp(tlog.Checkpoint{})
	y.Play(y.who, 500)
	y.settle(row("vault/d", "four"), store.Row{Key: []byte("vault/a")})
	second, head2 := y.backUp(head)
	third, _ := y.backUp(head2) // nothing came since
	if len(second) > len(first)*3 || len(third) > 4096 {
		t.Errorf("%d, %d and %d bytes", len(first), len(second), len(third))
	}
	for _, streams := range [][][]byte{{first, second}, {first, second, third}} {
		st, err := y.restore(nil, streams...)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, st, y.store)
	}
	for _, streams := range [][][]byte{{second}, {first, third}, {second, first}, {first, second, second}} {
		if _, err := y.restore(nil, streams...); err == nil || !strings.Contains(err.Error(), "size") {
			t.Errorf("back-ups that do not continue one another: %v", err)
		}
	}
	// The continued back-up is not of this log's history.
	r, err := y.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head.Root[0] ^= 1
	beyond := tlog.Checkpoint{Size: y.Size() + 1}
	for _, since := range []tlog.Checkpoint{head, beyond} {
		var out bytes.Buffer
		if _, err := Write(&out, r, y.Checkpoint(), since); !errors.Is(err, ErrHistory) || out.Len() > 0 {
			t.Errorf("since %d: %v, after %d bytes", since.Size, err, out.Len())
		}
	}
}

// read reads a stream to its end as a check does.
func read(stream []byte, v note.Verifier, known ...Statement) error {
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		return err
	}
	in, err := Verify([]note.Verifier{v}, known, r)
	for err == nil {
		_, err = in.Next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// scan reads a stream to its end and looks at nothing but the stream.
func scan(stream []byte) error {
	r, err := NewReader(bytes.NewReader(stream))
	for err == nil {
		_, err = r.Next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// Whatever happens to a byte of a back-up, it is refused.
func TestEveryByteCounts(t *testing.T) {
	y := newYard(t, 3)
	stream, _ := y.backUp(tlog.Checkpoint{})
	if err := scan(stream); err != nil {
		t.Fatal(err)
	}
	for n := range stream {
		if err := scan(stream[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(stream), err)
		}
		bit := byte(1) << (n % 8)
		stream[n] ^= bit
		if err := scan(stream); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
		stream[n] ^= bit
		if err := scan(append(stream[:n:n], stream[n+1:]...)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d lost: %v", n, err)
		}
	}
	if err := scan(append(stream[:len(stream):len(stream)], 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte more: %v", err)
	}
}

// piece is a chunk without its digest.
type piece struct {
	typ     byte
	payload []byte
}

// pieces takes a stream apart; digests go with the pieces.
func pieces(t testing.TB, stream []byte) (list []piece, raw [][]byte) {
	t.Helper()
	rest := stream[len(Magic):]
	for len(rest) > 0 {
		n := 5 + int(binary.BigEndian.Uint32(rest[1:])) + 32
		list = append(list, piece{rest[0], rest[5 : n-32]})
		raw = append(raw, rest[:n])
		rest = rest[n:]
	}
	if len(list) < 4 {
		t.Fatalf("only %d chunks", len(list))
	}
	return list, raw
}

// seal puts pieces together with the digests that belong to them.
func seal(list []piece) []byte {
	b := []byte(Magic)
	digest := sha256.Sum256(b)
	for _, p := range list {
		frame := binary.BigEndian.AppendUint32([]byte{p.typ}, uint32(len(p.payload)))
		digest = sha256.Sum256(append(append(digest[:], frame...), p.payload...))
		b = append(append(append(b, frame...), p.payload...), digest[:]...)
	}
	return b
}

// Chunks that are lost, doubled, moved or of another back-up are refused by
// their digests.
func TestSplicesAreRefused(t *testing.T) {
	y := newYard(t, 1500)
	a, _ := y.backUp(tlog.Checkpoint{})
	y.Play(y.who, 10)
	y.settle()
	b, _ := y.backUp(tlog.Checkpoint{})
	v := y.verifier()
	_, rawA := pieces(t, a)
	_, rawB := pieces(t, b)
	join := func(raw [][]byte) []byte { return append([]byte(Magic), bytes.Join(raw, nil)...) }
	if err := read(join(rawA), v); err != nil {
		t.Fatal(err)
	}
	for i := range rawA {
		spliced := map[string][][]byte{
			"lost":    append(rawA[:i:i], rawA[i+1:]...),
			"doubled": append(rawA[:i+1:i+1], rawA[i:]...),
		}
		if i < len(rawB) && !bytes.Equal(rawA[i], rawB[i]) {
			spliced["of another"] = append(append(rawA[:i:i], rawB[i]), rawA[i+1:]...)
			spliced["the rest of another"] = append(rawA[:i:i], rawB[i:]...)
			if i == 0 {
				delete(spliced, "the rest of another") // which is the other
			}
		}
		if i > 0 {
			moved := append([][]byte(nil), rawA...)
			moved[i-1], moved[i] = moved[i], moved[i-1]
			spliced["moved"] = moved
		}
		for how, raw := range spliced {
			if err := read(join(raw), v); !errors.Is(err, ErrDamaged) {
				t.Errorf("chunk %d %s: %v", i, how, err)
			}
		}
	}
}

// Who makes the digests fit still cannot change the log: its root is signed.
func TestSealedAnewIsNotTheLog(t *testing.T) {
	y := newYard(t, 1500)
	stream, _ := y.backUp(tlog.Checkpoint{})
	v := y.verifier()
	list, _ := pieces(t, stream)
	if err := read(seal(list), v); err != nil {
		t.Fatal(err)
	}
	entries := []int{}
	for i, p := range list {
		if p.typ == chunkEntries {
			entries = append(entries, i)
		}
	}
	last := entries[len(entries)-1]
	if len(entries) < 3 {
		t.Fatalf("%d chunks of entries", len(entries))
	}
	count := func(entries, rows uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, entries), rows)
	}
	first := binary.BigEndian.Uint64(list[last].payload)
	changed := bytes.Clone(list[entries[1]].payload)
	changed[100] ^= 1
	cases := map[string]struct {
		list []piece
		want string
	}{
		"an entry is changed":                {replace(list, entries[1], piece{chunkEntries, changed}), "its checkpoint signs"},
		"the last are left out":              {replace(without(list, last), len(list)-2, piece{chunkTrailer, count(first, 3)}), "its checkpoint is of size"},
		"a row is counted that is not there": {replace(list, len(list)-1, piece{chunkTrailer, count(y.Size(), 4)}), "does not count"},
		"a chunk is left out":                {without(list, entries[1]), "expected"},
		"a chunk of no entries":              {replace(list, last, piece{chunkEntries, list[last].payload[:8]}), "holds no entries"},
		"a chunk that ends within an entry":  {replace(list, last, piece{chunkEntries, list[last].payload[:len(list[last].payload)-1]}), "ends within an entry"},
		"the vault before the entries":       {swap(list, entries[0], last+1), "type"},
		"rows out of order":                  {replace(list, last+1, piece{chunkVault, bytes.Repeat([]byte("\x00\x01k\x00\x00\x00\x00"), 2)}), "does not follow"},
		"a row without a key":                {replace(list, last+1, piece{chunkVault, make([]byte, 6)}), "key"},
		"a row that is cut short":            {replace(list, last+1, piece{chunkVault, []byte("\x00\x01k\x00\x00\x00\x09x")}), "ends within the row"},
		"another type":                       {replace(list, last+1, piece{'x', []byte("new")}), `type 'x'`},
		"another header":                     {replace(list, 0, piece{chunkHeader, append(make([]byte, 7), 9)}), "header"},
		"a header too short":                 {replace(list, 0, piece{chunkHeader, make([]byte, 7)}), "not a header"},
	}
	for name, c := range cases {
		if err := read(seal(c.list), v); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
	// A checkpoint that another key signed is not this log's.
	other := logtest.New(logtest.Config{Seed: 5})
	forged := append(make([]byte, 8), other.Sign(y.Size(), [32]byte{})...)
	if err := read(seal(replace(list, 0, piece{chunkHeader, forged})), v); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("another's checkpoint: %v", err)
	}
}

func replace(list []piece, i int, p piece) []piece {
	return append(append(list[:i:i], p), list[i+1:]...)
}

func without(list []piece, i int) []piece { return append(list[:i:i], list[i+1:]...) }

func swap(list []piece, i, j int) []piece {
	c := append([]piece(nil), list...)
	c[i], c[j] = c[j], c[i]
	return c
}

// A length that is not true costs no memory.
func TestALengthIsNotBelieved(t *testing.T) {
	for _, n := range []uint32{payloadMost + 1, 1<<32 - 1} {
		b := binary.BigEndian.AppendUint32([]byte(Magic+"h"), n)
		if _, err := NewReader(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "at most") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// What others kept is held against the back-up, entry by entry.
func TestKnownStatements(t *testing.T) {
	y := newYard(t, 40)
	middle := y.Size() - 10
	heads := map[uint64]tlog.Hash{}
	var tree tlog.Builder
	for i := range y.Size() {
		heads[i] = tree.Root()
		tree.Add(tlog.LeafHash(y.Leaf(i)))
	}
	stream, end := y.backUp(tlog.Checkpoint{})
	v := y.verifier()
	leaf := Statement{Name: "receipt", Head: tlog.Checkpoint{Size: middle, Root: heads[middle]}, Leaf: true, Index: 5, Hash: tlog.LeafHash(y.Leaf(5))}
	later := Statement{Name: "later", Head: tlog.Checkpoint{Size: y.Size() + 4}, Leaf: true, Index: 6, Hash: tlog.LeafHash(y.Leaf(6))}
	if err := read(stream, v, leaf, later, Statement{Name: "head", Head: end}); err != nil {
		t.Error(err)
	}
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	in, err := Verify([]note.Verifier{v}, []Statement{leaf, later}, r)
	if err != nil || len(in.Beyond()) != 1 || in.Beyond()[0] != later {
		t.Errorf("beyond: %+v, %v", in.Beyond(), err)
	}
	for what, bad := range map[string]func(s *Statement){
		"receipt": func(s *Statement) { s.Hash[0] ^= 1 },
		"head":    func(s *Statement) { s.Leaf, s.Head.Root[0] = false, s.Head.Root[0]^1 },
		"late":    func(s *Statement) { s.Head.Size, s.Hash[0] = y.Size()+1, s.Hash[0]^1 },
	} {
		s := leaf
		s.Name = what
		bad(&s)
		if err := read(stream, v, s); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A log that breaks a rule of the books is not restored, whoever signed it.
func TestABrokenLogIsNotRestored(t *testing.T) {
	y := newYard(t, 20)
	list, _ := pieces(t, func() []byte { b, _ := y.backUp(tlog.Checkpoint{}); return b }())
	broken := logtest.New(logtest.Config{Seed: 4})
	broken.AppendLeaf(broken.Leaf(0)) // a second house.created
	var payload []byte
	payload = binary.BigEndian.AppendUint64(payload, 0)
	for i := range broken.Size() {
		payload = tlog.AppendBundle(payload, broken.Leaf(i))
	}
	header := piece{chunkHeader, append(make([]byte, 8), broken.Checkpoint()...)}
	trailer := piece{chunkTrailer, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, broken.Size()), 3)}
	stream := seal([]piece{header, {chunkEntries, payload}, list[len(list)-2], trailer})
	if err := read(stream, y.verifier()); err != nil {
		t.Fatal(err)
	}
	st, err := y.restore(nil, stream)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("entry %d", broken.Size()-1)) || !strings.Contains(err.Error(), "house-created-first") {
		t.Errorf("restored: %v", err)
	}
	if st.Head().Size != 0 {
		t.Errorf("size %d", st.Head().Size)
	}
}

func TestRestoreWantsAnEmptyStore(t *testing.T) {
	y := newYard(t, 3)
	stream, _ := y.backUp(tlog.Checkpoint{})
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	in, err := Verify([]note.Verifier{y.verifier()}, nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), y.store, house.Books(), in, nil); err == nil || !strings.Contains(err.Error(), "expected an empty one") {
		t.Errorf("into a log: %v", err)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// golden are a whole back-up and one that continues it.
func golden(t testing.TB) (whole, since []byte) {
	t.Helper()
	var err error
	if whole, err = os.ReadFile("testdata/whole.backup"); err == nil {
		since, err = os.ReadFile("testdata/since.backup")
	}
	if err != nil {
		t.Fatal(err)
	}
	return whole, since
}

// The same log gives the same bytes, today as when the format was fixed.
func TestFormatIsFixed(t *testing.T) {
	y := newYard(t, 3)
	whole, head := y.backUp(tlog.Checkpoint{})
	y.Play(y.who, 2)
	y.settle(row("vault/d", "four"))
	since, _ := y.backUp(head)
	if *update {
		for name, b := range map[string][]byte{"testdata/whole.backup": whole, "testdata/since.backup": since} {
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, b := golden(t)
	if !bytes.Equal(a, whole) || !bytes.Equal(b, since) {
		t.Error("a back-up is not what it was; a format must not change under one name")
	}
}

func FuzzReader(f *testing.F) {
	whole, since := golden(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(since)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF && r.Summary().Bytes != uint64(len(data)) {
			t.Errorf("%d bytes were taken for a back-up of %d", len(data), r.Summary().Bytes)
		}
		if err != io.EOF && !errors.Is(err, ErrDamaged) {
			t.Errorf("refused for another reason: %v", err)
		}
	})
}

// FuzzChunks gives chunks the digests that fit, so that what is behind them is
// reached. What is accepted is written again as it was.
func FuzzChunks(f *testing.F) {
	whole, since := golden(f)
	for _, stream := range [][]byte{whole, since} {
		list, _ := pieces(f, stream)
		f.Add(list[0].payload, list[1].payload, list[2].payload, list[3].payload)
	}
	f.Fuzz(func(t *testing.T, header, entries, vault, trailer []byte) {
		stream := seal([]piece{{chunkHeader, header}, {chunkEntries, entries}, {chunkVault, vault}, {chunkTrailer, trailer}})
		r, err := NewReader(bytes.NewReader(stream))
		var again writer
		var out bytes.Buffer
		again.w, again.chain = &out, newChain()
		if err == nil {
			out.WriteString(Magic)
			head := binary.BigEndian.AppendUint64(nil, r.From())
			for _, p := range r.peaks {
				head = append(head, p[:]...)
			}
			err = again.chunk(chunkHeader, append(head, r.Checkpoint...))
		}
		var n, rows uint64
		for err == nil {
			var p Part
			if p, err = r.Next(); err != nil {
				break
			}
			if p.Leaves != nil {
				b := binary.BigEndian.AppendUint64(nil, p.First)
				for _, leaf := range p.Leaves {
					b = tlog.AppendBundle(b, leaf)
				}
				n += uint64(len(p.Leaves))
				err = again.chunk(chunkEntries, b)
				continue
			}
			var b []byte
			for _, row := range p.Vault {
				b = binary.BigEndian.AppendUint16(b, uint16(len(row.Key)))
				b = append(b, row.Key...)
				b = binary.BigEndian.AppendUint32(b, uint32(len(row.Value)))
				b = append(b, row.Value...)
				rows++
			}
			err = again.chunk(chunkVault, b)
		}
		if err == io.EOF {
			counts := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n), rows)
			if err := again.chunk(chunkTrailer, counts); err != nil || !bytes.Equal(out.Bytes(), stream) {
				t.Errorf("written again it is other (%v)", err)
			}
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("refused for another reason: %v", err)
		}
	})
}
