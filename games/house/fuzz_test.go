package house

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"countroom/ledger/entry"
)

// A token is good as it was made, in one spelling, and no other text is: it
// opens as the session that its first 16 bytes name only with that one's MAC.
func FuzzToken(f *testing.F) {
	h := &House{cfg: Config{TokenKey: [32]byte{1}}}
	id := entry.NewUUID([16]byte{1, 2, 3})
	good := h.token(id)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good + "=")
	f.Add((&House{}).token(id))
	for n := range byte(255) { // a token that ends in a zero byte is hardly another without it
		if id := entry.NewUUID([16]byte{n}); h.tokenMAC(id)[31] == 0 {
			f.Add(h.token(id)[:63] + "\n")
		}
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := h.openToken(token)
		if err == nil && h.token(id) != token {
			t.Fatalf("%q opens as %s, whose token is %q", token, id, h.token(id))
		}
		if err != nil && !errors.Is(err, ErrToken) {
			t.Fatal(err)
		}
		// The session that the text names has a token, which opens.
		raw, _ := base64.RawURLEncoding.DecodeString(token)
		var named entry.UUID
		copy(named[:], raw)
		if got, err := h.openToken(h.token(named)); err != nil || got != named {
			t.Fatalf("the token of %s opens as %s, %v", named, got, err)
		}
	})
}

// A vault row opens to what was sealed, under its own key only.
func FuzzVault(f *testing.F) {
	v := newVaultOf(1)
	key := v.name("player-id", "regular")
	good := v.seal(key, []byte("a reference"))
	f.Add(key, good)
	f.Add(v.name("player-id", "another"), good)
	f.Add(key, good[:12])
	f.Add(key, good[:11])
	f.Add(key, []byte{})
	f.Add(key, newVaultOf(2).seal(key, []byte("a reference")))
	f.Fuzz(func(t *testing.T, k string, sealed []byte) {
		plain, err := v.open(k, sealed)
		if err == nil && (k != key || string(plain) != "a reference") || err != nil && k == key && bytes.Equal(sealed, good) {
			t.Fatalf("%q, %x: %q, %v", k, sealed, plain, err)
		}
		if err != nil && !errors.Is(err, errVault) {
			t.Fatal(err)
		}
		// Any text under any name comes back.
		row := v.name("reason", k)
		if plain, err := v.open(row, v.seal(row, sealed)); err != nil || !bytes.Equal(plain, sealed) {
			t.Fatalf("%x was sealed, %x opened, %v", sealed, plain, err)
		}
	})
}

func newVaultOf(key byte) *vault {
	return newVault([32]byte{key}, Ratchet{Key: [32]byte{key}})
}

// A ratchet's file is read as it was written, and nothing else is.
func FuzzRatchet(f *testing.F) {
	f.Add(Ratchet{Period: 7, Key: [32]byte{1, 2}}.Text())
	f.Add([]byte("0 " + strings.Repeat("ab", 32)))
	f.Add([]byte("00 " + strings.Repeat("ab", 32)))
	f.Add([]byte("4294967296 " + strings.Repeat("ab", 32)))
	f.Add([]byte("1 " + strings.Repeat("ab", 31)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := ParseRatchet(file)
		if err != nil {
			return
		}
		if text := strings.ToLower(strings.TrimSpace(string(file))) + "\n"; string(r.Text()) != text {
			t.Fatalf("%q was read as %q", file, r.Text())
		}
	})
}

// A wrapped row opens to what was wrapped, under its own key and with the keys of
// its period only, whatever period it says it is of.
func FuzzWrapped(f *testing.F) {
	v, later := newVaultOf(1), newVaultOf(1)
	if err := later.forget(3, nil); err != nil {
		f.Fatal(err)
	}
	key := v.name(kindSubject, "somebody")
	good, err := v.wrap(key, []byte("a key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key, good)
	f.Add(v.name(kindSubject, "another"), good)
	f.Add(key, append([]byte{0, 0, 0, 5}, good[4:]...))
	f.Add(key, append([]byte{255, 255, 255, 255}, good[4:]...))
	f.Add(key, good[:20])
	f.Add(key, good[:3])
	f.Fuzz(func(t *testing.T, k string, sealed []byte) {
		plain, err := v.unwrap(k, sealed)
		if err == nil && (k != key || string(plain) != "a key") || err != nil && k == key && bytes.Equal(sealed, good) {
			t.Fatalf("%q, %x: %q, %v", k, sealed, plain, err)
		}
		if plain, err := later.unwrap(k, sealed); err == nil {
			t.Fatalf("%q, %x: two periods later it opens to %q", k, sealed, plain)
		}
	})
}
