package house

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"
)

// Refusals about halted epochs and secrets that do not open.
var (
	// ErrSealed refuses play from an epoch whose secret this house cannot open.
	ErrSealed = errors.New("the secret of a seed epoch does not open")
	// ErrOpens refuses to halt a closed epoch for nothing: all that two officers
	// could do is make its draws unprovable.
	ErrOpens = errors.New("the secret of the closed epoch opens and will be revealed: there is nothing to be decided")
)

// retrySealed is how often a secret that did not open is tried again, in log
// time: its device may be back.
const retrySealed = 3 * time.Second

// noteSealed remembers whether an epoch's secret opens.
func (s *seeds) noteSealed(n uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.sealed, n)
	} else {
		s.sealed[n] = err
	}
}

// why is why an epoch's secret did not open, nil where it did or was not tried.
func (s *seeds) why(n uint64) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sealed[n]
}

// without is why there is no key of an epoch to draw with.
func (s *seeds) without(n uint64, otherwise error) error {
	if err := s.why(n); err != nil {
		return err
	}
	return otherwise
}

// stopped is why nobody can play for want of an epoch that two officers have to
// decide about, or one whose secret does not open.
func (s *seeds) stopped() error {
	var now epoch.State
	if err := s.h.ledger.Peek(func(rows ledger.Durable) error { now = epoch.Now(rows); return nil }); err != nil {
		return err
	}
	switch {
	case now.Halted != 0:
		return fmt.Errorf("%w: epoch %d", epoch.ErrHalted, now.Halted)
	case now.Active != 0:
		return s.why(now.Active)
	}
	return s.why(now.Ahead)
}

// anySealed is whether the secret of any epoch did not open.
func (s *seeds) anySealed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sealed) > 0
}

// show brings the figures up to date, and forgets the secrets of which nothing
// will come any more.
func (s *seeds) show(now *epoch.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.sealed {
		if n <= now.Revealed {
			delete(s.sealed, n)
		}
	}
	s.halts.Set(float64(now.Halted))
	s.shut.Set(float64(len(s.sealed)))
}

// retry tries secrets again that did not open, of epochs that can still draw.
func (s *seeds) retry(ctx context.Context, now *epoch.State, at entry.Time) {
	if at < s.tried.Add(retrySealed) {
		return
	}
	for _, n := range []uint64{now.Active, now.Ahead} {
		if s.why(n) == nil {
			continue
		}
		s.tried = at
		if err := s.reopen(ctx, now, n); err == nil {
			s.h.cfg.Log.Info("the secret of a seed epoch opens again", "epoch", n)
		}
	}
}

// HaltSeed stops play until two officers have decided about an epoch.
func (h *House) HaltSeed(ctx context.Context, req Request, n uint64, words string) (ledger.Receipt, error) {
	var row *epoch.Epoch
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		row = book.Get[epoch.Epoch](rows, epoch.Key(n))
		return nil
	})
	if err != nil {
		return ledger.Receipt{}, err
	}
	if row != nil && row.ClosedIndex != 0 && row.RevealedIndex == 0 && row.AbandonedIndex == 0 {
		if _, err := h.seeds.unseal(ctx, n); err == nil {
			return h.Refuse(ctx, req, nil, ErrOpens)
		}
	}
	commitment, key, sealed := h.reason(words)
	return h.update(ctx, ledger.Command{Reads: []string{epoch.StateKey, epoch.Key(n)}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		tx.PutVault(key, sealed)
		_, err := tx.Answer(&epoch.Halted{Header: byOperator(), Epoch: n, Reason: commitment})
		return err
	}})
}

// SeedView is a seed epoch that is neither revealed nor abandoned.
type SeedView struct {
	Epoch  uint64
	State  string // "ahead", "active" or "closed"
	Draws  uint64
	Halted bool
	Sealed error // why its secret does not open
}

// Seeds returns the epochs whose secrets are still secret, oldest first, having
// tried each.
func (h *House) Seeds(ctx context.Context) (list []SeedView, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		list = nil
		now := epoch.Now(rows)
		for n := now.Revealed + 1; n <= now.Committed; n++ {
			e := book.Get[epoch.Epoch](rows, epoch.Key(n))
			if e == nil || e.AbandonedIndex != 0 {
				continue
			}
			v := SeedView{Epoch: n, State: "closed", Draws: e.Draws, Halted: n == now.Halted}
			switch n {
			case now.Active:
				v.State, v.Draws = "active", now.Draws
			case now.Ahead:
				v.State = "ahead"
			}
			list = append(list, v)
		}
		return nil
	})
	for i := range list {
		if err == nil {
			_, list[i].Sealed = h.seeds.unseal(ctx, list[i].Epoch)
		}
		if list[i].Sealed != nil && !errors.Is(list[i].Sealed, ErrSealed) {
			err = list[i].Sealed
		}
	}
	return list, err
}
