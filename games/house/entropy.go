package house

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/rngcert/noise"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are where secrets come from, as the house looks after them. It is
// called by one goroutine at a time.
type Sources interface {
	// Tend lets each source prove that it works, and those that failed try to.
	Tend(context.Context)
	// Look says how the sources are, at once.
	Look() Look
}

// Look is how the sources of entropy are.
type Look struct {
	Minimum uint64 // of independent groups, without which nobody plays
	Sources []Seen
}

// Seen is how one source is.
type Seen struct {
	Name, Group string
	Reason      string // why it is out, as in noise.Failed; empty while it is in order
	Error       error  // the same, for the operator
}

// errNotTold says that the ledger takes nothing at present.
var errNotTold = errors.New("the log cannot be told now")

// tendEvery is how often sources are looked after where Config does not say. It is no
// multiple of what else the house waits for, so that in a simulated world, too, only
// one of them wakes at a time.
const tendEvery = 5*time.Second + 137*time.Microsecond

// sources looks after the sources of entropy, and has the log say when one fails
// and when it is back.
type sources struct {
	h *House
	// busy holds a token while sources are tended and the log is told, and while a
	// secret is made and committed to: so what a seed lists is what the log knows.
	busy chan struct{}

	healthy  *prometheus.GaugeVec
	failures *prometheus.CounterVec
	groups   prometheus.Gauge
	minimum  prometheus.Gauge
}

func (s *sources) init(h *House) {
	s.h, s.busy = h, make(chan struct{}, 1)
	s.healthy = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "countroom_entropy_source_healthy", Help: "Whether a source of entropy is in order."}, []string{"source"})
	s.failures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_entropy_failures_total", Help: "Failures of a source of entropy that this process saw."}, []string{"source"})
	s.groups = prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_entropy_groups", Help: "Independent groups of sources of entropy that are in order."})
	s.minimum = prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_entropy_groups_minimum", Help: "Independent groups of sources of entropy without which nobody plays."})
	if h.cfg.Sources != nil {
		s.show(h.cfg.Sources.Look())
	}
}

// Collectors are the house's own figures.
func (h *House) Collectors() []prometheus.Collector {
	s := &h.sources
	return []prometheus.Collector{s.healthy, s.failures, s.groups, s.minimum, h.seeds.halts, h.seeds.shut, h.outside.failures, h.outside.missing, h.outside.downgraded}
}

func (s *sources) show(l Look) {
	groups := map[string]bool{}
	for _, seen := range l.Sources {
		healthy := 0.0
		if seen.Reason == "" {
			healthy = 1
			groups[seen.Group] = true
		}
		s.healthy.WithLabelValues(seen.Name).Set(healthy)
		s.failures.WithLabelValues(seen.Name)
	}
	s.groups.Set(float64(len(groups)))
	s.minimum.Set(float64(l.Minimum))
}

// tend looks after the sources until the house closes.
func (s *sources) tend() {
	defer s.h.done.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.h.quit
		cancel()
	}()
	tick := time.NewTicker(s.h.cfg.TendSources)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.take()
		if s.tell(ctx) == nil { // none comes back before the log knows that it was out
			s.h.cfg.Sources.Tend(ctx)
		}
		err := s.tell(ctx)
		s.free()
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing && !errors.Is(err, errNotTold) { // the ledger says that itself
			s.h.cfg.Log.Error("the log was not told how the sources of entropy are", "error", err)
		}
		failing = err != nil
	}
}

func (s *sources) take() { s.busy <- struct{}{} }

func (s *sources) free() { <-s.busy }

// tell brings the log up to date with the sources. The caller has taken them.
func (s *sources) tell(ctx context.Context) error {
	if s.h.cfg.Sources == nil {
		return nil
	}
	if err := s.h.ledger.Ready(); err != nil {
		return fmt.Errorf("%w: %w", errNotTold, err)
	}
	look := s.h.cfg.Sources.Look()
	s.show(look)
	reads, news := []string{noise.StateKey}, false
	err := s.h.ledger.View(ctx, func(rows book.Reader) error {
		reads, news = reads[:1], false
		now := noise.Now(rows)
		for _, seen := range look.Sources {
			reads = append(reads, noise.Key(seen.Name))
			news = news || changed(&now, seen)
		}
		return nil
	})
	if err != nil || !news {
		return err
	}
	var failed, restored []Seen
	_, err = s.h.ledger.Update(ctx, ledger.Command{Reads: reads, Run: func(tx *ledger.Tx) error {
		failed, restored = nil, nil
		now := noise.Now(tx)
		// What the log takes to be in order, one entry after another.
		groups := map[string]int{}
		for _, seen := range look.Sources {
			if now.Failure(seen.Name) == nil {
				groups[seen.Group]++
			}
		}
		for _, seen := range look.Sources {
			out := now.Failure(seen.Name)
			switch {
			case !changed(&now, seen):
			case seen.Reason == "":
				groups[seen.Group]++
				restored = append(restored, seen)
				if _, err := tx.Append(&noise.Restored{
					Header: byHouse(), Count: out.Count, Group: seen.Group, Groups: uint64(len(groups)), Minimum: look.Minimum, Source: seen.Name,
				}); err != nil {
					return err
				}
			default:
				if out == nil {
					if groups[seen.Group]--; groups[seen.Group] == 0 {
						delete(groups, seen.Group)
					}
				}
				failed = append(failed, seen)
				if _, err := tx.Append(&noise.Failed{
					Header: byHouse(), Count: noise.Failures(tx, seen.Name) + 1, Group: seen.Group, Groups: uint64(len(groups)), Minimum: look.Minimum,
					Reason: seen.Reason, Source: seen.Name,
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	for _, seen := range failed {
		s.failures.WithLabelValues(seen.Name).Inc()
		s.h.cfg.Log.Error("a source of entropy failed", "source", seen.Name, "reason", seen.Reason, "error", seen.Error)
	}
	for _, seen := range restored {
		s.h.cfg.Log.Info("a source of entropy is in order again", "source", seen.Name)
	}
	return nil
}

// changed is whether the log does not know yet how a source is.
func changed(now *noise.State, seen Seen) bool {
	out := now.Failure(seen.Name)
	if seen.Reason == "" {
		return out != nil
	}
	return out == nil || !out.Said
}

// begin has the log told how the sources are before anybody can play.
func (s *sources) begin(ctx context.Context) error {
	s.take()
	defer s.free()
	if err := s.tell(ctx); !errors.Is(err, errNotTold) {
		return err
	}
	return nil // nor can anybody play
}

// stopped is whether an error says that the sources are too few, which passes.
func stopped(err error) bool { return errors.Is(err, noise.ErrStopped) }
