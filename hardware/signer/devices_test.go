package signer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countroom/hardware/pkcs11"
	"countroom/hardware/pkcs11/softhsm"
	"countroom/hardware/signer"
	"countroom/hardware/tpm"
	"countroom/hardware/tpm/swtpm"
	"countroom/rngcert/chance"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
)

// place is where keys can be, with a URI for each algorithm that it knows.
type place struct {
	name, assurance string
	uris            map[signer.Algorithm]string
	makes           bool // keys, when it is asked to
}

func places(t *testing.T) []place {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write(t, file("passphrase"), "correct horse battery staple\n")
	hsm := softhsm.New(t)
	hsm.Add("house")
	device := swtpm.New(t)
	return []place{
		{"file", "software", map[signer.Algorithm]string{signer.Ed25519: "file:" + file("a.pem"), signer.ECDSAP256: "file:" + file("b.pem")}, true},
		{"sealed file", "software-sealed", map[signer.Algorithm]string{
			signer.Ed25519:   "file:" + file("c.pem") + "?passphrase-file=" + file("passphrase"),
			signer.ECDSAP256: "file:" + file("d.pem") + "?passphrase-file=" + file("passphrase")}, true},
		{"PKCS #11", "pkcs11", map[signer.Algorithm]string{signer.Ed25519: hsm.URI("house", "checkpoint"), signer.ECDSAP256: hsm.URI("house", "seeds")}, true},
		{"TPM", "tpm", map[signer.Algorithm]string{signer.ECDSAP256: "tpm:socket=" + device.Socket + ";handle=0x81010001"}, true},
		{"key service", "kms", plugin(t, dir), false},
	}
}

