package signer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"countroom/hardware/pkcs11"
	"countroom/rngcert/chance"
)

// Sealer seals seed secrets, so that a house that starts again goes on with them.
// What it gives is in the format of package chance whatever holds the key.
type Sealer interface {
	Seal(context []byte, secret, salt [32]byte) ([]byte, error)
	// Open undoes Seal: chance.ErrSealed to anything else.
	Open(context, sealed []byte) (secret, salt [32]byte, err error)
	// Assurance says what protects the key.
	Assurance() string
	// Health seals what nothing else does and opens it again.
	Health() error
	Close() error
}

// OpenSealer opens the sealing key that a URI names: 64 hex digits in a file, or
// an AES-256 key on a PKCS #11 token, which does not give it away. Of a pair both
// machines need it.
func OpenSealer(ctx context.Context, uri string, o Options) (Sealer, error) {
	return reachSealer(ctx, uri, o.defaults(), false)
}

// GenerateSealer makes a new sealing key and never overwrites one.
func GenerateSealer(ctx context.Context, uri string, o Options) (Sealer, error) {
	return reachSealer(ctx, uri, o.defaults(), true)
}

func reachSealer(ctx context.Context, uri string, o Options, create bool) (Sealer, error) {
	scheme, _, _ := strings.Cut(uri, ":")
	switch scheme {
	case "file":
		f, err := parseFile(uri)
		if err == nil && f.passphrase != "" {
			err = fmt.Errorf("signer: %q: a sealing key in a file has no passphrase: protect it by a PKCS #11 token", uri)
		}
		if err != nil {
			return nil, err
		}
		secret, err := openSecret(f.path, o, create)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s: %w", ErrNoKey, uri, err)
		}
		if err != nil {
			return nil, err
		}
		return softwareSealer{secret}, nil
	case "pkcs11":
		return openTokenSealer(ctx, uri, create)
	case "tpm":
		return nil, fmt.Errorf("signer: %s: a TPM seals to one machine for ever, and what it sealed would be lost with it: expected file:… or pkcs11:…", uri)
	}
	return nil, fmt.Errorf("signer: %q: expected file:… or pkcs11:… for the sealing key", uri)
}

// openSecret reads 256 bits in hex.
func openSecret(path string, o Options, create bool) (secret [32]byte, err error) {
	if create {
		if _, err := io.ReadFull(o.Rand, secret[:]); err != nil {
			return secret, fmt.Errorf("signer: making %s: %w", path, err)
		}
		if err := o.Files.CreatePrivate(path, []byte(hex.EncodeToString(secret[:])+"\n")); err != nil {
			return secret, fmt.Errorf("signer: creating %s: %w", path, err)
		}
	}
	b, err := o.Files.ReadPrivate(path)
	if err != nil {
		return secret, err
	}
	defer clear(b)
	raw, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(raw) != len(secret) {
		return secret, fmt.Errorf("%w: %s: expected 64 hex digits", ErrKeyFile, path)
	}
	return [32]byte(raw), nil
}

// softwareSealer seals under a key in a file: whoever reads the file can open
// what it sealed.
type softwareSealer struct{ key [32]byte }

func (s softwareSealer) Seal(context []byte, secret, salt [32]byte) ([]byte, error) {
	var iv [12]byte
	if _, err := rand.Read(iv[:]); err != nil {
		return nil, err
	}
	return chance.Seal(s.key, context, iv, secret, salt), nil
}

func (s softwareSealer) Open(context, sealed []byte) (secret, salt [32]byte, err error) {
	return chance.Open(s.key, context, sealed)
}

func (softwareSealer) Assurance() string { return AssuranceSoftware }
func (softwareSealer) Health() error     { return nil }
func (softwareSealer) Close() error      { return nil }

// tokenSealer seals inside a token. The secret passes through this process, for
// draws are made here; the key that opens it does not.
type tokenSealer struct {
	token *pkcs11.Token
	key   *pkcs11.Key
}

func openTokenSealer(ctx context.Context, uri string, create bool) (Sealer, error) {
	u, err := pkcs11.ParseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	token, err := pkcs11.Open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	reach := token.Find
	if create {
		reach = token.Generate
	}
	k, err := reach(ctx, u, pkcs11.AES256)
	if err != nil {
		return nil, errors.Join(absent(err, pkcs11.ErrNoKey), token.Close())
	}
	s := &tokenSealer{token, k}
	// What it cannot do is better known now than at the first seed.
	if err := s.Health(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", uri, err), token.Close())
	}
	return s, nil
}

func (s *tokenSealer) Health() error {
	probe, secret, salt := []byte(healthMessage), [32]byte{1}, [32]byte{2}
	sealed, err := s.Seal(probe, secret, salt)
	if err != nil {
		return fmt.Errorf("signer: health: %w", err)
	}
	if a, b, err := s.Open(probe, sealed); err != nil || a != secret || b != salt {
		return fmt.Errorf("signer: health: what was sealed does not open: %w", err)
	}
	return nil
}

const gcmIVSize = 12

func (s *tokenSealer) Seal(about []byte, secret, salt [32]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerMost)
	defer cancel()
	plain := append(secret[:], salt[:]...)
	defer clear(plain)
	iv, sealed, err := s.key.Seal(ctx, plain, chance.SealData(about))
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return append(iv, sealed...), nil
}

func (s *tokenSealer) Open(about, sealed []byte) (secret, salt [32]byte, err error) {
	if len(sealed) != chance.SealedSize {
		return secret, salt, fmt.Errorf("%w: %d bytes, expected %d", chance.ErrSealed, len(sealed), chance.SealedSize)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerMost)
	defer cancel()
	plain, err := s.key.Open(ctx, sealed[:gcmIVSize], sealed[gcmIVSize:], chance.SealData(about))
	if errors.Is(err, pkcs11.ErrSealed) {
		return secret, salt, fmt.Errorf("%w: %w", chance.ErrSealed, err)
	}
	if err != nil {
		return secret, salt, fmt.Errorf("signer: %w", err)
	}
	defer clear(plain)
	return [32]byte(plain[:32]), [32]byte(plain[32:64]), nil
}

func (*tokenSealer) Assurance() string { return AssurancePKCS11 }
func (s *tokenSealer) Close() error    { return s.token.Close() }
