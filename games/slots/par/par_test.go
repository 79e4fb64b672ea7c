package par

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"countroom/games"
	"countroom/games/slots"
)

var update = flag.Bool("update", false, "write the golden files anew")

func compile(t testing.TB, d *slots.Definition) *slots.Machine {
	t.Helper()
	m, err := slots.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bundled is the sheet of the bundled game, worked out once.
var bundled = sync.OnceValues(func() (*Sheet, error) {
	m, err := slots.Compile(slots.Bundled())
	if err != nil {
		return nil, err
	}
	return Compute(context.Background(), m, nil)
})

func sheet(t *testing.T) *Sheet {
	t.Helper()
	s, err := bundled()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBundledGameIsWithinItsDesign(t *testing.T) {
	s := sheet(t)
	within := func(name string, value *big.Rat, from, to float64) {
		if f, _ := value.Float64(); f < from || f > to {
			t.Errorf("%s is %g, want %g to %g", name, f, from, to)
		}
	}
	within("return", s.Return, 0.95, 0.96)
	within("hit frequency", s.Hit, 0.25, 0.35)
	// Whoever advertises an award must give it once in 100 million rounds or
	// show the odds.
	within("top award", ratio(s.Base.Top, s.Base.Cycle), 1e-8, 1)
	within("greatest payout", s.Capped, 1e-8, 1)
}

func TestBundledSheetReadsAsPrinted(t *testing.T) {
	var got bytes.Buffer
	if err := sheet(t).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/lamplight-quay.txt"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("sheet is\n%s\nwant\n%s", got.String(), want)
	}
}

// The line return comes from two sides: from whole windows, and from one line
// and how often each symbol is on each strip.
func TestLineWinsAddUpToTheLineReturn(t *testing.T) {
	s := sheet(t)
	for _, part := range []struct {
		spin       *SpinSheet
		multiplier int64
	}{{&s.Base, 1}, {&s.Free, s.Definition.FreeSpins.Multiplier}} {
		sum := new(big.Int)
		for i, symbol := range s.Definition.Symbols {
			for n, hits := range part.spin.Hits[i] {
				pay := big.NewInt(symbol.Pays[n] * part.multiplier)
				sum.Add(sum, pay.Mul(pay, hits))
			}
		}
		lines := new(big.Int).SetUint64(part.spin.Cycle * uint64(len(s.Definition.Lines)))
		if got := new(big.Rat).SetFrac(sum, lines); got.Cmp(part.spin.Lines) != 0 {
			t.Errorf("line wins come to %s, windows to %s", got, part.spin.Lines)
		}
	}
}

func TestProbabilitiesAddUpToOne(t *testing.T) {
	s := sheet(t)
	all, mean := new(big.Rat), new(big.Rat)
	for _, p := range s.Payouts {
		all.Add(all, p.Probability)
		mean.Add(mean, new(big.Rat).Mul(p.Probability, p.Stakes))
	}
	if all.Cmp(big.NewRat(1, 1)) != 0 {
		t.Errorf("probabilities add up to %s", all.FloatString(20))
	}
	if mean.Cmp(s.Return) != 0 {
		t.Errorf("mean payout is %s, the return %s", mean.FloatString(20), s.Return.FloatString(20))
	}
}

// With free spins that no limit cuts, the return from the distribution must be
// the sum of its parts, which are worked out without it.
func TestNothingIsCutOffWithoutALimit(t *testing.T) {
	d := tiny()
	d.MaxWin = 100_000
	s, err := Compute(context.Background(), compile(t, d), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.CutOff.Sign() != 0 || s.Capped.Sign() != 0 {
		t.Errorf("cut off %s, greatest payout reached %s, want none", s.CutOff, s.Capped)
	}
	if s.FreeSpins.Sign() == 0 {
		t.Error("free spins return nothing")
	}
}

// tiny is a game small enough to play every one of its rounds. Three scatters
// on reel 1, at one stop of four, win a free spin, and in it another.
func tiny() *slots.Definition {
	return &slots.Definition{
		ID: "tiny", Name: "Tiny", Version: "1.0.0",
		Symbols: []slots.Symbol{
			{Name: "w", Role: slots.RoleWild, Pays: [5]int64{0, 0, 12, 20, 90}},
			{Name: "s", Role: slots.RoleScatter, Pays: [5]int64{0, 1, 2, 4, 9}},
			{Name: "a", Role: slots.RoleLine, Pays: [5]int64{0, 2, 8, 20, 60}},
			{Name: "b", Role: slots.RoleLine, Pays: [5]int64{0, 0, 4, 10, 30}},
		},
		Base:      [5][]string{{"s", "s", "s", "a"}, {"a", "w", "b"}, {"a", "b", "w"}, {"b", "w", "a"}, {"a", "b", "b"}},
		Free:      [5][]string{{"s", "s", "s", "w"}, {"w", "b", "a"}, {"b", "a", "w"}, {"a", "w", "w"}, {"w", "b", "a"}},
		Lines:     [][5]int{{0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}, {0, 1, 2, 1, 0}},
		Stakes:    []int64{3},
		FreeSpins: slots.FreeSpins{Awards: [5]int{0, 0, 1, 1, 1}, Maximum: 2, Multiplier: 2},
		MaxWin:    20,
	}
}

// odometer turns through every sequence of draws of a game.
type odometer struct {
	digits, ranges []uint32
	at             int
}

func (o *odometer) Int(n uint32) uint32 {
	if o.at == len(o.digits) {
		o.digits, o.ranges = append(o.digits, 0), append(o.ranges, n)
	}
	o.at++
	return o.digits[o.at-1]
}

// turn goes on to the next sequence, until there is none.
func (o *odometer) turn() bool {
	o.at = 0
	for last := len(o.digits) - 1; last >= 0; last-- {
		if o.digits[last]++; o.digits[last] < o.ranges[last] {
			return true
		}
		o.digits, o.ranges = o.digits[:last], o.ranges[:last]
	}
	return false
}

// Every round of a tiny game, played out by the machine, gives the sheet's
// distribution, fraction for fraction.
func TestTinyGameInFull(t *testing.T) {
	m := compile(t, tiny())
	d := m.Definition()
	s, err := Compute(context.Background(), m, nil)
	if err != nil {
		t.Fatal(err)
	}

	// Rounds by number of spins and payout; those of as many spins weigh the same.
	type key struct {
		spins  int
		payout int64
	}
	rounds := make(map[key]int64)
	var o odometer
	var r slots.Round
	capped := make(map[int]int64)
	for more := true; more; more = o.turn() {
		if err := m.Play(&o, 3, &r); err != nil {
			t.Fatal(err)
		}
		rounds[key{len(r.Spins), r.Payout}]++
		if r.Capped {
			capped[len(r.Spins)]++
		}
	}
	for n := 1; n <= 3; n++ {
		if capped[n] == 0 {
			t.Errorf("no round of %d spins reaches the greatest payout: a weak test", n)
		}
	}

	baseCycle, freeCycle := big.NewRat(1, 4*3*3*3*3), big.NewRat(1, 4*3*3*3*3)
	want := make(map[string]*big.Rat)
	for k, n := range rounds {
		p := new(big.Rat).Mul(big.NewRat(n, 1), baseCycle)
		for range k.spins - 1 {
			p.Mul(p, freeCycle)
		}
		stakes := big.NewRat(k.payout, 3).String()
		if want[stakes] == nil {
			want[stakes] = new(big.Rat)
		}
		want[stakes].Add(want[stakes], p)
	}
	got := make(map[string]*big.Rat)
	for _, p := range s.Payouts {
		got[p.Stakes.String()] = p.Probability
	}
	if !maps.EqualFunc(got, want, func(a, b *big.Rat) bool { return a.Cmp(b) == 0 }) {
		t.Errorf("payouts are\n%v\nwant\n%v", got, want)
	}

	mean, squares := new(big.Rat), new(big.Rat)
	for stakes, p := range want {
		x, _ := new(big.Rat).SetString(stakes)
		mean.Add(mean, new(big.Rat).Mul(x, p))
		squares.Add(squares, new(big.Rat).Mul(x.Mul(x, x), p))
	}
	if mean.Cmp(s.Return) != 0 {
		t.Errorf("return is %s, want %s", s.Return, mean)
	}
	if variance := squares.Sub(squares, mean.Mul(mean, mean)); variance.Cmp(s.Variance) != 0 {
		t.Errorf("variance is %s, want %s", s.Variance, variance)
	}
	if limit := big.NewRat(d.MaxWin, 1).String(); want[limit].Cmp(s.Capped) != 0 {
		t.Errorf("greatest payout reached with probability %s, want %s", s.Capped, want[limit])
	}
	if s.CutOff.Sign() <= 0 {
		t.Errorf("cut off %s, want something", s.CutOff)
	}
}

// Random games, spun by the machine through their whole cycle, agree with the
// enumeration and with the table of line wins.
func TestEnumerationAgreesWithTheMachine(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 20))
	for game := range 30 {
		d := randomGame(rng)
		m := compile(t, d)
		r := newRules(d)
		got, err := enumerate(context.Background(), r, &d.Base, func(uint64) {})
		if err != nil {
			t.Fatal(err)
		}

		want := make(map[result]uint64)
		hits := r.hits(&d.Base)
		var o odometer
		var round slots.Round
		for more := true; more; more = o.turn() {
			if err := m.Play(&o, d.Stakes[0], &round); err != nil {
				t.Fatal(err)
			}
			spin := round.Spins[0]
			x := result{scatters: spin.Scatters}
			for _, w := range spin.Wins {
				x.lines += w.Pay
				x.top = x.top || w.Pay == r.top
				hit := hits[r.index[w.Symbol]][w.Count-1]
				hit.Sub(hit, big.NewInt(1))
			}
			want[x]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("game %d %s: enumeration gives\n%v\nthe machine\n%v", game, d.Canonical(), got, want)
		}
		for i := range hits {
			for n, left := range hits[i] {
				if left.Sign() != 0 {
					t.Errorf("game %d: %d of %s is off by %s", game, n+1, d.Symbols[i].Name, left)
				}
			}
		}
	}
}

