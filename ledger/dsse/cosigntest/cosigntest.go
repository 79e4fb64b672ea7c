// Package cosigntest has the stock cosign check, without a network, what this
// module signs. It is for tests: whoever holds a bundle and a public key needs
// nothing of ours to verify it, and this is the proof.
package cosigntest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Version is the release that `make deps` builds.
const Version = "v2.6.2"

// Path is where the program is. The test fails where it is missing.
func Path(t testing.TB) string {
	t.Helper()
	root, err := root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, ".bin", "cosign-"+Version)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("run make deps: %v", err)
	}
	return path
}

// root is the directory of go.mod, above that of the test.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the test")
		}
	}
}

// noRoots trusts nobody: the key alone decides. Without such a file cosign would
// fetch that of the public Sigstore.
const noRoots = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// Verify has cosign check that the key (PEM, PKIX) signed the bundle's statement
// and that this is about blob. The error says what cosign said. It looks at no
// predicate type: what a statement claims is for its reader.
func Verify(t testing.TB, pem, bundle, blob []byte) error {
	t.Helper()
	program, dir := Path(t), t.TempDir()
	for name, data := range map[string][]byte{"key.pem": pem, "bundle.json": bundle, "blob": blob, "roots.json": []byte(noRoots)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The statement is in our log and not in Rekor; the key is known from that log.
	cmd := exec.CommandContext(context.Background(), program, "verify-blob-attestation", "--key", "key.pem", "--bundle", "bundle.json",
		"--new-bundle-format", "--trusted-root", "roots.json", "--insecure-ignore-tlog", "blob")
	cmd.Dir = dir
	// A proxy that nobody is at: it would have to be asked for anything outside.
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cosign: %w: %s", err, said)
	}
	return nil
}
