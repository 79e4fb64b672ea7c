// Countroom-bench measures the house beside the limits of the machine it runs
// on, in one run: commits beside raw synced commits of the store, HTTP beside a
// server that does nothing. Ratios travel between machines; absolute figures
// are the context of one.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"countroom/cmd/appliance"
)

type options struct {
	dir     string
	entries uint64
	callers []int
	length  time.Duration
	profile string
}

func main() {
	var o options
	var callers string
	flag.StringVar(&o.dir, "dir", ".", "where to make the temporary data directory: its disk is the one measured")
	flag.Uint64Var(&o.entries, "entries", 2_000_000, "grow the log to this many entries")
	flag.StringVar(&callers, "callers", "1,16,64,256,1024", "concurrent callers, in process")
	flag.DurationVar(&o.length, "time", 3*time.Second, "length of each measurement")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the last measurement of spins")
	only := flag.String("only", "", "measure only these, comma-separated: spins, rotation, http, replay, simulation, laboratory, devices, signing, pair, exports, start")
	load := flag.String("load", "", "internal: generate HTTP load")
	check := flag.String("check", "", "internal: verify a log")
	flag.Parse()
	var err error
	switch {
	case *load != "":
		err = generateLoad(*load)
	case *check != "":
		err = checkLog(*check)
	default:
		for _, c := range strings.Split(callers, ",") {
			n, cerr := strconv.Atoi(c)
			if cerr != nil || n < 1 || n > seatsMost {
				fmt.Fprintf(os.Stderr, "countroom-bench: -callers: %q: expected 1 to %d\n", c, seatsMost)
				os.Exit(2)
			}
			o.callers = append(o.callers, n)
		}
		err = run(o, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "countroom-bench:", err)
		os.Exit(1)
	}
}

func run(o options, only string) error {
	want := func(what string) bool {
		return only == "" || strings.Contains(","+only+",", ","+what+",")
	}
	tmp, err := os.MkdirTemp(o.dir, "countroom-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Printf("%d cores, %s, data on %s\n", runtime.NumCPU(), runtime.Version(), o.dir)
	if want("simulation") {
		if err := simulation(); err != nil {
			return err
		}
	}
	if want("laboratory") {
		if err := laboratories(); err != nil {
			return err
		}
	}
	if want("devices") {
		if err := devices(context.Background(), o, tmp); err != nil {
			return err
		}
	}
	if want("signing") {
		if err := signing(context.Background(), o, tmp); err != nil {
			return err
		}
	}
	if want("rotation") {
		if err := rotation(context.Background(), o, tmp); err != nil {
			return err
		}
	}
	if want("pair") {
		if err := pairs(context.Background(), o, tmp); err != nil {
			return err
		}
	}
	if !want("spins") && !want("http") && !want("replay") && !want("exports") && !want("start") {
		return nil
	}
	ctx := context.Background()
	cfg := appliance.Config{Dir: filepath.Join(tmp, "house"), Release: "bench", Log: slog.New(slog.DiscardHandler)}
	a, err := appliance.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { a.Close(ctx) }()
	seats, err := seat(ctx, a.House)
	if err != nil {
		return err
	}
	if want("spins") {
		if err := spins(ctx, o, tmp, a, seats); err != nil {
			return err
		}
	}
	if want("http") {
		if err := overHTTP(o, a, seats); err != nil {
			return err
		}
	}
	if want("replay") {
		if err := replay(a, filepath.Join(tmp, "log")); err != nil {
			return err
		}
	}
	if want("exports") {
		if err := exports(ctx, a, tmp); err != nil {
			return err
		}
	}
	if want("start") {
		if err := a.Close(ctx); err != nil {
			return err
		}
		began := time.Now()
		if a, err = appliance.Open(ctx, cfg); err != nil {
			return err
		}
		heading("start")
		fmt.Printf("  %8d entries  %6.0f ms until commands are accepted\n", a.Ledger.Signed().Size, ms(time.Since(began)))
	}
	return nil
}

func heading(s string) { fmt.Printf("\n%s\n", s) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
