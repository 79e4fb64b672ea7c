package cosign

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countroom/ledger/tlog"
)

// ErrRefused says that a witness holds another history of the log, or says so:
// its record is ahead of this log, or this log does not extend it.
var ErrRefused = errors.New("the witness holds another history of this log")

// errInvalid says that an answer is not one of the protocol's.
var errInvalid = errors.New("an answer that a witness does not give")

// member is one witness as the house sees it; its fields are its goroutine's own,
// but for err, which is under the group's mu.
type member struct {
	g      *Group
	at     int
	key    *tlog.Cosigner
	url    string
	client *http.Client

	size uint64 // that the witness recorded last, as far as is known
	last *round // that it cosigned
	err  error
}

// How long a witness that failed is left alone.
const (
	restLeast = 50 * time.Millisecond
	restMost  = 2 * time.Second
)

func (m *member) run() {
	rest := restLeast
	for {
		r := m.g.next(m)
		if r == nil {
			return
		}
		start := time.Now()
		line, err := m.submit(r)
		if err == nil {
			rest = restLeast
			m.last = r
			m.g.m.cosignatures.WithLabelValues(m.key.Name()).Inc()
			m.g.m.seconds.WithLabelValues(m.key.Name()).Observe(time.Since(start).Seconds())
			m.g.add(m, r, line)
			continue
		}
		if m.g.ctx.Err() != nil {
			return
		}
		m.failed(err)
		select {
		case <-time.After(rest):
		case <-m.g.ctx.Done():
			return
		}
		rest = min(2*rest, restMost)
	}
}

func (m *member) failed(err error) {
	why := "unreachable"
	switch {
	case errors.Is(err, ErrRefused):
		why = "refused"
	case errors.Is(err, errInvalid):
		why = "invalid"
	}
	m.g.m.failures.WithLabelValues(m.key.Name(), why).Inc()
	m.g.mu.Lock()
	was := m.err
	m.err = err
	m.g.mu.Unlock()
	if was == nil || was.Error() != err.Error() {
		m.g.cfg.Log.Error("no cosignature", "witness", m.key.Name(), "error", err)
	}
}

// submit asks for the cosignature of a checkpoint, once more with the size that
// the witness names when it recorded another than is known here.
func (m *member) submit(r *round) (line []byte, err error) {
	for range 3 {
		var proof []tlog.Hash
		if m.size > r.size {
			// A newer one was cosigned already, or it is of another history: ask, so
			// that the witness says.
			m.size = 0
		}
		if m.size > 0 && m.size < r.size {
			if proof, err = m.g.prove(m.size, r.size); err != nil {
				return nil, err
			}
		}
		status, contentType, answer, err := m.post(body(m.size, proof, r.note))
		if err != nil {
			return nil, err
		}
		switch {
		case status == http.StatusOK:
			if line, err = m.pick(r, answer); err == nil {
				m.size = r.size
			}
			return line, err
		case status == http.StatusConflict && strings.HasPrefix(contentType, "text/x.tlog.size"):
			size, err := parseSize(answer)
			switch {
			case err != nil:
				return nil, err
			case size > r.size:
				return nil, fmt.Errorf("%w: it recorded size %d, this log has %d: it was rolled back, or a copy of it signs elsewhere", ErrRefused, size, r.size)
			case size == m.size:
				return nil, fmt.Errorf("%w: 409 for the size that it names", errInvalid)
			}
			m.size = size
		case status == http.StatusUnprocessableEntity:
			size := m.size
			m.size = 0
			return nil, fmt.Errorf("%w: 422 for size %d after %d", ErrRefused, r.size, size)
		default:
			return nil, fmt.Errorf("%w: status %d: %.200q", errInvalid, status, answer)
		}
	}
	return nil, fmt.Errorf("%w: its record changes with each request: does another copy of this log ask it?", errInvalid)
}

// answerMost bounds what is read of an answer.
const answerMost = 64 << 10

func (m *member) post(b []byte) (status int, contentType string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(m.g.ctx, http.MethodPost, strings.TrimSuffix(m.url, "/")+"/add-checkpoint", bytes.NewReader(b))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := m.client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	// Read to its end, so that the connection is used again.
	answer, err = io.ReadAll(io.LimitReader(res.Body, answerMost))
	return res.StatusCode, res.Header.Get("Content-Type"), answer, err
}

func body(old uint64, proof []tlog.Hash, note []byte) []byte {
	b := make([]byte, 0, 32+45*len(proof)+len(note))
	b = append(b, "old "...)
	b = strconv.AppendUint(b, old, 10)
	b = append(b, '\n')
	for i := range proof {
		b = base64.StdEncoding.AppendEncode(b, proof[i][:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, note...)
}

func parseSize(answer []byte) (uint64, error) {
	s, ok := strings.CutSuffix(string(answer), "\n")
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || !ok || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: size %.30q, expected a decimal and a newline", errInvalid, answer)
	}
	return n, nil
}

// pick finds the witness's own good cosignature among the lines of its answer.
func (m *member) pick(r *round, answer []byte) ([]byte, error) {
	list, err := tlog.ParseCosignatures(answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	for _, s := range list {
		if m.key.Verify(r.text, s) {
			return s.AppendLine(nil), nil
		}
	}
	return nil, fmt.Errorf("%w: no good cosignature by %s+%08x of this checkpoint", errInvalid, m.key.Name(), m.key.KeyHash())
}
