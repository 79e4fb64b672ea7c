package cosigntest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/ledger/dsse"
)

const predicateType = "https://countroom.example/test/v1"

// signed makes a bundle about a blob, as the house does.
func signed(t *testing.T, s crypto.Signer, hash crypto.Hash, blob []byte) (bundle, pem []byte) {
	t.Helper()
	key, err := dsse.KeyOf(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := dsse.NewStatement(predicateType, map[string]string{"outcome": "pass"}, dsse.Subject{Name: "blob", Digest: dsse.SHA256(blob)})
	if err != nil {
		t.Fatal(err)
	}
	message := dsse.PAE(payload)
	if hash == crypto.SHA256 {
		sum := sha256.Sum256(message)
		message = sum[:]
	}
	sig, err := s.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	return dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, key), key.PEM()
}

// Cosign takes what we sign and nothing that was changed since, without asking
// anybody.
func TestCosignTakesOurBundles(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	blob := []byte(`{"figures":1}`)
	bundle, pem := signed(t, p256, crypto.SHA256, blob)
	if err := Verify(t, pem, bundle, blob); err != nil {
		t.Error(err)
	}
	edBundle, edPEM := signed(t, edwards, 0, blob)
	if err := Verify(t, edPEM, edBundle, blob); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
	_, otherPEM := signed(t, other, crypto.SHA256, blob)
	foreign, _ := signed(t, other, crypto.SHA256, blob)
	for name, err := range map[string]error{
		"another blob":      Verify(t, pem, bundle, append(blob, ' ')),
		"another key":       Verify(t, otherPEM, bundle, blob),
		"another's bundle":  Verify(t, pem, foreign, blob),
		"a spoiled payload": Verify(t, pem, bytes.Replace(bundle, []byte(`"payload":"ey`), []byte(`"payload":"fy`), 1), blob),
	} {
		if err == nil {
			t.Errorf("cosign takes %s", name)
		}
	}
}

// The Makefile builds the release that is looked for.
func TestMakefileBuildsIt(t *testing.T) {
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil || !strings.Contains(string(b), ".bin/cosign-"+Version+"\n") {
		t.Errorf("%v: no .bin/cosign-%s in it", err, Version)
	}
}
