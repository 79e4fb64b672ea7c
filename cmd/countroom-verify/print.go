package main

import (
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	"countroom/games/rounds"
	"countroom/ledger/wallet"
	"countroom/regulator/verify"
)

func printReport(w io.Writer, r *verify.Report) {
	if r.Origin != "" {
		fmt.Fprintf(w, "log         %s\n", clean(r.Origin))
	}
	if r.Size > 0 {
		fmt.Fprintf(w, "checkpoint  size %d, root %s\n", r.Size, r.Root)
		printCosignatures(w, "cosigned    ", &r.Cosignatures)
	}
	if r.Replayed > 0 {
		fmt.Fprintf(w, "replayed    %d entries, %s to %s\n", r.Replayed, r.First, r.Last)
		fmt.Fprintf(w, "tree        %d hash tiles reproduced\n", r.Tiles)
		fmt.Fprintf(w, "epochs      %d committed, %d closed, %d revealed\n", r.Epochs.Committed, r.Epochs.Closed, r.Epochs.Revealed)
		if n := r.Epochs.Opened; n > 0 {
			fmt.Fprintf(w, "            %d more opened by those to whom it was escrowed\n", n)
		}
		printOutside(w, r)
		fmt.Fprintf(w, "rounds      %d outcomes recomputed; %d draws proven from revealed secrets, %d not yet provable\n", r.Rounds.Outcomes, r.Rounds.Proven, r.Rounds.Unproven)
		for _, a := range r.Abandoned {
			if a.Rounds > 0 {
				fmt.Fprintf(w, "UNPROVABLE  epoch %d, which two officers abandoned in entry %d, decided %d of the rounds\n", a.Epoch, a.Index, a.Rounds)
			} else {
				fmt.Fprintf(w, "            epoch %d was abandoned by two officers in entry %d, with no round in doubt\n", a.Epoch, a.Index)
			}
		}
	}
	if s := r.Subjects; s != (verify.Subjects{}) {
		fmt.Fprintf(w, "subjects    %d commitments to what is known of players, %d players erased; period %d of the vault\n", s.Commitments, s.Erased, s.Period)
	}
	for _, k := range r.Keys {
		fmt.Fprintf(w, "key         %s, %s, %s%s, from entry %d%s\n", clean(k.Role), clean(k.Algorithm), clean(k.Assurance), demo(k.Demo), k.Introduced, until(k.Retired))
	}
	if r.Known > 0 {
		fmt.Fprintf(w, "known       %d receipts and checkpoints compared\n", r.Known)
	}
	if len(r.Types) > 0 {
		fmt.Fprintf(w, "\nentries\n")
		for _, typ := range slices.Sorted(maps.Keys(r.Types)) {
			fmt.Fprintf(w, "%10d  %s\n", r.Types[typ], typ)
		}
	}
	if len(r.Games) > 0 || len(r.Cash) > 0 {
		fmt.Fprintf(w, "\nmoney, in minor units\n")
		for i := range r.Games {
			g := &r.Games[i]
			fmt.Fprintf(w, "  %s, %s: %d rounds, stakes %s, payouts %s, return %s%%\n", g.Game, g.Currency, g.Rounds, g.Stakes, g.Payouts, percent(&g.Payouts, &g.Stakes))
		}
		for i := range r.Cash {
			c := &r.Cash[i]
			fmt.Fprintf(w, "  cashier, %s: deposits %s, withdrawals %s\n", c.Currency, c.Deposits, c.Withdrawals)
		}
	}
	if len(r.Chance) > 0 {
		fmt.Fprintf(w, "\nchance, while it was played\n")
		for _, c := range r.Chance {
			fmt.Fprintf(w, "  %s: %d rounds, strongest evidence %d of %d bits (%s), %d alarms\n", c.Game, c.Rounds, c.Evidence, c.Threshold, c.Strongest, c.Alarms)
		}
	}
	if r.Size > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", clean(s))
	}
	for _, s := range r.Unchecked {
		fmt.Fprintf(w, "not checked: %s\n", clean(s))
	}
	printFindings(w, r.Findings, r.More)
}

