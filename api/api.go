// Package api is the house over HTTP: it decodes requests, tells who asks,
// calls the use cases of package house and writes what they return. It decides
// nothing: every rule of play and money is beneath it.
//
// Commands are POSTs and answered with the entry they made and its receipt.
// Refusals are RFC 9457 problems, under every path. The published log is
// c2sp.org/tlog-tiles under /log/. GET /openapi.json describes all of it, and
// GET /docs shows that to people. The pages for regulators and players, under
// /regulator/ and at /verify, are package portal's.
package api

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"countroom/games/house"
	"countroom/ledger"
	"countroom/regulator/export/archive"
	"countroom/regulator/portal"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed openapi.json
var openAPI []byte

// Options of a server; the zero value admits sessions only.
type Options struct {
	Tokens Tokens
	// Returns are the certified returns of games by the hash of their maths, as
	// decimal fractions of the stake such as "0.95636915".
	Returns map[[32]byte]string
	// Ready adds to what the house itself says of its readiness; its error is
	// shown.
	Ready    func() error
	Exports  *archive.Archive     // nil: none are made
	Registry *prometheus.Registry // default a new one
	Log      *slog.Logger         // default slog.Default
}

// Server serves one house. It is an http.Handler.
type Server struct {
	house    *house.House
	keys     keyring
	returns  map[[32]byte]string
	ready    func() error
	exports  *archive.Archive
	log      *slog.Logger
	metrics  *metrics
	echo     *echo.Echo
	draining atomic.Bool
	turns    *turns
	pages    *portal.Portal
	waiting  atomic.Pointer[patience]
	// An answer is waited for at least patient, and sometimes sharing longer.
	patient, sharing time.Duration
}

// New returns a server of a house.
func New(h *house.House, opts Options) *Server {
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &Server{
		house: h, keys: newKeyring(opts.Tokens), returns: opts.Returns, ready: opts.Ready, exports: opts.Exports, log: opts.Log,
		metrics: newMetrics(h, opts.Registry), echo: echo.New(), turns: newTurns(),
		patient: 15 * time.Second, sharing: 5 * time.Second,
	}
	documentation() // made now, not for the first who asks
	for _, r := range s.routes(promhttp.HandlerFor(opts.Registry, promhttp.HandlerOpts{})) {
		s.add(r)
	}
	pages := portal.New(portal.Config{Ledger: h.Ledger(), Token: opts.Tokens.Regulator, Groups: house.PlayerGroups, Ready: h.Ready, Sign: h.Sign, Log: opts.Log})
	s.pages = pages
	for _, path := range []string{"/regulator", "/regulator/*", "/verify", "/verify/*"} {
		s.echo.Any(path, s.watch(&route{"any", path, echo.WrapHandler(pages)}))
	}
	unmatched := s.metrics.of(&route{method: "any", path: "none"})
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) {
		start := time.Now()
		var he *echo.HTTPError
		switch {
		case errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed: // echo has set Allow
			err = methodNotAllow.with("")
		case errors.As(err, &he):
			err = notFound.with("")
		}
		unmatched.observe(s.writeProblem(c, err), time.Since(start))
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Refuse answers a request with the problem that an error is shown as.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.writeProblem(s.echo.NewContext(r, w), err)
}

// Drain makes the server say that it is not ready, so that no new clients are
// sent to it; it goes on serving.
func (s *Server) Drain() { s.draining.Store(true) }

// route is one operation; its path is a template such as /v1/players/{id}, and
// {name...} takes the rest of the path.
type route struct {
	method, path string
	serve        echo.HandlerFunc
}

// isCommand reports whether requests of a method are commands.
func isCommand(method string) bool { return method == http.MethodPost || method == http.MethodPut }

