// Package relay lets either machine of a pair answer. What only the writer can
// answer goes to the machine that writes, over HTTP/2; while none does, it is
// held up to a deadline; and a command whose fate is open is asked again by its
// idempotency key. So a client of either machine sees delay and not an error.
//
// A request goes from one machine to the other at most once: the other's door
// serves what comes through it or says that it does not write.
package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countroom/ledger"
)

// Place says which machine writes, for as long as Changed is open.
type Place struct {
	Here    bool   // this one
	Peer    string // host:port of the door of the one that does; "": none is known
	Changed <-chan struct{}
}

// Config of a Relay.
type Config struct {
	// Local serves requests with the house of this machine, passive or not.
	Local http.Handler
	Place func() Place
	// Peer carries requests to the other machine's door, and to nobody else.
	Peer http.RoundTripper
	// Refuse answers with how the API shows an error.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
	// Ready says why nobody here can answer, nil when somebody can or soon will:
	// what cannot be answered is not held. Nil is always.
	Ready func() error
	// Confirm returns nil when this machine has been the one that writes at some
	// moment since the call. One that was cut off or asleep believes it a while too
	// long; it could show an account as it was. Nil is always.
	Confirm func(context.Context) error
	// Spare says whether another machine is fit to write instead of one that has no
	// room or no signer: what that one refuses is held then, since it gives way. Nil
	// is never.
	Spare func() bool
	// Hold is how long a request is held while it cannot be answered; 0 is 5 s.
	Hold time.Duration
}

// Relay is the handler that clients talk to.
type Relay struct{ cfg Config }

// New returns a relay.
func New(cfg Config) *Relay {
	if cfg.Hold == 0 {
		cfg.Hold = 5 * time.Second
	}
	return &Relay{cfg}
}

const (
	bodyMost = 64 << 10 // as the API takes it
	// pause is how long a machine that was found not to answer is left alone.
	pause = 25 * time.Millisecond
	// look is how often a request that is held looks whether that is in vain.
	look = 100 * time.Millisecond
	// elsewhere marks the answer of a door whose machine does not write.
	elsewhere = "Countroom-Elsewhere"
)

// Passive marks the answer to a read that was given without the machine that
// writes: it is as of what the machine that was asked knows to be signed, and may
// be behind.
const Passive = "Countroom-Passive"

