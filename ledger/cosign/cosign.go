// Package cosign is the house's side of c2sp.org/tlog-witness: it submits
// checkpoints to witnesses and collects their cosignatures. Each witness has one
// request under way, always for the newest checkpoint, so that a slow one neither
// holds up the others nor falls behind.
package cosign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"countroom/ledger/tlog"

	"github.com/prometheus/client_golang/prometheus"
)

// Policy is what a checkpoint needs before it is shown.
type Policy string

const (
	None       Policy = "none"       // the house's signature: its word alone
	Background Policy = "background" // the same; cosignatures are added when they come
	Quorum     Policy = "quorum"     // the cosignatures of a quorum
)

// Witness is one that is asked.
type Witness struct {
	VKey string
	URL  string // submission prefix
}

// Config is who is asked, and how many must answer. The zero value asks nobody.
type Config struct {
	Policy Policy // default None
	Quorum int
	// Faulty is how many witnesses may be false without two histories ever having
	// a quorum each; nil stands for the most that the quorum allows.
	Faulty    *int
	Witnesses []Witness

	Transport http.RoundTripper // default one that keeps connections
	Timeout   time.Duration     // of a request; default 2 s
	Log       *slog.Logger      // default slog.Default
}

// MostFaulty returns how many of n witnesses may be false when q must cosign: any
// two sets of q share 2q-n, and one of these has to be true.
func MostFaulty(q, n int) int { return 2*q - n - 1 }

// Check tells what is wrong with a configuration.
func (c *Config) Check() error {
	n, q := len(c.Witnesses), c.Quorum
	switch c.Policy {
	case "", None:
		if n > 0 || q != 0 || c.Faulty != nil {
			return errors.New("witnesses.policy: witnesses are set, but nobody asks them: expected background or quorum")
		}
		return nil
	case Background:
		if n == 0 {
			return errors.New("witnesses.list: expected at least one witness")
		}
		if q != 0 || c.Faulty != nil {
			return errors.New("witnesses.quorum, faulty: expected with the policy quorum only")
		}
	case Quorum:
		switch {
		case q < 1 || q > n:
			return fmt.Errorf("witnesses.quorum: %d: expected 1 to the %d witnesses of the list", q, n)
		case MostFaulty(q, n) < 0:
			return fmt.Errorf("witnesses.quorum: %d of %d: two histories could have one each; expected more than half", q, n)
		case c.Faulty != nil && (*c.Faulty < 0 || *c.Faulty > MostFaulty(q, n)):
			return fmt.Errorf("witnesses.faulty: %d: expected 0 to %d, since the quorum of %d must be more than (%d+faulty)/2", *c.Faulty, MostFaulty(q, n), q, n)
		}
	default:
		return fmt.Errorf("witnesses.policy: %q: expected none, background or quorum", c.Policy)
	}
	_, err := c.cosigners()
	return err
}

// cosigners are the keys of the witnesses. Two names for one key would be one
// witness that counts twice.
func (c *Config) cosigners() (all []*tlog.Cosigner, err error) {
	for i, w := range c.Witnesses {
		k, err := tlog.NewCosigner(w.VKey)
		if err != nil {
			return nil, fmt.Errorf("witnesses.list[%d].vkey: %w", i, err)
		}
		if u, err := url.Parse(w.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("witnesses.list[%d].url: %q: expected http or https, a host and a path", i, w.URL)
		}
		for j, other := range all {
			if other.Name() == k.Name() || slices.Equal(other.Public(), k.Public()) {
				return nil, fmt.Errorf("witnesses.list[%d] and [%d]: the same name or key twice counts once", j, i)
			}
		}
		all = append(all, k)
	}
	return all, nil
}

// Group asks the witnesses of one log.
type Group struct {
	cfg     Config
	members []*member
	m       *metrics

	// prove returns the proof that the log of a size extends that of an older one.
	prove func(old, size uint64) ([]tlog.Hash, error)
	// more is told of every checkpoint that has another cosignature.
	more func(size uint64, note []byte)

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	round   *round
	changed chan struct{} // closed and replaced when the round, or what it has, changes
}

// round is one checkpoint that is being cosigned.
type round struct {
	size  uint64
	text  []byte
	note  []byte   // as the house signed it
	lines [][]byte // by witness
	have  int
}

// cosigned is the note with what there is.
func (r *round) cosigned() []byte {
	msg := slices.Clone(r.note)
	for _, l := range r.lines {
		msg = append(msg, l...)
	}
	return msg
}

