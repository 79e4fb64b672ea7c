package verify

import (
	"countroom/ledger/system"
)

// pair is a town whose log was written by a pair's two machines.
func (t *town) pair() {
	t.TakeOver("a", system.ReasonStart)
	t.more()
	t.TakeOver("b", system.ReasonTakeover)
	t.more()
}

// A machine of a pair lies about how it came to write.
func takesOver(change func(r *system.PairActive)) func(t *town) uint64 {
	return func(t *town) uint64 {
		t.pair()
		return with(t, change, func() { t.TakeOver("a", system.ReasonSwitchover) })
	}
}

func init() {
	for _, f := range []contradiction{
		{name: "two machines write in one term", commit: takesOver(func(r *system.PairActive) { r.Term -= 3 }), rule: "term", expected: "above 7", found: "7"},
		{name: "a deposed machine comes back in its old term", commit: takesOver(func(r *system.PairActive) { r.Term -= 6 }), rule: "term", expected: "above 7", found: "4"},
		{name: "a machine that is not of the pair takes over", commit: takesOver(func(r *system.PairActive) { r.Node, r.Reason = "c", system.ReasonTakeover }), rule: "active-member", found: "no machine c"},
		{name: "the arbiter writes", commit: takesOver(func(r *system.PairActive) { r.Node, r.Reason = "w", system.ReasonTakeover }), rule: "active-member", found: "no machine w"},
		{name: "a pair has a machine twice", commit: takesOver(func(r *system.PairActive) { r.Members[1].Name = "a" }), rule: "active-member", found: "a after a"},
		{name: "a pair's members are out of order", commit: takesOver(func(r *system.PairActive) { r.Members[0], r.Members[1] = r.Members[1], r.Members[0] }), rule: "active-member"},
		{name: "a member votes and writes as it likes", commit: takesOver(func(r *system.PairActive) { r.Members[2].Role = "both" }), rule: "active-member", found: "w as both"},
		{name: "a machine takes over from a head that never was", commit: takesOver(func(r *system.PairActive) { r.Root[0] ^= 1 }), rule: "active-root"},
		{name: "a machine takes over from a shorter log", commit: takesOver(func(r *system.PairActive) { r.Size-- }), rule: "active-head"},
		{name: "a takeover passes for an ordinary start", commit: takesOver(func(r *system.PairActive) { r.Reason = system.ReasonStart }), rule: "active-reason", expected: "takeover", found: "start"},
		{name: "a start passes for a handover", commit: takesOver(func(r *system.PairActive) { r.Node = "b" }), rule: "active-reason", expected: "start", found: "switchover"},
		{name: "a machine of a pair claims to be the first process", commit: takesOver(func(r *system.PairActive) { r.Reason = "created" }), rule: "active-reason", expected: "takeover", found: "created"},
	} {
		f.typ = "house.active.v2"
		contradictions = append(contradictions, f)
	}
}
