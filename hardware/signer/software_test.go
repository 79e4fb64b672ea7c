package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/youmark/pkcs8"
)

var algorithms = []Algorithm{Ed25519, ECDSAP256}

func TestSigstoreVerifiesOurSignatures(t *testing.T) {
	for _, alg := range algorithms {
		t.Run(alg.String(), func(t *testing.T) {
			s := newKey(t, filepath.Join(t.TempDir(), "key"), alg)
			public, err := s.PublicKey()
			if err != nil || !equal(public, s.Public()) {
				t.Fatalf("PublicKey gives %v and %v, Public %v", public, err, s.Public())
			}
			verifier, err := signature.LoadVerifier(public, crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range [][]byte{nil, {}, []byte("example.com/house\n1\n"), bytes.Repeat([]byte{7}, 1<<17)} {
				direct, err := s.Sign(nil, input(alg, msg), hashOf(alg))
				if err != nil {
					t.Fatal(err)
				}
				streamed, err := s.SignMessage(bytes.NewReader(msg))
				if err != nil {
					t.Fatal(err)
				}
				for _, sig := range [][]byte{direct, streamed} {
					if err := verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(msg)); err != nil {
						t.Errorf("message of %d bytes: %v", len(msg), err)
					}
					if err := verifier.VerifySignature(bytes.NewReader(sig), strings.NewReader(string(msg)+"x")); err == nil {
						t.Error("signature verifies over another message")
					}
				}
			}
			if err := s.Health(t.Context()); err != nil {
				t.Error(err)
			}
			if s.Assurance() != "software" {
				t.Errorf("assurance %q", s.Assurance())
			}
		})
	}
}

// What others need to verify without sigstore.
func TestSignatureFormats(t *testing.T) {
	msg := []byte("message")
	s := newKey(t, filepath.Join(t.TempDir(), "key"), Ed25519)
	sig, err := s.SignMessage(bytes.NewReader(msg))
	if err != nil || !ed25519.Verify(s.Public().(ed25519.PublicKey), msg, sig) {
		t.Errorf("Ed25519 over the message: %x, %v", sig, err)
	}
	s = newKey(t, filepath.Join(t.TempDir(), "key"), ECDSAP256)
	sig, err = s.SignMessage(bytes.NewReader(msg))
	digest := sha256.Sum256(msg)
	if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Errorf("ECDSA over SHA-256, in DER: %x, %v", sig, err)
	}
}

func TestKeyIsCreatedOnce(t *testing.T) {
	for _, alg := range algorithms {
		t.Run(alg.String(), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			if _, err := Load(Disk{}, path, alg); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("Load before there is a key: %v", err)
			}
			first := newKey(t, path, alg)
			info, err := os.Stat(path)
			if err != nil || info.Mode() != 0o600 {
				t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
			}
			// No random bytes are left for a second key.
			second, err := LoadOrCreate(Disk{}, path, alg, strings.NewReader(""))
			if err != nil || !equal(second.Public(), first.Public()) {
				t.Errorf("second start: another key, %v", err)
			}
			third, err := Load(Disk{}, path, alg)
			if err != nil || !equal(third.Public(), first.Public()) {
				t.Errorf("Load: another key, %v", err)
			}
			onlyFile(t, dir, "key")
		})
	}
}

func TestProcessesThatCreateAtOnceAgree(t *testing.T) {
	dir := t.TempDir()
	var publics [8]crypto.PublicKey
	var wg sync.WaitGroup
	for i := range publics {
		wg.Go(func() {
			s, err := LoadOrCreate(Disk{}, filepath.Join(dir, "key"), Ed25519, rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			publics[i] = s.Public()
		})
	}
	wg.Wait()
	for _, p := range publics[1:] {
		if p == nil || !equal(p, publics[0]) {
			t.Errorf("keys differ: %x and %x", p, publics[0])
		}
	}
	onlyFile(t, dir, "key")
}

// The key is made of the bytes of the source handed in, and of nothing else.
func TestKeyComesFromTheGivenSource(t *testing.T) {
	d := bytes.Repeat([]byte{5}, 32)
	s := createFrom(t, Ed25519, bytes.NewReader(d))
	if !equal(s.Public(), ed25519.NewKeyFromSeed(d).Public()) {
		t.Error("Ed25519: not the key of this seed")
	}
	want, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	// Zero, the order of the curve and all ones are no keys and are passed over.
	order := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	source := slices.Concat(make([]byte, 32), order, bytes.Repeat([]byte{0xff}, 32), d)
	if s = createFrom(t, ECDSAP256, bytes.NewReader(source)); !equal(s.Public(), want.Public()) {
		t.Error("ECDSA: not the key of the first usable candidate")
	}
	// The largest key is one.
	last := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1)).FillBytes(make([]byte, 32))
	createFrom(t, ECDSAP256, bytes.NewReader(last))
}