// randomGame is a game without free spins at a line bet of 1.
func randomGame(rng *rand.Rand) *slots.Definition {
	d := &slots.Definition{ID: "random", Name: "Random", Version: "1.0.0", MaxWin: 100_000,
		FreeSpins: slots.FreeSpins{Multiplier: 1}}
	for i, role := range []string{slots.RoleWild, slots.RoleScatter, slots.RoleLine, slots.RoleLine, slots.RoleLine} {
		s := slots.Symbol{Name: string(rune('a' + i)), Role: role}
		pay := int64(0)
		for n := rng.IntN(4); n < 5; n++ {
			pay += rng.Int64N(30)
			s.Pays[n] = pay
		}
		d.Symbols = append(d.Symbols, s)
	}
	for reel := range 5 {
		for range 3 + rng.IntN(3) {
			d.Base[reel] = append(d.Base[reel], d.Symbols[rng.IntN(5)].Name)
			d.Free[reel] = append(d.Free[reel], d.Symbols[rng.IntN(5)].Name)
		}
	}
	for len(d.Lines) < 6 {
		var line [5]int
		for reel := range line {
			line[reel] = rng.IntN(3)
		}
		if !slices.Contains(d.Lines, line) {
			d.Lines = append(d.Lines, line)
		}
	}
	d.Stakes = []int64{6}
	return d
}

