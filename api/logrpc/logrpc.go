// Package logrpc serves the log over Trillian's gRPC Log API, for whoever has a
// Trillian client and a certificate of the house's readers: read-only, and nothing
// that is not signed. There is no way to open it without TLS.
package logrpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"path"
	"runtime/debug"
	"sync"
	"time"

	"countroom/ledger"
	"countroom/ledger/trillian"

	gtrillian "github.com/google/trillian"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/util/clock"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// What clients may hold up: an answer is at most 1 MiB of leaves and their hashes, so
// that all that wait to be read are a quarter of a gigabyte, whoever does not read them.
const (
	connectionsMost = 32
	streamsMost     = 8 // of a connection
	callsMost       = 16
	requestMost     = 16 << 10
	handshakeMost   = 5 * time.Second
	callMost        = 30 * time.Second
)

// Config is how the log is served.
type Config struct {
	// Certificate is the house's, and Clients are those who sign the certificates of
	// its readers.
	Certificate tls.Certificate
	Clients     *x509.CertPool
	// Renewed, if set, is asked for both as they are now, by each client that connects.
	Renewed func() (tls.Certificate, *x509.CertPool)
	// Enter returns the log to read; leave is called when that is done.
	Enter func() (log *ledger.Ledger, leave func())
	Log   *slog.Logger

	handshake time.Duration // default handshakeMost
}

// tls is how clients are met. No session is resumed, so that each shows a certificate.
func (c *Config) tls() *tls.Config {
	of := func(cert tls.Certificate, clients *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, SessionTicketsDisabled: true,
		}
	}
	all := of(c.Certificate, c.Clients)
	if c.Renewed != nil {
		all.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(c.Renewed()), nil }
	}
	return all
}

// Server serves the log.
type Server struct {
	log    *slog.Logger
	grpc   *grpc.Server
	health *health.Server
	places chan struct{}

	calls       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	connections prometheus.Gauge
}

// New returns a server that Serve has listen.
func New(cfg Config) *Server {
	s := &Server{
		log: cfg.Log, health: health.NewServer(), places: make(chan struct{}, callsMost),
		calls:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_trillian_calls_total", Help: "Calls of Trillian's Log API, by their outcome."}, []string{"method", "code"}),
		seconds:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "countroom_trillian_call_seconds", Help: "Time to answer a call of Trillian's Log API.", Buckets: prometheus.ExponentialBuckets(100e-6, 4, 9)}, []string{"method"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "countroom_trillian_connections", Help: "Clients of Trillian's Log API that are connected."}),
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(cfg.tls())),
		grpc.ConnectionTimeout(cmp.Or(cfg.handshake, handshakeMost)), grpc.MaxConcurrentStreams(streamsMost), grpc.MaxRecvMsgSize(requestMost), grpc.MaxHeaderListSize(requestMost),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, MaxConnectionAge: time.Hour, MaxConnectionAgeGrace: callMost, Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // what they read is closed next
		grpc.UnaryInterceptor(s.call), grpc.StatsHandler(connected{s.connections}),
	)
	gtrillian.RegisterTrillianLogServer(s.grpc, newService(cfg.Enter))
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(gtrillian.TrillianLog_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return s
}

// Serve serves a listener until Shutdown, when it returns nil.
func (s *Server) Serve(lis net.Listener) error {
	return s.grpc.Serve(netutil.LimitListener(lis, connectionsMost))
}

// Shutdown lets calls under way finish until the context ends, and returns when none
// reads any more.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	defer context.AfterFunc(ctx, s.grpc.Stop)()
	s.grpc.GracefulStop()
}

// Collectors returns the server's figures, to be registered once.
func (s *Server) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.calls, s.seconds, s.connections}
}

// call is around each call.
func (s *Server) call(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	method, start := path.Base(info.FullMethod), time.Now()
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("a call of Trillian's Log API failed", "method", method, "panic", r, "stack", string(debug.Stack()))
			answer, err = nil, errInternal
		}
		s.calls.WithLabelValues(method, status.Code(err).String()).Inc()
		s.seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
	}()
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return nil, status.Error(codes.ResourceExhausted, "too many calls are under way")
	}
	answer, err = handler(ctx, req)
	if c := status.Code(err); c == codes.Unknown || c == codes.Internal {
		// What the store says of itself is not for others.
		s.log.Error("a call of Trillian's Log API failed", "method", method, "error", err)
		return nil, errInternal
	}
	return answer, err
}

var errInternal = status.Error(codes.Internal, "the log could not be read")

// readOnly is Trillian's own service, which refuses what would write before anything
// of it is looked at.
type readOnly struct{ *server.TrillianLogRPCServer }

func newService(enter func() (*ledger.Ledger, func())) readOnly {
	return readOnly{server.NewTrillianLogRPCServer(extension.Registry{
		AdminStorage: trillian.Admin{}, LogStorage: now{enter: enter}, QuotaManager: quota.Noop(),
	}, clock.System)}
}

func (readOnly) QueueLeaf(context.Context, *gtrillian.QueueLeafRequest) (*gtrillian.QueueLeafResponse, error) {
	return nil, trillian.ErrReadOnly
}

func (readOnly) AddSequencedLeaves(context.Context, *gtrillian.AddSequencedLeavesRequest) (*gtrillian.AddSequencedLeavesResponse, error) {
	return nil, trillian.ErrReadOnly
}

func (readOnly) InitLog(context.Context, *gtrillian.InitLogRequest) (*gtrillian.InitLogResponse, error) {
	return nil, trillian.ErrReadOnly
}

// now is the storage of whichever log is open: a house is opened again when there is
// room on its disk, or another machine of its pair writes.
type now struct {
	*trillian.Log // nil: what it says of all logs
	enter         func() (*ledger.Ledger, func())
}

// SnapshotForTree reads the log that is open until the transaction is closed.
func (n now) SnapshotForTree(ctx context.Context, t *gtrillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	l, leave := n.enter()
	tx, err := l.Driver().SnapshotForTree(ctx, t)
	if err != nil {
		leave()
		return nil, err
	}
	return entered{tx, sync.OnceFunc(leave)}, nil
}

type entered struct {
	storage.ReadOnlyLogTreeTX
	leave func()
}

func (e entered) Close() error {
	defer e.leave()
	return e.ReadOnlyLogTreeTX.Close()
}

// connected counts connections.
type connected struct{ open prometheus.Gauge }

func (connected) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connected) HandleRPC(context.Context, stats.RPCStats)                         {}
func (connected) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c connected) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.open.Inc()
	case *stats.ConnEnd:
		c.open.Dec()
	}
}
