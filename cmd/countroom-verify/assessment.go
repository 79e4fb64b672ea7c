package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"countroom/regulator/verify"
	"countroom/rngcert/assessment"
)

// examination checks what countroom rng certify wrote into a directory.
func examination(a *arguments, stdout, stderr io.Writer) int {
	e, err := func() (*assessment.Assessed, error) {
		vkey, err := line(a.vkey)
		if err != nil {
			return nil, err
		}
		var x verify.Examination
		for _, f := range []struct {
			name string
			data *[]byte
		}{{assessment.ReportName, &x.Report}, {assessment.PageName, &x.Page}, {assessment.BundleName, &x.Bundle}, {assessment.AnswerName, &x.Answer}} {
			if *f.data, err = read(filepath.Join(a.subject, f.name), nil, verify.KnownMost); err != nil {
				return nil, err
			}
		}
		ring, err := verify.NewKeyring(vkey)
		if err != nil {
			return nil, err
		}
		if a.history != "" {
			history, err := read(a.history, nil, verify.KnownMost)
			if err != nil {
				return nil, err
			}
			if err := ring.Follow(history); err != nil {
				return nil, fmt.Errorf("%s: %w", a.history, err)
			}
		}
		return ring.Assessment(&x)
	}()
	if e != nil {
		fmt.Fprintf(stdout, "outcome        %s\nprogram        sha256:%x\nconfiguration  sha256:%x\n", clean(e.Outcome), e.Program, e.Configuration)
		for _, g := range e.Games {
			fmt.Fprintf(stdout, "game           %s %s, maths sha256:%x\n", clean(g.Game), clean(g.Release), g.Maths)
		}
		for _, s := range e.Sources {
			fmt.Fprintf(stdout, "source         %s, conditioned: %t\n", clean(s.Name), s.Conditioned)
		}
	}
	var f *verify.Finding
	switch {
	case errors.As(err, &f):
		printFindings(stdout, []verify.Finding{*f}, 0)
		fmt.Fprintln(stdout, "EVIDENCE: the examination is not what the house's keys say")
		return exitEvidence
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	fmt.Fprintln(stdout, "OK")
	return exitHolds
}
