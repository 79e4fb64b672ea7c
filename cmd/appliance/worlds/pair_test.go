package worlds

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countroom/api"
	"countroom/api/relay"
	"countroom/cmd/appliance"
	"countroom/ledger/replica"
	"countroom/ledger/tlog"
	"countroom/rngcert/epoch"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/sigstore/sigstore/pkg/signature"
)

// The worlds of a pair are two houses, an arbiter and a hostile network in one
// process. Time stands still while anybody works, as in the worlds of one house,
// but here everybody goes on alone: what takes time is drawn from the seed, and
// who works first at one moment is not. So a seed is a kind of weather, and not
// one world to the letter; the worlds of ledger/replica/core are that.

// pairWorld is two machines, an arbiter, their network and their players.
type pairWorld struct {
	*world
	hosts map[string]*host
	names []string

	mu      sync.Mutex // of what follows, which all goroutines use
	dice    *rand.Rand
	stormy  bool
	loss    float64
	slow    int                // milliseconds that a message may take
	blocked map[[2]string]bool // from, to

	players []*gambler
	crashes int
	kinds   map[string]int
	over    atomic.Bool    // nobody plays any more
	buried  sync.WaitGroup // lives on their way out

	putsBack bool // sabotage: all disks are what they were in the middle of the storm
	staysCut bool // sabotage: no network is whole again
}

// violations are those that players found.
type violations struct {
	mu   sync.Mutex
	list []*violation
}

func (b *violations) add(v *violation) {
	if v != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.list = append(b.list, v)
	}
}

func (b *violations) any() bool { return b.first() != nil }

func (b *violations) first() *violation {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) == 0 {
		return nil
	}
	return b.list[0]
}

// host is a machine or the arbiter, with its disk.
type host struct {
	name      string
	seat      *appliance.Seat
	disk      disk
	consensus *vfs.MemFS
	skew      atomic.Int64 // of its clock

	mu    sync.Mutex
	alive *life // nil between two lives
}

// life is a process on a host.
type life struct {
	*process
	w     *pairWorld
	h     *host
	pair  *appliance.Pair
	node  *replica.Node
	house *api.Server  // as it is open now
	relay *relay.Relay // before it
	syncs int          // of the consensus log until the power fails, 0: it does not
	left  *disk        // as the power left it
	raft  *vfs.MemFS
}

func (w *pairWorld) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dice.Float64() < p
}

func (w *pairWorld) upTo(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dice.IntN(n + 1)
}

// note counts what went wrong.
func (w *pairWorld) note(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[kind]++
}

// cloudy is whether the beacon does not answer this time.
func (w *pairWorld) cloudy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stormy || w.dice.IntN(1000) >= w.outside.fails {
		return false
	}
	w.kinds[string(turnBeacon)]++
	return true
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// consensusFS is the file system of a consensus log. Where the power fails, it
// fails in the middle of a sync.
func (l *life) consensusFS() vfs.FS {
	return errorfs.Wrap(l.h.consensus, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			l.syncing()
		}
		return nil
	}))
}

// syncing is asked before each sync of a consensus log. It holds nobody up: the
// log is locked then, and time would stand still for ever.
func (l *life) syncing() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || l.syncs == 0 {
		return
	}
	if l.syncs--; l.syncs == 0 {
		l.die(lossAll)
	}
}

// die leaves the disks as the power does; under mu. The consensus log is first:
// what is copied later is never behind what it was copied for.
func (l *life) die(most loss) {
	w := l.w
	w.mu.Lock()
	w.crashes++
	rnd := rand.New(rand.NewPCG(w.dice.Uint64(), 1))
	w.mu.Unlock()
	l.raft = cut(l.h.consensus, most, rnd)
	d := l.disk.copy(most, rnd)
	l.left, l.dead = &d, true
}

func (w *pairWorld) passes(from, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.blocked[[2]string{from, to}]
}

// reached is the node at the other end, if a message gets there now.
func (w *pairWorld) reached(from, to string) *replica.Node {
	if !w.passes(from, to) {
		return nil
	}
	l := w.hosts[to].life()
	if l == nil || l.isDead() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node
}

func (h *host) life() *life {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alive
}

// Send implements replica.Wire.
func (l *life) Send(from, to replica.Member, message []byte) {
	w := l.w
	w.mu.Lock()
	loss, slow := w.loss, w.slow
	w.mu.Unlock()
	copies := 1
	if w.chance(loss / 4) {
		copies = 2
	}
	for range copies {
		if l.isDead() || !w.passes(from.Name, to.Name) || w.chance(loss) {
			continue
		}
		late := ms(w.upTo(1 + slow))
		go func() {
			time.Sleep(late)
			if n := w.reached(from.Name, to.Name); n != nil {
				_ = n.Take(from, message)
			}
		}()
	}
}

// Say implements replica.Wire.
func (l *life) Say(from, to replica.Member, r replica.Report) {
	if n := l.w.reached(from.Name, to.Name); n != nil && !l.isDead() {
		n.Hear(from, r)
	}
}

// Fetch implements replica.Wire.
func (l *life) Fetch(_ context.Context, by, from replica.Member, have []byte) (io.ReadCloser, error) {
	n := l.w.reached(by.Name, from.Name)
	if n == nil || l.isDead() {
		return nil, errors.New("the other machine is not reached")
	}
	return n.Give(have)
}

// begin starts a process on a host.
func (w *pairWorld) begin(h *host) *life {
	end := func() {}
	l := &life{w: w, h: h, process: &process{w: w.world, born: make(chan struct{}), end: end, disk: h.disk}}
	l.pace = func(kind turnKind) error {
		switch kind {
		case turnSync, turnSign:
			time.Sleep(ms(w.upTo(3)))
		case turnBeacon:
			if w.cloudy() {
				return errBeacon
			}
		}
		return nil
	}
	if w.stormy && w.chance(0.3) {
		l.syncs = 1 + w.upTo(60)
	}
	consensus := func(rc *replica.Config) {
		rc.FS, rc.Wire, rc.SegmentBytes, rc.RetainBytes = l.consensusFS(), l, 64<<10, 128<<10
	}
	w.say("%s starts", h.name)
	h.mu.Lock()
	h.alive = l
	h.mu.Unlock()
	go func() {
		err := l.open(consensus)
		l.mu.Lock()
		l.opened, l.openErr = true, err
		l.mu.Unlock()
		close(l.born)
	}()
	return l
}

func (l *life) open(consensus func(*replica.Config)) error {
	born, h := time.Now(), l.h
	if h.seat.Arbiter {
		rc := h.seat.Config(houseDir)
		consensus(&rc)
		n, err := replica.Open(rc)
		l.set(n)
		return err
	}
	cfg := appliance.Config{
		Dir: houseDir, Origin: origin, Release: "world", Log: slog.New(slog.DiscardHandler), Limits: l.w.weather.limits, SessionAge: 12 * time.Hour,
		External: l.external(), Reserve: 1, Fatal: func(err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.fatal == nil {
				l.fatal = err
			}
		},
		Machine: appliance.Machine{
			Files: files{l.process}, StoreFS: l.storeFS(), WrapStore: l.wrapStore, WrapGroup: l.wrapGroup, WrapSigner: l.wrapSigner, Consensus: consensus,
			Clock: func() (time.Time, time.Duration) {
				return time.Now().Add(time.Duration(h.skew.Load())), time.Since(born)
			},
		},
	}
	pair, err := appliance.OpenPair(context.Background(), cfg, appliance.PairConfig{Seat: h.seat, Hold: time.Second, Opened: func(a *appliance.Appliance) {
		s := api.New(a.House, api.Options{
			Tokens: api.Tokens{Operator: a.Tokens.Operator, Regulator: a.Tokens.Regulator, Auditor: a.Tokens.Auditor}, Log: slog.New(slog.DiscardHandler),
		})
		l.mu.Lock()
		defer l.mu.Unlock()
		l.app, l.house = a, s
	}})
	if err != nil {
		return err
	}
	r := relay.New(relay.Config{
		Local: http.HandlerFunc(l.local), Place: pair.Place, Peer: across{l}, Ready: pair.Ready, Confirm: pair.Confirm, Hold: 5 * time.Second,
		Refuse: func(w http.ResponseWriter, r *http.Request, err error) { l.nowOpen().Refuse(w, r, err) },
	})
	l.mu.Lock()
	l.pair, l.relay = pair, r
	l.mu.Unlock()
	l.set(pair.Node())
	return nil
}

func (l *life) nowOpen() *api.Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.house
}

func (l *life) local(w http.ResponseWriter, r *http.Request) { l.nowOpen().ServeHTTP(w, r) }

// across carries requests to the other machine's door.
type across struct{ l *life }

