package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"countroom/cmd/appliance"
	"countroom/ledger/backup"
	"countroom/ledger/replica"
	"countroom/ledger/store"
	"countroom/ledger/tlog"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// dataFlag declares --data, which the environment sets as it does for serve.
func dataFlag(cmd *cobra.Command) *string {
	dir := os.Getenv("COUNTROOM_DATA")
	if dir == "" {
		dir = defaults().Data
	}
	return cmd.Flags().String("data", dir, "directory of the house")
}

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup -o FILE|-",
		Short: "Back a house up, while it plays or while it stands",
		Long: `Write a back-up of the house in the data directory to one file: every entry of its
log, the signed checkpoint that covers them, and the encrypted vault. While the
house plays, its server hands out a snapshot over DIR/control.sock; play goes on.
What is written is checked against the checkpoint's signature and root; a file
that is there under its name is whole.

The keys are NOT in it, and without them it cannot be restored. Keep them apart
from it, on paper or in a safe. These files are needed:

  keys/checkpoint.pem  keys/seeds.pem  keys/exports.pem
  keys/seal.key        keys/token.key  keys/vault.key

keys/ring with the files that it names, once a key was exchanged, and
keys/vault-period.key, which changes by itself: copy it anew after each
countroom subjects rewrap, and each time the house begins a period of its vault
(--vault-period), and destroy the copies from before. A back-up from before the
period before the present one is not restored whole: nobody can find its players
again.

Of a key in a device there is no file: it is backed up, or cloned, by the device's
own means.

credentials/*.key are not needed: a start makes new bearer tokens where there are
none. The file is not secret from those who may read the log; but it holds the
players' moves, and with keys/vault.key their names.

--since continues an earlier back-up: the new file has what came since, and is
restored together with it. The vault is in it as a whole.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	out := cmd.Flags().StringP("output", "o", "", "file to write, which must not exist; - is standard output")
	since := cmd.Flags().String("since", "", "an earlier back-up, to write only what came after it")
	house := houseFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := house()
		if err != nil {
			return err
		}
		if *out == "" {
			return errors.New("--output: expected a file, or - for standard output")
		}
		line, err := os.ReadFile(filepath.Join(*data, "log.vkey"))
		if err != nil {
			return fmt.Errorf("--data: no house in %s: %w", *data, err)
		}
		v, err := tlog.NewVerifier(strings.TrimSpace(string(line)))
		if err != nil {
			return fmt.Errorf("log.vkey: %w", err)
		}
		begin, err := headOf(*since, v)
		if err != nil {
			return err
		}
		return toFile(cmd, *out, func(w io.Writer) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			in, err := openBackup(ctx, *data, c, begin)
			if err != nil {
				return err
			}
			defer in.Close()
			head, sum, err := pass(w, in, v)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "backed up %s\n  from     %d\n  size     %d\n  root     %x\n  vault    %d rows\n  bytes    %d\n  digest   %x\nNot in it: keys and credentials (countroom backup --help).\n",
				head.Origin, sum.From, head.Size, head.Root, sum.Rows, sum.Bytes, sum.Digest)
			return nil
		})
	}
	return cmd
}

// headOf returns the signed head at which a back-up ends, zero of no file.
func headOf(file string, v note.Verifier) (tlog.Checkpoint, error) {
	if file == "" {
		return tlog.Checkpoint{}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return tlog.Checkpoint{}, fmt.Errorf("--since: %w", err)
	}
	defer f.Close()
	r, err := backup.NewReader(bufio.NewReader(f))
	if err != nil {
		return tlog.Checkpoint{}, fmt.Errorf("--since %s: %w", file, err)
	}
	head, err := tlog.Open(r.Checkpoint, v)
	if err != nil {
		return tlog.Checkpoint{}, fmt.Errorf("--since %s: %w", file, err)
	}
	return head, nil
}

// openBackup asks the server for the stream, or makes it itself where none runs.
func openBackup(ctx context.Context, dir string, c *config, since tlog.Checkpoint) (io.ReadCloser, error) {
	in, err := askBackup(ctx, dir, since)
	if !errors.Is(err, errNoServer) {
		return in, err
	}
	// As a start does it: what was committed last may not be signed yet.
	cfg := appliance.Config{Dir: dir, Keys: c.keys(), Postgres: c.Store, LedgerOnly: true, Log: slog.New(slog.DiscardHandler)}
	if _, err := appliance.LoadSeat(dir); err == nil { // what a machine keeps for its pair is not the house's
		cfg.Machine.WrapStore = func(s store.Store) store.Store { return replica.NewStore(s) }
	}
	a, err := appliance.Open(ctx, cfg)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (where the log is in a database, --config has to say so)", err)
	}
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		snapshot, signed, err := a.Ledger.Snapshot(ctx)
		if err == nil {
			_, err = backup.Write(w, snapshot, signed.Checkpoint, since)
			err = errors.Join(err, snapshot.Close())
		}
		w.CloseWithError(errors.Join(err, a.Close(context.Background())))
	}()
	return r, nil
}

// pass copies a back-up and checks it on the way.
func pass(w io.Writer, in io.Reader, v note.Verifier) (head tlog.Checkpoint, sum backup.Summary, err error) {
	r, err := backup.NewReader(bufio.NewReaderSize(io.TeeReader(in, w), 1<<20))
	if err != nil {
		return head, sum, err
	}
	all, err := backup.Verify([]note.Verifier{v}, nil, r)
	for err == nil {
		_, err = all.Next()
	}
	if err != io.EOF {
		return head, sum, err
	}
	return all.Head(), all.Summary(), nil
}

// toFile has a file written whole or not at all, or standard output.
func toFile(cmd *cobra.Command, name string, write func(io.Writer) error) error {
	if name == "-" {
		return write(cmd.OutOrStdout())
	}
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--output: %s: expected a file that does not exist", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
