package logtest

import (
	"countroom/games/subjects"
	"countroom/ledger/entry"
)

// Known is a value of a subject, with what opens its commitment.
type Known struct {
	Player entry.Ref
	Index  uint64 // of the entry that recorded it
	Name   string // of the attribute
	Salt   [32]byte
	Value  string
}

// Record has the house record what it knows of a player: names of attributes and
// their values in turn, by rising name.
func (h *House) Record(p Player, pairs ...string) (known []Known) {
	r := &subjects.Recorded{Header: h.byOperator(), Player: p.Ref}
	for i := 0; i < len(pairs); i += 2 {
		k := Known{Player: p.Ref, Name: pairs[i], Salt: [32]byte(h.bytes(32)), Value: pairs[i+1]}
		r.Attributes = append(r.Attributes, subjects.Value{Commitment: subjects.Commit(k.Name, k.Salt, k.Value), Name: k.Name})
		known = append(known, k)
	}
	index := h.Append(r)
	for i := range known {
		known[i].Index = index
	}
	return known
}

// Erase has officers erase a player.
func (h *House) Erase(p Player, by ...string) uint64 {
	r := &subjects.Erased{Commitments: subjects.Find(h.rows, p.Ref).Commitments, Player: p.Ref}
	h.Approve(r, by...)
	return h.Append(r)
}

// Rewrap begins the next period of the vault.
func (h *House) Rewrap() uint64 {
	now := subjects.Now(h.rows)
	return h.Append(&subjects.Rewrapped{Period: now.Period + 1, Subjects: now.Live})
}
