// Package pebble keeps a log in one directory of one machine, in github.com/cockroachdb/pebble: leaves, tiles, rows, vault
// and head of a batch are one synced Pebble batch.
//
// Pebble shows a write to readers before it is synced. Therefore nothing but the trailing index and the checkpoint is read
// from the database as such: reads go to a Pebble snapshot that is taken each time a synced write has returned.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/gate"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion counts changes of what is stored under which key. A program opens its own version only.
const formatVersion = 1

const (
	memTableBytes = 64 << 20
	// cacheBytes is for blocks and for up to four memtables, which Pebble takes out of it: one that is written, two that
	// wait to be flushed and one kept for reuse.
	cacheBytes = 320 << 20
	// The same of the indexes.
	indexMemTableBytes = 32 << 20
	indexCacheBytes    = 128 << 20
	// indexDir holds the secondary indexes.
	indexDir = "index"
	// retainedBytes is how large a batch's buffer may be to be used again.
	retainedBytes = 16 << 20
	// openBytes is what Pebble writes to open a store, next to a copy of its write-ahead logs.
	openBytes = 2 * memTableBytes
	// writeBytes is the room with which a store that found the disk full goes on writing.
	writeBytes = memTableBytes
	// fullDiskPause is how often it looks.
	fullDiskPause = 100 * time.Millisecond
	// defaultReserve has room for the memtables, their write-ahead logs and the compactions that follow them.
	defaultReserve = 1 << 30
)

// ErrInUse: another process, or this one, has the data directory open.
var ErrInUse = errors.New("in use by another process")

// Options of Open; the zero value opens a store that exists.
type Options struct {
	// Create makes a new store in a directory that has none.
	Create bool
	// ReadOnly opens without writing a byte, as a full disk demands. Nothing that was committed is missing from it.
	ReadOnly bool
	// ReserveBytes is reported by Free, and with less a store is not opened for writing; 0 is 1 GiB.
	ReserveBytes uint64
	// Logger is told what an operator has to know; nil discards it.
	Logger *slog.Logger
	// FS replaces the operating system's file system.
	FS vfs.FS
	// noTableStats is for tests in which opening fails: what Pebble then leaves behind goes on to collect statistics of
	// tables that are closed, and panics.
	noTableStats bool
}

// Store is a store.Store. It needs Close.
type Store struct {
	dir      string
	fs       vfs.FS
	reserve  uint64
	readOnly bool
	log      *slog.Logger
	lock     *pebble.Lock
	db       *pebble.DB
	indexes  *pebble.DB // the secondary indexes, in a directory of their own

	logs, indexLogs logs // of the two

	gate   gate.Gate
	closed atomic.Bool
	broken atomic.Pointer[error] // why the store is poisoned

	commitMu sync.Mutex    // one synced write at a time; guards batch
	batch    *pebble.Batch // buffer of Commit
	indexMu  sync.Mutex    // one WriteIndex at a time

	mu      sync.Mutex // guards what follows, and every view's refs
	view    *view      // newest durable state; replaced only under commitMu
	indexed *indexView // newest indexes; replaced only under indexMu
	readers map[*reader]struct{}
	builder *foldsBuilder
}

var _ store.Store = (*Store)(nil)

