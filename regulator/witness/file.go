package witness

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file keeps one log's newest cosigned checkpoint in two slots, which are written
// in turn: a write that is torn by a power cut leaves the one before.
//
// A slot: SHA-256 of the rest, SHA-256 of the origin, a number that rises with
// each write, the note's length (8 bytes each, big-endian), the note. The size of
// the file never changes, so that one fdatasync makes a slot durable.
type file struct {
	path   string
	f      *os.File
	origin [32]byte
	number uint64
}

const (
	slotBytes = 16 << 10
	slotHead  = 32 + 32 + 8 + 8
	noteMost  = slotBytes - slotHead
)

// openFile opens or creates a record and returns the newest note in it, nil when
// it is new. torn says that one of its slots is damaged.
func openFile(path string, origin [32]byte) (f *file, msg []byte, torn bool, err error) {
	h, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, false, err
	}
	f = &file{path: path, f: h, origin: origin}
	if msg, torn, err = f.read(); err != nil {
		return nil, nil, false, errors.Join(fmt.Errorf("%s: %w", path, err), h.Close())
	}
	return f, msg, torn, nil
}

func (f *file) read() (msg []byte, torn bool, err error) {
	if err := unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, false, fmt.Errorf("another witness has it open: %w", err)
	}
	whole, err := io.ReadAll(io.LimitReader(f.f, 2*slotBytes+1))
	if err != nil {
		return nil, false, err
	}
	if len(whole) != 2*slotBytes {
		if len(whole) > 2*slotBytes || !allZero(whole) {
			return nil, false, fmt.Errorf("%d bytes, expected %d: it is damaged, and without it nothing says what was cosigned", len(whole), 2*slotBytes)
		}
		// New, or the power was cut while it was: no cosignature has left yet.
		if _, err := f.f.WriteAt(make([]byte, 2*slotBytes), 0); err != nil {
			return nil, false, err
		}
		return nil, false, errors.Join(f.f.Sync(), syncDir(filepath.Dir(f.path)))
	}
	blank, damaged := 0, 0
	for i := range 2 {
		slot := whole[i*slotBytes:][:slotBytes]
		if allZero(slot) {
			blank++
			continue
		}
		length := binary.BigEndian.Uint64(slot[72:])
		if length > noteMost || sha256.Sum256(slot[32:slotHead+length]) != [32]byte(slot) {
			damaged++
			continue
		}
		if [32]byte(slot[32:]) != f.origin {
			return nil, false, errors.New("it belongs to another log")
		}
		if n := binary.BigEndian.Uint64(slot[64:]); n > f.number {
			f.number, msg = n, slot[slotHead:slotHead+length]
		}
	}
	if damaged > 0 && msg == nil {
		return nil, false, errors.New("its records are damaged, and without them nothing says what was cosigned")
	}
	return msg, damaged > 0, nil
}

// write makes a note the newest, durably. After an error nobody knows which is.
func (f *file) write(msg []byte) error {
	if len(msg) > noteMost {
		return fmt.Errorf("%s: a note of %d bytes, expected at most %d", f.path, len(msg), noteMost)
	}
	b := make([]byte, 32, slotHead+len(msg))
	b = append(b, f.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, f.number+1)
	b = binary.BigEndian.AppendUint64(b, uint64(len(msg)))
	b = append(b, msg...)
	sum := sha256.Sum256(b[32:])
	copy(b, sum[:])
	if _, err := f.f.WriteAt(b, int64((f.number+1)%2)*slotBytes); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(f.f.Fd())); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.number++
	return nil
}

// Close closes the file and lets another witness have it.
func (f *file) Close() error {
	return errors.Join(unix.Flock(int(f.f.Fd()), unix.LOCK_UN), f.f.Close()) // a child that is being started may hold it open
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
