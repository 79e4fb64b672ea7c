package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// siege is a house behind real limits, of which a test may make one of time shorter so
// that it is quick; of connections there are a few.
type siege struct {
	*world
	server *httptest.Server
	open   *connections
	addr   string
	player string // token of the honest player

	played [2]atomic.Int64 // by the honest clients, in this attack
	beaten atomic.Bool     // one of them met an error
}

const siegeConnections = 200

func besiege(t *testing.T, secure bool, change ...func(*http.Server)) *siege {
	s := &siege{world: open(t), open: newConnections(siegeConnections)}
	s.player = s.world.player("honest", 1<<40)
	s.server = httptest.NewUnstartedServer(nil)
	s.server.Config = newHTTPServer(s.api, s.open)
	for _, d := range []time.Duration{s.server.Config.ReadHeaderTimeout, s.server.Config.ReadTimeout, s.server.Config.WriteTimeout, s.server.Config.IdleTimeout} {
		if d <= 0 || d > 2*time.Minute {
			t.Fatalf("a limit of %v", d)
		}
	}
	for _, f := range change {
		f(s.server.Config)
	}
	if secure {
		s.server.EnableHTTP2 = true
		s.server.StartTLS()
	} else {
		s.server.Start()
	}
	t.Cleanup(s.server.Close)
	s.addr = s.server.Listener.Addr().String()
	return s
}

func (s *siege) dial() net.Conn {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// honest clients play until the attack is over. One keeps its connection, one
// opens a new one for each spin. None may meet an error or wait without bound.
func (s *siege) during(attack func()) {
	s.t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for i := range s.played {
		s.played[i].Store(0)
		transport := s.server.Client().Transport.(*http.Transport).Clone()
		transport.DisableKeepAlives = i == 1
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				if err := spinOnce(client, s.server.URL, s.player, fmt.Sprintf("honest-%d-%d", i, n)); err != nil {
					s.beaten.Store(true)
					errs <- fmt.Errorf("honest client %d, spin %d: %w", i, n, err)
					return
				}
				s.played[i].Add(1)
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
			}
		}()
	}
	attack()
	close(stop)
	wg.Wait()
	close(errs)
	for err := range errs {
		s.t.Error(err)
	}
	s.t.Logf("honest clients played %d and %d spins meanwhile", s.played[0].Load(), s.played[1].Load())
}

// breathe waits until each honest client has begun and ended a spin. An attack of
// connections that does so now and then is not faster than any client there could be: on
// a machine that has much else to do, more could come between two steps of a client than
// there are places.
func (s *siege) breathe() {
	for i := range s.played {
		for from := s.played[i].Load(); s.played[i].Load() < from+2 && !s.beaten.Load(); {
			time.Sleep(time.Millisecond)
		}
	}
}

