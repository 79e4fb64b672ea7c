package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/storetest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestStoreInMemory(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place { return newDisk().place(t) })
}

func (d *disk) place(t testing.TB) storetest.Place {
	rnd := rand.New(rand.NewPCG(5, 6))
	cut := func(percent int) *vfs.MemFS {
		return d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
	}
	open := func() (store.Store, error) {
		return Open("data", Options{Create: true, FS: d.fs, Logger: slog.New(d.ending), noTableStats: true})
	}
	return storetest.Place{
		Open: func(t testing.TB) store.Store {
			s, err := open()
			check(t, err)
			return s
		},
		Crash: func(t testing.TB, s store.Store) {
			left := cut(rnd.IntN(101))
			check(t, s.Close())
			d.use(left)
		},
		Break: func(testing.TB) func() {
			d.refuse.Store(int32(syscall.EIO))
			return func() { d.refuse.Store(0) }
		},
		Faults: &storetest.Faults{
			Open: open,
			Settle: func(s store.Store) error {
				if d.logBroken.Load() {
					return errors.New("the process ends in rotateWAL")
				}
				d.rotating.Store(true)
				defer d.rotating.Store(false)
				return settle(s.(*Store))
			},
			Fail: func(k int) func() int {
				d.changes.Store(0)
				d.failAt.Store(int64(k))
				return func() int { return int(d.changes.Load()) }
			},
			Ended: d.ending.ended,
			Cut: func(percent int) storetest.Place {
				left := newDisk()
				left.use(cut(percent))
				return left.place(t)
			},
			Files:  func() []string { return files(t, d.mem, "data") },
			Damage: func(file string, change func([]byte) []byte) { spoil(t, d.mem, file, change) },
		},
	}
}

// files are the files under a directory that hold anything.
func files(t testing.TB, fs *vfs.MemFS, dir string) (found []string) {
	names, err := fs.List(dir)
	check(t, err)
	slices.Sort(names)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		check(t, err)
		if info.IsDir() {
			found = append(found, files(t, fs, path)...)
		} else if info.Size() > 0 {
			found = append(found, path)
		}
	}
	return found
}

// spoil changes what a file holds, or removes it.
func spoil(t testing.TB, fs *vfs.MemFS, path string, change func([]byte) []byte) {
	was := content(t, fs, path)
	check(t, fs.Remove(path))
	if change != nil {
		put(t, fs, path, change(was))
	}
}

func content(t testing.TB, fs *vfs.MemFS, path string) []byte {
	f, err := fs.Open(path)
	check(t, err)
	b, err := io.ReadAll(f)
	check(t, errors.Join(err, f.Close()))
	return b
}

func put(t testing.TB, fs *vfs.MemFS, path string, content []byte) {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	check(t, err)
	_, err = f.Write(content)
	check(t, errors.Join(err, f.Close()))
}

// fail is the change that fails.
func (d *disk) fail(op errorfs.Op) error {
	// Two faults end the process, and nothing can recover from them, so here the
	// goroutine stops. When Pebble cannot end a write-ahead log and begin another,
	// rotateWAL panics without the mutex that its caller is about to unlock. When
	// it cannot make the name of a new manifest durable in the background, it panics.
	isLog := filepath.Ext(op.Path) == ".log" && op.Kind != errorfs.OpRemove
	if d.rotating.Load() && (isLog || called("github.com/cockroachdb/pebble/v2.(*DB).rotateWAL")) ||
		called("github.com/cockroachdb/pebble/v2/vfs/atomicfs.(*Marker).Move") && !called(recovering...) {
		d.ending.end()
		select {}
	}
	if isLog {
		d.logBroken.Store(true)
	}
	return &os.PathError{Op: "change", Path: op.Path, Err: syscall.EIO}
}

// recovering are the functions that make a panic an error.
var recovering = []string{
	"countroom/ledger/store/pebble.open", "countroom/ledger/store/pebble.apply", "countroom/ledger/store/pebble.(*Store).load",
	"countroom/ledger/store/pebble.settle",
}

