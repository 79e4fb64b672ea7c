package main

import (
	"fmt"
	"io"
	"strings"
)

func header(out io.Writer) {
	fmt.Fprintln(out, "\nwhether or not the answers keep up")
	fmt.Fprintln(out, "                                       ---- accepted spins ----   - commands -   --- reads ---   -- refused --")
	fmt.Fprintln(out, "  load            offered/s    sent      /s  p50 ms  p99 ms     max    /s  p99 ms     /s  p99 ms     /s  p99 ms")
}

func (p *phase) print(out io.Writer) {
	per := func(h *histogram) float64 { return float64(h.count()) / p.length.Seconds() }
	s, c, r := &p.good[spins], &p.good[commands], &p.good[reads]
	fmt.Fprintf(out, "  %-14s  %9.0f  %6.0f  %6.0f  %6.1f  %6.1f  %6.0f  %4.0f  %6.1f  %5.0f  %6.1f  %5.0f  %6.1f\n", p.name, p.rate, float64(p.sent.Load())/p.length.Seconds(),
		per(s), ms(s.quantile(0.5)), ms(s.quantile(0.99)), ms(s.max()), per(c), ms(c.quantile(0.99)), per(r), ms(r.quantile(0.99)), per(&p.refused), ms(p.refused.quantile(0.99)))
}

// print reports, and returns how many checks failed.
func (f *figures) print(out io.Writer) (failed int) {
	fmt.Fprintln(out, "\nafter the overload, at a tenth of the load: p99 ms of the spins that were due in each tenth of a second")
	for _, c := range f.cycles {
		var line []string
		for _, h := range c.after.curve[:min(15, len(c.after.curve))] {
			line = append(line, fmt.Sprintf("%.0f", ms(h.quantile(0.99))))
		}
		fmt.Fprintf(out, "  %s … (before: %.1f)\n", strings.Join(line, " "), ms(c.before.good[spins].quantile(0.99)))
	}
	fmt.Fprintln(out, "\nmost during each cycle, and processors that server and generator had at half and at twice the load")
	fmt.Fprintln(out, "  queue  resident MiB  goroutines  descriptors  half: server  generator  twice: server  generator")
	for _, c := range f.cycles {
		s := between(f.samples, c.before.began, c.after.began.Add(c.after.length))
		server, ours := func(s sample) float64 { return s.cpu }, func(s sample) float64 { return s.ours }
		half, twice := between(f.samples, c.half.began, c.twice.began), between(f.samples, c.twice.began, c.after.began)
		fmt.Fprintf(out, "  %5.0f  %12.0f  %10.0f  %11.0f  %12.2f  %9.2f  %13.2f  %9.2f\n", most(s, func(s sample) float64 { return s.queue }), most(s, func(s sample) float64 { return s.resident })/(1<<20),
			most(s, func(s sample) float64 { return s.goroutines }), most(s, func(s sample) float64 { return s.descriptors }),
			cores(half, server), cores(half, ours), cores(twice, server), cores(twice, ours))
	}
	fmt.Fprintln(out, "\nchecks")
	for _, c := range checks {
		found, ok := c.look(f)
		verdict := "ok    "
		if !ok {
			verdict = "FAILED"
			failed++
		}
		fmt.Fprintf(out, "  %s  %-23s  %s\n          %s\n", verdict, c.name, found, c.what)
	}
	if failed > 0 {
		fmt.Fprintf(out, "%d of %d checks failed\n", failed, len(checks))
	} else {
		fmt.Fprintln(out, "all hold")
	}
	return failed
}
