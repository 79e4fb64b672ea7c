//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"countroom/hardware/pkcs11"
	"countroom/hardware/pkcs11/softhsm"
)

func parse(t *testing.T, s string) pkcs11.URI {
	t.Helper()
	uri, err := pkcs11.ParseURI(s)
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

func open(t *testing.T, s string) (*pkcs11.Token, pkcs11.URI) {
	t.Helper()
	uri := parse(t, s)
	token, err := pkcs11.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token, uri
}

// verify holds a signature against a public key by the standard library.
func verify(t *testing.T, key *pkcs11.Key, message, sig []byte) {
	t.Helper()
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(public, message, sig) {
			t.Error("Ed25519 signature does not verify")
		}
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		if !ecdsa.Verify(public, message, r, s) {
			t.Error("ECDSA signature does not verify")
		}
	default:
		t.Errorf("public key is a %T", public)
	}
}

func TestKeysAreMadeFoundAndUsed(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, _ := open(t, store.URI("house", ""))
	info, err := token.Info(t.Context())
	if err != nil || info.Label != "house" || info.Serial == "" || info.Manufacturer != "SoftHSM project" {
		t.Errorf("info %+v, %v", info, err)
	}
	digest := sha256.Sum256([]byte("message"))
	for _, kind := range []pkcs11.Kind{pkcs11.Ed25519, pkcs11.P256} {
		t.Run(kind.String(), func(t *testing.T) {
			uri := parse(t, store.URI("house", strings.ReplaceAll(kind.String(), " ", "-")))
			if _, err := token.Find(t.Context(), uri, kind); !errors.Is(err, pkcs11.ErrNoKey) {
				t.Errorf("before it is made: %v", err)
			}
			made, err := token.Generate(t.Context(), uri, kind)
			if err != nil {
				t.Fatal(err)
			}
			if o, err := made.Origin(t.Context()); err != nil || o != (pkcs11.Origin{Local: true, AlwaysSensitive: true, NeverExtractable: true}) {
				t.Errorf("origin %+v, %v", o, err)
			}
			found, err := token.Find(t.Context(), uri, kind)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := found.Sign(t.Context(), digest[:])
			if err != nil {
				t.Fatal(err)
			}
			verify(t, made, digest[:], sig)
			if _, err := token.Generate(t.Context(), uri, kind); !errors.Is(err, pkcs11.ErrKey) {
				t.Errorf("made over a key: %v", err)
			}
			other := pkcs11.Ed25519 + pkcs11.P256 - kind
			if _, err := token.Find(t.Context(), uri, other); !errors.Is(err, pkcs11.ErrKey) || !strings.Contains(err.Error(), "expected an "+other.String()) {
				t.Errorf("taken for another kind: %v", err)
			}
			if _, err := token.Find(t.Context(), uri, pkcs11.AES256); !errors.Is(err, pkcs11.ErrNoKey) {
				t.Errorf("taken for a secret key: %v", err)
			}
		})
	}
}

func TestSealing(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, uri := open(t, store.URI("house", "seal"))
	key, err := token.Generate(t.Context(), uri, pkcs11.AES256)
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte{7}, 64)
	iv, sealed, err := key.Seal(t.Context(), plain, []byte("epoch 1"))
	if err != nil || len(iv) != 12 || len(sealed) != 80 {
		t.Fatalf("iv of %d, %d bytes, %v", len(iv), len(sealed), err)
	}
	again, _, err := key.Seal(t.Context(), plain, []byte("epoch 1"))
	if err != nil || bytes.Equal(again, iv) {
		t.Errorf("the iv %x came twice, %v", iv, err)
	}
	found, err := token.Find(t.Context(), uri, pkcs11.AES256)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := found.Open(t.Context(), iv, sealed, []byte("epoch 1")); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %x, %v", got, err)
	}
	flipped := bytes.Clone(sealed)
	flipped[0] ^= 1
	for what, try := range map[string][3][]byte{
		"changed": {iv, flipped, []byte("epoch 1")}, "moved": {iv, sealed, []byte("epoch 2")},
		"other iv": {again, sealed, []byte("epoch 1")}, "cut": {iv, sealed[:79], []byte("epoch 1")},
		"nothing": {iv, nil, []byte("epoch 1")}, "no iv": {nil, sealed, []byte("epoch 1")},
	} {
		if got, err := found.Open(t.Context(), try[0], try[1], try[2]); !errors.Is(err, pkcs11.ErrSealed) {
			t.Errorf("%s: opened %x, %v", what, got, err)
		}
	}
	if _, err := key.Sign(t.Context(), plain); !errors.Is(err, pkcs11.ErrKey) {
		t.Errorf("a sealing key signs: %v", err)
	}
}