// Start begins to ask, when there is a checkpoint. prove and more may be called
// by several goroutines. Without witnesses it returns nil, which asks nobody.
func Start(cfg Config, prove func(old, size uint64) ([]tlog.Hash, error), more func(size uint64, note []byte)) (*Group, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if len(cfg.Witnesses) == 0 {
		return nil, nil
	}
	if cfg.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.IdleConnTimeout = 2, 5*time.Minute
		cfg.Transport = t
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	keys, err := cfg.cosigners()
	if err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, prove: prove, more: more, changed: make(chan struct{}), m: newMetrics()}
	g.ctx, g.stop = context.WithCancel(context.Background())
	for i, k := range keys {
		m := &member{g: g, at: i, key: k, url: cfg.Witnesses[i].URL, client: &http.Client{
			Transport: cfg.Transport, Timeout: cfg.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		g.members = append(g.members, m)
		g.done.Go(m.run)
	}
	return g, nil
}

// Close ends all requests.
func (g *Group) Close() {
	if g == nil {
		return
	}
	g.stop()
	g.done.Wait()
}

// MustAwait reports whether a checkpoint is shown only with a quorum.
func (g *Group) MustAwait() bool { return g != nil && g.cfg.Policy == Quorum }

// Enough reports whether a note has the cosignatures that it needs to be shown.
func (g *Group) Enough(note []byte) bool {
	if !g.MustAwait() {
		return true
	}
	var keys []*tlog.Cosigner
	for _, m := range g.members {
		keys = append(keys, m.key)
	}
	good, _, err := tlog.Cosigned(note, keys)
	return err == nil && len(good) >= g.cfg.Quorum
}

// Offer makes a signed checkpoint the one that witnesses are asked for.
func (g *Group) Offer(size uint64, note []byte) error {
	if g == nil {
		return nil
	}
	_, err := g.offer(size, note)
	return err
}

func (g *Group) offer(size uint64, note []byte) (*round, error) {
	text, _, err := tlog.Text(note)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.round; r != nil && r.size == size && slices.Equal(r.text, text) {
		return r, nil // what it has holds
	}
	g.round = &round{size: size, text: text, note: note, lines: make([][]byte, len(g.members))}
	g.wake()
	return g.round, nil
}

// wake tells all who wait; under mu.
func (g *Group) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// Cosign returns a signed checkpoint with the cosignatures of a quorum, however
// long that takes, or the context's error.
func (g *Group) Cosign(ctx context.Context, size uint64, note []byte) ([]byte, error) {
	r, err := g.offer(size, note)
	if err != nil {
		return nil, err
	}
	for {
		g.mu.Lock()
		changed := g.changed
		if r.have >= g.cfg.Quorum {
			note := r.cosigned()
			g.mu.Unlock()
			return note, nil
		}
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-g.ctx.Done():
			return nil, g.ctx.Err()
		}
	}
}

// Missing says what keeps the newest checkpoint from its quorum.
func (g *Group) Missing() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	have := 0
	if g.round != nil {
		have = g.round.have
	}
	errs := []error{fmt.Errorf("%d of %d cosignatures", have, g.cfg.Quorum)}
	for _, m := range g.members {
		if m.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.key.Name(), m.err))
		}
	}
	return errors.Join(errs...)
}

// next waits for a checkpoint that a witness was not asked for yet; nil at the end.
func (g *Group) next(m *member) *round {
	for {
		g.mu.Lock()
		r, changed := g.round, g.changed
		g.mu.Unlock()
		if r != nil && r != m.last {
			return r
		}
		select {
		case <-changed:
		case <-g.ctx.Done():
			return nil
		}
	}
}

// add takes a cosignature, also one that comes after the quorum.
func (g *Group) add(m *member, r *round, line []byte) {
	g.mu.Lock()
	m.err = nil
	if r.lines[m.at] == nil {
		r.have++
	}
	r.lines[m.at] = line
	size, note := r.size, r.cosigned()
	g.wake()
	g.mu.Unlock()
	g.more(size, note)
}

// Collectors are figures for Prometheus.
func (g *Group) Collectors() []prometheus.Collector {
	if g == nil {
		return nil
	}
	return []prometheus.Collector{g.m.cosignatures, g.m.failures, g.m.seconds}
}

type metrics struct {
	cosignatures, failures *prometheus.CounterVec
	seconds                *prometheus.HistogramVec
}

func newMetrics() *metrics {
	return &metrics{
		cosignatures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_cosignatures_total", Help: "Cosignatures got from a witness."}, []string{"witness"}),
		failures:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_cosignature_failures_total", Help: "Requests to a witness that gave none: unreachable, refused (the witness holds another history), invalid."}, []string{"witness", "why"}),
		seconds:      prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "countroom_cosignature_seconds", Help: "Time to get a cosignature.", Buckets: prometheus.ExponentialBuckets(200e-6, 2, 15)}, []string{"witness"}),
	}
}
