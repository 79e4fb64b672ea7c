package epoch

import (
	"strconv"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Committed binds the house to a secret ("seed.committed.v2").
type Committed struct {
	entry.Header
	Statement
	Signature []byte // by the seeds key over Statement.Message: ECDSA P-256, ASN.1 DER, over SHA-256
}

// Statement is what the seeds key signs.
type Statement struct {
	Assurance  string   // of the sealing key
	Beacon     *Beacon  // with policy beacon
	Commitment [32]byte // chance.Commitment of origin, epoch, secret and salt
	Epoch      uint64   // from 1
	Escrow     *Escrow  // if somebody outside could open the secret
	Limits     Limits
	Minimum    uint64  // the least number of independent sources that this house asks for
	Nonces     []Nonce // with policy witness, by rising name
	Policy     string  // what the outside adds at activation
	Sealed     []byte  // the secret and salt, sealed to the house's key
	Sources    []Source
}

// Source is a source of entropy that went into a secret.
type Source struct {
	Assurance   string // what vouches for it: "software", or a device
	Bytes       uint64
	Conditioned bool // its raw noise cannot be seen
	// Group names where the noise comes from: sources of one group are not
	// independent of each other.
	Group    string
	Healthy  bool
	Name     string
	Physical bool // its noise is that of a dedicated physical process
}

// Beacon is the round of a public beacon (package beacon) that will enter a seed. It
// holds all that checking the round's signature takes.
type Beacon struct {
	Chain   [32]byte // the chain's hash, which binds the members but for Round
	Genesis uint64   // Unix time of round 1
	Group   [32]byte
	ID      string
	Period  uint32 // seconds between rounds
	Public  [96]byte
	Round   uint64
}

// Nonce is a witness's commitment to what it will add to a seed.
type Nonce struct {
	Commitment [32]byte // chance.WitnessNonce.Commitment
	Key        [32]byte // of the witness: Ed25519
	Signature  [64]byte // by that key over Nonce.Message
	Witness    string
}

// Escrow is the secret sealed to parties outside, who can open it together.
type Escrow struct {
	Recipients []string // key ids
	Sealed     []byte
}

// Lengths of what the outside adds.
const (
	WitnessesMost  = 16
	recipientsMost = 8
	escrowMost     = 4096
)

// Type is "seed.committed.v2".
func (*Committed) Type() string { return "seed.committed.v2" }

// Code visits the members.
func (r *Committed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Text("assurance", &r.Assurance, 32)
	c.At(&r.Header)
	codeBeacon(c, &r.Beacon)
	c.Hex("commitment", r.Commitment[:])
	c.Uint("epoch", &r.Epoch)
	codeEscrow(c, &r.Escrow)
	c.ID(&r.Header)
	r.Limits.code(c)
	c.Uint("minimum", &r.Minimum)
	codeNonces(c, &r.Nonces)
	c.Text("policy", &r.Policy, 32)
	c.Binary("sealed", &r.Sealed, 1024)
	c.Binary("signature", &r.Signature, 256)
	codeSources(c, &r.Sources)
	c.Is("type", r.Type())
}

func (l *Limits) code(c *entry.Coder) {
	c.Object("limits")
	c.Uint("age_seconds", &l.AgeSeconds)
	c.Uint("draws", &l.Draws)
	c.Uint("reveal_delay_seconds", &l.RevealDelaySeconds)
	c.End()
}

func codeSources(c *entry.Coder, list *[]Source) {
	entry.List(c, "sources", list, 16, func(c *entry.Coder, s *Source) {
		c.Object("")
		c.Text("assurance", &s.Assurance, 32)
		c.Uint("bytes", &s.Bytes)
		c.Bool("conditioned", &s.Conditioned)
		c.Text("group", &s.Group, 32)
		c.Bool("healthy", &s.Healthy)
		c.Text("name", &s.Name, 64)
		c.Bool("physical", &s.Physical)
		c.End()
	})
}

// optional visits a member that need not be there, making room for one that is
// read.
func optional[T any](c *entry.Coder, name string, v **T, code func(*T)) {
	if !c.Optional(name, *v != nil) {
		*v = nil
		return
	}
	if *v == nil {
		*v = new(T)
	}
	c.Object(name)
	code(*v)
	c.End()
}

func codeBeacon(c *entry.Coder, v **Beacon) {
	optional(c, "beacon", v, func(b *Beacon) {
		c.Hex("chain", b.Chain[:])
		c.Uint("genesis", &b.Genesis)
		c.Hex("group", b.Group[:])
		c.Text("id", &b.ID, 64)
		c.Uint32("period", &b.Period)
		c.Hex("public", b.Public[:])
		c.Uint("round", &b.Round)
	})
}

func codeEscrow(c *entry.Coder, v **Escrow) {
	optional(c, "escrow", v, func(e *Escrow) {
		entry.List(c, "recipients", &e.Recipients, recipientsMost, func(c *entry.Coder, id *string) { c.Text("", id, 128) })
		c.Binary("sealed", &e.Sealed, escrowMost)
	})
}

func codeNonces(c *entry.Coder, list *[]Nonce) {
	if !c.Optional("nonces", len(*list) > 0) {
		*list = nil
		return
	}
	entry.List(c, "nonces", list, WitnessesMost, func(c *entry.Coder, n *Nonce) {
		c.Object("")
		c.Hex("commitment", n.Commitment[:])
		c.Hex("key", n.Key[:])
		c.Hex("signature", n.Signature[:])
		c.Text("witness", &n.Witness, 64)
		c.End()
	})
	c.Expect("nonces", len(*list) > 0, "a nonce, or no list of them")
}

// Message is the canonical JSON that the seeds key signs: the statement with
// the log's origin and a tag.
func (s *Statement) Message(origin string) ([]byte, error) {
	return entry.AppendObject(nil, &message{s, origin})
}

type message struct {
	*Statement
	origin string
}

func (m *message) Code(c *entry.Coder) {
	c.Text("assurance", &m.Assurance, 32)
	codeBeacon(c, &m.Beacon)
	c.Hex("commitment", m.Commitment[:])
	c.Uint("epoch", &m.Epoch)
	codeEscrow(c, &m.Escrow)
	m.Limits.code(c)
	c.Uint("minimum", &m.Minimum)
	codeNonces(c, &m.Nonces)
	c.Text("origin", &m.origin, 255)
	c.Text("policy", &m.Policy, 32)
	c.Binary("sealed", &m.Sealed, 1024)
	codeSources(c, &m.Sources)
	c.Is("tag", "countroom/seed-statement/v2")
}

// Message is the canonical JSON that a witness signs.
func (n *Nonce) Message(origin string, epoch uint64) ([]byte, error) {
	return entry.AppendObject(nil, &nonceMessage{n, origin, epoch})
}

type nonceMessage struct {
	*Nonce
	origin string
	epoch  uint64
}

func (m *nonceMessage) Code(c *entry.Coder) {
	c.Hex("commitment", m.Commitment[:])
	c.Uint("epoch", &m.epoch)
	c.Text("origin", &m.origin, 255)
	c.Is("tag", "countroom/nonce-statement/v1")
	c.Text("witness", &m.Witness, 64)
}

// Groups is how many independent origins the noise of healthy sources has.
func (s *Statement) Groups() uint64 {
	groups := map[string]bool{}
	for _, src := range s.Sources {
		if src.Healthy {
			groups[src.Group] = true
		}
	}
	return uint64(len(groups))
}

// check holds what does not depend on other entries.
func (s *Statement) check() error {
	if err := checkSources(s.Sources); err != nil {
		return err
	}
	if s.Minimum < 1 || s.Groups() < s.Minimum {
		return book.Broken("epoch-sources", "sources of at least "+strconv.FormatUint(max(s.Minimum, 1), 10)+" independent groups", s.Groups())
	}
	beacon, witnesses := s.Policy == PolicyBeacon, s.Policy == PolicyWitness
	switch {
	case !beacon && !witnesses && s.Policy != PolicyNone:
		return book.Broken("epoch-policy", PolicyNone+", "+PolicyWitness+" or "+PolicyBeacon, s.Policy)
	case beacon != (s.Beacon != nil):
		return book.Broken("epoch-policy", "a beacon with policy beacon, and with no other", s.Policy)
	case witnesses != (len(s.Nonces) > 0):
		return book.Broken("epoch-policy", "nonces with policy witness, and with no other", s.Policy)
	}
	return nil
}

func checkSources(sources []Source) error {
	if len(sources) == 0 {
		return book.Broken("epoch-sources", "at least one source of entropy", "none")
	}
	var bytes uint64
	for _, src := range sources {
		if !src.Healthy {
			return book.Broken("epoch-sources", "healthy sources", src.Name)
		}
		bytes += src.Bytes
	}
	if bytes < SourceBytesLeast {
		return book.Broken("epoch-sources", strconv.Itoa(SourceBytesLeast)+" bytes or more from all sources", bytes)
	}
	return nil
}
