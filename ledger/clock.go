package ledger

import (
	"time"

	"countroom/ledger/entry"
)

// Clock reads the time of day, and with it a clock that only ever runs forward
// at an even pace, from wherever it likes.
type Clock func() (wall time.Time, steady time.Duration)

// systemClock reads the machine's clocks.
func systemClock() Clock {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start) // by the monotonic reading
	}
}

// stamps gives entries their times. They never go back: where the machine's
// clock was set back, they go on at the pace of the steady clock until the time
// of day has caught up.
type stamps struct {
	last   entry.Time
	wall   time.Time
	steady time.Duration
}

// stepLeast is the smallest jump of the clock that is recorded.
const stepLeast = 500 * time.Millisecond

// next returns the time for an entry made now, and by how much the clock was
// found to have jumped since the stamp before, 0 for none.
func (s *stamps) next(wall time.Time, steady time.Duration) (at entry.Time, step time.Duration) {
	elapsed := steady - s.steady
	first := s.wall.IsZero()
	if !first {
		step = wall.Sub(s.wall) - elapsed
		if step < stepLeast && step > -stepLeast {
			step = 0
		}
	}
	if at = entry.TimeOf(wall); at < s.last {
		at = s.last
		if !first {
			at = s.last.Add(elapsed)
		}
	}
	s.last, s.wall, s.steady = at, wall, steady
	return at, step
}
