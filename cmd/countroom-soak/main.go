// Countroom-soak holds a house under twice the load that it can serve, and
// checks all the time that it stays what it is: bounded in queue, memory and
// time, polite in refusing, right in every answer, and back to normal within a
// second. It starts a house of its own on loopback, measures what the machine
// can serve, and offers a mix of all calls of the API whether or not the answers
// keep up. In the end every acknowledged entry must be in the log, and the
// verifier must pass with the receipts that were kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

type options struct {
	program     string
	dir         string
	length      time.Duration
	connections int
}

func main() {
	var o options
	flag.StringVar(&o.program, "countroom", "bin/countroom", "the server's program")
	flag.StringVar(&o.dir, "dir", ".", "where to make the temporary data directory; an hour may take 30 GB")
	flag.DurationVar(&o.length, "time", time.Hour, "length of the load, 10s to 24h")
	flag.IntVar(&o.connections, "connections", 8000, "connections of the load")
	flag.Parse()
	if o.length < 10*time.Second || o.length > 24*time.Hour || o.connections < 2*seated || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "countroom-soak: expected -time from 10s to 24h, -connections from %d, and no arguments\n", 2*seated)
		os.Exit(2)
	}
	failed, err := run(o, os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "countroom-soak:", err)
		os.Exit(1)
	case failed > 0:
		os.Exit(1)
	}
}

// run starts a house, loads it, and reports; an error says that it could not.
func run(o options, out io.Writer) (failed int, err error) {
	tmp, err := os.MkdirTemp(o.dir, "countroom-soak-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	s, err := startServer(o.program, filepath.Join(tmp, "house"), o.connections/2)
	if err != nil {
		return 0, err
	}
	defer s.cmd.Process.Kill()
	fmt.Fprintf(out, "%d cores, %s, data on %s, %d connections, %v\n", runtime.NumCPU(), runtime.Version(), o.dir, o.connections, o.length)
	l := &load{server: s}
	workers, err := l.seat(o.connections)
	if err != nil {
		return 0, fmt.Errorf("seating players: %w", err)
	}
	f := &figures{connections: o.connections, faults: &l.faults}
	w := watch(s)
	if f.capacity = ramp(out, workers, min(o.length/20, 5*time.Second)); f.capacity == 0 {
		return 0, fmt.Errorf("the server answers nothing: %v", l.faults.first)
	}
	f.began = time.Now()
	header(out)
	for length := min(o.length, 2*time.Minute); time.Since(f.began)+length <= o.length+length/2 && l.size.Load() < entriesMost/2; {
		c := cycleOf(f.capacity, length)
		offer(workers[:seated], workers[seated:], c.phases())
		f.cycles = append(f.cycles, c)
		for _, p := range c.phases() {
			p.print(out)
		}
	}
	f.ended = time.Now()
	f.samples, f.watchErr = w.stop()
	f.ghosts = l.exorcise()
	for _, w := range workers {
		w.close()
	}
	f.proofs, f.acked = l.proofs.Load(), l.acked.count
	f.report, f.witnessed, f.auditErr = l.audit(context.Background())
	f.stopErr = s.stop()
	return f.print(out), nil
}

// ramp measures what is answered per second when each connection waits for its
// answers.
func ramp(out io.Writer, workers []*worker, step time.Duration) (capacity float64) {
	fmt.Fprintln(out, "\nas fast as it goes\n  connections  answers/s  p50 ms of spins   p99 ms")
	closed(workers[:seated], step/2) // caches, connections, the machine's clock speed
	for _, n := range []int{16, 64, 256, 1024} {
		p := closed(workers[:min(n, len(workers))], step)
		rate := float64(p.answered()) / p.length.Seconds()
		fmt.Fprintf(out, "  %11d  %9.0f  %15.2f  %7.2f\n", n, rate, ms(p.good[spins].quantile(0.5)), ms(p.good[spins].quantile(0.99)))
		capacity = max(capacity, rate)
	}
	return capacity
}

// cycleOf divides the time of a cycle.
func cycleOf(capacity float64, length time.Duration) cycle {
	c := cycle{
		newPhase("a tenth", capacity/10, length/10), newPhase("half", capacity/2, length*2/10),
		newPhase("twice", capacity*2, length*5/10), newPhase("a tenth again", capacity/10, length*2/10),
	}
	// Those who come back after the overload are others than those who are still
	// being refused.
	c.half.crowd, c.twice.crowd = true, true
	return c
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
