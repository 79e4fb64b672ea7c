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
	registry.MustRegister(m.requests, m.seconds, m.problems, rounds)
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
