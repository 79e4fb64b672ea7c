// Package rounds is the book of games and their rounds: which definition of a
// game is enabled, and for each player and game the gap-free round numbers.
package rounds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// Refusals.
var (
	ErrUnknownGame  = errors.New("unknown game")
	ErrGameDisabled = errors.New("game is disabled")
)

// GameEnabled puts a game into play ("game.enabled"): the whole definition, its
// hash, and what was proven of its worst case. Nothing else is needed to
// recompute an outcome.
type GameEnabled struct {
	entry.Header
	Definition []byte // canonical JSON
	Engine     string // "slots"
	Game       string
	LeafMax    uint64   // bytes of the longest round.settled
	Maths      [32]byte // SHA-256 of the definition
	PayoutMax  int64    // minor units, at the largest stake
	Reason     [32]byte // entry.Commitment to the operator's words
	Release    string   // version of the definition
}

// Type is "game.enabled".
func (*GameEnabled) Type() string { return "game.enabled" }

// Code visits the members.
func (r *GameEnabled) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Raw("definition", &r.Definition)
	c.Text("engine", &r.Engine, 32)
	c.Fingerprint(&r.Header)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Uint("leaf_max", &r.LeafMax)
	c.Hex("maths", r.Maths[:])
	c.Int("payout_max", &r.PayoutMax)
	c.Hex("reason", r.Reason[:])
	c.Text("release", &r.Release, 32)
	c.Is("type", r.Type())
}

// GameDisabled takes a game out of play ("game.disabled").
type GameDisabled struct {
	entry.Header
	Game   string
	Reason [32]byte // entry.Commitment to the operator's words
}

// Type is "game.disabled".
func (*GameDisabled) Type() string { return "game.disabled" }

// Code visits the members.
func (r *GameDisabled) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("reason", r.Reason[:])
	c.Is("type", r.Type())
}

// Drawn is one integer that a game drew: a value below its range.
type Drawn struct{ Range, Value uint32 }

// Draw says where a round's chance came from.
type Draw struct {
	Epoch  uint64
	N      uint64   // the player's round number at the game, from 1
	Number uint64   // the draw's number in its epoch, from 1
	R      [32]byte // the draw value, from which the integers follow
	Step   uint64   // of the round, from 0
	Values []Drawn  // every integer drawn, in order
}

// MaxDrawn bounds the integers of one draw.
const MaxDrawn = 4096

// Code visits the members.
func (d *Draw) Code(c *entry.Coder) {
	c.Uint("epoch", &d.Epoch)
	c.Uint("n", &d.N)
	c.Uint("number", &d.Number)
	c.Hex("r", d.R[:])
	c.Uint("step", &d.Step)
	entry.List(c, "values", &d.Values, MaxDrawn, func(c *entry.Coder, v *Drawn) { c.Pair("", &v.Range, &v.Value) })
}

// Settled is a whole round that asked the player for nothing but the stake:
// wager, draw, outcome and payout in one entry ("round.settled"). The round's
// id is the entry's; the actor is the session. The postings are the round's
// result, payout less stake, moved from the game's hold to the player.
type Settled struct {
	entry.Header
	Draw     Draw
	Enabled  uint64 // index of the game.enabled entry whose definition was in force
	Game     string
	Outcome  []byte // canonical JSON, of the game's form
	Payout   money.Money
	Player   entry.Ref
	Postings []money.Posting
	Stake    money.Money
}

// Type is "round.settled".
func (*Settled) Type() string { return "round.settled" }

// Code visits the members.
func (r *Settled) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Object("draw")
	r.Draw.Code(c)
	c.End()
	c.Uint("enabled", &r.Enabled)
	c.Fingerprint(&r.Header)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Raw("outcome", &r.Outcome)
	c.Money("payout", &r.Payout)
	c.Hex("player", r.Player[:])
	c.Postings("postings", &r.Postings)
	c.Money("stake", &r.Stake)
	c.Is("type", r.Type())
}

// LeafMax is the length of the longest round.settled entry of a game whose
// rounds draw at most so many integers and whose outcome is at most so long.
// It is computed by writing one with every member at its longest.
func LeafMax(game string, drawsMost, outcomeMost int) (uint64, error) {
	id := entry.NewUUID([16]byte{})
	most := money.Money{Amount: money.Max, Currency: "EUR"}
	least := money.Posting{Amount: -money.Max, Balance: -money.Max, Currency: "EUR"}
	hold, cash := least, least
	hold.Account, cash.Account = "house/games/"+game, "player/"+entry.Ref{}.String()+"/cash"
	r := &Settled{
		Header:  entry.Header{Actor: "session/" + id.String(), ID: id, Request: entry.Request{Key: [32]byte{1}}},
		Draw:    Draw{Epoch: money.Max, N: money.Max, Number: money.Max, Step: money.Max},
		Enabled: money.Max, Game: game, Outcome: bytes.Repeat([]byte("0"), max(outcomeMost, 1)),
		Payout: most, Stake: most, Postings: []money.Posting{hold, cash},
	}
	for range drawsMost {
		r.Draw.Values = append(r.Draw.Values, Drawn{Range: 1<<32 - 1, Value: 1<<32 - 1})
	}
	leaf, err := entry.Append(nil, r)
	return uint64(len(leaf)), err
}

// Game is the row of a game.
type Game struct {
	Enabled uint64   // index of the latest game.enabled entry
	Maths   [32]byte // hash of its definition
	On      bool
}

// Code visits the members.
func (g *Game) Code(c *entry.Coder) {
	c.Uint("enabled", &g.Enabled)
	c.Hex("maths", g.Maths[:])
	c.Bool("on", &g.On)
}

