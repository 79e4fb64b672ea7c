// Package drbg is HMAC_DRBG with SHA-256, the deterministic random bit
// generator of NIST SP 800-90A Rev. 1, section 10.1.2, at security strength 256.
//
// It has no entropy source of its own and no prediction resistance flag: a
// caller who wants prediction resistance reseeds before it generates.
package drbg

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// Limits of this implementation. SP 800-90A, table 2, allows longer inputs
// (2^32 bytes); nothing here needs them.
const (
	// MinEntropy is the least entropy input, in bytes: the security strength.
	MinEntropy = 32
	// MinNonce is the least nonce, in bytes: half the security strength.
	MinNonce = 16
	// MaxInput bounds each input, in bytes.
	MaxInput = 1 << 16
	// MaxRequest bounds what one Generate returns, in bytes.
	MaxRequest = 1 << 16
	// ReseedInterval is the number of Generate calls between seedings.
	ReseedInterval = 1 << 48
)

var (
	// ErrReseedRequired reports that ReseedInterval is used up.
	ErrReseedRequired = errors.New("drbg: reseed required")
	// ErrNotInstantiated reports a DRBG that New did not make or Destroy ended.
	ErrNotInstantiated = errors.New("drbg: not instantiated")
	// ErrLength reports an input or a request of a length outside the limits.
	ErrLength = errors.New("drbg: length out of limits")
)

// DRBG is one instantiation. It is not safe for concurrent use.
type DRBG struct {
	k, v [sha256.Size]byte
	// calls is reseed_counter: 1 after a seeding, 0 only when not instantiated.
	calls uint64
}

// New instantiates from MinEntropy or more bytes of entropy input, MinNonce or
// more of nonce, and an optional personalisation string (section 10.1.2.3).
func New(entropy, nonce, personalisation []byte) (*DRBG, error) {
	if err := checkLength("entropy input", entropy, MinEntropy); err != nil {
		return nil, err
	}
	if err := checkLength("nonce", nonce, MinNonce); err != nil {
		return nil, err
	}
	if err := checkLength("personalisation string", personalisation, 0); err != nil {
		return nil, err
	}
	d := &DRBG{calls: 1}
	for i := range d.v {
		d.v[i] = 0x01
	}
	d.update(entropy, nonce, personalisation)
	return d, nil
}

// Reseed mixes in fresh entropy input and optional additional input (section
// 10.1.2.4).
func (d *DRBG) Reseed(entropy, additional []byte) error {
	if d.calls == 0 {
		return ErrNotInstantiated
	}
	if err := checkLength("entropy input", entropy, MinEntropy); err != nil {
		return err
	}
	if err := checkLength("additional input", additional, 0); err != nil {
		return err
	}
	d.update(entropy, additional)
	d.calls = 1
	return nil
}

// Generate fills out, at most MaxRequest bytes, with optional additional input
// (section 10.1.2.5). On an error out is not touched.
func (d *DRBG) Generate(out, additional []byte) error {
	if d.calls == 0 {
		return ErrNotInstantiated
	}
	if len(out) > MaxRequest {
		return fmt.Errorf("%w: request of %d bytes, at most %d", ErrLength, len(out), MaxRequest)
	}
	if err := checkLength("additional input", additional, 0); err != nil {
		return err
	}
	if d.calls > ReseedInterval {
		return ErrReseedRequired
	}
	if len(additional) > 0 {
		d.update(additional)
	}
	for len(out) > 0 {
		d.v = sum(d.k, d.v[:])
		out = out[copy(out, d.v[:]):]
	}
	d.update(additional)
	d.calls++
	return nil
}

// Destroy overwrites the state; every later call fails (section 9.4,
// uninstantiate).
func (d *DRBG) Destroy() { *d = DRBG{} }

// update is HMAC_DRBG_Update (section 10.1.2.2) over the concatenated parts.
func (d *DRBG) update(parts ...[]byte) {
	given := false
	for _, p := range parts {
		given = given || len(p) > 0
	}
	for _, separator := range []byte{0x00, 0x01} {
		d.k = sum(d.k, append([][]byte{d.v[:], {separator}}, parts...)...)
		d.v = sum(d.k, d.v[:])
		if !given {
			return
		}
	}
}

// sum is HMAC-SHA256 under k over the concatenated parts.
func sum(k [sha256.Size]byte, parts ...[]byte) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, k[:])
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(mac[:0])
	return mac
}

func checkLength(name string, b []byte, least int) error {
	if len(b) < least || len(b) > MaxInput {
		return fmt.Errorf("%w: %s of %d bytes, want %d to %d", ErrLength, name, len(b), least, MaxInput)
	}
	return nil
}

// SelfTest runs a known-answer test through instantiate, reseed and generate,
// as SP 800-90A, section 11.3, asks before first use. The values are the first
// HMAC_DRBG SHA-256 case with reseed of the NIST CAVP vectors (CAVS 14.3).
func SelfTest() error { return selfTest(New) }

func selfTest(instantiate func(entropy, nonce, personalisation []byte) (*DRBG, error)) error {
	entropy, _ := hex.DecodeString("06032cd5eed33f39265f49ecb142c511da9aff2af71203bffaf34a9ca5bd9c0d")
	nonce, _ := hex.DecodeString("0e66f71edc43e42a45ad3c6fc6cdc4df")
	fresh, _ := hex.DecodeString("01920a4e669ed3a85ae8a33b35a74ad7fb2a6bb4cf395ce00334a9c9a5a5d552")
	want, _ := hex.DecodeString("76fc79fe9b50beccc991a11b5635783a83536add03c157fb30645e611c2898bb" +
		"2b1bc215000209208cd506cb28da2a51bdb03826aaf2bd2335d576d519160842" +
		"e7158ad0949d1a9ec3e66ea1b1a064b005de914eac2e9d4f2d72a8616a802254" +
		"22918250ff66a41bd2f864a6a38cc5b6499dc43f7f2bd09e1e0f8f5885935124")
	d, err := instantiate(entropy, nonce, nil)
	if err != nil {
		return fmt.Errorf("drbg: self-test: %w", err)
	}
	if err := d.Reseed(fresh, nil); err != nil {
		return fmt.Errorf("drbg: self-test: %w", err)
	}
	got := make([]byte, len(want))
	// The published answer is that of the second call.
	for range 2 {
		if err := d.Generate(got, nil); err != nil {
			return fmt.Errorf("drbg: self-test: %w", err)
		}
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return errors.New("drbg: self-test: known answer not reproduced")
	}
	return nil
}
