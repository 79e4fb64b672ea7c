package verify

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"

	"countroom/ledger/tlog"
)

// Follower checks a log as it grows: what it knows of the entries before stays in
// memory, so that each entry is gone through once. It is for one goroutine.
type Follower struct {
	r         *replay
	witnesses []*tlog.Cosigner
}

// Follow returns a follower that has seen nothing yet. With an error it has a
// report of nothing.
func Follow(opts Options) (*Follower, error) {
	report := newReport()
	f := &Follower{r: &replay{report: report}}
	v, err := tlog.NewVerifier(opts.VKey)
	if err != nil {
		return f, unchecked("%w", err)
	}
	report.Origin = v.Name()
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	known, err := readKnown(opts.Known, v)
	if err != nil {
		return f, err
	}
	if f.witnesses, err = opts.Trust.cosigners(); err != nil {
		return f, err
	}
	f.r = newReplay(report, opts, v, known)
	return f, nil
}

// Size is how many entries were gone through.
func (f *Follower) Size() uint64 { return f.r.builder.Size() }

// Advance goes on to the log's head, a checkpoint, and reports on all of the log up to
// there. That the head is not smaller than the last one, and extends it, is for the
// caller: an earlier root is not looked at again. Options.Known is held against the
// first head.
func (f *Follower) Advance(ctx context.Context, src Source, msg []byte) (*Report, error) {
	r := f.r
	head, err := tlog.Open(msg, r.v)
	if errors.Is(err, tlog.ErrSignature) {
		r.stranger = err
		// Where it has a line of the name by another key, the log may lead to that.
		if name, key := tlog.SignedUnder(msg, r.v); key || !name {
			return r.unsigned(), nil
		}
		head, err = tlog.Peek(msg)
	}
	if err != nil {
		return r.report, unchecked("%w", err)
	}
	r.report.Size, r.report.Root = head.Size, Hex(head.Root)
	err = r.run(ctx, src, head)

	// What follows is about the log as it ends here, which it may not do for long.
	going := r.report
	r.report = going.clone()
	r.compare.report = r.report
	defer func() { r.report, r.stranger, r.kept = going, nil, nil }()
	if r.complete && !r.signed(msg, head) && !r.unread {
		return r.unsigned(), nil
	}
	if r.stranger != nil { // anybody could have made what was read so far
		*r.report = *newReport()
		r.report.Origin = r.v.Name()
		return r.report, unchecked("the checkpoint is not signed by %s+%08x, and whether the log leads to the key that signed it is not known: %w", r.v.Name(), r.v.KeyHash(), err)
	}
	cosigned, alone := r.opts.Trust.look(msg, f.witnesses, head.Size)
	r.report.Cosignatures = cosigned
	var forged *Finding
	if errors.As(alone, &forged) {
		r.report.find(*forged)
		alone = nil
	}
	err = cmp.Or(err, r.finish(), alone)
	if r.report.Replayed > 0 {
		r.report.Warnings = append(r.report.Warnings, cosigned.early(r.report.Last)...)
	}
	return r.report, err
}

// clone returns a report that is added to by itself.
func (r *Report) clone() *Report {
	c := *r
	c.Types = maps.Clone(r.Types)
	c.Findings, c.Warnings, c.Unchecked = slices.Clone(r.Findings), slices.Clone(r.Warnings), slices.Clone(r.Unchecked)
	return &c
}
