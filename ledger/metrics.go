package ledger

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the ledger's figures for Prometheus.
type Metrics struct {
	entries       prometheus.Counter
	parked        prometheus.Counter
	batchEntries  prometheus.Histogram
	commitSeconds prometheus.Histogram
	signSeconds   prometheus.Histogram
}

func newMetrics() *Metrics {
	seconds := prometheus.ExponentialBuckets(50e-6, 2, 16)
	return &Metrics{
		entries:       prometheus.NewCounter(prometheus.CounterOpts{Name: "countroom_ledger_entries_total", Help: "Entries made durable."}),
		parked:        prometheus.NewCounter(prometheus.CounterOpts{Name: "countroom_ledger_parked_total", Help: "Commands that had to wait for a row from the store."}),
		batchEntries:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "countroom_ledger_batch_entries", Help: "Entries per commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 13)}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "countroom_ledger_commit_seconds", Help: "Time to make a batch durable.", Buckets: seconds}),
		signSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "countroom_ledger_sign_seconds", Help: "Time to guard and sign a checkpoint.", Buckets: seconds}),
	}
}

// Collectors returns the ledger's figures, to be registered once.
func (l *Ledger) Collectors() []prometheus.Collector {
	return append(l.witnesses.Collectors(), []prometheus.Collector{
		l.m.entries, l.m.parked, l.m.batchEntries, l.m.commitSeconds, l.m.signSeconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countroom_ledger_queue", Help: "Commands accepted and not answered yet."}, func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return float64(l.waiting)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countroom_ledger_admitted", Help: "Commands let in whose callers have not gone on yet."}, func() float64 {
			return float64(l.inside.Load())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countroom_ledger_size", Help: "Entries under the newest signed checkpoint."}, func() float64 {
			if s := l.signed.Load(); s != nil {
				return float64(s.Size)
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countroom_ledger_ready", Help: "1 while commands are accepted."}, func() float64 {
			if l.Ready() != nil {
				return 0
			}
			return 1
		}),
	}...)
}
