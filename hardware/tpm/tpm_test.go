package tpm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"countroom/hardware/tpm"
	"countroom/hardware/tpm/swtpm"
)

func uri(device *swtpm.TPM, handle uint32) tpm.URI {
	return tpm.URI{Socket: device.Socket, Handle: handle}
}

func verify(t *testing.T, public *ecdsa.PublicKey, digest [32]byte, sig [64]byte) {
	t.Helper()
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Errorf("signature %x does not verify", sig)
	}
}

func TestKeysAreMadeFoundAndUsed(t *testing.T) {
	device := swtpm.New(t)
	u := uri(device, 0x81010001)
	if _, err := tpm.Open(t.Context(), u); !errors.Is(err, tpm.ErrNoKey) {
		t.Errorf("before it is made: %v", err)
	}
	made, err := tpm.Generate(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if _, err := tpm.Generate(t.Context(), u); !errors.Is(err, tpm.ErrKey) {
		t.Errorf("made over a key: %v", err)
	}
	other, err := tpm.Generate(t.Context(), uri(device, 0x81010002))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if made.Public().Equal(other.Public()) {
		t.Error("two handles have one key")
	}
	found, err := tpm.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 25 { // some r and s begin with zeros
				digest := sha256.Sum256([]byte{byte(i), byte(j)})
				sig, err := found.Sign(t.Context(), digest)
				if err != nil {
					t.Error(err)
					return
				}
				verify(t, made.Public(), digest, sig)
			}
		})
	}
	wg.Wait()
}

// The power is cut and comes back: the key is where it was.
func TestTPMGoesAway(t *testing.T) {
	device := swtpm.New(t)
	key, err := tpm.Generate(t.Context(), uri(device, 0x81010001))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	digest := sha256.Sum256(nil)
	for range 2 {
		device.Stop()
		if _, err := key.Sign(t.Context(), digest); !errors.Is(err, tpm.ErrNoDevice) {
			t.Errorf("without power: %v", err)
		}
		device.Start()
		sig, err := key.Sign(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key.Public(), digest, sig)
	}
}

// Another TPM in its place has no such key, and a key of its own is not taken
// for it.
func TestTPMExchanged(t *testing.T) {
	device, other := swtpm.New(t), swtpm.New(t)
	key, err := tpm.Generate(t.Context(), uri(device, 0x81010001))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	device.Stop()
	if err := os.Symlink(other.Socket, device.Socket); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	if _, err := key.Sign(t.Context(), digest); err == nil {
		t.Error("signs with a TPM that has no key")
	}
	third, err := tpm.Generate(t.Context(), uri(other, 0x81010001))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := key.Sign(t.Context(), digest); !errors.Is(err, tpm.ErrKey) {
		t.Errorf("another key at the handle: %v", err)
	}
}

