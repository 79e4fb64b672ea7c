package house

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// seeds turns the seed epochs: it commits to the next secret while the present
// one is in use, closes epochs by rule, reveals them in time, and holds the
// epoch keys of those that can draw.
type seeds struct {
	h    *House
	poke chan struct{}

	mu      sync.RWMutex
	drawers map[uint64]*chance.Drawer

	likely atomic.Pointer[chance.Drawer] // of the epoch that drew last, for rounds worked out ahead
}

func (s *seeds) init(h *House) {
	s.h, s.poke, s.drawers = h, make(chan struct{}, 1), map[uint64]*chance.Drawer{}
}

// drawer returns the key of an epoch, or nil while this process has none.
func (s *seeds) drawer(n uint64) *chance.Drawer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.drawers[n]
}

func (s *seeds) keep(n uint64, d *chance.Drawer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drawers[n] = d
}

// forget lets go of the keys of epochs up to n, which can draw no more. They
// are not erased in place: a spin that is being prepared may still hold one,
// and by then the secret is about to be public.
func (s *seeds) forget(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.drawers {
		if e <= n {
			delete(s.drawers, e)
		}
	}
}

func (s *seeds) destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.drawers)
	s.likely.Store(nil)
}

// current ends and begins epochs as the rules say and returns the one that
// decides the draw that a command is about to make, with the draw's number. On
// the writer.
func (s *seeds) current(tx *ledger.Tx) (d *chance.Drawer, n, number uint64, err error) {
	now := epoch.Now(tx)
	if due := now.Due(tx.At()); due != "" {
		if _, err := tx.Append(&epoch.Closed{Header: byHouse(), Draws: now.Draws, Epoch: now.Active, Reason: due}); err != nil {
			return nil, 0, 0, err
		}
		s.rouse()
		now = epoch.Now(tx)
	}
	if now.Active == 0 {
		next := now.Closed + 1
		if now.Committed < next || s.drawer(next) == nil {
			s.rouse()
			return nil, 0, 0, epoch.ErrNoEpoch
		}
		if _, err := tx.Append(&epoch.Activated{Header: byHouse(), Epoch: next, Policy: epoch.PolicyNone}); err != nil {
			return nil, 0, 0, err
		}
		s.rouse()
		now = epoch.Now(tx)
	}
	if d = s.drawer(now.Active); d == nil {
		return nil, 0, 0, epoch.ErrNoEpoch
	}
	if s.likely.Load() != d {
		s.likely.Store(d)
	}
	return d, now.Active, now.Draws + 1, nil
}

func (s *seeds) rouse() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// look reads where the seeds stand in the durable, signed log.
func (s *seeds) look(ctx context.Context) (now epoch.State, oldest *epoch.Epoch, err error) {
	err = s.h.ledger.View(ctx, func(rows book.Reader) error {
		now = epoch.Now(rows)
		oldest = book.Get[epoch.Epoch](rows, epoch.Key(now.Revealed+1))
		return nil
	})
	return now, oldest, err
}

// load opens the secrets of the epochs that can still draw, so that a restart
// goes on where the log ends.
func (s *seeds) load(ctx context.Context) error {
	now, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	for n := now.Closed + 1; n <= now.Committed; n++ {
		secret, _, c, err := s.unseal(ctx, n)
		if err != nil {
			return fmt.Errorf("seed epoch %d: %w", n, err)
		}
		s.keep(n, chance.NewDrawer(chance.DeriveKey(secret, c.Commitment, nil), s.h.cfg.Origin))
	}
	return nil
}

// begin waits until an epoch is there to draw from.
func (s *seeds) begin(ctx context.Context) error {
	now, _, err := s.look(ctx)
	if err == nil && now.Committed <= max(now.Active, now.Closed) {
		err = s.commit(ctx, now.Committed+1)
	}
	return err
}

// unseal opens the secret of an epoch from the log.
func (s *seeds) unseal(ctx context.Context, n uint64) (secret, salt [32]byte, st *epoch.Statement, err error) {
	var row *epoch.Epoch
	err = s.h.ledger.View(ctx, func(rows book.Reader) error {
		row = book.Get[epoch.Epoch](rows, epoch.Key(n))
		return nil
	})
	if err != nil {
		return
	}
	if row == nil {
		return secret, salt, nil, errors.New("not committed")
	}
	e, err := s.h.ledger.Entry(row.CommittedIndex)
	if err != nil {
		return
	}
	record, err := Books().Decode(e.Leaf)
	if err != nil {
		return
	}
	switch r := record.(type) {
	case *epoch.Committed:
		st = &r.Statement
	case *epoch.CommittedV1:
		st = &r.Statement
	default:
		return secret, salt, nil, fmt.Errorf("entry %d is a %s", e.Index, record.Type())
	}
	secret, salt, err = s.h.cfg.Sealer.Open(sealContext(s.h.cfg.Origin, n), st.Sealed)
	if err == nil && chance.Commitment(s.h.cfg.Origin, n, secret, salt) != st.Commitment {
		err = errors.New("the sealed secret is not the one that was committed to")
	}
	return
}

