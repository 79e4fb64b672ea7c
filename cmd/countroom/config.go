package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// config is how a house is run. A file sets it, COUNTROOM_… variables go over
// the file, and flags over both.
type config struct {
	Data   string `yaml:"data"`
	Listen string `yaml:"listen"`
	Origin string `yaml:"origin"`
	Node   string `yaml:"node"`
	Store  string `yaml:"store"`

	TLS struct {
		Certificate string `yaml:"certificate"`
		Key         string `yaml:"key"`
	} `yaml:"tls"`
	AllowPlaintext bool           `yaml:"allow_plaintext"`
	Trillian       trillianConfig `yaml:"trillian"`

	Keys struct {
		Checkpoint string `yaml:"checkpoint"`
		Seeds      string `yaml:"seeds"`
		Exports    string `yaml:"exports"`
		Seal       string `yaml:"seal"`
	} `yaml:"keys"`
	Escrow struct {
		Inner string `yaml:"inner"`
		Outer string `yaml:"outer"`
	} `yaml:"escrow"`

	Signatures int `yaml:"signatures"`
	Witnesses  struct {
		Policy string      `yaml:"policy"`
		Quorum int         `yaml:"quorum"`
		Faulty int         `yaml:"faulty"`
		List   witnessList `yaml:"list"`
	} `yaml:"witnesses"`
	Entropy struct {
		Sources []string `yaml:"sources"`
		Minimum int      `yaml:"minimum"`
	} `yaml:"entropy"`

	Production bool          `yaml:"production"`
	SessionAge time.Duration `yaml:"session_age"`
	Vault      struct {
		Period time.Duration `yaml:"period"`
	} `yaml:"vault"`
	Epoch struct {
		Age         time.Duration `yaml:"age"`
		Draws       uint64        `yaml:"draws"`
		RevealDelay time.Duration `yaml:"reveal_delay"`
	} `yaml:"epoch"`
	External external `yaml:"external"`

	Chance struct {
		Suspend bool `yaml:"suspend"`
	} `yaml:"chance"`

	Pair struct {
		Hold time.Duration `yaml:"hold"`
	} `yaml:"pair"`

	ReserveMiB uint64        `yaml:"reserve_mib"`
	QueueMost  int           `yaml:"queue_most"`
	DrainDelay time.Duration `yaml:"drain_delay"`
	LogFormat  string        `yaml:"log_format"`
	LogLevel   string        `yaml:"log_level"`
	Quiet      bool          `yaml:"quiet"`
}

func defaults() *config {
	c := &config{Data: "countroom-data", Listen: "127.0.0.1:8080", SessionAge: 12 * time.Hour, ReserveMiB: 1024, QueueMost: 4096, DrainDelay: time.Second, LogFormat: "text", LogLevel: "info"}
	c.Witnesses.Policy, c.Witnesses.Faulty, c.Witnesses.List = "none", -1, witnessList{}
	c.Entropy.Sources, c.Entropy.Minimum = []string{"getrandom"}, 1
	c.Epoch.Age, c.Epoch.Draws, c.Epoch.RevealDelay = epoch.Default.Age(), epoch.Default.Draws, epoch.Default.RevealDelay()
	c.External = external{Policy: epoch.PolicyNone, OnFailure: onFailureStop, Patience: 30 * time.Second}
	c.Pair.Hold = 5 * time.Second
	c.Vault.Period = house.RewrapEvery
	return c
}

// option is one setting as the environment and the flags know it: the flag's
// name, and COUNTROOM_ and the same in capitals.
type option struct {
	name, help string
	value      any // pointer into config
}

