package slots

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"countroom/games"
	"countroom/rngcert/uniform"
)

func TestLinePaysItsBestSingleWin(t *testing.T) {
	m := compile(t, parse(t, small))
	letters := map[rune]string{'w': "wild", 's': "scatter", 'a': "apple", 'b': "berry", 'c': "cherry"}
	for _, tt := range []struct {
		cells  string
		symbol string // empty: the line does not pay
		count  int
		pay    int64
	}{
		{"aaabc", "apple", 3, 20},
		{"aabbb", "apple", 2, 2},
		{"abbbb", "", 0, 0},
		{"baaaa", "", 0, 0},
		{"bbbaa", "berry", 3, 5},
		{"aasaa", "apple", 2, 2},
		{"waaws", "apple", 4, 100},
		{"awwww", "apple", 5, 200},
		{"wwwww", "wild", 5, 500},
		{"wwwwa", "apple", 5, 200},
		{"wwwwb", "wild", 4, 50},
		{"wwwbb", "berry", 5, 20},
		{"wwwba", "berry", 4, 10}, // the wilds pay 10 as well: the line symbol is recorded
		{"wwwsa", "wild", 3, 10},
		{"wwwcc", "wild", 3, 10},
		{"wwsaa", "", 0, 0},
		{"wwcaa", "", 0, 0},
		{"wbsbb", "", 0, 0},
		{"sssss", "", 0, 0},
		{"swwww", "", 0, 0},
		{"cccca", "", 0, 0},
		{"ccccw", "cherry", 5, 7},
	} {
		t.Run(tt.cells, func(t *testing.T) {
			var symbols []string
			for _, c := range tt.cells {
				symbols = append(symbols, letters[c])
			}
			r := play(t, m, 10, showing(t, &m.def.Base, 1, symbols...))
			var want []Win
			if tt.symbol != "" {
				want = []Win{{Line: 1, Symbol: tt.symbol, Count: tt.count, Pay: 10 * tt.pay}}
			}
			if !slices.Equal(r.Spins[0].Wins, want) || r.Payout != 10*tt.pay {
				t.Errorf("wins %v, payout %d, want %v", r.Spins[0].Wins, r.Payout, want)
			}
		})
	}
}

