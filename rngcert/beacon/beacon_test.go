package beacon

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What drand's network "quicknet" answers to /info.
const quicknet = `{"public_key":"83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a","period":3,"genesis_time":1692803367,"hash":"52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971","groupHash":"f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e","schemeID":"bls-unchained-g1-rfc9380","metadata":{"beaconID":"quicknet"}}`

func chain(t testing.TB) *Chain {
	t.Helper()
	c, err := ParseInfo([]byte(quicknet))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signature(t testing.TB, s string) (sig [SignatureSize]byte) {
	t.Helper()
	if err := unhex(sig[:], s); err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestPublishedRounds checks rounds that the public network published.
func TestPublishedRounds(t *testing.T) {
	c := chain(t)
	for _, r := range []struct {
		round                 uint64
		signature, randomness string
	}{
		{1000, "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39", "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd"},
		{657413, "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b", "fc1873a1" + "3f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587"},
	} {
		got, err := c.Verify(r.round, signature(t, r.signature))
		if err != nil {
			t.Errorf("round %d: %v", r.round, err)
		}
		if hex.EncodeToString(got[:]) != r.randomness {
			t.Errorf("round %d gives %x, published %s", r.round, got, r.randomness)
		}
	}
}

func TestForgedRounds(t *testing.T) {
	c := chain(t)
	good := signature(t, "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39")
	infinity := [SignatureSize]byte{0xc0}
	negated := good
	negated[0] ^= 0x20
	for name, f := range map[string]struct {
		round uint64
		sig   [SignatureSize]byte
	}{
		"of another round": {1001, good}, "the negated point": {1000, negated}, "infinity": {1000, infinity}, "zeros": {1000, [SignatureSize]byte{}},
		"one bit changed": {1000, func() [SignatureSize]byte { s := good; s[40] ^= 1; return s }()},
	} {
		if _, err := c.Verify(f.round, f.sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchedule: round 1 is published at the genesis, and a round is named before it exists.
func TestSchedule(t *testing.T) {
	c := chain(t)
	genesis := time.Unix(1692803367, 0)
	if at := c.At(1); !at.Equal(genesis) {
		t.Errorf("round 1 at %v", at)
	}
	for _, s := range []struct {
		at    time.Time
		round uint64
	}{
		{genesis.Add(-time.Hour), 1}, {genesis.Add(-time.Nanosecond), 1}, {genesis, 2}, {genesis.Add(2 * time.Second), 2}, {genesis.Add(3 * time.Second), 3},
	} {
		if r := c.After(s.at); r != s.round || !c.At(r).After(s.at) {
			t.Errorf("after %v: round %d (at %v), expected %d", s.at, r, c.At(r), s.round)
		}
	}
}

func TestInfoIsHeldAgainstItsHash(t *testing.T) {
	c := chain(t)
	if _, err := New(c.PublicKey, c.Period, c.Genesis, c.Seed, c.ID); err != nil {
		t.Error(err)
	}
	for name, change := range map[string][2]string{
		"period":        {`"period":3`, `"period":4`},
		"no period":     {`"period":3`, `"period":0`},
		"genesis":       {"1692803367", "1692803368"},
		"old genesis":   {"1692803367", "-1"},
		"key":           {"83cf0f28", "83cf0f29"},
		"short key":     {"83cf0f28", "83"},
		"infinite key":  {`"public_key":"83cf0f2896`, `"public_key":"c000000000`},
		"group":         {"f477d5c8", "f477d5c9"},
		"group digits":  {"f477d5c8", "f477d5cx"},
		"hash":          {"52db9ba7", "52db9ba8"},
		"name":          {"quicknet", "quickest"},
		"other scheme":  {Scheme, "pedersen-bls-chained"},
		"not an object": {`{"public_key"`, `["public_key"`},
	} {
		if _, err := ParseInfo([]byte(strings.Replace(quicknet, change[0], change[1], 1))); !errors.Is(err, ErrInfo) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(quicknet))
	f.Add([]byte(strings.Replace(quicknet, "83cf", "c3cf", 1)))
	f.Add([]byte(`{"schemeID":"bls-unchained-g1-rfc9380","public_key":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseInfo(b)
		if err != nil {
			if !errors.Is(err, ErrInfo) {
				t.Errorf("%v", err)
			}
			return
		}
		// What was accepted says the same when it is written again.
		again, err := json.Marshal(map[string]any{
			"public_key": hex.EncodeToString(c.PublicKey[:]), "period": c.Period, "genesis_time": c.Genesis, "hash": fmt.Sprintf("%x", c.Hash()),
			"groupHash": hex.EncodeToString(c.Seed[:]), "schemeID": Scheme, "metadata": map[string]string{"beaconID": c.ID},
		})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := ParseInfo(again); err != nil || d.Hash() != c.Hash() {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	c := chain(b)
	sig := signature(b, "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39")
	for b.Loop() {
		if _, err := c.Verify(1000, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParseRound(f *testing.F) {
	f.Add([]byte(`{"round":1000,"randomness":"fe29","signature":"b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"}`))
	f.Add([]byte(`{"round":-1}`))
	f.Add([]byte(`{"round":1,"signature":"zz"}`))
	c := chain(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		round, sig, err := ParseRound(b)
		if err != nil {
			if !errors.Is(err, ErrRound) {
				t.Error(err)
			}
			return
		}
		if _, err := c.Verify(round, sig); err != nil && !errors.Is(err, ErrSignature) {
			t.Error(err)
		}
	})
}
