package replica

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"countroom/ledger/replica/core"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
)

const (
	reportEvery   = 100 * time.Millisecond
	silenceMost   = time.Second // a connection on which so long nothing came is dead
	dialTimeout   = 500 * time.Millisecond
	redialAfter   = 50 * time.Millisecond
	userTimeout   = 500 * time.Millisecond // how long the kernel waits for acknowledgements
	helloTimeout  = 2 * time.Second
	stateTimeout  = 30 * time.Second // between two pieces of a state
	outgoing      = 4096
	bufferedBytes = 64 << 10
)

// tcp connects a node with the others: each calls each, and sends on the connection it opened. Both ends prove by a
// certificate of the group's authority who they are; the name in it is the member's.
type tcp struct {
	n        *Node
	tls      *tls.Config
	listener net.Listener
	instance [16]byte
	ctx      context.Context
	cancel   context.CancelFunc
	done     sync.WaitGroup

	mu      sync.Mutex
	members []Member
	callers map[string]*caller
	conns   map[net.Conn]struct{}
	twins   map[string]twin // who called last under a name
}

type twin struct {
	instance [16]byte
	from     string
	heard    time.Time
}

// caller sends to one member.
type caller struct {
	to     Member
	queue  chan *raftpb.Message
	cancel context.CancelFunc
}

func listen(n *Node) (network, error) {
	if n.cfg.TLS == nil || len(n.cfg.TLS.Certificates) == 0 && n.cfg.TLS.GetCertificate == nil || n.cfg.TLS.RootCAs == nil {
		return nil, errors.New("TLS: a certificate and the group's authority (RootCAs) are needed")
	}
	t := &tcp{
		n: n, tls: n.cfg.TLS.Clone(), listener: n.cfg.Listener, instance: random(),
		callers: map[string]*caller{}, conns: map[net.Conn]struct{}{}, twins: map[string]twin{},
	}
	t.tls.MinVersion = tls.VersionTLS13
	t.tls.ClientAuth = tls.RequireAndVerifyClientCert
	t.tls.ClientCAs = t.tls.RootCAs
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if t.listener == nil {
		var err error
		if t.listener, err = net.Listen("tcp", n.self.Address); err != nil {
			return nil, fmt.Errorf("the node's door: %w", err)
		}
	}
	t.done.Go(t.accept)
	return t, nil
}

func (t *tcp) close() error {
	t.cancel()
	err := t.listener.Close()
	t.mu.Lock()
	for c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.done.Wait()
	return err
}

// keep registers a connection, so that close ends it; false when the node is closing.
func (t *tcp) keep(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *tcp) drop(c net.Conn) {
	_ = c.Close()
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
}

func (t *tcp) changed(ms []Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = ms
	for name, c := range t.callers {
		if !slices.Contains(ms, c.to) {
			c.cancel()
			delete(t.callers, name)
		}
	}
	for _, m := range ms {
		if m.Name != t.n.self.Name && t.callers[m.Name] == nil && t.ctx.Err() == nil {
			ctx, cancel := context.WithCancel(t.ctx)
			c := &caller{to: m, queue: make(chan *raftpb.Message, outgoing), cancel: cancel}
			t.callers[m.Name] = c
			t.done.Go(func() { t.call(ctx, c) })
		}
	}
}

func (t *tcp) send(to Member, m *raftpb.Message) {
	t.mu.Lock()
	c := t.callers[to.Name]
	t.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.queue <- m:
	default: // raft sends again what matters
	}
}

// call keeps a connection to a member open and sends on it.
func (t *tcp) call(ctx context.Context, c *caller) {
	said := ""
	for ctx.Err() == nil {
		err := t.talk(ctx, c)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			t.n.cfg.Log.Warn("no connection", "node", t.n.self.Name, "to", c.to.Name, "error", err)
		}
		if errors.Is(err, errForever) {
			t.n.fail(err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialAfter):
		}
	}
}

// errForever is a refusal after which a node has no business in the group.
var errForever = fmt.Errorf("%w for ever", ErrRefused)

