// Package pkcs11 reaches hardware security modules by PKCS #11: tokens named by
// RFC 7512 URIs, with keys that never leave them, and their random numbers.
//
// A token is logged into with the PIN in a file. A PIN that was refused is not
// tried again by this process, and none is tried when the token says that a
// failure came before: a machine that starts again and again must not lock its
// own token. A token that vanished (a pulled card, a restarted appliance) is
// looked for again with each call until it is back.
package pkcs11

import "errors"

var (
	// ErrModule reports a PKCS #11 module that cannot be loaded.
	ErrModule = errors.New("pkcs11: module cannot be used")
	// ErrNoToken reports a token that is not there, or not there any more.
	ErrNoToken = errors.New("pkcs11: token not found")
	// ErrPIN reports a PIN that was refused or is not tried.
	ErrPIN = errors.New("pkcs11: no log-in")
	// ErrNoKey reports a key that is not on the token.
	ErrNoKey = errors.New("pkcs11: key not found")
	// ErrKey reports a key that is there and cannot be used: it is of another
	// kind, could leave the token, or is not the key it was before.
	ErrKey = errors.New("pkcs11: key not usable")
	// ErrSealed reports bytes that a key did not seal, or not so.
	ErrSealed = errors.New("pkcs11: sealed bytes do not open")
)

// Kind is what a key is for.
type Kind int

const (
	// Ed25519 signs messages as RFC 8032 does: mechanism CKM_EDDSA.
	Ed25519 Kind = iota + 1
	// P256 signs SHA-256 digests with ECDSA: mechanism CKM_ECDSA.
	P256
	// AES256 encrypts with GCM: mechanism CKM_AES_GCM.
	AES256
)

// String returns the kind's name in errors.
func (k Kind) String() string {
	switch k {
	case Ed25519:
		return "Ed25519"
	case P256:
		return "ECDSA P-256"
	case AES256:
		return "AES-256"
	}
	return "unknown kind"
}

// Info is what a token says of itself.
type Info struct {
	Label, Manufacturer, Model, Serial string
	Firmware                           string // major.minor
}

// Origin is what a token says of how a key came to it and whether it ever could
// have left.
type Origin struct {
	Local            bool // made on the token, or a copy of a key that was
	AlwaysSensitive  bool
	NeverExtractable bool
}
