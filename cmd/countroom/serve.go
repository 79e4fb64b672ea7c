package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/games/slots"
	"countroom/hardware/certs"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// drainMost is how long a stop may take from the signal to the exit.
const drainMost = 10 * time.Second

func serveCommand() *cobra.Command {
	c := defaults()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the house, founding it at the first start",
		Long: `Run the house in a data directory. The first start founds it: a new log with keys
of its own, the bundled game enabled, and a bearer token each for operator,
regulator and auditor under DIR/credentials. Keys in files are marked as
assurance "software" in the log: for demonstration and tests.

SIGTERM or an interrupt stops it: /readyz says not ready, what was accepted is
finished, and the exit status is 0.`,
		Args: cobra.NoArgs,
	}
	file := c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" {
			*file = os.Getenv("COUNTROOM_CONFIG")
		}
		merged, err := c.load(cmd, *file, os.Environ())
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return serve(ctx, merged, cmd)
	}
	return cmd
}

func (c *config) level() (l slog.Level, err error) {
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, fmt.Errorf("log_level: %q: expected debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}

func (c *config) logger() (*slog.Logger, error) {
	level, err := c.level()
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
}

// protect keeps keys out of swap and core dumps as far as the system lets it.
func protect(log *slog.Logger) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("a core dump could hold keys", "error", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		log.Warn("keys could reach the swap space: raise the limit of locked memory", "error", err)
	}
}

// underneath is what the house stands on. Tests of whole processes give it a clock
// that can be set.
var underneath appliance.Machine

// house is how the house itself is opened.
func (c *config) house(log *slog.Logger) (appliance.Config, error) {
	outside, err := c.External.house()
	if err != nil {
		return appliance.Config{}, fmt.Errorf("external: %w", err)
	}
	rel, err := release()
	return appliance.Config{
		Dir: c.Data, Origin: c.Origin, Node: c.Node, Release: rel, Keys: c.keys(), Signatures: c.Signatures, Escrow: c.escrow(), Witnesses: c.cosign(),
		Limits: c.limits(), External: outside, SessionAge: c.SessionAge, VaultPeriod: c.Vault.Period, QueueMost: c.QueueMost, Reserve: c.ReserveMiB << 20, Log: log,
		Postgres: c.Store, SuspendOnAlarm: c.Chance.Suspend, LeafHashes: c.Trillian.Listen != "", Entropy: c.Entropy.Sources, EntropyMinimum: c.Entropy.Minimum,
		Look: c.look, Production: c.Production, Machine: underneath,
	}, err
}

func serve(ctx context.Context, c *config, cmd *cobra.Command) error {
	log, err := c.logger()
	if err != nil {
		return err
	}
	slog.SetDefault(log)
	protect(log)
	cfg, err := c.house(log)
	if err != nil {
		return err
	}
	var tlsConfig *tls.Config
	if c.TLS.Certificate != "" {
		if tlsConfig, err = certs.Server(log, c.TLS.Certificate, c.TLS.Key); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		tlsConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	seat, err := appliance.LoadSeat(c.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lis, err := net.Listen("tcp", c.Listen) // before the house wakes: a taken port costs no entry
	if err != nil {
		return err
	}
	defer lis.Close()
	if seat != nil && seat.Arbiter {
		return serveArbiter(ctx, c, seat, lis, log)
	}
	d := &door{}
	logAPI, err := c.Trillian.open(d.read, log)
	if err != nil {
		return err
	}
	furnish := func(a *appliance.Appliance) *room {
		log.Info("serving", "address", lis.Addr().String(), "origin", a.Ledger.Origin(), "term", a.Ledger.Term(), "data", c.Data, "read_only", a.ReadOnly)
		registry := prometheus.NewRegistry()
		registry.MustRegister(a.Collectors()...)
		if logAPI != nil {
			registry.MustRegister(logAPI.Collectors()...)
		}
		return &room{Appliance: a, api: api.New(a.House, api.Options{
			Tokens: api.Tokens{Operator: a.Tokens.Operator, Regulator: a.Tokens.Regulator, Auditor: a.Tokens.Auditor},
			Log:    log, Returns: returns(), Ready: d.ready, Registry: registry, Exports: a.Exports,
		})}
	}
	d.open = func(ctx context.Context) (*room, error) {
		a, err := appliance.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return furnish(a), nil
	}
	var handler http.Handler = d
	shut := func(ctx context.Context) error { return d.room.Close(ctx) }
	if seat == nil {
		d.room, err = d.open(ctx)
	} else {
		handler, err = d.joinPair(ctx, cfg, appliance.PairConfig{
			Seat: seat, Hold: c.Pair.Hold, Opened: func(a *appliance.Appliance) { d.enter(furnish(a)) },
		})
		shut = func(ctx context.Context) error { return d.pair.Close(ctx) }
	}
	if err != nil {
		return err
	}
	logAPI.serve(log)
	closeHouse := shut
	shut = func(ctx context.Context) error {
		logAPI.stop(ctx)
		return closeHouse(ctx)
	}
	control(ctx, c, d, log)
	server := api.HTTPServer(handler)
	if tlsConfig != nil {
		server.TLSConfig = tlsConfig
	}
	failed := make(chan error, 1)
	go func() {
		if tlsConfig != nil {
			failed <- server.ServeTLS(lis, "", "")
		} else {
			failed <- server.Serve(lis)
		}
	}()
	if !c.Quiet {
		welcome(cmd, c, lis.Addr().String(), tlsConfig != nil, demoKeys(ctx, d.room))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tended := make(chan error, 1)
	go func() { tended <- d.tend(ctx) }()
	select {
	case err := <-failed:
		stop()
		if gone := <-tended; gone != nil {
			return errors.Join(err, gone)
		}
		return errors.Join(err, shut(context.Background()))
	case err := <-tended:
		if err != nil {
			return err
		}
	}
	log.Info("stopping: not ready")
	deadline, cancel := context.WithTimeout(context.Background(), drainMost-500*time.Millisecond)
	defer cancel()
	d.drain()
	select { // a balancer has to see it
	case <-time.After(c.DrainDelay):
	case <-deadline.Done():
	}
	if err := server.Shutdown(deadline); err != nil {
		log.Warn("some connections were cut", "error", err)
		server.Close()
	}
	if err := shut(deadline); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	log.Info("stopped")
	return nil
}

// returns are the exact returns of the bundled games, by the hash of their maths.
func returns() map[[32]byte]string {
	known := map[[32]byte]string{}
	for _, d := range bundled() {
		if r, ok := slots.Return(d.Hash()); ok {
			known[d.Hash()] = r
		}
	}
	return known
}

// welcome shows a newcomer the way.
func welcome(cmd *cobra.Command, c *config, addr string, secure bool, demos string) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	data := c.Data
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	fmt.Fprintf(cmd.OutOrStdout(), `countroom %s serves %s://%s
  verifier key   %s/log.vkey
  bearer tokens  %s/credentials/{operator,regulator,auditor}.key
  API reference  %s://%s/docs
  to look at     %s://%s/regulator/ with the regulator's token, and /verify
%s
Seat a player, spin, and check the receipt, in another terminal:

  cd %s
  H=%s://%s
  op() { curl -sS -H "Authorization: Bearer $(cat credentials/operator.key)" -H "Idempotency-Key: $1" -H 'Content-Type: application/json' -d "$3" "$H$2"; }
  op new-1 /v1/players '{"id":"alice","currency":"EUR"}'
  op pay-1 /v1/players/alice/deposits '{"amount":10000,"currency":"EUR"}'
  T=$(op seat-1 /v1/sessions '{"player":"alice","game":"lamplight-quay"}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -sS -H "Authorization: Bearer $T" -H 'Idempotency-Key: spin-1' -H 'Content-Type: application/json' -d '{"stake":100}' $H/v1/spins > spin.json
  countroom-verify receipt spin.json --vkey log.vkey
  countroom-verify log $H --vkey log.vkey --token credentials/regulator.key --known spin.json

`, version, scheme, addr, data, data, scheme, addr, scheme, addr, demos, data, scheme, addr)
}
