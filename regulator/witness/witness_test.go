package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"countroom/ledger/tlog"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// house is a log whose key signs whatever the test wants.
type house struct {
	t      testing.TB
	signer note.Signer
	vkey   string
	leaves []tlog.Hash
}

func newHouse(t testing.TB, origin string, seed byte) *house {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	s, err := tlog.NewSigner(origin, key.Public().(ed25519.PublicKey), func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := tlog.VKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, signer: s, vkey: vkey}
}

func (h *house) grow(n int, what string) *house {
	for i := range n {
		h.leaves = append(h.leaves, tlog.LeafHash(fmt.Appendf(nil, "%s %d", what, len(h.leaves)+i)))
	}
	return h
}

// twin is the same house with the same keys on another disk.
func (h *house) twin() *house {
	c := *h
	c.leaves = append([]tlog.Hash(nil), h.leaves...)
	return &c
}

func (h *house) tree() *tlog.Tree {
	h.t.Helper()
	tree, err := tlog.NewTree(uint64(len(h.leaves)), nil, h.leaves)
	if err != nil {
		h.t.Fatal(err)
	}
	return tree
}

func (h *house) checkpoint() []byte {
	h.t.Helper()
	root, err := h.tree().Root(uint64(len(h.leaves)))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sign(tlog.Checkpoint{Origin: h.signer.Name(), Size: uint64(len(h.leaves)), Root: root})
}

func (h *house) sign(c tlog.Checkpoint) []byte {
	h.t.Helper()
	msg, err := tlog.Sign(c, h.signer)
	if err != nil {
		h.t.Fatal(err)
	}
	return msg
}

// submit is the body that submits the house's head.
func (h *house) submit(old uint64) []byte {
	h.t.Helper()
	var proof []tlog.Hash
	if old > 0 && old < uint64(len(h.leaves)) {
		var err error
		if proof, err = h.tree().Consistency(old, uint64(len(h.leaves))); err != nil {
			h.t.Fatal(err)
		}
	}
	return body(old, proof, h.checkpoint())
}

func body(old uint64, proof []tlog.Hash, msg []byte) []byte {
	b := fmt.Appendf(nil, "old %d\n", old)
	for _, p := range proof {
		b = append(b, base64.StdEncoding.EncodeToString(p[:])+"\n"...)
	}
	return append(append(b, '\n'), msg...)
}

func originHash(origin string) [32]byte { return sha256.Sum256([]byte(origin)) }

// rig is a data directory that witnesses are opened in, one after another.
type rig struct {
	*Witness
	t   testing.TB
	cfg Config
	mux *http.ServeMux
	now time.Time
}

func newRig(t testing.TB, houses ...*house) *rig {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{200}, ed25519.SeedSize))
	r := &rig{t: t, now: time.Unix(1767225600, 0)}
	r.cfg = Config{
		Dir: t.TempDir(), Name: "witness.example/w1", Key: key.Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil },
		Clock: func() time.Time { return r.now }, Log: slog.New(slog.DiscardHandler),
	}
	for _, h := range houses {
		r.cfg.Logs = append(r.cfg.Logs, Log{Origin: h.signer.Name(), VKeys: []string{h.vkey}})
	}
	r.open()
	t.Cleanup(func() { r.Witness.Close() })
	return r
}

func (r *rig) tryOpen() error {
	if r.Witness != nil {
		r.Witness.Close()
	}
	w, err := Open(r.cfg)
	if err != nil {
		return err
	}
	r.Witness, r.mux = w, http.NewServeMux()
	w.Mount(r.mux)
	return nil
}

func (r *rig) open() {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) do(method, path string, body []byte) *httptest.ResponseRecorder {
	rw := httptest.NewRecorder()
	r.mux.ServeHTTP(rw, httptest.NewRequest(method, path, bytes.NewReader(body)))
	return rw
}

func (r *rig) add(body []byte) *httptest.ResponseRecorder {
	return r.do("POST", "/add-checkpoint", body)
}

