//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	p11 "github.com/miekg/pkcs11"
)

// Of PKCS #11 3.0, which the constants of the module's package do not know.
const (
	keyTypeEdwards      = 0x40   // CKK_EC_EDWARDS
	mechanismEdwardsGen = 0x1055 // CKM_EC_EDWARDS_KEY_PAIR_GEN
	mechanismEdDSA      = 0x1057 // CKM_EDDSA
)

const (
	gcmIVSize  = 12
	gcmTagSize = 16
)

// Curves as CKA_EC_PARAMS names them, in DER.
var (
	oidEd25519   = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
	oidP256      = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	nameEdwards  = append([]byte{0x13, 12}, "edwards25519"...) // PrintableString, as PKCS #11 3.0 writes it
	signingKinds = map[Kind]struct {
		keyType, generate uint
		params            [][]byte // the first is what keys are made with
	}{
		Ed25519: {keyTypeEdwards, mechanismEdwardsGen, [][]byte{oidEd25519, nameEdwards}},
		P256:    {p11.CKK_EC, p11.CKM_EC_KEY_PAIR_GEN, [][]byte{oidP256}},
	}
)

// Key is a private or secret key that stays on its token. It is safe for
// concurrent use.
type Key struct {
	t      *Token
	uri    URI
	kind   Kind
	public crypto.PublicKey // nil for AES256

	mu         sync.Mutex
	generation uint64
	handle     p11.ObjectHandle
}

// Find finds the one key of a kind that the URI's object and id name. A key that
// the token would give away is refused.
func (t *Token) Find(ctx context.Context, uri URI, kind Kind) (*Key, error) {
	k, err := t.newKey(uri, kind)
	if err != nil {
		return nil, err
	}
	return k, t.do(ctx, true, func(c *p11.Ctx, s p11.SessionHandle, generation uint64) error {
		_, err := k.find(c, s, generation)
		return err
	})
}

func (t *Token) newKey(uri URI, kind Kind) (*Key, error) {
	if _, signs := signingKinds[kind]; !signs && kind != AES256 {
		return nil, fmt.Errorf("pkcs11: %s: kind %d, expected Ed25519, P256 or AES256", uri, kind)
	}
	if uri.Object == "" && uri.ID == "" {
		return nil, fmt.Errorf("%w: %s: expected object, the key's label, or id", ErrNoKey, uri)
	}
	if want := map[bool]string{true: "secret-key", false: "private"}[kind == AES256]; uri.Type != "" && uri.Type != want {
		return nil, fmt.Errorf("%w: %s: type %s, expected %s for an %v key", ErrKey, uri, uri.Type, want, kind)
	}
	return &Key{t: t, uri: uri, kind: kind}, nil
}

// Generate makes a key on the token. It can be used and not taken away: it is
// sensitive and cannot be extracted. A key of that name must not be there yet.
func (t *Token) Generate(ctx context.Context, uri URI, kind Kind) (*Key, error) {
	k, err := t.newKey(uri, kind)
	if err != nil {
		return nil, err
	}
	if uri.Object == "" {
		return nil, fmt.Errorf("pkcs11: %s: expected object, the label of the new key", uri)
	}
	made := false
	return k, t.do(ctx, true, func(c *p11.Ctx, _ p11.SessionHandle, generation uint64) error {
		// Objects of the token are made in sessions of their own kind.
		s, err := c.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
		if err != nil {
			return fmt.Errorf("pkcs11: %s: C_OpenSession for writing: %w", uri, err)
		}
		defer c.CloseSession(s)
		if !made { // or the token was lost between making and finding the key
			if err := k.generate(c, s); err != nil {
				return err
			}
			made = true
		}
		_, err = k.find(c, s, generation)
		return err
	})
}

