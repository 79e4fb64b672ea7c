package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"countroom/hardware/certs"
	"countroom/regulator/mirror"
	"countroom/regulator/mirror/edge"
	"countroom/regulator/mirror/stock"
	"countroom/regulator/verify"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// mirrorFlags are how a mirror is run.
type mirrorFlags struct {
	from, data, token, readers string
	vkeys, witnesses           []string
	quorum, workers            int
	interval                   time.Duration
	once                       bool

	listen, certificate, key string
	plaintext                bool
	tokens                   []string // of readers

	trillian stockFlags
}

func mirrorCommand() *cobra.Command {
	f := &mirrorFlags{}
	cmd := &cobra.Command{
		Use:   "mirror --from URL --data DIR",
		Short: "Follow a house's published log into a directory, and serve it",
		Long: `Follow the published log of a house into a directory of plain files, as any static
web server can serve it, and serve it too with --listen. Nothing is kept that was
not verified: that a checkpoint is signed and extends the one before, that tiles
lead to its root, that entries are the leaves of their tiles. It goes on from
wherever it was stopped, and mends damaged files.

A fork, a log that became shorter, or bytes that are not what the signed root says
are refused. Evidence of them is kept in DIR/evidence, for countroom-verify evidence.

With --trillian the mirror also feeds a stock Trillian, one with its own storage, its
log server and its log signer running: every entry that was verified, into a tree in
PREORDERED_LOG mode. Each of its roots and leaves is compared with the house's log;
where they differ there is an alarm, and nothing more is fed.

Exit status with --once: 0 all that the house shows is here, 1 evidence against what
was served, 2 it could not be had, 3 the stock Trillian is not what the house signed.
Without it 1 and 3 also say that this was found since the start.`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "URL of the house, such as https://house.example")
	flags.StringVar(&f.data, "data", "", "directory of the mirror")
	flags.StringArrayVar(&f.vkeys, "vkey", nil, "file with the house's verifier key, got from somebody else; without it the house's own word is taken once; may be repeated for keys to come")
	flags.StringVar(&f.token, "token", "", "file with a regulator's or auditor's token of the house; without it only what everybody may read is mirrored: tiles and checkpoints")
	flags.StringVar(&f.readers, "readers", "", "file with the tokens, one a line, that entries are served for (default the one of --token)")
	flags.StringArrayVar(&f.witnesses, "witness", nil, "verifier key of a witness, or the file that holds it; may be repeated")
	flags.IntVar(&f.quorum, "quorum", 0, "how many of the witnesses a checkpoint needs (default all)")
	flags.DurationVar(&f.interval, "interval", 2*time.Second, "time between two looks at the house")
	flags.IntVar(&f.workers, "workers", 8, "bundles fetched at once")
	flags.BoolVar(&f.once, "once", false, "look once and end")
	flags.StringVar(&f.listen, "listen", "", "address to serve the mirror on")
	flags.StringVar(&f.certificate, "tls-certificate", "", "PEM file with the certificate chain; once replaced, the new one is shown")
	flags.StringVar(&f.key, "tls-key", "", "PEM file with the certificate's key")
	flags.BoolVar(&f.plaintext, "allow-plaintext", false, "serve other machines without TLS, because something in front adds it")
	f.trillian.declare(flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return f.run(ctx, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	}
	return cmd
}

// oneLine reads a file of one line.
func oneLine(flag, name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("--%s: %s: expected one line", flag, name)
	}
	return s, nil
}

func (f *mirrorFlags) config(log *slog.Logger) (cfg mirror.Config, err error) {
	cfg = mirror.Config{Dir: f.data, From: f.from, Leaves: f.token != "", Workers: f.workers, Log: log}
	if f.from == "" || f.data == "" {
		return cfg, errors.New("expected --from URL and --data DIR")
	}
	if _, err := os.Lstat(filepath.Join(f.data, "guard")); err == nil {
		return cfg, fmt.Errorf("--data: %s is the directory of a house", f.data)
	}
	if f.workers < 1 || f.workers > 256 || f.interval <= 0 {
		return cfg, errors.New("expected --workers from 1 to 256 and an --interval above 0")
	}
	if err := f.trillian.check(f.token != ""); err != nil {
		return cfg, err
	}
	token := ""
	if f.token != "" {
		if token, err = oneLine("token", f.token); err != nil {
			return cfg, err
		}
		f.tokens = []string{token}
	}
	if f.readers != "" {
		b, err := os.ReadFile(f.readers)
		if err != nil {
			return cfg, fmt.Errorf("--readers: %w", err)
		}
		if f.tokens = strings.Fields(string(b)); len(f.tokens) == 0 {
			return cfg, fmt.Errorf("--readers: %s: expected a token on each line", f.readers)
		}
	}
	if cfg.Source, err = verify.HTTP(f.from, token); err != nil {
		return cfg, fmt.Errorf("--from: %w", err)
	}
	for _, name := range f.vkeys {
		vkey, err := oneLine("vkey", name)
		if err != nil {
			return cfg, err
		}
		cfg.VKeys = append(cfg.VKeys, vkey)
	}
	for _, w := range f.witnesses {
		if strings.Count(w, "+") < 2 {
			if w, err = oneLine("witness", w); err != nil {
				return cfg, err
			}
		}
		cfg.Trust.Witnesses = append(cfg.Trust.Witnesses, w)
	}
	if cfg.Trust.Quorum = f.quorum; f.quorum == 0 {
		cfg.Trust.Quorum = len(f.witnesses)
	}
	return cfg, nil
}

