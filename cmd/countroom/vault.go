package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"countroom/ledger/entry"
	"countroom/regulator/vault"
	"countroom/regulator/vault/cdb"
	"countroom/regulator/vault/safe"
	"countroom/regulator/verify"

	"github.com/spf13/cobra"
)

// vaultFlags are which log a vault is of.
type vaultFlags struct {
	log, vkey, token, history, checkpoint, out string
	load                                       func() (*config, error)
}

func vaultCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "vault", Short: "Make an authority's vault of the log, held against the log before it is delivered",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(vaultCDBCommand(), vaultCorrectCommand(), vaultSAFECommand())
	return c
}

const vaultLong = `

The log is read as everybody reads it: with --data of a house from its running server, with
--data of a mirror from its files, or from --log URL. Nothing is put into a record that does
not lead to a checkpoint that the house signed.

What does not reconcile with the log is not delivered (exit status 1). Check a vault,
wherever you are:  countroom-verify vault DIR --log URL|DIR --vkey log.vkey`

func (f *vaultFlags) add(cmd *cobra.Command) {
	f.load = deskFlags(cmd)
	cmd.Flags().Lookup("data").Usage = "directory of the house, whose server runs, or of a mirror"
	flags := cmd.Flags()
	flags.StringVar(&f.log, "log", "", "URL of the house or of a mirror, instead of --data")
	flags.StringVar(&f.vkey, "vkey", "", "file with the house's verifier key (default log.vkey of the house's directory)")
	flags.StringVar(&f.token, "token", "", "file with a regulator's or auditor's token (default that of the house's directory)")
	flags.StringVar(&f.history, "history", "", "file with the history of the house's keys, if it exchanged that of --vkey")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "file with a checkpoint that the house signed (default the newest): the same gives the same files")
	flags.StringVarP(&f.out, "output", "o", "", "directory of the vault, in which each delivery has a folder")
}

// open reads the log.
func (f *vaultFlags) open(ctx context.Context) (*vault.Log, error) {
	if f.out == "" {
		return nil, errors.New("--output: expected the directory of the vault")
	}
	src, err := f.source()
	if err != nil {
		return nil, err
	}
	vkey, err := oneLine("vkey", f.vkey)
	if err != nil {
		return nil, err
	}
	ring, err := verify.NewKeyring(vkey)
	if err != nil {
		return nil, fmt.Errorf("--vkey: %w", err)
	}
	if f.history != "" {
		history, err := os.ReadFile(f.history)
		if err == nil {
			err = ring.Follow(history)
		}
		if err != nil {
			return nil, fmt.Errorf("--history: %w", err)
		}
	}
	var note []byte
	if f.checkpoint != "" {
		if note, err = os.ReadFile(f.checkpoint); err != nil {
			return nil, fmt.Errorf("--checkpoint: %w", err)
		}
	}
	return vault.Open(ctx, src, ring, note)
}

// source is where the log is, and fills in what the house's directory says of it.
func (f *vaultFlags) source() (verify.Source, error) {
	url := f.log
	if url == "" {
		c, err := f.load()
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(c.Data, "guard")); err != nil { // no house's
			if _, err := os.Stat(filepath.Join(c.Data, "checkpoint")); err != nil {
				return nil, fmt.Errorf("--data: %s: expected a house or a mirror: %w", c.Data, err)
			}
			if f.vkey == "" {
				return nil, errors.New("--vkey: expected the house's verifier key")
			}
			return verify.Dir(os.DirFS(c.Data)), nil
		}
		url = "http://" + c.Listen
		if c.TLS.Certificate != "" {
			url = "https://" + c.Listen
		}
		if f.vkey == "" {
			f.vkey = filepath.Join(c.Data, "log.vkey")
		}
		if f.token == "" {
			f.token = filepath.Join(c.Data, "credentials", "regulator.key")
		}
	}
	if f.vkey == "" {
		return nil, errors.New("--vkey: expected the house's verifier key")
	}
	token := ""
	if f.token != "" {
		var err error
		if token, err = oneLine("token", f.token); err != nil {
			return nil, err
		}
	}
	return verify.HTTP(url, token)
}

