package slots

import (
	"flag"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// small is a game of one line, the middle row, with one of each symbol on each
// strip, so that each line of cells can be called up.
const small = `{
  "format": "countroom/slots/1", "id": "small", "name": "Small", "version": "0.1.0",
  "symbols": [
    {"name": "wild",    "role": "wild",    "pays": [0, 0, 10, 50, 500]},
    {"name": "scatter", "role": "scatter", "pays": [0, 0, 0, 0, 0]},
    {"name": "apple",   "role": "line",    "pays": [0, 2, 20, 100, 200]},
    {"name": "berry",   "role": "line",    "pays": [0, 0, 5, 10, 20]},
    {"name": "cherry",  "role": "line",    "pays": [0, 0, 0, 0, 7]}
  ],
  "lines": [[1, 1, 1, 1, 1]],
  "stakes": [1, 10],
  "free_spins": {"awards": [0, 0, 0, 0, 0], "maximum": 0, "multiplier": 1},
  "max_win": 1000,
  "strips": {
    "base": [["wild", "scatter", "apple", "berry", "cherry"], ["wild", "scatter", "apple", "berry", "cherry"],
      ["wild", "scatter", "apple", "berry", "cherry"], ["wild", "scatter", "apple", "berry", "cherry"],
      ["wild", "scatter", "apple", "berry", "cherry"]],
    "free": [["wild", "apple", "berry"], ["wild", "apple", "berry"], ["wild", "apple", "berry"],
      ["wild", "apple", "berry"], ["wild", "apple", "berry"]]
  }
}`

func parse(t testing.TB, data string) *Definition {
	t.Helper()
	d, err := Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func compile(t testing.TB, d *Definition) *Machine {
	t.Helper()
	m, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// script hands out the draws it is made of.
type script struct {
	t     testing.TB
	draws []uint32
}

func (s *script) Int(n uint32) uint32 {
	if len(s.draws) == 0 {
		s.t.Fatal("more draws than expected")
	}
	v := s.draws[0]
	s.draws = s.draws[1:]
	return v
}

// play plays a round in which the reels stop as told, spin after spin.
func play(t testing.TB, m *Machine, stake int64, spins ...[5]int) *Round {
	t.Helper()
	s := &script{t: t}
	for _, stops := range spins {
		for _, stop := range stops {
			s.draws = append(s.draws, uint32(stop))
		}
	}
	var r Round
	if err := m.Play(s, stake, &r); err != nil {
		t.Fatal(err)
	}
	if len(s.draws) > 0 {
		t.Fatalf("the round left %d draws untouched", len(s.draws))
	}
	return &r
}

// showing returns the stops at which the row shows the symbol on each reel.
func showing(t testing.TB, strips *[5][]string, row int, symbols ...string) (stops [5]int) {
	t.Helper()
	for reel, symbol := range symbols {
		at := slices.Index(strips[reel], symbol)
		if at < 0 {
			t.Fatalf("no %s on reel %d", symbol, reel+1)
		}
		stops[reel] = (at - row + len(strips[reel])) % len(strips[reel])
	}
	return stops
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

// splitmix is a well known small generator: enough to pick test cases.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