// called reports whether one of the functions is being executed.
func called(names ...string) bool {
	pcs := make([]uintptr, 200)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	for more := true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); slices.Contains(names, f.Function) {
			return true
		}
	}
	return false
}

// settle flushes what is in memory and merges what is on the disk.
func settle(s *Store) (err error) {
	defer recoverFatal(&err)
	for _, db := range []*pebble.DB{s.db, s.indexes} {
		if err := db.Flush(); err != nil {
			return err
		}
		if err := db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
			return err
		}
	}
	return nil
}

// ending is a log that ends what Pebble does in the background when it cannot
// go on. There it would end the process, and with it the test.
type ending struct {
	ended chan struct{}
	once  *sync.Once
}

func newEnding() ending { return ending{make(chan struct{}), new(sync.Once)} }

func (ending) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (e ending) WithAttrs([]slog.Attr) slog.Handler         { return e }
func (e ending) WithGroup(string) slog.Handler              { return e }

func (e ending) Handle(_ context.Context, r slog.Record) error {
	if r.Message != cannotGoOn {
		return nil
	}
	if called(recovering...) {
		return nil
	}
	e.end()
	runtime.Goexit()
	return nil
}

func (e ending) end() { e.once.Do(func() { close(e.ended) }) }

func TestStoreOnDisk(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		dir := t.TempDir()
		return storetest.Place{
			Open: func(t testing.TB) store.Store { return mustOpen(t, dir, Options{Create: true}) },
		}
	})
}

func mustOpen(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	check(t, err)
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// disk is a disk in memory that can lose its power, refuse writes and hold syncs up.
type disk struct {
	mem    *vfs.MemFS
	fs     vfs.FS
	refuse atomic.Int32 // the error number every write gets, 0 for none
	room   atomic.Uint64
	quota  atomic.Bool // there is room, whatever the error number
	hold   atomic.Pointer[chan struct{}]
	held   chan struct{} // told of each sync that is held up

	changes, failAt atomic.Int64 // changes so far, and the one that fails, 0 for none
	rotating        atomic.Bool  // a write-ahead log is being ended
	logBroken       atomic.Bool  // one cannot be ended any more
	ending          ending
}

func newDisk() *disk {
	d := &disk{held: make(chan struct{}, 100), ending: newEnding()}
	d.room.Store(1 << 40)
	d.use(vfs.NewCrashableMem())
	return d
}

func (d *disk) use(mem *vfs.MemFS) {
	d.mem = mem
	d.fs = sizedFS{d, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if hold := d.hold.Load(); hold != nil {
				d.held <- struct{}{}
				<-*hold
			}
		}
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite || op.Kind == errorfs.OpOpenDir {
			select {
			case <-d.ending.ended:
				select {} // the process is no more
			default:
			}
			if d.changes.Add(1) == d.failAt.Load() {
				return d.fail(op)
			}
		}
		// To lock a file that exists takes no room on a disk.
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpLock {
			if errno := d.refuse.Load(); errno != 0 {
				return &os.PathError{Op: "write", Path: op.Path, Err: syscall.Errno(errno)}
			}
		}
		return nil
	}))}
}

// sizedFS tells how much room a disk has left, which vfs.MemFS does not.
type sizedFS struct {
	*disk
	vfs.FS
}

func (f sizedFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if f.refuse.Load() == int32(syscall.ENOSPC) && !f.quota.Load() {
		return vfs.DiskUsage{}, nil
	}
	return vfs.DiskUsage{AvailBytes: f.room.Load()}, nil
}

