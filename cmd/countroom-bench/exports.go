package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"countroom/cmd/appliance"
	"countroom/regulator/export"
)

// exports measures how fast the log is written as an export and checked, and the memory that it takes for a tenth of it
// and for all of it.
func exports(ctx context.Context, a *appliance.Appliance, tmp string) error {
	heading("exports, with tables as CSV and Parquet")
	records := a.House.Records(func() error { return nil })
	size := a.Ledger.Signed().Size
	for _, to := range []uint64{size / 10, size} {
		f, err := os.Create(filepath.Join(tmp, "export.zip"))
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		began, cpu := time.Now(), cpuTime()
		stop := peak()
		sum, err := export.Write(ctx, f, records, export.Request{Range: export.Range{To: to}, Checkpoint: records.Checkpoint()}, export.Options{Sign: records.Sign, Scratch: tmp})
		if err != nil {
			return err
		}
		wrote, used, heap := time.Since(began), cpuTime()-cpu, stop()
		began, cpu = time.Now(), cpuTime()
		stop = peak()
		if _, err := export.Check(ctx, f, sum.Bytes, export.CheckOptions{VKey: a.Ledger.VKey()}); err != nil {
			return err
		}
		checked, usedChecked, heapChecked := time.Since(began), cpuTime()-cpu, stop()
		mb := float64(sum.Bytes) / 1e6
		fmt.Printf("  %8d entries, %6.0f MB  written %5.0f MB/s, %4.0f per CPU second, %4.0f MB of heap  checked %5.0f MB/s, %4.0f per CPU second, %4.0f MB of heap\n",
			to, mb, mb/wrote.Seconds(), mb/used.Seconds(), heap, mb/checked.Seconds(), mb/usedChecked.Seconds(), heapChecked)
	}
	return nil
}

// peak watches the heap until it is told to stop, and returns the most that it grew to, in MB, beyond what it had.
func peak() func() float64 {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	base, most := heap(), uint64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, heap())
			case <-quit:
				return
			}
		}
	}()
	return func() float64 {
		close(quit)
		<-done
		return float64(most-min(most, base)) / 1e6
	}
}
