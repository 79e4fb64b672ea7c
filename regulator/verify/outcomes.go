package verify

import (
	"countroom/games/rounds"
	"countroom/rngcert/chance"
)

// Outcomes recomputes rounds from their draw values, for whoever reads a part of a log.
type Outcomes struct {
	games  *machines
	player player
}

// NewOutcomes returns one that knows no game.
func NewOutcomes() *Outcomes { return &Outcomes{games: new(machines)} }

// Another returns one for another goroutine, which knows the same games.
func (o *Outcomes) Another() *Outcomes { return &Outcomes{games: o.games} }

// Enable takes the definition that a game.enabled entry puts into play, and returns what is wrong with it, or nil.
func (o *Outcomes) Enable(index uint64, r *rounds.GameEnabled) (found *Finding) {
	g := compile(r, first(&found, index, r.Type()))
	if g != nil {
		o.games.m.Store(index, g)
	}
	return found
}

// Round holds a round against its definition: known reports whether that was enabled.
func (o *Outcomes) Round(index uint64, r *rounds.Settled) (known bool, found *Finding) {
	known, _ = o.player.round(o.games, r, first(&found, index, r.Type()))
	return known, found
}

// Draw recomputes the draw value of a round whose game is known.
func (o *Outcomes) Draw(d *chance.Drawer, r *rounds.Settled, nonce []byte) [32]byte {
	g := o.games.get(r.Enabled)
	if g == nil {
		return [32]byte{}
	}
	return d.Draw(g.id, g.release, r.Player, r.Draw.N, 0, nonce)
}

// first keeps the first broken rule.
func first(into **Finding, index uint64, typ string) func(rule, expected, found string) {
	return func(rule, expected, found string) {
		if *into == nil {
			*into = &Finding{Index: index, Type: typ, Rule: rule, Expected: expected, Found: found}
		}
	}
}
