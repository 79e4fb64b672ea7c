// Package dsse reads and makes what is signed beside the log: in-toto statements in DSSE envelopes, alone or in a
// Sigstore bundle, under a P-256 or Ed25519 key. It signs nothing itself.
//
//	envelope  {"payload":base64,"payloadType":"application/vnd.in-toto+json","signatures":[{"sig":base64}]}
//	signed    "DSSEv1" SP len(type) SP type SP len(payload) SP payload   (lengths in decimal)
//	bundle    {"dsseEnvelope":envelope,"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
//	           "verificationMaterial":{"publicKey":{"hint":…}}}
//
// Other members of a bundle, such as the entries of a transparency log, are passed over: the key is known from
// elsewhere. Names given twice are refused everywhere, because two readers could see two documents.
package dsse

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"countroom/ledger/entry"
)

const (
	// PayloadType is that of in-toto statements.
	PayloadType = "application/vnd.in-toto+json"
	// BundleType is the media type of a Sigstore bundle.
	BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// StatementType is that of a statement.
	StatementType = "https://in-toto.io/Statement/v1"
	// Most bounds an envelope and a bundle, in bytes.
	Most = 256 << 10
	// signaturesMost bounds the signatures that are tried.
	signaturesMost = 8
)

var (
	// ErrFormat reports bytes that are not what they should be.
	ErrFormat = errors.New("dsse: format")
	// ErrSignature reports an envelope that the key did not sign.
	ErrSignature = errors.New("dsse: signature")
)

// Envelope is a signed payload.
type Envelope struct {
	Payload    []byte
	Signatures [][]byte
}

