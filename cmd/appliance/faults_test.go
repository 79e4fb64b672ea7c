package appliance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A house plays on a disk of which each time another change fails, a write, a
// sync, a creation, a removal, and it alone. Then the power is cut, and the
// house is opened on what is left. Everything that was acknowledged is there,
// what was not is there once or not at all, and play goes on.
func TestEveryFaultUnderAHouse(t *testing.T) {
	stopped, k := 0, 1
	for ; ; k += 2 {
		w := newFaultyWorld(t)
		w.failAt.Store(int64(k))
		if !w.play() {
			stopped++
		}
		changes := w.changes.Load()
		w.cut(k)
		w.recall(k)
		if int(changes) < k {
			break
		}
	}
	t.Logf("every second of %d changes of the disk failed in turn; the house stopped at %d of them", k-1, stopped)
	if k < 60 || stopped < 10 {
		t.Error("that was no story")
	}
}

type faultyWorld struct {
	t               *testing.T
	dir             string // of what is not the store
	mem             *vfs.MemFS
	changes, failAt atomic.Int64
	counting        atomic.Bool

	token string
	tried int // spins
	acked []ledger.Receipt
}

func newFaultyWorld(t *testing.T) *faultyWorld {
	w := &faultyWorld{t: t, dir: t.TempDir(), mem: vfs.NewCrashableMem()}
	if err := w.mem.MkdirAll(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir := w.dir; dir != "/"; {
		dir = filepath.Dir(dir)
		d, err := w.mem.OpenDir(dir)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *faultyWorld) open() (*appliance.Appliance, chan error, error) {
	fatal := make(chan error, 1)
	a, err := appliance.Open(context.Background(), appliance.Config{
		Dir: w.dir, Release: "test", Log: slog.New(slog.DiscardHandler), Reserve: 1, Fatal: func(err error) { fatal <- err },
		Machine: appliance.Machine{StoreFS: roomyFS{errorfs.Wrap(w.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if w.counting.Load() && (op.Kind.ReadOrWrite() == errorfs.OpIsWrite || op.Kind == errorfs.OpOpenDir) && w.changes.Add(1) == w.failAt.Load() {
				return &os.PathError{Op: "change", Path: op.Path, Err: syscall.EIO}
			}
			return nil
		}))}},
	})
	return a, fatal, err
}

// roomyFS says that there is room, of which vfs.MemFS says nothing.
type roomyFS struct{ vfs.FS }

func (roomyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

func closeHouse(a *appliance.Appliance) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = a.Close(ctx) // may well repeat the error
}

func request(key string) house.Request {
	return house.Request{Key: key, Method: "POST", Path: "/", Principal: "operator"}
}

// play reports whether the house went on to the end of the story. A start that
// fails is tried again, as a supervisor would.
func (w *faultyWorld) play() bool {
	w.t.Helper()
	for life := range 2 {
		// Of the faults while a store is opened that exists, the store's own tests
		// tell: what Pebble leaves behind when that fails may panic.
		w.counting.Store(life == 0)
		a, fatal, err := w.open()
		if err != nil {
			if a, fatal, err = w.open(); err != nil {
				w.t.Fatalf("change %d failed: the house is not opened the second time either: %v", w.failAt.Load(), err)
			}
		}
		w.counting.Store(true)
		err = w.tell(a, 10*(life+1))
		closeHouse(a)
		if err != nil {
			select {
			case <-fatal:
			default:
				w.t.Fatalf("change %d failed: a command was answered with %v, and the ledger went on", w.failAt.Load(), err)
			}
			return false
		}
	}
	return true
}

// tell is the story up to the last-th spin: what was acknowledged before is
// answered as it was.
func (w *faultyWorld) tell(a *appliance.Appliance, last int) error {
	ctx := context.Background()
	if _, err := a.House.CreatePlayer(ctx, request("create"), "p", "EUR"); err != nil {
		return err
	}
	if _, err := a.House.Deposit(ctx, request("deposit"), "p", money.Money{Amount: 1_000_000, Currency: "EUR"}); err != nil {
		return err
	}
	_, _, token, err := a.House.OpenSession(ctx, request("session"), "p", "lamplight-quay")
	if err != nil {
		return err
	}
	if w.token != "" && token != w.token {
		return errors.New("another session")
	}
	w.token = token
	seat, err := a.House.Seat(ctx, token)
	if err != nil {
		return err
	}
	for n := range last {
		w.tried = max(w.tried, n+1)
		r, err := a.House.Spin(ctx, request(fmt.Sprint("spin-", n)), seat, 20)
		if err != nil {
			return fmt.Errorf("spin %d: %w", n, err)
		}
		if n == len(w.acked) {
			w.acked = append(w.acked, r)
		} else if was := w.acked[n]; r.Index != was.Index || !bytes.Equal(r.Leaf, was.Leaf) || !r.Replayed {
			return fmt.Errorf("spin %d is answered by entry %d, and was by entry %d", n, r.Index, was.Index)
		}
	}
	return nil
}

// cut loses what was not synced, or some of it.
func (w *faultyWorld) cut(k int) {
	w.counting.Store(false)
	w.mem = w.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: k % 3 * 50, RNG: rand.New(rand.NewPCG(uint64(k), 1))})
}

// recall wants everything that was acknowledged, and to play on.
func (w *faultyWorld) recall(k int) {
	t := w.t
	t.Helper()
	a, _, err := w.open()
	if err != nil {
		t.Fatalf("change %d failed: the house is not opened again: %v", k, err)
	}
	defer closeHouse(a)
	for n, was := range w.acked {
		if e, err := a.Ledger.Entry(was.Index); err != nil || !bytes.Equal(e.Leaf, was.Leaf) {
			t.Fatalf("change %d failed: spin %d was acknowledged as entry %d\n%s\nand that is\n%s%v", k, n, was.Index, was.Leaf, e.Leaf, err)
		}
	}
	if err := w.tell(a, w.tried+1); err != nil {
		t.Fatalf("change %d failed: the story told again: %v", k, err)
	}
	settled := 0
	err = a.Ledger.Leaves(0, a.Ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		typ, err := entry.TypeOf(leaf)
		if typ == (*rounds.Settled)(nil).Type() {
			settled++
		}
		return err
	})
	if err != nil || settled != w.tried {
		t.Fatalf("change %d failed: %d rounds are in the log, %d were asked for: %v", k, settled, w.tried, err)
	}
}
