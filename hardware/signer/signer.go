// Package signer holds the keys of a house: those it signs with (Ed25519 for
// checkpoints, ECDSA P-256 for seeds and exports) and the one that seals seed
// secrets. A URI names each, wherever it is:
//
//	file:PATH                          PKCS #8 in PEM, mode 0600
//	file:PATH?passphrase-file=PATH     the same, encrypted
//	pkcs11:token=…;object=…?module-path=…&pin-source=…     RFC 7512
//	tpm:device=/dev/tpmrm0;handle=0x81010001
//	NAME://…                           by sigstore's program sigstore-kms-NAME
package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Algorithm is a signature scheme.
type Algorithm int

const (
	// Ed25519 is RFC 8032 over the message itself; signatures have 64 bytes.
	Ed25519 Algorithm = iota + 1
	// ECDSAP256 is ECDSA over SHA-256 of the message on P-256 (FIPS 186-5);
	// signatures are ASN.1 DER.
	ECDSAP256
)

// String returns "Ed25519" or "ECDSA P-256".
func (a Algorithm) String() string {
	switch a {
	case Ed25519:
		return "Ed25519"
	case ECDSAP256:
		return "ECDSA P-256"
	}
	return "unknown algorithm"
}

// What protects a key, in the words of the log.
const (
	AssuranceSoftware = "software"        // a file
	AssuranceSealed   = "software-sealed" // a file that a passphrase opens
	AssurancePKCS11   = "pkcs11"          // a token that does not give it away
	AssuranceTPM      = "tpm"             // this machine's TPM
	AssuranceKMS      = "kms"             // a service that signs for the house
)

var (
	// ErrNoKey reports that there is no key where the URI points.
	ErrNoKey = errors.New("signer: no such key")
	// ErrSignature reports a device whose signature does not verify.
	ErrSignature = errors.New("signer: signature made does not verify")
)

// answerMost is how long a device may take for one answer before the house
// treats it as silent.
const answerMost = 5 * time.Second

// Signer signs under one key. It is safe for concurrent use.
//
// As a crypto.Signer an Ed25519 key takes the message and no hash, a P-256 key
// a SHA-256 digest. As a signature.Signer both take the message.
type Signer interface {
	crypto.Signer
	signature.Signer
	// Assurance says what protects the key.
	Assurance() string
	// Health signs a message that nothing else signs and verifies the signature.
	// Asking a device for its state is not enough: a lost session still answers.
	Health(ctx context.Context) error
	// Close gives back what the key holds of its device.
	Close() error
}

// Options are what keys in files stand on.
type Options struct {
	Files Files     // default Disk
	Rand  io.Reader // of new keys in files; default crypto/rand
}