func (k *Key) generate(c *p11.Ctx, s p11.SessionHandle) error {
	taken, err := objects(c, s, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, k.uri.Object)})
	if err != nil {
		return fmt.Errorf("pkcs11: %s: %w", k.uri, err)
	}
	if len(taken) > 0 {
		return fmt.Errorf("%w: %s: the token has an object of this name already, and a key is never overwritten", ErrKey, k.uri)
	}
	id := []byte(k.uri.ID)
	if len(id) == 0 {
		if id, err = c.GenerateRandom(s, 16); err != nil {
			return fmt.Errorf("pkcs11: %s: C_GenerateRandom: %w", k.uri, err)
		}
	}
	named := func(more ...*p11.Attribute) []*p11.Attribute {
		return append([]*p11.Attribute{
			p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, k.uri.Object), p11.NewAttribute(p11.CKA_ID, id),
		}, more...)
	}
	private := func(more ...*p11.Attribute) []*p11.Attribute {
		return named(append(more, p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false))...)
	}
	if k.kind == AES256 {
		_, err := c.GenerateKey(s, mechanism(p11.CKM_AES_KEY_GEN, nil), private(
			p11.NewAttribute(p11.CKA_VALUE_LEN, 32), p11.NewAttribute(p11.CKA_ENCRYPT, true), p11.NewAttribute(p11.CKA_DECRYPT, true)))
		if err != nil {
			return fmt.Errorf("pkcs11: %s: C_GenerateKey of an %v key: %w", k.uri, k.kind, err)
		}
		return nil
	}
	kind := signingKinds[k.kind]
	_, _, err = c.GenerateKeyPair(s, mechanism(kind.generate, nil),
		named(p11.NewAttribute(p11.CKA_VERIFY, true), p11.NewAttribute(p11.CKA_EC_PARAMS, kind.params[0])),
		private(p11.NewAttribute(p11.CKA_SIGN, true)))
	if err != nil {
		return fmt.Errorf("pkcs11: %s: C_GenerateKeyPair of an %v key: %w", k.uri, k.kind, err)
	}
	return nil
}

func mechanism(code uint, parameter any) []*p11.Mechanism {
	return []*p11.Mechanism{p11.NewMechanism(code, parameter)}
}

// objects are at most two of those that a template fits: one is wanted.
func objects(c *p11.Ctx, s p11.SessionHandle, template []*p11.Attribute) ([]p11.ObjectHandle, error) {
	if err := c.FindObjectsInit(s, template); err != nil {
		return nil, fmt.Errorf("C_FindObjectsInit: %w", err)
	}
	found, _, err := c.FindObjects(s, 2)
	if err != nil {
		return nil, fmt.Errorf("C_FindObjects: %w", err)
	}
	if err := c.FindObjectsFinal(s); err != nil {
		return nil, fmt.Errorf("C_FindObjectsFinal: %w", err)
	}
	return found, nil
}

// find returns the key's handle, which lives as long as the module is not
// initialised anew.
func (k *Key) find(c *p11.Ctx, s p11.SessionHandle, generation uint64) (p11.ObjectHandle, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.generation == generation {
		return k.handle, nil
	}
	handle, public, err := k.look(c, s)
	if err != nil {
		return 0, err
	}
	if k.public != nil && !k.public.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
		return 0, fmt.Errorf("%w: %s: the token came back with another key of this name", ErrKey, k.uri)
	}
	k.public, k.handle, k.generation = public, handle, generation
	return handle, nil
}

func (k *Key) look(c *p11.Ctx, s p11.SessionHandle) (p11.ObjectHandle, crypto.PublicKey, error) {
	one := func(class uint) (p11.ObjectHandle, error) {
		template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, class)}
		if k.uri.Object != "" {
			template = append(template, p11.NewAttribute(p11.CKA_LABEL, k.uri.Object))
		}
		if k.uri.ID != "" {
			template = append(template, p11.NewAttribute(p11.CKA_ID, []byte(k.uri.ID)))
		}
		found, err := objects(c, s, template)
		what := map[uint]string{p11.CKO_PRIVATE_KEY: "private key", p11.CKO_PUBLIC_KEY: "public key beside the private one", p11.CKO_SECRET_KEY: "secret key"}[class]
		switch {
		case err != nil:
			return 0, fmt.Errorf("pkcs11: %s: %w", k.uri, err)
		case len(found) == 0:
			return 0, fmt.Errorf("%w: %s: the token has no %s of this name", ErrNoKey, k.uri, what)
		case len(found) > 1:
			return 0, fmt.Errorf("%w: %s: the token has more than one %s of this name: add id", ErrKey, k.uri, what)
		}
		return found[0], nil
	}
	if k.kind == AES256 {
		handle, err := one(p11.CKO_SECRET_KEY)
		if err != nil {
			return 0, nil, err
		}
		got, err := attributes(c, s, handle, p11.CKA_KEY_TYPE, p11.CKA_VALUE_LEN)
		if err != nil {
			return 0, nil, fmt.Errorf("pkcs11: %s: %w", k.uri, err)
		}
		if number(got[0]) != p11.CKK_AES || number(got[1]) != 32 {
			return 0, nil, fmt.Errorf("%w: %s: expected an AES key of 32 bytes", ErrKey, k.uri)
		}
		return handle, nil, k.stays(c, s, handle)
	}
	handle, err := one(p11.CKO_PRIVATE_KEY)
	if err != nil {
		return 0, nil, err
	}
	kind := signingKinds[k.kind]
	got, err := attributes(c, s, handle, p11.CKA_KEY_TYPE)
	if err != nil {
		return 0, nil, fmt.Errorf("pkcs11: %s: %w", k.uri, err)
	}
	if number(got[0]) != kind.keyType {
		return 0, nil, fmt.Errorf("%w: %s: key type %#x, expected an %v key", ErrKey, k.uri, number(got[0]), k.kind)
	}
	if err := k.stays(c, s, handle); err != nil {
		return 0, nil, err
	}
	beside, err := one(p11.CKO_PUBLIC_KEY)
	if err != nil {
		return 0, nil, err
	}
	if got, err = attributes(c, s, beside, p11.CKA_EC_PARAMS, p11.CKA_EC_POINT); err != nil {
		return 0, nil, fmt.Errorf("pkcs11: %s: %w", k.uri, err)
	}
	known := false
	for _, p := range kind.params {
		known = known || bytes.Equal(p, got[0])
	}
	if !known {
		return 0, nil, fmt.Errorf("%w: %s: curve %x, expected an %v key", ErrKey, k.uri, got[0], k.kind)
	}
	public, err := parsePoint(k.kind, got[1])
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s: %w", ErrKey, k.uri, err)
	}
	return handle, public, nil
}

