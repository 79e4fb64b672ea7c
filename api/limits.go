package api

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"countroom/ledger"
)

// HTTPServer returns a server for the handler whose limits keep slow, huge or
// silent clients from holding what others need. What net/http refuses before it
// has a request it answers in plain text.
func HTTPServer(h http.Handler) *http.Server {
	return newHTTPServer(h, newConnections(connectionsMost()))
}

func newHTTPServer(h http.Handler, c *connections) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn := connectionOf(r)
			conn.begin()
			defer conn.end()
			h.ServeHTTP(w, r)
		}),
		ConnContext:       c.opened,
		ConnState:         c.changed,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // an answer may take 20 s to come
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    16 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          100,
			MaxReceiveBufferPerStream:     bodyMost,
			MaxReceiveBufferPerConnection: 4 * bodyMost,
		},
	}
}

// connectionsMost is how many connections may be open: half of the files that
// the process may have, since a store that cannot open a file ends it.
func connectionsMost() int {
	const most = 8192
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return most
	}
	return int(min(most, files.Cur/2))
}

// connections bounds how many connections are open. One more than that costs
// the one that has been without a request for longest, be it that it is idle or
// that its header does not come; only if all have requests, the one whose newest
// began first. So who opens connections and is slow to use them loses his own,
// and honest clients find the door open.
type connections struct {
	most int
	mu   sync.Mutex
	open map[net.Conn]*connection
	// Each connection is in one of these, the one that came first in front.
	waiting, serving list.List
	held             atomic.Int64
}

type connection struct {
	net.Conn
	all      *connections
	in       *list.List // nil when it is forgotten
	place    *list.Element
	requests int
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[net.Conn]*connection{}}
}

type connectionKey struct{}

func connectionOf(r *http.Request) *connection {
	conn, _ := r.Context().Value(connectionKey{}).(*connection)
	return conn
}

// opened is an http.Server's ConnContext.
func (c *connections) opened(ctx context.Context, conn net.Conn) context.Context {
	one := &connection{Conn: conn, all: c}
	c.mu.Lock()
	var last *connection
	if len(c.open) >= c.most {
		first := c.waiting.Front()
		if first == nil {
			first = c.serving.Front()
		}
		last = first.Value.(*connection)
		c.forget(last)
	}
	c.open[conn] = one
	one.in, one.place = &c.waiting, c.waiting.PushBack(one)
	c.mu.Unlock()
	if last != nil {
		last.cut()
	}
	return context.WithValue(ctx, connectionKey{}, one)
}

func (one *connection) cut() {
	conn := one.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn() // whose Close waits for nobody
	}
	conn.Close()
}

// begin and end note that a request of the connection is served. HTTP/2 has
// many at once.
func (one *connection) begin() {
	if one != nil {
		one.count(1, &one.all.serving)
	}
}

func (one *connection) end() {
	if one != nil {
		one.count(-1, &one.all.waiting)
	}
}

func (one *connection) count(by int, into *list.List) {
	c := one.all
	c.mu.Lock()
	defer c.mu.Unlock()
	one.requests += by
	if one.in == nil || by < 0 && one.requests > 0 {
		return
	}
	one.in.Remove(one.place)
	one.in, one.place = into, into.PushBack(one)
}

// changed is an http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		c.mu.Lock()
		defer c.mu.Unlock()
		if one := c.open[conn]; one != nil {
			c.forget(one)
		}
	}
}

// forget is called under mu.
func (c *connections) forget(one *connection) {
	one.in.Remove(one.place)
	one.in = nil
	delete(c.open, one.Conn)
}

// holdTime is how long a refusal for overload is kept from the client. To refuse
// costs half of what it costs to accept, and clients that try again at once,
// whatever Retry-After asks of them, would take the house all its time.
const holdTime = 500 * time.Millisecond

// hold waits before a refusal is written. It takes no processor, and no more
// than one place for each connection that may be open; who finds none is refused
// at once.
func hold(r *http.Request) {
	conn := connectionOf(r)
	if conn == nil {
		return
	}
	defer conn.all.held.Add(-1)
	if conn.all.held.Add(1) > int64(conn.all.most) {
		return
	}
	select {
	case <-time.After(holdTime):
	case <-r.Context().Done(): // the client has gone
	}
}

// turns lets long reads work one after another beside everything else: one on
// every other processor, so that they cannot keep the writer from running. Who
// would wait behind too many is refused.
type turns struct {
	waiting atomic.Int64
	running chan struct{}
}

const turnsMost = 64

func newTurns() *turns { return &turns{running: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))} }

// take does some work in its turn. To write the answer, which the client may be
// slow to read, needs none.
func (t *turns) take(work func() error) error {
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > turnsMost {
		return ledger.ErrOverloaded
	}
	t.running <- struct{}{}
	defer func() { <-t.running }()
	return work()
}
