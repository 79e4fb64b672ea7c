package verify

import (
	"fmt"
	"testing"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/regulator/verify/logtest"
)

// What is found, and in which order, does not depend on how far which worker
// had come.
func TestFindingsDoNotDependOnWorkers(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 1})
	who := []logtest.Player{h.Join(50_000)}
	h.Play(who, 300) // the game was enabled in another bundle than the fraud is in
	h.Tamper = func(_ uint64, r entry.Record) {
		if r, ok := r.(*rounds.Settled); ok {
			r.Draw.Values[0].Value ^= 1
			r.Draw.Number++
		}
	}
	h.Spin(who[0], 100)
	h.Tamper = nil
	var want string
	for _, workers := range []int{1, 2, 4} {
		r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range r.Findings {
			got += fmt.Sprintln(f.Index, f.Rule)
		}
		if want == "" {
			want = got
		}
		if len(r.Findings) != 2 || got != want {
			t.Errorf("%d workers find\n%sone finds\n%s", workers, got, want)
		}
	}
}
