package verify

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"countroom/games/certificates"
	"countroom/ledger/dsse"
	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/assessment"
	"countroom/rngcert/report"
	"countroom/rngcert/verdict"
)

// A house that says more of its chance, its games and its program than laboratories and its own files say.

func init() { contradictions = append(contradictions, laboratoryFrauds...) }

const quay = "lamplight-quay"

// pretend plays a round that the books do not allow.
func (t *town) pretend() uint64 {
	t.Turn()
	return t.settle(t.who[0])
}

// swap plays on with another release of the game, which nobody certified.
func (t *town) swap() {
	d := *t.Game(quay)
	d.Version = "1.0.1"
	t.Add(&d)
}

var laboratoryFrauds = []contradiction{
	{name: "a report with a verdict that its p-values do not have", typ: "rng.assessed", rule: "assessment-report", found: "outcome",
		commit: func(t *town) uint64 {
			return t.Assess(func(d *report.Document) {
				logtest.Conclude(d, 1e-12)
				d.Report.Outcome = verdict.Pass
			}, nil)
		}},
	{name: "a report whose p-values were changed", typ: "rng.assessed", rule: "assessment-report", found: "members",
		commit: func(t *town) uint64 {
			return t.Assess(func(d *report.Document) { d.Report.Runs[0].Tests[0].P[0] = 0.75 }, nil)
		}},
	{name: "a report of another program", typ: "rng.assessed", rule: "assessment-report", found: "code",
		commit: func(t *town) uint64 {
			return t.Assess(func(d *report.Document) { d.Code = strings.Repeat("ab", 32) }, nil)
		}},
	{name: "a report of another house", typ: "rng.assessed", rule: "assessment-report", found: "elsewhere.example",
		commit: func(t *town) uint64 {
			return t.Assess(func(d *report.Document) { d.Origin = "elsewhere.example/log" }, nil)
		}},
	{name: "a failed examination told as passed", typ: "rng.assessed", rule: "assessment-report", found: "outcome",
		commit: func(t *town) uint64 {
			return t.Assess(func(d *report.Document) { logtest.Conclude(d, 1e-12) }, nil)
		}},
	{name: "a report changed after it was signed", typ: "rng.assessed", rule: "assessment-statement", expected: "signed by the exports key",
		commit: func(t *town) uint64 {
			honest := logtest.Examined(t.Origin(), t.Now.Std(), t.Game(quay))
			b, err := honest.JSON()
			if err != nil {
				panic(err)
			}
			_, payload, err := assessment.New(b, nil)
			if err != nil {
				panic(err)
			}
			return t.Assess(func(d *report.Document) { d.Finished = d.Finished.Add(time.Second) }, func(*assessment.Assessed, []byte) []byte { return payload })
		}},
	{name: "an examination that another key signed", typ: "rng.assessed", rule: "assessment-statement", found: "not by the key",
		commit: func(t *town) uint64 {
			return with(t, func(r *assessment.Assessed) {
				payload, err := r.Payload(t.Origin())
				if err != nil {
					panic(err)
				}
				r.Bundle = t.Blob(t.Statement(logtest.LaboratoryKey("testhouse"), payload))
			}, func() { t.Assess(nil, nil) })
		}},
	{name: "an examination of a game that was never in play", typ: "rng.assessed", rule: "assessment-game", found: "9.9.9",
		commit: func(t *town) uint64 {
			return with(t, func(r *assessment.Assessed) { r.Games[0].Release = "9.9.9" }, func() { t.Assess(nil, nil) })
		}},
	{name: "an examination without a verdict", typ: "rng.assessed", rule: "assessment-outcome", found: "maybe",
		commit: func(t *town) uint64 {
			return with(t, func(r *assessment.Assessed) { r.Outcome = "maybe" }, func() { t.Assess(nil, nil) })
		}},

	{name: "a laboratory that changes its key", typ: "laboratory.recognised", rule: "laboratory-once", found: "testhouse",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			return t.Recognise("testhouse")
		}},
	{name: "a laboratory without a key", typ: "laboratory.recognised", rule: "laboratory-key", found: "abcd",
		commit: func(t *town) uint64 {
			return with(t, func(r *certificates.Recognised) { r.Public = "abcd" }, func() { t.Recognise("testhouse") })
		}},
	{name: "the operator recognises a laboratory past the officers", typ: "laboratory.recognised", rule: "approvals", found: "0",
		commit: func(t *town) uint64 {
			t.Officers()
			return t.Recognise("testhouse")
		}},
	{name: "one officer recognises a laboratory", typ: "laboratory.recognised", rule: "approvals", found: "1",
		commit: func(t *town) uint64 {
			t.Officers()
			return t.Recognise("testhouse", "anna")
		}},

	{name: "a forged certificate", typ: "game.certified", rule: "certificate-statement", found: "not by the key",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			return with(t, func(r *certificates.Certified) {
				payload, err := r.Payload()
				if err != nil {
					panic(err)
				}
				r.Blob = t.Blob(t.Statement(logtest.LaboratoryKey("a forger"), payload))
			}, func() { t.Certify("testhouse", quay, nil) })
		}},
	{name: "a certificate that is made to last longer", typ: "game.certified", rule: "certificate-statement", expected: "testhouse",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			return with(t, func(r *certificates.Certified) { r.Expires = r.Expires.Add(time.Hour) }, func() { t.Certify("testhouse", quay, nil) })
		}},
	{name: "a certificate whose statement is something else", typ: "game.certified", rule: "certificate-statement", found: "format",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			return with(t, func(r *certificates.Certified) { r.Blob = t.Blob([]byte("certified!")) }, func() { t.Certify("testhouse", quay, nil) })
		}},
	{name: "a certificate by a laboratory that nobody knows", typ: "game.certified", rule: "certificate-laboratory", found: "nowhere",
		commit: func(t *town) uint64 { return t.Certify("nowhere", quay, nil) }},
	{name: "a certificate that is over when it comes", typ: "game.certified", rule: "certificate-validity", expected: "expire",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			return t.Certify("testhouse", quay, func(c *certificates.Certificate) {
				c.Begins, c.Expires = t.Now.Add(-2*time.Hour), t.Now.Add(-time.Hour)
			})
		}},
	{name: "the same certificate again", typ: "game.certified", rule: "certificate-once",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			begins := t.Now
			same := func(c *certificates.Certificate) { c.Begins, c.Expires = begins, begins.Add(time.Hour) }
			t.Certify("testhouse", quay, same)
			return t.Certify("testhouse", quay, same)
		}},
	{name: "certificates without end", typ: "game.certified", rule: "certificates-most", expected: "16",
		commit: func(t *town) uint64 {
			t.Recognise("testhouse")
			for range 16 {
				t.Certify("testhouse", quay, nil)
			}
			return t.Certify("testhouse", quay, nil)
		}},

	{name: "a production round without a certificate", typ: "round.settled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			t.SelfCheck(certificates.AtStart)
			t.Produce()
			return t.pretend()
		}},
	{name: "a production round after the certificate expired", typ: "round.settled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			t.Recognise("testhouse")
			t.Certify("testhouse", quay, func(c *certificates.Certificate) { c.Expires = c.Begins.Add(time.Minute) })
			t.SelfCheck(certificates.AtStart)
			t.Produce()
			t.Spin(t.who[0], 100)
			t.Wait(time.Minute)
			return t.pretend()
		}},
	{name: "a production round before the certificate begins", typ: "round.settled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			t.Recognise("testhouse")
			t.Certify("testhouse", quay, func(c *certificates.Certificate) { c.Begins = c.Begins.Add(time.Hour) })
			t.SelfCheck(certificates.AtStart)
			t.Produce()
			return t.pretend()
		}},
	{name: "a production round by a certificate for other maths", typ: "round.settled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			t.Recognise("testhouse")
			t.Certify("testhouse", quay, func(c *certificates.Certificate) { c.Maths[0] ^= 1 })
			t.SelfCheck(certificates.AtStart)
			t.Produce()
			return t.pretend()
		}},
	{name: "a production round by a certificate for another program", typ: "round.settled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			t.Recognise("testhouse")
			t.Certify("testhouse", quay, func(c *certificates.Certificate) { c.Program[0] ^= 1 })
			t.SelfCheck(certificates.AtStart)
			t.Produce()
			return t.pretend()
		}},
	{name: "a new release of a game in production, not certified", typ: "game.enabled", rule: "certified", found: "none",
		commit: func(t *town) uint64 {
			t.Earnest()
			t.Disable(quay)
			t.swap()
			return t.Enable(quay)
		}},
	{name: "play in production by a process that did not look at its program", typ: "round.settled", rule: "software-verified", found: "none",
		commit: func(t *town) uint64 {
			t.Earnest()
			t.Restart()
			return t.pretend()
		}},
	{name: "play in production after the program was found to be another", typ: "round.settled", rule: "software-verified", found: "none",
		commit: func(t *town) uint64 {
			t.Earnest()
			with(t, func(r *certificates.Verified) { r.Program[0], r.Matches = r.Program[0]^1, false }, func() { t.SelfCheck(certificates.ByDay) })
			return t.pretend()
		}},
	{name: "a house that enters production twice", typ: "house.production", rule: "production-once",
		commit: func(t *town) uint64 {
			t.Earnest()
			return t.Produce()
		}},

	{name: "a program that was replaced and says that it was not", typ: "software.verified", rule: "software-matches", found: "true",
		commit: func(t *town) uint64 {
			t.Upgrade(logtest.Release)
			return with(t, func(r *certificates.Verified) { r.Program = sha256.Sum256([]byte("another")) }, func() { t.SelfCheck(certificates.AtStart) })
		}},
	{name: "a configuration that changed without a restart", typ: "software.verified", rule: "software-matches", found: "true",
		commit: func(t *town) uint64 {
			t.SelfCheck(certificates.AtStart)
			return with(t, func(r *certificates.Verified) { r.Configuration[0] ^= 1 }, func() { t.SelfCheck(certificates.ByDay) })
		}},
	{name: "games in memory that are not those of the log", typ: "software.verified", rule: "software-matches", found: "true",
		commit: func(t *town) uint64 {
			return with(t, func(r *certificates.Verified) { r.Games[0] ^= 1 }, func() { t.SelfCheck(certificates.AtStart) })
		}},
	{name: "a process that never looked at its program and says that it did so daily", typ: "software.verified", rule: "software-reason", found: "daily",
		commit: func(t *town) uint64 { return t.SelfCheck(certificates.ByDay) }},
	{name: "a check of the program on another machine", typ: "software.verified", rule: "software-node", found: "elsewhere",
		commit: func(t *town) uint64 {
			return with(t, func(r *certificates.Verified) { r.Node = "elsewhere" }, func() { t.SelfCheck(certificates.AtStart) })
		}},
	{name: "a check of the program for no reason", typ: "software.verified", rule: "software-reason", found: "whim",
		commit: func(t *town) uint64 {
			return with(t, func(r *certificates.Verified) { r.Reason = "whim" }, func() { t.SelfCheck(certificates.Asked) })
		}},
	{name: "an alarm about a program that was as it should be", typ: "alarm.raised", rule: "alarm-about", expected: "does not match",
		commit: func(t *town) uint64 {
			t.Earnest()
			t.SelfCheck(certificates.Asked)
			return t.Append(&system.AlarmRaised{About: logtest.Program, Alarm: system.AlarmSoftware, Count: 1})
		}},
	{name: "an alarm about another program than the one that was found", typ: "alarm.raised", rule: "alarm-about", expected: "does not match",
		commit: func(t *town) uint64 {
			t.Earnest()
			return with(t, func(r *system.AlarmRaised) { r.About[0] ^= 1 }, func() { t.Mistaken(certificates.ByDay) })
		}},
	{name: "an alarm about the program that counts two", typ: "alarm.raised", rule: "alarm-count", found: "2",
		commit: func(t *town) uint64 {
			t.Earnest()
			return with(t, func(r *system.AlarmRaised) { r.Count = 2 }, func() { t.Mistaken(certificates.ByDay) })
		}},
}

