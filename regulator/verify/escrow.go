package verify

import (
	"errors"
	"maps"
	"slices"

	"countroom/ledger/book"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

// Opened is a secret that those to whom it was escrowed opened, for a Log whose
// house does not show it.
type Opened struct {
	Name string // of the file that it came from
	Box  *escrow.Box
}

// escrowed takes out of a commitment what is asked for, and holds opened secrets
// against it.
func (r *replay) escrowed(index uint64, st *epoch.Statement, broken func(rule, expected, found string)) {
	if st.Epoch == r.opts.Seed {
		r.report.Seed = Escrowed(r.v.Name(), st)
	}
	for _, o := range r.opts.Opened {
		if o.Box.Epoch != st.Epoch {
			continue
		}
		secret, salt, err := o.Box.Secret()
		switch {
		case o.Box.Commitment != st.Commitment || o.Box.Origin != r.v.Name():
			err = unchecked("%s: expected the secret of epoch %d of %s with commitment %x, as in entry %d; it is of %q and %x", o.Name, st.Epoch, r.v.Name(), st.Commitment, index, o.Box.Origin, o.Box.Commitment)
		case errors.Is(err, escrow.ErrCommitment):
			broken("escrow", "an escrowed seed that opens to what was committed to", o.Name+": "+err.Error())
			continue
		case err != nil:
			err = unchecked("%s: %w", o.Name, err)
		default:
			r.opened[st.Epoch] = opened{secret, salt}
			continue
		}
		if r.unknown == nil {
			r.unknown = err
		}
	}
}

type opened struct{ secret, salt [32]byte }

// Escrowed is what a commitment escrows, with all its layers on, or nil.
func Escrowed(origin string, st *epoch.Statement) *escrow.Box {
	if st.Escrow == nil {
		return nil
	}
	return &escrow.Box{
		Origin: origin, Epoch: st.Epoch, Commitment: st.Commitment,
		Recipients: slices.Clone(st.Escrow.Recipients), Layers: uint64(len(st.Escrow.Recipients)), Content: slices.Clone(st.Escrow.Sealed),
	}
}

// proveOpened proves the draws of epochs whose secret the house did not show and
// others opened.
func (r *replay) proveOpened() (err error) {
	for _, o := range r.opts.Opened {
		if r.stopped == "" && err == nil && book.Get[epoch.Epoch](r.rows, epoch.Key(o.Box.Epoch)) == nil {
			err = unchecked("%s: it is of epoch %d, which the log does not have", o.Name, o.Box.Epoch)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(r.opened)) {
		s := r.opened[n]
		row := book.Get[epoch.Epoch](r.rows, epoch.Key(n))
		if row == nil || row.RevealedIndex != 0 || r.stopped != "" {
			continue
		}
		r.report.Epochs.Opened++
		r.due = slices.DeleteFunc(r.due, func(d secret) bool { return d.epoch == n })
		list := r.draws[n]
		if list == nil {
			continue
		}
		delete(r.draws, n)
		drawer := chance.NewDrawer(chance.DeriveKey(s.secret, row.Commitment, row.External), r.v.Name())
		proven, found := list.prove(drawer, r.nonces.in(n), &r.games, r.opts.Workers)
		for _, f := range found {
			r.report.find(f)
		}
		r.report.Rounds.Proven += uint64(proven)
		r.pages.free(list)
	}
	return err
}
