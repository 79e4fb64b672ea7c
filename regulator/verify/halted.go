package verify

import (
	"cmp"
	"fmt"
	"slices"

	"countroom/ledger/book"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// ErrUnprovable is an ErrUnchecked: rounds were decided by secrets that two
// officers gave up, so that nobody can ever prove their draws.
var ErrUnprovable = fmt.Errorf("%w: UNPROVABLE", ErrUnchecked)

// Abandoned is an epoch whose secret two officers gave up.
type Abandoned struct {
	Epoch  uint64 `json:"epoch"`
	Index  uint64 `json:"index"`  // of its seed.abandoned
	Rounds uint64 `json:"rounds"` // whose draws are unprovable; 0 also where others opened the secret
}

// decided takes what officers decided about an epoch. What closes it counts as
// any end does; a secret that was given up is not late.
func (r *replay) decided(index uint64, d *decision.Decision, abandoned bool) {
	row := book.Get[epoch.Epoch](r.rows, epoch.Key(d.Epoch))
	if row.ClosedIndex == index {
		r.report.Epochs.Closed++
	}
	if !abandoned {
		r.due = append(r.due, secret{epoch: d.Epoch, due: d.At.Add(row.Limits.RevealDelay())})
		return
	}
	r.due = slices.DeleteFunc(r.due, func(s secret) bool { return s.epoch == d.Epoch })
	r.report.Epochs.Abandoned++
	a := Abandoned{Epoch: d.Epoch, Index: index}
	if list := r.draws[d.Epoch]; list != nil {
		a.Rounds = uint64(list.n)
		if _, open := r.opened[d.Epoch]; !open { // nothing will prove them
			delete(r.draws, d.Epoch)
			r.pages.free(list)
			if r.at.epoch == d.Epoch {
				r.at.draws = nil
			}
		}
	}
	r.report.Abandoned = append(r.report.Abandoned, a)
}

// unprovable counts the rounds that nobody can prove, and is the error that says
// so when there are some.
func (r *replay) unprovable() (err error) {
	if n := epoch.Now(r.rows).Halted; n != 0 && r.stopped == "" {
		row := book.Get[epoch.Epoch](r.rows, epoch.Key(n))
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: epoch %d is halted, and with it all play, until two officers decide about it", row.HaltedIndex, n))
	}
	for i := range r.report.Abandoned {
		a := &r.report.Abandoned[i]
		if _, open := r.opened[a.Epoch]; open && r.stopped == "" {
			a.Rounds = 0
		}
		if a.Rounds > 0 {
			r.report.Rounds.Unprovable += a.Rounds
			err = cmp.Or(err, fmt.Errorf("%w: epoch %d, which two officers abandoned in entry %d, decided %d of the rounds", ErrUnprovable, a.Epoch, a.Index, a.Rounds))
		}
	}
	return err
}
