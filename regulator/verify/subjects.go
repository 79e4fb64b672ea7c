package verify

import (
	"fmt"

	"countroom/games/subjects"
	"countroom/ledger/entry"
)

// Subjects counts what the house says it knows of people.
type Subjects struct {
	Commitments uint64 `json:"commitments"` // to values of their attributes
	Erased      uint64 `json:"erased"`      // players whom two officers had erased
	Period      uint64 `json:"period"`      // of the vault; 0 before it was wrapped anew
}

// subject takes an entry about what is known of a player.
func (r *replay) subject(index uint64, e entry.Record) {
	switch e := e.(type) {
	case *subjects.Recorded:
		r.report.Subjects.Commitments += uint64(len(e.Attributes))
	case *subjects.Erased:
		r.report.Subjects.Erased++
	}
	if r.opts.Subjects != nil {
		r.opts.Subjects(index, e)
	}
}

// rewrapped looks whether a new period of the vault holds the keys of all who are
// not erased. What is lost is no lie, and nothing that a log can hold against the
// house; but whoever reads it must be told.
func (r *replay) rewrapped(index uint64, e *subjects.Rewrapped) {
	r.report.Subjects.Period = e.Period
	if now := subjects.Now(r.rows); e.Subjects < now.Live {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: period %d of the vault has the keys of %d of %d subjects: what is known of the others is lost", index, e.Period, e.Subjects, now.Live))
	}
}
