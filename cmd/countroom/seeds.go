package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/rngcert/decision"

	"github.com/spf13/cobra"
)

// seedView is an epoch whose secret is still secret, as the control socket tells it.
type seedView struct {
	Epoch  uint64 `json:"epoch"`
	State  string `json:"state"`
	Draws  uint64 `json:"draws"`
	Halted bool   `json:"halted"`
	Sealed string `json:"sealed,omitempty"` // why its secret does not open
}

type seedsView struct {
	Origin string     `json:"origin"`
	Seeds  []seedView `json:"seeds"`
}

type haltRequest struct {
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason"`
	Key    string `json:"key"` // of its idempotency
}

// seeds serves what becomes of seed epochs on the control socket.
func (d *door) seeds(handle func(pattern string, do func(ctx context.Context, room *room, body []byte) (any, error))) {
	handle("GET /seeds", func(ctx context.Context, room *room, _ []byte) (any, error) { return viewSeeds(ctx, room) })
	handle("POST /seeds/halt", func(ctx context.Context, room *room, body []byte) (any, error) {
		var req haltRequest
		if err := strictly(body, &req); err != nil {
			return nil, err
		}
		receipt, err := room.House.HaltSeed(ctx, house.Request{Key: req.Key, Method: http.MethodPost, Path: "/seeds/halt", Principal: "operator", Body: body}, req.Epoch, req.Reason)
		if err != nil {
			return nil, err
		}
		return savedAnswer(receipt.Index, receipt.Leaf, receipt.Proof), nil
	})
}

func viewSeeds(ctx context.Context, room *room) (v seedsView, err error) {
	list, err := room.House.Seeds(ctx)
	if err != nil {
		return v, err
	}
	v = seedsView{Origin: room.Ledger.Origin(), Seeds: []seedView{}}
	for _, s := range list {
		one := seedView{Epoch: s.Epoch, State: s.State, Draws: s.Draws, Halted: s.Halted}
		if s.Sealed != nil {
			one.Sealed = s.Sealed.Error()
		}
		v.Seeds = append(v.Seeds, one)
	}
	return v, nil
}

func seedsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "seeds",
		Short: "The secrets behind the draws: look at them, and end or give up one out of turn",
		Long: `Seed epochs end and are revealed by themselves. This is for the day on which one must
not go on: its secret is lost, or somebody may know it.

halt stops all play at once. Then two officers decide: end lets the epoch in use end
early, to be revealed like any other; abandon gives a secret up for ever, and the
rounds that were drawn from it are UNPROVABLE, which every verifier says. end and
abandon print a proposal, for countroom officers approve and submit.`,
	}
	c.AddCommand(seedsList(), seedsHalt(), seedsEnd(), seedsAbandon())
	return c
}

func seedsList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the epochs that are not revealed yet, and try whether their secrets open", Args: cobra.NoArgs}
	data := dataFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var v seedsView
		if err := ask(c.Context(), *data, "GET", "/seeds", nil, &v); err != nil {
			return err
		}
		for _, s := range v.Seeds {
			state := "opens"
			if s.Sealed != "" {
				state = "DOES NOT OPEN: " + clean(s.Sealed)
			}
			if s.Halted {
				state += ", HALTED: nobody plays until two officers decide"
			}
			fmt.Fprintf(c.OutOrStdout(), "epoch %d  %s, %d draws, %s\n", s.Epoch, s.State, s.Draws, state)
		}
		return nil
	}
	return c
}

// epochNumber reads an epoch's number.
func epochNumber(arg string) (uint64, error) {
	n, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("epoch %q: expected its number, from 1", arg)
	}
	return n, nil
}

func reasonFlag(c *cobra.Command) *string {
	return c.Flags().String("reason", "", "why, for the vault; the log has a commitment to it")
}

func seedsHalt() *cobra.Command {
	c := &cobra.Command{
		Use:   "halt EPOCH --reason TEXT",
		Short: "Stop all play until two officers have decided about an epoch, and print the entry",
		Args:  cobra.ExactArgs(1),
	}
	data, reason := dataFlag(c), reasonFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		n, err := epochNumber(args[0])
		if err != nil {
			return err
		}
		if *reason == "" {
			return errors.New("--reason: expected a text")
		}
		salt := randomWords("").Salt
		var saved json.RawMessage
		if err := ask(c.Context(), *data, "POST", "/seeds/halt", haltRequest{n, *reason, fmt.Sprintf("halt %d %x", n, salt[:8])}, &saved); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", saved)
		return err
	}
	return c
}

func seedsEnd() *cobra.Command {
	return seedsDecide(&cobra.Command{
		Use:   "end EPOCH --reason TEXT",
		Short: "Propose that the halted epoch in use end early; it is revealed in time",
	}, func(d decision.Decision) officers.Approved { return &decision.Ended{Decision: d} }, "active")
}

func seedsAbandon() *cobra.Command {
	return seedsDecide(&cobra.Command{
		Use:   "abandon EPOCH --reason TEXT",
		Short: "Propose that a halted epoch's secret be given up: its rounds are unprovable for ever",
	}, func(d decision.Decision) officers.Approved { return &decision.Abandoned{Decision: d} }, "")
}

// seedsDecide is a command that proposes what becomes of a halted epoch, which
// must be in a state if one is given.
func seedsDecide(c *cobra.Command, record func(decision.Decision) officers.Approved, state string) *cobra.Command {
	c.Args = cobra.ExactArgs(1)
	data, reason := dataFlag(c), reasonFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		n, err := epochNumber(args[0])
		if err != nil {
			return err
		}
		if *reason == "" {
			return errors.New("--reason: expected a text")
		}
		var v seedsView
		if err := ask(c.Context(), *data, "GET", "/seeds", nil, &v); err != nil {
			return err
		}
		for _, s := range v.Seeds {
			switch {
			case s.Epoch != n:
				continue
			case !s.Halted:
				return fmt.Errorf("epoch %d is not halted: countroom seeds halt %d first, so that no more is drawn from it", n, n)
			case state != "" && s.State != state:
				return fmt.Errorf("epoch %d is %s: only the active one can end early", n, s.State)
			}
			words := randomWords(*reason)
			p, err := draft(v.Origin, record(decision.Decision{Draws: s.Draws, Epoch: n, Reason: entry.Commitment(words.Salt, words.Text)}), words)
			if err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), p)
		}
		return fmt.Errorf("epoch %d: expected one that is neither revealed nor abandoned, as countroom seeds list shows them", n)
	}
	return c
}
