package portal

import (
	"errors"
	"math/big"
	"slices"
	"sync"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// tally is what the pages say of the whole log: sums, where to look for what,
// and whether the seeds give the draws. It follows from the entries alone, is
// kept in memory, and trails behind the log: every page says as of which entry.
type tally struct {
	ledger *ledger.Ledger

	running sync.Mutex // held by the one who reads on
	mu      sync.RWMutex

	next         uint64 // entries below it are counted
	at           entry.Time
	blocks       []block
	releases     map[uint64]*release // by the index of their game.enabled entry
	returns      []*returns          // in the order in which they were first played
	days         []*day              // in order
	events       []event
	forgotten    int // events that were dropped
	alarms       []event
	certificates []certificate
	nodes        []*node
	members      []system.Member
	seeds        map[uint64]*seed
	nonces       map[entry.Ref][]nonce
	currencies   []money.Currency
	production   bool

	due []uint64 // epochs whose secret came out and whose draws are to be replayed
}

// blockEntries is how many entries a block has. A search looks into a block
// only if it can have what is looked for.
const blockEntries = 1024

// block is what can be said of all entries of a block.
type block struct {
	begins entry.Time
	most   int64 // the largest stake, payout, deposit or withdrawal
}

// release is a definition that was in force.
type release struct {
	game, version string
	maths         [32]byte
	returns       map[money.Currency]*returns
}

// pointsMost is how many points a chart is made of.
const pointsMost = 240

// returns is what a release of a game paid in a currency.
type returns struct {
	release       *release
	currency      money.Currency
	rounds        uint64
	stake, payout total
	squares       float64 // sum of the squares of the stakes
	points        []point
	stride        uint64 // rounds from one point to the next
}

// point is where the sums stood after some rounds. A chart needs no more digits
// than a float has.
type point struct {
	rounds                 uint64
	stake, payout, squares float64
}

// total is a sum of money of any size.
type total struct{ sum, one big.Int }

func (t *total) add(n int64) {
	t.one.SetInt64(n)
	t.sum.Add(&t.sum, &t.one)
}

func (t *total) float() float64 { f, _ := t.sum.Float64(); return f }

// day is one day of log time.
type day struct {
	date string // 2006-01-02, UTC
	sums map[money.Currency]*sums
}

// sums are a day's.
type sums struct {
	rounds                              uint64
	stake, payout, deposits, withdrawal total
}

// event is an entry that is about the house itself.
type event struct {
	index uint64
	at    entry.Time
	typ   string
}

// eventsMost is how many events are kept; older ones are found by their entries.
const eventsMost = 1 << 16

// alarmsShown is how many alarms the overview has.
const alarmsShown = 20

type certificate struct {
	certificates.Certificate
	index uint64
}

// node is a machine that was the log's writer.
type node struct {
	name, release, reason string
	term, index           uint64
	at                    entry.Time
}

// seed is an epoch.
type seed struct {
	epoch                                  uint64
	committed, activated, closed, revealed uint64 // indexes, 0 for none
	halted, abandoned                      uint64 // likewise
	commitment                             [32]byte
	policy                                 string
	external                               []byte
	draws                                  uint64
	secret, salt                           [32]byte
	replay                                 replayed
}

// replayed is what the replay of an epoch came to.
type replayed struct {
	done  bool
	draws uint64
	wrong uint64 // index of an entry that is wrong, or 0
	why   string
}

// nonce is a player's standing nonce.
type nonce struct {
	epoch uint64
	nonce [32]byte
	index uint64
}

func newTally(l *ledger.Ledger) *tally {
	return &tally{ledger: l, releases: map[uint64]*release{}, seeds: map[uint64]*seed{}, nonces: map[entry.Ref][]nonce{}}
}

// readOn reads what the log has beyond what was counted. One goroutine does it;
// to others it returns at once.
func (t *tally) readOn() error {
	if !t.running.TryLock() {
		return nil
	}
	defer t.running.Unlock()
	for {
		signed := t.ledger.Signed()
		if signed == nil || t.next >= signed.Size {
			return t.replayDue()
		}
		if err := t.read(min(signed.Size, t.next+blockEntries)); err != nil {
			return err
		}
		if err := t.replayDue(); err != nil {
			return err
		}
	}
}

// read counts the entries up to an index.
func (t *tally) read(to uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var settled rounds.Settled
	return t.ledger.Leaves(t.next, to, func(index uint64, leaf []byte) error {
		typ, err := entry.TypeOf(leaf)
		if err != nil {
			return err
		}
		var r entry.Record = &settled
		if typ == "round.settled" {
			settled = rounds.Settled{}
			err = entry.Decode(leaf, &settled)
		} else {
			r, err = books.Decode(slices.Clone(leaf))
		}
		switch {
		case errors.Is(err, books.ErrUnknownType):
			t.event(event{index, t.at, typ}) // of a later program; nothing is kept from the reader
		case err != nil:
			return err
		default:
			t.take(index, r)
		}
		t.next = index + 1
		return nil
	})
}

func (t *tally) take(index uint64, r entry.Record) {
	t.at = r.Head().At
	if index%blockEntries == 0 || len(t.blocks) == 0 {
		t.blocks = append(t.blocks, block{begins: t.at})
	}
	b := &t.blocks[len(t.blocks)-1]
	switch r := r.(type) {
	case *rounds.Settled:
		b.most = max(b.most, r.Stake.Amount, r.Payout.Amount)
		t.round(r)
	case *wallet.Deposited:
		b.most = max(b.most, r.Amount.Amount)
		t.today(r.Amount.Currency).deposits.add(r.Amount.Amount)
	case *wallet.Withdrawn:
		b.most = max(b.most, r.Amount.Amount)
		t.today(r.Amount.Currency).withdrawal.add(r.Amount.Amount)
	case *players.NonceSet:
		t.nonces[r.Player] = append(t.nonces[r.Player], nonce{r.Epoch, r.Nonce, index})
	case *players.Created, *players.SessionOpened, *players.SessionClosed, *rounds.Displayed, *subjects.Recorded:
	case *epoch.CommittedV1:
		t.commit(index, &r.Statement)
	case *epoch.Committed:
		t.commit(index, &r.Statement)
	case *epoch.ActivatedV1:
		t.activate(index, &r.Activated)
	case *epoch.Activated:
		t.activate(index, r)
	case *epoch.Closed:
		s := t.seed(r.Epoch)
		s.closed, s.draws = index, r.Draws
	case *epoch.Revealed:
		s := t.seed(r.Epoch)
		s.revealed, s.secret, s.salt = index, r.Secret, r.Salt
		t.due = append(t.due, r.Epoch)
	case *epoch.Halted:
		t.seed(r.Epoch).halted = index
		t.about(index, r)
	case *decision.Ended:
		s := t.seed(r.Epoch)
		s.closed, s.draws = index, r.Draws
		t.about(index, r)
	case *decision.Abandoned:
		s := t.seed(r.Epoch)
		if s.abandoned = index; s.closed == 0 && s.activated != 0 {
			s.closed, s.draws = index, r.Draws
		}
		t.about(index, r)
	default:
		t.about(index, r)
	}
}

// about takes an entry that is about the house itself.
func (t *tally) about(index uint64, r entry.Record) {
	switch r := r.(type) {
	case *rounds.GameEnabled:
		t.releases[index] = &release{game: r.Game, version: r.Release, maths: r.Maths, returns: t.sameRelease(r.Game, r.Maths)}
	case *certificates.Certified:
		t.certificates = append(t.certificates, certificate{r.Certificate, index})
	case *certificates.Production:
		t.production = true
	case *system.HouseActive:
		t.active(node{r.Node, r.Release, r.Reason, r.Term, index, r.At})
	case *system.PairActive:
		t.active(node{r.Node, r.Release, r.Reason, r.Term, index, r.At})
		t.members = r.Members
	}
	if r.Type() == "chance.observed" {
		return
	}
	e := event{index, t.at, r.Type()}
	t.event(e)
	if v, ok := r.(*certificates.Verified); alarming[r.Type()] || ok && !v.Matches {
		t.alarms = append(t.alarms, e)
		if len(t.alarms) > alarmsShown {
			t.alarms = t.alarms[1:]
		}
	}
}

// alarming are the types of entries that somebody should look at.
var alarming = map[string]bool{"alarm.raised": true, "chance.alarmed": true, "entropy.failed": true, "house.restored": true, "clock.stepped": true, "seed.halted": true, "seed.abandoned": true}

// sameRelease returns the returns of a release that was enabled before.
func (t *tally) sameRelease(game string, maths [32]byte) map[money.Currency]*returns {
	for _, r := range t.releases {
		if r.game == game && r.maths == maths {
			return r.returns
		}
	}
	return map[money.Currency]*returns{}
}

func (t *tally) active(n node) {
	t.nodes = slices.DeleteFunc(t.nodes, func(have *node) bool { return have.name == n.name })
	t.nodes = append(t.nodes, &n)
}

func (t *tally) event(e event) {
	if len(t.events) == eventsMost {
		half := eventsMost / 2
		t.events, t.forgotten = append(t.events[:0], t.events[half:]...), t.forgotten+half
	}
	t.events = append(t.events, e)
}

func (t *tally) seed(n uint64) *seed {
	s := t.seeds[n]
	if s == nil {
		s = &seed{epoch: n}
		t.seeds[n] = s
	}
	return s
}

func (t *tally) commit(index uint64, st *epoch.Statement) {
	s := t.seed(st.Epoch)
	s.committed, s.commitment, s.policy = index, st.Commitment, st.Policy
}

func (t *tally) activate(index uint64, r *epoch.Activated) {
	s := t.seed(r.Epoch)
	s.activated, s.policy, s.external = index, r.Policy, r.External
}

func (t *tally) today(c money.Currency) *sums {
	const dayOfTime = 24 * 60 * 60 * 1_000_000
	if n := len(t.days); n == 0 || t.at/dayOfTime != t.daysAt()/dayOfTime {
		t.days = append(t.days, &day{date: t.at.String()[:10], sums: map[money.Currency]*sums{}})
	}
	d := t.days[len(t.days)-1]
	s := d.sums[c]
	if s == nil {
		s = new(sums)
		d.sums[c] = s
		if !slices.Contains(t.currencies, c) {
			t.currencies = append(t.currencies, c)
		}
	}
	return s
}

// daysAt is a time of the latest day.
func (t *tally) daysAt() entry.Time {
	at, err := entry.ParseTime(t.days[len(t.days)-1].date + "T00:00:00.000000Z")
	if err != nil {
		return -1 << 62
	}
	return at
}

func (t *tally) round(r *rounds.Settled) {
	s := t.today(r.Stake.Currency)
	s.rounds++
	s.stake.add(r.Stake.Amount)
	s.payout.add(r.Payout.Amount)
	release := t.releases[r.Enabled]
	if release == nil {
		return // which breaks a rule that countroom-verify names
	}
	g := release.returns[r.Stake.Currency]
	if g == nil {
		g = &returns{release: release, currency: r.Stake.Currency, stride: 1}
		release.returns[r.Stake.Currency] = g
		t.returns = append(t.returns, g)
	}
	g.add(r.Stake.Amount, r.Payout.Amount)
}

func (g *returns) add(stake, payout int64) {
	g.rounds++
	g.stake.add(stake)
	g.payout.add(payout)
	g.squares += float64(stake) * float64(stake)
	if g.rounds%g.stride != 0 {
		return
	}
	if len(g.points) == pointsMost {
		half := g.points[:0]
		for i := 1; i < pointsMost; i += 2 {
			half = append(half, g.points[i])
		}
		g.points, g.stride = half, 2*g.stride
		if g.rounds%g.stride != 0 {
			return
		}
	}
	g.points = append(g.points, g.now())
}

func (g *returns) now() point { return point{g.rounds, g.stake.float(), g.payout.float(), g.squares} }

// nonceOf returns the standing nonce of a player in an epoch, and the entry that
// set it.
func (t *tally) nonceOf(player entry.Ref, epoch uint64) ([]byte, uint64) {
	list := t.nonces[player]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].epoch <= epoch {
			return list[i].nonce[:], list[i].index
		}
	}
	return nil, 0
}

