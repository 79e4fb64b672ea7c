// Package signer holds the keys a house signs with: Ed25519 for checkpoints,
// ECDSA P-256 for seeds and exports. Every kind of key has the one interface,
// Signer, which is a sigstore signature.Signer that also tells what protects it.
package signer

import (
	"context"
	"crypto"

	"github.com/sigstore/sigstore/pkg/signature"
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

// Signer signs under one key. It is safe for concurrent use.
type Signer interface {
	signature.Signer
	// Public returns an ed25519.PublicKey or an *ecdsa.PublicKey.
	Public() crypto.PublicKey
	// Assurance says what protects the key: "software", or the device.
	Assurance() string
	// Health signs a message that nothing else signs and verifies the signature.
	// Asking a device for its state is not enough: a lost session still answers.
	Health(ctx context.Context) error
}