func TestGridShowsTheStopOnTop(t *testing.T) {
	m := compile(t, parse(t, small))
	grid, err := m.Grid([5]uint16{0, 1, 2, 3, 4}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := [3][5]string{
		{"wild", "scatter", "apple", "berry", "cherry"},
		{"scatter", "apple", "berry", "cherry", "wild"},
		{"apple", "berry", "cherry", "wild", "scatter"},
	}
	if grid != want {
		t.Errorf("grid is %v, want %v", grid, want)
	}
	if _, err := m.Grid([5]uint16{0, 0, 0, 0, 3}, true); !errors.Is(err, ErrDraw) {
		t.Errorf("a stop beyond the strip: error is %v, want %v", err, ErrDraw)
	}
}

func TestScattersPayAnywhereAndAwardFreeSpins(t *testing.T) {
	m := compile(t, Bundled())
	base, free := &m.def.Base, &m.def.Free
	trigger := showing(t, base, 2, "compass", "compass", "compass")
	trigger[3], trigger[4] = quiet(base, 3), quiet(base, 4)

	spins := [][5]int{trigger}
	blank := showing(t, free, 0, "ten", "king", "jack", "ace", "gull")
	for range 10 {
		spins = append(spins, blank)
	}
	r := play(t, m, 200, spins...)
	first := r.Spins[0]
	if first.Scatters != 3 || first.ScatterPay != 2*200 || first.Awarded != 10 || first.Free || first.Multiplier != 1 {
		t.Errorf("base spin is %+v, want 3 scatters, 400 for them and 10 free spins", first)
	}
	for i, s := range r.Spins[1:] {
		if !s.Free || s.Multiplier != 3 || s.Awarded != 0 {
			t.Errorf("spin %d is %+v, want a free one, times 3", i+1, s)
		}
	}
}

// quiet returns a stop of the reel that shows neither wild nor scatter.
func quiet(strips *[5][]string, reel int) int {
	strip := strips[reel]
	for at := range strip {
		shown := []string{strip[at], strip[(at+1)%len(strip)], strip[(at+2)%len(strip)]}
		if !slices.Contains(shown, "compass") && !slices.Contains(shown, "lighthouse") {
			return at
		}
	}
	panic("no quiet stop")
}

func TestFreeSpinsAreAddedUpToTheMaximum(t *testing.T) {
	m := compile(t, Bundled())
	base, free := &m.def.Base, &m.def.Free
	trigger := showing(t, base, 0, "compass", "compass", "compass")
	trigger[3], trigger[4] = quiet(base, 3), quiet(base, 4)
	again := showing(t, free, 0, "compass", "compass", "compass")
	again[3], again[4] = quiet(free, 3), quiet(free, 4)

	spins := [][5]int{trigger}
	for range 30 {
		spins = append(spins, again)
	}
	r := play(t, m, 20, spins...)
	var awarded []int
	for _, s := range r.Spins {
		awarded = append(awarded, s.Awarded)
	}
	want := append([]int{10, 10, 10}, make([]int, 28)...)
	if !slices.Equal(awarded, want) {
		t.Errorf("awarded %d, want %d", awarded, want)
	}
	if len(r.Spins) != m.Bounds().Spins || 5*len(r.Spins) != m.Bounds().Draws {
		t.Errorf("%d spins, the bounds say %+v", len(r.Spins), m.Bounds())
	}
}

func TestRoundEndsAtTheGreatestPayout(t *testing.T) {
	m := compile(t, Bundled())
	base, free := &m.def.Base, &m.def.Free
	trigger := showing(t, base, 0, "compass", "compass", "compass")
	trigger[3], trigger[4] = quiet(base, 3), quiet(base, 4)
	wilds := showing(t, free, 1, "lighthouse", "lighthouse", "lighthouse", "lighthouse", "lighthouse")

	// Five wilds pay 10,000 line bets times 3, which is 1,500 stakes. Nine free
	// spins are outstanding and are not drawn.
	r := play(t, m, 1000, trigger, wilds)
	if !r.Capped || r.Payout != 1000*1000 || r.Payout != m.Bounds().Payout {
		t.Errorf("capped %t, payout %d, want 1000000", r.Capped, r.Payout)
	}
	if pay := r.Spins[1].Pay; pay < 1500*1000 {
		t.Errorf("the last spin shows %d, want its full pay", pay)
	}
}

func TestPayoutThatEqualsTheGreatestIsCapped(t *testing.T) {
	for _, tt := range []struct {
		maxWin, payout int64
		capped         bool
	}{{499, 499, true}, {500, 500, true}, {501, 500, false}} {
		d := parse(t, small)
		d.MaxWin = tt.maxWin
		m := compile(t, d)
		r := play(t, m, 1, showing(t, &d.Base, 1, "wild", "wild", "wild", "wild", "wild"))
		if r.Payout != tt.payout || r.Capped != tt.capped {
			t.Errorf("limit %d: payout %d, capped %t, want %d, %t", tt.maxWin, r.Payout, r.Capped, tt.payout, tt.capped)
		}
	}
}

func TestPlayRefusesWhatTheGameDoesNotOffer(t *testing.T) {
	m := compile(t, Bundled())
	var r Round
	for _, stake := range []int64{-20, 0, 1, 21, 60, 1020} {
		if err := m.Play(&script{t: t}, stake, &r); !errors.Is(err, ErrStake) {
			t.Errorf("stake %d: error is %v, want %v", stake, err, ErrStake)
		}
	}
	// Reel 2 has 33 stops.
	if err := m.Play(&script{t: t, draws: []uint32{31, 33}}, 20, &r); !errors.Is(err, ErrDraw) {
		t.Errorf("draw beyond the strip: error is %v, want %v", err, ErrDraw)
	}
}

func TestStakeScalesThePaysAndNothingElse(t *testing.T) {
	m := compile(t, Bundled())
	for seed := range splitmix(2000) {
		var one, other Round
		a, b := seed, seed
		if err := m.Play(games.NewSimulated(a.next), 20, &one); err != nil {
			t.Fatal(err)
		}
		if err := m.Play(games.NewSimulated(b.next), 500, &other); err != nil {
			t.Fatal(err)
		}
		if a != b || other.Payout != 25*one.Payout || len(other.Spins) != len(one.Spins) {
			t.Fatalf("seed %d: %d in %d spins at 20, %d in %d spins at 500", seed, one.Payout, len(one.Spins), other.Payout, len(other.Spins))
		}
	}
}

func TestMostWinsIsReached(t *testing.T) {
	m := compile(t, Bundled())
	most := 0
	var r Round
	for _, free := range []bool{false, true} {
		strips := &m.def.Base
		if free {
			strips = &m.def.Free
		}
		for i := range strips[0] {
			for j := range strips[1] {
				for k := range strips[2] {
					r.Spins = r.Spins[:0]
					s := &script{t, []uint32{uint32(i), uint32(j), uint32(k), 0, 0}}
					if err := m.spin(s, 20, free, &r); err != nil {
						t.Fatal(err)
					}
					most = max(most, len(r.Spins[0].Wins))
				}
			}
		}
	}
	if most != m.Bounds().Wins {
		t.Errorf("at most %d wins, the bounds say %d", most, m.Bounds().Wins)
	}
}

// Each block of the file is a round: its stake, the 32-bit words drawn from,
// discarded ones included, and what came of it. Another implementation can be
// held against it.
func TestGoldenRounds(t *testing.T) {
	m := compile(t, Bundled())
	data, err := os.ReadFile("testdata/rounds.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	var stake int64
	var words []uint32
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "stake":
			if stake, err = strconv.ParseInt(value, 10, 64); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&got, lines.Text())
		case "words":
			words = words[:0]
			for _, hex := range strings.Fields(value) {
				w, err := strconv.ParseUint(hex, 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				words = append(words, uint32(w))
			}
			fmt.Fprintln(&got, lines.Text())
		case "outcome":
			source := &wordDraws{t: t, words: words}
			var r Round
			if err := m.Play(source, stake, &r); err != nil {
				t.Fatal(err)
			}
			if len(source.words) > 0 {
				t.Errorf("%d words left", len(source.words))
			}
			fmt.Fprintf(&got, "payout %d\noutcome %s\n", r.Payout, m.AppendOutcome(nil, &r))
		case "payout":
		default:
			fmt.Fprintln(&got, lines.Text())
		}
	}
	golden(t, "rounds.txt", got.Bytes())
}

