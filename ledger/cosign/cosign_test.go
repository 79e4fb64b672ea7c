package cosign

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/witness"
)

func TestPolicies(t *testing.T) {
	some := func(n int) (list []Witness) {
		for i := range n {
			list = append(list, Witness{VKey: vkeyOf(t, fmt.Sprintf("w%d", i), byte(i)), URL: fmt.Sprintf("https://w%d.example/path", i)})
		}
		return list
	}
	one := 1
	zero, minus := 0, -1
	for _, c := range []struct {
		name string
		Config
		want string // part of the error, empty for none
	}{
		{"nothing", Config{}, ""},
		{"none", Config{Policy: None}, ""},
		{"none with a list", Config{Policy: None, Witnesses: some(1)}, "witnesses.policy"},
		{"no policy with a list", Config{Witnesses: some(1)}, "witnesses.policy"},
		{"unheard of", Config{Policy: "some", Witnesses: some(1)}, "witnesses.policy"},
		{"background", Config{Policy: Background, Witnesses: some(1)}, ""},
		{"background of nobody", Config{Policy: Background}, "witnesses.list"},
		{"background with a quorum", Config{Policy: Background, Witnesses: some(1), Quorum: 1}, "witnesses.quorum"},
		{"1 of 1", Config{Policy: Quorum, Witnesses: some(1), Quorum: 1}, ""},
		{"2 of 3", Config{Policy: Quorum, Witnesses: some(3), Quorum: 2}, ""},
		{"2 of 3, none false", Config{Policy: Quorum, Witnesses: some(3), Quorum: 2, Faulty: &zero}, ""},
		{"2 of 3, one false", Config{Policy: Quorum, Witnesses: some(3), Quorum: 2, Faulty: &one}, "witnesses.faulty"},
		{"3 of 4, one false", Config{Policy: Quorum, Witnesses: some(4), Quorum: 3, Faulty: &one}, ""},
		{"less than none false", Config{Policy: Quorum, Witnesses: some(3), Quorum: 3, Faulty: &minus}, "witnesses.faulty"},
		{"half", Config{Policy: Quorum, Witnesses: some(4), Quorum: 2}, "witnesses.quorum"},
		{"nobody's quorum", Config{Policy: Quorum, Witnesses: some(3)}, "witnesses.quorum"},
		{"more than there are", Config{Policy: Quorum, Witnesses: some(3), Quorum: 4}, "witnesses.quorum"},
		{"a bad key", Config{Policy: Background, Witnesses: []Witness{{VKey: "x", URL: "https://w"}}}, "list[0].vkey"},
		{"a bad address", Config{Policy: Background, Witnesses: []Witness{{VKey: vkeyOf(t, "w", 1), URL: "w.example"}}}, "list[0].url"},
		{"one key under two names", Config{Policy: Background, Witnesses: []Witness{{VKey: vkeyOf(t, "w", 1), URL: "http://w"}, {VKey: vkeyOf(t, "v", 1), URL: "http://v"}}}, "counts once"},
		{"one name with two keys", Config{Policy: Background, Witnesses: []Witness{{VKey: vkeyOf(t, "w", 1), URL: "http://w"}, {VKey: vkeyOf(t, "w", 2), URL: "http://v"}}}, "counts once"},
	} {
		err := c.Config.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.want)
		}
	}
	// The formula itself: any two quorums have a true witness in common.
	for n := 1; n <= 7; n++ {
		for q := 1; q <= n; q++ {
			for f := 0; f <= n; f++ {
				if (2*q > n+f) != (f <= MostFaulty(q, n)) {
					t.Errorf("%d of %d with %d false", q, n, f)
				}
			}
		}
	}
}

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func vkeyOf(t testing.TB, name string, seed byte) string {
	t.Helper()
	vkey, err := tlog.CosignerVKey(name, keyOf(seed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// aLog signs heads of one growing tree.
type aLog struct {
	t    testing.TB
	mu   sync.Mutex
	tree []tlog.Hash
}

func (l *aLog) head(size int) []byte {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.tree) < size {
		l.tree = append(l.tree, tlog.LeafHash(fmt.Appendf(nil, "entry %d", len(l.tree))))
	}
	tree, err := tlog.NewTree(uint64(size), nil, l.tree[:size])
	if err != nil {
		l.t.Fatal(err)
	}
	root, err := tree.Root(uint64(size))
	if err != nil {
		l.t.Fatal(err)
	}
	s, err := tlog.NewSigner("log.example", keyOf(99).Public().(ed25519.PublicKey), func(m []byte) ([]byte, error) { return ed25519.Sign(keyOf(99), m), nil })
	if err != nil {
		l.t.Fatal(err)
	}
	msg, err := tlog.Sign(tlog.Checkpoint{Origin: "log.example", Size: uint64(size), Root: root}, s)
	if err != nil {
		l.t.Fatal(err)
	}
	return msg
}

func (l *aLog) prove(old, size uint64) ([]tlog.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tree, err := tlog.NewTree(size, nil, l.tree[:size])
	if err != nil {
		return nil, err
	}
	return tree.Consistency(old, size)
}

func (l *aLog) vkey() string {
	vkey, err := tlog.VKey("log.example", keyOf(99).Public().(ed25519.PublicKey))
	if err != nil {
		l.t.Fatal(err)
	}
	return vkey
}

// server runs a real witness over HTTP, behind something that may interfere.
func (l *aLog) server(name string, seed byte, dir string, before func(w http.ResponseWriter, r *http.Request) bool) (*httptest.Server, Witness) {
	l.t.Helper()
	w, err := witness.Open(witness.Config{
		Dir: dir, Name: name, Key: keyOf(seed).Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(keyOf(seed), m), nil },
		Logs: []witness.Log{{Origin: "log.example", VKeys: []string{l.vkey()}}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.Mount(mux)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if before == nil || before(rw, r) {
			mux.ServeHTTP(rw, r)
		}
	}))
	l.t.Cleanup(func() { s.Close(); w.Close() })
	return s, Witness{VKey: w.VKey(), URL: s.URL}
}

func (l *aLog) start(c Config) *Group {
	l.t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	g, err := Start(c, l.prove, func(uint64, []byte) {})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(g.Close)
	return g
}

func (g *Group) cosigners(t testing.TB) []*tlog.Cosigner {
	t.Helper()
	keys, err := g.cfg.cosigners()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (g *Group) must(t testing.TB, l *aLog, size int) []byte {
	t.Helper()
	msg, err := g.Cosign(context.Background(), uint64(size), l.head(size))
	if err != nil {
		t.Fatal(err)
	}
	if good, _, err := tlog.Cosigned(msg, g.cosigners(t)); err != nil || len(good) < g.cfg.Quorum || !g.Enough(msg) || g.Enough(l.head(size)) {
		t.Fatalf("size %d: %v, %v", size, good, err)
	}
	return msg
}

// A house that starts knows nothing of what its witnesses recorded, and they may
// be at different sizes.
func TestAGroupFindsWhereItsWitnessesAre(t *testing.T) {
	l := &aLog{t: t}
	var list []Witness
	for i := range 3 {
		_, w := l.server(fmt.Sprintf("w%d", i), byte(i), t.TempDir(), nil)
		list = append(list, w)
	}
	first := l.start(Config{Policy: Quorum, Quorum: 1, Witnesses: list[:1]})
	first.must(t, l, 5)
	second := l.start(Config{Policy: Quorum, Quorum: 2, Witnesses: list[:2]})
	second.must(t, l, 9)
	third := l.start(Config{Policy: Quorum, Quorum: 3, Witnesses: list})
	third.must(t, l, 9)
	third.must(t, l, 14)
	first.must(t, l, 20) // it has to ask again where its witness is
}

// While one request is under way newer checkpoints replace one another: a witness
// is asked for the newest when it is free.
func TestASlowWitnessIsAskedForTheNewest(t *testing.T) {
	l := &aLog{t: t}
	var gate sync.Mutex
	var asked atomic.Int64
	arrived := make(chan struct{}, 100)
	_, w := l.server("w0", 0, t.TempDir(), func(http.ResponseWriter, *http.Request) bool {
		asked.Add(1)
		arrived <- struct{}{}
		gate.Lock()
		defer gate.Unlock()
		return true
	})
	done := make(chan uint64, 100)
	g, err := Start(Config{Policy: Background, Witnesses: []Witness{w}, Timeout: time.Hour, Log: slog.New(slog.DiscardHandler)}, l.prove, func(size uint64, _ []byte) { done <- size })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gate.Lock()
	for size := 1; size <= 50; size++ {
		if err := g.Offer(uint64(size), l.head(size)); err != nil {
			t.Fatal(err)
		}
		if size == 1 {
			<-arrived
		}
	}
	gate.Unlock()
	if first, last := <-done, <-done; first != 1 || last != 50 {
		t.Fatalf("cosigned %d, then %d", first, last)
	}
	if n := asked.Load(); n != 2 {
		t.Fatalf("%d requests", n)
	}
}

// A witness that recorded and whose answer was lost is asked again and answers.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	l := &aLog{t: t}
	var lose atomic.Bool
	inner, w := l.server("w0", 0, t.TempDir(), nil)
	outer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		res, err := http.Post(inner.URL+r.URL.Path, "", r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		if lose.Swap(false) {
			panic(http.ErrAbortHandler)
		}
		rw.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		rw.WriteHeader(res.StatusCode)
		io.Copy(rw, res.Body)
	}))
	defer outer.Close()
	w.URL = outer.URL
	g := l.start(Config{Policy: Quorum, Quorum: 1, Witnesses: []Witness{w}})
	g.must(t, l, 3)
	lose.Store(true)
	g.must(t, l, 7)
}

