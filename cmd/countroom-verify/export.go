package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"countroom/regulator/export"
	"countroom/regulator/verify"
)

// exported checks an export.
func exported(ctx context.Context, a *arguments, stdout, stderr io.Writer) int {
	progress := newProgress(stderr)
	report, err := checkExport(ctx, a, progress.show)
	progress.clear()
	var rejected *export.Rejection
	verdict, code := "ok", exitHolds
	switch {
	case errors.As(err, &rejected) && rejected.Evidence:
		verdict, code = "evidence", exitEvidence
	case rejected != nil:
		verdict, code = "rejected", exitUnchecked
	case err != nil || len(report.Unchecked) > 0:
		verdict, code = "unchecked", exitUnchecked
	}
	if a.json {
		why := ""
		if err != nil && rejected == nil {
			why = err.Error()
		}
		b, err := json.MarshalIndent(struct {
			Verdict   string            `json:"verdict"`
			Error     string            `json:"error,omitempty"`
			Rejection *export.Rejection `json:"rejection,omitempty"`
			Report    *export.Report    `json:"report,omitempty"`
		}{verdict, why, rejected, report}, "", "  ")
		if err != nil {
			fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
			return exitUnchecked
		}
		fmt.Fprintf(stdout, "%s\n", b)
		return code
	}
	if report != nil && report.Manifest != nil && err == nil {
		printExport(stdout, report)
	}
	switch {
	case rejected != nil:
		fmt.Fprintf(stdout, "%s\n  expected  %s\n  found     %s\n", clean(rejected.Rule), clean(rejected.Expected), clean(rejected.Found))
		if rejected.Evidence {
			fmt.Fprintln(stdout, "EVIDENCE AGAINST THE HOUSE: it signed for this")
		} else {
			fmt.Fprintln(stdout, "REJECTED: the house did not sign for this; anybody could have made it so")
		}
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
	case code == exitHolds:
		fmt.Fprintln(stdout, "OK")
	}
	return code
}

func checkExport(ctx context.Context, a *arguments, progress func(done, total uint64)) (*export.Report, error) {
	opts := export.CheckOptions{Progress: progress}
	var err error
	if opts.VKey, err = line(a.vkey); err != nil {
		return nil, err
	}
	if opts.Trust, err = a.trust(); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		into *[]byte
	}{{a.history, &opts.History}, {a.certificate, &opts.Certificate}} {
		if f.name == "" {
			continue
		}
		if *f.into, err = read(f.name, nil, verify.KnownMost); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(a.subject)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file with an export", a.subject)
	}
	return export.Check(ctx, f, info.Size(), opts)
}

func printExport(w io.Writer, r *export.Report) {
	m := r.Manifest
	fmt.Fprintf(w, "origin         %s\ncheckpoint     size %d, root %s\n", clean(m.Origin), m.Checkpoint.Size, m.Checkpoint.Root)
	printCosignatures(w, "cosigned       ", &r.Cosignatures)
	what := "every entry"
	if !m.Complete {
		what = "NOT complete: entries left by the filter"
		for _, f := range []struct{ name, value string }{{"player", m.Filter.Player}, {"game", m.Filter.Game}, {"type", m.Filter.Type}} {
			if f.value != "" {
				what += fmt.Sprintf(" %s=%s", f.name, clean(f.value))
			}
		}
	}
	if m.Range.From == m.Range.To {
		fmt.Fprintf(w, "entries        none, at %d\n", m.Range.From)
	} else {
		fmt.Fprintf(w, "entries        %d of %d to %d: %s\n", m.Entries, m.Range.From, m.Range.To-1, what)
	}
	if m.Span != nil {
		fmt.Fprintf(w, "span           %s to before %s\n", m.Span.From, m.Span.To)
	}
	fmt.Fprintf(w, "rounds         %d, outcomes recomputed %d, draws proven %d, not proven here %d\n", r.Rounds, r.Outcomes, r.Proven, r.Unproven)
	fmt.Fprintf(w, "tables         %d recomputed from the leaves\n", len(r.Tables))
	fmt.Fprintf(w, "signed by      %s\n", r.Key)
	if c := r.Certificate; c != nil {
		for _, g := range c.Games {
			fmt.Fprintf(w, "game           %s: %d rounds, stakes %d, payouts %d, GGR %d %s\n", clean(g.Game), g.Rounds, g.Stakes, g.Payouts, g.GGR, clean(g.Currency))
		}
		for _, m := range c.Cash {
			fmt.Fprintf(w, "cash           %d in with %d deposits, %d out with %d withdrawals, %s\n", m.Deposits, m.DepositCount, m.Withdrawals, m.WithdrawalCount, clean(m.Currency))
		}
		fmt.Fprintf(w, "certificate    %s\n", c.Says)
	}
	for _, u := range r.Unchecked {
		fmt.Fprintf(w, "not checked    %s\n", clean(u))
	}
}