// wordDraws draws from recorded words.
type wordDraws struct {
	t     testing.TB
	words []uint32
}

func (d *wordDraws) Int(n uint32) uint32 {
	for len(d.words) > 0 {
		w := d.words[0]
		d.words = d.words[1:]
		if v, ok := uniform.Reduce(w, n); ok {
			return v
		}
	}
	d.t.Fatal("out of words")
	return 0
}

// recorded keeps the integers drawn.
type recorded struct {
	games.Draws
	drawn []uint32
}

func (r *recorded) Int(n uint32) uint32 {
	v := r.Draws.Int(n)
	r.drawn = append(r.drawn, v)
	return v
}

func TestReplayGivesTheSameBytes(t *testing.T) {
	m := compile(t, Bundled())
	var r Round // reused, as the hot path does
	for seed := range splitmix(5000) {
		rec := &recorded{Draws: games.NewSimulated(seed.next)}
		if err := m.Play(rec, 100, &r); err != nil {
			t.Fatal(err)
		}
		outcome := m.AppendOutcome(nil, &r)
		audit(t, m, 100, &r)

		s := &script{t, rec.drawn}
		var again Round
		if err := m.Play(s, 100, &again); err != nil {
			t.Fatal(err)
		}
		if replayed := m.AppendOutcome(nil, &again); !bytes.Equal(replayed, outcome) || again.Payout != r.Payout || len(s.draws) > 0 {
			t.Fatalf("replay of seed %d is\n%s\nwant\n%s", seed, replayed, outcome)
		}
	}
}

