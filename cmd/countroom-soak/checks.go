package main

import (
	"fmt"
	"time"

	"countroom/regulator/verify"
)

// Bounds that a house has to keep on any machine. Where one is a time it is
// generous: it says that something is bounded, not that it is fast.
const (
	// Under twice the load what is not refused may take timesHalf what it takes at
	// half the load, timesShare of what a request takes on average when every
	// connection waits for one, or leastBound, whichever is most.
	timesHalf  = 5
	timesShare = 4
	leastBound = time.Second
	// A tenth of the load after an overload is as fast as before when it takes no
	// more than so many times what it took then, or backLeast.
	backTimes = 4
	backLeast = 100 * time.Millisecond
	backAfter = time.Second

	// Pebble's caches and memtables are 448 MiB on the Go heap, which grows to about twice what lives there.
	residentMost  = 1 << 30         // bytes
	residentEach  = 128 << 10       // for each connection
	residentSlope = 8 << 20         // bytes a minute, once warm
	warm          = 3 * time.Minute // as long as caches fill
	beside        = 500             // goroutines and descriptors beside those of connections
)

// figures are all that a run came to.
type figures struct {
	connections int
	capacity    float64 // requests answered per second, as fast as they could be had
	cycles      []cycle
	began       time.Time // of the first cycle
	ended       time.Time
	samples     []sample
	watchErr    error
	faults      *faults
	proofs      uint64
	acked       uint64
	ghosts      int
	report      *verify.Report
	witnessed   *witnessed
	auditErr    error
	stopErr     error
}

// cycle is light load, half the capacity, twice the capacity, and light load
// again.
type cycle struct{ before, half, twice, after *phase }

func (c *cycle) phases() []*phase { return []*phase{c.before, c.half, c.twice, c.after} }

// check is one thing that must hold.
type check struct {
	name string
	what string
	look func(*figures) (found string, ok bool)
}

