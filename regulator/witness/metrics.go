package witness

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	size      *prometheus.GaugeVec
	time      *prometheus.GaugeVec
	seconds   prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_witness_requests_total", Help: "Submissions by log (empty when unknown) and status."}, []string{"origin", "status"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_witness_conflicts_total", Help: "Signed checkpoints that do not go with the recorded one: proven by two signatures, or unproven. Alarm on any."}, []string{"origin", "kind"}),
		size:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "countroom_witness_size", Help: "Size of the newest cosigned checkpoint."}, []string{"origin"}),
		time:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "countroom_witness_cosigned_seconds", Help: "Unix time of the newest cosignature."}, []string{"origin"}),
		seconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "countroom_witness_seconds", Help: "Time to answer a submission.", Buckets: prometheus.ExponentialBuckets(100e-6, 2, 16)}),
	}
	m.registry.MustRegister(m.requests, m.conflicts, m.size, m.time, m.seconds)
	return m
}

// Registerer takes what else is counted beside the witness.
func (w *Witness) Registerer() prometheus.Registerer { return w.m.registry }