// Open opens the store in directory dir and locks the directory. With too little space to open it for writing the error is
// syscall.ENOSPC; with Options.ReadOnly it can be opened all the same, and the reserve that Free reports is then what it
// takes to open it for writing.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.ReserveBytes == 0 {
		opts.ReserveBytes = defaultReserve
	}
	fs := opts.FS
	if fs == nil {
		fs = vfs.Default
		abs, err := filepath.Abs(dir) // Pebble's lock within a process goes by the name
		if err != nil {
			return nil, fmt.Errorf("pebble: data directory: %w", err)
		}
		dir = abs
	}
	s := &Store{
		dir: dir, fs: fs, reserve: opts.ReserveBytes, readOnly: opts.ReadOnly, log: opts.Logger,
		gate: gate.New(), readers: map[*reader]struct{}{},
	}
	create := opts.Create && !opts.ReadOnly
	if create {
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("pebble: create data directory: %w", err)
		}
	}
	var err error
	s.lock, err = pebble.LockDirectory(dir, fs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("pebble: no store in %s: %w", dir, err)
	case errors.Is(err, syscall.EAGAIN) || err != nil && err.Error() == "lock held by current process":
		return nil, fmt.Errorf("pebble: data directory %s is %w", dir, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("pebble: lock data directory %s: %w", dir, err)
	}
	if err := s.roomToOpen(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	if s.db, err = open(dir, s.pebbleOptions(opts, s.lock), &s.logs); err != nil {
		if errors.Is(err, pebble.ErrDBDoesNotExist) {
			err = os.ErrNotExist
		}
		return nil, errors.Join(fmt.Errorf("pebble: open %s: %w", dir, err), s.lock.Close())
	}
	if s.indexes, err = s.openIndexes(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("pebble: open the indexes in %s: %w", dir, err), s.db.Close(), s.lock.Close())
	}
	if err := s.load(create); err != nil {
		return nil, errors.Join(err, s.indexes.Close(), s.db.Close(), s.lock.Close())
	}
	return s, nil
}

// openIndexes opens the database of the secondary indexes. They have one of their own because their keys are random and
// short where leaves are in order and long: together, each merge of the one rewrote the other, and a commit waited for
// each run of index rows to be applied.
func (s *Store) openIndexes(opts Options) (*pebble.DB, error) {
	dir := s.fs.PathJoin(s.dir, indexDir)
	if !opts.ReadOnly {
		if err := s.fs.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	opts.Create = !opts.ReadOnly // what is lost is built anew
	o := s.pebbleOptions(opts, nil)
	o.CacheSize, o.MemTableSize = indexCacheBytes, indexMemTableBytes
	o.L0CompactionThreshold, o.LBaseMaxBytes = 0, 0 // Pebble's defaults
	return open(dir, o, &s.indexLogs)
}

// roomToOpen keeps Pebble from opening for writing on a full disk, where it would try for ever to flush its logs.
func (s *Store) roomToOpen() error {
	need := uint64(openBytes)
	for _, dir := range []string{s.dir, s.fs.PathJoin(s.dir, indexDir)} {
		names, err := s.fs.List(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // of a new store
		}
		if err != nil {
			return fmt.Errorf("pebble: list %s: %w", dir, err)
		}
		for _, name := range names {
			if filepath.Ext(name) != ".log" {
				continue
			}
			info, err := s.fs.Stat(s.fs.PathJoin(dir, name))
			if err != nil {
				return fmt.Errorf("pebble: %w", err)
			}
			need += uint64(info.Size())
		}
	}
	need = max(need, s.reserve)
	if s.readOnly {
		s.reserve = need
		return nil
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pebble: free space of %s: %w", s.dir, err)
	}
	if usage.AvailBytes < need {
		return fmt.Errorf("pebble: %s has %d MiB left and needs %d to be opened for writing: %w",
			s.dir, usage.AvailBytes>>20, need>>20, syscall.ENOSPC)
	}
	return nil
}

// awaitRoom returns when a write that found the disk full should be tried again: when there is room, when the store is
// being closed, or at once if it was not for want of room.
func (s *Store) awaitRoom() {
	for {
		time.Sleep(fullDiskPause)
		usage, err := s.fs.GetDiskUsage(s.dir)
		if err != nil || usage.AvailBytes >= writeBytes || s.closed.Load() {
			return
		}
	}
}

// open is pebble.Open with the panic of logger.Fatalf made an error again, of a database with a whole manifest.
func open(dir string, opts *pebble.Options, l *logs) (db *pebble.DB, err error) {
	defer recoverFatal(&err)
	if err := l.checkManifest(dir, opts); err != nil {
		return nil, err
	}
	opts.EventListener.WALCreated = func(info pebble.WALCreateInfo) {
		if info.Err == nil {
			l.created(uint64(info.FileNum))
		}
	}
	return pebble.Open(dir, opts)
}

func (s *Store) pebbleOptions(opts Options, lock *pebble.Lock) *pebble.Options {
	log := newLogger(opts.Logger)
	o := &pebble.Options{
		FS:                 opts.FS,
		Lock:               lock,
		ReadOnly:           opts.ReadOnly,
		ErrorIfNotExists:   !opts.Create,
		FormatMajorVersion: pebble.FormatTableFormatV6, // a later one cannot be taken back
		Logger:             log,
		EventListener:      log.events(),
		CacheSize:          cacheBytes,
		MemTableSize:       memTableBytes,
		// Commits stop while so many memtables wait to be flushed, or so many layers of flushed tables to be compacted.
		MemTableStopWritesThreshold: 3,
		L0StopWritesThreshold:       32,
		// Index rows have random keys, so each compaction into the base level rewrites all of them: few, large ones.
		L0CompactionThreshold: 12,
		// With a base level that holds several memtables, most leaves are rewritten once.
		LBaseMaxBytes:     512 << 20,
		DisableTableStats: opts.noTableStats,
		// Compactions leave a core to the writer.
		CompactionConcurrencyRange: func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)-1) },
	}
	if o.FS == nil {
		o.WithFSDefaults() // watched for slow writes
	}
	// On a full disk every write waits, and is tried once more when there is room; not so a sync, which nothing can mend.
	o.FS = vfs.OnDiskFull(o.FS, func() {
		log.diskFull()
		s.awaitRoom()
	})
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		// A Get asks no filter of the last level, whose filter blocks would not fit the cache: a key that is nowhere costs
		// one data block.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		if i == len(o.Levels)-1 {
			o.Levels[i].FilterPolicy = pebble.NoFilterPolicy
		}
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].IndexBlockSize = 128 << 10
	}
	return o
}

