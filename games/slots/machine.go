package slots

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"countroom/games"
)

var (
	// ErrStake is returned for a stake the game does not offer.
	ErrStake = errors.New("slots: stake not offered")
	// ErrDraw is returned when the draws hand out an integer beyond the range
	// asked for, which only a false record can do.
	ErrDraw = errors.New("slots: draw out of range")
)

// Machine plays a definition. It is safe for concurrent use.
type Machine struct {
	def  *Definition
	base reels
	free reels

	symbols [maxSymbols]string
	pays    [maxSymbols][6]int64 // by count, in line bets; the scatter's in total stakes
	lines   [][5]uint8           // row per reel
	wild    uint8
	scatter uint8
	bounds  Bounds

	shown [2][5][]string // base and free: by reel and stop, in JSON
}

// reels are five strips compiled.
type reels [5][]stop

// stop is what one reel shows at one stop.
type stop struct {
	// alive has bit l set for symbol s when this reel does not rule out that line
	// l pays for a run of s. A line set in some symbol's masks of all five reels
	// pays; hardly any line of a losing spin is ever looked at symbol by symbol.
	// Two symbols share a word.
	alive    [maxSymbols / 2]uint64
	window   [3]uint8 // symbols from the top
	scatters uint8
}

// Compile checks a definition and prepares it for play.
func Compile(d *Definition) (*Machine, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	m := &Machine{def: d}
	index := make(map[string]uint8, len(d.Symbols))
	for i, s := range d.Symbols {
		index[s.Name] = uint8(i)
		m.symbols[i] = s.Name
		copy(m.pays[i][1:], s.Pays[:])
		switch s.Role {
		case RoleWild:
			m.wild = uint8(i)
		case RoleScatter:
			m.scatter = uint8(i)
		}
	}
	for _, line := range d.Lines {
		var rows [5]uint8
		for reel, row := range line {
			rows[reel] = uint8(row)
		}
		m.lines = append(m.lines, rows)
	}
	m.base = m.compileReels(&d.Base, index)
	m.free = m.compileReels(&d.Free, index)
	m.bounds = m.computeBounds()
	for reel := range d.Base {
		m.shown[0][reel], m.shown[1][reel] = shown(d.Base[reel]), shown(d.Free[reel])
	}
	return m, nil
}

func (m *Machine) compileReels(strips *[5][]string, index map[string]uint8) (r reels) {
	for reel, strip := range strips {
		r[reel] = make([]stop, len(strip))
		for at := range strip {
			s := &r[reel][at]
			for row := range s.window {
				symbol := index[strip[(at+row)%len(strip)]]
				s.window[row] = symbol
				if symbol == m.scatter {
					s.scatters++
				}
			}
			for symbol := range uint8(len(m.def.Symbols)) {
				s.alive[symbol/2] |= uint64(m.alive(symbol, reel, &s.window)) << (32 * (symbol % 2))
			}
		}
	}
	return r
}

// alive returns the lines that can pay for a run of the symbol, as far as one
// reel tells: those whose cell continues the run, or all if the shortest run
// that pays ends before this reel, or none if no run pays.
func (m *Machine) alive(symbol uint8, reel int, window *[3]uint8) (mask uint32) {
	shortest := slices.IndexFunc(m.pays[symbol][:], func(pay int64) bool { return pay > 0 })
	if symbol == m.scatter || shortest < 0 {
		return 0
	}
	for l, rows := range m.lines {
		cell := window[rows[reel]]
		if reel >= shortest || cell == symbol || cell == m.wild {
			mask |= 1 << l
		}
	}
	return mask
}

// Definition returns what the machine plays. It must not be changed.
func (m *Machine) Definition() *Definition { return m.def }

// Play plays one round at a total stake in minor units and leaves it in out,
// whose memory it reuses. After an error the content of out means nothing.
func (m *Machine) Play(d games.Draws, stake int64, out *Round) error {
	if !slices.Contains(m.def.Stakes, stake) {
		return fmt.Errorf("%w: %d, one of %d expected", ErrStake, stake, m.def.Stakes)
	}
	limit := m.def.MaxWin * stake
	out.Spins, out.Payout, out.Capped = out.Spins[:0], 0, false
	if err := m.spin(d, stake, false, out); err != nil {
		return err
	}
	awarded := 0
	for played := 0; ; played++ {
		s := &out.Spins[played]
		out.Payout += s.Pay
		s.Awarded = min(m.award(s.Scatters), m.def.FreeSpins.Maximum-awarded)
		awarded += s.Awarded
		if out.Payout >= limit {
			out.Payout, out.Capped = limit, true
			return nil
		}
		if played == awarded {
			return nil
		}
		if err := m.spin(d, stake, true, out); err != nil {
			return err
		}
	}
}

