package tlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is the head of a log: its tree's size and root. The origin is
// the name of the key that signs it.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

// AppendBody appends the note text of a checkpoint (c2sp.org/tlog-checkpoint):
// origin, size and base64 root, each ending in a newline.
func (c Checkpoint) AppendBody(dst []byte) []byte {
	dst = append(dst, c.Origin...)
	dst = append(dst, '\n')
	dst = strconv.AppendUint(dst, c.Size, 10)
	dst = append(dst, '\n')
	dst = base64.StdEncoding.AppendEncode(dst, c.Root[:])
	return append(dst, '\n')
}

// ParseCheckpointBody is the exact inverse of AppendBody. It takes no
// extension lines: monitors cannot audit them and this log has none.
func ParseCheckpointBody(text []byte) (Checkpoint, error) {
	lines := bytes.SplitN(text, []byte("\n"), 4)
	if len(lines) != 4 || len(lines[3]) != 0 {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: want the three lines origin, size, root", ErrFormat)
	}
	c := Checkpoint{Origin: string(lines[0])}
	if !validName(c.Origin) {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: origin %q, want a name without spaces or +", ErrFormat, clip(lines[0]))
	}
	size, err := strconv.ParseUint(string(lines[1]), 10, 64)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: size %q, want a decimal of 64 bits", ErrFormat, clip(lines[1]))
	}
	c.Size = size
	if c.Root, err = parseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: root: %v", ErrFormat, err)
	}
	if !bytes.Equal(c.AppendBody(nil), text) {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: size %q, want no sign or leading zero", ErrFormat, clip(lines[1]))
	}
	return c, nil
}

func parseHash(b64 []byte) (Hash, error) {
	var h Hash
	if len(b64) != base64.StdEncoding.EncodedLen(len(h)) {
		return h, fmt.Errorf("%d base64 characters, want 44", len(b64))
	}
	var buf [len(h) + 1]byte // 44 characters can decode to 33 bytes
	n, err := base64.StdEncoding.Strict().Decode(buf[:], b64)
	if err != nil {
		return h, err
	}
	if n != len(h) {
		return h, fmt.Errorf("%d bytes, want %d", n, len(h))
	}
	return Hash(buf[:n]), nil
}

// clip keeps error messages about outside bytes short.
func clip(b []byte) []byte { return b[:min(len(b), 100)] }

// validName holds the rules of c2sp.org/signed-note for key names, and its
// rule for notes that they have no control characters.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || r < 0x20 || r == '+'
	})
}

// VKey returns the verifier key name+id+key of an Ed25519 public key
// (c2sp.org/signed-note, type 0x01).
func VKey(name string, pub ed25519.PublicKey) (string, error) {
	if !validName(name) {
		return "", fmt.Errorf("%w key name %q, want one without spaces or +", ErrFormat, name)
	}
	return note.NewEd25519VerifierKey(name, pub)
}

// NewVerifier returns the verifier of a key in exactly the form that VKey
// gives it.
func NewVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("%w verifier key: %v", ErrFormat, err)
	}
	// The note package also reads other spellings of the key and its id.
	parts := strings.SplitN(vkey, "+", 3) // the key's base64 may hold a + of its own
	key, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil {
		return nil, fmt.Errorf("%w verifier key: %v", ErrFormat, err)
	}
	if again, err := VKey(v.Name(), key[1:]); err != nil || again != vkey {
		return nil, fmt.Errorf("%w verifier key: want name+id+key, id in lower-case hex, key in padded base64, nothing after it", ErrFormat)
	}
	return v, nil
}

type signer struct {
	note.Verifier
	sign func(msg []byte) ([]byte, error)
}

func (s *signer) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }

// NewSigner returns a note signer under an Ed25519 key that lives elsewhere:
// sign returns the 64-byte signature of msg by the private half of pub, and
// must not keep msg.
func NewSigner(name string, pub ed25519.PublicKey, sign func(msg []byte) ([]byte, error)) (note.Signer, error) {
	vkey, err := VKey(name, pub)
	if err != nil {
		return nil, err
	}
	v, err := NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &signer{v, sign}, nil
}

// Sign returns the checkpoint as a note with a signature line of each signer,
// in their order: a log has several keys while one is being exchanged. The name
// of each must be the origin.
func Sign(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	if len(signers) == 0 {
		return nil, errors.New("sign checkpoint: no key to sign with")
	}
	// Room for the three lines of the body and Ed25519 signature lines.
	msg := make([]byte, 0, (1+len(signers))*(len(c.Origin)+96)+96)
	msg = c.AppendBody(msg)
	body := msg
	msg = append(msg, '\n')
	for _, s := range signers {
		name := s.Name()
		if name != c.Origin || !validName(name) {
			return nil, fmt.Errorf("sign checkpoint: origin %q, want the key's name %q", c.Origin, name)
		}
		sig, err := s.Sign(body)
		if err != nil {
			return nil, fmt.Errorf("sign checkpoint: %w", err)
		}
		msg = append(msg, "— "...)
		msg = append(msg, name...)
		msg = append(msg, ' ')
		var raw [4 + ed25519.SignatureSize]byte
		line := append(binary.BigEndian.AppendUint32(raw[:0], s.KeyHash()), sig...)
		msg = base64.StdEncoding.AppendEncode(msg, line)
		msg = append(msg, '\n')
	}
	return msg, nil
}

// Open returns the checkpoint of a note that carries a good signature of v,
// whose name must be the origin. Signature lines of other keys, such as
// witness cosignatures, are neither needed nor checked.
func Open(msg []byte, v note.Verifier) (Checkpoint, error) {
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		if errors.As(err, &unverified) || errors.As(err, &invalid) {
			return Checkpoint{}, fmt.Errorf("checkpoint: %w %s+%08x: %v", ErrSignature, v.Name(), v.KeyHash(), err)
		}
		return Checkpoint{}, fmt.Errorf("%w checkpoint: %v", ErrFormat, err)
	}
	c, err := ParseCheckpointBody([]byte(n.Text))
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: origin %q, want the key's name %q", ErrFormat, c.Origin, v.Name())
	}
	return c, nil
}

// Peek returns what a note says, whoever signed it: for a reader who learns only
// later which keys are the log's.
func Peek(msg []byte) (Checkpoint, error) {
	_, err := note.Open(msg, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("%w checkpoint: %v", ErrFormat, err)
	}
	return ParseCheckpointBody([]byte(unverified.Note.Text))
}

// SignedUnder reports whether a note has a signature line of a name, good or
// not, and whether one is of that key.
func SignedUnder(msg []byte, v note.Verifier) (name, key bool) {
	_, err := note.Open(msg, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return false, false
	}
	for _, s := range unverified.Note.UnverifiedSigs {
		name = name || s.Name == v.Name()
		key = key || s.Name == v.Name() && s.Hash == v.KeyHash()
	}
	return name, key
}
