package house_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/hardware/drand"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/regulator/noncer"
	"countroom/rngcert/beacon/beacontest"
	"countroom/rngcert/epoch"

	"github.com/prometheus/client_golang/prometheus"
)

// sky is a public beacon with a round every second, on a server that can be made
// late, to fail or to lie.
type sky struct {
	*beacontest.Beacon
	url                 string
	late, silent, lying atomic.Bool
	asked               atomic.Int64 // for rounds
}

func newSky(t *testing.T) *sky {
	s := &sky{Beacon: beacontest.New(t.Name(), 1, time.Now().Add(-time.Hour).Unix())}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, fmt.Sprintf("/%x/", s.Hash()))
		var round uint64
		n, _ := fmt.Sscanf(path, "public/%d", &round)
		switch {
		case s.silent.Load():
			http.Error(w, "down", http.StatusServiceUnavailable)
		case path == "info":
			w.Write(s.Info())
		case n == 0 || s.late.Load() || s.At(round).After(time.Now()):
			http.Error(w, "not yet", http.StatusNotFound)
		case s.lying.Load():
			s.asked.Add(1)
			w.Write(bytes.Replace(s.Round(round-1), fmt.Appendf(nil, `"round":%d`, round-1), fmt.Appendf(nil, `"round":%d`, round), 1))
		default:
			s.asked.Add(1)
			w.Write(s.Round(round))
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// option has a house ask this beacon.
func (s *sky) option(t *testing.T, downgrade bool) func(*ledger.Config, *house.Config) {
	client, err := drand.New([]string{s.url}, s.Hash(), &s.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *ledger.Config, hc *house.Config) {
		hc.External = house.External{Policy: epoch.PolicyBeacon, Beacon: client, Patience: time.Second, Downgrade: downgrade}
	}
}

// turned plays until an epoch is in use, one round each time.
func turned(t *testing.T, h *housetest.House, s house.Session, n uint64) {
	t.Helper()
	for i := 0; ; i++ {
		r, err := patient(t.Context(), h, s, fmt.Sprintf("to epoch %d, spin %d", n, i), 20)
		if err != nil {
			t.Fatal(err)
		}
		if settled(t, r.Leaf).Draw.Epoch >= n {
			return
		}
	}
}

// Each seed has a round of the beacon in it, which was named before it existed;
// a restart in between asks for the same one.
func TestABeaconEntersEverySeed(t *testing.T) {
	sky, dir := newSky(t), t.TempDir()
	small := limits(epoch.Limits{AgeSeconds: 600, Draws: 3, RevealDelaySeconds: 1})
	sky.late.Store(true)
	h := housetest.Open(t, dir, small, sky.option(t, false))
	s := seated(t, h, "stargazer", 1_000_000)
	if _, err := try(t.Context(), h, s, "at once", 20); !errors.Is(err, epoch.ErrNoEpoch) {
		t.Errorf("before the round: %v", err)
	}
	h.Close()
	sky.late.Store(false)
	h = housetest.Open(t, dir, small, sky.option(t, false))
	_, token := open(t, h, "again", "stargazer")
	s = seat(t, h, token)
	turned(t, h, s, 3)
	eventually(t, "two secrets", func() bool { return len(all[epoch.Revealed](t, h)) == 2 })
	last := uint64(0)
	for i, e := range audit(t, h)[:3] {
		if e.activated.Policy != epoch.PolicyBeacon || len(e.activated.External) != 32 || e.committed.Beacon.Round <= last {
			t.Errorf("epoch %d: %+v, %+v", i+1, e.committed.Beacon, e.activated)
		}
		last = e.committed.Beacon.Round
		due := sky.At(last)
		if !e.committed.At.Std().Before(due) || e.activated.At.Std().Before(due) {
			t.Errorf("epoch %d: committed at %v, round at %v, activated at %v", i+1, e.committed.At, due, e.activated.At)
		}
		var sig [48]byte
		copy(sig[:], e.activated.Signature)
		if _, err := sky.Verify(last, sig); err != nil {
			t.Error(err)
		}
	}
}

// A beacon that is silent, or lies, stops play and nothing else. The log has an
// alarm, once, and play goes on by itself with the very round that was named.
func TestAMissingRoundStopsPlay(t *testing.T) {
	for name, spoil := range map[string]func(*sky) *atomic.Bool{
		"silent": func(s *sky) *atomic.Bool { return &s.silent },
		"lying":  func(s *sky) *atomic.Bool { return &s.lying },
	} {
		t.Run(name, func(t *testing.T) {
			sky := newSky(t)
			sky.late.Store(true)
			h := housetest.Open(t, t.TempDir(), sky.option(t, false))
			s := seated(t, h, "patient", 1000)
			spoil(sky).Store(true)
			sky.late.Store(false)
			eventually(t, "an alarm", func() bool { return len(all[system.AlarmRaised](t, h)) == 1 })
			if _, err := try(t.Context(), h, s, "first", 20); !errors.Is(err, epoch.ErrNoEpoch) {
				t.Errorf("without the round: %v", err)
			}
			deposit(t, h, "patient", 5) // needs no chance
			committed := all[epoch.Committed](t, h)
			if a := all[system.AlarmRaised](t, h)[0]; a.Alarm != system.AlarmExternalMissing || a.About != committed[0].Commitment {
				t.Errorf("%+v", a)
			}
			spoil(sky).Store(false)
			if _, r := spin(t, h, s, "first", 20); r.Draw.Epoch != 1 {
				t.Errorf("%+v", r.Draw)
			}
			if a := all[epoch.Activated](t, h); len(a) != 1 || a[0].Policy != epoch.PolicyBeacon {
				t.Errorf("%+v", a)
			}
			for i, a := range all[system.AlarmRaised](t, h) { // there may be one of the next round by now
				if (a.About == committed[0].Commitment) != (i == 0) {
					t.Errorf("alarm %d: %+v", i+1, a)
				}
			}
			audit(t, h)
		})
	}
}

// An operator who chose to go on gets what he chose, and the log says so. A round
// that comes late changes nothing of an epoch that is in use.
func TestADowngradeIsInTheLog(t *testing.T) {
	sky, dir := newSky(t), t.TempDir()
	small := limits(epoch.Limits{AgeSeconds: 600, Draws: 4, RevealDelaySeconds: 1})
	sky.late.Store(true)
	h := housetest.Open(t, dir, small, sky.option(t, true))
	s := seated(t, h, "hurried", 1_000_000)
	sky.silent.Store(true)
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.Collectors()...)
	figure := func(name string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		t.Fatalf("no figure %s", name)
		return 0
	}
	eventually(t, "a round that is missed", func() bool { return figure("countroom_outside_missing") == 1 })
	if n, is := figure("countroom_outside_failures_total"), figure("countroom_outside_downgraded"); n == 0 || is != 0 {
		t.Errorf("before it is done without: %v failures, downgraded %v", n, is)
	}
	turned(t, h, s, 1)
	if figure("countroom_outside_downgraded") != 1 {
		t.Error("not downgraded")
	}
	sky.late.Store(false)
	sky.silent.Store(false)
	h.Close()
	h = housetest.Open(t, dir, small, sky.option(t, true))
	_, token := open(t, h, "again", "hurried")
	s = seat(t, h, token)
	turned(t, h, s, 2)
	eventually(t, "the secret of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
	epochs := audit(t, h)
	if a := epochs[0].activated; a.Policy != epoch.PolicyNone || len(a.External) != 0 || len(epochs[0].rounds) != 4 {
		t.Errorf("%+v", a)
	}
	types := make([]string, 0, 64)
	for _, leaf := range leaves(t, h) {
		typ, _ := entry.TypeOf(leaf)
		types = append(types, typ)
	}
	for i, typ := range types {
		if typ == "seed.activated.v2" {
			if types[i-1] != "alarm.raised" {
				t.Errorf("the entry before the activation is %s", types[i-1])
			}
			break
		}
	}
}

// A house whose outside is not there when it is founded starts all the same, and
// plays when it answers.
func TestNobodyOutsideAtTheFirstStart(t *testing.T) {
	sky := newSky(t)
	sky.silent.Store(true)
	h := housetest.Open(t, t.TempDir(), sky.option(t, false))
	s := seated(t, h, "early", 1000)
	if _, err := try(t.Context(), h, s, "first", 20); !errors.Is(err, epoch.ErrNoEpoch) {
		t.Errorf("without a commitment: %v", err)
	}
	sky.silent.Store(false)
	spin(t, h, s, "first", 20)
	audit(t, h)
}

// ... or, by the operator's choice, with nothing from outside, which the log says.
func TestNobodyOutsideAndNobodyWaits(t *testing.T) {
	sky := newSky(t)
	sky.silent.Store(true)
	h := housetest.Open(t, t.TempDir(), sky.option(t, true))
	s := seated(t, h, "early", 1000)
	spin(t, h, s, "first", 20)
	if c, a := all[epoch.Committed](t, h)[0], all[system.AlarmRaised](t, h); c.Policy != epoch.PolicyNone || len(a) != 1 || a[0].About != c.Commitment {
		t.Errorf("%+v, %+v", c, a)
	}
	audit(t, h)
}

// regulator is a witness on a server, whose journal outlives it.
type regulator struct {
	journal bytes.Buffer
	cfg     noncer.Config
	client  *noncer.Client
	down    atomic.Bool
	handler atomic.Pointer[http.Handler]
}

func newRegulator(t *testing.T, name string) *regulator {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	w := &regulator{}
	w.cfg = noncer.Config{Name: name, Public: key.Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, Secret: seed, Journal: &w.journal}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := w.handler.Load(); h != nil && !w.down.Load() {
			(*h).ServeHTTP(rw, r)
		} else {
			http.Error(rw, "down", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	w.client = &noncer.Client{Witness: name, Public: [32]byte(w.cfg.Public), URL: server.URL, HTTP: server.Client()}
	return w
}

// serve has the witness serve a house.
func (w *regulator) serve(t *testing.T, h *housetest.House) {
	w.cfg.Houses = map[string][]string{housetest.Origin: {h.Ledger.VKey()}}
	n, err := noncer.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	handler := n.Handler()
	w.handler.Store(&handler)
}

// Two witnesses add to each seed; with one of them away there is no play, and a
// restart of house and witnesses changes no outcome.
func TestWitnessesEnterEverySeed(t *testing.T) {
	lab, reg := newRegulator(t, "laboratory"), newRegulator(t, "regulator")
	asks := func(_ *ledger.Config, hc *house.Config) {
		hc.External = house.External{Policy: epoch.PolicyWitness, Witnesses: []house.Witness{lab.client, reg.client}, Patience: time.Second}
	}
	small, dir := limits(epoch.Limits{AgeSeconds: 600, Draws: 3, RevealDelaySeconds: 1}), t.TempDir()
	h := housetest.Open(t, dir, small, asks) // before the witnesses know its key
	s := seated(t, h, "watched", 1_000_000)
	if _, err := try(t.Context(), h, s, "first", 20); !errors.Is(err, epoch.ErrNoEpoch) {
		t.Errorf("without witnesses: %v", err)
	}
	lab.serve(t, h)
	reg.serve(t, h)
	turned(t, h, s, 1)
	eventually(t, "a second commitment", func() bool { return len(all[epoch.Committed](t, h)) == 2 })
	reg.down.Store(true)
	h.Close()
	h = housetest.Open(t, dir, small, asks)
	lab.serve(t, h) // again, from its journal
	reg.down.Store(false)
	_, token := open(t, h, "again", "watched")
	s = seat(t, h, token)
	turned(t, h, s, 3)
	eventually(t, "two secrets", func() bool { return len(all[epoch.Revealed](t, h)) == 2 })
	for i, e := range audit(t, h)[:3] {
		if e.activated.Policy != epoch.PolicyWitness || len(e.activated.Nonces) != 2 || len(e.activated.External) != 32 {
			t.Errorf("epoch %d: %+v", i+1, e.activated)
		}
	}
}

// What cannot be asked for is refused at the start.
func TestExternalIsChecked(t *testing.T) {
	for want, x := range map[string]house.External{
		"expected none, witness or beacon": {Policy: "dice"},
		"expected a beacon":                {Policy: epoch.PolicyBeacon},
		"0 witnesses":                      {Policy: epoch.PolicyWitness},
		"expected a second or more":        {Patience: time.Millisecond},
		"rising names":                     {Policy: epoch.PolicyWitness, Witnesses: []house.Witness{&noncer.Client{Witness: "b"}, &noncer.Client{Witness: "a"}}},
	} {
		err := refused(t, t.TempDir(), func(_ *ledger.Config, hc *house.Config) { hc.External = x })
		if !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, expected %s", err, want)
		}
	}
}