// commit commits n leaves "leaf <index>" and a row "size".
func commit(t testing.TB, s *Store, n int) error {
	t.Helper()
	prev := s.Head()
	next := prev
	next.Size += uint64(n)
	next.At++
	next.Root = store.Hash(word(next.Size))
	b := store.Batch{Prev: prev, Next: next}
	for i := prev.Size; i < next.Size; i++ {
		b.Leaves = append(b.Leaves, fmt.Append(nil, "leaf ", i))
	}
	b.Rows = []store.Row{{Key: []byte("size"), Value: fmt.Append(nil, next.Size)}}
	b.Vault = b.Rows
	return s.Commit(context.Background(), &b)
}

func wantSize(t testing.TB, g store.Getter, size uint64) {
	t.Helper()
	if got := g.Head().Size; got != size {
		t.Fatalf("size is %d, want %d", got, size)
	}
	for i := range size {
		if got, err := g.Leaf(i); err != nil || string(got) != fmt.Sprint("leaf ", i) {
			t.Fatalf("leaf %d is %q, %v", i, got, err)
		}
	}
	for _, get := range []func([]byte) ([]byte, error){g.Row, g.Vault} {
		if got, err := get([]byte("size")); err != nil || string(got) != fmt.Sprint(size) {
			t.Fatalf("row of size %q, %v, want %d", got, err, size)
		}
	}
}

// Pebble itself shows a batch before its sync has returned. Here nobody may see it.
func TestNothingIsSeenBeforeItIsSynced(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, "data", Options{Create: true, FS: d.fs})
	check(t, commit(t, s, 3))
	check(t, s.WriteIndex(1, []store.Row{{Key: []byte("k"), Value: []byte("1")}}))

	power := make(chan struct{})
	d.hold.Store(&power)
	done := make(chan error)
	go func() { done <- commit(t, s, 2) }()
	<-d.held
	wantSize(t, s, 3)
	r, err := s.Snapshot()
	check(t, err)
	wantSize(t, r, 3)
	if got, err := s.Index([]byte("k")); err != nil || string(got) != "1" {
		t.Fatalf("index row is %q, %v, want 1", got, err)
	}
	left := mustOpen(t, "data", Options{FS: d.mem.CrashClone(vfs.CrashCloneCfg{})}) // and rightly so
	wantSize(t, left, 3)
	check(t, left.Close())

	d.hold.Store(nil)
	close(power)
	check(t, <-done)
	wantSize(t, s, 5)
	wantSize(t, r, 3)
	check(t, s.Close())
}

// A commit that finds the disk full waits for room; the store shows meanwhile what is durable.
func TestFullDisk(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, "data", Options{Create: true, FS: d.fs})
	check(t, commit(t, s, 4))

	d.refuse.Store(int32(syscall.ENOSPC))
	done := make(chan error)
	go func() { done <- commit(t, s, 1) }()
	select {
	case err := <-done:
		t.Fatalf("a commit on a full disk did not wait: %v", err)
	case <-time.After(3 * fullDiskPause):
	}
	wantSize(t, s, 4)
	if free, err := s.Free(); err != nil || free.Available != 0 {
		t.Fatalf("free space is %+v, %v, want none", free, err)
	}
	d.refuse.Store(0)
	check(t, <-done)
	wantSize(t, s, 5)
	check(t, s.Close())
}

// Where it is not room that a full disk lacks, as with a quota, waiting would be for ever.
func TestFullDiskWithRoom(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, "data", Options{Create: true, FS: d.fs})
	check(t, commit(t, s, 4))
	d.quota.Store(true)
	d.refuse.Store(int32(syscall.ENOSPC))
	if err := commit(t, s, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a commit over the quota: %v, want %v", err, syscall.ENOSPC)
	}
	wantSize(t, s, 4)
	_ = s.Close() // fails, too
}

