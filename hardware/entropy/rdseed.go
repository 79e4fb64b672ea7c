package entropy

import (
	"context"
	"encoding/binary"
)

// RDSEED is the processor's own source (Intel's digital random number generator
// and its like): what the instruction gives went through the processor's
// conditioner, behind health tests that nobody outside sees.
type RDSEED struct{ Named string }

// Name returns the given name or "cpu-rdseed".
func (r RDSEED) Name() string { return named(r.Named, "cpu-rdseed") }

// Kind declares 4 bits a byte, for the same reason as Kernel does.
func (RDSEED) Kind() Kind {
	return Kind{Conditioned: true, Physical: true, Group: GroupCPU, Assurance: "cpu", MinEntropyPerByte: 4}
}

// Read fills p.
func (RDSEED) Read(ctx context.Context, p []byte) error {
	if err := rdseedThere(); err != nil {
		return err
	}
	for len(p) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		word, err := rdseedWord()
		if err != nil {
			return err
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], word)
		p = p[copy(p, b[:]):]
	}
	return nil
}

func named(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}
