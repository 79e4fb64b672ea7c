package house

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/rngcert/beacon"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// External says what the outside adds to new seeds. The zero value asks for
// nothing.
type External struct {
	Policy    string    // of package epoch; "" is epoch.PolicyNone
	Beacon    Beacon    // with epoch.PolicyBeacon
	Witnesses []Witness // with epoch.PolicyWitness: all of them are needed
	// Patience is how long what is due from outside is waited for, in log time,
	// before it counts as missing: at least a second, by default 30.
	Patience time.Duration
	// Downgrade lets play go on without what is missing. The house can then choose
	// between two seeds, and the log says so. Otherwise play stops.
	Downgrade bool
}

// Beacon is a public beacon. Chain is the one that was configured; a round that
// Round returns is checked here once more.
type Beacon interface {
	Chain(context.Context) (*beacon.Chain, error)
	Round(ctx context.Context, round uint64) ([beacon.SignatureSize]byte, error)
}

// Witness is somebody outside who adds a nonce to a seed: he commits to it before
// the secret is made, and shows it for the receipt of the commitment to the
// secret (a saved answer). Asked again, he gives the same.
type Witness interface {
	Name() string
	Commit(ctx context.Context, origin string, n uint64) (epoch.Nonce, error)
	Show(ctx context.Context, origin string, n uint64, promised epoch.Nonce, receipt []byte) (epoch.Shown, error)
}

// errOutside is wrapped by what keeps the outside from adding to a seed.
var errOutside = errors.New("what the outside adds to the seed has not come")

// errWaiting refuses play while the next seed waits for the outside.
var errWaiting = fmt.Errorf("%w: %w", epoch.ErrNoEpoch, errOutside)

// roundAhead is how far after a commitment a beacon's round is, at the least: the
// commitment is durable and signed before anybody knows the round.
const roundAhead = 2 * time.Second

// askTimeout bounds one attempt to get something from outside.
const askTimeout = 10 * time.Second

// Check tells whether a house can be asked for this, and sets defaults.
func (e *External) Check() error {
	if e.Policy == "" {
		e.Policy = epoch.PolicyNone
	}
	if e.Patience == 0 {
		e.Patience = 30 * time.Second
	}
	switch {
	case e.Policy != epoch.PolicyNone && e.Policy != epoch.PolicyWitness && e.Policy != epoch.PolicyBeacon:
		return fmt.Errorf("policy %q: expected none, witness or beacon", e.Policy)
	case e.Policy == epoch.PolicyBeacon && e.Beacon == nil:
		return errors.New("policy beacon: expected a beacon")
	case e.Policy == epoch.PolicyWitness && (len(e.Witnesses) == 0 || len(e.Witnesses) > epoch.WitnessesMost):
		return fmt.Errorf("policy witness: %d witnesses, expected 1 to %d", len(e.Witnesses), epoch.WitnessesMost)
	case e.Patience < time.Second:
		return fmt.Errorf("patience %v: expected a second or more", e.Patience)
	}
	for i := 1; i < len(e.Witnesses); i++ {
		if e.Witnesses[i-1].Name() >= e.Witnesses[i].Name() {
			return fmt.Errorf("witness %q after %q: expected rising names", e.Witnesses[i].Name(), e.Witnesses[i-1].Name())
		}
	}
	return nil
}

// announce puts into a statement what the outside will add.
func (s *seeds) announce(ctx context.Context, st *epoch.Statement) (err error) {
	if st.Policy != epoch.PolicyNone {
		defer func() { s.h.outside.saw(err) }()
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cfg := &s.h.cfg.External
	switch st.Policy {
	case epoch.PolicyBeacon:
		c, err := cfg.Beacon.Chain(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errOutside, err)
		}
		st.Beacon = &epoch.Beacon{
			Chain: c.Hash(), Genesis: uint64(c.Genesis), Group: c.Seed, ID: c.ID, Period: c.Period, Public: c.PublicKey,
			Round: c.After(s.h.ledger.Now().Std().Add(roundAhead)),
		}
	case epoch.PolicyWitness:
		st.Nonces = make([]epoch.Nonce, len(cfg.Witnesses))
		return s.each(func(i int, w Witness) (err error) {
			st.Nonces[i], err = w.Commit(ctx, s.h.cfg.Origin, st.Epoch)
			return err
		})
	}
	return nil
}

// each asks all witnesses at once.
func (s *seeds) each(ask func(i int, w Witness) error) error {
	errs := make([]error, len(s.h.cfg.External.Witnesses))
	var asked sync.WaitGroup
	for i, w := range s.h.cfg.External.Witnesses {
		asked.Go(func() { errs[i] = ask(i, w) })
	}
	asked.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", errOutside, err)
	}
	return nil
}

// roundTime is when a beacon's round is published.
func roundTime(b *epoch.Beacon) entry.Time {
	return entry.Time((int64(b.Genesis) + int64(b.Round-1)*int64(b.Period)) * 1e6)
}

