package pebble

import (
	"math"
	"sync/atomic"

	"countroom/ledger/store"
)

// gate counts the calls under way so that Close can wait for them: Pebble panics when it is used after its Close. Unlike an
// RWMutex it may be entered again by a call that is inside already, as a scan's yield function may well do.
type gate struct {
	inside atomic.Int64 // shut is added when the gate closes
	idle   chan struct{}
}

const shut = math.MinInt64 / 2

func newGate() gate { return gate{idle: make(chan struct{}, 1)} }

func (g *gate) enter() error {
	if g.inside.Add(1) < 0 {
		g.leave()
		return store.ErrClosed
	}
	return nil
}

func (g *gate) leave() {
	if g.inside.Add(-1) == shut {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// close lets nobody in any more and waits until all have left. It must be called once.
func (g *gate) close() {
	g.inside.Add(shut)
	for g.inside.Load() != shut {
		<-g.idle
	}
}
