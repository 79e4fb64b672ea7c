package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"countroom/ledger/entry"
	"countroom/regulator/disclosure"
	"countroom/regulator/verify"
)

// disclosureArguments are those of countroom-verify subjects.
type disclosureArguments struct {
	file, log, vkey, token string
	players                []entry.Ref
	json                   bool
}

func parseSubjects(args []string) (*disclosureArguments, error) {
	a := &disclosureArguments{}
	var plain []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-" || !strings.HasPrefix(args[i], "-") {
			plain = append(plain, args[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if name == "json" && !given {
			a.json = true
			continue
		}
		player := ""
		into := map[string]*string{"log": &a.log, "vkey": &a.vkey, "token": &a.token, "player": &player}[name]
		if into == nil {
			return nil, fmt.Errorf("subjects: unknown flag %s", args[i])
		}
		if !given {
			if i++; i >= len(args) || strings.HasPrefix(args[i], "--") {
				return nil, fmt.Errorf("--%s: expected a value", name)
			}
			value = args[i]
		}
		*into = value
		if into == &player {
			ref, err := hex.DecodeString(player)
			if err != nil || len(ref) != len(entry.Ref{}) || hex.EncodeToString(ref) != player {
				return nil, fmt.Errorf("--player %s: expected the 32 hex digits of a player's reference", player)
			}
			a.players = append(a.players, entry.Ref(ref))
		}
	}
	switch {
	case len(plain) != 1:
		return nil, fmt.Errorf("subjects: expected one FILE with a disclosure, got %d arguments", len(plain))
	case a.log == "":
		return nil, errors.New("subjects: expected --log URL|DIR, the log that holds the commitments")
	case a.vkey == "":
		return nil, errors.New("subjects: expected --vkey FILE, the house's verifier key")
	case a.token != "" && !isURL(a.log):
		return nil, errors.New("--token: expected with the URL of a house only")
	}
	a.file = plain[0]
	return a, nil
}

// disclosed holds a disclosure against the log that its commitments are in.
func disclosed(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a, err := parseSubjects(args)
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %v\nTry countroom-verify --help.\n", err)
		return exitUnchecked
	}
	progress := newProgress(stderr)
	checked, report, err := checkSubjects(ctx, a, stdin, progress.show)
	progress.clear()
	if errors.Is(err, verify.ErrUnprovable) { // of draws, which say nothing of subjects
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		err = nil
	}
	verdict, code := "ok", exitHolds
	switch {
	case report != nil && !report.OK():
		verdict, code = "evidence", exitEvidence
	case err != nil:
		verdict, code = "unchecked", exitUnchecked
	case !checked.OK():
		verdict, code = "difference", exitEvidence
	}
	if a.json {
		why, findings := "", []verify.Finding{}
		if err != nil {
			why = err.Error()
		}
		if report != nil {
			findings = report.Findings
		}
		b, err := json.MarshalIndent(struct {
			Verdict  string             `json:"verdict"`
			Error    string             `json:"error,omitempty"`
			Size     uint64             `json:"size"` // of the log
			Findings []verify.Finding   `json:"findings"`
			Report   *disclosure.Report `json:"report,omitempty"`
		}{verdict, why, size(report), findings, checked}, "", "  ")
		if err != nil {
			fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
			return exitUnchecked
		}
		fmt.Fprintf(stdout, "%s\n", b)
		return code
	}
	switch {
	case verdict == "evidence":
		printFindings(stdout, report.Findings, report.More)
		fmt.Fprintln(stdout, "EVIDENCE AGAINST THE HOUSE: its log does not hold, whatever it shows")
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
	default:
		printSubjects(stdout, checked, report)
	}
	return code
}

func size(r *verify.Report) uint64 {
	if r == nil {
		return 0
	}
	return r.Size
}

func checkSubjects(ctx context.Context, a *disclosureArguments, stdin io.Reader, progress func(done, total uint64)) (*disclosure.Report, *verify.Report, error) {
	in := stdin
	if a.file != "-" {
		f, err := os.Open(a.file)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		in = f
	}
	check := disclosure.New(a.players...)
	log := &arguments{subject: a.log, vkey: a.vkey, token: a.token, subjects: check.Entry}
	report, err := checkLog(ctx, log, progress)
	if report == nil || !report.OK() || err != nil && !errors.Is(err, verify.ErrUnprovable) {
		return nil, report, err
	}
	if err := disclosure.Read(in, check.Line); err != nil {
		return nil, report, fmt.Errorf("%s: %w", a.file, err)
	}
	r := check.Report()
	for _, s := range r.Subjects {
		if len(s.Commitments) == 0 && s.Erased == 0 {
			return nil, report, fmt.Errorf("player %s: the log has nothing that is known of him", s.Player)
		}
	}
	return r, report, err
}

func printSubjects(w io.Writer, r *disclosure.Report, log *verify.Report) {
	fmt.Fprintf(w, "log         %s, %d entries, root %s\n", clean(log.Origin), log.Size, log.Root)
	for _, s := range r.Subjects {
		fmt.Fprintf(w, "player %s\n", s.Player)
		for _, k := range s.Commitments {
			var said string
			switch k.State {
			case disclosure.Present:
				said = "present: " + clean(k.Value)
			case disclosure.Erased:
				said = fmt.Sprintf("erased (entry %d)", s.Erased)
			case disclosure.Missing:
				said = "MISSING: nothing is shown, and nobody erased it"
			case disclosure.NotErased:
				said = fmt.Sprintf("NOT ERASED, as entry %d says: %s", s.Erased, clean(k.Value))
			default:
				said = "FALSE: what is shown is not what was recorded"
			}
			when := "the log has no such commitment"
			if k.At != 0 {
				when = k.At.String()
			}
			fmt.Fprintf(w, "  %-16s entry %-8d %s  %s\n", clean(k.Attribute), k.Index, when, said)
		}
	}
	fmt.Fprintf(w, "subjects    %d players: %d commitments present, %d erased, %d MISSING, %d FALSE, %d NOT ERASED\n", r.Players, r.Present, r.Erased, r.Missing, r.False, r.NotErased)
	if r.More > 0 {
		fmt.Fprintf(w, "            %d of the FALSE ones are not listed\n", r.More)
	}
	if r.Others > 0 {
		fmt.Fprintf(w, "            %d lines are about other players\n", r.Others)
	}
	if r.OK() {
		fmt.Fprintln(w, "OK")
	} else {
		fmt.Fprintln(w, "DIFFERENCE: what is shown is not what the log has")
	}
}
