// Package escrow seals the secret of a seed epoch to parties outside the house,
// say a regulator and a laboratory, in layers: only together, and in order, can
// they open it, and the house is not needed.
//
//	content₀ = S ‖ salt, 32 bytes each
//	contentᵢ = HPKE(recipient i, info, contentᵢ₋₁), for i = 1 … the number of recipients
//	info     = frame("countroom/escrow/v1", origin, epoch, commitment, i, key id of each recipient, inner first)
//
// HPKE is RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256) or DHKEM(P-256,
// HKDF-SHA256) as the recipient's key is, HKDF-SHA256, AES-256-GCM; its output is
// enc ‖ ciphertext. frame is that of package chance: each field after its length,
// 4 bytes, integers as 8 bytes, big-endian. A key id is the SHA-256 of the public
// key's SubjectPublicKeyInfo, in hex.
//
// Base mode says nothing of who sealed: the statement of the epoch, which holds
// the sealed bytes, is signed by the house's seeds key. The sender's ephemeral
// keys come from the system's random source, for crypto/hpke takes no other.
package escrow

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"countroom/ledger/entry"
	"countroom/rngcert/chance"
)

var (
	// ErrKey reports bytes that are no escrow key.
	ErrKey = errors.New("escrow: not an escrow key")
	// ErrOrder reports a key whose layer is not the outermost that is left.
	ErrOrder = errors.New("escrow: not this key's turn")
	// ErrSealed reports a layer that its recipient's key does not open.
	ErrSealed = errors.New("escrow: the layer does not open")
	// ErrCommitment reports a secret that is not the one committed to.
	ErrCommitment = errors.New("escrow: not the secret that was committed to")
)

const (
	tag = "countroom/escrow/v1"
	// A secret is sealed to at least two, so that nobody opens it alone.
	recipientsLeast, recipientsMost = 2, 8

	contentMost = 1024
	keyMost     = 16 << 10
)

// Recipient is the public key of one who can take a layer off.
type Recipient struct {
	key hpke.PublicKey
	id  string
}

// ID is the key's id.
func (r *Recipient) ID() string { return r.id }

// Key is a recipient's private key.
type Key struct {
	key hpke.PrivateKey
	id  string
}

// ID is the id of the key's public half.
func (k *Key) ID() string { return k.id }

const (
	pemPublic  = "PUBLIC KEY"
	pemPrivate = "PRIVATE KEY"
)

// NewKey makes an X25519 key of 32 random bytes: PKCS #8 and SubjectPublicKeyInfo
// in PEM.
func NewKey(random [32]byte) (private, public []byte, err error) {
	k, err := ecdh.X25519().NewPrivateKey(random[:])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	spki, err := x509.MarshalPKIXPublicKey(k.PublicKey())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: spki}), nil
}

