package api

import (
	"strconv"
	"time"

	"countroom/games/house"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the figures of this package.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	problems *prometheus.CounterVec
}

func newMetrics(h *house.House, registry *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_http_requests_total", Help: "Requests answered."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "countroom_http_request_seconds", Help: "Time from the request's header to the answer.", Buckets: prometheus.ExponentialBuckets(250e-6, 2, 14),
		}, []string{"method", "route"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_refusals_total", Help: "Requests refused, by the name of the problem."}, []string{"problem"}),
	}
	rounds := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "countroom_rounds_settled_total", Help: "Rounds settled by this process."}, func() float64 {
		return float64(h.Settled())
	})
	alarms := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "countroom_chance_alarms_total", Help: "Alarms about the chance of a game that this process raised."}, func() float64 {
		return float64(h.Alarmed())
	})
	registry.MustRegister(m.requests, m.seconds, m.problems, rounds, alarms, monitors{h})
	registry.MustRegister(h.Ledger().Collectors()...)
	registry.MustRegister(h.Collectors()...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, p := range problems {
		m.problems.WithLabelValues(p.name)
	}
	return m
}

func (m *metrics) problem(name string) { m.problems.WithLabelValues(name).Inc() }

// routeMetrics are those of one route, with the usual status looked up before.
type routeMetrics struct {
	all     *metrics
	route   *route
	usual   prometheus.Counter
	seconds prometheus.Observer
}

func (m *metrics) of(r *route) *routeMetrics {
	return &routeMetrics{
		all: m, route: r,
		usual:   m.requests.WithLabelValues(r.method, r.path, strconv.Itoa(r.usual())),
		seconds: m.seconds.WithLabelValues(r.method, r.path),
	}
}

func (m *routeMetrics) observe(status int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	if status == m.route.usual() {
		m.usual.Inc()
	} else {
		m.all.requests.WithLabelValues(m.route.method, m.route.path, strconv.Itoa(status)).Inc()
	}
}

// monitors shows how the monitors of the games' chance stand.
type monitors struct{ house *house.House }

var (
	chanceRounds    = prometheus.NewDesc("countroom_chance_rounds", "Rounds of the game's release that its monitor has seen.", []string{"game"}, nil)
	chanceEvidence  = prometheus.NewDesc("countroom_chance_evidence_bits", "Evidence against the chance of a game, of the component that has most.", []string{"game", "component"}, nil)
	chanceThreshold = prometheus.NewDesc("countroom_chance_threshold_bits", "Evidence at which there is an alarm.", []string{"game"}, nil)
)

func (m monitors) Describe(ch chan<- *prometheus.Desc) {
	ch <- chanceRounds
	ch <- chanceEvidence
	ch <- chanceThreshold
}

func (m monitors) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.house.Monitors() {
		ch <- prometheus.MustNewConstMetric(chanceRounds, prometheus.GaugeValue, float64(v.Rounds), v.Game)
		ch <- prometheus.MustNewConstMetric(chanceEvidence, prometheus.GaugeValue, float64(v.Evidence), v.Game, v.Strongest)
		ch <- prometheus.MustNewConstMetric(chanceThreshold, prometheus.GaugeValue, float64(v.Threshold), v.Game)
	}
}
