package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"countroom/games/certificates"
	"countroom/games/slots"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/officers"

	"github.com/sigstore/sigstore/pkg/signature"
	sigstore "github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/spf13/cobra"
)

func certificatesCommand() *cobra.Command {
	c := &cobra.Command{Use: "certificates", Short: "Work with laboratories' certificates of games", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(certificatesSignCommand(), certificatesRecogniseCommand(), certificatesImportCommand(), certificatesListCommand())
	return c
}

func certificatesSignCommand() *cobra.Command {
	var key, game, program, begins, expires, laboratory, returns, out string
	cmd := &cobra.Command{
		Use:   "sign --key FILE --laboratory NAME --game FILE --program SHA256 --expires TIME",
		Short: "As a laboratory, certify a game as one program plays it",
		Long: `As a laboratory, sign a certificate: an in-toto statement about a game's definition and
a program, in a Sigstore bundle, under the laboratory's own key (PKCS #8 PEM, P-256 or
Ed25519). The house that imports it needs no connection to the laboratory.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the laboratory's private key, a PKCS #8 PEM file")
	f.StringVar(&laboratory, "laboratory", "", "the laboratory's name, as houses recognise it")
	f.StringVar(&game, "game", "", "FILE with the game's definition, or the id of one that comes with the program")
	f.StringVar(&program, "program", "", "SHA-256 of the program, in hex (countroom version prints it)")
	f.StringVar(&begins, "begins", "", "time from which the certificate is in force, RFC 3339 (default now)")
	f.StringVar(&expires, "expires", "", "time at which it ends, RFC 3339")
	f.StringVar(&returns, "returns", "", "theoretical return, such as 0.9551 (default that of a bundled game)")
	f.StringVarP(&out, "output", "o", "-", "file to write, which must not exist; - is standard output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, value := range map[string]string{"key": key, "laboratory": laboratory, "game": game, "program": program, "expires": expires} {
			if value == "" {
				return fmt.Errorf("--%s: expected a value", name)
			}
		}
		d, err := definition(game)
		if err != nil {
			return fmt.Errorf("--game: %w", err)
		}
		c := certificates.Certificate{Game: d.ID, Laboratory: laboratory, Maths: d.Hash(), Release: d.Version, Returns: returns}
		if r, ok := slots.Return(d.Hash()); ok && returns == "" {
			c.Returns = r
		}
		hash, err := hex.DecodeString(program)
		if err != nil || len(hash) != len(c.Program) {
			return fmt.Errorf("--program: %q: expected a SHA-256 in hex", program)
		}
		c.Program = [32]byte(hash)
		if c.Begins, err = instant(begins, time.Now()); err != nil {
			return fmt.Errorf("--begins: %w", err)
		}
		if c.Expires, err = instant(expires, time.Time{}); err != nil {
			return fmt.Errorf("--expires: %w", err)
		}
		if c.Begins >= c.Expires {
			return fmt.Errorf("--expires: %s: expected after %s", c.Expires, c.Begins)
		}
		bundle, err := signCertificate(key, &c)
		if err != nil {
			return err
		}
		if out == "-" {
			_, err = cmd.OutOrStdout().Write(bundle)
			return err
		}
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		_, err = f.Write(bundle)
		return errors.Join(err, f.Close())
	}
	return cmd
}

// definition reads a game from a file, or finds a bundled one.
func definition(game string) (*slots.Definition, error) {
	for _, d := range bundled() {
		if d.ID == game {
			return d, nil
		}
	}
	b, err := os.ReadFile(game)
	if err != nil {
		return nil, err
	}
	return slots.Parse(b)
}

func instant(s string, otherwise time.Time) (entry.Time, error) {
	if s == "" {
		return entry.TimeOf(otherwise), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q: expected such as 2027-01-31T00:00:00Z", s)
	}
	return entry.TimeOf(t), nil
}

func signCertificate(keyFile string, c *certificates.Certificate) ([]byte, error) {
	payload, err := c.Payload()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: expected a PKCS #8 PEM file", keyFile)
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	var signer signature.SignerVerifier
	switch private := private.(type) {
	case *ecdsa.PrivateKey:
		if private.Curve != elliptic.P256() {
			return nil, fmt.Errorf("%s: a key on %s, expected P-256 or Ed25519", keyFile, private.Curve.Params().Name)
		}
		signer, err = signature.LoadECDSASignerVerifier(private, crypto.SHA256)
	case ed25519.PrivateKey:
		signer, err = signature.LoadED25519SignerVerifier(private)
	default:
		err = fmt.Errorf("%s: %T, expected a P-256 or Ed25519 key", keyFile, private)
	}
	if err != nil {
		return nil, err
	}
	public, err := signer.PublicKey()
	if err != nil {
		return nil, err
	}
	key, err := dsse.KeyOf(public)
	if err != nil {
		return nil, err
	}
	signed, err := sigstore.WrapSigner(signer, dsse.PayloadType).SignMessage(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	e, err := dsse.Parse(signed)
	if err != nil {
		return nil, err
	}
	bundle := dsse.Bundle(e, key)
	if _, again, err := certificates.Read(bundle); err != nil || *again != *c { // names that a log cannot hold
		return nil, errors.Join(errors.New("the certificate would not be read as it was meant"), err)
	}
	return bundle, nil
}

func certificatesRecogniseCommand() *cobra.Command {
	var approvals []string
	var show bool
	cmd := &cobra.Command{
		Use:   "recognise NAME PUBLIC.pem",
		Short: "Go by a laboratory's certificates from here on",
		Long: `Go by a laboratory's certificates from here on: logged as laboratory.recognised. Where
the house has officers, two approve of it: --show prints what each signs, and each
signature is given as --approval NAME=HEX.`,
		Args: cobra.ExactArgs(2),
	}
	load := deskFlags(cmd)
	cmd.Flags().StringArrayVar(&approvals, "approval", nil, "NAME=HEX: an officer's signature; give two")
	cmd.Flags().BoolVar(&show, "show", false, "print what officers sign, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		key, err := dsse.ParsePEM(b)
		if err != nil {
			return fmt.Errorf("%s: %w", args[1], err)
		}
		q := recogniseRequest{Laboratory: args[0], Public: key.String()}
		for _, a := range approvals {
			name, digits, _ := strings.Cut(a, "=")
			sig, err := hex.DecodeString(digits)
			if err != nil || name == "" || len(sig) == 0 {
				return fmt.Errorf("--approval: %q: expected NAME=HEX", a)
			}
			q.Approvals = append(q.Approvals, officers.Approval{Officer: name, Signature: sig})
		}
		return withDesk(cmd, c, func(ctx context.Context, d *desk) error {
			if show {
				var a about
				if err := d.ask(ctx, "GET", "/about", nil, &a); err != nil {
					return err
				}
				r := &certificates.Recognised{Laboratory: q.Laboratory, Public: q.Public}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", officers.Message(a.Origin, r.Type(), r.Subject()))
				return err
			}
			var out indexAnswer
			if err := d.ask(ctx, "POST", "/laboratories", q, &out); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "entry %d: %s is recognised\n", out.Index, q.Laboratory)
			return err
		})
	}
	return cmd
}

// withDesk asks the house something, and lets go of it.
func withDesk(cmd *cobra.Command, c *config, ask func(context.Context, *desk) error) (err error) {
	d, err := openDesk(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return ask(cmd.Context(), d)
}

func certificatesImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Log a laboratory's certificate, which is in force from then on",
		Args:  cobra.ExactArgs(1),
	}
	load := deskFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		_, cert, err := certificates.Read(b)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return withDesk(cmd, c, func(ctx context.Context, d *desk) error {
			var out indexAnswer
			if err := d.ask(ctx, "POST", "/certificates", b, &out); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "entry %d: %s certifies %s %s from %s to %s\n", out.Index, cert.Laboratory, cert.Game, cert.Release, cert.Begins, cert.Expires)
			return err
		})
	}
	return cmd
}

func certificatesListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates that the games in play have for the running program",
		Args:  cobra.NoArgs,
	}
	load := deskFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return withDesk(cmd, c, func(ctx context.Context, d *desk) error {
			var a certificatesAnswer
			if err := d.ask(ctx, "GET", "/certificates", nil, &a); err != nil {
				return err
			}
			state := "a demonstration: games need no certificate"
			if a.Production {
				state = "in production: games need a certificate in force"
			}
			fmt.Fprintln(cmd.OutOrStdout(), state)
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "GAME\tRELEASE\tLABORATORY\tBEGINS\tEXPIRES\tRETURN")
			for _, g := range a.Games {
				for _, r := range g.List {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Game, g.Release, r.Laboratory, r.Begins, r.Expires, r.Returns)
				}
				if !g.InForce {
					fmt.Fprintf(w, "%s\t%s\tnone in force\t\t\t\n", g.Game, g.Release)
				}
			}
			return w.Flush()
		})
	}
	return cmd
}

func selfcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "selfcheck",
		Short: "Have the house look at its program, configuration and games now, and log what it finds",
		Long: `Have the house hash its program's file, its configuration in force and the games in
play, and log that as software.verified. A server does it by itself at its start and
every 24 hours. Exit status: 0 all is as it should be, 1 it is not, 2 it could not look.`,
		Args: cobra.NoArgs,
	}
	load := deskFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return &exitError{exitNotRun, err}
		}
		var r certificates.Verified
		if err := withDesk(cmd, c, func(ctx context.Context, d *desk) error { return d.ask(ctx, "POST", "/selfcheck", nil, &r) }); err != nil {
			return &exitError{exitNotRun, err}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "program        sha256:%x\nconfiguration  sha256:%x\ngames          sha256:%x\nmatches        %t\n", r.Program, r.Configuration, r.Games, r.Matches)
		if !r.Matches {
			return &exitError{exitFailed, errors.New("not what it should be: see the log's earlier software.verified and house.active")}
		}
		return nil
	}
	return cmd
}
