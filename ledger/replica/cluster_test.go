package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/replica/core"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

const origin = "house.example/log"

// tape is a machine that keeps what it applies, in memory that outlives its node.
type tape struct {
	mu      sync.Mutex
	applied uint64
	said    [][]byte
}

func (m *tape) Applied() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, nil
}

func (m *tape) Empty() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.said) == 0, nil
}

func (m *tape) Apply(index, _ uint64, data []byte) error { return m.add(index, data) }

func (m *tape) add(index uint64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.applied {
		return fmt.Errorf("entry %d after entry %d", index, m.applied)
	}
	m.applied, m.said = index, append(m.said, bytes.Clone(data))
	return nil
}

func (m *tape) Have() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return binary.BigEndian.AppendUint64(nil, uint64(len(m.said))), nil
}

func (m *tape) State(have []byte) (func(io.Writer) error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	said := slices.Clone(m.said[binary.BigEndian.Uint64(have):])
	return func(w io.Writer) error {
		if w == nil {
			return nil
		}
		for _, b := range said {
			if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (m *tape) Restore(index uint64, r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		var n uint32
		if err := binary.Read(r, binary.BigEndian, &n); err == io.EOF {
			m.applied = index
			return nil
		} else if err != nil {
			return err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		m.said = append(m.said, b)
	}
}

func (m *tape) text() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.said {
		out = append(out, string(b))
	}
	return out
}

// wire connects the nodes of a test in memory, and is their clock. Time passes for all of them at once, when each is done
// with the tick before and has heard what was said: on no machine is one slower than another, and nobody stands for
// election because of that.
type wire struct {
	mu     sync.Mutex
	nodes  map[string]*Node
	cut    map[[2]string]bool // from, to
	flying atomic.Int64       // messages
}

func newWire(t testing.TB) *wire {
	w := &wire{nodes: map[string]*Node{}, cut: map[[2]string]bool{}}
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		every := time.NewTicker(tick)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				w.tick()
			case <-quit:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(quit)
		done.Wait()
	})
	return w
}

func (w *wire) tick() {
	w.mu.Lock()
	nodes := slices.Collect(maps.Values(w.nodes))
	w.mu.Unlock()
	for _, n := range nodes {
		ticked := make(chan struct{})
		if n.do(func() { n.tick(); close(ticked) }) {
			select {
			case <-ticked:
			case <-n.ended:
			}
		}
	}
	for waited := 0; w.flying.Load() > 0; waited++ {
		if waited == 1000 { // what was said by one that was closed at that moment never arrives
			w.flying.Store(0)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *wire) reach(from, to string) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[[2]string{from, to}] {
		return nil
	}
	return w.nodes[to]
}

// part cuts a node off; heal undoes it.
func (w *wire) part(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.nodes {
		w.cut[[2]string{name, other}], w.cut[[2]string{other, name}] = true, true
	}
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}

type wired struct {
	w    *wire
	n    *Node
	quit chan struct{}
	once sync.Once

	mu  sync.Mutex
	ms  []Member
	out map[string]chan *raftpb.Message
}

func (w *wire) network(n *Node) (network, error) {
	w.mu.Lock()
	w.nodes[n.self.Name] = n
	w.mu.Unlock()
	x := &wired{w: w, n: n, quit: make(chan struct{}), out: map[string]chan *raftpb.Message{}}
	go func() {
		for {
			select {
			case <-x.quit:
				return
			case <-time.After(50 * time.Millisecond):
			}
			x.mu.Lock()
			ms := x.ms
			x.mu.Unlock()
			for _, m := range ms {
				if to := w.reach(n.self.Name, m.Name); to != nil && to != n {
					to.reported(n.self, n.report())
				}
			}
		}
	}()
	return x, nil
}

func (x *wired) send(to Member, m *raftpb.Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.out[to.Name]
	if c == nil {
		c = make(chan *raftpb.Message, 1024)
		x.out[to.Name] = c
		go func() {
			for {
				select {
				case m := <-c:
					b, err := core.EncodeMessage(m)
					if n := x.w.reach(x.n.self.Name, to.Name); n != nil && err == nil {
						if m, err := core.DecodeMessage(b, x.n.id, n.id); err == nil {
							n.received(m)
						}
					}
					x.w.flying.Add(-1)
				case <-x.quit:
					x.w.flying.Add(-int64(len(c))) // what it had to say when it was closed
					return
				}
			}
		}()
	}
	x.w.flying.Add(1)
	select {
	case c <- m:
	default:
		x.w.flying.Add(-1)
	}
}

func (x *wired) fetch(_ context.Context, from Member, have []byte) (io.ReadCloser, error) {
	n := x.w.reach(x.n.self.Name, from.Name)
	if n == nil {
		return nil, errors.New("not reached")
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(n.serveState(have, w)) }()
	return r, nil
}

func (x *wired) changed(ms []Member) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ms = ms
}

