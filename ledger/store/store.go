// Package store is the contract between the ledger and whatever keeps it: one log with its hash tiles, the rows its folds
// make of it, the vault of personal data beside it, and indexes that trail behind it. Package storetest holds every
// implementation to it.
//
// One writer at a time moves the head, by compare-and-swap. Everything a Store or a Reader shows, except where a method
// says otherwise, is durable: a batch whose Commit has not returned is not seen by anybody. (The vault needs this no less
// than the log: a retry may be answered from it.)
//
// Methods may be called from several goroutines. Keys are ordered as bytes, are never empty and are at most MaxKey long.
// What a caller passes in stays his and is not kept; what a method returns belongs to the caller; what a scan yields is
// valid during that call only and must not be changed.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

const (
	// MaxLeaf is the longest leaf in bytes: its length is a uint16 in the entry bundles of c2sp.org/tlog-tiles.
	MaxLeaf = 1<<16 - 1
	// MaxBatch is the most bytes of leaves, tiles, rows and checkpoint that one write may hold, keys included.
	MaxBatch = 1 << 28
	// MaxKey is the longest key of a row in bytes.
	MaxKey = 1 << 10
	// TileSize is the length in bytes of a full hash tile of c2sp.org/tlog-tiles: 256 SHA-256 hashes.
	TileSize = 256 * 32
	// MaxTileLevel is the highest level of a tile: 8 levels of 256 cover every uint64 tree size.
	MaxTileLevel = 7
)

var (
	// ErrConflict: the head is not the one the caller named, so nothing was written.
	ErrConflict = errors.New("store: the head has moved")
	// ErrInvalid: the arguments break the contract; nothing was written. The error that wraps it names the field.
	ErrInvalid = errors.New("store: invalid argument")
	// ErrPoisoned: an earlier write ended ambiguously. Reads go on, no write does until the store is opened again.
	ErrPoisoned = errors.New("store: an earlier write failed and may or may not be durable; close the store and open it again")
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly = errors.New("store: opened read-only")
	// ErrClosed: the store or the reader is closed.
	ErrClosed = errors.New("store: closed")
	// ErrCorrupt: stored bytes are not what a Store writes.
	ErrCorrupt = errors.New("store: corrupt")
	// ErrStop, returned by a yield function, ends its scan early and without an error.
	ErrStop = errors.New("store: stop the scan")
)

// Hash is a SHA-256 value.
type Hash = [32]byte

// Head is the tip of the log. It moves by compare-and-swap on all of its fields; Term, Size and Root are what tells two
// logs apart. The head of an empty store is the zero Head.
type Head struct {
	Term uint64 // reign of the writer, never falls
	Size uint64 // number of leaves
	Root Hash   // RFC 6962 root of the first Size leaves
	At   int64  // Unix time of the batch in nanoseconds, strictly increasing
	// Folds is the version of the folds that made the current rows. The first batch with leaves chooses it, afterwards
	// only FoldsBuilder.Swap changes it.
	Folds uint32
}

// Tile is a full hash tile, TileSize bytes, at the level and index of c2sp.org/tlog-tiles.
type Tile struct {
	Level int
	Index uint64
	Data  []byte
}

// Row is a key and its value. When written, a nil Value deletes the key; an empty one that is not nil is a value.
type Row struct{ Key, Value []byte }

// Batch is what one Commit makes durable, all or nothing. Where Rows or Vault name a key twice, the last one counts.
type Batch struct {
	Prev, Next Head
	Leaves     [][]byte // exact bytes of the leaves Prev.Size … Next.Size-1
	Tiles      []Tile   // the tiles these leaves filled
	Rows       []Row    // rows of the folds, at version Next.Folds; they may be written faster when sorted by key
	Vault      []Row    // personal data outside the log
	Checkpoint []byte   // newest signed checkpoint known; nil leaves the stored one
}

