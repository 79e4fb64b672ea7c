// Package assessment is how an examination of a house's chance enters its log: the entry, the statement about the
// report that the house's key for exports signs, and what of the one must be in the other.
//
// The statement, in its bundle, and the report are too large for an entry. They are blobs, which the entry names by
// their digests.
package assessment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/rngcert/report"
	"countroom/rngcert/verdict"
)

// PredicateType is that of statements about an examination.
const PredicateType = "urn:countroom:rng-assessment:v1"

// Names of the statement's subjects, and of the files that a house hands out.
const (
	ReportName = "report.json"
	PageName   = "report.html"
	BundleName = "assessment.sigstore.json"
	// AnswerName is the file with the receipts of the entry and of entry 0.
	AnswerName = "answer.json"
)

// ErrAssessment reports an entry, a statement and a report that do not belong together.
var ErrAssessment = errors.New("assessment")

// Game is a game whose draws were examined.
type Game struct {
	Game    string
	Maths   [32]byte // hash of its definition
	Release string
}

// Source is an entropy source that was examined.
type Source struct {
	Conditioned bool
	Name        string
}

// Assessed says that the house's chance was examined ("rng.assessed").
type Assessed struct {
	entry.Header
	Bundle        [32]byte // SHA-256 of the Sigstore bundle with the statement
	Program       [32]byte // SHA-256 of the program that was examined
	Configuration [32]byte // SHA-256 of its configuration
	Games         []Game
	Outcome       string   // of the report: "pass" or "fail"
	Page          [32]byte // SHA-256 of the report as a page
	Plan          [32]byte // SHA-256 of the report's plan, as canonical JSON
	Report        [32]byte // SHA-256 of the report
	Sources       []Source
}

// Limits of what one examination is about.
const (
	gamesMost   = 128
	sourcesMost = 32
)

// Type is "rng.assessed".
func (*Assessed) Type() string { return "rng.assessed" }

// Code visits the members.
func (r *Assessed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Hex("bundle", r.Bundle[:])
	c.Hex("code", r.Program[:])
	c.Hex("configuration", r.Configuration[:])
	entry.List(c, "games", &r.Games, gamesMost, func(c *entry.Coder, g *Game) {
		c.Object("")
		c.Text("game", &g.Game, 32)
		c.Hex("maths", g.Maths[:])
		c.Text("release", &g.Release, 32)
		c.End()
	})
	c.ID(&r.Header)
	c.Text("outcome", &r.Outcome, 16)
	c.Hex("page", r.Page[:])
	c.Hex("plan", r.Plan[:])
	c.Hex("report", r.Report[:])
	entry.List(c, "sources", &r.Sources, sourcesMost, func(c *entry.Coder, s *Source) {
		c.Object("")
		c.Bool("conditioned", &s.Conditioned)
		c.Text("name", &s.Name, 64)
		c.End()
	})
	c.Is("type", r.Type())
}

// predicate is what the statement says beside the digests of report and page.
type predicate struct {
	Origin        string          `json:"origin"`
	Code          string          `json:"code"`
	Configuration string          `json:"configuration"`
	Outcome       verdict.Outcome `json:"outcome"`
	Plan          string          `json:"plan"`
}

// New returns the entry about a report and its page, but for the digest of the bundle, and the payload to be signed
// for that.
func New(reported, page []byte) (*Assessed, []byte, error) {
	d, err := report.Parse(reported)
	if err != nil {
		return nil, nil, err
	}
	r := &Assessed{Outcome: string(d.Report.Outcome), Page: sha256.Sum256(page), Report: sha256.Sum256(reported)}
	if r.Plan, err = planHash(d); err != nil {
		return nil, nil, err
	}
	copy(r.Program[:], unhex(d.Code))
	copy(r.Configuration[:], unhex(d.Configuration))
	for _, g := range d.Games {
		r.Games = append(r.Games, Game{Game: g.Game, Maths: [32]byte(unhex(g.Maths)), Release: g.Release})
	}
	for _, s := range d.Sources {
		r.Sources = append(r.Sources, Source{Conditioned: s.Conditioned, Name: s.Name})
	}
	payload, err := r.Payload(d.Origin)
	return r, payload, err
}

// unhex reads what the report's check found to be a hash.
func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func planHash(d *report.Document) ([32]byte, error) {
	b, err := json.Marshal(d.Report.Plan)
	if err == nil {
		b, err = entry.Canonical(b)
	}
	return sha256.Sum256(b), err
}

// Payload is the statement about the report, to be signed.
func (r *Assessed) Payload(origin string) ([]byte, error) {
	subject := func(name string, digest [32]byte) dsse.Subject {
		return dsse.Subject{Name: name, Digest: dsse.Digest{SHA256: hex.EncodeToString(digest[:])}}
	}
	return dsse.NewStatement(PredicateType, r.predicate(origin), subject(ReportName, r.Report), subject(PageName, r.Page))
}

func (r *Assessed) predicate(origin string) predicate {
	return predicate{Origin: origin, Code: hex.EncodeToString(r.Program[:]), Configuration: hex.EncodeToString(r.Configuration[:]), Outcome: verdict.Outcome(r.Outcome), Plan: hex.EncodeToString(r.Plan[:])}
}

// CheckStatement holds the bundle against the entry: the key signed, for this log, what the entry says.
func (r *Assessed) CheckStatement(origin string, key dsse.Key, bundle []byte) error {
	e, err := dsse.Parse(bundle)
	if err != nil {
		return err
	}
	if err := e.Verify(key); err != nil {
		return err
	}
	want, err := r.Payload(origin)
	if err != nil {
		return err
	}
	if string(e.Payload) != string(want) {
		return fmt.Errorf("%w: the statement is %.2000q, expected %q", ErrAssessment, e.Payload, want)
	}
	return nil
}

// CheckReport holds the report against the entry, and against itself.
func (r *Assessed) CheckReport(origin string, reported []byte) error {
	d, err := report.Parse(reported)
	if err != nil {
		return err
	}
	if d.Origin != origin {
		return fmt.Errorf("%w: the report is about %q, expected %q", ErrAssessment, d.Origin, origin)
	}
	again, _, err := New(reported, nil)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		same bool
	}{
		{"code", again.Program == r.Program}, {"configuration", again.Configuration == r.Configuration}, {"outcome", again.Outcome == r.Outcome},
		{"plan", again.Plan == r.Plan}, {"games", slices.Equal(again.Games, r.Games)}, {"sources", slices.Equal(again.Sources, r.Sources)},
	} {
		if !c.same {
			return fmt.Errorf("%w: %s: expected the report's", ErrAssessment, c.what)
		}
	}
	return nil
}
