package appliance

import (
	"crypto/ed25519"
	"encoding/hex"
	"io/fs"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
)

// folder is the files of a house in memory.
type folder struct {
	Files
	files map[string][]byte
}

func (f folder) ReadFile(path string) ([]byte, error) {
	b, ok := f.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (f folder) WriteFile(path string, content []byte) error {
	f.files[path] = content
	return nil
}

func (f folder) ReadPrivate(path string) ([]byte, error) { return f.ReadFile(path) }

func (f folder) CreatePrivate(path string, data []byte) error { return f.WriteFile(path, data) }

func (f folder) ReplacePrivate(path string, data []byte) error { return f.WriteFile(path, data) }

func (f folder) TidyPrivate(string) error { return nil }

// A secret's file holds 64 hex digits or is refused, and is never written over.
func FuzzSecretFile(f *testing.F) {
	f.Add([]byte(strings.Repeat("0a", 32) + "\n"))
	f.Add([]byte(strings.Repeat("0A", 32)))
	f.Add([]byte(strings.Repeat("0a", 33)))
	f.Add([]byte(strings.Repeat("0a\n", 32)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		house := folder{files: map[string][]byte{"seal.key": content}}
		secret, err := openSecret(house, "seal.key", true)
		text := strings.ToLower(strings.TrimSpace(string(content)))
		if err == nil && hex.EncodeToString(secret[:]) != text {
			t.Fatalf("%q was read as %x", content, secret)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "seal.key: ") || len(text) == 64 && strings.Trim(text, "0123456789abcdef") == "") {
			t.Fatalf("%q: %v", content, err)
		}
		if string(house.files["seal.key"]) != string(content) {
			t.Fatalf("%q was written over with %q", content, house.files["seal.key"])
		}
		made, err := openSecret(house, "another.key", true)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := openSecret(house, "another.key", false); err != nil || again != made {
			t.Fatalf("%x was made, %x read, %v", made, again, err)
		}
	})
}

// A log that gets a name keeps it.
func FuzzOrigin(f *testing.F) {
	for _, name := range []string{"", "casino.example/main", "a b", "a+b", "a\n", "\xff", "\u00a0", "—", "a\u0085", strings.Repeat("a", 256)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, want string) {
		house := folder{files: map[string][]byte{}}
		origin, err := openOrigin(house, "d", want, false)
		if err != nil {
			if len(house.files) > 0 {
				t.Fatalf("%q was refused and written: %v", want, err)
			}
			return
		}
		if want != "" && origin != want {
			t.Fatalf("%q became %q", want, origin)
		}
		if _, err := tlog.VKey(origin, make(ed25519.PublicKey, ed25519.PublicKeySize)); err != nil {
			t.Fatalf("%q has no verifier key: %v", origin, err)
		}
		created := system.HouseCreated{Header: entry.Header{ID: entry.NewUUID([16]byte{})}, Origin: origin}
		if _, err := entry.Append(nil, &created); err != nil {
			t.Fatalf("%q cannot be the name of a house: %v", origin, err)
		}
		for _, want := range []string{"", origin} {
			if again, err := openOrigin(house, "d", want, true); err != nil || again != origin {
				t.Fatalf("%q was written, %q read, %v", origin, again, err)
			}
		}
		if again, err := openOrigin(house, "d", origin+"x", true); err == nil {
			t.Fatalf("%q was opened as %q", origin, again)
		}
		delete(house.files, "d/origin")
		if _, err := openOrigin(house, "d", origin, true); err == nil || len(house.files) > 0 {
			t.Fatalf("the name was lost and made anew: %v", err)
		}
	})
}
