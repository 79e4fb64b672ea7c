package logtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"slices"

	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"golang.org/x/mod/sumdb/note"
)

// Introduction is a new key of a role with both signatures, approved of by
// nobody yet. The house can sign with it from now on, whether it is ever
// introduced or not.
func (h *House) Introduction(role string) *keys.Introduced {
	now := keys.Current(h.rows, role)
	r := &keys.Introduced{Algorithm: keys.Algorithm(role), Assurance: "pkcs11", Role: role}
	if role == system.RoleCheckpoint {
		key := ed25519.NewKeyFromSeed(h.bytes(32))
		public := key.Public().(ed25519.PublicKey)
		r.Public = must(tlog.VKey(h.cfg.Origin, public))
		h.signers[r.Public] = must(tlog.NewSigner(h.cfg.Origin, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil }))
		msg := r.Statement(h.cfg.Origin, now.Public)
		r.SignatureOld, r.SignatureNew = must(h.signers[now.Public].Sign(msg)), must(h.signers[r.Public].Sign(msg))
		return r
	}
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), h.bytes(32)))
	r.Public = spki(key)
	old := &h.seeds
	if role == system.RoleExports {
		old = &h.exports
	}
	digest := sha256.Sum256(r.Statement(h.cfg.Origin, now.Public))
	r.SignatureOld, r.SignatureNew = must((*old).Sign(nil, digest[:], crypto.SHA256)), must(key.Sign(nil, digest[:], crypto.SHA256))
	*old = key
	return r
}

// Introduce brings a new key of a role into use.
func (h *House) Introduce(role string, by ...string) uint64 {
	r := h.Introduction(role)
	h.Approve(r, by...)
	return h.Append(r)
}

// RetireKey takes a role's oldest key in force out of use.
func (h *House) RetireKey(role string, by ...string) uint64 {
	r := &keys.Retired{Public: keys.InForce(keys.List(h.rows), role)[0].Public, Reason: [32]byte(h.bytes(32)), Role: role}
	h.Approve(r, by...)
	return h.Append(r)
}

// Rotate exchanges the key of a role.
func (h *House) Rotate(role string, by ...string) {
	h.Introduce(role, by...)
	h.RetireKey(role, by...)
}

// Signer signs checkpoints under a key that the house has or had.
func (h *House) Signer(vkey string) note.Signer { return h.signers[vkey] }

// NewestVKey is the verifier key that checkpoints are signed with now.
func (h *House) NewestVKey() string {
	return keys.Current(h.rows, system.RoleCheckpoint).Public
}

// SeedsKey is what seeds are signed with now.
func (h *House) SeedsKey() *ecdsa.PrivateKey { return h.seeds }

// SetSeedsKey signs seeds with another key from now on, and returns the one
// before.
func (h *House) SetSeedsKey(k *ecdsa.PrivateKey) (before *ecdsa.PrivateKey) {
	before, h.seeds = h.seeds, k
	return before
}

// forceKey has the house sign with a key that was introduced falsely, too.
func (h *House) forceKey(index uint64, r entry.Record) {
	e, ok := r.(*keys.Introduced)
	if !ok || h.signers[e.Public] == nil || slices.ContainsFunc(keys.List(h.rows), func(k keys.Key) bool { return k.Public == e.Public }) {
		return
	}
	all := slices.Clone(keys.List(h.rows))
	h.rows.Put(keys.RingKey, &keys.Ring{Keys: append(all, keys.Key{Algorithm: e.Algorithm, Assurance: e.Assurance, Introduced: index, Public: e.Public, Role: e.Role})})
}
