package core

import "go.etcd.io/raft/v3/raftpb"

// Hard is what a node has promised, and how far it knows entries to be committed.
type Hard struct{ Term, Vote, Commit uint64 }

// Conf is who belongs to the group once the entry Index is applied.
type Conf struct {
	Index   uint64
	State   *raftpb.ConfState
	Members []byte // EncodeMembers
}

// Start is where a log begins: after an entry that is not in it.
type Start struct {
	Index, Term uint64
	Hard        Hard
	Conf        Conf
}
