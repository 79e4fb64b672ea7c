package appliance

import (
	"bytes"
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"countroom/api/relay"
	"countroom/games/house"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/replica"
	"countroom/ledger/store"
	"countroom/ledger/system"
)

// PairConfig is a machine's place in a pair.
type PairConfig struct {
	Seat *Seat
	// Hold is how long a request is held while no machine writes.
	Hold time.Duration
	// Opened is told of each house that is opened in turn: when the machine ceases
	// to write, its house is closed and another, passive one is opened.
	Opened func(*Appliance)
}

// Pair is a machine of a pair. Its store and its node of the consensus stay
// open; ledger and house are opened again each time the machine has written and
// ceases to, so that nothing that was speculative is left.
type Pair struct {
	cfg   Config
	pc    PairConfig
	store store.Store
	group *replica.Store // the same store, by way of the other members
	node  *replica.Node
	log   *slog.Logger

	mu      sync.Mutex
	house   *Appliance
	place   relay.Place
	settled time.Time     // when it came to be so
	changed chan struct{} // of place
	planned time.Time     // until when a takeover is one that the other machine has announced
	// unfit is why this machine could not write when it was to; it does not try
	// again before unfitUntil.
	unfit      error
	unfitUntil time.Time
	reign      *reign // while this machine writes or is about to
	closed     bool

	end  func(error)
	door *http.Server
	peer *http.Transport
	seal hpke.PrivateKey // of this process: what the other machine gives it is sealed to it
	quit chan struct{}

	asking    sync.Mutex
	question  *question // nobody has asked the others yet
	questions bool      // somebody asks them

	joining sync.Mutex
	done    sync.WaitGroup
}

// reign is the time during which this machine writes.
type reign struct {
	term   uint64
	cancel context.CancelFunc
	begun  chan struct{} // closed when the house has taken over, or has failed to
}

// OpenPair opens a machine of a pair. It follows until it is elected.
func OpenPair(ctx context.Context, cfg Config, pc PairConfig) (_ *Pair, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &Pair{cfg: cfg, pc: pc, log: cfg.Log, changed: make(chan struct{}), quit: make(chan struct{})}
	p.place.Changed = p.changed
	a := &Appliance{}
	if err := a.openStore(ctx, &cfg); err != nil {
		return nil, err
	}
	p.store = a.Store
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(ctx))
		}
	}()
	if a.ReadOnly {
		return nil, errors.New("the disk has too little room for a machine of a pair: make room and start again")
	}
	p.group = replica.NewStore(p.store)
	p.group.Evidence = filepath.Join(cfg.Dir, "pair", "evidence")
	p.group.OnApply(func(ctx context.Context, b replica.Batch) error {
		a := p.now()
		if err := a.Ledger.Apply(ctx, ledger.Batch{Term: b.Term, Base: b.Base, At: b.At, Leaves: b.Leaves, Vault: b.Vault, Root: b.Root}, b.Checkpoint); err != nil {
			return err
		}
		p.followPeriods(a, b.Leaves)
		return nil
	})
	p.cfg.Node, p.cfg.pair = pc.Seat.Name, p
	p.end = func(err error) { // unless the machine is being closed
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if !closed {
			fatal(&cfg, err)
		}
	}
	p.cfg.Fatal = p.fatal
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	rc := pc.Seat.Config(cfg.Dir)
	rc.Term = p.store.Head().Term + 1
	rc.Machine, rc.Role, rc.Fit, rc.Log = p.group, p.role, p.fit, p.log
	if change := cfg.Machine.Consensus; change != nil {
		change(&rc)
	}
	opened := make(chan struct{})
	role := rc.Role
	rc.Role = func(r replica.Role) { <-opened; role(r) } // the node may be told its role before Open returns it
	if p.node, err = replica.Open(rc); err != nil {
		close(opened)
		return nil, err
	}
	p.group.Attach(p.node)
	close(opened)
	go func() {
		<-p.node.Ended()
		if err := p.node.Err(); !errors.Is(err, replica.ErrClosed) {
			p.end(fmt.Errorf("the consensus: %w", err))
		}
	}()
	return p, nil
}

