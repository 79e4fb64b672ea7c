package house

import (
	"bytes"
	"encoding/base64"
	"errors"
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
	v := newVault([32]byte{1})
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
	v := newVault([32]byte{key})
	return &v
}
