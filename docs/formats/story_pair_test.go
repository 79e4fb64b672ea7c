package formats_test

import (
	"time"

	"countroom/ledger/system"
)

var pairMembers = []system.Member{
	{Name: "count-1", Role: system.RoleMachine}, {Name: "count-2", Role: system.RoleMachine}, {Name: "count-3", Role: system.RoleArbiter},
}

// pair tells how the house became a pair, and how its second machine took over.
func (s *story) pair() {
	s.t.Helper()
	s.after(time.Hour)
	s.add(&system.PairActive{Members: pairMembers, Node: "count-1", Reason: system.ReasonStart, Release: "0.2.0", Root: s.builder.Root(), Size: s.builder.Size(), Term: 4})
	s.after(time.Hour)
	s.add(&system.PairActive{Members: pairMembers, Node: "count-2", Reason: system.ReasonTakeover, Release: "0.2.0", Root: s.builder.Root(), Size: s.builder.Size(), Term: 6})
}

// again starts the second machine anew.
func (s *story) again() {
	s.t.Helper()
	s.add(&system.PairActive{Members: pairMembers, Node: "count-2", Reason: system.ReasonStart, Release: "0.2.0", Root: s.builder.Root(), Size: s.builder.Size(), Term: 7})
}
