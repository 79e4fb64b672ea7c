package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"countroom/regulator/verify"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

// seedArguments are those of countroom-verify seed.
type seedArguments struct {
	command string // "keygen", "open"
	subject string

	vkey, token, out string
	keys             []string
	epoch            uint64
}

func parseSeed(args []string) (*seedArguments, error) {
	a := &seedArguments{}
	var plain []string
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "--") {
			plain = append(plain, args[i])
			continue
		}
		name, value, given := strings.Cut(args[i][2:], "=")
		if !given {
			if i++; i >= len(args) || strings.HasPrefix(args[i], "--") {
				return nil, fmt.Errorf("--%s: expected a value", name)
			}
			value = args[i]
		}
		switch name {
		case "vkey":
			a.vkey = value
		case "token":
			a.token = value
		case "out":
			a.out = value
		case "key":
			a.keys = append(a.keys, value)
		case "epoch":
			var err error
			if a.epoch, err = strconv.ParseUint(value, 10, 53); err != nil || a.epoch == 0 {
				return nil, fmt.Errorf("--epoch %s: expected a number from 1", value)
			}
		default:
			return nil, fmt.Errorf("seed: unknown flag --%s", name)
		}
	}
	if len(plain) != 2 || plain[0] != "keygen" && plain[0] != "open" {
		return nil, errors.New("seed: expected keygen NAME, or open LOG|FILE")
	}
	a.command, a.subject = plain[0], plain[1]
	switch {
	case a.command == "keygen" && (a.vkey != "" || a.token != "" || a.out != "" || a.keys != nil || a.epoch != 0):
		return nil, errors.New("seed keygen: expected no flag")
	case a.command == "open" && len(a.keys) == 0:
		return nil, errors.New("seed open: expected --key FILE, a private key of seed keygen")
	case a.command == "open" && a.out == "":
		return nil, errors.New("seed open: expected --out FILE, to be written")
	case a.token != "" && !isURL(a.subject):
		return nil, errors.New("--token: expected with the URL of a house only")
	}
	return a, nil
}

func seed(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a, err := parseSeed(args)
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %v\nTry countroom-verify --help.\n", err)
		return exitUnchecked
	}
	if a.command == "keygen" {
		err = keygen(a.subject, stdout)
	} else {
		err = openSeed(ctx, a, stdout, stderr)
	}
	switch {
	case errors.Is(err, escrow.ErrSealed), errors.Is(err, escrow.ErrCommitment):
		fmt.Fprintf(stdout, "EVIDENCE AGAINST THE HOUSE: %s\n", clean(err.Error()))
		return exitEvidence
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	return exitHolds
}

// keygen makes the key pair of a recipient.
func keygen(name string, stdout io.Writer) error {
	var random [32]byte
	rand.Read(random[:])
	private, public, err := escrow.NewKey(random)
	if err != nil {
		return err
	}
	r, err := escrow.ParseRecipient(public)
	if err != nil {
		return err
	}
	if err := create(name+".key", private, 0o600); err != nil {
		return err
	}
	if err := create(name+".pub", public, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s.key  keep it where the house cannot reach it, and a copy elsewhere\n%s.pub  for the house: escrow.inner or escrow.outer of its configuration\nkey id  %s\n", name, name, r.ID())
	return nil
}

// create writes a new file.
func create(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// openSeed takes layers off an escrowed seed.
func openSeed(ctx context.Context, a *seedArguments, stdout, stderr io.Writer) error {
	box, file, err := boxOf(ctx, a, stderr)
	if err != nil {
		return err
	}
	// What a file of somebody else's says is not under the house's signature.
	blame := func(err error) error {
		if err != nil && file {
			return fmt.Errorf("%w (if %s is what the layers before gave: have its maker take them off again before you)", err, a.subject)
		}
		return err
	}
	for _, name := range a.keys {
		text, err := read(name, nil, secretMost)
		if err != nil {
			return err
		}
		key, err := escrow.ParseKey(text)
		clear(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if box, err = box.Take(key); err != nil {
			return blame(err)
		}
		fmt.Fprintf(stdout, "epoch %d of %s: layer %d taken off with key %s\n", box.Epoch, clean(box.Origin), box.Layers+1, key.ID())
	}
	if box.Layers == 0 {
		if _, _, err := box.Secret(); err != nil {
			return blame(err)
		}
	}
	line, err := box.Encode()
	if err != nil {
		return err
	}
	if err := create(a.out, line, 0o600); err != nil {
		return err
	}
	if box.Layers > 0 {
		fmt.Fprintf(stdout, "%s  for the holder of key %s: countroom-verify seed open %s --key … --out …\n", a.out, box.Next(), a.out)
		return nil
	}
	fmt.Fprintf(stdout, "OPEN: the secret is the one that was committed to\n%s  for countroom-verify log … --secret %s\n", a.out, a.out)
	return nil
}

// boxOf finds the escrowed seed: in a log, in a saved answer about its epoch, or
// as somebody before left it, which is then not under the house's signature.
func boxOf(ctx context.Context, a *seedArguments, stderr io.Writer) (box *escrow.Box, file bool, err error) {
	if isURL(a.subject) || isDir(a.subject) {
		if a.vkey == "" || a.epoch == 0 {
			return nil, false, errors.New("seed open: expected --vkey FILE and --epoch N with a log")
		}
		progress := newProgress(stderr)
		report, err := checkLog(ctx, &arguments{command: "log", subject: a.subject, vkey: a.vkey, token: a.token, seed: a.epoch}, progress.show)
		progress.clear()
		switch {
		case report == nil:
			return nil, false, err
		case report.Seed == nil && err != nil:
			return nil, false, err
		case report.Seed == nil:
			return nil, false, fmt.Errorf("epoch %d: the log has no escrowed seed of it", a.epoch)
		}
		if err != nil {
			fmt.Fprintf(stderr, "warning: %s\n", clean(err.Error()))
		}
		if !report.OK() {
			fmt.Fprintln(stderr, "warning: the log is evidence against the house: see countroom-verify log")
		}
		return report.Seed, false, nil
	}
	data, err := read(a.subject, nil, verify.KnownMost)
	if err != nil {
		return nil, false, err
	}
	if bytes.HasPrefix(data, []byte(`{"commitment":`)) {
		box, err := escrow.Decode(data)
		if err == nil && a.epoch != 0 && a.epoch != box.Epoch {
			err = fmt.Errorf("--epoch %d: %s is of epoch %d", a.epoch, a.subject, box.Epoch)
		}
		return box, true, err
	}
	if a.vkey == "" {
		return nil, false, errors.New("seed open: expected --vkey FILE with a saved answer")
	}
	vkey, err := line(a.vkey)
	if err != nil {
		return nil, false, err
	}
	proofs, err := verify.Receipt(data, vkey)
	if err != nil {
		return nil, false, err
	}
	for _, p := range proofs {
		if e, ok := p.Record.(*epoch.Committed); ok && (a.epoch == 0 || e.Epoch == a.epoch) {
			if box = verify.Escrowed(p.Checkpoint.Origin, &e.Statement); box != nil {
				return box, false, nil
			}
		}
	}
	return nil, false, fmt.Errorf("%s: no escrowed seed is in it", a.subject)
}
