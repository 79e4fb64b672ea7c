package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"countroom/cmd/appliance"
	"countroom/rngcert/epoch"
)

// rotationDraws is how many draws an epoch of the house that turns its seeds has:
// few enough for several to begin in each second.
const rotationDraws = 4000

// rotationTurns is how often each of the two houses is measured, one after the
// other, so that the machine's moods are shared.
const rotationTurns = 5

// rotation measures spins of a house whose seed epochs turn all the time beside
// those of one where none does.
func rotation(ctx context.Context, o options, tmp string) error {
	heading(fmt.Sprintf("rotation of seed epochs, of %d draws each, beside one epoch for all", rotationDraws))
	var houses [2]*appliance.Appliance
	var seats [2][]player
	for i, draws := range []uint64{epoch.DrawsMost, rotationDraws} {
		limits := epoch.Default
		limits.Draws = draws
		var err error
		houses[i], err = appliance.Open(ctx, appliance.Config{
			Dir: filepath.Join(tmp, "rotation-"+strconv.Itoa(i)), Release: "bench", Limits: limits, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		defer houses[i].Close(ctx)
		if seats[i], err = seat(ctx, houses[i].House); err != nil {
			return err
		}
	}
	fmt.Println("  callers             p50 ms   p99 ms    spins/s   epochs/s")
	for _, n := range []int{16, 64, 256} {
		var p50, p99, rate [2][]float64
		began, from := time.Now(), turned(ctx, houses[1])
		for range rotationTurns {
			for i, h := range houses {
				r, err := measure(n, o.length, patient(spin(ctx, h.House, seats[i])))
				if err != nil {
					return err
				}
				p50[i], p99[i], rate[i] = append(p50[i], ms(r.p50)), append(p99[i], ms(r.p99)), append(rate[i], r.rate)
			}
		}
		epochs := float64(turned(ctx, houses[1])-from) / (time.Since(began).Seconds() / 2)
		for i, name := range []string{"one epoch", "rotating"} {
			fmt.Printf("  %7d  %-9s  %7.2f  %7.2f  %9.0f", n, name, median(p50[i]), median(p99[i]), median(rate[i]))
			if i == 1 {
				fmt.Printf("  %9.1f  p99 %.2f of one epoch's", epochs, median(p99[1])/median(p99[0]))
			}
			fmt.Println()
		}
	}
	return nil
}

// patient tries again while there is no seed: what a client waits for counts.
func patient(op func(int) error) func(int) error {
	return func(i int) error {
		for {
			err := op(i)
			if !errors.Is(err, epoch.ErrNoEpoch) {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// turned is how many epochs a house has committed to.
func turned(ctx context.Context, a *appliance.Appliance) (n uint64) {
	for step := uint64(1) << 20; step > 0; step >>= 1 {
		if _, err := a.House.Epoch(ctx, n+step); err == nil {
			n += step
		}
	}
	return n
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
