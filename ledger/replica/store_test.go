package replica

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/store/storetest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// kept is a store of a machine that folds nothing: leaves and vault alone.
func kept(t testing.TB, fs vfs.FS, name string) *Store {
	t.Helper()
	inner, err := pebble.Open("store", pebble.Options{Create: true, FS: fs, ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(inner)
	s.freely = true
	s.Evidence = filepath.Join(t.TempDir(), name)
	s.OnApply(func(ctx context.Context, b Batch) error {
		prev := s.Local().Head()
		next := store.Head{Term: b.Term, Size: prev.Size + uint64(len(b.Leaves)), At: max(b.At, prev.At+1), Folds: prev.Folds}
		if prev.Size == 0 {
			next.Folds = b.Folds // later the folds are each machine's own
		}
		if next.Root = prev.Root; b.Root != nil {
			next.Root = *b.Root
		}
		return s.Local().Commit(ctx, &store.Batch{Prev: prev, Next: next, Leaves: b.Leaves, Vault: b.Vault})
	})
	return s
}

// placed is a store that closes its node first.
type placed struct {
	*Store
	close func() error
}

func (p placed) Close() error {
	if p.closed.Load() {
		return store.ErrClosed
	}
	return errors.Join(p.close(), p.Store.Close())
}

// The pair's store keeps the contract of a store, on the active of three nodes; afterwards the passive machine has the same.
func TestStoreConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		w := newWire(t)
		ms := []Member{{Name: "A", Address: "a:1"}, {Name: "B", Address: "b:1"}, {Name: "W", Address: "w:1", Arbiter: true}}
		fs := map[string]*vfs.MemFS{"A": vfs.NewMem(), "B": vfs.NewMem(), "W": vfs.NewMem()}
		start := func(name string, s *Store) *Node {
			cfg := Config{Origin: origin, Name: name, Members: ms, Dir: "node", FS: fs[name], SegmentBytes: 256 << 10, network: w.network, manual: true}
			if s != nil {
				cfg.Machine = s
			}
			if name == "B" { // A is to be the active one
				cfg.Fit = func() error { return errors.New("spare") }
			}
			n, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if s != nil {
				s.Attach(n)
			}
			return n
		}
		b := kept(t, fs["B"], "B")
		nb, nw := start("B", b), start("W", nil)
		var last *pebble.Store
		t.Cleanup(func() {
			if a := last; a != nil {
				eventually(t, "the passive machine has what the active has", func() bool { return nb.applied.Load() >= nb.committed.Load() || nb.Err() != nil })
			}
			if err := errors.Join(nb.Close(), nw.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		})
		return storetest.Place{Open: func(t testing.TB) store.Store {
			a := kept(t, fs["A"], "A")
			n := start("A", a)
			eventually(t, "A is active", func() bool { return n.Role().Term != 0 })
			last, _ = a.inner.(*pebble.Store)
			return placed{a, func() error {
				if n.Err() == nil {
					eventually(t, "B is as far as A", func() bool { return nb.applied.Load() >= n.applied.Load() || nb.Err() != nil })
					same(t, a, b)
				}
				return n.Close()
			}}
		}}
	})
}

// same wants two stores to have the same leaves, vault, head and checkpoint.
func same(t testing.TB, a, b *Store) {
	t.Helper()
	x, y := everything(t, a), everything(t, b)
	if x != y {
		t.Fatalf("the machines differ:\n%.600s\n---\n%.600s", x, y)
	}
}

func everything(t testing.TB, s *Store) string {
	t.Helper()
	r, err := s.inner.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	head := r.Head()
	fmt.Fprintf(&out, "term %d size %d root %x at %d\n", head.Term, head.Size, head.Root, head.At)
	err = r.Leaves(0, head.Size, func(_ uint64, leaf []byte) error {
		fmt.Fprintf(&out, "%x\n", sha256.Sum256(leaf))
		return nil
	})
	err = errors.Join(err, r.ScanVault(nil, func(row store.Row) error {
		fmt.Fprintf(&out, "%q=%q\n", row.Key, row.Value)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func someBatch() Batch {
	return Batch{
		Term: 3, Base: 7, At: 1234, Folds: 2, Root: &store.Hash{1, 2, 3}, Leaves: [][]byte{[]byte(`{"a":1}`), {}},
		Vault: []store.Row{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("gone")}, {Key: []byte("empty"), Value: []byte{}}}, Checkpoint: []byte("signed"),
	}
}

func TestBatch(t *testing.T) {
	b := someBatch()
	enc := AppendBatch(nil, b)
	got, err := DecodeBatch(enc)
	if err != nil || !slices.EqualFunc(got.Leaves, b.Leaves, bytes.Equal) || got.Vault[1].Value != nil || got.Vault[2].Value == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range enc {
		if _, err := DecodeBatch(enc[:n]); err == nil {
			t.Fatalf("cut off at %d it is a batch", n)
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(AppendBatch(nil, someBatch()))
	f.Add(AppendBatch(nil, Batch{Root: new(store.Hash)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := DecodeBatch(b); err == nil && !bytes.Equal(AppendBatch(nil, got), b) {
			t.Fatalf("a batch has two encodings: %x", b)
		}
	})
}

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }
