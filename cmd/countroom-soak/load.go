package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

const (
	sampled    = 64   // one in so many accepted answers has its receipt verified at once
	keptMost   = 4096 // receipts that are held against the whole log at the end
	ghostsMost = 512  // refused commands that are looked for at the end
)

// load is what all workers share.
type load struct {
	*server
	faults faults
	size   atomic.Uint64 // of the log, as far as answers have told
	proofs atomic.Uint64 // receipts that were verified
	acked  acked

	mu     sync.Mutex
	seen   int            // answers that could have been kept
	kept   []verify.Known // a fair sample of all accepted answers
	ghosts []ghost        // the first refused spins
}

// ghost is a spin that was refused as not accepted and never repeated.
type ghost struct {
	worker *worker
	key    string
}

// faults are what must not happen, by the name of the check that it fails.
type faults struct {
	mu    sync.Mutex
	count map[string]uint64
	first map[string]string
}

func (f *faults) add(check string, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count, f.first = map[string]uint64{}, map[string]string{}
	}
	if f.count[check]++; f.count[check] == 1 {
		f.first[check] = fmt.Sprintf(format, args...)
	}
}

// acked knows of each entry that a client was given a receipt for the first
// bytes of its hash.
type acked struct {
	mu     sync.Mutex
	chunks [][]uint64
	count  uint64
}

const ackedChunk = 1 << 16

func short(h tlog.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) | 1 }

// add notes a leaf, and reports whether another was noted at its index.
func (a *acked) add(index uint64, leaf tlog.Hash) (another bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uint64(len(a.chunks)) <= index/ackedChunk {
		a.chunks = append(a.chunks, nil)
	}
	c := &a.chunks[index/ackedChunk]
	if *c == nil {
		*c = make([]uint64, ackedChunk)
	}
	at := &(*c)[index%ackedChunk]
	if *at == 0 {
		*at = short(leaf)
		a.count++
	}
	return *at != short(leaf)
}

// at returns what was noted for an index, 0 for nothing.
func (a *acked) at(index uint64) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := index / ackedChunk; c < uint64(len(a.chunks)) && a.chunks[c] != nil {
		return a.chunks[c][index%ackedChunk]
	}
	return 0
}

// entriesMost bounds the log, and with it what this program remembers.
const entriesMost = 1 << 27