func (x *wired) close() error {
	x.once.Do(func() {
		x.w.mu.Lock()
		if x.w.nodes[x.n.self.Name] == x.n {
			delete(x.w.nodes, x.n.self.Name)
		}
		x.w.mu.Unlock()
		close(x.quit)
	})
	return nil
}

// trio is a group of A, B and the arbiter W.
type trio struct {
	t     testing.TB
	w     *wire
	ms    []Member
	tapes map[string]*tape
	fs    map[string]*vfs.MemFS
	nodes map[string]*Node
	tune  func(*Config)
}

func newTrio(t testing.TB, tune func(*Config)) *trio {
	c := &trio{
		t: t, w: newWire(t), tapes: map[string]*tape{}, fs: map[string]*vfs.MemFS{}, nodes: map[string]*Node{}, tune: tune,
		ms: []Member{{Name: "A", Address: "a:1"}, {Name: "B", Address: "b:1"}, {Name: "W", Address: "w:1", Arbiter: true}},
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			_ = n.Close()
		}
	})
	for _, m := range c.ms {
		c.open(m.Name)
	}
	return c
}

func (c *trio) config(name string) Config {
	cfg := Config{
		Origin: origin, Name: name, Members: c.ms, Dir: "node", FS: c.fs[name], SegmentBytes: 64 << 10, network: c.w.network, manual: true,
	}
	if os.Getenv("REPLICA_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", name)
	}
	for _, m := range c.ms {
		if m.Name == name && !m.Arbiter {
			if c.tapes[name] == nil {
				c.tapes[name] = &tape{}
			}
			cfg.Machine = c.tapes[name]
		}
	}
	return cfg
}

func (c *trio) open(name string) *Node {
	c.t.Helper()
	if c.fs[name] == nil {
		c.fs[name] = vfs.NewMem()
	}
	cfg := c.config(name)
	if c.tune != nil {
		c.tune(&cfg)
	}
	n, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[name] = n
	return n
}

func (c *trio) close(name string) {
	c.t.Helper()
	n := c.nodes[name]
	delete(c.nodes, name)
	if err := n.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits for what is bound to come; the limit only ends a test that has failed.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for limit := time.Now().Add(3 * time.Minute); !met(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// active waits until one of the nodes, but not one of those, is active.
func (c *trio) active(not ...string) (n *Node) {
	c.t.Helper()
	eventually(c.t, "somebody is active", func() bool {
		for name, x := range c.nodes {
			if x.Role().Term != 0 && !slices.Contains(not, name) {
				n = x
				return true
			}
		}
		return false
	})
	return n
}

func (c *trio) propose(n *Node, say string) error {
	m := c.tapes[n.self.Name]
	return n.Propose(context.Background(), n.Role().Term, []byte(say), func(index uint64) error { return m.add(index, []byte(say)) })
}

// say has something said by whoever is active, until it is known to be said.
func (c *trio) say(what string) {
	c.t.Helper()
	eventually(c.t, "it is said: "+what, func() bool {
		err := c.propose(c.active(), what)
		if err != nil && !errors.Is(err, ErrNotActive) && !errors.Is(err, ErrOutcomeUnknown) {
			c.t.Fatal(err)
		}
		return err == nil
	})
}

// same waits until the machines have said the same, and returns it.
func (c *trio) same(names ...string) []string {
	c.t.Helper()
	var first []string
	eventually(c.t, "the machines are the same", func() bool {
		first = c.tapes[names[0]].text()
		for _, name := range names[1:] {
			if !slices.Equal(first, c.tapes[name].text()) {
				return false
			}
		}
		return true
	})
	return first
}
