package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"countroom/ledger/store"
)

// Faults is what a place can do whose disk the test holds in its hands.
type Faults struct {
	// Open is Place.Open, but for the error.
	Open func() (store.Store, error)
	// Settle makes the store do now what it would do in the background one day.
	// An error ends the story, as the store would end the process.
	Settle func(s store.Store) error
	// Fail makes the k-th change of the disk from now on fail, counted from 1,
	// and it alone. It returns how many there were so far.
	Fail func(k int) (changes func() int)
	// Ended is closed when a store has ended the process, as far as a test can.
	Ended <-chan struct{}
	// Cut returns what is left when the power is cut now: what was synced, and so
	// many percent of what was not. A store that is open here goes on.
	Cut func(percent int) Place
	// Files names the files on the disk that hold anything.
	Files func() []string
	// Damage replaces what a file holds; nil removes the file.
	Damage func(file string, change func(content []byte) []byte)
}

// testEveryFault tells one story again and again. Each time another change of
// the disk fails: a write, a sync, a creation, a renaming, a removal. The store
// either goes on as if nothing had been, or takes nothing more; it may also end
// the process, or refuse to open once. Then the power is cut, and the store
// that is opened on what is left has every batch that was acknowledged, and of
// one that was under way everything or nothing.
func testEveryFault(t *testing.T, newPlace func(testing.TB) Place) {
	ends := map[string]int{}
	k := 1
	for ; ; k++ {
		p := newPlace(t)
		changes := p.Faults.Fail(k)
		y := &story{place: p}
		done := make(chan struct{})
		go func() {
			y.tell()
			close(done)
		}()
		end := "the process ended"
		select {
		case <-done:
			end = y.end
			if y.poisoned {
				y.holdPoisoned(t, k)
			}
		case <-p.Faults.Ended:
		}
		known, maybe, _, _ := y.heard()
		// A cut that keeps some of what was not synced may keep the newer of two
		// directory entries and lose the older. Pebble counts on their order, as
		// journalling file systems keep it, while it is about to sync both.
		some := 100
		if end != "the process ended" && k%2 == 0 {
			some = 50
		}
		for _, percent := range []int{0, some} {
			left := p.Faults.Cut(percent)
			s := left.Open(t)
			if head := s.Head(); head != known && head != maybe {
				t.Fatalf("change %d failed (%s), then %d%% of what was not synced was kept: the head is %+v, want %+v or %+v", k, end, percent, head, known, maybe)
			}
			y.holdCheckpoint(t, s)
			verifyWhole(t, s)
			h := &house{t: t, store: s, head: s.Head()}
			check(t, s.Commit(context.Background(), told(h, 3)))
			verifyWhole(t, s)
			check(t, s.Close())
		}
		if changes() < k {
			if end != "told to its end" {
				t.Fatalf("without a fault: %s", end)
			}
			break
		}
		ends[end]++
	}
	t.Logf("%d changes of the disk failed in turn: %v", k-1, ends)
	if k < 100 || ends["told to its end"] == 0 || ends["a write failed"] == 0 {
		t.Errorf("that was no story")
	}
}

// story is a fixed story of a store, and what those who heard it know.
type story struct {
	place    Place
	store    store.Store
	end      string
	poisoned bool

	mu           sync.Mutex
	heads        []store.Head // of all times
	known, maybe store.Head   // acknowledged, and what was tried last
	synced, set  uint64       // checkpoints
}

// told is a batch as verifyWhole wants it.
func told(h *house, n uint64) *store.Batch {
	b := h.batch(leaves(h.head.Size, h.head.Size+n)...)
	b.Rows = []store.Row{numbered("size", b.Next.Size), numbered(fmt.Sprint("batch ", b.Prev.Size), b.Next.Size)}
	b.Vault = []store.Row{numbered("size", b.Next.Size)}
	for i := b.Prev.Size / 256; i < b.Next.Size/256; i++ {
		b.Tiles = append(b.Tiles, store.Tile{Index: i, Data: bytes.Repeat([]byte{byte(i), 7}, store.TileSize/2)})
	}
	b.Checkpoint = strconv.AppendUint(nil, b.Prev.Size, 10)
	return b
}

func (y *story) heard() (known, maybe store.Head, synced, set uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.known, y.maybe, y.synced, y.set
}

func (y *story) tell() {
	for _, chapter := range []func() error{
		y.open, y.commit, y.index, y.checkpoint, y.commit, y.settle, y.commit, y.close,
		y.open, y.index, y.commit, y.rebuild, y.commit, y.settle, y.reset, y.index, y.checkpoint, y.commit, y.close,
	} {
		if err := chapter(); err != nil {
			y.poisoned = y.end == ""
			if y.poisoned {
				y.end = "a write failed"
			}
			return
		}
	}
	y.end = "told to its end"
}

// open may be refused once.
func (y *story) open() (err error) {
	if y.store, err = y.place.Faults.Open(); err != nil {
		if y.store, err = y.place.Faults.Open(); err != nil {
			y.end = "opening failed twice"
		}
	}
	return err
}

// close says what went wrong, and everything is as it was all the same.
func (y *story) close() error {
	_ = y.store.Close()
	return nil
}

func (y *story) settle() error {
	err := y.place.Faults.Settle(y.store)
	if err != nil {
		y.end = "the process ended"
	}
	return err
}

