package escrow_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/rngcert/chance"
	"countroom/rngcert/escrow"
)

const origin = "casino.example/log"

var secret, salt = [32]byte{1, 2, 3}, [32]byte{4, 5, 6}

type party struct {
	key *escrow.Key
	pub *escrow.Recipient
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func x25519(seed byte) party {
	private, public, err := escrow.NewKey([32]byte{1: seed})
	if err != nil {
		panic(err)
	}
	return party{must(escrow.ParseKey(private)), must(escrow.ParseRecipient(public))}
}

func p256() party {
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der, spki := must(x509.MarshalPKCS8PrivateKey(k)), must(x509.MarshalPKIXPublicKey(k.Public()))
	return party{
		must(escrow.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		must(escrow.ParseRecipient(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))),
	}
}

func sealed(t *testing.T, epoch uint64, to ...party) *escrow.Box {
	t.Helper()
	var list []*escrow.Recipient
	for _, p := range to {
		list = append(list, p.pub)
	}
	b, err := escrow.Seal(origin, epoch, chance.Commitment(origin, epoch, secret, salt), secret, salt, list...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The laboratory takes its layer off and hands on what is left; the regulator
// takes his off and has the secret.
func TestTogetherTheyOpenIt(t *testing.T) {
	for what, parties := range map[string][2]party{
		"X25519": {x25519(1), x25519(2)}, "P-256": {p256(), p256()}, "each": {p256(), x25519(3)},
	} {
		regulator, laboratory := parties[0], parties[1]
		b := sealed(t, 7, regulator, laboratory)
		if b.Next() != laboratory.key.ID() || b.Layers != 2 || b.Recipients[0] != regulator.pub.ID() || b.Recipients[1] != laboratory.pub.ID() {
			t.Errorf("%s: %+v", what, b)
		}
		if bytes.Contains(b.Content, secret[:16]) { // fewer bytes may stand in a ciphertext by chance
			t.Errorf("%s: the secret shows", what)
		}
		if _, err := b.Take(regulator.key); !errors.Is(err, escrow.ErrOrder) || !strings.Contains(err.Error(), "before key") {
			t.Errorf("%s: the regulator first: %v", what, err)
		}
		if _, _, err := b.Secret(); !errors.Is(err, escrow.ErrOrder) {
			t.Errorf("%s: sealed, and yet %v", what, err)
		}
		half, err := b.Take(laboratory.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := half.Take(laboratory.key); !errors.Is(err, escrow.ErrOrder) || !strings.Contains(err.Error(), "off already") {
			t.Errorf("%s: the laboratory alone: %v", what, err)
		}
		if half, err = escrow.Decode(must(half.Encode())); err != nil {
			t.Fatal(err)
		}
		open, err := half.Take(regulator.key)
		if err != nil {
			t.Fatal(err)
		}
		if open, err = escrow.Decode(must(open.Encode())); err != nil {
			t.Fatal(err)
		}
		if a, b, err := open.Secret(); err != nil || a != secret || b != salt {
			t.Errorf("%s: %x, %x, %v", what, a, b, err)
		}
		if _, err := open.Take(regulator.key); !errors.Is(err, escrow.ErrOrder) {
			t.Errorf("%s: no layer left: %v", what, err)
		}
		if _, err := b.Take(x25519(9).key); !errors.Is(err, escrow.ErrOrder) || !strings.Contains(err.Error(), "none of the recipients") {
			t.Errorf("%s: a stranger: %v", what, err)
		}
	}
}

// A layer that was put on for another log, epoch, commitment, place or company
// does not open.
func TestLayersAreBound(t *testing.T) {
	regulator, laboratory, other := x25519(1), x25519(2), x25519(3)
	for what, change := range map[string]func(*escrow.Box){
		"origin":     func(b *escrow.Box) { b.Origin = "casino.example/other" },
		"epoch":      func(b *escrow.Box) { b.Epoch++ },
		"commitment": func(b *escrow.Box) { b.Commitment[0] ^= 1 },
		"recipients": func(b *escrow.Box) { b.Recipients[0] = other.key.ID() },
		"more":       func(b *escrow.Box) { b.Recipients = append([]string{other.key.ID()}, b.Recipients...); b.Layers++ },
		"first byte": func(b *escrow.Box) { b.Content[0] ^= 1 },
		"last byte":  func(b *escrow.Box) { b.Content[len(b.Content)-1] ^= 1 },
		"cut":        func(b *escrow.Box) { b.Content = b.Content[:len(b.Content)-1] },
		"nothing":    func(b *escrow.Box) { b.Content = nil },
	} {
		b := sealed(t, 7, regulator, laboratory)
		change(b)
		if _, err := b.Take(laboratory.key); !errors.Is(err, escrow.ErrSealed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What a house sealed instead of its secret is found out when it is open.
func TestAnotherSecretIsFoundOut(t *testing.T) {
	regulator, laboratory := x25519(1), x25519(2)
	b, err := escrow.Seal(origin, 7, chance.Commitment(origin, 7, secret, salt), [32]byte{9}, salt, regulator.pub, laboratory.pub)
	if err != nil {
		t.Fatal(err)
	}
	open := must(must(b.Take(laboratory.key)).Take(regulator.key))
	if s, _, err := open.Secret(); !errors.Is(err, escrow.ErrCommitment) || s != [32]byte{} || !strings.Contains(err.Error(), "epoch 7") {
		t.Errorf("%x, %v", s, err)
	}
	open.Content = open.Content[:63]
	if _, _, err := open.Secret(); !errors.Is(err, escrow.ErrCommitment) {
		t.Errorf("63 bytes: %v", err)
	}
}

func TestNobodyOpensItAlone(t *testing.T) {
	one, two := x25519(1), x25519(2)
	for what, list := range map[string][]*escrow.Recipient{
		"nobody": nil, "one": {one.pub}, "one twice": {one.pub, one.pub}, "one again": {one.pub, two.pub, one.pub},
	} {
		if b, err := escrow.Seal(origin, 1, [32]byte{}, secret, salt, list...); err == nil {
			t.Errorf("%s: %+v", what, b)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	private, public, err := escrow.NewKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	der, spki := must(x509.MarshalPKCS8PrivateKey(p384)), must(x509.MarshalPKIXPublicKey(p384.Public()))
	for what, text := range map[string][]byte{
		"nothing": nil, "two": append(bytes.Clone(private), private...), "cut": private[:40], "P-384": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "public": public,
	} {
		if _, err := escrow.ParseKey(text); !errors.Is(err, escrow.ErrKey) {
			t.Errorf("private, %s: %v", what, err)
		}
	}
	for what, text := range map[string][]byte{
		"nothing": nil, "two": append(bytes.Clone(public), public...), "cut": public[:40], "P-384": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), "private": private,
	} {
		if _, err := escrow.ParseRecipient(text); !errors.Is(err, escrow.ErrKey) {
			t.Errorf("public, %s: %v", what, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	one, two := x25519(1), x25519(2)
	b := must(escrow.Seal(origin, 1, chance.Commitment(origin, 1, secret, salt), secret, salt, one.pub, two.pub))
	for _, b := range []*escrow.Box{b, must(b.Take(two.key)), must(must(b.Take(two.key)).Take(one.key))} {
		f.Add(must(b.Encode()))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		b, err := escrow.Decode(line)
		if err != nil {
			if b != nil && !errors.Is(err, entry.ErrFormat) {
				t.Error(err)
			}
			return
		}
		if again := must(b.Encode()); !bytes.Equal(bytes.TrimSuffix(again, []byte("\n")), bytes.TrimSuffix(line, []byte("\n"))) {
			t.Errorf("%s is written as %s", line, again)
		}
		if b.Layers > 0 {
			b.Next()
		}
		b.Take(two.key)
		b.Secret()
	})
}

func FuzzKeys(f *testing.F) {
	private, public, _ := escrow.NewKey([32]byte{1})
	f.Add(private)
	f.Add(public)
	f.Fuzz(func(t *testing.T, text []byte) {
		escrow.ParseRecipient(text)
		k, err := escrow.ParseKey(text)
		if err != nil {
			return
		}
		if len(k.ID()) != 64 {
			t.Errorf("id %q", k.ID())
		}
	})
}