func (c *config) options() []option {
	return []option{
		{"data", "directory of the house: log, keys, credentials", &c.Data},
		{"listen", "address to serve on", &c.Listen},
		{"origin", "name of a new log, such as casino.example/main; it is never changed or used again", &c.Origin},
		{"node", "name of this machine in the log (default the host's name)", &c.Node},
		{"store", "postgres://… URL of a database that keeps the log (default: the data directory)", &c.Store},
		{"tls-certificate", "PEM file with the certificate chain", &c.TLS.Certificate},
		{"tls-key", "PEM file with the certificate's key", &c.TLS.Key},
		{"allow-plaintext", "serve beyond this machine without TLS, behind something that adds it", &c.AllowPlaintext},
		{"trillian-listen", "address to serve Trillian's gRPC Log API on (default nowhere)", &c.Trillian.Listen},
		{"trillian-certificate", "PEM file with the certificate chain of that API", &c.Trillian.Certificate},
		{"trillian-key", "PEM file with that certificate's key", &c.Trillian.Key},
		{"trillian-clients", "PEM file with the authorities that sign the certificates of that API's readers", &c.Trillian.Clients},
		{"keys-checkpoint", "URI of the checkpoint key (default file:DIR/keys/checkpoint.pem)", &c.Keys.Checkpoint},
		{"keys-seeds", "URI of the seeds key (default file:DIR/keys/seeds.pem)", &c.Keys.Seeds},
		{"keys-exports", "URI of the exports key (default file:DIR/keys/exports.pem)", &c.Keys.Exports},
		{"keys-seal", "URI of the sealing key (default file:DIR/keys/seal.key)", &c.Keys.Seal},
		{"escrow-inner", "public key file of who takes the last layer off an escrowed seed, say the regulator", &c.Escrow.Inner},
		{"escrow-outer", "public key file of who takes the first layer off, say the laboratory", &c.Escrow.Outer},
		{"signatures", "signatures that the checkpoint key's device makes at once (default 1 of a file, 4 of a device)", &c.Signatures},
		{"witnesses-policy", "none, background or quorum: what a checkpoint needs of witnesses before it is shown", &c.Witnesses.Policy},
		{"witnesses-quorum", "how many witnesses must cosign, with the policy quorum", &c.Witnesses.Quorum},
		{"witnesses-faulty", "how many witnesses may be false; -1: as many as the quorum allows", &c.Witnesses.Faulty},
		{"witnesses-list", "verifier key and URL of each witness, with commas between", &c.Witnesses.List},
		{"entropy-sources", "URIs of the sources of seed secrets: getrandom, rdseed, hwrng:/dev/hwrng, tpm:device=…, pkcs11:…", &c.Entropy.Sources},
		{"entropy-minimum", "independent sources that must be healthy; 1 is a demonstration", &c.Entropy.Minimum},
		{"production", "enter production at the next start, for ever: games then need a laboratory's certificate", &c.Production},
		{"session-age", "how long a player session lives", &c.SessionAge},
		{"vault-period", "how often the keys of players are wrapped anew; back-ups older than the period before open nobody's data", &c.Vault.Period},
		{"epoch-age", "longest life of a seed epoch, at most 10m", &c.Epoch.Age},
		{"epoch-draws", "most draws of a seed epoch, at most 1048576", &c.Epoch.Draws},
		{"epoch-reveal-delay", "time from the end of an epoch to the reveal of its seed", &c.Epoch.RevealDelay},
		{"chance-suspend", "take a game out of play when its monitor of chance raises an alarm", &c.Chance.Suspend},
		{"external-policy", "what the outside adds to seeds: none, witness or beacon", &c.External.Policy},
		{"external-beacon-urls", "URLs of the beacon's servers, by spaces", &c.External.BeaconURLs},
		{"external-beacon-chain", "hash of the beacon's chain, hex", &c.External.BeaconChain},
		{"external-beacon-key", "public key of the beacon, hex (default whatever belongs to the chain's hash)", &c.External.BeaconKey},
		{"external-witnesses", "witnesses of seeds as NAME=KEY@URL, by spaces", &c.External.Witnesses},
		{"external-on-failure", "stop or downgrade, when the outside does not deliver", &c.External.OnFailure},
		{"external-patience", "how long what is due from outside is waited for", &c.External.Patience},
		{"pair-hold", "how long a request waits while no machine of the pair writes", &c.Pair.Hold},
		{"reserve-mib", "free disk below which commands are refused", &c.ReserveMiB},
		{"queue-most", "commands that may be under way before others are refused", &c.QueueMost},
		{"drain-delay", "time between saying not ready and closing the door", &c.DrainDelay},
		{"log-format", "text or json", &c.LogFormat},
		{"log-level", "debug, info, warn or error", &c.LogLevel},
		{"quiet", "do not print the welcome", &c.Quiet},
	}
}

// secrets are the parts of a setting that may be one: who logs in at a URL, a password or a PIN in a
// key's URI or a store's connection string.
var secrets = regexp.MustCompile(`(?i)(://)[^/@\s]*@|\b((?:pin-value|pin|password|passphrase|passwd|secret)=)(?:'(?:[^'\\]|\\.)*'|[^\s&;,?]+)`)

// bare is a setting's value without its secrets, of which nothing may be learnt, not even from a hash.
func bare(value string) string { return secrets.ReplaceAllString(value, "$1$2") }

// look hashes the program's file and the configuration in force.
func (c *config) look() (program, configuration [32]byte, err error) {
	if program, err = programFile(); err != nil {
		return program, configuration, err
	}
	settings := map[string]string{}
	for _, o := range c.options() {
		settings[o.name] = bare(fmt.Sprint(deref(o.value)))
	}
	b, err := json.Marshal(settings)
	if err == nil {
		b, err = entry.Canonical(b)
	}
	return program, sha256.Sum256(b), err
}