// replayDue replays epochs whose secrets came out. Only readOn calls it, so what
// it reads of the tally does not change meanwhile.
func (t *tally) replayDue() error {
	for len(t.due) > 0 {
		s := t.seeds[t.due[0]]
		result, err := t.replay(s)
		if err != nil {
			return err
		}
		t.mu.Lock()
		s.replay, t.due = result, t.due[1:]
		t.mu.Unlock()
	}
	return nil
}

// replay draws every round of an epoch again.
func (t *tally) replay(s *seed) (replayed, error) {
	done := replayed{done: true}
	if s.committed == 0 || s.activated == 0 || s.closed == 0 {
		done.wrong, done.why = s.revealed, "the log shows a seed that it did not commit to, use and close before"
		return done, nil
	}
	origin := t.ledger.Origin()
	if chance.Commitment(origin, s.epoch, s.secret, s.salt) != s.commitment {
		done.wrong, done.why = s.revealed, "the seed is not the one that the house was bound to"
		return done, nil
	}
	drawer := chance.NewDrawer(chance.DeriveKey(s.secret, s.commitment, s.external), origin)
	defer drawer.Destroy()
	var r rounds.Settled
	for from := s.activated; from < s.closed; from += blockEntries {
		err := t.ledger.Leaves(from, min(s.closed, from+blockEntries), func(index uint64, leaf []byte) error {
			if typ, err := entry.TypeOf(leaf); err != nil || typ != "round.settled" {
				return err
			}
			r = rounds.Settled{}
			if err := entry.Decode(leaf, &r); err != nil {
				return err
			}
			if r.Draw.Epoch != s.epoch {
				return nil
			}
			done.draws++
			release := t.releases[r.Enabled]
			if done.wrong != 0 || release == nil {
				return nil
			}
			nonce, _ := t.nonceOf(r.Player, s.epoch)
			if drawer.Draw(release.game, release.version, r.Player, r.Draw.N, 0, nonce) != r.Draw.R {
				done.wrong, done.why = index, "the seed does not give the draw of this round"
			}
			return nil
		})
		if err != nil {
			return done, err
		}
	}
	if done.wrong == 0 && done.draws != s.draws {
		done.wrong, done.why = s.closed, "the log has another number of draws than the epoch's end says"
	}
	return done, nil
}