// listener opens the door that --listen names, nil without.
func (f *mirrorFlags) listener() (net.Listener, error) {
	if f.listen == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(f.listen)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--listen: %q: expected host:port", f.listen)
	case (f.certificate == "") != (f.key == ""):
		return nil, errors.New("expected both --tls-certificate and --tls-key, or neither")
	case f.certificate == "" && !f.plaintext && !isLoopback(host):
		return nil, fmt.Errorf("--listen: %s is reachable from other machines: give --tls-certificate and --tls-key, or --allow-plaintext if something in front adds TLS", f.listen)
	}
	return net.Listen("tcp", f.listen)
}

func (f *mirrorFlags) run(ctx context.Context, log *slog.Logger) error {
	notHad := func(err error) error { return &exitError{exitNotRun, err} }
	cfg, err := f.config(log)
	if err != nil {
		return notHad(err)
	}
	lis, err := f.listener()
	if err != nil {
		return notHad(err)
	}
	m, err := mirror.Open(ctx, cfg)
	if err != nil {
		return notHad(err)
	}
	defer m.Close()
	feeder, hangUp, err := f.trillian.open(m, f.data, log)
	if err != nil {
		return notHad(err)
	}
	defer hangUp()
	if lis != nil {
		shut, err := f.serve(m, feeder, lis, log)
		if err != nil {
			return notHad(err)
		}
		defer shut()
	}
	if !f.once {
		var feeding sync.WaitGroup
		if feeder != nil {
			feeding.Go(func() { feeder.Follow(ctx, f.interval) })
		}
		m.Follow(ctx, f.interval)
		feeding.Wait()
		if n := m.Alarms(); n > 0 {
			return &exitError{exitFailed, fmt.Errorf("there was evidence against what was served: see %s", filepath.Join(f.data, "evidence"))}
		}
		if feeder != nil && feeder.Alarm() != nil {
			return &exitError{exitDiffers, fmt.Errorf("ALARM: %w (evidence in %s)", feeder.Alarm(), feeder.Alarm().File)}
		}
		return nil
	}
	err = m.Round(ctx)
	var r *mirror.Refusal
	switch {
	case errors.As(err, &r) && r.Evidence != nil:
		return &exitError{exitFailed, fmt.Errorf("%w (evidence in %s)", err, r.File)}
	case err != nil:
		return notHad(err)
	}
	log.Info("mirrored", "size", m.Head().Size, "root", fmt.Sprintf("%x", m.Head().Root))
	if feeder == nil {
		return nil
	}
	var d *stock.Refusal
	switch err := feeder.Once(ctx); {
	case errors.As(err, &d) && d.Alarm():
		return &exitError{exitDiffers, fmt.Errorf("ALARM: %w (evidence in %s)", err, d.File)}
	case err != nil:
		return notHad(err)
	}
	tree, size := feeder.Tree()
	log.Info("the stock Trillian is what the house signed", "tree", tree, "size", size)
	return nil
}

func (f *mirrorFlags) serve(m *mirror.Mirror, feeder *stock.Feeder, lis net.Listener, log *slog.Logger) (shut func(), err error) {
	mux := http.NewServeMux()
	var more []prometheus.Collector
	if feeder != nil {
		more = append(more, feeder)
	}
	edge.Mount(mux, m, f.tokens, more...)
	server := edge.Server(mux)
	if f.certificate != "" {
		if server.TLSConfig, err = certs.Server(log, f.certificate, f.key); err != nil {
			return nil, fmt.Errorf("--tls-certificate: %w", err)
		}
	}
	log.Info("serving", "address", lis.Addr().String())
	go func() {
		err := error(nil)
		if server.TLSConfig != nil {
			err = server.ServeTLS(lis, "", "")
		} else {
			err = server.Serve(lis)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			log.Error("the mirror is not served any more", "error", err)
		}
	}()
	return func() {
		deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(deadline); err != nil {
			server.Close()
		}
	}, nil
}
