package chance

import (
	"errors"
	"fmt"
)

// SelfTest draws from a fixed r and compares with what package drbg and
// uniform give for it: the known-answer test that SP 800-90A, section 11.3,
// asks for before first use, of the generator that rounds are played with. The
// ranges need a second generate call and a rejected word.
func SelfTest() error {
	return selfTest(func(r Hash) func(uint32) uint32 {
		var x Expander
		x.Reset(r)
		return x.Int
	})
}

// knownAnswer are ranges and the integers drawn from r = 00 01 … 1f.
var knownAnswer = [...]struct{ n, drawn uint32 }{
	{1, 0}, {2, 1}, {3, 0}, {10, 9}, {37, 16}, {52, 9}, {1000, 583}, {1 << 31, 82913877}, {1<<31 + 1, 712828531}, {3 << 30, 796774688},
	{1<<32 - 1, 462261679}, {7, 0}, {6, 0}, {5, 0}, {4, 2}, {39, 14}, {36, 15}, {33, 16}, {1 << 16, 21883}, {1<<16 + 1, 4281},
}

func selfTest(expand func(r Hash) func(n uint32) uint32) error {
	var r Hash
	for i := range r {
		r[i] = byte(i)
	}
	draw := expand(r)
	for i, known := range knownAnswer {
		if v := draw(known.n); v != known.drawn {
			return fmt.Errorf("%w: integer %d below %d is %d, expected %d", ErrSelfTest, i+1, known.n, v, known.drawn)
		}
	}
	return nil
}

// ErrSelfTest says that the generator of draws does not give what it must:
// nothing may be played with it.
var ErrSelfTest = errors.New("chance: self-test: known answer not reproduced")