// laboratory has everything that the story of all types has of these.
func (s *story) laboratory() {
	s.Assess(nil, nil)
	s.Recognise("second", "anna", "berta")
	s.SelfCheck(certificates.AtStart)
	s.Upgrade(logtest.Release)
	s.Certify("second", "small", nil)
	s.SelfCheck(certificates.AtStart)
	s.Produce()
	s.SelfCheck(certificates.ByDay)
}

// A house in production, with everything in order, holds; its officers recognise the laboratory.
func TestProductionHolds(t *testing.T) {
	town := newTown()
	town.Officers()
	town.Upgrade(logtest.Release)
	town.Recognise("testhouse", "anna", "berta")
	town.Certify("testhouse", quay, nil)
	town.SelfCheck(certificates.AtStart)
	town.Produce()
	town.Assess(nil, nil)
	town.more()
	town.Wait(12 * time.Hour)
	town.SelfCheck(certificates.ByDay)
	town.Certify("testhouse", quay, nil) // before the first is over
	town.Wait(13 * time.Hour)
	town.Mistaken(certificates.Asked)
	town.SelfCheck(certificates.Asked)
	town.who[0].Session = town.Open(town.who[0])
	town.Spin(town.who[0], 100)
	town.Restart()
	town.SelfCheck(certificates.AtStart)
	town.Spin(town.who[0], 100)
	r, err := check(t, town.House)
	if err != nil && !errors.Is(err, ErrUnchecked) || !r.OK() {
		t.Fatalf("%v: %+v", err, r.Findings)
	}
	var told []string
	for _, w := range r.Warnings {
		if strings.Contains(w, "program") {
			told = append(told, w)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], "were not what they should be") {
		t.Errorf("%q, expected one warning of the program that was another", told)
	}
}