// flags declares the options on a command.
func (c *config) flags(cmd *cobra.Command) (file *string) {
	f := cmd.Flags()
	for _, o := range c.options() {
		switch v := o.value.(type) {
		case *witnessList:
			f.Var(v, o.name, o.help)
		case *string:
			f.StringVar(v, o.name, *v, o.help)
		case *bool:
			f.BoolVar(v, o.name, *v, o.help)
		case *int:
			f.IntVar(v, o.name, *v, o.help)
		case *[]string:
			f.StringArrayVar(v, o.name, *v, o.help)
		case *uint64:
			f.Uint64Var(v, o.name, *v, o.help)
		case *time.Duration:
			f.DurationVar(v, o.name, *v, o.help)
		}
	}
	return f.String("config", "", "YAML file with any of these settings (docs in deploy/countroom.yaml)")
}

// load merges file, environment and flags; the flags were parsed into c.
func (c *config) load(cmd *cobra.Command, file string, environ []string) (*config, error) {
	merged := defaults()
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := merged.read(b); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", file, err)
		}
	}
	known := map[string]option{}
	for _, o := range merged.options() {
		known["COUNTROOM_"+strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))] = o
	}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "COUNTROOM_") || name == "COUNTROOM_CONFIG" {
			continue
		}
		o, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("environment: %s: no such setting", name)
		}
		if err := o.set(value); err != nil {
			return nil, fmt.Errorf("environment: %s: %w", name, err)
		}
	}
	given := c.options()
	for i, o := range merged.options() {
		if cmd.Flags().Changed(o.name) {
			if err := o.set(fmt.Sprint(deref(given[i].value))); err != nil {
				return nil, fmt.Errorf("--%s: %w", o.name, err)
			}
		}
	}
	return merged, merged.check()
}

// What the YAML library says for programmers.
var (
	unknownField = regexp.MustCompile(` not found in type [^\n]*`)
	intoStruct   = regexp.MustCompile(` into (main\.[A-Za-z]+|struct \{)[^\n]*`)
)

// read is strict: an unknown key is an error that names its line.
func (c *config) read(b []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		text := unknownField.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), ": no such setting")
		return errors.New(intoStruct.ReplaceAllString(text, ": expected settings by their names"))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("expected one document")
	}
	return nil
}

func deref(v any) any {
	switch v := v.(type) {
	case *witnessList:
		return v.String()
	case *string:
		return *v
	case *bool:
		return *v
	case *int:
		return *v
	case *[]string:
		return strings.Join(*v, " ")
	case *uint64:
		return *v
	case *time.Duration:
		return *v
	}
	panic(fmt.Sprintf("option of type %T", v))
}

func (o *option) set(s string) (err error) {
	switch v := o.value.(type) {
	case *witnessList:
		return v.Set(s)
	case *string:
		*v = s
	case *bool:
		if *v, err = strconv.ParseBool(s); err != nil {
			return fmt.Errorf("%q: expected true or false", s)
		}
	case *int:
		n, err := strconv.ParseInt(s, 0, 0) // as YAML and flags are read: 010 is 8
		if err != nil {
			return fmt.Errorf("%q: expected an integer", s)
		}
		*v = int(n)
	case *[]string: // no URI has a space
		*v = strings.Fields(s)
	case *uint64:
		if *v, err = strconv.ParseUint(s, 0, 64); err != nil {
			return fmt.Errorf("%q: expected an integer from 0", s)
		}
	case *time.Duration:
		if *v, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("%q: expected a duration such as 10m", s)
		}
	}
	return nil
}

func (c *config) limits() epoch.Limits {
	return epoch.Limits{AgeSeconds: uint64(c.Epoch.Age / time.Second), Draws: c.Epoch.Draws, RevealDelaySeconds: uint64(c.Epoch.RevealDelay / time.Second)}
}

func (c *config) keys() appliance.KeyURIs {
	return appliance.KeyURIs{Checkpoint: c.Keys.Checkpoint, Seeds: c.Keys.Seeds, Exports: c.Keys.Exports, Seal: c.Keys.Seal}
}

func (c *config) escrow() []string {
	if c.Escrow.Inner == "" {
		return nil
	}
	return []string{c.Escrow.Inner, c.Escrow.Outer}
}

