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
	"strings"

	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
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

// Handler serves the witness over HTTP.
func (n *Noncer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/nonces", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if !read(w, r, &q) {
			return
		}
		c, err := n.Commit(q.Origin, q.Epoch)
		answer(w, commitment{hex.EncodeToString(c.Commitment[:]), hex.EncodeToString(c.Key[:]), hex.EncodeToString(c.Signature[:]), c.Witness}, err)
	})
	mux.HandleFunc("POST /v1/nonces/reveal", func(w http.ResponseWriter, r *http.Request) {
		var q reveal
		if !read(w, r, &q) {
			return
		}
		nonce, err := n.Show(q.Origin, q.Answer)
		answer(w, shown{hex.EncodeToString(nonce.Nonce[:]), nonce.Witness}, err)
	})
	return mux
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMost))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		http.Error(w, "expected a JSON object of this call: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, ErrHouse):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, ErrShown):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, ErrAnswer):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case err != nil:
		http.Error(w, "the witness cannot answer now", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
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