func TestNoKeyWithoutRandomness(t *testing.T) {
	for _, alg := range algorithms {
		dir := t.TempDir()
		if _, err := LoadOrCreate(Disk{}, filepath.Join(dir, "key"), alg, strings.NewReader("too short")); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: short source: got %v", alg, err)
		}
		onlyFile(t, dir)
	}
	dir := t.TempDir()
	if _, err := LoadOrCreate(Disk{}, filepath.Join(dir, "key"), ECDSAP256, bytes.NewReader(make([]byte, 1<<10))); err == nil {
		t.Error("a source of zeros gave a key")
	}
	if _, err := LoadOrCreate(Disk{}, filepath.Join(dir, "key"), 0, rand.Reader); err == nil {
		t.Error("unknown algorithm accepted")
	}
	onlyFile(t, dir)
	if _, err := LoadOrCreate(Disk{}, filepath.Join(dir, "none", "key"), Ed25519, rand.Reader); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: got %v", err)
	}
}

func TestOpenKeyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	newKey(t, path, Ed25519)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644, 0o700, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreate(Disk{}, path, Ed25519, rand.Reader)
		if !errors.Is(err, ErrKeyMode) || !strings.Contains(err.Error(), "chmod 0600 "+path) {
			t.Errorf("mode %04o: got %v, want ErrKeyMode and what to do", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Disk{}, path, Ed25519); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}

