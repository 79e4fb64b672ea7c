// Package wal is a node's consensus log on disk: the entries, what the node promised (term and vote), and who belongs to
// the group. It reads at any index, so that a node which was away for a day is served from the disk and not from memory,
// and it tells the end that a crash tore from damage to what was synced: the first is cut off, the second is refused.
//
// docs/replication.md has the format, docs/decisions/0022 why it is not etcd's.
package wal

import (
	"errors"
	"fmt"
	"sync"

	"countroom/ledger/replica/core"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// ErrDamaged: what was synced is not there any more. Nothing was changed.
var ErrDamaged = errors.New("the consensus log is damaged")

// Options of Open and Create.
type Options struct {
	FS     vfs.FS
	Dir    string
	Origin string // of the house
	Node   uint64
	// SegmentBytes is when a new segment is begun; 0 is 16 MiB.
	SegmentBytes int64
}

// place is where an entry stands.
type place struct {
	term uint64
	seg  *segment
	off  uint32
	size uint32 // of the payload
}

type segment struct {
	head segmentHead
	file vfs.File
	name string
	end  uint32 // of what is written
}

// recentBytes is how much of the newest entries is kept in memory, for whoever applies or sends them next.
const recentBytes = 8 << 20

// Log is a log that is open for writing. It implements raft.Storage; its methods may be called from several goroutines, of
// which one writes.
type Log struct {
	opt Options
	dir vfs.File

	mu          sync.Mutex
	segs        []*segment
	base        uint64 // index before the first entry
	baseTerm    uint64
	places      []place // of the entries base+1 …
	hard        core.Hard
	confs       []core.Conf // rising by Index
	applied     uint64      // as of which InitialState answers
	recent      []*raftpb.Entry
	recentSize  int
	synced      uint32 // in the last segment
	buf         []byte
	broken      error
	snapshot    func() (*raftpb.Snapshot, error)
	overwritten func([]*raftpb.Entry) error
}

var _ raft.Storage = (*Log)(nil)

// OnSnapshot sets what answers raft when it wants to send a state because the log does not reach back far enough.
func (l *Log) OnSnapshot(f func() (*raftpb.Snapshot, error)) { l.snapshot = f }

// OnOverwritten sets what is shown entries before others take their place, in order to keep them as evidence.
func (l *Log) OnOverwritten(f func([]*raftpb.Entry) error) { l.overwritten = f }

// Applied says up to which index the state has the entries: InitialState then gives the configuration as of it, and
// takes everything below it for committed (the state may have been synced when the commit index was not).
func (l *Log) Applied(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.last(); index > last {
		return fmt.Errorf("%w: the state has applied entry %d, the log ends at %d", ErrDamaged, index, last)
	}
	if index < l.base {
		return fmt.Errorf("%w: the state has applied entry %d, the log begins after %d", ErrDamaged, index, l.base)
	}
	l.applied = index
	l.hard.Commit = max(l.hard.Commit, index)
	return nil
}

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &raftpb.HardState{Term: new(l.hard.Term), Vote: new(l.hard.Vote), Commit: new(l.hard.Commit)}
	return h, raftpb.EnsureConfState(l.confAt(l.applied).State), nil
}

// Conf returns the configuration as of an index.
func (l *Log) Conf(index uint64) core.Conf {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confAt(index)
}

func (l *Log) confAt(index uint64) core.Conf {
	c := l.confs[0]
	for _, next := range l.confs {
		if next.Index <= index {
			c = next
		}
	}
	return c
}

// Hard returns what the node has promised.
func (l *Log) Hard() core.Hard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hard
}

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base + 1, nil
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last(), nil
}

func (l *Log) last() uint64 { return l.base + uint64(len(l.places)) }

// Bytes returns how much the log holds.
func (l *Log) Bytes() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		n += int64(s.end)
	}
	return n
}

// Term implements raft.Storage.
func (l *Log) Term(index uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.termAt(index)
}