// houseFlag declares --config for a command that needs a house's keys and log, and
// returns what reads where they are.
func houseFlag(cmd *cobra.Command) func() (*config, error) {
	file := cmd.Flags().String("config", os.Getenv("COUNTROOM_CONFIG"), "the house's configuration file, for keys and a log that are not in its directory")
	return func() (*config, error) { return defaults().load(cmd, *file, os.Environ()) }
}

// check tells what is wrong with a configuration as a whole.
func (c *config) check() error {
	if c.Data == "" {
		return errors.New("data: expected a directory")
	}
	if c.Store != "" && !strings.HasPrefix(c.Store, "postgres://") && !strings.HasPrefix(c.Store, "postgresql://") {
		return errors.New("store: expected postgres://user@host/database, or nothing for the data directory")
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q: expected host:port", c.Listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("listen: %q: expected a port from 0 to 65535", c.Listen)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return errors.New("tls: expected both certificate and key, or neither")
	}
	if c.TLS.Certificate == "" && !c.AllowPlaintext && !isLoopback(host) {
		return fmt.Errorf("listen: %s is reachable from other machines: give tls.certificate and tls.key, or set allow_plaintext if something in front adds TLS", c.Listen)
	}
	if err := c.Trillian.check(); err != nil {
		return err
	}
	if (c.Escrow.Inner == "") != (c.Escrow.Outer == "") {
		return errors.New("escrow: expected both inner and outer, or neither: one alone could open the seeds")
	}
	if len(c.Entropy.Sources) < 1 || len(c.Entropy.Sources) > 16 {
		return fmt.Errorf("entropy.sources: %d of them, expected 1 to 16", len(c.Entropy.Sources))
	}
	if n := len(c.Entropy.Sources); c.Entropy.Minimum < 1 || c.Entropy.Minimum > n {
		return fmt.Errorf("entropy.minimum: %d: expected 1 to %d, which is how many sources there are", c.Entropy.Minimum, n)
	}
	if c.Epoch.Age%time.Second != 0 || c.Epoch.RevealDelay%time.Second != 0 || c.Epoch.Age < 0 || c.Epoch.RevealDelay < 0 {
		return errors.New("epoch: expected whole seconds")
	}
	if err := c.limits().Check(); err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	if c.Signatures < 0 || c.Signatures > 64 {
		return fmt.Errorf("signatures: %d: expected 0 to 64", c.Signatures)
	}
	w := c.cosign()
	if err := w.Check(); err != nil {
		return err
	}
	x, err := c.External.house()
	if err == nil {
		err = x.Check()
	}
	if err != nil {
		return fmt.Errorf("external: %w", err)
	}
	if c.SessionAge < time.Second || c.SessionAge > 30*24*time.Hour {
		return fmt.Errorf("session_age: %v: expected 1s to 720h", c.SessionAge)
	}
	if c.Vault.Period < time.Hour || c.Vault.Period > 366*24*time.Hour {
		return fmt.Errorf("vault.period: %v: expected 1h to 8784h", c.Vault.Period)
	}
	if c.Pair.Hold < 100*time.Millisecond || c.Pair.Hold > 15*time.Second {
		return fmt.Errorf("pair.hold: %v: expected 100ms to 15s", c.Pair.Hold)
	}
	if c.QueueMost < 1 || c.QueueMost > 1<<20 {
		return fmt.Errorf("queue_most: %d: expected 1 to 1048576", c.QueueMost)
	}
	if c.ReserveMiB < 64 || c.ReserveMiB > 1<<20 {
		return fmt.Errorf("reserve_mib: %d: expected 64 to 1048576", c.ReserveMiB)
	}
	if c.DrainDelay < 0 || c.DrainDelay > 8*time.Second {
		return fmt.Errorf("drain_delay: %v: expected 0s to 8s", c.DrainDelay)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("log_format: %q: expected text or json", c.LogFormat)
	}
	if _, err := c.level(); err != nil {
		return err
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Work with configuration files", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, with the environment over it, and print what is in force",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			merged, err := defaults().load(c, args[0], os.Environ())
			if err != nil {
				return err
			}
			if merged.TLS.Certificate != "" {
				if _, err := tls.LoadX509KeyPair(merged.TLS.Certificate, merged.TLS.Key); err != nil {
					return fmt.Errorf("tls: %w", err)
				}
			}
			if merged.Trillian.Listen != "" {
				if _, err := merged.Trillian.credentials(); err != nil {
					return err
				}
			}
			if u, err := url.Parse(merged.Store); err == nil && u.User != nil {
				merged.Store = u.Redacted()
			}
			e := yaml.NewEncoder(c.OutOrStdout())
			e.SetIndent(2)
			return e.Encode(merged)
		},
	})
	return c
}
