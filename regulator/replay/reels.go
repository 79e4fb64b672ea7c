package replay

import (
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/money"
)

// Round is a round as the player saw it.
type Round struct {
	Game    string // as shown to players
	Stake   money.Money
	Payout  money.Money
	Capped  bool
	Spins   []Spin
	Release string
}

// Spin is one spin as the player saw it.
type Spin struct {
	Free       bool
	Multiplier int64
	Cells      [3][5]Cell // rows from the top, reels from the left
	Wins       []Win
	Scatters   int
	ScatterPay money.Money
	Awarded    int // free spins
	Pay        money.Money
}

// Cell is a place in the window.
type Cell struct {
	Symbol string
	Lit    bool // part of a win
}

// Win is what one line paid.
type Win struct {
	Line, Count int
	Symbol      string
	Pay         money.Money
}

// shown makes a round visible.
func shown(d *slots.Definition, played *slots.Round, s *rounds.Settled) *Round {
	in := func(amount int64) money.Money { return money.Money{Amount: amount, Currency: s.Stake.Currency} }
	scatter := ""
	for _, symbol := range d.Symbols {
		if symbol.Role == slots.RoleScatter {
			scatter = symbol.Name
		}
	}
	r := &Round{Game: d.Name, Release: d.Version, Stake: s.Stake, Payout: in(played.Payout), Capped: played.Capped}
	for i := range played.Spins {
		p := &played.Spins[i]
		spin := Spin{Free: p.Free, Multiplier: p.Multiplier, Scatters: p.Scatters, ScatterPay: in(p.ScatterPay), Awarded: p.Awarded, Pay: in(p.Pay)}
		strips := &d.Base
		if p.Free {
			strips = &d.Free
		}
		for reel, stop := range p.Stops {
			strip := strips[reel]
			for row := range spin.Cells {
				name := strip[(int(stop)+row)%len(strip)]
				spin.Cells[row][reel] = Cell{Symbol: name, Lit: name == scatter && (p.ScatterPay > 0 || p.Awarded > 0)}
			}
		}
		for _, w := range p.Wins {
			spin.Wins = append(spin.Wins, Win{Line: w.Line, Count: w.Count, Symbol: w.Symbol, Pay: in(w.Pay)})
			for reel := range w.Count {
				spin.Cells[d.Lines[w.Line-1][reel]][reel].Lit = true
			}
		}
		r.Spins = append(r.Spins, spin)
	}
	return r
}
