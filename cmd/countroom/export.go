package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"countroom/regulator/export"
	"countroom/regulator/export/archive"

	"github.com/spf13/cobra"
)

type certifyAnswer struct {
	Certificate *export.Certificate
	Bundle      []byte
}

// exportsDesk adds what auditors take home to the control socket.
func exportsDesk(answer func(pattern string, handle func(ctx context.Context, h *room, body []byte) (any, error))) {
	answer("POST /exports", func(_ context.Context, r *room, body []byte) (any, error) {
		var q archive.Ask
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		return r.Exports.Request(q)
	})
	answer("POST /exports/status", func(_ context.Context, r *room, body []byte) (any, error) {
		return r.Exports.Status(string(body))
	})
	answer("POST /spans", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q archive.Ask
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, err
		}
		c, bundle, err := r.Exports.Certify(ctx, q)
		return certifyAnswer{c, bundle}, err
	})
}

const hourLayout = "2006-01-02T15"

// moment reads an end of a span: an RFC 3339 time, or as much of one as names a day or an hour, in UTC.
func moment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, hourLayout, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: expected the index of an entry, a day such as 2026-03-01, an hour such as 2026-03-01T13, or an RFC 3339 time", s)
}

// ends reads both ends of what is asked for.
func ends(q *archive.Ask, from, to string) error {
	a, err := strconv.ParseUint(from, 10, 53)
	b, err2 := strconv.ParseUint(to, 10, 53)
	if err == nil && err2 == nil {
		q.From, q.To = &a, &b
		return nil
	}
	for _, e := range []struct {
		name, text string
		into       *string
	}{{"from", from, &q.After}, {"to", to, &q.Before}} {
		t, err := moment(e.text)
		if err != nil {
			return fmt.Errorf("--%s: %w", e.name, err)
		}
		*e.into = t.Format(time.RFC3339Nano)
	}
	return nil
}

func exportCommand() *cobra.Command {
	var q archive.Ask
	var from, to, checkpoint, out string
	cmd := &cobra.Command{
		Use:   "export --data DIR --from FROM --to TO -o FILE",
		Short: "Write a signed export of a part of the log, for an auditor to take home",
		Long: `Write entries of the log into one file that stock tools open (ZIP), with what binds them
to a signed checkpoint, the seeds and definitions of their rounds, tables as CSV and
Parquet, and a statement that the house's key for exports signs.

FROM and TO are indexes (TO is the first entry that is left out), or times in UTC: a
day such as 2026-03-01, an hour such as 2026-03-01T13, or RFC 3339. A span of time has
to be over, and gets a certificate that it is complete. A filter takes part of the
entries; such an export is not complete, and says so.

Through the server where one runs, which plays on, else by opening the house. Check it,
wherever you are:  countroom-verify export FILE --vkey log.vkey`,
		Args: cobra.NoArgs,
	}
	load := deskFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "first entry, or instant")
	f.StringVar(&to, "to", "", "entry or instant behind the last")
	f.StringVar(&q.Filter.Player, "player", "", "only what is of this player, by the reference that entries have")
	f.StringVar(&q.Filter.Game, "game", "", "only what is of this game")
	f.StringVar(&q.Filter.Type, "type", "", "only entries of this type, such as round.settled")
	f.StringVar(&checkpoint, "checkpoint", "", "file with a checkpoint that the house signed (default the newest): the same gives the same file")
	f.StringVarP(&out, "output", "o", "", "file to write, which must not exist")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := errors.Join(ends(&q, from, to), absent(out)); err != nil {
			return err
		}
		if checkpoint != "" {
			if q.Checkpoint, err = os.ReadFile(checkpoint); err != nil {
				return fmt.Errorf("--checkpoint: %w", err)
			}
		}
		c, err := load()
		if err != nil {
			return err
		}
		d, err := openDesk(ctx, c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		return exportTo(ctx, cmd, c, d, q, out)
	}
	return cmd
}

