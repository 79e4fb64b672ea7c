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
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"

	"github.com/prometheus/client_golang/prometheus"
)

// seeds turns the seed epochs: it commits to the next secret while the present
// one is in use, closes epochs by rule, reveals them in time, and holds the
// epoch keys of those that can draw.
type seeds struct {
	h    *House
	poke chan struct{} // something may be due
	next chan struct{} // an epoch was committed

	mu       sync.RWMutex
	prepared map[prepares]*prepared

	// sealed are the epochs of which the secret did not open, with why; under mu.
	sealed map[uint64]error
	tried  entry.Time // when it was tried last, of tend alone

	halts prometheus.Gauge
	shut  prometheus.Gauge

	waits   atomic.Uint64 // the epoch that waits for the outside, or 0
	alarmed uint64        // the epoch that an alarm was raised for, of reach alone
	missing entry.Time    // since when the outside has not let an epoch be committed, of tend alone

	likely atomic.Pointer[likely] // the epoch that draws, whose key is bound; for rounds worked out ahead
}

// prepares names what an epoch can come into use with: what was promised of the
// outside, or, downgraded, nothing in its place. The log says which it is.
type prepares struct {
	epoch      uint64
	downgraded bool
}

// prepared is what an epoch comes into use with, worked out before it is needed.
type prepared struct {
	drawer     *chance.Drawer
	activation epoch.Activated
	notBefore  entry.Time // when the beacon's round is published
	commitment [32]byte
}

// likely is an epoch with its key.
type likely struct {
	epoch  uint64
	drawer *chance.Drawer
}

func (s *seeds) init(h *House) {
	s.h, s.poke, s.next, s.prepared, s.sealed = h, make(chan struct{}, 1), make(chan struct{}, 1), map[prepares]*prepared{}, map[uint64]error{}
	s.halts = prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_seed_halted", Help: "The seed epoch that two officers have to decide about before anybody plays, 0 for none."})
	s.shut = prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_seeds_sealed", Help: "Seed epochs not yet revealed whose secret does not open."})
}

// ready returns what an epoch comes into use with and draws by, or nil while this
// process does not have it.
func (s *seeds) ready(n uint64, downgraded bool) *prepared {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.prepared[prepares{n, downgraded}]
}

func (s *seeds) keep(p *prepared, downgraded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepared[prepares{p.activation.Epoch, downgraded}] = p
}

// forget lets go of the keys of all epochs but those that can still draw. They
// are not erased in place: a spin that is being prepared may still hold one, and
// by then the secret is about to be public, or given up.
func (s *seeds) forget(now *epoch.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.prepared {
		if p.epoch != now.Active && p.epoch != now.Ahead && p.epoch <= now.Committed {
			delete(s.prepared, p)
		}
	}
}

func (s *seeds) destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.prepared)
	s.likely.Store(nil)
}

// current ends and begins epochs as the rules say and returns the one that
// decides the draw that a command is about to make, with the draw's number. One
// that was to have something from outside decides nothing before its activation
// is durable and signed: the command is run again then. On the writer.
func (s *seeds) current(tx *ledger.Tx) (d *chance.Drawer, n, number uint64, err error) {
	now := epoch.Now(tx)
	if now.Halted != 0 {
		return nil, 0, 0, epoch.ErrHalted
	}
	if due := now.Due(tx.At()); due != "" {
		if _, err := tx.Append(&epoch.Closed{Header: byHouse(), Draws: now.Draws, Epoch: now.Active, Reason: due}); err != nil {
			return nil, 0, 0, err
		}
		s.rouse()
		now = epoch.Now(tx)
	}
	if now.Active == 0 {
		if err := s.activate(tx, &now); err != nil {
			s.rouse()
			return nil, 0, 0, err
		}
		s.rouse()
		now = epoch.Now(tx)
	}
	p := s.ready(now.Active, now.Downgraded)
	if p == nil {
		return nil, 0, 0, s.without(now.Active, epoch.ErrNoEpoch)
	}
	if l := s.likely.Load(); l == nil || l.drawer != p.drawer {
		e := book.Get[epoch.Epoch](tx, epoch.Key(now.Active))
		if e == nil { // it is being fetched
			return nil, 0, 0, epoch.ErrNoEpoch
		}
		// A house that drew from what a crash can still undo could come into the epoch anew, with less from outside, once
		// it has seen what it drew. Where nothing was promised of the outside the commitment leaves no choice.
		if e.Policy != epoch.PolicyNone {
			if err := tx.Await(e.ActivatedIndex); err != nil {
				return nil, 0, 0, err
			}
		}
		s.likely.Store(&likely{now.Active, p.drawer})
	}
	return p.drawer, now.Active, now.Draws + 1, nil
}

