package books_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"countroom/games"
	"countroom/games/books"
	"countroom/games/slots"
	"countroom/rngcert/drbg"
)

// The simulation generator differs from production in where its words come
// from, and in nothing else: given the words that the DRBG makes of a draw
// value, it plays the very round that the house would.
func TestSimulationPlaysAsProductionDoes(t *testing.T) {
	m, err := slots.Compile(slots.Bundled())
	if err != nil {
		t.Fatal(err)
	}
	stakes := m.Definition().Stakes
	var real books.Play
	var simulated slots.Round
	long := 0
	for n := range uint64(20_000) {
		r := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		stake := stakes[n%uint64(len(stakes))]
		if err := real.Round(m, r, stake); err != nil {
			t.Fatal(err)
		}
		d, err := drbg.New(r[:], []byte("countroom/drbg/1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var words []byte
		next := func() uint64 {
			if len(words) == 0 {
				words = make([]byte, 32)
				if err := d.Generate(words, nil); err != nil {
					t.Fatal(err)
				}
			}
			w := binary.BigEndian.Uint64(words)
			words = words[8:]
			return w
		}
		if err := m.Play(games.NewSimulated(next), stake, &simulated); err != nil {
			t.Fatal(err)
		}
		if outcome := m.AppendOutcome(nil, &simulated); !bytes.Equal(outcome, real.Outcome) || simulated.Payout != real.Payout {
			t.Fatalf("r %x at stake %d:\nsimulated  %s\nproduction %s", r, stake, outcome, real.Outcome)
		}
		if len(simulated.Spins) > 1 {
			long++
		}
	}
	if long < 50 {
		t.Fatalf("only %d rounds had free spins", long)
	}
}