func spinOnce(client *http.Client, url, token, key string) error {
	req, err := http.NewRequest("POST", url+"/v1/spins", strings.NewReader(`{"stake":20}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%d %.200s", resp.StatusCode, b)
	}
	return err
}

// cut waits until the server has closed a connection, and returns what it said
// before.
func (s *siege) cut(c net.Conn) []byte {
	s.t.Helper()
	c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	said, err := io.ReadAll(c)
	if timedOut(err) {
		s.t.Errorf("a hostile connection is still open; it was told %.200q", said)
	}
	return said
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (s *siege) opened() int {
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	return len(s.open.open)
}

// bounded waits until an attack has left nothing behind.
func (s *siege) bounded() {
	s.t.Helper()
	var n int
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		s.open.mu.Lock()
		n = len(s.open.open)
		if listed := s.open.waiting.Len() + s.open.serving.Len(); n != listed {
			s.t.Errorf("%d connections in order, %d by name", listed, n)
		}
		s.open.mu.Unlock()
		if n <= 8 { // the honest clients' last
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Errorf("%d connections are left behind", n)
}

// Three times as many connections as there are places each send a byte of header
// now and then.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	s := besiege(t, false)
	s.during(func() {
		conns := make([]net.Conn, 3*siegeConnections)
		for i := range conns {
			if time.Sleep(2 * time.Millisecond); i%50 == 0 {
				s.breathe()
			}
			conns[i] = s.dial()
			if n := s.opened(); n > siegeConnections {
				t.Fatalf("%d connections are open", n)
			}
		}
		header := "GET /livez HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2000)
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range header {
					if _, err := io.WriteString(c, header[i:i+1]); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
				t.Error("a connection could send two thousand bytes of header, one by one")
			}()
		}
		wg.Wait()
	})
	s.bounded()
}

// With a player's token, and so as far as the body.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	s := besiege(t, false, func(h *http.Server) { h.ReadTimeout = 3 * time.Second })
	s.during(func() {
		var conns []net.Conn
		for i := range siegeConnections / 2 {
			c := s.dial()
			fmt.Fprintf(c, "POST /v1/spins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: slow-%d\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{", s.player, i)
			conns = append(conns, c)
		}
		for _, c := range conns {
			if said := s.cut(c); len(said) > 0 && !bytes.HasPrefix(said, []byte("HTTP/1.1 400 ")) {
				t.Errorf("half a body is answered with %.300q", said)
			}
		}
	})
	s.bounded()
	if err := spinOnce(s.server.Client(), s.server.URL, s.player, "slow-0"); err != nil {
		t.Errorf("the key of a command that never came: %v", err)
	}
}

func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	s := besiege(t, false)
	line := []byte("X-Huge: " + strings.Repeat("x", 1000) + "\r\n")
	s.during(func() {
		s.flood(20, line, 431, func(int) string { return "GET /livez HTTP/1.1\r\nHost: x\r\n" })
	})
	s.bounded()
}

func TestHugeBodies(t *testing.T) {
	t.Parallel()
	s := besiege(t, false)
	chunk := []byte("8000\r\n" + strings.Repeat(" ", 0x8000) + "\r\n")
	s.during(func() {
		for _, length := range []string{"Content-Length: 1099511627776", "Transfer-Encoding: chunked"} {
			s.flood(10, chunk, 413, func(i int) string {
				return fmt.Sprintf("POST /v1/spins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: huge-%d\r\nContent-Type: application/json\r\n%s\r\n\r\n", s.player, i, length)
			})
		}
	})
	s.bounded()
}

// inSockets is more than what sockets and the kernel hold of a request, which
// the server never reads.
const inSockets = 32 << 20

// flood opens connections that send a beginning and then more without end. The
// refusal may be lost, since who goes on sending is reset.
func (s *siege) flood(connections int, more []byte, refusal int, begin func(int) string) {
	var wg sync.WaitGroup
	for i := range connections {
		c := s.dial()
		wg.Add(1)
		go func() {
			defer wg.Done()
			c.SetWriteDeadline(time.Now().Add(2 * time.Minute))
			_, err := io.WriteString(c, begin(i))
			sent := 0
			for err == nil && sent < inSockets {
				var n int
				n, err = c.Write(more)
				sent += n
			}
			if err == nil {
				s.t.Errorf("%d bytes were taken", sent)
			}
			if said := s.cut(c); len(said) > 0 && !bytes.HasPrefix(said, fmt.Appendf(nil, "HTTP/1.1 %d ", refusal)) {
				s.t.Errorf("what has no end is answered with %.300q", said)
			}
		}()
	}
	wg.Wait()
}

// Garbage behind a good request is refused in plain text, which is net/http's
// own: there is no request to answer.
func TestPipelinedGarbage(t *testing.T) {
	s := besiege(t, false)
	s.during(func() {
		for i := range 100 {
			c := s.dial()
			fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01\x02%d garbage\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n", i)
			r := bufio.NewReader(c)
			for _, want := range []int{200, 400} {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != want {
					t.Errorf("got %s, expected %d", resp.Status, want)
				}
			}
			if _, err := r.ReadByte(); err == nil {
				t.Error("garbage is answered twice")
			}
		}
	})
	s.bounded()
}

// Clients that keep connections which they do not use lose them to others, and
// in time anyway.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	s := besiege(t, false, func(h *http.Server) { h.IdleTimeout = 500 * time.Millisecond })
	s.during(func() {
		var conns []net.Conn
		for i := range 2 * siegeConnections {
			if i%50 == 0 {
				s.breathe()
			}
			c := s.dial()
			time.Sleep(2 * time.Millisecond)
			fmt.Fprint(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		if n := s.opened(); n > siegeConnections {
			t.Errorf("%d connections are open", n)
		}
		for _, c := range conns {
			s.cut(c)
		}
	})
	s.bounded()
}

// Clients that ask and ask and never read.
func TestAnswersThatAreNeverRead(t *testing.T) {
	t.Parallel()
	s := besiege(t, false, func(h *http.Server) { h.WriteTimeout = 3 * time.Second })
	s.during(func() {
		const each = 1000
		ask := strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", each)
		var wg sync.WaitGroup
		for range siegeConnections / 4 {
			c := s.dial()
			wg.Add(1)
			go func() {
				defer wg.Done()
				c.SetDeadline(time.Now().Add(5 * time.Minute))
				if _, err := io.WriteString(c, ask); timedOut(err) {
					t.Error("the server neither reads nor closes")
				}
			}()
		}
		wg.Wait()
		s.bounded()
	})
}

// HTTP/2 streams that are opened and reset as fast as can be (CVE-2023-44487).
func TestRapidReset(t *testing.T) {
	// A handshake under attack takes its time, which these limits bound, too.
	s := besiege(t, true, func(h *http.Server) {
		h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout = 5*time.Minute, 5*time.Minute, 5*time.Minute
	})
	if r, err := s.server.Client().Get(s.server.URL + "/livez"); err != nil || r.ProtoMajor != 2 {
		t.Fatalf("%v, %v: expected HTTP/2", r, err)
	}
	before := runtime.NumGoroutine()
	s.during(func() {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := s.reset(i, 20_000); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
	})
	s.bounded()
	var after int
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if after = runtime.NumGoroutine(); after < before+100 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, after)
}

// reset opens and resets streams until it has done so often, or the server has
// had enough.
func (s *siege) reset(attacker, streams int) error {
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	go io.Copy(io.Discard, c)
	out := bufio.NewWriter(c)
	f := http2.NewFramer(out, nil)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	h := hpack.NewEncoder(&block)
	for i := range streams {
		block.Reset()
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/v1/spins"},
			{"authorization", "Bearer " + s.player}, {"idempotency-key", fmt.Sprintf("reset-%d-%d", attacker, i)}, {"content-type", "application/json"},
		} {
			if err := h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				return err
			}
		}
		id := uint32(2*i + 1)
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		if err == nil {
			err = f.WriteData(id, true, []byte(`{"stake":20}`))
		}
		if err == nil {
			err = f.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err == nil && i%16 == 15 {
			err = out.Flush()
		}
		if err != nil {
			if timedOut(err) {
				return fmt.Errorf("the server neither reads nor closes: %w", err)
			}
			return nil // closed by the server
		}
	}
	return nil
}

// One connection more than there are places costs the one that has been without
// a request for longest, and one that is served only when all are.
func TestWhoIsCut(t *testing.T) {
	c := newConnections(3)
	add := func() (*connection, net.Conn) {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		return connectionOf(httptest.NewRequest("GET", "/", nil).WithContext(c.opened(t.Context(), near))), far
	}
	isCut := func(far net.Conn) bool {
		far.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := far.Read(make([]byte, 1))
		return !timedOut(err)
	}
	first, firstEnd := add()
	second, secondEnd := add()
	_, thirdEnd := add()
	first.begin()
	first.begin() // a second stream
	first.end()
	second.begin()
	second.end() // now the third has waited longest
	_, fourthEnd := add()
	if isCut(firstEnd) || isCut(secondEnd) || !isCut(thirdEnd) || isCut(fourthEnd) {
		t.Error("expected the third to be cut alone")
	}
	fifth, fifthEnd := add()
	sixth, sixthEnd := add()
	if !isCut(secondEnd) || !isCut(fourthEnd) || isCut(firstEnd) {
		t.Error("expected the second and fourth to be cut, and not the first, which is served")
	}
	fifth.begin()
	sixth.begin()
	_, lastEnd := add()
	if !isCut(firstEnd) || isCut(fifthEnd) || isCut(sixthEnd) || isCut(lastEnd) {
		t.Error("expected the first to be cut, whose request is the oldest")
	}
	first.end() // though it is gone
	c.changed(fifth.Conn, http.StateClosed)
	if len(c.open) != 2 || c.waiting.Len() != 1 || c.serving.Len() != 1 {
		t.Errorf("%d are open, %d wait, %d are served", len(c.open), c.waiting.Len(), c.serving.Len())
	}
}

// What is refused for overload is kept waiting, for as many as may be
// connected, and no longer than the client waits.
func TestRefusalsAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(1)
		conn, other := net.Pipe()
		defer other.Close()
		ctx := c.opened(t.Context(), conn)
		r := httptest.NewRequest("POST", "/v1/spins", nil)
		started := time.Now()
		hold(r) // without a connection, as in a test, nothing is held
		r = r.WithContext(ctx)
		c.held.Store(1)
		hold(r) // and nothing when too many are
		if took := time.Since(started); took != 0 {
			t.Errorf("held for %v where there is no place", took)
		}
		c.held.Store(0)
		started = time.Now()
		hold(r)
		if took := time.Since(started); took != holdTime {
			t.Errorf("held for %v, expected %v", took, holdTime)
		}
		if n := c.held.Load(); n != 0 {
			t.Errorf("%d are held after all have gone", n)
		}
	})
}

// Long reads take turns, and do not line up without end.
func TestLongReadsTakeTurns(t *testing.T) {
	turns := newTurns()
	release := make(chan struct{})
	var most, running atomic.Int64
	results := make(chan error, 2*turnsMost)
	for range cap(results) {
		go func() {
			results <- turns.take(func() error {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-release
				running.Add(-1)
				return nil
			})
		}()
	}
	for range cap(results) - turnsMost {
		if err := <-results; refusalOf(err).name != "overloaded" {
			t.Fatal(err)
		}
	}
	for running.Load() < int64(cap(turns.running)) {
		time.Sleep(time.Millisecond)
	}
	close(release)
	for range turnsMost {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if got := most.Load(); got != int64(cap(turns.running)) {
		t.Errorf("%d ran at once, expected %d", got, cap(turns.running))
	}
}

// A command that its client takes back before it is let in is not carried out.
func TestWithdrawnRequestsAreDropped(t *testing.T) {
	w := open(t)
	token := w.player("p", 1000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/spins", strings.NewReader(`{"stake":20}`))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Idempotency-Key", "withdrawn")
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	if rec.Code != http.StatusBadRequest {
		t.Errorf("answered with %d %s", rec.Code, rec.Body)
	}
	if a := w.postKey("/v1/spins", token, "withdrawn", `{"stake":20}`).want(201); a.header.Get("Idempotency-Replayed") != "" {
		t.Error("what was taken back has an entry")
	}
}
