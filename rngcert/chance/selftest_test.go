package chance

import (
	"encoding/binary"
	"errors"
	"testing"

	"countroom/rngcert/drbg"
	"countroom/rngcert/uniform"
)

// The known answer is that of the general generator, word for word, and a
// generator that is a little wrong does not give it.
func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Fatal(err)
	}
	general := func(change func(entropy []byte), skip int) func(Hash) func(uint32) uint32 {
		return func(r Hash) func(uint32) uint32 {
			change(r[:])
			d, err := drbg.New(r[:], []byte(drbgNonce), nil)
			if err != nil {
				t.Fatal(err)
			}
			var words []byte
			return func(n uint32) uint32 {
				for {
					if len(words) == 0 {
						words = make([]byte, 32)
						if err := d.Generate(words, nil); err != nil {
							t.Fatal(err)
						}
					}
					w := binary.BigEndian.Uint32(words)
					words = words[4:]
					if v, ok := uniform.Reduce(w, n); ok {
						if skip--; skip == 0 {
							v ^= 1
						}
						return v
					}
				}
			}
		}
	}
	same := func([]byte) {}
	if err := selfTest(general(same, 0)); err != nil {
		t.Errorf("package drbg gives something else: %v", err)
	}
	if err := selfTest(general(func(b []byte) { b[31] ^= 1 }, 0)); !errors.Is(err, ErrSelfTest) {
		t.Errorf("another entropy input: %v", err)
	}
	for wrong := 1; wrong <= len(knownAnswer); wrong++ {
		if err := selfTest(general(same, wrong)); !errors.Is(err, ErrSelfTest) {
			t.Errorf("integer %d is wrong: %v", wrong, err)
		}
	}
}
