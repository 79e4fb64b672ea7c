package verify

import (
	"encoding/hex"
	"fmt"

	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
)

// active is a process that became the log's writer, of a single machine
// (house.active) or of a pair (house.active.v2).
type active struct {
	node, reason string
	root         tlog.Hash
	size         uint64
	pair         bool
}

// activeOf reads an entry by which a process became the writer; nil for others.
func activeOf(e entry.Record) *active {
	switch e := e.(type) {
	case *system.HouseActive:
		return &active{node: e.Node, reason: e.Reason, root: e.Root, size: e.Size}
	case *system.PairActive:
		return &active{node: e.Node, reason: e.Reason, root: e.Root, size: e.Size, pair: true}
	}
	return nil
}

// activated holds what a process says of the head it found and of why it became
// the writer.
func (r *replay) activated(index uint64, a *active, broken func(rule, expected, found string)) {
	last := r.active
	r.active = a
	var root tlog.Hash
	if index > 1 { // the very first process found no head: its entry came with house.created
		root = r.builder.Root()
	}
	if a.size == index && a.root != root {
		broken("active-root", fmt.Sprintf("root %x of size %d", root, index), hex.EncodeToString(a.root[:]))
	}
	want := system.ReasonStart
	switch {
	case index == 1:
		want = "created"
	case !a.pair || last == nil || !last.pair || last.node == a.node:
	case a.reason == system.ReasonSwitchover:
		return
	default:
		want = system.ReasonTakeover
	}
	if a.reason != want {
		broken("active-reason", want, a.reason)
	}
}
