package stock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"countroom/regulator/evidence"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reasons why a round came to nothing.
const (
	Unreachable = "unreachable"
	Slow        = "slow"
	Exhausted   = "exhausted" // more than an answer may have, or a quota of the stock Trillian's
	Malformed   = "malformed"
	Refused     = "refused"
	Tree        = "tree"    // not one that can be fed
	Ahead       = "ahead"   // it has more than the mirror
	Stalled     = "stalled" // its signer does not go on
	Disk        = "disk"    // the mirror's directory

	// What follows is an alarm.
	Root   = "root"   // not one that the house's tree had
	Shrunk = "shrunk" // smaller than one before
	Proof  = "proof"  // a root that it does not prove to continue one before
	Leaf   = "leaf"   // not the entry at its place
)

// Refusal says why a round came to nothing.
type Refusal struct {
	Reason string
	Err    error
	File   string // evidence of an alarm
}

func (r *Refusal) Error() string { return "the stock Trillian: " + r.Reason + ": " + r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

// Alarm reports whether the stock Trillian is not what the house signed.
func (r *Refusal) Alarm() bool {
	return r.Reason == Root || r.Reason == Shrunk || r.Reason == Proof || r.Reason == Leaf
}

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// raise makes an alarm and keeps the evidence of it.
func (f *Feeder) raise(reason, what string, data []byte, expected, found string) *Refusal {
	r := refuse(reason, "%s of tree %d: expected %s, found %s", what, f.state.Tree, expected, found)
	path := fmt.Sprintf("trillian %s tree %d %s", f.cfg.Address, f.state.Tree, what)
	var err error
	if r.File, err = f.cfg.Mirror.Keep(evidence.Bad(f.cfg.Mirror.Signers(), f.cfg.Clock(), f.truth.Head, path, data, expected, found)); err != nil {
		r.Err = fmt.Errorf("%w (the evidence could not be kept: %w)", r.Err, err)
	}
	return r
}

// call asks the stock Trillian, with patience, and names what went wrong.
func call[Q, A any](ctx context.Context, f *Feeder, name string, method func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (answer A, err error) {
	inner, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	answer, err = method(inner, request)
	if err == nil || ctx.Err() != nil {
		return answer, err
	}
	reason := Refused
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = Slow
	default:
		switch status.Code(err) {
		case codes.DeadlineExceeded:
			reason = Slow
		case codes.Unavailable:
			reason = Unreachable
		case codes.ResourceExhausted:
			reason = Exhausted
		case codes.NotFound:
			reason = Tree
		}
	}
	return answer, &Refusal{Reason: reason, Err: fmt.Errorf("%s: %w", name, err)}
}

// Counts are what a feeder did and is.
type Counts struct {
	Size     uint64 // leaves under the newest root that was compared
	Fed      uint64 // leaves that were taken, integrated or not
	Roots    uint64 // roots that were compared
	Leaves   uint64 // leaves that were compared
	Done     int64  // Unix time of the last round in which the stock Trillian had all that the mirror has
	Alarm    bool
	Refusals map[string]uint64
}

type counts struct {
	mu sync.Mutex
	n  Counts
}

func (c *counts) change(f func(n *Counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.n)
}

// Counts returns what they are now. Any goroutine may ask.
func (f *Feeder) Counts() Counts {
	f.counts.mu.Lock()
	defer f.counts.mu.Unlock()
	n := f.counts.n
	n.Refusals = maps.Clone(n.Refusals)
	return n
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("countroom_mirror_trillian_"+name, help, labels, nil)
}

var (
	alarmDesc    = desc("alarm", "1 when the stock Trillian is not what the house signed. Alarm on it.")
	sizeDesc     = desc("size", "Leaves under the stock Trillian's newest root that was compared.")
	fedDesc      = desc("fed", "Leaves that the stock Trillian took, integrated or not.")
	doneDesc     = desc("done_seconds", "Unix time of the last round in which the stock Trillian had all that the mirror has. Alarm when it is old.")
	rootsDesc    = desc("compared_roots_total", "Roots of the stock Trillian that were compared.")
	leavesDesc   = desc("compared_leaves_total", "Leaves of the stock Trillian that were compared.")
	refusalsDesc = desc("refusals_total", "Rounds that came to nothing, by reason.", "reason")
)

// Describe implements prometheus.Collector.
func (f *Feeder) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{alarmDesc, sizeDesc, fedDesc, doneDesc, rootsDesc, leavesDesc, refusalsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *Feeder) Collect(ch chan<- prometheus.Metric) {
	n := f.Counts()
	show := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	alarm := 0.0
	if n.Alarm {
		alarm = 1
	}
	show(alarmDesc, prometheus.GaugeValue, alarm)
	show(sizeDesc, prometheus.GaugeValue, float64(n.Size))
	show(fedDesc, prometheus.GaugeValue, float64(n.Fed))
	show(doneDesc, prometheus.GaugeValue, float64(n.Done))
	show(rootsDesc, prometheus.CounterValue, float64(n.Roots))
	show(leavesDesc, prometheus.CounterValue, float64(n.Leaves))
	for reason, v := range n.Refusals {
		show(refusalsDesc, prometheus.CounterValue, float64(v), reason)
	}
}
