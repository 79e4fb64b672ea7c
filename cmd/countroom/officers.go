package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"countroom/games/house"
	"countroom/games/subjects"
	"countroom/hardware/signer"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/rngcert/decision"

	"github.com/spf13/cobra"
)

func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", b)
	}
	return err
}

func officersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "officers",
		Short: "The people of whom two must approve of exchanging keys, of giving up a seed, of erasing a player",
		Long: `Officers are people with keys of their own, kept off the house's machine. What takes
two of them goes by files: a proposal, which says what would be done; an approval,
which each officer signs where his key is; and submit, which does it.`,
	}
	c.AddCommand(officerKeygen(), officerEnrol(), officerRetire(), officerApprove(), officerSubmit(), officerList())
	return c
}

func officerKeygen() *cobra.Command {
	c := &cobra.Command{
		Use:   "keygen NAME --key URI",
		Short: "Make an officer's key, on his own machine, and print its public half",
		Args:  cobra.ExactArgs(1),
	}
	uri := c.Flags().String("key", "", "where to make it: file:PATH, pkcs11:… or tpm:…")
	p256 := c.Flags().Bool("p256", false, "make a P-256 key, for a device that has no Ed25519")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := officers.CheckName(args[0]); err != nil {
			return err
		}
		if *uri == "" {
			return errors.New("--key: expected a URI such as file:anna.pem")
		}
		alg := signer.Ed25519
		if *p256 {
			alg = signer.ECDSAP256
		}
		s, err := signer.Generate(c.Context(), *uri, alg, signer.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		algorithm, public, err := officerPublic(s.Public())
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), publicKey{algorithm, args[0], hex.EncodeToString(public)})
	}
	return c
}

func officerEnrol() *cobra.Command {
	c := &cobra.Command{
		Use:   "enrol PUBLIC",
		Short: "Enrol an officer by what keygen printed: the first two at once, later ones by a proposal",
		Args:  cobra.ExactArgs(1),
	}
	data := dataFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		b, err := readCeremony(args[0], c.InOrStdin())
		if err != nil {
			return err
		}
		r, err := parsePublicKey(b)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		var v houseView
		if err := ask(c.Context(), *data, "GET", "/house", nil, &v); err != nil {
			return err
		}
		p, err := draft(v.Origin, r, house.Words{})
		if err != nil {
			return err
		}
		if len(v.Officers) >= officers.Quorum {
			return printJSON(c.OutOrStdout(), p)
		}
		return submit(c.Context(), c.OutOrStdout(), *data, p, nil)
	}
	return c
}

func officerRetire() *cobra.Command {
	c := &cobra.Command{Use: "retire NAME", Short: "Propose that an officer's signature count no more", Args: cobra.ExactArgs(1)}
	data := dataFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		var v houseView
		if err := ask(c.Context(), *data, "GET", "/house", nil, &v); err != nil {
			return err
		}
		p, err := draft(v.Origin, &officers.Retired{Officer: args[0]}, house.Words{})
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), p)
	}
	return c
}

func officerApprove() *cobra.Command {
	c := &cobra.Command{
		Use:   "approve PROPOSAL --officer NAME --key URI",
		Short: "Sign an approval, on an officer's own machine; what is approved is shown first",
		Args:  cobra.ExactArgs(1),
	}
	uri := c.Flags().String("key", "", "the officer's key")
	name := c.Flags().String("officer", "", "the officer's name")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *uri == "" {
			return errors.New("--key: expected the URI of the officer's key")
		}
		if err := officers.CheckName(*name); err != nil {
			return fmt.Errorf("--officer: %w", err)
		}
		b, err := readCeremony(args[0], c.InOrStdin())
		if err != nil {
			return err
		}
		p, r, words, err := parseProposal(b)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s approves at %s of\n  %s: %s\n", *name, clean(p.Origin), r.Type(), clean(r.Subject()))
		if words.Text != "" {
			fmt.Fprintf(c.ErrOrStderr(), "  for the reason: %s\n", clean(words.Text))
		}
		if _, ok := r.(*decision.Abandoned); ok {
			fmt.Fprintln(c.ErrOrStderr(), "  its secret is given up: what was drawn from it is UNPROVABLE for ever")
		}
		if _, ok := r.(*subjects.Erased); ok {
			fmt.Fprintln(c.ErrOrStderr(), "  all that the house knows of him is erased for ever")
		}
		if k, ok := r.(*keys.Introduced); ok && keys.Demo(k.Assurance) {
			fmt.Fprintln(c.ErrOrStderr(), "  the new key is in a file: a DEMONSTRATION key")
		}
		s, _, _, err := officerKey(c.Context(), *uri)
		if err != nil {
			return err
		}
		defer s.Close()
		msg := officers.Message(p.Origin, r.Type(), r.Subject())
		sig, err := s.SignMessage(strings.NewReader(string(msg)))
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), approval{r.Type(), *name, p.Origin, hex.EncodeToString(sig), r.Subject()})
	}
	return c
}