// RoundTrip implements http.RoundTripper.
func (x across) RoundTrip(r *http.Request) (*http.Response, error) {
	w, from := x.l.w, x.l.h.name
	to, _, _ := strings.Cut(r.URL.Host, ":")
	other := w.hosts[to].life()
	if other == nil || x.l.isDead() || w.reached(from, to) == nil || w.chance(w.lose()) {
		return nil, relay.ErrNotSent
	}
	other.mu.Lock()
	there := other.relay
	other.mu.Unlock()
	if there == nil {
		return nil, relay.ErrNotSent
	}
	heard := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		time.Sleep(ms(w.upTo(2)))
		rec := httptest.NewRecorder()
		there.Door().ServeHTTP(rec, r.WithContext(context.WithoutCancel(r.Context())))
		heard <- rec
	}()
	select {
	case rec := <-heard:
		if !other.isDead() && w.passes(to, from) && !w.chance(w.lose()) {
			return rec.Result(), nil
		}
	case <-r.Context().Done():
	}
	return nil, errors.New("cut off while the answer was awaited")
}

func (l *life) set(n *replica.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node = n
}

// crash ends what runs on a host, where it stands. The goroutines that it leaves
// behind finish in a universe of their own.
func (w *pairWorld) crash(h *host, most loss) {
	l := h.life()
	if l == nil {
		return
	}
	synctest.Wait()
	l.mu.Lock()
	if !l.dead {
		l.die(most)
		w.say("%s crashes", h.name)
	} else {
		w.say("%s has torn what it synced", h.name)
	}
	h.disk, h.consensus = *l.left, l.raft
	l.mu.Unlock()
	h.mu.Lock()
	h.alive = nil
	h.mu.Unlock()
	w.buried.Go(func() {
		<-l.born
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		switch {
		case l.pair != nil:
			_ = l.pair.Close(ctx) // whatever it says, nobody hears it
		case l.node != nil:
			_ = l.node.Close()
		}
	})
}

// gambler is a player who asks now one machine and now the other.
type gambler struct {
	w           *pairWorld
	id          string
	left        atomic.Int64 // spins to come
	operator    string
	answers     map[string]*answer // by key
	wants, asks map[string]string  // path and body, by key
}

// must have an answer, however often that is asked for.
func (g *gambler) demand(key, path, token, body string) (*answer, *violation) {
	for try := g.w.upTo(1); ; try++ {
		code, text := g.w.ask([]string{"a", "b"}[try%2], path, token, key, body)
		switch {
		case code == http.StatusCreated:
			e := &g.w.evidence
			e.mu.Lock()
			got, v := e.receive(text)
			e.mu.Unlock()
			if v != nil {
				return nil, v
			}
			if was := g.answers[key]; was != nil {
				return got, sameAnswer(&command{kind: path, key: key}, was, got)
			}
			g.answers[key], g.wants[key], g.asks[key] = got, path, token+" "+body
			return got, nil
		case code != 0 && code != http.StatusServiceUnavailable:
			return nil, broken(lawAnswers, "%s %q: %d %s", path, key, code, text)
		}
		if g.w.over.Load() {
			return nil, nil
		}
		time.Sleep(ms(10 + g.w.upTo(60)))
	}
}

func (g *gambler) play() *violation {
	if _, v := g.demand("new-"+g.id, "/v1/players", g.operator, `{"id":"`+g.id+`","currency":"EUR"}`); v != nil {
		return v
	}
	if _, v := g.demand("pay-"+g.id, "/v1/players/"+g.id+"/deposits", g.operator, `{"amount":1000000,"currency":"EUR"}`); v != nil {
		return v
	}
	seat, v := g.demand("sit-"+g.id, "/v1/sessions", g.operator, `{"player":"`+g.id+`","game":"`+game+`"}`)
	if v != nil || seat == nil {
		return v
	}
	var opened struct{ Token string }
	must(json.Unmarshal(seat.body, &opened))
	for ; g.left.Load() > 0 && !g.w.over.Load(); g.left.Add(-1) {
		left := int(g.left.Load())
		key := g.id + "-" + strconv.Itoa(left)
		if _, v := g.demand(key, "/v1/spins", opened.Token, fmt.Sprintf(`{"stake":%d}`, stakes[g.w.upTo(len(stakes)-1)])); v != nil {
			return v
		}
		if g.w.chance(0.1) { // once more, long after
			again := g.id + "-" + strconv.Itoa(left+g.w.upTo(5))
			if g.answers[again] != nil {
				token, body, _ := strings.Cut(g.asks[again], " ")
				if _, v := g.demand(again, g.wants[again], token, body); v != nil {
					return v
				}
			}
		}
		time.Sleep(ms(g.w.upTo(20)))
	}
	return nil
}

