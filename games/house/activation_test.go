package house_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/store"
	"countroom/rngcert/epoch"
)

// keeper is a store that keeps each batch that it was asked to commit, and can lose one
// that has an activation in it.
type keeper struct {
	store.Store
	mu      sync.Mutex
	batches [][]string // types of entries
	loses   bool
	held    chan struct{} // closed when an activation is asked for
	goes    chan struct{} // closed when it may go on
}

var errLost = errors.New("injected: the power fails")

func (s *keeper) Commit(ctx context.Context, b *store.Batch) error {
	var types []string
	activates := false
	for _, leaf := range b.Leaves {
		for _, typ := range []string{"seed.activated.v2", "round.settled"} {
			if bytes.Contains(leaf, []byte(`"type":"`+typ+`"`)) {
				types = append(types, typ)
				activates = activates || typ == "seed.activated.v2"
			}
		}
	}
	s.mu.Lock()
	s.batches = append(s.batches, types)
	s.mu.Unlock()
	if activates && s.held != nil {
		close(s.held)
		<-s.goes
		if s.loses {
			return errLost
		}
	}
	return s.Store.Commit(ctx, b)
}

func (s *keeper) rounds() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, types := range s.batches {
		for _, typ := range types {
			if typ == "round.settled" {
				n++
			}
		}
	}
	return n
}

// A house that loses the activation of an epoch, and has another choice when it
// starts again, has drawn nothing by which to choose.
func TestNothingIsDrawnBeforeTheActivationIsDurable(t *testing.T) {
	sky, dir := newSky(t), t.TempDir()
	kept := &keeper{loses: true, held: make(chan struct{}), goes: make(chan struct{})}
	keeps := func(lc *ledger.Config, _ *house.Config) {
		kept.Store = lc.Store
		lc.Store, lc.Fatal = kept, func(error) {}
	}
	h := housetest.Open(t, dir, sky.option(t, true), keeps)
	s := seated(t, h, "hasty", 1_000_000)
	told := make(chan error)
	const most = 8
	for i := range most {
		go func() {
			_, err := patient(context.Background(), h, s, fmt.Sprint("spin ", i), 20)
			told <- err
		}()
	}
	<-kept.held
	time.Sleep(50 * time.Millisecond) // for who would draw now
	if n := kept.rounds(); n != 0 {
		t.Errorf("%d rounds before the activation is durable", n)
	}
	close(kept.goes)
	for range most {
		if err := <-told; !errors.Is(err, ledger.ErrUnknownOutcome) && !errors.Is(err, ledger.ErrStopped) {
			t.Errorf("a spin was told %v", err)
		}
	}
	if n := kept.rounds(); n != 0 {
		t.Errorf("%d rounds were drawn from an activation that is lost", n)
	}
	h.Close()

	sky.silent.Store(true)
	kept.held = nil
	h = housetest.Open(t, dir, sky.option(t, true), keeps)
	_, token := open(t, h, "again", "hasty")
	s = seat(t, h, token)
	spin(t, h, s, "spin 0", 20)
	if a := all[epoch.Activated](t, h); len(a) != 1 || a[0].Policy != epoch.PolicyNone {
		t.Errorf("activated: %+v", a)
	}
	kept.mu.Lock()
	defer kept.mu.Unlock()
	for _, types := range kept.batches {
		if len(types) > 1 && types[0] == "seed.activated.v2" {
			t.Errorf("a batch has %v", types)
		}
	}
	audit(t, h)
}
