package house_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"countroom/games/certificates"
	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
)

var program = sha256.Sum256([]byte("the program"))

// inProduction is an option of a house that is in production and runs the program.
func inProduction(found *[32]byte) func(*ledger.Config, *house.Config) {
	return func(_ *ledger.Config, c *house.Config) {
		c.Release = "1.0.0 sha256:" + hex.EncodeToString(program[:16])
		c.Production = true
		c.Look = func() ([32]byte, [32]byte, error) { return *found, [32]byte{1}, nil }
	}
}

func operatorAsks(key string) house.Request {
	return house.Request{Key: key, Method: "POST", Path: "/test", Principal: "operator"}
}

// A house in production plays nothing until a laboratory that it recognises has certified the game for the program,
// and stops when the program is found to be another.
func TestProduction(t *testing.T) {
	ctx := t.Context()
	found := program
	h := housetest.Open(t, t.TempDir(), inProduction(&found))
	must := func(_ ledger.Receipt, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.CreatePlayer(ctx, operatorAsks("1"), "alice", "EUR"))
	must(h.Deposit(ctx, operatorAsks("2"), "alice", money.Money{Amount: 10_000, Currency: "EUR"}))
	_, _, token, err := h.OpenSession(ctx, operatorAsks("3"), "alice", "lamplight-quay")
	if err != nil {
		t.Fatal(err)
	}
	seat, err := h.Seat(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	spins := 0
	spin := func(want error) {
		t.Helper()
		spins++
		if _, err := h.Spin(ctx, house.Request{Key: hex.EncodeToString([]byte{byte(spins)}), Method: "POST", Path: "/v1/spins", Principal: "p"}, seat, 100); !errors.Is(err, want) {
			t.Errorf("spin %d: %v, expected %v", spins, err, want)
		}
	}
	spin(certificates.ErrUncertified)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := dsse.KeyOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(c certificates.Certificate) []byte {
		payload, err := c.Payload()
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(dsse.PAE(payload))
		sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, public)
	}
	d := slots.Bundled()
	now := entry.TimeOf(time.Now())
	good := certificates.Certificate{
		Begins: now.Add(-time.Hour), Expires: now.Add(time.Hour), Game: d.ID, Laboratory: "testhouse", Maths: d.Hash(), Program: program, Release: d.Version, Returns: "0.95",
	}
	if _, err := h.ImportCertificate(ctx, operatorAsks("4"), certificate(good)); !errors.Is(err, certificates.ErrLaboratory) {
		t.Errorf("a laboratory that nobody knows: %v", err)
	}
	must(h.Recognise(ctx, operatorAsks("5"), "testhouse", public.String(), nil))
	if _, err := h.Recognise(ctx, operatorAsks("6"), "testhouse", public.String(), nil); !errors.Is(err, certificates.ErrRecognised) {
		t.Errorf("twice: %v", err)
	}
	over := good
	over.Begins, over.Expires = now.Add(-2*time.Hour), now.Add(-time.Hour)
	if _, err := h.ImportCertificate(ctx, operatorAsks("7"), certificate(over)); !errors.Is(err, certificates.ErrValidity) {
		t.Errorf("a certificate that is over: %v", err)
	}
	forged := bytes.Replace(certificate(good), []byte(`"sig":"M`), []byte(`"sig":"N`), 1)
	if _, err := h.ImportCertificate(ctx, operatorAsks("8"), forged); !errors.Is(err, dsse.ErrSignature) {
		t.Errorf("a forged certificate: %v", err)
	}
	other := good
	other.Maths[0] ^= 1
	must(h.ImportCertificate(ctx, operatorAsks("9"), certificate(other)))
	spin(certificates.ErrUncertified)
	signed := certificate(good)
	must(h.ImportCertificate(ctx, operatorAsks("10"), signed))
	if _, err := h.ImportCertificate(ctx, operatorAsks("11"), signed); !errors.Is(err, certificates.ErrImported) {
		t.Errorf("the same again: %v", err)
	}
	spin(nil)
	if blob, err := h.Blob(ctx, sha256.Sum256(signed)); err != nil || !bytes.Equal(blob, signed) {
		t.Errorf("the blob: %d bytes, %v", len(blob), err)
	}
	if _, err := h.Blob(ctx, [32]byte{}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a blob that nothing names: %v", err)
	}
	production, list, err := h.Certifications(ctx)
	if err != nil || !production || len(list) != 1 || !list[0].InForce || len(list[0].List) != 1 {
		t.Errorf("%t, %+v, %v", production, list, err)
	}

	found[0] ^= 1 // somebody put another program in its place
	if r, err := h.SelfCheck(ctx, certificates.ByDay); err != nil || r.Matches {
		t.Errorf("%+v, %v", r, err)
	}
	if a := all[system.AlarmRaised](t, h); len(a) != 1 || a[0].Alarm != system.AlarmSoftware || a[0].About != found || a[0].Count != 1 {
		t.Errorf("%+v", a)
	}
	spin(certificates.ErrUnverified)
	if _, err := h.SetGameState(ctx, operatorAsks("12"), d.ID, false, "while it is looked into"); err != nil {
		t.Error(err)
	}
	if _, err := h.SetGameState(ctx, operatorAsks("13"), d.ID, true, "again"); !errors.Is(err, certificates.ErrUnverified) {
		t.Errorf("enabling it again: %v", err)
	}
	found = program
	if r, err := h.SelfCheck(ctx, certificates.Asked); err != nil || !r.Matches {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := h.SetGameState(ctx, operatorAsks("14"), d.ID, true, "again"); err != nil {
		t.Error(err)
	}
	spin(nil)
}
