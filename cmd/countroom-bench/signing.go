package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"countroom/cmd/appliance"
	"countroom/ledger/cosign"
	"countroom/regulator/witness"

	"github.com/sigstore/sigstore/pkg/signature"
)

// deviceTime is how long an emulated HSM takes for a signature.
const deviceTime = 5 * time.Millisecond

// device is a key that takes its time, one signature after another or several at
// once, as its ledger lets it.
type device struct{ signature.Signer }

func (d device) SignMessage(m io.Reader, o ...signature.SignOption) ([]byte, error) {
	time.Sleep(deviceTime)
	return d.Signer.SignMessage(m, o...)
}

// setup is one way to sign.
type setup struct {
	name   string
	change func(*appliance.Config)
}

// signing compares houses whose checkpoints are signed, and cosigned, in different
// ways, in one run.
func signing(ctx context.Context, o options, tmp string) error {
	slow := func(at int) func(*appliance.Config) {
		return func(c *appliance.Config) {
			c.Signatures = at
			c.Machine.WrapSigner = func(s signature.Signer) signature.Signer { return device{s} }
		}
	}
	setups := []setup{
		{"a key in memory", func(*appliance.Config) {}},
		{"HSM of 5 ms, one at a time", slow(1)},
		{"HSM of 5 ms, up to 4 at once", slow(4)},
		{"key in memory, 2 of 3 witnesses", nil},
	}
	heading("spins in process by how checkpoints are signed")
	fmt.Println("  callers  signed by                            spins/s   p50 ms   p99 ms  of a key in memory  callers/latency allows")
	houses := make([]*appliance.Appliance, len(setups))
	seats := make([][]player, len(setups))
	for i, s := range setups {
		cfg := appliance.Config{Dir: filepath.Join(tmp, fmt.Sprintf("signing-%d", i)), Origin: fmt.Sprintf("bench.invalid/%d", i), Release: "bench", Log: slog.New(slog.DiscardHandler)}
		if s.change != nil {
			s.change(&cfg)
		} else {
			// A witness knows a house by its key, so the house is founded first.
			a, err := appliance.Open(ctx, cfg)
			if err != nil {
				return err
			}
			vkey := a.Ledger.VKey()
			if err := a.Close(ctx); err != nil {
				return err
			}
			stop, err := witnesses(&cfg, tmp, vkey)
			defer stop()
			if err != nil {
				return err
			}
		}
		var err error
		if houses[i], err = appliance.Open(ctx, cfg); err != nil {
			return err
		}
		defer houses[i].Close(ctx)
		if seats[i], err = seat(ctx, houses[i].House); err != nil {
			return err
		}
	}
	for _, n := range []int{1, 64, 256, 1024} {
		var memory result
		for i, s := range setups {
			r, err := measure(n, o.length, spin(ctx, houses[i].House, seats[i]))
			if err != nil {
				return err
			}
			bound := ""
			if i == 0 {
				memory = r
			} else if s.change != nil {
				// Little's law: whoever waits for a signature waits that long, and
				// besides at least as long as without it.
				bound = fmt.Sprintf("%22.2f", min(1, float64(n)/(deviceTime+memory.p50).Seconds()/memory.rate))
			}
			fmt.Printf("  %7d  %-33s %10.0f  %7.2f  %7.2f  %18.2f  %s\n", n, s.name, r.rate, ms(r.p50), ms(r.p99), r.rate/memory.rate, bound)
		}
	}
	fmt.Println("  A caller has one spin under way, so that a house cannot pass callers ÷ latency, whatever it does:")
	fmt.Printf("  %d callers and a signature of %v are at most %.0f a second. The last column is what that leaves of the\n", 256, deviceTime, 256/deviceTime.Seconds())
	fmt.Println("  first row's rate if a spin took its latency and one signature's. With more callers the rest is the house's.")
	const rate = 5000
	fmt.Printf("\n  paced at %d spins/s                    p50 ms   p99 ms   spins/s\n", rate)
	for i, s := range setups {
		r, err := paced(256, rate, o.length, spin(ctx, houses[i].House, seats[i]))
		if err != nil {
			return err
		}
		fmt.Printf("  %-33s    %7.2f  %7.2f  %8.0f\n", s.name, ms(r.p50), ms(r.p99), r.rate)
	}
	return nil
}

// witnesses runs three on the loopback, their records on the measured disk.
func witnesses(cfg *appliance.Config, tmp, vkey string) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	cfg.Witnesses = cosign.Config{Policy: cosign.Quorum, Quorum: 2}
	for i := range 3 {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, ed25519.SeedSize))
		w, err := witness.Open(witness.Config{
			Dir: filepath.Join(tmp, fmt.Sprintf("witness-%d", i)), Name: fmt.Sprintf("witness.invalid/%d", i), Key: key.Public().(ed25519.PublicKey),
			Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }, Rate: 1e6,
			Logs: []witness.Log{{Origin: cfg.Origin, VKeys: []string{vkey}}}, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return stop, err
		}
		mux := http.NewServeMux()
		w.Mount(mux)
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return stop, err
		}
		s := witness.Server(mux)
		go s.Serve(lis)
		stops = append(stops, func() { s.Close(); w.Close() })
		cfg.Witnesses.Witnesses = append(cfg.Witnesses.Witnesses, cosign.Witness{VKey: w.VKey(), URL: "http://" + lis.Addr().String()})
	}
	return stop, nil
}

// paced runs op from n callers at a rate in all. A latency counts from when its
// turn was, not from when it was late.
func paced(n int, rate float64, length time.Duration, op func(caller int) error) (result, error) {
	var wg sync.WaitGroup
	all := make([][]time.Duration, n)
	errs := make([]error, n)
	start := time.Now()
	step := time.Duration(float64(n) / rate * float64(time.Second))
	for i := range n {
		wg.Go(func() {
			for turn := start.Add(step * time.Duration(i) / time.Duration(n)); turn.Sub(start) < length; turn = turn.Add(step) {
				time.Sleep(time.Until(turn))
				if errs[i] = op(i); errs[i] != nil {
					return
				}
				all[i] = append(all[i], time.Since(turn))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	d := slices.Concat(all...)
	slices.Sort(d)
	return result{rate: float64(len(d)) / took.Seconds(), p50: d[len(d)/2], p99: d[len(d)*99/100]}, nil
}
