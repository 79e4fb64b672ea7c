package monitor

import (
	"encoding/hex"
	"strconv"

	"countroom/games/rounds"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Alarmed says that the evidence of a component reached its threshold ("chance.alarmed"). It follows from the rounds up to
// Round, and whoever replays them finds it.
type Alarmed struct {
	entry.Header
	Evidence  uint64 // whole bits
	Game      string
	Maths     [32]byte // of the release
	Monitor   string   // the component
	Round     uint64   // index of the entry at which it did
	Rounds    uint64   // of the release up to there
	Suspended bool     // the game is taken out of play by this entry
}

// Type is "chance.alarmed".
func (*Alarmed) Type() string { return "chance.alarmed" }

// Code visits the members.
func (r *Alarmed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("evidence", &r.Evidence)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Hex("maths", r.Maths[:])
	c.Text("monitor", &r.Monitor, 32)
	c.Uint("round", &r.Round)
	c.Uint("rounds", &r.Rounds)
	c.Bool("suspended", &r.Suspended)
	c.Is("type", r.Type())
}

// Observed writes down what was counted, every ObservedRounds rounds of a release ("chance.observed"). From it a fold can go
// on, and the counts of a whole window stand in the last of its entries.
type Observed struct {
	entry.Header
	Bets    []Bet
	Game    string
	Maths   [32]byte
	Rounds  uint64 // of the release
	Streams []Stream
	Through uint64 // index of the latest round that is counted
}

// Type is "chance.observed".
func (*Observed) Type() string { return "chance.observed" }

// Most of each that an entry has room for.
const (
	betsMost    = 16
	streamsMost = 16
)

// Code visits the members.
func (r *Observed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	entry.List(c, "bets", &r.Bets, betsMost, func(c *entry.Coder, b *Bet) {
		c.Object("")
		c.Bool("alarmed", &b.Alarmed)
		c.Int("evidence", &b.Evidence)
		c.Text("name", &b.Name, 32)
		c.End()
	})
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Hex("maths", r.Maths[:])
	c.Uint("rounds", &r.Rounds)
	entry.List(c, "streams", &r.Streams, streamsMost, func(c *entry.Coder, s *Stream) {
		count := func(c *entry.Coder, n *uint64) { c.Uint("", n) }
		c.Object("")
		c.Bool("alarmed", &s.Alarmed)
		entry.List(c, "block", &s.Block, cellsMost, count)
		entry.List(c, "counts", &s.Counts, cellsMost, count)
		c.Int("evidence", &s.Evidence)
		c.Text("name", &s.Name, 32)
		c.End()
	})
	c.Uint("through", &r.Through)
	c.Is("type", r.Type())
}

// State returns what the entry holds as a state to go on from.
func (r *Observed) State() *State {
	return &State{Rounds: r.Rounds, Window: (max(r.Rounds, 1) - 1) / WindowRounds, Streams: r.Streams, Bets: r.Bets}
}

// Watched is the row of a game's monitor.
type Watched struct {
	Maths    [32]byte // of the release that is watched
	Observed uint64   // index of the latest chance.observed of it, or 0
	Rounds   uint64   // in that entry
	Since    uint64   // index of the game.enabled with which the watch began
	Through  uint64   // in that entry
}

// Code visits the members.
func (w *Watched) Code(c *entry.Coder) {
	c.Hex("maths", w.Maths[:])
	c.Uint("observed", &w.Observed)
	c.Uint("rounds", &w.Rounds)
	c.Uint("since", &w.Since)
	c.Uint("through", &w.Through)
}

// Key is the key of the row of a game's monitor.
func Key(game string) string { return "chance/" + game }

// Kinds are the rows of this book.
var Kinds = book.Kinds{"chance": func() book.Row { return new(Watched) }}

// Fold applies an entry to this book. That alarms and counts are the right ones is for those who hold the rounds
// (Watch). It comes after the fold of package rounds.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *rounds.GameEnabled:
		if w := book.Get[Watched](rows, Key(r.Game)); w == nil || w.Maths != r.Maths {
			rows.Put(Key(r.Game), &Watched{Maths: r.Maths, Since: index})
		}
	case *Observed:
		w, err := watched(rows, r.Game, r.Maths)
		if err != nil {
			return err
		}
		if want := w.Rounds + ObservedRounds; r.Rounds != want {
			return book.Broken("chance-observed", strconv.FormatUint(want, 10)+" rounds", r.Rounds)
		}
		if r.Through >= index || r.Through <= max(w.Since, w.Through) {
			return book.Broken("chance-observed", "a round after entry "+strconv.FormatUint(max(w.Since, w.Through), 10)+" and before this one", r.Through)
		}
		next := *w
		next.Observed, next.Rounds, next.Through = index, r.Rounds, r.Through
		rows.Put(Key(r.Game), &next)
	case *Alarmed:
		if _, err := watched(rows, r.Game, r.Maths); err != nil {
			return err
		}
		if !r.Suspended {
			return nil
		}
		g, err := rounds.Playable(rows, r.Game)
		if err != nil {
			return book.Broken("game-state", "a game that is enabled, to be suspended", err)
		}
		rows.Put(rounds.GameKey(r.Game), &rounds.Game{Enabled: g.Enabled, Maths: g.Maths})
	}
	return nil
}

func watched(rows book.Reader, game string, maths [32]byte) (*Watched, error) {
	w := book.Get[Watched](rows, Key(game))
	if w == nil {
		return nil, book.Broken("chance-game", "a game that was enabled", game)
	}
	if w.Maths != maths {
		return nil, book.Broken("chance-game", hex.EncodeToString(w.Maths[:])+", the maths of "+game, hex.EncodeToString(maths[:]))
	}
	return w, nil
}
