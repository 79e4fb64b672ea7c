// Package beacontest is a public beacon for tests: one whose group is a single
// key that the test knows, so that it can tell any round before its time.
package beacontest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"countroom/rngcert/beacon"

	"github.com/cloudflare/circl/ecc/bls12381"
)

// Beacon is a chain with its secret key.
type Beacon struct {
	*beacon.Chain
	key bls12381.Scalar
}

// suite is that of beacon.Scheme.
const suite = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

// New returns a beacon whose key follows from a seed.
func New(seed string, period uint32, genesis int64) *Beacon {
	b := &Beacon{}
	h := sha256.Sum256([]byte(seed))
	b.key.SetBytes(h[:])
	var public bls12381.G2
	public.ScalarMult(&b.key, bls12381.G2Generator())
	chain, err := beacon.New([beacon.PublicKeySize]byte(public.BytesCompressed()), period, genesis, h, "test")
	if err != nil {
		panic(err) // a scalar of a hash is no zero
	}
	b.Chain = chain
	return b
}

// Sign is the signature of a round.
func (b *Beacon) Sign(round uint64) [beacon.SignatureSize]byte {
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, round))
	var h bls12381.G1
	h.Hash(digest[:], []byte(suite))
	h.ScalarMult(&b.key, &h)
	return [beacon.SignatureSize]byte(h.BytesCompressed())
}

// Info is what a server of the beacon answers to /info.
func (b *Beacon) Info() []byte {
	hash := b.Hash()
	text, err := json.Marshal(map[string]any{
		"public_key": hex.EncodeToString(b.PublicKey[:]), "period": b.Period, "genesis_time": b.Genesis, "hash": hex.EncodeToString(hash[:]),
		"groupHash": hex.EncodeToString(b.Seed[:]), "schemeID": beacon.Scheme, "metadata": map[string]string{"beaconID": b.ID},
	})
	if err != nil {
		panic(err)
	}
	return text
}

// Round is what it answers to /public/ROUND.
func (b *Beacon) Round(round uint64) []byte {
	sig := b.Sign(round)
	randomness := sha256.Sum256(sig[:])
	return fmt.Appendf(nil, `{"round":%d,"randomness":"%x","signature":"%x"}`, round, randomness, sig)
}
