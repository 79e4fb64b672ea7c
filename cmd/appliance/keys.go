package appliance

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countroom/games/house"
	"countroom/hardware/signer"
	"countroom/ledger/store"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyURIs say where a house's keys are, as package signer reads them. An empty one
// is a file in the directory of the house, which its first start makes; a key in
// a device is made before that.
type KeyURIs struct {
	Checkpoint string // Ed25519
	Seeds      string // P-256
	Exports    string // P-256
	Seal       string // AES-256: file or PKCS #11
}

// in fills in what is kept in a house's directory.
func (u KeyURIs) in(dir string) KeyURIs {
	for _, k := range []struct {
		uri  *string
		file string
	}{{&u.Checkpoint, "checkpoint.pem"}, {&u.Seeds, "seeds.pem"}, {&u.Exports, "exports.pem"}, {&u.Seal, "seal.key"}} {
		if *k.uri == "" {
			*k.uri = "file:" + filepath.Join(dir, "keys", k.file)
		}
	}
	return u
}

type keys struct {
	checkpoint, seeds, exports signer.Signer
	seal                       signer.Sealer
	token, vault               [32]byte
	oldest                     *house.Ratchet  // of the vault's periods, nil while there is none
	more                       []signer.Signer // of the ring
}

// openKeys opens a house's keys; only a house that has no log yet gets new ones,
// in files.
func openKeys(ctx context.Context, files Files, uris KeyURIs, dir string, founded bool) (k keys, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, k.close(ctx))
			k = keys{}
		}
	}()
	o := signer.Options{Files: files}
	for _, one := range []struct {
		role, uri string
		alg       signer.Algorithm
		key       *signer.Signer
	}{
		{system.RoleCheckpoint, uris.Checkpoint, signer.Ed25519, &k.checkpoint},
		{system.RoleSeeds, uris.Seeds, signer.ECDSAP256, &k.seeds},
		{system.RoleExports, uris.Exports, signer.ECDSAP256, &k.exports},
	} {
		open := func(reach func(context.Context, string, signer.Algorithm, signer.Options) (signer.Signer, error)) (signer.Signer, error) {
			return reach(ctx, one.uri, one.alg, o)
		}
		if *one.key, err = openOrMake(one.uri, founded, open, signer.Open, signer.Generate); err != nil {
			return k, fmt.Errorf("keys.%s: %w", one.role, err)
		}
	}
	open := func(reach func(context.Context, string, signer.Options) (signer.Sealer, error)) (signer.Sealer, error) {
		return reach(ctx, uris.Seal, o)
	}
	if k.seal, err = openOrMake(uris.Seal, founded, open, signer.OpenSealer, signer.GenerateSealer); err != nil {
		return k, fmt.Errorf("keys.seal: %w", err)
	}
	for _, s := range []struct {
		name   string
		secret *[32]byte
	}{{"token", &k.token}, {"vault", &k.vault}} {
		if *s.secret, err = openSecret(files, filepath.Join(dir, s.name+".key"), !founded); err != nil {
			return k, err
		}
	}
	period := filepath.Join(dir, vaultPeriodKey)
	if err = files.TidyPrivate(period); err != nil {
		return k, fmt.Errorf("a key of the vault's periods that are over: %w", err)
	}
	if k.oldest, err = openRatchet(files, period); errors.Is(err, fs.ErrNotExist) {
		err = nil // whether there must be one the vault tells
	}
	return k, err
}

// vaultPeriodKey is the file with the key of the oldest period of the vault that
// is needed still. It is the one key that changes by itself.
const vaultPeriodKey = "vault-period.key"

func openRatchet(files Files, path string) (*house.Ratchet, error) {
	b, err := files.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	r, err := house.ParseRatchet(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// openPeriods holds the key of the vault's periods against a house's vault. A house
// that has no periods yet, a new one or one from before there were any, gets its
// first key.
func (k *keys) openPeriods(files Files, dir string, st store.Getter, founded bool) error {
	path := filepath.Join(dir, vaultPeriodKey)
	if founded && k.oldest == nil && st.Head().Size == 0 {
		return fmt.Errorf("%s is missing: a machine that joins gets it with the other keys", path)
	}
	if _, err := house.OpensVault(k.oldest, st.Vault); err != nil || k.oldest != nil {
		return err
	}
	var first house.Ratchet
	rand.Read(first.Key[:])
	err := files.CreatePrivate(path, first.Text())
	if err == nil || errors.Is(err, fs.ErrExist) {
		k.oldest, err = openRatchet(files, path)
	}
	return err
}

// openOrMake opens a key, or makes one where a new house has no file yet. Another
// process may have made it meanwhile.
func openOrMake[K, F any](uri string, founded bool, reach func(F) (K, error), open, make F) (K, error) {
	k, err := reach(open)
	if founded || !signer.InFile(uri) || !errors.Is(err, signer.ErrNoKey) {
		return k, err
	}
	if k, err = reach(make); errors.Is(err, fs.ErrExist) {
		return reach(open)
	}
	return k, err
}

// inMemory tells whether checkpoints are signed without asking a device.
func (k *keys) inMemory() bool {
	return k.checkpoint.Assurance() == signer.AssuranceSoftware || k.checkpoint.Assurance() == signer.AssuranceSealed
}

// escrowTo returns what seals seeds to the holders of public keys in files, or
// nil without any.
func escrowTo(files Files, origin string, names []string) (func(n uint64, secret, salt [32]byte) (*epoch.Escrow, error), error) {
	if len(names) == 0 {
		return nil, nil
	}
	var to []*escrow.Recipient
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("escrow: %w", err)
		}
		r, err := escrow.ParseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		to = append(to, r)
	}
	seal := func(n uint64, secret, salt [32]byte) (*epoch.Escrow, error) {
		box, err := escrow.Seal(origin, n, chance.Commitment(origin, n, secret, salt), secret, salt, to...)
		if err != nil {
			return nil, err
		}
		return &epoch.Escrow{Recipients: box.Recipients, Sealed: box.Content}, nil
	}
	_, err := seal(0, [32]byte{}, [32]byte{}) // one key twice is better known now
	return seal, err
}

