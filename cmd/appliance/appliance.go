// Package appliance wires one machine's house from a data directory: store,
// signing guard, keys, entropy, ledger and house. The server, its tests and the
// benchmarks start the same thing.
//
// The directory holds
//
//	origin                the log's name, for ever
//	log.vkey              verifier key of its checkpoints, to hand out
//	store/                entries, tiles, books, vault, indexes
//	guard                 what the signer let pass last
//	keys/                 signing keys (PKCS #8) and 256-bit secrets (hex), of which
//	                      vault-period.key changes by itself
//	credentials/*.key     one bearer token each: operator, regulator, auditor
package appliance

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"countroom/games/house"
	"countroom/games/slots"
	"countroom/hardware/entropy"
	"countroom/ledger"
	"countroom/ledger/cosign"
	"countroom/ledger/entry"
	"countroom/ledger/replica"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/store/postgres"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/export/archive"
	"countroom/rngcert/epoch"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Config is how a machine's house is opened; only Dir is needed.
type Config struct {
	Dir     string
	Origin  string // of a new log; default "countroom.invalid/" and eight random hex digits
	Node    string // default the host's name
	Release string
	// Postgres is the connection string of a database that keeps the log instead
	// of Dir/store; package postgres tells what it may hold. All else stays in Dir.
	Postgres string

	// Keys say where the keys are; what is not set is a file in Dir/keys.
	Keys KeyURIs
	// Signatures is how many checkpoints the key is asked to sign at once; default 1
	// of a file and 4 of a device.
	Signatures int
	// Escrow are files with the public keys of those to whom each seed is sealed as
	// well, the inner one first; empty: to nobody.
	Escrow []string

	// Witnesses cosign checkpoints; none by default.
	Witnesses cosign.Config

	Limits     epoch.Limits   // of seed epochs
	External   house.External // what the outside adds to seeds
	SessionAge time.Duration  // of player sessions
	// VaultPeriod is how often the keys of players are wrapped anew; default
	// house.RewrapEvery.
	VaultPeriod time.Duration
	Games       []*slots.Definition // default the bundled game
	// SuspendOnAlarm takes a game out of play when its monitor of chance raises an alarm.
	SuspendOnAlarm bool
	QueueMost      int
	CacheRows      int
	IndexRun       int
	LeafHashes     bool   // as in ledger.Config
	Reserve        uint64 // bytes of disk below which commands are refused

	// Entropy names the sources of seed secrets, by the URIs of entropy.Parse;
	// default the kernel. EntropyMinimum is how many independent groups of them
	// must be healthy; default 1, which is a demonstration.
	Entropy        []string
	EntropyMinimum int
	TendEntropy    time.Duration // how often they are looked after; default 5 seconds

	// Look and Production are as in house.Config.
	Look       func() (program, configuration [32]byte, err error)
	Production bool

	// LedgerOnly opens the log without its house: nothing is appended.
	LedgerOnly bool

	// Machine is what the house stands on, for tests to put faults in.
	Machine Machine

	Log   *slog.Logger
	Fatal func(error) // default: log and exit with status 1

	pair *Pair // opens a passive house over the pair's store
}

// Machine is what a house gets from outside the program. What is not set is the
// real thing.
type Machine struct {
	Files   Files            // names, keys, credentials and the guard's record
	StoreFS vfs.FS           // under the store
	Clock   ledger.Clock     // default the system's
	Sources []entropy.Source // of seed secrets, instead of those in Config

	WrapStore  func(store.Store) store.Store
	WrapGroup  func(store.Store) store.Store           // of a pair, whose Commit proposes a batch
	WrapSigner func(signature.Signer) signature.Signer // of checkpoints
	WrapSealer func(house.Sealer) house.Sealer
	Turn       func(ledger.Command)  // as in ledger.Config
	Consensus  func(*replica.Config) // what a pair's node gets instead
}

// Appliance is a machine's open house.
type Appliance struct {
	Store  store.Store
	Ledger *ledger.Ledger
	House  *house.House
	Tokens Tokens
	// Exports are what auditors take home, made in Dir/exports.
	Exports *archive.Archive
	// ReadOnly says that the disk had too little room to open the store for
	// writing: reads are served, commands are not. AwaitRoom tells when to close
	// this house and open it again.
	ReadOnly bool

	shared     bool  // the store is the pair's, which closes it
	pair       *Pair // nil of a single machine
	guard      *ledger.Guard
	keys       keys
	ring       ring
	wrapSigner func(signature.Signer) signature.Signer // of each key for checkpoints

	vkeyPath string
	health   health
}

