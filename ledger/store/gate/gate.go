// Package gate lets a store finish the calls under way before it closes.
package gate

import (
	"math"
	"sync/atomic"

	"countroom/ledger/store"
)

// Gate counts the calls under way so that Close can wait for them. Unlike an RWMutex it may be entered again by a call that
// is inside already, as a scan's yield function may well do.
type Gate struct {
	inside atomic.Int64 // shut is added when the gate closes
	idle   chan struct{}
}

const shut = math.MinInt64 / 2

// New returns an open gate.
func New() Gate { return Gate{idle: make(chan struct{}, 1)} }

// Enter begins a call, which Leave ends; after Close it gives store.ErrClosed.
func (g *Gate) Enter() error {
	if g.inside.Add(1) < 0 {
		g.Leave()
		return store.ErrClosed
	}
	return nil
}

// Leave ends a call.
func (g *Gate) Leave() {
	if g.inside.Add(-1) == shut {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// Close lets nobody in any more and waits until all have left. It must be called once.
func (g *Gate) Close() {
	g.inside.Add(shut)
	for g.inside.Load() != shut {
		<-g.idle
	}
}
