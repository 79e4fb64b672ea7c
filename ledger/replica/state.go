package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"countroom/ledger/replica/core"
	"countroom/ledger/replica/wal"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A state travels in chunks. It begins with its head, and ends with a chunk of no bytes: whatever is cut off, moved or
// changed is found out before it is used.
const (
	stateMagic   = "countroom/state"
	stateVersion = 1
	chunkBytes   = 256 << 10
	headMost     = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type stateHead struct {
	index, term uint64
	conf        core.Conf
}

func appendStateHead(dst []byte, h stateHead) []byte {
	dst = append(dst, stateMagic...)
	dst = binary.BigEndian.AppendUint32(dst, stateVersion)
	dst = binary.BigEndian.AppendUint64(dst, h.index)
	dst = binary.BigEndian.AppendUint64(dst, h.term)
	return wal.AppendConf(dst, h.conf)
}

func parseStateHead(b []byte) (h stateHead, err error) {
	const fixed = len(stateMagic) + 4 + 16
	if len(b) < fixed || string(b[:len(stateMagic)]) != stateMagic {
		return h, errors.New("it is not the state of a node")
	}
	b = b[len(stateMagic):]
	if v := binary.BigEndian.Uint32(b); v != stateVersion {
		return h, fmt.Errorf("it has format version %d, this program knows %d: bring both machines to one version first", v, stateVersion)
	}
	h.index, h.term = binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:])
	if h.conf, err = wal.ParseConf(b[20:]); err != nil {
		return h, err
	}
	_, err = core.DecodeMembers(h.conf.Members)
	return h, err
}

// chunks writes chunks: length, CRC-32C over the chunk's number and its bytes, bytes.
type chunks struct {
	w io.Writer
	n uint64
}

func chunkSum(n uint64, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.BigEndian.AppendUint64(nil, n), castagnoli), castagnoli, b)
}

func (c *chunks) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part := rest[:min(len(rest), chunkBytes)]
		if err := c.put(part); err != nil {
			return 0, err
		}
		rest = rest[len(part):]
	}
	return len(p), nil
}

func (c *chunks) put(b []byte) error {
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 8), uint32(len(b)))
	head = binary.BigEndian.AppendUint32(head, chunkSum(c.n, b))
	c.n++
	if _, err := c.w.Write(head); err != nil {
		return err
	}
	_, err := c.w.Write(b)
	return err
}

// unchunk reads what chunks wrote.
type unchunk struct {
	r    io.Reader
	n    uint64
	rest []byte
	err  error
}

var errState = errors.New("the state is not as it was sent")

func (u *unchunk) next() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(u.r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: it ends before its end: %w", errState, err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > headMost {
		return nil, fmt.Errorf("%w: a chunk of %d bytes, want at most %d", errState, n, headMost)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(u.r, b); err != nil {
		return nil, fmt.Errorf("%w: it ends before its end: %w", errState, err)
	}
	if chunkSum(u.n, b) != binary.BigEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: chunk %d", errState, u.n)
	}
	u.n++
	return b, nil
}

func (u *unchunk) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		if u.rest, u.err = u.next(); u.err == nil && len(u.rest) == 0 {
			u.err = io.EOF
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// offer implements raft.Storage's Snapshot: what a node that needs a state is told. The state itself it fetches.
func (n *Node) offer() (*raftpb.Snapshot, error) {
	index := n.applied.Load()
	term, err := n.log.Term(index)
	if err != nil || index == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	conf := n.log.Conf(index)
	return &raftpb.Snapshot{
		Data:     conf.Members,
		Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: conf.State},
	}, nil
}

// serveState writes this node's state for another node.
func (n *Node) serveState(have []byte, w io.Writer) error {
	if n.cfg.Machine == nil {
		return errors.New("the arbiter has no state")
	}
	type opened struct {
		head  stateHead
		write func(io.Writer) error
		err   error
	}
	got := make(chan opened, 1)
	n.enqueue(&item{between: func() {
		var o opened
		o.head.index = n.applied.Load()
		if o.head.term, o.err = n.log.Term(o.head.index); o.err == nil {
			o.head.conf = n.log.Conf(o.head.index)
			o.write, o.err = n.cfg.Machine.State(have)
		}
		got <- o
	}})
	var o opened
	select {
	case o = <-got:
	case <-n.quit:
		return n.Err()
	}
	if o.err != nil {
		return o.err
	}
	// The log from here on is kept until the other node has had time to ask for it.
	n.peers.pin(o.head.index)
	defer n.peers.unpin(o.head.index)
	c := &chunks{w: w}
	if err := c.put(appendStateHead(nil, o.head)); err != nil {
		return errors.Join(err, o.write(nil))
	}
	if err := o.write(c); err != nil {
		return err
	}
	return c.put(nil)
}

// wantsState has this node fetch a state, when the leader's log does not reach back to where this node is.
func (n *Node) wantsState(m *raftpb.Message) {
	if n.fetches || m.GetTerm() < n.core.State().Term {
		return
	}
	if m.GetSnapshot().GetMetadata().GetIndex() <= n.applied.Load() {
		n.must(n.core.Step(m)) // it has that already
		return
	}
	n.fetches = true
	n.restoring.Store(true)
	n.enqueue(&item{restore: m})
}

const restoredName = "restored"