func (l *Log) termAt(index uint64) (uint64, error) {
	switch {
	case index == l.base:
		return l.baseTerm, nil
	case index < l.base:
		return 0, raft.ErrCompacted
	case index > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.places[index-l.base-1].term, nil
}

// Snapshot implements raft.Storage.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	if l.snapshot == nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return l.snapshot()
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lo <= l.base {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 || lo > hi {
		return nil, raft.ErrUnavailable
	}
	var out []*raftpb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		p := l.places[i-l.base-1]
		if size += uint64(p.size); size > maxSize && len(out) > 0 {
			break
		}
		e, err := l.entry(i, p)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// entry reads one entry, from memory or the disk.
func (l *Log) entry(index uint64, p place) (*raftpb.Entry, error) {
	if from := l.last() + 1 - uint64(len(l.recent)); index >= from {
		return l.recent[index-from], nil
	}
	b := make([]byte, headerBytes+int(p.size))
	if _, err := p.seg.file.ReadAt(b, int64(p.off)); err != nil {
		return nil, fmt.Errorf("reading entry %d in %s: %w", index, p.seg.name, err)
	}
	h, payload := b[:headerBytes], b[headerBytes:]
	if checksum(p.seg.head.number, p.off, h, payload) != le32(h[12:]) {
		return nil, fmt.Errorf("%w: %s does not hold entry %d any more", ErrDamaged, p.seg.name, index)
	}
	e, err := parseEntry(payload)
	if err != nil || e.GetIndex() != index || e.GetTerm() != p.term {
		return nil, fmt.Errorf("%w: %s does not hold entry %d any more", ErrDamaged, p.seg.name, index)
	}
	return e, nil
}

// Save appends entries and what the node promises, and syncs them when sync says so. An entry takes the place of those
// from its index on. After an error nothing can be saved any more: what is on the disk is not known.
func (l *Log) Save(hard *raftpb.HardState, entries []*raftpb.Entry, sync bool) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	defer func() {
		if err != nil {
			l.broken = err
		}
	}()
	if len(entries) > 0 {
		if err := l.cut(entries[0].GetIndex()); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if e.GetIndex() != l.last()+1 {
			return fmt.Errorf("entry %d does not follow entry %d", e.GetIndex(), l.last())
		}
		s, err := l.room(entryBytes + len(e.Data))
		if err != nil {
			return err
		}
		off := s.end + uint32(len(l.buf))
		size := uint32(entryBytes + len(e.Data))
		k := len(l.buf) + headerBytes
		l.buf = append(l.buf, make([]byte, headerBytes)...)
		l.buf = appendEntry(l.buf, e)
		l.seal(s, off, kindEntry, k)
		l.places = append(l.places, place{e.GetTerm(), s, off, size})
		l.recent = append(l.recent, e)
		l.recentSize += len(e.Data)
	}
	for len(l.recent) > 1 && l.recentSize > recentBytes {
		l.recentSize -= len(l.recent[0].Data)
		l.recent[0] = nil
		l.recent = l.recent[1:]
	}
	if hard != nil && !raft.IsEmptyHardState(hard) {
		l.hard = core.Hard{Term: hard.GetTerm(), Vote: hard.GetVote(), Commit: hard.GetCommit()}
		if err := l.append(kindHard, appendHard(nil, l.hard)); err != nil {
			return err
		}
	}
	return l.write(sync)
}

// SaveConf makes a configuration durable.
func (l *Log) SaveConf(c core.Conf) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if err = l.append(kindConf, AppendConf(nil, c)); err == nil {
		err = l.write(true)
	}
	if err != nil {
		l.broken = err
		return err
	}
	l.confs = append(l.confs, c)
	return nil
}

// cut removes the entries from index on, of which none is committed.
func (l *Log) cut(index uint64) error {
	if index > l.last() {
		return nil
	}
	if index <= l.base {
		return fmt.Errorf("entry %d is below the log, which begins after %d", index, l.base)
	}
	if l.overwritten != nil {
		var gone []*raftpb.Entry
		for i := index; i <= l.last(); i++ {
			e, err := l.entry(i, l.places[i-l.base-1])
			if err != nil {
				return err
			}
			gone = append(gone, e)
		}
		if err := l.overwritten(gone); err != nil {
			return fmt.Errorf("keeping entries that are overwritten: %w", err)
		}
	}
	n := int(l.last() + 1 - index)
	l.places = l.places[:len(l.places)-n]
	keep := max(0, len(l.recent)-n)
	for _, e := range l.recent[keep:] {
		l.recentSize -= len(e.Data)
	}
	l.recent = l.recent[:keep:keep]
	if index <= l.segs[len(l.segs)-1].head.base {
		return l.roll(0) // a segment holds only what is after its base
	}
	return nil
}

// append puts a record into the buffer.
func (l *Log) append(kind byte, payload []byte) error {
	s, err := l.room(len(payload))
	if err != nil {
		return err
	}
	k := len(l.buf) + headerBytes
	off := s.end + uint32(len(l.buf))
	l.buf = append(l.buf, make([]byte, headerBytes)...)
	l.buf = append(l.buf, payload...)
	l.seal(s, off, kind, k)
	return nil
}

// seal fills in the header of the record whose payload begins at k of the buffer and ends with it.
func (l *Log) seal(s *segment, off uint32, kind byte, k int) {
	n := len(l.buf) - k
	h := l.buf[k-headerBytes : k]
	putLE32(h, uint32(n))
	h[4] = kind
	putLE32(h[8:], l.synced)
	putLE32(h[12:], checksum(s.head.number, off, h, l.buf[k:]))
	l.buf = append(l.buf, make([]byte, padded(n)-n)...)
}