// Check reports, as an ErrInvalid, the first rule of the contract that b breaks. Every Store calls it before it writes.
func (b *Batch) Check() error {
	prev, next := b.Prev, b.Next
	switch n := uint64(len(b.Leaves)); {
	case next.Term < prev.Term:
		return fmt.Errorf("%w: Next.Term %d is below Prev.Term %d", ErrInvalid, next.Term, prev.Term)
	case next.Size < prev.Size || next.Size-prev.Size != n:
		return fmt.Errorf("%w: Next.Size %d, want Prev.Size %d plus %d leaves", ErrInvalid, next.Size, prev.Size, n)
	case n == 0 && next.Root != prev.Root:
		return fmt.Errorf("%w: Next.Root differs from Prev.Root without a leaf", ErrInvalid)
	case next.At <= prev.At:
		return fmt.Errorf("%w: Next.At %d is not later than Prev.At %d", ErrInvalid, next.At, prev.At)
	case prev.Size > 0 && next.Folds != prev.Folds:
		return fmt.Errorf("%w: Next.Folds %d, want %d: only Swap changes it", ErrInvalid, next.Folds, prev.Folds)
	case next.Size == 0 && len(b.Rows) > 0:
		return fmt.Errorf("%w: Rows of an empty log", ErrInvalid)
	}
	size := len(b.Checkpoint) + len(b.Tiles)*TileSize
	for i, leaf := range b.Leaves {
		if len(leaf) > MaxLeaf {
			return fmt.Errorf("%w: Leaves[%d] has %d bytes, want at most %d", ErrInvalid, i, len(leaf), MaxLeaf)
		}
		size += len(leaf)
	}
	for i, t := range b.Tiles {
		if t.Level < 0 || t.Level > MaxTileLevel {
			return fmt.Errorf("%w: Tiles[%d].Level is %d, want 0 to %d", ErrInvalid, i, t.Level, MaxTileLevel)
		}
		if len(t.Data) != TileSize {
			return fmt.Errorf("%w: Tiles[%d].Data has %d bytes, want %d", ErrInvalid, i, len(t.Data), TileSize)
		}
		// A tile of level l is full once 256^(l+1) leaves times its index+1 exist.
		if t.Index >= next.Size>>(8*(t.Level+1)) {
			return fmt.Errorf("%w: Tiles[%d] (level %d, index %d) is not full at size %d", ErrInvalid, i, t.Level, t.Index, next.Size)
		}
	}
	rows, err := CheckRows("Rows", b.Rows)
	if err != nil {
		return err
	}
	vault, err := CheckRows("Vault", b.Vault)
	if err != nil {
		return err
	}
	if size += rows + vault; size > MaxBatch {
		return fmt.Errorf("%w: the batch has %d bytes, want at most %d", ErrInvalid, size, MaxBatch)
	}
	return nil
}

// CheckRows returns the size of rows in bytes, or an ErrInvalid that names field when a key is empty or longer than MaxKey,
// or the size above MaxBatch.
func CheckRows(field string, rows []Row) (size int, err error) {
	for i := range rows {
		n := len(rows[i].Key)
		if n == 0 || n > MaxKey {
			return 0, fmt.Errorf("%w: %s[%d].Key has %d bytes, want 1 to %d", ErrInvalid, field, i, n, MaxKey)
		}
		size += n + len(rows[i].Value)
	}
	if size > MaxBatch {
		return 0, fmt.Errorf("%w: %s has %d bytes, want at most %d", ErrInvalid, field, size, MaxBatch)
	}
	return size, nil
}

// CheckIndex is CheckRows for WriteIndex, which wants the keys to rise.
func CheckIndex(rows []Row) (size int, err error) {
	for i := 1; i < len(rows); i++ {
		if bytes.Compare(rows[i-1].Key, rows[i].Key) >= 0 {
			return 0, fmt.Errorf("%w: rows[%d].Key does not follow the key before it", ErrInvalid, i)
		}
	}
	return CheckRows("rows", rows)
}

// Getter is what can be looked up by key. An absent row, vault row, index row or tile is nil without an error.
type Getter interface {
	// Head returns the tip of the log.
	Head() Head
	// Row returns a row of the current folds.
	Row(key []byte) ([]byte, error)
	// Vault returns a row of the vault.
	Vault(key []byte) ([]byte, error)
	// Index returns a row of the secondary indexes.
	Index(key []byte) ([]byte, error)
	// IndexCursor returns the number of leaves that are indexed: all below it, none from it on. It is at most Head().Size
	// and follows WriteIndex, which is not synced.
	IndexCursor() (uint64, error)
	// Leaf returns the exact bytes of a leaf; an index of Head().Size or more is ErrInvalid.
	Leaf(index uint64) ([]byte, error)
	// Tile returns the data of a full hash tile.
	Tile(level int, index uint64) ([]byte, error)
}