// load reads what is kept in memory, after it has made sure that the store is ours.
func (s *Store) load(create bool) (err error) {
	defer recoverFatal(&err)
	format, err := s.latest(keyFormat)
	switch {
	case err != nil:
		return fmt.Errorf("pebble: read format version: %w", err)
	case format == nil:
		if empty, err := s.isEmpty(nil, nil); err != nil || !empty || !create {
			return errors.Join(fmt.Errorf("pebble: %s holds no countroom store", s.dir), err)
		}
		if err := s.db.Set(keyFormat, binary.BigEndian.AppendUint32(nil, formatVersion), pebble.Sync); err != nil {
			return fmt.Errorf("pebble: write format version: %w", err)
		}
	case len(format) != 4:
		return fmt.Errorf("pebble: %w: format version has %d bytes, want 4", store.ErrCorrupt, len(format))
	default:
		if v := binary.BigEndian.Uint32(format); v != formatVersion {
			return fmt.Errorf("pebble: %s has format version %d, this program knows version %d: run the program that wrote it, "+
				"or export the log with that program and import it with this one", s.dir, v, formatVersion)
		}
	}
	var head store.Head
	if b, err := s.latest(keyHead); err != nil {
		return fmt.Errorf("pebble: read head: %w", err)
	} else if b != nil {
		if head, err = parseHead(b); err != nil {
			return fmt.Errorf("pebble: %w", err)
		}
	}
	b, err := get(s.indexes, keyCursor)
	if err != nil {
		return fmt.Errorf("pebble: read index cursor: %w", err)
	}
	cursor, err := parseCursor(b)
	if err != nil {
		return fmt.Errorf("pebble: %w", err)
	}
	if cursor > head.Size {
		return fmt.Errorf("pebble: %w: index cursor %d is beyond log size %d", store.ErrCorrupt, cursor, head.Size)
	}
	if !s.readOnly {
		s.batch = s.db.NewBatch(pebble.WithMaxRetainedSizeBytes(retainedBytes))
		if err := s.dropOtherFolds(head.Folds); err != nil {
			return fmt.Errorf("pebble: drop rows of an unfinished fold version: %w", err)
		}
	}
	s.view = &view{snap: s.db.NewSnapshot(), head: head, refs: 1}
	s.indexed = &indexView{snap: s.indexes.NewSnapshot(), cursor: cursor, refs: 1}
	return nil
}