// activate brings the next epoch into use with what it was prepared with. On the
// writer.
func (s *seeds) activate(tx *ledger.Tx, now *epoch.State) error {
	next := now.Ahead
	p, downgraded := s.ready(next, false), false
	if p == nil {
		p, downgraded = s.ready(next, true), true
	}
	switch {
	case next == 0:
		return epoch.ErrNoEpoch
	case p == nil:
		return s.without(next, errWaiting)
	case tx.At() < p.notBefore: // a round that came before its time by the log's clock
		return errWaiting
	}
	if downgraded {
		if _, err := tx.Append(missing(p.commitment)); err != nil {
			return err
		}
	}
	r := p.activation // the entry's own, since a command that fails is run again
	r.Header = byHouse()
	_, err := tx.Append(&r)
	return err
}

func (s *seeds) rouse() { rouse(s.poke) }

func rouse(poke chan struct{}) {
	select {
	case poke <- struct{}{}:
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
// goes on where the log ends. One that does not open keeps play from the house,
// and nothing else: what becomes of it is for the operator and two officers.
func (s *seeds) load(ctx context.Context) error {
	now, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	for _, n := range []uint64{now.Active, now.Ahead} {
		if n == 0 {
			continue
		}
		if err := s.reopen(ctx, &now, n); errors.Is(err, ErrSealed) {
			s.h.cfg.Log.Error("the secret of a seed epoch does not open: there is no play from it, until it opens or two officers abandon it", "epoch", n, "error", err)
		} else if err != nil {
			return fmt.Errorf("seed epoch %d: %w", n, err)
		}
	}
	return nil
}

// reopen prepares the active epoch, or the one ahead, anew from the log.
func (s *seeds) reopen(ctx context.Context, now *epoch.State, n uint64) error {
	o, err := s.unseal(ctx, n)
	if err != nil {
		return err
	}
	switch downgraded := n == now.Active && now.Downgraded; {
	case n == now.Active: // as it came into use, whatever the outside says now
		s.keep(o.prepare(s.h.cfg.Origin, &epoch.Activated{Epoch: n, External: o.external}), downgraded)
	case o.Policy != epoch.PolicyNone:
		s.waits.Store(n)
		rouse(s.next)
	default:
		s.keep(o.prepare(s.h.cfg.Origin, &epoch.Activated{Epoch: n, Policy: o.Policy}), false)
	}
	return nil
}

// begin waits until an epoch is committed to. One that waits for the outside, or
// for officers, keeps play from the house, and nothing else.
func (s *seeds) begin(ctx context.Context) error {
	now, _, err := s.look(ctx)
	if err == nil {
		s.show(&now)
	}
	if err == nil && now.Ahead == 0 && now.Halted == 0 && s.why(now.Active) == nil {
		err = s.commit(ctx, now.Committed+1, s.h.cfg.External.Policy)
	}
	if errors.Is(err, errOutside) {
		s.h.cfg.Log.Error("no seed can be committed to; there is no play until the outside answers", "error", err)
		return nil
	}
	return err
}

// opened is an epoch's secret with what was committed to.
type opened struct {
	epoch.Statement
	secret, salt [32]byte
	external     []byte // as it came into use
	at           entry.Time
	receipt      ledger.Receipt
}

// prepare works out what an epoch comes into use with.
func (o *opened) prepare(origin string, r *epoch.Activated) *prepared {
	return &prepared{drawer: chance.NewDrawer(chance.DeriveKey(o.secret, o.Commitment, r.External), origin), activation: *r, commitment: o.Commitment}
}

// unseal opens the secret of an epoch from the log.
func (s *seeds) unseal(ctx context.Context, n uint64) (*opened, error) {
	var row *epoch.Epoch
	err := s.h.ledger.View(ctx, func(rows book.Reader) error {
		row = book.Get[epoch.Epoch](rows, epoch.Key(n))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, errors.New("not committed")
	}
	o := &opened{external: row.External}
	if o.receipt, err = s.h.ledger.Entry(row.CommittedIndex); err != nil {
		return nil, err
	}
	record, err := Books().Decode(o.receipt.Leaf)
	if err != nil {
		return nil, err
	}
	switch r := record.(type) {
	case *epoch.Committed:
		o.Statement = r.Statement
	case *epoch.CommittedV1:
		o.Statement = r.Statement
	default:
		return nil, fmt.Errorf("entry %d is a %s", o.receipt.Index, record.Type())
	}
	o.at = record.Head().At
	o.secret, o.salt, err = s.h.cfg.Sealer.Open(sealContext(s.h.cfg.Origin, n), o.Sealed)
	if err == nil && chance.Commitment(s.h.cfg.Origin, n, o.secret, o.salt) != o.Commitment {
		err = errors.New("the sealed secret is not the one that was committed to")
	}
	if err != nil {
		err = fmt.Errorf("%w: epoch %d: %w", ErrSealed, n, err)
	}
	s.noteSealed(n, err)
	return o, err
}

// sealContext binds a sealed secret to its log and epoch.
func sealContext(origin string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(origin), n)
}

// commit asks the outside by a policy, makes a new secret and commits the house
// to it. Its key can draw once the commitment is durable and signed, and the
// outside has added what it promised.
func (s *seeds) commit(ctx context.Context, n uint64, policy string) error {
	cfg := &s.h.cfg
	st := epoch.Statement{Assurance: cfg.Sealer.Assurance(), Epoch: n, Limits: cfg.Limits, Minimum: cfg.SourcesMinimum, Policy: policy}
	if err := s.announce(ctx, &st); err != nil { // before there is a secret
		return err
	}
	s.h.sources.take() // what is listed is what the log knows to be in order
	defer s.h.sources.free()
	salt, _, err := cfg.Secret(ctx)
	var secret [32]byte
	var sources []epoch.Source
	if err == nil { // after the salt, so that no source fails once it is listed
		secret, sources, err = cfg.Secret(ctx)
	}
	// A source may have failed, whether there is a secret or not; what is not told
	// now is told when the sources are looked after.
	if told := s.h.sources.tell(ctx); err == nil {
		err = told
	}
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	st.Commitment, st.Sources = chance.Commitment(cfg.Origin, n, secret, salt), sources
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
	signer, public, err := s.h.signerInForce(ctx, system.RoleSeeds)
	if err != nil {
		return err
	}
	sig, err := signer.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return fmt.Errorf("seeds key: %w", err)
	}
	_, err = s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey, keys.RingKey, noise.StateKey}, Run: func(tx *ledger.Tx) error {
		if k := keys.Current(tx, system.RoleSeeds); k != nil && k.Public != public {
			return errors.New("the seeds key was exchanged meanwhile")
		}
		now := epoch.Now(tx)
		if now.Halted != 0 {
			return epoch.ErrHalted
		}
		if now.Committed != n-1 {
			return fmt.Errorf("epoch %d was committed meanwhile", now.Committed)
		}
		if st.Beacon != nil && tx.At() >= roundTime(st.Beacon) {
			return fmt.Errorf("%w: round %d of the beacon came before the commitment", errOutside, st.Beacon.Round)
		}
		if _, err := tx.Append(&epoch.Committed{Header: byHouse(), Statement: st, Signature: sig}); err != nil || policy == cfg.External.Policy {
			return err
		}
		_, err := tx.Append(missing(st.Commitment)) // less is asked for than was configured
		return err
	}})
	if err != nil {
		return err
	}
	if policy == epoch.PolicyNone {
		o := opened{Statement: st, secret: secret}
		s.keep(o.prepare(cfg.Origin, &epoch.Activated{Epoch: n, Policy: policy}), false)
		return nil
	}
	s.waits.Store(n)
	rouse(s.next)
	return nil
}

