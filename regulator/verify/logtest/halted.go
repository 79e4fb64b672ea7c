package logtest

import (
	"countroom/ledger/book"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// Halt stops play for the sake of an epoch.
func (h *House) Halt(n uint64) uint64 {
	return h.Append(&epoch.Halted{Header: h.byOperator(), Epoch: n, Reason: [32]byte(h.bytes(32))})
}

// End has officers end an epoch early.
func (h *House) End(n uint64, by ...string) uint64 {
	r := &decision.Ended{Decision: h.decision(n)}
	h.Approve(r, by...)
	return h.Append(r)
}

// Abandon has officers give up the secret of an epoch.
func (h *House) Abandon(n uint64, by ...string) uint64 {
	r := &decision.Abandoned{Decision: h.decision(n)}
	h.Approve(r, by...)
	return h.Append(r)
}

func (h *House) decision(n uint64) decision.Decision {
	d := decision.Decision{Epoch: n, Reason: [32]byte(h.bytes(32))}
	if now := epoch.Now(h.rows); now.Active == n {
		d.Draws = now.Draws
	} else if e := book.Get[epoch.Epoch](h.rows, epoch.Key(n)); e != nil {
		d.Draws = e.Draws
	}
	return d
}
