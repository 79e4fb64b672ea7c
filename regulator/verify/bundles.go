package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// bundle is one entry bundle on its way: what can be done without its
// predecessors is done by whichever worker has it. Its memory is used again.
type bundle struct {
	base  uint64 // index of its first entry
	width int

	leaves  [][]byte
	hashes  [tlog.TileWidth]tlog.Hash
	records [tlog.TileWidth]entry.Record
	played  [tlog.TileWidth]bool     // the round was recomputed from its draw
	shown   [tlog.TileWidth][32]byte // what was to be displayed of it, if so
	faults  []fault                  // what entries say that does not follow from themselves
	bad     int                      // position of the first leaf that could not be decoded, or width
	badErr  error
	tile    *Finding
	err     error // could not be read

	settled [tlog.TileWidth]rounds.Settled
	data    []byte
	hashed  []byte
	ready   chan struct{}
}

// fault is a finding about the entry at a position in the bundle.
type fault struct {
	at int
	Finding
}

// machines are the compiled definitions by the index of their game.enabled
// entry. Workers look up only entries before the one they work on; when that one
// is not there yet, the round is played later, in order.
type machines struct{ m sync.Map }

// game is a definition that the log enabled.
type game struct {
	id, release string
	machine     *slots.Machine
}

func (m *machines) get(enabled uint64) *game {
	if g, ok := m.m.Load(enabled); ok {
		return g.(*game)
	}
	return nil
}

// worker does with bundles what needs no order.
type worker struct {
	src   Source
	games *machines
	player
}

// player recomputes rounds.
type player struct {
	play    books.Play
	enabled uint64
	game    *game // of enabled
}

func (w *worker) work(ctx context.Context, b *bundle) {
	b.faults, b.tile, b.bad, b.badErr, b.err = b.faults[:0], nil, b.width, nil, nil
	if b.err = w.read(ctx, b); b.err != nil {
		return
	}
	for i, leaf := range b.leaves {
		b.hashes[i] = tlog.LeafHash(leaf)
	}
	if b.tile, b.err = checkTile(ctx, w.src, &b.hashed, 0, b.base/tlog.TileWidth, b.width, func(i int) []byte { return b.hashes[i][:] }); b.err != nil {
		return
	}
	for i, leaf := range b.leaves {
		b.played[i] = false
		if b.records[i], b.badErr = b.decode(i, leaf); b.badErr != nil {
			b.bad = i
			return
		}
		index := b.base + uint64(i)
		switch r := b.records[i].(type) {
		case *rounds.Settled:
			if r.Enabled < index {
				b.played[i], b.shown[i] = w.round(w.games, r, b.fault(i, r))
			}
		case *rounds.GameEnabled:
			if g := compile(r, b.fault(i, r)); g != nil {
				w.games.m.Store(index, g)
			}
		}
	}
}

var settledMark = []byte(`,"type":"round.settled"}`)

// decode reads a leaf; the frequent type is read into memory that is there.
func (b *bundle) decode(i int, leaf []byte) (entry.Record, error) {
	if bytes.HasSuffix(leaf, settledMark) {
		return &b.settled[i], entry.Decode(leaf, &b.settled[i])
	}
	return books.Decode(leaf)
}

// fault returns what notes a broken rule of the record at a position.
func (b *bundle) fault(i int, r entry.Record) func(rule, expected, found string) {
	return func(rule, expected, found string) {
		b.faults = append(b.faults, fault{i, Finding{Index: b.base + uint64(i), Type: r.Type(), Rule: rule, Expected: expected, Found: found}})
	}
}

// read fetches the bundle and splits it.
func (w *worker) read(ctx context.Context, b *bundle) error {
	n := b.base / tlog.TileWidth
	var err error
	full := false
	if b.data, full, err = readPartial(ctx, w.src, b.data, b.width, BundleMost, func(width int) string { return tlog.EntriesPath(n, width) }); err != nil {
		return err
	}
	if b.leaves, err = tlog.ParseBundle(b.data); err != nil {
		return fmt.Errorf("%s: %w", tlog.EntriesPath(n, b.width), err)
	}
	if len(b.leaves) != b.width && !(full && len(b.leaves) == tlog.TileWidth) {
		return fmt.Errorf("%s: %d entries, want %d", tlog.EntriesPath(n, b.width), len(b.leaves), b.width)
	}
	b.leaves = b.leaves[:b.width]
	return nil
}

// readPartial reads a tile or bundle of a width into buf. A log that has grown
// meanwhile may hold only the full one, which begins with the same.
func readPartial(ctx context.Context, src Source, buf []byte, width, limit int, path func(width int) string) (_ []byte, full bool, err error) {
	buf, err = src.Read(ctx, buf[:0], path(width), limit)
	if width < tlog.TileWidth && errors.Is(err, fs.ErrNotExist) {
		if b, err := src.Read(ctx, buf[:0], path(tlog.TileWidth), limit); err == nil {
			return b, true, nil
		}
	}
	return buf, width == tlog.TileWidth, err
}