// A file that is there is never replaced, whatever it holds.
func TestBrokenKeyFileIsRefused(t *testing.T) {
	edPEM := keyPEM(t, must(generate(Ed25519, rand.Reader)))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		alg     Algorithm
	}{
		"empty":          {nil, Ed25519},
		"cut short":      {edPEM[:len(edPEM)/2], Ed25519},
		"two keys":       {slices.Concat(edPEM, edPEM), Ed25519},
		"other key":      {edPEM, ECDSAP256},
		"other curve":    {keyPEM(t, p384), ECDSAP256},
		"other block":    {bytes.ReplaceAll(edPEM, []byte("PRIVATE"), []byte("EC PRIVATE")), Ed25519},
		"block headers":  {bytes.Replace(edPEM, []byte("-----\n"), []byte("-----\nProc-Type: 4,ENCRYPTED\n\n"), 1), Ed25519},
		"not PKCS #8":    {pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("key")}), Ed25519},
		"far too large":  {bytes.Repeat([]byte("-"), 1<<20), Ed25519},
		"unknown scheme": {edPEM, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadOrCreate(Disk{}, path, c.alg, rand.Reader); !errors.Is(err, ErrKeyFile) {
				t.Errorf("got %v, want ErrKeyFile", err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, c.content) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
	if _, err := LoadOrCreate(Disk{}, t.TempDir(), Ed25519, rand.Reader); !errors.Is(err, ErrKeyFile) {
		t.Errorf("directory: got %v, want ErrKeyFile", err)
	}
}

func TestHealthNoticesBadSignatures(t *testing.T) {
	s := newKey(t, filepath.Join(t.TempDir(), "key"), Ed25519).(*key)
	s.sign = func(context.Context, []byte) ([]byte, error) { return make([]byte, ed25519.SignatureSize), nil }
	if err := s.Health(t.Context()); !errors.Is(err, ErrSignature) {
		t.Errorf("a signature that does not verify passed: %v", err)
	}
	// What a device gives is verified each time.
	s.assurance = AssurancePKCS11
	if sig, err := s.SignMessage(strings.NewReader("message")); !errors.Is(err, ErrSignature) {
		t.Errorf("got %x, %v", sig, err)
	}
}

// The two faces of a signer take what they are meant to and nothing else.
func TestHashesAreTheAlgorithms(t *testing.T) {
	digest := sha256.Sum256(nil)
	for _, alg := range algorithms {
		s := newKey(t, filepath.Join(t.TempDir(), "key"), alg)
		for _, hash := range []crypto.Hash{0, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			if _, err := s.Sign(nil, digest[:], hash); (err == nil) != (hash == hashOf(alg)) {
				t.Errorf("%v with %v: %v", alg, hash, err)
			}
		}
		if _, err := s.Sign(nil, digest[:], nil); err == nil {
			t.Errorf("%v without a hash function", alg)
		}
	}
	s := newKey(t, filepath.Join(t.TempDir(), "key"), ECDSAP256)
	if _, err := s.Sign(nil, digest[:31], crypto.SHA256); err == nil {
		t.Error("a digest of 31 bytes was signed")
	}
}

func FuzzParse(f *testing.F) {
	for _, alg := range algorithms {
		f.Add(keyPEM(f, must(generate(alg, rand.Reader))), int(alg))
	}
	sealed := must(pkcs8.MarshalPrivateKey(must(generate(Ed25519, rand.Reader)), []byte("passphrase"), &pkcs8.Opts{
		Cipher: pkcs8.AES256CBC, KDFOpts: pkcs8.ScryptOpts{SaltSize: 8, CostParameter: 2, BlockSize: 1, ParallelizationParameter: 1}}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemTypeSealed, Bytes: sealed}), int(Ed25519))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), int(Ed25519))
	f.Add([]byte{}, int(ECDSAP256))
	f.Fuzz(func(t *testing.T, data []byte, alg int) {
		parse(data, Algorithm(alg), "passphrase")
		key, err := parse(data, Algorithm(alg), "")
		if err != nil {
			return
		}
		// What parses also signs, and is what was asked for.
		s := newSoftware(key, AssuranceSoftware)
		if err := s.Health(t.Context()); err != nil {
			t.Error(err)
		}
		if _, ed := key.(ed25519.PrivateKey); ed != (Algorithm(alg) == Ed25519) {
			t.Errorf("asked for %v, got %T", Algorithm(alg), key)
		}
		if again, err := parse(keyPEM(t, key), Algorithm(alg), ""); err != nil || !equal(again.Public(), key.Public()) {
			t.Errorf("written and read again it is another key, %v", err)
		}
	})
}

func BenchmarkSignEd25519(b *testing.B) {
	key := must(generate(Ed25519, rand.Reader)).(ed25519.PrivateKey)
	s := newSoftware(key, AssuranceSoftware)
	msg := []byte("example.com/house\n123456789\nqINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=\n")
	b.Run("signer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.SignMessage(bytes.NewReader(msg)); err != nil {
				b.Fatal(err)
			}
		}
	})
	// What the wrapping costs is the difference to this.
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ed25519.Sign(key, msg)
		}
	})
}

// input is what a crypto.Signer takes for a message.
func input(alg Algorithm, msg []byte) []byte {
	if alg == Ed25519 {
		return msg
	}
	digest := sha256.Sum256(msg)
	return digest[:]
}

func hashOf(alg Algorithm) crypto.Hash {
	return map[Algorithm]crypto.Hash{Ed25519: 0, ECDSAP256: crypto.SHA256}[alg]
}

func newKey(t *testing.T, path string, alg Algorithm) Signer {
	t.Helper()
	s, err := LoadOrCreate(Disk{}, path, alg, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func createFrom(t *testing.T, alg Algorithm, source io.Reader) Signer {
	t.Helper()
	s, err := LoadOrCreate(Disk{}, filepath.Join(t.TempDir(), "key"), alg, source)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func equal(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

func onlyFile(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("directory holds %q, want %q", names, want)
	}
}

func keyPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