func (y *story) commit() error {
	h := &house{head: y.store.Head()}
	b := told(h, 50)
	y.mu.Lock()
	y.heads = append(y.heads, b.Prev)
	y.maybe, y.set = b.Next, max(y.set, b.Prev.Size)
	y.mu.Unlock()
	if err := y.store.Commit(context.Background(), b); err != nil {
		return err
	}
	y.mu.Lock()
	y.known, y.synced = b.Next, b.Prev.Size
	y.mu.Unlock()
	return nil
}

func (y *story) index() error {
	cursor, err := y.store.IndexCursor()
	if err != nil {
		return err
	}
	size := y.store.Head().Size
	return y.store.WriteIndex(size, indexFold(cursor, size))
}

func (y *story) reset() error { return y.store.ResetIndex() }

func (y *story) checkpoint() error {
	size := y.store.Head().Size
	y.mu.Lock()
	y.set = size
	y.mu.Unlock()
	return y.store.SetCheckpoint(strconv.AppendUint(nil, size, 10))
}

// rebuild makes the same rows again, under another version.
func (y *story) rebuild() error {
	head := y.store.Head()
	fb, err := y.store.BuildFolds(head.Folds + 1)
	if err != nil {
		return err
	}
	r, err := y.store.Snapshot()
	if err != nil {
		return err
	}
	err = r.ScanRows(nil, func(row store.Row) error { return fb.Write([]store.Row{row}) })
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	next := head
	next.Folds++
	y.mu.Lock()
	y.heads = append(y.heads, head)
	y.maybe = next
	y.mu.Unlock()
	if err := fb.Swap(context.Background(), head); err != nil {
		return err
	}
	y.mu.Lock()
	y.known = next
	y.mu.Unlock()
	return fb.Close()
}

// holdPoisoned wants a store that failed to write to take nothing more, and to
// show what is durable.
func (y *story) holdPoisoned(t *testing.T, k int) {
	t.Helper()
	known, _, _, _ := y.heard()
	if head := y.store.Head(); head != known {
		t.Fatalf("change %d failed: the head is %+v, want %+v", k, head, known)
	}
	verifyWhole(t, y.store)
	h := &house{head: known}
	for _, err := range []error{y.store.Commit(context.Background(), told(h, 1)), y.store.SetCheckpoint(nil), y.store.ResetIndex()} {
		if !errors.Is(err, store.ErrPoisoned) {
			t.Fatalf("change %d failed, and a write after it gives %v, want %v", k, err, store.ErrPoisoned)
		}
	}
	_ = y.store.Close() // may well repeat the error
}

// holdCheckpoint wants the newest checkpoint that a commit made durable, or one
// that was written after it.
func (y *story) holdCheckpoint(t *testing.T, s store.Store) {
	t.Helper()
	_, _, synced, set := y.heard()
	b, err := s.Checkpoint()
	check(t, err)
	if b == nil && synced == 0 {
		return
	}
	if n, err := strconv.ParseUint(string(b), 10, 64); err != nil || n < synced || n > set {
		t.Fatalf("the checkpoint is %q, want one from %d to %d", b, synced, set)
	}
}

// testDamage damages each file of a store in turn: a bit is turned, the end is
// missing, all is gone. The store refuses to open, or a read says that
// something is wrong, or it shows what was written: all of it, or as it was
// after an earlier batch. That last is what any store shows of which an old
// copy was put back; who remembers a later head, as the signing guard does,
// finds it out.
func testDamage(t *testing.T, p Place) {
	y := &story{place: p}
	y.tell()
	if y.end != "told to its end" {
		t.Fatal(y.end)
	}
	// Some of it is in tables, some in write-ahead logs alone.
	check(t, errors.Join(y.open(), y.commit(), y.index(), y.settle(), y.commit(), y.index(), y.commit()))
	p = p.Faults.Cut(100)
	check(t, y.store.Close())

	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)*n/4] } }
	turn := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { b[(len(b)-1)*n/4] ^= 1 << n; return b }
	}
	damages := []func([]byte) []byte{nil, cut(0), cut(1), cut(2), cut(3), func(b []byte) []byte { return b[:len(b)-1] }}
	for n := range 5 {
		damages = append(damages, turn(n))
	}
	found := map[string]int{}
	files := p.Faults.Files()
	for _, file := range files {
		for i, change := range damages {
			left := p.Faults.Cut(0)
			left.Faults.Damage(file, change)
			end, err := make(chan string, 1), error(nil)
			go func() {
				var s store.Store
				if s, err = left.Faults.Open(); err != nil {
					// Nobody gives up after one failed start.
					if s, err = left.Faults.Open(); err != nil {
						end <- "not opened"
						return
					}
				}
				err = whole(s)
				head := s.Head()
				_ = s.Close()
				switch {
				case err != nil:
					end <- "not read"
				case head == y.known:
					end <- "nothing is missing"
				case slices.Contains(y.heads, head):
					end <- "as it was before"
				default:
					err = fmt.Errorf("%w: the head is %+v", errWrong, head)
					end <- "another log"
				}
			}()
			select {
			case how := <-end:
				if errors.Is(err, errWrong) {
					t.Errorf("damage %d of %s: %v", i, file, err)
				}
				found[how]++
			case <-left.Faults.Ended:
				found["the process ended"]++
			}
		}
	}
	t.Logf("%d damages of each of %d files: %v", len(damages), len(files), found)
	if len(files) < 10 || found["not opened"] == 0 || found["not read"] == 0 {
		t.Errorf("that was no damage: %q", files)
	}
}
