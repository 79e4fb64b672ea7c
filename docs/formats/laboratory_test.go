package formats_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/ledger/dsse"
	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/assessment"
	"countroom/rngcert/report"
)

// blob publishes what an entry names by its digest.
func (s *story) blob(data []byte) [32]byte {
	digest := sha256.Sum256(data)
	s.blobs[hex.EncodeToString(digest[:])] = data
	return digest
}

func p256Key(name string) *ecdsa.PrivateKey {
	raw := fixed(name)
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:]))
}

func bundle(key *ecdsa.PrivateKey, payload []byte) []byte {
	digest := sha256.Sum256(dsse.PAE(payload))
	sig := must(key.Sign(nil, digest[:], crypto.SHA256))
	return dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, must(dsse.KeyOf(key.Public())))
}

// writer is the machine that writes.
func (s *story) writer() (node string) {
	for _, leaf := range s.leaves {
		switch r := must(books.Decode(leaf)).(type) {
		case *system.HouseActive:
			node = r.Node
		case *system.PairActive:
			node = r.Node
		}
	}
	return node
}

// laboratory has the house examined and its game certified, and puts it into production.
func (s *story) laboratory() {
	s.t.Helper()
	d := logtest.Examined(origin, s.now.Std().Add(-time.Minute), s.machine.Definition())
	r, payload, err := assessment.New(must(d.JSON()), must(d.Page()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.blob(must(d.JSON()))
	r.Bundle = s.blob(bundle(p256Key("exports key 2"), payload))
	s.add(r)

	key := p256Key("laboratory")
	s.approve(&certificates.Recognised{Laboratory: "reels-and-rolls", Public: spki(key)}, "recognise", "agnes", "bertram")
	c := certificates.Certificate{
		Begins: s.now, Expires: s.now.Add(365 * 24 * time.Hour), Game: gameID, Laboratory: "reels-and-rolls",
		Maths: s.machine.Definition().Hash(), Program: fixed("program"), Release: s.machine.Definition().Version, Returns: "0.95",
	}
	certified := &certificates.Certified{Certificate: c, Blob: s.blob(bundle(key, must(c.Payload())))}
	s.byOperator(certified, "certificate-1", "/certificates", "{}")
	s.add(&certificates.Verified{
		Configuration: fixed("configuration"), Games: certificates.GamesHash(certificates.InPlay(s.rows)), Matches: true, Node: s.writer(), Program: fixed("program"), Reason: certificates.AtStart,
	})
	s.add(&certificates.Production{})
	another := &certificates.Verified{
		Configuration: fixed("configuration"), Games: certificates.GamesHash(certificates.InPlay(s.rows)), Node: s.writer(), Program: fixed("another program"), Reason: certificates.ByDay,
	}
	s.add(another)
	s.add(&system.AlarmRaised{About: another.Program, Alarm: system.AlarmSoftware, Count: 1})
	s.add(&certificates.Verified{
		Configuration: fixed("configuration"), Games: another.Games, Matches: true, Node: s.writer(), Program: fixed("program"), Reason: certificates.Asked,
	})
}

// laboratoryFrauds are of a house that says more than laboratories and its own files say.
var laboratoryFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"a report changed after it was signed", func(t *town) {
		t.Assess(func(d *report.Document) { d.Started = d.Started.Add(time.Second) }, func(r *assessment.Assessed, payload []byte) []byte {
			honest := *r
			honest.Report[0] ^= 1
			return must(honest.Payload(t.Origin()))
		})
	}, "assessment-statement"},
	{"a report of another program", func(t *town) {
		t.Assess(func(d *report.Document) { d.Code = d.Configuration }, nil)
	}, "assessment-report"},
	{"an examination of another release", func(t *town) {
		with(t, func(r *assessment.Assessed) { r.Games[0].Release = "9.9.9" }, func() { t.Assess(nil, nil) })
	}, "assessment-report"},
	{"an examination without a verdict", func(t *town) {
		with(t, func(r *assessment.Assessed) { r.Outcome = "maybe" }, func() { t.Assess(nil, nil) })
	}, "assessment-statement"},
	{"a laboratory twice", func(t *town) { t.Recognise("testhouse"); t.Recognise("testhouse") }, "laboratory-once"},
	{"a laboratory without a key", func(t *town) {
		with(t, func(r *certificates.Recognised) { r.Public = "abcd" }, func() { t.Recognise("testhouse") })
	}, "laboratory-key"},
	{"a laboratory past the officers", func(t *town) { t.Officers(); t.Recognise("testhouse") }, "approvals"},
	{"a forged certificate", func(t *town) {
		t.Recognise("testhouse")
		with(t, func(r *certificates.Certified) {
			r.Blob = t.Blob(t.Statement(logtest.LaboratoryKey("a forger"), must(r.Payload())))
		}, func() { t.Certify("testhouse", gameID, nil) })
	}, "certificate-statement"},
	{"a certificate made to last longer", func(t *town) {
		t.Recognise("testhouse")
		with(t, func(r *certificates.Certified) { r.Expires = r.Expires.Add(time.Hour) }, func() { t.Certify("testhouse", gameID, nil) })
	}, "certificate-statement"},
	{"a certificate by nobody", func(t *town) { t.Certify("nowhere", gameID, nil) }, "certificate-laboratory"},
	{"a certificate that is over", func(t *town) {
		t.Recognise("testhouse")
		t.Certify("testhouse", gameID, func(c *certificates.Certificate) {
			c.Begins, c.Expires = t.Now.Add(-2*time.Hour), t.Now.Add(-time.Hour)
		})
	}, "certificate-validity"},
	{"a certificate twice", func(t *town) {
		t.Recognise("testhouse")
		begins := t.Now
		same := func(c *certificates.Certificate) { c.Begins, c.Expires = begins, begins.Add(time.Hour) }
		t.Certify("testhouse", gameID, same)
		t.Certify("testhouse", gameID, same)
	}, "certificate-once"},
	{"certificates without end", func(t *town) {
		t.Recognise("testhouse")
		for range 17 {
			t.Certify("testhouse", gameID, nil)
		}
	}, "certificates-most"},
	{"a production round without a certificate", func(t *town) {
		t.Upgrade(logtest.Release)
		t.SelfCheck(certificates.AtStart)
		t.Produce()
		t.Spin(t.who[0], 100)
	}, "certified"},
	{"a production round by a certificate for other maths", func(t *town) {
		t.Upgrade(logtest.Release)
		t.Recognise("testhouse")
		t.Certify("testhouse", gameID, func(c *certificates.Certificate) { c.Maths[0] ^= 1 })
		t.SelfCheck(certificates.AtStart)
		t.Produce()
		t.Spin(t.who[0], 100)
	}, "certified"},
	{"a production round after the certificate expired", func(t *town) {
		t.Upgrade(logtest.Release)
		t.Recognise("testhouse")
		t.Certify("testhouse", gameID, func(c *certificates.Certificate) { c.Expires = c.Begins.Add(time.Minute) })
		t.SelfCheck(certificates.AtStart)
		t.Produce()
		t.Spin(t.who[0], 100)
		t.Wait(time.Minute)
		t.Spin(t.who[0], 100)
	}, "certified"},
	{"a game enabled in production without a certificate", func(t *town) {
		t.Earnest()
		t.Disable(gameID)
		d := *t.Game(gameID)
		d.Version = "1.0.1"
		t.Add(&d)
		t.Enable(gameID)
	}, "certified"},
	{"play before the program was looked at", func(t *town) { t.Earnest(); t.Restart(); t.Spin(t.who[0], 100) }, "software-verified"},
	{"in production twice", func(t *town) { t.Earnest(); t.Produce() }, "production-once"},
	{"a program that was replaced", func(t *town) {
		t.Upgrade(logtest.Release)
		with(t, func(r *certificates.Verified) { r.Program[0] ^= 1 }, func() { t.SelfCheck(certificates.AtStart) })
	}, "software-matches"},
	{"a configuration that changed", func(t *town) {
		t.SelfCheck(certificates.AtStart)
		with(t, func(r *certificates.Verified) { r.Configuration[0] ^= 1 }, func() { t.SelfCheck(certificates.ByDay) })
	}, "software-matches"},
	{"other games in memory", func(t *town) {
		with(t, func(r *certificates.Verified) { r.Games[0] ^= 1 }, func() { t.SelfCheck(certificates.AtStart) })
	}, "software-matches"},
	{"a check for no reason", func(t *town) { t.SelfCheck(certificates.Asked) }, "software-reason"},
	{"a check elsewhere", func(t *town) {
		with(t, func(r *certificates.Verified) { r.Node = "elsewhere" }, func() { t.SelfCheck(certificates.AtStart) })
	}, "software-node"},
	{"an alarm about a program that was as it should be", func(t *town) {
		t.Earnest()
		t.SelfCheck(certificates.Asked)
		t.Append(&system.AlarmRaised{About: logtest.Program, Alarm: system.AlarmSoftware, Count: 1})
	}, "alarm-about"},
	{"an alarm about another program", func(t *town) {
		t.Earnest()
		with(t, func(r *system.AlarmRaised) { r.About[0] ^= 1 }, func() { t.Mistaken(certificates.ByDay) })
	}, "alarm-about"},
	{"an alarm about the program that counts two", func(t *town) {
		t.Earnest()
		with(t, func(r *system.AlarmRaised) { r.Count = 2 }, func() { t.Mistaken(certificates.ByDay) })
	}, "alarm-count"},
}