func (o Options) defaults() Options {
	if o.Files == nil {
		o.Files = Disk{}
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

// InFile tells whether a URI names a file, which a new house makes by itself. A
// key in a device is made by an operator.
func InFile(uri string) bool { return strings.HasPrefix(uri, fileScheme) }

// Open opens the key that a URI names and lets it sign once, so that a key that
// cannot is found out now.
func Open(ctx context.Context, uri string, alg Algorithm, o Options) (Signer, error) {
	return reach(ctx, uri, alg, o.defaults(), false)
}

// Generate makes a new key where the URI points and never overwrites one.
func Generate(ctx context.Context, uri string, alg Algorithm, o Options) (Signer, error) {
	return reach(ctx, uri, alg, o.defaults(), true)
}

func reach(ctx context.Context, uri string, alg Algorithm, o Options, create bool) (s Signer, err error) {
	if alg != Ed25519 && alg != ECDSAP256 {
		return nil, fmt.Errorf("signer: algorithm %d, expected Ed25519 or ECDSAP256", alg)
	}
	scheme, _, _ := strings.Cut(uri, ":")
	switch {
	case scheme == "file":
		return openFile(uri, alg, o, create)
	case scheme == "pkcs11":
		s, err = openPKCS11(ctx, uri, alg, create)
	case scheme == "tpm":
		s, err = openTPM(ctx, uri, alg, create)
	case strings.HasPrefix(uri, scheme+"://"):
		s, err = openKMS(ctx, uri, alg, create)
	default:
		return nil, fmt.Errorf("signer: %q: expected file:…, pkcs11:…, tpm:… or NAME://… of a key service", uri)
	}
	if err != nil {
		return nil, err
	}
	if err := s.Health(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", uri, err), s.Close())
	}
	return s, nil
}

// key is a Signer over whatever makes the signatures.
type key struct {
	alg       Algorithm
	public    crypto.PublicKey
	assurance string
	// sign takes the message for Ed25519 and its digest for P-256, and gives the
	// signature as others read it.
	sign  func(ctx context.Context, input []byte) ([]byte, error)
	close func() error // nil: nothing to do
}

// Public returns an ed25519.PublicKey or an *ecdsa.PublicKey.
func (k *key) Public() crypto.PublicKey { return k.public }

// PublicKey returns what Public does.
func (k *key) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) { return k.public, nil }

// Assurance says what protects the key.
func (k *key) Assurance() string { return k.assurance }

// Close gives back the device.
func (k *key) Close() error {
	if k.close == nil {
		return nil
	}
	return k.close()
}

// Sign implements crypto.Signer.
func (k *key) Sign(_ io.Reader, input []byte, o crypto.SignerOpts) ([]byte, error) {
	want := crypto.SHA256
	if k.alg == Ed25519 {
		want = 0
	}
	if o == nil || o.HashFunc() != want {
		return nil, fmt.Errorf("signer: a %v key signs with hash function %v and no other", k.alg, want)
	}
	return k.signed(context.Background(), input)
}

// SignMessage implements signature.Signer. Of its options it heeds the context
// and, for P-256, the digest.
func (k *key) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	ctx := context.Background()
	for _, o := range opts {
		o.ApplyContext(&ctx)
	}
	if k.alg == ECDSAP256 {
		digest, _, err := signature.ComputeDigestForSigning(message, crypto.SHA256, []crypto.Hash{crypto.SHA256}, opts...)
		if err != nil {
			return nil, fmt.Errorf("signer: %w", err)
		}
		return k.signed(ctx, digest)
	}
	input, err := io.ReadAll(message)
	if err != nil {
		return nil, fmt.Errorf("signer: reading the message: %w", err)
	}
	return k.signed(ctx, input)
}

// signed signs and, where a device did it, verifies: a fault in a device must not
// become a signature that nobody can check, or one that tells the key.
func (k *key) signed(ctx context.Context, input []byte) ([]byte, error) {
	if k.alg == ECDSAP256 && len(input) != sha256.Size {
		return nil, fmt.Errorf("signer: digest of %d bytes, expected %d", len(input), sha256.Size)
	}
	if k.assurance == AssuranceSoftware || k.assurance == AssuranceSealed {
		return k.sign(ctx, input)
	}
	if _, ends := ctx.Deadline(); !ends {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerMost)
		defer cancel()
	}
	sig, err := k.sign(ctx, input)
	if err != nil {
		return nil, err
	}
	return sig, k.verify(input, sig)
}

func (k *key) verify(input, sig []byte) error {
	ok := false
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, input, sig)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(public, input, sig)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// healthMessage is no checkpoint, which ends with a line feed, and no JSON.
const healthMessage = "countroom/signer-health/v1"

// Health signs and verifies.
func (k *key) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	input := []byte(healthMessage)
	if k.alg == ECDSAP256 {
		digest := sha256.Sum256(input)
		input = digest[:]
	}
	sig, err := k.SignMessage(bytes.NewReader([]byte(healthMessage)), options.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("signer: health: %w", err)
	}
	if err := k.verify(input, sig); err != nil {
		return fmt.Errorf("signer: health: %w", err)
	}
	return nil
}
