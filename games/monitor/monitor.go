// Package monitor watches the chance of games while they are played: the numbers that are drawn, the symbols that come up, the
// return. It is a fold over the rounds of a log, in integers, so that a house and whoever verifies it reach the same
// figures to the bit.
//
// # What a monitor does
//
// Each component holds a stream of events against a hypothesis (all numbers of a range equally likely; the return the game's
// exact one) and keeps its evidence: the logarithm of a product that starts at 1 and whose expectation, while the hypothesis
// is true, never rises (a test supermartingale; Shafer and Vovk 2019, Ramdas et al. 2023). By Ville's inequality the chance
// that it ever reaches 1/α is at most α, however often one looks. So watching without end makes no false alarms more likely.
//
//   - draws/m: the integers drawn in [0, m). The product is of the predicted probability of each event over 1/m, where the
//     prediction is (c+1)/(t+k): c of t events so far fell into this one of k cells (Laplace's rule).
//   - symbols/i: the symbol in the middle of reel i of the base spin, against the symbol's share of the strip; likewise.
//   - return-high/k: the product of 1 + λ(X−R), X the round's payout over its stake, R the return, λ = 2^-k: a bet that the
//     game pays too much.
//   - return-low/k: the product of exp(λ(R−X) − ψ), ψ = λ²V/(2(1−λ/3)) by Bernstein's inequality, V the variance of X: a bet that
//     it pays too little.
//
// Evidence grows only slowly out of a long innocent past, so it starts afresh every WindowRounds rounds. The threshold
// of window w (from 0) is 21 + ⌈log2 j⌉ + 2⌈log2(w+1)⌉ bits for a game of j components: over all windows and components the
// chance of any false alarm in the whole life of a release is below 2^-20.
//
// All logarithms are cut towards less evidence (see log2).
package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"

	"countroom/games/rounds"
	"countroom/games/slots"
)

// WindowRounds is how many rounds the evidence of a window is about.
const WindowRounds = 1 << 20

// ObservedRounds is how often what was counted is written down.
const ObservedRounds = 1 << 14

// blockEvents is how many events of a stream are weighed at once, all by the prediction before the first of them.
const blockEvents = 256

// cellsMost is how many cells a stream can have: a strip has at most as many stops.
const cellsMost = 256

var (
	highs = []uint{3, 6, 9}
	lows  = []uint{8, 10, 12}
)

// Theory is the exact mathematics that the return of a game is held against, from its par sheet.
type Theory struct {
	ReturnMillionths   uint64 // of the stake, cut; at most a million
	VarianceMillionths uint64 // of a round's payout in squared stakes, rounded up
}

// Alarm says that the evidence of a component reached its threshold.
type Alarm struct {
	Monitor  string
	Round    uint64 // index of the entry at which it did
	Rounds   uint64 // rounds of the release so far, this one included
	Evidence uint64 // whole bits
}

// Stream is what was counted of one stream of events in the present window.
type Stream struct {
	Name     string
	Evidence int64    // in 2^-32 bits
	Alarmed  bool     // in this window
	Counts   []uint64 // of each cell, weighed
	Block    []uint64 // of each cell, not weighed yet
}

// Bet is what a bet on the return has come to in the present window.
type Bet struct {
	Name     string
	Evidence int64 // in 2^-32 bits
	Alarmed  bool  // in this window
}

// State is all there is to know of a game's monitor: with it a fold can go on.
type State struct {
	Rounds  uint64 // of the release
	Window  uint64
	Streams []Stream
	Bets    []Bet
}

// Game is the monitor of one release of a game.
type Game struct {
	state   State
	streams []stream           // as State.Streams
	ranges  [cellsMost + 2]int // one more than the place of the stream of a range, or 0
	theory  bool
	high    []highBet
	low     []lowBet
	mean    uint64 // return in millionths, cut
	bits    uint64 // threshold of window 0

	cache map[[2]int64][]int64 // what a payout and stake add to each bet
}

// stream is the hypothesis of a Stream.
type stream struct {
	size  []int64 // logarithm of the numbers in each cell, not below it
	total int64   // of those in all, not above it
	cell  []uint8 // of each stop, of a stream of symbols
	block uint64  // events in Stream.Block
	seen  uint64  // in Stream.Counts
}