// A house that stops looking at its program is told of, and so is one that finds it changed.
func TestSelfCheckIsMissed(t *testing.T) {
	warned := func(town *town, want string) {
		t.Helper()
		r, err := check(t, town.House)
		if err != nil && !errors.Is(err, ErrUnchecked) || !r.OK() {
			t.Fatalf("%v: %+v", err, r.Findings)
		}
		n := 0
		for _, w := range r.Warnings {
			if strings.Contains(w, "program") {
				n++
				if want == "" || !strings.Contains(w, want) {
					t.Errorf("warning %q, expected %q", w, want)
				}
			}
		}
		if want != "" && n != 1 {
			t.Errorf("%d warnings, expected one: %q", n, r.Warnings)
		}
	}
	later := func(begin func(town *town), wait time.Duration) *town {
		town := newTown()
		begin(town)
		town.Wait(wait)
		town.Step(time.Second)
		town.Step(time.Second)
		return town
	}
	once := func(town *town) { town.SelfCheck(certificates.AtStart) }
	warned(later(once, 26*time.Hour), "has not looked at its own program")
	warned(later(once, 24*time.Hour), "")
	warned(later(func(*town) {}, 26*time.Hour), "") // it never began to
	warned(later(func(town *town) { town.Produce() }, 26*time.Hour), "has not looked at its own program")
	warned(later(func(town *town) { once(town); town.Wait(48 * time.Hour); town.Restart(); once(town) }, time.Hour), "") // nobody was there to look
	warned(later(func(town *town) {
		once(town)
		with(town, func(r *certificates.Verified) { r.Program[0], r.Matches = r.Program[0]^1, false }, func() { town.SelfCheck(certificates.ByDay) })
	}, time.Hour), "were not what they should be")
}

