package formats_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
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
		msg := officers.Message(origin, r.Type(), r.Subject())
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: sign(msg)})
		s.signedVector(msg, name, sign(msg))
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

// exchange introduces a second checkpoint key, which signs beside the first at
// the end of the log, and exchanges the key of exports.
func (s *story) exchange() {
	s.t.Helper()
	seed := fixed("checkpoint key 2")
	key := ed25519.NewKeyFromSeed(seed[:])
	public := key.Public().(ed25519.PublicKey)
	r := &keys.Introduced{Algorithm: officers.Ed25519, Assurance: "pkcs11", Public: must(tlog.VKey(origin, public)), Role: system.RoleCheckpoint}
	msg := r.Statement(origin, s.vkey)
	r.SignatureOld, r.SignatureNew = ed25519.Sign(s.checkpoint, msg), ed25519.Sign(key, msg)
	s.statementVectors(r, s.vkey)
	s.approve(r, "rotate checkpoint", "agnes", "bertram")
	s.more = append(s.more, must(tlog.NewSigner(origin, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })))

	was, is := fixed("exports key"), fixed("exports key 2")
	old, now := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), was[:])), must(ecdsa.ParseRawPrivateKey(elliptic.P256(), is[:]))
	r = &keys.Introduced{Algorithm: officers.ECDSAP256, Assurance: "tpm", Public: spki(now), Role: system.RoleExports}
	digest := sha256.Sum256(r.Statement(origin, spki(old)))
	r.SignatureOld, r.SignatureNew = must(old.Sign(nil, digest[:], crypto.SHA256)), must(now.Sign(nil, digest[:], crypto.SHA256))
	s.statementVectors(r, spki(old))
	s.approve(r, "rotate exports", "agnes", "bertram")
	s.approve(&keys.Retired{Public: spki(old), Reason: s.because("the new machine has a TPM"), Role: system.RoleExports}, "retire exports", "agnes", "bertram")
}

// keyFrauds are those with the keys of a house.
var keyFrauds = []struct {
	name   string
	commit func(t *town)
	rule   string
}{
	{"a rotation by one officer", func(t *town) { t.Officers(); t.Introduce(system.RoleCheckpoint, "anna") }, "approvals"},
	{"a key is introduced without the old key's signature", func(t *town) {
		t.Officers()
		with(t, func(r *keys.Introduced) { r.SignatureOld = r.SignatureNew }, func() { t.Introduce(system.RoleSeeds, "anna", "berta") })
	}, "key-statement"},
	{"a key is introduced without its own signature", func(t *town) {
		t.Officers()
		with(t, func(r *keys.Introduced) { r.SignatureNew = r.SignatureOld }, func() { t.Introduce(system.RoleCheckpoint, "anna", "berta") })
	}, "key-statement"},
	{"a third key while two are in force", func(t *town) {
		t.Officers()
		t.Introduce(system.RoleCheckpoint, "anna", "berta")
		t.Introduce(system.RoleCheckpoint, "anna", "berta")
	}, "key-exchange"},
	{"a retired key comes back", func(t *town) {
		t.Officers()
		t.Rotate(system.RoleCheckpoint, "anna", "berta")
		with(t, func(r *keys.Introduced) { r.Public = t.VKey }, func() { t.Introduce(system.RoleCheckpoint, "anna", "berta") })
	}, "key-new"},
	{"the only key is retired", func(t *town) { t.Officers(); t.RetireKey(system.RoleSeeds, "anna", "berta") }, "key-retired"},
	{"a key is retired for another reason", func(t *town) {
		t.Officers()
		t.Introduce(system.RoleExports, "anna", "berta")
		with(t, func(r *keys.Retired) { r.Reason[0] ^= 1 }, func() { t.RetireKey(system.RoleExports, "anna", "berta") })
	}, "approvals"},
	{"a seed is signed by a retired key", func(t *town) {
		t.Officers()
		old := t.SeedsKey()
		t.Rotate(system.RoleSeeds, "anna", "berta")
		t.SetSeedsKey(old)
	}, "seed-signature"},
}

