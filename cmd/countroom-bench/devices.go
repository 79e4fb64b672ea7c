package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"countroom/cmd/appliance"

	"github.com/sigstore/sigstore/pkg/signature"
)

// hsmTime is how long a device on the network takes for a signature.
const hsmTime = 5 * time.Millisecond

// slowSigner stands in for such a device: it works on several signatures at once
// and takes its time for each.
type slowSigner struct {
	signature.Signer
	places chan struct{}
}

func (s slowSigner) SignMessage(m io.Reader, opts ...signature.SignOption) ([]byte, error) {
	s.places <- struct{}{}
	defer func() { <-s.places }()
	time.Sleep(hsmTime)
	return s.Signer.SignMessage(m, opts...)
}

// devices measures what a slow checkpoint signer costs: the same house with its
// key in memory and with each signature held back, alternating, so that what
// else the machine does falls on both.
func devices(ctx context.Context, o options, tmp string) error {
	const callers, rounds = 256, 3
	fmt.Printf("\ncheckpoints signed in memory and by an emulated HSM, %v a signature, %d callers\n", hsmTime, callers)
	var memory, slow result
	for n := range rounds {
		for _, hsm := range []bool{false, true} {
			r, err := playWith(ctx, o, filepath.Join(tmp, fmt.Sprint("devices-", n, hsm)), callers, hsm)
			if err != nil {
				return err
			}
			best := &memory
			if hsm {
				best = &slow
			}
			if r.rate > best.rate {
				*best = r
			}
		}
	}
	for _, line := range []struct {
		name string
		result
	}{{"in memory", memory}, {"emulated HSM", slow}} {
		fmt.Printf("  %-14s %9.0f spins/s  p50 %8v  p99 %8v  %6v CPU each\n", line.name, line.rate, line.p50.Round(10*time.Microsecond), line.p99.Round(10*time.Microsecond), line.cpu.Round(time.Microsecond))
	}
	fmt.Printf("  the HSM's house plays %.0f%% of the other's spins; best of %d runs each\n", slow.rate/memory.rate*100, rounds)
	return nil
}

func playWith(ctx context.Context, o options, dir string, callers int, hsm bool) (result, error) {
	cfg := appliance.Config{Dir: dir, Release: "bench", Log: slog.New(slog.DiscardHandler)}
	if hsm {
		cfg.Signatures = 8
		cfg.Machine.WrapSigner = func(s signature.Signer) signature.Signer { return slowSigner{s, make(chan struct{}, 8)} }
	}
	a, err := appliance.Open(ctx, cfg)
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	defer a.Close(ctx)
	seats, err := seat(ctx, a.House)
	if err != nil {
		return result{}, err
	}
	op := spin(ctx, a.House, seats)
	if _, err := measure(callers, o.length/3, op); err != nil { // warm up
		return result{}, err
	}
	return measure(callers, o.length, op)
}
