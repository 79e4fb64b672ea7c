package witness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"countroom/ledger/tlog"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"
)

// bodyMost bounds a request: 63 hashes, and a note with sixteen signatures of the
// largest kinds there are.
const bodyMost = 128 << 10

// Mount puts the witness's resources on a mux, which may have others:
//
//	POST /add-checkpoint            c2sp.org/tlog-witness
//	GET  /<origin hash>/checkpoint  the newest checkpoint as it was cosigned
//	GET  /vkey                      the witness's verifier key
//	GET  /healthz                   200 while every record can be written
//	GET  /metrics                   for Prometheus
func (w *Witness) Mount(mux *http.ServeMux) {
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	mux.HandleFunc("GET /{hash}/checkpoint", w.checkpoint)
	mux.HandleFunc("GET /vkey", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, http.StatusOK, textType, w.vkey+"\n") })
	mux.HandleFunc("GET /healthz", w.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.m.registry, promhttp.HandlerOpts{}))
}

const (
	textType = "text/plain; charset=utf-8"
	sizeType = "text/x.tlog.size"
)

func answer(rw http.ResponseWriter, status int, contentType, body string) {
	h := rw.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(status)
	io.WriteString(rw, body)
}

// addCheckpoint answers with cosignature lines, or with why not.
func (w *Witness) addCheckpoint(rw http.ResponseWriter, req *http.Request) {
	start := time.Now()
	who := address(req)
	origin, reply := "", reply{status: http.StatusTooManyRequests, text: "too many requests from this address were refused; wait a second\n"}
	if w.strikes.allowed(who, start) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, req.Body, bodyMost))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			reply.status, reply.text = http.StatusRequestEntityTooLarge, fmt.Sprintf("a request may have at most %d bytes\n", bodyMost)
		case err != nil:
			reply.status, reply.text = http.StatusBadRequest, "the request ended early\n"
		default:
			origin, reply = w.add(body)
		}
		switch reply.status {
		case http.StatusOK, http.StatusConflict, http.StatusInternalServerError:
		default:
			w.strikes.count(who, start)
		}
	}
	if reply.status == http.StatusTooManyRequests {
		rw.Header().Set("Retry-After", "1")
	}
	w.m.requests.WithLabelValues(origin, strconv.Itoa(reply.status)).Inc()
	w.m.seconds.Observe(time.Since(start).Seconds())
	contentType := textType
	if reply.status == http.StatusConflict {
		contentType = sizeType
	}
	answer(rw, reply.status, contentType, reply.text)
}

type reply struct {
	status int
	text   string
}

func refuse(status int, format string, args ...any) reply {
	return reply{status, fmt.Sprintf(format, args...) + "\n"}
}

// add holds a submission against the record. It returns the origin where it is
// known.
func (w *Witness) add(body []byte) (string, reply) {
	s, err := parseSubmission(body)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "%v", err)
	}
	text, _, err := tlog.Text(s.note)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "the checkpoint: %v", err)
	}
	origin, _, err := parseText(text)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "%v", err)
	}
	r := w.logs[origin]
	if r == nil {
		return "", refuse(http.StatusNotFound, "this witness does not know the log")
	}
	next, n, err := r.openNote(s.note)
	var unsigned *note.UnverifiedNoteError
	var forged *note.InvalidSignatureError
	switch {
	case errors.As(err, &unsigned), errors.As(err, &forged):
		return origin, refuse(http.StatusForbidden, "no good signature of a key that this witness trusts for the log")
	case err != nil:
		return origin, refuse(http.StatusBadRequest, "the checkpoint: %v", err)
	}
	if !r.limit.Allow() {
		return origin, refuse(http.StatusTooManyRequests, "the log makes too many requests")
	}
	return origin, w.addSigned(r, s, next, n)
}