// To close a store ends the wait for room, and the next one is opened for reading until there is some.
func TestCloseOnAFullDisk(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, "data", Options{Create: true, FS: d.fs})
	check(t, commit(t, s, 3))
	check(t, s.SetCheckpoint([]byte("signed")))
	check(t, commit(t, s, 1))

	d.refuse.Store(int32(syscall.ENOSPC))
	done := make(chan error)
	go func() { done <- commit(t, s, 1) }()
	time.Sleep(2 * fullDiskPause)
	go s.Close() // fails, too
	if err := <-done; !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, store.ErrClosed) {
		t.Fatalf("commit in a store that is closed on a full disk: %v, want %v", err, syscall.ENOSPC)
	}

	// The disk as a restart finds it: the last batch never reached it.
	d.use(d.mem.CrashClone(vfs.CrashCloneCfg{}))
	if s, err := Open("data", Options{Create: true, FS: d.fs}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("opened for writing on a full disk: %v, %v; want %v", s, err, syscall.ENOSPC)
	}
	s = mustOpen(t, "data", Options{ReadOnly: true, FS: d.fs})
	wantSize(t, s, 4)
	if checkpoint, err := s.Checkpoint(); err != nil || string(checkpoint) != "signed" {
		t.Fatalf("checkpoint is %q, %v", checkpoint, err)
	}
	wantReadOnly(t, s)
	free, err := s.Free()
	check(t, err)
	check(t, s.Close())

	// What Free reports of it is enough to open it for writing, and no less is.
	d.refuse.Store(0)
	d.room.Store(free.Reserve - 1)
	if s, err := Open("data", Options{FS: d.fs}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("opened for writing below the reserve: %v, %v; want %v", s, err, syscall.ENOSPC)
	}
	d.room.Store(free.Reserve)
	s = mustOpen(t, "data", Options{FS: d.fs})
	check(t, commit(t, s, 1))
	wantSize(t, s, 5)
	check(t, s.Close())
}

func wantReadOnly(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.BuildFolds(1)
	for _, err := range []error{err, commit(t, s, 1), s.SetCheckpoint(nil), s.WriteIndex(0, nil), s.ResetIndex()} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Fatalf("a write gives %v, want %v", err, store.ErrReadOnly)
		}
	}
}

// Wherever the first start fails, it ends with the error of the disk, and the next start makes the store.
func TestFirstStartOnABrokenDisk(t *testing.T) {
	broken := errors.New("broken disk")
	for after := range 40 { // writes that still go through
		mem := vfs.NewCrashableMem()
		var writes atomic.Int32
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && int(writes.Add(1)) > after {
				return broken
			}
			return nil
		}))
		if s, err := Open("data", Options{Create: true, FS: fs}); err == nil {
			_ = s.Close()
		} else if !errors.Is(err, broken) {
			t.Fatalf("after %d writes: %v, want %v", after, err, broken)
		}
		s, err := Open("data", Options{Create: true, FS: mem.CrashClone(vfs.CrashCloneCfg{})})
		if err != nil {
			t.Fatalf("a start after one that ended at write %d: %v", after, err)
		}
		check(t, commit(t, s, 2))
		wantSize(t, s, 2)
		check(t, s.Close())
	}
}

func TestDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "store")
	if _, err := Open(dir, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opened what is not there: %v", err)
	}
	if _, err := Open(dir, Options{ReadOnly: true, Create: true}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opened what is not there for reading: %v", err)
	}
	check(t, os.MkdirAll(dir, 0o700))
	if _, err := Open(dir, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opened an empty directory as a store: %v", err)
	}
	s := mustOpen(t, dir, Options{Create: true, ReserveBytes: 5 << 20})
	check(t, commit(t, s, 1))
	free, err := s.Free()
	check(t, err)
	if free.Reserve != 5<<20 || free.Available == 0 {
		t.Fatalf("free space is %+v", free)
	}
	check(t, s.Close())
	s = mustOpen(t, dir, Options{})
	free, err = s.Free()
	check(t, err)
	if free.Reserve != 1<<30 {
		t.Fatalf("the reserve is %d by default, want 1 GiB", free.Reserve)
	}
	wantSize(t, s, 1)
	check(t, s.Close())
	s = mustOpen(t, dir, Options{ReadOnly: true})
	wantSize(t, s, 1)
	wantReadOnly(t, s)
	check(t, s.Close())
}

