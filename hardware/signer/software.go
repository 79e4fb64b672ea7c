package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sigstore/sigstore/pkg/signature"
)

var (
	// ErrKeyMode reports a key file that others than its owner may use.
	ErrKeyMode = errors.New("signer: key file is open to others")
	// ErrKeyFile reports a key file that does not hold the wanted key.
	ErrKeyFile = errors.New("signer: key file is not usable")
)

const (
	pemType    = "PRIVATE KEY" // PKCS #8, RFC 7468, section 10
	keyMode    = 0o600
	keySizeMax = 16 << 10
)

// healthMessage is no checkpoint, which ends with a line feed, and no JSON.
const healthMessage = "countroom/signer-health/v1"

// Software is a key in a file. Whoever can read the file or the memory of the
// process has the key; Assurance says so.
type Software struct {
	signature.Signer
	verifier signature.Verifier
	public   crypto.PublicKey
}

var _ Signer = (*Software)(nil)

// Files is where keys are kept.
type Files interface {
	// ReadPrivate returns the content of a file that only its owner may use:
	// fs.ErrNotExist, or ErrKeyMode when others may.
	ReadPrivate(path string) ([]byte, error)
	// CreatePrivate creates such a file whole and durably, or fails with
	// fs.ErrExist when there is one.
	CreatePrivate(path string, data []byte) error
}

// Disk is this machine's file system.
type Disk struct{}

// LoadOrCreate loads the key at path as Load does, or, when there is no file,
// makes a key from rand and creates it: mode 0600, synced with its directory,
// whole or not at all. Of several processes that create the same key at once, one
// does and the others load it.
//
// A house that exists has its keys: it calls Load, for a key made anew would be
// another house's.
func LoadOrCreate(files Files, path string, alg Algorithm, rand io.Reader) (*Software, error) {
	s, err := Load(files, path, alg)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	key, err := generate(alg, rand)
	if err != nil {
		return nil, fmt.Errorf("signer: making %s: %w", path, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("signer: making %s: %w", path, err)
	}
	err = files.CreatePrivate(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("signer: creating %s: %w", path, err)
	}
	// Read it back: what is on the disk is what counts.
	return Load(files, path, alg)
}

// Load loads the PKCS #8 PEM file at path. A missing file is fs.ErrNotExist; one
// that its group or others may use is ErrKeyMode; one that holds anything but one
// key of the algorithm is ErrKeyFile.
func Load(files Files, path string, alg Algorithm) (*Software, error) {
	data, err := files.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := parse(data, alg)
	clear(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: restore it from a backup; a new key would not be this house's", ErrKeyFile, path, err)
	}
	s, err := newSoftware(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, path, err)
	}
	return s, nil
}

func newSoftware(key crypto.Signer) (*Software, error) {
	s := &Software{public: key.Public()}
	var err error
	switch key := key.(type) {
	case ed25519.PrivateKey:
		if s.Signer, err = signature.LoadED25519Signer(key); err != nil {
			return nil, err
		}
	case *ecdsa.PrivateKey:
		if s.Signer, err = signature.LoadECDSASigner(key, crypto.SHA256); err != nil {
			return nil, err
		}
	}
	s.verifier, err = signature.LoadVerifier(s.public, crypto.SHA256)
	return s, err
}

// Sign signs msg.
func (s *Software) Sign(msg []byte) ([]byte, error) { return s.SignMessage(bytes.NewReader(msg)) }

// Public returns an ed25519.PublicKey or an *ecdsa.PublicKey.
func (s *Software) Public() crypto.PublicKey { return s.public }

// Assurance returns "software".
func (s *Software) Assurance() string { return "software" }

// Health signs and verifies.
func (s *Software) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sig, err := s.Sign([]byte(healthMessage))
	if err != nil {
		return fmt.Errorf("signer: health: %w", err)
	}
	if err := s.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader([]byte(healthMessage))); err != nil {
		return fmt.Errorf("signer: health: signature made does not verify: %w", err)
	}
	return nil
}

// generate makes a key from the bytes of rand and nothing else; the standard
// library's GenerateKey would, for ECDSA, ignore rand.
func generate(alg Algorithm, rand io.Reader) (crypto.Signer, error) {
	var seed [32]byte
	defer clear(seed[:])
	switch alg {
	case Ed25519:
		if _, err := io.ReadFull(rand, seed[:]); err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
		return ed25519.NewKeyFromSeed(seed[:]), nil
	case ECDSAP256:
		// FIPS 186-5, A.2.2: candidates outside [1, n−1] are passed over. One in
		// 2^32 is; ten in a row are no accident.
		for range 10 {
			if _, err := io.ReadFull(rand, seed[:]); err != nil {
				return nil, fmt.Errorf("reading random bytes: %w", err)
			}
			if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:]); err == nil {
				return key, nil
			}
		}
		return nil, errors.New("the random source gives no usable P-256 key")
	}
	return nil, fmt.Errorf("algorithm %d, want Ed25519 or ECDSAP256", alg)
}

// parse reads one PEM block with one PKCS #8 key of the algorithm.
func parse(data []byte, alg Algorithm) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(block.Headers) != 0 {
		return nil, fmt.Errorf("want one PEM block %q", pemType)
	}
	defer clear(block.Bytes)
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("something follows the key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		if alg == Ed25519 {
			return key, nil
		}
	case *ecdsa.PrivateKey:
		if alg == ECDSAP256 && key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, fmt.Errorf("holds a %T, want a key for %v", key, alg)
}

// ReadPrivate reads a key file, which is never large.
func (Disk) ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s: not a regular file", ErrKeyFile, path)
	}
	if mode := info.Mode().Perm(); mode&^keyMode != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, want 0600: if nobody else can have read it, run chmod 0600 %s; otherwise treat the key as stolen",
			ErrKeyMode, path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, keySizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("signer: reading %s: %w", path, err)
	}
	if len(data) > keySizeMax {
		return nil, fmt.Errorf("%w: %s: larger than any key, %d bytes at most", ErrKeyFile, path, keySizeMax)
	}
	return data, nil
}

// CreatePrivate creates the file at path with mode 0600.
func (Disk) CreatePrivate(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.Remove(tmp.Name()))
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	// A link and not a rename, which would put this key in the place of one that
	// another process has just created and begun to use.
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
