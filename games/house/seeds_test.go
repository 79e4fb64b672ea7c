package house_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// Eight players spin through several epochs of 50 draws. When it is quiet the
// house closes the last full one by itself, and in time it shows all secrets.
func TestEpochsTurnByDraws(t *testing.T) {
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 600, Draws: 50, RevealDelaySeconds: 1}))
	const most, each = 8, 25 // 4 epochs to the last draw
	var players sync.WaitGroup
	for i := range most {
		s := seated(t, h, fmt.Sprintf("player-%d", i), 1_000_000)
		players.Go(func() {
			for j := range each {
				if _, err := patient(t.Context(), h, s, fmt.Sprintf("spin %d", j), 20); err != nil {
					t.Error(err)
				}
			}
		})
	}
	players.Wait()
	eventually(t, "four secrets", func() bool { return len(all[epoch.Revealed](t, h)) == 4 })
	eventually(t, "a fifth commitment", func() bool { return len(all[epoch.Committed](t, h)) == 5 })
	epochs := audit(t, h)
	if len(epochs) != 5 {
		t.Fatalf("%d epochs", len(epochs))
	}
	for i, e := range epochs[:4] {
		if len(e.rounds) != 50 || e.closed == nil || e.closed.Reason != epoch.ByDraws || e.revealed == nil {
			t.Errorf("epoch %d: %d rounds, closed %v, revealed %v", i+1, len(e.rounds), e.closed, e.revealed)
		}
		v, err := h.Epoch(t.Context(), uint64(i)+1)
		if err != nil {
			t.Fatal(err)
		}
		if !(v.Committed.Index < v.Activated.Index && v.Activated.Index < v.Closed.Index && v.Closed.Index < v.Revealed.Index) {
			t.Errorf("epoch %d: entries %d, %d, %d, %d", i+1, v.Committed.Index, v.Activated.Index, v.Closed.Index, v.Revealed.Index)
		}
	}
	if e := epochs[4]; e.activated != nil {
		t.Error("epoch 5 was activated, and nobody played")
	}
	if _, err := h.Epoch(t.Context(), 6); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("epoch 6: %v", err)
	}
}

// Without anybody playing an epoch ends when its time is up, and the next one
// waits for a draw.
func TestAnEpochEndsByTimeWhenNobodyPlays(t *testing.T) {
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 1, Draws: 1000}))
	s := seated(t, h, "alone", 1000)
	spin(t, h, s, "only", 20)
	eventually(t, "the secret of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
	epochs := audit(t, h)
	if e := epochs[0]; e.closed.Reason != epoch.ByTime || e.closed.Draws != 1 {
		t.Errorf("closed: %+v", e.closed)
	}
	if len(epochs) != 2 || epochs[1].activated != nil {
		t.Errorf("%d epochs, the last activated: %v", len(epochs), epochs[len(epochs)-1].activated)
	}
	if _, r := spin(t, h, s, "next", 20); r.Draw.Epoch != 2 || r.Draw.Number != 1 || r.Draw.N != 2 {
		t.Errorf("the next round: %+v", r.Draw)
	}
	audit(t, h)
}

// clock is the machine's. Time can be made to pass, just before a spin is queued,
// so that it is the spin that finds what is due. And it can be set to show
// another time.
type clock struct{ ahead, soon, set, turns atomic.Int64 }

func (c *clock) option(lc *ledger.Config, _ *house.Config) {
	start := time.Now()
	lc.Clock = func() (time.Time, time.Duration) {
		now, ahead := time.Now(), time.Duration(c.ahead.Load())
		return now.Round(0).Add(ahead + time.Duration(c.set.Load())), now.Sub(start) + ahead
	}
	lc.Turn = func(cmd ledger.Command) {
		// It is asked before a command is let in, and again before it is queued.
		if soon := c.soon.Load(); soon != 0 && !cmd.Request.IsZero() && c.turns.Add(1) == 2 {
			c.ahead.Store(soon)
		}
	}
}

func TestASpinEndsAnEpochWhoseTimeIsUp(t *testing.T) {
	var c clock
	h := housetest.Open(t, t.TempDir(), c.option, limits(epoch.Limits{AgeSeconds: 600, Draws: 1000}))
	s := seated(t, h, "late", 1000)
	spin(t, h, s, "first", 20)
	eventually(t, "a second commitment", func() bool { return len(all[epoch.Committed](t, h)) == 2 })
	before := h.Ledger.Signed().Size
	c.soon.Store(int64(10 * time.Minute))
	r, round := spin(t, h, s, "second", 20)
	if r.Index != before+2 || round.Draw.Epoch != 2 || round.Draw.Number != 1 {
		t.Errorf("entry %d after %d: %+v", r.Index, before, round.Draw)
	}
	if e := audit(t, h)[0]; e.closed == nil || e.closed.Reason != epoch.ByTime {
		t.Errorf("epoch 1 closed: %+v", e.closed)
	}
}

