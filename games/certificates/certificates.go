// Package certificates is the book of what may be played in earnest: the laboratories that the house goes by, the
// games that they certified, whether the house is in production, and whether the program that runs is the one that
// it says it is.
//
// A certificate is a laboratory's signed statement about one release of one game, by the hash of its maths, played
// by one program, by the hash of its file, for some time. In production each round and each enabling of a game needs
// one that is in force. A house that never said that it is in production is a demonstration, and needs none.
package certificates

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"countroom/games/rounds"
	"countroom/ledger/book"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/system"
)

// Refusals.
var (
	ErrUncertified = errors.New("no certificate is in force for this game's maths and the running program")
	ErrUnverified  = errors.New("the running program was not found to be the one that the log says")
	ErrLaboratory  = errors.New("not a laboratory that the house recognises")
	ErrRecognised  = errors.New("a laboratory of this name is recognised")
	ErrImported    = errors.New("the certificate was imported before")
	ErrValidity    = errors.New("the certificate is not valid any more, or never")
)

// Recognised says that the house goes by a laboratory ("laboratory.recognised").
type Recognised struct {
	entry.Header
	Approvals  []officers.Approval // none while there are no two officers
	Laboratory string
	Public     string // P-256 or Ed25519, SubjectPublicKeyInfo in hex
}

// Type is "laboratory.recognised".
func (*Recognised) Type() string { return "laboratory.recognised" }

// Code visits the members.
func (r *Recognised) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	officers.CodeApprovals(c, &r.Approvals)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("laboratory", &r.Laboratory, 64)
	c.Text("public", &r.Public, 1024)
	c.Is("type", r.Type())
}

// Subject is what two officers approve of.
func (r *Recognised) Subject() string { return r.Laboratory + " " + r.Public }

// Approval is the list of approvals.
func (r *Recognised) Approval() *[]officers.Approval { return &r.Approvals }

// Certified is a laboratory's certificate ("game.certified"). The statement itself is a blob.
type Certified struct {
	entry.Header
	Certificate
	Blob [32]byte // SHA-256 of the signed statement
}

// Certificate is what a laboratory states.
type Certificate struct {
	Begins     entry.Time
	Expires    entry.Time
	Game       string
	Laboratory string
	Maths      [32]byte // hash of the definition
	Program    [32]byte // SHA-256 of the program's file
	Release    string   // of the game
	Returns    string   // the theoretical return, as the laboratory writes it
}

// Type is "game.certified".
func (*Certified) Type() string { return "game.certified" }

// Code visits the members.
func (r *Certified) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Time("begins", &r.Begins)
	c.Hex("certificate", r.Blob[:])
	c.Hex("code", r.Program[:])
	c.Time("expires", &r.Expires)
	c.Fingerprint(&r.Header)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("laboratory", &r.Laboratory, 64)
	c.Hex("maths", r.Maths[:])
	c.Text("release", &r.Release, 32)
	c.Text("returns", &r.Returns, 64)
	c.Is("type", r.Type())
}

// Production says that the house is in production from here on, for ever ("house.production").
type Production struct{ entry.Header }

// Type is "house.production".
func (*Production) Type() string { return "house.production" }

// Code visits the members.
func (r *Production) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.ID(&r.Header)
	c.Is("type", r.Type())
}

// Reasons of a Verified.
const (
	AtStart = "start"
	ByDay   = "daily"
	Asked   = "asked"
)

// Verified is what the running program found itself to be ("software.verified").
type Verified struct {
	entry.Header
	Configuration [32]byte // SHA-256 of the configuration in force
	Games         [32]byte // GamesHash of the definitions that are played
	Matches       bool     // all is as it should be: see Matches
	Node          string
	Program       [32]byte // SHA-256 of the program's file
	Reason        string
}

// Type is "software.verified".
func (*Verified) Type() string { return "software.verified" }

// Code visits the members.
func (r *Verified) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Hex("code", r.Program[:])
	c.Hex("configuration", r.Configuration[:])
	c.Hex("games", r.Games[:])
	c.ID(&r.Header)
	c.Bool("matches", &r.Matches)
	c.Text("node", &r.Node, 64)
	c.Text("reason", &r.Reason, 16)
	c.Is("type", r.Type())
}

// Laboratory is the row of a laboratory.
type Laboratory struct{ Public string }

// Code visits the members.
func (l *Laboratory) Code(c *entry.Coder) { c.Text("public", &l.Public, 1024) }

// Periods is the row of the certificates of one game's maths for one program.
type Periods struct{ List []Period }

// Period is when a certificate is in force.
type Period struct {
	Begins, Expires entry.Time
	Index           uint64 // of its entry
	Blob            [32]byte
}

