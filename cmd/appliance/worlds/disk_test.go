package worlds

import (
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"countroom/ledger"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Where a house lives on its disk.
const (
	houseDir = "/house"
	storeDir = houseDir + "/store"
)

// disk is what a machine keeps over the lives of its processes. The store has
// a file system of its own, so that copies of the small files are cheap.
type disk struct{ store, small *vfs.MemFS }

func newDisk() disk {
	d := disk{vfs.NewCrashableMem(), vfs.NewCrashableMem()}
	for _, mem := range []*vfs.MemFS{d.store, d.small} {
		must(mem.MkdirAll(houseDir, 0o700))
		must(syncDir(mem, "/"))
	}
	return d
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func syncDir(mem vfs.FS, name string) error {
	d, err := mem.OpenDir(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Close()
}

// loss says what a power cut takes of what was not synced.
type loss int

const (
	lossNone loss = iota // only the process died
	lossAll
	lossSome // files and parts of files, by chance
)

// copy returns the disk as it is found after the process died, or the power was
// cut, now. The disk that it is copied from is of no use afterwards.
func (d disk) copy(l loss, rnd *rand.Rand) disk {
	return disk{cut(d.store, l, rnd), cut(d.small, l, rnd)}
}

// cut does for one file system what its CrashClone does not do in the same way
// twice, since it walks maps with the random source in its hand.
func cut(mem *vfs.MemFS, l loss, rnd *rand.Rand) *vfs.MemFS {
	everything := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))}
	synced := vfs.CrashCloneCfg{}
	switch l {
	case lossNone:
		eachDir(mem, "/", syncDir) // or names that were removed would be back
		return mem.CrashClone(everything)
	case lossAll:
		return mem.CrashClone(synced)
	}
	left, all := mem.CrashClone(synced), mem.CrashClone(everything)
	eachDir(mem, "/", syncDir)
	overlay(left, mem.CrashClone(synced), all, "/", rnd.Uint64())
	return left.CrashClone(everything) // what is left is on the disk
}

func eachDir(mem *vfs.MemFS, dir string, do func(vfs.FS, string) error) {
	must(do(mem, dir))
	for _, name := range list(mem, dir) {
		if info, err := mem.Stat(name); err == nil && info.IsDir() {
			eachDir(mem, name, do)
		}
	}
}

func list(mem *vfs.MemFS, dir string) []string {
	names, err := mem.List(dir)
	must(err)
	slices.Sort(names)
	for i := range names {
		names[i] = path.Join(dir, names[i])
	}
	return names
}

// overlay puts on the synced files some of what was written beyond them. Named
// has the names as they were when the power went, with what is synced of each
// file; all has everything. What becomes of a file is decided by its kind and
// its age among those of its kind: the numbers in Pebble's names are by chance.
func overlay(left, named, all *vfs.MemFS, dir string, seed uint64) {
	names := list(named, dir)
	slices.Reverse(names)
	younger := map[string]uint64{}
	for _, name := range names {
		kind := strings.TrimRight(path.Join(dir, path.Ext(name)), "0123456789")
		if path.Ext(name) == "" {
			kind = strings.TrimRight(name, "0123456789")
		}
		h := fnv.New64a()
		h.Write([]byte(kind))
		rnd := rand.New(rand.NewPCG(seed^h.Sum64(), younger[kind]))
		younger[kind]++
		info, err := named.Stat(name)
		must(err)
		_, err = left.Stat(name)
		known := err == nil
		if !known && rnd.IntN(2) == 0 {
			continue
		}
		if info.IsDir() {
			must(left.MkdirAll(name, 0o700))
			overlay(left, named, all, name, rnd.Uint64())
			continue
		}
		synced, written := content(named, name), content(all, name)
		if known && string(content(left, name)) != string(synced) && rnd.IntN(2) == 0 {
			continue // the name is still another file's
		}
		f, err := left.Create(name, vfs.WriteCategoryUnspecified)
		must(err)
		_, err = f.Write(tear(synced, written, rnd))
		must(err)
		must(f.Close())
	}
}

