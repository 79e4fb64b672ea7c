package verify

import (
	"strings"
	"testing"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// Frauds with what players were shown.
func init() {
	claim := func(truly bool, change func(t *town, r *rounds.Displayed)) func(t *town) uint64 {
		return func(t *town) uint64 {
			round := t.Spin(t.who[0], 20)
			t.Play(t.who[1:2], 1)
			return with(t, func(r *rounds.Displayed) { change(t, r) }, func() { t.Show(t.who[0], round, truly) })
		}
	}
	alarm := func(truly bool, change func(*system.AlarmRaised)) func(t *town) uint64 {
		return func(t *town) uint64 {
			round := t.Spin(t.who[0], 20)
			return with(t, change, func() { t.Show(t.who[0], round, truly) })
		}
	}
	contradictions = append(contradictions, []contradiction{
		{name: "the house bends what was to be seen to what was", commit: claim(true, func(_ *town, r *rounds.Displayed) {
			r.Displayed[0] ^= 1
			r.Expected[0] ^= 1
		}), typ: "round.displayed", rule: "displayed-expected"},
		{name: "a claim is put down to another round", commit: claim(true, func(t *town, r *rounds.Displayed) {
			r.Round = entry.NewUUID([16]byte{1, 2, 3})
		}), typ: "round.displayed", rule: "displayed-expected"},
		{name: "a claim is put down to another player", commit: claim(true, func(t *town, r *rounds.Displayed) {
			r.Player = t.who[1].Ref
		}), typ: "round.displayed", rule: "displayed-session", expected: "the session's player"},
		{name: "the house claims in a player's place", commit: claim(true, func(_ *town, r *rounds.Displayed) {
			r.Actor = "operator"
		}), typ: "round.displayed", rule: "actor"},
		{name: "a claim is kept that differs, and no alarm is raised", commit: func(t *town) uint64 {
			t.Append(t.Claim(t.who[0], t.Spin(t.who[0], 20), false))
			return t.Spin(t.who[0], 20)
		}, typ: "round.settled", rule: "displayed-alarm", expected: system.AlarmDisplayed},
		{name: "the alarm is about another claim", commit: alarm(false, func(r *system.AlarmRaised) { r.About[0] ^= 1 }),
			typ: "alarm.raised", rule: "displayed-alarm"},
		{name: "the alarm says that it happens all the time", commit: alarm(false, func(r *system.AlarmRaised) { r.Count++ }),
			typ: "alarm.raised", rule: "displayed-alarm"},
		{name: "an alarm without a claim", commit: func(t *town) uint64 {
			return t.Append(&system.AlarmRaised{Alarm: system.AlarmDisplayed, Count: 1})
		}, typ: "alarm.raised", rule: "displayed-alarm"},
	}...)
}

// Claims of old rounds and new ones hold, and those that differ are told.
func TestWhatPlayersSaw(t *testing.T) {
	h := newTown()
	first := h.Spin(h.who[0], 20)
	h.more()
	h.Show(h.who[0], first, true)
	h.Show(h.who[0], first, false)
	h.Show(h.who[1], h.Spin(h.who[1], 20), true)
	h.more()
	r, err := check(t, h.House)
	mustHold(t, r, err)
	if r.Types["round.displayed"] != 3 || !strings.Contains(strings.Join(r.Warnings, "\n"), "displayed another result than the log has 1 times") {
		t.Errorf("%v, %q", r.Types, r.Warnings)
	}
}
