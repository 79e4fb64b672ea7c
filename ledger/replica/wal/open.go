package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"countroom/ledger/replica/core"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func le32(b []byte) uint32       { return binary.LittleEndian.Uint32(b) }
func putLE32(b []byte, n uint32) { binary.LittleEndian.PutUint32(b, n) }

const (
	defaultSegment = 16 << 20
	suffix         = ".log"
	maxSegment     = 1 << 31
)

func segmentName(opt Options, number uint64) string {
	return opt.FS.PathJoin(opt.Dir, fmt.Sprintf("%016x%s", number, suffix))
}

func prepare(opt *Options) {
	if opt.SegmentBytes == 0 {
		opt.SegmentBytes = defaultSegment
	}
}

// newSegment writes a segment with its head and zeros for what will come, at least least bytes of them. It takes its name
// when all of it is durable. Zeros that are on the disk already make each later sync cheaper: it writes no metadata.
func newSegment(opt Options, h segmentHead, least int64) (*segment, error) {
	name := segmentName(opt, h.number)
	tmp := strings.TrimSuffix(name, suffix) + ".tmp"
	if err := opt.FS.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing %s: %w", tmp, err)
	}
	f, err := opt.FS.OpenReadWrite(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", tmp, err)
	}
	end := headerBytes + padded(len(appendSegmentHead(nil, h)))
	size := max(opt.SegmentBytes, int64(end)+least)
	h.size = uint64(size)
	first := appendRecord(nil, h.number, 0, 0, kindSegment, appendSegmentHead(nil, h))
	if size > maxSegment {
		_ = f.Close()
		return nil, fmt.Errorf("a record needs a segment of %d bytes, want at most %d", size, maxSegment)
	}
	chunk := make([]byte, min(1<<20, size))
	for off := int64(0); off < size && err == nil; off += int64(len(chunk)) {
		// A write may change what it is given.
		clear(chunk)
		_, err = f.WriteAt(chunk[:min(int64(len(chunk)), size-off)], off)
	}
	if err == nil {
		_, err = f.WriteAt(first, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = opt.FS.Rename(tmp, name)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	return &segment{head: h, file: f, name: name, end: uint32(end)}, nil
}

// Exists says whether a directory holds a log.
func Exists(fs vfs.FS, dir string) (bool, error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, suffix) }), err
}

// Create makes a log in a directory that has none.
func Create(opt Options, start core.Start) (*Log, error) {
	prepare(&opt)
	if has, err := Exists(opt.FS, opt.Dir); err != nil || has {
		return nil, errors.Join(err, fmt.Errorf("creating a log in %s: one is there", opt.Dir))
	}
	if err := opt.FS.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating a log: %w", err)
	}
	dir, err := opt.FS.OpenDir(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("creating a log: %w", err)
	}
	s, err := newSegment(opt, head(opt, 1, start), 0)
	if err == nil {
		err = dir.Sync()
	}
	if err == nil {
		err = syncDir(opt.FS, opt.FS.PathDir(opt.Dir))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating a log: %w", err), dir.Close())
	}
	l := &Log{opt: opt, dir: dir}
	l.begin(s, start)
	return l, nil
}

func syncDir(fs vfs.FS, name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens the log in a directory. An end that a crash tore is overwritten with zeros; of anything else that is not as
// it was written nothing is changed, and the error is ErrDamaged.
func Open(opt Options) (l *Log, err error) {
	prepare(&opt)
	names, err := opt.FS.List(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, suffix) })
	slices.Sort(names)
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %s has no segment", ErrDamaged, opt.Dir)
	}
	l = &Log{opt: opt}
	defer func() {
		if err != nil {
			for _, s := range l.segs {
				_ = s.file.Close()
			}
			if l.dir != nil {
				_ = l.dir.Close()
			}
			l = nil
		}
	}()
	if l.dir, err = opt.FS.OpenDir(opt.Dir); err != nil {
		return l, fmt.Errorf("opening the log: %w", err)
	}
	heads := make([]segmentHead, len(names))
	for i, name := range names {
		if heads[i], err = readHead(opt, name); err != nil {
			return l, err
		}
		if h := heads[i]; i > 0 && h.number != heads[i-1].number+1 {
			return l, fmt.Errorf("%w: %s follows %s: a segment is missing", ErrDamaged, name, names[i-1])
		}
	}
	// Where the log was begun anew, what is before it is left over from a crash.
	from := 0
	for heads[from].number < heads[len(heads)-1].since {
		from++
	}
	l.base, l.baseTerm = heads[from].base, heads[from].term
	for i := from; i < len(names); i++ {
		if base := heads[i].base; base > l.last() || base < l.base {
			return l, fmt.Errorf("%w: %s follows entry %d, the segment before it ends at %d", ErrDamaged, names[i], base, l.last())
		}
		l.places = l.places[:heads[i].base-l.base]
		if err = l.scan(names[i], heads[i], i == len(names)-1); err != nil {
			return l, err
		}
	}
	for _, name := range names[:from] {
		if err = opt.FS.Remove(opt.FS.PathJoin(opt.Dir, name)); err != nil {
			return l, fmt.Errorf("removing %s: %w", name, err)
		}
	}
	l.applied = l.base
	return l, nil
}

func readAll(opt Options, name string) ([]byte, error) {
	f, err := opt.FS.Open(opt.FS.PathJoin(opt.Dir, name))
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return b, nil
}

