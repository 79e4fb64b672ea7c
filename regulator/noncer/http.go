package noncer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"

	"github.com/prometheus/client_golang/prometheus"
)

// bodyMost bounds what either side reads of the other. A leaf has at most 64 KiB.
const bodyMost = 1 << 18

// question asks for a commitment.
type question struct {
	Epoch  uint64 `json:"epoch"`
	Origin string `json:"origin"`
}

// reveal asks for a nonce.
type reveal struct {
	Answer json.RawMessage `json:"answer"`
	Origin string          `json:"origin"`
}

// commitment is the answer to a question.
type commitment struct {
	Commitment string `json:"commitment"`
	Key        string `json:"key"`
	Signature  string `json:"signature"`
	Witness    string `json:"witness"`
}

// shown is the answer to a reveal.
type shown struct {
	Nonce   string `json:"nonce"`
	Witness string `json:"witness"`
}

// newAnswers counts what a witness answered.
func newAnswers() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countroom_witness_nonces_total", Help: "Requests about nonces by call (commit, reveal) and status. A reveal with 409 is a house that lost or rewrote its log: alarm on any."}, []string{"call", "status"})
}

// Register has a registry know what the witness counts.
func (n *Noncer) Register(r prometheus.Registerer) error { return r.Register(n.answers) }

// Handler serves the witness over HTTP, on a mux of its own.
func (n *Noncer) Handler() http.Handler {
	mux := http.NewServeMux()
	n.Mount(mux)
	return mux
}

// Mount puts the witness's resources on a mux, which may have others:
//
//	POST /v1/nonces         the commitment to the nonce of an epoch
//	POST /v1/nonces/reveal  the nonce, for the receipt of the house's commitment
func (n *Noncer) Mount(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/nonces", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if !n.read(w, r, "commit", &q) {
			return
		}
		c, err := n.Commit(q.Origin, q.Epoch)
		n.answer(w, "commit", commitment{hex.EncodeToString(c.Commitment[:]), hex.EncodeToString(c.Key[:]), hex.EncodeToString(c.Signature[:]), c.Witness}, err)
	})
	mux.HandleFunc("POST /v1/nonces/reveal", func(w http.ResponseWriter, r *http.Request) {
		var q reveal
		if !n.read(w, r, "reveal", &q) {
			return
		}
		nonce, err := n.Show(q.Origin, q.Answer)
		n.answer(w, "reveal", shown{hex.EncodeToString(nonce.Nonce[:]), nonce.Witness}, err)
	})
}

func (n *Noncer) read(w http.ResponseWriter, r *http.Request, call string, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMost))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		n.refuse(w, call, http.StatusBadRequest, "expected a JSON object of this call: "+err.Error())
		return false
	}
	return true
}

func (n *Noncer) answer(w http.ResponseWriter, call string, v any, err error) {
	switch {
	case errors.Is(err, ErrHouse):
		n.refuse(w, call, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrShown):
		n.refuse(w, call, http.StatusConflict, err.Error())
	case errors.Is(err, ErrAnswer):
		n.refuse(w, call, http.StatusUnprocessableEntity, err.Error())
	case err != nil:
		n.cfg.Log.Error("a nonce cannot be given", "call", call, "error", err)
		n.refuse(w, call, http.StatusInternalServerError, "the witness cannot answer now")
	default:
		n.answers.WithLabelValues(call, strconv.Itoa(http.StatusOK)).Inc()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

func (n *Noncer) refuse(w http.ResponseWriter, call string, status int, text string) {
	n.answers.WithLabelValues(call, strconv.Itoa(status)).Inc()
	http.Error(w, text, status)
}

// Client asks a witness over HTTP, for the house.
type Client struct {
	Witness string   // its name
	Public  [32]byte // its key
	URL     string   // of its server, without /v1
	HTTP    *http.Client
}

// Name is the witness's name.
func (c *Client) Name() string { return c.Witness }

// Commit asks for the commitment to a nonce, and checks that it is the
// witness's own.
func (c *Client) Commit(ctx context.Context, origin string, n uint64) (epoch.Nonce, error) {
	var got commitment
	if err := c.post(ctx, "/v1/nonces", question{n, origin}, &got); err != nil {
		return epoch.Nonce{}, err
	}
	nonce := epoch.Nonce{Key: c.Public, Witness: c.Witness}
	if err := unhex(nonce.Commitment[:], got.Commitment); err != nil {
		return epoch.Nonce{}, fmt.Errorf("witness %s: commitment: %w", c.Witness, err)
	}
	if err := unhex(nonce.Signature[:], got.Signature); err != nil {
		return epoch.Nonce{}, fmt.Errorf("witness %s: signature: %w", c.Witness, err)
	}
	msg, err := nonce.Message(origin, n)
	if err == nil && !ed25519.Verify(c.Public[:], msg, nonce.Signature[:]) {
		err = errors.New("expected a signature of the key that is configured for it")
	}
	if err != nil {
		return epoch.Nonce{}, fmt.Errorf("witness %s: %w", c.Witness, err)
	}
	return nonce, nil
}

// Show asks for the nonce of a commitment that is in the log, and checks that it
// opens what the witness had committed to.
func (c *Client) Show(ctx context.Context, origin string, n uint64, promised epoch.Nonce, receipt []byte) (epoch.Shown, error) {
	var got shown
	if err := c.post(ctx, "/v1/nonces/reveal", reveal{receipt, origin}, &got); err != nil {
		return epoch.Shown{}, err
	}
	nonce := chance.WitnessNonce{Witness: c.Witness}
	if err := unhex(nonce.Nonce[:], got.Nonce); err != nil {
		return epoch.Shown{}, fmt.Errorf("witness %s: nonce: %w", c.Witness, err)
	}
	if nonce.Commitment(origin, n) != promised.Commitment {
		return epoch.Shown{}, fmt.Errorf("witness %s: the nonce is not the one that it had committed to", c.Witness)
	}
	return epoch.Shown(nonce), nil
}

// post sends an object and reads one.
func (c *Client) post(ctx context.Context, path string, ask, into any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("witness %s: %w", c.Witness, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("witness %s: %w", c.Witness, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("witness %s: %w", c.Witness, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, bodyMost))
	if err != nil {
		return fmt.Errorf("witness %s: %w", c.Witness, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("witness %s: %s: %.200q", c.Witness, resp.Status, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("witness %s: expected a JSON object: %w", c.Witness, err)
	}
	return nil
}

// unhex fills dst from exactly as many hex digits as it needs.
func unhex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("expected %d hex digits, got %d", 2*len(dst), len(s))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
