package laboratory_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"countroom/games"
	"countroom/games/slots"
	"countroom/rngcert/chance"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/uniform"
	"countroom/rngcert/verdict"
)

// read makes a reader of what fills bytes.
type read func(p []byte)

func (f read) Read(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// words makes a reader of what gives 32-bit words.
func words(next func() uint32) io.Reader {
	var rest []byte
	return read(func(p []byte) {
		for len(p) > 0 {
			if len(rest) == 0 {
				rest = binary.BigEndian.AppendUint32(nil, next())
			}
			n := copy(p, rest)
			p, rest = p[n:], rest[n:]
		}
	})
}

// scaled draws from the words of a reader as the house does.
func scaled(r io.Reader) func(n uint32) uint32 {
	buffer := make([]byte, 4096)
	rest := buffer[:0]
	return func(n uint32) uint32 {
		for {
			if len(rest) == 0 {
				if _, err := io.ReadFull(r, buffer); err != nil {
					panic(err)
				}
				rest = buffer
			}
			w := binary.BigEndian.Uint32(rest)
			rest = rest[4:]
			if v, ok := uniform.Reduce(w, n); ok {
				return v
			}
		}
	}
}

// game draws the positions of each round with draw and examines the range of each.
func game(sequences, length int, draw func(n uint32) uint32, positions ...uint32) laboratory.Game {
	ranges := slices.Clone(positions)
	slices.Sort(ranges)
	g := laboratory.Game{Name: "game", Ranges: slices.Compact(ranges), Sequences: sequences, Draws: length}
	if len(positions) > 1 {
		g.Positions = positions
	}
	g.Round = func(record []laboratory.Draw) ([]laboratory.Draw, error) {
		for _, n := range positions {
			record = append(record, laboratory.Draw{N: n, V: draw(n)})
		}
		return record, nil
	}
	return g
}

func chacha(seed ...byte) *rand.ChaCha8 {
	var s [32]byte
	copy(s[:], seed)
	return rand.NewChaCha8(s)
}

func examine(t *testing.T, p laboratory.Plan) *laboratory.Report {
	t.Helper()
	p.Rule = verdict.Default
	report, err := laboratory.Run(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func drawer(t *testing.T, seed byte) *chance.Drawer {
	t.Helper()
	const origin = "house.example/one"
	secret, salt := [32]byte{seed}, [32]byte{1}
	d := chance.NewDrawer(chance.DeriveKey(secret, chance.Commitment(origin, 1, secret, salt), nil), origin)
	t.Cleanup(d.Destroy)
	return d
}

// TestGoodGeneratorsPass: the house's own road from epoch key to integers, and three generators that nobody doubts.
func TestGoodGeneratorsPass(t *testing.T) {
	d := drawer(t, 1)
	var x chance.Expander
	n, used := uint64(0), 0
	house := func(m uint32) uint32 {
		if used%5 == 0 { // a round of five draws
			n++
			x.Reset(d.Draw("flat", "1.0.0", [16]byte{1}, n, 0, nil))
		}
		used++
		return x.Int(m)
	}
	counter := uint64(0)
	hashes := read(func(p []byte) {
		for len(p) > 0 {
			counter++
			h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, counter))
			p = p[copy(p, h[:]):]
		}
	})
	steps := uint32(0)
	// Every step of one round: the values r themselves, of which the log is full.
	rs := read(func(p []byte) {
		for len(p) > 0 {
			steps++
			r := d.Draw("flat", "1.0.0", [16]byte{2}, 1, steps, nil)
			p = p[copy(p, r[:]):]
		}
	})
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	ctr := cipher.NewCTR(block, make([]byte, 16))
	stream := read(func(p []byte) {
		clear(p)
		ctr.XORKeyStream(p, p)
	})
	for _, c := range []struct {
		name string
		game laboratory.Game
		bits io.Reader
	}{
		{"the house", game(60, 10_000, house, 37, 37), rs},
		{"ChaCha8", game(6, 20_000, scaled(chacha(1)), 6, 52), chacha(2)},
		{"SHA-256 of a counter", game(6, 20_000, scaled(hashes), 1000, 2), hashes},
		{"AES in counter mode", game(6, 20_000, scaled(stream), 1<<20, 3), stream},
	} {
		report := examine(t, laboratory.Plan{
			Bits:  []laboratory.Bits{{Name: "bits", Sequences: 1, Length: 1_000_000, Data: c.bits}},
			Games: []laboratory.Game{c.game},
		})
		if report.Outcome != verdict.Pass {
			t.Errorf("%s: %s: %+v", c.name, report.Outcome, report.Runs[len(report.Runs)-1].Judgement)
		}
	}
}

// recorded hands on what an expander draws, and keeps it.
type recorded struct {
	draws  games.Draws
	record []laboratory.Draw
}

func (r *recorded) Int(n uint32) uint32 {
	v := r.draws.Int(n)
	r.record = append(r.record, laboratory.Draw{N: n, V: v})
	return v
}

// slotsGame plays the bundled slot by the house's road, free spins and all.
func slotsGame(t *testing.T, seed byte, sequences, length int) laboratory.Game {
	t.Helper()
	def := slots.Bundled()
	m, err := slots.Compile(def)
	if err != nil {
		t.Fatal(err)
	}
	g := laboratory.Game{Name: def.ID + " " + def.Version, Sequences: sequences, Draws: length}
	for _, strip := range def.Base {
		g.Positions = append(g.Positions, uint32(len(strip)))
	}
	g.Ranges = g.Positions
	d := drawer(t, seed)
	var x chance.Expander
	var round slots.Round
	n := uint64(0)
	g.Round = func(record []laboratory.Draw) ([]laboratory.Draw, error) {
		n++
		x.Reset(d.Draw(def.ID, def.Version, [16]byte{byte(n % 100)}, n/100, 0, nil))
		r := recorded{&x, record}
		if err := m.Play(&r, def.Stakes[0], &round); err != nil {
			return nil, err
		}
		return r.record, nil
	}
	return g
}

// TestTheBundledSlot: a hundred players at the slot, every draw of their rounds.
func TestTheBundledSlot(t *testing.T) {
	report := examine(t, laboratory.Plan{Games: []laboratory.Game{slotsGame(t, 2, 3, 20_000)}})
	g := report.Runs[0].Games[0]
	if report.Outcome != verdict.Pass || g.Rounds != 60_000 || g.Draws < 5*g.Rounds || g.Other == 0 || g.Draws-g.Other < 5*g.Rounds {
		t.Errorf("%s, %+v: %+v", report.Outcome, g, report.Runs[len(report.Runs)-1].Judgement)
	}
}

// TestBadGeneratorsFail: for each generator or fault that is known from casinos or from the literature, which
// tests must have found it.
func TestBadGeneratorsFail(t *testing.T) {
	good := scaled(chacha(10))
	randu := uint32(1)
	cut, rnd := uint32(1), uint32(1)
	var recording []uint32
	place := 0
	for range 25_000 {
		recording = append(recording, good(37))
	}
	var session func(n uint32) uint32
	inSession := 0
	instance, java := uint64(0), uint64(0)
	inRound := 0
	previous := uint32(0)
	var deck []uint32
	sequence := 0
	register := make([]byte, 127)
	for i := range register {
		register[i] = byte(good(2))
	}
	at := 0
	shuffled := rand.New(chacha(11))

	nearMisses := game(10, 50_000, nil, 20, 20, 20)
	nearMisses.Round = func(record []laboratory.Draw) ([]laboratory.Draw, error) {
		for {
			a, b, c := good(20), good(20), good(20)
			tops := 0
			for _, v := range []uint32{a, b, c} {
				if v == 0 {
					tops++
				}
			}
			if tops != 2 {
				return append(record, laboratory.Draw{N: 20, V: a}, laboratory.Draw{N: 20, V: b}, laboratory.Draw{N: 20, V: c}), nil
			}
		}
	}

	for _, c := range []struct {
		name   string
		plan   laboratory.Plan
		caught []string
	}{
		{"RANDU", games1(game(10, 50_000, func(n uint32) uint32 {
			randu = randu * 65539 & (1<<31 - 1)
			return uint32(uint64(randu) * uint64(n) >> 31)
		}, 36)), []string{"overlaps", "birthday spacings"}},
		{"the upper half of a 32-bit linear congruential generator", games1(game(2, 200_000, func(n uint32) uint32 {
			cut = 1664525*cut + 1013904223
			return cut >> 16 * n >> 16
		}, 1024)), []string{"birthday spacings"}},
		{"Rnd of Visual Basic, 24 bits", games1(game(10, 50_000, func(n uint32) uint32 {
			rnd = (16598013*rnd + 12820163) & (1<<24 - 1)
			return uint32(uint64(rnd) * uint64(n) >> 24)
		}, 37)), []string{"birthday spacings"}},
		{"9-bit words modulo 37: values below 31 come 14 times where others come 13 times", games1(game(8, 50_000, func(n uint32) uint32 { return good(512) % n }, 37)), []string{"chi-square"}},
		{"a bit that is stuck", laboratory.Plan{Bits: []laboratory.Bits{{
			Name: "bits", Sequences: 1, Length: 1_000_000, Data: words(func() uint32 { return good(1<<31)<<1 | 1 }),
		}}}, []string{"frequency", "runs", "discrete Fourier transform"}},
		{"a period of 25,000 draws", games1(game(10, 50_000, func(uint32) uint32 {
			place++
			return recording[place%len(recording)]
		}, 37)), []string{"duplicates"}},
		{"sessions seeded with 16 bits", games1(game(10, 50_000, func(n uint32) uint32 {
			if inSession%20 == 0 {
				v := good(1 << 16)
				session = scaled(chacha(byte(v), byte(v>>8)))
			}
			inSession++
			return session(n)
		}, 37)), []string{"duplicates"}},
		{"instances seeded with consecutive numbers", games1(game(10, 50_000, func(n uint32) uint32 {
			if inRound%5 == 0 { // java.util.Random, an instance for each round
				instance++
				java = (instance ^ 0x5DEECE66D) & (1<<48 - 1)
			}
			inRound++
			java = (java*0x5DEECE66D + 0xB) & (1<<48 - 1)
			return uint32(java >> 16 * uint64(n) >> 32)
		}, 37, 37, 37, 37, 37)), []string{"serial correlation", "interplay chi-square"}},
		{"adaptive discard of near misses: three reels never show exactly two of the top symbol", games1(nearMisses), []string{"interplay chi-square"}},
		{"a register of 127 bits, x^127 + x^63 + 1", laboratory.Plan{Bits: []laboratory.Bits{{
			Name: "bits", Sequences: 1, Length: 1_000_000, Data: read(func(p []byte) {
				for i := range p {
					for range 8 {
						v := register[at] ^ register[(at+64)%127]
						register[at] = v
						at = (at + 1) % 127
						p[i] = p[i]<<1 | v
					}
				}
			}),
		}}}, []string{"linear complexity"}},
		{"one draw in fifty says again what the last one said", games1(game(10, 50_000, func(n uint32) uint32 {
			if good(50) != 0 {
				previous = good(n)
			}
			return previous
		}, 37)), []string{"serial correlation", "overlaps"}},
		{"a deck of 37 numbers that is used up before it is shuffled", games1(game(60, 10_000, func(uint32) uint32 {
			if len(deck) == 0 {
				for _, v := range shuffled.Perm(37) {
					deck = append(deck, uint32(v))
				}
			}
			v := deck[0]
			deck = deck[1:]
			return v
		}, 37)), []string{"chi-square", "overlaps", "gaps"}},
		{"one sequence of ten in which the wheel is tilted", games1(game(10, 50_000, func(n uint32) uint32 {
			sequence++
			if sequence/50_000 == 3 && good(20) == 0 {
				return 17
			}
			return good(n)
		}, 37)), []string{"chi-square"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := examine(t, c.plan)
			last := report.Runs[len(report.Runs)-1]
			found := finders(last)
			for _, test := range c.caught {
				if !slices.Contains(found, test) {
					t.Errorf("not found by %q", test)
				}
			}
			if report.Outcome != verdict.Fail {
				t.Errorf("%s: %+v", report.Outcome, last.Judgement)
			}
			t.Logf("found in run %d by %s", len(report.Runs), strings.Join(found, ", "))
		})
	}
}

func games1(g laboratory.Game) laboratory.Plan { return laboratory.Plan{Games: []laboratory.Game{g}} }

// finders are the tests that would each have failed the run.
func finders(run laboratory.RunReport) (names []string) {
	odd := map[string]bool{}
	for _, v := range run.Judgement.Odd {
		odd[v.Name] = v.P <= run.Judgement.Level
	}
	for _, test := range run.Tests {
		for _, m := range test.Members {
			if odd[m.Name] && !slices.Contains(names, test.Test) {
				names = append(names, test.Test)
			}
		}
	}
	return names
}