// ask asks a machine once; 0 says that nothing came back.
func (w *pairWorld) ask(name, path, token, key, body string) (int, []byte) {
	l := w.hosts[name].life()
	if l == nil {
		return 0, nil
	}
	l.mu.Lock()
	handler := l.relay
	l.mu.Unlock()
	if handler == nil {
		return 0, nil
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Content-Type", "application/json")
	heard := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		heard <- rec
	}()
	select {
	case rec := <-heard:
		if l.isDead() || w.chance(w.lose()) {
			return 0, nil
		}
		return rec.Code, rec.Body.Bytes()
	case <-time.After(8 * time.Second):
		return 0, nil
	}
}

func (w *pairWorld) lose() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loss
}

// writer is the machine that writes.
func (w *pairWorld) writer() *life {
	for _, name := range []string{"a", "b"} {
		if l := w.hosts[name].life(); l != nil && !l.isDead() {
			l.mu.Lock()
			pair := l.pair
			l.mu.Unlock()
			if pair != nil && pair.Place().Here {
				return l
			}
		}
	}
	return nil
}

func (w *pairWorld) until(what string, most time.Duration, holds func() bool) *violation {
	for start := time.Now(); !holds(); time.Sleep(ms(20)) {
		if v := w.look(); v != nil {
			return v
		}
		if time.Since(start) > most {
			said := ""
			for _, name := range w.names {
				if l := w.hosts[name].life(); l != nil && l.node != nil {
					st := l.node.Status()
					said += fmt.Sprintf("\n%s: %+v", name, st)
				}
			}
			return broken(lawLiveness, "in vain waited until %s%s", what, said)
		}
	}
	return nil
}

// look notices what happened by itself.
func (w *pairWorld) look() *violation {
	for _, name := range w.names {
		h := w.hosts[name]
		l := h.life()
		if l == nil {
			continue
		}
		l.mu.Lock()
		dead, openErr, fatal, node := l.dead, l.openErr, l.fatal, l.node
		l.mu.Unlock()
		switch {
		case dead:
			w.crash(h, lossAll)
		case openErr != nil:
			return broken(lawLiveness, "%s does not start: %v", name, openErr)
		case fatal != nil:
			return broken(lawOneRoot, "%s stops: %v", name, fatal)
		case node != nil && node.Err() != nil:
			return broken(lawOneRoot, "the node of %s stops: %v", name, node.Err())
		}
	}
	w.evidence.mu.Lock()
	defer w.evidence.mu.Unlock()
	return w.evidence.caught
}

// found makes the pair: a alone, then b with its keys, then the arbiter.
func (w *pairWorld) found() *violation {
	a, b, arbiter := w.hosts["a"], w.hosts["b"], w.hosts["w"]
	member := func(name string) replica.Member {
		return replica.Member{Name: name, Address: name + ":1", Arbiter: name == "w"}
	}
	all := []replica.Member{member("a"), member("b"), member("w")}
	a.seat = &appliance.Seat{Origin: origin, Name: "a", Address: "a:1", Members: all[:1]}
	b.seat = &appliance.Seat{Origin: origin, Name: "b", Address: "b:1", Join: true, Members: all[:2]}
	arbiter.seat = &appliance.Seat{Origin: origin, Name: "w", Address: "w:1", Join: true, Arbiter: true, Members: all}
	first := w.begin(a)
	if v := w.until("a writes", time.Minute, func() bool { return w.writer() != nil }); v != nil {
		return v
	}
	for _, dir := range []string{"", "/keys", "/credentials"} {
		must(b.disk.small.MkdirAll(houseDir+dir, 0o700))
		for _, name := range list(a.disk.small, houseDir+dir) {
			info, err := a.disk.small.Stat(name)
			must(err)
			if info.IsDir() || path.Base(name) == "guard" || path.Base(name) == "log.vkey" {
				continue
			}
			f, err := b.disk.small.Create(name, vfs.WriteCategoryUnspecified)
			must(err)
			_, err = f.Write(slices.Clone(content(a.disk.small, name)))
			must(errors.Join(err, f.Sync(), f.Close()))
		}
		must(syncDir(b.disk.small, houseDir+dir))
	}
	for i, h := range []*host{b, arbiter} {
		w.begin(h)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := first.pair.Node().Join(ctx, all[i+1])
		cancel()
		if err != nil {
			return broken(lawLiveness, "joining %s: %v", h.name, err)
		}
	}
	w.token, w.regulator = first.app.Tokens.Operator, first.app.Tokens.Regulator
	w.evidence.learn(first.app.Ledger.VKey())
	return nil
}

