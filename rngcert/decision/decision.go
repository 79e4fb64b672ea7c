// Package decision is what two officers say of a seed epoch that was halted
// (package epoch), because its secret is lost, or may be known to somebody:
//
//	seed.ended       it ends early, and is revealed like any other
//	seed.abandoned   it ends, and is never revealed: its draws can be proven by nobody
package decision

import (
	"encoding/hex"
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/rngcert/epoch"
)

// Decision is what two officers say of a halted epoch.
type Decision struct {
	entry.Header
	Approvals []officers.Approval
	Draws     uint64 // that the epoch decided
	Epoch     uint64
	Reason    [32]byte // commitment to the officers' words
}

func (d *Decision) code(c *entry.Coder, typ string) {
	c.Actor(&d.Header)
	officers.CodeApprovals(c, &d.Approvals)
	c.At(&d.Header)
	c.Uint("draws", &d.Draws)
	c.Uint("epoch", &d.Epoch)
	c.Fingerprint(&d.Header)
	c.ID(&d.Header)
	c.Key(&d.Header)
	c.Hex("reason", d.Reason[:])
	c.Is("type", typ)
}

// Subject is what two officers approve of. An epoch is ended once and abandoned
// once.
func (d *Decision) Subject() string {
	return "epoch " + strconv.FormatUint(d.Epoch, 10) + " draws " + strconv.FormatUint(d.Draws, 10) + " reason " + hex.EncodeToString(d.Reason[:])
}

// Approval is the list of approvals.
func (d *Decision) Approval() *[]officers.Approval { return &d.Approvals }

// Because is the commitment to the officers' words.
func (d *Decision) Because() [32]byte { return d.Reason }

// Ended ends the active epoch before its limits ("seed.ended").
type Ended struct{ Decision }

// Type is "seed.ended".
func (*Ended) Type() string { return "seed.ended" }

// Code visits the members.
func (r *Ended) Code(c *entry.Coder) { r.code(c, r.Type()) }

// Abandoned gives up an epoch's secret for ever ("seed.abandoned").
type Abandoned struct{ Decision }

// Type is "seed.abandoned".
func (*Abandoned) Type() string { return "seed.abandoned" }

// Code visits the members.
func (r *Abandoned) Code(c *entry.Coder) { r.code(c, r.Type()) }

// Fold applies an entry of this package.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	take := func(r officers.Approved, d *Decision, abandon bool) error {
		return epoch.Decide(rows, index, d.At, d.Epoch, d.Draws, abandon, func() error {
			return officers.Check(rows, officers.Origin(rows), r.Type(), d.Subject(), d.Approvals)
		})
	}
	switch r := r.(type) {
	case *Ended:
		return take(r, &r.Decision, false)
	case *Abandoned:
		return take(r, &r.Decision, true)
	}
	return nil
}