// stays demands that the key cannot be taken off the token.
func (k *Key) stays(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) error {
	got, err := attributes(c, s, handle, p11.CKA_SENSITIVE, p11.CKA_EXTRACTABLE)
	if err != nil {
		return fmt.Errorf("pkcs11: %s: %w", k.uri, err)
	}
	if !truth(got[0]) || truth(got[1]) {
		return fmt.Errorf("%w: %s: the token would give this key away: expected CKA_SENSITIVE true and CKA_EXTRACTABLE false", ErrKey, k.uri)
	}
	return nil
}

func attributes(c *p11.Ctx, s p11.SessionHandle, o p11.ObjectHandle, types ...uint) ([][]byte, error) {
	var ask []*p11.Attribute
	for _, t := range types {
		ask = append(ask, p11.NewAttribute(t, nil))
	}
	got, err := c.GetAttributeValue(s, o, ask)
	if err != nil {
		return nil, fmt.Errorf("C_GetAttributeValue: %w", err)
	}
	if len(got) != len(types) {
		return nil, fmt.Errorf("C_GetAttributeValue: %d attributes, expected %d", len(got), len(types))
	}
	var values [][]byte
	for _, a := range got {
		values = append(values, a.Value)
	}
	return values, nil
}

// number reads a CK_ULONG, whose bytes are in this machine's order. What is no
// CK_ULONG is none of the numbers that are looked for.
func number(b []byte) uint {
	switch len(b) {
	case 4:
		return uint(binary.NativeEndian.Uint32(b))
	case 8:
		return uint(binary.NativeEndian.Uint64(b))
	}
	return ^uint(0)
}

func truth(b []byte) bool { return len(b) == 1 && b[0] != 0 }

// parsePoint reads CKA_EC_POINT: the point in a DER OCTET STRING, or, from
// devices that read the standard otherwise, in a BIT STRING or bare.
func parsePoint(kind Kind, b []byte) (crypto.PublicKey, error) {
	size := map[Kind]int{Ed25519: ed25519.PublicKeySize, P256: 65}[kind]
	switch {
	case len(b) == size:
	case len(b) == size+2 && b[0] == 0x04 && int(b[1]) == size:
		b = b[2:]
	case len(b) == size+3 && b[0] == 0x03 && int(b[1]) == size+1 && b[2] == 0:
		b = b[3:]
	default:
		return nil, fmt.Errorf("CKA_EC_POINT of %d bytes, expected a point of %d bytes in an OCTET STRING", len(b), size)
	}
	if kind == Ed25519 {
		return ed25519.PublicKey(bytes.Clone(b)), nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return nil, fmt.Errorf("CKA_EC_POINT: %w", err)
	}
	return public, nil
}

// Public is an ed25519.PublicKey, an *ecdsa.PublicKey, or nil for AES256.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Origin asks the token where the key came from.
func (k *Key) Origin(ctx context.Context) (o Origin, err error) {
	return o, k.use(ctx, func(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) error {
		got, err := attributes(c, s, handle, p11.CKA_LOCAL, p11.CKA_ALWAYS_SENSITIVE, p11.CKA_NEVER_EXTRACTABLE)
		if err != nil {
			return fmt.Errorf("pkcs11: %s: %w", k.uri, err)
		}
		o = Origin{Local: truth(got[0]), AlwaysSensitive: truth(got[1]), NeverExtractable: truth(got[2])}
		return nil
	})
}

func (k *Key) use(ctx context.Context, f func(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) error) error {
	return k.t.do(ctx, true, func(c *p11.Ctx, s p11.SessionHandle, generation uint64) error {
		handle, err := k.find(c, s, generation)
		if err != nil {
			return err
		}
		return f(c, s, handle)
	})
}