// Reader is a snapshot: everything as of one head, whatever is committed meanwhile. It holds disk space back, so Close it.
type Reader interface {
	Getter
	// Leaves yields leaves from … to-1 in order; from > to or to > Head().Size is ErrInvalid.
	Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error
	// ScanRows yields the rows whose key starts with prefix, in key order. An empty prefix is all of them.
	ScanRows(prefix []byte, yield func(Row) error) error
	// ScanVault does the same with the vault.
	ScanVault(prefix []byte, yield func(Row) error) error
	// ScanIndex yields the index rows with from <= key < to in key order, or with reverse in the opposite order. A nil from
	// is the first key, a nil to is beyond the last.
	ScanIndex(from, to []byte, reverse bool, yield func(Row) error) error
	// Close releases the snapshot, once every other call of the Reader has returned.
	Close() error
}

// Store keeps one log. Its Getter methods show the newest durable state, each call by itself; what must agree with one
// another is read from one Snapshot.
type Store interface {
	Getter

	// Commit makes a batch durable and moves the head from b.Prev to b.Next. ErrConflict, ErrInvalid, ErrReadOnly,
	// ErrPoisoned and ErrClosed mean that nothing was written. Any other error is AMBIGUOUS, the batch may or may not be
	// durable, and the store is poisoned: it refuses every later write.
	//
	// A context that ends before the write begins gives its error, and nothing was written; once begun, a write is not
	// given up.
	Commit(ctx context.Context, b *Batch) error

	// Snapshot returns a Reader as of the newest durable head.
	Snapshot() (Reader, error)

	// Checkpoint returns the newest stored signed checkpoint, nil when there is none. Read it before a Snapshot, and it
	// covers no more than the snapshot does.
	Checkpoint() ([]byte, error)
	// SetCheckpoint stores a signed checkpoint without waiting for the disk; a start signs the head again. The last write
	// wins, here and in Batch.
	SetCheckpoint(checkpoint []byte) error

	// WriteIndex writes rows of the secondary indexes, in strictly rising key order, and the cursor next, which may neither
	// fall nor pass Head().Size, in one atomic step. It is not synced: what a power cut takes is a suffix of such steps
	// together with their cursor, and is indexed again. It does not hold up Commit.
	WriteIndex(next uint64, rows []Row) error
	// ResetIndex deletes the secondary indexes and sets the cursor to 0, to have them built anew.
	ResetIndex() error

	// BuildFolds opens a fresh space for rows of another fold version beside the current one, of a log that is not empty.
	// There is one builder at a time; what was built is dropped when the builder or the store is closed before Swap.
	BuildFolds(version uint32) (FoldsBuilder, error)

	// Free returns the space the store has left, so that the caller can refuse commands before they run.
	Free() (FreeSpace, error)

	// Close lets the calls under way finish, closes the Readers and builders still open, and frees the store. Later calls
	// give ErrClosed.
	Close() error
}

// FoldsBuilder fills the rows of a new fold version while the store goes on committing rows of the current one. One
// goroutine uses it.
type FoldsBuilder interface {
	// Write puts and deletes rows in the new space, in bulk and unsynced. Nobody else sees them.
	Write(rows []Row) error
	// Row returns a row of the new space as written so far, nil when absent.
	Row(key []byte) ([]byte, error)
	// Swap makes the new space the current rows and its version the head's Folds, and drops the old one: atomic and synced.
	// It gives ErrConflict, and changes nothing, unless at is the head: the rows must be those of exactly that log. Its
	// other errors are those of Commit. After a successful Swap only Close remains.
	Swap(ctx context.Context, at Head) error
	// Close drops what was built, unless Swap made it current. It may be called again.
	Close() error
}

// FreeSpace is how much a store can still grow.
type FreeSpace struct {
	Available uint64 // bytes left to the store
	Reserve   uint64 // bytes to be kept for recovery; below it commands are refused before they run
}
