package verify

import (
	"fmt"
	"time"

	"countroom/games/certificates"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// SelfCheckLate is how much log time of one process may pass without a software.verified before a report warns.
const SelfCheckLate = 25 * time.Hour

// software watches that a house which looks at its own program, or is in production, goes on doing so.
type software struct {
	due   bool       // it is known to
	since entry.Time // of the latest software.verified or house.active
	told  bool       // that it is late
}

func (s *software) entry(report *Report, index uint64, e entry.Record) {
	at := e.Head().At
	switch e.(type) {
	case *system.HouseActive, *system.PairActive: // while no process was the writer there was nothing to look at
		s.since, s.told = at, false
		return
	}
	if s.due && !s.told && at > s.since.Add(SelfCheckLate) {
		s.told = true
		report.Warnings = append(report.Warnings, fmt.Sprintf("entry %d: the house has not looked at its own program since %s, expected at least every %v", index, s.since, SelfCheckLate))
	}
	switch e := e.(type) {
	case *certificates.Production:
		s.due = true
	case *certificates.Verified:
		s.due, s.since, s.told = true, at, false
		if !e.Matches {
			report.Warnings = append(report.Warnings, fmt.Sprintf("entry %d: program, configuration or games on %s were not what they should be", index, e.Node))
		}
	}
}