// rewrapped is in each leaf that says that a period of the vault is over.
var rewrapped = []byte(`"type":"` + (*subjects.Rewrapped)(nil).Type() + `"`)

// followPeriods gives up a key of the vault's periods when the other machine has. One
// that cannot be given up now is at the next start.
func (p *Pair) followPeriods(a *Appliance, leaves [][]byte) {
	if a.House == nil || !slices.ContainsFunc(leaves, func(leaf []byte) bool { return bytes.Contains(leaf, rewrapped) }) {
		return
	}
	if err := a.House.FollowPeriods(); err != nil {
		p.log.Error("a key of the vault's periods that are over is still here", "error", err)
	}
}

// open opens the passive house.
func (p *Pair) open(ctx context.Context) error {
	a, err := Open(ctx, p.cfg)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.house = a
	p.mu.Unlock()
	p.pc.Opened(a)
	return nil
}

func (p *Pair) now() *Appliance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.house
}

// Node is this machine's member of the consensus.
func (p *Pair) Node() *replica.Node { return p.node }

// Place says which machine writes.
func (p *Pair) Place() relay.Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place
}

// settle sets the place; under mu.
func (p *Pair) settle(here bool, peer string) {
	if p.place.Here == here && p.place.Peer == peer {
		return
	}
	close(p.changed)
	p.changed = make(chan struct{})
	p.place, p.settled = relay.Place{Here: here, Peer: peer, Changed: p.changed}, time.Now()
}

// role is told by the consensus, between two entries, what this machine is.
func (p *Pair) role(r replica.Role) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return // the house is closed by who closes this machine
	}
	if p.reign != nil {
		p.abdicate()
	}
	if r.Term == 0 {
		peer := p.doorOf(r.Leader)
		p.mu.Lock()
		p.settle(false, peer)
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	p.settle(false, "")
	a, planned := p.house, time.Now().Before(p.planned)
	p.mu.Unlock()
	start := time.Now()
	if err := a.Ledger.Promote(r.Term); err != nil {
		if !errors.Is(err, ledger.ErrSigner) {
			p.end(fmt.Errorf("taking over in term %d: %w", r.Term, err))
			return
		}
		p.giveWay(fmt.Errorf("taking over in term %d: %w", r.Term, err))
		p.tryAgain(r)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	now := &reign{term: r.Term, cancel: cancel, begun: make(chan struct{})}
	p.reign = now
	go func() {
		defer close(now.begun)
		err := a.House.TakeOver(ctx, planned)
		switch {
		case err == nil:
			p.mu.Lock()
			p.settle(true, "")
			p.mu.Unlock()
			if err := a.WriteVKey(); err != nil { // the start of a machine that follows may have written an older one
				p.log.Warn("log.vkey could not be written", "error", err)
			}
			p.log.Info("this machine writes", "node", p.pc.Seat.Name, "term", r.Term, "planned", planned, "after", time.Since(start))
			// The other machine may open what this one cannot. If it cannot either, this
			// one writes on, and officers decide.
			if err := a.House.Ready(); errors.Is(err, house.ErrSealed) {
				p.giveWay(err)
			}
		case ctx.Err() == nil && a.Ledger.Ready() == nil:
			p.giveWay(fmt.Errorf("taking over in term %d: %w", r.Term, err))
		default:
			p.log.Warn("a takeover was not finished", "node", p.pc.Seat.Name, "term", r.Term, "error", err)
		}
	}()
}

// abdicate ends the reign: what is pending has an unknown outcome, and what was
// speculative is dropped with the house. Nothing is applied meanwhile.
func (p *Pair) abdicate() {
	now := p.reign
	p.reign = nil
	p.mu.Lock()
	p.settle(false, "")
	a := p.house
	p.mu.Unlock()
	now.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	<-now.begun
	if err := a.Close(ctx); err != nil {
		p.log.Warn("closing the house that wrote", "error", err)
	}
	if err := p.open(context.Background()); err != nil {
		p.end(fmt.Errorf("following again: %w", err))
		return
	}
	p.log.Info("this machine follows", "node", p.pc.Seat.Name, "wrote in term", now.term)
}

// tryAgain takes over once more, after a while, if nobody else has: nobody may be there to give way to. Of what failed
// nothing is left, for the ledger is passive still.
func (p *Pair) tryAgain(r replica.Role) {
	p.done.Go(func() {
		select {
		case <-time.After(againAfter):
		case <-p.quit:
			return
		}
		p.node.Between(func() {
			if p.node.Role() == r && p.reign == nil {
				p.role(r)
			}
		})
	})
}

// againAfter is the time from a takeover that failed for want of a signer to the next.
const againAfter = time.Second

// giveWay lets the other machine write, since this one cannot.
func (p *Pair) giveWay(why error) {
	p.mu.Lock()
	p.unfit, p.unfitUntil = why, time.Now().Add(10*time.Second)
	p.mu.Unlock()
	p.log.Error("this machine cannot do all it should and gives way", "node", p.pc.Seat.Name, "error", why)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.handOver(ctx); err != nil {
			p.log.Error("giving way", "error", err)
		}
	}()
}

