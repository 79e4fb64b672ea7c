package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	"github.com/sigstore/sigstore/pkg/signature"
)

// pair is an active ledger that hands each batch to a passive one before it
// commits it itself, as consensus would.
type pair struct {
	*rig // the active
	b    *rig
}

// neverSigns is the signer of a machine that must not sign.
type neverSigns struct {
	signature.Signer
	asked bool
}

func (s *neverSigns) SignMessage(m io.Reader, o ...signature.SignOption) ([]byte, error) {
	s.asked = true
	return nil, errors.New("a passive machine signs nothing")
}

func newPair(t *testing.T) *pair {
	p := &pair{rig: newRig(t), b: newRig(t)}
	p.b.signer = p.rig.signer
	p.b.change = func(c *Config) { c.Passive = true }
	p.b.open()
	p.rig.wrap = func(s store.Store) store.Store {
		return &brokenStore{Store: s, before: func(b *store.Batch) error {
			return p.b.Apply(context.Background(), sent(b), b.Checkpoint)
		}}
	}
	p.rig.open()
	return p
}

// sent is a batch as it arrives on the other machine: entries and vault rows,
// and never rows or tiles.
func sent(b *store.Batch) Batch {
	root := tlog.Hash(b.Next.Root)
	out := Batch{Term: b.Next.Term, Base: b.Prev.Size, At: b.Next.At, Root: &root}
	for _, leaf := range b.Leaves {
		out.Leaves = append(out.Leaves, bytes.Clone(leaf))
	}
	for _, v := range b.Vault {
		out.Vault = append(out.Vault, store.Row{Key: bytes.Clone(v.Key), Value: bytes.Clone(v.Value)})
	}
	return out
}

// notice brings the newest checkpoint over, which no batch has carried yet.
func (p *pair) notice() {
	p.t.Helper()
	if err := p.b.Learn(p.Signed().Checkpoint); err != nil {
		p.t.Fatal(err)
	}
}

// takeOver ends the active and makes the other one the writer.
func (p *pair) takeOver(term uint64) {
	p.t.Helper()
	p.rig.close()
	if err := p.b.Promote(term); err != nil {
		p.t.Fatal(err)
	}
}