// isEmpty reports whether there is no key with from <= key < to; nil is no bound.
func (s *Store) isEmpty(from, to []byte) (bool, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return false, err
	}
	some := it.First()
	return !some, it.Close()
}

// Commit implements store.Store. On a disk that has become full it waits until there is room again or the store is being
// closed: refuse commands by Free before that.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	if head := s.view.head; head != b.Prev {
		return fmt.Errorf("%w: it is term %d, size %d, root %x, not term %d, size %d, root %x", store.ErrConflict,
			head.Term, head.Size, head.Root, b.Prev.Term, b.Prev.Size, b.Prev.Root)
	}

	s.batch.Reset()
	first := b.Prev.Size
	for rest := b.Leaves; len(rest) > 0; {
		n, size := packedSpan(rest)
		op := s.batch.SetDeferred(1+8, size)
		leavesKey(op.Key[:0], first)
		dst := op.Value
		for _, leaf := range rest[:n] {
			dst = packLeaf(dst, leaf)
		}
		if err := op.Finish(); err != nil {
			return err
		}
		first, rest = first+uint64(n), rest[n:]
	}
	for _, t := range b.Tiles {
		op := s.batch.SetDeferred(1+1+8, len(t.Data))
		tileKey(op.Key[:0], t.Level, t.Index)
		copy(op.Value, t.Data)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	if err := putRows(s.batch, rowsPrefix(make([]byte, 0, 5), b.Next.Folds), b.Rows); err != nil {
		return err
	}
	if err := putRows(s.batch, []byte{kindVault}, b.Vault); err != nil {
		return err
	}
	if b.Checkpoint != nil {
		if err := s.batch.Set(keyCheckpoint, b.Checkpoint, nil); err != nil {
			return err
		}
	}
	if err := s.batch.Set(keyHead, appendHead(make([]byte, 0, headSize), b.Next), nil); err != nil {
		return err
	}
	if err := s.write(s.db, s.batch, true); err != nil {
		return err
	}
	s.publish(b.Next)
	return nil
}