// The seed is fixed, so this holds or fails for good. By chance a right sheet
// would fail for one seed in a thousand.
func TestSimulationAgreesWithTheSheet(t *testing.T) {
	s := sheet(t)
	m := compile(t, slots.Bundled())
	seed := [32]byte{}
	copy(seed[:], "lamplight quay, simulated")
	draws := games.NewSimulated(rand.NewChaCha8(seed).Uint64)
	const rounds = 1_000_000
	got, err := Simulate(context.Background(), m, draws, rounds, nil)
	if err != nil {
		t.Fatal(err)
	}
	const z = 3.2905267 // 99.9 %
	near := func(name string, got, want, deviation float64) {
		if half := z * deviation / math.Sqrt(rounds); math.Abs(got-want) > half {
			t.Errorf("%s is %g, want %g within %g", name, got, want, half)
		}
	}
	mean, _ := s.Return.Float64()
	hit, _ := s.Hit.Float64()
	trigger, _ := s.Trigger.Float64()
	near("return", got.Mean, mean, s.Deviation())
	near("hit frequency", float64(got.Hits)/rounds, hit, math.Sqrt(hit*(1-hit)))
	near("free spins", float64(got.Triggered)/rounds, trigger, math.Sqrt(trigger*(1-trigger)))
	if from, to := got.Interval(); from > got.Mean || to < got.Mean || to-from > 0.05 {
		t.Errorf("interval is %g to %g around %g", from, to, got.Mean)
	}
}

