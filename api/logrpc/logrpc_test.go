package logrpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	gtrillian "github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	pair := a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, with := a.cert, a.key
	if by == nil {
		by, with = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) server() tls.Certificate {
	return a.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) reader() tls.Certificate {
	return a.issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// world is a house whose log is served.
type world struct {
	t     testing.TB
	house *housetest.House
	ca    *authority
	*Server
	addr   string
	inside atomic.Int64
	served chan error
	n      int
}

func open(t testing.TB, options ...func(*Config)) *world {
	w := &world{t: t, ca: newAuthority(t), served: make(chan error, 1)}
	w.house = housetest.Open(t, t.TempDir(), func(c *ledger.Config, _ *house.Config) { c.LeafHashes = true })
	cfg := Config{
		Certificate: w.ca.server(), Clients: w.ca.pool, Log: slog.New(slog.DiscardHandler),
		Enter: func() (*ledger.Ledger, func()) {
			w.inside.Add(1)
			return w.house.Ledger, func() { w.inside.Add(-1) }
		},
	}
	for _, o := range options {
		o(&cfg)
	}
	w.Server = New(cfg)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = lis.Addr().String()
	go func() { w.served <- w.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		w.Shutdown(ctx)
	})
	return w
}

// dial connects as somebody with a certificate.
func (w *world) dial(cert ...tls.Certificate) *grpc.ClientConn {
	w.t.Helper()
	return w.connect(credentials.NewTLS(&tls.Config{RootCAs: w.ca.pool, Certificates: cert}))
}