// A blob that is missing, or another, is no evidence: the log could not be checked.
func TestMissingBlobs(t *testing.T) {
	town := newTown()
	town.Recognise("testhouse")
	town.Certify("testhouse", quay, nil)
	town.Assess(nil, nil)
	names := 0
	for name := range town.Blobs() {
		names++
		for what, change := range map[string]func(fstest.MapFS){
			"missing": func(f fstest.MapFS) { delete(f, name) },
			"another": func(f fstest.MapFS) { f[name] = &fstest.MapFile{Data: []byte("something else")} },
		} {
			files := town.Publish()
			change(files)
			r, err := Log(t.Context(), Dir(files), Options{VKey: town.VKey})
			if !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), name) || !r.OK() {
				t.Errorf("%s is %s: %v, %+v", name, what, err, r.Findings)
			}
		}
	}
	if names != 3 {
		t.Errorf("%d blobs", names)
	}
}

// A statement that a laboratory's own tool put into a plain envelope is as good as one in a bundle.
func TestCertificateInAPlainEnvelope(t *testing.T) {
	town := newTown()
	town.Recognise("testhouse")
	with(town, func(r *certificates.Certified) {
		var bundle []byte
		for _, f := range town.Blobs() {
			bundle = f.Data
		}
		i, j := slices.Index(bundle, '{')+1, len(bundle)
		inner := bundle[i:j]
		start := strings.Index(string(inner), "{")
		end := strings.Index(string(inner), `,"mediaType"`)
		plain := inner[start:end]
		if _, err := dsse.Parse(plain); err != nil {
			t.Fatal(err)
		}
		r.Blob = town.Blob(plain)
	}, func() { town.Certify("testhouse", quay, nil) })
	town.more()
	if r, err := check(t, town.House); err != nil && !errors.Is(err, ErrUnchecked) || !r.OK() {
		t.Errorf("%v: %+v", err, r.Findings)
	}
}
