package house

import (
	"countroom/ledger"
	"countroom/rngcert/epoch"

	"github.com/prometheus/client_golang/prometheus"
)

// outside counts what beacon and witnesses did not deliver.
type outside struct {
	failures   prometheus.Counter
	missing    prometheus.Gauge
	downgraded prometheus.Collector
}

func (o *outside) init(h *House) {
	o.failures = prometheus.NewCounter(prometheus.CounterOpts{Name: "countroom_outside_failures_total", Help: "Attempts to get from beacon or witnesses what a seed needs, in which one of them failed or lied."})
	o.missing = prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_outside_missing", Help: "1 while what the outside is to add to a seed could not be had at the last attempt."})
	o.downgraded = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "countroom_outside_downgraded", Help: "1 while the seed epoch in use has less from outside than was committed to."}, func() (is float64) {
		_ = h.ledger.Peek(func(d ledger.Durable) error {
			if s := epoch.Now(d); s.Active != 0 && s.Downgraded {
				is = 1
			}
			return nil
		})
		return is
	})
}

// saw takes note of how an attempt ended.
func (o *outside) saw(err error) {
	o.missing.Set(0)
	if err != nil {
		o.failures.Inc()
		o.missing.Set(1)
	}
}
