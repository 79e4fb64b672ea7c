package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	"github.com/sigstore/sigstore/pkg/signature"
)

func TestEveryCommandIsAnsweredWithAReceipt(t *testing.T) {
	r := newRig(t).open()
	defer r.close()
	for i := range 300 { // past the first full tile
		got := r.must(add(name(i%7), 1))
		if got.Index != uint64(i) || got.Replayed {
			t.Fatalf("command %d became entry %d", i, got.Index)
		}
	}
	for i := range uint64(300) {
		e, err := r.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if cp := r.verify(e); cp.Size != 300 {
			t.Fatalf("entry %d is proven in a log of %d", i, cp.Size)
		}
	}
	if _, err := r.Entry(300); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an entry beyond the log: %v", err)
	}
}

// A command that fails, even after it appended, leaves no trace: neither entry
// nor row nor a used key.
func TestARefusalLeavesNoTrace(t *testing.T) {
	r := newRig(t).open()
	defer r.close()
	r.must(add("a", 5))
	late := errors.New("changed my mind")
	_, err := r.Update(context.Background(), keyed(Command{Run: func(tx *Tx) error {
		if _, err := tx.Answer(&added{Header: entry.Header{Actor: "toy"}, Amount: 10, After: 15, Name: "a"}); err != nil {
			return err
		}
		tx.PutVault("vault/x", []byte("secret"))
		return late
	}}, "k", ""))
	if !errors.Is(err, late) {
		t.Fatal(err)
	}
	if _, err := r.Update(context.Background(), add("a", -6)); !errors.Is(err, errBelowZero) {
		t.Fatal(err)
	}
	// An entry that breaks a rule of the books is refused by the fold.
	_, err = r.Update(context.Background(), Command{Run: func(tx *Tx) error {
		_, err := tx.Append(&added{Header: entry.Header{Actor: "toy"}, Amount: 1, After: 99, Name: "a"})
		return err
	}})
	if !errors.Is(err, book.ErrBroken) {
		t.Fatal(err)
	}
	if sum, size := r.sum("a"), r.Signed().Size; sum != 5 || size != 1 {
		t.Fatalf("sum %d, size %d", sum, size)
	}
	err = r.View(context.Background(), func(rows book.Reader) error {
		if rows.Get("vault/x") != nil {
			return errors.New("the vault kept a row")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.must(keyed(add("a", 1), "k", "")); got.Replayed {
		t.Fatal("the refusal used up its key")
	}
}

// Rows of the vault may change without an entry. They are durable when the command
// is answered, the log is as it was, and the next entry follows it.
func TestTheVaultChangesByItself(t *testing.T) {
	r := newRig(t).open()
	r.must(add("a", 5))
	before := r.store.Head()
	put := func(key string, value []byte) {
		t.Helper()
		_, err := r.Update(context.Background(), Command{Run: func(tx *Tx) error { tx.PutVault(key, value); return nil }})
		if err != nil {
			t.Fatal(err)
		}
	}
	vault := func() (list []string) {
		t.Helper()
		if err := r.Vault("vault/x", func(key string, value []byte) error { list = append(list, key+" "+string(value)); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	put("vault/x1", []byte("one"))
	put("vault/x2", []byte("two"))
	put("vault/y", []byte("of another kind"))
	if got := vault(); !slices.Equal(got, []string{"vault/x1 one", "vault/x2 two"}) {
		t.Fatalf("the vault has %q", got)
	}
	put("vault/x1", nil)
	if head := r.store.Head(); head.Size != before.Size || head.Root != before.Root || head.At <= before.At {
		t.Fatalf("the head is %+v, was %+v", head, before)
	}
	r.must(add("a", 1))
	r.close()
	r = r.open()
	defer r.close()
	if got := vault(); !slices.Equal(got, []string{"vault/x2 two"}) {
		t.Fatalf("after a restart the vault has %q", got)
	}
	if sum, size := r.sum("a"), r.Signed().Size; sum != 6 || size != 2 {
		t.Fatalf("sum %d, size %d", sum, size)
	}
}

// A request key runs once for ever: at once, long after, while its index is
// only in memory, and after a restart.
func TestAKeyRunsOnce(t *testing.T) {
	r := newRig(t).open()
	first := r.must(keyed(add("a", 1), "k", "body"))
	check := func(when string) {
		t.Helper()
		again := r.must(keyed(add("a", 1), "k", "body"))
		if !again.Replayed || again.Index != first.Index || !bytes.Equal(again.Leaf, first.Leaf) {
			t.Fatalf("%s: answered by entry %d", when, again.Index)
		}
		if _, err := r.Update(context.Background(), keyed(add("a", 1), "k", "another body")); !errors.Is(err, ErrKeyReused) {
			t.Fatalf("%s, another body: %v", when, err)
		}
	}
	check("at once")
	r.close()
	r.open()
	check("after a restart")
	// Enough entries that the index is written and memory forgets the key.
	many(t, r, indexRun/3+2000, 64)
	for r.index.cursor() == 0 { // it trails behind
		time.Sleep(time.Millisecond)
	}
	check("from the store's index")
	many(t, r, 2*indexRun/3+2000, 64)
	for r.keys.knownFrom() == 0 {
		many(t, r, 500, 64)
	}
	check("when the writer has forgotten it")
	r.close()
	r.open()
	check("after another restart")
	if got := r.sum("a"); got != 1 {
		t.Fatalf("the command ran %d times", got)
	}
	r.close()
}

// knownFrom is the entry from which on the writer knows all keys.
func (k *keys) knownFrom() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.from
}

// many runs n keyed commands from several callers.
func many(t testing.TB, r *rig, n, callers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	base := r.store.Head().Size
	for range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				if _, err := r.Update(context.Background(), keyed(add(name(int(i%1000)), 1), fmt.Sprintf("%d-%d", base, i), "")); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// With far fewer rows in memory than there are, commands park, rows are
// dropped and come back, and no change is lost.
func TestRowsNeedNotFitInMemory(t *testing.T) {
	r := newRig(t)
	r.change = func(c *Config) { c.CacheRows = 64 }
	r.open()
	defer r.close()
	const names, adds, callers = 1000, 20000, 32
	var wg sync.WaitGroup
	var want [names]atomic.Int64
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(1, uint64(c)))
			for range adds / callers {
				i := rnd.IntN(names)
				cmd := add(name(i), 1)
				if rnd.IntN(2) == 0 {
					cmd.Reads = nil // the writer has to find out
				}
				if _, err := r.Update(context.Background(), cmd); err != nil {
					t.Error(err)
					return
				}
				want[i].Add(1)
			}
		}()
	}
	wg.Wait()
	for i := range want {
		if got := r.sum(name(i)); got != want[i].Load() {
			t.Fatalf("%s is %d, want %d", name(i), got, want[i].Load())
		}
	}
	if rows := len(r.rows.young) + len(r.rows.old); rows > 5*64+batchMost {
		t.Fatalf("%d rows in memory", rows)
	}
}

// The secondary indexes find entries while they are in memory, while they are
// written, and from the store.
func TestFindTrailsTheLog(t *testing.T) {
	r := newRig(t).open()
	defer r.close()
	var mine []uint64
	var group [16]byte
	copy(group[:], "mine")
	for round := range 4 {
		mine = append(mine, r.must(add("mine", 1)).Index)
		found, err := r.Find(byName, group, 1<<62, 100)
		if err != nil || len(found) != round+1 || found[0] != mine[round] || found[round] != mine[0] {
			t.Fatalf("round %d: found %d of %d: %v", round, found, mine, err)
		}
		if found, err = r.Find(byName, group, mine[round], 1); err != nil || round > 0 && (len(found) != 1 || found[0] != mine[round-1]) {
			t.Fatalf("round %d: below %d: %d, %v", round, mine[round], found, err)
		}
		e, _ := r.Entry(mine[round])
		var a added
		if err := entry.Decode(e.Leaf, &a); err != nil {
			t.Fatal(err)
		}
		if found, err = r.Find(ByID, a.ID, 1<<62, 2); err != nil || len(found) != 1 || found[0] != mine[round] {
			t.Fatalf("by id: %d, %v", found, err)
		}
		many(t, r, indexRun/5, 64)
	}
}

// brokenStore fails or delays commits.
type brokenStore struct {
	store.Store
	before func(*store.Batch) error
	after  func(*store.Batch) error
}

func (s *brokenStore) Commit(ctx context.Context, b *store.Batch) error {
	if s.before != nil {
		if err := s.before(b); err != nil {
			return err
		}
	}
	err := s.Store.Commit(ctx, b)
	if err == nil && s.after != nil {
		err = s.after(b)
	}
	return err
}

// An ambiguous commit ends the ledger; nobody is told anything; the restart
// finds out, and the retry learns the truth.
func TestAnAmbiguousCommitEndsTheLedger(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%v", durable), func(t *testing.T) {
			r := newRig(t)
			var broken atomic.Bool
			lost := errors.New("the disk went away")
			r.wrap = func(s store.Store) store.Store {
				b := &brokenStore{Store: s}
				hook := func(*store.Batch) error {
					if broken.Load() {
						return lost
					}
					return nil
				}
				if durable {
					b.after = hook
				} else {
					b.before = hook
				}
				return b
			}
			r.open()
			r.must(keyed(add("a", 1), "one", ""))
			broken.Store(true)
			_, err := r.Update(context.Background(), keyed(add("a", 1), "two", ""))
			if !errors.Is(err, ErrUnknownOutcome) {
				t.Fatalf("the caller was told %v", err)
			}
			if err := <-r.fatal; !errors.Is(err, lost) {
				t.Fatalf("the process was told %v", err)
			}
			if _, err := r.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrStopped) {
				t.Fatalf("the next caller was told %v", err)
			}
			r.close()
			broken.Store(false)
			r.open()
			got := r.must(keyed(add("a", 1), "two", ""))
			if got.Replayed != durable || got.Index != 1 || r.sum("a") != 2 {
				t.Fatalf("the retry: replayed %v, entry %d, sum %d", got.Replayed, got.Index, r.sum("a"))
			}
			r.close()
		})
	}
}

