package tlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// algCosignature is the signature type of Ed25519 cosignatures, version 1
// (c2sp.org/tlog-cosignature).
const algCosignature = 0x04

// Cosigner is the public key of a witness.
type Cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// CosignerVKey returns the verifier key name+id+key of a witness.
func CosignerVKey(name string, pub ed25519.PublicKey) (string, error) {
	if !validName(name) {
		return "", fmt.Errorf("%w key name %q, want one without spaces or +", ErrFormat, name)
	}
	if len(pub) != ed25519.PublicKeySize {
		return "", fmt.Errorf("%w witness key: %d bytes, want %d", ErrFormat, len(pub), ed25519.PublicKeySize)
	}
	key := append([]byte{algCosignature}, pub...)
	return fmt.Sprintf("%s+%08x+%s", name, cosignerHash(name, key), base64.StdEncoding.EncodeToString(key)), nil
}

func cosignerHash(name string, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte("\n"))
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// NewCosigner returns the key of a witness from exactly the form that
// CosignerVKey gives it.
func NewCosigner(vkey string) (*Cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3) // the key's base64 may hold a + of its own
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w witness key: want name+id+key", ErrFormat)
	}
	id, err := hex.DecodeString(parts[1])
	if err != nil || len(id) != 4 {
		return nil, fmt.Errorf("%w witness key: id %q, want 8 hex digits", ErrFormat, clip([]byte(parts[1])))
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature {
		return nil, fmt.Errorf("%w witness key: want an Ed25519 key for cosignatures, type 0x04", ErrFormat)
	}
	again, err := CosignerVKey(parts[0], key[1:])
	if err != nil {
		return nil, err
	}
	if again != vkey {
		return nil, fmt.Errorf("%w witness key: the id is not that of name and key", ErrFormat)
	}
	return &Cosigner{name: parts[0], hash: binary.BigEndian.Uint32(id), key: key[1:]}, nil
}

// Name is the witness's name.
func (c *Cosigner) Name() string { return c.name }

// KeyHash is the id of name and key, as it stands in signature lines.
func (c *Cosigner) KeyHash() uint32 { return c.hash }

// Public is the key itself.
func (c *Cosigner) Public() ed25519.PublicKey { return c.key }

// Cosignature is a witness's statement that, as of a time, a checkpoint is the
// largest that it has seen of a log and extends all that it saw before.
type Cosignature struct {
	Name    string
	KeyHash uint32
	Time    uint64 // Unix seconds
	Sig     [ed25519.SignatureSize]byte
}

const cosignatureBytes = 4 + 8 + ed25519.SignatureSize

// CosignedMessage is what a witness signs: a header, the time, and the text of
// the checkpoint with its last newline.
func CosignedMessage(time uint64, text []byte) []byte {
	msg := make([]byte, 0, 64+len(text))
	msg = append(msg, "cosignature/v1\ntime "...)
	msg = strconv.AppendUint(msg, time, 10)
	msg = append(msg, '\n')
	return append(msg, text...)
}

// Verify reports whether s is the witness's cosignature over a note's text.
func (c *Cosigner) Verify(text []byte, s Cosignature) bool {
	return c.matches(s) && ed25519.Verify(c.key, CosignedMessage(s.Time, text), s.Sig[:])
}

func (c *Cosigner) matches(s Cosignature) bool { return s.Name == c.name && s.KeyHash == c.hash }

// At is the cosignature's time.
func (s Cosignature) At() time.Time { return time.Unix(int64(s.Time), 0).UTC() }

// AppendLine appends the signature line of a cosignature.
func (s Cosignature) AppendLine(dst []byte) []byte {
	var raw [cosignatureBytes]byte
	b := binary.BigEndian.AppendUint32(raw[:0], s.KeyHash)
	b = binary.BigEndian.AppendUint64(b, s.Time)
	b = append(b, s.Sig[:]...)
	dst = append(dst, "— "...)
	dst = append(dst, s.Name...)
	dst = append(dst, ' ')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '\n')
}

// Text returns the text of a note, with its last newline, and its signature
// lines. It does not look into either.
func Text(msg []byte) (text, lines []byte, err error) {
	i := bytes.LastIndex(msg, []byte("\n\n"))
	if i < 0 || len(msg) == i+2 || msg[len(msg)-1] != '\n' {
		return nil, nil, fmt.Errorf("%w note: want a text, an empty line and signature lines", ErrFormat)
	}
	return msg[: i+1 : i+1], msg[i+2:], nil
}

// linesMost bounds the signature lines that are looked at, as the note package does.
const linesMost = 100

// ParseCosignatures returns those of a note's signature lines that have the
// form of a cosignature, whoever's. Lines of other forms, such as the log's own,
// are passed over; one that is no signature line at all is an error.
func ParseCosignatures(lines []byte) (list []Cosignature, err error) {
	for n := 0; len(lines) > 0; n++ {
		line, rest, ended := bytes.Cut(lines, []byte("\n"))
		lines = rest
		marked, isSig := bytes.CutPrefix(line, []byte("— "))
		name, b64, hasName := bytes.Cut(marked, []byte(" "))
		raw, err := base64.StdEncoding.DecodeString(string(b64))
		if !ended || !isSig || !hasName || !validName(string(name)) || err != nil || len(raw) < 5 || n == linesMost {
			return nil, fmt.Errorf("%w note: signature line %d: want — name base64, at most %d of them", ErrFormat, n+1, linesMost)
		}
		// The strict form, so that a line has one spelling.
		if len(raw) != cosignatureBytes || base64.StdEncoding.EncodeToString(raw) != string(b64) {
			continue
		}
		s := Cosignature{Name: string(name), KeyHash: binary.BigEndian.Uint32(raw), Time: binary.BigEndian.Uint64(raw[4:])}
		copy(s.Sig[:], raw[12:])
		if s.Time > 0 && s.Time <= math.MaxInt64 {
			list = append(list, s)
		}
	}
	return list, nil
}

// Cosigned returns the good cosignatures of the given witnesses in a note, one
// of each at most, in their order, and how many more lines have the form of a
// cosignature. A line that claims to be a given witness's and is not makes the
// whole note ErrSignature (c2sp.org/signed-note).
func Cosigned(msg []byte, by []*Cosigner) (good []Cosignature, others int, err error) {
	text, lines, err := Text(msg)
	if err != nil {
		return nil, 0, err
	}
	list, err := ParseCosignatures(lines)
	if err != nil {
		return nil, 0, err
	}
	known := make([]bool, len(list))
	for _, c := range by {
		found := false
		for i, s := range list {
			if !c.matches(s) {
				continue
			}
			known[i] = true
			if !c.Verify(text, s) {
				return nil, 0, fmt.Errorf("checkpoint: %w %s+%08x: the cosignature is not of this text and time", ErrSignature, c.name, c.hash)
			}
			if !found {
				good, found = append(good, s), true
			}
		}
	}
	for _, k := range known {
		if !k {
			others++
		}
	}
	return good, others, nil
}
