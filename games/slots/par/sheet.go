// Package par works out a slot's par sheet: exactly, by enumerating every
// combination of stops and every course of the free spins in integer
// arithmetic, and as a check by simulation.
//
// Nothing in a Sheet is an estimate and no floating-point number enters it;
// decimals are made when it is printed. The lines are evaluated here by other
// code than the machine plays them with.
package par

import (
	"context"
	"errors"
	"math/big"
	"sync"

	"countroom/games/slots"
)

// ErrTooLarge is returned for a definition whose exact distribution does not
// fit in memory. Coarser pays or a lower limit make it smaller.
var ErrTooLarge = errors.New("par: exact distribution too large")

// maxBytes limits the size of a distribution, estimated at 8 bytes a spin for
// each payout.
const maxBytes = 8 << 20

// Sheet is the exact mathematics of a slot. Returns and payouts are in total
// stakes, and hold at each stake alike.
type Sheet struct {
	Definition *slots.Definition
	Hash       [32]byte // of the canonical definition

	Base, Free SpinSheet

	// Return to player, and the parts it is the sum of: lines and scatters of the
	// base spin, free spins as if the payout had no limit, less what the limit
	// cuts off.
	Return, BaseLines, BaseScatters, FreeSpins, CutOff *big.Rat

	Hit           *big.Rat // probability that a round pays
	Trigger       *big.Rat // probability that a round has free spins
	MeanFreeSpins *big.Rat // of a round, as if the payout had no limit
	Variance      *big.Rat // of a round's payout
	Capped        *big.Rat // probability that a round reaches the greatest payout

	Payouts []Payout // ascending; their probabilities add up to 1
}

// SpinSheet is the mathematics of one spin on one set of strips.
type SpinSheet struct {
	Cycle    uint64        // combinations of stops, all equally likely
	Paying   uint64        // of them, those that pay
	Top      uint64        // of them, those where a line pays the paytable's greatest line pay
	Scatters [16]uint64    // combinations by scatters in view
	Hits     [][5]*big.Int // line wins over the cycle and all lines, by symbol and count-1
	Lines    *big.Rat      // mean line pay, multiplier included
	Scatter  *big.Rat      // mean scatter pay, multiplier included
}

// Payout is one possible payout of a round and its probability.
type Payout struct {
	Stakes      *big.Rat
	Probability *big.Rat
}

// Compute works out the sheet of a machine. It calls progress, if not nil, one
// call at a time, with the share done so far. The context is looked at now and
// then, at the least for each stop of reel 1.
func Compute(ctx context.Context, m *slots.Machine, progress func(done, total uint64)) (*Sheet, error) {
	def := m.Definition()
	r := newRules(def)
	baseCycle, freeCycle := cycle(&def.Base), cycle(&def.Free)

	// The convolution is counted as much as the enumeration.
	total := 2 * (baseCycle + freeCycle)
	count := counter{total: total, report: progress}

	base, err := enumerate(ctx, r, &def.Base, count.add)
	if err != nil {
		return nil, err
	}
	free, err := enumerate(ctx, r, &def.Free, count.add)
	if err != nil {
		return nil, err
	}
	s := &Sheet{Definition: def, Hash: def.Hash()}
	s.Base = r.spinSheet(&def.Base, base, 1)
	s.Free = r.spinSheet(&def.Free, free, def.FreeSpins.Multiplier)

	d, err := convolve(ctx, r, base, free, func(done, of int) {
		count.add(total / 2 * uint64(done) / uint64(of))
	})
	if err != nil {
		return nil, err
	}
	s.rounds(r, d)
	s.parts(r, base, free)
	count.add(total - count.done)
	return s, nil
}

// counter adds up progress and reports it.
type counter struct {
	mu          sync.Mutex
	done, total uint64
	report      func(done, total uint64)
}

func (c *counter) add(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	if c.report != nil {
		c.report(c.done, c.total)
	}
}

func (r *rules) spinSheet(strips *[5][]string, results map[result]uint64, multiplier int64) SpinSheet {
	s := SpinSheet{Cycle: cycle(strips), Hits: r.hits(strips)}
	lines, scatter := new(big.Int), new(big.Int)
	for x, n := range results {
		if r.total(x) > 0 {
			s.Paying += n
		}
		if x.top {
			s.Top += n
		}
		s.Scatters[x.scatters] += n
		addTimes(lines, n, x.lines*multiplier)
		addTimes(scatter, n, r.scatterPay(x.scatters)*multiplier)
	}
	ways := new(big.Int).SetUint64(s.Cycle)
	s.Scatter = new(big.Rat).SetFrac(scatter, ways)
	s.Lines = new(big.Rat).SetFrac(lines, new(big.Int).Mul(ways, big.NewInt(int64(len(r.def.Lines)))))
	return s
}