// room returns the segment for a payload of n bytes, and begins a new one when the last is full.
func (l *Log) room(n int) (*segment, error) {
	s := l.segs[len(l.segs)-1]
	used := int64(s.end) + int64(len(l.buf))
	if used+int64(headerBytes+padded(n)) <= l.opt.SegmentBytes || len(l.buf) == 0 && s.end == s.first() {
		return s, nil
	}
	if err := l.roll(n); err != nil {
		return nil, err
	}
	return l.segs[len(l.segs)-1], nil
}

// roll begins a segment with room for a payload of n bytes. A segment is whole before the next begins, so that an end that
// is torn can only be in the last.
func (l *Log) roll(n int) error {
	if err := l.write(true); err != nil {
		return err
	}
	term, err := l.termAt(l.last())
	if err != nil {
		return err
	}
	was := l.segs[len(l.segs)-1].head
	next, err := newSegment(l.opt, segmentHead{
		number: was.number + 1, since: was.since, origin: l.opt.Origin, node: l.opt.Node,
		base: l.last(), term: term, hard: l.hard, conf: l.confs[len(l.confs)-1],
	}, int64(headerBytes+padded(n)))
	if err != nil {
		return err
	}
	if err := l.dir.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", l.opt.Dir, err)
	}
	l.segs = append(l.segs, next)
	l.synced = next.end
	return nil
}

// first is where a segment's second record stands.
func (s *segment) first() uint32 {
	return uint32(headerBytes + padded(len(appendSegmentHead(nil, s.head))))
}

// write writes the buffer to the last segment.
func (l *Log) write(sync bool) error {
	s := l.segs[len(l.segs)-1]
	if len(l.buf) > 0 {
		n := len(l.buf)
		_, err := s.file.WriteAt(l.buf, int64(s.end))
		if l.buf = l.buf[:0]; cap(l.buf) > recentBytes {
			l.buf = nil
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", s.name, err)
		}
		s.end += uint32(n)
	}
	if sync && l.synced != s.end {
		if err := s.file.SyncData(); err != nil {
			return fmt.Errorf("syncing %s: %w", s.name, err)
		}
		l.synced = s.end
	}
	return nil
}

// DropTo removes segments all of whose entries are at index or below it, as long as keep bytes remain. Entries up to index
// must be committed.
func (l *Log) DropTo(index uint64, keep int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	n, rest := 0, int64(0)
	for i := len(l.segs) - 1; i > 0; i-- {
		// Of the segments after i none begins lower, if i's base is committed.
		if rest += int64(l.segs[i].end); rest >= keep && l.segs[i].head.base <= index {
			n = i
			break
		}
	}
	if n == 0 {
		return nil
	}
	head := l.segs[n].head
	for _, s := range l.segs[:n] {
		// In order, so that what a crash leaves is without a gap.
		if err := errors.Join(s.file.Close(), l.opt.FS.Remove(s.name)); err != nil {
			l.broken = fmt.Errorf("removing %s: %w", s.name, err)
			return l.broken
		}
	}
	l.segs = append([]*segment(nil), l.segs[n:]...)
	drop := head.base - l.base
	l.places = append([]place(nil), l.places[drop:]...)
	l.recent = l.recent[max(0, len(l.recent)-len(l.places)):]
	l.base, l.baseTerm = head.base, head.term
	for len(l.confs) > 1 && l.confs[1].Index <= l.base {
		l.confs = l.confs[1:]
	}
	return nil
}

// Reset begins the log anew after a state that was taken over from another node. The segments there were are removed
// once the new one is durable.
func (l *Log) Reset(start core.Start) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	defer func() {
		if err != nil {
			l.broken = err
		}
	}()
	old := l.segs
	number := old[len(old)-1].head.number + 1
	s, err := newSegment(l.opt, head(l.opt, number, start), 0)
	if err != nil {
		return err
	}
	if err := l.dir.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", l.opt.Dir, err)
	}
	for _, s := range old {
		if err := errors.Join(s.file.Close(), l.opt.FS.Remove(s.name)); err != nil {
			return fmt.Errorf("removing %s: %w", s.name, err)
		}
	}
	l.begin(s, start)
	return nil
}

func head(opt Options, number uint64, start core.Start) segmentHead {
	return segmentHead{
		number: number, since: number, origin: opt.Origin, node: opt.Node,
		base: start.Index, term: start.Term, hard: start.Hard, conf: start.Conf,
	}
}

// begin makes s the only segment.
func (l *Log) begin(s *segment, start core.Start) {
	l.segs = []*segment{s}
	l.base, l.baseTerm, l.places = start.Index, start.Term, nil
	l.hard, l.confs = start.Hard, []core.Conf{start.Conf}
	l.recent, l.recentSize, l.synced, l.applied = nil, 0, s.end, start.Index
}

// Close closes the files.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.dir.Close()
	for _, s := range l.segs {
		err = errors.Join(err, s.file.Close())
	}
	l.broken = errors.New("the log is closed")
	return err
}
