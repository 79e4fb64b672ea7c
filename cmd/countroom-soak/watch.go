package main

import (
	"sync"
	"syscall"
	"time"
)

// sample is what the server said of itself at one time.
type sample struct {
	at          time.Time
	queue       float64 // commands let in and not answered
	resident    float64 // bytes
	goroutines  float64
	descriptors float64
	cpu         float64 // seconds so far
	ours        float64 // the same of this program
}

// watcher reads the server's metrics a few times a second.
type watcher struct {
	mu      sync.Mutex
	samples []sample
	err     error // the first
	quit    chan struct{}
	done    sync.WaitGroup
}

const watchEvery = 250 * time.Millisecond

func watch(s *server) *watcher {
	w := &watcher{quit: make(chan struct{})}
	w.done.Add(1)
	go func() {
		defer w.done.Done()
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-w.quit:
				return
			}
			m, err := s.metrics()
			w.mu.Lock()
			if err != nil && w.err == nil {
				w.err = err
			}
			if err == nil {
				w.samples = append(w.samples, sample{time.Now(), m["countroom_ledger_admitted"], m["process_resident_memory_bytes"], m["go_goroutines"], m["process_open_fds"], m["process_cpu_seconds_total"], cpuSeconds()})
			}
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *watcher) stop() ([]sample, error) {
	close(w.quit)
	w.done.Wait()
	return w.samples, w.err
}

// cpuSeconds is what this process has used so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it takes no bad arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// cores is how many processors a figure of seconds took on average.
func cores(all []sample, of func(sample) float64) float64 {
	if len(all) < 2 {
		return 0
	}
	first, last := all[0], all[len(all)-1]
	return (of(last) - of(first)) / last.at.Sub(first.at).Seconds()
}

// between returns the samples of a time.
func between(all []sample, from, to time.Time) (some []sample) {
	for _, s := range all {
		if !s.at.Before(from) && s.at.Before(to) {
			some = append(some, s)
		}
	}
	return some
}

// most returns the greatest value of a figure.
func most(all []sample, of func(sample) float64) (m float64) {
	for _, s := range all {
		m = max(m, of(s))
	}
	return m
}

// slope is the growth of a figure per second, by least squares.
func slope(all []sample, of func(sample) float64) float64 {
	if len(all) < 2 {
		return 0
	}
	var n, sx, sy, sxx, sxy float64
	for _, s := range all {
		x, y := s.at.Sub(all[0].at).Seconds(), of(s)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; d > 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}