// A clock that was set back holds nothing up: epochs end and secrets are shown by
// the log's time, which goes on.
func TestAClockSetBackDelaysNoSecret(t *testing.T) {
	var c clock
	h := housetest.Open(t, t.TempDir(), c.option, limits(epoch.Limits{AgeSeconds: 1, Draws: 1000, RevealDelaySeconds: 1}))
	s := seated(t, h, "timeless", 1000)
	spin(t, h, s, "only", 20)
	c.set.Store(-int64(time.Hour))
	eventually(t, "the secret of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
	audit(t, h)
}

// A restart in the middle of an epoch changes nothing: same epoch, next draw,
// same tokens, same answers to old requests.
func TestARestartGoesOnInTheSameEpoch(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir, limits(epoch.Limits{AgeSeconds: 600, Draws: 8}))
	create(t, h, "regular")
	deposit(t, h, "regular", 10_000)
	_, token := open(t, h, "session", "regular")
	s := seat(t, h, token)
	old := map[string]ledger.Receipt{}
	for i := range 5 {
		key := fmt.Sprintf("spin %d", i)
		old[key], _ = spin(t, h, s, key, 40)
	}
	balance := view(t, h, "regular").Balance
	h.Close()

	// The limits of an epoch are those that it committed to.
	h = housetest.Open(t, dir, limits(epoch.Limits{AgeSeconds: 600, Draws: 1}))
	if got := view(t, h, "regular").Balance; got != balance {
		t.Errorf("balance %d, %d before the restart", got, balance)
	}
	s = seat(t, h, token)
	for key, was := range old {
		r, err := try(t.Context(), h, s, key, 40)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Replayed || r.Index != was.Index || string(r.Leaf) != string(was.Leaf) {
			t.Errorf("%s: replayed %v, entry %d; was %d", key, r.Replayed, r.Index, was.Index)
		}
	}
	for i := range uint64(3) {
		_, r := spin(t, h, s, fmt.Sprintf("after %d", i), 40)
		if r.Draw.Epoch != 1 || r.Draw.Number != 6+i || r.Draw.N != 6+i {
			t.Errorf("round %d after the restart: %+v", i+1, r.Draw)
		}
	}
	if _, again := open(t, h, "session", "regular"); again != token {
		t.Error("the retry that opens the session got another token")
	}
	if n := len(all[system.HouseActive](t, h)); n != 2 {
		t.Errorf("%d house.active", n)
	}
	// One secret explains the rounds before and after the restart.
	eventually(t, "the secret of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
	if e := audit(t, h)[0]; len(e.rounds) != 8 {
		t.Errorf("epoch 1 has %d rounds", len(e.rounds))
	}
}

// The source of entropy fails after the first commitment. Play goes on to that
// epoch's last draw and not beyond; it resumes by itself.
func TestFailingEntropyStopsPlayAtTheEpochsEnd(t *testing.T) {
	var failing atomic.Bool
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 600, Draws: 20}), func(_ *ledger.Config, hc *house.Config) {
		healthy := hc.Secret
		hc.Secret = func(ctx context.Context) ([32]byte, []epoch.Source, error) {
			if failing.Load() {
				return [32]byte{}, nil, errors.New("the source is stuck")
			}
			return healthy(ctx)
		}
	})
	s := seated(t, h, "patient", 1_000_000)
	failing.Store(true)
	for i := range 20 {
		if _, err := try(t.Context(), h, s, fmt.Sprint(i), 20); err != nil {
			t.Fatalf("spin %d: %v", i, err)
		}
	}
	size := h.Ledger.Signed().Size
	if _, err := try(t.Context(), h, s, "beyond", 20); !errors.Is(err, epoch.ErrNoEpoch) {
		t.Fatalf("a spin without an epoch: %v", err)
	}
	eventually(t, "the end of epoch 1", func() bool { return len(all[epoch.Closed](t, h)) == 1 })
	balance := view(t, h, "patient").Balance
	for range 10 {
		if _, err := try(t.Context(), h, s, "beyond", 20); !errors.Is(err, epoch.ErrNoEpoch) {
			t.Fatalf("a spin without an epoch: %v", err)
		}
	}
	for _, leaf := range leaves(t, h)[size:] {
		if leaf := string(leaf); !strings.Contains(leaf, `"type":"seed.closed"`) && !strings.Contains(leaf, `"type":"seed.revealed"`) {
			t.Errorf("without an epoch the log got %s", leaf)
		}
	}
	if got := view(t, h, "patient").Balance; got != balance {
		t.Errorf("refused spins moved the balance from %d to %d", balance, got)
	}
	deposit(t, h, "patient", 5) // needs no chance

	failing.Store(false)
	if _, r := spin(t, h, s, "beyond", 20); r.Draw.Epoch != 2 || r.Draw.Number != 1 || r.Draw.N != 21 {
		t.Errorf("the first round of the new epoch: %+v", r.Draw)
	}
	audit(t, h)
}