type envelope struct {
	Payload     string `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	} `json:"signatures"`
}

// Parse reads an envelope, or the bundle that holds one.
func Parse(data []byte) (*Envelope, error) {
	if len(data) > Most {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", ErrFormat, len(data), Most)
	}
	v, err := entry.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if v.Kind != entry.KindObject {
		return nil, fmt.Errorf("%w: expected an object", ErrFormat)
	}
	var raw envelope
	if media, bundled := v.Get("mediaType"); bundled {
		if media.Kind != entry.KindString || media.Text != BundleType {
			return nil, fmt.Errorf("%w: mediaType %q, expected %s", ErrFormat, media.Text, BundleType)
		}
		var b struct {
			Envelope *envelope `json:"dsseEnvelope"`
		}
		if err := decode(&v, data, &b, "dsseEnvelope"); err != nil {
			return nil, err
		}
		if b.Envelope == nil {
			return nil, fmt.Errorf("%w: dsseEnvelope: expected one", ErrFormat)
		}
		raw = *b.Envelope
	} else if err := decode(&v, data, &raw, "payload", "payloadType", "signatures"); err != nil {
		return nil, err
	}
	return raw.open()
}

// decode reads data into a struct, once it is certain that each of the names is there as it is spelt: the library
// would take another spelling for it.
func decode(v *entry.Value, data []byte, into any, names ...string) error {
	for _, n := range names {
		if _, ok := v.Get(n); !ok {
			return fmt.Errorf("%w: %s: expected this member", ErrFormat, n)
		}
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

func (e *envelope) open() (*Envelope, error) {
	if e.PayloadType != PayloadType {
		return nil, fmt.Errorf("%w: payloadType %q, expected %s", ErrFormat, e.PayloadType, PayloadType)
	}
	if len(e.Signatures) == 0 || len(e.Signatures) > signaturesMost {
		return nil, fmt.Errorf("%w: %d signatures, expected 1 to %d", ErrFormat, len(e.Signatures), signaturesMost)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: payload: expected base64: %w", ErrFormat, err)
	}
	out := &Envelope{Payload: payload}
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil {
			return nil, fmt.Errorf("%w: sig: expected base64: %w", ErrFormat, err)
		}
		out.Signatures = append(out.Signatures, sig)
	}
	return out, nil
}

// PAE is what is signed: the pre-authentication encoding of a payload.
func PAE(payload []byte) []byte {
	b := append([]byte("DSSEv1 "), strconv.Itoa(len(PayloadType))+" "+PayloadType+" "+strconv.Itoa(len(payload))+" "...)
	return append(b, payload...)
}

// Verify reports whether one of the signatures is by the key: ErrSignature when none is.
func (e *Envelope) Verify(k Key) error {
	message := PAE(e.Payload)
	for _, sig := range e.Signatures {
		if k.verify(message, sig) {
			return nil
		}
	}
	return fmt.Errorf("%w: not by the key %s", ErrSignature, k)
}

// Bundle puts an envelope into a Sigstore bundle, whose hint names the key.
func Bundle(e *Envelope, k Key) []byte {
	type sig struct {
		Sig []byte `json:"sig"`
	}
	sigs := make([]sig, len(e.Signatures))
	for i, s := range e.Signatures {
		sigs[i].Sig = s
	}
	b, err := json.Marshal(map[string]any{
		"mediaType":            BundleType,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": k.Hint()}},
		"dsseEnvelope":         map[string]any{"payload": e.Payload, "payloadType": PayloadType, "signatures": sigs},
	})
	if err != nil {
		panic(err) // strings and bytes can be written
	}
	return append(b, '\n')
}

// Subject is something that a statement is about, by its digest.
type Subject struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
}

// Digest holds a SHA-256 in lower-case hex.
type Digest struct {
	SHA256 string `json:"sha256"`
}

// SHA256 is the digest of data.
func SHA256(data []byte) Digest {
	h := sha256.Sum256(data)
	return Digest{hex.EncodeToString(h[:])}
}

// Statement is an in-toto statement.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// NewStatement returns the payload of a statement.
func NewStatement(predicateType string, predicate any, subject ...Subject) ([]byte, error) {
	p, err := json.Marshal(predicate)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(Statement{StatementType, subject, predicateType, p})
	if err != nil {
		return nil, err
	}
	return entry.Canonical(b)
}

// Statement reads the payload as a statement of a predicate type, and its predicate, in which every name is known.
func (e *Envelope) Statement(predicateType string, predicate any) (*Statement, error) {
	v, err := entry.Parse(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: statement: %w", ErrFormat, err)
	}
	s := new(Statement)
	if v.Kind != entry.KindObject {
		return nil, fmt.Errorf("%w: statement: expected an object", ErrFormat)
	}
	if err := decode(&v, e.Payload, s, "_type", "subject", "predicateType", "predicate"); err != nil {
		return nil, err
	}
	if s.Type != StatementType {
		return nil, fmt.Errorf("%w: _type %q, expected %s", ErrFormat, s.Type, StatementType)
	}
	if s.PredicateType != predicateType {
		return nil, fmt.Errorf("%w: predicateType %q, expected %s", ErrFormat, s.PredicateType, predicateType)
	}
	for _, sub := range s.Subject {
		if b, err := hex.DecodeString(sub.Digest.SHA256); err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != sub.Digest.SHA256 {
			return nil, fmt.Errorf("%w: subject %q: digest.sha256 %q, expected 64 lower-case hex digits", ErrFormat, sub.Name, sub.Digest.SHA256)
		}
	}
	return s, Strict(s.Predicate, predicate)
}

// Strict reads JSON whose names are all known, exactly as they are spelt, and given once.
func Strict(data []byte, into any) error {
	canonical, err := entry.Canonical(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := json.Unmarshal(canonical, into); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	// What the library took for something else, or passed over, does not come back as it was.
	again, err := json.Marshal(into)
	if err == nil {
		again, err = entry.Canonical(again)
	}
	if err != nil || string(again) != string(canonical) {
		return fmt.Errorf("%w: expected every member of %T, and no other", ErrFormat, into)
	}
	return nil
}

// Digest returns the digest of the subject of a name, or "".
func (s *Statement) Digest(name string) string {
	for _, sub := range s.Subject {
		if sub.Name == name {
			return sub.Digest.SHA256
		}
	}
	return ""
}

// Key is a public key: P-256 or Ed25519.
type Key struct {
	ecdsa   *ecdsa.PublicKey
	ed25519 ed25519.PublicKey
	spki    []byte
}

// String is the key as entries have it: SubjectPublicKeyInfo in hex.
func (k Key) String() string { return hex.EncodeToString(k.spki) }

// Hint tells keys apart: the base64 of the SHA-256 of the key.
func (k Key) Hint() string {
	h := sha256.Sum256(k.spki)
	return base64.StdEncoding.EncodeToString(h[:])
}

func (k Key) verify(message, sig []byte) bool {
	if k.ecdsa != nil {
		digest := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k.ecdsa, digest[:], sig)
	}
	return len(k.ed25519) == ed25519.PublicKeySize && ed25519.Verify(k.ed25519, message, sig)
}
