// Package beacon checks rounds of a public randomness beacon in drand's format
// (https://docs.drand.love): numbered values that a group publishes on a fixed
// schedule, each a threshold BLS signature that nobody, the group's members
// included, can know before its time or choose.
//
// One scheme is known, "bls-unchained-g1-rfc9380": signatures in G1 of BLS12-381, the
// group's key in G2, the message of a round SHA-256 of its number, hashed to the
// curve by RFC 9380.
package beacon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudflare/circl/ecc/bls12381"
)

// Scheme is the one that this package knows.
const Scheme = "bls-unchained-g1-rfc9380"

// Lengths in bytes of compressed points.
const (
	PublicKeySize = bls12381.G2SizeCompressed
	SignatureSize = bls12381.G1SizeCompressed
)

// suite separates the domain of hashing to G1 (RFC 9380, section 3.1).
const suite = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

var (
	// ErrInfo reports a description of a chain that cannot be used.
	ErrInfo = errors.New("beacon: chain description")
	// ErrSignature reports a signature that is not the group's for that round.
	ErrSignature = errors.New("beacon: the signature is not the group's")
)

// Chain is one beacon: its group's key and its schedule.
type Chain struct {
	PublicKey [PublicKeySize]byte
	Period    uint32   // seconds between rounds
	Genesis   int64    // Unix time of round 1
	Seed      [32]byte // drand's group hash
	ID        string   // "default", or the beacon's name

	key *bls12381.G2
}

// ParseInfo reads what a drand server answers to /info, and holds its hash against its
// other members.
func ParseInfo(b []byte) (*Chain, error) {
	var info struct {
		PublicKey string `json:"public_key"`
		Period    uint32 `json:"period"`
		Genesis   int64  `json:"genesis_time"`
		Hash      string `json:"hash"`
		Seed      string `json:"groupHash"`
		Scheme    string `json:"schemeID"`
		Metadata  struct {
			ID string `json:"beaconID"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInfo, err)
	}
	if info.Scheme != Scheme {
		return nil, fmt.Errorf("%w: schemeID is %q, expected %q", ErrInfo, info.Scheme, Scheme)
	}
	c := &Chain{Period: info.Period, Genesis: info.Genesis, ID: info.Metadata.ID}
	if err := unhex(c.PublicKey[:], info.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: public_key: %w", ErrInfo, err)
	}
	if err := unhex(c.Seed[:], info.Seed); err != nil {
		return nil, fmt.Errorf("%w: groupHash: %w", ErrInfo, err)
	}
	var hash [32]byte
	if err := unhex(hash[:], info.Hash); err != nil {
		return nil, fmt.Errorf("%w: hash: %w", ErrInfo, err)
	}
	if err := c.open(); err != nil {
		return nil, err
	}
	if own := c.Hash(); own != hash {
		return nil, fmt.Errorf("%w: hash is %x, the members give %x", ErrInfo, hash, own)
	}
	return c, nil
}

// unhex fills dst from exactly as many hex digits as it needs.
func unhex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("expected %d hex digits, got %d", 2*len(dst), len(s))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

// open checks the members and decodes the key.
func (c *Chain) open() error {
	if c.Period == 0 {
		return fmt.Errorf("%w: period is 0 s", ErrInfo)
	}
	if c.Genesis < 0 {
		return fmt.Errorf("%w: genesis_time is %d, before 1970", ErrInfo, c.Genesis)
	}
	key := new(bls12381.G2)
	if err := key.SetBytes(c.PublicKey[:]); err != nil {
		return fmt.Errorf("%w: public_key: %w", ErrInfo, err)
	}
	if key.IsIdentity() {
		return fmt.Errorf("%w: public_key is the point at infinity", ErrInfo)
	}
	c.key = key
	return nil
}

// New returns the chain with these members, as a log records them.
func New(publicKey [PublicKeySize]byte, period uint32, genesis int64, seed [32]byte, id string) (*Chain, error) {
	c := &Chain{PublicKey: publicKey, Period: period, Genesis: genesis, Seed: seed, ID: id}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

// Hash is the chain's name: SHA-256 of period (4 bytes), genesis (8 bytes), key, group hash and, unless it is
// "default" or empty, the beacon's name.
func (c *Chain) Hash() [32]byte {
	b := binary.BigEndian.AppendUint32(nil, c.Period)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Genesis))
	b = append(b, c.PublicKey[:]...)
	b = append(b, c.Seed[:]...)
	if c.ID != "default" {
		b = append(b, c.ID...)
	}
	return sha256.Sum256(b)
}

// At is when a round is published. Rounds count from 1.
func (c *Chain) At(round uint64) time.Time {
	return time.Unix(c.Genesis+int64(round-1)*int64(c.Period), 0).UTC()
}

// After is the first round that is published later than t.
func (c *Chain) After(t time.Time) uint64 {
	since := t.Unix() - c.Genesis
	if since < 0 {
		return 1
	}
	return uint64(since)/uint64(c.Period) + 2
}

// Verify checks a round's signature and returns the randomness it stands for: its SHA-256.
func (c *Chain) Verify(round uint64, signature [SignatureSize]byte) (randomness [32]byte, err error) {
	s := new(bls12381.G1)
	if err := s.SetBytes(signature[:]); err != nil {
		return randomness, fmt.Errorf("%w: round %d: %w", ErrSignature, round, err)
	}
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, round))
	h := new(bls12381.G1)
	h.Hash(digest[:], []byte(suite))
	// e(s, g2) = e(h, key), as one product.
	if s.IsIdentity() || !bls12381.ProdPairFrac([]*bls12381.G1{s, h}, []*bls12381.G2{bls12381.G2Generator(), c.key}, []int{1, -1}).IsIdentity() {
		return randomness, fmt.Errorf("%w: round %d", ErrSignature, round)
	}
	return sha256.Sum256(signature[:]), nil
}

// ErrRound reports what is no round of a beacon.
var ErrRound = errors.New("beacon: round")

// ParseRound reads what a drand server answers to /public/ROUND. Only Verify tells
// whether it holds.
func ParseRound(b []byte) (round uint64, signature [SignatureSize]byte, err error) {
	var text struct {
		Round     uint64 `json:"round"`
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal(b, &text); err != nil {
		return 0, signature, fmt.Errorf("%w: %w", ErrRound, err)
	}
	if err := unhex(signature[:], text.Signature); err != nil {
		return 0, signature, fmt.Errorf("%w: signature: %w", ErrRound, err)
	}
	return text.Round, signature, nil
}
