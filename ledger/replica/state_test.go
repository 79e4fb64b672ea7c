package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"countroom/ledger/store"
	"countroom/ledger/tlog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// rooted is a kept store with the roots of a real tree.
func rooted(t testing.TB, name string) *Store {
	s := kept(t, vfs.NewMem(), name)
	s.freely = false
	s.OnApply(func(ctx context.Context, b Batch) error {
		prev := s.Local().Head()
		next := store.Head{Term: b.Term, Size: prev.Size + uint64(len(b.Leaves)), At: max(b.At, prev.At+1), Folds: b.Folds}
		next.Root = rootWith(t, s, b.Leaves)
		if b.Root != nil && next.Root != *b.Root {
			return fmt.Errorf("%w: another root", ErrDiverged)
		}
		return s.Local().Commit(ctx, &store.Batch{Prev: prev, Next: next, Leaves: b.Leaves, Vault: b.Vault})
	})
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func rootWith(t testing.TB, s *Store, more [][]byte) store.Hash {
	t.Helper()
	var tail []tlog.Hash
	r, err := s.Snapshot()
	must(t, err)
	must(t, r.Leaves(0, r.Head().Size, func(_ uint64, leaf []byte) error {
		tail = append(tail, tlog.LeafHash(leaf))
		return nil
	}))
	must(t, r.Close())
	for _, leaf := range more {
		tail = append(tail, tlog.LeafHash(leaf))
	}
	tree, err := tlog.NewTree(uint64(len(tail)), nil, tail)
	must(t, err)
	root, err := tree.Root(uint64(len(tail)))
	must(t, err)
	return root
}

// batches makes the next batch of a history and applies it.
func (s *Store) grow(t testing.TB, index uint64, leaves ...string) []byte {
	t.Helper()
	head := s.inner.Head()
	b := Batch{Term: 1, Base: head.Size, At: head.At + 10, Folds: 1, Checkpoint: []byte(fmt.Sprint("signed ", index))}
	for _, leaf := range leaves {
		b.Leaves = append(b.Leaves, []byte(leaf))
	}
	b.Vault = []store.Row{{Key: []byte(fmt.Sprintf("player/%d", index)), Value: []byte("somebody")}}
	if index > 3 {
		b.Vault = append(b.Vault, store.Row{Key: []byte(fmt.Sprintf("player/%d", index-3))})
	}
	root := rootWith(t, s, b.Leaves)
	b.Root = &root
	data := AppendBatch(nil, b)
	must(t, s.Apply(index, 1, data))
	return data
}

func stateFor(t testing.TB, from, to *Store) []byte {
	t.Helper()
	have, err := to.Have()
	must(t, err)
	write, err := from.State(have)
	must(t, err)
	var buf bytes.Buffer
	must(t, write(&buf))
	return buf.Bytes()
}

// A machine that lacks much takes over what it lacks; cut off at any place it is in between, and either the rest of a
// later state or the entries one by one bring it to the same.
func TestStateOfAStore(t *testing.T) {
	a := rooted(t, "A")
	var log [][]byte
	for i := uint64(1); i <= 12; i++ {
		log = append(log, a.grow(t, i, fmt.Sprintf(`{"n":%d}`, 2*i), fmt.Sprintf(`{"n":%d}`, 2*i+1)))
	}
	b := rooted(t, "B")
	for i := range uint64(4) {
		must(t, b.Apply(i+1, 1, log[i]))
	}
	state := stateFor(t, a, b)
	must(t, b.Restore(12, bytes.NewReader(state)))
	same(t, a, b)
	if n, err := b.Applied(); err != nil || n != 12 {
		t.Fatalf("applied %d, %v", n, err)
	}

	for cut := 0; cut < len(state); cut += 1 + len(state)/40 {
		c := rooted(t, "C")
		for i := range uint64(4) {
			must(t, c.Apply(i+1, 1, log[i]))
		}
		if err := c.Restore(12, bytes.NewReader(state[:cut])); err == nil {
			t.Fatalf("cut off at %d it is taken", cut)
		}
		if n, err := c.Applied(); err != nil || n != 4 {
			t.Fatalf("cut off at %d, entry %d is applied, %v", cut, n, err)
		}
		if cut%2 == 0 {
			must(t, c.Restore(12, bytes.NewReader(stateFor(t, a, c))))
		} else {
			for i := uint64(4); i < 12; i++ {
				must(t, c.Apply(i+1, 1, log[i]))
			}
		}
		x, y := everything(t, a), everything(t, c)
		_, x, _ = strings.Cut(x, "\n") // but for the time of the head
		_, y, _ = strings.Cut(y, "\n")
		if x != y || a.Head().Root != c.Head().Root {
			t.Fatalf("cut off at %d and mended, the machines differ:\n%s\n---\n%s", cut, x, y)
		}
	}
}

// A machine with another history is given nothing and takes nothing; what it has of its own is kept and named.
func TestAnotherHistory(t *testing.T) {
	a, b := rooted(t, "A"), rooted(t, "B")
	first := a.grow(t, 1, "one", "two")
	must(t, b.Apply(1, 1, first))
	second := a.grow(t, 2, "three")
	b.grow(t, 2, "drei", "vier")
	before := everything(t, b)

	have, err := b.Have()
	must(t, err)
	if _, err := a.State(have); !errors.Is(err, ErrDiverged) {
		t.Fatalf("a state for another history: %v", err)
	}
	err = b.Apply(3, 1, second)
	if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "diverged-2-to-4") || !strings.Contains(err.Error(), "under a new name") {
		t.Fatalf("a batch of another history: %v", err)
	}
	if now := everything(t, b); now != before {
		t.Fatalf("it was changed:\n%s\n---\n%s", before, now)
	}
	kept, err := os.ReadFile(b.Evidence + "/diverged-2-to-4")
	must(t, err)
	leaves, err := tlog.ParseBundle(kept)
	must(t, err)
	if len(leaves) != 2 || string(leaves[0]) != "drei" || string(leaves[1]) != "vier" {
		t.Fatalf("the evidence is %q", leaves)
	}
	// One that lacks the beginning does not skip it; one of another term neither.
	c := rooted(t, "C")
	if err := c.Apply(2, 1, second); !errors.Is(err, ErrDiverged) {
		t.Fatalf("a batch that follows nothing: %v", err)
	}
	if err := c.Apply(1, 2, first); !errors.Is(err, ErrDiverged) {
		t.Fatalf("a batch of another term: %v", err)
	}
}