func TestAPassiveLedgerFollowsAndOnlyReads(t *testing.T) {
	p := newPair(t)
	defer p.b.close()
	quiet := &neverSigns{Signer: p.b.signer}
	p.b.cfg.Signer = quiet
	for i := range 600 { // full tiles among them
		p.must(keyed(add(name(i%7), 1), fmt.Sprint(i), ""))
	}
	_, err := p.Update(context.Background(), Command{Run: func(tx *Tx) error {
		tx.PutVault("vault/x", []byte("secret"))
		_, err := tx.Append(&added{Amount: 1, After: 1, Name: "beside"})
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := p.store.Head(), p.b.store.Head(); a != b {
		t.Fatalf("heads %+v and %+v", a, b)
	}
	if got, want := p.b.Signed().Size, p.Signed().Size-1; got != want {
		t.Fatalf("the batch brought the checkpoint of size %d, want %d", got, want)
	}
	if _, err := p.b.Entry(600); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an entry beyond the checkpoint: %v", err)
	}
	p.notice()
	for i := range uint64(601) {
		e, err := p.b.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		p.verify(e)
	}
	for _, width := range []int{256, 1} {
		a, err := p.Tile(0, 1, width)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := p.b.Tile(0, 1, width); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("tile of width %d: %v", width, err)
		}
	}
	if sum := p.b.sum(name(3)); sum != 86 {
		t.Fatalf("the books say %d", sum)
	}
	err = p.b.Peek(func(d Durable) error {
		if v := book.Get[VaultRow](d, "vault/x"); v == nil || string(v.Value) != "secret" {
			return errors.New("the vault did not come along")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.b.Update(context.Background(), keyed(add("a", 1), "1", "")); !errors.Is(err, ErrPassive) {
		t.Fatalf("a command: %v", err)
	}
	if err := p.b.Driver().ReadWriteTransaction(context.Background(), nil, nil); err == nil {
		t.Fatal("Trillian's driver lets others write")
	}
	if quiet.asked {
		t.Fatal("the passive ledger signed")
	}
	p.rig.close()
}

// At a takeover everything goes on where the log ends: retried requests get
// their old answers, from memory and from the index, and the head is signed in
// the new term.
func TestAPassiveLedgerTakesOver(t *testing.T) {
	p := newPair(t)
	defer p.b.close()
	old := p.must(keyed(add("a", 1), "old", ""))
	many(t, p.rig, indexRun, 64)
	for p.b.index.cursor() == 0 || p.b.keys.knownFrom() == 0 { // the passive index trails behind
		many(t, p.rig, 500, 64)
	}
	recent := p.must(keyed(add("a", 1), "recent", ""))
	before := p.Signed()
	if err := p.b.Promote(p.Term()); err == nil {
		t.Fatal("promoted in the other's term")
	}
	p.takeOver(9)
	if got := p.b.guard.Last(); got.Term != 9 || got.Size != before.Size || got.Root != before.Root {
		t.Fatalf("the guard has %+v", got)
	}
	for _, want := range []Receipt{old, recent} {
		key := map[uint64]string{old.Index: "old", recent.Index: "recent"}[want.Index]
		if got := p.b.must(keyed(add("a", 1), key, "")); !got.Replayed || got.Index != want.Index || !bytes.Equal(got.Leaf, want.Leaf) {
			t.Fatalf("the retry of %s became entry %d, replayed %v", key, got.Index, got.Replayed)
		}
	}
	if _, err := p.b.Update(context.Background(), keyed(add("a", 1), "old", "another")); !errors.Is(err, ErrKeyReused) {
		t.Fatal(err)
	}
	if got := p.b.must(keyed(add("a", 1), "new", "")); got.Replayed || got.Index != before.Size {
		t.Fatalf("the next command became entry %d", got.Index)
	}
	if sum, head := p.b.sum("a"), p.b.store.Head(); sum != 3 || head.Term != 9 {
		t.Fatalf("sum %d in term %d", sum, head.Term)
	}
	if err := p.b.Promote(10); err == nil {
		t.Fatal("promoted twice")
	}
	if err := p.b.Apply(context.Background(), Batch{}, nil); err == nil {
		t.Fatal("a writer applied what was committed elsewhere")
	}
}

// The former active comes back as the passive: it reads its state from the
// store again and follows the other.
func TestTheFormerActiveFollows(t *testing.T) {
	p := newPair(t)
	p.must(keyed(add("a", 1), "one", ""))
	p.takeOver(4)
	p.b.wrap = nil
	a := p.rig
	a.wrap, a.change = nil, func(c *Config) { c.Passive = true }
	a.open()
	defer a.close()
	if a.Signed() != nil {
		t.Fatalf("a checkpoint of size %d was stored by nobody", a.Signed().Size)
	}
	got := p.b.must(keyed(add("a", 1), "two", ""))
	r, err := p.b.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := r.Head()
	b := Batch{Term: head.Term, Base: got.Index, At: head.At, Leaves: [][]byte{got.Leaf}, Root: (*tlog.Hash)(&head.Root)}
	// The notice may be ahead of the batch.
	if err := a.Learn(p.b.Signed().Checkpoint); err != nil || a.Signed() != nil {
		t.Fatal(err, a.Signed())
	}
	if err := a.Apply(context.Background(), b, nil); err != nil {
		t.Fatal(err)
	}
	if a.Signed().Size != 2 || a.sum("a") != 2 || a.store.Head() != head {
		t.Fatalf("signed %d, sum %d, head %+v", a.Signed().Size, a.sum("a"), a.store.Head())
	}
	p.b.close()
}

func TestAPassiveLedgerStopsAt(t *testing.T) {
	refuse := func(what string, change func(t *testing.T, p *pair, b *Batch) error, want error) {
		t.Run(what, func(t *testing.T) {
			p := newPair(t)
			p.must(add("a", 1))
			p.cut()
			last := p.must(add("a", 1))
			head := p.store.Head()
			b := Batch{Term: head.Term, Base: last.Index, At: head.At, Leaves: [][]byte{last.Leaf}, Root: (*tlog.Hash)(&head.Root)}
			err := change(t, p, &b)
			if err == nil {
				err = p.b.Apply(context.Background(), b, nil)
			}
			if !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
			if err := <-p.b.fatal; !errors.Is(err, want) {
				t.Fatalf("the process was told %v", err)
			}
			if p.b.store.Head().Size != 1 {
				t.Fatal("something was written")
			}
			if err := p.b.Promote(99); !errors.Is(err, ErrStopped) {
				t.Fatalf("promoted all the same: %v", err)
			}
			p.b.close()
			p.rig.close()
		})
	}
	refuse("another root", func(_ *testing.T, _ *pair, b *Batch) error {
		b.Root = &tlog.Hash{1}
		return nil
	}, trillian.ErrRoot)
	refuse("another base", func(_ *testing.T, _ *pair, b *Batch) error {
		b.Base++
		return nil
	}, store.ErrConflict)
	refuse("a broken rule", func(_ *testing.T, p *pair, b *Batch) error {
		b.Leaves = append(b.Leaves, b.Leaves[0])
		return nil
	}, book.ErrBroken)
	refuse("a signature over another history", func(t *testing.T, p *pair, _ *Batch) error {
		signers, err := p.Ledger.signers.at(1)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := tlog.Sign(tlog.Checkpoint{Origin: p.Origin(), Size: 1, Root: tlog.Hash{1}}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return p.b.Learn(cp)
	}, ErrFork)
}

// cut cuts the two apart.
func (p *pair) cut() { p.rig.Ledger.store.(*brokenStore).before = nil }

func TestAMachineThatCannotSignIsNotPromoted(t *testing.T) {
	p := newPair(t)
	defer p.b.close()
	silent := &faultySigner{Signer: p.b.signer}
	n, vkey, err := signerOf(p.b.Origin(), silent)
	if err != nil {
		t.Fatal(err)
	}
	p.b.Ledger.signers.pool[vkey] = n
	p.must(add("a", 1))
	p.rig.close()
	silent.silent.Store(true)
	if err := p.b.Promote(5); !errors.Is(err, ErrSigner) {
		t.Fatal(err)
	}
	if _, err := p.b.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrPassive) {
		t.Fatal(err)
	}
	silent.silent.Store(false)
	if err := p.b.Promote(6); err != nil {
		t.Fatal(err)
	}
	p.b.must(add("a", 1))
}

// A machine that once signed more than it has now was rolled back: it signs
// nothing.
func TestAMachineThatWasRolledBackIsNotPromoted(t *testing.T) {
	p := newPair(t)
	defer p.b.close()
	p.must(add("a", 1))
	p.rig.close()
	if err := p.b.guard.Allow(SignedHead{Term: 1, Size: 7}, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.b.Promote(5); !errors.Is(err, ErrFork) {
		t.Fatal(err)
	}
	if !p.b.Passive() {
		t.Fatal("it writes")
	}
}

// Promotion must not depend on the log's length: nothing is scanned.
func BenchmarkPromote(b *testing.B) {
	for _, entries := range []int{1_000, 300_000} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			r := newRig(b).open()
			many(b, r, entries, 256)
			term := r.Term()
			r.close()
			r.change = func(c *Config) { c.Passive = true }
			for b.Loop() {
				b.StopTimer()
				r.open()
				term++
				b.StartTimer()
				if err := r.Promote(term); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				r.must(add("a", 1))
				r.close()
				b.StartTimer()
			}
		})
	}
}