// accept notes what was acknowledged and verifies a sample.
func (w *worker) accept(a *answer) (leaf tlog.Hash, err error) {
	b, ok := bytes.CutPrefix(a.body, []byte(`{"index":`))
	digits, b, ok2 := bytes.Cut(b, []byte(`,"leaf":`))
	raw, _, ok3 := bytes.Cut(b, []byte(`,"receipt":"c2sp.org/tlog-proof@v1\n`))
	index, err := strconv.ParseUint(string(digits), 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || index > entriesMost {
		return leaf, fmt.Errorf("expected an entry and its receipt, got %.300s", a.body)
	}
	leaf = tlog.LeafHash(raw)
	if w.acked.add(index, leaf) {
		return leaf, fmt.Errorf("entry %d was another one before: %.300s", index, a.body)
	}
	for {
		size := w.size.Load()
		if size > index || w.size.CompareAndSwap(size, index+1) {
			break
		}
	}
	if w.rng.IntN(sampled) > 0 {
		return leaf, nil
	}
	if err := w.prove(a); err != nil {
		w.faults.add("receipts-verify", "%v", err)
	}
	w.keep(a)
	return leaf, nil
}

// keep holds on to an answer, or does not, so that all had the same chance.
func (w *worker) keep(a *answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	k := verify.Known{Name: "answer " + strconv.Itoa(w.seen), Data: bytes.Clone(a.body)}
	if len(w.kept) < keptMost {
		w.kept = append(w.kept, k)
	} else if i := w.rng.IntN(w.seen); i < keptMost {
		w.kept[i] = k
	}
}

// phase is a time of one kind of load, and what became of it.
type phase struct {
	name    string
	crowd   bool    // sent by the many workers, not by the few
	rate    float64 // offered per second; 0: as fast as so many workers go
	began   time.Time
	length  time.Duration
	sent    atomic.Uint64
	unsent  atomic.Uint64 // no connection was free for them
	good    [classes]histogram
	refused histogram    // 503 and not accepted
	curve   []*histogram // of spins by the tenth of a second they were due in
}

func newPhase(name string, rate float64, length time.Duration) *phase {
	p := &phase{name: name, rate: rate, length: length}
	for range int(length/tenth) + 1 {
		p.curve = append(p.curve, new(histogram))
	}
	return p
}

const tenth = 100 * time.Millisecond

// answered is how many requests got an answer other than a refusal.
func (p *phase) answered() (n uint64) {
	for i := range p.good {
		n += p.good[i].count()
	}
	return n
}

// one makes one call of the mix that was due at a time.
func (w *worker) one(p *phase, due time.Time) {
	w.call(drawn[w.rng.IntN(len(drawn))], p, due)
}

func (w *worker) call(c *call, p *phase, due time.Time) {
	q := c.make(w)
	p.sent.Add(1)
	a, err := w.do(&q)
	took := time.Since(due)
	switch {
	case err != nil:
		w.faults.add("no-connection-errors", "%s: %s %s: %v", p.name, q.method, q.path, err)
		return
	case a.status == http.StatusServiceUnavailable:
		if err := wellRefused(&a); err != nil {
			w.faults.add("refusals-well-formed", "%s %s: %v", q.method, q.path, err)
		}
		p.refused.add(took)
		w.haunt(c, &q)
		return
	case a.status >= 500:
		w.faults.add("no-server-errors", "%s %s: %d %.300s", q.method, q.path, a.status, a.body)
		return
	}
	p.good[c.class].add(took)
	if c.class == spins {
		if i := int(due.Sub(p.began) / tenth); i >= 0 && i < len(p.curve) {
			p.curve[i].add(took)
		}
	}
	if err := w.asWanted(&q, &a); err != nil {
		w.faults.add("answers-as-wanted", "%s: %v", c.name, err)
		return
	}
	if c.after != nil && q.want < 400 {
		if err := c.after(w, &q, &a); err != nil {
			w.faults.add("answers-as-wanted", "%s: %v", c.name, err)
		}
	}
}

func (w *worker) asWanted(q *request, a *answer) error {
	if a.status != q.want {
		return fmt.Errorf("%s %s: expected %d, got %d %.300s", q.method, q.path, q.want, a.status, a.body)
	}
	if q.problem != "" {
		var p struct{ Type string }
		if err := json.Unmarshal(a.body, &p); err != nil || p.Type != "/problems/"+q.problem {
			return fmt.Errorf("%s %s: expected the problem %s, got %.300s", q.method, q.path, q.problem, a.body)
		}
	}
	return nil
}

// wellRefused says what is wrong with a 503.
func wellRefused(a *answer) error {
	if a.contentType != "application/problem+json" {
		return fmt.Errorf("a 503 of type %q", a.contentType)
	}
	if n, err := strconv.Atoi(a.retryAfter); err != nil || n < 1 {
		return fmt.Errorf("a 503 with Retry-After %q", a.retryAfter)
	}
	var p struct{ Type, Outcome string }
	if err := json.Unmarshal(a.body, &p); err != nil {
		return err
	}
	if !strings.HasPrefix(p.Type, "/problems/") || p.Outcome != "not-accepted" {
		return fmt.Errorf("a 503 that does not say not-accepted: %.300s", a.body)
	}
	return nil
}

// haunt remembers some of the spins that were refused.
func (w *worker) haunt(c *call, q *request) {
	if c.class != spins || q.key == w.lastKey || q.want != 201 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ghosts) < ghostsMost {
		w.ghosts = append(w.ghosts, ghost{w, q.key})
	}
}