// vaultStatus tells a delivery that does not reconcile from one that could not be made.
func vaultStatus(err error) error {
	var d *vault.Difference
	switch {
	case errors.As(err, &d):
		return &exitError{exitFailed, fmt.Errorf("refused: %w", err)}
	case err != nil:
		return &exitError{exitNotRun, err}
	}
	return nil
}

// vaultRun runs a command that reads the log.
func vaultRun(f *vaultFlags, run func(ctx context.Context, cmd *cobra.Command, log *vault.Log) error) func(cmd *cobra.Command, _ []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		log, err := f.open(ctx)
		if err == nil {
			err = run(ctx, cmd, log)
		}
		return vaultStatus(err)
	}
}

// vaultEnd is an index, or how many entries are before an instant.
func vaultEnd(log *vault.Log, flag, s string) (uint64, error) {
	if n, err := strconv.ParseUint(s, 10, 53); err == nil {
		return n, nil
	}
	t, err := moment(s)
	if err != nil {
		return 0, fmt.Errorf("--%s: %w", flag, err)
	}
	return log.Before(entry.TimeOf(t))
}

func vaultCDBCommand() *cobra.Command {
	f := &vaultFlags{}
	var from, to string
	cmd := &cobra.Command{
		Use:   "cdb --data DIR [--from FROM] [--to TO] -o DIR",
		Short: "Deliver entries to a control databank (as the Netherlands ask for)",
		Long: `Add a delivery to a control databank: records by type in XML, at most 512 in a file, with a
control manifest that is chained to the one before.

FROM and TO are indexes (TO is the first entry that is left out), or times in UTC: a day such as
2026-03-01, an hour such as 2026-03-01T13, or RFC 3339. FROM is where the last delivery ended,
and 0 in the first; TO is what the checkpoint has.` + vaultLong,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "first entry, or instant")
	cmd.Flags().StringVar(&to, "to", "", "entry or instant behind the last")
	cmd.RunE = vaultRun(f, func(ctx context.Context, cmd *cobra.Command, log *vault.Log) error {
		var first *uint64
		if from != "" {
			n, err := vaultEnd(log, "from", from)
			if err != nil {
				return err
			}
			first = &n
		}
		last := log.Head().Size
		if to != "" {
			var err error
			if last, err = vaultEnd(log, "to", to); err != nil {
				return err
			}
		}
		m, err := cdb.Deliver(ctx, log, f.out, first, last)
		return printCDB(cmd, m, err)
	})
	return cmd
}

func printCDB(cmd *cobra.Command, m *cdb.Manifest, err error) error {
	if errors.Is(err, cdb.ErrNothing) {
		fmt.Fprintln(cmd.OutOrStdout(), err)
		return nil
	}
	if err != nil {
		return err
	}
	records := 0
	for _, file := range m.Files {
		records += file.Records
	}
	fmt.Fprintf(cmd.OutOrStdout(), "delivery %d: %s, entries %d up to %d, %d records in %d files, under %d entries\n",
		m.Sequence, m.Kind, m.Entries.From, m.Entries.To, records, len(m.Files)-1, m.Entries.Size)
	return nil
}

