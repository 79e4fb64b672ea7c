// Countroom is the house: the server that game and wallet servers write to, and
// the operator's command line.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"countroom/games/books"
	"countroom/ledger/system"

	"github.com/spf13/cobra"
)

// version is the release, set when a release is built:
// go build -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() {
	if err := root().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "countroom:", err)
		var exit *exitError
		if errors.As(err, &exit) {
			os.Exit(exit.status)
		}
		os.Exit(1)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "countroom",
		Short: "A casino's audited ledger",
		Long: `Countroom keeps a casino's rounds and money in an append-only Merkle log that
regulators, auditors and players can check without trusting the house.

Start a house:     countroom serve --data DIR
Check what it did: countroom-verify log http://127.0.0.1:8080 --vkey DIR/log.vkey --token DIR/credentials/regulator.key`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(serveCommand(), pairCommand(), mirrorCommand(), backupCommand(), restoreCommand(), configCommand(), officersCommand(), keysCommand(), seedsCommand(), gamesCommand(), rngCommand(), certificatesCommand(), exportCommand(), certifySpanCommand(), vaultCommand(), subjectsCommand(), selfcheckCommand(), versionCommand())
	c.CompletionOptions.HiddenDefaultCmd = true
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the release, and the hash of the program that a log entry names",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			hash, err := programHash()
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "countroom %s\nprogram     sha256:%s\nlog format  %d\nbooks       %d\n%s %s/%s\n",
				version, hash, system.Format, books.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// programHash is the SHA-256 of the program's file as it was when it was first asked for, in hex.
var programHash = sync.OnceValues(func() (string, error) {
	hash, err := programFile()
	return hex.EncodeToString(hash[:]), err
})

// programFile hashes the file of the running program as it is now.
func programFile() (hash [32]byte, err error) {
	path, err := os.Executable()
	if err != nil {
		return hash, err
	}
	f, err := os.Open(path)
	if err != nil {
		return hash, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return hash, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// release is what house.active entries say is running.
func release() (string, error) {
	hash, err := programHash()
	if err != nil {
		return "", err
	}
	return version + " sha256:" + hash[:32], nil
}