// addSigned holds a checkpoint that the log signed against the record, and is the
// only place where the record changes.
func (w *Witness) addSigned(r *record, s submission, next head, n *note.Note) reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil || r.file == nil {
		return refuse(http.StatusInternalServerError, "the witness cannot write its record")
	}
	status, against := decide(r.last, s.old, s.proof, next)
	if against != nothing {
		w.keep(r, against, s)
	}
	switch status {
	case http.StatusOK:
	case http.StatusConflict:
		return refuse(status, "%d", r.last.size)
	case http.StatusBadRequest:
		return refuse(status, "the old size is above the checkpoint's")
	default:
		return refuse(status, "the checkpoint does not extend the recorded one of size %d by this proof", r.last.size)
	}
	// The time of a cosignature never goes back, whatever the clock does: it says
	// that nothing larger was seen by then.
	at := max(uint64(max(w.cfg.Clock().Unix(), 1)), r.time)
	sig, err := w.cfg.Sign(tlog.CosignedMessage(at, []byte(n.Text)))
	cosig := tlog.Cosignature{Name: w.cosigner.Name(), KeyHash: w.cosigner.KeyHash(), Time: at}
	if err == nil && copy(cosig.Sig[:], sig) != len(cosig.Sig) {
		err = fmt.Errorf("a signature of %d bytes", len(sig))
	}
	if err == nil && !w.cosigner.Verify([]byte(n.Text), cosig) {
		err = errors.New("the signature does not verify under the witness's own key")
	}
	if err != nil {
		w.cfg.Log.Error("the signer does not answer", "error", err)
		return refuse(http.StatusInternalServerError, "the witness cannot sign")
	}
	line := cosig.AppendLine(nil)
	msg := append(signedNote(n), line...)
	if len(msg) > noteMost {
		return refuse(http.StatusBadRequest, "the checkpoint with its signatures: expected at most %d bytes", noteMost)
	}
	if err := r.file.write(msg); err != nil {
		r.broken = err
		w.cfg.Log.Error("no record, no cosignature: the witness answers for this log again after a restart", "origin", r.origin, "error", err)
		return refuse(http.StatusInternalServerError, "the witness cannot write its record")
	}
	r.last, r.time, r.note = next, at, msg
	w.m.size.WithLabelValues(r.origin).Set(float64(next.size))
	w.m.time.WithLabelValues(r.origin).Set(float64(at))
	return reply{http.StatusOK, string(line)}
}

// signedNote is a note with the signatures that were verified.
func signedNote(n *note.Note) []byte {
	msg := append([]byte(n.Text), '\n')
	for _, s := range n.Sigs {
		msg = append(msg, "— "+s.Name+" "+s.Base64+"\n"...)
	}
	return msg
}

// checkpoint gives monitors what was cosigned last.
func (w *Witness) checkpoint(rw http.ResponseWriter, req *http.Request) {
	var msg []byte
	if r := w.byHash[req.PathValue("hash")]; r != nil {
		r.mu.Lock()
		msg = r.note
		r.mu.Unlock()
	}
	if msg == nil {
		answer(rw, http.StatusNotFound, textType, "no checkpoint of this log was cosigned\n")
		return
	}
	rw.Header().Set("Cache-Control", "no-cache")
	rw.Header().Set("Access-Control-Allow-Origin", "*")
	answer(rw, http.StatusOK, textType, string(msg))
}

func (w *Witness) health(rw http.ResponseWriter, _ *http.Request) {
	for _, r := range w.logs {
		r.mu.Lock()
		broken := r.broken
		r.mu.Unlock()
		if broken != nil {
			answer(rw, http.StatusServiceUnavailable, textType, "a record cannot be written\n")
			return
		}
	}
	answer(rw, http.StatusOK, textType, "ok\n")
}

// strikes bound what is refused to one address: checking signatures of strangers
// must not take the time that the logs need.
type strikes struct {
	mu     sync.Mutex
	limits map[string]*rate.Limiter
}

const (
	strikesPerSecond = 5
	strikesBurst     = 50
	strikersMost     = 10_000 // addresses that are remembered
)

func (s *strikes) of(who string) *rate.Limiter {
	l := s.limits[who]
	if l == nil {
		if s.limits == nil || len(s.limits) >= strikersMost {
			s.limits = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(strikesPerSecond, strikesBurst)
		s.limits[who] = l
	}
	return l
}

func (s *strikes) allowed(who string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits[who]
	return l == nil || l.TokensAt(now) >= 1
}

func (s *strikes) count(who string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(who).AllowN(now, 1)
}

// address is what a client is told apart by: its IPv4 address, or its IPv6
// network of 64 bits.
func address(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}

// Server returns an HTTP server with limits on what a client may hold up.
func Server(h http.Handler) *http.Server {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, Protocols: new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
