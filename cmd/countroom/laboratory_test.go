package main

import (
	"crypto/x509"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"countroom/ledger/dsse"
	"countroom/ledger/dsse/cosigntest"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/rngcert/assessment"
)

// examines runs the program in a process of its own and returns what it wrote to standard output and its exit status.
func examines(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%q: %v\n%s", args, err, stderr.String())
	}
	t.Logf("%q: %s%s", args, out, stderr.String())
	return string(out), cmd.ProcessState.ExitCode()
}

// examined reads what rng certify wrote.
func examined(t *testing.T, dir string) *verify.Examination {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return &verify.Examination{Report: read(assessment.ReportName), Page: read(assessment.PageName), Bundle: read(assessment.BundleName), Answer: read(assessment.AnswerName)}
}

// A house that plays is examined through its server. The verifier, stock cosign and openssl find the signature good, and whatever
// file is changed afterwards is found out.
func TestCertify(t *testing.T) {
	s := newServer(t)
	s.start()
	out := filepath.Join(t.TempDir(), "exam")
	small := []string{"rng", "certify", "--data", s.dir, "-o", out, "--bit-sequences", "1", "--game-sequences", "1", "--game-draws", "10000"}
	if said, status := examines(t, small...); status != 0 || !strings.HasPrefix(said, "pass: entry ") {
		t.Fatalf("ends with %d: %s", status, said)
	}
	if _, status := examines(t, small...); status != exitNotRun {
		t.Errorf("over a report that is there: ends with %d", status)
	}
	if said, status := examines(t, "selfcheck", "--data", s.dir); status != 0 || !strings.Contains(said, "matches        true") {
		t.Errorf("selfcheck ends with %d: %s", status, said)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	vkey := strings.TrimSpace(string(b))
	if _, err := verify.Assessment(examined(t, out), vkey); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(x *verify.Examination){
		"report": func(x *verify.Examination) { x.Report = append(x.Report, ' ') },
		"page":   func(x *verify.Examination) { x.Page = append(x.Page, ' ') },
		"bundle": func(x *verify.Examination) { x.Bundle = append(x.Bundle, ' ') },
		"answer": func(x *verify.Examination) { x.Answer = []byte("[]") },
	} {
		x := examined(t, out)
		change(x)
		if _, err := verify.Assessment(x, vkey); err == nil {
			t.Errorf("a changed %s passes", name)
		}
	}

	x := examined(t, out)
	e, err := dsse.Parse(x.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	proofs, err := verify.Receipt(x.Answer, vkey)
	if err != nil {
		t.Fatal(err)
	}
	created := proofs[0].Record.(*system.HouseCreated)
	der, err := hex.DecodeString(created.Key(system.RoleExports).Public)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dsse.KeyOf(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range [][]byte{x.Report, x.Page} {
		if err := cosigntest.Verify(t, key.PEM(), x.Bundle, file); err != nil {
			t.Error(err)
		}
		if err := cosigntest.Verify(t, key.PEM(), x.Bundle, append(slices.Clone(file), ' ')); err == nil {
			t.Error("cosign takes a changed file")
		}
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"key.pem": key.PEM(), "message": dsse.PAE(e.Payload), "signature": e.Signatures[0]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl := exec.Command("openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message")
	openssl.Dir = dir
	if said, err := openssl.CombinedOutput(); err != nil || !strings.Contains(string(said), "Verified OK") {
		t.Errorf("openssl: %v: %s", err, said)
	}
}
