package sp80090b

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// sources make the sequences that NIST's own program was run on. What it printed is in testdata/ea_non_iid.json: the version of
// its repository there is the one that was built, and COUNTROOM_WRITE_SAMPLES=DIR writes the sequences for it.
var sources = []struct {
	name  string
	width int
	make  func(r *rand.Rand, s []byte)
}{
	{"uniform bytes", 8, func(r *rand.Rand, s []byte) {
		for i := range s {
			s[i] = byte(r.Uint32())
		}
	}},
	{"biased bits", 1, func(r *rand.Rand, s []byte) {
		for i := range s {
			if r.Float64() < 0.7 {
				s[i] = 1
			}
		}
	}},
	{"sticky bits", 1, func(r *rand.Rand, s []byte) {
		for i := range s {
			s[i] = byte(r.Uint32() & 1)
			if i > 0 && r.Float64() < 0.8 {
				s[i] = s[i-1]
			}
		}
	}},
	{"normal nibbles", 4, func(r *rand.Rand, s []byte) {
		for i := range s {
			s[i] = byte(min(max(8+2*r.NormFloat64(), 0), 15))
		}
	}},
	{"nearly periodic bytes", 8, func(r *rand.Rand, s []byte) {
		for i := range s {
			s[i] = byte(i % 97 * 5)
			if r.Uint32()%4 == 0 {
				s[i] = byte(r.Uint32())
			}
		}
	}},
	{"walk of three bits", 3, func(r *rand.Rand, s []byte) {
		for i := range s {
			if i > 0 {
				s[i] = (s[i-1] + byte(r.IntN(3)) + 7) & 7
			}
		}
	}},
}

func sequence(i int) []byte {
	s := make([]byte, Least)
	sources[i].make(rand.New(rand.NewChaCha8([32]byte{byte(i)})), s)
	return s
}

// TestAgainstNIST holds every estimate against NIST's own program on the same samples.
func TestAgainstNIST(t *testing.T) {
	if dir := os.Getenv("COUNTROOM_WRITE_SAMPLES"); dir != "" {
		for i, s := range sources {
			if err := os.WriteFile(fmt.Sprintf("%s/%d-%d.bin", dir, i, s.width), sequence(i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	b, err := os.ReadFile("testdata/ea_non_iid.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Sources map[string]struct {
			Literal, BitString map[string]float64
			MinEntropy         float64
		}
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	for i, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			want := golden.Sources[s.name]
			hold := func(kind string, got []Estimate, want map[string]float64) {
				if len(got) != len(want) {
					t.Errorf("%s: %d estimates, NIST's program gives %d", kind, len(got), len(want))
				}
				for _, e := range got {
					// Its searches for p end a little earlier than ours.
					if w, ok := want[e.Name]; !ok || math.Abs(e.MinEntropy-w) > 1e-6 {
						t.Errorf("%s, %s: %.6f, NIST's program says %.6f", kind, e.Name, e.MinEntropy, w)
					}
				}
			}
			if raceEnabled && s.width > 1 {
				return // millions of bits take minutes then
			}
			a, err := Assess(sequence(i), s.width)
			if err != nil {
				t.Fatal(err)
			}
			hold("literal", a.Literal, want.Literal)
			hold("bit string", a.BitString, want.BitString)
			if math.Abs(a.MinEntropy-want.MinEntropy) > 1e-6 {
				t.Errorf("assessed %.6f bits per symbol, NIST's program %.6f", a.MinEntropy, want.MinEntropy)
			}
		})
	}
}

// TestSuffixArray sorts short sequences both ways.
func TestSuffixArray(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{7}))
	for n := range 300 {
		s := make([]byte, 1+r.IntN(60))
		for i := range s {
			s[i] = byte(r.IntN(1 + n%4))
		}
		want := make([]int32, len(s))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortFunc(want, func(a, b int32) int { return slices.Compare(s[a:], s[b:]) })
		if got := suffixArray(s); !slices.Equal(got, want) {
			t.Fatalf("%v: %v, expected %v", s, got, want)
		}
	}
}

