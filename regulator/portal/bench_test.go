package portal_test

import (
	"flag"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

var entries = flag.Int("entries", 20_000, "rounds of the log that pages are made of")

// BenchmarkPages measures each page over a log of -entries rounds, and how long
// the tally takes to read it:
//
//	go test -run '^$' -bench Pages -benchtime 20x -timeout 2h ./regulator/portal -entries 2000000
func BenchmarkPages(b *testing.B) {
	w := openWith(b, 1<<20)
	const seats = 64
	var done sync.WaitGroup
	for i := range seats {
		s := w.seat(fmt.Sprint("player", i), "lamplight-quay")
		done.Go(func() {
			for n := range *entries / seats {
				if _, err := w.house.Spin(b.Context(), w.numbered("POST", "/v1/spins", s.Principal(), "100", i<<32|n), s, 20); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	start := time.Now()
	w.signIn()
	for strings.Contains(w.get("/regulator/", 200), "is still reading") {
		time.Sleep(5 * time.Millisecond)
	}
	size := w.house.Ledger.Signed().Size
	b.Logf("%d entries were read in %v", size, time.Since(start).Round(time.Millisecond))
	round := w.settled(w.spin(w.seats["player1"], 20))
	at := round.At.Std().Add(-time.Second)
	for name, path := range map[string]string{
		"overview": "/regulator/", "games": "/regulator/games", "revenue": "/regulator/revenue", "seeds": "/regulator/seeds", "events": "/regulator/events",
		"consistency": fmt.Sprintf("/regulator/consistency?from=%d", size/3), "round": "/regulator/rounds/" + round.ID.String(),
		"search-player": "/regulator/search?q=" + round.Player.String(), "search-time": "/regulator/search?kind=rounds&to=" + url.QueryEscape(at.Format("2006-01-02T15:04:05")),
		"search-amount-frequent": "/regulator/search?least=0.20", "search-amount-rare": "/regulator/search?least=1000&kind=rounds", "search-nothing": "/regulator/search?least=0.01&most=0.01",
		"dispute-pack": "/regulator/rounds/" + round.ID.String() + "/dispute-pack",
	} {
		b.Run(name, func(b *testing.B) {
			w := *w
			w.t = b
			for b.Loop() {
				w.get(path, 200)
			}
		})
	}
}