// fit says why this machine cannot write.
func (p *Pair) fit() error {
	a := p.now()
	if free, err := p.store.Free(); err != nil || free.Available < free.Reserve {
		return errors.Join(fmt.Errorf("%w: %d of %d bytes", ledger.ErrNoSpace, free.Available, free.Reserve), err)
	}
	if err := a.Ledger.TrySigners(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.unfitUntil) {
		return p.unfit
	}
	return nil
}

// Switch hands over to the other machine, and returns when that one leads.
func (p *Pair) Switch(ctx context.Context) error {
	if role := p.node.Role(); role.Term == 0 {
		if role.Leader == "" {
			return errors.New("no machine of the pair is known to write")
		}
		return p.call(ctx, role.Leader, http.MethodPost, "/pair/switchover", nil, nil) // it hands over to this one
	}
	return p.handOver(ctx)
}

// handOver is Switch for a machine that shall not write: if it does not, nothing is asked of the one that does.
func (p *Pair) handOver(ctx context.Context) error {
	if p.node.Role().Term == 0 {
		return replica.ErrNotActive
	}
	for _, m := range p.node.Members() {
		if m.Arbiter || m.Name == p.pc.Seat.Name {
			continue
		}
		if err := p.call(ctx, m.Name, http.MethodPost, "/pair/planned", nil, nil); err != nil {
			return fmt.Errorf("%s does not answer: %w", m.Name, err)
		}
		// A machine that has just come back may lack the last batches.
		for tries := 1; ; tries++ {
			err := p.node.Transfer(ctx, m.Name)
			if err == nil || errors.Is(err, replica.ErrNotActive) || tries == switchTries {
				return err
			}
			select {
			case <-time.After(switchPause):
			case <-ctx.Done():
				return err
			}
		}
	}
	return errors.New("there is no other machine in the pair")
}

// How often a hand-over is tried.
const (
	switchTries = 5
	switchPause = 200 * time.Millisecond
)

// doorOf returns where the other machine takes requests.
func (p *Pair) doorOf(name string) string {
	if name == "" || name == p.pc.Seat.Name {
		return ""
	}
	for _, m := range p.node.Members() {
		if m.Name == name {
			return doorAddress(m.Address)
		}
	}
	return ""
}

// Admit answers a request to join, and has the pair take the member in as soon
// as it is there; a name to replace is that of the member whose place it takes.
func (p *Pair) Admit(request []byte, replace string) ([]byte, error) {
	if p.node.Role().Term == 0 {
		return nil, fmt.Errorf("this machine does not write: ask %q", p.node.Role().Leader)
	}
	r, answer, err := admit(p.cfg.Dir, p.node.Members(), p.pc.Seat.Origin, request)
	if err != nil {
		return nil, err
	}
	p.done.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), joinMost)
		defer cancel()
		go func() {
			select {
			case <-p.quit:
				cancel()
			case <-ctx.Done():
			}
		}()
		// A try that ends takes nothing back of what the member has got.
		join := func() error {
			ctx, cancel := context.WithTimeout(ctx, joinTry)
			defer cancel()
			if replace != "" {
				return p.node.Replace(ctx, replace, r.Member)
			}
			return p.node.Join(ctx, r.Member)
		}
		p.joining.Lock() // the group changes by one member at a time
		defer p.joining.Unlock()
		for {
			err := join()
			if err == nil {
				break
			}
			p.log.Warn("a member has not joined yet", "name", r.Member.Name, "error", err)
			if p.node.Role().Term == 0 {
				return // it has to be removed and to join anew by way of the other machine
			}
			select {
			case <-time.After(joinPause):
			case <-ctx.Done():
				return
			}
		}
		p.log.Info("a member has joined", "name", r.Member.Name, "address", r.Member.Address, "arbiter", r.Member.Arbiter)
	})
	return answer, nil
}

