package monitor_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"countroom/games/books"
	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

func machine(t testing.TB) *slots.Machine {
	t.Helper()
	m, err := slots.Compile(slots.Bundled())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// table plays the bundled game under a watch.
type table struct {
	t       testing.TB
	machine *slots.Machine
	watch   *monitor.Watch
	random  *rand.ChaCha8
	play    books.Play
	index   uint64
	maths   [32]byte
}

const game = "lamplight-quay"

func sit(t testing.TB, seed byte) *table {
	m := machine(t)
	w := monitor.NewWatch()
	w.Enabled(game, m.Definition().Hash(), m.Definition())
	return &table{t: t, machine: m, watch: w, random: rand.NewChaCha8([32]byte{seed}), maths: m.Definition().Hash()}
}

// round draws and settles a round, changed.
func (b *table) round(change func(*rounds.Settled)) {
	var r [32]byte
	for i := range 4 {
		binary.BigEndian.PutUint64(r[8*i:], b.random.Uint64())
	}
	if err := b.play.Round(b.machine, r, 100); err != nil {
		b.t.Fatal(err)
	}
	b.index++
	settled := &rounds.Settled{
		Game: game, Draw: rounds.Draw{Values: b.play.Values},
		Payout: money.Money{Amount: b.play.Payout, Currency: "EUR"}, Stake: money.Money{Amount: 100, Currency: "EUR"},
	}
	if change != nil {
		change(settled)
	}
	b.watch.Round(b.index, settled)
}

// alarms takes what is owed and returns the names of the alarms.
func (b *table) alarms() (names []string) {
	for r := b.watch.Owed(game); r != nil; r = b.watch.Owed(game) {
		if a, ok := r.(*monitor.Alarmed); ok {
			names = append(names, fmt.Sprintf("%s after %d rounds", a.Monitor, a.Rounds))
		}
		if err := b.watch.Take(r); err != nil {
			b.t.Fatal(err)
		}
	}
	return names
}

// An honest game raises nothing, over more than a window, and leaves its counts behind.
func TestHonestPlay(t *testing.T) {
	b := sit(t, 1)
	n := monitor.WindowRounds + 2*monitor.ObservedRounds
	if testing.Short() || raceEnabled {
		n = 3 * monitor.ObservedRounds
	}
	observed := 0
	for i := range n {
		b.round(nil)
		for r := b.watch.Owed(game); r != nil; r = b.watch.Owed(game) {
			o, ok := r.(*monitor.Observed)
			if !ok {
				t.Fatalf("round %d: %+v", i+1, r)
			}
			observed++
			if o.Rounds != uint64(observed)*monitor.ObservedRounds || o.Through != uint64(i+1) {
				t.Fatalf("observed %d rounds through %d at round %d", o.Rounds, o.Through, i+1)
			}
			leaf, err := entry.Append(nil, o)
			if err != nil || len(leaf) > 8000 {
				t.Fatalf("a leaf of %d bytes, %v", len(leaf), err)
			}
			if err := b.watch.Take(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if observed != n/monitor.ObservedRounds {
		t.Fatalf("%d times observed", observed)
	}
}

var d = slots.Bundled()

// What is wrong is found, and named by the component that sees it first. The rounds that it takes are those of this seed.
func TestEachFaultIsFound(t *testing.T) {
	for _, fault := range []struct {
		name   string
		change func(n int, r *rounds.Settled)
		found  string
		within int
	}{
		{"a number that never comes", func(_ int, r *rounds.Settled) {
			if v := &r.Draw.Values[1]; v.Value == 7 {
				v.Value = 8
			}
		}, "draws/33", 12_000},
		{"a stuck bit", func(_ int, r *rounds.Settled) {
			for i := range r.Draw.Values {
				r.Draw.Values[i].Value &^= 1
			}
		}, "draws/", 500},
		{"modulo bias of a byte", func(n int, r *rounds.Settled) {
			for i := range r.Draw.Values {
				if v := &r.Draw.Values[i]; v.Range == 39 {
					v.Value = uint32(rand.New(rand.NewPCG(uint64(n), 1)).IntN(256)) % 39
				}
			}
		}, "draws/39", 60_000},
		{"the wild comes half as often on reel 3", func(n int, r *rounds.Settled) {
			if v := &r.Draw.Values[2]; d.Base[2][(int(v.Value)+1)%len(d.Base[2])] == d.Symbols[0].Name && n%2 == 0 {
				v.Value = (v.Value + 3) % v.Range
			}
		}, "", 60_000},
		{"one win in ten is not paid", func(n int, r *rounds.Settled) {
			if n%10 == 0 {
				r.Payout.Amount = 0
			}
		}, "return-low/", 200_000},
		{"everything pays a tenth more", func(_ int, r *rounds.Settled) { r.Payout.Amount += r.Payout.Amount / 10 }, "return-high/", 600_000},
		{"one round in a hundred is a present of ten stakes", func(n int, r *rounds.Settled) {
			if n%100 == 0 {
				r.Payout.Amount += 1000
			}
		}, "return-high/", 300_000},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			b := sit(t, 2)
			for n := range fault.within {
				b.round(func(r *rounds.Settled) { fault.change(n, r) })
				if names := b.alarms(); len(names) > 0 {
					if !strings.HasPrefix(names[0], fault.found) {
						t.Fatalf("found by %q, expected %q", names, fault.found)
					}
					t.Logf("%s", names)
					return
				}
			}
			name, evidence := "", int64(0)
			for _, g := range b.watch.Games {
				name, evidence = g.Strongest()
			}
			t.Fatalf("not found in %d rounds; the strongest evidence is %d bits, of %s", fault.within, evidence, name)
		})
	}
}

// A fold that goes on from what was observed comes to what the one that saw everything comes to.
func TestResume(t *testing.T) {
	b := sit(t, 3)
	var later []rounds.Settled
	var o *monitor.Observed
	for range monitor.ObservedRounds + 5000 {
		b.round(func(r *rounds.Settled) {
			if b.index > monitor.ObservedRounds-50 {
				later = append(later, rounds.Settled{Game: game, Draw: rounds.Draw{Values: append([]rounds.Drawn(nil), r.Draw.Values...)}, Payout: r.Payout, Stake: r.Stake})
			}
		})
		if r, ok := b.watch.Owed(game).(*monitor.Observed); ok {
			leaf, err := entry.Append(nil, withID(r))
			if err != nil {
				t.Fatal(err)
			}
			o = new(monitor.Observed)
			if err := entry.Decode(leaf, o); err != nil {
				t.Fatal(err)
			}
			if err := b.watch.Take(o); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := monitor.NewWatch()
	again.Enabled(game, b.maths, b.machine.Definition())
	if err := again.Resume(o); err != nil {
		t.Fatal(err)
	}
	for i := range later { // those that were counted are passed over
		again.Round(b.index-uint64(len(later))+1+uint64(i), &later[i])
	}
	if want, got := states(b.watch), states(again); want != got {
		t.Fatalf("it went on to\n%s\nand should be at\n%s", got, want)
	}
	// What is no state of this game is refused.
	for name, spoil := range map[string]func(*monitor.Observed){
		"another game":     func(o *monitor.Observed) { o.Game = "another" },
		"a stream too few": func(o *monitor.Observed) { o.Streams = o.Streams[1:] },
		"a cell too few":   func(o *monitor.Observed) { o.Streams[0].Counts = o.Streams[0].Counts[1:] },
		"another bet":      func(o *monitor.Observed) { o.Bets[0].Name = "x" },
		"a full block":     func(o *monitor.Observed) { o.Streams[0].Block[0] = 1 << 40 },
		"no rounds":        func(o *monitor.Observed) { o.Rounds = 0 },
	} {
		leaf, _ := entry.Append(nil, withID(o))
		bad := new(monitor.Observed)
		if err := entry.Decode(leaf, bad); err != nil {
			t.Fatal(err)
		}
		spoil(bad)
		if err := again.Resume(bad); err == nil {
			t.Errorf("%s: resumed", name)
		}
	}
}

func withID(o *monitor.Observed) *monitor.Observed {
	c := *o
	c.Header = entry.Header{Actor: "house", ID: entry.NewUUID([16]byte{})}
	return &c
}

func states(w *monitor.Watch) (s string) {
	for id, g := range w.Games {
		s += fmt.Sprintf("%s %+v\n", id, *g.State())
	}
	return s
}

// An entry that is not the one owed is refused, and one that is owed for long is named once.
func TestOwed(t *testing.T) {
	b := sit(t, 4)
	if err := b.watch.Take(&monitor.Alarmed{Game: game, Maths: b.maths}); err == nil {
		t.Error("an alarm that no round leads to was taken")
	}
	for range monitor.ObservedRounds {
		b.round(nil)
	}
	o := *b.watch.Owed(game).(*monitor.Observed)
	o.Streams = append([]monitor.Stream(nil), o.Streams...)
	o.Streams[0].Evidence++
	if err := b.watch.Take(&o); err == nil {
		t.Error("other evidence was taken")
	}
	for range monitor.ObservedRounds { // the false one stood for the true one
		b.round(nil)
	}
	late := 0
	for range monitor.ObservedRounds {
		if b.watch.Late(game) != nil {
			late++
		}
		b.round(nil)
	}
	if b.watch.Late(game) == nil || b.watch.Late(game) != nil || late != 0 {
		t.Errorf("named late %d times too early, or not once", late)
	}
}

// The expectation of the product is never above 1: for a game small enough to count, exactly.
func TestBetsAreFair(t *testing.T) {
	for _, c := range []struct{ payout, stake int64 }{{0, 20}, {100, 20}, {20_000, 20}, {1, 1_000_000_000}, {money.Max, 1}, {0, money.Max}, {money.Max, money.Max}} {
		g := monitor.New(d, &monitor.Theory{ReturnMillionths: 956_369, VarianceMillionths: 26_345_822})
		g.Round(1, nil, c.payout, c.stake)
		x := new(big.Float).Quo(new(big.Float).SetInt64(c.payout), new(big.Float).SetInt64(c.stake))
		ratio, _ := x.Float64()
		for _, bet := range g.State().Bets {
			var true64 float64
			kind, k, _ := strings.Cut(bet.Name, "/")
			lambda := map[string]float64{"3": 1. / 8, "6": 1. / 64, "9": 1. / 512, "8": 1. / 256, "10": 1. / 1024, "12": 1. / 4096}[k]
			if kind == "return-high" {
				true64 = math.Log2(1 + lambda*(ratio-.956370))
			} else {
				true64 = (lambda*(.956369-ratio) - lambda*lambda*26.345822/2/(1-lambda/3)) * math.Log2E
			}
			got := float64(bet.Evidence) / (1 << 32)
			if true64 < -1<<20 || true64 > 1<<20 {
				true64 = max(-1<<20, min(true64, 1<<20)) // bounded
			}
			if got > true64+1e-12*math.Abs(true64)+1e-13 || got < true64-1e-8-1e-6*math.Abs(true64) {
				t.Errorf("payout %d of stake %d: %s gains %v bits, exact %v", c.payout, c.stake, bet.Name, got, true64)
			}
		}
	}
}

// A round's fold beside playing the round.
func BenchmarkRound(b *testing.B) {
	table := sit(b, 5)
	const n = 4096
	played := make([]rounds.Settled, n)
	for i := range played {
		table.round(func(r *rounds.Settled) {
			played[i] = *r
			played[i].Draw.Values = append([]rounds.Drawn(nil), r.Draw.Values...)
		})
	}
	g := monitor.New(slots.Bundled(), &monitor.Theory{ReturnMillionths: 956_369, VarianceMillionths: 26_345_822})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r := &played[i%n]
		g.Round(uint64(i), r.Draw.Values, r.Payout.Amount, r.Stake.Amount)
		i++
	}
}
