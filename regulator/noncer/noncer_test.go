package noncer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"countroom/regulator/verify/logtest"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

const origin = "logtest.example/house"

// witness is a witness of the test's own, which serves the houses of a seed of
// logtest.
func witness(t *testing.T, journal *bytes.Buffer) *Noncer {
	t.Helper()
	seed := sha256.Sum256([]byte("witness"))
	key := ed25519.NewKeyFromSeed(seed[:])
	n, err := New(Config{
		Name: "regulator", Public: key.Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, Secret: seed, Journal: journal,
		Houses: map[string][]string{origin: {logtest.Empty(logtest.Config{}).VKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// bound is a house that has bound itself to a secret with a witness's nonce.
func bound(n *Noncer, change func(*epoch.Statement)) (h *logtest.House, answer []byte) {
	c, err := n.Commit(origin, 1)
	if err != nil {
		panic(err)
	}
	h = logtest.Empty(logtest.Config{})
	h.Commitment = func(st *epoch.Statement, s *logtest.Secret) {
		st.Policy, st.Nonces = epoch.PolicyWitness, []epoch.Nonce{c}
		change(st)
	}
	h.Begin()
	return h, h.Answer(h.Size() - 1)
}

func same(*epoch.Statement) {}

// The same nonce waits until it is shown, it opens what was committed to, and it
// is shown again for the same commitment of the house, also by a later process.
func TestANonceIsShownForOneCommitment(t *testing.T) {
	var journal bytes.Buffer
	n := witness(t, &journal)
	first, err := n.Commit(origin, 1)
	if again, _ := n.Commit(origin, 1); err != nil || again != first {
		t.Fatalf("%v: the commitment changed before it was of use", err)
	}
	if other, _ := n.Commit(origin, 2); other.Commitment == first.Commitment {
		t.Error("two epochs have one nonce")
	}
	_, answer := bound(n, same)
	shown, err := n.Show(origin, answer)
	if err != nil || shown.Commitment(origin, 1) != first.Commitment || shown.Witness != "regulator" {
		t.Fatalf("%v, %+v", err, shown)
	}
	n = witness(t, bytes.NewBuffer(journal.Bytes()))
	if again, err := n.Show(origin, answer); err != nil || again != shown {
		t.Errorf("for the same commitment: %v, %+v", err, again)
	}
	_, other := bound(n, func(st *epoch.Statement) {
		st.Nonces[0] = first
		st.Commitment[0] ^= 1
	})
	if _, err := n.Show(origin, other); !errors.Is(err, ErrShown) {
		t.Errorf("for another secret: %v", err)
	}
	second, err := n.Commit(origin, 1)
	if err != nil || second.Commitment == first.Commitment {
		t.Fatalf("%v: a nonce that was shown is committed to again", err)
	}
	_, restored := bound(n, same)
	if again, err := n.Show(origin, restored); err != nil || again == shown {
		t.Errorf("for a restored house: %v, %+v", err, again)
	}
}

// Nothing but the signed receipt of a commitment to that very nonce gets it.
func TestNobodyElseGetsANonce(t *testing.T) {
	n := witness(t, new(bytes.Buffer))
	h, good := bound(n, same)
	forged := func(change func(leaf map[string]any)) []byte {
		var a map[string]any
		json.Unmarshal(good, &a)
		change(a["leaf"].(map[string]any))
		b, _ := json.Marshal(a)
		return b
	}
	_, unnamed := bound(n, func(st *epoch.Statement) { st.Nonces[0].Witness = "somebody" })
	_, invented := bound(n, func(st *epoch.Statement) { st.Nonces[0].Commitment[0] ^= 1 })
	stranger := logtest.New(logtest.Config{Seed: 9})
	for name, c := range map[string]struct {
		origin string
		answer []byte
		want   error
	}{
		"another entry":              {origin, h.Answer(0), ErrAnswer},
		"an altered commitment":      {origin, forged(func(leaf map[string]any) { leaf["epoch"] = 2 }), ErrAnswer},
		"a commitment without it":    {origin, unnamed, ErrAnswer},
		"a commitment to another":    {origin, invented, ErrAnswer},
		"an answer of another house": {origin, stranger.Answer(stranger.Size() - 1), ErrAnswer},
		"a house that is not served": {"stranger.example/log", good, ErrHouse},
		"nothing":                    {origin, nil, ErrAnswer},
		"two answers":                {origin, append(append([]byte("["), append(good, ',')...), append(good, ']')...), ErrAnswer},
	} {
		if nonce, err := n.Show(c.origin, c.answer); !errors.Is(err, c.want) || nonce != (chance.WitnessNonce{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Commit("stranger.example/log", 1); !errors.Is(err, ErrHouse) {
		t.Error(err)
	}
}

// A journal that is not whole, or not this witness's, refuses to start: a nonce
// could be shown twice.
func TestAJournalIsHeldToItsOrder(t *testing.T) {
	var journal bytes.Buffer
	n := witness(t, &journal)
	_, answer := bound(n, same)
	if _, err := n.Show(origin, answer); err != nil {
		t.Fatal(err)
	}
	line := journal.String()
	for name, text := range map[string]string{
		"cut short":    line[:len(line)-9],
		"out of order": strings.Replace(line, `"attempt":0`, `"attempt":1`, 1),
		"twice":        line + line,
		"no hash":      strings.Replace(line, `"leaf":"`, `"leaf":"0`, 1),
	} {
		cfg := n.cfg
		cfg.Journal = bytes.NewBufferString(text)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: the witness started", name)
		}
	}
}

type full struct{ bytes.Buffer }

func (*full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

// What cannot be written down is not shown.
func TestAFullJournalShowsNothing(t *testing.T) {
	n := witness(t, new(bytes.Buffer))
	n.cfg.Journal = &full{}
	_, answer := bound(n, same)
	if nonce, err := n.Show(origin, answer); err == nil || nonce != (chance.WitnessNonce{}) || len(n.shown) != 0 {
		t.Errorf("%v, %+v", err, nonce)
	}
}

// Over HTTP the client accepts what the witness says and nothing else.
func TestClient(t *testing.T) {
	n := witness(t, new(bytes.Buffer))
	var spoil func(body string) string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		n.Handler().ServeHTTP(rec, r)
		body := rec.Body.String()
		if spoil != nil {
			body = spoil(body)
		}
		w.WriteHeader(rec.Code)
		w.Write([]byte(body))
	}))
	defer server.Close()
	c := &Client{Witness: "regulator", Public: [32]byte(n.cfg.Public), URL: server.URL + "/", HTTP: server.Client()}
	promised, err := c.Commit(t.Context(), origin, 1)
	if own, _ := n.Commit(origin, 1); err != nil || promised != own {
		t.Fatalf("%v, %+v", err, promised)
	}
	_, answer := bound(n, same)
	if shown, err := c.Show(t.Context(), origin, 1, promised, answer); err != nil || shown.Witness != "regulator" {
		t.Errorf("%v, %+v", err, shown)
	}
	for status, ask := range map[string]func() error{
		"404": func() error { _, err := c.Commit(t.Context(), "stranger.example/log", 1); return err },
		"422": func() error { _, err := c.Show(t.Context(), origin, 1, promised, []byte("{}")); return err },
	} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), status) {
			t.Errorf("want status %s: %v", status, err)
		}
	}
	for name, change := range map[string]func(string) string{
		"another signature": func(b string) string { return strings.Replace(b, `"signature":"`, `"signature":"0`, 1) },
		"no JSON":           func(string) string { return "<html>" },
		"cut short":         func(b string) string { return b[:len(b)/2] },
		"another's key": func(b string) string {
			return strings.Replace(b, `"commitment":"`+b[15:17], `"commitment":"ff`, 1)
		},
	} {
		spoil = change
		if _, err := c.Commit(t.Context(), origin, 1); err == nil {
			t.Errorf("%s is taken for the witness's commitment", name)
		}
	}
	spoil = func(b string) string { return strings.Replace(b, `"nonce":"`+b[10:12], `"nonce":"`, 1) }
	if _, err := c.Show(t.Context(), origin, 1, promised, answer); err == nil {
		t.Error("a nonce cut short is taken")
	}
	spoil = nil
	promised.Commitment[0] ^= 1
	if _, err := c.Show(t.Context(), origin, 1, promised, answer); err == nil || !strings.Contains(err.Error(), "committed to") {
		t.Errorf("another nonce is taken: %v", err)
	}
}

func FuzzHandler(f *testing.F) {
	seed := sha256.Sum256([]byte("witness"))
	key := ed25519.NewKeyFromSeed(seed[:])
	n, err := New(Config{
		Name: "regulator", Public: key.Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, Secret: seed, Journal: new(bytes.Buffer),
		Houses: map[string][]string{origin: {logtest.Empty(logtest.Config{}).VKey}},
	})
	if err != nil {
		f.Fatal(err)
	}
	_, answer := bound(n, same)
	f.Add("/v1/nonces", []byte(`{"epoch":1,"origin":"logtest.example/house"}`))
	whole, _ := json.Marshal(map[string]any{"answer": json.RawMessage(answer), "origin": origin})
	f.Add("/v1/nonces/reveal", whole)
	f.Add("/v1/nonces/reveal", []byte(`{"answer":[],"origin":"logtest.example/house"}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "/v1/nonces" {
			path = "/v1/nonces/reveal"
		}
		rec := httptest.NewRecorder()
		n.Handler().ServeHTTP(rec, httptest.NewRequest("POST", path, bytes.NewReader(body)))
		if rec.Code >= 500 {
			t.Errorf("%d: %s", rec.Code, rec.Body)
		}
	})
}