// healthEvery is how often each key is tried, whether it is needed or not.
const healthEvery = 30 * time.Second

// health is what the last trial of each key showed.
type health struct {
	trials []trial
	quit   chan struct{}
	done   sync.WaitGroup
}

type trial struct {
	role, assurance string
	run             func(context.Context) error
	failed          atomic.Bool
}

// watch tries the keys now and then, so that a device that fell silent is known
// before the seeds need it.
func (h *health) watch(k *keys, log *slog.Logger) {
	h.trials = make([]trial, 4)
	for i, s := range []signer.Signer{k.checkpoint, k.seeds, k.exports} {
		h.trials[i].role, h.trials[i].assurance, h.trials[i].run = []string{system.RoleCheckpoint, system.RoleSeeds, system.RoleExports}[i], s.Assurance(), s.Health
	}
	h.trials[3].role, h.trials[3].assurance, h.trials[3].run = "seal", k.seal.Assurance(), func(context.Context) error { return k.seal.Health() }
	h.quit = make(chan struct{})
	h.done.Go(func() {
		tick := time.NewTicker(healthEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				h.look(log)
			case <-h.quit:
				return
			}
		}
	})
}

func (h *health) look(log *slog.Logger) {
	for i := range h.trials {
		t := &h.trials[i]
		ctx, cancel := context.WithTimeout(context.Background(), healthEvery/6)
		err := t.run(ctx)
		cancel()
		switch was := t.failed.Swap(err != nil); {
		case err != nil && !was:
			log.Error("a key of the house cannot be used", "key", t.role, "assurance", t.assurance, "error", err)
		case err == nil && was:
			log.Info("the key can be used again", "key", t.role)
		}
	}
}

func (h *health) stop() {
	if h.quit != nil {
		close(h.quit)
		h.done.Wait()
	}
}

// Collectors returns the figures of the machine, to be registered once.
func (a *Appliance) Collectors() (list []prometheus.Collector) {
	for i := range a.health.trials {
		t := &a.health.trials[i]
		list = append(list, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "countroom_key_healthy", Help: "1 while the key did what it is for when it was last tried.",
			ConstLabels: prometheus.Labels{"key": t.role, "assurance": t.assurance},
		}, func() float64 {
			if t.failed.Load() {
				return 0
			}
			return 1
		}))
	}
	return list
}

// close gives the devices back. One that does not answer is left to the end of
// the process.
func (k *keys) close(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() {
		var errs []error
		for _, s := range append([]signer.Signer{k.checkpoint, k.seeds, k.exports}, k.more...) {
			if s != nil {
				errs = append(errs, s.Close())
			}
		}
		if k.seal != nil {
			errs = append(errs, k.seal.Close())
		}
		closed <- errors.Join(errs...)
	}()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("closing the keys: %w", context.Cause(ctx))
	}
}

func (k *keys) public(origin string) ([]system.Key, error) {
	vkey, err := tlog.VKey(origin, k.checkpoint.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	list := []system.Key{{Algorithm: "ed25519", Assurance: k.checkpoint.Assurance(), Public: vkey, Role: system.RoleCheckpoint}}
	for _, p256 := range []struct {
		role string
		key  signer.Signer
	}{{system.RoleSeeds, k.seeds}, {system.RoleExports, k.exports}} {
		der, err := x509.MarshalPKIXPublicKey(p256.key.Public().(*ecdsa.PublicKey))
		if err != nil {
			return nil, err
		}
		list = append(list, system.Key{Algorithm: "ecdsa-p256", Assurance: p256.key.Assurance(), Public: hex.EncodeToString(der), Role: p256.role})
	}
	return list, nil
}

// openSecret reads 256 bits in hex from a file that only its owner may use.
func openSecret(files Files, path string, create bool) (secret [32]byte, err error) {
	b, err := files.ReadPrivate(path)
	if errors.Is(err, os.ErrNotExist) && create {
		rand.Read(secret[:])
		return secret, files.CreatePrivate(path, []byte(hex.EncodeToString(secret[:])+"\n"))
	}
	if err != nil {
		return secret, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(raw) != len(secret) {
		return secret, fmt.Errorf("%s: expected 64 hex digits", path)
	}
	return [32]byte(raw), nil
}
