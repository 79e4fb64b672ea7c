package house

import (
	"context"
	"fmt"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// Displayed records what a client says that it showed the session's player of
// one of his rounds. What differs from the outcome is an alarm in the same
// batch: what a screen said has been held against what a server said in court,
// and the screen has won.
func (h *House) Displayed(ctx context.Context, req Request, session Session, round entry.UUID, displayed [32]byte) (ledger.Receipt, error) {
	s := session.s
	r, owner, err := h.Round(round)
	if err == nil && owner != s.player {
		err = ledger.ErrNotFound // who asks is not told that there is one
	}
	if err != nil {
		return h.Refuse(ctx, req, &session, err)
	}
	expected, err := h.expected(r.Record.(*rounds.Settled))
	if err != nil {
		return ledger.Receipt{}, err
	}
	return h.update(ctx, ledger.Command{Reads: []string{s.actor, players.PlayerKey(s.player)}, Request: req.entry(s.scope), Run: func(tx *ledger.Tx) error {
		if _, err := players.Live(tx, s.actor, tx.At()); err != nil {
			return err
		}
		if _, err := players.Present(tx, s.player); err != nil {
			return err
		}
		claim := &rounds.Displayed{
			Header: entry.Header{Actor: s.actor}, Displayed: displayed, Expected: expected, Player: s.player, Round: round,
		}
		if _, err := tx.Answer(claim); err != nil || claim.Matches() {
			return err
		}
		_, err := tx.Append(&system.AlarmRaised{Header: byHouse(), About: displayed, Alarm: system.AlarmDisplayed, Count: 1})
		return err
	}})
}

// expected is the displayed result of a round of the log.
func (h *House) expected(r *rounds.Settled) ([32]byte, error) {
	m, err := h.machineOf(r.Enabled)
	if err != nil {
		return [32]byte{}, fmt.Errorf("round %s: %w", r.ID, err)
	}
	var p books.Play
	if err := p.Round(m, r.Draw.R, r.Stake.Amount); err != nil {
		return [32]byte{}, fmt.Errorf("round %s: %w", r.ID, err)
	}
	return p.Displayed(m, r), nil
}

// machineOf is the machine of the definition that an entry enabled, in play or
// not.
func (h *House) machineOf(enabled uint64) (*slots.Machine, error) {
	r, err := h.ledger.Entry(enabled)
	if err != nil {
		return nil, err
	}
	record, err := books.Decode(r.Leaf)
	if err != nil {
		return nil, err
	}
	e, ok := record.(*rounds.GameEnabled)
	if !ok {
		return nil, fmt.Errorf("entry %d is %s and enables no game", enabled, record.Type())
	}
	if g, ok := h.machines.Load(e.Maths); ok {
		return g.(*game).machine, nil
	}
	d, err := slots.Parse(e.Definition)
	if err != nil {
		return nil, err
	}
	return slots.Compile(d)
}
