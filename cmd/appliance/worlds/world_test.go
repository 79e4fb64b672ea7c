package worlds

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/store"
)

const origin = "countroom.example/world"

// world is one machine with its clients, from its first start to the last
// reveal.
type world struct {
	t        *testing.T
	seed     uint64
	rnd      *rand.Rand
	weather  weather
	sabotage sabotage
	outside  outside
	board    *board
	started  time.Time

	disk    disk
	skew    atomic.Int64 // of the machine's clock, in nanoseconds
	process *process     // nil between two lives
	lives   int
	crashes int

	clients          []*client
	attempts         []*attempt // sent and not heard of
	token, regulator string

	// The one request whose read waits for a signature, and how many commands
	// of clients had asked for their turn when it came.
	viewer       *attempt
	viewerTurns  int
	commandTurns int

	evidence evidence
	log      *finalLog   // as it was judged last
	vault    vaultReader // likewise
	digest   hash.Hash
	said     []string
}

// outcome is what a world came to.
type outcome struct {
	digest    [sha256.Size]byte
	violation *violation
	said      []string
	evidence  *evidence
	log       *finalLog
	vault     vaultReader
}

// census counts what happened, so that a test can tell whether worlds are as
// rich as they should be.
type census struct {
	entries, lives, crashes, commands, accepted, refused, unavailable, lost, replayed, epochs, periods, erased int
	faults                                                                                                     map[string]int
}

// periodsEnd tells whether periods of the vault are so short that its keys are given up
// again and again, whatever becomes of the disk meanwhile. In these worlds the house is
// told about its players, too, and the board has one erased.
func (w *world) periodsEnd() bool { return w.seed < 1000 && w.seed%3 == 2 }

// vaultPeriod is how long a period of the vault is.
func (w *world) vaultPeriod() time.Duration {
	if w.periodsEnd() {
		return 20 * time.Second
	}
	return house.RewrapEvery
}

// run lives through the world of a seed.
func run(t *testing.T, seed uint64, s sabotage) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), sabotage: s,
			started: time.Now(), disk: newDisk(), digest: sha256.New(),
		}
		w.weather, w.outside = newWeather(w.rnd), newOutside(seed)
		w.evidence.census.faults = map[string]int{}
		w.board = newBoard(w, seed)
		w.people()
		o.violation = w.live()
		if w.process != nil {
			w.kill(lossNone)
		}
		w.digest.Sum(o.digest[:0])
		o.said, o.evidence, o.log, o.vault = w.said, &w.evidence, w.log, w.vault
	})
	return o
}

// say adds a line to the transcript.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ", time.Since(w.started).Seconds()) + fmt.Sprintf(format, args...)
	fmt.Fprintln(w.digest, line)
	w.said = append(w.said, line)
	if *tellFlag {
		fmt.Println(line)
	}
}

// tail is the end of a transcript.
func (o *outcome) tail(lines int) string {
	return strings.Join(o.said[max(0, len(o.said)-lines):], "\n")
}

// process is one life of the house.
type process struct {
	w    *world
	born chan struct{} // closed when Open has returned
	end  context.CancelFunc
	disk disk

	mu      sync.Mutex
	dead    bool
	arrived []*turn // since the world last looked
	pending []*turn // in the order in which they may be given
	app     *appliance.Appliance
	handler http.Handler
	opened  bool
	openErr error
	fatal   error // why the process would end itself
	closed  bool
	roomy   bool // it was opened for reading only, and there is room again
	weather weatherNow
	pace    func(kind turnKind) error // of a machine of a pair, which waits for no turns
	storing bool                      // the store is open
	store   store.Store
	active  entry.UUID // of the entry by which it became the writer; under the evidence's mu
	bound   uint64     // the epoch that it drew from last; likewise

	// The world's own.
	doom        doom
	unsound     bool // it met a fault
	welcomed    bool // it was seen to be up
	failing     bool // it was seen to end
	readsFailed bool // at some time
}

// turn is a place where a goroutine waits until the world lets it go on.
type turn struct {
	kind turnKind
	who  string // tells apart those who arrive together
	give chan error
}

type turnKind string

const (
	turnCommand turnKind = "command" // about to be queued
	turnSync    turnKind = "sync"    // of the store's write-ahead log
	turnGuard   turnKind = "guard"   // writing or syncing its record
	turnSign    turnKind = "sign"
	turnEntropy turnKind = "entropy"
	turnFile    turnKind = "file" // a small file
)

var turnKinds = []turnKind{turnCommand, turnSync, turnGuard, turnSign, turnEntropy, turnFile}

// doom is where a process is to die: at the last of so many turns of a kind.
// Without it, hardly any would at what happens once in a house's life.
type doom struct {
	at   turnKind
	left int
}

// turn waits for one. A dead process gets all of them at once: what it still
// does reaches nothing.
func (p *process) turn(kind turnKind, who string) error {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return nil
	}
	if p.pace != nil {
		p.mu.Unlock()
		return p.pace(kind)
	}
	t := &turn{kind, who, make(chan error)}
	p.arrived = append(p.arrived, t)
	p.mu.Unlock()
	return <-t.give
}