func TestSimulationReport(t *testing.T) {
	s := Stats{Rounds: 1_000_000, Spins: 1_090_000, Hits: 304_410, Triggered: 8641, Capped: 1, Mean: 0.95, Variance: 25}
	var got strings.Builder
	if err := s.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	// 2.5758293 * 5 / 1000 = 0.0128791
	for _, want := range []string{"1,090,000", "30.441000 %", "95.000000 %", "93.712085 %", "96.287915 %", "not play"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
	if err := (Stats{}).WriteText(&got); err != nil {
		t.Error(err)
	}
}

func TestCancelling(t *testing.T) {
	m := compile(t, slots.Bundled())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compute(ctx, m, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Compute: error is %v, want %v", err, context.Canceled)
	}
	draws := games.NewSimulated(rand.NewPCG(1, 1).Uint64)
	if s, err := Simulate(ctx, m, draws, 1000, nil); !errors.Is(err, context.Canceled) || s.Rounds != 0 {
		t.Errorf("Simulate: %d rounds, error is %v, want %v", s.Rounds, err, context.Canceled)
	}
}

func TestProgressGrowsToTheTotal(t *testing.T) {
	last := uint64(0)
	var of uint64
	_, err := Compute(context.Background(), compile(t, tiny()), func(done, total uint64) {
		if done < last || done > total {
			t.Errorf("%d of %d done after %d", done, total, last)
		}
		last, of = done, total
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != of || of == 0 {
		t.Errorf("%d of %d done at the end", last, of)
	}
}

func TestTooLargeADistributionIsRefused(t *testing.T) {
	d := tiny()
	d.MaxWin = 100_000
	d.FreeSpins.Maximum = 100
	d.FreeSpins.Multiplier = 1
	d.Symbols[2].Pays[1] = 1
	if _, err := Compute(context.Background(), compile(t, d), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v, want %v", err, ErrTooLarge)
	}
}

func BenchmarkCompute(b *testing.B) {
	m := compile(b, slots.Bundled())
	for b.Loop() {
		if _, err := Compute(context.Background(), m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSimulate(b *testing.B) {
	m := compile(b, slots.Bundled())
	draws := games.NewSimulated(rand.NewChaCha8([32]byte{}).Uint64)
	spins := uint64(0)
	for b.Loop() {
		s, err := Simulate(context.Background(), m, draws, 100_000, nil)
		if err != nil {
			b.Fatal(err)
		}
		spins += s.Spins
	}
	b.ReportMetric(float64(spins)/b.Elapsed().Seconds(), "spins/s")
}
