package epoch

import (
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Activated makes an epoch the one that decides draws ("seed.activated.v2"). That
// External follows from the proof is for the verifier.
type Activated struct {
	entry.Header
	Epoch     uint64
	External  []byte  // external entropy: 32 bytes, none with policy none
	Nonces    []Shown // with policy witness, as in the commitment
	Policy    string  // the policy that was carried out: the one committed to, or none in its place
	Signature []byte  // with policy beacon: of the round that the commitment names
}

// Shown is a witness's nonce.
type Shown struct {
	Nonce   [32]byte
	Witness string
}

const (
	externalSize  = 32 // chance.ExternalSize
	signatureSize = 48 // beacon.SignatureSize
)

// Type is "seed.activated.v2".
func (*Activated) Type() string { return "seed.activated.v2" }

// Code visits the members.
func (r *Activated) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.Binary("external", &r.External, externalSize)
	c.ID(&r.Header)
	if c.Optional("nonces", len(r.Nonces) > 0) {
		entry.List(c, "nonces", &r.Nonces, WitnessesMost, func(c *entry.Coder, n *Shown) {
			c.Object("")
			c.Hex("nonce", n.Nonce[:])
			c.Text("witness", &n.Witness, 64)
			c.End()
		})
		c.Expect("nonces", len(r.Nonces) > 0, "a nonce, or no list of them")
	} else {
		r.Nonces = nil
	}
	c.Text("policy", &r.Policy, 32)
	if c.Optional("signature", len(r.Signature) > 0) {
		c.Binary("signature", &r.Signature, signatureSize)
		c.Expect("signature", len(r.Signature) > 0, "a signature, or none")
	} else {
		r.Signature = nil
	}
	c.Is("type", r.Type())
}

// Downgraded reports whether less was carried out than was committed to.
func (r *Activated) Downgraded(committed string) bool {
	return r.Policy == PolicyNone && committed != PolicyNone
}

// carriedOut holds the policy and its members against the policy committed to.
func (r *Activated) carriedOut(committed string) error {
	if r.Policy != committed && !r.Downgraded(committed) {
		return book.Broken("epoch-policy", "policy "+committed+" as committed, or none in its place", r.Policy)
	}
	external, signature := 0, 0
	if r.Policy != PolicyNone {
		external = externalSize
	}
	if r.Policy == PolicyBeacon {
		signature = signatureSize
	}
	switch {
	case len(r.External) != external:
		return book.Broken("epoch-policy", strconv.Itoa(external)+" bytes of external entropy with policy "+r.Policy, len(r.External))
	case len(r.Signature) != signature:
		return book.Broken("epoch-policy", "a signature of "+strconv.Itoa(signature)+" bytes with policy "+r.Policy, len(r.Signature))
	case (r.Policy == PolicyWitness) != (len(r.Nonces) > 0):
		return book.Broken("epoch-policy", "nonces with policy witness, and with no other", r.Policy)
	}
	return nil
}
