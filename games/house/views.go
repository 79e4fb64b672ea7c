package house

import (
	"context"
	"fmt"

	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
	"countroom/rngcert/epoch"
)

// PlayerView is an account as the operator sees it.
type PlayerView struct {
	ID       string
	Ref      entry.Ref
	Balance  int64 // minor units of Currency
	Currency money.Currency
	State    players.State
}

// Player returns a player's account.
func (h *House) Player(ctx context.Context, id string) (PlayerView, error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		return PlayerView{}, err
	}
	v := PlayerView{ID: id, Ref: ref}
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		p, err := players.Find(rows, ref)
		if err != nil {
			return err
		}
		v.Currency, v.State = p.Currency, p.State
		v.Balance = wallet.Balance(rows, wallet.Cash(ref), p.Currency)
		return nil
	})
	return v, err
}

// Rounds returns up to limit of a player's round.settled entries below an
// index, newest first.
func (h *House) Rounds(ctx context.Context, id string, below uint64, limit int) ([]ledger.Receipt, error) {
	return h.history(ctx, roundsOf, id, below, limit)
}

// Transactions returns a player's deposits and withdrawals likewise.
func (h *House) Transactions(ctx context.Context, id string, below uint64, limit int) ([]ledger.Receipt, error) {
	return h.history(ctx, transactionsOf, id, below, limit)
}

func (h *House) history(ctx context.Context, g ledger.Group, id string, below uint64, limit int) ([]ledger.Receipt, error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		return nil, err
	}
	found, err := h.ledger.Find(g, ref, below, limit)
	if err != nil {
		return nil, err
	}
	list := make([]ledger.Receipt, len(found))
	for i, index := range found {
		if list[i], err = h.ledger.Entry(index); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Round returns a round's entry by the round's id, and whose it is.
func (h *House) Round(id entry.UUID) (ledger.Receipt, entry.Ref, error) {
	found, err := h.ledger.Find(ledger.ByID, id, 1<<63, 1)
	if err != nil {
		return ledger.Receipt{}, entry.Ref{}, err
	}
	if len(found) == 0 {
		return ledger.Receipt{}, entry.Ref{}, ledger.ErrNotFound
	}
	r, err := h.ledger.Entry(found[0])
	if err != nil {
		return r, entry.Ref{}, err
	}
	if r.Record, err = Books().Decode(r.Leaf); err != nil {
		return r, entry.Ref{}, err
	}
	settled, ok := r.Record.(*rounds.Settled)
	if !ok {
		return r, entry.Ref{}, ledger.ErrNotFound
	}
	return r, settled.Player, nil
}

// Owner returns the player that an entry is about, if it is about one.
func (h *House) Owner(leaf []byte) (ref entry.Ref, ok bool, err error) {
	record, err := Books().Decode(leaf)
	if err != nil {
		return ref, false, err
	}
	switch r := record.(type) {
	case *rounds.Settled:
		return r.Player, true, nil
	case *wallet.Deposited:
		return r.Player, true, nil
	case *wallet.Withdrawn:
		return r.Player, true, nil
	case *players.Created:
		return r.Player, true, nil
	case *players.StateChanged:
		return r.Player, true, nil
	case *players.NonceSet:
		return r.Player, true, nil
	case *subjects.Recorded:
		return r.Player, true, nil
	case *subjects.Erased:
		return r.Player, true, nil
	case *rounds.Displayed:
		return r.Player, true, nil
	case *players.SessionOpened:
		return r.Player, true, nil
	case *players.SessionClosed:
		return r.Player, true, nil
	}
	return ref, false, nil
}

// Live tells whether a session can still be used: players.ErrSessionClosed or
// players.ErrSessionExpired when it cannot.
func (h *House) Live(ctx context.Context, session Session) error {
	return h.ledger.View(ctx, func(rows book.Reader) error {
		_, err := players.Live(rows, session.s.actor, h.ledger.Now())
		return err
	})
}

// GameView is a game that was enabled at least once.
type GameView struct {
	ID, Release string
	Maths       [32]byte
	On          bool
	Definition  *slots.Definition
	Enabled     ledger.Receipt // the latest game.enabled
}

// Games lists the games in the order in which they were first enabled.
func (h *House) Games(ctx context.Context) ([]GameView, error) {
	var ids []string
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		if all := book.Get[rounds.Games](rows, rounds.GamesKey); all != nil {
			ids = all.IDs
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]GameView, len(ids))
	for i, id := range ids {
		if list[i], err = h.Game(ctx, id); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Game returns a game.
func (h *House) Game(ctx context.Context, id string) (GameView, error) {
	var row rounds.Game
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		g := book.Get[rounds.Game](rows, rounds.GameKey(id))
		if g == nil {
			return rounds.ErrUnknownGame
		}
		row = *g
		return nil
	})
	if err != nil {
		return GameView{}, err
	}
	v, ok := h.machines.Load(row.Maths)
	if !ok {
		return GameView{}, fmt.Errorf("game %s: the definition of entry %d is not loaded", id, row.Enabled)
	}
	g := v.(*game)
	view := GameView{ID: id, Release: g.release, Maths: g.maths, On: row.On, Definition: g.machine.Definition()}
	view.Enabled, err = h.ledger.Entry(row.Enabled)
	return view, err
}

// EpochView is a seed epoch with its entries; those that are not written yet
// have no leaf.
type EpochView struct {
	Epoch                                  uint64
	Committed, Activated, Closed, Revealed ledger.Receipt
	Halted, Abandoned                      ledger.Receipt // the latest halt, if any
}

// Epoch returns a seed epoch.
func (h *House) Epoch(ctx context.Context, n uint64) (EpochView, error) {
	v := EpochView{Epoch: n}
	var row *epoch.Epoch
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		if row = book.Get[epoch.Epoch](rows, epoch.Key(n)); row == nil {
			return ledger.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	for _, e := range []struct {
		index uint64
		into  *ledger.Receipt
	}{{row.CommittedIndex, &v.Committed}, {row.ActivatedIndex, &v.Activated}, {row.ClosedIndex, &v.Closed}, {row.RevealedIndex, &v.Revealed}, {row.HaltedIndex, &v.Halted}, {row.AbandonedIndex, &v.Abandoned}} {
		if e.index == 0 {
			continue
		}
		if *e.into, err = h.ledger.Entry(e.index); err != nil {
			return v, err
		}
	}
	return v, nil
}

// Ledger is the log under the house.
func (h *House) Ledger() *ledger.Ledger { return h.ledger }

// Ready returns nil when play can go on.
func (h *House) Ready() error {
	if err := h.ledger.Ready(); err != nil {
		return err
	}
	return h.seeds.stopped()
}

// Settled is the number of rounds this process settled.
func (h *House) Settled() uint64 { return h.settled.Load() }