// highBet is a bet of λ = 2^-k that the return is above the theory.
type highBet struct{ k uint }

// lowBet adds a − ⌈b·payout/stake⌉ for each round.
type lowBet struct{ a, b uint64 }

// New makes a monitor for a definition; without a theory its return is not watched.
func New(d *slots.Definition, theory *Theory) *Game {
	g := &Game{cache: map[[2]int64][]int64{}}
	var ranges []uint32
	for _, strips := range [][5][]string{d.Base, d.Free} {
		for _, s := range strips {
			ranges = append(ranges, uint32(len(s)))
		}
	}
	slices.Sort(ranges)
	for _, m := range slices.Compact(ranges) {
		if m < 2 {
			continue
		}
		g.ranges[m] = len(g.streams) + 1
		g.add(fmt.Sprintf("draws/%d", m), slices.Repeat([]uint64{1}, int(m)), nil)
	}
	for i, strip := range d.Base {
		var size []uint64
		cell := make([]uint8, len(strip))
		for at, name := range strip {
			j := slices.IndexFunc(d.Symbols, func(s slots.Symbol) bool { return s.Name == name })
			for len(size) <= j {
				size = append(size, 0)
			}
			size[j]++
			// A stop is the top of what is seen; the middle row is the next.
			cell[(at+len(strip)-1)%len(strip)] = uint8(j)
		}
		g.add(fmt.Sprintf("symbols/%d", i+1), size, cell)
	}
	if theory != nil && theory.ReturnMillionths <= 1_000_000 {
		g.theory, g.mean = true, theory.ReturnMillionths
		for _, k := range highs {
			g.high = append(g.high, highBet{k})
			g.state.Bets = append(g.state.Bets, Bet{Name: fmt.Sprintf("return-high/%d", k)})
		}
		for _, k := range lows {
			g.low = append(g.low, newLowBet(*theory, k))
			g.state.Bets = append(g.state.Bets, Bet{Name: fmt.Sprintf("return-low/%d", k)})
		}
	}
	g.bits = 21 + uint64(bits.Len(uint(len(g.streams)+len(g.state.Bets)-1)))
	return g
}

// add adds a stream over cells of so many equally likely numbers.
func (g *Game) add(name string, numbers []uint64, cell []uint8) {
	s := stream{cell: cell}
	for _, n := range numbers {
		s.size = append(s.size, 0)
		if n > 0 {
			s.size[len(s.size)-1] = high(n)
		}
	}
	s.total = low(sum(numbers))
	g.streams = append(g.streams, s)
	g.state.Streams = append(g.state.Streams, Stream{Name: name, Counts: make([]uint64, len(numbers)), Block: make([]uint64, len(numbers))})
}

// newLowBet works the two integers of a bet out: log2(e) lies between 1.442695040 and 1.442695041.
func newLowBet(t Theory, k uint) lowBet {
	less, more := big.NewRat(1_442_695_040, 1_000_000_000), big.NewRat(1_442_695_041, 1_000_000_000)
	lambda := big.NewRat(1, 1<<k)
	gain := new(big.Rat).SetFrac64(int64(t.ReturnMillionths), 1_000_000)
	gain.Mul(gain, lambda).Mul(gain, less)
	psi := new(big.Rat).SetFrac(new(big.Int).SetUint64(t.VarianceMillionths), big.NewInt(1_000_000))
	psi.Mul(psi, lambda).Mul(psi, lambda)
	third := new(big.Rat).Quo(lambda, big.NewRat(3, 1))
	psi.Quo(psi, third.Mul(third.Sub(big.NewRat(1, 1), third), big.NewRat(2, 1))).Mul(psi, more)
	unit := new(big.Rat).SetInt64(one)
	a := gain.Sub(gain, psi)
	a.Mul(a, unit)
	b := new(big.Rat).Mul(lambda, more)
	b.Mul(b, unit)
	bet := lowBet{b: ceil(b)}
	if a.Sign() > 0 {
		bet.a = new(big.Int).Quo(a.Num(), a.Denom()).Uint64()
	}
	return bet
}