// Tokens are the bearer tokens in credentials/.
type Tokens struct{ Operator, Regulator, Auditor string }

// Open opens the house in a directory, or founds one there.
func Open(ctx context.Context, cfg Config) (_ *Appliance, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Games == nil {
		cfg.Games = []*slots.Definition{slots.Bundled()}
	}
	if cfg.Node == "" {
		if cfg.Node, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	machine := &cfg.Machine
	if machine.Files == nil {
		machine.Files = disk{}
	}
	if cfg.pair == nil && !cfg.LedgerOnly {
		// By itself it would go on where its own disk ends, and the pair elsewhere: two histories under one key.
		if _, err := machine.Files.ReadFile(filepath.Join(cfg.Dir, "pair", "seat.json")); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("%s is of a machine of a pair, which writes nothing by itself: start it (countroom serve) and ask again", cfg.Dir), err)
		}
	}
	if machine.Sources == nil {
		if machine.Sources, err = openSources(cfg.Entropy); err != nil {
			return nil, err
		}
	}
	files := machine.Files
	for _, d := range []string{cfg.Dir, filepath.Join(cfg.Dir, "keys"), filepath.Join(cfg.Dir, "credentials")} {
		if err := files.MkdirAll(d); err != nil {
			return nil, err
		}
	}
	a := &Appliance{}
	defer func() {
		if err != nil {
			a.Close(ctx)
		}
	}()
	if cfg.pair != nil {
		a.Store, a.shared, a.pair = cfg.pair.group, true, cfg.pair
		if wrap := cfg.Machine.WrapGroup; wrap != nil {
			a.Store = wrap(a.Store)
		}
	} else if err := a.openStore(ctx, &cfg); err != nil {
		return nil, err
	}
	founded := a.Store.Head().Size > 0 || cfg.pair != nil && cfg.pair.pc.Seat.Join // what joins has its keys, if not yet the log
	origin, err := openOrigin(files, cfg.Dir, cfg.Origin, founded)
	if err != nil {
		return nil, err
	}
	if err := a.openGuard(files, filepath.Join(cfg.Dir, "guard"), origin); err != nil {
		return nil, err
	}
	if a.keys, err = openKeys(ctx, files, cfg.Keys.in(cfg.Dir), filepath.Join(cfg.Dir, "keys"), founded); err != nil {
		return nil, err
	}
	k := &a.keys
	if !cfg.LedgerOnly {
		if err := k.openPeriods(files, filepath.Join(cfg.Dir, "keys"), a.Store, founded); err != nil {
			return nil, err
		}
	}
	a.wrapSigner = machine.WrapSigner
	if a.wrapSigner == nil {
		a.wrapSigner = func(s signature.Signer) signature.Signer { return s }
	}
	checkpoints := a.wrapSigner(k.checkpoint)
	if cfg.Signatures == 0 && !k.inMemory() {
		cfg.Signatures = 4
	}
	if founded {
		if err := a.ring.open(ctx, files, cfg.Dir, origin, k, cfg.Log); err != nil {
			return nil, err
		}
	}
	a.ring.files, a.ring.path = files, filepath.Join(cfg.Dir, "keys", "ring")
	var local store.Store
	if cfg.pair != nil {
		local = cfg.pair.group.Local()
	}
	a.Ledger, err = ledger.Open(ctx, ledger.Config{
		Origin: origin, Store: a.Store, Books: house.Books(), Guard: a.guard, Signer: checkpoints, MoreSigners: a.ring.checkpoints(a.wrapSigner),
		Clock: machine.Clock, Log: cfg.Log, Fatal: cfg.Fatal, Turn: machine.Turn,
		QueueMost: cfg.QueueMost, CacheRows: cfg.CacheRows, IndexRun: cfg.IndexRun, LeafHashes: cfg.LeafHashes, ReadOnly: a.ReadOnly, Passive: cfg.pair != nil, Local: local,
		Witnesses: cfg.Witnesses, Signatures: cfg.Signatures,
	})
	if err != nil {
		return nil, err
	}
	if size := a.Store.Head().Size; size > 0 && !a.ReadOnly && !a.Ledger.Passive() {
		// With a quorum of witnesses this may take until enough of them answer.
		if _, err := a.Ledger.AwaitSigned(ctx, size-1); err != nil {
			return nil, fmt.Errorf("waiting for a signed checkpoint: %w", err)
		}
	}
	if cfg.LedgerOnly {
		return a, nil
	}
	pool, err := entropy.NewPool(ctx, entropy.Options{Personalisation: []byte("countroom " + origin), Minimum: cfg.EntropyMinimum}, machine.Sources...)
	if err != nil {
		return nil, err
	}
	if pool.Minimum() == 1 {
		cfg.Log.Warn("one source of entropy is enough for a seed: a demonstration, and each seed says so", "setting", "entropy.minimum")
	}
	public, err := k.public(origin)
	if err != nil {
		return nil, err
	}
	escrow, err := escrowTo(files, origin, cfg.Escrow)
	if err != nil {
		return nil, err
	}
	var members func() []system.Member
	var carry func(ctx context.Context, role, public string) error
	if cfg.pair != nil {
		members, carry = cfg.pair.Members, cfg.pair.carry
	}
	public, signers := a.ring.all(k, public)
	sealer := house.Sealer(k.seal)
	if cfg.Machine.WrapSealer != nil {
		sealer = cfg.Machine.WrapSealer(sealer)
	}
	keepOldest := func(r house.Ratchet) error {
		return files.ReplacePrivate(filepath.Join(cfg.Dir, "keys", vaultPeriodKey), r.Text())
	}
	a.House, err = house.Open(ctx, a.Ledger, house.Config{
		Members: members, Carry: carry,
		Origin: origin, Node: cfg.Node, Release: cfg.Release, Keys: public, Games: cfg.Games,
		Exports: k.exports, Look: cfg.Look, Production: cfg.Production,
		Seeds: k.seeds, Signers: signers, Sealer: sealer, Secret: secretsOf(pool), Limits: cfg.Limits, External: cfg.External,
		Sources: sourcesOf{pool}, SourcesMinimum: uint64(pool.Minimum()), TendSources: cfg.TendEntropy, Escrow: escrow,
		VaultOldest: *k.oldest, KeepVaultOldest: keepOldest, VaultPeriod: cfg.VaultPeriod,
		TokenKey: k.token, VaultKey: k.vault, SessionAge: cfg.SessionAge, SuspendOnAlarm: cfg.SuspendOnAlarm, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := a.openFiles(files, cfg.Dir); err != nil {
		return nil, err
	}
	a.Exports = archive.New(filepath.Join(cfg.Dir, "exports"), a.House.Records(a.roomToSpare))
	a.health.watch(k, cfg.Log)
	return a, nil
}

func (a *Appliance) openStore(ctx context.Context, cfg *Config) error {
	if cfg.Postgres != "" {
		if _, err := os.Stat(filepath.Join(cfg.Dir, "store")); err == nil {
			return fmt.Errorf("%s holds a log of its own: a house has its log there or in a database, not in both", filepath.Join(cfg.Dir, "store"))
		}
		st, err := postgres.Open(ctx, postgres.Options{DSN: cfg.Postgres, Create: !cfg.LedgerOnly, Logger: cfg.Log})
		if err != nil {
			return err
		}
		a.Store = st
		if wrap := cfg.Machine.WrapStore; wrap != nil {
			a.Store = wrap(st)
		}
		return nil
	}
	opts := pebble.Options{Create: !cfg.LedgerOnly, ReserveBytes: cfg.Reserve, Logger: cfg.Log, FS: cfg.Machine.StoreFS}
	dir := filepath.Join(cfg.Dir, "store")
	st, err := pebble.Open(dir, opts)
	if errors.Is(err, syscall.ENOSPC) {
		opts.ReadOnly, opts.Create, a.ReadOnly = true, false, true
		noRoom := err
		if st, err = pebble.Open(dir, opts); errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("founding a house: %w", noRoom)
		}
		if err == nil {
			cfg.Log.Error("no room to write: serving reads only until there is", "error", noRoom)
		}
	}
	if err != nil {
		return err
	}
	a.Store = st
	if wrap := cfg.Machine.WrapStore; wrap != nil {
		a.Store = wrap(st)
	}
	return nil
}