// commitNext commits to the next epoch. When the outside has not let it for too
// long, and there is no epoch to draw from, the operator may have chosen to do
// without.
func (s *seeds) commitNext(ctx context.Context, now *epoch.State) error {
	err := s.commit(ctx, now.Committed+1, s.h.cfg.External.Policy)
	if !errors.Is(err, errOutside) {
		s.missing = 0
		return err
	}
	at := s.h.ledger.Now()
	if s.missing == 0 {
		s.missing = at
	}
	if cfg := &s.h.cfg.External; cfg.Downgrade && now.Active == 0 && at >= s.missing.Add(cfg.Patience) {
		return s.commit(ctx, now.Committed+1, epoch.PolicyNone)
	}
	return err
}

// tend does what is due, when it is poked and a few times a second.
func (s *seeds) tend() {
	defer s.h.done.Done()
	ctx, cancel := s.untilQuit()
	defer cancel()
	failing := false
	for {
		err := s.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			s.h.cfg.Log.Error("seed epochs do not turn; play will stop when the present one ends", "error", err)
		}
		if failing = err != nil; !pause(ctx, s.poke, failing) {
			return
		}
	}
}

// untilQuit is a context that ends with the house.
func (s *seeds) untilQuit() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-s.h.quit
		cancel()
	}()
	return ctx, cancel
}