// A refusal waits for what it saw: a caller who hears "below zero" could
// otherwise learn of an entry that a crash undoes.
func TestRefusalsWaitForWhatTheySaw(t *testing.T) {
	r := newRig(t)
	gate, at := make(chan struct{}), make(chan struct{}, 1)
	var gated atomic.Bool
	r.wrap = func(s store.Store) store.Store {
		return &brokenStore{Store: s, before: func(*store.Batch) error {
			if gated.Load() {
				select {
				case at <- struct{}{}:
				default:
				}
				<-gate
			}
			return nil
		}}
	}
	r.open()
	defer r.close()
	r.must(add("a", 3))
	gated.Store(true)
	taken := make(chan error, 1)
	go func() {
		_, err := r.Update(context.Background(), add("a", -3))
		taken <- err
	}()
	<-at // it ran, and is being made durable
	refused := make(chan error, 1)
	go func() {
		_, err := r.Update(context.Background(), add("a", -1))
		refused <- err
	}()
	select {
	case err := <-refused:
		t.Fatalf("refused before the withdrawal was durable: %v", err)
	case err := <-taken:
		t.Fatalf("answered before it was durable: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	gated.Store(false)
	close(gate)
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if err := <-refused; !errors.Is(err, errBelowZero) {
		t.Fatal(err)
	}
}

// faultySigner is silent while told to be.
type faultySigner struct {
	signature.Signer
	silent atomic.Bool
}

func (s *faultySigner) SignMessage(m io.Reader, o ...signature.SignOption) ([]byte, error) {
	if s.silent.Load() {
		return nil, errors.New("no answer")
	}
	return s.Signer.SignMessage(m, o...)
}

// untilSilent runs a command until the signer has left its entry without a signature.
func (r *rig) untilSilent(c Command) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := r.Update(ctx, c)
		done <- err
	}()
	for !errors.Is(r.Ready(), ErrSigner) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	return <-done
}