func TestRandomNeedsNoPIN(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, uri := open(t, "pkcs11:token=house?module-path="+store.Module)
	a, b := make([]byte, 64), make([]byte, 64)
	if err := errors.Join(token.Random(t.Context(), a), token.Random(t.Context(), b)); err != nil || bytes.Equal(a, b) || bytes.Equal(a, make([]byte, 64)) {
		t.Errorf("%x, %x, %v", a, b, err)
	}
	uri.Object = "key"
	if _, err := token.Find(t.Context(), uri, pkcs11.P256); !errors.Is(err, pkcs11.ErrPIN) || !strings.Contains(err.Error(), "pin-source") {
		t.Errorf("a key without a PIN: %v", err)
	}
}

func TestCallsAtOnceShareAToken(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, uri := open(t, store.URI("house", "seeds"))
	key, err := token.Generate(t.Context(), uri, pkcs11.P256)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 3 * 8 { // three times as many as there are sessions
		wg.Go(func() {
			for j := range 10 {
				digest := sha256.Sum256([]byte{byte(i), byte(j)})
				sig, err := key.Sign(t.Context(), digest[:])
				if err != nil {
					t.Error(err)
					return
				}
				verify(t, key, digest[:], sig)
				if i == 0 { // comes and goes
					other, err := pkcs11.Open(t.Context(), uri)
					if err != nil {
						t.Error(err)
						return
					}
					if err := other.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// The module is closed by the last user and opens again.
func TestAnotherStoreAfterTheFirst(t *testing.T) {
	for _, label := range []string{"one", "two"} {
		t.Run(label, func(t *testing.T) {
			store := softhsm.New(t)
			store.Add(label)
			token, uri := open(t, store.URI(label, "key"))
			if _, err := token.Generate(t.Context(), uri, pkcs11.P256); err != nil {
				t.Error(err)
			}
		})
	}
}

// A token that is pulled out stops its keys, with an error that says so, and
// works again when it is back, without a restart.
func TestTokenPulledOut(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, uri := open(t, store.URI("house", "key"))
	key, err := token.Generate(t.Context(), uri, pkcs11.P256)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	for range 3 {
		back := store.Pull()
		for range 5 {
			if _, err = key.Sign(t.Context(), digest[:]); err == nil {
				t.Fatal("signs without its token")
			}
		}
		if !errors.Is(err, pkcs11.ErrNoToken) && !strings.Contains(err.Error(), "CKR_OBJECT_HANDLE_INVALID") {
			t.Errorf("got %v", err)
		}
		back()
		var sig []byte
		for { // the module is left alone for a moment after it was asked
			if sig, err = key.Sign(t.Context(), digest[:]); err == nil {
				break
			}
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
		verify(t, key, digest[:], sig)
	}
}

// A token that comes back with another key of the same name is not the house's.
func TestTokenExchanged(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	token, uri := open(t, store.URI("house", "key"))
	key, err := token.Generate(t.Context(), uri, pkcs11.P256)
	if err != nil {
		t.Fatal(err)
	}
	store.Pull()
	store.Add("house")
	digest := sha256.Sum256([]byte("message"))
	for !errors.Is(err, pkcs11.ErrNoKey) {
		if _, err = key.Sign(t.Context(), digest[:]); err == nil {
			t.Fatal("signs without its token")
		}
	}
	if _, err := token.Generate(t.Context(), uri, pkcs11.P256); err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(t.Context(), digest[:]); !errors.Is(err, pkcs11.ErrKey) || !strings.Contains(err.Error(), "another key") {
		t.Errorf("another key of the name: %v", err)
	}
}

// A wrong PIN is tried once, however often and with whatever handle a key is
// asked for, and no PIN is tried on a token that counts a failure.
func TestWrongPINIsTriedOnce(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	spy, calls := store.Spy()
	wrong := store.WritePIN("wrong", "161803")
	uri := parse(t, "pkcs11:token=house;object=key?module-path="+spy+"&pin-source="+wrong)
	for range 3 {
		token, err := pkcs11.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := token.Find(t.Context(), uri, pkcs11.P256); !errors.Is(err, pkcs11.ErrPIN) || !strings.Contains(err.Error(), wrong) {
				t.Errorf("got %v", err)
			}
		}
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := calls("C_Login"); n != 1 {
		t.Errorf("%d log-ins were tried, want 1", n)
	}

	// The next process, for which this one stands by reaching SoftHSM itself, does
	// not try the right PIN either: it cannot know that it is.
	next, plain := open(t, store.URI("house", "key"))
	if _, err := next.Find(t.Context(), plain, pkcs11.P256); !errors.Is(err, pkcs11.ErrPIN) || !strings.Contains(err.Error(), "pkcs11-tool --login") {
		t.Errorf("after a failure: %v", err)
	}
	// The operator logs in by hand, as the error says.
	if out, err := exec.Command("pkcs11-tool", "--module", store.Module, "--token-label", "house", "--login", "--pin", softhsm.PIN, "--list-objects").CombinedOutput(); err != nil {
		t.Fatalf("pkcs11-tool (make deps installs opensc): %v\n%s", err, out)
	}
	if _, err := next.Find(t.Context(), plain, pkcs11.P256); !errors.Is(err, pkcs11.ErrNoKey) {
		t.Errorf("after the operator's log-in: %v", err)
	}
}

func TestWhatIsMissing(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	dir := t.TempDir()
	notModule := filepath.Join(dir, "module.so")
	if err := os.WriteFile(notModule, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, uri string
		want      error
		says      string
	}{
		{"no module named", "pkcs11:token=house", pkcs11.ErrModule, "module-path"},
		{"module missing", "pkcs11:token=house?module-path=/nowhere/module.so", pkcs11.ErrModule, "is the device's software installed"},
		{"no module", "pkcs11:token=house?module-path=" + notModule, pkcs11.ErrModule, notModule},
		{"no token named", "pkcs11:object=key?module-path=" + store.Module, pkcs11.ErrNoToken, "expected token"},
		{"token missing", store.URI("other", ""), pkcs11.ErrNoToken, `shows the tokens "house"`},
	} {
		if _, err := pkcs11.Open(t.Context(), parse(t, c.uri)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	token, uri := open(t, store.URI("house", "key"))
	loose := store.WritePIN("loose", softhsm.PIN)
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]error{
		filepath.Join(dir, "none"): fs.ErrNotExist, loose: pkcs11.ErrPIN, dir: pkcs11.ErrPIN, store.WritePIN("empty", ""): pkcs11.ErrPIN,
	} {
		uri.PINSource = source
		again, err := pkcs11.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Find(t.Context(), uri, pkcs11.P256); !errors.Is(err, want) || !errors.Is(err, pkcs11.ErrPIN) {
			t.Errorf("%s: %v", source, err)
		}
		again.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := token.Random(ctx, make([]byte, 8)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A key that the token would hand out is no key of a house.
func TestKeyThatCouldLeave(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	out, err := exec.Command("pkcs11-tool", "--module", store.Module, "--token-label", "house", "--login", "--pin", softhsm.PIN,
		"--keypairgen", "--key-type", "EC:prime256v1", "--label", "loose", "--extractable").CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool (make deps installs opensc): %v\n%s", err, out)
	}
	token, uri := open(t, store.URI("house", "loose"))
	if _, err := token.Find(t.Context(), uri, pkcs11.P256); !errors.Is(err, pkcs11.ErrKey) || !strings.Contains(err.Error(), "CKA_EXTRACTABLE false") {
		t.Errorf("got %v", err)
	}
}

// Keys that an operator made with another tool are found by their names: its
// curves are written otherwise.
func TestKeysOfAnotherTool(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	digest := sha256.Sum256([]byte("message"))
	for kind, args := range map[pkcs11.Kind][]string{
		pkcs11.Ed25519: {"--keypairgen", "--key-type", "EC:edwards25519"}, pkcs11.P256: {"--keypairgen", "--key-type", "EC:prime256v1"},
		pkcs11.AES256: {"--keygen", "--key-type", "AES:32", "--sensitive"},
	} {
		label := fmt.Sprint("key", int(kind))
		args = append([]string{"--module", store.Module, "--token-label", "house", "--login", "--pin", softhsm.PIN, "--label", label}, args...)
		if out, err := exec.Command("pkcs11-tool", args...).CombinedOutput(); err != nil {
			t.Fatalf("pkcs11-tool (make deps installs opensc): %v\n%s", err, out)
		}
		token, uri := open(t, store.URI("house", label))
		key, err := token.Find(t.Context(), uri, kind)
		if err != nil {
			t.Fatal(err)
		}
		if kind == pkcs11.AES256 {
			iv, sealed, err := key.Seal(t.Context(), digest[:], nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := key.Open(t.Context(), iv, sealed, nil); err != nil || !bytes.Equal(got, digest[:]) {
				t.Errorf("opened %x, %v", got, err)
			}
			continue
		}
		sig, err := key.Sign(t.Context(), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key, digest[:], sig)
	}
}

// What was under way when a token was closed does not start its module again.
func TestClosedTokenStaysClosed(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	uri := parse(t, store.URI("house", "key"))
	token, err := pkcs11.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	if err := token.Random(t.Context(), make([]byte, 8)); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkSign(b *testing.B) {
	store := softhsm.New(b)
	store.Add("house")
	for _, kind := range []pkcs11.Kind{pkcs11.Ed25519, pkcs11.P256} {
		b.Run(kind.String(), func(b *testing.B) {
			uri, err := pkcs11.ParseURI(store.URI("house", strings.ReplaceAll(kind.String(), " ", "-")))
			if err != nil {
				b.Fatal(err)
			}
			token, err := pkcs11.Open(b.Context(), uri)
			if err != nil {
				b.Fatal(err)
			}
			defer token.Close()
			key, err := token.Find(b.Context(), uri, kind)
			if errors.Is(err, pkcs11.ErrNoKey) {
				key, err = token.Generate(b.Context(), uri, kind)
			}
			if err != nil {
				b.Fatal(err)
			}
			digest := sha256.Sum256(nil)
			for b.Loop() {
				if _, err := key.Sign(b.Context(), digest[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
