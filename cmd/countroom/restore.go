package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"countroom/cmd/appliance"
	"countroom/regulator/verify"

	"github.com/spf13/cobra"
)

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE|- [FILE...]",
		Short: "Make a house's data directory of its back-up and its keys",
		Long: `Make the data directory of a house of a back-up, and of those that continue it in
order. Books, tiles and indexes are computed anew from the entries, and the root
of the log must come out as the house signed it. Nothing stands in its place
before everything was found to hold.

The keys are not in a back-up. They are in the data directory already, or are
copied from --keys DIR, each readable by its owner alone:

  checkpoint.pem  seeds.pem  exports.pem  seal.key  token.key  vault.key

ring with the files that it names, if a key was exchanged, and vault-period.key,
which changes with each period of the vault.
Those that are in devices are named by the settings keys.… of --config or of the
environment, as for countroom serve.

The log is made in the data directory; none is made in a database.

The data directory may hold keys, credentials, guard, origin and log.vkey, and
nothing else. A guard there that saw a longer log signed forbids the restore.

--known holds saved answers and checkpoints against the back-up. One that the
house signed after the back-up was made says that restoring it rolls the log
back: what was signed since is gone, and everybody who kept some of it can prove
that. It is refused, unless --accept-rollback gives the reason, which is
committed to in the log. After each restore the first start says in the log what
it was restored from (house.restored).`,
		Args: cobra.MinimumNArgs(1),
	}
	data := dataFlag(cmd)
	keys := cmd.Flags().String("keys", "", "directory with the house's keys, to be copied")
	house := houseFlag(cmd)
	known := cmd.Flags().StringArray("known", nil, "saved answer or checkpoint of the house; may be given again")
	reason := cmd.Flags().String("accept-rollback", "", "why a back-up is restored although the house signed more since")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("accept-rollback") && (*reason == "" || len(*reason) > 1000) {
			return errors.New("--accept-rollback: expected a reason of 1 to 1000 bytes")
		}
		c, err := house()
		if err != nil {
			return err
		}
		if c.Store != "" {
			return errors.New("store: a restore makes a log in the data directory, and this house is configured to have it in a database: leave store out of the configuration, here and for the start that follows")
		}
		r := appliance.Restoration{Dir: *data, Keys: *keys, KeyURIs: c.keys(), Rollback: *reason, Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))}
		for _, name := range args {
			if name == "-" {
				r.Backups = append(r.Backups, cmd.InOrStdin())
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			r.Backups = append(r.Backups, f)
		}
		for _, name := range *known {
			b, err := readKnown(name)
			if err != nil {
				return fmt.Errorf("--known: %w", err)
			}
			r.Known = append(r.Known, verify.Known{Name: name, Data: b})
		}
		done, err := appliance.Restore(cmd.Context(), r)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "restored %s in %s\n  size     %d\n  root     %x\n  last     %s\n  vault    %d rows\n  digest   %x\n",
			done.Head.Origin, *data, done.Head.Size, done.Head.Root, done.Last, done.Rows, done.Digest)
		if done.Signed > done.Head.Size {
			fmt.Fprintf(out, "ROLLED BACK: the house signed at least %d entries more; the first start says so in the log.\n", done.Signed-done.Head.Size)
		}
		if done.Over {
			fmt.Fprintln(out, "LOST: this back-up's vault is of a period that is over. Log and money are whole, but no player's id or data opens any more.")
		}
		fmt.Fprintf(out, "Not in a back-up: entries signed after %s, of which nothing here can tell; keys; credentials, which a\nstart makes anew where there are none.\n", done.Last)
		return nil
	}
	return cmd
}

func readKnown(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, verify.KnownMost+1))
	if err == nil && len(b) > verify.KnownMost {
		err = fmt.Errorf("%s: longer than %d bytes", name, verify.KnownMost)
	}
	return b, err
}