// TestMain lets the test binary be the other process that holds a data directory.
func TestMain(m *testing.M) {
	if dir := os.Getenv("COUNTROOM_TEST_OPEN"); dir != "" {
		s, err := Open(dir, Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if err := s.Close(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestDataDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Create: true})
	_, err := Open(dir, Options{})
	if want := "data directory " + dir + " is in use by another process"; !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Fatalf("opened twice: %v, want %q", err, want)
	}
	if _, err = Open(dir, Options{ReadOnly: true}); !errors.Is(err, ErrInUse) {
		t.Fatalf("opened twice, the second time for reading: %v", err)
	}
	other := func() (string, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_OPEN="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := other(); err == nil || !strings.Contains(out, "in use by another process") {
		t.Fatalf("another process opened it, too: %q, %v", out, err)
	}
	check(t, commit(t, s, 1))
	check(t, s.Close())
	if out, err := other(); err != nil {
		t.Fatalf("another process cannot open it after Close: %q, %v", out, err)
	}
}

func TestFormatVersion(t *testing.T) {
	fs := vfs.NewMem()
	raw := func(change func(*pebble.DB) error) {
		db, err := pebble.Open("data", &pebble.Options{FS: fs, Logger: newLogger(slog.New(slog.DiscardHandler)), FormatMajorVersion: pebble.FormatNewest})
		check(t, err)
		check(t, change(db))
		check(t, db.Close())
	}
	opens := func(want string) {
		t.Helper()
		for _, opts := range []Options{{FS: fs}, {FS: fs, Create: true}, {FS: fs, ReadOnly: true}} {
			s, err := Open("data", opts)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, %v, want an error with %q", s, err, want)
			}
		}
	}
	raw(func(db *pebble.DB) error { return db.Set([]byte("somebody else's"), nil, pebble.Sync) })
	opens("holds no countroom store")
	fs = vfs.NewMem()
	s := mustOpen(t, "data", Options{FS: fs, Create: true})
	check(t, commit(t, s, 1))
	check(t, s.Close())
	raw(func(db *pebble.DB) error {
		return db.Set(keyFormat, binary.BigEndian.AppendUint32(nil, formatVersion+1), pebble.Sync)
	})
	opens("has format version 2, this program knows version 1")
	raw(func(db *pebble.DB) error { return db.Set(keyFormat, []byte("?"), pebble.Sync) })
	opens("format version has 1 bytes")
	raw(func(db *pebble.DB) error {
		return errors.Join(db.Set(keyFormat, binary.BigEndian.AppendUint32(nil, formatVersion), pebble.Sync),
			db.Set(keyHead, make([]byte, headSize-1), pebble.Sync))
	})
	opens("head has 59 bytes")
}

// Whatever stands in the database, a read gives an error and does not panic.
func TestDamagedRows(t *testing.T) {
	for name, damage := range map[string]func(*pebble.DB) error{
		"no leaves":         func(db *pebble.DB) error { return db.Delete(leavesKey(nil, 0), pebble.Sync) },
		"a gap":             func(db *pebble.DB) error { return db.Delete(leavesKey(nil, 2), pebble.Sync) },
		"the last missing":  func(db *pebble.DB) error { return db.Delete(leavesKey(nil, 4), pebble.Sync) },
		"an empty row":      func(db *pebble.DB) error { return db.Set(leavesKey(nil, 2), nil, pebble.Sync) },
		"half a length":     func(db *pebble.DB) error { return db.Set(leavesKey(nil, 2), []byte{0}, pebble.Sync) },
		"half a leaf":       func(db *pebble.DB) error { return db.Set(leavesKey(nil, 2), []byte{0, 2, 'x'}, pebble.Sync) },
		"a leaf too many":   func(db *pebble.DB) error { return db.Set(leavesKey(nil, 2), make([]byte, 6), pebble.Sync) },
		"a key that is odd": func(db *pebble.DB) error { return db.Set(append(leavesKey(nil, 2), 0), nil, pebble.Sync) },
		"a tile cut short":  func(db *pebble.DB) error { return db.Set(tileKey(nil, 0, 0), []byte{1}, pebble.Sync) },
	} {
		s := mustOpen(t, "data", Options{FS: vfs.NewMem(), Create: true})
		for range 3 {
			check(t, commit(t, s, 2))
		}
		check(t, damage(s.db))
		s.publish(s.Head())
		r, err := s.Snapshot()
		check(t, err)
		_, err1 := r.Tile(0, 0)
		err = errors.Join(err1, r.Leaves(0, 6, func(uint64, []byte) error { return nil }))
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: got error %v, want %v", name, err, store.ErrCorrupt)
		}
		check(t, s.Close())
	}
}

