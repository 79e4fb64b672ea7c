package pebble

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"countroom/ledger/store"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// logs helps to find out a manifest that ends too early. A manifest lists the tables of a database, one record for each
// change, and says which write-ahead logs are not in tables yet. Pebble takes a damaged record for the torn end that a crash
// leaves, and would go on without the tables that it and later records add, as if what is in them had never been written.
//
// But Pebble deletes a log only after the record that says it is not needed is durable. So each batch notes which log was
// the newest when it was made. The first batch of a log thereby names the log before it, and when the manifest asks for
// that one, and it is gone, the manifest is not whole.
type logs struct {
	mu            sync.Mutex
	newest, noted uint64
}

func (l *logs) created(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = number
}

// note adds to a batch what it notes. A log that was begun without a batch, as at a start, is named with the one before it.
func (l *logs) note(b *pebble.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noted != l.newest && l.noted != 0 {
		if err := b.Set(logKey(l.noted), nil, nil); err != nil {
			return err
		}
	}
	l.noted = l.newest
	return b.Set(logKey(l.newest), nil, nil)
}

// checkManifest holds the manifest of a database against what its batches noted. It does so before the database is opened
// for writing, which makes a new manifest and deletes tables that it does not name.
func (l *logs) checkManifest(dir string, opts *pebble.Options) error {
	first, err := firstLog(opts.FS, dir)
	if err != nil {
		return err
	}
	names, err := opts.FS.List(dir)
	if err != nil {
		return err
	}
	here := map[uint64]bool{}
	later := false
	for _, name := range names {
		number, isLog := strings.CutSuffix(name, ".log")
		if n, err := strconv.ParseUint(number, 10, 64); isLog && err == nil {
			here[n] = true
			l.noted = max(l.noted, n)
			later = later || n > first
		}
	}
	if here[first] || !later {
		return nil // logs are deleted in order: none is missing, or nothing came after it
	}
	reading := opts.Clone()
	reading.ReadOnly = true
	db, err := pebble.Open(dir, reading)
	if err != nil {
		return err
	}
	missing, err := missingLog(db, first, here)
	if err = errors.Join(err, db.Close()); err == nil && missing != 0 {
		err = fmt.Errorf("%w: the manifest ends too early: it asks for write-ahead logs from %d on, and log %d was deleted",
			store.ErrCorrupt, first, missing)
	}
	return err
}

// missingLog returns a log from first on that batches noted and that is not here, or 0.
func missingLog(db *pebble.DB, first uint64, here map[uint64]bool) (uint64, error) {
	noted, err := db.NewIter(&pebble.IterOptions{LowerBound: logKey(first), UpperBound: []byte{kindLog + 1}})
	if err != nil {
		return 0, err
	}
	for ok := noted.First(); ok; ok = noted.Next() {
		n, err := parseLogKey(noted.Key())
		if err != nil || !here[n] {
			return n, errors.Join(err, noted.Close())
		}
	}
	return 0, noted.Close()
}

// The first fields of a manifest's record, each after its tag: the name of the order of the keys, in the first record
// alone, and the number of the oldest write-ahead log that is needed, where it changes.
const (
	tagComparer = 1
	tagFirstLog = 2
)

// firstLog returns the number of the oldest write-ahead log that the manifest of a database asks for, 0 when it names none.
func firstLog(fs vfs.FS, dir string) (first uint64, err error) {
	desc, err := pebble.Peek(dir, fs)
	if err != nil || !desc.Exists {
		return 0, err
	}
	f, err := fs.Open(desc.ManifestFilename)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return parseManifest(f)
}

func parseManifest(manifest io.Reader) (first uint64, err error) {
	for records := record.NewReader(manifest, 0); ; {
		r, err := records.Next()
		if errors.Is(err, io.EOF) || record.IsInvalidRecord(err) {
			return first, nil
		}
		if err != nil {
			return 0, err
		}
		n, err := parseRecord(bufio.NewReader(r))
		if err != nil {
			return first, nil // what is damaged ends it, as it does for Pebble
		}
		first = max(first, n)
	}
}

// parseRecord returns the number of a log, 0 when the record has none.
func parseRecord(r *bufio.Reader) (uint64, error) {
	tag, err := binary.ReadUvarint(r)
	if err == nil && tag == tagComparer {
		var length uint64
		if length, err = binary.ReadUvarint(r); err != nil {
			return 0, err
		}
		if _, err = io.CopyN(io.Discard, r, int64(min(length, 1<<20))); err != nil {
			return 0, err
		}
		tag, err = binary.ReadUvarint(r)
	}
	if errors.Is(err, io.EOF) || err == nil && tag != tagFirstLog {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.ReadUvarint(r)
}