// settle waits until everybody waits, and puts those who arrived meanwhile into
// an order of the world's own.
func (w *world) settle() {
	synctest.Wait()
	p := w.process
	if p == nil {
		return
	}
	p.mu.Lock()
	slices.SortFunc(p.arrived, func(a, b *turn) int {
		return strings.Compare(string(a.kind)+a.who, string(b.kind)+b.who)
	})
	for _, t := range p.arrived {
		if t.kind == p.doom.at {
			p.doom.left--
		}
		if t.kind == turnCommand && !strings.HasPrefix(t.who, "-") {
			w.commandTurns++
		}
	}
	p.pending = append(p.pending, p.arrived...)
	p.arrived = nil
	p.mu.Unlock()
}

// now are the faults as they stand, none for a dead process.
func (p *process) faults() weatherNow {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return weatherNow{}
	}
	return p.weather
}

func (p *process) opening() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.opened
}

func (p *process) isStoring() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.storing
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// start begins another life of the house.
func (w *world) start() {
	w.lives++
	w.say("start %d", w.lives)
	cryptotest.SetGlobalRandom(w.t, w.seed<<16|uint64(w.lives))
	life, end := context.WithCancel(context.Background())
	p := &process{w: w, born: make(chan struct{}), end: end, disk: w.disk, weather: w.weather.now, readsFailed: w.weather.now.reading != 0, unsound: w.weather.now != weatherNow{}}
	if w.rnd.IntN(2) == 0 && w.crashes < w.weather.crashesMost {
		p.doom = doom{turnKinds[w.rnd.IntN(len(turnKinds))], 1 + w.rnd.IntN(8)}
	}
	w.process = p
	w.board.misplace()
	born := time.Now()
	cfg := appliance.Config{
		Dir: houseDir, Origin: origin, Node: "world", Release: "world", Log: slog.New(slog.DiscardHandler),
		External: p.external(), Limits: w.weather.limits, SessionAge: w.weather.sessionAge, QueueMost: w.weather.queueMost,
		EntropyMinimum: w.weather.minimum, CacheRows: w.weather.cacheRows, IndexRun: w.weather.indexRun, Reserve: reserve, VaultPeriod: w.vaultPeriod(),
		Fatal: func(err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.fatal = err
		},
		Machine: appliance.Machine{
			Files: files{p}, StoreFS: p.storeFS(),
			Clock: func() (time.Time, time.Duration) {
				now := time.Now()
				return now.Add(time.Duration(w.skew.Load())), now.Sub(born)
			},
			Sources:   w.sources(p),
			WrapStore: p.wrapStore, WrapSigner: p.wrapSigner,
			WrapSealer: func(s house.Sealer) house.Sealer { return sealer{s, w.board} },
			Turn:       func(c ledger.Command) { _ = p.turn(turnCommand, commandName(c)) },
		},
	}
	go func() {
		app, err := appliance.Open(context.Background(), cfg)
		var handler http.Handler
		if err == nil {
			handler = w.sabotage.handler(api.New(app.House, api.Options{
				Tokens: api.Tokens{Operator: app.Tokens.Operator, Regulator: app.Tokens.Regulator, Auditor: app.Tokens.Auditor},
				Log:    slog.New(slog.DiscardHandler),
			}))
		}
		p.mu.Lock()
		p.app, p.handler, p.opened, p.openErr = app, handler, true, err
		p.mu.Unlock()
		close(p.born)
		if err == nil && app.ReadOnly && app.AwaitRoom(life) == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.roomy = true
		}
	}()
}

// commandName tells commands apart; the house's own have no key.
func commandName(c ledger.Command) string {
	key := "-"
	if !c.Request.IsZero() {
		key = fmt.Sprintf("%x", c.Request.Key[:8])
	}
	return fmt.Sprintf("%s %q", key, c.Reads)
}

// up reports whether clients can reach the house.
func (w *world) up() bool {
	if w.process == nil {
		return false
	}
	w.process.mu.Lock()
	defer w.process.mu.Unlock()
	return w.process.opened && w.process.openErr == nil
}

// kill ends the process where it stands. The goroutines it leaves behind finish
// in a universe of their own.
func (w *world) kill(l loss) {
	p := w.process
	w.disk = w.sabotage.disk(w, w.disk.copy(l, w.rnd))
	p.mu.Lock()
	p.dead = true
	waiting := append(p.pending, p.arrived...)
	p.mu.Unlock()
	for _, t := range waiting {
		close(t.give)
	}
	p.end()
	w.process, w.viewer, w.board.trying = nil, nil, nil
	for _, c := range w.clients {
		c.disconnect(p)
	}
	go func() {
		<-p.born
		if p.app != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_ = p.app.Close(ctx) // whatever it says, nobody hears it
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
	}()
	for {
		synctest.Wait()
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