// Sign signs a message with an Ed25519 key, or a digest with a P256 key. Both
// signatures are 64 bytes; that of P256 is r ‖ s.
func (k *Key) Sign(ctx context.Context, message []byte) (signature []byte, err error) {
	code := map[Kind]uint{Ed25519: mechanismEdDSA, P256: p11.CKM_ECDSA}[k.kind]
	if code == 0 {
		return nil, fmt.Errorf("%w: %s: an %v key signs nothing", ErrKey, k.uri, k.kind)
	}
	message = bytes.Clone(message) // the device may still read it when the caller has given up
	err = k.use(ctx, func(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) (err error) {
		if err := c.SignInit(s, mechanism(code, nil), handle); err != nil {
			return fmt.Errorf("pkcs11: %s: C_SignInit: %w", k.uri, err)
		}
		if signature, err = c.Sign(s, message); err != nil {
			return fmt.Errorf("pkcs11: %s: C_Sign: %w", k.uri, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(signature) != 64 {
		return nil, fmt.Errorf("pkcs11: %s: C_Sign gave %d bytes, expected 64", k.uri, len(signature))
	}
	return signature, nil
}

// Seal encrypts with an AES256 key and GCM. The iv is drawn from the token's
// random numbers; a device that insists on one of its own has it in the answer.
func (k *Key) Seal(ctx context.Context, plain, additional []byte) (iv, sealed []byte, err error) {
	if k.kind != AES256 {
		return nil, nil, fmt.Errorf("%w: %s: an %v key seals nothing", ErrKey, k.uri, k.kind)
	}
	plain, additional = bytes.Clone(plain), bytes.Clone(additional)
	err = k.use(ctx, func(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) error {
		proposed, err := c.GenerateRandom(s, gcmIVSize)
		if err != nil {
			return fmt.Errorf("pkcs11: %s: C_GenerateRandom: %w", k.uri, err)
		}
		params := p11.NewGCMParams(proposed, additional, 8*gcmTagSize)
		defer params.Free()
		if err := c.EncryptInit(s, mechanism(p11.CKM_AES_GCM, params), handle); err != nil {
			return fmt.Errorf("pkcs11: %s: C_EncryptInit: %w", k.uri, err)
		}
		if sealed, err = c.Encrypt(s, plain); err != nil {
			return fmt.Errorf("pkcs11: %s: C_Encrypt: %w", k.uri, err)
		}
		iv = params.IV()
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if len(iv) != gcmIVSize || len(sealed) != len(plain)+gcmTagSize {
		return nil, nil, fmt.Errorf("pkcs11: %s: C_Encrypt gave an iv of %d and %d bytes, expected %d and %d", k.uri, len(iv), len(sealed), gcmIVSize, len(plain)+gcmTagSize)
	}
	return iv, sealed, nil
}

// unsealed is what devices answer to a tag that does not fit; SoftHSM's is the
// general error.
var unsealed = []p11.Error{p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE, p11.CKR_SIGNATURE_INVALID, p11.CKR_FUNCTION_FAILED, p11.CKR_GENERAL_ERROR}

// Open undoes Seal.
func (k *Key) Open(ctx context.Context, iv, sealed, additional []byte) (plain []byte, err error) {
	if k.kind != AES256 {
		return nil, fmt.Errorf("%w: %s: an %v key opens nothing", ErrKey, k.uri, k.kind)
	}
	if len(iv) != gcmIVSize || len(sealed) < gcmTagSize {
		return nil, fmt.Errorf("%w: an iv of %d and %d bytes, expected %d and at least %d", ErrSealed, len(iv), len(sealed), gcmIVSize, gcmTagSize)
	}
	iv, sealed, additional = bytes.Clone(iv), bytes.Clone(sealed), bytes.Clone(additional)
	err = k.use(ctx, func(c *p11.Ctx, s p11.SessionHandle, handle p11.ObjectHandle) (err error) {
		params := p11.NewGCMParams(iv, additional, 8*gcmTagSize)
		defer params.Free()
		if err := c.DecryptInit(s, mechanism(p11.CKM_AES_GCM, params), handle); err != nil {
			return fmt.Errorf("pkcs11: %s: C_DecryptInit: %w", k.uri, err)
		}
		if plain, err = c.Decrypt(s, sealed); err != nil {
			if code := p11.Error(0); errors.As(err, &code) && slices.Contains(unsealed, code) {
				return fmt.Errorf("%w: %s: C_Decrypt: %w", ErrSealed, k.uri, err)
			}
			return fmt.Errorf("pkcs11: %s: C_Decrypt: %w", k.uri, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(plain) != len(sealed)-gcmTagSize {
		return nil, fmt.Errorf("pkcs11: %s: C_Decrypt gave %d bytes, expected %d", k.uri, len(plain), len(sealed)-gcmTagSize)
	}
	return plain, nil
}
