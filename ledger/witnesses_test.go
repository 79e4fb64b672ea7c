package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/cosign"
	"countroom/ledger/tlog"
	"countroom/regulator/witness"
)

// bench of witnesses: real ones, reached without a network.
type witnesses struct {
	t     testing.TB
	all   []*oneWitness
	keys  []*tlog.Cosigner
	fault func(house string, at int) fault // of a request; nil: none
}

type oneWitness struct {
	mux    *http.ServeMux
	key    ed25519.PrivateKey
	vkey   string
	down   atomic.Bool
	false_ bool // it cosigns whatever it is sent
}

// fault is what becomes of one request.
type fault int

const (
	through fault = iota
	lost          // it does not arrive
	unheard       // it arrives, and its answer is lost
)

func newWitnesses(t testing.TB, log string, n, faulty int) *witnesses {
	t.Helper()
	ws := &witnesses{t: t}
	for i := range n {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(100 + i)}, 32))
		w, err := witness.Open(witness.Config{
			Dir: filepath.Join(t.TempDir(), fmt.Sprint(i)), Name: fmt.Sprintf("witness.example/%d", i), Key: key.Public().(ed25519.PublicKey),
			Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, Rate: 1e6, Log: slog.New(slog.DiscardHandler),
			Logs: []witness.Log{{Origin: "toy.example/log", VKeys: []string{log}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		o := &oneWitness{mux: http.NewServeMux(), key: key, vkey: w.VKey(), false_: i < faulty}
		w.Mount(o.mux)
		ws.all = append(ws.all, o)
		k, err := tlog.NewCosigner(o.vkey)
		if err != nil {
			t.Fatal(err)
		}
		ws.keys = append(ws.keys, k)
	}
	return ws
}

// road is a house's way to the witnesses.
type road struct {
	ws    *witnesses
	house string
}

func (r road) RoundTrip(req *http.Request) (*http.Response, error) {
	var at int
	if _, err := fmt.Sscanf(req.URL.Host, "w%d", &at); err != nil {
		return nil, err
	}
	w := r.ws.all[at]
	f := through
	if r.ws.fault != nil {
		f = r.ws.fault(r.house, at)
	}
	if w.down.Load() || f == lost {
		return nil, errors.New("no route to host")
	}
	rw := httptest.NewRecorder()
	if w.false_ {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_, msg, _ := bytes.Cut(body, []byte("\n\n"))
		text, _, err := tlog.Text(msg)
		if err != nil {
			return nil, err
		}
		s := tlog.Cosignature{Name: r.ws.keys[at].Name(), KeyHash: r.ws.keys[at].KeyHash(), Time: 1}
		copy(s.Sig[:], ed25519.Sign(w.key, tlog.CosignedMessage(1, text)))
		rw.Write(s.AppendLine(nil))
	} else {
		w.mux.ServeHTTP(rw, httptest.NewRequest("POST", "/add-checkpoint", req.Body))
	}
	if f == unheard {
		return nil, errors.New("connection reset")
	}
	return rw.Result(), nil
}

func (ws *witnesses) config(house string, policy cosign.Policy, quorum int) cosign.Config {
	c := cosign.Config{Policy: policy, Quorum: quorum, Transport: road{ws, house}, Log: slog.New(slog.DiscardHandler)}
	for i, w := range ws.all {
		c.Witnesses = append(c.Witnesses, cosign.Witness{VKey: w.vkey, URL: fmt.Sprintf("http://w%d", i)})
	}
	return c
}

func (ws *witnesses) count(msg []byte) int {
	good, _, err := tlog.Cosigned(msg, ws.keys)
	if err != nil {
		ws.t.Fatal(err)
	}
	return len(good)
}

// vkeyOf is a rig's verifier key before it was ever opened.
func (r *rig) vkeyOf() string {
	r.t.Helper()
	pub, err := r.signer.PublicKey()
	if err != nil {
		r.t.Fatal(err)
	}
	vkey, err := tlog.VKey("toy.example/log", pub.(ed25519.PublicKey))
	if err != nil {
		r.t.Fatal(err)
	}
	return vkey
}

func checkpointOf(t testing.TB, got Receipt) []byte {
	t.Helper()
	p, err := tlog.ParseReceipt(got.Proof)
	if err != nil {
		t.Fatal(err)
	}
	return p.Checkpoint
}

// With a quorum nothing is shown without it: not a receipt, not a checkpoint. When
// too few witnesses answer play stops, and goes on by itself.
func TestAQuorumBeforeTheReceipt(t *testing.T) {
	r := newRig(t)
	ws := newWitnesses(t, r.vkeyOf(), 3, 0)
	r.change = func(c *Config) {
		c.Witnesses, c.patience = ws.config("a", cosign.Quorum, 2), 5*time.Millisecond
	}
	r.open()
	defer func() { r.close() }()
	if n := ws.count(checkpointOf(t, r.must(add("a", 1)))); n < 2 {
		t.Fatalf("%d cosignatures", n)
	}
	ws.all[0].down.Store(true)
	if n := ws.count(checkpointOf(t, r.must(add("a", 1)))); n != 2 {
		t.Fatalf("%d cosignatures with two witnesses", n)
	}
	shown := r.Signed().Size
	ws.all[1].down.Store(true)
	waits := r.later(keyed(add("a", 1), "k", ""))
	for !errors.Is(r.Ready(), ErrWitnesses) {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrWitnesses) {
		t.Fatalf("accepted without a quorum: %v", err)
	}
	r.stillWaits("a command", waits)
	if r.Signed().Size != shown {
		t.Fatal("something was shown without its quorum")
	}
	// A restart does not change that.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Close(ctx)
	if err := <-waits; !errors.Is(err, ErrUnknownOutcome) {
		t.Fatal(err)
	}
	r.close()
	r.open()
	if s := r.Signed(); s != nil && s.Size > shown {
		t.Fatal("a restart showed what has no quorum")
	}
	for !errors.Is(r.Ready(), ErrWitnesses) {
		time.Sleep(time.Millisecond)
	}
	ws.all[0].down.Store(false)
	if _, err := r.AwaitSigned(context.Background(), shown); err != nil {
		t.Fatal(err)
	}
	for r.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	got := r.must(keyed(add("a", 1), "k", ""))
	if !got.Replayed || ws.count(checkpointOf(t, got)) < 2 {
		t.Fatalf("replayed %v", got.Replayed)
	}
}

// In the background nobody waits, and the newest checkpoint has its cosignatures
// as soon as they are there.
func TestCosignaturesInTheBackground(t *testing.T) {
	r := newRig(t)
	ws := newWitnesses(t, r.vkeyOf(), 2, 0)
	r.change = func(c *Config) { c.Witnesses = ws.config("a", cosign.Background, 0) }
	ws.all[0].down.Store(true)
	ws.all[1].down.Store(true)
	r.open()
	defer r.close()
	if n := ws.count(checkpointOf(t, r.must(add("a", 1)))); n != 0 {
		t.Fatalf("%d cosignatures of nobody", n)
	}
	if r.Cosigned() != nil {
		t.Fatal("a cosigned checkpoint without a cosignature")
	}
	ws.all[0].down.Store(false)
	ws.all[1].down.Store(false)
	for r.Cosigned() == nil || ws.count(r.Cosigned().Checkpoint) < 2 {
		time.Sleep(time.Millisecond)
	}
	if c := r.Cosigned(); ws.count(r.Signed().Checkpoint) != 2 || c.Size != 1 || c.Root != r.Signed().Root {
		t.Fatalf("%+v", c)
	}
	got, err := r.Entry(0)
	if err != nil || ws.count(checkpointOf(t, got)) != 2 {
		t.Fatalf("a later receipt: %v", err)
	}
}

// Two copies of one house, on purpose without any fence between them: the same
// keys, no guard, nothing replicated. Both play on. Witnesses are lost to them,
// and answers, in any order.
//
// It returns whether both ever showed a checkpoint that the other's history
// contradicts, and whether anything was shown at all after they parted. Callers have
// patience: on a busy machine a short one sees nothing.
func playTwins(t *testing.T, seed uint64, patience time.Duration, policy cosign.Policy, n, quorum, faulty int) (fork, shown bool) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	a, b := newRig(t), newRig(t)
	b.signer = a.signer
	ws := newWitnesses(t, a.vkeyOf(), n, faulty)
	common := uint64(1 + rnd.IntN(3))
	a.open()
	for range common {
		a.must(add("a", 1))
	}
	a.close()
	if err := os.CopyFS(b.dir, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ws.fault = func(string, int) fault {
		mu.Lock()
		defer mu.Unlock()
		return [...]fault{through, through, lost, unheard}[rnd.IntN(4)]
	}
	seen := map[string]map[uint64]tlog.Hash{"a": {}, "b": {}}
	var twins sync.WaitGroup
	for name, r := range map[string]*rig{"a": a, "b": b} {
		if err := os.Remove(filepath.Join(r.dir, "guard")); err != nil {
			t.Fatal(err)
		}
		r.change = func(c *Config) {
			if policy != cosign.None {
				c.Witnesses = ws.config(name, policy, quorum)
			}
		}
		r.open()
		note := func() {
			if s := r.Signed(); s != nil && s.Size > common && (policy == cosign.None || r.witnesses.Enough(s.Checkpoint)) {
				seen[name][s.Size] = s.Root
			} else if s != nil && s.Size > common {
				t.Errorf("seed %d: %s shows size %d without a quorum", seed, name, s.Size)
			}
		}
		twins.Go(func() {
			for i := range 6 {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				r.Update(ctx, add(name, int64(i)+1))
				cancel()
				note()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			r.AwaitSigned(ctx, common)
			note()
		})
	}
	twins.Wait()
	for _, r := range []*rig{a, b} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Close(ctx)
		r.close()
	}
	// The entries behind the common ones differ, so that any two checkpoints
	// behind them contradict each other.
	return len(seen["a"]) > 0 && len(seen["b"]) > 0, len(seen["a"])+len(seen["b"]) > 0
}

// Under a quorum policy two conflicting heads are never both shown, whatever else
// failed; without one they are, and so they are when more witnesses are false
// than the formula allows.
func TestNoForkUnderAQuorum(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 3
	}
	for _, c := range []struct{ n, quorum, faulty int }{{1, 1, 0}, {3, 2, 0}, {3, 3, 2}, {4, 3, 1}, {5, 4, 2}} {
		t.Run(fmt.Sprintf("%d of %d, %d false", c.quorum, c.n, c.faulty), func(t *testing.T) {
			if c.faulty > cosign.MostFaulty(c.quorum, c.n) {
				t.Fatal("more are false than the quorum allows")
			}
			any := false
			for seed := range worldsMost {
				if any && seed >= uint64(seeds) {
					break
				}
				fork, shown := playTwins(t, seed, patience(seed), cosign.Quorum, c.n, c.quorum, c.faulty)
				if any = any || shown; fork {
					t.Errorf("seed %d: two histories were shown", seed)
				}
			}
			if !any {
				t.Error("nothing was shown in any world: this proves nothing")
			}
		})
	}
}

// patience doubles with every fourth world, of which there are so many that the last
// show something however slow the machine is.
func patience(world uint64) time.Duration { return 30 * time.Millisecond << (world / 4) }

const worldsMost = uint64(44)

func TestTheForkIsThereWithoutAQuorum(t *testing.T) {
	forked := func(policy cosign.Policy, quorum, faulty int) bool {
		for seed := range worldsMost {
			if fork, _ := playTwins(t, seed, patience(seed), policy, 3, quorum, faulty); fork {
				return true
			}
		}
		return false
	}
	if !forked(cosign.None, 0, 0) {
		t.Error("two houses without a fence showed one history: the test above cannot fail")
	}
	if !forked(cosign.Quorum, 2, 2) {
		t.Error("two of three witnesses are false, and no fork was shown: the test above cannot fail")
	}
}