// Code visits the members.
func (p *Periods) Code(c *entry.Coder) {
	entry.List(c, "list", &p.List, periodsMost, func(c *entry.Coder, p *Period) {
		c.Object("")
		c.Time("begins", &p.Begins)
		c.Hex("blob", p.Blob[:])
		c.Time("expires", &p.Expires)
		c.Uint("index", &p.Index)
		c.End()
	})
}

// periodsMost is how many certificates that are not over yet one game and program can have.
const periodsMost = 16

// State is the row of the house's software.
type State struct {
	Configuration [32]byte // as found in this term
	Matches       bool     // the latest finding of this term
	Production    bool
	Program       [32]byte // as found in this term
	Running       [16]byte // the first half of the hash in the release of house.active, or zeros
	Verified      bool     // something was found in this term
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Hex("code", s.Program[:])
	c.Hex("configuration", s.Configuration[:])
	c.Bool("matches", &s.Matches)
	c.Bool("production", &s.Production)
	c.Hex("running", s.Running[:])
	c.Bool("verified", &s.Verified)
}

// StateKey is the key of the row State.
const StateKey = "software"

// LaboratoryKey is the key of a laboratory's row.
func LaboratoryKey(name string) string { return "laboratory/" + name }

// PeriodsKey is the key of the row of the certificates of a game's maths for a program.
func PeriodsKey(game string, maths [32]byte, running [16]byte) string {
	return "certificate/" + game + "/" + hex.EncodeToString(maths[:]) + "/" + hex.EncodeToString(running[:])
}

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	"laboratory":  func() book.Row { return new(Laboratory) },
	"certificate": func() book.Row { return new(Periods) },
	"software":    func() book.Row { return new(State) },
}

// Running reads the first half of the program's hash from a release: what follows " sha256:", 32 hex digits.
func Running(release string) (h [16]byte) {
	_, digits, ok := strings.Cut(release, " sha256:")
	if b, err := hex.DecodeString(digits); ok && err == nil && len(b) == len(h) && hex.EncodeToString(b) == digits {
		h = [16]byte(b)
	}
	return h
}

// GamesHash is the hash of the games that are in play: of "game maths\n" for each, by its name.
func GamesHash(games map[string][32]byte) [32]byte {
	var b bytes.Buffer
	names := make([]string, 0, len(games))
	for name := range games {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		maths := games[name]
		b.WriteString(name + " " + hex.EncodeToString(maths[:]) + "\n")
	}
	return sha256.Sum256(b.Bytes())
}

// InPlay are the games that the log has in play, with their maths.
func InPlay(rows book.Reader) map[string][32]byte {
	games := map[string][32]byte{}
	if all := book.Get[rounds.Games](rows, rounds.GamesKey); all != nil {
		for _, id := range all.IDs {
			if g := book.Get[rounds.Game](rows, rounds.GameKey(id)); g != nil && g.On {
				games[id] = g.Maths
			}
		}
	}
	return games
}

// Matches tells whether what was found is as it should be: the program is the one that the process said it is, it
// and the configuration are as they were found before in this term, and the games are those that the log has in play.
func Matches(rows book.Reader, r *Verified) bool {
	s := Now(rows)
	switch {
	case s.Running != [16]byte{} && s.Running != [16]byte(r.Program[:16]):
		return false
	case s.Verified && (s.Program != r.Program || s.Configuration != r.Configuration):
		return false
	}
	return r.Games == GamesHash(InPlay(rows))
}

// Now returns the row State.
func Now(rows book.Reader) State {
	if s := book.Get[State](rows, StateKey); s != nil {
		return *s
	}
	return State{}
}

// MayPlay refuses a game that needs a certificate and has none in force, and every game while the program is not
// what the log says.
func MayPlay(rows book.Reader, game string, maths [32]byte, at entry.Time) error {
	s := Now(rows)
	switch {
	case !s.Production:
		return nil
	case !s.Matches:
		return ErrUnverified
	case s.Running == [16]byte{} || !inForce(rows, PeriodsKey(game, maths, s.Running), at):
		return ErrUncertified
	}
	return nil
}

func inForce(rows book.Reader, key string, at entry.Time) bool {
	p := book.Get[Periods](rows, key)
	return p != nil && slices.ContainsFunc(p.List, func(p Period) bool { return p.Begins <= at && at < p.Expires })
}

