package appliance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"countroom/hardware/signer"
	"countroom/ledger"
)

// Files keeps the small files of a house. What a method wrote when it returned
// without an error is durable.
type Files interface {
	signer.Files
	// MkdirAll makes a directory that only its owner may enter.
	MkdirAll(path string) error
	// ReadFile returns the content of a file, or an fs.ErrNotExist.
	ReadFile(path string) ([]byte, error)
	// WriteFile writes a file that anybody may read, whole or not at all.
	WriteFile(path string, content []byte) error
	// ReplacePrivate puts a file that only its owner may use in the place of another,
	// whole or not at all, and writes over what the other held.
	ReplacePrivate(path string, content []byte) error
	// TidyPrivate does what ReplacePrivate left undone when the process ended in its
	// midst: nothing of another file that was here is left beside one that is.
	TidyPrivate(path string) error
	// OpenGuard opens or creates the file of the signing guard.
	OpenGuard(path string) (ledger.GuardFile, error)
}

// disk is this machine's file system.
type disk struct{ signer.Disk }

func (d disk) MkdirAll(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrNotExist) && parent != path {
		if err := d.MkdirAll(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(parent)
}

func (disk) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (disk) OpenGuard(path string) (ledger.GuardFile, error) { return ledger.OpenGuardFile(path) }

func (disk) WriteFile(path string, content []byte) error { return writeFile(path, content, 0o644) }

func (d disk) ReplacePrivate(path string, content []byte) error {
	if err := d.TidyPrivate(path); err != nil {
		return err
	}
	// So the old file has a name until it was written over.
	if err := os.Link(path, filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".old")); err != nil {
		return err
	}
	if err := writeFile(path, content, 0o600); err != nil {
		return err
	}
	return d.TidyPrivate(path)
}

func (disk) TidyPrivate(path string) error {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // whoever is about to make one tidies up
	}
	if err != nil {
		return err
	}
	dir, prefix := filepath.Dir(path), "."+filepath.Base(path)+"."
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	tidied := false
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		tidied = true
		name := filepath.Join(dir, e.Name())
		info, err := os.Lstat(name)
		if err == nil && info.Mode().IsRegular() && !os.SameFile(info, now) {
			err = wipe(name, info.Size())
		}
		if err == nil {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	if !tidied {
		return nil
	}
	return syncDir(dir)
}

// wipe writes over what a file holds. A file system that writes elsewhere keeps a
// copy until it needs the room; nothing can be done about that here.
func wipe(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, size), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

func writeFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