// printOutside says how much of the seeds only the house's word stands for.
func printOutside(w io.Writer, r *verify.Report) {
	o := &r.Outside
	fmt.Fprintf(w, "outside     %d epochs with a beacon, %d with witnesses, %d with nothing from outside", o.Beacon, o.Witness, o.None)
	if o.None > 0 {
		fmt.Fprintf(w, " (the house can grind the seed)")
	}
	fmt.Fprintln(w)
	if o.Downgraded > 0 {
		fmt.Fprintf(w, "            %d of them downgraded: more had been committed to\n", o.Downgraded)
	}
	for _, c := range o.Chains {
		fmt.Fprintf(w, "            beacon chain %s\n", clean(c))
	}
	for _, n := range o.Witnesses {
		fmt.Fprintf(w, "            witness %s\n", clean(n))
	}
	if n := r.Epochs.OneSource; n > 0 {
		fmt.Fprintf(w, "entropy     %d epochs ask for one source only: a demonstration\n", n)
	}
}

// demo says of a key that it is for demonstration.
func demo(is bool) string {
	if is {
		return " (in a file: a DEMONSTRATION key)"
	}
	return ""
}

func until(retired uint64) string {
	if retired == 0 {
		return ""
	}
	return fmt.Sprintf(" until entry %d", retired)
}

// printCosignatures says who besides the house vouches for a checkpoint.
func printCosignatures(w io.Writer, prefix string, c *verify.Cosignatures) {
	for _, s := range c.Good {
		fmt.Fprintf(w, "%sby %s at %s\n", prefix, clean(s.Witness), s.At.Format(time.RFC3339))
	}
	switch {
	case c.Others > 0:
		fmt.Fprintf(w, "%s%d cosignatures not checked: --witness gives the keys of those that count\n", prefix, c.Others)
	case len(c.Good) == 0:
		fmt.Fprintf(w, "%sby nobody: it is the house's word alone\n", prefix)
	}
}

// clean keeps what a log or a server says from giving a terminal commands.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// percent is a/b in percent with two decimals; stakes are never zero.
func percent(a, b *verify.Sum) string {
	q := new(big.Rat).SetFrac(new(big.Int).Mul(a.Big(), big.NewInt(100)), b.Big())
	return q.FloatString(2)
}

func printFindings(w io.Writer, list []verify.Finding, more uint64) {
	for _, f := range list {
		where := fmt.Sprintf("entry %d (%s)", f.Index, clean(f.Type))
		if f.Type == "tree" || f.Type == "checkpoint" {
			where = fmt.Sprintf("%s of size %d", f.Type, f.Index)
		}
		fmt.Fprintf(w, "%s breaks %s\n  expected  %s\n  found     %s\n", where, f.Rule, clean(f.Expected), clean(f.Found))
	}
	if more > 0 {
		fmt.Fprintf(w, "and %d more findings\n", more)
	}
}

func printProof(w io.Writer, p *verify.Proof) {
	h := p.Record.Head()
	fmt.Fprintf(w, "entry %d of %s, in the signed tree of %d entries with root %s\n", p.Index, clean(p.Checkpoint.Origin), p.Checkpoint.Size, verify.Hex(p.Checkpoint.Root))
	printCosignatures(w, "  cosigned ", &p.Cosignatures)
	for _, s := range p.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", clean(s))
	}
	fmt.Fprintf(w, "  %s at %s, id %s\n", p.Record.Type(), h.At, h.ID)
	switch r := p.Record.(type) {
	case *rounds.Settled:
		fmt.Fprintf(w, "  %s: stake %d, payout %d %s (minor units), draw %d of epoch %d\n", r.Game, r.Stake.Amount, r.Payout.Amount, r.Stake.Currency, r.Draw.Number, r.Draw.Epoch)
	case *wallet.Deposited:
		fmt.Fprintf(w, "  %d %s (minor units)\n", r.Amount.Amount, r.Amount.Currency)
	case *wallet.Withdrawn:
		fmt.Fprintf(w, "  %d %s (minor units)\n", r.Amount.Amount, r.Amount.Currency)
	}
}
