package main

import (
	"errors"
	"fmt"
	"io"

	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
)

// shown is countroom-verify evidence.
func shown(a *arguments, stdout, stderr io.Writer) int {
	f, v, err := checkEvidence(a)
	if f != nil && f.Origin != "" {
		fmt.Fprintf(stdout, "%s, seen at %s\n", clean(f.Origin), clean(f.SeenAt))
	}
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	if a.vkey == "" {
		fmt.Fprintln(stdout, "signed by the keys that the file names; compare them with yours:")
		for _, k := range f.VKeys {
			fmt.Fprintf(stdout, "  %s\n", clean(k))
		}
	}
	fmt.Fprintf(stdout, "%s\n", clean(v.Text))
	if !v.Proven {
		fmt.Fprintln(stdout, "NO PROOF: a statement of whoever wrote the file")
		return exitUnchecked
	}
	fmt.Fprintln(stdout, "EVIDENCE AGAINST THE HOUSE: one key, two histories")
	return exitEvidence
}

func checkEvidence(a *arguments) (f *evidence.File, v evidence.Verdict, err error) {
	data, err := read(a.subject, nil, evidence.FileMost)
	if err != nil {
		return nil, v, err
	}
	if f, err = evidence.Parse(data); err != nil {
		if f, bad := evidence.FromWitness(data); bad == nil {
			if a.vkey == "" {
				return f, v, errors.New("a witness's file does not name the log's key: expected --vkey FILE")
			}
			v, err = checkBy(a, f)
			return f, v, err
		}
		return nil, v, err
	}
	v, err = checkBy(a, f)
	return f, v, err
}

func checkBy(a *arguments, f *evidence.File) (v evidence.Verdict, err error) {
	if a.vkey == "" {
		return f.Check(evidence.SignedBy(f.VKeys))
	}
	vkey, err := line(a.vkey)
	if err != nil {
		return v, err
	}
	ring, err := verify.NewKeyring(vkey)
	if err != nil {
		return v, err
	}
	if a.history != "" {
		history, err := read(a.history, nil, verify.KnownMost)
		if err != nil {
			return v, err
		}
		if err := ring.Follow(history); err != nil {
			return v, fmt.Errorf("%s: %w", a.history, err)
		}
	}
	return f.Check(func(note []byte, head tlog.Checkpoint) error { return ring.Signed(note, head) })
}