func TestAuthorisation(t *testing.T) {
	device := swtpm.New(t)
	dir := t.TempDir()
	pin := func(name, value string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	u := uri(device, 0x81010001)
	u.PINSource = pin("right", "correct horse")
	key, err := tpm.Generate(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	digest := sha256.Sum256(nil)
	sig, err := key.Sign(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key.Public(), digest, sig)

	for what, source := range map[string]string{"wrong": pin("wrong", "battery staple"), "none": ""} {
		u.PINSource = source
		other, err := tpm.Open(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.Sign(t.Context(), digest); !errors.Is(err, tpm.ErrPIN) || !strings.Contains(err.Error(), "not tried again") {
			t.Errorf("%s: %v", what, err)
		}
		// Even when the file is corrected the process does not try.
		if source != "" {
			pin("wrong", "correct horse")
		}
		if _, err := other.Sign(t.Context(), digest); !errors.Is(err, tpm.ErrPIN) || !strings.Contains(err.Error(), "tries no other") {
			t.Errorf("%s, again: %v", what, err)
		}
	}
}

// Keys made by others: what tpm2-tools makes for signing is used, what could
// leave the TPM or signs nothing is refused.
func TestKeysOfOthers(t *testing.T) {
	device := swtpm.New(t)
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+device.Socket)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s (make deps installs tpm2-tools): %v\n%s", name, err, out)
		}
	}
	made := "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
	for _, k := range []struct{ handle, hash, algorithm, attributes string }{
		{"0x81000100", "sha256", "ecc256:ecdsa-sha256", made},
		{"0x81000101", "sha256", "ecc256:ecdsa-sha256", "sensitivedataorigin|userwithauth|sign"},
		{"0x81000102", "sha256", "ecc", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt"},
		{"0x81000103", "sha256", "rsa2048", made},
		{"0x81000104", "sha384", "ecc384:ecdsa-sha384", made},
	} {
		run("tpm2_createprimary", "-C", "o", "-g", k.hash, "-G", k.algorithm, "-a", k.attributes, "-c", "key.ctx")
		run("tpm2_evictcontrol", "-C", "o", "-c", "key.ctx", k.handle)
		run("tpm2_flushcontext", "-t")
	}

	key, err := tpm.Open(t.Context(), uri(device, 0x81000100))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	digest := sha256.Sum256(nil)
	sig, err := key.Sign(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key.Public(), digest, sig)
	for handle, says := range map[uint32]string{0x81000101: "could be elsewhere", 0x81000102: "unrestricted ECC signing key", 0x81000103: "ECC", 0x81000104: "P-256"} {
		if _, err := tpm.Open(t.Context(), uri(device, handle)); !errors.Is(err, tpm.ErrKey) || !strings.Contains(err.Error(), says) {
			t.Errorf("%#x: %v, want %q", handle, err, says)
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, u := range []tpm.URI{{Device: "/nowhere"}, {Device: file}, {Socket: file}, {Socket: filepath.Join(dir, "none")}} {
		u.Handle = 0x81010001
		for what, f := range map[string]func(context.Context, tpm.URI) (*tpm.Key, error){"opened": tpm.Open, "made": tpm.Generate} {
			if _, err := f(t.Context(), u); !errors.Is(err, tpm.ErrNoDevice) || !strings.Contains(err.Error(), "group tss") {
				t.Errorf("%s, %s: %v", u, what, err)
			}
		}
	}
}

// A TPM that takes commands and never answers costs the caller no more than its
// time.
func TestSilentTPM(t *testing.T) {
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 64))
		close(asked)
		<-t.Context().Done()
	}()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := tpm.Open(ctx, tpm.URI{Socket: filepath.Join(dir, "s"), Handle: 0x81010001}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What a broken TPM answers is outside bytes.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0})
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 0x8b})
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0, 2, 0, 0x23})
	f.Add([]byte{})
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	n := 0
	f.Fuzz(func(t *testing.T, answer []byte) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Read(make([]byte, 4096))
				c.Write(answer)
				c.Close()
			}
		}()
		if key, err := tpm.Open(t.Context(), tpm.URI{Socket: path, Handle: 0x81010001}); err == nil {
			key.Sign(t.Context(), [32]byte{})
			key.Close()
		}
	})
}

func TestURIs(t *testing.T) {
	for s, want := range map[string]tpm.URI{
		"tpm:device=/dev/tpmrm0;handle=0x81010001":                     {Device: "/dev/tpmrm0", Handle: 0x81010001},
		"tpm:handle=2164326401;socket=/run/tpm":                        {Socket: "/run/tpm", Handle: 0x81010001},
		"tpm:device=/dev/tpm0;handle=0x81010001?pin-source=/run/a;b=c": {Device: "/dev/tpm0", Handle: 0x81010001, PINSource: "/run/a;b=c"},
	} {
		if got, err := tpm.ParseURI(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "tpm:", "tpm:device=/dev/tpm0", "tpm:handle=0x81010001", "tpm:device=tpm0;handle=0x81010001", "tpm:device=/a;socket=/b;handle=0x81010001",
		"tpm:device=/a;device=/b;handle=0x81010001", "tpm:device=/a;handle=0x81010001;handle=0x81010002", "tpm:device=/a;handle=1", "tpm:device=/a;handle=0x81800000",
		"tpm:device=/a;handle=0x81010001;colour=red", "tpm:device=/a;handle=0x81010001?pin-value=1", "tpm:device=/a;handle=0x81010001?", "tpm:device=/a;handle=0x81010001?pin-source=/a&pin-source=/b",
	} {
		if got, err := tpm.ParseURI(s); err == nil {
			t.Errorf("%s: %+v", s, got)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("tpm:device=/dev/tpmrm0;handle=0x81010001")
	f.Add("tpm:socket=/run/tpm;handle=2164326401?pin-source=/run/pin")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := tpm.ParseURI(s)
		if err != nil {
			return
		}
		if again, err := tpm.ParseURI(u.String()); err != nil || again != u {
			t.Errorf("%q: %+v is written as %s and read as %+v, %v", s, u, u, again, err)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	device := swtpm.New(b)
	key, err := tpm.Generate(b.Context(), uri(device, 0x81010001))
	if err != nil {
		b.Fatal(err)
	}
	defer key.Close()
	digest := sha256.Sum256(bytes.Repeat([]byte{1}, 8))
	for b.Loop() {
		if _, err := key.Sign(b.Context(), digest); err != nil {
			b.Fatal(err)
		}
	}
}
