package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/sys/unix"
)

// ErrFork says that a head contradicts one that was signed before. Nothing may
// be signed any more: somebody has to find out which history is the true one.
var ErrFork = errors.New("the head contradicts a head that was signed before")

// SignedHead is what a guard remembers of the last signature.
type SignedHead struct {
	Term, Size uint64
	Root       tlog.Hash
}

// Guard keeps the signer from ever signing two histories (law "no fork, ever"):
// it demands proof that a head extends the last one it let pass, and it records
// the new head durably before the signature is made.
//
// The record is a file of its own beside the store, so that a store which was
// rolled back is found out. It cannot notice that it was rolled back together
// with the store: only witnesses and receipts outside can.
type Guard struct {
	origin tlog.Hash

	mu   sync.Mutex // a ledger that was closed in vain may still be about to sign when the guard is closed
	file GuardFile
	last SignedHead
	slot int64
}

// The file has two slots that are written in turn, so that a torn write leaves
// the one before. A slot: SHA-256 of the rest, SHA-256 of the origin, then
// term, size (8 bytes each, big-endian) and root.
const (
	slotBytes  = 32 + 32 + 8 + 8 + 32
	slotStride = 4096
)

// GuardFile is the file that a guard keeps its record in. The name by which it
// is found again must be durable already.
type GuardFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written durable.
	Sync() error
}

// OpenGuardFile opens or creates the file of a guard on this machine's disk.
func OpenGuardFile(path string) (GuardFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("signing guard: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return nil, fmt.Errorf("signing guard: %w", err)
	}
	return guardFile{f}, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type guardFile struct{ *os.File }

// Sync leaves out the file's times, which would cost another write.
func (f guardFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// OpenGuard opens the record of a log's signatures at a path, or begins one.
func OpenGuard(path, origin string) (*Guard, error) {
	f, err := OpenGuardFile(path)
	if err != nil {
		return nil, err
	}
	g, err := NewGuard(f, origin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, f.Close()))
	}
	return g, nil
}

// NewGuard reads the record of a log's signatures, or begins it in an empty
// file. The guard closes the file, unless there is an error.
func NewGuard(f GuardFile, origin string) (*Guard, error) {
	g := &Guard{file: f, origin: sha256.Sum256([]byte(origin))}
	if err := g.read(); err != nil {
		return nil, fmt.Errorf("signing guard: %w", err)
	}
	return g, nil
}

func (g *Guard) read() error {
	whole := make([]byte, 2*slotStride)
	n, err := g.file.ReadAt(whole, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if n < len(whole) {
		// New, or the power was cut while it was new: nothing is let pass before
		// both slots are there. Its blocks are allocated now, so that later writes
		// need no room.
		if !allZero(whole[:n]) {
			return fmt.Errorf("%d bytes, expected %d: it was cut short; without it nothing says what was signed", n, len(whole))
		}
		if _, err := g.file.WriteAt(make([]byte, len(whole)), 0); err != nil {
			return err
		}
		return g.file.Sync()
	}
	found, blank := false, 0
	for slot := range int64(2) {
		b := whole[slot*slotStride:][:slotBytes]
		if allZero(b) {
			blank++
			continue
		}
		if sha256.Sum256(b[32:]) != [32]byte(b[:32]) {
			continue // torn
		}
		if [32]byte(b[32:64]) != g.origin {
			return errors.New("it belongs to another log")
		}
		h := SignedHead{Term: binary.BigEndian.Uint64(b[64:]), Size: binary.BigEndian.Uint64(b[72:]), Root: tlog.Hash(b[80:])}
		if !found || h.Size > g.last.Size || h.Size == g.last.Size && h.Term > g.last.Term {
			g.last, g.slot, found = h, 1-slot, true
		}
	}
	if !found && blank == 0 {
		return errors.New("both of its records are damaged; without them nothing says what was signed")
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Last returns the last head that was let pass; size 0 says none.
func (g *Guard) Last() SignedHead {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Allow records a head for signing. The consistency proof is from Last to it
// and is not looked at when Last is empty or of the same size.
func (g *Guard) Allow(h SignedHead, consistency []tlog.Hash) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last
	switch {
	case h.Term < last.Term:
		return fmt.Errorf("%w: term %d after term %d", ErrFork, h.Term, last.Term)
	case h.Size < last.Size:
		return fmt.Errorf("%w: size %d after size %d was signed: the store was rolled back", ErrFork, h.Size, last.Size)
	case h.Size == last.Size && h.Root != last.Root:
		return fmt.Errorf("%w: two roots at size %d: %x and %x", ErrFork, h.Size, last.Root, h.Root)
	case h == last:
		return nil
	case h.Size > last.Size && last.Size > 0:
		hashes := make([][]byte, len(consistency))
		for i := range consistency {
			hashes[i] = consistency[i][:]
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, last.Size, h.Size, hashes, last.Root[:], h.Root[:]); err != nil {
			return fmt.Errorf("%w: size %d does not extend size %d: %v", ErrFork, h.Size, last.Size, err)
		}
	}
	b := make([]byte, 32, slotBytes)
	b = append(b, g.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Term)
	b = binary.BigEndian.AppendUint64(b, h.Size)
	b = append(b, h.Root[:]...)
	sum := sha256.Sum256(b[32:])
	copy(b, sum[:])
	if _, err := g.file.WriteAt(b, g.slot*slotStride); err != nil {
		return fmt.Errorf("signing guard: %w", err)
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("signing guard: %w", err)
	}
	g.last, g.slot = h, 1-g.slot
	return nil
}

// Close closes the file.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.file.Close()
}
