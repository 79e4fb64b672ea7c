package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"text/tabwriter"
	"time"

	"countroom/games"
	"countroom/games/slots"
	"countroom/games/slots/par"

	"github.com/spf13/cobra"
)

func gamesCommand() *cobra.Command {
	c := &cobra.Command{Use: "games", Short: "Look at the games' mathematics", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(gamesListCommand(), gamesParCommand(), gamesSimulateCommand())
	return c
}

// bundled are the games that come with the program.
func bundled() []*slots.Definition { return []*slots.Definition{slots.Bundled()} }

func machine(id string) (*slots.Machine, error) {
	var known []string
	for _, d := range bundled() {
		if d.ID == id {
			return slots.Compile(d)
		}
		known = append(known, d.ID)
	}
	return nil, fmt.Errorf("game %q: expected one of %q", id, known)
}

func gamesListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the games that come with the program",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tVERSION\tMATHS")
			for _, d := range bundled() {
				fmt.Fprintf(w, "%s\t%s\t%s\t%x\n", d.ID, d.Name, d.Version, d.Hash())
			}
			return w.Flush()
		},
	}
}

func gamesParCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "par ID",
		Short: "Print a game's par sheet: exact return, hit frequency and variance",
		Long: `Print a game's par sheet. Every figure on it is exact: all stops of all reels are
enumerated, and the free spins with their retriggers, maximum and cap are worked
out in rational arithmetic.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := machine(args[0])
			if err != nil {
				return err
			}
			p := newProgress(c.ErrOrStderr(), "enumerating")
			sheet, err := par.Compute(c.Context(), m, p.show)
			p.end()
			if err != nil {
				return err
			}
			return sheet.WriteText(c.OutOrStdout())
		},
	}
}

func gamesSimulateCommand() *cobra.Command {
	var rounds, seed uint64
	c := &cobra.Command{
		Use:   "simulate ID",
		Short: "Play a game many times and show the return with its confidence interval",
		Long: `Play a game many times with a simulation generator (ChaCha8, seeded), which is not
the generator of the house: it serves to hold the mathematics against the par
sheet, at speed. The path from random words to outcomes is the house's own.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := machine(args[0])
			if err != nil {
				return err
			}
			if rounds == 0 {
				return fmt.Errorf("--rounds: expected at least 1")
			}
			var key [32]byte
			binary.BigEndian.PutUint64(key[24:], seed)
			p := newProgress(c.ErrOrStderr(), "simulating")
			stats, err := par.Simulate(c.Context(), m, games.NewSimulated(rand.NewChaCha8(key).Uint64), rounds, p.show)
			p.end()
			if err != nil {
				return err
			}
			return stats.WriteText(c.OutOrStdout())
		},
	}
	c.Flags().Uint64Var(&rounds, "rounds", 10_000_000, "rounds to play")
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the simulation generator")
	return c
}

// progress shows how far long work is, on one line of a terminal, and every few
// seconds where there is none.
type progress struct {
	w        io.Writer
	what     string
	terminal bool
	start    time.Time
	shown    time.Time
}

func newProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, start: time.Now(), shown: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

func (p *progress) show(done, total uint64) {
	every := 5 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	now := time.Now()
	if now.Sub(p.shown) < every || total == 0 {
		return
	}
	p.shown = now
	line := fmt.Sprintf("%s: %5.1f %%, %v", p.what, 100*float64(done)/float64(total), now.Sub(p.start).Round(time.Second))
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s ", line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
