package formats_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"

	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/regulator/verify/logtest"
)

// officer is somebody with a key: bertram's is P-256, all others' are Ed25519.
func officer(name string) (algorithm string, public []byte, sign func(msg []byte) []byte) {
	seed := fixed("officer " + name)
	if name == "bertram" {
		key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:]))
		return officers.ECDSAP256, must(x509.MarshalPKIXPublicKey(key.Public())), func(msg []byte) []byte {
			digest := sha256.Sum256(msg)
			return must(key.Sign(nil, digest[:], crypto.SHA256))
		}
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	return officers.Ed25519, key.Public().(ed25519.PublicKey), func(msg []byte) []byte { return ed25519.Sign(key, msg) }
}

// approve adds an entry that officers approve of.
func (s *story) approve(r officers.Approved, key string, by ...string) {
	s.t.Helper()
	for _, name := range by {
		_, _, sign := officer(name)
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: sign(officers.Message(origin, r.Type(), r.Subject()))})
	}
	actor := officers.Actor(r)
	*r.Head() = entry.Header{Actor: actor, Request: s.asked(request{Scope: "operator", Key: key, Method: "POST", Path: "/officers", Principal: actor, Body: "{}"})}
	s.add(r)
}

func (s *story) enrol(name string, by ...string) {
	s.t.Helper()
	algorithm, public, _ := officer(name)
	s.approve(&officers.Enrolled{Algorithm: algorithm, Officer: name, Public: public}, "enrol "+name, by...)
}

// officers are enrolled, and one is retired.
func (s *story) officers() {
	s.t.Helper()
	s.enrol("agnes")
	s.enrol("bertram")
	s.enrol("clara", "agnes", "bertram")
	s.approve(&officers.Retired{Officer: "clara"}, "retire clara", "agnes", "bertram")
}

// officerFrauds are those of an operator, or one officer, who does what takes
// two.
var officerFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"one officer enrols another", func(t *town) { t.Officers(); t.Enrol("cora", "anna") }, "approvals"},
	{"one officer signs twice", func(t *town) { t.Officers(); t.Enrol("cora", "anna", "anna") }, "approvals"},
	{"a retired officer approves", func(t *town) {
		t.Officers()
		t.Enrol("cora", "anna", "berta")
		t.RetireOfficer("berta", "anna", "cora")
		t.Enrol("dora", "anna", "berta")
	}, "approvals"},
	{"an approval of something else", func(t *town) {
		t.Officers()
		with(t, func(r *officers.Enrolled) { r.Officer = "dora" }, func() { t.Enrol("cora", "anna", "berta") })
	}, "approvals"},
	{"an officer comes back", func(t *town) {
		t.Officers()
		t.Enrol("cora", "anna", "berta")
		t.Enrol("dora", "anna", "berta")
		t.RetireOfficer("cora", "anna", "berta")
		t.Enrol("cora", "anna", "berta")
	}, "officer-once"},
	{"one person is two officers", func(t *town) {
		t.Enrol("anna")
		with(t, func(r *officers.Enrolled) { r.Public = logtest.OfficerOf("anna").Public }, func() { t.Enrol("emil") })
	}, "officer-key"},
	{"a name with a capital letter", func(t *town) {
		with(t, func(r *officers.Enrolled) { r.Officer = "Anna" }, func() { t.Enrol("anna") })
	}, "officer-name"},
	{"one officer is left", func(t *town) { t.Officers(); t.RetireOfficer("berta", "anna", "berta") }, "officers-least"},
	{"somebody is retired who is no officer", func(t *town) { t.Officers(); t.RetireOfficer("emil", "anna", "berta") }, "officer-serving"},
}
