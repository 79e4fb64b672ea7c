package verify

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strconv"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// displayed holds what the house says of what clients showed.
type displayed struct {
	seed     maphash.Seed
	differs  uint64            // claims that are not as the log has it
	unanswer *rounds.Displayed // such a claim as the entry before, without its alarm yet
}

// showing is what is kept, beside its id, of what a player was to see of a round:
// 64 bits under a seed that nobody knows who writes a log. Zero is of no round.
func (d *displayed) showing(player entry.Ref, expected *[32]byte) uint64 {
	var b [16 + 32]byte
	copy(b[:16], player[:])
	copy(b[16:], expected[:])
	return maphash.Bytes(d.seed, b[:]) | 1
}

// claimed holds a claim against the rounds there were.
func (r *replay) claimed(e *rounds.Displayed, broken func(rule, expected, found string)) {
	// Of a round that cannot be recomputed it is not known what was to be seen.
	if shown := r.ids.get(e.Round); r.missed == 0 && (shown == nil || *shown != r.displayed.showing(e.Player, &e.Expected)) {
		broken("displayed-expected", "the displayed result of an earlier round of this player", hex.EncodeToString(e.Expected[:])+" of round "+e.Round.String())
	}
	if !e.Matches() {
		r.displayed.differs++
		r.displayed.unanswer = e
	}
}

// answered holds the entry after a claim that differs: its alarm.
func (r *replay) answered(e entry.Record, broken func(rule, expected, found string)) {
	claim := r.displayed.unanswer
	r.displayed.unanswer = nil
	alarm, ok := e.(*system.AlarmRaised)
	ok = ok && alarm.Alarm == system.AlarmDisplayed
	switch {
	case claim == nil && ok:
		broken("displayed-alarm", "a round.displayed that differs as the entry before", "none")
	case claim != nil && !ok:
		broken("displayed-alarm", "alarm.raised "+system.AlarmDisplayed, e.Type())
	case ok && (alarm.About != claim.Displayed || alarm.Count != 1):
		broken("displayed-alarm", "about "+hex.EncodeToString(claim.Displayed[:])+", count 1",
			"about "+hex.EncodeToString(alarm.About[:])+", count "+strconv.FormatUint(alarm.Count, 10))
	}
}

// shownOtherwise completes the report by what clients showed.
func (r *replay) shownOtherwise() {
	if claim := r.displayed.unanswer; claim != nil && r.stopped == "" {
		r.report.find(Finding{
			Index: r.replayed, Type: "alarm.raised", Rule: "displayed-alarm",
			Expected: "alarm.raised " + system.AlarmDisplayed + " about " + hex.EncodeToString(claim.Displayed[:]), Found: "the end of the log",
		})
	}
	if n := r.displayed.differs; n > 0 {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("clients displayed another result than the log has %d times: alarm.raised %s", n, system.AlarmDisplayed))
	}
}
