package ledger

import (
	"time"

	"countroom/ledger/entry"
)

// clock stamps entries. Stamps never go back: where the machine's clock was set
// back, they go on at the pace of its monotonic clock until the time of day has
// caught up.
type clock struct {
	last     entry.Time
	lastWall time.Time // with its monotonic reading
}

// stepLeast is the smallest jump of the clock that is recorded.
const stepLeast = 500 * time.Millisecond

// stamp returns the time for an entry made now, and by how much the clock was
// found to have jumped since the stamp before, 0 for none.
func (c *clock) stamp(now time.Time) (at entry.Time, step time.Duration) {
	elapsed := now.Sub(c.lastWall) // monotonic where both have such a reading
	if !c.lastWall.IsZero() {
		step = now.Round(0).Sub(c.lastWall.Round(0)) - elapsed
		if step < stepLeast && step > -stepLeast {
			step = 0
		}
	}
	at = entry.TimeOf(now)
	if at < c.last {
		at = c.last
		if !c.lastWall.IsZero() && elapsed > 0 {
			at = c.last.Add(elapsed)
		}
	}
	c.last, c.lastWall = at, now
	return at, step
}