func ceil(r *big.Rat) uint64 {
	n := new(big.Int).Add(r.Num(), r.Denom())
	return n.Sub(n, big.NewInt(1)).Quo(n, r.Denom()).Uint64()
}

// Threshold is the evidence, in whole bits, at which a component of the present window raises an alarm.
func (g *Game) Threshold() uint64 { return g.bits + 2*uint64(bits.Len64(g.state.Window)) }

// Rounds is how many rounds of the release there were.
func (g *Game) Rounds() uint64 { return g.state.Rounds }

// Round takes the round of the entry at index: every integer drawn, and what it paid. It returns the alarms that it raises, in
// the order of the components.
func (g *Game) Round(index uint64, drawn []rounds.Drawn, payout, stake int64) (alarms []Alarm) {
	if g.state.Rounds > 0 && g.state.Rounds%WindowRounds == 0 {
		g.begin()
	}
	g.state.Rounds++
	for n, d := range drawn {
		if i := g.ranges[min(d.Range, cellsMost+1)]; i > 0 && d.Value < d.Range {
			g.event(i-1, int(d.Value), index, &alarms)
		}
		if n < 5 { // the base spin's stops, reel 1 first
			i := len(g.streams) - 5 + n
			if s := &g.streams[i]; int(d.Value) < len(s.cell) {
				g.event(i, int(s.cell[d.Value]), index, &alarms)
			}
		}
	}
	if g.theory && stake > 0 && payout >= 0 {
		g.bet(index, payout, stake, &alarms)
	}
	return alarms
}

// begin begins the next window.
func (g *Game) begin() {
	g.state.Window++
	for i := range g.streams {
		s := &g.state.Streams[i]
		clear(s.Counts)
		clear(s.Block)
		s.Evidence, s.Alarmed = 0, false
		g.streams[i].block, g.streams[i].seen = 0, 0
	}
	for i := range g.state.Bets {
		g.state.Bets[i].Evidence, g.state.Bets[i].Alarmed = 0, false
	}
}

func (g *Game) event(i, cell int, index uint64, alarms *[]Alarm) {
	s, h := &g.state.Streams[i], &g.streams[i]
	s.Block[cell]++
	if h.block++; h.block < blockEvents {
		return
	}
	all := h.total - high(h.seen+uint64(len(h.size)))
	for j, n := range s.Block {
		if n > 0 {
			s.Evidence += int64(n) * (low(s.Counts[j]+1) + all - h.size[j])
			s.Counts[j] += n
		}
	}
	s.Evidence = bounded(s.Evidence)
	clear(s.Block)
	h.seen, h.block = h.seen+blockEvents, 0
	if g.reached(s.Evidence) && !s.Alarmed {
		s.Alarmed = true
		*alarms = append(*alarms, g.alarm(s.Name, index, s.Evidence))
	}
}

func (g *Game) reached(evidence int64) bool {
	return evidence >= 0 && uint64(evidence/one) >= g.Threshold()
}

func (g *Game) alarm(name string, index uint64, evidence int64) Alarm {
	return Alarm{Monitor: name, Round: index, Rounds: g.state.Rounds, Evidence: uint64(evidence / one)}
}

// evidenceMost bounds evidence on both sides, so that it is an integer that an entry can hold: two million bits.
const evidenceMost = 1 << 52

func bounded(evidence int64) int64 { return max(-evidenceMost, min(evidence, evidenceMost)) }

func (g *Game) bet(index uint64, payout, stake int64, alarms *[]Alarm) {
	key := [2]int64{payout, stake}
	gains, ok := g.cache[key]
	if !ok {
		gains = g.gains(payout, stake)
		if len(g.cache) == 1<<14 {
			clear(g.cache)
		}
		g.cache[key] = gains
	}
	for i, gain := range gains {
		b := &g.state.Bets[i]
		b.Evidence = bounded(b.Evidence + gain)
		if g.reached(b.Evidence) && !b.Alarmed {
			b.Alarmed = true
			*alarms = append(*alarms, g.alarm(b.Name, index, b.Evidence))
		}
	}
}