func TestASilentSignerStopsPlayUntilItAnswers(t *testing.T) {
	r := newRig(t)
	s := &faultySigner{Signer: r.signer}
	r.signer = s
	r.open()
	defer r.close()
	r.must(add("a", 1))
	s.silent.Store(true)
	if err := r.untilSilent(keyed(add("a", 1), "k", "")); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("unsigned, yet answered: %v", err)
	}
	if _, err := r.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrSigner) {
		t.Fatalf("accepted without a signer: %v", err)
	}
	if r.Signed().Size != 1 {
		t.Fatal("something unsigned was shown")
	}
	s.silent.Store(false)
	for r.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	if got := r.must(keyed(add("a", 1), "k", "")); !got.Replayed || r.sum("a") != 2 {
		t.Fatalf("replayed %v, sum %d", got.Replayed, r.sum("a"))
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	r := newRig(t)
	gate := make(chan struct{})
	r.change = func(c *Config) { c.QueueMost = 10 }
	r.wrap = func(s store.Store) store.Store {
		return &brokenStore{Store: s, before: func(*store.Batch) error { <-gate; return nil }}
	}
	r.open()
	defer r.close()
	results := make(chan error, 50)
	for i := range cap(results) {
		go func() {
			_, err := r.Update(context.Background(), keyed(add("a", 1), fmt.Sprint(i), ""))
			results <- err
		}()
	}
	for range cap(results) - 10 {
		if err := <-results; !errors.Is(err, ErrOverloaded) {
			t.Fatal(err)
		}
	}
	close(gate)
	for range 10 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if got := r.sum("a"); got != 10 {
		t.Fatalf("%d commands ran", got)
	}
}