func content(mem *vfs.MemFS, name string) []byte {
	b, err := mem.UnsafeGetFileDataBuffer(name)
	must(err)
	return b
}

// tear mixes what a file held with what was written to it: a beginning of the
// writing, or any of its sectors.
func tear(old, written []byte, rnd *rand.Rand) []byte {
	if string(old) == string(written) {
		return old
	}
	mixed := make([]byte, max(len(old), len(written)))
	copy(mixed, old)
	if rnd.IntN(2) == 0 {
		end := rnd.IntN(len(written) + 1)
		copy(mixed, written[:end])
		return mixed[:max(end, len(old))]
	}
	const sector = 512
	for i := 0; i < len(written); i += sector {
		if rnd.IntN(2) == 0 {
			copy(mixed[i:], written[i:min(i+sector, len(written))])
		}
	}
	return mixed
}

// storeFS is the file system of a process's store: syncs of the write-ahead log
// wait for their turn, and faults are put in.
func (p *process) storeFS() vfs.FS {
	return storeFS{errorfs.Wrap(p.disk.store, errorfs.InjectorFunc(func(op errorfs.Op) error {
		wal := path.Dir(op.Path) == storeDir && strings.HasSuffix(op.Path, ".log")
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if wal && p.isStoring() { // Pebble opens with its mutex held
				return p.turn(turnSync, "")
			}
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpReuseForWrite:
			return p.faults().write()
		case errorfs.OpFileRead, errorfs.OpFileReadAt:
			return p.faults().readFile(op.Path, op.Offset, p.opening())
		}
		return nil
	})), p}
}

type storeFS struct {
	vfs.FS
	p *process
}

// GetDiskUsage tells how much room there is.
func (f storeFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.p.faults().room()}, nil
}

// files are the small files of a house, as appliance.Files wants them.
type files struct{ p *process }

func (f files) MkdirAll(name string) error { return f.p.disk.small.MkdirAll(name, 0o700) }

func (f files) ReadFile(name string) ([]byte, error) {
	file, err := f.p.disk.small.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

func (f files) ReadPrivate(name string) ([]byte, error) { return f.ReadFile(name) }

func (f files) CreatePrivate(name string, data []byte) error {
	if _, err := f.p.disk.small.Stat(name); err == nil {
		return fs.ErrExist
	}
	return f.WriteFile(name, data)
}

func (f files) ReplacePrivate(name string, data []byte) error { return f.WriteFile(name, data) }

func (f files) TidyPrivate(string) error { return nil }

func (f files) WriteFile(name string, data []byte) error {
	mem := f.p.disk.small
	if err := f.p.turn(turnFile, "write "+name); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), "."+path.Base(name))
	file, err := mem.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := mem.Rename(tmp, name); err != nil {
		return err
	}
	if err := f.p.turn(turnFile, "sync "+name); err != nil {
		return err
	}
	return syncDir(mem, path.Dir(name))
}

const guardName = houseDir + "/guard"

func (f files) OpenGuard(name string) (ledger.GuardFile, error) {
	mem := f.p.disk.small
	file, err := mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if err := f.p.turn(turnFile, "create "+name); err != nil {
		return nil, err
	}
	if err := syncDir(mem, path.Dir(name)); err != nil {
		return nil, err
	}
	return f.p.w.sabotage.guard(guardFile{file, f.p}), nil
}

// guardFile is the guard's record: writing and syncing it wait for their turns.
type guardFile struct {
	vfs.File
	p *process
}

func (g guardFile) WriteAt(b []byte, at int64) (int, error) {
	if err := g.p.turn(turnGuard, "write"); err != nil {
		return 0, err
	}
	return g.File.WriteAt(b, at)
}

func (g guardFile) Sync() error {
	if err := g.p.turn(turnGuard, "sync"); err != nil {
		return err
	}
	return g.File.Sync()
}