// ServeHTTP implements http.Handler.
func (p *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The published log, the API's reference and this machine's own state are
	// served by each machine for itself.
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		p.cfg.Local.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMost+1)) // a longer one is refused as it is
	if err != nil {
		body = nil // cut short: no JSON text is
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), p.cfg.Hold)
	defer cancel()
	a := &attempt{Relay: p, w: w, r: r, body: body}
	for ctx.Err() == nil && r.Context().Err() == nil { // for a client that is gone nothing is asked again
		place := p.cfg.Place()
		done := false
		switch {
		case place.Here:
			done = a.here(ctx)
		case place.Peer != "":
			done = a.there(ctx, place)
		}
		if done {
			return
		}
		wait := time.NewTimer(pause)
		if a.refused != nil {
			wait.Reset(look)
		}
		if !place.Here && place.Peer == "" {
			if p.cfg.Ready != nil && p.cfg.Ready() != nil {
				break
			}
			wait.Reset(look)
		}
		select {
		case <-place.Changed:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	switch {
	case read(r):
		w.Header().Set(Passive, "1")
		p.cfg.Local.ServeHTTP(w, r)
	case a.unknown:
		p.cfg.Refuse(w, r, ledger.ErrUnknownOutcome)
	case a.refused != nil: // and it did not
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(a.refused)
	default:
		p.cfg.Refuse(w, r, ledger.ErrPassive)
	}
}

// attempt is a request that is being answered.
type attempt struct {
	*Relay
	w       http.ResponseWriter
	r       *http.Request
	body    []byte
	unknown bool   // a machine may have carried it out
	refused []byte // by a machine that is to give way: its problem
}

// here lets this machine answer; false when it has to be asked again.
func (a *attempt) here(ctx context.Context) bool {
	r := a.r.WithContext(a.r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(a.body)), int64(len(a.body))
	r.TransferEncoding = nil
	if read(r) && !a.confirmed(ctx) {
		return false
	}
	w := &second{ResponseWriter: a.w}
	a.cfg.Local.ServeHTTP(w, r)
	switch {
	case w.held == 0:
		return true
	case w.held == http.StatusServiceUnavailable && a.again(w.body.Bytes()), w.held != http.StatusServiceUnavailable && !read(r) && !a.confirmed(ctx):
		clear(a.w.Header())
		return false
	}
	if a.doubtful(w.held) {
		clear(a.w.Header())
		a.cfg.Refuse(a.w, a.r, ledger.ErrUnknownOutcome)
		return true
	}
	a.w.WriteHeader(w.held)
	_, _ = a.w.Write(w.body.Bytes())
	return true
}

// doubtful reports whether a refusal may be untrue of a command that a machine may
// have carried out before: a machine that takes none does not look its key up.
func (a *attempt) doubtful(status int) bool {
	return a.unknown && status == http.StatusServiceUnavailable && !read(a.r)
}

func read(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

func (p *Relay) confirmed(ctx context.Context) bool {
	return p.cfg.Confirm == nil || p.cfg.Confirm(ctx) == nil
}

// second holds a refusal back: of a 503 there may be a better answer, and any
// other holds only if this machine still writes. An accepted command needs no such
// thing: the log has it.
type second struct {
	http.ResponseWriter
	held int // status
	body bytes.Buffer
}

func (w *second) WriteHeader(status int) {
	if status >= 400 {
		w.held = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *second) Write(b []byte) (int, error) {
	if w.held != 0 {
		return w.body.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *second) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// again reports whether a 503 may become another answer when the request is
// sent once more, because the machine that gave it writes no longer.
func (a *attempt) again(problem []byte) bool {
	var p struct{ Type, Outcome string }
	if json.Unmarshal(problem, &p) != nil {
		a.unknown = true
		return true
	}
	switch p.Type {
	case "/problems/passive", "/problems/stopped":
		return true
	case "/problems/outcome-unknown":
		a.unknown = true
		return true
	case "/problems/no-space", "/problems/signer-silent":
		if a.cfg.Spare == nil || !a.cfg.Spare() {
			return false
		}
		a.unknown = a.unknown || p.Outcome == "outcome-unknown"
		a.refused = bytes.Clone(problem)
		return true
	}
	return false
}

// hopByHop are headers that concern one connection only (RFC 9110, 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// there asks the other machine; false when it has to be asked again.
func (a *attempt) there(ctx context.Context, place Place) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-place.Changed: // whoever is asked now does not write any more, or writes here
			cancel()
		case <-ctx.Done():
		}
	}()
	r, err := http.NewRequestWithContext(ctx, a.r.Method, "https://"+place.Peer+a.r.URL.RequestURI(), bytes.NewReader(a.body))
	if err != nil {
		a.cfg.Refuse(a.w, a.r, err)
		return true
	}
	r.Host = a.r.Host
	for name, values := range a.r.Header {
		r.Header[name] = values
	}
	for _, name := range hopByHop {
		r.Header.Del(name)
	}
	resp, err := a.cfg.Peer.RoundTrip(r)
	if err != nil {
		if !errors.Is(err, ErrNotSent) {
			a.unknown = true
		}
		return false
	}
	defer resp.Body.Close()
	if resp.Header.Get(elsewhere) != "" {
		return false
	}
	// A command's answer is small, and one that is cut short must not be begun.
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		a.unknown = true
		return false
	}
	if resp.StatusCode == http.StatusServiceUnavailable && a.again(answer) {
		return false
	}
	if a.doubtful(resp.StatusCode) {
		a.cfg.Refuse(a.w, a.r, ledger.ErrUnknownOutcome)
		return true
	}
	h := a.w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
	if a.r.Method != http.MethodHead { // whose length is of a body that does not come
		h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	}
	a.w.WriteHeader(resp.StatusCode)
	_, _ = a.w.Write(answer)
	return true
}

// ErrNotSent is what Config.Peer wraps when not a byte of a request has left
// this machine.
var ErrNotSent = errors.New("the other machine cannot be reached")

// Door returns what serves the requests that the other machine relays. Who may
// come through it is for the listener to say.
func (p *Relay) Door() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		notHere := func() {
			clear(w.Header())
			w.Header().Set(elsewhere, "1")
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
		if !p.cfg.Place().Here || read(r) && !p.confirmed(r.Context()) {
			notHere()
			return
		}
		held := &second{ResponseWriter: w}
		p.cfg.Local.ServeHTTP(held, r)
		switch {
		case held.held == 0:
			return
		case held.held != http.StatusServiceUnavailable && !read(r) && !p.confirmed(r.Context()):
			notHere()
			return
		}
		w.WriteHeader(held.held)
		_, _ = w.Write(held.body.Bytes())
	})
}