// pause waits for a poke, a fraction of a second at most; after a failure nothing
// makes it shorter. It reports whether the context goes on.
func pause(ctx context.Context, poke chan struct{}, failing bool) bool {
	if failing {
		poke = nil
	}
	select {
	case <-poke:
	case <-time.After(250 * time.Millisecond):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (s *seeds) step(ctx context.Context) error {
	if s.h.ledger.Ready() != nil {
		return nil // the ledger says so itself
	}
	now, oldest, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.forget(&now)
	s.show(&now)
	at := s.h.ledger.Now()
	s.retry(ctx, &now, at)
	if now.Due(at) != "" {
		if err := s.close(ctx); err != nil {
			return fmt.Errorf("closing epoch %d: %w", now.Active, err)
		}
	}
	// A reveal needs no entropy: it comes first, whatever becomes of the next seed.
	if oldest != nil && oldest.ClosedIndex != 0 && now.Halted != now.Revealed+1 && at >= oldest.ClosedAt.Add(oldest.Limits.RevealDelay()) {
		if err := s.reveal(ctx, now.Revealed+1); err != nil {
			return fmt.Errorf("revealing epoch %d: %w", now.Revealed+1, err)
		}
		s.rouse() // there may be another
	}
	if now.Ahead == 0 && now.Halted == 0 {
		if err := s.commitNext(ctx, &now); err != nil {
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
	o, err := s.unseal(ctx, n)
	if err != nil {
		return err
	}
	_, err = s.h.ledger.Update(ctx, ledger.Command{Reads: []string{epoch.StateKey, epoch.Key(n)}, Run: func(tx *ledger.Tx) error {
		e := book.Get[epoch.Epoch](tx, epoch.Key(n))
		if e == nil || e.RevealedIndex != 0 || e.AbandonedIndex != 0 || epoch.Now(tx).Halted == n || tx.At() < e.ClosedAt.Add(e.Limits.RevealDelay()) {
			return nil // log time is behind the wall clock, or it is done
		}
		_, err := tx.Append(&epoch.Revealed{Header: byHouse(), Epoch: n, Salt: o.salt, Secret: o.secret})
		return err
	}})
	return err
}