// putRows adds the rows to b, each key after prefix.
func putRows(b *pebble.Batch, prefix []byte, rows []store.Row) error {
	for i := range rows {
		key, value := rows[i].Key, rows[i].Value
		var op *pebble.DeferredBatchOp
		if value == nil {
			op = b.DeleteDeferred(len(prefix) + len(key))
		} else {
			op = b.SetDeferred(len(prefix)+len(key), len(value))
			copy(op.Value, value)
		}
		copy(op.Key[copy(op.Key, prefix):], key)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// SetCheckpoint implements store.Store.
func (s *Store) SetCheckpoint(checkpoint []byte) error {
	if len(checkpoint) > store.MaxBatch {
		return fmt.Errorf("%w: checkpoint has %d bytes, want at most %d", store.ErrInvalid, len(checkpoint), store.MaxBatch)
	}
	return s.writeUnsynced(func(b *pebble.Batch) error { return b.Set(keyCheckpoint, checkpoint, nil) })
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint() ([]byte, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	return s.latest(keyCheckpoint)
}

// WriteIndex implements store.Store. The write-ahead log of the indexes has one order, so what a power cut takes is always a
// suffix.
func (s *Store) WriteIndex(next uint64, rows []store.Row) error {
	size, err := store.CheckIndex(rows)
	if err != nil {
		return err
	}
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if cursor := s.indexed.cursor; next < cursor {
		return fmt.Errorf("%w: next %d is below the index cursor %d", store.ErrInvalid, next, cursor)
	}
	if n := s.Head().Size; next > n {
		return fmt.Errorf("%w: next %d is beyond log size %d", store.ErrInvalid, next, n)
	}
	return s.writeIndex(next, size+len(rows)*8, func(b *pebble.Batch) error { return putRows(b, []byte{kindIndex}, rows) })
}

// ResetIndex implements store.Store.
func (s *Store) ResetIndex() error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	return s.writeIndex(0, 0, func(b *pebble.Batch) error {
		return b.DeleteRange([]byte{kindIndex}, []byte{kindIndex + 1}, nil)
	})
}

// writeIndex writes what fill adds to a batch together with the cursor. It is called under indexMu.
func (s *Store) writeIndex(next uint64, size int, fill func(*pebble.Batch) error) error {
	return s.unsynced(s.indexes, func(b *pebble.Batch) error {
		if err := fill(b); err != nil {
			return err
		}
		return b.Set(keyCursor, binary.BigEndian.AppendUint64(nil, next), nil)
	}, func() { s.publishIndex(next) }, pebble.WithInitialSizeBytes(size+1<<10))
}

// writeUnsynced writes what fill adds to a batch, atomically, and lets a later sync make it durable. The write-ahead log
// has one order, so what a power cut takes is always a suffix.
func (s *Store) writeUnsynced(fill func(*pebble.Batch) error, opts ...pebble.BatchOption) error {
	return s.unsynced(s.db, fill, func() {}, opts...)
}

// unsynced writes to one of the databases, and calls done while the store is still open.
func (s *Store) unsynced(db *pebble.DB, fill func(*pebble.Batch) error, done func(), opts ...pebble.BatchOption) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.mayWrite(context.Background()); err != nil {
		return err
	}
	b := db.NewBatch(opts...)
	defer b.Close()
	if err := fill(b); err != nil {
		return err
	}
	if err := s.write(db, b, false); err != nil {
		return err
	}
	done()
	return nil
}

func (s *Store) mayWrite(ctx context.Context) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	if why := s.broken.Load(); why != nil {
		return fmt.Errorf("%w: %w", store.ErrPoisoned, *why)
	}
	return ctx.Err()
}

// write applies b, and poisons the store when that fails.
func (s *Store) write(db *pebble.DB, b *pebble.Batch, sync bool) error {
	l := &s.logs
	if db == s.indexes {
		l = &s.indexLogs
	}
	if err := l.note(b); err != nil {
		return err
	}
	err := apply(db, b, sync)
	if err == nil {
		return nil
	}
	if s.broken.CompareAndSwap(nil, &err) {
		s.log.Error("a write failed and may or may not be durable; the store refuses further writes", "error", err.Error())
	}
	return fmt.Errorf("pebble: the write may or may not be durable: %w", err)
}

func apply(db *pebble.DB, b *pebble.Batch, sync bool) (err error) {
	defer recoverFatal(&err)
	if !sync {
		return db.Apply(b, pebble.NoSync)
	}
	// Apply would end in Fatalf when the sync fails; SyncWait returns that error.
	if err := db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return err
	}
	return b.SyncWait()
}

// Free implements store.Store.
func (s *Store) Free() (store.FreeSpace, error) {
	if err := s.gate.Enter(); err != nil {
		return store.FreeSpace{}, err
	}
	defer s.gate.Leave()
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return store.FreeSpace{}, fmt.Errorf("pebble: free space of %s: %w", s.dir, err)
	}
	return store.FreeSpace{Available: usage.AvailBytes, Reserve: s.reserve}, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return store.ErrClosed
	}
	s.gate.Close()
	s.mu.Lock()
	views := []state{{s.view, s.indexed}}
	for r := range s.readers {
		views = append(views, r.view)
	}
	s.readers = nil
	s.mu.Unlock()
	var errs []error
	for _, v := range views {
		errs = append(errs, s.releaseState(v))
	}
	if s.batch != nil {
		errs = append(errs, s.batch.Close())
	}
	errs = append(errs, s.indexes.Close(), s.db.Close(), s.lock.Close())
	return errors.Join(errs...)
}