// A log that exchanged its keys is read alike by whoever has any of them.
func TestCheckersAgreeOnRotations(t *testing.T) {
	t.Parallel()
	h := newTown()
	h.Officers()
	early := h.Answer(h.Size() - 1)
	vkeys := []string{h.VKey}
	var logs []published
	note := func() {
		h.Play(h.who, 30)
		for _, vkey := range vkeys {
			logs = append(logs, published{files: h.Publish(), vkey: vkey, known: [][]byte{early, h.Answer(h.Size() - 1)}})
		}
	}
	for range 2 {
		h.Introduce(system.RoleCheckpoint, "anna", "berta")
		vkeys = append(vkeys, h.NewestVKey())
		note()
		h.RetireKey(system.RoleCheckpoint, "anna", "berta")
		h.Rotate(system.RoleSeeds, "anna", "berta")
		note()
	}
	honest := len(logs)
	h.Play(h.who, 60)
	forge := func(signers ...string) {
		for _, vkey := range signers {
			h.Signers = append(h.Signers, h.Signer(vkey))
		}
		logs = append(logs, published{files: h.Publish(), vkey: h.VKey}, published{files: h.Publish(), vkey: vkeys[2]})
		h.Signers = nil
	}
	forge(vkeys[0])                                     // retired long ago
	forge(h.Introduction(system.RoleCheckpoint).Public) // never introduced
	fork := h.Sign(50, [32]byte{1})                     // by the keys of then
	h.Signers = append(h.Signers, h.Signer(vkeys[0]))   // and by one that was retired by then
	late := h.Sign(h.Size(), [32]byte{1})
	h.Signers = nil
	logs = append(logs, published{files: h.Publish(), vkey: vkeys[2], known: [][]byte{fork}}, published{files: h.Publish(), vkey: vkeys[2], known: [][]byte{late}})
	want := []opinion{{Status: 1}, {Status: 1}, {Status: 1}, {Status: 1}, {Status: 1}, {Status: 2}}
	for i, second := range theirs(t, logs...) {
		o := ours(t, logs[i])
		agree(t, o, second)
		if i < honest && (o.Status != 0 || o.Rounds == 0) || i >= honest && o.Status != want[i-honest].Status {
			t.Errorf("log %d of %d: %+v", i, honest, o)
		}
	}
}

// signed is a signature with what it is over, for vectors/keys.json.
type signed struct {
	About     string `json:"about"`
	Message   string `json:"message"`
	Algorithm string `json:"algorithm"`
	Public    string `json:"public"`
	Signature string `json:"signature"`
}

func (s *story) signedVector(msg []byte, name string, signature []byte) {
	algorithm, public, _ := officer(name)
	s.signatures = append(s.signatures, signed{"approval by " + name, string(msg), algorithm, hex.EncodeToString(public), hex.EncodeToString(signature)})
}

// statementVectors adds both signatures of an introduction.
func (s *story) statementVectors(r *keys.Introduced, replaces string) {
	msg := string(r.Statement(origin, replaces))
	s.signatures = append(s.signatures,
		signed{"key statement, by the old key", msg, r.Algorithm, replaces, hex.EncodeToString(r.SignatureOld)},
		signed{"key statement, by the new key", msg, r.Algorithm, r.Public, hex.EncodeToString(r.SignatureNew)})
}

// The signatures hold by nothing but the standard library, over messages that
// are canonical JSON with the members that keys.md names.
func TestKeyVectorsFollowFromTheDocument(t *testing.T) {
	var list []signed
	if err := json.Unmarshal(read(t, "vectors/keys.json"), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Errorf("only %d signatures", len(list))
	}
	tags := map[string][]string{
		"countroom/approval/v1":      {"action", "origin", "subject", "tag"},
		"countroom/key-statement/v1": {"algorithm", "assurance", "origin", "public", "replaces", "role", "tag"},
	}
	for _, v := range list {
		var members map[string]string
		if err := json.Unmarshal([]byte(v.Message), &members); err != nil {
			t.Errorf("%s: %v", v.About, err)
		}
		if want := tags[members["tag"]]; !slices.Equal(slices.Sorted(maps.Keys(members)), want) || v.Message != string(must(json.Marshal(members))) {
			t.Errorf("%s: %s: expected the members %q in this order", v.About, v.Message, want)
		}
		signature, good := must(hex.DecodeString(v.Signature)), false
		switch {
		case v.Algorithm == "ecdsa-p256":
			key := must(x509.ParsePKIXPublicKey(must(hex.DecodeString(v.Public)))).(*ecdsa.PublicKey)
			digest := sha256.Sum256([]byte(v.Message))
			good = ecdsa.VerifyASN1(key, digest[:], signature)
		case strings.Contains(v.Public, "+"):
			parts := strings.SplitN(v.Public, "+", 3)
			good = ed25519.Verify(must(base64.StdEncoding.DecodeString(parts[2]))[1:], []byte(v.Message), signature)
		default:
			good = ed25519.Verify(must(hex.DecodeString(v.Public)), []byte(v.Message), signature)
		}
		if !good {
			t.Errorf("%s: the signature is not good", v.About)
		}
	}
}
