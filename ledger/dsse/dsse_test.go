package dsse_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countroom/ledger/dsse"
)

const predicateType = "urn:countroom:test:v1"

type predicate struct {
	Game  string `json:"game"`
	Until string `json:"until"`
}

// private is a fixed key, so that seeds of the fuzz tests are the same each time.
func private(t testing.TB) (*ecdsa.PrivateKey, dsse.Key) {
	t.Helper()
	raw := sha256.Sum256([]byte("laboratory"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:])
	if err != nil {
		t.Fatal(err)
	}
	pub, err := dsse.KeyOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, pub
}

func signed(t testing.TB) (*dsse.Envelope, dsse.Key) {
	t.Helper()
	key, pub := private(t)
	payload, err := dsse.NewStatement(predicateType, predicate{"quay", "2027-01-01"}, dsse.Subject{Name: "report.json", Digest: dsse.SHA256([]byte("report"))})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(dsse.PAE(payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return &dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, pub
}

// A statement goes into a bundle and comes out, and openssl finds the same signature good.
func TestBundle(t *testing.T) {
	made, key := signed(t)
	bundle := dsse.Bundle(made, key)
	e, err := dsse.Parse(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(key); err != nil {
		t.Error(err)
	}
	var p predicate
	s, err := e.Statement(predicateType, &p)
	if err != nil {
		t.Fatal(err)
	}
	if p.Game != "quay" || s.Digest("report.json") != dsse.SHA256([]byte("report")).SHA256 || s.Digest("other") != "" {
		t.Errorf("%+v, %+v", s, p)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"key.pem": key.PEM(), "message": dsse.PAE(e.Payload), "signature": e.Signatures[0]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Verified OK") {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func TestEd25519(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := dsse.KeyOf(pub)
	if err != nil {
		t.Fatal(err)
	}
	made, other := signed(t)
	made.Signatures = append(made.Signatures, ed25519.Sign(key, dsse.PAE(made.Payload)))
	for _, k := range []dsse.Key{k, other} { // either signature will do
		if err := made.Verify(k); err != nil {
			t.Error(err)
		}
		again, err := dsse.ParseKey(k.String())
		if err != nil || again.String() != k.String() {
			t.Errorf("%s: %v", again, err)
		}
		if again, err = dsse.ParsePEM(k.PEM()); err != nil || again.Hint() != k.Hint() {
			t.Errorf("%s: %v", again, err)
		}
	}
}

func TestForged(t *testing.T) {
	made, key := signed(t)
	for name, change := range map[string]func(e *dsse.Envelope){
		"another payload": func(e *dsse.Envelope) { e.Payload = bytes.Replace(e.Payload, []byte("2027"), []byte("2037"), 1) },
		"a broken signature": func(e *dsse.Envelope) {
			e.Signatures = [][]byte{append([]byte(nil), e.Signatures[0][:10]...)}
		},
		"no signature": func(e *dsse.Envelope) { e.Signatures = nil },
	} {
		e := *made
		change(&e)
		if err := e.Verify(key); !errors.Is(err, dsse.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := made.Verify(dsse.Key{}); !errors.Is(err, dsse.ErrSignature) {
		t.Errorf("no key: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	made, key := signed(t)
	bundle := string(dsse.Bundle(made, key))
	for name, change := range map[string][2]string{
		"another media type":   {"bundle.v0.3+json", "bundle.v0.2+json"},
		"another payload type": {"vnd.in-toto+json\",\"sig", "text\",\"sig"},
		"a name twice":         {`"mediaType"`, `"dsseEnvelope":{},"mediaType"`},
		"no envelope":          {`"dsseEnvelope"`, `"messageSignature"`},
		"another spelling":     {`"dsseEnvelope"`, `"DSSEenvelope"`},
		"no base64":            {`"sig":"`, `"sig":"!`},
		"no signatures":        {`"signatures":[`, `"signatures":[],"x":[`},
	} {
		changed := strings.Replace(bundle, change[0], change[1], 1)
		if changed == bundle {
			t.Fatalf("%s: nothing was changed", name)
		}
		if e, err := dsse.Parse([]byte(changed)); !errors.Is(err, dsse.ErrFormat) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	for _, data := range []string{"", "[]", "null", "{}", strings.Repeat(" ", dsse.Most+1)} {
		if e, err := dsse.Parse([]byte(data)); !errors.Is(err, dsse.ErrFormat) {
			t.Errorf("%.10q: %v, %v", data, e, err)
		}
	}
	var p predicate
	for name, change := range map[string][2]string{
		"another predicate type": {"test:v1", "test:v2"},
		"another statement":      {"Statement/v1", "Statement/v2"},
		"an unknown member":      {`"game"`, `"fame":1,"game"`},
		"another spelling":       {`"until"`, `"Until"`},
		"no digest":              {`"sha256"`, `"sha512"`},
	} {
		e := &dsse.Envelope{Payload: bytes.Replace(made.Payload, []byte(change[0]), []byte(change[1]), 1)}
		if s, err := e.Statement(predicateType, &p); !errors.Is(err, dsse.ErrFormat) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for _, s := range []string{"", "xx", "00", strings.ToUpper(key.String()), key.String() + "00"} {
		if _, err := dsse.ParseKey(s); !errors.Is(err, dsse.ErrFormat) {
			t.Errorf("key %q: %v", s, err)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dsse.KeyOf(p384.Public()); !errors.Is(err, dsse.ErrFormat) {
		t.Errorf("P-384: %v", err)
	}
}

// Whatever is read comes back as the same when it is written and read again.
func FuzzParse(f *testing.F) {
	made, key := signed(f)
	f.Add(dsse.Bundle(made, key))
	env, _ := json.Marshal(map[string]any{"payload": made.Payload, "payloadType": dsse.PayloadType, "signatures": []any{map[string]any{"sig": made.Signatures[0], "keyid": "x"}}})
	f.Add(env)
	f.Add([]byte(`{"mediaType":"` + dsse.BundleType + `","dsseEnvelope":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := dsse.Parse(data)
		if err != nil {
			if !errors.Is(err, dsse.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := dsse.Parse(dsse.Bundle(e, key))
		if err != nil {
			if len(data) < dsse.Most/2 {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(again.Payload, e.Payload) || len(again.Signatures) != len(e.Signatures) {
			t.Fatal("another envelope")
		}
		if e.Verify(key) == nil && !bytes.Equal(e.Payload, made.Payload) {
			t.Fatal("a payload that the key did not sign")
		}
	})
}

func FuzzStatement(f *testing.F) {
	made, _ := signed(f)
	f.Add(made.Payload)
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"urn:countroom:test:v1","predicate":{"game":"","until":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p predicate
		s, err := (&dsse.Envelope{Payload: data}).Statement(predicateType, &p)
		if err != nil {
			if !errors.Is(err, dsse.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		payload, err := dsse.NewStatement(s.PredicateType, p, s.Subject...)
		if err != nil {
			t.Fatal(err)
		}
		var again predicate
		if _, err := (&dsse.Envelope{Payload: payload}).Statement(predicateType, &again); err != nil || again != p {
			t.Fatalf("%v: %+v, %+v", err, again, p)
		}
	})
}
