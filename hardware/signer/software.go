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
	"strings"

	"countroom/hardware/pinfile"

	"github.com/youmark/pkcs8"
)

var (
	// ErrKeyMode reports a key file that others than its owner may use.
	ErrKeyMode = errors.New("signer: key file is open to others")
	// ErrKeyFile reports a key file that does not hold the wanted key.
	ErrKeyFile = errors.New("signer: key file is not usable")
)

const (
	pemType       = "PRIVATE KEY"           // PKCS #8, RFC 7468, section 10
	pemTypeSealed = "ENCRYPTED PRIVATE KEY" // the same, section 11
	keyMode       = 0o600
	keySizeMax    = 16 << 10
)

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
func LoadOrCreate(files Files, path string, alg Algorithm, rand io.Reader) (Signer, error) {
	f, o := keyFile{path: path}, Options{Files: files, Rand: rand}
	k, err := f.load(o, alg)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := f.create(o, alg); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Read it back: what is on the disk is what counts.
	return f.load(o, alg)
}

// Load loads the PKCS #8 PEM file at path. A missing file is fs.ErrNotExist; one
// that its group or others may use is ErrKeyMode; one that holds anything but one
// key of the algorithm is ErrKeyFile.
func Load(files Files, path string, alg Algorithm) (Signer, error) {
	return keyFile{path: path}.load(Options{Files: files}, alg)
}

// keyFile is a file with a key, and that with its passphrase, if it has one.
type keyFile struct{ path, passphrase string }

const fileScheme = "file:"

// parseFile reads file:PATH?passphrase-file=PATH. What follows the first
// question mark is no part of the path.
func parseFile(uri string) (f keyFile, err error) {
	path, query, asked := strings.Cut(strings.TrimPrefix(uri, fileScheme), "?")
	f.path = path
	if asked {
		var ok bool
		if f.passphrase, ok = strings.CutPrefix(query, "passphrase-file="); !ok || f.passphrase == "" || strings.Contains(f.passphrase, "&") {
			return f, fmt.Errorf("signer: %q: expected passphrase-file= and a path after the question mark", uri)
		}
	}
	if path == "" || strings.HasPrefix(path, "//") {
		return f, fmt.Errorf("signer: %q: expected file: and a path", uri)
	}
	return f, nil
}

// File reads the path of a key in a file, and that of its passphrase, "" if it has
// none.
func File(uri string) (path, passphrase string, err error) {
	f, err := parseFile(uri)
	return f.path, f.passphrase, err
}

// InFileAt is the URI of a key in a file.
func InFileAt(path, passphrase string) string {
	if passphrase != "" {
		return fileScheme + path + "?passphrase-file=" + passphrase
	}
	return fileScheme + path
}

func openFile(uri string, alg Algorithm, o Options, create bool) (Signer, error) {
	f, err := parseFile(uri)
	if err != nil {
		return nil, err
	}
	if create {
		if err := f.create(o, alg); err != nil {
			return nil, err
		}
	}
	k, err := f.load(o, alg)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, pinfile.ErrFile) {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoKey, uri, err)
	}
	return k, err
}

func (f keyFile) load(o Options, alg Algorithm) (Signer, error) {
	data, err := o.Files.ReadPrivate(f.path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	passphrase, assurance := "", AssuranceSoftware
	if f.passphrase != "" {
		assurance = AssuranceSealed
		if passphrase, err = pinfile.Read(f.passphrase); err != nil {
			return nil, fmt.Errorf("signer: %s: passphrase: %w", f.path, err)
		}
	}
	private, err := parse(data, alg, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: restore it from a backup; a new key would not be this house's", ErrKeyFile, f.path, err)
	}
	return newSoftware(private, assurance), nil
}

func (f keyFile) create(o Options, alg Algorithm) error {
	private, err := generate(alg, o.Rand)
	if err != nil {
		return fmt.Errorf("signer: making %s: %w", f.path, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	block := &pem.Block{Type: pemType, Bytes: der}
	if err == nil && f.passphrase != "" {
		block.Type = pemTypeSealed
		var passphrase string
		if passphrase, err = pinfile.Read(f.passphrase); err == nil {
			block.Bytes, err = pkcs8.MarshalPrivateKey(private, []byte(passphrase), sealing)
		}
	}
	if err != nil {
		return fmt.Errorf("signer: making %s: %w", f.path, err)
	}
	defer clear(der)
	if err := o.Files.CreatePrivate(f.path, pem.EncodeToMemory(block)); err != nil {
		return fmt.Errorf("signer: creating %s: %w", f.path, err)
	}
	return nil
}

func newSoftware(private crypto.Signer, assurance string) *key {
	k := &key{alg: ECDSAP256, public: private.Public(), assurance: assurance}
	hash := crypto.SHA256
	if _, ok := private.(ed25519.PrivateKey); ok {
		k.alg, hash = Ed25519, 0
	}
	// Without random words: what is signed again, such as an export, gives the same bytes (RFC 6979, RFC 8032).
	k.sign = func(_ context.Context, input []byte) ([]byte, error) { return private.Sign(nil, input, hash) }
	return k
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

// parse reads one PEM block with one PKCS #8 key of the algorithm. An empty
// passphrase is for a key that is not encrypted.
func parse(data []byte, alg Algorithm, passphrase string) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	want := pemType
	if passphrase != "" {
		want = pemTypeSealed
	}
	switch {
	case block != nil && block.Type == pemType && want == pemTypeSealed:
		return nil, errors.New("the key is not encrypted, though a passphrase-file is given")
	case block != nil && block.Type == pemTypeSealed && want == pemType:
		return nil, errors.New("the key is encrypted: give its passphrase-file")
	case block == nil || block.Type != want || len(block.Headers) != 0:
		return nil, fmt.Errorf("expected one PEM block %q", want)
	}
	defer clear(block.Bytes)
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("something follows the key")
	}
	var key any
	var err error
	if passphrase == "" {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	} else if err = checkSealed(block.Bytes); err == nil {
		if key, _, err = pkcs8.ParsePrivateKey(block.Bytes, []byte(passphrase)); err != nil {
			err = fmt.Errorf("wrong passphrase, or not the file that it was: %w", err)
		}
	}
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
	return nil, fmt.Errorf("holds a %T, expected a key for %v", key, alg)
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