// What a false or broken witness answers is never taken for a cosignature, and
// Missing says what it was.
func TestFalseAnswers(t *testing.T) {
	l := &aLog{t: t}
	text, _, err := tlog.Text(l.head(3))
	if err != nil {
		t.Fatal(err)
	}
	line := func(seed byte, text []byte) string {
		k, err := tlog.NewCosigner(vkeyOf(t, "w0", seed))
		if err != nil {
			t.Fatal(err)
		}
		s := tlog.Cosignature{Name: k.Name(), KeyHash: k.KeyHash(), Time: 5}
		copy(s.Sig[:], ed25519.Sign(keyOf(seed), tlog.CosignedMessage(5, text)))
		return string(s.AppendLine(nil))
	}
	other, _, err := tlog.Text(l.head(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, kind, text string
		status           int
		is               error
	}{
		{"nothing", "text/plain", "", 200, errInvalid},
		{"no lines", "text/plain", "thank you\n", 200, errInvalid},
		{"another's cosignature", "text/plain", line(7, text), 200, errInvalid},
		{"of another checkpoint", "text/plain", line(0, other), 200, errInvalid},
		{"ahead", "text/x.tlog.size", "9\n", 409, ErrRefused},
		{"the size that was sent", "text/x.tlog.size", "0\n", 409, errInvalid},
		{"no size", "text/x.tlog.size", "many\n", 409, errInvalid},
		{"a conflict without a size", "text/plain", "2\n", 409, errInvalid},
		{"a proof that does not hold", "text/plain", "no\n", 422, ErrRefused},
		{"not known", "text/plain", "no\n", 404, errInvalid},
		{"moved", "text/plain", "", 302, errInvalid},
		{"without end", "text/plain", strings.Repeat("x", 1<<20), 200, errInvalid},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			rw.Header().Set("Content-Type", c.kind)
			rw.Header().Set("Location", "http://127.0.0.1:1/")
			rw.WriteHeader(c.status)
			io.WriteString(rw, c.text)
		}))
		g := l.start(Config{Policy: Quorum, Quorum: 1, Witnesses: []Witness{{VKey: vkeyOf(t, "w0", 0), URL: s.URL}}})
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for !errors.Is(g.Missing(), c.is) && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if msg, err := g.Cosign(ctx, 3, l.head(3)); err == nil {
			t.Errorf("%s: taken as %q", c.name, msg)
			cancel()
		}
		g.Close()
		s.Close()
	}
	// Among other lines the right one is found.
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, line(7, text)+line(0, text))
	}))
	defer s.Close()
	l.start(Config{Policy: Quorum, Quorum: 1, Witnesses: []Witness{{VKey: vkeyOf(t, "w0", 0), URL: s.URL}}}).must(t, l, 3)
}

