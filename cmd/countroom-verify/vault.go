package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"countroom/regulator/vault"
	"countroom/regulator/vault/cdb"
	"countroom/regulator/vault/safe"
	"countroom/regulator/verify"
)

// vaultArguments are those of countroom-verify vault.
type vaultArguments struct{ dir, log, vkey, token, history string }

func parseVault(args []string) (*vaultArguments, error) {
	a := &vaultArguments{}
	var plain []string
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "--") {
			plain = append(plain, args[i])
			continue
		}
		name, value, given := strings.Cut(args[i][2:], "=")
		into := map[string]*string{"log": &a.log, "vkey": &a.vkey, "token": &a.token, "history": &a.history}[name]
		if into == nil {
			return nil, fmt.Errorf("vault: unknown flag --%s", name)
		}
		if !given {
			if i++; i >= len(args) || strings.HasPrefix(args[i], "--") {
				return nil, fmt.Errorf("--%s: expected a value", name)
			}
			value = args[i]
		}
		*into = value
	}
	switch {
	case len(plain) != 1:
		return nil, fmt.Errorf("vault: expected one DIR with a vault, got %d arguments", len(plain))
	case a.log == "":
		return nil, errors.New("vault: expected --log URL|DIR, the log that the vault is of")
	case a.vkey == "":
		return nil, errors.New("vault: expected --vkey FILE, the house's verifier key")
	case a.token != "" && !isURL(a.log):
		return nil, errors.New("--token: expected with the URL of a house only")
	}
	a.dir = plain[0]
	return a, nil
}

// vaulted holds a vault against its log.
func vaulted(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a, err := parseVault(args)
	if err != nil {
		fmt.Fprintf(stderr, "countroom-verify: %v\nTry countroom-verify --help.\n", err)
		return exitUnchecked
	}
	err = auditVault(ctx, a, stdout)
	var d *vault.Difference
	switch {
	case errors.As(err, &d):
		fmt.Fprintf(stdout, "%s: %s\n  expected  %s\n  found     %s\n", clean(d.Where), clean(d.Rule), clean(d.Expected), clean(d.Found))
		fmt.Fprintln(stdout, "DIFFERENCE: the vault is not what the log says")
		return exitEvidence
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	fmt.Fprintln(stdout, "OK")
	return exitHolds
}

func auditVault(ctx context.Context, a *vaultArguments, stdout io.Writer) error {
	log, err := vaultLog(ctx, a)
	if err != nil {
		return err
	}
	fsys := os.DirFS(a.dir)
	list, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), "delivery-") }) {
		r, err := safe.Audit(ctx, log, fsys, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s of %s\n  days      %s to %s, entries %d up to %d\n  sessions  %d, with %d rounds\n  omitted   %d entries, each for a reason\n  seals     %d days, %d without; whether they are the token service's is for that to say\n",
			safe.Format, clean(r.Origin), r.First, r.Last, r.From, r.To, r.Sessions, r.Rounds, r.Omitted, r.Sealed, r.Unsealed)
		return nil
	}
	r, err := cdb.Audit(ctx, log, fsys)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s of %s\n  entries   %d up to %d, in %d deliveries\n", cdb.Format, clean(r.Origin), r.From, r.To, r.Deliveries)
	for _, k := range []cdb.Kind{cdb.Operators, cdb.Profiles, cdb.Games, cdb.Sessions, cdb.Bets, cdb.Transactions} {
		fmt.Fprintf(stdout, "  records   %d of type %s\n", r.Records[k], k)
	}
	fmt.Fprintf(stdout, "  omitted   %d entries, each for a reason\n  corrected %d replaced, %d cancelled\n  manifest  sha256:%s\n", r.Omitted, r.Replaced, r.Cancelled, r.Last)
	return nil
}

func vaultLog(ctx context.Context, a *vaultArguments) (*vault.Log, error) {
	vkey, err := line(a.vkey)
	if err != nil {
		return nil, err
	}
	ring, err := verify.NewKeyring(vkey)
	if err != nil {
		return nil, err
	}
	if a.history != "" {
		history, err := read(a.history, nil, verify.KnownMost)
		if err == nil {
			err = ring.Follow(history)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.history, err)
		}
	}
	if !isURL(a.log) {
		return vault.Open(ctx, verify.Dir(os.DirFS(a.log)), ring, nil)
	}
	token := ""
	if a.token != "" {
		if token, err = line(a.token); err != nil {
			return nil, err
		}
	}
	src, err := verify.HTTP(a.log, token)
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, src, ring, nil)
}
