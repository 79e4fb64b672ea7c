package monitor

import (
	"bytes"
	"errors"
	"fmt"

	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
)

// Watch is the monitors of all games of a log. It is told each entry that concerns chance in the order of the log, and knows
// which entries the house owes.
type Watch struct{ games map[string]*watch }

type watch struct {
	game  *Game
	maths [32]byte
	since uint64 // index up to which rounds are counted already
	owed  []owed
}

// owed is an entry that the house has to make, and after how many rounds of the release it came to be owed.
type owed struct {
	record entry.Record
	rounds uint64
	late   bool // it was said already
}

// ErrOwed says that an entry is not the one that the rounds lead to.
var ErrOwed = errors.New("monitor: not what the rounds lead to")

// NewWatch returns a watch over no game.
func NewWatch() *Watch { return &Watch{games: map[string]*watch{}} }

// Enabled begins to watch a game, unless that release is watched already.
func (w *Watch) Enabled(game string, maths [32]byte, d *slots.Definition) {
	if g := w.games[game]; g != nil && g.maths == maths {
		return
	}
	var theory *Theory
	if t, ok := slots.TheoryOf(maths); ok {
		theory = &Theory{ReturnMillionths: t.ReturnMillionths, VarianceMillionths: t.VarianceMillionths}
	}
	w.games[game] = &watch{game: New(d, theory), maths: maths}
}

// Resume goes on from what an entry of the log observed, so that rounds up to that are passed over.
func (w *Watch) Resume(o *Observed) error {
	g := w.games[o.Game]
	if g == nil || g.maths != o.Maths {
		return fmt.Errorf("%w: game %s with maths %x is not watched", ErrState, o.Game, o.Maths)
	}
	g.since = o.Through
	return g.game.Resume(o.State())
}

// Round takes a round of the log.
func (w *Watch) Round(index uint64, r *rounds.Settled) {
	g := w.games[r.Game]
	if g == nil || index <= g.since {
		return
	}
	for _, a := range g.game.Round(index, r.Draw.Values, r.Payout.Amount, r.Stake.Amount) {
		g.owe(&Alarmed{Header: blank, Evidence: a.Evidence, Game: r.Game, Maths: g.maths, Monitor: a.Monitor, Round: a.Round, Rounds: a.Rounds})
	}
	if g.game.Rounds()%ObservedRounds == 0 {
		s := g.game.State()
		g.owe(&Observed{Header: blank, Bets: s.Bets, Game: r.Game, Maths: g.maths, Rounds: s.Rounds, Streams: s.Streams, Through: index})
	}
}

func (g *watch) owe(r entry.Record) {
	g.owed = append(g.owed, owed{record: r, rounds: g.game.Rounds()})
}

// Owed returns the next entry that the house has to make about a game, or nil. Its header, and whether an alarm suspends the
// game, are the house's.
func (w *Watch) Owed(game string) entry.Record {
	if g := w.games[game]; g != nil && len(g.owed) > 0 {
		return g.owed[0].record
	}
	return nil
}

// Late returns, once, an entry that the house should have made by now: it has ObservedRounds further rounds for it.
func (w *Watch) Late(game string) entry.Record {
	g := w.games[game]
	if g == nil || len(g.owed) == 0 || g.owed[0].late || g.game.Rounds() < g.owed[0].rounds+ObservedRounds {
		return nil
	}
	g.owed[0].late = true
	return g.owed[0].record
}

// Games yields the games that are watched, with their monitors.
func (w *Watch) Games(yield func(id string, g *Game) bool) {
	for id, g := range w.games {
		if !yield(id, g.game) {
			return
		}
	}
}

// Take takes an entry that the house made: it must be the one owed next. What is about rounds that were counted before Resume
// is passed over.
func (w *Watch) Take(r entry.Record) error {
	var game string
	var is entry.Record
	before := func(index uint64) bool {
		g := w.games[game]
		return g != nil && g.since > 0 && index <= g.since
	}
	switch r := r.(type) {
	case *Alarmed:
		if game = r.Game; before(r.Round) {
			return nil
		}
		plain := *r
		plain.Header, plain.Suspended = blank, false
		is = &plain
	case *Observed:
		if game = r.Game; before(r.Through) {
			return nil
		}
		plain := *r
		plain.Header = blank
		is = &plain
	default:
		return nil
	}
	found := text(is)
	owed := w.Owed(game)
	if owed == nil {
		return &OwedError{Want: "none", Found: string(found)}
	}
	want := text(owed)
	if owed.Type() == r.Type() { // a false one stands for the true one, so that it is found once
		g := w.games[game]
		g.owed = g.owed[1:]
	}
	if !bytes.Equal(want, found) {
		return &OwedError{Want: string(want), Found: string(found)}
	}
	return nil
}

// OwedError is an ErrOwed with both entries, without their headers' values.
type OwedError struct{ Want, Found string }

func (e *OwedError) Error() string { return ErrOwed.Error() + ": " + e.Found + ", expected " + e.Want }

// Unwrap makes it an ErrOwed.
func (e *OwedError) Unwrap() error { return ErrOwed }

// blank stands for the header, which is the house's.
var blank = entry.Header{Actor: "house", ID: entry.NewUUID([16]byte{})}

// text is the entry's canonical form.
func text(r entry.Record) []byte {
	b, err := entry.AppendObject(nil, r)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
