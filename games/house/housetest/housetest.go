// Package housetest opens real houses for tests: Pebble, software keys, the
// kernel's entropy, the bundled game. Like a command it wires devices and a
// store together, so nothing but tests may import it.
package housetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/slots"
	"countroom/hardware/entropy"
	"countroom/hardware/signer"
	"countroom/ledger"
	"countroom/ledger/store/pebble"
	"countroom/ledger/system"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// Origin is the name of the log, unless an option sets another.
const Origin = "countroom.example/test"

// House is an open house with what is under it.
type House struct {
	*house.House
	Ledger *ledger.Ledger

	close func()
}

// Open opens the house in a directory, and creates it if there is none yet. The
// options see the configuration that would be used and may change it. The house
// is closed when the test ends; a test that wants to open it again closes it
// before.
//
// A ledger that cannot go on fails the test, unless an option sets another
// ledger.Config.Fatal.
func Open(t testing.TB, dir string, options ...func(*ledger.Config, *house.Config)) *House {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	store, err := pebble.Open(filepath.Join(dir, "store"), pebble.Options{Create: true, ReserveBytes: 1 << 20})
	must(err)
	t.Cleanup(func() { store.Close() })
	guard, err := ledger.OpenGuard(filepath.Join(dir, "guard"), Origin)
	must(err)
	t.Cleanup(func() { guard.Close() })
	checkpoints, err := signer.LoadOrCreate(signer.Disk{}, filepath.Join(dir, "checkpoint.pem"), signer.Ed25519, rand.Reader)
	must(err)
	seeds, err := signer.LoadOrCreate(signer.Disk{}, filepath.Join(dir, "seeds.pem"), signer.ECDSAP256, rand.Reader)
	must(err)
	spki, err := x509.MarshalPKIXPublicKey(seeds.Public().(*ecdsa.PublicKey))
	must(err)
	exports, err := signer.LoadOrCreate(signer.Disk{}, filepath.Join(dir, "exports.pem"), signer.ECDSAP256, rand.Reader)
	must(err)
	exportsSPKI, err := x509.MarshalPKIXPublicKey(exports.Public().(*ecdsa.PublicKey))
	must(err)
	pool, err := entropy.NewPool(ctx, entropy.Options{Personalisation: []byte(Origin), Patience: time.Minute}, entropy.Kernel{})
	must(err)

	log := slog.New(slog.DiscardHandler)
	lc := ledger.Config{
		Origin: Origin, Store: store, Books: house.Books(), Guard: guard, Signer: checkpoints, Log: log,
		Fatal: func(err error) { t.Errorf("the ledger stopped: %v", err) },
	}
	hc := house.Config{
		Origin: Origin, Node: "test", Release: "test", Games: []*slots.Definition{slots.Bundled()},
		Seeds: seeds, Exports: exports, Sealer: sealer{}, Secret: secrets(pool), Log: log,
		TokenKey: sha256.Sum256([]byte("token key of tests")), VaultKey: sha256.Sum256([]byte("vault key of tests")),
	}
	periods := filepath.Join(dir, "vault-period.key")
	hc.KeepVaultOldest = func(r house.Ratchet) error { return os.WriteFile(periods, r.Text(), 0o600) }
	if b, err := os.ReadFile(periods); errors.Is(err, fs.ErrNotExist) {
		hc.VaultOldest = house.Ratchet{Key: sha256.Sum256([]byte("first period of tests"))}
	} else {
		must(err)
		hc.VaultOldest, err = house.ParseRatchet(b)
		must(err)
	}
	for _, o := range options {
		o(&lc, &hc)
	}
	l, err := ledger.Open(ctx, lc)
	must(err)
	hc.Keys = []system.Key{
		{Algorithm: "ed25519", Assurance: checkpoints.Assurance(), Public: l.VKey(), Role: system.RoleCheckpoint},
		{Algorithm: "ecdsa-p256", Assurance: seeds.Assurance(), Public: hex.EncodeToString(spki), Role: system.RoleSeeds},
		{Algorithm: "ecdsa-p256", Assurance: exports.Assurance(), Public: hex.EncodeToString(exportsSPKI), Role: system.RoleExports},
	}
	h, err := house.Open(ctx, l, hc)
	must(err)
	open := &House{House: h, Ledger: l, close: sync.OnceFunc(func() {
		h.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("closing the ledger: %v", err)
		}
		if err := guard.Close(); err != nil {
			t.Errorf("closing the guard: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})}
	t.Cleanup(open.Close)
	return open
}

// Close closes the house and all under it. It may be called again.
func (h *House) Close() { h.close() }

func secrets(pool *entropy.Pool) func(context.Context) ([32]byte, []epoch.Source, error) {
	return func(ctx context.Context) ([32]byte, []epoch.Source, error) {
		secret, reports, err := pool.Secret(ctx)
		var sources []epoch.Source
		for _, r := range reports {
			sources = append(sources, epoch.Source{Assurance: "software", Bytes: uint64(r.Bytes), Conditioned: r.Conditioned, Group: "kernel", Healthy: r.Healthy, Name: r.Name})
		}
		return secret, sources, err
	}
}

// sealer seals with a key that every test knows.
type sealer struct{}

var sealKey = sha256.Sum256([]byte("seal key of tests"))

func (sealer) Seal(context []byte, secret, salt [32]byte) ([]byte, error) {
	var iv [12]byte
	rand.Read(iv[:])
	return chance.Seal(sealKey, context, iv, secret, salt), nil
}

func (sealer) Open(context, sealed []byte) (secret, salt [32]byte, err error) {
	return chance.Open(sealKey, context, sealed)
}

func (sealer) Assurance() string { return system.AssuranceSoftware }