func officerSubmit() *cobra.Command {
	c := &cobra.Command{
		Use:   "submit PROPOSAL APPROVAL APPROVAL",
		Short: "Have the house do what two officers approved of, and print its answer",
		Args:  cobra.ExactArgs(1 + officers.Quorum),
	}
	data := dataFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		b, err := readCeremony(args[0], c.InOrStdin())
		if err != nil {
			return err
		}
		p, _, _, err := parseProposal(b)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		var list []approval
		for _, name := range args[1:] {
			b, err := readCeremony(name, nil)
			if err != nil {
				return err
			}
			a, err := parseApproval(b)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			list = append(list, a)
		}
		return submit(c.Context(), c.OutOrStdout(), *data, &p, list)
	}
	return c
}

func submit(ctx context.Context, w io.Writer, data string, p *proposal, list []approval) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	var saved json.RawMessage
	if err := ask(ctx, data, "POST", "/approved", approvedRequest{b, list}, &saved); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", saved)
	return err
}

func officerList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the officers that the log knows", Args: cobra.NoArgs}
	data := dataFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v houseView
		if err := ask(c.Context(), *data, "GET", "/house", nil, &v); err != nil {
			return err
		}
		for _, o := range v.Officers {
			state := "serving"
			if o.Retired {
				state = "retired"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s, enrolled by entry %d  %s\n", o.Name, state, o.Algorithm, o.Enrolled, o.Public)
		}
		return nil
	}
	return c
}

func keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "The keys that a house signs with, and their exchange"}
	c.AddCommand(keysInit(), keysList(), keysRotate(), keysRetire(), keysAttest())
	return c
}

func algorithmOf(role string) (signer.Algorithm, error) {
	switch keys.Algorithm(role) {
	case officers.Ed25519:
		return signer.Ed25519, nil
	case officers.ECDSAP256:
		return signer.ECDSAP256, nil
	}
	return 0, fmt.Errorf("--role %q: expected %s, %s or %s", role, system.RoleCheckpoint, system.RoleSeeds, system.RoleExports)
}

func keysInit() *cobra.Command {
	c := &cobra.Command{
		Use:   "init --role ROLE --key URI",
		Short: "Make a key in a device, before the house's first start names it under keys:",
		Long: `Make a key in a device, or in a file, before the house's first start names it under
keys:. The role is checkpoint, seeds, exports, or seal: the key that seals the secrets of
seeds. A new seal key opens no secret that the old one sealed: the house starts with it
and nobody plays until it opens them again, or countroom seeds abandon.`,
		Args: cobra.NoArgs,
	}
	role := c.Flags().String("role", "", "checkpoint, seeds, exports or seal")
	uri := c.Flags().String("key", "", "where to make it: pkcs11:…, tpm:…, a key service, or file:PATH")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *role == "seal" {
			s, err := signer.GenerateSealer(c.Context(), *uri, signer.Options{})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "seal key made: %s%s\n", s.Assurance(), demoMark(keys.Demo(s.Assurance())))
			return s.Close()
		}
		alg, err := algorithmOf(*role)
		if err != nil {
			return err
		}
		s, err := signer.Generate(c.Context(), *uri, alg, signer.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Fprintf(c.OutOrStdout(), "%s key made: %s, %s%s\n", *role, keys.Algorithm(*role), s.Assurance(), demoMark(keys.Demo(s.Assurance())))
		return nil
	}
	return c
}

func demoMark(demo bool) string {
	if demo {
		return " (in a file: a DEMONSTRATION key)"
	}
	return ""
}

