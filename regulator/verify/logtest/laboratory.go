package logtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"testing/fstest"
	"time"

	"countroom/games/certificates"
	"countroom/games/slots"
	"countroom/ledger/dsse"
	"countroom/ledger/system"
	"countroom/rngcert/assessment"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/report"
	"countroom/rngcert/sp80090b"
	"countroom/rngcert/verdict"
)

// Program is the hash of the program that every house here says it runs, and Release how house.active names it.
var (
	Program = sha256.Sum256([]byte("logtest program"))
	Release = "test sha256:" + hex.EncodeToString(Program[:16])
)

// Configuration is the hash of every house's configuration.
var Configuration = sha256.Sum256([]byte("logtest configuration"))

// Examined makes the report of an examination that never was: of a raw source, and of the draws of a game.
func Examined(origin string, finished time.Time, game *slots.Definition) *report.Document {
	maths := game.Hash()
	d := &report.Document{
		Format: report.Format, Origin: origin, Release: Release, Code: hex.EncodeToString(Program[:]), Configuration: hex.EncodeToString(Configuration[:]),
		Started: finished.Add(-time.Minute), Finished: finished,
		Sources: []report.Source{{Name: "noise", MinEntropyPerByte: 6}},
		Games:   []report.Game{{Game: game.ID, Release: game.Version, Maths: hex.EncodeToString(maths[:])}},
	}
	r := &d.Report
	r.Plan = laboratory.Plan{
		Rule: verdict.Default, Bits: []laboratory.Bits{},
		Raw:   []laboratory.Raw{{Name: report.SourceName("noise"), BitsPerSymbol: 8, Declared: 6, Samples: 1_000_000}},
		Games: []laboratory.Game{{Name: report.GameName(game.ID, game.Version), Ranges: []uint32{uint32(len(game.Base[0]))}, Positions: []uint32{}, Sequences: 1, Draws: 10_000}},
	}
	r.Raw = []laboratory.RawReport{{Name: r.Plan.Raw[0].Name, Enough: true, Assessment: &sp80090b.Assessment{
		BitsPerSymbol: 8, Samples: 1_000_000, MinEntropy: 6.5,
		Literal: []sp80090b.Estimate{{Name: "most common value", MinEntropy: 7.5}}, BitString: []sp80090b.Estimate{{Name: "Markov", MinEntropy: 0.8125}},
	}}}
	Conclude(d, 0.5)
	return d
}

// Conclude gives the one test of a report a p-value, and the report what follows from it.
func Conclude(d *report.Document, p float64) {
	r, g := &d.Report, d.Report.Plan.Games[0]
	test := laboratory.Concluded(laboratory.TestReport{
		Source: g.Name, Stream: laboratory.RangeName(g.Ranges[0]), Test: "chi-square", Variant: "values",
		P: []float64{p}, Statistic: []float64{1}, N: []int{g.Draws}, Degrees: 1,
	})
	j := must(r.Plan.Rule.First(test.Members))
	r.Runs = []laboratory.RunReport{{Tests: []laboratory.TestReport{test}, Games: []laboratory.GameReport{{Name: g.Name, Rounds: g.Draws, Draws: g.Draws}}, Judgement: j}}
	r.Outcome = j.Outcome
}

// Assess has the house's chance examined, and puts the report into the log. The insider may change the report, and
// what is signed about it.
func (h *House) Assess(change func(d *report.Document), sign func(r *assessment.Assessed, payload []byte) []byte) uint64 {
	d := Examined(h.cfg.Origin, h.Now.Std(), h.games[h.cfg.Game.ID].Definition())
	honest := must(d.JSON())
	r, payload, err := assessment.New(honest, []byte("<!doctype html>\n"))
	if err != nil {
		panic(err)
	}
	if change != nil {
		change(d)
		changed := must(d.JSON())
		r.Report = h.Blob(changed)
		payload = must(r.Payload(h.cfg.Origin))
	} else {
		h.Blob(honest)
	}
	if sign != nil {
		payload = sign(r, payload)
	}
	r.Bundle = h.Blob(h.Statement(h.exports, payload))
	return h.Append(r)
}

// Blob publishes what an entry names by its digest.
func (h *House) Blob(data []byte) [32]byte {
	digest := sha256.Sum256(data)
	h.blobs["blob/"+hex.EncodeToString(digest[:])] = &fstest.MapFile{Data: data}
	return digest
}

// Blobs are what entries name by their digests.
func (h *House) Blobs() fstest.MapFS { return h.blobs }

// Statement signs a statement and puts it into a bundle.
func (h *House) Statement(key *ecdsa.PrivateKey, payload []byte) []byte {
	digest := sha256.Sum256(dsse.PAE(payload))
	sig := must(key.Sign(nil, digest[:], crypto.SHA256)) // deterministic, RFC 6979
	return dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, must(dsse.KeyOf(key.Public())))
}

// LaboratoryKey is the key of the laboratory of a name, which it follows from.
func LaboratoryKey(name string) *ecdsa.PrivateKey {
	seed := sha256.Sum256([]byte("logtest laboratory " + name))
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:]))
}

// Recognise has the house go by a laboratory.
func (h *House) Recognise(name string, by ...string) uint64 {
	r := &certificates.Recognised{Laboratory: name, Public: spki(LaboratoryKey(name))}
	h.Approve(r, by...)
	return h.Append(r)
}

// Certify imports a laboratory's certificate of what the house has of a game, in force for a day from now, with
// change made before the laboratory signs.
func (h *House) Certify(laboratory, game string, change func(c *certificates.Certificate)) uint64 {
	d := h.games[game].Definition()
	c := certificates.Certificate{
		Begins: h.Now, Expires: h.Now.Add(24 * time.Hour), Game: d.ID, Laboratory: laboratory, Maths: d.Hash(), Program: Program, Release: d.Version, Returns: "0.95",
	}
	if change != nil {
		change(&c)
	}
	blob := h.Blob(h.Statement(LaboratoryKey(laboratory), must(c.Payload())))
	return h.Append(&certificates.Certified{Header: h.byOperator(), Certificate: c, Blob: blob})
}

// Produce says that the house is in production from here on.
func (h *House) Produce() uint64 { return h.Append(new(certificates.Production)) }

// SelfCheck says what the running program is.
func (h *House) SelfCheck(reason string) uint64 {
	r := &certificates.Verified{Configuration: Configuration, Games: certificates.GamesHash(certificates.InPlay(h.rows)), Node: "a", Program: Program, Reason: reason}
	r.Matches = certificates.Matches(h.rows, r)
	return h.Append(r)
}

// Mistaken says that the running program is another, with the alarm about that.
func (h *House) Mistaken(reason string) uint64 {
	r := &certificates.Verified{Configuration: Configuration, Games: certificates.GamesHash(certificates.InPlay(h.rows)), Node: "a", Program: sha256.Sum256([]byte("another program")), Reason: reason}
	r.Matches = certificates.Matches(h.rows, r)
	h.Append(r)
	return h.Append(&system.AlarmRaised{About: r.Program, Alarm: system.AlarmSoftware, Count: 1})
}

// Upgrade starts another release.
func (h *House) Upgrade(release string) uint64 {
	h.cfg.Release = release
	return h.Restart()
}

// Earnest puts the house into production, with everything that it needs.
func (h *House) Earnest() {
	h.Upgrade(Release)
	h.Recognise("testhouse")
	h.Certify("testhouse", h.cfg.Game.ID, nil)
	h.SelfCheck(certificates.AtStart)
	h.Produce()
}
