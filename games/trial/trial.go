// Package trial is what a laboratory examines of a house: the entropy sources, the generator, and the integers that
// each game draws. They are drawn by the road that a spin takes: an epoch key from a secret, a draw value for each
// round of each player, its expansion, the game's own mathematics. Only the secrets are the trial's own, so that
// nothing is learnt of the epochs in which money is at stake.
package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"countroom/games/books"
	"countroom/games/slots"
	"countroom/rngcert/chance"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/report"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/sp80090b"
	"countroom/rngcert/verdict"
)

// Size is how much is examined.
type Size struct {
	Samples       int // of each raw source, in bytes
	BitSequences  int // of each source of bits
	BitLength     int // of a sequence, in bits
	GameSequences int // of each game
	GameDraws     int // of a sequence
}

// Default is enough to see in minutes what laboratories look for.
var Default = Size{Samples: sp80090b.Least, BitSequences: 10, BitLength: sp80022.Least, GameSequences: 60, GameDraws: 20_000}

// Source is an entropy source that is read.
type Source struct {
	Name        string
	Conditioned bool
	MinEntropy  float64 // bits in a byte, as declared
	Read        func(p []byte) error
}

// Chance is the house's own: secrets as those of its epochs, and the length of these.
type Chance struct {
	Origin string
	Secret func(context.Context) ([32]byte, error)
	Draws  uint64 // of an epoch
}

// Names in the plan of what is not a source or a game.
const (
	Generator  = "generator HMAC_DRBG"
	DrawValues = "draw values"
)

// Plan makes the laboratory's plan. The context is that of the whole examination.
func Plan(ctx context.Context, size Size, sources []Source, c Chance, games []*slots.Definition) (p laboratory.Plan, err error) {
	p.Rule = verdict.Default
	for _, s := range sources {
		name := report.SourceName(s.Name)
		data := reader(func(b []byte) error { return errors.Join(ctx.Err(), s.Read(b)) })
		if !s.Conditioned {
			p.Raw = append(p.Raw, laboratory.Raw{Name: name, BitsPerSymbol: 8, Declared: s.MinEntropy, Samples: size.Samples, Data: data})
			continue
		}
		p.Bits = append(p.Bits, laboratory.Bits{Name: name, Sequences: size.BitSequences, Length: size.BitLength, Data: data})
	}
	p.Bits = append(p.Bits, laboratory.Bits{Name: Generator, Sequences: size.BitSequences, Length: size.BitLength, Data: words(func() ([32]byte, error) { return c.Secret(ctx) })})
	values := &epochs{ctx: ctx, Chance: c}
	round := uint64(0)
	p.Bits = append(p.Bits, laboratory.Bits{Name: DrawValues, Sequences: size.BitSequences, Length: size.BitLength, Data: words(func() ([32]byte, error) {
		round++
		return values.draw("trial", "1.0.0", player(round), round/players+1)
	})})
	for _, d := range games {
		g, err := game(&epochs{ctx: ctx, Chance: c}, d)
		if err != nil {
			return p, err
		}
		g.Sequences, g.Draws = size.GameSequences, size.GameDraws
		p.Games = append(p.Games, g)
	}
	return p, nil
}

// players take turns in a trial.
const players = 100

func player(round uint64) (ref [16]byte) {
	binary.BigEndian.PutUint64(ref[:], round%players)
	return ref
}

// epochs makes draws, each epoch's number under a key of its own.
type epochs struct {
	Chance
	ctx    context.Context
	number uint64
	left   uint64
	drawer *chance.Drawer
}

func (e *epochs) draw(game, release string, player [16]byte, n uint64) ([32]byte, error) {
	if e.left == 0 {
		secret, err := e.Secret(e.ctx)
		if err != nil {
			return [32]byte{}, err
		}
		salt, err := e.Secret(e.ctx)
		if err != nil {
			return [32]byte{}, err
		}
		if e.drawer != nil {
			e.drawer.Destroy()
		}
		e.number++
		e.drawer = chance.NewDrawer(chance.DeriveKey(secret, chance.Commitment(e.Origin, e.number, secret, salt), nil), e.Origin)
		e.left = e.Draws
	}
	e.left--
	return e.drawer.Draw(game, release, player, n, 0, nil), nil
}

// game plays rounds at all stakes in turn. All integers of a round are examined: those of the strips of free spins
// are drawn by the same call.
func game(e *epochs, d *slots.Definition) (laboratory.Game, error) {
	m, err := slots.Compile(d)
	if err != nil {
		return laboratory.Game{}, fmt.Errorf("game %s: %w", d.ID, err)
	}
	g := laboratory.Game{Name: report.GameName(d.ID, d.Version)}
	for i := range d.Base {
		g.Positions = append(g.Positions, uint32(len(d.Base[i])))
	}
	g.Ranges = slices.Clone(g.Positions)
	for i := range d.Free {
		g.Ranges = append(g.Ranges, uint32(len(d.Free[i])))
	}
	slices.Sort(g.Ranges)
	g.Ranges = slices.Compact(g.Ranges)
	g.Ranges = slices.DeleteFunc(g.Ranges, func(n uint32) bool { return n < 2 }) // a strip of one stop draws nothing
	g.Positions = slices.DeleteFunc(g.Positions, func(n uint32) bool { return n < 2 })
	if len(g.Positions) < len(d.Base) {
		g.Positions = nil // the draws of a round are then not five that can be told apart
	}
	var play books.Play
	round := uint64(0)
	g.Round = func(record []laboratory.Draw) ([]laboratory.Draw, error) {
		round++
		r, err := e.draw(d.ID, d.Version, player(round), round/players+1)
		if err != nil {
			return nil, err
		}
		if err := play.Round(m, r, d.Stakes[round%uint64(len(d.Stakes))]); err != nil {
			return nil, err
		}
		for _, v := range play.Values {
			record = append(record, laboratory.Draw{N: v.Range, V: v.Value})
		}
		return record, nil
	}
	return g, nil
}

// reader makes a reader of what fills bytes.
type reader func(p []byte) error

func (r reader) Read(p []byte) (int, error) {
	if err := r(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// words makes a reader of what gives 32 bytes at a time.
func words(next func() ([32]byte, error)) io.Reader {
	var rest []byte
	return reader(func(p []byte) error {
		for len(p) > 0 {
			if len(rest) == 0 {
				w, err := next()
				if err != nil {
					return err
				}
				rest = w[:]
			}
			n := copy(p, rest)
			p, rest = p[n:], rest[n:]
		}
		return nil
	})
}
