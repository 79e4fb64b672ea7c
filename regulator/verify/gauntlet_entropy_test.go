package verify

import (
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// A house that plays on without noise, or hides that it has none.

func init() { contradictions = append(contradictions, entropyFrauds...) }

var entropyFrauds = []contradiction{
	{name: "play goes on without entropy", typ: "round.settled", rule: "entropy-stopped", found: "0 independent, 1 needed",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Fail("test", "unavailable")
			return t.settle(t.who[0])
		}},
	{name: "play goes on before a restart finds the source in order", typ: "round.settled", rule: "entropy-stopped",
		commit: func(t *town) uint64 {
			t.Turn()
			t.Fail("test", "slow")
			t.Restart()
			t.Fail("test", "slow") // which the new process says, too
			return t.settle(t.who[0])
		}},
	{name: "a seed from a source that is out", typ: "seed.committed.v2", rule: "entropy-listed", found: "test",
		commit: func(t *town) uint64 {
			s := t.end()
			t.Append(&epoch.Activated{Epoch: s.Active + 1, Policy: epoch.PolicyNone})
			t.Fail("test", "repetition")
			return t.Commit()
		}},
	{name: "a seed from a source that was out before a restart and has not come back", typ: "seed.committed.v2", rule: "entropy-listed",
		commit: func(t *town) uint64 {
			s := t.end()
			t.Append(&epoch.Activated{Epoch: s.Active + 1, Policy: epoch.PolicyNone})
			t.Fail("test", "repetition")
			t.Restart()
			return t.Commit()
		}},
	{name: "an entropy failure is left out", typ: "seed.committed.v2", rule: "entropy-left-out", expected: "second",
		commit: func(t *town) uint64 {
			t.Sources = append(t.Sources, logtest.Source("second", "cpu"))
			t.end()
			t.Turn()
			t.Sources = t.Sources[:1]
			return t.committed(func(*epoch.Statement) {})
		}},
	{name: "an entropy failure is not counted", typ: "entropy.failed", rule: "entropy-count", expected: "2",
		commit: func(t *town) uint64 {
			t.Fail("test", "slow")
			t.RestoreSource("test")
			return failed(t, func(r *noise.Failed) { r.Count = 1 })
		}},
	{name: "a failure of a source that is none", typ: "entropy.failed", rule: "entropy-source", found: "the dice",
		commit: func(t *town) uint64 { return failed(t, func(r *noise.Failed) { r.Source = "the dice" }) }},
	{name: "a failure for a reason that is none", typ: "entropy.failed", rule: "entropy-reason", found: "weather",
		commit: func(t *town) uint64 { return t.Fail("test", "weather") }},
	{name: "a source that is out fails", typ: "entropy.failed", rule: "entropy-failed",
		commit: func(t *town) uint64 { t.Fail("test", "slow"); return t.Fail("test", "slow") }},
	{name: "more sources are out than any house has", typ: "entropy.failed", rule: "entropy-failed", expected: "32",
		commit: func(t *town) uint64 {
			for i := range 32 {
				t.Fail("source-"+string(rune('a'+i/8))+string(rune('a'+i%8)), "slow")
			}
			return t.Fail("test", "slow")
		}},
	{name: "a source comes back that was never out", typ: "entropy.restored", rule: "entropy-restored", found: "test",
		commit: func(t *town) uint64 { return t.RestoreSource("test") }},
	{name: "a source comes back from another failure", typ: "entropy.restored", rule: "entropy-count", expected: "1",
		commit: func(t *town) uint64 {
			t.Fail("test", "slow")
			return with(t, func(r *noise.Restored) { r.Count = 2 }, func() { t.RestoreSource("test") })
		}},
	{name: "a source comes back as another", typ: "entropy.restored", rule: "entropy-group", expected: "kernel", found: "cpu",
		commit: func(t *town) uint64 {
			t.Fail("test", "slow")
			return with(t, func(r *noise.Restored) { r.Group = "cpu" }, func() { t.RestoreSource("test") })
		}},
	{name: "another minimum of sources than the process's seeds name", typ: "entropy.restored", rule: "entropy-minimum", expected: "1", found: "2",
		commit: func(t *town) uint64 {
			t.Fail("test", "slow")
			return with(t, func(r *noise.Restored) { r.Minimum = 2 }, func() { t.RestoreSource("test") })
		}},
	{name: "more groups are said to be left than there are", typ: "entropy.failed", rule: "entropy-groups", expected: "0", found: "1",
		commit: func(t *town) uint64 {
			t.end()
			t.Turn()
			t.Fail("test", "slow")
			t.RestoreSource("test") // which says what group it is of
			return failed(t, func(r *noise.Failed) { r.Groups = 1 })
		}},
	{name: "nothing is demanded of the sources", typ: "entropy.failed", rule: "entropy-minimum", found: "0",
		commit: func(t *town) uint64 { return failed(t, func(r *noise.Failed) { r.Minimum = 0 }) }},
}

// failed tampers with what is said of a failure.
func failed(t *town, change func(*noise.Failed)) uint64 {
	return with(t, change, func() { t.Fail("test", "slow") })
}

// entropy fails and is restored in the story of all types.
func (s *story) entropy() {
	s.Fail("test", "slow")
	s.Wait(5e9)
	s.RestoreSource("test")
}
