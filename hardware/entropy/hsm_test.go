package entropy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"countroom/hardware/pkcs11"
	"countroom/hardware/pkcs11/softhsm"
)

// A token gives entropy, is pulled out, and is put back. Meanwhile there is no
// secret, though the kernel's generator is well.
func TestATokenIsPulledOut(t *testing.T) {
	store := softhsm.New(t)
	store.Add("House 1")
	uri := store.URI("House%201", "")
	s, err := Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name() != "hsm-house-1" {
		t.Errorf("it is named %q", s.Name())
	}
	fresh(t, s)
	pool, err := NewPool(t.Context(), Options{Minimum: 2, Patience: patience}, Kernel{}, s)
	if err != nil {
		t.Fatal(err)
	}
	both := func(when string) {
		t.Helper()
		if _, reports, err := pool.Secret(t.Context()); err != nil || len(reports) != 2 || reports[1].Group != GroupHSM || !reports[1].Conditioned {
			t.Fatalf("%s: %+v, %v", when, reports, err)
		}
	}
	both("at first")

	// SoftHSM's generator does not notice by itself that the token's files are
	// gone; who signs does, and then the module looks for its tokens anew.
	key, err := pkcs11.ParseURI(store.URI("House%201", "key"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := pkcs11.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	signer, err := token.Generate(t.Context(), key, pkcs11.P256)
	if err != nil {
		t.Fatal(err)
	}
	back := store.Pull()
	until := func(what string, reason string) {
		t.Helper()
		var states []State
		for start := time.Now(); time.Since(start) < patience; { // the module is left alone for a while after each search
			signer.Sign(t.Context(), []byte("is it there?"))
			if states = pool.Tend(t.Context()); states[1].Reason == reason {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("%s: %+v", what, states)
	}
	until("without the token", ReasonUnavailable)
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) {
		t.Fatalf("without the token: %v", err)
	}
	back()
	until("after the token was put back", "")
	both("after the token was put back")
}

// A token that is not there at the start is a source that failed, and comes.
func TestATokenThatComesLater(t *testing.T) {
	store := softhsm.New(t)
	store.Add("house")
	s, err := Parse(store.URI("house", ""))
	if err != nil {
		t.Fatal(err)
	}
	back := store.Pull()
	pool, err := NewPool(t.Context(), Options{Minimum: 2, Patience: patience}, Kernel{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if states := pool.States(); states[1].Reason != ReasonUnavailable {
		t.Fatalf("without the token: %+v", states)
	}
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "hsm-house") {
		t.Fatalf("without the token: %v", err)
	}
	back()
	var states []State
	for start := time.Now(); time.Since(start) < patience; { // the module is left alone for a while after each search
		time.Sleep(50 * time.Millisecond)
		if states = pool.Tend(t.Context()); states[1].Failure == nil {
			break
		}
	}
	if states[1].Failure != nil {
		t.Fatalf("with the token: %+v", states)
	}
	if _, reports, err := pool.Secret(t.Context()); err != nil || len(reports) != 2 {
		t.Fatalf("with the token: %+v, %v", reports, err)
	}
}

// A module that is not there is a source that fails, and says what is missing.
func TestAModuleThatIsMissing(t *testing.T) {
	s, err := Parse("pkcs11:token=house?module-path=/usr/lib/no-such-module.so")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := NewPool(t.Context(), Options{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "no-such-module.so") {
		t.Errorf("got %v", err)
	}
}
