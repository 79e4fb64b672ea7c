package noncer

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Directory keeps what a witness of seeds must not lose: the secret that its
// nonces follow from, so that what it committed to can be shown after a restart,
// and the journal of what was shown. It is a Config's Journal.
type Directory struct {
	Secret [32]byte

	journal *os.File
	read    io.Reader
	broken  error // a write failed: what the file ends with is not known
}

// Names in the directory.
const (
	secretName  = "secret"
	journalName = "shown.jsonl"
)

// OpenDirectory opens what a witness keeps in a directory, or makes it at the
// first start. One without the other refuses: with another secret nothing that
// was committed to could be shown, and without the journal a nonce could be shown
// for a second commitment.
func OpenDirectory(dir string) (d *Directory, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	secretPath, journalPath := filepath.Join(dir, secretName), filepath.Join(dir, journalName)
	secret, err := os.ReadFile(secretPath)
	first := errors.Is(err, os.ErrNotExist)
	if err != nil && !first {
		return nil, err
	}
	mode := os.O_RDWR | os.O_APPEND
	if first {
		mode |= os.O_CREATE
	}
	journal, err := os.OpenFile(journalPath, mode, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: expected the journal of the secret beside it: without it a nonce could be shown twice: %w", journalPath, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, journal.Close())
		}
	}()
	if err := unix.Flock(int(journal.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s: another witness has it open: %w", journalPath, err)
	}
	whole, err := io.ReadAll(journal)
	if err != nil {
		return nil, err
	}
	if first {
		if len(whole) > 0 {
			return nil, fmt.Errorf("%s: expected the secret that %s was written with", secretPath, journalName)
		}
		if secret, err = newSecret(dir, secretPath); err != nil {
			return nil, err
		}
	}
	d = &Directory{journal: journal}
	if copy(d.Secret[:], secret) != len(secret) || len(secret) != len(d.Secret) {
		return nil, fmt.Errorf("%s: %d bytes, expected %d", secretPath, len(secret), len(d.Secret))
	}
	// A line that a crash cut short was not durable, so its nonce was not shown.
	if end := bytes.LastIndexByte(whole, '\n') + 1; end < len(whole) {
		if err := journal.Truncate(int64(end)); err != nil {
			return nil, err
		}
		if err := journal.Sync(); err != nil {
			return nil, err
		}
		whole = whole[:end]
	}
	d.read = bytes.NewReader(whole)
	return d, nil
}

// newSecret makes a secret that is durable before anything follows from it.
func newSecret(dir, path string) ([]byte, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(secret)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, err
	}
	h, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return secret, errors.Join(h.Sync(), h.Close())
}

// Read reads what was shown before this start.
func (d *Directory) Read(p []byte) (int, error) { return d.read.Read(p) }

// Write makes a line durable. After it failed once nothing is written until a
// restart, which cuts off what may be half a line.
func (d *Directory) Write(line []byte) (int, error) {
	if d.broken != nil {
		return 0, fmt.Errorf("%s: since a write failed, until a restart: %w", d.journal.Name(), d.broken)
	}
	n, err := d.journal.Write(line)
	if err == nil {
		err = unix.Fdatasync(int(d.journal.Fd()))
	}
	d.broken = err
	return n, err
}

// Close closes the journal.
func (d *Directory) Close() error {
	return errors.Join(unix.Flock(int(d.journal.Fd()), unix.LOCK_UN), d.journal.Close()) // a child that is being started may hold it open
}