func readHead(opt Options, name string) (h segmentHead, err error) {
	f, err := opt.FS.Open(opt.FS.PathJoin(opt.Dir, name))
	if err != nil {
		return h, fmt.Errorf("opening the log: %w", err)
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return h, fmt.Errorf("reading %s: %w", name, err)
	}
	var number uint64
	if _, err := fmt.Sscanf(strings.TrimSuffix(name, suffix), "%016x", &number); err != nil {
		return h, fmt.Errorf("%w: %s is not the name of a segment", ErrDamaged, name)
	}
	kind, _, payload, err := parseRecord(b[:n], number, 0)
	if err != nil || kind != kindSegment {
		return h, fmt.Errorf("%w: the head of %s is not as it was written", ErrDamaged, name)
	}
	if h, err = parseSegmentHead(payload); err != nil {
		return h, fmt.Errorf("%s: %w", name, err)
	}
	if h.number != number {
		return h, fmt.Errorf("%w: %s is segment %d", ErrDamaged, name, h.number)
	}
	if h.since > h.number {
		return h, fmt.Errorf("%w: %s says that the log was begun anew in a later segment, %d", ErrDamaged, name, h.since)
	}
	if h.origin != opt.Origin {
		return h, fmt.Errorf("%s is a log of the house %q, want %q", name, h.origin, opt.Origin)
	}
	if h.node != opt.Node {
		return h, fmt.Errorf("%s is a log of node %016x, want %016x: each node has its own", name, h.node, opt.Node)
	}
	return h, nil
}

// scan reads a segment. Where a record is not valid the segment ends, and what follows is one of these:
//
//   - zeros: nothing was written;
//   - in the last segment, something that was being written when the power failed: no valid record after it says that
//     so much was synced already;
//   - damage, otherwise.
//
// Of the very last write that was synced nothing after it can tell; the other nodes remember how far this one was.
func (l *Log) scan(name string, h segmentHead, last bool) error {
	content, err := readAll(l.opt, name)
	if err != nil {
		return err
	}
	if uint64(len(content)) != h.size {
		return fmt.Errorf("%w: %s has %d bytes, it was made with %d", ErrDamaged, name, len(content), h.size)
	}
	path := l.opt.FS.PathJoin(l.opt.Dir, name)
	f, err := l.opt.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	s := &segment{head: h, file: f, name: path}
	l.segs = append(l.segs, s)
	l.hard = h.hard
	if n := len(l.confs); n == 0 || l.confs[n-1].Index < h.conf.Index {
		l.confs = append(l.confs, h.conf)
	}
	off := 0
	for {
		kind, _, payload, err := parseRecord(content, h.number, off)
		if err != nil {
			break
		}
		if err := l.take(s, kind, payload, off); err != nil {
			return fmt.Errorf("%w: %s at %d: %w", ErrDamaged, name, off, err)
		}
		off += headerBytes + padded(len(payload))
	}
	s.end = uint32(off)
	rest := content[min(off, len(content)):]
	torn := slices.ContainsFunc(rest, func(b byte) bool { return b != 0 })
	switch {
	case torn && !last:
		return fmt.Errorf("%w: %s is not as it was written at %d", ErrDamaged, name, off)
	case torn:
		for q := (off + 8) &^ 7; q < len(content); q += 8 {
			if !after(content, q, off) {
				continue
			}
			if _, synced, _, err := parseRecord(content, h.number, q); err == nil {
				return fmt.Errorf("%w: %s is not as it was written at %d, and was synced up to %d at least", ErrDamaged, name, off, synced)
			}
		}
		if _, err := f.WriteAt(make([]byte, len(rest)), int64(off)); err != nil {
			return fmt.Errorf("clearing the end of %s: %w", name, err)
		}
	}
	if last {
		// What a crash left in the page cache is to be durable before anybody counts on it.
		if err := f.Sync(); err != nil {
			return fmt.Errorf("syncing %s: %w", name, err)
		}
		l.synced = s.end
	}
	return nil
}

// take adds a record that was read.
func (l *Log) take(s *segment, kind byte, payload []byte, off int) error {
	switch {
	case kind == kindSegment && off == 0:
	case kind == kindEntry:
		e, err := parseEntry(payload)
		if err != nil {
			return err
		}
		if i := e.GetIndex(); i <= l.base || i > l.last()+1 || i <= s.head.base {
			return fmt.Errorf("entry %d after entry %d", i, l.last())
		}
		l.places = append(l.places[:e.GetIndex()-l.base-1], place{e.GetTerm(), s, uint32(off), uint32(len(payload))})
	case kind == kindHard:
		h, err := parseHard(payload)
		if err != nil {
			return err
		}
		l.hard = h
	case kind == kindConf:
		c, err := ParseConf(payload)
		if err != nil {
			return err
		}
		l.confs = append(l.confs, c)
	default:
		return fmt.Errorf("a record of kind %d", kind)
	}
	return nil
}

// after says whether there may be a record at q that was written when more than off was synced. Most places are not worth
// the price of a checksum.
func after(content []byte, q, off int) bool {
	if len(content)-q < headerBytes {
		return false
	}
	kind, synced := content[q+4], int(le32(content[q+8:]))
	return kind >= kindSegment && kind <= kindConf && synced > off && synced <= q
}
