package house_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"countroom/games/house/housetest"
)

// BenchmarkRewrap wraps the vault of many players anew while one of them plays: how long
// it takes, and how long he waits for a round meanwhile and before.
func BenchmarkRewrap(b *testing.B) {
	for _, players := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(players), func(b *testing.B) {
			h := housetest.Open(b, b.TempDir())
			var creating sync.WaitGroup
			for worker := range 256 {
				creating.Go(func() {
					for i := worker; i < players; i += 256 {
						id := fmt.Sprint("player-", i)
						if _, err := h.CreatePlayer(b.Context(), operators("create "+id, "/v1/players", id), id, "EUR"); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			creating.Wait()
			if b.Failed() {
				b.FailNow()
			}
			s := seated(b, h, "ann", 1_000_000_000)
			n := 0
			round := func() time.Duration {
				n++
				start := time.Now()
				spin(b, h, s, fmt.Sprint("spin ", n), 20)
				return time.Since(start)
			}
			var alone, meanwhile []time.Duration
			for range 200 {
				alone = append(alone, round())
			}
			for b.Loop() {
				over := make(chan struct{})
				var subjects uint64
				go func() {
					defer close(over)
					done, err := h.Rewrap(b.Context())
					if err != nil {
						b.Error(err)
					}
					subjects = done.Subjects
				}()
				for going := true; going; {
					select {
					case <-over:
						going = false
					default:
						meanwhile = append(meanwhile, round())
					}
				}
				if subjects != uint64(players)+1 {
					b.Fatalf("%d subjects", subjects)
				}
			}
			for name, list := range map[string][]time.Duration{"alone": alone, "meanwhile": meanwhile} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, "ms/round-"+name)
				b.ReportMetric(float64(list[len(list)-1].Microseconds())/1000, "ms/longest-"+name)
			}
			b.ReportMetric(float64(len(meanwhile))/float64(b.N), "rounds-meanwhile")
		})
	}
}
