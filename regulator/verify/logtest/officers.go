package logtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"slices"

	"countroom/ledger/entry"
	"countroom/ledger/officers"
)

// Officer is somebody with a key. It follows from the name, and so that both
// kinds occur, names of odd length have a P-256 key.
type Officer struct {
	Name, Algorithm string
	Public          []byte
	key             crypto.Signer
}

// OfficerOf returns the officer of a name.
func OfficerOf(name string) *Officer {
	seed := sha256.Sum256([]byte("logtest officer " + name))
	if len(name)%2 == 0 {
		key := ed25519.NewKeyFromSeed(seed[:])
		return &Officer{name, officers.Ed25519, key.Public().(ed25519.PublicKey), key}
	}
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:]))
	return &Officer{name, officers.ECDSAP256, must(x509.MarshalPKIXPublicKey(key.Public())), key}
}

// Sign signs a message.
func (o *Officer) Sign(msg []byte) []byte {
	if o.Algorithm == officers.Ed25519 {
		return must(o.key.Sign(nil, msg, crypto.Hash(0)))
	}
	digest := sha256.Sum256(msg)
	return must(o.key.Sign(nil, digest[:], crypto.SHA256)) // deterministic, RFC 6979
}

// Approve gives an entry the approvals of officers, and the header of the
// request that they make together.
func (h *House) Approve(r officers.Approved, by ...string) {
	list := []officers.Approval{}
	for _, name := range slices.Sorted(slices.Values(by)) {
		list = append(list, officers.Approval{Officer: name, Signature: OfficerOf(name).Sign(officers.Message(h.cfg.Origin, r.Type(), r.Subject()))})
	}
	*r.Approval() = list
	*r.Head() = entry.Header{Actor: officers.Actor(r), Request: h.Request("operator")}
}

// Enrol makes somebody an officer; nobody approves of the first two.
func (h *House) Enrol(name string, by ...string) uint64 {
	o := OfficerOf(name)
	r := &officers.Enrolled{Algorithm: o.Algorithm, Officer: name, Public: o.Public}
	h.Approve(r, by...)
	return h.Append(r)
}

// RetireOfficer takes an officer's signature out of use.
func (h *House) RetireOfficer(name string, by ...string) uint64 {
	r := &officers.Retired{Officer: name}
	h.Approve(r, by...)
	return h.Append(r)
}

// Officers are the two that a house begins with.
func (h *House) Officers() (first, second string) {
	h.Enrol("anna")
	h.Enrol("berta")
	return "anna", "berta"
}
