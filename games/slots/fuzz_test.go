package slots

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"runtime/metrics"
	"strings"
	"testing"

	"countroom/games"
	"countroom/ledger/entry"
)

// spent fails the test if f allocates more than it may for n bytes of input:
// so many times n, and a mebibyte that others in the process may have taken.
func spent(t *testing.T, n, times int, f func()) {
	t.Helper()
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	got := uint64(math.MaxUint64)
	for range 5 { // others may take more at any time, but f takes as much each time
		metrics.Read(s)
		before := s[0].Value.Uint64()
		f()
		metrics.Read(s)
		if got = min(got, s[0].Value.Uint64()-before); got <= uint64(times*n+1<<20) {
			return
		}
	}
	t.Errorf("%d bytes of input took %d bytes of memory", n, got)
}

// A definition that is read is written in its RFC 8785 form, and rounds by it
// keep to its bounds and the rules.
func FuzzParse(f *testing.F) {
	bundled, err := os.ReadFile("data/lamplight-quay.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundled)
	f.Add([]byte(small))
	f.Add([]byte(strings.Replace(small, `"id"`, ` "i\u0064"`, 1)))
	f.Add([]byte(`{"format":"countroom/slots/1","id":"x","id":"y"}`))
	f.Add([]byte(`{"lines":[[[[[[`))
	f.Add([]byte(`{"lines":` + strings.Repeat(`[`, 100_000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d *Definition
		var err error
		spent(t, len(data), 256, func() { d, err = Parse(data) })
		if err != nil {
			if !errors.Is(err, ErrDefinition) {
				t.Fatalf("error is not ErrDefinition: %v", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("read what is not JSON: %q", data)
		}
		canonical, err := entry.Canonical(data)
		if err != nil || !bytes.Equal(d.Canonical(), canonical) {
			t.Fatalf("written as\n%s\nwant\n%s, %v", d.Canonical(), canonical, err)
		}
		again, err := Parse(canonical)
		if err != nil {
			t.Fatalf("canonical form refused: %v", err)
		}
		if again.Hash() != d.Hash() {
			t.Fatal("canonical form is not stable")
		}
		m, err := Compile(d)
		if err != nil {
			t.Fatalf("read but not compiled: %v", err)
		}
		b := m.Bounds()
		seed := uint64(len(data))
		draws := games.NewSimulated(func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed ^ seed>>32 })
		var r Round
		for _, stake := range d.Stakes {
			if err := m.Play(draws, stake, &r); err != nil {
				t.Fatal(err)
			}
			if outcome := m.AppendOutcome(nil, &r); len(r.Spins) > b.Spins || len(outcome) > b.Bytes || r.Payout > b.Payout || !json.Valid(outcome) {
				t.Fatalf("%d spins, payout %d, beyond %+v: %s", len(r.Spins), r.Payout, b, outcome)
			}
			audit(t, m, stake, &r)
		}
	})
}