// Check refuses a certificate that cannot be imported at a time.
func Check(rows book.Reader, r *Certified, at entry.Time) error {
	switch {
	case book.Get[Laboratory](rows, LaboratoryKey(r.Laboratory)) == nil:
		return ErrLaboratory
	case r.Begins >= r.Expires || at >= r.Expires:
		return ErrValidity
	}
	if p := book.Get[Periods](rows, PeriodsKey(r.Game, r.Maths, [16]byte(r.Program[:16]))); p != nil &&
		slices.ContainsFunc(p.List, func(p Period) bool { return p.Blob == r.Blob }) {
		return ErrImported
	}
	return nil
}

// Fold applies an entry of this package, and takes note of the program that runs and of what may be played.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *system.HouseActive:
		started(rows, r.Release)
	case *system.PairActive:
		started(rows, r.Release)
	case *rounds.GameEnabled:
		return held(MayPlay(rows, r.Game, r.Maths, r.At))
	case *Production:
		s := Now(rows)
		if s.Production {
			return book.Broken("production-once", "no earlier house.production", "another one")
		}
		s.Production = true
		rows.Put(StateKey, &s)
	case *Verified:
		s := Now(rows)
		if first := !s.Verified; first && r.Reason != AtStart || !first && r.Reason != ByDay && r.Reason != Asked {
			return book.Broken("software-reason", AtStart+" for the first of a process, later "+ByDay+" or "+Asked, r.Reason)
		}
		if matches := Matches(rows, r); r.Matches != matches {
			return book.Broken("software-matches", matches, r.Matches)
		}
		s.Matches = r.Matches
		if !s.Verified {
			s.Verified, s.Program, s.Configuration = true, r.Program, r.Configuration
		}
		rows.Put(StateKey, &s)
	case *Recognised:
		if book.Get[Laboratory](rows, LaboratoryKey(r.Laboratory)) != nil {
			return book.Broken("laboratory-once", "a laboratory that is not recognised yet", r.Laboratory)
		}
		if _, err := dsse.ParseKey(r.Public); err != nil {
			return book.Broken("laboratory-key", "a P-256 or Ed25519 key, SubjectPublicKeyInfo in hex", r.Public)
		}
		if len(officers.List(rows)) < officers.Quorum { // there is nobody to ask
			if len(r.Approvals) != 0 {
				return book.Broken("approvals", "none before there are two officers", len(r.Approvals))
			}
		} else if err := officers.Check(rows, officers.Origin(rows), r.Type(), r.Subject(), r.Approvals); err != nil {
			return err
		}
		rows.Put(LaboratoryKey(r.Laboratory), &Laboratory{Public: r.Public})
	case *Certified:
		return foldCertified(rows, index, r)
	}
	return nil
}

// started takes note of a new process, which has not looked at itself yet.
func started(rows book.Rows, release string) {
	rows.Put(StateKey, &State{Production: Now(rows).Production, Running: Running(release)})
}

func foldCertified(rows book.Rows, index uint64, r *Certified) error {
	switch err := Check(rows, r, r.At); {
	case errors.Is(err, ErrLaboratory):
		return book.Broken("certificate-laboratory", "a laboratory that was recognised", r.Laboratory)
	case errors.Is(err, ErrValidity):
		return book.Broken("certificate-validity", "begins before it expires, and does not expire before "+r.At.String(), r.Begins.String()+" to "+r.Expires.String())
	case err != nil:
		return book.Broken("certificate-once", "a certificate that was not imported before", hex.EncodeToString(r.Blob[:]))
	}
	key := PeriodsKey(r.Game, r.Maths, [16]byte(r.Program[:16]))
	var list []Period
	if p := book.Get[Periods](rows, key); p != nil {
		for _, p := range p.List {
			if r.At < p.Expires {
				list = append(list, p)
			}
		}
	}
	if len(list) == periodsMost {
		return book.Broken("certificates-most", "at most "+strconv.Itoa(periodsMost)+" certificates of a game and a program that are not over", r.Game)
	}
	rows.Put(key, &Periods{List: append(list, Period{Begins: r.Begins, Expires: r.Expires, Index: index, Blob: r.Blob})})
	return nil
}

// Round holds a round against the rules of production.
func Round(rows book.Reader, r *rounds.Settled) error {
	if !Now(rows).Production {
		return nil
	}
	g := book.Get[rounds.Game](rows, rounds.GameKey(r.Game))
	if g == nil {
		return nil // which is another rule's
	}
	return held(MayPlay(rows, r.Game, g.Maths, r.At))
}

func held(err error) error {
	switch {
	case errors.Is(err, ErrUnverified):
		return book.Broken("software-verified", "a software.verified of this term that matches, as the latest", "none")
	case err != nil:
		return book.Broken("certified", "a certificate in force for the game's maths and the running program", "none")
	}
	return nil
}
