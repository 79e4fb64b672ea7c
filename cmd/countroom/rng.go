package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"countroom/games/slots"
	"countroom/games/trial"
	"countroom/hardware/entropy"
	"countroom/rngcert/assessment"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/report"
	"countroom/rngcert/verdict"

	"github.com/spf13/cobra"
)

// exitError ends the program with a status of its own.
type exitError struct {
	status int
	error
}

// Exit status of rng certify and of selfcheck.
const (
	exitFailed = 1
	exitNotRun = 2
)

func rngCommand() *cobra.Command {
	c := &cobra.Command{Use: "rng", Short: "Examine the house's chance", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(rngCertifyCommand())
	return c
}

func rngCertifyCommand() *cobra.Command {
	size := trial.Default
	var out string
	cmd := &cobra.Command{
		Use:   "certify --data DIR -o DIR",
		Short: "Run the laboratory on the entropy sources, the generator and the games, and log its report",
		Long: `Run the laboratory on what this machine's house draws from: each of its entropy sources
(raw noise by NIST SP 800-90B, conditioned sources by SP 800-22, and the report says which
is which; all of them must answer), its generator and its
draw values (SP 800-22), and the integers that each enabled game draws, by the road
that a spin takes (the classical battery). The rule by which all p-values together
are judged is fixed beforehand; single small ones are no fault.

Writes report.json, report.html, assessment.sigstore.json, the statement about both
that the house's key for exports signs, and answer.json, the receipts for
countroom-verify assessment; and logs the examination as rng.assessed:
through the server where one runs, else by opening the house.

Exit status: 0 passed, 1 failed, 2 could not be run.`,
		Args: cobra.NoArgs,
	}
	load := deskFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "directory to write the report into, which must not hold one")
	f.IntVar(&size.Samples, "samples", size.Samples, "bytes of each raw source")
	f.IntVar(&size.BitSequences, "bit-sequences", size.BitSequences, "sequences of bits of each source and generator")
	f.IntVar(&size.BitLength, "bit-length", size.BitLength, "bits of a sequence")
	f.IntVar(&size.GameSequences, "game-sequences", size.GameSequences, "sequences of draws of each game")
	f.IntVar(&size.GameDraws, "game-draws", size.GameDraws, "draws of a sequence")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c, err := load()
		if err == nil {
			err = certify(ctx, cmd, c, out, size)
		}
		var exit *exitError
		if err != nil && !errors.As(err, &exit) {
			err = &exitError{exitNotRun, err}
		}
		return err
	}
	return cmd
}

func certify(ctx context.Context, cmd *cobra.Command, c *config, out string, size trial.Size) (err error) {
	if out == "" {
		return errors.New("--output: expected a directory for the report")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range []string{assessment.ReportName, assessment.PageName, assessment.BundleName, assessment.AnswerName} {
		if _, err := os.Lstat(filepath.Join(out, name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--output: %s: expected a directory without a %s", out, name)
		}
	}
	d, err := openDesk(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	var a about
	if err := d.ask(ctx, "GET", "/about", nil, &a); err != nil {
		return err
	}
	if hash, err := programHash(); err != nil {
		return err
	} else if hash != a.Program {
		return fmt.Errorf("the server runs program sha256:%s, this one is sha256:%s: run the server's", a.Program, hash)
	}
	doc, err := examine(ctx, cmd, size, &a)
	if err != nil {
		return err
	}
	data, err := doc.JSON()
	if err != nil {
		return err
	}
	page, err := doc.Page()
	if err != nil {
		return err
	}
	var logged assessAnswer
	if err := d.ask(ctx, "POST", "/assess", assessRequest{data, page}, &logged); err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{assessment.ReportName, data}, {assessment.PageName, page}, {assessment.BundleName, logged.Bundle}, {assessment.AnswerName, logged.Answer}} {
		if err := os.WriteFile(filepath.Join(out, file.name), file.data, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: entry %d of %s, report in %s\n", doc.Report.Outcome, logged.Index, doc.Origin, out)
	if doc.Report.Outcome != verdict.Pass {
		return &exitError{exitFailed, errors.New("the house's chance did not pass")}
	}
	return nil
}

// turns is a source that two ask, the pool of the trial's secrets and the laboratory.
type turns struct {
	entropy.Source
	mu sync.Mutex
}

// Read fills p when it is its turn.
func (t *turns) Read(ctx context.Context, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Source.Read(ctx, p)
}

// piece is about what a seed takes of a slow source: more at a time would keep the others waiting.
const piece = 512

func inPieces(ctx context.Context, s entropy.Source, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), piece)
		if err := s.Read(ctx, p[:n]); err != nil {
			return fmt.Errorf("source %s: %w", s.Name(), err)
		}
		p = p[n:]
	}
	return nil
}

// toExamine opens the sources of a house once more, for the laboratory and for the report.
func toExamine(ctx context.Context, uris []string) (trials []trial.Source, listed []report.Source, sources []entropy.Source, err error) {
	for _, uri := range uris {
		opened, err := entropy.Parse(uri)
		if err != nil {
			return nil, nil, nil, err
		}
		s, kind := &turns{Source: opened}, opened.Kind()
		trials = append(trials, trial.Source{Name: s.Name(), Conditioned: kind.Conditioned, MinEntropy: kind.MinEntropyPerByte, Read: func(p []byte) error { return inPieces(ctx, s, p) }})
		listed = append(listed, report.Source{Name: s.Name(), Conditioned: kind.Conditioned, MinEntropyPerByte: kind.MinEntropyPerByte})
		sources = append(sources, s)
	}
	return trials, listed, sources, nil
}

// examine runs the laboratory.
func examine(ctx context.Context, cmd *cobra.Command, size trial.Size, a *about) (*report.Document, error) {
	var definitions []*slots.Definition
	doc := &report.Document{Format: report.Format, Origin: a.Origin, Release: a.Release, Code: a.Program, Configuration: a.Configuration, Games: []report.Game{}, Sources: []report.Source{}}
	for _, raw := range a.Games {
		g, err := slots.Parse(raw)
		if err != nil {
			return nil, err
		}
		definitions = append(definitions, g)
		maths := g.Hash()
		doc.Games = append(doc.Games, report.Game{Game: g.ID, Release: g.Version, Maths: hex.EncodeToString(maths[:])})
	}
	examined, listed, sources, err := toExamine(ctx, a.Sources)
	if err != nil {
		return nil, err
	}
	doc.Sources = listed
	pool, err := entropy.NewPool(ctx, entropy.Options{Personalisation: []byte("countroom rng certify " + a.Origin), Minimum: a.Minimum}, sources...)
	if err != nil {
		return nil, err
	}
	plan, err := trial.Plan(ctx, size, examined, trial.Chance{Origin: a.Origin, Draws: a.Draws, Secret: func(ctx context.Context) ([32]byte, error) {
		secret, _, err := pool.Secret(ctx)
		return secret, err
	}}, definitions)
	if err != nil {
		return nil, err
	}
	p := newProgress(cmd.ErrOrStderr(), "examining")
	doc.Started = time.Now().UTC()
	r, err := laboratory.Run(plan, func(at laboratory.Progress) {
		p.what = at.Name
		if at.Run == 2 {
			p.what += ", once more"
		}
		p.show(uint64(at.Done), uint64(at.Total))
	})
	p.end()
	if err != nil {
		return nil, err
	}
	doc.Finished, doc.Report = time.Now().UTC(), *r
	return doc, doc.Check()
}
