package house_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/system"
)

// link brings the batches of the active house to the passive one before they
// are committed, as consensus does, and loses those that are proposed when it
// is cut.
type link struct {
	store.Store
	mu   sync.Mutex
	to   *ledger.Ledger
	cut  bool
	lost [][]byte // leaves that were worked out and committed nowhere
}

var errDeposed = errors.New("another machine is the writer now")

func (l *link) Commit(ctx context.Context, b *store.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		for _, leaf := range b.Leaves {
			l.lost = append(l.lost, bytes.Clone(leaf))
		}
		return errDeposed
	}
	if l.to != nil {
		root := b.Next.Root
		err := l.to.Apply(ctx, ledger.Batch{Term: b.Next.Term, Base: b.Prev.Size, At: b.Next.At, Leaves: b.Leaves, Vault: b.Vault, Root: &root}, b.Checkpoint)
		if err != nil {
			return err
		}
	}
	return l.Store.Commit(ctx, b)
}

func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
}

// machine opens a machine of a pair whose keys are those in a directory.
func machine(t *testing.T, name, keys string, l *link, passive bool) *housetest.House {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"checkpoint.pem", "seeds.pem", "exports.pem"} {
		b, err := os.ReadFile(filepath.Join(keys, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return housetest.Open(t, dir, func(lc *ledger.Config, hc *house.Config) {
		l.Store = lc.Store
		lc.Store, lc.Passive = l, passive
		lc.Fatal = func(error) {}
		hc.Node, hc.Members = name, func() []system.Member {
			return []system.Member{{Name: "a", Role: system.RoleMachine}, {Name: "b", Role: system.RoleMachine}, {Name: "w", Role: system.RoleArbiter}}
		}
	})
}

// A takeover re-rolls nothing. What the deposed machine had worked out and
// nobody committed comes out again as it was, whoever asks and in whatever
// order; committed rounds answer their retries; the epoch goes on without a gap.
func TestATakeoverRerollsNothing(t *testing.T) {
	keys := t.TempDir()
	housetest.Open(t, keys).Close()
	toB, toA := new(link), new(link)
	b := machine(t, "b", keys, toA, true)
	toB.to = b.Ledger
	a := machine(t, "a", keys, toB, false)

	s := seated(t, a, "anna", 100_000)
	first, _ := spin(t, a, s, "spin 0", 20)
	eventually(t, "a second commitment, after which the house has nothing to write", func() bool { return state(t, a).Ahead == 2 })
	if err := b.Ledger.Learn(a.Ledger.Signed().Checkpoint); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Ledger.Entry(first.Index); err != nil || !bytes.Equal(e.Leaf, first.Leaf) {
		t.Fatalf("the passive house does not serve entry %d: %v", first.Index, err)
	}
	if _, err := patient(t.Context(), b, s, "spin 1", 20); !errors.Is(err, ledger.ErrPassive) {
		t.Fatalf("the passive house took a bet: %v", err)
	}

	toB.sever()
	if _, err := a.Spin(t.Context(), bet("spin 1", s, 20), s, 20); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Fatalf("the deposed house answered: %v", err)
	}
	var tail []*rounds.Settled
	for _, leaf := range toB.lost {
		if typ, err := entry.TypeOf(leaf); err != nil || typ != "round.settled" {
			continue
		}
		tail = append(tail, settled(t, leaf))
	}
	if len(tail) != 1 {
		t.Fatalf("%d rounds were worked out and lost", len(tail))
	}

	if err := b.Ledger.Promote(a.Ledger.Term() + 4); err != nil {
		t.Fatal(err)
	}
	if err := b.TakeOver(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	again, err := b.Spin(t.Context(), bet("spin 0", s, 20), s, 20)
	if err != nil || !again.Replayed || !bytes.Equal(again.Leaf, first.Leaf) {
		t.Fatalf("the retry of a committed round: %v", err)
	}
	// Another stake and another key: the round is what it was going to be.
	_, r := spin(t, b, s, "another key", 100)
	if r.Draw.Epoch != tail[0].Draw.Epoch || r.Draw.Number != tail[0].Draw.Number || r.Draw.N != tail[0].Draw.N || r.Draw.R != tail[0].Draw.R {
		t.Fatalf("the lost round was %+v, it came back as %+v", tail[0].Draw, r.Draw)
	}
	if r.Payout.Amount != 5*tail[0].Payout.Amount {
		t.Fatalf("the lost round paid %d on 20, it now pays %d on 100", tail[0].Payout.Amount, r.Payout.Amount)
	}
	if _, r := spin(t, b, s, "spin 1", 20); r.Draw.N != tail[0].Draw.N+1 {
		t.Fatalf("the retry of the lost round is round %d", r.Draw.N)
	}

	active := all[system.PairActive](t, b)
	if len(active) != 2 || active[1].Node != "b" || active[1].Reason != system.ReasonTakeover || active[1].Term != a.Ledger.Term()+4 || active[0].Reason != "created" {
		t.Fatalf("%+v", active)
	}
	audit(t, b)
}

// The writer hands over, and takes over again later.
func TestASwitchoverToAndFro(t *testing.T) {
	keys := t.TempDir()
	housetest.Open(t, keys).Close()
	toB, toA := new(link), new(link)
	b := machine(t, "b", keys, toA, true)
	toB.to = b.Ledger
	a := machine(t, "a", keys, toB, false)
	s := seated(t, a, "anna", 100_000)
	for i := range 3 {
		spin(t, a, s, fmt.Sprint("spin ", i), 20)
	}
	toB.sever()
	a.Close()
	if err := b.Ledger.Promote(7); err != nil {
		t.Fatal(err)
	}
	if err := b.TakeOver(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, r := spin(t, b, s, "spin 3", 20); r.Draw.N != 4 {
		t.Fatalf("round %d", r.Draw.N)
	}
	if active := all[system.PairActive](t, b); active[1].Reason != system.ReasonSwitchover {
		t.Fatalf("%+v", active)
	}
	audit(t, b)
}

// A player of whom the passive machine has been asked is erased by the one that
// writes. The other takes over, and does not know him either; who is given his id
// is somebody new there, too.
func TestATakeoverKnowsNobodyWhoWasErased(t *testing.T) {
	keys := t.TempDir()
	housetest.Open(t, keys).Close()
	toB, toA := new(link), new(link)
	b := machine(t, "b", keys, toA, true)
	toB.to = b.Ledger
	a := machine(t, "a", keys, toB, false)
	staff(t, a)
	ann := create(t, a, "ann")
	closed(t, a, "ann")
	if err := b.Ledger.Learn(a.Ledger.Signed().Checkpoint); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Player(t.Context(), "ann"); err != nil || v.Ref != ann {
		t.Fatalf("the passive house does not know her: %v", err)
	}
	if _, err := erase(t, a, ann); err != nil {
		t.Fatal(err)
	}
	toB.sever()
	a.Close()
	if err := b.Ledger.Promote(7); err != nil {
		t.Fatal(err)
	}
	if err := b.TakeOver(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Player(t.Context(), "ann"); !errors.Is(err, players.ErrUnknownPlayer) {
		t.Errorf("her id leads to %s, %v", v.Ref, err)
	}
	r, err := b.CreatePlayer(t.Context(), operators("create another ann", "/v1/players", "ann"), "ann", "EUR")
	if err != nil {
		t.Fatal(err)
	}
	if heir := r.Record.(*players.Created).Player; view(t, b, "ann").Ref != heir {
		t.Errorf("the id of %s leads to %s", heir, view(t, b, "ann").Ref)
	}
	deposit(t, b, "ann", 100)
	audit(t, b)
}
