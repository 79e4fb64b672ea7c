package tlog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

type testWitness struct {
	*Cosigner
	key ed25519.PrivateKey
}

func newTestWitness(t testing.TB, name string, seed byte) testWitness {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	vkey, err := CosignerVKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return testWitness{c, key}
}

func (w testWitness) cosign(text []byte, at uint64) Cosignature {
	s := Cosignature{Name: w.Name(), KeyHash: w.KeyHash(), Time: at}
	copy(s.Sig[:], ed25519.Sign(w.key, CosignedMessage(at, text)))
	return s
}

func cosignedNote(t testing.TB) (msg []byte, log note.Verifier, one, two testWitness) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	s, err := NewSigner("casino.example/log", key.Public().(ed25519.PublicKey), func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil })
	if err != nil {
		t.Fatal(err)
	}
	if msg, err = Sign(Checkpoint{Origin: "casino.example/log", Size: 7, Root: LeafHash([]byte("x"))}, s); err != nil {
		t.Fatal(err)
	}
	text, _, err := Text(msg)
	if err != nil {
		t.Fatal(err)
	}
	one, two = newTestWitness(t, "witness.example/1", 2), newTestWitness(t, "witness.example/2", 3)
	msg = one.cosign(text, 1767225600).AppendLine(msg)
	msg = two.cosign(text, 1767225601).AppendLine(msg)
	return msg, s.(*signer).Verifier, one, two
}

// Keys and cosignatures are those of code that is not ours.
func TestStockCodeVerifiesCosignatures(t *testing.T) {
	msg, log, one, two := cosignedNote(t)
	for _, w := range []testWitness{one, two} {
		vkey, err := CosignerVKey(w.Name(), w.Public())
		if err != nil {
			t.Fatal(err)
		}
		v, err := fnote.NewVerifierForCosignatureV1(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if v.KeyHash() != w.KeyHash() || v.Name() != w.Name() {
			t.Fatalf("stock key %s+%08x, ours %s+%08x", v.Name(), v.KeyHash(), w.Name(), w.KeyHash())
		}
		n, err := note.Open(msg, note.VerifierList(v, log))
		if err != nil || len(n.Sigs) != 2 {
			t.Fatalf("%v, %v", n, err)
		}
		at, err := fnote.CoSigV1Timestamp(n.Sigs[1])
		if err != nil || at.Unix()-1767225600 > 1 {
			t.Fatalf("time %v, %v", at, err)
		}
	}
	// What stock code signs holds here.
	skey, vkey, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{9}, 64)), "stock.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(msg, note.VerifierList(log))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(n, s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	good, others, err := Cosigned(signed, []*Cosigner{c, one.Cosigner})
	if err != nil || len(good) != 2 || others != 1 || time.Since(good[0].At()) > time.Hour {
		t.Fatalf("%v, %d others, %v", good, others, err)
	}
}

func TestCosigned(t *testing.T) {
	msg, log, one, two := cosignedNote(t)
	stranger := newTestWitness(t, "witness.example/3", 4)
	good, others, err := Cosigned(msg, []*Cosigner{two.Cosigner, stranger.Cosigner})
	if err != nil || len(good) != 1 || good[0].Name != two.Name() || good[0].Time != 1767225601 || others != 1 {
		t.Fatalf("%v, %d, %v", good, others, err)
	}
	if _, err := Open(msg, log); err != nil {
		t.Fatal(err)
	}
	// A line twice counts once.
	text, _, _ := Text(msg)
	twice := two.cosign(text, 1767225601).AppendLine(bytes.Clone(msg))
	if good, _, err := Cosigned(twice, []*Cosigner{two.Cosigner}); err != nil || len(good) != 1 {
		t.Fatalf("%v, %v", good, err)
	}
	for name, bad := range map[string]Cosignature{
		"another text": one.cosign(append(text, "x\n"...), 5),
		"another time": func() Cosignature { s := one.cosign(text, 5); s.Time = 6; return s }(),
		"another key":  func() Cosignature { s := two.cosign(text, 5); s.Name, s.KeyHash = one.Name(), one.KeyHash(); return s }(),
	} {
		forged := bad.AppendLine(bytes.Clone(msg))
		if _, _, err := Cosigned(forged, []*Cosigner{two.Cosigner, one.Cosigner}); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
		if good, others, err := Cosigned(forged, []*Cosigner{two.Cosigner}); err != nil || len(good) != 1 || others != 2 {
			t.Errorf("%s, by a witness that is not asked for: %v, %d, %v", name, good, others, err)
		}
	}
	for _, bad := range []string{"", "text\n", "text\n\n", "text\n\n— name\n", "text\n\n— name AAAAAAAA", "text\n\nname AAAAAAAA\n", "text\n\n— a+b AAAAAAAA\n"} {
		if _, _, err := Cosigned([]byte(bad), nil); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCosignerKeysHaveOneForm(t *testing.T) {
	one := newTestWitness(t, "witness.example/1", 2)
	vkey, err := CosignerVKey(one.Name(), one.Public())
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := VKey(one.Name(), one.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "a+b", vkey + "\n", vkey[:len(vkey)-1], strings.ToUpper(vkey), " " + vkey, logKey,
		strings.Replace(vkey, "/1", "/2", 1), strings.Replace(vkey, "+", "++", 1),
	} {
		if _, err := NewCosigner(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := CosignerVKey("a b", one.Public()); !errors.Is(err, ErrFormat) {
		t.Errorf("a name with a space: %v", err)
	}
	if _, err := CosignerVKey("a", one.Public()[1:]); !errors.Is(err, ErrFormat) {
		t.Errorf("a short key: %v", err)
	}
}

// What is parsed is written back as the same line, and never panics.
func FuzzCosignatures(f *testing.F) {
	msg, _, one, two := cosignedNote(f)
	f.Add(msg)
	f.Add([]byte("text\n\n— name AAAAAAAA\n"))
	f.Add([]byte("\n\n\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		_, lines, err := Text(msg)
		if err != nil {
			return
		}
		list, err := ParseCosignatures(lines)
		if err != nil {
			return
		}
		for _, s := range list {
			if !bytes.Contains(lines, s.AppendLine(nil)) {
				t.Fatalf("%q from %q", s.AppendLine(nil), lines)
			}
		}
		good, others, err := Cosigned(msg, []*Cosigner{one.Cosigner, two.Cosigner})
		if err == nil && len(good)+others > len(list) {
			t.Fatalf("%d and %d of %d", len(good), others, len(list))
		}
	})
}

// A key is read in one form or not at all.
func FuzzCosignerKey(f *testing.F) {
	one := newTestWitness(f, "witness.example/1", 2)
	vkey, _ := CosignerVKey(one.Name(), one.Public())
	f.Add(vkey)
	f.Add("a+00000000+BA==")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := NewCosigner(s)
		if err != nil {
			return
		}
		if again, err := CosignerVKey(c.Name(), c.Public()); err != nil || again != s {
			t.Fatalf("%q and %q, %v", s, again, err)
		}
	})
}
