package evidence

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"countroom/ledger/tlog"

	"golang.org/x/mod/sumdb/note"
)

// log is a tree of which everything is kept.
type log struct {
	leaves []tlog.Hash
	signer note.Signer
	vkey   string
}

func newLog(t testing.TB, n int, salt string) *log {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	pub := key.Public().(ed25519.PublicKey)
	s, err := tlog.NewSigner("log.example", pub, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := tlog.VKey("log.example", pub)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{signer: s, vkey: vkey}
	for i := range n {
		l.leaves = append(l.leaves, tlog.LeafHash(fmt.Append(nil, i/100, salt[:min(len(salt), i/100)])))
	}
	return l
}

// head signs the tree as it was at a size.
func (l *log) head(t testing.TB, size int) Head {
	var b tlog.Builder
	for _, h := range l.leaves[:size] {
		b.Add(h)
	}
	c := tlog.Checkpoint{Origin: "log.example", Size: uint64(size), Root: b.Root()}
	msg, err := tlog.Sign(c, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return Head{Checkpoint: c, Note: msg, From: "https://log.example"}
}

// read gives the tiles, by the definition.
func (l *log) read(_ context.Context, level int, index uint64, width int) (data []byte, err error) {
	span := uint64(1) << (8 * level)
	for i := range uint64(width) {
		var b tlog.Builder
		from := (index*tlog.TileWidth + i) * span
		for _, h := range l.leaves[from : from+span] {
			b.Add(h)
		}
		h := b.Root()
		data = append(data, h[:]...)
	}
	return data, nil
}

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Two heads of one history are no evidence, whatever their sizes; two of different
// histories are, and a stranger finds that out from the file alone.
func TestCompare(t *testing.T) {
	one, two := newLog(t, 1500, ""), newLog(t, 1500, "other history")
	ctx := t.Context()
	for _, sizes := range [][2]int{{1, 2}, {1, 1500}, {255, 256}, {256, 257}, {256, 512}, {300, 1500}, {511, 768}, {1024, 1025}, {1499, 1500}} {
		large := one.head(t, sizes[1])
		tree, err := Open(ctx, large.Checkpoint, one.read)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Compare(ctx, []string{one.vkey}, at, one.head(t, sizes[0]), large, tree); f != nil || err != nil {
			t.Errorf("%d: %v, %v", sizes, f, err)
		}
		small := two.head(t, sizes[0])
		f, err := Compare(ctx, []string{one.vkey}, at, small, large, tree)
		if err != nil {
			t.Fatal(err)
		}
		if forked := small.Root != one.head(t, sizes[0]).Root; (f != nil) != forked {
			t.Fatalf("%d: %v", sizes, f)
		}
		if f == nil {
			continue
		}
		b, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		v, err := again.Check(SignedBy([]string{one.vkey}))
		if err != nil || !v.Proven || again.Name() != f.Name() {
			t.Errorf("%d: %+v, %v", sizes, v, err)
		}
	}
	f, err := Compare(ctx, []string{one.vkey}, at, one.head(t, 1500), two.head(t, 1500), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := f.Check(SignedBy(f.VKeys)); err != nil || !v.Proven || f.Kind != TwoRoots {
		t.Errorf("%+v, %v", v, err)
	}
}

// A tree gives no hash that does not lead to its root.
func TestTreeIsNotDeceived(t *testing.T) {
	l := newLog(t, 700, "")
	head := l.head(t, 700)
	for path := range map[string]bool{"0/0/256": true, "0/1/256": true, "0/2/188": true, "1/0/2": true} {
		lie := func(ctx context.Context, level int, index uint64, width int) ([]byte, error) {
			data, err := l.read(ctx, level, index, width)
			if fmt.Sprintf("%d/%d/%d", level, index, width) == path {
				data[len(data)-1] ^= 1
			}
			return data, err
		}
		tree, err := Open(t.Context(), head.Checkpoint, lie)
		for i := uint64(0); err == nil && i < 2; i++ {
			_, err = tree.Full(t.Context(), 0, i)
		}
		var bad *BadTile
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", path, err)
		}
	}
	tree, err := Open(t.Context(), head.Checkpoint, l.read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Full(t.Context(), 0, 2); !errors.Is(err, tlog.ErrRange) {
		t.Error(err)
	}
	if _, err := tree.Builder(t.Context(), 701); !errors.Is(err, tlog.ErrRange) {
		t.Error(err)
	}
}

// What files claim and do not show.
func TestFilesThatProveNothing(t *testing.T) {
	one, two := newLog(t, 400, ""), newLog(t, 400, "other history")
	large := one.head(t, 400)
	tree, err := Open(t.Context(), large.Checkpoint, one.read)
	if err != nil {
		t.Fatal(err)
	}
	fork, err := Compare(t.Context(), []string{one.vkey}, at, two.head(t, 300), large, tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(f *File)
		why    string
	}{
		"another prefix":       {func(f *File) { f.Prefix[0] ^= 1 }, "proves nothing"},
		"the true prefix":      {func(f *File) { f.First = string(one.head(t, 300).Note) }, "another root at the smaller size"},
		"a shorter proof":      {func(f *File) { f.Proof = f.Proof[1:] }, "proves nothing"},
		"an empty proof":       {func(f *File) { f.Proof = nil }, "proves nothing"},
		"a forged signature":   {func(f *File) { f.First = f.First[:len(f.First)-6] + "AAAA=\n" }, "first checkpoint"},
		"another log":          {func(f *File) { f.Origin = "other.example" }, "expected \"other.example\""},
		"no second":            {func(f *File) { f.Second = "" }, "second checkpoint"},
		"the heads exchanged":  {func(f *File) { f.First, f.Second = f.Second, f.First }, "smaller and a larger"},
		"called two roots":     {func(f *File) { f.Kind = TwoRoots }, "one size with two roots"},
		"one head twice":       {func(f *File) { f.Kind, f.Second = TwoRoots, f.First }, "one size with two roots"},
		"an unknown kind":      {func(f *File) { f.Kind = "feeling" }, "kind"},
		"bytes without a path": {func(f *File) { f.Kind = BadData }, "path"},
	} {
		b, err := fork.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		c.change(f)
		if v, err := f.Check(SignedBy([]string{one.vkey})); !errors.Is(err, ErrUnproven) || !strings.Contains(err.Error(), c.why) || v.Proven {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	// What is said and not shown is called that.
	for _, f := range []*File{
		Smaller([]string{one.vkey}, at, one.head(t, 300), large),
		Bad([]string{one.vkey}, at, large, "tile/0/000", []byte("x"), "aa", "bb"),
	} {
		if v, err := f.Check(SignedBy(f.VKeys)); err != nil || v.Proven || !strings.Contains(v.Text, "word of whoever wrote this") {
			t.Errorf("%+v, %v", v, err)
		}
	}
	for _, bad := range []string{"", "{}", "[]", `{"format":"countroom/evidence/v2"}`, `{"format":"countroom/evidence/v1","more":1}`, `{"format":"countroom/evidence/v1"} {}`} {
		if f, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, f)
		}
	}
}

// A witness's file shows two roots of one size, and no more of two sizes.
func TestFromWitness(t *testing.T) {
	one, two := newLog(t, 400, ""), newLog(t, 400, "other history")
	for other, proven := range map[int]bool{400: true, 399: false} {
		b, err := json.Marshal(witnessed{Against: "two roots", Origin: "log.example", Recorded: string(one.head(t, 400).Note), Submitted: string(two.head(t, other).Note), Proof: []string{base64.StdEncoding.EncodeToString([]byte("x"))}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := FromWitness(b)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := f.Check(SignedBy([]string{one.vkey})); v.Proven != proven || (err == nil) != proven {
			t.Errorf("%d: %+v, %v", other, v, err)
		}
	}
}

// Whatever stands in a file, nothing is proven against a log of one history.
func FuzzEvidence(f *testing.F) {
	one, two := newLog(f, 400, ""), newLog(f, 400, "other history")
	large := one.head(f, 400)
	tree, err := Open(f.Context(), large.Checkpoint, one.read)
	if err != nil {
		f.Fatal(err)
	}
	fork, err := Compare(f.Context(), []string{one.vkey}, at, two.head(f, 300), large, tree)
	if err != nil {
		f.Fatal(err)
	}
	honest := map[string]bool{string(large.Note): true, string(one.head(f, 300).Note): true}
	for _, seed := range []*File{fork, Smaller([]string{one.vkey}, at, one.head(f, 300), large), Bad([]string{one.vkey}, at, large, "tile/0/000", nil, "", "")} {
		b, err := seed.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add([]byte(strings.ReplaceAll(string(b), strings.ReplaceAll(string(two.head(f, 300).Note), "\n", `\n`), strings.ReplaceAll(string(one.head(f, 300).Note), "\n", `\n`))))
	}
	f.Add([]byte(`{"against":"x","origin":"log.example","recorded":"","submitted":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		signed := func(note []byte, head tlog.Checkpoint) error {
			if !honest[string(note)] {
				return tlog.ErrSignature
			}
			return nil
		}
		for _, parse := range []func([]byte) (*File, error){Parse, FromWitness} {
			if file, err := parse(data); err == nil {
				if v, err := file.Check(signed); err == nil && v.Proven {
					t.Fatalf("proven: %+v", v)
				}
			}
		}
	})
}
