package certificates_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"countroom/games/certificates"
	"countroom/games/rounds"
	"countroom/ledger/book"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

var (
	start   = entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	program = sha256.Sum256([]byte("program"))
	maths   = sha256.Sum256([]byte("maths"))
)

func laboratory(t testing.TB) (*ecdsa.PrivateKey, dsse.Key) {
	t.Helper()
	raw := sha256.Sum256([]byte("laboratory"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := dsse.KeyOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func certificate() certificates.Certificate {
	return certificates.Certificate{
		Begins: start, Expires: start.Add(time.Hour), Game: "quay", Laboratory: "testhouse", Maths: maths, Program: program, Release: "1.0.0", Returns: "0.95",
	}
}

func signed(t testing.TB, c certificates.Certificate) []byte {
	t.Helper()
	payload, err := c.Payload()
	if err != nil {
		t.Fatal(err)
	}
	key, public := laboratory(t)
	digest := sha256.Sum256(dsse.PAE(payload))
	sig, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, public)
}

// world folds entries, the first of which fails the test if it breaks a rule.
type world struct {
	t    *testing.T
	rows book.Memory
	n    uint64
	now  entry.Time
}

func (w *world) add(r entry.Record) error {
	w.now = w.now.Add(time.Second)
	r.Head().At = w.now
	w.n++
	return certificates.Fold(w.rows, w.n, r)
}

func (w *world) must(r entry.Record) {
	w.t.Helper()
	if err := w.add(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) verified(reason string) *certificates.Verified {
	return &certificates.Verified{Games: certificates.GamesHash(certificates.InPlay(w.rows)), Matches: true, Program: program, Reason: reason}
}

func (w *world) mayPlay() error { return certificates.MayPlay(w.rows, "quay", maths, w.now) }

// A house enters production, certifies its game, loses the certificate, renews it, and is started anew.
func TestProduction(t *testing.T) {
	w := &world{t: t, rows: book.Memory{}, now: start}
	w.rows.Put(rounds.GamesKey, &rounds.Games{IDs: []string{"quay"}})
	w.rows.Put(rounds.GameKey("quay"), &rounds.Game{Enabled: 1, Maths: maths, On: true})
	_, public := laboratory(t)
	expect := func(want error) {
		t.Helper()
		if err := w.mayPlay(); !errors.Is(err, want) {
			t.Errorf("%v, expected %v", err, want)
		}
	}
	active := &system.HouseActive{Release: "1.0.0 sha256:" + hexOf(program[:16])}
	w.must(active)
	expect(nil) // a demonstration
	w.must(w.verified(certificates.AtStart))
	w.must(&certificates.Production{})
	expect(certificates.ErrUncertified)
	w.must(&certificates.Recognised{Laboratory: "testhouse", Public: public.String()})
	w.must(&certificates.Certified{Certificate: certificate(), Blob: [32]byte{1}})
	expect(nil)
	w.now = start.Add(time.Hour)
	expect(certificates.ErrUncertified)
	renewed := certificate()
	renewed.Begins, renewed.Expires = start.Add(time.Hour), start.Add(10*time.Hour)
	w.must(&certificates.Certified{Certificate: renewed, Blob: [32]byte{2}})
	expect(nil)
	w.must(active)
	expect(certificates.ErrUnverified)
	w.must(w.verified(certificates.AtStart))
	expect(nil)
	replaced := w.verified(certificates.ByDay)
	replaced.Program, replaced.Matches = [32]byte{9}, false
	w.must(replaced)
	expect(certificates.ErrUnverified)
	w.must(w.verified(certificates.Asked)) // it was put back
	expect(nil)
	w.must(&system.HouseActive{Release: "2.0.0 sha256:" + strings.Repeat("ab", 16)})
	w.must(&certificates.Verified{Games: certificates.GamesHash(certificates.InPlay(w.rows)), Matches: true, Program: [32]byte([]byte(strings.Repeat("\xab", 32))), Reason: certificates.AtStart})
	expect(certificates.ErrUncertified) // of another program
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestRunning(t *testing.T) {
	for release, want := range map[string][16]byte{
		"1.0.0 sha256:" + hexOf(program[:16]): [16]byte(program[:16]),
		"1.0.0":                               {},
		"1.0.0 sha256:" + strings.ToUpper(hexOf(program[:16])):              {},
		"1.0.0 sha256:" + hexOf(program[:]):                                 {},
		"1.0.0 sha256:ab":                                                   {},
		"sha256:" + hexOf(program[:16]):                                     {},
		"1 sha256:" + hexOf(program[:8]) + " sha256:" + hexOf(program[:16]): {},
	} {
		if got := certificates.Running(release); got != want {
			t.Errorf("%q: %x", release, got)
		}
	}
}

func TestRead(t *testing.T) {
	e, c, err := certificates.Read(signed(t, certificate()))
	if err != nil || *c != certificate() {
		t.Fatalf("%v: %+v", err, c)
	}
	_, public := laboratory(t)
	if err := e.Verify(public); err != nil {
		t.Error(err)
	}
	r := &certificates.Certified{Certificate: certificate()}
	if err := r.CheckStatement(public.String(), signed(t, certificate())); err != nil {
		t.Error(err)
	}
	r.Expires++
	if err := r.CheckStatement(public.String(), signed(t, certificate())); !errors.Is(err, dsse.ErrFormat) {
		t.Error(err)
	}
	same := certificate()
	same.Game = "countroom" // as the program is called
	if _, c, err := certificates.Read(signed(t, same)); err == nil {
		t.Errorf("%+v", c)
	}
}

// Whatever is read as a certificate says the same when it is written again.
func FuzzRead(f *testing.F) {
	f.Add(signed(f, certificate()))
	f.Add([]byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":""}]}`))
	_, public := laboratory(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, c, err := certificates.Read(data)
		if err != nil {
			if !errors.Is(err, dsse.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		payload, err := c.Payload()
		if err != nil {
			t.Fatal(err)
		}
		_, again, err := certificates.Read(dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: e.Signatures}, public))
		if err != nil || *again != *c {
			t.Fatalf("%v: %+v, %+v", err, again, c)
		}
	})
}