// ParseRecipient reads a public key, X25519 or P-256: SubjectPublicKeyInfo in PEM.
func ParseRecipient(text []byte) (*Recipient, error) {
	der, err := block(text, pemPublic)
	if err != nil {
		return nil, err
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return recipient(any)
}

func recipient(public any) (*Recipient, error) {
	if k, ok := public.(*ecdsa.PublicKey); ok { // what a P-256 key is read as
		on, err := k.ECDH()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		public = on
	}
	k, ok := public.(*ecdh.PublicKey)
	if !ok || k.Curve() != ecdh.X25519() && k.Curve() != ecdh.P256() {
		return nil, fmt.Errorf("%w: expected an X25519 or P-256 key, got %T", ErrKey, public)
	}
	spki, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	id := sha256.Sum256(spki)
	r := &Recipient{id: hex.EncodeToString(id[:])}
	if r.key, err = hpke.NewDHKEMPublicKey(k); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return r, nil
}

// ParseKey reads a private key: PKCS #8 in PEM.
func ParseKey(text []byte) (*Key, error) {
	der, err := block(text, pemPrivate)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	clear(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if k, ok := private.(*ecdsa.PrivateKey); ok {
		if private, err = k.ECDH(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	k, ok := private.(*ecdh.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: expected an X25519 or P-256 key, got %T", ErrKey, private)
	}
	r, err := recipient(k.PublicKey())
	if err != nil {
		return nil, err
	}
	out := &Key{id: r.id}
	if out.key, err = hpke.NewDHKEMPrivateKey(k); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return out, nil
}

func block(text []byte, typ string) ([]byte, error) {
	if len(text) > keyMost {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKey, keyMost)
	}
	b, rest := pem.Decode(text)
	if b == nil || b.Type != typ || len(b.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%w: expected one PEM block %q", ErrKey, typ)
	}
	return b.Bytes, nil
}

// Box is an escrowed secret on its way from the log to whoever opens it.
type Box struct {
	Origin     string
	Epoch      uint64
	Commitment [32]byte
	Recipients []string // key ids, inner first
	Layers     uint64   // that are still on
	Content    []byte   // S ‖ salt when none is
}

// Seal puts a layer for each recipient on the secret of an epoch, the first
// recipient's innermost.
func Seal(origin string, epoch uint64, commitment [32]byte, secret, salt [32]byte, to ...*Recipient) (*Box, error) {
	b := &Box{Origin: origin, Epoch: epoch, Commitment: commitment}
	for _, r := range to {
		if slices.Contains(b.Recipients, r.id) {
			return nil, fmt.Errorf("escrow: recipient %s is named twice: he would open the secret alone", r.id)
		}
		b.Recipients = append(b.Recipients, r.id)
	}
	if n := len(to); n < recipientsLeast || n > recipientsMost {
		return nil, fmt.Errorf("escrow: %d recipients, expected %d to %d", n, recipientsLeast, recipientsMost)
	}
	b.Content = append(append(make([]byte, 0, 64), secret[:]...), salt[:]...)
	for _, r := range to {
		b.Layers++
		sealed, err := hpke.Seal(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), b.Content)
		if b.Layers == 1 {
			clear(b.Content)
		}
		if err != nil {
			return nil, fmt.Errorf("escrow: sealing to %s: %w", r.id, err)
		}
		b.Content = sealed
	}
	return b, nil
}

// info binds a layer to its log, epoch, commitment, place and recipients.
func (b *Box) info() []byte {
	var out []byte
	field := func(f []byte) { out = append(binary.BigEndian.AppendUint32(out, uint32(len(f))), f...) }
	number := func(n uint64) { field(binary.BigEndian.AppendUint64(nil, n)) }
	field([]byte(tag))
	field([]byte(b.Origin))
	number(b.Epoch)
	field(b.Commitment[:])
	number(b.Layers)
	for _, id := range b.Recipients {
		field([]byte(id))
	}
	return out
}

// Next is the key id of who takes the next layer off.
func (b *Box) Next() string { return b.Recipients[b.Layers-1] }

// Take takes the outermost layer off with its recipient's key.
func (b *Box) Take(k *Key) (*Box, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if b.Layers == 0 {
		return nil, fmt.Errorf("%w: no layer is left", ErrOrder)
	}
	if b.Next() != k.id {
		at := slices.Index(b.Recipients, k.id)
		switch {
		case at < 0:
			return nil, fmt.Errorf("%w: key %s is none of the recipients; next is %s", ErrOrder, k.id, b.Next())
		case uint64(at) >= b.Layers:
			return nil, fmt.Errorf("%w: the layer of key %s is off already; next is %s", ErrOrder, k.id, b.Next())
		}
		return nil, fmt.Errorf("%w: before key %s comes %s", ErrOrder, k.id, b.Next())
	}
	content, err := hpke.Open(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), b.Content)
	if err != nil {
		return nil, fmt.Errorf("%w: epoch %d, layer %d, key %s: %w", ErrSealed, b.Epoch, b.Layers, k.id, err)
	}
	inner := *b
	inner.Recipients, inner.Layers, inner.Content = slices.Clone(b.Recipients), b.Layers-1, content
	return &inner, nil
}

// Secret returns the secret when no layer is left, and holds it against the
// commitment.
func (b *Box) Secret() (secret, salt [32]byte, err error) {
	if b.Layers != 0 {
		return secret, salt, fmt.Errorf("%w: %d layers are left; next is key %s", ErrOrder, b.Layers, b.Next())
	}
	if len(b.Content) != len(secret)+len(salt) {
		return secret, salt, fmt.Errorf("%w: epoch %d: %d bytes under the last layer, expected 64", ErrCommitment, b.Epoch, len(b.Content))
	}
	secret, salt = [32]byte(b.Content[:32]), [32]byte(b.Content[32:])
	if c := chance.Commitment(b.Origin, b.Epoch, secret, salt); c != b.Commitment {
		return [32]byte{}, [32]byte{}, fmt.Errorf("%w: epoch %d: they give %x, the log has %x", ErrCommitment, b.Epoch, c, b.Commitment)
	}
	return secret, salt, nil
}

func (b *Box) check() error {
	if n := len(b.Recipients); n < recipientsLeast || n > recipientsMost || b.Layers > uint64(n) {
		return fmt.Errorf("%w: %d layers for %d recipients", entry.ErrFormat, b.Layers, n)
	}
	return nil
}

// Code visits the members of a box in a file.
func (b *Box) Code(c *entry.Coder) {
	c.Hex("commitment", b.Commitment[:])
	c.Binary("content", &b.Content, contentMost)
	c.Uint("epoch", &b.Epoch)
	c.Uint("layers", &b.Layers)
	c.Text("origin", &b.Origin, 255)
	entry.List(c, "recipients", &b.Recipients, recipientsMost, func(c *entry.Coder, id *string) { c.Text("", id, 128) })
	c.Is("tag", tag)
}

// Encode writes the box as one line of canonical JSON.
func (b *Box) Encode() ([]byte, error) {
	out, err := entry.AppendObject(nil, b)
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

// Decode reads what Encode wrote.
func Decode(line []byte) (*Box, error) {
	b := new(Box)
	if err := entry.DecodeObject(bytes.TrimSuffix(line, []byte("\n")), b); err != nil {
		return nil, fmt.Errorf("escrow: %w", err)
	}
	return b, b.check()
}
