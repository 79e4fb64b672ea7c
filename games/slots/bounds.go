package slots

import (
	"math/bits"
	"slices"
)

func (m *Machine) computeBounds() Bounds {
	b := Bounds{
		Spins:  m.mostSpins(),
		Wins:   max(m.base.mostWins(), m.free.mostWins()),
		Payout: m.def.MaxWin * m.def.Stakes[len(m.def.Stakes)-1],
	}
	b.Draws = 5 * b.Spins
	b.Bytes = len(m.AppendOutcome(nil, m.longest(b)))
	return b
}

// longest returns a round that no real one is longer than in writing: in every
// spin each number is the greatest possible, whether or not they go together.
func (m *Machine) longest(b Bounds) *Round {
	stake := m.def.Stakes[len(m.def.Stakes)-1]
	win := Win{Line: len(m.lines), Count: 5}
	for i, s := range m.def.Symbols {
		if len(s.Name) > len(win.Symbol) {
			win.Symbol = s.Name
		}
		if uint8(i) != m.scatter {
			win.Pay = max(win.Pay, s.Pays[4]*stake/int64(len(m.lines))*m.def.FreeSpins.Multiplier)
		}
	}
	scatterPay := m.pays[m.scatter][5] * stake * m.def.FreeSpins.Multiplier
	spin := Spin{
		Awarded:  m.def.FreeSpins.Maximum,
		Pay:      int64(b.Wins)*win.Pay + scatterPay,
		Scatters: 15,
		Wins:     slices.Repeat([]Win{win}, b.Wins),
	}
	for reel := range spin.Stops {
		spin.Stops[reel] = uint16(max(len(m.base[reel]), len(m.free[reel])) - 1)
	}
	return &Round{Spins: slices.Repeat([]Spin{spin}, b.Spins)}
}

// mostSpins returns the most spins of a round. It follows every total of free
// spins that a round can come to, as the scatters on the strips allow.
func (m *Machine) mostSpins() int {
	base, free := m.base.scatterCounts(), m.free.scatterCounts()
	maximum := m.def.FreeSpins.Maximum
	var reached [maxFreeSpins + 1]bool
	for n, possible := range base {
		if possible {
			reached[min(m.award(n), maximum)] = true
		}
	}
	for total := 1; total <= maximum; total++ {
		for n, possible := range free {
			if reached[total] && possible {
				reached[min(total+m.award(n), maximum)] = true
			}
		}
	}
	spins := 0
	for total, ok := range reached {
		if ok {
			spins = 1 + total
		}
	}
	return spins
}

// scatterCounts tells which numbers of scatters in view can come up.
func (r *reels) scatterCounts() (possible [16]bool) {
	possible[0] = true
	for _, strip := range r {
		var next [16]bool
		for n, ok := range possible {
			for i := range strip {
				if ok {
					next[n+int(strip[i].scatters)] = true
				}
			}
		}
		possible = next
	}
	return possible
}

// mostWins returns the most lines that win in one spin. Whether a line wins is
// decided by at most three reels in games without longer shortest runs; for
// others the figure is an upper bound.
func (r *reels) mostWins() int {
	most := 0
	for i := range r[0] {
		for j := range r[1] {
			for k := range r[2] {
				var alive uint64
				for s := range r[0][i].alive {
					alive |= r[0][i].alive[s] & r[1][j].alive[s] & r[2][k].alive[s]
				}
				most = max(most, bits.OnesCount32(uint32(alive)|uint32(alive>>32)))
			}
		}
	}
	return most
}