// The cursor of the indexes is read once, at the start.
func TestDamagedCursor(t *testing.T) {
	for name, value := range map[string][]byte{"odd": {1}, "beyond the log": binary.BigEndian.AppendUint64(nil, 3)} {
		fs := vfs.NewMem()
		s := mustOpen(t, "data", Options{FS: fs, Create: true})
		check(t, commit(t, s, 2))
		check(t, s.indexes.Set(keyCursor, value, pebble.Sync))
		check(t, s.Close())
		if s, err := Open("data", Options{FS: fs}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: opened %v, %v", name, s, err)
		}
	}
}

// Indexes that are gone are empty: whoever writes them begins anew.
func TestLostIndexes(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "data", Options{FS: fs, Create: true})
	check(t, commit(t, s, 2))
	check(t, s.WriteIndex(2, []store.Row{{Key: []byte("k"), Value: []byte("v")}}))
	check(t, s.Close())
	check(t, fs.RemoveAll(fs.PathJoin("data", indexDir)))
	s = mustOpen(t, "data", Options{FS: fs})
	cursor, err := s.IndexCursor()
	check(t, err)
	row, err := s.Index([]byte("k"))
	check(t, err)
	if cursor != 0 || row != nil || s.Head().Size != 2 {
		t.Errorf("cursor %d, row %q, size %d", cursor, row, s.Head().Size)
	}
	check(t, s.Close())
}

func FuzzUnpackLeaf(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 3, 'a', 'b', 'c', 0, 1, 'd'})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, packed []byte) {
		var leaves [][]byte
		for rest := packed; len(rest) > 0; {
			leaf, next, err := unpackLeaf(rest)
			if err != nil {
				if !errors.Is(err, store.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			leaves, rest = append(leaves, leaf), next
		}
		again := make([]byte, len(packed))
		rest := again
		for _, leaf := range leaves {
			rest = packLeaf(rest, leaf)
		}
		if len(rest) != 0 || !bytes.Equal(again, packed) {
			t.Fatalf("%x unpacked and packed is %x", packed, again)
		}
	})
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendHead(nil, store.Head{}))
	f.Add(appendHead(nil, store.Head{Term: 1, Size: 2, Root: store.Hash(word(3)), At: -4, Folds: 5}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if again := appendHead(nil, h); !bytes.Equal(again, b) {
			t.Fatalf("%x parsed and written is %x", b, again)
		}
	})
}

func FuzzManifest(f *testing.F) {
	mem := vfs.NewMem()
	s := mustOpen(f, "data", Options{Create: true, FS: mem})
	check(f, commit(f, s, 3))
	check(f, settle(s))
	check(f, s.Close())
	desc, err := pebble.Peek("data", mem)
	check(f, err)
	whole := content(f, mem, desc.ManifestFilename)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, manifest []byte) {
		first, err := parseManifest(bytes.NewReader(manifest))
		if err != nil {
			t.Fatal(err) // what cannot be read is where it ends
		}
		if bytes.HasPrefix(whole, manifest) && first > 1<<20 {
			t.Fatalf("the first log of part of a manifest is %d", first)
		}
	})
}
