package house_test

import (
	"fmt"
	"sync"
	"testing"

	"countroom/games/books"
	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
)

// The house writes down what its monitors count, and goes on counting after a restart where it was.
func TestMonitorsTrailThePlay(t *testing.T) {
	dir := t.TempDir()
	spins := 0
	play := func(h *housetest.House, count int) {
		t.Helper()
		const players = 64
		var wg sync.WaitGroup
		for i := range players {
			s := seated(t, h, fmt.Sprintf("guest-%d-%d", spins, i), 10_000_000)
			wg.Go(func() {
				for n := range count / players {
					if _, err := patient(t.Context(), h, s, fmt.Sprintf("%d", n), 20); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		spins += count
	}
	observed := func(h *housetest.House) (list []*monitor.Observed) { return all[monitor.Observed](t, h) }

	h := housetest.Open(t, dir)
	play(h, monitor.ObservedRounds+64)
	eventually(t, "the first counts", func() bool { return len(observed(h)) == 1 })
	h.Close()

	h = housetest.Open(t, dir)
	play(h, monitor.ObservedRounds)
	eventually(t, "the second counts", func() bool { return len(observed(h)) == 2 })
	if o := observed(h)[1]; o.Rounds != 2*monitor.ObservedRounds || o.Game != "lamplight-quay" {
		t.Errorf("the second counts are of %d rounds of %s", o.Rounds, o.Game)
	}
	eventually(t, "all rounds", func() bool {
		v := h.Monitors()
		return len(v) == 1 && v[0].Rounds == uint64(spins) && v[0].Threshold == 26
	})

	// A fold over the whole log comes to the same, and nothing is owed.
	w := monitor.NewWatch()
	d := slots.Bundled()
	w.Enabled(d.ID, d.Hash(), d)
	for i, leaf := range leaves(t, h) {
		r, err := books.Decode(leaf)
		if err != nil {
			t.Fatal(err)
		}
		switch r := r.(type) {
		case *rounds.Settled:
			w.Round(uint64(i), r)
		case *monitor.Observed, *monitor.Alarmed:
			if err := w.Take(r); err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
		}
	}
	if w.Owed(d.ID) != nil {
		t.Errorf("owed: %+v", w.Owed(d.ID))
	}
	if h.Alarmed() != 0 {
		t.Errorf("%d alarms of honest play", h.Alarmed())
	}
}

// An alarm takes the game out of play, where the house is set to do so, and the operator may put it there again.
func TestAnAlarmSuspendsAGame(t *testing.T) {
	for _, suspend := range []bool{true, false} {
		t.Run(fmt.Sprint("suspend ", suspend), func(t *testing.T) {
			h := housetest.Open(t, t.TempDir(), func(_ *ledger.Config, c *house.Config) { c.SuspendOnAlarm = suspend })
			s := seated(t, h, "regular", 1000)
			receipt, _ := spin(t, h, s, "before", 20)
			d := slots.Bundled()
			if err := h.OweAlarm(t.Context(), &monitor.Alarmed{Evidence: 27, Game: d.ID, Maths: d.Hash(), Monitor: "draws/32", Round: receipt.Index, Rounds: 1}); err != nil {
				t.Fatal(err)
			}
			list := all[monitor.Alarmed](t, h)
			if len(list) != 1 || list[0].Suspended != suspend || h.Alarmed() != 1 {
				t.Fatalf("%+v", list)
			}
			if _, err := try(t.Context(), h, s, "after", 20); (err != nil) != suspend {
				t.Fatalf("a spin after the alarm: %v", err)
			}
			if !suspend {
				return
			}
			if _, err := h.SetGameState(t.Context(), operators("again", "/v1/games/"+d.ID+"/state", "{}"), d.ID, true, "looked into"); err != nil {
				t.Fatal(err)
			}
			spin(t, h, s, "later", 20)
		})
	}
}
