package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	newMark  = ".new-"
	lockName = ".lock"
)

// Dir is the directory of a vault that one process writes.
type Dir struct {
	path string
	lock *os.File
}

// OpenDir opens a vault, or begins one, and keeps other processes out. What a process that was killed left half written
// goes.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: another process writes the vault: %w", path, err)
	}
	left, err := filepath.Glob(filepath.Join(path, newMark+"*"))
	for _, name := range left {
		err = errors.Join(err, os.RemoveAll(name))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Dir{path, lock}, nil
}

// Close lets others in. It gives the lock up by word: a program that another part of this process is just starting may
// hold the file open for a moment longer.
func (d *Dir) Close() error {
	return errors.Join(unix.Flock(int(d.lock.Fd()), unix.LOCK_UN), d.lock.Close())
}

// Place makes a delivery: a folder that write fills and, when that is content, gets its name at once with all that is
// in it. A folder of that name must not be there.
func (d *Dir) Place(name string, write func(folder string) error) error {
	to, folder := filepath.Join(d.path, name), filepath.Join(d.path, newMark+name)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s: expected nothing of this name", to), err)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	err := write(folder)
	if err == nil {
		err = syncAll(folder)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	if err := os.Rename(folder, to); err != nil {
		return err
	}
	return syncDir(d.path)
}

// syncAll makes a folder and the files in it durable.
func syncAll(folder string) error {
	list, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := syncDir(filepath.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(folder)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// List returns the names of a vault's deliveries in their order. Names of what is not of a vault are an error: nobody
// would know whether they were delivered.
func List(fsys fs.FS, of func(name string) bool) (names []string, err error) {
	list, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		switch name := e.Name(); {
		case name == lockName || strings.HasPrefix(name, newMark):
		case e.IsDir() && of(name):
			names = append(names, name)
		default:
			return nil, &Difference{"delivery", name, "deliveries and nothing else", "it"}
		}
	}
	return names, nil
}

// ReadFile reads a file of a delivery that is not longer than expected.
func ReadFile(fsys fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, &Difference{"file", name, fmt.Sprintf("a file of at most %d bytes", most), fmt.Sprintf("%v of %d", info.Mode(), info.Size())}
	}
	return fs.ReadFile(fsys, name)
}