var checks = []check{
	{"queue-bounded", "no more commands are under way than half as many as there are connections, and a few of who must be let in", func(f *figures) (string, bool) {
		q, bound := most(f.samples, func(s sample) float64 { return s.queue }), f.connections/2+f.connections/10
		return fmt.Sprintf("%.0f, bound %d", q, bound), f.watchErr == nil && q > 0 && q <= float64(bound)
	}},
	{"memory-bounded", fmt.Sprintf("resident memory stays below %d MiB and %d KiB for each connection, and after %v grows by less than %d MiB a minute", residentMost>>20, residentEach>>10, warm, residentSlope>>20), func(f *figures) (string, bool) {
		of := func(s sample) float64 { return s.resident }
		m := most(f.samples, of)
		bound := float64(residentMost + residentEach*f.connections)
		found, ok := fmt.Sprintf("%.0f MiB, bound %.0f", m/(1<<20), bound/(1<<20)), m > 0 && m < bound
		if f.ended.Sub(f.began) < 2*warm {
			return found + ", too short for a slope", ok
		}
		grows := 60 * slope(between(f.samples, f.began.Add(warm), f.ended), of)
		return fmt.Sprintf("%s, %+.2f MiB a minute", found, grows/(1<<20)), ok && grows < residentSlope
	}},
	{"goroutines-bounded", fmt.Sprintf("at most two for each connection, and %d", beside), func(f *figures) (string, bool) {
		m := most(f.samples, func(s sample) float64 { return s.goroutines })
		return fmt.Sprintf("%.0f, bound %d", m, 2*f.connections+beside), m > 0 && m <= float64(2*f.connections+beside)
	}},
	{"descriptors-bounded", fmt.Sprintf("at most one for each connection, and %d", beside), func(f *figures) (string, bool) {
		m := most(f.samples, func(s sample) float64 { return s.descriptors })
		return fmt.Sprintf("%.0f, bound %d", m, f.connections+beside), m > 0 && m <= float64(f.connections+beside)
	}},
	{"spins-bounded", fmt.Sprintf("p99 of accepted spins under twice the load is at most %d times that at half the load, %d times connections by answers a second, or %v", timesHalf, timesShare, leastBound), func(f *figures) (string, bool) {
		return f.bounded(spins)
	}},
	{"commands-not-starved", "the same of all other commands", func(f *figures) (string, bool) { return f.bounded(commands) }},
	{"reads-not-starved", "the same of reads", func(f *figures) (string, bool) { return f.bounded(reads) }},
	{"recovery", fmt.Sprintf("%v after the overload p99 of spins at a tenth of the load is at most %d times what it was before, or %v", backAfter, backTimes, backLeast), func(f *figures) (string, bool) {
		found, ok := "no cycle", len(f.cycles) > 0
		worst := -1.0
		for _, c := range f.cycles {
			bound := max(backLeast, backTimes*c.before.good[spins].quantile(0.99))
			back := c.after.late().quantile(0.99)
			ok = ok && back <= bound && c.after.late().count() > 0
			if share := float64(back) / float64(bound); share > worst {
				worst, found = share, fmt.Sprintf("%v, bound %v", back, bound)
			}
		}
		return found, ok
	}},
	faultless("refusals-well-formed", "each 503 is a problem with Retry-After that says not-accepted"),
	faultless("no-server-errors", "no other 5xx"),
	faultless("no-connection-errors", "no connection is refused, cut or silent"),
	faultless("answers-as-wanted", "each other answer is the right one: retries get their entry again, bad requests their problem"),
	{"receipts-verify", "the receipts of a sample of all answers verify", func(f *figures) (string, bool) {
		found, ok := f.faults.look("receipts-verify")
		return fmt.Sprintf("%d receipts; %s", f.proofs, found), ok && f.proofs > 0
	}},
	{"refused-left-nothing", "commands that were refused are new when they are repeated at the end", func(f *figures) (string, bool) {
		found, ok := f.faults.look("refused-left-nothing")
		return fmt.Sprintf("%d repeated; %s", f.ghosts, found), ok
	}},
	{"acknowledged-in-the-log", "each entry that was acknowledged is in the log at its index", func(f *figures) (string, bool) {
		if f.witnessed == nil {
			return "the log was not read", false
		}
		found := fmt.Sprintf("%d acknowledged, %d found", f.acked, f.witnessed.matched)
		if f.witnessed.other > 0 {
			found += fmt.Sprintf(", %d are others, such as entry %d", f.witnessed.other, f.witnessed.first)
		}
		return found, f.acked > 0 && f.witnessed.matched == f.acked
	}},
	{"log-verifies", "the verifier finds nothing, and the receipts that were kept fit", func(f *figures) (string, bool) {
		switch {
		case f.auditErr != nil:
			return f.auditErr.Error(), false
		case !f.report.OK():
			return fmt.Sprintf("%d findings: %+v", uint64(len(f.report.Findings))+f.report.More, f.report.Findings[0]), false
		}
		return fmt.Sprintf("%d entries, %d rounds proven, %d receipts", f.report.Size, f.report.Rounds.Proven, f.report.Known), f.report.Replayed == f.report.Size && f.report.Known > 0
	}},
	{"stops-cleanly", "the server ends by itself with status 0 when it is told to, and not before", func(f *figures) (string, bool) {
		if f.stopErr != nil {
			return f.stopErr.Error(), false
		}
		return "status 0", true
	}},
}

func faultless(name, what string) check {
	return check{name, what, func(f *figures) (string, bool) { return f.faults.look(name) }}
}

func (f *faults) look(name string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.count[name]; n > 0 {
		return fmt.Sprintf("%d, the first: %s", n, f.first[name]), false
	}
	return "none otherwise", true
}

func (f *figures) bounded(c class) (found string, ok bool) {
	found, ok = "no cycle", len(f.cycles) > 0
	worst := -1.0
	for _, cy := range f.cycles {
		p := cy.twice
		share := time.Duration(float64(f.connections) / (float64(p.sent.Load()) / float64(p.length)))
		bound := max(leastBound, timesHalf*cy.half.good[c].quantile(0.99), timesShare*share)
		p99 := p.good[c].quantile(0.99)
		ok = ok && p99 <= bound && p.good[c].count() > 0
		if share := float64(p99) / float64(bound); share > worst {
			worst, found = share, fmt.Sprintf("%v, bound %v", p99, bound)
		}
	}
	return found, ok
}

// late are the spins of a phase that were due backAfter its begin or later.
func (p *phase) late() *histogram {
	sum := new(histogram)
	for _, h := range p.curve[min(int(backAfter/tenth), len(p.curve)):] {
		sum.merge(h)
	}
	return sum
}