// FuzzPlay plays rounds of arbitrary draws, each byte one of them. No round
// leaves the bounds, and an auditor's plain reading of the rules agrees.
func FuzzPlay(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{2, 3, 10, 0, 9, 9, 8, 12, 21, 1}, 30))
	for seed := range splitmix(20) {
		var draws []byte
		for range 155 {
			draws = append(draws, byte(seed.next()%40))
		}
		f.Add(draws)
	}
	m := compile(f, Bundled())
	b := m.Bounds()
	f.Fuzz(func(t *testing.T, draws []byte) {
		d := &byteDraws{bytes: draws}
		var r Round
		if err := m.Play(d, 1000, &r); err != nil {
			if !errors.Is(err, ErrDraw) {
				t.Fatal(err)
			}
			return
		}
		outcome := m.AppendOutcome(nil, &r)
		if len(r.Spins) > b.Spins || d.drawn > b.Draws || len(outcome) > b.Bytes || r.Payout > b.Payout {
			t.Fatalf("%d spins, %d draws, %d bytes, payout %d, beyond %+v", len(r.Spins), d.drawn, len(outcome), r.Payout, b)
		}
		if !json.Valid(outcome) {
			t.Fatalf("outcome is not JSON: %s", outcome)
		}
		audit(t, m, 1000, &r)
	})
}

// byteDraws hands out bytes, in range or not, and zeros after the last.
type byteDraws struct {
	bytes []byte
	drawn int
}

func (d *byteDraws) Int(uint32) uint32 {
	d.drawn++
	if d.drawn > len(d.bytes) {
		return 0
	}
	return uint32(d.bytes[d.drawn-1])
}

// audit works a round out again from its stops, by the words of the package
// comment and without any of the machine's tables.
func audit(t *testing.T, m *Machine, stake int64, r *Round) {
	t.Helper()
	def := m.Definition()
	pays := make(map[string][5]int64)
	roles := make(map[string]string)
	for _, s := range def.Symbols {
		pays[s.Name], roles[s.Name] = s.Pays, s.Role
	}
	limit := def.MaxWin * stake
	payout, outstanding, awarded := int64(0), 1, 0
	for i, s := range r.Spins {
		if outstanding == 0 || payout >= limit {
			t.Fatalf("spin %d is one too many", i)
		}
		outstanding--
		multiplier := int64(1)
		if i > 0 {
			multiplier = def.FreeSpins.Multiplier
		}
		if s.Free != (i > 0) || s.Multiplier != multiplier {
			t.Fatalf("spin %d is free %t, times %d", i, s.Free, s.Multiplier)
		}
		grid, err := m.Grid(s.Stops, s.Free)
		if err != nil {
			t.Fatal(err)
		}

		scatters, pay := 0, int64(0)
		for _, row := range grid {
			for _, symbol := range row {
				if roles[symbol] == RoleScatter {
					scatters++
				}
			}
		}
		free := 0
		if scatters > 0 {
			n := min(scatters, 5) - 1
			pay = pays["compass"][n] * stake * multiplier
			free = min(def.FreeSpins.Awards[n], def.FreeSpins.Maximum-awarded)
		}
		if s.Scatters != scatters || s.ScatterPay != pay || s.Awarded != free {
			t.Fatalf("spin %d: %d scatters for %d and %d free spins, want %d, %d and %d", i, s.Scatters, s.ScatterPay, s.Awarded, scatters, pay, free)
		}
		awarded += free
		outstanding += free

		var wins []Win
		for l, line := range def.Lines {
			best := Win{Line: l + 1}
			// Every run from the left that is one symbol, with wilds in its place.
			for _, of := range def.Symbols {
				count, own := 0, false
				for count < 5 {
					symbol := grid[line[count]][count]
					if symbol != of.Name && roles[symbol] != RoleWild {
						break
					}
					own = own || symbol == of.Name
					count++
				}
				if of.Role == RoleScatter || !own {
					continue
				}
				win := of.Pays[count-1] * stake / int64(len(def.Lines)) * multiplier
				if win > best.Pay || win == best.Pay && of.Role == RoleLine {
					best.Symbol, best.Count, best.Pay = of.Name, count, win
				}
			}
			if best.Pay > 0 {
				wins = append(wins, best)
				pay += best.Pay
			}
		}
		if !slices.Equal(s.Wins, wins) || s.Pay != pay {
			t.Fatalf("spin %d: wins %v, pay %d, want %v, %d", i, s.Wins, s.Pay, wins, pay)
		}
		payout += pay
	}
	if r.Capped != (payout >= limit) || r.Payout != min(payout, limit) || !r.Capped && outstanding > 0 {
		t.Fatalf("payout %d, capped %t, %d free spins outstanding, want %d", r.Payout, r.Capped, outstanding, payout)
	}
}