// cosigns demands that a submission is answered with a cosignature that holds.
func (r *rig) cosigns(h *house, old uint64) tlog.Cosignature {
	r.t.Helper()
	rw := r.add(h.submit(old))
	if rw.Code != 200 {
		r.t.Fatalf("old %d, size %d: %d %s", old, len(h.leaves), rw.Code, rw.Body)
	}
	good, others, err := tlog.Cosigned(append(h.checkpoint(), rw.Body.Bytes()...), []*tlog.Cosigner{r.cosigner})
	if err != nil || len(good) != 1 || others != 0 {
		r.t.Fatalf("%v, %d others, %v", good, others, err)
	}
	return good[0]
}

func (r *rig) refuses(body []byte, status int) string {
	r.t.Helper()
	rw := r.add(body)
	if rw.Code != status {
		r.t.Fatalf("expected %d, got %d %s", status, rw.Code, rw.Body)
	}
	return rw.Body.String()
}

func (r *rig) evidence() (all []evidence) {
	r.t.Helper()
	names, _ := filepath.Glob(filepath.Join(r.cfg.Dir, "evidence", "*.json"))
	for _, n := range names {
		b, err := os.ReadFile(n)
		var e evidence
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestAWitnessFollowsALog(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(3, "spin"), 0)
	r.cosigns(h.grow(1, "spin"), 3)
	r.cosigns(h, 4) // the same once more: it is alive and nothing larger was seen
	r.open()        // what it recorded outlives it
	if got := r.refuses(h.grow(5, "spin").submit(0), 409); got != "4\n" {
		t.Fatalf("%q", got)
	}
	r.cosigns(h, 4)
	// What it shows to monitors is what it cosigned, with the log's signature.
	hash := fmt.Sprintf("%x", originHash("casino.example/main"))
	rw := r.do("GET", "/"+hash+"/checkpoint", nil)
	v, err := fnote.NewVerifierForCosignatureV1(r.VKey())
	if err != nil {
		t.Fatal(err)
	}
	lv, err := tlog.NewVerifier(h.vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(rw.Body.Bytes(), note.VerifierList(v, lv))
	if err != nil || len(n.Sigs) != 2 || !strings.HasPrefix(n.Text, "casino.example/main\n9\n") {
		t.Fatalf("%v, %v", n, err)
	}
	if len(r.evidence()) != 0 {
		t.Fatal("evidence against an honest log")
	}
	for path, want := range map[string]string{"/vkey": r.VKey(), "/healthz": "ok", "/metrics": `countroom_witness_size{origin="casino.example/main"} 9`} {
		if rw := r.do("GET", path, nil); rw.Code != 200 || !strings.Contains(rw.Body.String(), want) {
			t.Errorf("%s: %d %s", path, rw.Code, rw.Body)
		}
	}
	if rw := r.do("GET", "/add-checkpoint", nil); rw.Code != 405 {
		t.Errorf("GET of add-checkpoint: %d", rw.Code)
	}
}

// Each refusal has the status of c2sp.org/tlog-witness, and leaves the record as
// it is.
func TestRefusals(t *testing.T) {
	h, other := newHouse(t, "casino.example/main", 1), newHouse(t, "casino.example/other", 2)
	r := newRig(t, h)
	r.cosigns(h.grow(4, "spin"), 0)
	h.grow(3, "spin")
	proof, err := h.tree().Consistency(4, 7)
	if err != nil {
		t.Fatal(err)
	}
	good := h.checkpoint()
	stranger := newHouse(t, "casino.example/main", 3)
	stranger.leaves = h.leaves
	spoiled := append([]tlog.Hash(nil), proof...)
	spoiled[0][5] ^= 1
	long := make([]tlog.Hash, 64)
	signedTwice := append(bytes.Clone(good), strings.SplitAfter(string(stranger.checkpoint()), "\n\n")[1]...)
	for _, c := range []struct {
		name   string
		body   []byte
		status int
	}{
		{"an unknown log", other.grow(1, "x").submit(0), 404},
		{"another key of the same name", stranger.submit(4), 403},
		{"no signature of the log", bytes.Replace(body(4, proof, good), []byte("— casino.example/main"), []byte("— casino.example/mine"), 1), 403},
		{"a signature over another text", bytes.Replace(body(4, proof, good), []byte("\n7\n"), []byte("\n8\n"), 1), 403},
		{"an old size above the new", body(8, proof, good), 400},
		{"an old size that is not the recorded one", body(3, proof, good), 409},
		{"an old size of nothing", body(0, nil, good), 409},
		{"a spoiled proof", body(4, spoiled, good), 422},
		{"no proof", body(4, nil, good), 422},
		{"too much of a proof", body(4, append(proof, tlog.Hash{}), good), 422},
		{"64 hashes", body(4, long, good), 400},
		{"an empty body", nil, 400},
		{"no old size", []byte("new 4\n\n" + string(good)), 400},
		{"a leading zero", bytes.Replace(body(4, proof, good), []byte("old 4"), []byte("old 04"), 1), 400},
		{"a signed size", bytes.Replace(body(4, proof, good), []byte("old 4"), []byte("old +4"), 1), 400},
		{"carriage returns", bytes.ReplaceAll(body(4, proof, good), []byte("\n"), []byte("\r\n")), 400},
		{"no empty line", bytes.Replace(body(4, proof, good), []byte("\n\n"), []byte("\n"), 1), 400},
		{"no checkpoint", body(4, proof, nil), 400},
		{"half a checkpoint", body(4, proof, good[:len(good)-9]), 400},
		{"a proof line that is short", []byte("old 4\nAAAA\n\n" + string(good)), 400},
		{"a long body", append(body(4, proof, good), make([]byte, bodyMost)...), 413},
		{"two lines of one key id, one of them bad", body(4, proof, signedTwice), 200},
	} {
		before := r.do("GET", "/"+fmt.Sprintf("%x", originHash("casino.example/main"))+"/checkpoint", nil).Body.String()
		rw := r.add(c.body)
		if rw.Code != c.status {
			t.Errorf("%s: expected %d, got %d %s", c.name, c.status, rw.Code, rw.Body)
		}
		if c.status == 409 && (rw.Body.String() != "4\n" || rw.Header().Get("Content-Type") != "text/x.tlog.size") {
			t.Errorf("%s: %q, %q", c.name, rw.Body, rw.Header())
		}
		after := r.do("GET", "/"+fmt.Sprintf("%x", originHash("casino.example/main"))+"/checkpoint", nil).Body.String()
		if (before != after) != (c.status == 200) {
			t.Errorf("%s: the record changed: %v", c.name, before != after)
		}
		r.strikes = strikes{}
	}
}

// A house whose second copy signs another history is found out, and what proves
// it is kept; nothing of the second history is cosigned.
func TestTwoHistories(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(4, "spin"), 0)
	twin := h.twin()
	r.cosigns(h.grow(2, "spin"), 4)
	twin.grow(2, "another spin")
	r.refuses(twin.submit(4), 409)
	if e := r.evidence(); len(e) != 1 || e[0].Against != twoRoots || e[0].Submitted != string(twin.checkpoint()) || !strings.HasPrefix(e[0].Recorded, "casino.example/main\n6\n") {
		t.Fatalf("%+v", e)
	}
	r.refuses(twin.submit(6), 422)
	r.refuses(twin.submit(6), 422)
	if e := r.evidence(); len(e) != 1 {
		t.Fatalf("%d files for one fork", len(e))
	}
	// Later the twin is longer. Whatever proof it sends does not hold.
	r.refuses(twin.grow(3, "another spin").submit(6), 422)
	if e := r.evidence(); len(e) != 2 {
		t.Fatalf("%d files", len(e))
	}
	empty := h.sign(tlog.Checkpoint{Origin: h.signer.Name(), Root: tlog.LeafHash([]byte("x"))})
	r.refuses(body(0, nil, empty), 409)
	if e := r.evidence(); len(e) != 3 {
		t.Fatalf("%d files", len(e))
	}
	r.cosigns(h.grow(1, "spin"), 6)
	text := r.do("GET", "/metrics", nil).Body.String()
	for _, want := range []string{`conflicts_total{kind="proven",origin="casino.example/main"} 4`, `conflicts_total{kind="unproven",origin="casino.example/main"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %s in\n%s", want, text)
		}
	}
}

// A log that begins: the empty tree has one root.
func TestTheEmptyLog(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.refuses(body(0, nil, h.sign(tlog.Checkpoint{Origin: h.signer.Name(), Root: tlog.LeafHash([]byte("x"))})), 422)
	empty := h.sign(tlog.Checkpoint{Origin: h.signer.Name(), Root: rfc6962Empty})
	r.refuses(body(0, []tlog.Hash{{}}, empty), 422)
	if rw := r.add(body(0, nil, empty)); rw.Code != 200 {
		t.Fatal(rw.Body)
	}
	r.cosigns(h.grow(2, "spin"), 0)
}

// Extension lines are cosigned and not understood; signatures of others are not
// kept.
func TestCheckpointsOfOtherLogs(t *testing.T) {
	h := newHouse(t, "log.example", 1)
	r := newRig(t, h)
	text := "log.example\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\nextension 1\n"
	n, err := note.Sign(&note.Note{Text: text}, h.signer)
	if err != nil {
		t.Fatal(err)
	}
	rw := r.add(body(0, nil, append(n, "— other.example AAAAAAAA\n"...)))
	if rw.Code != 200 {
		t.Fatal(rw.Body)
	}
	kept := r.do("GET", "/"+fmt.Sprintf("%x", originHash("log.example"))+"/checkpoint", nil).Body.String()
	if kept != string(n)+rw.Body.String() {
		t.Fatalf("%q", kept)
	}
	huge := text + strings.Repeat("x", textMost) + "\n"
	if n, err = note.Sign(&note.Note{Text: huge}, h.signer); err != nil {
		t.Fatal(err)
	}
	r.refuses(body(1, nil, n), 400)
}

// Of many requests at once that offer different histories one wins, and the
// others are told so.
func TestTheRecordIsARegister(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(2, "spin"), 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	roots := map[string]bool{}
	for i := range 16 {
		twin := h.twin().grow(1+i%3, fmt.Sprintf("history %d", i))
		b := twin.submit(2)
		wg.Go(func() {
			if rw := r.add(b); rw.Code == 200 {
				mu.Lock()
				roots[string(twin.checkpoint())] = true
				mu.Unlock()
			} else if rw.Code != 409 {
				t.Errorf("%d %s", rw.Code, rw.Body)
			}
		})
	}
	wg.Wait()
	if len(roots) != 1 {
		t.Fatalf("%d histories were cosigned", len(roots))
	}
}

// The time of a cosignature does not go back with the clock, also over a restart.
func TestTheTimeNeverGoesBack(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	first := r.cosigns(h.grow(1, "spin"), 0)
	r.now = r.now.Add(-time.Hour)
	r.open()
	if second := r.cosigns(h.grow(1, "spin"), 1); second.Time != first.Time {
		t.Fatalf("%d after %d", second.Time, first.Time)
	}
	r.now = r.now.Add(2 * time.Hour)
	if third := r.cosigns(h, 2); third.Time != first.Time+3600 {
		t.Fatalf("%d after %d", third.Time, first.Time)
	}
}

// Nothing leaves before it is recorded, and after a failed write nobody knows
// what is: the log waits for a restart.
func TestAFailedWriteStopsTheLog(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(1, "spin"), 0)
	r.logs["casino.example/main"].file.f.Close()
	r.refuses(h.grow(1, "spin").submit(1), 500)
	if rw := r.do("GET", "/healthz", nil); rw.Code != 503 {
		t.Fatalf("healthz says %d", rw.Code)
	}
	r.refuses(h.submit(1), 500)
	r.open()
	r.cosigns(h, 1)
}

func TestASignerThatFails(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	sign := r.Witness.cfg.Sign
	for name, bad := range map[string]func([]byte) ([]byte, error){
		"an error":          func([]byte) ([]byte, error) { return nil, errors.New("token gone") },
		"a short signature": func([]byte) ([]byte, error) { return make([]byte, 8), nil },
		"another key's":     func([]byte) ([]byte, error) { return make([]byte, 64), nil },
	} {
		r.Witness.cfg.Sign = bad
		if got := r.refuses(h.twin().grow(1, "spin").submit(0), 500); !strings.Contains(got, "cannot sign") {
			t.Errorf("%s: %s", name, got)
		}
	}
	r.Witness.cfg.Sign = sign
	r.cosigns(h.grow(1, "spin"), 0)
}

// Every byte of a record is under its hash: a damaged one refuses to start, and
// so does one of another log or another witness.
func TestDamagedRecordsRefuseToStart(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(1, "spin"), 0)
	r.cosigns(h.grow(1, "spin"), 1)
	path := r.logs["casino.example/main"].file.path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := slotHead + len(r.logs["casino.example/main"].note)
	refused := func(name string, damaged []byte) {
		t.Helper()
		r.Witness.Close()
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.tryOpen(); err == nil {
			t.Errorf("%s: it started", name)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
			t.Errorf("%s: the record was changed, %v", name, err)
		}
	}
	for slot := range 2 {
		for i := 0; i < used; i += 13 {
			b := bytes.Clone(whole)
			b[slot*slotBytes+i] ^= 0x40
			refused(fmt.Sprintf("byte %d of slot %d", i, slot), b)
		}
	}
	refused("cut short", whole[:slotBytes])
	refused("too long", append(bytes.Clone(whole), 0))
	// Told so, it goes on with the copy that is whole.
	b := bytes.Clone(whole)
	b[5] ^= 1 // the second checkpoint is in the first slot
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	r.cfg.AcceptTorn = true
	r.open()
	if got := r.refuses(h.submit(0), 409); got != "1\n" {
		t.Fatalf("%q", got)
	}
	r.cfg.AcceptTorn = false
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	r.open()
	other := newHouse(t, "casino.example/other", 2)
	r.cfg.Logs = []Log{{Origin: "casino.example/other", VKeys: []string{other.vkey}}}
	r.open()
	r.Witness.Close()
	if err := os.Rename(path, filepath.Join(filepath.Dir(path), fmt.Sprintf("%x", originHash("casino.example/other")))); err != nil {
		t.Fatal(err)
	}
	if err := r.tryOpen(); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Fatalf("another log's record: %v", err)
	}
}

func TestAnotherKeyIsAnotherWitness(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	r.cosigns(h.grow(1, "spin"), 0)
	r.cfg.Name = "witness.example/w2"
	if err := r.tryOpen(); err == nil || !strings.Contains(err.Error(), "name or the key") {
		t.Fatal(err)
	}
	r.cfg.Name = "witness.example/w1"
	// A log's next key is added before the old one goes.
	next := newHouse(t, "casino.example/main", 9)
	r.cfg.Logs = []Log{{Origin: "casino.example/main", VKeys: []string{next.vkey}}}
	if err := r.tryOpen(); err == nil || !strings.Contains(err.Error(), "verifier key") {
		t.Fatal(err)
	}
	r.cfg.Logs[0].VKeys = []string{h.vkey, next.vkey}
	r.open()
	next.leaves = h.leaves
	r.cosigns(next.grow(1, "spin"), 1)
}

func TestTwoWitnessesOverOneDirectory(t *testing.T) {
	r := newRig(t, newHouse(t, "casino.example/main", 1))
	if w, err := Open(r.cfg); err == nil {
		w.Close()
		t.Fatal("a second one opened the same records")
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	for name, change := range map[string]func(*Config){
		"no name":      func(c *Config) { c.Name = "" },
		"a spaced one": func(c *Config) { c.Name = "a witness" },
		"no key":       func(c *Config) { c.Key = nil },
		"twice":        func(c *Config) { c.Logs = append(c.Logs, c.Logs[0]) },
		"no vkey":      func(c *Config) { c.Logs[0].VKeys = nil },
		"a bad vkey":   func(c *Config) { c.Logs[0].VKeys = []string{r.VKey()} },
		"no origin":    func(c *Config) { c.Logs[0].Origin = "" },
	} {
		cfg := r.cfg
		cfg.Dir = t.TempDir()
		cfg.Logs = []Log{{Origin: "casino.example/main", VKeys: []string{h.vkey}}}
		change(&cfg)
		if w, err := Open(cfg); err == nil {
			w.Close()
			t.Errorf("%s: it started", name)
		}
	}
}

// Strangers who are refused again and again are not listened to for a while; the
// log itself has its own allowance.
func TestRateLimits(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	last := 0
	for n := 0; last != 429; n++ { // on a slow machine some are forgiven meanwhile
		if last = r.add([]byte("nonsense")).Code; n < strikesBurst && last == 429 || n == 100*strikesBurst {
			t.Fatalf("%d after %d", last, n)
		}
	}
	rw := httptest.NewRecorder()
	req := httptest.NewRequest("POST", "/add-checkpoint", bytes.NewReader(h.grow(1, "spin").submit(0)))
	req.RemoteAddr = "198.51.100.7:999"
	r.mux.ServeHTTP(rw, req)
	if rw.Code != 200 {
		t.Fatalf("the log, from another address: %d", rw.Code)
	}
	r.cfg.Rate = 0.001
	r.strikes = strikes{}
	r.open()
	r.cosigns(h, 1)
	r.refuses(h.submit(1), 429)
}

func TestAddresses(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::", "pipe": "pipe",
	} {
		if got := address(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%s: %s", remote, got)
		}
	}
	var s strikes
	for i := range strikersMost + 10 {
		s.count(strconv.Itoa(i), time.Now())
	}
	if len(s.limits) > strikersMost {
		t.Errorf("%d addresses are remembered", len(s.limits))
	}
}

// Whatever comes, the answer is one of the protocol's, and only what extends the
// record changes it.
func FuzzAddCheckpoint(f *testing.F) {
	h := newHouse(f, "casino.example/main", 1)
	r := newRig(f, h)
	r.cosigns(h.grow(4, "spin"), 0)
	next := h.twin().grow(3, "spin")
	f.Add(next.submit(4))
	f.Add(next.submit(0))
	f.Add(h.submit(4))
	f.Add(h.twin().grow(1, "other").submit(3))
	f.Add([]byte("old 0\n\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, reply := r.Witness.add(body)
		switch reply.status {
		case 400, 403, 404, 422, 429:
			if !strings.HasSuffix(reply.text, "\n") {
				t.Fatalf("%q", reply.text)
			}
		case 409:
			if reply.text != "4\n" && reply.text != "7\n" {
				t.Fatalf("%q", reply.text)
			}
		case 200:
			if !bytes.HasPrefix(body, []byte("old 4\n")) && !bytes.HasPrefix(body, []byte("old 7\n")) {
				t.Fatalf("cosigned: %q", body)
			}
		default:
			t.Fatalf("%d %s", reply.status, reply.text)
		}
	})
}

// A record is read whole or refused.
func FuzzRecord(f *testing.F) {
	h := newHouse(f, "casino.example/main", 1)
	r := newRig(f, h)
	r.cosigns(h.grow(1, "spin"), 0)
	path := r.logs["casino.example/main"].file.path
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	r.Witness.Close()
	f.Add(b[slotBytes:][:600])
	f.Add([]byte{1})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, slot []byte) {
		if len(slot) > slotBytes {
			return
		}
		whole := make([]byte, 2*slotBytes)
		copy(whole, slot)
		path := filepath.Join(dir, "record")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		got, msg, torn, err := openFile(path, originHash("casino.example/main"))
		if err != nil {
			return
		}
		defer got.Close()
		if torn || msg == nil && !allZero(slot) || msg != nil && !bytes.Contains(slot, msg) {
			t.Fatalf("torn %v, %q", torn, msg)
		}
	})
}

func TestServerSpeaksBothVersionsOfHTTP(t *testing.T) {
	h := newHouse(t, "casino.example/main", 1)
	r := newRig(t, h)
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(r.mux)
	s.Start()
	defer s.Close()
	for _, p := range []func(*http.Protocols){
		func(p *http.Protocols) { p.SetHTTP1(true) },
		func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		p(tr.Protocols)
		res, err := (&http.Client{Transport: tr}).Get(s.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(b) != "ok\n" {
			t.Fatalf("%q, %v", b, err)
		}
		tr.CloseIdleConnections()
	}
}
