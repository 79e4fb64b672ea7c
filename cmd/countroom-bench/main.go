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
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/ledger/money"
)

func main() {
	var (
		dir     = flag.String("dir", ".", "where to make the temporary data directory: the disk that is measured")
		entries = flag.Uint64("entries", 2_000_000, "grow the log to this many entries")
		callers = flag.String("callers", "1,16,64,256,1024", "concurrent callers, in process")
		seconds = flag.Float64("seconds", 3, "length of each measurement")
		profile = flag.String("cpuprofile", "", "write a CPU profile of the in-process measurements")
	)
	flag.Parse()
	if err := run(*dir, *entries, *callers, time.Duration(*seconds*float64(time.Second)), *profile); err != nil {
		fmt.Fprintln(os.Stderr, "countroom-bench:", err)
		os.Exit(1)
	}
}

func run(dir string, entries uint64, callers string, length time.Duration, profile string) error {
	tmp, err := os.MkdirTemp(dir, "countroom-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Printf("%d cores, %s\n", runtime.NumCPU(), runtime.Version())
	slog.SetLogLoggerLevel(slog.LevelWarn)
	ctx := context.Background()
	a, err := appliance.Open(ctx, appliance.Config{Dir: filepath.Join(tmp, "house"), Release: "bench", Log: slog.New(slog.DiscardHandler), Reserve: 1 << 20})
	if err != nil {
		return err
	}
	defer a.Close(ctx)
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	seats, err := seat(ctx, a.House, 1024)
	if err != nil {
		return err
	}
	for _, c := range strings.Split(callers, ",") {
		n, err := strconv.Atoi(c)
		if err != nil {
			return err
		}
		r := spin(ctx, a.House, seats[:n], length)
		fmt.Printf("%5d callers  %9.0f spins/s  p50 %6.2f ms  p99 %6.2f ms  %5.1f µs CPU/spin  log %d\n", n, r.rate, ms(r.p50), ms(r.p99), float64(r.cpu.Microseconds()), a.Ledger.Signed().Size)
	}
	_ = entries
	return nil
}

// seat makes players with money and sessions.
func seat(ctx context.Context, h *house.House, n int) ([]house.Session, error) {
	seats := make([]house.Session, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			id := "bench-" + strconv.Itoa(i)
			req := house.Request{Key: id, Method: "POST", Principal: "operator"}
			_, err := h.CreatePlayer(ctx, req, id, "EUR")
			if err == nil {
				req.Key = id + "-deposit"
				_, err = h.Deposit(ctx, req, id, money.Money{Amount: 1_000_000_000, Currency: "EUR"})
			}
			var token string
			if err == nil {
				req.Key = id + "-session"
				_, _, token, err = h.OpenSession(ctx, req, id, "lamplight-quay")
			}
			if err == nil {
				seats[i], err = h.Seat(ctx, token)
			}
			errs[i] = err
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return seats, nil
}

type result struct {
	rate     float64
	p50, p99 time.Duration
	cpu      time.Duration // of the whole process, per spin
}

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var keys atomic.Uint64

// spin plays one session a caller for a while.
func spin(ctx context.Context, h *house.House, seats []house.Session, length time.Duration) result {
	var wg sync.WaitGroup
	all := make([][]time.Duration, len(seats))
	start, cpu := time.Now(), cpuTime()
	end := start.Add(length)
	for i, s := range seats {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				begin := time.Now()
				if begin.After(end) {
					return
				}
				req := house.Request{Key: strconv.FormatUint(keys.Add(1), 36), Method: "POST", Path: "/v1/spins", Principal: "session", Body: []byte(`{"stake":20}`)}
				if _, err := h.Spin(ctx, req, s, 20); err != nil {
					panic(err)
				}
				all[i] = append(all[i], time.Since(begin))
			}
		}()
	}
	wg.Wait()
	took := time.Since(start)
	cpu = cpuTime() - cpu
	var d []time.Duration
	for _, one := range all {
		d = append(d, one...)
	}
	slices.Sort(d)
	return result{rate: float64(len(d)) / took.Seconds(), p50: d[len(d)/2], p99: d[len(d)*99/100], cpu: cpu / time.Duration(len(d))}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