func (w *world) connect(creds credentials.TransportCredentials) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// seat appends entries to the log.
func (w *world) seat(players int) {
	w.t.Helper()
	for range players {
		w.n++
		id := fmt.Sprint("player-", w.n)
		if _, err := w.house.CreatePlayer(w.t.Context(), house.Request{Key: id, Method: "POST", Path: "/v1/players", Principal: "operator", Body: []byte(id)}, id, "EUR"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// figure is what a counter or a gauge says.
func figure(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := all[0].Metric[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// A regulator's stock Trillian client follows the log, over mutual TLS, and the root
// that it is given carries the house's signature.
func TestAStockClientFollowsTheLog(t *testing.T) {
	w := open(t)
	w.seat(5)
	conn := w.dial(w.ca.reader())
	rpc := gtrillian.NewTrillianLogClient(conn)
	c := client.New(trillian.TreeID, rpc, client.NewLogVerifier(rfc6962.DefaultHasher), types.LogRootV1{})
	v, err := tlog.NewVerifier(w.house.Ledger.VKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []int{0, 1, 300} {
		w.seat(more)
		root, err := c.UpdateRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if root == nil {
			root = c.GetRoot()
		}
		signed, err := tlog.Open(root.Metadata, v)
		if err != nil || signed.Size != root.TreeSize || !bytes.Equal(signed.Root[:], root.RootHash) || root.TreeSize < uint64(w.n) {
			t.Fatalf("size %d, signed is %+v, %v", root.TreeSize, signed, err)
		}
		for i := uint64(0); i < root.TreeSize; i += 1 + root.TreeSize/10 {
			r, err := w.house.Ledger.Entry(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitForInclusion(t.Context(), r.Leaf); err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
			got, err := c.ListByIndex(t.Context(), int64(i), 1)
			if err != nil || !bytes.Equal(got[0].LeafValue, r.Leaf) {
				t.Fatalf("entry %d: %v, %v", i, got, err)
			}
		}
	}
	if n := figure(t, w.calls.WithLabelValues("GetLatestSignedLogRoot", "OK")); n < 3 {
		t.Errorf("%v calls were counted", n)
	}
	if n := figure(t, w.connections); n != 1 {
		t.Errorf("%v connections were counted", n)
	}
	if n := w.inside.Load(); n != 0 {
		t.Errorf("%d are still inside", n)
	}
	health := grpc_health_v1.NewHealthClient(conn)
	for _, service := range []string{"", "trillian.TrillianLog"} {
		if h, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, h, err)
		}
	}
}

// Nobody writes, and nobody is told of a tree that there is not.
func TestWhatIsRefused(t *testing.T) {
	w := open(t)
	w.seat(3)
	rpc := gtrillian.NewTrillianLogClient(w.dial(w.ca.reader()))
	ctx, size := t.Context(), int64(w.house.Ledger.Signed().Size)
	const id = trillian.TreeID
	leaf := &gtrillian.LogLeaf{LeafValue: []byte("x"), LeafIndex: size}
	hash := rfc6962.DefaultHasher.HashLeaf([]byte("never"))
	first, err := w.house.Ledger.Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	there := rfc6962.DefaultHasher.HashLeaf(first.Leaf)
	for name, c := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"QueueLeaf": {func() error {
			_, err := rpc.QueueLeaf(ctx, &gtrillian.QueueLeafRequest{LogId: id, Leaf: leaf})
			return err
		}, codes.PermissionDenied},
		"AddSequencedLeaves": {func() error {
			_, err := rpc.AddSequencedLeaves(ctx, &gtrillian.AddSequencedLeavesRequest{LogId: id, Leaves: []*gtrillian.LogLeaf{leaf}})
			return err
		}, codes.PermissionDenied},
		"nothing added": {func() error {
			_, err := rpc.AddSequencedLeaves(ctx, &gtrillian.AddSequencedLeavesRequest{LogId: id})
			return err
		}, codes.PermissionDenied},
		"InitLog": {func() error {
			_, err := rpc.InitLog(ctx, &gtrillian.InitLogRequest{LogId: id})
			return err
		}, codes.PermissionDenied},
		"another tree": {func() error {
			_, err := rpc.GetLatestSignedLogRoot(ctx, &gtrillian.GetLatestSignedLogRootRequest{LogId: 2})
			return err
		}, codes.NotFound},
		"a root from beyond": {func() error {
			_, err := rpc.GetLatestSignedLogRoot(ctx, &gtrillian.GetLatestSignedLogRootRequest{LogId: id, FirstTreeSize: 1 << 60})
			return err
		}, codes.InvalidArgument},
		"a tree that is not signed": {func() error {
			_, err := rpc.GetInclusionProofByHash(ctx, &gtrillian.GetInclusionProofByHashRequest{LogId: id, LeafHash: there, TreeSize: size + 1<<40})
			return err
		}, codes.OutOfRange},
		"a hash that is not there": {func() error {
			_, err := rpc.GetInclusionProofByHash(ctx, &gtrillian.GetInclusionProofByHashRequest{LogId: id, LeafHash: hash, TreeSize: size})
			return err
		}, codes.NotFound},
		"a request without end": {func() error {
			_, err := rpc.GetInclusionProofByHash(ctx, &gtrillian.GetInclusionProofByHashRequest{LogId: id, LeafHash: make([]byte, 1<<20), TreeSize: size})
			return err
		}, codes.ResourceExhausted},
	} {
		if err := c.call(); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// However much is asked for, an answer is what a client takes by default.
	if all, err := rpc.GetLeavesByRange(ctx, &gtrillian.GetLeavesByRangeRequest{LogId: id, Count: 1 << 62}); err != nil || int64(len(all.Leaves)) != size {
		t.Errorf("%d leaves of %d, %v", len(all.GetLeaves()), size, err)
	}
}

// Who has no certificate of the readers' authority learns nothing, and there is no
// way without TLS 1.3.
func TestStrangersAreNotLetIn(t *testing.T) {
	w := open(t)
	other := newAuthority(t)
	old := &tls.Config{RootCAs: w.ca.pool, Certificates: []tls.Certificate{w.ca.reader()}, MaxVersion: tls.VersionTLS12}
	for name, conn := range map[string]*grpc.ClientConn{
		"no certificate":           w.dial(),
		"one of another authority": w.dial(other.reader()),
		"one that is a server's":   w.dial(w.ca.server()),
		"TLS 1.2":                  w.connect(credentials.NewTLS(old)),
		"no TLS":                   w.connect(insecure.NewCredentials()),
	} {
		_, err := gtrillian.NewTrillianLogClient(conn).GetLatestSignedLogRoot(t.Context(), &gtrillian.GetLatestSignedLogRootRequest{LogId: trillian.TreeID})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s, of its health: %v", name, err)
		}
	}
}

// More clients than there are places wait until one is gone.
func TestConnectionsAreBounded(t *testing.T) {
	w := open(t, func(c *Config) { c.handshake = 10 * time.Minute }) // in which nobody is hung up on
	cert := w.ca.reader()
	var conns []*tls.Conn
	dial := func() *tls.Conn {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return tls.Client(c, &tls.Config{RootCAs: w.ca.pool, Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1", NextProtos: []string{"h2"}})
	}
	for range connectionsMost {
		c := dial()
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	late, shaken := dial(), make(chan error, 1)
	go func() { shaken <- late.HandshakeContext(t.Context()) }()
	select {
	case err := <-shaken:
		t.Fatalf("one more was let in: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	for _, c := range conns {
		c.NetConn().Close()
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
}

// Who connects and does not show a certificate gives the place back.
func TestASilentClientIsHungUpOn(t *testing.T) {
	w := open(t, func(c *Config) { c.handshake = 20 * time.Millisecond })
	for range 2 * connectionsMost { // more than there are places: each is free again
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	}
}

// A stop waits for who is reading, and then there is nobody inside.
func TestAStopLetsNobodyRead(t *testing.T) {
	w := open(t)
	rpc := gtrillian.NewTrillianLogClient(w.dial(w.ca.reader()))
	ended := make(chan error, 8)
	for range cap(ended) {
		go func() {
			for {
				if _, err := rpc.GetLeavesByRange(context.Background(), &gtrillian.GetLeavesByRangeRequest{LogId: trillian.TreeID, Count: 100}); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for figure(t, w.calls.WithLabelValues("GetLeavesByRange", "OK")) < 50 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w.Shutdown(ctx)
	if n := w.inside.Load(); n != 0 {
		t.Errorf("%d are inside after the stop", n)
	}
	if err := <-w.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	for range cap(ended) {
		<-ended
	}
}

// A call that panics is one call that failed, and what the store says of itself stays here.
func TestFailuresStayInside(t *testing.T) {
	var said bytes.Buffer
	s := New(Config{Log: slog.New(slog.NewTextHandler(&said, nil))})
	info := &grpc.UnaryServerInfo{FullMethod: "/trillian.TrillianLog/GetEntryAndProof"}
	for name, f := range map[string]grpc.UnaryHandler{
		"an error": func(context.Context, any) (any, error) { return 1, errors.New("/var/lib/secret is gone") },
		"a panic":  func(context.Context, any) (any, error) { panic("/var/lib/secret") },
	} {
		said.Reset()
		answer, err := s.call(t.Context(), nil, info, f)
		if answer != nil || status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") || !strings.Contains(said.String(), "secret") {
			t.Errorf("%s: %v, %v; the log says %s", name, answer, err, said.String())
		}
	}
	// Nobody waits for a place for ever.
	for range callsMost {
		s.places <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.call(ctx, nil, info, func(context.Context, any) (any, error) { return nil, nil }); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("without a place: %v", err)
	}
}

// Whatever a reader sends, it gets what is signed or an error that says nothing of
// the inside.
func FuzzCalls(f *testing.F) {
	h := housetest.Open(f, f.TempDir(), func(c *ledger.Config, _ *house.Config) { c.LeafHashes = true })
	s := New(Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	methods := gtrillian.TrillianLog_ServiceDesc.Methods
	service := newService(func() (*ledger.Ledger, func()) { return h.Ledger, func() {} })
	for i, m := range []proto.Message{
		&gtrillian.GetLeavesByRangeRequest{LogId: 1, StartIndex: 1, Count: 1 << 62}, &gtrillian.GetInclusionProofRequest{LogId: 1, LeafIndex: 1, TreeSize: 2},
		&gtrillian.GetEntryAndProofRequest{LogId: 1, LeafIndex: 0, TreeSize: 1 << 62}, &gtrillian.GetConsistencyProofRequest{LogId: 1, FirstTreeSize: 1, SecondTreeSize: 3},
		&gtrillian.GetInclusionProofByHashRequest{LogId: 1, LeafHash: make([]byte, 32), TreeSize: 1 << 62}, &gtrillian.GetLatestSignedLogRootRequest{LogId: 1, FirstTreeSize: 2},
		&gtrillian.AddSequencedLeavesRequest{LogId: 1, Leaves: []*gtrillian.LogLeaf{{LeafValue: []byte("x")}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for j := range methods {
			f.Add(uint8(i+j), b)
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, request []byte) {
		size := h.Ledger.Signed().Size
		m := methods[int(method)%len(methods)]
		decode := func(into any) error { return proto.Unmarshal(request, into.(proto.Message)) }
		answer, err := m.Handler(service, t.Context(), decode, s.call)
		if status.Code(err) == codes.Internal {
			t.Fatalf("%s: %v", m.MethodName, err)
		}
		rooted, ok := answer.(interface {
			GetSignedLogRoot() *gtrillian.SignedLogRoot
		})
		if err != nil || !ok {
			return
		}
		var root types.LogRootV1
		if err := root.UnmarshalBinary(rooted.GetSignedLogRoot().GetLogRoot()); err != nil || root.TreeSize < size || root.TreeSize > h.Ledger.Signed().Size {
			t.Fatalf("%s: %v, %+v", m.MethodName, err, root)
		}
	})
}

// A reader whose authority is taken away does not come in again, one of the new authority
// does, and the house shows its new certificate; nothing is started anew.
func TestCertificatesAreRenewed(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	var now atomic.Pointer[authority]
	now.Store(before)
	w := open(t, func(c *Config) {
		c.Renewed = func() (tls.Certificate, *x509.CertPool) { a := now.Load(); return a.server(), a.pool }
	})
	w.seat(1)
	old, renewed := before.reader(), after.reader()
	get := func(house *authority, me tls.Certificate) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		conn := w.connect(credentials.NewTLS(&tls.Config{RootCAs: house.pool, Certificates: []tls.Certificate{me}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}))
		defer conn.Close()
		_, err := gtrillian.NewTrillianLogClient(conn).GetLatestSignedLogRoot(ctx, &gtrillian.GetLatestSignedLogRootRequest{LogId: trillian.TreeID})
		return err
	}
	if err := get(before, old); err != nil {
		t.Fatal(err)
	}
	if err := get(before, renewed); status.Code(err) != codes.Unavailable {
		t.Errorf("a reader of another authority: %v", err)
	}
	now.Store(after)
	if err := get(after, renewed); err != nil {
		t.Errorf("a reader of the new authority: %v", err)
	}
	for _, house := range []*authority{before, after} {
		if err := get(house, old); status.Code(err) != codes.Unavailable {
			t.Errorf("a reader of the authority before: %v", err)
		}
	}
}
