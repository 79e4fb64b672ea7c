package entropy

import (
	"errors"

	"golang.org/x/sys/cpu"
)

// rdseed asks the processor once; three times in four it has nothing to give.
//
//go:noescape
func rdseed() (word uint64, ok bool)

func pause()

// rdseedTries is how often a word is asked for before the processor counts as
// failed: at more than a hundred times what was ever seen to be needed.
const rdseedTries = 10_000

func rdseedWord() (uint64, error) {
	for range rdseedTries {
		if word, ok := rdseed(); ok {
			return word, nil
		}
		pause()
	}
	return 0, errors.New("RDSEED: the processor gives nothing")
}

// rdseedThere is an error on a processor without the instruction.
func rdseedThere() error {
	if !cpu.X86.HasRDSEED {
		return errors.New("this processor has no RDSEED instruction")
	}
	return nil
}
