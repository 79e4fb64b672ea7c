package main

import (
	"errors"
	"fmt"
	"io"

	"countroom/ledger/tlog"
	"countroom/regulator/dispute"
	"countroom/regulator/replay"
)

// disputed checks a dispute pack.
func disputed(a *arguments, stdout, stderr io.Writer) int {
	p, err := func() (*dispute.Pack, error) {
		vkey, err := line(a.vkey)
		if err != nil {
			return nil, err
		}
		pack, err := read(a.subject, nil, dispute.Most)
		if err != nil {
			return nil, err
		}
		return dispute.Check(pack, vkey)
	}()
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		if errors.Is(err, tlog.ErrProof) {
			fmt.Fprintln(stderr, "countroom-verify: an answer in the pack is not in the log that it names")
		}
		return exitUnchecked
	}
	fmt.Fprintf(stdout, "house          %s\nround          %s, entry %d of %d\n", clean(p.Origin), clean(p.Round), p.Index, p.Size)
	for _, s := range p.Report.Steps {
		fmt.Fprintf(stdout, "%-6s         %s: %s\n", s.State, clean(s.Title), clean(s.Text))
	}
	switch p.Report.Verdict() {
	case replay.Fails:
		fmt.Fprintln(stdout, "EVIDENCE: the house signed a round that does not hold")
		return exitEvidence
	case replay.Open:
		fmt.Fprintln(stdout, "OK, as far as it can be said: a step is open")
		return exitHolds
	}
	fmt.Fprintln(stdout, "OK")
	return exitHolds
}