// joinMost is how long a member that was admitted may take to get the log.
const joinMost = 12 * time.Hour

// A try to let a member in, and the time until the next.
const (
	joinTry   = 10 * time.Second
	joinPause = 500 * time.Millisecond
)

// Members are those of the pair, for the log.
func (p *Pair) Members() []system.Member {
	var list []system.Member
	for _, m := range p.node.Members() {
		role := system.RoleMachine
		if m.Arbiter {
			role = system.RoleArbiter
		}
		list = append(list, system.Member{Name: m.Name, Role: role})
	}
	slices.SortFunc(list, func(a, b system.Member) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// aloneAfter is the silence after which a member counts as unreachable: they
// speak ten times a second.
const aloneAfter = 700 * time.Millisecond

// Ready returns nil while a request that comes here can be answered: this
// machine writes, or knows the one that does, or holds requests while one is
// elected. One that reaches nobody is not ready: the others may go on without it.
func (p *Pair) Ready() error {
	p.mu.Lock()
	place, lost := p.place, time.Since(p.settled)
	p.mu.Unlock()
	if place.Here || place.Peer != "" {
		return nil
	}
	status := p.node.Status()
	if writerMayCome(status.Role.Term != 0, lost, p.pc.Hold, func(arbiter bool) bool {
		return slices.ContainsFunc(status.Peers, func(q replica.Peer) bool { return q.Arbiter == arbiter && time.Since(q.Heard) < aloneAfter })
	}) {
		return nil
	}
	return errors.New("no machine of the pair is known to write")
}

// electedWithin is how long an election takes at most, among those who hear each
// other.
const electedWithin = 1500 * time.Millisecond

// writerMayCome reports whether it is worth a client's while to wait here for a
// machine that writes: this one is about to, or one is being elected. Who hears
// the arbiter alone would have been elected by then, were the other machine gone;
// so that one writes, and cannot be reached from here.
func writerMayCome(here bool, lost, hold time.Duration, hears func(arbiter bool) bool) bool {
	return here || lost < hold && (hears(false) || lost < electedWithin && hears(true))
}

// Spare reports whether a machine is fit to write instead of the one that does.
func (p *Pair) Spare() bool {
	status := p.node.Status()
	if status.Role.Term == 0 {
		return status.Unfit == ""
	}
	return slices.ContainsFunc(status.Peers, func(q replica.Peer) bool {
		return !q.Arbiter && q.Fit && time.Since(q.Heard) < aloneAfter
	})
}

// fatal is told by the ledger that it cannot go on. One that wrote until another
// machine was elected is replaced; anything else ends the process.
func (p *Pair) fatal(err error) {
	if errors.Is(err, replica.ErrNotActive) || errors.Is(err, replica.ErrOutcomeUnknown) {
		p.log.Warn("this machine does not write any more", "node", p.pc.Seat.Name, "error", err)
		return
	}
	p.end(err)
}

func fatal(cfg *Config, err error) {
	if cfg.Fatal != nil {
		cfg.Fatal(err)
		return
	}
	cfg.Log.Error("this machine stops", "error", err)
	os.Exit(1)
}

// Close stops the machine. One that writes hands over first.
func (p *Pair) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	writes := p.place.Here
	p.mu.Unlock()
	var errs []error
	if p.node != nil {
		if writes {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			if err := p.Switch(short); err != nil {
				p.log.Warn("nobody takes over", "error", err)
			}
			cancel()
		}
		close(p.quit)
		errs = append(errs, p.node.Close())
		if p.door != nil {
			errs = append(errs, p.door.Close())
		}
		p.done.Wait()
	}
	if a := p.now(); a != nil {
		errs = append(errs, a.Close(ctx))
	}
	return errors.Join(append(errs, p.store.Close())...)
}
