package main

import (
	"context"
	"fmt"
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

	"github.com/cockroachdb/pebble/v2"
)

// seatsMost is how many players sit, each in a session of his own.
const seatsMost = 1024

type player struct {
	session house.Session
	token   string
}

// seat makes players with money and sessions.
func seat(ctx context.Context, h *house.House) ([]player, error) {
	seats := make([]player, seatsMost)
	errs := make([]error, seatsMost)
	var wg sync.WaitGroup
	for i := range seats {
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
			if err == nil {
				req.Key = id + "-session"
				_, _, seats[i].token, err = h.OpenSession(ctx, req, id, "lamplight-quay")
			}
			if err == nil {
				seats[i].session, err = h.Seat(ctx, seats[i].token)
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
	rate     float64 // per second
	p50, p99 time.Duration
	cpu      time.Duration // of the whole process, per operation
}

// measure runs op from each of n callers for a while.
func measure(n int, length time.Duration, op func(caller int) error) (result, error) {
	var wg sync.WaitGroup
	all := make([][]time.Duration, n)
	errs := make([]error, n)
	start, cpu := time.Now(), cpuTime()
	end := start.Add(length)
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for begin := time.Now(); begin.Before(end); {
				if errs[i] = op(i); errs[i] != nil {
					return
				}
				now := time.Now()
				all[i] = append(all[i], now.Sub(begin))
				begin = now
			}
		}()
	}
	wg.Wait()
	took, cpu := time.Since(start), cpuTime()-cpu
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	d := slices.Concat(all...)
	slices.Sort(d)
	return result{rate: float64(len(d)) / took.Seconds(), p50: d[len(d)/2], p99: d[len(d)*99/100], cpu: cpu / time.Duration(len(d))}, nil
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

func spin(ctx context.Context, h *house.House, seats []player) func(int) error {
	body := []byte(`{"stake":20}`)
	return func(i int) error {
		s := seats[i].session
		_, err := h.Spin(ctx, house.Request{Key: strconv.FormatUint(keys.Add(1), 36), Method: "POST", Path: "/v1/spins", Principal: s.Principal(), Body: body}, s, 20)
		return err
	}
}

// rawCommits is the disk's and the store's limit: one synced Pebble batch of so
// many 640-byte rows, one after another. It returns rows a second.
func rawCommits(dir string, rows int, length time.Duration) (float64, error) {
	db, err := pebble.Open(dir, &pebble.Options{MemTableSize: 64 << 20, Logger: quiet{}})
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	defer db.Close()
	value := make([]byte, 640)
	for i := range value {
		value[i] = byte(i * 131)
	}
	n := 0
	start := time.Now()
	for time.Since(start) < length {
		b := db.NewBatch()
		for range rows {
			if err := b.Set(fmt.Appendf(nil, "%016x", n), value, nil); err != nil {
				return 0, err
			}
			n++
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	panic(fmt.Sprintf(f, args...))
}

// spins measures the house in process as the log grows.
func spins(ctx context.Context, o options, tmp string, a *appliance.Appliance, seats []player) error {
	raw := map[int]float64{}
	early := map[int]float64{}
	round := func(title string) error {
		heading(title)
		fmt.Println("  callers    spins/s   p50 ms   p99 ms  CPU µs  of raw commit   raw rows/s")
		for _, n := range o.callers {
			// The limit is measured next to each figure: the machine's mood changes.
			var err error
			if raw[n], err = rawCommits(filepath.Join(tmp, "raw"), n, o.length/2); err != nil {
				return err
			}
			stop, err := profile(o.profile)
			if err != nil {
				return err
			}
			r, err := measure(n, o.length, spin(ctx, a.House, seats))
			stop()
			if err != nil {
				return err
			}
			note := ""
			if was, ok := early[n]; ok {
				note = fmt.Sprintf("  %.2f of the rate at 100,000", r.rate/was)
			} else {
				early[n] = r.rate
			}
			fmt.Printf("  %7d  %9.0f  %7.2f  %7.2f  %6.1f  %13.2f  %11.0f%s\n", n, r.rate, ms(r.p50), ms(r.p99), float64(r.cpu.Nanoseconds())/1000, r.rate/raw[n], raw[n], note)
		}
		return nil
	}
	grow := func(to uint64) error {
		for a.Ledger.Signed().Size < to {
			if _, err := measure(512, time.Second, spin(ctx, a.House, seats)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := grow(100_000); err != nil {
		return err
	}
	if err := round(fmt.Sprintf("spins in process, all indexes in place, log of %d entries and growing", a.Ledger.Signed().Size)); err != nil {
		return err
	}
	memory(a.Ledger.Signed().Size)
	if err := grow(o.entries); err != nil {
		return err
	}
	if err := round(fmt.Sprintf("the same at %d entries", a.Ledger.Signed().Size)); err != nil {
		return err
	}
	memory(a.Ledger.Signed().Size)
	return nil
}

// profile writes a CPU profile, over the one before, until stop.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, pprof.StartCPUProfile(f)
}

// memory prints what the process holds.
func memory(size uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss := "?"
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				rss = strings.TrimSpace(v)
			}
		}
	}
	fmt.Printf("  memory at %d entries: heap in use %d MiB, resident %s\n", size, m.HeapInuse>>20, rss)
}