// fetch gets what a commitment waits for from outside, and what follows from it.
func (s *seeds) fetch(ctx context.Context, st *epoch.Statement, receipt ledger.Receipt) (_ *epoch.Activated, err error) {
	if st.Policy != epoch.PolicyNone {
		defer func() { s.h.outside.saw(err) }()
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cfg, origin := &s.h.cfg.External, s.h.cfg.Origin
	r := &epoch.Activated{Epoch: st.Epoch, Policy: st.Policy}
	var external [32]byte
	switch {
	case st.Policy == epoch.PolicyBeacon:
		if cfg.Beacon == nil {
			return nil, fmt.Errorf("%w: epoch %d waits for a beacon, and none is configured", errOutside, st.Epoch)
		}
		c, err := beacon.New(st.Beacon.Public, st.Beacon.Period, int64(st.Beacon.Genesis), st.Beacon.Group, st.Beacon.ID)
		if err != nil {
			return nil, err
		}
		sig, err := cfg.Beacon.Round(ctx, st.Beacon.Round)
		if err == nil {
			_, err = c.Verify(st.Beacon.Round, sig)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errOutside, err)
		}
		r.Signature = sig[:]
		external = chance.BeaconExternal(origin, st.Epoch, st.Beacon.Chain, st.Beacon.Round, sig[:])
	case st.Policy == epoch.PolicyWitness:
		answer, err := json.Marshal(map[string]any{"leaf": json.RawMessage(receipt.Leaf), "receipt": string(receipt.Proof)})
		if err != nil {
			return nil, err
		}
		if len(cfg.Witnesses) != len(st.Nonces) {
			return nil, fmt.Errorf("%w: epoch %d waits for %d witnesses, and %d are configured", errOutside, st.Epoch, len(st.Nonces), len(cfg.Witnesses))
		}
		r.Nonces = make([]epoch.Shown, len(st.Nonces))
		nonces := make([]chance.WitnessNonce, len(st.Nonces))
		if err := s.each(func(i int, w Witness) (err error) {
			r.Nonces[i], err = w.Show(ctx, origin, st.Epoch, st.Nonces[i], answer)
			nonces[i] = chance.WitnessNonce(r.Nonces[i])
			if err == nil && (nonces[i].Witness != st.Nonces[i].Witness || nonces[i].Commitment(origin, st.Epoch) != st.Nonces[i].Commitment) {
				err = fmt.Errorf("witness %s: not the nonce that it had committed to", st.Nonces[i].Witness)
			}
			return err
		}); err != nil {
			return nil, err
		}
		external = chance.WitnessExternal(origin, st.Epoch, nonces)
	}
	if st.Policy != epoch.PolicyNone { // with that, what was committed to is looked at before its key was kept
		r.External = external[:]
	}
	return r, nil
}

// reach gets from outside what the next epoch waits for, when it is poked and a
// few times a second.
func (s *seeds) reach() {
	defer s.h.done.Done()
	ctx, cancel := s.untilQuit()
	defer cancel()
	failing := false
	for {
		err := s.await(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			s.h.cfg.Log.Error("the next seed waits for the outside", "error", err)
		}
		if failing = err != nil; !pause(ctx, s.next, failing) {
			return
		}
	}
}

// await works out what the next epoch comes into use with.
func (s *seeds) await(ctx context.Context) error {
	n := s.waits.Load()
	if n == 0 || s.h.ledger.Ready() != nil { // which the ledger says itself
		return nil
	}
	now, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	if n != now.Ahead || s.ready(n, false) != nil {
		s.waits.CompareAndSwap(n, 0)
		return nil
	}
	if now.Halted != 0 {
		return nil // it may not come into use at all
	}
	o, err := s.unseal(ctx, n)
	if err != nil {
		return fmt.Errorf("epoch %d: %w", n, err)
	}
	at, due := s.h.ledger.Now(), o.at
	if o.Beacon != nil {
		due = roundTime(o.Beacon)
	}
	if at < due {
		return nil
	}
	r, err := s.fetch(ctx, &o.Statement, o.receipt)
	if err == nil {
		p := o.prepare(s.h.cfg.Origin, r)
		p.notBefore = due
		s.keep(p, false)
		return nil
	}
	if at < due.Add(s.h.cfg.External.Patience) {
		return err
	}
	if s.h.cfg.External.Downgrade {
		if s.ready(n, true) == nil {
			s.keep(o.prepare(s.h.cfg.Origin, &epoch.Activated{Epoch: n, Policy: epoch.PolicyNone}), true)
		}
	} else if s.alarmed != n {
		if alarmErr := s.alarm(ctx, n, o.Commitment); alarmErr != nil {
			return errors.Join(err, alarmErr)
		}
		s.alarmed = n
	}
	return err
}

// alarm says in the log that an epoch waits for the outside in vain.
func (s *seeds) alarm(ctx context.Context, n uint64, commitment [32]byte) error {
	_, err := s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey}, Run: func(tx *ledger.Tx) error {
		if now := epoch.Now(tx); now.Ahead != n || now.Halted != 0 {
			return nil
		}
		_, err := tx.Append(missing(commitment))
		return err
	}})
	return err
}

// missing is the alarm that an epoch of a commitment waits for the outside in
// vain.
func missing(commitment [32]byte) *system.AlarmRaised {
	return &system.AlarmRaised{Header: byHouse(), About: commitment, Alarm: system.AlarmExternalMissing, Count: 1}
}