// sealing is a sealer with a key of its own.
type sealing struct{ key [32]byte }

func (s sealing) Seal(context []byte, secret, salt [32]byte) ([]byte, error) {
	var iv [12]byte
	rand.Read(iv[:])
	return chance.Seal(s.key, context, iv, secret, salt), nil
}

func (s sealing) Open(context, sealed []byte) (secret, salt [32]byte, err error) {
	return chance.Open(s.key, context, sealed)
}

func (sealing) Assurance() string { return system.AssuranceSoftware }

// absent is a sealer whose device can be away.
type absent struct {
	house.Sealer
	gone atomic.Bool
}

func (a *absent) Open(context, sealed []byte) (secret, salt [32]byte, err error) {
	if a.gone.Load() {
		return secret, salt, errors.New("the token is not there")
	}
	return a.Sealer.Open(context, sealed)
}

// A generator that does not reproduce its known answers plays nothing: the house
// does not start, and its log is as it was.
func TestABrokenGeneratorRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	size := h.Ledger.Signed().Size
	h.Close()
	defer house.FailSelfTest(chance.ErrSelfTest)()
	if err := refused(t, dir, func(*ledger.Config, *house.Config) {}); !errors.Is(err, chance.ErrSelfTest) {
		t.Errorf("the start said %v", err)
	}
	house.FailSelfTest(nil)
	h = housetest.Open(t, dir)
	defer h.Close()
	var active []uint64
	for i, leaf := range leaves(t, h) {
		if typ, err := entry.TypeOf(leaf); err == nil && typ == "house.active" {
			active = append(active, uint64(i))
		}
	}
	if len(active) != 2 || active[1] != size {
		t.Errorf("processes began in entries %d, expected 1 and %d", active, size)
	}
}

// A log goes on only under the keys, the name and the vault that it began with,
// and a start that is refused for another writes nothing.
func TestOtherKeysRefuseToStart(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	seated(t, h, "regular", 1000)
	size := h.Ledger.Signed().Size
	h.Close()
	for _, c := range []struct {
		what, want string
		file       string // a new key is made where there is no file
		change     func(*house.Config)
	}{
		{what: "seeds key", file: "seeds.pem", want: "which is in force in the log, is not at hand"},
		{what: "checkpoint key", file: "checkpoint.pem", want: "the checkpoint key or the origin is not this log's"},
		{what: "origin", change: func(c *house.Config) { c.Origin = "countroom.example/other" }, want: `belongs to "` + housetest.Origin + `"`},
		{what: "vault key", change: func(c *house.Config) { c.VaultKey[0] ^= 1 }, want: "the vault key is not this house's"},
	} {
		path := filepath.Join(dir, c.file)
		if c.file != "" {
			if err := os.Rename(path, path+".kept"); err != nil {
				t.Fatal(err)
			}
		}
		err := refused(t, dir, func(_ *ledger.Config, hc *house.Config) {
			if c.change != nil {
				c.change(hc)
			}
		})
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("another %s: refused with: %v", c.what, err)
		}
		if c.file != "" {
			if err := os.Rename(path+".kept", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	h = housetest.Open(t, dir)
	if now := h.Ledger.Signed().Size; now != size+1 {
		t.Errorf("the log grew from %d to %d over four refused starts and a good one; want one house.active", size, now)
	}
	audit(t, h)
}

// A secret that is due is revealed although there is no entropy for a new one.
func TestSecretsAreRevealedWhileEntropyFails(t *testing.T) {
	var failing atomic.Bool
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 600, Draws: 5}), func(_ *ledger.Config, hc *house.Config) {
		healthy := hc.Secret
		hc.Secret = func(ctx context.Context) ([32]byte, []epoch.Source, error) {
			if failing.Load() {
				return [32]byte{}, nil, errors.New("the source is stuck")
			}
			return healthy(ctx)
		}
	})
	s := seated(t, h, "patient", 1_000_000)
	failing.Store(true)
	for i := range 5 {
		spin(t, h, s, string(rune('a'+i)), 20)
	}
	eventually(t, "the reveal of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
}