// award returns the free spins for a number of scatters in view.
func (m *Machine) award(scatters int) int {
	if scatters == 0 {
		return 0
	}
	return m.def.FreeSpins.Awards[min(scatters, 5)-1]
}

// spin adds one spin to the round, all but the free spins it awards.
func (m *Machine) spin(d games.Draws, stake int64, free bool, out *Round) error {
	if len(out.Spins) < cap(out.Spins) {
		out.Spins = out.Spins[:len(out.Spins)+1] // with the wins' memory of an earlier round
	} else {
		out.Spins = append(out.Spins, Spin{})
	}
	s := &out.Spins[len(out.Spins)-1]
	s.Free, s.Multiplier, s.Wins = free, 1, s.Wins[:0]
	reels := &m.base
	if free {
		s.Multiplier = m.def.FreeSpins.Multiplier
		reels = &m.free
	}

	var shown [5]*stop
	scatters := 0
	for reel, strip := range reels {
		n := uint32(len(strip))
		v := d.Int(n)
		if v >= n {
			return fmt.Errorf("%w: %d for reel %d, below %d expected", ErrDraw, v, reel+1, n)
		}
		s.Stops[reel] = uint16(v)
		shown[reel] = &strip[v]
		scatters += int(shown[reel].scatters)
	}
	s.Scatters = scatters
	s.ScatterPay = m.pays[m.scatter][min(scatters, 5)] * stake * s.Multiplier
	s.Pay = s.ScatterPay

	var alive uint64
	for i := range shown[0].alive {
		alive |= shown[0].alive[i] & shown[1].alive[i] & shown[2].alive[i] & shown[3].alive[i] & shown[4].alive[i]
	}
	winning := uint32(alive) | uint32(alive>>32)
	lineBet := stake / int64(len(m.lines)) * s.Multiplier
	for ; winning != 0; winning &= winning - 1 {
		l := bits.TrailingZeros32(winning)
		rows := &m.lines[l]
		symbol, count := m.best([5]uint8{
			shown[0].window[rows[0]], shown[1].window[rows[1]], shown[2].window[rows[2]],
			shown[3].window[rows[3]], shown[4].window[rows[4]],
		})
		// Wilds before a scatter keep alive runs that then do not come about.
		if pay := m.pays[symbol][count] * lineBet; pay > 0 {
			s.Pay += pay
			s.Wins = append(s.Wins, Win{Line: l + 1, Symbol: m.symbols[symbol], Count: count, Pay: pay})
		}
	}
	return nil
}

// best returns the symbol and count of a line's best single win.
func (m *Machine) best(cells [5]uint8) (symbol uint8, count int) {
	wilds := 0
	for wilds < 5 && cells[wilds] == m.wild {
		wilds++
	}
	if wilds == 5 || cells[wilds] == m.scatter {
		return m.wild, wilds
	}
	symbol, count = cells[wilds], wilds+1
	for count < 5 && (cells[count] == symbol || cells[count] == m.wild) {
		count++
	}
	if m.pays[m.wild][wilds] > m.pays[symbol][count] {
		return m.wild, wilds
	}
	return symbol, count
}

// Grid returns the symbols that the player sees at the stops, by row from the
// top and reel from the left.
func (m *Machine) Grid(stops [5]uint16, free bool) (grid [3][5]string, err error) {
	reels := &m.base
	if free {
		reels = &m.free
	}
	for reel, strip := range reels {
		at := int(stops[reel])
		if at >= len(strip) {
			return grid, fmt.Errorf("%w: stop %d on reel %d, below %d expected", ErrDraw, at, reel+1, len(strip))
		}
		for row, symbol := range strip[at].window {
			grid[row][reel] = m.symbols[symbol]
		}
	}
	return grid, nil
}

// Bounds returns the limits of any round, computed from the definition.
func (m *Machine) Bounds() Bounds { return m.bounds }
