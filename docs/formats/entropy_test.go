package formats_test

import (
	"time"

	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// entropy fails and is restored.
func (s *story) entropy() {
	s.t.Helper()
	s.add(&noise.Failed{Count: 1, Group: "tpm", Groups: 1, Minimum: 2, Reason: "slow", Source: "tpm0"})
	s.after(5 * time.Second)
	s.add(&noise.Restored{Count: 1, Group: "tpm", Groups: 2, Minimum: 2, Source: "tpm0"})
}

// entropyFrauds are those of a house that plays on without noise, or hides that
// it has none.
var entropyFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"play goes on without entropy", func(t *town) {
		t.Fail("test", "slow")
		r := t.Round(t.who[0], 100)
		t.Settle(r)
		t.Append(r)
	}, "entropy-stopped"},
	{"a seed from a source that is out", func(t *town) {
		t.exhaust()
		s := epoch.Now(t.Rows())
		t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		t.Append(&epoch.Activated{Epoch: s.Active + 1, Policy: epoch.PolicyNone})
		t.Fail("test", "repetition")
		t.Commit()
	}, "entropy-listed"},
	{"a failure is left out", func(t *town) {
		t.Sources = append(t.Sources, logtest.Source("second", "cpu"))
		t.exhaust()
		t.Turn()
		t.Sources = t.Sources[:1]
		t.exhaust()
		t.Turn()
	}, "entropy-left-out"},
	{"a failure is not counted", func(t *town) { with(t, func(r *noise.Failed) { r.Count = 2 }, func() { t.Fail("test", "slow") }) }, "entropy-count"},
	{"a failure of nothing", func(t *town) {
		with(t, func(r *noise.Failed) { r.Source = "A source" }, func() { t.Fail("test", "slow") })
	}, "entropy-source"},
	{"a failure for no reason", func(t *town) { t.Fail("test", "weather") }, "entropy-reason"},
	{"a source fails twice", func(t *town) { t.Fail("test", "slow"); t.Fail("test", "slow") }, "entropy-failed"},
	{"a source is restored that was in order", func(t *town) { t.RestoreSource("test") }, "entropy-restored"},
	{"another failure is said to be over", func(t *town) {
		t.Fail("test", "slow")
		with(t, func(r *noise.Restored) { r.Count++ }, func() { t.RestoreSource("test") })
	}, "entropy-count"},
	{"a source comes back as another", func(t *town) {
		t.Fail("test", "slow")
		with(t, func(r *noise.Restored) { r.Group = "cpu" }, func() { t.RestoreSource("test") })
	}, "entropy-group"},
	{"less is demanded than before", func(t *town) {
		with(t, func(r *noise.Failed) { r.Minimum = 2 }, func() { t.Fail("test", "slow") })
		with(t, func(r *noise.Restored) { r.Minimum = 1 }, func() { t.RestoreSource("test") })
	}, "entropy-minimum"},
	{"more groups are said to be left than there are", func(t *town) {
		t.exhaust()
		t.Turn()
		t.Fail("test", "slow")
		t.RestoreSource("test")
		with(t, func(r *noise.Failed) { r.Groups = 1 }, func() { t.Fail("test", "slow") })
	}, "entropy-groups"},
	{"nothing is demanded", func(t *town) { with(t, func(r *noise.Failed) { r.Minimum = 0 }, func() { t.Fail("test", "slow") }) }, "entropy-minimum"},
}