// gains is what a round adds to the evidence of each bet.
func (g *Game) gains(payout, stake int64) []int64 {
	const million = 1_000_000
	gains := make([]int64, 0, len(g.high)+len(g.low))
	// The return rounded up: a bet against a greater return gains less. Below a million, so that 1+λ(X−R) is positive.
	mean := min(g.mean+1, million)
	for _, h := range g.high {
		// 1 + λ(X−R) = (stake·10^6·2^k + payout·10^6 − R·stake) / (stake·10^6·2^k), all in 128 bits.
		dhi, dlo := bits.Mul64(uint64(stake), million<<h.k)
		phi, plo := bits.Mul64(uint64(payout), million)
		rhi, rlo := bits.Mul64(uint64(stake), mean)
		lo, carry := bits.Add64(dlo, plo, 0)
		hi, _ := bits.Add64(dhi, phi, carry)
		lo, borrow := bits.Sub64(lo, rlo, 0)
		hi, _ = bits.Sub64(hi, rhi, borrow)
		gains = append(gains, log2(hi, lo)-log2(dhi, dlo)-2)
	}
	for _, l := range g.low {
		hi, lo := bits.Mul64(l.b, uint64(payout))
		lo, carry := bits.Add64(lo, uint64(stake)-1, 0)
		hi, _ = bits.Add64(hi, 0, carry)
		loss := uint64(1 << 60)
		if hi < uint64(stake) {
			loss, _ = bits.Div64(hi, lo, uint64(stake))
		}
		gains = append(gains, int64(l.a)-int64(min(loss, 1<<60)))
	}
	return gains
}

// State returns a copy of what was counted.
func (g *Game) State() *State {
	s := g.state
	s.Streams, s.Bets = slices.Clone(s.Streams), slices.Clone(s.Bets)
	for i := range s.Streams {
		s.Streams[i].Counts, s.Streams[i].Block = slices.Clone(s.Streams[i].Counts), slices.Clone(s.Streams[i].Block)
	}
	return &s
}

// ErrState says that a state is not one of this game.
var ErrState = errors.New("monitor: not a state of this game")

// Resume goes on from a state of the same release.
func (g *Game) Resume(s *State) error {
	if len(s.Streams) != len(g.streams) || len(s.Bets) != len(g.state.Bets) || s.Rounds == 0 || s.Window != (s.Rounds-1)/WindowRounds {
		return fmt.Errorf("%w: %d streams, %d bets, window %d after %d rounds", ErrState, len(s.Streams), len(s.Bets), s.Window, s.Rounds)
	}
	for i, st := range s.Streams {
		want := g.state.Streams[i]
		if st.Name != want.Name || len(st.Counts) != len(want.Counts) || len(st.Block) != len(want.Block) {
			return fmt.Errorf("%w: stream %q of %d cells, expected %q of %d", ErrState, st.Name, len(st.Counts), want.Name, len(want.Counts))
		}
		var block uint64
		for _, n := range st.Block {
			block += min(n, blockEvents)
		}
		if block >= blockEvents {
			return fmt.Errorf("%w: stream %q has %d events in a block", ErrState, st.Name, block)
		}
	}
	for i, b := range s.Bets {
		if b.Name != g.state.Bets[i].Name {
			return fmt.Errorf("%w: bet %q, expected %q", ErrState, b.Name, g.state.Bets[i].Name)
		}
	}
	g.state = *s
	g.state = *g.State()
	for i := range g.streams {
		g.streams[i].seen, g.streams[i].block = sum(g.state.Streams[i].Counts), sum(g.state.Streams[i].Block)
	}
	return nil
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Strongest returns the component with the most evidence in the present window, in whole bits.
func (g *Game) Strongest() (name string, evidence int64) {
	type part struct {
		name     string
		evidence int64
	}
	var all []part
	for _, s := range g.state.Streams {
		all = append(all, part{s.Name, s.Evidence})
	}
	for _, b := range g.state.Bets {
		all = append(all, part{b.Name, b.Evidence})
	}
	best := slices.MaxFunc(all, func(a, b part) int { return cmp.Compare(a.evidence, b.evidence) })
	return best.name, int64(math.Floor(float64(best.evidence) / one))
}