func TestPlayDoesNotAllocate(t *testing.T) {
	m := compile(t, Bundled())
	seed := splitmix(1)
	draws := games.NewSimulated(seed.next)
	var r Round
	outcome := make([]byte, 0, m.Bounds().Bytes)
	round := func() {
		if err := m.Play(draws, 20, &r); err != nil {
			t.Fatal(err)
		}
		outcome = m.AppendOutcome(outcome[:0], &r)
	}
	for range 200_000 { // until every spin has had many wins
		round()
	}
	if n := testing.AllocsPerRun(10_000, round); n != 0 {
		t.Errorf("%v allocations a round, want none", n)
	}
}

func TestLosingSpinIsShort(t *testing.T) {
	m := compile(t, Bundled())
	r := play(t, m, 20, [5]int{12, 15, 11, 20, 25})
	if r.Payout != 0 {
		t.Fatalf("payout is %d, want a losing spin", r.Payout)
	}
	if n := len(m.AppendOutcome(nil, r)); n > 110 {
		t.Errorf("%d bytes, want at most 110", n)
	}
}

func BenchmarkPlayBaseSpins(b *testing.B) {
	d := Bundled()
	d.FreeSpins.Awards = [5]int{}
	m := compile(b, d)
	draws := new(cheapDraws)
	var r Round
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Play(draws, 20, &r); err != nil {
			b.Fatal(err)
		}
	}
}

// cheapDraws costs next to nothing, so that the machine alone is measured.
type cheapDraws uint64

func (d *cheapDraws) Int(n uint32) uint32 {
	*d = *d*6364136223846793005 + 1442695040888963407
	return uint32(uint64(*d>>32) * uint64(n) >> 32)
}

func BenchmarkPlayRounds(b *testing.B) {
	m := compile(b, Bundled())
	seed := splitmix(1)
	draws := games.NewSimulated(seed.next)
	var r Round
	spins := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Play(draws, 20, &r); err != nil {
			b.Fatal(err)
		}
		spins += len(r.Spins)
	}
	b.ReportMetric(float64(spins)/b.Elapsed().Seconds(), "spins/s")
}

func BenchmarkAppendOutcome(b *testing.B) {
	m := compile(b, Bundled())
	r := play(b, m, 20, [5]int{12, 15, 11, 20, 25})
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = m.AppendOutcome(dst[:0], r)
	}
}