// exorcise asks for what was refused again: each must be new.
func (l *load) exorcise() (n int) {
	for _, g := range l.ghosts {
		q := g.worker.spin()
		q.key = g.key
		a, err := g.worker.do(&q)
		// The next seed may just be being made; nobody else asks for anything any more.
		for start := time.Now(); err == nil && a.status == http.StatusServiceUnavailable && wellRefused(&a) == nil && time.Since(start) < time.Minute; {
			time.Sleep(tenth)
			a, err = g.worker.do(&q)
		}
		switch {
		case err != nil:
			l.faults.add("no-connection-errors", "%v", err)
		case a.status != 201:
			l.faults.add("refused-left-nothing", "%s, refused before: %d %.300s", g.key, a.status, a.body)
		case a.replayed:
			l.faults.add("refused-left-nothing", "%s was refused as not accepted, but has an entry: %.300s", g.key, a.body)
		default:
			if _, err := g.worker.accept(&a); err != nil {
				l.faults.add("answers-as-wanted", "%v", err)
			}
		}
	}
	return len(l.ghosts)
}

// seat makes the workers' players.
func (l *load) seat(n int) ([]*worker, error) {
	workers := make([]*worker, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range workers {
		w := &worker{load: l, conn: conn{addr: l.addr}, n: i, player: "player-" + strconv.Itoa(i)}
		w.rng = rand.New(rand.NewPCG(1, uint64(i)))
		workers[i] = w
		if i >= seated { // a connection more, not a player more
			*w = worker{load: l, conn: w.conn, n: i, rng: w.rng, player: workers[i%seated].player}
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = w.sit()
		}()
	}
	wg.Wait()
	for i, w := range workers {
		w.token = workers[i%seated].token
		if i < seated {
			continue
		}
		// To open connections is no part of the load.
		q := w.read("/livez", "")
		if _, err := w.do(&q); err != nil {
			errs = append(errs, err)
		}
	}
	return workers, errors.Join(errs...)
}

// seated is how many players sit; connections share them.
const seated = 256

func (w *worker) sit() error {
	for _, q := range []request{
		w.post("/v1/players", w.operator, fmt.Sprintf(`{"id":%q,"currency":"EUR"}`, w.player), 201),
		w.post("/v1/players/"+w.player+"/deposits", w.operator, `{"amount":1000000000000,"currency":"EUR"}`, 201),
		w.post("/v1/sessions", w.operator, fmt.Sprintf(`{"player":%q,"game":%q}`, w.player, gameID), 201),
	} {
		a, err := w.do(&q)
		if err == nil {
			err = w.asWanted(&q, &a)
		}
		if err == nil {
			_, err = w.accept(&a)
		}
		if err != nil {
			return err
		}
		var opened struct{ Token string }
		if err := json.Unmarshal(a.body, &opened); err != nil {
			return err
		}
		w.token = opened.Token
	}
	return nil
}

// closed lets each worker send its next request when it has the answer.
func closed(workers []*worker, length time.Duration) *phase {
	p := newPhase(fmt.Sprintf("%d connections", len(workers)), 0, length)
	p.began = time.Now()
	end := p.began.Add(length)
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for now := time.Now(); now.Before(end); now = time.Now() {
				w.one(p, now)
			}
		}()
	}
	wg.Wait()
	p.length = time.Since(p.began)
	return p
}

type ticket struct {
	p   *phase
	due time.Time
}

// offer sends the requests of phases at their rates, whether or not the answers
// keep up. Latencies count from when a request was due. One that finds all
// connections of its crowd waiting for answers is not sent.
func offer(calm, crowd []*worker, phases []*phase) {
	var wg sync.WaitGroup
	at := func(workers []*worker) chan ticket {
		tickets := make(chan ticket)
		for _, w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for t := range tickets {
					w.one(t.p, t.due)
				}
			}()
		}
		return tickets
	}
	queues := map[bool]chan ticket{false: at(calm), true: at(crowd)}
	for _, p := range phases {
		tickets := queues[p.crowd]
		p.began = time.Now()
		for n := 0; ; {
			passed := time.Since(p.began)
			if passed >= p.length {
				break
			}
			for ; n < int(passed.Seconds()*p.rate); n++ {
				due := p.began.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
				select {
				case tickets <- ticket{p, due}:
				default:
					p.unsent.Add(1)
				}
			}
			time.Sleep(time.Millisecond)
		}
	}
	for _, tickets := range queues {
		close(tickets)
	}
	wg.Wait()
}
