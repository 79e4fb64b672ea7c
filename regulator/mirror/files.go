package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"

	"golang.org/x/sys/unix"
)

// private is the folder of what is nobody's but the mirror's.
const private = ".mirror"

func (m *Mirror) path(parts ...string) string {
	return filepath.Join(m.cfg.Dir, filepath.Join(parts...))
}

// lock keeps a second mirror out of the directory.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another mirror has the directory: %w", path, err)
	}
	return f, nil
}

// unlock gives the lock up by word: a child that this process is just starting may hold the file open for a moment longer.
func unlock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

const newMark = "new-"

// sweep removes what a process that was killed left half written.
func (m *Mirror) sweep() error {
	left, err := filepath.Glob(m.path(private, newMark+"*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// write writes a file whole and durably, or not at all. That it has its name is
// durable after sync, which also follows at once for what is no tile or bundle.
func (m *Mirror) write(name string, data []byte, mode os.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", errDisk, err)
		}
	}()
	f, err := os.CreateTemp(m.path(private), newMark+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	to := m.path(name)
	if err := m.folder(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return err
	}
	if _, err := tlog.ParsePath(filepath.ToSlash(name)); err == nil {
		return nil
	}
	return syncDir(filepath.Dir(to))
}

// folder makes a folder, and notes those in which names have to become durable.
func (m *Mirror) folder(dir string) error {
	m.dirtyMu.Lock()
	defer m.dirtyMu.Unlock()
	if m.dirty[dir] {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for ; len(dir) >= len(m.cfg.Dir) && !m.dirty[dir]; dir = filepath.Dir(dir) {
		m.dirty[dir] = true
	}
	return nil
}

// sync makes the names of all files durable.
func (m *Mirror) sync() error {
	m.dirtyMu.Lock()
	defer m.dirtyMu.Unlock()
	for dir := range m.dirty {
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", errDisk, err)
		}
		delete(m.dirty, dir)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// local reads tiles from the directory.
func (m *Mirror) local() evidence.Reader { return evidence.Tiles(m.files()) }

func (m *Mirror) files() verify.Source { return verify.Dir(os.DirFS(m.cfg.Dir)) }

// newestKept is when the newest of the old checkpoints was kept.
func (m *Mirror) newestKept() (at time.Time, err error) {
	list, err := os.ReadDir(m.path("checkpoints"))
	if err != nil {
		return at, err
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}

// prune removes the parts of tiles and bundles that are there in full.
func (m *Mirror) prune(size uint64) error {
	for level := range 8 {
		for i := m.pruned >> (8 * (level + 1)); i < size>>(8*(level+1)); i++ {
			paths := []string{tlog.TilePath(level, i, tlog.TileWidth)}
			if level == 0 {
				paths = append(paths, tlog.EntriesPath(i, tlog.TileWidth))
			}
			for _, p := range paths {
				if err := os.RemoveAll(m.path(p + ".p")); err != nil {
					return fmt.Errorf("%w: %w", errDisk, err)
				}
			}
		}
	}
	m.pruned = size
	return nil
}

// VKey is the verifier key that the log is checked by.
func (m *Mirror) VKey() string { return m.cfg.VKeys[0] }

// Origin is the log's name.
func (m *Mirror) Origin() string { return m.origin }

// Log is the log as it is in the directory: what is under Head is true.
func (m *Mirror) Log() verify.Source { return m.files() }

// Verified is how many entries are known to be there in full. It is not for
// another goroutine than Round's.
func (m *Mirror) Verified() uint64 { return m.verified }

// Leaves reports whether the mirror has entries and blobs.
func (m *Mirror) Leaves() bool { return m.cfg.Leaves }

// Stored reads a file of the log, nil if it is not there or longer than it may be.
func (m *Mirror) Stored(ctx context.Context, path string, limit int) []byte {
	data, err := m.files().Read(ctx, nil, path, limit)
	if err != nil {
		return nil
	}
	return data
}