func (a *Appliance) openGuard(files Files, path, origin string) error {
	f, err := files.OpenGuard(path)
	if err != nil {
		return err
	}
	if a.guard, err = ledger.NewGuard(f, origin); err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(err, f.Close()))
	}
	return nil
}

// AwaitRoom returns when a house that is ReadOnly could be opened for writing,
// or the context's error.
func (a *Appliance) AwaitRoom(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if free, err := a.Store.Free(); err == nil && free.Available >= free.Reserve {
			return nil
		}
	}
}

// roomToSpare fails when the disk has little more than what play needs.
func (a *Appliance) roomToSpare() error {
	free, err := a.Store.Free()
	if err == nil && free.Available < 2*free.Reserve {
		err = fmt.Errorf("%w: %d bytes left, exports leave %d to play", ledger.ErrNoSpace, free.Available, 2*free.Reserve)
	}
	return err
}

// Close stops the house: what was accepted is finished until the context ends.
func (a *Appliance) Close(ctx context.Context) error {
	var errs []error
	a.health.stop()
	if a.Exports != nil {
		a.Exports.Close()
	}
	if a.House != nil {
		a.House.Close()
	}
	if a.Ledger != nil {
		errs = append(errs, a.Ledger.Close(ctx))
	}
	if a.Store != nil && !a.shared {
		errs = append(errs, a.Store.Close())
	}
	if a.guard != nil {
		errs = append(errs, a.guard.Close())
	}
	return errors.Join(append(errs, a.keys.close(ctx))...)
}