// Release is the row of a release of a game: it has one definition for ever,
// since a certificate names no more than the release.
type Release struct{ Maths [32]byte }

// Code visits the members.
func (r *Release) Code(c *entry.Coder) { c.Hex("maths", r.Maths[:]) }

// Games is the row that lists the games that were ever enabled, in that order.
type Games struct{ IDs []string }

// Code visits the members.
func (g *Games) Code(c *entry.Coder) {
	entry.List(c, "ids", &g.IDs, GamesMost, func(c *entry.Coder, id *string) { c.Text("", id, 32) })
}

// GamesMost is how many games a house can have.
const GamesMost = 1024

// Count is the row of a player at a game.
type Count struct {
	Last uint64 // index of the latest round's entry
	N    uint64 // rounds so far
}

// Code visits the members.
func (n *Count) Code(c *entry.Coder) {
	c.Uint("last", &n.Last)
	c.Uint("n", &n.N)
}

// GameKey is the key of a game's row.
func GameKey(game string) string { return "game/" + game }

// ReleaseKey is the key of the row of a game's release.
func ReleaseKey(game, release string) string { return "release/" + game + "/" + release }

// GamesKey is the key of the row Games.
const GamesKey = "games"

// CountKey is the key of the row of a player at a game.
func CountKey(player entry.Ref, game string) string {
	return string(appendCountKey(make([]byte, 0, 72), player, game))
}

func appendCountKey(dst []byte, player entry.Ref, game string) []byte {
	dst = player.Append(append(dst, "round/"...))
	return append(append(dst, '/'), game...)
}

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	"game":    func() book.Row { return new(Game) },
	"games":   func() book.Row { return new(Games) },
	"release": func() book.Row { return new(Release) },
	"round":   func() book.Row { return new(Count) },
}

// Playable returns the row of a game that is enabled.
func Playable(rows book.Reader, game string) (*Game, error) {
	g := book.Find[Game](rows, append(append(make([]byte, 0, 40), "game/"...), game...))
	switch {
	case g == nil:
		return nil, ErrUnknownGame
	case !g.On:
		return nil, ErrGameDisabled
	}
	return g, nil
}

// Next returns the player's next round number at a game.
func Next(rows book.Reader, player entry.Ref, game string) uint64 {
	if c := book.Get[Count](rows, CountKey(player, game)); c != nil {
		return c.N + 1
	}
	return 1
}

// Result is what the round moves from the game's hold to the player: payout
// less stake.
func (r *Settled) Result() money.Money {
	return money.Money{Amount: r.Payout.Amount - r.Stake.Amount, Currency: r.Stake.Currency}
}

// Balance is the player's balance after the round in minor units, as his client
// shows it.
func (r *Settled) Balance() int64 {
	for i := range r.Postings {
		if p := &r.Postings[i]; strings.HasPrefix(p.Account, "player/") {
			return p.Balance
		}
	}
	return 0
}

// Fold applies an entry of this package. Postings and draw numbers belong to
// the books of money and seeds; that the outcome follows from the draw is for
// those who hold the game's maths.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *GameEnabled:
		g := book.Get[Game](rows, GameKey(r.Game))
		if g != nil && g.On {
			return book.Broken("game-state", "a game that is not enabled yet", r.Game)
		}
		if hash := sha256.Sum256(r.Definition); hash != r.Maths {
			return book.Broken("game-maths", hex.EncodeToString(hash[:])+", the hash of the definition", hex.EncodeToString(r.Maths[:]))
		}
		release := ReleaseKey(r.Game, r.Release)
		if was := book.Get[Release](rows, release); was != nil && was.Maths != r.Maths {
			return book.Broken("game-release", hex.EncodeToString(was.Maths[:])+", as release "+r.Release+" was enabled before", hex.EncodeToString(r.Maths[:]))
		}
		if g == nil {
			all := book.Get[Games](rows, GamesKey)
			if all == nil {
				all = new(Games)
			}
			if len(all.IDs) == GamesMost {
				return book.Broken("games-most", "at most "+strconv.Itoa(GamesMost)+" games", r.Game)
			}
			rows.Put(GamesKey, &Games{IDs: append(slices.Clone(all.IDs), r.Game)})
		}
		rows.Put(release, &Release{Maths: r.Maths})
		rows.Put(GameKey(r.Game), &Game{Enabled: index, Maths: r.Maths, On: true})
	case *GameDisabled:
		g, err := Playable(rows, r.Game)
		if err != nil {
			return book.Broken("game-state", "a game that is enabled", err)
		}
		rows.Put(GameKey(r.Game), &Game{Enabled: g.Enabled, Maths: g.Maths})
	case *Settled:
		g, err := Playable(rows, r.Game)
		if err != nil {
			return book.Broken("game-enabled", "an enabled game", r.Game+": "+err.Error())
		}
		if r.Enabled != g.Enabled {
			return book.Broken("game-definition", "the definition of entry "+strconv.FormatUint(g.Enabled, 10), r.Enabled)
		}
		key, n := appendCountKey(make([]byte, 0, 72), r.Player, r.Game), uint64(1)
		if c := book.Find[Count](rows, key); c != nil {
			n = c.N + 1
		}
		if r.Draw.N != n {
			return book.Broken("round-number", n, r.Draw.N)
		}
		if r.Draw.Step != 0 {
			return book.Broken("round-step", 0, r.Draw.Step)
		}
		if r.Stake.Amount <= 0 || r.Payout.Amount < 0 || r.Stake.Currency != r.Payout.Currency {
			return book.Broken("stake-and-payout", "a positive stake and a payout not below zero in one currency", r.Stake.String()+", "+r.Payout.String())
		}
		book.Put(rows, key, &Count{Last: index, N: n})
	}
	return nil
}
