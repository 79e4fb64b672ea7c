// Command countroom-witness is a witness (c2sp.org/tlog-witness) that a regulator
// runs on a machine of his own: it cosigns what a house signs as long as there is
// one history of it.
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"countroom/hardware/certs"
	"countroom/hardware/signer"
	"countroom/regulator/noncer"
	"countroom/regulator/witness"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// version is the release, set when a release is built:
// go build -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "countroom-witness:", err)
		os.Exit(1)
	}
}

// config is how a witness is run. Flags go over the file.
type config struct {
	Data   string `yaml:"data"`
	Listen string `yaml:"listen"`
	Name   string `yaml:"name"`
	Key    string `yaml:"key"`
	TLS    struct {
		Certificate string `yaml:"certificate"`
		Key         string `yaml:"key"`
	} `yaml:"tls"`
	Logs   []logConfig `yaml:"logs"`
	Rate   float64     `yaml:"rate"`
	Nonces bool        `yaml:"nonces"`

	acceptTorn bool
}

type logConfig struct {
	Origin string   `yaml:"origin"` // default the name of its keys
	VKeys  []string `yaml:"vkeys"`
}

const about = `A witness remembers the largest checkpoint of each log that it knows. It cosigns
a larger one only when that extends it, and records it before it answers, so that
two histories of one log can never both have its cosignature. A regulator runs it
on a machine that the house cannot reach but by this.

  countroom-witness --data DIR --name witness.example/w1 --log VKEY --listen ADDR
  countroom-witness --config FILE

The first start makes a key in DIR/witness.pem, unless another is named, and writes
the verifier key to DIR/witness.vkey: give it to the house, and to everybody who
checks receipts. A damaged record, or one of another key, refuses to start.

With --nonces it also adds nonces to the seeds of the houses among its logs: it
commits to one before a house makes its secret, and shows it for the receipt of the
house's own commitment, once.`

func command() *cobra.Command {
	c := &config{}
	var file string
	var logs []string
	cmd := &cobra.Command{
		Use: "countroom-witness", Short: "Cosign the checkpoints of logs that keep one history", Long: about,
		Version: version, SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "YAML file with any of these settings (docs/witness.md)")
	f.StringVar(&c.Data, "data", "countroom-witness-data", "directory of key, records and evidence")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8090", "address to serve on")
	f.StringVar(&c.Name, "name", "", "name of the witness, such as witness.example/w1; it is never changed")
	f.StringVar(&c.Key, "key", "", "URI of the Ed25519 key (default file:DIR/witness.pem)")
	f.StringVar(&c.TLS.Certificate, "tls-certificate", "", "PEM file with the certificate chain")
	f.StringVar(&c.TLS.Key, "tls-key", "", "PEM file with the certificate's key")
	f.StringArrayVar(&logs, "log", nil, "verifier key of a log, or the file that holds it; may be repeated")
	f.Float64Var(&c.Rate, "rate", 1000, "requests a second that one log may make")
	f.BoolVar(&c.Nonces, "nonces", false, "serve nonces for the seeds of the houses among the logs")
	f.BoolVar(&c.acceptTorn, "accept-torn", false, "start over a record of which one copy is damaged (read docs/witness.md first)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file != "" {
			merged, err := read(file)
			if err != nil {
				return fmt.Errorf("configuration %s: %w", file, err)
			}
			merged.over(cmd, c)
			c = merged
		}
		if len(logs) > 0 {
			c.Logs = nil
		}
		for _, l := range logs {
			c.Logs = append(c.Logs, logConfig{VKeys: []string{l}})
		}
		return serve(cmd.Context(), c, cmd.OutOrStdout(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	}
	return cmd
}

// read is strict: an unknown key is an error that names its line.
func read(file string) (*config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(b)
}

func parse(b []byte) (*config, error) {
	c := &config{Data: "countroom-witness-data", Listen: "127.0.0.1:8090", Rate: 1000}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("expected one document")
	}
	return c, nil
}

// over puts the flags that were given over a file.
func (c *config) over(cmd *cobra.Command, given *config) {
	for name, copy := range map[string]func(){
		"data": func() { c.Data = given.Data }, "listen": func() { c.Listen = given.Listen }, "name": func() { c.Name = given.Name },
		"key": func() { c.Key = given.Key }, "rate": func() { c.Rate = given.Rate }, "nonces": func() { c.Nonces = given.Nonces },
		"tls-certificate": func() { c.TLS.Certificate = given.TLS.Certificate }, "tls-key": func() { c.TLS.Key = given.TLS.Key },
	} {
		if cmd.Flags().Changed(name) {
			copy()
		}
	}
	c.acceptTorn = given.acceptTorn
}

