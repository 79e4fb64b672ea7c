package dsse

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// KeyOf takes a public key.
func KeyOf(pub crypto.PublicKey) (Key, error) {
	k := Key{}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("%w: key on %s, expected P-256 or Ed25519", ErrFormat, pub.Curve.Params().Name)
		}
		k.ecdsa = pub
	case ed25519.PublicKey:
		k.ed25519 = pub
	default:
		return Key{}, fmt.Errorf("%w: %T, expected a P-256 or Ed25519 key", ErrFormat, pub)
	}
	var err error
	if k.spki, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		return Key{}, fmt.Errorf("%w: key: %w", ErrFormat, err)
	}
	return k, nil
}

// ParseKey reads SubjectPublicKeyInfo in hex, in its one encoding.
func ParseKey(s string) (Key, error) {
	der, err := hex.DecodeString(s)
	if err != nil {
		return Key{}, fmt.Errorf("%w: key: expected hex: %w", ErrFormat, err)
	}
	k, err := parseDER(der)
	if err == nil && k.String() != s {
		err = fmt.Errorf("%w: key: expected its canonical encoding %s", ErrFormat, k)
	}
	return k, err
}

// ParsePEM reads one "PUBLIC KEY" block.
func ParsePEM(data []byte) (Key, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return Key{}, fmt.Errorf("%w: expected one PEM block PUBLIC KEY", ErrFormat)
	}
	return parseDER(block.Bytes)
}

// PEM is the key as openssl and cosign read it.
func (k Key) PEM() []byte { return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.spki}) }

func parseDER(der []byte) (Key, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("%w: key: %w", ErrFormat, err)
	}
	return KeyOf(pub)
}
