package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"countroom/api/relay"
)

// The door of a machine is for the other machine alone, over mutual TLS and
// HTTP/2: requests that it relays, the newest checkpoint, and what has to be
// said when the machines change places.

// checkpointWait is how long a question for a newer checkpoint is left open.
const checkpointWait = 10 * time.Second

// Serve opens the door and returns what clients are to talk to. Local serves
// them with this machine's house; refuse shows an error as the API does.
func (p *Pair) Serve(local http.Handler, refuse func(http.ResponseWriter, *http.Request, error)) (http.Handler, error) {
	p.peer = &http.Transport{
		DialTLSContext: p.dial, ForceAttemptHTTP2: true, Protocols: new(http.Protocols),
		MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		// A machine that is gone without a word is found out by pings.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 250 * time.Millisecond, PingTimeout: 500 * time.Millisecond},
	}
	p.peer.Protocols.SetHTTP2(true)
	r := relay.New(relay.Config{Local: local, Place: p.Place, Peer: roundTrip(p.peer.RoundTrip), Refuse: refuse, Ready: p.Ready, Confirm: p.Confirm, Spare: p.Spare, Hold: p.pc.Hold})
	mux := http.NewServeMux()
	mux.Handle("/v1/", r.Door())
	var err error
	if p.seal, err = joinKEM.GenerateKey(); err != nil {
		return nil, err
	}
	p.serveKeys(mux)
	mux.HandleFunc("GET /pair/checkpoint", p.serveCheckpoint)
	mux.HandleFunc("POST /pair/planned", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.planned = time.Now().Add(5 * time.Second)
		p.mu.Unlock()
	})
	mux.HandleFunc("POST /pair/switchover", func(w http.ResponseWriter, r *http.Request) {
		if p.node.Role().Term == 0 {
			http.Error(w, "this machine does not write", http.StatusConflict)
		} else if err := p.Switch(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	seat := p.pc.Seat
	cfg := seat.tls.Clone()
	cfg.ClientAuth, cfg.ClientCAs, cfg.NextProtos = tls.RequireAndVerifyClientCert, cfg.RootCAs, []string{"h2"}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		for _, m := range p.node.Members() {
			if !m.Arbiter && m.Name != seat.Name && cs.PeerCertificates[0].VerifyHostname(m.Name) == nil {
				return nil
			}
		}
		return errors.New("the certificate is of no other machine of this pair")
	}
	lis, err := net.Listen("tcp", doorAddress(seat.Address))
	if err != nil {
		return nil, fmt.Errorf("the door for the other machine: %w", err)
	}
	p.door = &http.Server{Handler: mux, TLSConfig: cfg, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 4096}, ReadHeaderTimeout: 5 * time.Second}
	p.done.Go(func() { _ = p.door.ServeTLS(lis, "", "") })
	p.done.Go(p.followCheckpoints)
	p.done.Go(p.carryOn)
	return r, nil
}

// Confirm asks the other members whether this machine writes still, once for all
// who want to know at a time.
func (p *Pair) Confirm(ctx context.Context) error {
	p.asking.Lock()
	q := p.question
	if q == nil {
		q = &question{answered: make(chan struct{})}
		p.question = q
		if !p.questions {
			p.questions = true
			go p.ask()
		}
	}
	p.asking.Unlock()
	select {
	case <-q.answered:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// question is whether this machine writes still.
type question struct {
	answered chan struct{}
	err      error
}

func (p *Pair) ask() {
	for {
		p.asking.Lock()
		q := p.question
		p.question, p.questions = nil, q != nil
		p.asking.Unlock()
		if q == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		q.err = p.node.Confirm(ctx)
		cancel()
		close(q.answered)
	}
}

// roundTrip marks what did not leave this machine.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f(r)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		err = fmt.Errorf("%w: %w", relay.ErrNotSent, err)
	}
	return resp, err
}

// dial reaches the door of the machine that is at an address.
func (p *Pair) dial(ctx context.Context, network, address string) (net.Conn, error) {
	cfg := p.pc.Seat.tls.Clone()
	cfg.NextProtos = []string{"h2"}
	for _, m := range p.node.Members() {
		if doorAddress(m.Address) == address {
			cfg.ServerName = m.Name
		}
	}
	if cfg.ServerName == "" {
		return nil, fmt.Errorf("%w: no member is at %s", relay.ErrNotSent, address)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, address)
}

// call asks the other machine for something of the pair's own.
func (p *Pair) call(ctx context.Context, name, method, path string, body []byte, answer *[]byte) error {
	address := p.doorOf(name)
	if address == "" || p.peer == nil {
		return fmt.Errorf("%s: %w", name, relay.ErrNotSent)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := p.peer.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says: %s", name, bytes.TrimSpace(b))
	}
	if answer != nil {
		*answer = b
	}
	return nil
}

// serveCheckpoint answers with the first checkpoint that covers more than asked.
func (p *Pair) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.FormValue("after"), 10, 64)
	if err != nil {
		http.Error(w, "after: expected a size", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkpointWait)
	defer cancel()
	s, err := p.now().Ledger.AwaitSigned(ctx, after)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(s.Checkpoint)
}

// followCheckpoints learns each checkpoint of the machine that writes as soon as
// it is signed: batches bring only the one before.
func (p *Pair) followCheckpoints() {
	heard := uint64(0) // size of the newest, which may cover more than is here
	for {
		role, a := p.node.Role(), p.now()
		place := p.Place()
		wait := 50 * time.Millisecond
		if role.Term == 0 && role.Leader != "" && role.Leader != p.pc.Seat.Name && a.Ledger.Passive() {
			after := uint64(0)
			if s := a.Ledger.Signed(); s != nil {
				after = s.Size
			}
			after = max(after, heard)
			ctx, cancel := context.WithTimeout(context.Background(), checkpointWait+time.Second)
			go func() {
				select {
				case <-place.Changed:
				case <-p.quit:
				case <-ctx.Done():
				}
				cancel()
			}()
			var checkpoint []byte
			err := p.call(ctx, role.Leader, http.MethodGet, "/pair/checkpoint?after="+strconv.FormatUint(after, 10), nil, &checkpoint)
			if err == nil {
				err = a.Ledger.Learn(checkpoint)
			}
			if err == nil {
				wait, heard = 0, sizeOf(checkpoint)
			}
			cancel()
		} else {
			heard = 0
		}
		select {
		case <-p.quit:
			return
		case <-time.After(wait):
		}
	}
}

// sizeOf reads the size of a checkpoint that was checked.
func sizeOf(checkpoint []byte) (size uint64) {
	_, rest, _ := bytes.Cut(checkpoint, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	size, _ = strconv.ParseUint(string(line), 10, 64)
	return size
}