// check tells what is wrong with a configuration and fills in what it leaves out.
func (c *config) check() error {
	if c.Data == "" {
		return errors.New("data: expected a directory")
	}
	if c.Name == "" {
		return errors.New("name: expected the witness's name, such as witness.example/w1")
	}
	if c.Key == "" {
		c.Key = "file:" + filepath.Join(c.Data, "witness.pem")
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return errors.New("tls: expected both certificate and key, or neither")
	}
	if c.Rate < 1 || c.Rate > 1e6 {
		return fmt.Errorf("rate: %v: expected 1 to 1000000 requests a second", c.Rate)
	}
	if len(c.Logs) == 0 {
		return errors.New("logs: expected the verifier key of at least one log")
	}
	for i := range c.Logs {
		l := &c.Logs[i]
		for j, k := range l.VKeys {
			if strings.Count(k, "+") >= 2 {
				continue
			}
			b, err := os.ReadFile(k) // the file that holds it, such as a house's log.vkey
			if err != nil {
				return fmt.Errorf("logs[%d]: expected a verifier key or the file that holds it: %w", i, err)
			}
			l.VKeys[j] = strings.TrimSpace(string(b))
		}
		if l.Origin == "" && len(l.VKeys) > 0 {
			l.Origin, _, _ = strings.Cut(l.VKeys[0], "+")
		}
	}
	return nil
}

func serve(ctx context.Context, c *config, out io.Writer, log *slog.Logger) error {
	if err := c.check(); err != nil {
		return err
	}
	// The key is in it; records and evidence are for whoever may enter.
	if err := os.MkdirAll(c.Data, 0o750); err != nil {
		return err
	}
	key, err := openKey(ctx, c)
	if err != nil {
		return err
	}
	defer key.Close()
	cfg := witness.Config{
		Dir: c.Data, Name: c.Name, Key: key.Public().(ed25519.PublicKey), Rate: c.Rate, AcceptTorn: c.acceptTorn, Log: log,
		Sign: func(msg []byte) ([]byte, error) { return key.SignMessage(bytes.NewReader(msg)) },
	}
	houses := map[string][]string{}
	for _, l := range c.Logs {
		cfg.Logs = append(cfg.Logs, witness.Log{Origin: l.Origin, VKeys: l.VKeys})
		houses[l.Origin] = l.VKeys
	}
	var nonces *noncer.Noncer
	if c.Nonces {
		// Before the records, whose making syncs the directory that both are in.
		kept, err := noncer.OpenDirectory(filepath.Join(c.Data, "nonces"))
		if err != nil {
			return fmt.Errorf("nonces: %w", err)
		}
		defer kept.Close()
		nonces, err = noncer.New(noncer.Config{Name: c.Name, Public: cfg.Key, Sign: cfg.Sign, Secret: kept.Secret, Houses: houses, Journal: kept, Log: log})
		if err != nil {
			return err
		}
	}
	w, err := witness.Open(cfg)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := os.WriteFile(filepath.Join(c.Data, "witness.vkey"), []byte(w.VKey()+"\n"), 0o644); err != nil {
		return err
	}
	mux := http.NewServeMux()
	w.Mount(mux)
	if nonces != nil {
		if err := nonces.Register(w.Registerer()); err != nil {
			return err
		}
		nonces.Mount(mux)
		// What a house writes into its list of witnesses, before the URL.
		if err := os.WriteFile(filepath.Join(c.Data, "nonces.key"), fmt.Appendf(nil, "%s=%x\n", c.Name, cfg.Key), 0o644); err != nil {
			return err
		}
	}
	server := witness.Server(mux)
	if c.TLS.Certificate != "" {
		if server.TLSConfig, err = certs.Server(log, c.TLS.Certificate, c.TLS.Key); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	lis, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "witness %s on %s\n", w.VKey(), lis.Addr())
	failed := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(lis, "", "")
		} else {
			failed <- server.Serve(lis)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		server.Close()
	}
	return nil
}

// openKey opens the key, or makes the one in a file at the first start, while
// there is no record yet: a new key later would be another witness.
func openKey(ctx context.Context, c *config) (signer.Signer, error) {
	k, err := signer.Open(ctx, c.Key, signer.Ed25519, signer.Options{})
	if errors.Is(err, signer.ErrNoKey) && signer.InFile(c.Key) {
		records, missing := os.ReadDir(filepath.Join(c.Data, "logs"))
		if errors.Is(missing, os.ErrNotExist) || missing == nil && len(records) == 0 {
			k, err = signer.Generate(ctx, c.Key, signer.Ed25519, signer.Options{})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return k, nil
}
