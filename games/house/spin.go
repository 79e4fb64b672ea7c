package house

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/noise"
)

// played is a round that was drawn and worked out.
type played struct {
	books.Play
	drawer *chance.Drawer
	game   *game
	n      uint64
	stake  int64
	nonce  []byte // the player's standing nonce in that epoch
	r      [32]byte
}

var plays = sync.Pool{New: func() any { return new(played) }}

// play works a round out. Nothing but epoch, game, player with his nonce and n
// decides r, and nothing but r and the definition decides the round; the stake
// scales it.
func (p *played) play(d *chance.Drawer, g *game, s *seat, n uint64, stake int64, nonce []byte) error {
	p.drawer, p.game, p.n, p.stake, p.nonce = d, g, n, stake, nonce
	p.r = d.Draw(g.id, g.release, s.player, n, 0, nonce)
	return p.Round(g.machine, p.r, stake)
}

// is reports whether this round is the one asked for.
func (p *played) is(d *chance.Drawer, g *game, n uint64, stake int64, nonce []byte) bool {
	return p.drawer == d && p.game == g && p.n == n && p.stake == stake && bytes.Equal(p.nonce, nonce)
}

// prepare works out the round that the session's next spin will most likely be,
// before the command is queued. The command works it out again when it is not.
func (h *House) prepare(p *played, s *seat, stake int64) {
	p.drawer = nil
	likely := h.seeds.likely.Load()
	g, _ := h.enabled.Load(s.game)
	if likely == nil || g == nil || !slices.Contains(g.(*game).machine.Definition().Stakes, stake) {
		return
	}
	if err := p.play(likely.drawer, g.(*game), s, s.next.Load(), stake, s.account.Load().NonceAt(likely.epoch)); err != nil {
		p.drawer = nil // the command will meet the same error and report it
	}
}

// Spin takes a bet of a total stake, in minor units of the player's currency,
// and settles the round: one round.settled entry.
func (h *House) Spin(ctx context.Context, req Request, session Session, stake int64) (ledger.Receipt, error) {
	s := session.s
	p := plays.Get().(*played)
	abandoned := false
	defer func() {
		if !abandoned {
			plays.Put(p)
		}
	}()
	done := false
	receipt, err := h.update(ctx, ledger.Command{Reads: s.reads, Request: req.entry(s.scope), Prepare: func() { h.prepare(p, s, stake) }, Run: func(tx *ledger.Tx) error {
		live, err := players.Live(tx, s.actor, tx.At())
		if err != nil {
			return err
		}
		account, err := players.MayPlay(tx, live.Player)
		if err != nil {
			return err
		}
		if len(account.Nonces) > 0 && s.account.Load() != account {
			s.account.Store(account)
		}
		row, err := rounds.Playable(tx, s.game)
		if err != nil {
			return err
		}
		if err := certificates.MayPlay(tx, s.game, row.Maths, tx.At()); err != nil {
			return err
		}
		v, ok := h.machines.Load(row.Maths)
		if !ok {
			return fmt.Errorf("game %s: the definition of entry %d is not loaded", s.game, row.Enabled)
		}
		g := v.(*game)
		if !slices.Contains(g.machine.Definition().Stakes, stake) {
			return &StakeError{Stake: stake, Stakes: g.machine.Definition().Stakes}
		}
		balance := wallet.Balance(tx, s.cash, s.currency)
		if balance < stake {
			return wallet.ErrFunds
		}
		if hold := wallet.Balance(tx, s.hold, s.currency); balance > money.Max-g.bounds.Payout || hold < g.bounds.Payout-money.Max || hold > money.Max-stake {
			return ErrBalanceFull
		}
		if err := noise.Playing(tx); err != nil {
			return err
		}
		drawer, epochN, number, err := h.seeds.current(tx)
		if err != nil {
			return err
		}
		// From here on nothing may be refused: the outcome is known.
		n := rounds.Next(tx, s.player, s.game)
		if nonce := account.NonceAt(epochN); !p.is(drawer, g, n, stake, nonce) {
			if err := p.play(drawer, g, s, n, stake, nonce); err != nil {
				return err
			}
		}
		settled := &rounds.Settled{
			Header:  entry.Header{Actor: s.actor},
			Draw:    rounds.Draw{Epoch: epochN, N: n, Number: number, R: p.r, Values: p.Values},
			Enabled: row.Enabled, Game: s.game, Outcome: p.Outcome,
			Payout: money.Money{Amount: p.Payout, Currency: s.currency}, Stake: money.Money{Amount: stake, Currency: s.currency},
			Player: s.player,
		}
		if settled.Postings, err = wallet.Transfer(tx, s.hold, s.cash, settled.Result()); err != nil {
			return err
		}
		_, err = tx.Answer(settled)
		settled.Draw.Values, settled.Outcome = nil, nil // they are p's, and in the leaf
		done = err == nil
		return err
	}})
	if errors.Is(err, ledger.ErrUnknownOutcome) {
		abandoned = true // the command may still run, with p
	}
	if err == nil && done && !receipt.Replayed {
		s.next.Store(p.n + 1)
		h.settled.Add(1)
	}
	return receipt, err
}

// StakeError says that a game does not offer a stake.
type StakeError struct {
	Stake  int64
	Stakes []int64
}

func (e *StakeError) Error() string {
	return fmt.Sprintf("stake %d: expected one of %d", e.Stake, e.Stakes)
}

// Unwrap makes it a slots.ErrStake.
func (e *StakeError) Unwrap() error { return slots.ErrStake }
