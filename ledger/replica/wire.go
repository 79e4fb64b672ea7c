package replica

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"countroom/ledger/replica/core"

	"go.etcd.io/raft/v3/raftpb"
)

// Report is what a node says of itself to the others.
type Report = core.Report

// Wire carries what nodes in one process say to one another, instead of TCP: worlds that are told from a seed lose it,
// delay it, double it and change its order.
type Wire interface {
	// Send takes a message, for Node.Take of the other node, or loses it. It does not wait.
	Send(from, to Member, message []byte)
	// Say takes what a node says of itself ten times a second, for Node.Hear of the other.
	Say(from, to Member, r Report)
	// Fetch asks the other node for its state, by Node.Give.
	Fetch(ctx context.Context, by, from Member, have []byte) (io.ReadCloser, error)
}

// errWire: the other end is not there.
var errWire = errors.New("the other node cannot be reached")

// onWire is the network of a node on a Wire.
type onWire struct {
	n    *Node
	wire Wire
	quit chan struct{}
	done sync.WaitGroup

	mu sync.Mutex
	ms []Member
}

func newOnWire(n *Node) *onWire {
	x := &onWire{n: n, wire: n.cfg.Wire, quit: make(chan struct{})}
	x.done.Go(func() {
		every := time.NewTicker(reportEvery)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-x.quit:
				return
			}
			x.mu.Lock()
			ms := x.ms
			x.mu.Unlock()
			for _, m := range ms {
				if m.Name != n.self.Name {
					x.wire.Say(n.self, m, n.report())
				}
			}
		}
	})
	return x
}

func (x *onWire) send(to Member, m *raftpb.Message) {
	if b, err := core.EncodeMessage(m); err == nil {
		x.wire.Send(x.n.self, to, b)
	}
}

func (x *onWire) fetch(ctx context.Context, from Member, have []byte) (io.ReadCloser, error) {
	return x.wire.Fetch(ctx, x.n.self, from, have)
}

func (x *onWire) changed(ms []Member) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ms = ms
}

func (x *onWire) close() error {
	close(x.quit)
	x.done.Wait()
	return nil
}

// Take takes a message that came over a Wire.
func (n *Node) Take(from Member, message []byte) error {
	m, err := core.DecodeMessage(message, from.ID(n.cfg.Origin), n.id)
	if err != nil {
		return err
	}
	n.received(m)
	return nil
}

// Hear takes what another node says of itself over a Wire.
func (n *Node) Hear(from Member, r Report) { n.reported(from, r) }

// Give returns this node's state for another node on a Wire.
func (n *Node) Give(have []byte) (io.ReadCloser, error) {
	if n.Err() != nil {
		return nil, errWire
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(n.serveState(have, w)) }()
	return r, nil
}
