package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/ledger/entry"
)

// watchRound shows a round to the monitor of its game.
func (r *replay) watchRound(index uint64, e *rounds.Settled, broken func(rule, expected, found string)) {
	r.watch.Round(index, e)
	if late := r.watch.Late(e.Game); late != nil {
		broken("chance-late", describe(late)+" before further "+fmt.Sprint(monitor.ObservedRounds)+" rounds at the game", "none")
	}
}

// describe names an entry that is owed.
func describe(r entry.Record) string {
	switch r := r.(type) {
	case *monitor.Alarmed:
		return fmt.Sprintf("a chance.alarmed of %s at entry %d", r.Monitor, r.Round)
	case *monitor.Observed:
		return fmt.Sprintf("a chance.observed of %d rounds", r.Rounds)
	}
	return r.Type()
}

// watchEntry begins to watch a game, and holds what the house says of its chance against what the rounds say.
func (r *replay) watchEntry(index uint64, e entry.Record, broken func(rule, expected, found string)) {
	switch e := e.(type) {
	case *rounds.GameEnabled:
		if g := r.games.get(index); g != nil {
			r.watch.Enabled(e.Game, e.Maths, g.machine.Definition())
		}
		return
	case *monitor.Alarmed:
		r.alarms[e.Game]++
	}
	var owed *monitor.OwedError
	if err := r.watch.Take(e); !errors.As(err, &owed) {
		return
	}
	want, found := clip([]byte(owed.Want)), clip([]byte(owed.Found))
	if _, alarm := e.(*monitor.Alarmed); alarm {
		broken("chance-alarm", want, found)
	} else {
		broken("chance-observed", want, found)
	}
}

// watched completes the report by what the monitors saw.
func (r *replay) watched() {
	for id, g := range r.watch.Games {
		c := Chance{Game: id, Rounds: g.Rounds(), Alarms: r.alarms[id], Threshold: g.Threshold()}
		c.Strongest, c.Evidence = g.Strongest()
		r.report.Chance = append(r.report.Chance, c)
		if alarm, ok := r.watch.Owed(id).(*monitor.Alarmed); ok {
			r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("game %s: %s is not in the log yet", id, describe(alarm)))
		}
		if c.Alarms > 0 {
			r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("game %s: its monitors raised %d alarms about its chance", id, c.Alarms))
		}
	}
	slices.SortFunc(r.report.Chance, func(a, b Chance) int { return cmp.Compare(a.Game, b.Game) })
	slices.Sort(r.report.Warnings)
}