// usual is the status of success.
func (r *route) usual() int {
	if isCommand(r.method) {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (s *Server) routes(metrics http.Handler) []*route {
	return []*route{
		{"POST", "/v1/players", s.createPlayer},
		{"POST", "/v1/players/{id}/deposits", s.deposit},
		{"POST", "/v1/players/{id}/withdrawals", s.withdraw},
		{"POST", "/v1/players/{id}/state", s.setPlayerState},
		{"PUT", "/v1/players/{id}/subject", s.recordSubject},
		{"POST", "/v1/sessions", s.openSession},
		{"POST", "/v1/sessions/{id}/close", s.closeSession},
		{"POST", "/v1/spins", s.spin},
		{"PUT", "/v1/nonce", s.setNonce},
		{"POST", "/v1/rounds/{id}/displayed", s.displayed},
		{"POST", "/v1/games/{id}/state", s.setGameState},

		{"GET", "/v1/players/{id}", s.getPlayer},
		{"GET", "/v1/players/{id}/subject", s.getSubject},
		{"GET", "/v1/players/{id}/rounds", s.listRounds},
		{"GET", "/v1/players/{id}/transactions", s.listTransactions},
		{"GET", "/v1/rounds/{id}", s.getRound},
		{"GET", "/v1/rounds/{id}/dispute-pack", s.getDisputePack},
		{"GET", "/v1/entries/{index}", s.getEntry},
		{"GET", "/v1/games", s.listGames},
		{"GET", "/v1/games/{id}", s.getGame},
		{"GET", "/v1/epochs/{n}", s.getEpoch},

		{"POST", "/v1/exports", s.createExport},
		{"GET", "/v1/exports/{id}", s.getExport},
		{"GET", "/v1/exports/{id}/file", s.getExportFile},
		{"GET", "/v1/exports/{id}/certificate", s.getSpanCertificate},

		{"GET", "/log/checkpoint", s.logCheckpoint},
		{"GET", "/log/cosigned", s.logCosigned},
		{"GET", "/log/vkey", s.logVKey},
		{"GET", "/log/tile/entries/{bundle...}", s.logEntries},
		{"GET", "/log/tile/{tile...}", s.logTile},
		{"GET", "/log/blob/{sha256}", s.logBlob},

		{"GET", "/livez", s.livez},
		{"GET", "/readyz", s.readyz},
		{"GET", "/metrics", echo.WrapHandler(metrics)},
		{"GET", "/openapi.json", s.describe},
		{"GET", "/problems/{name}", s.explainProblem},
		{"GET", "/docs", s.showDocs},
		{"GET", "/docs/{file}", s.showDocsFile},
		{"GET", "/", s.leadToDocs},
	}
}

// add registers a route; a GET also answers HEAD.
func (s *Server) add(r *route) {
	parts := strings.Split(r.path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			parts[i] = ":" + strings.TrimSuffix(name, "}")
			if strings.HasSuffix(p, "...}") {
				parts[i] = "*"
			}
		}
	}
	path, serve := strings.Join(parts, "/"), s.watch(r)
	s.echo.Add(r.method, path, serve)
	if r.method == http.MethodGet {
		s.echo.Add(http.MethodHead, path, serve)
	}
}

// watch makes of a route's function one that writes its errors as problems,
// survives its panics, and is measured.
func (s *Server) watch(r *route) echo.HandlerFunc {
	m := s.metrics.of(r)
	return func(c echo.Context) error {
		start := time.Now()
		defer func() {
			err := recover()
			if err == http.ErrAbortHandler {
				panic(err)
			}
			if err != nil {
				s.log.Error("a request panicked", "method", r.method, "route", r.path, "panic", err, "stack", string(debug.Stack()))
				s.failed(c, fmt.Errorf("panic: %v", err))
			}
			took := time.Since(start)
			status := c.Response().Status
			m.observe(status, took)
			if s.log.Enabled(context.Background(), slog.LevelDebug) {
				s.log.Debug("request", "method", r.method, "route", r.path, "status", status, "seconds", took.Seconds())
			}
		}()
		if err := r.serve(c); err != nil {
			if errors.Is(err, ledger.ErrOverloaded) {
				hold(c.Request())
			}
			// What was not accepted is counted, not written down: under overload that
			// would cost more than the refusal.
			if status := s.failed(c, err); status >= 500 && refusalOf(err).outcome != notAccepted {
				s.log.Warn("a request failed", "method", r.method, "route", r.path, "status", status, "error", err)
			}
		}
		return nil
	}
}

// failed answers with an error, unless an answer has begun.
func (s *Server) failed(c echo.Context, err error) (status int) {
	if c.Response().Committed {
		return c.Response().Status
	}
	return s.writeProblem(c, err)
}

// patience is a context that all requests of some seconds share, since one of
// each request's own would cost more than most of what is done for it here. A
// command whose context ends is answered with outcome-unknown. That the client
// has gone away ends nothing: what it asked for is on its way.
type patience struct {
	context.Context
	since time.Time
}

var errPatience = errors.New("the answer takes too long")

// context returns the context of a request.
func (s *Server) context() context.Context {
	now := time.Now()
	p := s.waiting.Load()
	if p == nil || now.Sub(p.since) > s.sharing {
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(s.patient+s.sharing, func() { cancel(errPatience) })
		p = &patience{ctx, now}
		s.waiting.Store(p)
	}
	return p
}
