package tlog

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// While a key is exchanged a checkpoint has a line of each: who knows either
// can open it, and who knows neither can see what it says and whose it may be.
func TestACheckpointOfSeveralKeys(t *testing.T) {
	signer := func(seed byte) (note.Signer, note.Verifier) {
		key := ed25519.NewKeyFromSeed(append(make([]byte, 31), seed))
		s, err := NewSigner("example.com/log", key.Public().(ed25519.PublicKey), func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
		if err != nil {
			t.Fatal(err)
		}
		return s, s.(note.Verifier)
	}
	first, v1 := signer(1)
	second, v2 := signer(2)
	_, v3 := signer(3)
	c := Checkpoint{Origin: "example.com/log", Size: 7, Root: Hash{1}}
	msg, err := Sign(c, first, second)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []note.Verifier{v1, v2} {
		if got, err := Open(msg, v); err != nil || got != c {
			t.Errorf("key %d: %+v, %v", i, got, err)
		}
		if name, key := SignedUnder(msg, v); !name || !key {
			t.Errorf("key %d: %v, %v", i, name, key)
		}
	}
	if _, err := Open(msg, v3); !errors.Is(err, ErrSignature) {
		t.Errorf("a third key: %v", err)
	}
	if name, key := SignedUnder(msg, v3); !name || key {
		t.Errorf("a third key: %v, %v", name, key)
	}
	if got, err := Peek(msg); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Peek([]byte("example.com/log\n7\n")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := Sign(c); err == nil {
		t.Error("nobody signed")
	}
}
