package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/ledger/replica"

	"github.com/spf13/cobra"
)

func pairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pair",
		Short: "Run the house on two machines and an arbiter",
		Long: `Run one house on two machines and a small arbiter. A command is answered when two
of the three hold it durably; when the machine that writes is lost, the other one
goes on within about a second, and clients that repeat by their keys see delay and
not an error. Either machine answers clients.

  on the first machine:  countroom pair init --data DIR --name a --address HOST:PORT
                         countroom serve --data DIR
  on the second:         countroom pair join --data DIR --name b --address HOST:PORT \\
                           --via "ssh FIRST countroom pair admit --data DIR"
                         countroom serve --data DIR
  on the third:          the same with --name w --arbiter

The address is where the other members reach this one; the port after it is used,
too.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(pairInit(), pairJoin(), pairAdmit(), pairStatus(), pairSwitchover(), pairRemove())
	return cmd
}

func pairInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init --name NAME --address HOST:PORT",
		Short: "Make a house, or a directory where one will be founded, the first machine of a pair",
		Long: `Make the house in the data directory the first machine of a pair. Its server must
not run; the next "countroom serve" runs it as a pair of one, to which others can
join. Where there is no house yet, that start founds it.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	name, address := memberFlags(cmd)
	origin := cmd.Flags().String("origin", "", "name of a new log, as for serve")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := appliance.InitPair(*data, *origin, *name, *address); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is the first machine of a pair, as %q at %s\n", *data, *name, *address)
		return nil
	}
	return cmd
}

func memberFlags(cmd *cobra.Command) (name, address *string) {
	name = cmd.Flags().String("name", "", "name of the member in the pair, such as a; it is never used again")
	address = cmd.Flags().String("address", "", "host:port where the other members reach it; the port after it is used, too")
	cmd.MarkFlagRequired("name")
	cmd.MarkFlagRequired("address")
	return name, address
}

func pairJoin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join --name NAME --address HOST:PORT --via COMMAND",
		Short: "Make an empty directory the place of another machine, or of the arbiter",
		Long: `Join a pair with an empty data directory. COMMAND reaches "countroom pair admit" on
the machine that writes, such as

  ssh a.casino.example countroom pair admit --data /var/lib/countroom

It gets the request to join on its standard input and gives the answer on its
standard output. The house's key files, bearer tokens and the pair's authority are
in the answer, sealed (HPKE, RFC 9180) to a key that this command has just made: whoever
carries it cannot read them. Keys in a device stay there: configure this machine
with the same device.

Afterwards start "countroom serve"; the machine then gets the log, while play goes
on, and its vote when it has nearly all of it. To replace a member that is lost, give the
admitting command --replace NAME.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	name, address := memberFlags(cmd)
	arbiter := cmd.Flags().Bool("arbiter", false, "join as the arbiter: it votes and keeps a part of the log, and has no keys")
	via := cmd.Flags().String("via", "", "shell command that reaches \"countroom pair admit\" on the machine that writes")
	cmd.MarkFlagRequired("via")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		j, err := appliance.NewJoiner(*data, replica.Member{Name: *name, Address: *address, Arbiter: *arbiter})
		if err != nil {
			return err
		}
		request, err := j.Request()
		if err != nil {
			return err
		}
		reach := exec.CommandContext(cmd.Context(), "/bin/sh", "-c", *via)
		reach.Stdin, reach.Stderr = bytes.NewReader(request), cmd.ErrOrStderr()
		answer, err := reach.Output()
		if err != nil {
			return fmt.Errorf("--via: %w: empty %s before you try again", err, *data)
		}
		if err := j.Accept(answer); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s joins the pair as %q at %s: start countroom serve --data %s\n", *data, *name, *address, *data)
		return nil
	}
	return cmd
}

func pairAdmit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admit",
		Short: "Admit a member: the other end of pair join",
		Long: `Read a request to join from the standard input and write the answer to the standard
output. It is for "countroom pair join --via"; who may run it on this machine may add members to
the pair and give them the house's keys.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	replace := cmd.Flags().String("replace", "", "name of the member whose place the new one takes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
		if err != nil {
			return err
		}
		return askPair(cmd, *data, http.MethodPost, "/pair/admit?replace="+url.QueryEscape(*replace), request)
	}
	return cmd
}

func pairStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what this member knows of the pair, as JSON",
		Args:  cobra.NoArgs,
	}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askPair(cmd, *data, http.MethodGet, "/pair/status", nil)
	}
	return cmd
}

func pairSwitchover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "switchover",
		Short: "Let the other machine write",
		Long: `Let the machine that does not write take over, as planned; clients see a delay. It
may be asked of either machine, and returns when the other one leads.`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askPair(cmd, *data, http.MethodPost, "/pair/switchover", nil)
	}
	return cmd
}

func pairRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a member from the pair; ask the machine that writes",
		Args:  cobra.ExactArgs(1),
	}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return askPair(cmd, *data, http.MethodPost, "/pair/remove?name="+url.QueryEscape(args[0]), nil)
	}
	return cmd
}

// askPair asks the server of a data directory, and prints its answer.
func askPair(cmd *cobra.Command, dir, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(cmd.Context(), method, "http://countroom"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := controlClient(dir).Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: start countroom serve first", dir, errNoServer)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s is not in a pair: countroom pair init makes it the first machine of one", dir)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(b)))
	}
	_, err = cmd.OutOrStdout().Write(b)
	return err
}

// pairControl serves the commands of a machine.
func pairControl(mux *http.ServeMux, p *appliance.Pair) {
	statusControl(mux, p.Node())
	refuse := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
	mux.HandleFunc("POST /pair/switchover", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		refuse(w, p.Switch(ctx))
	})
	mux.HandleFunc("POST /pair/remove", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		refuse(w, p.Node().Remove(ctx, r.FormValue("name")))
	})
	mux.HandleFunc("POST /pair/admit", func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		var answer []byte
		if err == nil {
			answer, err = p.Admit(request, r.URL.Query().Get("replace"))
		}
		if err != nil {
			refuse(w, err)
			return
		}
		_, _ = w.Write(answer)
	})
}

func statusControl(mux *http.ServeMux, n *replica.Node) {
	mux.HandleFunc("GET /pair/status", func(w http.ResponseWriter, _ *http.Request) {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(n.Status())
	})
}

// serveArbiter runs the arbiter: it votes, and answers nobody but /livez and
// /readyz.
func serveArbiter(ctx context.Context, c *config, seat *appliance.Seat, lis net.Listener, log *slog.Logger) error {
	rc := seat.Config(c.Data)
	rc.Log = log
	if change := underneath.Consensus; change != nil {
		change(&rc)
	}
	n, err := replica.Open(rc)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if n.Err() != nil {
			http.Error(w, "the consensus has stopped", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	server := api.HTTPServer(mux)
	go server.Serve(lis)
	if private := listenControl(ctx, c.Data, log); private != nil {
		commands := http.NewServeMux()
		statusControl(commands, n)
		own := &http.Server{Handler: commands}
		context.AfterFunc(ctx, func() { own.Close() })
		go own.Serve(private)
	}
	log.Info("voting", "node", seat.Name, "address", seat.Address, "data", c.Data)
	select {
	case <-n.Ended():
	case <-ctx.Done():
		err = n.Close()
	}
	if failed := n.Err(); !errors.Is(failed, replica.ErrClosed) {
		err = errors.Join(failed, n.Close())
	}
	return errors.Join(err, server.Close())
}
