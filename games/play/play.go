// Package play makes a round of a draw value: the house plays by it, and whoever
// checks a round plays it again by the same code, on a server, on an auditor's
// machine or in a player's browser.
package play

import (
	"crypto/sha256"
	"strconv"

	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/rngcert/chance"
)

// Play plays rounds from their draw values, for the house and for whoever
// checks it. What it holds after Round is valid until the next Round. The zero
// Play is ready; one goroutine uses it.
type Play struct {
	Values  []rounds.Drawn
	Outcome []byte // canonical JSON
	Payout  int64  // minor units
	Shown   slots.Round

	expander chance.Expander
	screen   []byte
}

// Round plays the round that the draw value r decides.
func (p *Play) Round(m *slots.Machine, r [32]byte, stake int64) error {
	p.Values = p.Values[:0]
	p.expander.Reset(r)
	if err := m.Play((*recorder)(p), stake, &p.Shown); err != nil {
		return err
	}
	p.Outcome = m.AppendOutcome(p.Outcome[:0], &p.Shown)
	p.Payout = p.Shown.Payout
	return nil
}

// Displayed is the displayed result of the round, which Round has just played
// (docs/formats/slots.md): the SHA-256 of what a client must have shown, as
// the client writes it down itself.
func (p *Play) Displayed(m *slots.Machine, r *rounds.Settled) [32]byte {
	b := append(p.screen[:0], `{"balance":`...)
	b = strconv.AppendInt(b, r.Balance(), 10)
	b = append(b, `,"currency":"`...)
	b = append(b, r.Stake.Currency...)
	b = append(b, `","payout":`...)
	b = strconv.AppendInt(b, p.Payout, 10)
	b = append(b, `,"round":"`...)
	b = r.ID.Append(b)
	b = append(b, `","screens":`...)
	b = m.AppendScreens(b, &p.Shown)
	b = append(b, `,"stake":`...)
	b = strconv.AppendInt(b, r.Stake.Amount, 10)
	p.screen = append(b, `,"tag":"countroom/displayed/v1"}`...)
	return sha256.Sum256(p.screen)
}

// recorder hands out integers and writes them down.
type recorder Play

func (p *recorder) Int(n uint32) uint32 {
	v := p.expander.Int(n)
	p.Values = append(p.Values, rounds.Drawn{Range: n, Value: v})
	return v
}