// plugin builds a program that signs for sigstore, with a key of each kind.
func plugin(t *testing.T, dir string) map[signer.Algorithm]string {
	t.Helper()
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "sigstore-kms-testkeys"), "./testdata/plugin").CombinedOutput(); err != nil {
		t.Fatalf("building the plug-in: %v\n%s", err, out)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	uris := map[signer.Algorithm]string{}
	for _, alg := range []signer.Algorithm{signer.Ed25519, signer.ECDSAP256} {
		path := filepath.Join(dir, fmt.Sprintf("service-%d.pem", alg))
		if _, err := signer.Generate(t.Context(), "file:"+path, alg, signer.Options{}); err != nil {
			t.Fatal(err)
		}
		uris[alg] = "testkeys://" + path
	}
	return uris
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func equal(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

// Wherever a key is, what it signs verifies by the standard library, sigstore,
// openssl, and as a DSSE envelope.
func TestSignaturesOfEachPlace(t *testing.T) {
	for _, p := range places(t) {
		for alg, uri := range p.uris {
			t.Run(p.name+" "+alg.String(), func(t *testing.T) {
				if p.makes {
					if _, err := signer.Open(t.Context(), uri, alg, signer.Options{}); !errors.Is(err, signer.ErrNoKey) {
						t.Errorf("before it is made: %v", err)
					}
					made, err := signer.Generate(t.Context(), uri, alg, signer.Options{})
					if err != nil {
						t.Fatal(err)
					}
					defer made.Close()
				}
				if again, err := signer.Generate(t.Context(), uri, alg, signer.Options{}); err == nil {
					again.Close()
					t.Error("a key was made over another")
				}
				s, err := signer.Open(t.Context(), uri, alg, signer.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if s.Assurance() != p.assurance {
					t.Errorf("assurance %q, want %q", s.Assurance(), p.assurance)
				}
				if err := s.Health(t.Context()); err != nil {
					t.Error(err)
				}
				for n := range 8 {
					checkSignature(t, s, bytes.Repeat([]byte("message"), n*n*10))
				}
				envelope, err := dsse.WrapSigner(s, "application/vnd.countroom.test").SignMessage(strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				verifier, err := signature.LoadVerifier(s.Public(), crypto.SHA256)
				if err != nil {
					t.Fatal(err)
				}
				if err := dsse.WrapVerifier(verifier).VerifySignature(bytes.NewReader(envelope), nil); err != nil {
					t.Errorf("DSSE: %v", err)
				}
				// Taken for another algorithm it is refused.
				other := signer.Ed25519 + signer.ECDSAP256 - alg
				if wrong, err := signer.Open(t.Context(), uri, other, signer.Options{}); err == nil || !strings.Contains(err.Error(), other.String()) {
					t.Errorf("opened for %v: %v, %v", other, wrong, err)
				}
			})
		}
	}
}

func checkSignature(t *testing.T, s signer.Signer, msg []byte) {
	t.Helper()
	sig, err := s.SignMessage(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(msg)
	var byCrypto []byte
	switch public := s.Public().(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(public, msg, sig) {
			t.Error("the standard library does not verify")
		}
		byCrypto, err = s.Sign(nil, msg, crypto.Hash(0))
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest[:], sig) {
			t.Error("the standard library does not verify")
		}
		byCrypto, err = s.Sign(nil, digest[:], crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(s.Public(), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range [][]byte{sig, byCrypto} {
		if err := verifier.VerifySignature(bytes.NewReader(one), bytes.NewReader(msg)); err != nil {
			t.Errorf("sigstore: %v", err)
		}
	}
	dir := t.TempDir()
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pub"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	write(t, filepath.Join(dir, "sig"), string(sig))
	write(t, filepath.Join(dir, "msg"), string(msg))
	args := []string{"pkeyutl", "-verify", "-pubin", "-inkey", "pub", "-rawin", "-in", "msg", "-sigfile", "sig"}
	if _, p256 := s.Public().(*ecdsa.PublicKey); p256 {
		args = append(args, "-digest", "sha256")
	} else if len(msg) == 0 {
		return // openssl 3.0 reads no empty file with -rawin for Ed25519
	}
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl (make deps installs it), %d bytes: %v\n%s", len(msg), err, out)
	}
}

// openssl reads our encrypted keys and we read its.
func TestEncryptedKeysOfOpenSSL(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("passphrase"), "one\n")
	write(t, path("other"), "two\n")
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	ours := "file:" + path("ours.pem") + "?passphrase-file=" + path("passphrase")
	s, err := signer.Generate(t.Context(), ours, signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	openssl("pkcs8", "-in", "ours.pem", "-passin", "file:passphrase", "-out", "plain.pem")
	if err := os.Chmod(path("plain.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := signer.Open(t.Context(), "file:"+path("plain.pem"), signer.ECDSAP256, signer.Options{})
	if err != nil || !equal(plain.Public(), s.Public()) {
		t.Errorf("decrypted by openssl: %v", err)
	}
	for name, how := range map[string][]string{
		"scrypt": {"-scrypt"}, "pbkdf2": {"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "600000"},
	} {
		openssl(append([]string{"pkcs8", "-topk8", "-in", "plain.pem", "-passout", "file:passphrase", "-out", name}, how...)...)
		if err := os.Chmod(path(name), 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, err := signer.Open(t.Context(), "file:"+path(name)+"?passphrase-file="+path("passphrase"), signer.ECDSAP256, signer.Options{})
		if err != nil || !equal(theirs.Public(), s.Public()) {
			t.Errorf("%s by openssl: %v", name, err)
		}
	}
	openssl("pkcs8", "-topk8", "-in", "plain.pem", "-passout", "file:passphrase", "-v2", "des3", "-out", "des3")
	openssl("pkcs8", "-topk8", "-in", "plain.pem", "-passout", "file:passphrase", "-v2", "aes-256-cbc", "-iter", "2000001", "-out", "dear")
	os.Chmod(path("des3"), 0o600)
	os.Chmod(path("dear"), 0o600)
	for uri, says := range map[string]string{
		"file:" + path("ours.pem"):                                             "give its passphrase-file",
		"file:" + path("ours.pem") + "?passphrase-file=" + path("other"):       "wrong passphrase",
		"file:" + path("ours.pem") + "?passphrase-file=" + path("none"):        "no such file",
		"file:" + path("plain.pem") + "?passphrase-file=" + path("passphrase"): "not encrypted",
		"file:" + path("des3") + "?passphrase-file=" + path("passphrase"):      "AES-256",
		"file:" + path("dear") + "?passphrase-file=" + path("passphrase"):      "iterations",
	} {
		if _, err := signer.Open(t.Context(), uri, signer.ECDSAP256, signer.Options{}); err == nil || errors.Is(err, signer.ErrNoKey) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", uri, err, says)
		}
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	for uri, says := range map[string]string{
		"": "expected file:…", "key.pem": "expected file:…", "/key.pem": "expected file:…", "ftp:key": "expected file:…",
		"file:": "a path", "file:///key": "a path", "file:a?b=c": "passphrase-file=", "file:a?": "passphrase-file=", "file:a?passphrase-file=": "passphrase-file=",
		"pkcs11:colour=red": "not known", "pkcs11:token=a": "module-path", "pkcs11:token=a;object=b?module-path=/nowhere.so": "is the device's software installed",
		"tpm:": "expected device=", "tpm:device=/nowhere;handle=0x81010001": "is there a TPM",
		"nosuchservice://key": "sigstore-kms-nosuchservice",
	} {
		if _, err := signer.Open(t.Context(), uri, signer.ECDSAP256, signer.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", uri, err, says)
		}
	}
	if _, err := signer.Open(t.Context(), "file:a", 0, signer.Options{}); err == nil {
		t.Error("no algorithm, and no error")
	}
}

// A plug-in that does not know the key says so, with what it said.
func TestKeyServiceThatFails(t *testing.T) {
	uris := plugin(t, t.TempDir())
	if _, err := signer.Open(t.Context(), "testkeys:///nowhere", signer.ECDSAP256, signer.Options{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	s, err := signer.Open(t.Context(), uris[signer.ECDSAP256], signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	if err := s.Health(t.Context()); err == nil {
		t.Error("healthy without its plug-in")
	}
}

// The token is pulled out and put back: its keys fail and come back by
// themselves.
func TestTokenPulledOut(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("house")
	for _, alg := range []signer.Algorithm{signer.Ed25519, signer.ECDSAP256} {
		s, err := signer.Generate(t.Context(), hsm.URI("house", fmt.Sprint("key", int(alg))), alg, signer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		back := hsm.Pull()
		if err := s.Health(t.Context()); err == nil {
			t.Errorf("%v: healthy without its token", alg)
		}
		back()
		for err = s.Health(t.Context()); err != nil && t.Context().Err() == nil; err = s.Health(t.Context()) {
		}
	}
}

func TestSealersOfEachPlace(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("house")
	secret, salt := [32]byte{1, 2, 3}, [32]byte{4, 5, 6}
	for uri, assurance := range map[string]string{
		"file:" + filepath.Join(t.TempDir(), "seal.key"): "software", hsm.URI("house", "seal"): "pkcs11",
	} {
		t.Run(assurance, func(t *testing.T) {
			if _, err := signer.OpenSealer(t.Context(), uri, signer.Options{}); !errors.Is(err, signer.ErrNoKey) {
				t.Errorf("before it is made: %v", err)
			}
			made, err := signer.GenerateSealer(t.Context(), uri, signer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer made.Close()
			if _, err := signer.GenerateSealer(t.Context(), uri, signer.Options{}); err == nil {
				t.Error("a key was made over another")
			}
			found, err := signer.OpenSealer(t.Context(), uri, signer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer found.Close()
			if found.Assurance() != assurance {
				t.Errorf("assurance %q", found.Assurance())
			}
			sealed, err := made.Seal([]byte("epoch 1"), secret, salt)
			if err != nil || len(sealed) != chance.SealedSize {
				t.Fatalf("%d bytes, %v", len(sealed), err)
			}
			again, err := made.Seal([]byte("epoch 1"), secret, salt)
			if err != nil || bytes.Equal(again, sealed) {
				t.Errorf("sealed alike twice, %v", err)
			}
			if a, b, err := found.Open([]byte("epoch 1"), sealed); err != nil || a != secret || b != salt {
				t.Errorf("opened %x, %x, %v", a, b, err)
			}
			for i := range sealed {
				sealed[i] ^= 1
				if _, _, err := found.Open([]byte("epoch 1"), sealed); !errors.Is(err, chance.ErrSealed) {
					t.Errorf("byte %d changed: %v", i, err)
				}
				sealed[i] ^= 1
			}
			for what, try := range map[string][]byte{"epoch 2": sealed, "epoch 1": sealed[:chance.SealedSize-1]} {
				if _, _, err := found.Open([]byte(what), try); !errors.Is(err, chance.ErrSealed) {
					t.Errorf("%s, %d bytes: %v", what, len(try), err)
				}
			}
		})
	}
	for uri, says := range map[string]string{
		"tpm:device=/dev/tpmrm0;handle=0x81010001": "lost with it", "file:a?passphrase-file=b": "no passphrase", "awskms://x": "expected file:",
		hsm.URI("other", "seal"): "shows the tokens",
	} {
		if _, err := signer.OpenSealer(t.Context(), uri, signer.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", uri, err, says)
		}
	}
	key, err := signer.Generate(t.Context(), hsm.URI("house", "seeds"), signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	if _, err := signer.OpenSealer(t.Context(), hsm.URI("house", "seeds"), signer.Options{}); !errors.Is(err, pkcs11.ErrNoKey) {
		t.Errorf("a signing key taken for a sealing key: %v", err)
	}
}

// A device that was asked and does not answer costs the caller no more than its
// context allows.
func TestCallersTimeIsHeeded(t *testing.T) {
	device := swtpm.New(t)
	s, err := signer.Generate(t.Context(), "tpm:socket="+device.Socket+";handle=0x81010001", signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Health(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	device.Stop()
	if err := s.Health(t.Context()); !errors.Is(err, tpm.ErrNoDevice) {
		t.Errorf("without power: %v", err)
	}
	device.Start()
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("with power: %v", err)
	}
}
