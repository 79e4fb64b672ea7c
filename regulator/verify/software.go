package verify

import (
	"encoding/hex"
	"fmt"
	"strconv"
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

	wrong   uint64   // entry of the latest software.verified that does not match, 0 for none
	program [32]byte // that it found
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
			s.wrong, s.program = index, e.Program
			report.Warnings = append(report.Warnings, fmt.Sprintf("entry %d: program, configuration or games on %s were not what they should be", index, e.Node))
		}
	}
}

// alarm holds an alarm that something does not match: it follows what was found.
func (s *software) alarm(index uint64, e *system.AlarmRaised, broken func(rule, expected, found string)) {
	if s.wrong == 0 || s.wrong+1 != index || s.program != e.About {
		broken("alarm-about", "the program of a software.verified that does not match, as the entry before", hex.EncodeToString(e.About[:]))
	}
	if e.Count != 1 {
		broken("alarm-count", "1", strconv.FormatUint(e.Count, 10))
	}
}