// WriteVKey writes the verifier key that checkpoints are signed with now to the
// directory of the house.
func (a *Appliance) WriteVKey() error {
	files := a.ring.files
	if b, err := files.ReadFile(a.vkeyPath); err == nil && string(b) == a.Ledger.VKey()+"\n" {
		return nil
	}
	return files.WriteFile(a.vkeyPath, []byte(a.Ledger.VKey()+"\n"))
}

// openFiles writes what outsiders need and reads the credentials.
func (a *Appliance) openFiles(files Files, dir string) error {
	a.vkeyPath = filepath.Join(dir, "log.vkey")
	if err := a.WriteVKey(); err != nil && !a.ReadOnly {
		return err
	}
	for _, c := range []struct {
		name  string
		token *string
	}{{"operator", &a.Tokens.Operator}, {"regulator", &a.Tokens.Regulator}, {"auditor", &a.Tokens.Auditor}} {
		secret, err := openSecret(files, filepath.Join(dir, "credentials", c.name+".key"), true)
		if err != nil {
			return err
		}
		*c.token = hex.EncodeToString(secret[:])
	}
	return nil
}

// openOrigin reads the log's name; a new log's is written down for ever.
func openOrigin(files Files, dir, want string, founded bool) (string, error) {
	path := filepath.Join(dir, "origin")
	b, err := files.ReadFile(path)
	switch {
	case err == nil:
		origin := strings.TrimSpace(string(b))
		if want != "" && want != origin {
			return "", fmt.Errorf("origin %q: the log in %s is %q, and a log keeps its name", want, dir, origin)
		}
		return origin, nil
	case !errors.Is(err, os.ErrNotExist):
		return "", err
	case founded:
		return "", fmt.Errorf("%s is missing, but the store holds a log: restore the file", path)
	}
	if want == "" {
		var b [4]byte
		rand.Read(b[:])
		want = "countroom.invalid/" + hex.EncodeToString(b[:])
	}
	if _, err := tlog.VKey(want, make(ed25519.PublicKey, ed25519.PublicKeySize)); err != nil {
		return "", fmt.Errorf("origin: %w", err)
	}
	// Entry 0 holds fewer names, and once it is written down it cannot be changed.
	created := system.HouseCreated{Header: entry.Header{ID: entry.NewUUID([16]byte{})}, Origin: want}
	if _, err := entry.Append(nil, &created); err != nil {
		return "", fmt.Errorf("origin: %w", err)
	}
	return want, files.WriteFile(path, []byte(want+"\n"))
}