func (t *tcp) dial(ctx context.Context, to Member, purpose byte, have []byte) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.n.scaled(dialTimeout))
	defer cancel()
	d := net.Dialer{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(t.n.scaled(userTimeout)/time.Millisecond))
		})
		return errors.Join(cerr, err)
	}}
	raw, err := d.DialContext(ctx, "tcp", to.Address)
	if err != nil {
		return nil, err
	}
	cfg := t.tls.Clone()
	cfg.ServerName = to.Name
	tc := tls.Client(raw, cfg)
	defer func() {
		if err != nil {
			_ = tc.Close()
		}
	}()
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with %s: %w", to.Name, err)
	}
	_ = tc.SetDeadline(time.Now().Add(helloTimeout))
	last, _ := t.n.log.LastIndex()
	h := hello{oldestVersion, newestVersion, purpose, t.n.cfg.Origin, t.n.self.Name, to.Name, t.instance, last, have}
	if err := writeFrame(tc, 0, frameHello, appendHello(nil, h)); err != nil {
		return nil, err
	}
	kind, payload, err := readFrame(tc, 0)
	switch {
	case err != nil:
		return nil, err
	case kind == frameRefuse && len(payload) > 1 && payload[0] == refuseForever:
		return nil, fmt.Errorf("%w: %s says: %s", errForever, to.Name, payload[1:])
	case kind == frameRefuse && len(payload) > 1:
		return nil, fmt.Errorf("%w: %s says: %s", ErrRefused, to.Name, payload[1:])
	case kind != frameWelcome:
		return nil, fmt.Errorf("%w: kind %d, want a welcome", errFrame, kind)
	}
	return tc, nil
}

