package logtest

import (
	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// Claim is what a player's client says that it showed of a round, truly or not.
func (h *House) Claim(p Player, round uint64, truly bool) *rounds.Displayed {
	record, err := books.Decode(h.leaves[round])
	if err != nil {
		panic(err)
	}
	r := record.(*rounds.Settled)
	m := h.games[r.Game]
	var play books.Play
	if err := play.Round(m, r.Draw.R, r.Stake.Amount); err != nil {
		panic(err)
	}
	claim := &rounds.Displayed{
		Header:   entry.Header{Actor: players.SessionKey(p.Session), Request: h.Request(p.Ref.String())},
		Expected: play.Displayed(m, r), Player: p.Ref, Round: r.ID,
	}
	claim.Displayed = claim.Expected
	if !truly {
		claim.Displayed = [32]byte(h.bytes(32))
	}
	return claim
}

// Show adds a claim, and the alarm that it calls for.
func (h *House) Show(p Player, round uint64, truly bool) uint64 {
	claim := h.Claim(p, round, truly)
	index := h.Append(claim)
	if !claim.Matches() {
		h.Append(&system.AlarmRaised{About: claim.Displayed, Alarm: system.AlarmDisplayed, Count: 1})
	}
	return index
}
