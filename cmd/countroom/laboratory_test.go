package main

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"countroom/games/trial"
	"countroom/hardware/entropy"
	"countroom/hardware/pkcs11/softhsm"
	"countroom/hardware/tpm/swtpm"
	"countroom/ledger/dsse"
	"countroom/ledger/dsse/cosigntest"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/rngcert/assessment"
	"countroom/rngcert/report"
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

// Every source that a house is configured with is examined where it is: the processor, a TPM, an HSM. They are
// conditioned, which report and log say of each.
func TestCertifySources(t *testing.T) {
	hsm, tpm := softhsm.New(t), swtpm.New(t)
	hsm.Add("seeds")
	sources := []string{"getrandom", "pkcs11:token=seeds?module-path=" + hsm.Module, "tpm:socket=" + tpm.Socket}
	want := []assessment.Source{{Name: "linux-getrandom", Conditioned: true}, {Name: "hsm-seeds", Conditioned: true}, {Name: "tpm2", Conditioned: true}}
	if _, err := entropy.Parse("rdseed"); err == nil {
		sources, want = append(sources, "rdseed"), append(want, assessment.Source{Name: "cpu-rdseed", Conditioned: true})
	} else {
		t.Logf("not examined: %v", err)
	}
	s, out := sourced(t, sources...), filepath.Join(t.TempDir(), "exam")
	args := []string{"rng", "certify", "--data", s.dir, "--bit-sequences", "1", "--game-sequences", "1", "--game-draws", "10000", "-o"}
	if said, status := examines(t, append(args, out)...); status != 0 || !strings.HasPrefix(said, "pass: entry ") {
		t.Fatalf("ends with %d: %s", status, said)
	}
	e, doc, page := s.assessed(out)
	if !slices.Equal(e.Sources, want) || len(doc.Report.Raw) != 0 {
		t.Errorf("%+v", e)
	}
	for _, s := range want {
		if !bytes.Contains(page, []byte(s.Name)) {
			t.Errorf("%s is not on the page", s.Name)
		}
	}
	// A source that does not answer is no examination.
	tpm.Stop()
	if said, status := examines(t, append(args, t.TempDir())...); status != exitNotRun {
		t.Errorf("without the TPM: ends with %d: %s", status, said)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// Raw noise is a device file's. One that says the same again and again passes its health tests, and the laboratory
// finds that it has not the entropy that is declared. Estimating a million samples takes half a minute, so this is
// for make honest.
func TestCertifyRawNoise(t *testing.T) {
	if os.Getenv("RAW_NOISE") == "" {
		t.Skip("for make honest, which sets RAW_NOISE")
	}
	stuck := filepath.Join(t.TempDir(), "stuck")
	block := make([]byte, 1009)
	rand.Read(block)
	if err := os.WriteFile(stuck, bytes.Repeat(block, 4000), 0o600); err != nil {
		t.Fatal(err)
	}
	s, out := sourced(t, "getrandom", "hwrng:"+stuck+"?name=stuck&group=test&min-entropy=4"), filepath.Join(t.TempDir(), "exam")
	args := []string{"rng", "certify", "--data", s.dir, "--bit-sequences", "1", "--game-sequences", "1", "--game-draws", "10000", "-o", out}
	if said, status := examines(t, args...); status != exitFailed || !strings.HasPrefix(said, "fail: entry ") {
		t.Fatalf("ends with %d: %s", status, said)
	}
	e, doc, _ := s.assessed(out)
	if raw := doc.Report.Raw; len(raw) != 1 || raw[0].Name != report.SourceName("stuck") || raw[0].Enough || raw[0].Assessment.MinEntropy > 1 {
		t.Errorf("%+v", raw)
	}
	if !slices.Equal(e.Sources, []assessment.Source{{Name: "linux-getrandom", Conditioned: true}, {Name: "stuck"}}) {
		t.Errorf("%+v", e.Sources)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// sourced is a server with these sources, of which two must be in order.
func sourced(t *testing.T, uris ...string) *server {
	t.Helper()
	s := newServer(t, "--entropy-minimum", "2")
	for _, uri := range uris {
		s.args = append(s.args, "--entropy-sources", uri)
	}
	s.start()
	return s
}

// assessed is what the verifier finds in what rng certify wrote.
func (s *server) assessed(out string) (*assessment.Assessed, *report.Document, []byte) {
	s.t.Helper()
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		s.t.Fatal(err)
	}
	x := examined(s.t, out)
	e, err := verify.Assessment(x, strings.TrimSpace(string(vkey)))
	if err != nil {
		s.t.Fatal(err)
	}
	doc, err := report.Parse(x.Report)
	if err != nil {
		s.t.Fatal(err)
	}
	return e, doc, x.Page
}

// Raw sources are read to have their entropy estimated, against what they declare; the bits of conditioned ones are
// tested as they are. Both come through in pieces, for who asks for more than a device gives at once.
func TestSourcesToExamine(t *testing.T) {
	trials, listed, sources, err := toExamine(t.Context(), []string{"getrandom", "hwrng:/dev/urandom?name=noise&min-entropy=3"})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := trial.Plan(t.Context(), trial.Default, trials, trial.Chance{Origin: "x", Draws: 1}, nil)
	if err != nil || len(plan.Raw) != 1 || plan.Raw[0].Name != report.SourceName("noise") || plan.Raw[0].Declared != 3 || plan.Bits[0].Name != report.SourceName("linux-getrandom") {
		t.Fatalf("%v: %+v", err, plan)
	}
	if len(sources) != 2 || !listed[0].Conditioned || listed[1].Conditioned || listed[1].MinEntropyPerByte != 3 {
		t.Errorf("%+v", listed)
	}
	for _, from := range []io.Reader{plan.Raw[0].Data, plan.Bits[0].Data} {
		b := make([]byte, 3*piece+7)
		if _, err := io.ReadFull(from, b); err != nil || bytes.Contains(b, make([]byte, 16)) {
			t.Errorf("%v: %x", err, b)
		}
	}
	if _, _, _, err := toExamine(t.Context(), []string{"dice"}); err == nil {
		t.Error("a source that is none is examined")
	}
}
