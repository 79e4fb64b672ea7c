package epoch

import (
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// CommittedV1 binds the house to a secret in older logs ("seed.committed"). Of
// the statement it has neither Beacon, Escrow, Minimum nor Nonces, and of its
// sources neither Assurance, Group nor Physical.
type CommittedV1 struct {
	entry.Header
	Statement
	Signature []byte
}

// Type is "seed.committed".
func (*CommittedV1) Type() string { return "seed.committed" }

// Code visits the members.
func (r *CommittedV1) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Text("assurance", &r.Assurance, 32)
	c.At(&r.Header)
	c.Hex("commitment", r.Commitment[:])
	c.Uint("epoch", &r.Epoch)
	c.ID(&r.Header)
	r.Limits.code(c)
	c.Text("policy", &r.Policy, 32)
	c.Binary("sealed", &r.Sealed, 1024)
	c.Binary("signature", &r.Signature, 256)
	codeSourcesV1(c, &r.Sources)
	c.Is("type", r.Type())
}

func codeSourcesV1(c *entry.Coder, list *[]Source) {
	entry.List(c, "sources", list, 16, func(c *entry.Coder, s *Source) {
		c.Object("")
		c.Uint("bytes", &s.Bytes)
		c.Bool("conditioned", &s.Conditioned)
		c.Bool("healthy", &s.Healthy)
		c.Text("name", &s.Name, 64)
		c.End()
	})
}

// Message is the canonical JSON that the seeds key signed.
func (r *CommittedV1) Message(origin string) ([]byte, error) {
	return entry.AppendObject(nil, &messageV1{&r.Statement, origin})
}

type messageV1 struct {
	*Statement
	origin string
}

func (m *messageV1) Code(c *entry.Coder) {
	c.Text("assurance", &m.Assurance, 32)
	c.Hex("commitment", m.Commitment[:])
	c.Uint("epoch", &m.Epoch)
	m.Limits.code(c)
	c.Text("origin", &m.origin, 255)
	c.Text("policy", &m.Policy, 32)
	c.Binary("sealed", &m.Sealed, 1024)
	codeSourcesV1(c, &m.Sources)
	c.Is("tag", "countroom/seed-statement/v1")
}

func (r *CommittedV1) check() error {
	if err := checkSources(r.Sources); err != nil {
		return err
	}
	if r.Policy != PolicyNone {
		return book.Broken("epoch-policy", PolicyNone, r.Policy)
	}
	return nil
}

// ActivatedV1 makes an epoch the one that decides draws in older logs
// ("seed.activated"). It carries no proof, so that policy none is the only one.
type ActivatedV1 struct{ Activated }

// Type is "seed.activated".
func (*ActivatedV1) Type() string { return "seed.activated" }

// Code visits the members.
func (r *ActivatedV1) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("epoch", &r.Epoch)
	c.Binary("external", &r.External, 1024)
	c.ID(&r.Header)
	c.Text("policy", &r.Policy, 32)
	c.Is("type", r.Type())
}

func (r *ActivatedV1) carriedOut(committed string) error {
	if committed != PolicyNone || r.Policy != PolicyNone || len(r.External) != 0 {
		return book.Broken("epoch-policy", "policy "+PolicyNone+" as committed, with nothing from outside", r.Policy)
	}
	return nil
}
