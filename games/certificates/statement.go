package certificates

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"countroom/ledger/dsse"
	"countroom/ledger/entry"
)

// PredicateType is that of a laboratory's certificate.
const PredicateType = "urn:countroom:game-certificate:v1"

// programName is what the program is called among a statement's subjects.
const programName = "countroom"

// predicate is what a certificate says beside the digests of maths and program.
type predicate struct {
	Begins     string `json:"begins"`
	Expires    string `json:"expires"`
	Game       string `json:"game"`
	Laboratory string `json:"laboratory"`
	Release    string `json:"release"`
	Returns    string `json:"returns"`
}

// Payload is the statement that a laboratory signs.
func (c *Certificate) Payload() ([]byte, error) {
	digest := func(h [32]byte) dsse.Digest { return dsse.Digest{SHA256: hex.EncodeToString(h[:])} }
	return dsse.NewStatement(PredicateType, predicate{c.Begins.String(), c.Expires.String(), c.Game, c.Laboratory, c.Release, c.Returns},
		dsse.Subject{Name: c.Game, Digest: digest(c.Maths)}, dsse.Subject{Name: programName, Digest: digest(c.Program)})
}

// Read reads a certificate from its signed statement, whoever signed it.
func Read(signed []byte) (*dsse.Envelope, *Certificate, error) {
	e, err := dsse.Parse(signed)
	if err != nil {
		return nil, nil, err
	}
	var p predicate
	s, err := e.Statement(PredicateType, &p)
	if err != nil {
		return nil, nil, err
	}
	c := &Certificate{Game: p.Game, Laboratory: p.Laboratory, Release: p.Release, Returns: p.Returns}
	for _, t := range []struct {
		name, text string
		time       *entry.Time
	}{{"begins", p.Begins, &c.Begins}, {"expires", p.Expires, &c.Expires}} {
		if *t.time, err = entry.ParseTime(t.text); err != nil {
			return nil, nil, fmt.Errorf("%w: %s: %w", dsse.ErrFormat, t.name, err)
		}
	}
	for _, d := range []struct {
		name string
		into *[32]byte
	}{{p.Game, &c.Maths}, {programName, &c.Program}} {
		b, err := hex.DecodeString(s.Digest(d.name))
		if err != nil || len(b) != 32 {
			return nil, nil, fmt.Errorf("%w: subject %q: expected one, with its digest", dsse.ErrFormat, d.name)
		}
		*d.into = [32]byte(b)
	}
	again, err := c.Payload()
	if err != nil {
		return nil, nil, err
	}
	canonical, err := entry.Canonical(e.Payload)
	if err != nil || string(again) != string(canonical) {
		return nil, nil, fmt.Errorf("%w: expected the statement of a certificate, and nothing else in it: %s", dsse.ErrFormat, again)
	}
	return e, c, nil
}

// CheckStatement holds the signed statement against the entry: a laboratory's key signed what the entry says.
func (r *Certified) CheckStatement(public string, signed []byte) error {
	key, err := dsse.ParseKey(public)
	if err != nil {
		return err
	}
	e, c, err := Read(signed)
	if err != nil {
		return err
	}
	if err := e.Verify(key); err != nil {
		return err
	}
	if *c != r.Certificate {
		said, _ := json.Marshal(c)
		return fmt.Errorf("%w: the statement says %s", dsse.ErrFormat, said)
	}
	return nil
}