// checkTile holds a published hash tile against the hashes that the entries
// have.
func checkTile(ctx context.Context, src Source, buf *[]byte, level int, n uint64, width int, hash func(i int) []byte) (*Finding, error) {
	const size = len(tlog.Hash{})
	data, full, err := readPartial(ctx, src, *buf, width, tlog.TileWidth*size, func(width int) string { return tlog.TilePath(level, n, width) })
	*buf = data
	if err != nil {
		return nil, err
	}
	if len(data) != width*size && !(full && len(data) == tlog.TileWidth*size) {
		return nil, fmt.Errorf("%s: %d bytes, want %d", tlog.TilePath(level, n, width), len(data), width*size)
	}
	for i := range width {
		want, got := hash(i), data[i*size:(i+1)*size]
		if !bytes.Equal(want, got) {
			return &Finding{
				Index: (n*tlog.TileWidth + uint64(i)) << (8 * level), Type: "tile", Rule: "tile",
				Expected: hex.EncodeToString(want) + " as hash " + strconv.Itoa(i) + " of " + tlog.TilePath(level, n, width) + ", from the entries",
				Found:    hex.EncodeToString(got),
			}, nil
		}
	}
	return nil, nil
}

// round recomputes a round from its draw value and reports whether it could, and
// what was to be displayed of it.
func (p *player) round(games *machines, r *rounds.Settled, broken func(rule, expected, found string)) (played bool, shown [32]byte) {
	if p.game == nil || p.enabled != r.Enabled {
		if p.game, p.enabled = games.get(r.Enabled), r.Enabled; p.game == nil {
			return false, shown
		}
	}
	if err := p.play.Round(p.game.machine, r.Draw.R, r.Stake.Amount); err != nil {
		broken("stake", fmt.Sprintf("one of the stakes %d", p.game.machine.Definition().Stakes), strconv.FormatInt(r.Stake.Amount, 10))
		return true, shown
	}
	if !slices.Equal(p.play.Values, r.Draw.Values) {
		i := 0
		for i < min(len(p.play.Values), len(r.Draw.Values)) && p.play.Values[i] == r.Draw.Values[i] {
			i++
		}
		at := func(v []rounds.Drawn) string {
			if i >= len(v) {
				return fmt.Sprintf("%d integers", len(v))
			}
			return fmt.Sprintf("%d below %d as integer %d", v[i].Value, v[i].Range, i+1)
		}
		broken("draw-values", at(p.play.Values)+" of draw value "+hex.EncodeToString(r.Draw.R[:]), at(r.Draw.Values))
	}
	if !bytes.Equal(p.play.Outcome, r.Outcome) {
		broken("outcome", clip(p.play.Outcome), clip(r.Outcome))
	}
	if p.play.Payout != r.Payout.Amount {
		broken("payout", strconv.FormatInt(p.play.Payout, 10), strconv.FormatInt(r.Payout.Amount, 10))
	}
	return true, p.play.Displayed(p.game.machine, r)
}

// clip keeps a report readable.
func clip(b []byte) string {
	const most = 2000
	if len(b) > most {
		return string(b[:most]) + fmt.Sprintf(" and %d more bytes", len(b)-most)
	}
	return string(b)
}

// compile prepares what a game.enabled entry puts into play and holds what the
// entry says of it against what it is. It returns nil when it cannot be played.
func compile(r *rounds.GameEnabled, broken func(rule, expected, found string)) *game {
	if r.Engine != "slots" {
		broken("game-engine", "slots", r.Engine)
		return nil
	}
	d, err := slots.Parse(r.Definition)
	if err != nil {
		broken("game-definition", "a definition of format "+slots.Format, err.Error())
		return nil
	}
	if canonical := d.Canonical(); !bytes.Equal(canonical, r.Definition) {
		broken("canonical", "the canonical definition "+clip(canonical), clip(r.Definition))
	}
	if d.ID != r.Game || d.Version != r.Release {
		broken("game-identity", d.ID+" "+d.Version+", as its definition says", r.Game+" "+r.Release)
	}
	m, err := slots.Compile(d)
	if err != nil {
		broken("game-definition", "a definition that can be played", err.Error())
		return nil
	}
	bounds := m.Bounds()
	if bounds.Draws > rounds.MaxDrawn {
		broken("game-draws", fmt.Sprintf("at most %d integers in a round", rounds.MaxDrawn), strconv.Itoa(bounds.Draws))
		return nil
	}
	if leafMax, err := rounds.LeafMax(d.ID, bounds.Draws, bounds.Bytes); err != nil {
		broken("leaf-max", "rounds that fit a leaf", err.Error())
	} else if leafMax != r.LeafMax {
		broken("leaf-max", strconv.FormatUint(leafMax, 10), strconv.FormatUint(r.LeafMax, 10))
	}
	if bounds.Payout != r.PayoutMax {
		broken("payout-max", strconv.FormatInt(bounds.Payout, 10), strconv.FormatInt(r.PayoutMax, 10))
	}
	return &game{id: d.ID, release: d.Version, machine: m}
}
