// Package softhsm makes tokens of SoftHSM for tests. It stands in for a hardware
// security module: the same calls, keys in files. Its token can be pulled out.
package softhsm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PIN is the user PIN of each token.
const PIN = "271828"

// Store is a directory of tokens that this process uses while the test runs.
type Store struct {
	t   testing.TB
	dir string

	Module string
	// PINFile holds the PIN.
	PINFile string
}

// New makes an empty store. A process has one at a time: SoftHSM finds it by an
// environment variable when its module is initialised.
func New(t testing.TB) *Store {
	t.Helper()
	s := &Store{t: t, dir: t.TempDir(), Module: module(t)}
	s.PINFile = s.WritePIN("pin", PIN)
	if err := os.Mkdir(filepath.Join(s.dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(s.dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", filepath.Join(s.dir, "tokens"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	return s
}

func module(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("libsofthsm2.so is missing: make deps installs softhsm2")
	return ""
}

// WritePIN writes a file with a PIN.
func (s *Store) WritePIN(name, pin string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(pin+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Add makes a token.
func (s *Store) Add(label string) {
	s.t.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "31415926", "--pin", PIN).CombinedOutput()
	if err != nil {
		s.t.Fatalf("softhsm2-util (make deps installs softhsm2): %v\n%s", err, out)
	}
}

// URI names an object on a token; the PIN comes from PINFile.
func (s *Store) URI(token, object string) string {
	uri := "pkcs11:token=" + token
	if object != "" {
		uri += ";object=" + object
	}
	return uri + "?module-path=" + s.Module + "&pin-source=" + s.PINFile
}

// Pull takes all tokens out; the returned function puts them back.
func (s *Store) Pull() (back func()) {
	s.t.Helper()
	in, out := filepath.Join(s.dir, "tokens"), filepath.Join(s.dir, "pulled")
	if err := os.Rename(in, out); err != nil {
		s.t.Fatal(err)
	}
	// SoftHSM does not start without the directory.
	if err := os.Mkdir(in, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(in); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Rename(out, in); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Spy puts OpenSC's spy between this process and SoftHSM: the path of a module,
// and a function that counts how often a function of PKCS #11 was called.
func (s *Store) Spy() (module string, calls func(function string) int) {
	s.t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/pkcs11-spy.so")
	if len(found) == 0 {
		s.t.Fatal("pkcs11-spy.so is missing: make deps installs opensc-pkcs11")
	}
	output := filepath.Join(s.dir, "spy.log")
	s.t.Setenv("PKCS11SPY", s.Module)
	s.t.Setenv("PKCS11SPY_OUTPUT", output)
	return found[0], func(function string) int {
		s.t.Helper()
		b, err := os.ReadFile(output)
		if err != nil {
			s.t.Fatal(err)
		}
		return strings.Count(string(b), ": "+function+"\n")
	}
}
