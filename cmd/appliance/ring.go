package appliance

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"countroom/hardware/signer"
	ledgerkeys "countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"github.com/sigstore/sigstore/pkg/signature"
)

// ring are the keys beyond those that are configured: what a house exchanges its
// own for. A file in the directory says where they are, a line each with role and
// URI. It is written before the log hears of a key, so that a start finds each
// key that may be in force.
type ring struct {
	files Files
	path  string

	mu   sync.Mutex
	more []ringKey
}

type ringKey struct {
	system.Key
	uri    string
	signer signer.Signer
}

// ringMost bounds the file, in lines.
const ringMost = 1024

// parseRing reads the file.
func parseRing(b []byte) (list []ringKey, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	text, whole := strings.CutSuffix(string(b), "\n")
	if !whole {
		return nil, errors.New("it was cut short: expected lines of role and URI")
	}
	lines := strings.Split(text, "\n")
	if len(lines) > ringMost {
		return nil, fmt.Errorf("%d lines, at most %d expected", len(lines), ringMost)
	}
	for i, line := range lines {
		role, uri, ok := strings.Cut(line, " ")
		if !ok || ledgerkeys.Algorithm(role) == "" || uri == "" || strings.ContainsAny(uri, " \r\t") {
			return nil, fmt.Errorf("line %d: expected a role (checkpoint, seeds, exports), a space and a URI", i+1)
		}
		list = append(list, ringKey{Key: system.Key{Role: role}, uri: uri})
	}
	return list, nil
}

func (r *ring) open(ctx context.Context, files Files, dir, origin string, k *keys, log *slog.Logger) error {
	b, err := files.ReadFile(filepath.Join(dir, "keys", "ring"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := parseRing(b)
	if err != nil {
		return fmt.Errorf("keys/ring: %w", err)
	}
	for _, one := range list {
		opened, err := openRingKey(ctx, files, one.Role, one.uri, origin, signer.Open)
		if err != nil {
			// It may be retired and gone; where it is in force the log will say so.
			log.Warn("a key of the ring cannot be opened", "role", one.Role, "uri", one.uri, "error", err)
			continue
		}
		r.more = append(r.more, opened)
		k.more = append(k.more, opened.signer)
	}
	return nil
}

// openRingKey opens, or makes, a key of a role.
func openRingKey(ctx context.Context, files Files, role, uri, origin string, reach func(context.Context, string, signer.Algorithm, signer.Options) (signer.Signer, error)) (one ringKey, err error) {
	alg := signer.ECDSAP256
	if role == system.RoleCheckpoint {
		alg = signer.Ed25519
	}
	s, err := reach(ctx, uri, alg, signer.Options{Files: files})
	if err != nil {
		return one, fmt.Errorf("%s: %w", uri, err)
	}
	public, err := publicOf(origin, s)
	if err != nil {
		return one, errors.Join(err, s.Close())
	}
	return ringKey{system.Key{Algorithm: ledgerkeys.Algorithm(role), Assurance: s.Assurance(), Public: public, Role: role}, uri, s}, nil
}

// publicOf writes a public key as entries have it.
func publicOf(origin string, s signer.Signer) (string, error) {
	switch key := s.Public().(type) {
	case ed25519.PublicKey:
		return tlog.VKey(origin, key)
	case *ecdsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		return hex.EncodeToString(der), err
	}
	return "", fmt.Errorf("a key of type %T", s.Public())
}

// checkpoints are the keys that may sign checkpoints, wrapped as the machine wants them.
func (r *ring) checkpoints(wrap func(signature.Signer) signature.Signer) (list []signature.Signer) {
	for _, k := range r.more {
		if k.Role == system.RoleCheckpoint {
			list = append(list, wrap(k.signer))
		}
	}
	return list
}

// all are the keys of a house, those that are configured first.
func (r *ring) all(k *keys, configured []system.Key) (list []system.Key, signers map[string]signature.Signer) {
	signers = map[string]signature.Signer{}
	for i, s := range []signer.Signer{k.checkpoint, k.seeds, k.exports} {
		signers[configured[i].Public] = s
	}
	list = configured
	for _, one := range r.more {
		if signers[one.Public] == nil {
			list, signers[one.Public] = append(list, one.Key), one.signer
		}
	}
	return list, signers
}

// find returns the key of the ring that a public key is of.
func (r *ring) find(public string) (one ringKey, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.more {
		if k.Public == public {
			return k, true
		}
	}
	return one, false
}

// PutKey puts the key at a URI at hand, made there first if so wished, and notes
// where it is. It changes nothing in the log. On a pair the other machine has it,
// too, before PutKey returns.
func (a *Appliance) PutKey(ctx context.Context, role, uri string, create bool) (k system.Key, err error) {
	if a.pair != nil {
		if err := a.pair.reached(ctx); err != nil {
			return k, err
		}
	}
	reach := signer.Open
	if create {
		reach = signer.Generate
	}
	if k, err = a.putKey(ctx, role, uri, "", reach); err != nil || a.pair == nil {
		return k, err
	}
	if err := a.pair.carry(ctx, k.Role, k.Public); err != nil {
		return system.Key{}, fmt.Errorf("the key is at hand here, so that it need not be made again: %w", err)
	}
	return k, nil
}

// putKey does so on this machine, with the key that is expected there, if any.
func (a *Appliance) putKey(ctx context.Context, role, uri, expected string, reach func(context.Context, string, signer.Algorithm, signer.Options) (signer.Signer, error)) (system.Key, error) {
	line := role + " " + uri + "\n"
	if _, err := parseRing([]byte(line)); err != nil {
		return system.Key{}, fmt.Errorf("role %q, key %q: expected a role (checkpoint, seeds, exports) and a URI", role, uri)
	}
	one, err := openRingKey(ctx, a.ring.files, role, uri, a.Ledger.Origin(), reach)
	if err != nil {
		return system.Key{}, err
	}
	if expected != "" && one.Public != expected {
		return system.Key{}, errors.Join(fmt.Errorf("%s is another key here: expected %s, found %s", uri, expected, one.Public), one.signer.Close())
	}
	a.ring.mu.Lock()
	defer a.ring.mu.Unlock()
	for _, k := range a.ring.more {
		if k.Public == one.Public {
			return k.Key, one.signer.Close()
		}
	}
	b, err := a.ring.files.ReadFile(a.ring.path)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = nil, nil
	}
	if err == nil {
		// A line that is there may be of an attempt that failed before it was durable: it is written again all the same.
		if !strings.Contains("\n"+string(b), "\n"+line) {
			b = append(b, line...)
		}
		err = a.ring.files.WriteFile(a.ring.path, b)
	}
	if err == nil && role == system.RoleCheckpoint {
		_, err = a.Ledger.AddSigner(a.wrapSigner(one.signer))
	}
	if err == nil {
		err = a.House.AddKey(one.Key, one.signer)
	}
	if err != nil {
		return system.Key{}, errors.Join(err, one.signer.Close())
	}
	a.ring.more = append(a.ring.more, one)
	a.keys.more = append(a.keys.more, one.signer)
	return one.Key, nil
}