func printKey(w io.Writer, k keyView) {
	state := fmt.Sprintf("from entry %d", k.Introduced)
	if k.Retired != 0 {
		state += fmt.Sprintf(" until entry %d", k.Retired)
	} else if !k.AtHand {
		state += ", NOT AT HAND"
	}
	fmt.Fprintf(w, "%s  %s, %s%s, %s\n  %s\n", k.Role, k.Algorithm, k.Assurance, demoMark(k.Demo), state, k.Public)
}

func keysList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the keys that the log ever had", Args: cobra.NoArgs}
	data := dataFlag(c)
	hist := c.Flags().Bool("history", false, "print the history of the checkpoint key, for countroom-verify receipt --history")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *hist {
			var saved json.RawMessage
			if err := ask(c.Context(), *data, "GET", "/keys/history", nil, &saved); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", saved)
			return err
		}
		var v houseView
		if err := ask(c.Context(), *data, "GET", "/house", nil, &v); err != nil {
			return err
		}
		for _, k := range v.Keys {
			printKey(c.OutOrStdout(), k)
		}
		return nil
	}
	return c
}

func keysRotate() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate --role ROLE --to URI",
		Short: "Propose a new key of a role, signed by it and by the one in force",
		Long: `Put a new key of a role at hand and propose it, signed by it and by the one in
force. On a pair the other machine has the key, too, before this returns: a file is
carried there, a device has to be reached from there by the same URI.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(c)
	role := c.Flags().String("role", "", "checkpoint, seeds or exports")
	uri := c.Flags().String("to", "", "the new key, as the server reaches it")
	create := c.Flags().Bool("make", false, "make the key there first")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := algorithmOf(*role); err != nil {
			return err
		}
		var p proposal
		if err := ask(c.Context(), *data, "POST", "/keys/put", putKey{*role, *uri, *create}, &p); err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), p)
	}
	return c
}

func keysRetire() *cobra.Command {
	c := &cobra.Command{
		Use:   "retire --role ROLE --reason TEXT",
		Short: "Propose that the older of two keys of a role be used no more",
		Args:  cobra.NoArgs,
	}
	data := dataFlag(c)
	role := c.Flags().String("role", "", "checkpoint, seeds or exports")
	public := c.Flags().String("public", "", "the key to be retired, if not the older")
	reason := c.Flags().String("reason", "", "why, for the vault; the log has a commitment to it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *reason == "" {
			return errors.New("--reason: expected a text")
		}
		var v houseView
		if err := ask(c.Context(), *data, "GET", "/house", nil, &v); err != nil {
			return err
		}
		for _, k := range v.Keys {
			if *public == "" && k.Role == *role && k.Retired == 0 {
				*public = k.Public
			}
		}
		words := randomWords(*reason)
		p, err := draft(v.Origin, &keys.Retired{Public: *public, Reason: entry.Commitment(words.Salt, words.Text), Role: *role}, words)
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), p)
	}
	return c
}

func keysAttest() *cobra.Command {
	c := &cobra.Command{
		Use:   "attest",
		Short: "Have each key in force sign a challenge, and check it",
		Args:  cobra.NoArgs,
	}
	data := dataFlag(c)
	challenge := c.Flags().String("challenge", "", "32 bytes in hex (default random)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		var fresh [32]byte
		if *challenge == "" {
			rand.Read(fresh[:])
		} else if b, err := hex.DecodeString(*challenge); err != nil || len(b) != len(fresh) {
			return errors.New("--challenge: expected 64 hex digits")
		} else {
			fresh = [32]byte(b)
		}
		var v houseView
		if err := ask(c.Context(), *data, "POST", "/keys/attest", map[string]string{"challenge": hex.EncodeToString(fresh[:])}, &v); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "challenge %x\n", fresh)
		for _, k := range v.Keys {
			printKey(c.OutOrStdout(), k)
			sig, err := hex.DecodeString(k.Signature)
			if err != nil || !keys.Verify(k.Role, k.Public, house.Attestation(v.Origin, fresh), sig) {
				return fmt.Errorf("the %s key did not sign the challenge", k.Role)
			}
			fmt.Fprintf(c.OutOrStdout(), "  signed %s\n", k.Signature)
		}
		return nil
	}
	return c
}