// talk sends until the connection breaks.
func (t *tcp) talk(ctx context.Context, c *caller) error {
	conn, err := t.dial(ctx, c.to, forMessages, nil)
	if err != nil {
		return err
	}
	if !t.keep(conn) {
		return nil
	}
	defer t.drop(conn)
	_ = conn.SetDeadline(time.Time{})
	// Nothing more comes from there; the end of it is how one learns early that the other is gone.
	gone := make(chan struct{})
	t.done.Go(func() {
		_, _ = conn.Read(make([]byte, 1))
		close(gone)
	})
	w := bufio.NewWriterSize(conn, bufferedBytes)
	number := uint64(1)
	put := func(kind byte, payload []byte) error {
		_ = conn.SetWriteDeadline(time.Now().Add(t.n.scaled(silenceMost) + time.Duration(len(payload)>>20)*50*time.Millisecond))
		err := writeFrame(w, number, kind, payload)
		number++
		return err
	}
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	if err := put(frameReport, appendReport(nil, t.n.report())); err != nil {
		return err
	}
	for {
		if len(c.queue) == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		select {
		case m := <-c.queue:
			b, err := core.EncodeMessage(m)
			if err == nil {
				err = put(frameMessage, b)
			}
			if err != nil {
				return err
			}
		case <-report.C:
			if err := put(frameReport, appendReport(nil, t.n.report())); err != nil {
				return err
			}
		case <-gone:
			return fmt.Errorf("%s closed the connection", c.to.Name)
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *tcp) fetch(ctx context.Context, from Member, have []byte) (io.ReadCloser, error) {
	conn, err := t.dial(ctx, from, forState, have)
	if err != nil {
		return nil, err
	}
	if !t.keep(conn) {
		return nil, ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return &patient{conn, bufio.NewReaderSize(conn, bufferedBytes), func() { stop(); t.drop(conn) }}, nil
}

// patient reads and writes a state: each piece has its time.
type patient struct {
	net.Conn
	r    io.Reader
	stop func()
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(stateTimeout))
	return p.r.Read(b)
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(stateTimeout))
	return p.Conn.Write(b)
}

func (p *patient) Close() error {
	p.stop()
	return nil
}

func (t *tcp) accept() {
	for {
		raw, err := t.listener.Accept()
		if err != nil {
			if t.ctx.Err() != nil {
				return
			}
			t.n.cfg.Log.Error("the node's door", "node", t.n.self.Name, "error", err)
			select {
			case <-time.After(redialAfter):
				continue
			case <-t.ctx.Done():
				return
			}
		}
		t.done.Go(func() {
			conn := tls.Server(raw, t.tls)
			if !t.keep(conn) {
				return
			}
			defer t.drop(conn)
			if err := t.answer(conn); err != nil && t.ctx.Err() == nil && !errors.Is(err, io.EOF) {
				t.n.cfg.Log.Warn("a connection ended", "node", t.n.self.Name, "from", raw.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// refusal is why a caller is sent away.
type refusal struct {
	code byte
	text string
}

func (t *tcp) answer(conn *tls.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(helloTimeout))
	if err := conn.HandshakeContext(t.ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	kind, payload, err := readFrame(conn, 0)
	if err != nil {
		return err
	}
	if kind != frameHello {
		return fmt.Errorf("%w: kind %d, want a hello", errFrame, kind)
	}
	h, err := parseHello(payload)
	var from Member
	no := &refusal{refuseOther, ""}
	if err != nil {
		no.text = err.Error()
	} else {
		from, no = t.judge(conn, h)
	}
	if no != nil {
		return errors.Join(fmt.Errorf("%q is refused: %s", h.from, no.text), writeFrame(conn, 0, frameRefuse, append([]byte{no.code}, no.text...)))
	}
	if err := writeFrame(conn, 0, frameWelcome, []byte{0, newestVersion}); err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	if h.purpose == forState {
		t.n.cfg.Log.Info("giving the state", "node", t.n.self.Name, "to", from.Name)
		return t.n.serveState(h.have, &patient{conn, nil, nil})
	}
	err = t.hear(conn, from)
	t.mu.Lock()
	if t.twins[from.Name].instance == h.instance {
		delete(t.twins, from.Name) // whoever calls next may be the same node, started again
	}
	t.mu.Unlock()
	if t.ctx.Err() == nil {
		t.n.lost(from)
	}
	return err
}

// judge says who calls, or why he is refused.
func (t *tcp) judge(conn *tls.Conn, h hello) (from Member, no *refusal) {
	refuse := func(code byte, f string, v ...any) (Member, *refusal) {
		return from, &refusal{code, fmt.Sprintf(f, v...)}
	}
	if h.origin != t.n.cfg.Origin {
		return refuse(refuseOther, "this node is of the house %q, the caller of %q: check the addresses of the members", t.n.cfg.Origin, h.origin)
	}
	if h.to != t.n.self.Name {
		return refuse(refuseOther, "this is node %q, the caller wants %q: check the addresses of the members", t.n.self.Name, h.to)
	}
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(h.from); err != nil {
		return refuse(refuseOther, "the certificate is not for %q: give each node its own (%v)", h.from, err)
	}
	if h.from == t.n.self.Name {
		return refuse(refuseOther, "another node has the name %q: each machine has its own", h.from)
	}
	if h.purpose != forMessages && h.purpose != forState {
		return refuse(refuseOther, "purpose is %d, want %d or %d", h.purpose, forMessages, forState)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.members, func(m Member) bool { return m.Name == h.from })
	if i < 0 {
		return refuse(refuseOther, "%q is not a member of the group (it was removed, or not added yet): add it with join, under a name that was never used", h.from)
	}
	from = t.members[i]
	addr := conn.RemoteAddr().String()
	if w := t.twins[h.from]; w.instance != h.instance && time.Since(w.heard) < t.n.scaled(silenceMost)/2 {
		return refuse(refuseOther, "two nodes call themselves %q, this one and one at %s: stop one, and let it join under a name of its own", h.from, w.from)
	}
	t.twins[h.from] = twin{h.instance, addr, time.Now()}
	if far := t.n.peers.durable(h.from); h.last < far {
		return refuse(refuseForever, "%q had everything up to entry %d, and comes back with a log that ends at %d: its disk was put back to an earlier state, or lost what it had synced. Keep its directory as evidence, remove it from the group and let the machine join under a new name", h.from, far, h.last)
	}
	return from, nil
}

// hear takes what a member sends.
func (t *tcp) hear(conn net.Conn, from Member) error {
	r := bufio.NewReaderSize(conn, bufferedBytes)
	id := from.ID(t.n.cfg.Origin)
	for number := uint64(1); ; number++ {
		_ = conn.SetReadDeadline(time.Now().Add(t.n.scaled(silenceMost)))
		kind, payload, err := readFrame(r, number)
		if err != nil {
			return err
		}
		t.mu.Lock()
		w := t.twins[from.Name]
		w.heard = time.Now()
		t.twins[from.Name] = w
		known := slices.Contains(t.members, from)
		t.mu.Unlock()
		if !known {
			return fmt.Errorf("%s is no member any more", from.Name)
		}
		switch kind {
		case frameReport:
			rep, err := parseReport(payload)
			if err != nil {
				return err
			}
			t.n.reported(from, rep)
		case frameMessage:
			m, err := core.DecodeMessage(payload, id, t.n.id)
			if err != nil {
				return err
			}
			t.n.received(m)
		default:
			return fmt.Errorf("%w: kind %d", errFrame, kind)
		}
	}
}
