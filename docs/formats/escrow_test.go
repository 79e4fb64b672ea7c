package formats_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"countroom/rngcert/chance"
	"countroom/rngcert/escrow"
)

// escrowFile is copied to vectors/escrow.json.
const escrowFile = "../../rngcert/escrow/testdata/vectors.json"

type escrowVector struct {
	Keys  []string `json:"keys"`  // PKCS #8 in PEM, inner first
	Files []string `json:"files"` // with both layers, one, none
}

// The vectors are for opening: sealing draws keys, so -update makes them only
// where there are none.
func TestEscrowVectors(t *testing.T) {
	b, err := os.ReadFile(escrowFile)
	if *update && errors.Is(err, fs.ErrNotExist) {
		b, err = makeEscrowVectors(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	var list []escrowVector
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("%d vectors, want 2", len(list))
	}
	for n, v := range list {
		if len(v.Keys) != 2 || len(v.Files) != 3 {
			t.Fatalf("vector %d: %d keys and %d files", n, len(v.Keys), len(v.Files))
		}
		type box struct {
			Commitment, Content, Origin, Tag string
			Epoch, Layers                    uint64
			Recipients                       []string
		}
		var boxes []box
		for i, line := range v.Files {
			var x box
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatal(err)
			}
			boxes = append(boxes, x)
			if x.Tag != "countroom/escrow/v1" || x.Layers != uint64(2-i) {
				t.Fatalf("vector %d, file %d: %+v", n, i, x)
			}
			// And the package reads it.
			if _, err := escrow.Decode([]byte(line)); err != nil {
				t.Errorf("vector %d, file %d: %v", n, i, err)
			}
		}
		for i := range 2 {
			x := boxes[i]
			info := frame([]byte(x.Tag), []byte(x.Origin), u64(x.Epoch), unhex(t, x.Commitment), u64(x.Layers), []byte(x.Recipients[0]), []byte(x.Recipients[1]))
			key := v.Keys[x.Layers-1]
			if id := keyID(t, key); id != x.Recipients[x.Layers-1] {
				t.Errorf("vector %d: key id %s, want %s", n, id, x.Recipients[x.Layers-1])
			}
			if got := openHPKE(t, key, info, unhex(t, x.Content)); !bytes.Equal(got, unhex(t, boxes[i+1].Content)) {
				t.Errorf("vector %d, layer %d: %x, want %s", n, x.Layers, got, boxes[i+1].Content)
			}
		}
		open := boxes[2]
		plain := unhex(t, open.Content)
		sum := sha256.Sum256(frame([]byte("countroom/seed-commitment/v1"), []byte(open.Origin), u64(open.Epoch), plain[:32], plain[32:]))
		if hex.EncodeToString(sum[:]) != open.Commitment {
			t.Errorf("vector %d: %x is not the commitment", n, sum)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func privateOf(t *testing.T, text string) *ecdh.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("%s: no PEM", text)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if p256, ok := k.(*ecdsa.PrivateKey); ok {
		if k, err = p256.ECDH(); err != nil {
			t.Fatal(err)
		}
	}
	return k.(*ecdh.PrivateKey)
}

func keyID(t *testing.T, text string) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(privateOf(t, text).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(spki)
	return hex.EncodeToString(id[:])
}

// openHPKE is RFC 9180, sections 4 to 6, in base mode for the suites of
// escrow.md, written from the RFC.
func openHPKE(t *testing.T, key string, info, sealed []byte) []byte {
	t.Helper()
	private := privateOf(t, key)
	kem := []byte{0x00, 0x20}
	if private.Curve() == ecdh.P256() {
		kem = []byte{0x00, 0x10}
	}
	enc, sealed := sealed[:len(private.PublicKey().Bytes())], sealed[len(private.PublicKey().Bytes()):]
	theirs, err := private.Curve().NewPublicKey(enc)
	if err != nil {
		t.Fatal(err)
	}
	dh, err := private.ECDH(theirs)
	if err != nil {
		t.Fatal(err)
	}
	suite := []byte{}
	extract := func(salt []byte, label string, ikm []byte) []byte {
		return must(hkdf.Extract(sha256.New, slices.Concat([]byte("HPKE-v1"), suite, []byte(label), ikm), salt))
	}
	expand := func(prk []byte, label string, info []byte, length int) []byte {
		return must(hkdf.Expand(sha256.New, prk, string(slices.Concat([]byte{byte(length >> 8), byte(length)}, []byte("HPKE-v1"), suite, []byte(label), info)), length))
	}
	suite = append([]byte("KEM"), kem...)
	shared := expand(extract(nil, "eae_prk", dh), "shared_secret", slices.Concat(enc, private.PublicKey().Bytes()), 32)
	suite = slices.Concat([]byte("HPKE"), kem, []byte{0x00, 0x01, 0x00, 0x02})
	context := slices.Concat([]byte{0x00}, extract(nil, "psk_id_hash", nil), extract(nil, "info_hash", info))
	secret := extract(shared, "secret", nil)
	block := must(aes.NewCipher(expand(secret, "key", context, 32)))
	plain, err := must(cipher.NewGCM(block)).Open(nil, expand(secret, "base_nonce", context, 12), sealed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func makeEscrowVectors(t *testing.T) ([]byte, error) {
	t.Helper()
	const origin, epoch = "casino.example/log", 12
	secret, salt := sha256.Sum256([]byte("secret")), sha256.Sum256([]byte("salt"))
	x25519 := func(seed string) []byte {
		private, _, err := escrow.NewKey(sha256.Sum256([]byte(seed)))
		if err != nil {
			t.Fatal(err)
		}
		return private
	}
	p256seed := sha256.Sum256([]byte("regulator, P-256"))
	p256 := must(x509.MarshalPKCS8PrivateKey(must(ecdsa.ParseRawPrivateKey(elliptic.P256(), p256seed[:]))))
	var list []escrowVector
	for _, keys := range [][2][]byte{
		{x25519("regulator"), x25519("laboratory")},
		{pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p256}), x25519("laboratory")},
	} {
		var v escrowVector
		var to []*escrow.Recipient
		for _, k := range keys {
			v.Keys = append(v.Keys, string(k))
			spki := must(x509.MarshalPKIXPublicKey(privateOf(t, string(k)).PublicKey()))
			to = append(to, must(escrow.ParseRecipient(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))))
		}
		box := must(escrow.Seal(origin, epoch, chance.Commitment(origin, epoch, secret, salt), secret, salt, to...))
		v.Files = append(v.Files, string(must(box.Encode())))
		for _, k := range []int{1, 0} {
			box = must(box.Take(must(escrow.ParseKey(keys[k]))))
			v.Files = append(v.Files, string(must(box.Encode())))
		}
		list = append(list, v)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(list); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(escrowFile), 0o755); err != nil {
		return nil, err
	}
	return out.Bytes(), os.WriteFile(escrowFile, out.Bytes(), 0o644)
}