// TestRepetitions counts tuples both ways.
func TestRepetitions(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{8}))
	for n := range 300 {
		s := make([]byte, 2+r.IntN(40))
		for i := range s {
			s[i] = byte(r.IntN(1 + n%3))
		}
		most, pairs := repetitions(s)
		for l := 1; l <= len(s); l++ {
			count := map[string]int{}
			for i := 0; i+l <= len(s); i++ {
				count[string(s[i:i+l])]++
			}
			wantMost, wantPairs := 0, 0
			for _, c := range count {
				wantMost = max(wantMost, c)
				wantPairs += c * (c - 1) / 2
			}
			if wantMost < 2 {
				if len(most) != l {
					t.Fatalf("%v: repeats up to length %d, expected %d", s, len(most)-1, l-1)
				}
				break
			}
			if l >= len(most) || most[l] != wantMost || pairs[l] != uint64(wantPairs) {
				t.Fatalf("%v, length %d: %v %v, expected %d and %d", s, l, most, pairs, wantMost, wantPairs)
			}
		}
	}
}

// TestConstant: a source that says nothing has no entropy.
func TestConstant(t *testing.T) {
	widths := []int{1, 2}
	if raceEnabled {
		widths = widths[:1]
	}
	for _, width := range widths {
		a, err := Assess(make([]byte, Least), width)
		if err != nil {
			t.Fatal(err)
		}
		if a.MinEntropy != 0 {
			t.Errorf("%d bits: %v bits of entropy in a constant: %+v", width, a.MinEntropy, a)
		}
	}
}

func TestBadSamples(t *testing.T) {
	wide := make([]byte, Least)
	wide[17] = 4
	for name, c := range map[string]struct {
		samples []byte
		width   int
	}{"too few": {make([]byte, Least-1), 8}, "no bits": {make([]byte, Least), 0}, "nine bits": {make([]byte, Least), 9}, "a wide symbol": {wide, 2}} {
		if _, err := Assess(c.samples, c.width); !errors.Is(err, ErrSamples) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := IID(c.samples, c.width, 1, func(uint32) uint32 { return 0 }); !errors.Is(err, ErrSamples) {
			t.Errorf("%s, IID: %v", name, err)
		}
	}
}

// TestIID: independent samples pass, however biased; dependent ones and those that change on the way do not.
func TestIID(t *testing.T) {
	const n = 10_000
	source := func(seed byte, f func(r *rand.Rand, i int, before byte) byte) []byte {
		r := rand.New(rand.NewChaCha8([32]byte{seed}))
		s := make([]byte, n)
		for i := range s {
			before := byte(0)
			if i > 0 {
				before = s[i-1]
			}
			s[i] = f(r, i, before)
		}
		return s
	}
	// What fails is not decided before the last shuffle: fewer will do to show it.
	shuffles := map[bool]int{true: 10_000, false: 400}
	for _, c := range []struct {
		name  string
		width int
		iid   bool
		f     func(r *rand.Rand, i int, before byte) byte
	}{
		{"uniform nibbles", 4, true, func(r *rand.Rand, _ int, _ byte) byte { return byte(r.IntN(16)) }},
		{"biased nibbles", 4, true, func(r *rand.Rand, _ int, _ byte) byte { return byte(min(r.IntN(16), r.IntN(16))) }},
		{"biased bits", 1, true, func(r *rand.Rand, _ int, _ byte) byte { return byte(r.IntN(3) / 2) }},
		{"sticky bits", 1, false, func(r *rand.Rand, _ int, before byte) byte {
			if r.IntN(20) == 0 {
				return before
			}
			return byte(r.IntN(2))
		}},
		{"a counter with noise", 8, false, func(r *rand.Rand, i int, _ byte) byte { return byte(i) + byte(r.IntN(64)) }},
		{"drifting nibbles", 4, false, func(r *rand.Rand, i int, _ byte) byte {
			if i > n/2 && r.IntN(10) == 0 {
				return 15
			}
			return byte(r.IntN(16))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewChaCha8([32]byte{99}))
			results := iid(source(11, c.f), c.width, shuffles[c.iid], r.Uint32N)
			var failed []Result
			for _, x := range results {
				if !x.Passed {
					failed = append(failed, x)
				}
			}
			if len(results) != 22 || c.iid != (len(failed) == 0) {
				t.Errorf("of %d tests failed %+v", len(results), failed)
			}
		})
	}
}

func BenchmarkAssess(b *testing.B) {
	s := sequence(0)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		if _, err := Assess(s, 8); err != nil {
			b.Fatal(err)
		}
	}
}
