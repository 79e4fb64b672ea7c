package replica

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
)

// A benchmark's group: three nodes with directories of their own on one disk, over loopback TCP with mutual TLS.
type group struct {
	stores map[string]*Store
	nodes  map[string]*Node
	open   func(name string)
}

func newGroup(b *testing.B) *group {
	g := &group{stores: map[string]*Store{}, nodes: map[string]*Node{}}
	ca := newAuthority(b)
	var ms []Member
	doors := map[string]net.Listener{}
	dirs := map[string]string{}
	for _, name := range []string{"A", "B", "W"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		doors[name], dirs[name] = l, b.TempDir()
		ms = append(ms, Member{Name: name, Address: l.Addr().String(), Arbiter: name == "W"})
	}
	g.open = func(name string) {
		cfg := Config{Origin: origin, Name: name, Members: ms, Dir: dirs[name] + "/node", TLS: ca.node(b, name), Listener: doors[name]}
		doors[name] = nil
		if name != "W" {
			g.stores[name] = onDisk(b, dirs[name]+"/store")
			cfg.Machine = g.stores[name]
		}
		n, err := Open(cfg)
		must(b, err)
		g.nodes[name] = n
		if s := g.stores[name]; s != nil {
			s.Attach(n)
		}
	}
	for _, m := range ms {
		g.open(m.Name)
	}
	b.Cleanup(func() {
		for name := range g.nodes {
			g.close(b, name)
		}
	})
	return g
}

func (g *group) close(b *testing.B, name string) {
	must(b, g.nodes[name].Close())
	if s := g.stores[name]; s != nil {
		must(b, s.Close())
	}
	delete(g.nodes, name)
	delete(g.stores, name)
}

func (g *group) active(b *testing.B) *Store {
	var s *Store
	eventually(b, "somebody is active", func() bool {
		for name, n := range g.nodes {
			if n.Role().Term != 0 {
				s = g.stores[name]
			}
		}
		return s != nil
	})
	return s
}

func onDisk(b *testing.B, dir string) *Store {
	inner, err := pebble.Open(dir, pebble.Options{Create: true, ReserveBytes: 1})
	must(b, err)
	s := NewStore(inner)
	s.freely = true
	s.OnApply(func(ctx context.Context, x Batch) error {
		prev := s.Local().Head()
		next := store.Head{Term: x.Term, Size: prev.Size + uint64(len(x.Leaves)), At: max(x.At, prev.At+1), Folds: 1, Root: *x.Root}
		return s.Local().Commit(ctx, &store.Batch{Prev: prev, Next: next, Leaves: x.Leaves, Rows: rowsOf(x.Base, len(x.Leaves)), Vault: x.Vault})
	})
	return s
}

// rowsOf are two rows for each entry, as a spin changes them.
func rowsOf(base uint64, n int) (rows []store.Row) {
	for i := range uint64(n) {
		for _, kind := range []string{"wallet", "player"} {
			k := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(kind), (base+i)%5000))
			rows = append(rows, store.Row{Key: fmt.Appendf(nil, "%s/%x", kind, k[:8]), Value: make([]byte, 120)})
		}
	}
	return rows
}

// commits commits b.N batches of n entries of 600 bytes, one at a time, and reports entries a second and the time of one.
// On a machine that is busy with something else the active role may move; the batch is then tried again, which counts as
// its time.
func commits(b *testing.B, active func() store.Store, n int) (perSecond float64) {
	took := make([]time.Duration, 0, b.N)
	moved, again := 0, false
	s := active()
	b.ResetTimer()
	var began time.Time
	for len(took) < b.N {
		head := s.Head()
		x := &store.Batch{Prev: head, Next: head, Rows: rowsOf(head.Size, n)}
		x.Next.Size, x.Next.At, x.Next.Folds = head.Size+uint64(n), head.At+1, 1
		x.Next.Root = sha256.Sum256(head.Root[:])
		for i := range n {
			leaf := make([]byte, 600)
			binary.BigEndian.PutUint64(leaf, head.Size+uint64(i))
			x.Leaves = append(x.Leaves, leaf)
		}
		start := time.Now()
		if !again {
			began = start
		}
		again = false
		switch err := s.Commit(context.Background(), x); {
		case errors.Is(err, store.ErrConflict) || errors.Is(err, ErrOutcomeUnknown):
			moved++
			again = true
			s = active()
		default:
			must(b, err)
			took = append(took, time.Since(began))
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(moved), "moved")
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	slices.Sort(took)
	perSecond = float64(n*len(took)) / sum.Seconds()
	b.ReportMetric(perSecond, "entries/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
	return perSecond
}

// BenchmarkCommit measures a commit on one machine's store and, beside it, by the group.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		single := 0.0
		b.Run(fmt.Sprintf("single/%d", n), func(b *testing.B) {
			s := onDisk(b, b.TempDir())
			defer s.Close()
			single = commits(b, func() store.Store { return s.inner }, n)
		})
		b.Run(fmt.Sprintf("pair/%d", n), func(b *testing.B) {
			g := newGroup(b)
			pair := commits(b, func() store.Store { return g.active(b) }, n)
			if single > 0 {
				b.ReportMetric(pair/single, "of-single")
			}
		})
	}
}

// BenchmarkFailover closes the active node, as a killed process closes its connections, and measures until the next batch
// is committed; and the same for a planned switchover.
func BenchmarkFailover(b *testing.B) {
	one := func(b *testing.B, s *Store) error {
		head := s.Head()
		x := &store.Batch{Prev: head, Next: head, Leaves: [][]byte{[]byte("x")}}
		x.Next.Size, x.Next.At, x.Next.Folds = head.Size+1, head.At+1, 1
		x.Next.Root = sha256.Sum256(head.Root[:])
		return s.Commit(context.Background(), x)
	}
	report := func(b *testing.B, took []time.Duration) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
		b.ReportMetric(0, "ns/op")
	}
	next := func(b *testing.B, g *group, not string) {
		for {
			for name, n := range g.nodes {
				if s := g.stores[name]; name != not && s != nil && n.Role().Term != 0 && one(b, s) == nil {
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	}
	b.Run("killed", func(b *testing.B) {
		g := newGroup(b)
		var took []time.Duration
		for range b.N {
			must(b, one(b, g.active(b)))
			a := g.active(b).node.Load().self.Name
			n := g.nodes[a]
			eventually(b, "all are as far", func() bool {
				for _, x := range g.nodes {
					if x.applied.Load() < n.committed.Load() {
						return false
					}
				}
				return true
			})
			start := time.Now()
			g.close(b, a)
			next(b, g, a)
			took = append(took, time.Since(start))
			g.open(a)
		}
		report(b, took)
	})
	b.Run("switchover", func(b *testing.B) {
		g := newGroup(b)
		var took []time.Duration
		for range b.N {
			must(b, one(b, g.active(b)))
			a := g.active(b).node.Load().self.Name
			to := map[string]string{"A": "B", "B": "A"}[a]
			start := time.Now()
			must(b, g.nodes[a].Transfer(context.Background(), to))
			next(b, g, a)
			took = append(took, time.Since(start))
		}
		report(b, took)
	})
}