// A witness that holds another history says so, and is not one of the quorum.
func TestAWitnessOfAnotherHistory(t *testing.T) {
	l, twin := &aLog{t: t}, &aLog{t: t, tree: []tlog.Hash{tlog.LeafHash([]byte("other"))}}
	_, w := l.server("w0", 0, t.TempDir(), nil)
	twin.start(Config{Policy: Quorum, Quorum: 1, Witnesses: []Witness{w}}).must(t, twin, 3)
	g := l.start(Config{Policy: Quorum, Quorum: 1, Witnesses: []Witness{w}})
	for _, size := range []int{2, 3, 8} {
		if err := g.Offer(uint64(size), l.head(size)); err != nil {
			t.Fatal(err)
		}
		for !errors.Is(g.Missing(), ErrRefused) {
			time.Sleep(time.Millisecond)
		}
	}
}

func TestNobodyIsAsked(t *testing.T) {
	g, err := Start(Config{}, nil, nil)
	if g != nil || err != nil {
		t.Fatal(g, err)
	}
	g.Close()
	if err := g.Offer(1, nil); err != nil || g.MustAwait() || !g.Enough(nil) || g.Collectors() != nil {
		t.Error("no witnesses do something")
	}
}

// Whatever a witness answers, nothing but its own good line is taken.
func FuzzAnswer(f *testing.F) {
	l := &aLog{t: f}
	head := l.head(3)
	text, _, err := tlog.Text(head)
	if err != nil {
		f.Fatal(err)
	}
	key, err := tlog.NewCosigner(vkeyOf(f, "w0", 0))
	if err != nil {
		f.Fatal(err)
	}
	s := tlog.Cosignature{Name: key.Name(), KeyHash: key.KeyHash(), Time: 5}
	copy(s.Sig[:], ed25519.Sign(keyOf(0), tlog.CosignedMessage(5, text)))
	f.Add(s.AppendLine(nil))
	f.Add([]byte("9\n"))
	f.Add([]byte("— w0 AAAA\n"))
	m, r := &member{key: key}, &round{size: 3, text: text}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if line, err := m.pick(r, answer); err == nil {
			if good, _, err := tlog.Cosigned(append(bytes.Clone(head), line...), []*tlog.Cosigner{key}); err != nil || len(good) != 1 {
				t.Fatalf("%q was taken from %q", line, answer)
			}
		}
		if n, err := parseSize(answer); err == nil && fmt.Sprintf("%d\n", n) != string(answer) {
			t.Fatalf("%d from %q", n, answer)
		}
	})
}
