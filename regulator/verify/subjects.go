package verify

import (
	"fmt"

	"countroom/games/subjects"
)

// rewrapped looks whether a new period of the vault holds the keys of all who are
// not erased. What is lost is no lie, and nothing that a log can hold against the
// house; but whoever reads it must be told.
func (r *replay) rewrapped(index uint64, e *subjects.Rewrapped) {
	if now := subjects.Now(r.rows); e.Subjects < now.Live {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: period %d of the vault has the keys of %d of %d subjects: what is known of the others is lost", index, e.Period, e.Subjects, now.Live))
	}
}