// fault makes something go wrong, or come right again.
func (w *pairWorld) fault() {
	h := w.hosts[w.names[w.upTo(2)]]
	other := w.names[w.upTo(2)]
	switch w.upTo(9) {
	case 0, 1:
		w.note("crash")
		w.crash(h, loss(w.upTo(1)))
	case 2, 3, 4:
		if h.life() == nil {
			w.begin(h)
		}
	case 5:
		w.note("one way")
		w.mu.Lock()
		w.blocked[[2]string{h.name, other}] = true
		w.mu.Unlock()
	case 6:
		w.note("cut off")
		w.mu.Lock()
		for _, name := range w.names {
			w.blocked[[2]string{h.name, name}], w.blocked[[2]string{name, h.name}] = true, true
		}
		w.mu.Unlock()
	case 7:
		w.mu.Lock()
		clear(w.blocked)
		w.mu.Unlock()
	case 8:
		w.note("bad network")
		w.mu.Lock()
		w.loss, w.slow = []float64{0, 0.05, 0.2}[w.dice.IntN(3)], w.dice.IntN(80)
		w.mu.Unlock()
	case 9:
		w.note("clock")
		h.skew.Store(int64(w.upTo(4000)-2000) * int64(time.Millisecond))
	}
}

func (w *pairWorld) run() *violation {
	if v := w.found(); v != nil {
		return v
	}
	var playing sync.WaitGroup
	var bad violations
	defer func() {
		w.over.Store(true)
		playing.Wait()
	}()
	for i := range 4 {
		g := &gambler{w: w, id: fmt.Sprint("p", i+1), operator: w.token, answers: map[string]*answer{}, wants: map[string]string{}, asks: map[string]string{}}
		g.left.Store(40)
		w.players = append(w.players, g)
		playing.Go(func() { bad.add(g.play()) })
	}
	w.mu.Lock()
	w.stormy = true
	w.mu.Unlock()
	type disks struct {
		disk      disk
		consensus *vfs.MemFS
	}
	var older []disks
	for n := range 60 {
		if w.putsBack && n%30 == 29 {
			for i, name := range w.names {
				h := w.hosts[name]
				w.crash(h, lossNone)
				if n == 29 {
					older = append(older, disks{h.disk.copy(lossNone, w.rnd), cut(h.consensus, lossNone, w.rnd)})
				} else {
					h.disk, h.consensus = older[i].disk, older[i].consensus
				}
				w.begin(h)
			}
		}
		time.Sleep(ms(50 + w.upTo(300)))
		if v := w.look(); v != nil {
			return v
		}
		w.fault()
	}
	w.mu.Lock()
	w.stormy, w.loss, w.slow = false, 0, 0
	clear(w.blocked)
	for _, from := range w.names {
		for _, to := range w.names {
			w.blocked[[2]string{from, to}] = w.staysCut
		}
	}
	w.mu.Unlock()
	for _, name := range w.names {
		h := w.hosts[name]
		h.skew.Store(0)
		if l := h.life(); l != nil {
			l.mu.Lock()
			l.syncs = 0
			l.mu.Unlock()
		}
	}
	w.say("all is well again")
	v := w.until("everybody is done", 3*time.Minute, func() bool {
		for _, name := range w.names {
			if w.hosts[name].life() == nil {
				w.begin(w.hosts[name])
			}
		}
		return bad.any() || !slices.ContainsFunc(w.players, func(g *gambler) bool { return g.left.Load() > 0 })
	})
	w.over.Store(true)
	playing.Wait()
	if v == nil {
		v = bad.first()
	}
	if v != nil {
		return v
	}
	return w.judge()
}