// hits counts the line wins over the cycle. Since each line crosses each reel
// once and all stops are equally likely, every line wins as often as any other,
// and one line is a matter of how often each symbol is on each strip.
func (r *rules) hits(strips *[5][]string) [][5]*big.Int {
	table := make([][5]*big.Int, len(r.def.Symbols))
	for i := range table {
		for n := range table[i] {
			table[i][n] = new(big.Int)
		}
	}
	var frequency [5][16]uint64
	for reel, strip := range strips {
		for _, name := range strip {
			frequency[reel][r.index[name]]++
		}
	}
	rest := cycle(strips) // combinations of the reels still to come
	runs := map[run]uint64{{}: uint64(len(r.def.Lines))}
	for reel := range frequency {
		rest /= uint64(len(strips[reel]))
		next := make(map[run]uint64)
		for s, ways := range runs {
			for symbol := range r.def.Symbols {
				n := ways * frequency[reel][symbol]
				to, ended, h := r.step(s, reel, uint8(symbol))
				switch {
				case !ended:
					next[to] += n
				case r.pay(h) > 0:
					cell := table[h.symbol][h.count-1]
					cell.Add(cell, new(big.Int).SetUint64(n*rest))
				}
			}
		}
		runs = next
	}
	return table
}

// rounds fills in what follows from the distribution of a round's payout.
func (s *Sheet) rounds(r *rules, d *distribution) {
	missing := new(big.Int).Set(d.ways)
	sum, squares := new(big.Int), new(big.Int)
	step := big.NewRat(d.unit, int64(len(r.def.Lines)))
	add := func(steps int64, ways *big.Int) {
		if ways.Sign() == 0 {
			return
		}
		n := big.NewInt(steps)
		term := new(big.Int).Mul(n, ways)
		sum.Add(sum, term)
		squares.Add(squares, term.Mul(term, n))
		s.Payouts = append(s.Payouts, Payout{
			Stakes:      new(big.Rat).Mul(step, new(big.Rat).SetInt(n)),
			Probability: new(big.Rat).SetFrac(ways, d.ways),
		})
	}
	for i, ways := range d.below {
		missing.Sub(missing, ways)
		add(int64(i), ways)
	}
	add(int64(len(d.below)), missing)

	s.Capped = new(big.Rat).SetFrac(missing, d.ways)
	s.Hit = new(big.Rat).SetFrac(new(big.Int).Sub(d.ways, d.below[0]), d.ways)
	mean := new(big.Rat).SetFrac(sum, d.ways)
	s.Return = new(big.Rat).Mul(mean, step)
	s.Variance = new(big.Rat).SetFrac(squares, d.ways)
	s.Variance.Sub(s.Variance, mean.Mul(mean, mean))
	s.Variance.Mul(s.Variance, step).Mul(s.Variance, step)
}

// parts splits the return. Without a limit on the payout the free spins return
// their mean number times the mean pay of one: whether another is played never
// depends on those to come.
func (s *Sheet) parts(r *rules, base, free map[result]uint64) {
	s.BaseLines, s.BaseScatters = s.Base.Lines, s.Base.Scatter
	maximum := r.def.FreeSpins.Maximum

	// awarded[n] is the probability that n free spins are awarded so far.
	spread := func(results map[result]uint64, cycle uint64) map[int]*big.Rat {
		p := make(map[int]*big.Rat)
		for x, n := range results {
			a := r.award(x.scatters)
			if p[a] == nil {
				p[a] = new(big.Rat)
			}
			p[a].Add(p[a], ratio(n, cycle))
		}
		return p
	}
	awarded := spread(base, s.Base.Cycle)
	more := spread(free, s.Free.Cycle)
	s.Trigger = big.NewRat(1, 1)
	if none := awarded[0]; none != nil {
		s.Trigger.Sub(s.Trigger, none)
	}
	s.MeanFreeSpins = new(big.Rat)
	for played := range maximum {
		next := make(map[int]*big.Rat)
		for n, p := range awarded {
			if n <= played {
				continue
			}
			s.MeanFreeSpins.Add(s.MeanFreeSpins, p)
			for a, q := range more {
				to := min(n+a, maximum)
				if next[to] == nil {
					next[to] = new(big.Rat)
				}
				next[to].Add(next[to], new(big.Rat).Mul(p, q))
			}
		}
		awarded = next
	}
	mean := new(big.Rat).Add(s.Free.Lines, s.Free.Scatter)
	s.FreeSpins = mean.Mul(mean, s.MeanFreeSpins)

	s.CutOff = new(big.Rat).Add(s.BaseLines, s.BaseScatters)
	s.CutOff.Add(s.CutOff, s.FreeSpins).Sub(s.CutOff, s.Return)
}

// addTimes adds n*pay to sum.
func addTimes(sum *big.Int, n uint64, pay int64) {
	term := new(big.Int).SetUint64(n)
	sum.Add(sum, term.Mul(term, big.NewInt(pay)))
}

// ratio is a/b.
func ratio(a, b uint64) *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(a), new(big.Int).SetUint64(b))
}