// absent demands the name of a file that is not there.
func absent(out string) error {
	if out == "" {
		return errors.New("--output: expected the name of a file")
	}
	if _, err := os.Lstat(out); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--output: %s: expected a file that does not exist", out)
	}
	return nil
}

// exportTo has an export made, waits for it, and copies it.
func exportTo(ctx context.Context, cmd *cobra.Command, c *config, d *desk, q archive.Ask, out string) error {
	var st archive.Status
	if err := d.ask(ctx, "POST", "/exports", q, &st); err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr(), "exporting")
	defer p.end()
	for st.State == archive.Waiting || st.State == archive.Running {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := d.ask(ctx, "POST", "/exports/status", []byte(st.ID), &st); err != nil {
			return err
		}
		p.show(st.Done, st.Total)
	}
	if st.State != archive.Done {
		return fmt.Errorf("the export failed: %s", st.Why)
	}
	in, err := os.Open(filepath.Join(c.Data, exportsFolder, st.ID+".zip"))
	if err != nil {
		return err
	}
	defer in.Close()
	to, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, in)
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	what := "complete"
	if !st.Filter.None() {
		what = "filtered, not complete"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: entries %d up to %d, %s, %d bytes\n", out, st.Range.From, st.Range.To, what, n)
	return nil
}

// exportsFolder is where the house makes exports.
const exportsFolder = "exports"

func certifySpanCommand() *cobra.Command {
	var day, hour, from, to, out string
	cmd := &cobra.Command{
		Use:   "certify-span --data DIR (--day DAY | --hour HOUR | --from TIME --to TIME) -o FILE",
		Short: "Sign that a range of entries is all that the log has of a day or an hour",
		Long: `Fold the entries of a span of time, which has to be over, and sign what they come to:
which entries they are, that round and draw numbers in them have no gap, and the totals
for each game and currency. It is complete as to the log: a bet that was refused has no
entry.

An export of the same span has the same certificate in it. Check one that was handed out
alone against an export:  countroom-verify export FILE --certificate FILE --vkey log.vkey`,
		Args: cobra.NoArgs,
	}
	load := deskFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&day, "day", "", "a day in UTC, such as 2026-03-01")
	f.StringVar(&hour, "hour", "", "an hour in UTC, such as 2026-03-01T13")
	f.StringVar(&from, "from", "", "first instant")
	f.StringVar(&to, "to", "", "instant behind the last")
	f.StringVarP(&out, "output", "o", "", "file to write, which must not exist")
	cmd.MarkFlagsMutuallyExclusive("day", "hour", "from")
	cmd.MarkFlagsRequiredTogether("from", "to")
	cmd.MarkFlagsOneRequired("day", "hour", "from")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		var q archive.Ask
		for _, unit := range []struct {
			name, text, layout, such string
			length                   time.Duration
		}{{"day", day, time.DateOnly, "2026-03-01", 24 * time.Hour}, {"hour", hour, hourLayout, "2026-03-01T13", time.Hour}} {
			if unit.text == "" {
				continue
			}
			t, err := time.Parse(unit.layout, unit.text)
			if err != nil {
				return fmt.Errorf("--%s: %q: expected one such as %s", unit.name, unit.text, unit.such)
			}
			from, to = t.Format(time.RFC3339), t.Add(unit.length).Format(time.RFC3339)
		}
		if err := errors.Join(ends(&q, from, to), absent(out)); err != nil {
			return err
		}
		if q.From != nil {
			return errors.New("--from, --to: expected times")
		}
		c, err := load()
		if err != nil {
			return err
		}
		d, err := openDesk(ctx, c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		var a certifyAnswer
		if err := d.ask(ctx, "POST", "/spans", q, &a); err != nil {
			return err
		}
		if err := os.WriteFile(out, a.Bundle, 0o600); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), a.Certificate)
		return nil
	}
	return cmd
}