// judge holds both machines against all that was heard, and lets the verifier
// look at what each publishes.
func (w *pairWorld) judge() *violation {
	v := w.until("every seed is revealed, and both machines have all", 5*time.Minute, func() bool {
		writer := w.writer()
		if writer == nil {
			return false
		}
		writer.welcomed = true
		w.process = writer.process
		if !w.everythingIsRevealed() {
			return false
		}
		for _, name := range []string{"a", "b"} {
			l := w.hosts[name].life()
			if l.app == nil || l.app.Store.Head().Size != writer.app.Store.Head().Size || l.app.Ledger.Signed() == nil {
				return false
			}
			if l != writer && l.app.Ledger.Signed().Size != writer.app.Ledger.Signed().Size {
				_ = l.app.Ledger.Learn(writer.app.Ledger.Signed().Checkpoint)
				return false
			}
		}
		return true
	})
	if v != nil {
		return v
	}
	var heads []tlog.Hash
	for _, name := range []string{"a", "b"} {
		l := w.hosts[name].life()
		l.welcomed = true
		w.process = l.process
		w.process.handler = l.house
		if v := w.world.lastJudgement(); v != nil {
			return broken(v.law, "on %s: %s", name, v.what)
		}
		heads = append(heads, l.app.Store.Head().Root)
	}
	if heads[0] != heads[1] {
		return broken(lawOneRoot, "the machines end with the roots %x and %x", heads[0], heads[1])
	}
	return nil
}

// runPair lives through a pair's world.
func runPair(t *testing.T, seed uint64, sabotage func(*pairWorld)) (v *violation, w *pairWorld) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w = &pairWorld{
			world: &world{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 2)), started: time.Now(), digest: sha256.New()},
			hosts: map[string]*host{}, names: []string{"a", "b", "w"}, dice: rand.New(rand.NewPCG(seed, 3)), blocked: map[[2]string]bool{}, kinds: map[string]int{},
		}
		w.weather = newWeather(w.rnd)
		w.outside = newOutside(seed)
		w.outside.fails += 500 // few are asked for before the storm is over
		w.weather.limits = epoch.Limits{AgeSeconds: 5, Draws: 30, RevealDelaySeconds: 1}
		w.evidence.census.faults = map[string]int{}
		for _, name := range w.names {
			mem := vfs.NewCrashableMem()
			must(mem.MkdirAll(houseDir+"/pair", 0o700))
			must(syncDir(mem, houseDir))
			must(syncDir(mem, "/"))
			w.hosts[name] = &host{name: name, disk: newDisk(), consensus: mem}
		}
		if sabotage != nil {
			sabotage(w)
		}
		v = w.run()
		w.over.Store(true)
		for _, name := range w.names {
			w.crash(w.hosts[name], lossNone)
		}
		w.buried.Wait()
		time.Sleep(10 * time.Second) // what is still in the air
	})
	return v, w
}

// The laws can fail: with disks that all went back at once, and with them all that
// the machines remember of each other; with a signer of two roots; with networks
// that never heal.
func TestPairSabotageIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name     string
		laws     []string
		sabotage func(*pairWorld)
	}{
		{"all disks are put back", []string{lawLost, lawTwice, lawOneRoot, lawOneDraw}, func(w *pairWorld) { w.putsBack = true }},
		{"a signer that signs two roots", []string{lawOneRoot}, func(w *pairWorld) {
			w.sabotage = sabotage{onSigner: func(_ *world, k signature.Signer) signature.Signer { return twoTongues{k} }}
		}},
		{"networks that stay cut", []string{lawLiveness}, func(w *pairWorld) { w.staysCut = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(8) {
				v, _ := runPair(t, 3000+seed, test.sabotage)
				if v == nil {
					continue
				}
				if !slices.Contains(test.laws, v.law) {
					t.Errorf("world %d: %v, expected one of %q", 3000+seed, v, test.laws)
				}
				return
			}
			t.Error("nobody noticed")
		})
	}
}

// Whatever happens to two machines, an arbiter and what is between them, the laws
// hold: nothing acknowledged is lost, there is one history, no round is drawn
// anew, who asks again gets the answer that he got, and when all is well again
// everybody gets to the end.
func TestPairWorlds(t *testing.T) {
	n := *worldsFlag
	if n == defaultWorlds {
		n = defaultPairWorlds
	}
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = nil
		for seed := range uint64(n) {
			seeds = append(seeds, seed+1)
		}
	}
	kinds, crashes, entries := map[string]int{}, 0, 0
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			v, w := runPair(t, seed, nil)
			if v != nil {
				t.Errorf("the pair's world %d breaks a law\n%s\n\nbroken: %v", seed, strings.Join(w.said[max(0, len(w.said)-40):], "\n"), v)
			}
			for k, n := range w.kinds {
				kinds[k] += n
			}
			crashes += w.crashes
			if w.log != nil {
				entries += len(w.log.leaves)
			}
		})
	}
	t.Logf("%d worlds: %v, %d crashes, %d entries", len(seeds), kinds, crashes, entries)
}

// defaultPairWorlds is for a run of all tests.
const defaultPairWorlds = 12