// fullStore has no room.
type fullStore struct {
	store.Store
	full atomic.Bool
}

func (s *fullStore) Free() (store.FreeSpace, error) {
	if s.full.Load() {
		return store.FreeSpace{Available: 1, Reserve: 2}, nil
	}
	return store.FreeSpace{Available: 2, Reserve: 2}, nil
}

func TestWithoutRoomCommandsAreRefusedAndReadsGoOn(t *testing.T) {
	r := newRig(t)
	var full *fullStore
	r.wrap = func(s store.Store) store.Store { full = &fullStore{Store: s}; return full }
	r.open()
	defer r.close()
	first := r.must(add("a", 1))
	full.full.Store(true)
	for !errors.Is(r.Ready(), ErrNoSpace) {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := r.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if e, err := r.Entry(first.Index); err != nil || r.sum("a") != 1 {
		t.Fatal(err)
	} else {
		r.verify(e)
	}
	full.full.Store(false)
	for r.Ready() != nil {
		time.Sleep(10 * time.Millisecond)
	}
	r.must(add("a", 1))
}

// Closing lets what was accepted finish.
func TestCloseDrains(t *testing.T) {
	r := newRig(t).open()
	results := make(chan error, 500)
	for range cap(results) {
		go func() {
			_, err := r.Update(context.Background(), add("a", 1))
			results <- err
		}()
	}
	time.Sleep(time.Millisecond)
	r.close()
	ran := int64(0)
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			ran++
		case !errors.Is(err, ErrStopped):
			t.Fatal(err)
		}
	}
	r.open()
	defer r.close()
	if got := r.sum("a"); got != ran {
		t.Fatalf("%d commands were answered, %d ran", ran, got)
	}
}