// restore fetches a state and takes it over. The log begins anew after it.
func (n *Node) restore(m *raftpb.Message) {
	head, err := n.fetchState(m)
	n.restoring.Store(false)
	switch {
	case errors.Is(err, ErrDiverged):
		n.must(err)
		return
	case err != nil:
		n.cfg.Log.Error("taking over a state failed; it will be tried again", "node", n.self.Name, "error", err)
		n.do(func() { n.fetches = false })
		return
	}
	n.applied.Store(head.index)
	n.durable.Store(head.index)
	got := proto.Clone(m).(*raftpb.Message)
	got.Snapshot = &raftpb.Snapshot{
		Data:     head.conf.Members,
		Metadata: &raftpb.SnapshotMetadata{Index: new(head.index), Term: new(head.term), ConfState: head.conf.State},
	}
	n.do(func() {
		n.fetches = false
		// The message may have grown old; what it brought holds in any term.
		s := n.core.State()
		got.Term = new(max(s.Term, got.GetTerm()))
		if s.Lead != 0 && s.Lead != n.id {
			got.From = new(s.Lead)
		}
		n.must(n.core.Step(got))
		n.must(n.core.Work(n))
		if err := n.fs.Remove(n.fs.PathJoin(n.cfg.Dir, restoredName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			n.must(err)
		}
	})
}

func (n *Node) fetchState(m *raftpb.Message) (h stateHead, err error) {
	var from Member
	found := make(chan bool, 1)
	if !n.do(func() { var ok bool; from, ok = n.core.Member(m.GetFrom()); found <- ok }) {
		return h, n.Err()
	}
	select {
	case ok := <-found:
		if !ok {
			return h, fmt.Errorf("node %016x offers a state and is not a member", m.GetFrom())
		}
	case <-n.quit:
		return h, n.Err()
	}
	have, err := n.cfg.Machine.Have()
	if err != nil {
		return h, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-n.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	body, err := n.net.fetch(ctx, from, have)
	if err != nil {
		return h, err
	}
	defer body.Close()
	u := &unchunk{r: body}
	b, err := u.next()
	if err != nil {
		return h, err
	}
	if h, err = parseStateHead(b); err != nil {
		return h, err
	}
	if least := m.GetSnapshot().GetMetadata().GetIndex(); h.index < least {
		return h, fmt.Errorf("the state of %s is as of entry %d, want %d at least", from.Name, h.index, least)
	}
	// A crash between the state and the log is mended with this.
	if err := n.writeFile(restoredName, appendStateHead(nil, h)); err != nil {
		return h, err
	}
	n.cfg.Log.Info("taking over a state", "node", n.self.Name, "from", from.Name, "as of entry", h.index)
	start := time.Now()
	if err := n.cfg.Machine.Restore(h.index, u); err != nil {
		return h, err
	}
	if _, err := io.Copy(io.Discard, u); err != nil {
		return h, err
	}
	n.cfg.Log.Info("took over a state", "node", n.self.Name, "after", time.Since(start))
	return h, nil
}

// finishRestore mends a log that did not follow a state which was taken over whole.
func (n *Node) finishRestore(applied uint64) error {
	last, _ := n.log.LastIndex()
	if applied <= last {
		return nil
	}
	name := n.fs.PathJoin(n.cfg.Dir, restoredName)
	f, err := n.fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // Log.Applied will refuse it
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		return fmt.Errorf("%s is not as it was written: remove this node from the group and let the machine join under a new name", name)
	}
	h, err := parseStateHead(b[4:])
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.index != applied {
		return nil
	}
	hard := n.log.Hard()
	hard.Term, hard.Commit = max(hard.Term, h.term), max(hard.Commit, h.index)
	return n.log.Reset(core.Start{Index: h.index, Term: h.term, Hard: hard, Conf: h.conf})
}

// writeFile replaces a small file of the node's directory.
func (n *Node) writeFile(name string, b []byte) error {
	path := n.fs.PathJoin(n.cfg.Dir, name)
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
	f, err := n.fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(append(sum, b...))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = n.fs.Rename(path+".tmp", path)
	}
	if err == nil {
		err = n.syncDir(n.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func (n *Node) syncDir(name string) error {
	d, err := n.fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keepOverwritten keeps entries that were never committed before others take their place: what was in them was shown to
// nobody, and this is how one can see that.
func (n *Node) keepOverwritten(gone []*raftpb.Entry) error {
	says := false
	for _, e := range gone {
		says = says || len(e.Data) > 0
	}
	if !says {
		return nil
	}
	dir := n.fs.PathJoin(n.cfg.Dir, "evidence")
	if err := n.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	first, last := gone[0], gone[len(gone)-1]
	name := fmt.Sprintf("overwritten-%d-to-%d-term-%d", first.GetIndex(), last.GetIndex(), last.GetTerm())
	f, err := n.fs.Create(n.fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(wal.EncodeEntries(gone))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = n.syncDir(dir)
	}
	n.cfg.Log.Warn("entries that were never committed give way to others; they are kept", "node", n.self.Name, "file", name)
	return err
}

// retain drops what nobody needs any more of the log.
func (n *Node) retain() error {
	bytes := n.log.Bytes()
	if bytes <= n.cfg.RetainBytes {
		return nil
	}
	drop := n.durable.Load()
	for _, m := range n.core.Members() {
		if m.Name == n.self.Name {
			continue
		}
		d := n.peers.durable(m.Name)
		switch {
		case n.cfg.Machine == nil && !m.Arbiter:
			drop = min(drop, d) // this node cannot send a state
		case n.cfg.Machine != nil && bytes <= n.cfg.RetainMost:
			drop = min(drop, d)
		}
	}
	if pinned, ok := n.peers.pinned(); ok {
		drop = min(drop, pinned)
	}
	return n.log.DropTo(drop, n.cfg.RetainBytes)
}