// sealContext binds a sealed secret to its log and epoch.
func sealContext(origin string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(origin), n)
}

// commit makes a new secret and commits the house to it. Its key can draw once
// the commitment is durable and signed.
func (s *seeds) commit(ctx context.Context, n uint64) error {
	cfg := &s.h.cfg
	secret, sources, err := cfg.Secret(ctx)
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	salt, _, err := cfg.Secret(ctx)
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	st := epoch.Statement{
		Assurance: cfg.Sealer.Assurance(), Commitment: chance.Commitment(cfg.Origin, n, secret, salt),
		Epoch: n, Limits: cfg.Limits, Minimum: cfg.SourcesMinimum, Policy: epoch.PolicyNone, Sources: sources,
	}
	if cfg.Escrow != nil {
		if st.Escrow, err = cfg.Escrow(n, secret, salt); err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
	}
	if st.Sealed, err = cfg.Sealer.Seal(sealContext(cfg.Origin, n), secret, salt); err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	msg, err := st.Message(cfg.Origin)
	if err != nil {
		return err
	}
	sig, err := cfg.Seeds.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return fmt.Errorf("seeds key: %w", err)
	}
	_, err = s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey}, Run: func(tx *ledger.Tx) error {
		if now := epoch.Now(tx); now.Committed != n-1 {
			return fmt.Errorf("epoch %d was committed meanwhile", now.Committed)
		}
		_, err := tx.Append(&epoch.Committed{Header: byHouse(), Statement: st, Signature: sig})
		return err
	}})
	if err != nil {
		return err
	}
	s.keep(n, chance.NewDrawer(chance.DeriveKey(secret, st.Commitment, nil), cfg.Origin))
	return nil
}

// tend does what is due, when it is poked and a few times a second.
func (s *seeds) tend() {
	defer s.h.done.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.h.quit
		cancel()
	}()
	failing := false
	for {
		err := s.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			s.h.cfg.Log.Error("seed epochs do not turn; play will stop when the present one ends", "error", err)
		}
		failing = err != nil
		poke := s.poke
		if failing { // whatever pokes, do not spin on a failure
			poke = nil
		}
		select {
		case <-poke:
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func (s *seeds) step(ctx context.Context) error {
	if s.h.ledger.Ready() != nil {
		return nil // the ledger says so itself
	}
	now, oldest, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.forget(now.Closed)
	at := s.h.ledger.Now()
	if now.Due(at) != "" {
		if err := s.close(ctx); err != nil {
			return fmt.Errorf("closing epoch %d: %w", now.Active, err)
		}
	}
	// A reveal needs no entropy: it comes first, whatever becomes of the next seed.
	if oldest != nil && oldest.ClosedIndex != 0 && at >= oldest.ClosedAt.Add(oldest.Limits.RevealDelay()) {
		if err := s.reveal(ctx, now.Revealed+1); err != nil {
			return fmt.Errorf("revealing epoch %d: %w", now.Revealed+1, err)
		}
		s.rouse() // there may be another
	}
	if now.Committed <= max(now.Active, now.Closed) {
		if err := s.commit(ctx, now.Committed+1); err != nil {
			return fmt.Errorf("committing epoch %d: %w", now.Committed+1, err)
		}
	}
	return nil
}

// close ends the active epoch if its limits are reached in log time.
func (s *seeds) close(ctx context.Context) error {
	_, err := s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey}, Run: func(tx *ledger.Tx) error {
		now := epoch.Now(tx)
		due := now.Due(tx.At())
		if due == "" {
			return nil
		}
		_, err := tx.Append(&epoch.Closed{Header: byHouse(), Draws: now.Draws, Epoch: now.Active, Reason: due})
		return err
	}})
	return err
}

func (s *seeds) reveal(ctx context.Context, n uint64) error {
	secret, salt, _, err := s.unseal(ctx, n)
	if err != nil {
		return err
	}
	_, err = s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey, epoch.Key(n)}, Run: func(tx *ledger.Tx) error {
		e := book.Get[epoch.Epoch](tx, epoch.Key(n))
		if e == nil || e.RevealedIndex != 0 || tx.At() < e.ClosedAt.Add(e.Limits.RevealDelay()) {
			return nil // log time is behind the wall clock, or it is done
		}
		_, err := tx.Append(&epoch.Revealed{Header: byHouse(), Epoch: n, Salt: salt, Secret: secret})
		return err
	}})
	return err
}