// Whatever the machine's clock does, stamps never go back, and each jump is an
// entry of its own before the entry that met it.
func TestClockSteps(t *testing.T) {
	r := newRig(t)
	wall := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var steady time.Duration
	var mu sync.Mutex
	r.change = func(c *Config) {
		c.Clock = func() (time.Time, time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			return wall, steady
		}
	}
	pass := func(d, jump time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		wall, steady = wall.Add(d+jump), steady+d
	}
	r.open()
	start := entry.TimeOf(wall)
	story := func() (out []string) {
		if err := r.Leaves(0, r.Signed().Size, func(_ uint64, leaf []byte) error {
			record, err := r.books.Decode(leaf)
			if err != nil {
				return err
			}
			line := record.Head().At.Sub(start).String()
			if s, ok := record.(*system.ClockStepped); ok {
				line += fmt.Sprintf(" stepped %v", time.Duration(s.StepMicroseconds)*time.Microsecond)
			}
			out = append(out, line)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct{ passed, jump time.Duration }{
		{0, 0},
		{time.Second, 0},
		{time.Second, 400 * time.Millisecond}, // within what a clock may drift
		{time.Second, -time.Hour},             // set back: time goes on at the steady pace
		{time.Second, 0},                      //
		{time.Second, 30 * time.Minute},       // set forward, but not yet to where time is
		{time.Second, 2 * time.Hour},          // set forward, beyond it
	} {
		pass(c.passed, c.jump)
		r.must(add("a", 1))
	}
	want := []string{
		"0s", "1s", "2.4s",
		"3.4s stepped -1h0m0s", "3.4s",
		"4.4s",
		"5.4s stepped 30m0s", "5.4s",
		"1h30m6.4s stepped 2h0m0s", "1h30m6.4s",
	}
	if got := story(); !slices.Equal(got, want) {
		t.Fatalf("the log tells\n%q, want\n%q", got, want)
	}
	// A start with the clock far behind goes on after the last entry.
	r.close()
	pass(time.Second, -24*time.Hour)
	r.open()
	defer r.close()
	r.must(add("a", 1))
	pass(time.Second, 0)
	r.must(add("a", 1))
	if got := story(); !slices.Equal(got[len(want):], []string{"1h30m6.4s", "1h30m7.4s"}) {
		t.Fatalf("after the restart: %q", got[len(want):])
	}
}

// Another fold version builds the rows anew, beside the old ones, and they are
// the same when the fold is.
func TestBooksAreBuiltAnew(t *testing.T) {
	r := newRig(t).open()
	many(t, r, 5000, 16)
	before := dump(t, r.store)
	r.close()
	r.change = func(c *Config) { c.Books.Version = 2 }
	r.open()
	if got := r.store.Head().Folds; got != 2 {
		t.Fatalf("fold version %d", got)
	}
	if after := dump(t, r.store); after != before {
		t.Fatal("rebuilt rows differ")
	}
	r.must(add("a", 1))
	r.close()
	r.open()
	defer r.close()
	if r.sum("a") != 1 || r.sum(name(1)) != 5 {
		t.Fatalf("sums %d and %d", r.sum("a"), r.sum(name(1)))
	}
}

func dump(t *testing.T, s store.Store) string {
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var b bytes.Buffer
	if err := snap.ScanRows(nil, func(r store.Row) error { fmt.Fprintf(&b, "%s=%s\n", r.Key, r.Value); return nil }); err != nil {
		t.Fatal(err)
	}
	if b.Len() == 0 {
		t.Fatal("no rows")
	}
	return b.String()
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// A store that was set back to an older copy is refused: its guard knows what
// was signed.
func TestARolledBackStoreIsRefused(t *testing.T) {
	r := newRig(t).open()
	r.must(add("a", 1))
	r.close()
	old := t.TempDir()
	copyDir(t, filepath.Join(r.dir, "store"), filepath.Join(old, "store"))
	r.open()
	r.must(add("a", 1))
	r.close()
	if err := os.RemoveAll(filepath.Join(r.dir, "store")); err != nil {
		t.Fatal(err)
	}
	copyDir(t, filepath.Join(old, "store"), filepath.Join(r.dir, "store"))
	if err := r.tryOpen(); !errors.Is(err, ErrFork) {
		t.Fatalf("opened: %v", err)
	}
	// Another history of the same length is refused, too.
	other := newRig(t)
	other.signer = r.signer
	other.open()
	for range 3 {
		other.must(add("b", 1))
	}
	other.close()
	os.RemoveAll(filepath.Join(r.dir, "store"))
	copyDir(t, filepath.Join(other.dir, "store"), filepath.Join(r.dir, "store"))
	if err := r.tryOpen(); !errors.Is(err, ErrFork) {
		t.Fatalf("another history was signed: %v", err)
	}
}

func TestGuard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard")
	g, err := OpenGuard(path, "o")
	if err != nil {
		t.Fatal(err)
	}
	var b tlog.Builder
	heads := []SignedHead{}
	tree, _ := tlog.NewTree(0, nil, nil)
	_ = tree
	for i := range 5 {
		b.Add(tlog.LeafHash([]byte{byte(i)}))
		heads = append(heads, SignedHead{Term: 1, Size: b.Size(), Root: b.Root()})
	}
	if err := g.Allow(heads[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := g.Allow(heads[0], nil); err != nil {
		t.Fatalf("the same head again: %v", err)
	}
	other := heads[0]
	other.Root[0] ^= 1
	if err := g.Allow(other, nil); !errors.Is(err, ErrFork) {
		t.Fatalf("a second root at one size: %v", err)
	}
	if err := g.Allow(heads[2], nil); !errors.Is(err, ErrFork) {
		t.Fatalf("without proof: %v", err)
	}
	g.Close()
	g, err = OpenGuard(path, "o")
	if err != nil || g.Last() != heads[0] {
		t.Fatalf("reopened: %v, %+v", err, g.Last())
	}
	g.Close()
	if _, err := OpenGuard(path, "another log"); err == nil {
		t.Fatal("another log's guard was taken")
	}
	raw, _ := os.ReadFile(path)
	for _, at := range []int{0, slotStride} {
		raw[at+slotBytes-1] ^= 1
	}
	os.WriteFile(path, raw, 0o600)
	if _, err := OpenGuard(path, "o"); err == nil && raw[slotStride] != 0 {
		t.Fatal("a guard with both records damaged was taken")
	}
}

// Whoever applies the batches of a log, however they were cut, gets the same
// rows, tiles and root; a batch that leads elsewhere changes nothing.
func TestApplyIsDeterministic(t *testing.T) {
	r := newRig(t).open()
	defer r.close()
	many(t, r, 3000, 16)
	snap, err := r.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	head := snap.Head()
	var leaves [][]byte
	if err := snap.Leaves(0, head.Size, func(_ uint64, leaf []byte) error {
		leaves = append(leaves, bytes.Clone(leaf))
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	copied, err := pebble.Open(t.TempDir(), pebble.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	a, err := NewApplier(copied, toyBooks())
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	ctx := context.Background()
	for at := 0; at < len(leaves); {
		n := min(1+rnd.IntN(300), len(leaves)-at)
		b := Batch{Term: 1, Base: uint64(at), At: int64(at) + 1, Leaves: leaves[at : at+n]}
		root, err := r.tree.Root(uint64(at + n))
		if err != nil {
			t.Fatal(err)
		}
		wrong := root
		wrong[0] ^= 1
		b.Root = &wrong
		if err := a.Apply(ctx, b); !errors.Is(err, trillian.ErrRoot) || copied.Head().Size != uint64(at) {
			t.Fatalf("a batch to another root: %v, size %d", err, copied.Head().Size)
		}
		b.Root = &root
		if err := a.Apply(ctx, b); err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(ctx, b); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("a batch twice: %v", err)
		}
		at += n
	}
	if got := copied.Head(); got.Root != head.Root || got.Size != head.Size {
		t.Fatalf("head %+v, want %+v", got, head)
	}
	if dump(t, copied) != dump(t, r.store) {
		t.Fatal("the rows differ")
	}
	for i := range head.Size / tlog.TileWidth {
		one, err1 := copied.Tile(0, i)
		two, err2 := r.store.Tile(0, i)
		if err1 != nil || err2 != nil || one == nil || !bytes.Equal(one, two) {
			t.Fatalf("tile %d: %v, %v", i, err1, err2)
		}
	}
	// A batch that breaks a rule of the books is refused.
	bad, _ := entry.Append(nil, &added{Header: entry.Header{Actor: "toy", ID: entry.NewUUID([16]byte{})}, Amount: 1, After: 77, Name: "x"})
	if err := a.Apply(ctx, Batch{Term: 1, Base: head.Size, At: 1 << 60, Leaves: [][]byte{bad}}); !errors.Is(err, book.ErrBroken) {
		t.Fatal(err)
	}
}