func vaultCorrectCommand() *cobra.Command {
	f := &vaultFlags{}
	var replace []uint
	var cancel []string
	cmd := &cobra.Command{
		Use:   "correct --data DIR [--replace INDEX] [--cancel INDEX=REASON] -o DIR",
		Short: "Deliver corrections to a control databank",
		Long: `Add a delivery of corrections to a control databank. A record that is replaced is made anew from
its entry; nothing else can be put into it. One that is cancelled stays so. A reason is of small
letters and hyphens, such as delivered-in-error: a vault has no free text.` + vaultLong,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().UintSliceVar(&replace, "replace", nil, "entry whose record is made anew; may be repeated")
	cmd.Flags().StringArrayVar(&cancel, "cancel", nil, "entry whose record is cancelled, and why; may be repeated")
	cmd.RunE = vaultRun(f, func(ctx context.Context, cmd *cobra.Command, log *vault.Log) error {
		var list []cdb.Correction
		for _, n := range replace {
			list = append(list, cdb.Correction{Index: uint64(n)})
		}
		for _, s := range cancel {
			index, reason, _ := strings.Cut(s, "=")
			n, err := strconv.ParseUint(index, 10, 53)
			if err != nil || reason == "" {
				return fmt.Errorf("--cancel: %q: expected INDEX=REASON", s)
			}
			list = append(list, cdb.Correction{Index: n, Cancel: reason})
		}
		if len(list) == 0 {
			return errors.New("expected --replace or --cancel")
		}
		m, err := cdb.Correct(ctx, log, f.out, list)
		return printCDB(cmd, m, err)
	})
	return cmd
}

func vaultSAFECommand() *cobra.Command {
	f := &vaultFlags{}
	var from, to, program string
	cmd := &cobra.Command{
		Use:   "safe --data DIR [--from DAY] [--to DAY] [--token-program FILE] -o DIR",
		Short: "Deliver days to a SAFE (as Denmark asks for)",
		Long: `Add days (UTC) to a SAFE: sessions, the day's control total and its jackpots. FROM is the day
after the last delivered, TO the first that is left out, by default the one after FROM. Days have to be over.

With --token-program each delivery is sealed by the authority's token service. The program is
run as  FILE issue ORIGIN DAY  and prints a token, then as  FILE seal TOKEN SHA256  and prints
the seal of the manifest with this digest. Without it deliveries are not sealed.` + vaultLong,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "first day, such as 2026-03-01")
	cmd.Flags().StringVar(&to, "to", "", "day behind the last")
	cmd.Flags().StringVar(&program, "token-program", "", "program that speaks to the token service")
	cmd.RunE = vaultRun(f, func(ctx context.Context, cmd *cobra.Command, log *vault.Log) error {
		var tokens safe.TokenService
		if program != "" {
			tokens = tokenProgram(program)
		}
		list, err := vaultDays(f.out, from, to)
		if err != nil {
			return err
		}
		for _, day := range list {
			m, err := safe.Deliver(ctx, log, f.out, day, tokens)
			if err != nil {
				return err
			}
			seal := "sealed"
			if tokens == nil {
				seal = "not sealed"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: entries %d up to %d, %d files, under %d entries, %s\n", m.Day, m.Entries.From, m.Entries.To, len(m.Files), m.Entries.Size, seal)
		}
		return nil
	})
	return cmd
}

// vaultDays are the days from one up to, and without, another.
func vaultDays(out, from, to string) (list []string, err error) {
	if from == "" {
		last, err := "", error(nil)
		if _, gone := os.Stat(out); gone == nil {
			last, err = safe.Last(os.DirFS(out))
		}
		if err != nil {
			return nil, err
		}
		if last == "" {
			return nil, errors.New("--from: expected the first day, such as 2026-03-01")
		}
		if from, err = safe.After(last); err != nil {
			return nil, err
		}
	}
	next, err := safe.After(from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if to == "" {
		to = next
	}
	if _, err := safe.After(to); err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	for day := from; day < to; {
		list = append(list, day)
		if day, err = safe.After(day); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--to: expected a day after %s", from)
	}
	return list, nil
}

// tokenProgram is a program that speaks to the authority's token service.
type tokenProgram string

func (p tokenProgram) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, string(p), args...)
	var said, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("--token-program %s: %w: %.500s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(said.String()), nil
}

// Issue implements safe.TokenService.
func (p tokenProgram) Issue(ctx context.Context, origin, day string) (string, error) {
	return p.run(ctx, "issue", origin, day)
}

// Seal implements safe.TokenService.
func (p tokenProgram) Seal(ctx context.Context, token string, manifest [32]byte) (string, error) {
	return p.run(ctx, "seal", token, hex.EncodeToString(manifest[:]))
}
