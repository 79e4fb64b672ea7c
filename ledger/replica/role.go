// Package replica makes one log of several machines: two full ones and an arbiter agree by raft on each batch before it is
// applied, so that whatever is acknowledged is durable on two of three. Package core decides, package wal keeps what was
// decided; here are the clock, the network and the state machine. Store is the ledger's store on top of it.
//
// docs/replication.md tells what is durable when, and what each refusal means.
package replica

import (
	"errors"
	"io"
)

var (
	// ErrNotActive: this node is not the active one in that term; nothing was proposed.
	ErrNotActive = errors.New("replica: this node is not the active one; nothing was proposed")
	// ErrOutcomeUnknown: the batch was proposed, and this node ceased to be the active one before it knew what became of
	// it. Whoever is active next has it or not.
	ErrOutcomeUnknown = errors.New("replica: whether the batch was committed is not known here")
	// ErrClosed: the node is closed.
	ErrClosed = errors.New("replica: closed")
	// ErrDiverged: what this node holds is not a beginning of what the group has. It stops, and nothing is overwritten.
	ErrDiverged = errors.New("replica: this node's history is not that of the group")
	// ErrRefused: another node does not talk to this one. The error that wraps it says why and what to do.
	ErrRefused = errors.New("replica: refused by another node")
	// ErrStale: a change of the group that does not start from the group as it is.
	ErrStale = errors.New("replica: the group is not as this change expects it")
)

// Role is what a node is at a time.
type Role struct {
	// Term is the term in which this node is active; 0 when it is not.
	Term uint64
	// Leader names the node that is active, or is about to be; empty when nobody is known to be.
	Leader string
}

// Machine is the state of a full node. Its methods are called one at a time and in order, except Applied.
type Machine interface {
	// Applied returns the index of the newest entry that is durably applied, 0 when there is none. It survives a crash
	// with the state: both change in one atomic step.
	Applied() (uint64, error)
	// Apply applies what another node proposed, and makes it durable together with its index. An error stops the node.
	Apply(index, term uint64, data []byte) error
	// Empty says whether the state is that of a machine which never applied or wrote anything.
	Empty() (bool, error)
	// Have describes the state, for another node to send what is missing.
	Have() ([]byte, error)
	// State opens the state as it is, for a node that has what have describes. What it returns writes that state while
	// entries go on being applied; a nil writer gives it up.
	State(have []byte) (write func(io.Writer) error, err error)
	// Restore makes the state what State wrote elsewhere, as of an index. When it fails, the state may be in between;
	// it is then restored again, or caught up entry by entry.
	Restore(index uint64, r io.Reader) error
}
