// Package games is what every game's mathematics shares: where its random
// integers come from.
//
// A game is a pure function of its definition, the stake and the integers it
// draws. It knows no clock, no player, no balance and no earlier round.
package games

import "countroom/rngcert/uniform"

// Draws hands out uniform integers in the order the game asks for them.
//
// In production it is the round's generator, whose every integer the log
// records; in replay it is that record again; in simulation it is Simulated.
type Draws interface {
	// Int returns an integer uniform in [0, n). n is at least 1.
	Int(n uint32) uint32
}

// Simulated draws from a stream of 64-bit words. It is for simulation and
// tests and never settles a wager: nothing commits to its words beforehand.
//
// It reduces words to ranges with package uniform, as production does.
type Simulated struct {
	next func() uint64
	low  uint32 // second half of the last word, when held
	held bool
}

// NewSimulated returns draws over the 64-bit words of next. Each word gives
// two 32-bit words, the upper half first.
func NewSimulated(next func() uint64) *Simulated {
	return &Simulated{next: next}
}

// Int returns an integer uniform in [0, n), n ≥ 1, when the words are uniform.
func (s *Simulated) Int(n uint32) uint32 {
	for {
		if v, ok := uniform.Reduce(s.word(), n); ok {
			return v
		}
	}
}

func (s *Simulated) word() uint32 {
	if s.held {
		s.held = false
		return s.low
	}
	w := s.next()
	s.low, s.held = uint32(w), true
	return uint32(w >> 32)
}
