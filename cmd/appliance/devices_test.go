package appliance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/hardware/pkcs11"
	"countroom/hardware/pkcs11/softhsm"
	"countroom/hardware/signer"
	"countroom/hardware/tpm/swtpm"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

// hallOfDevices is a house over HTTP whose keys are in devices.
type hallOfDevices struct {
	t    *testing.T
	dir  string
	keys appliance.KeyURIs
	// entropy are its sources, if it has others than the kernel's, two of which
	// must be healthy.
	entropy []string

	escrow      []string
	revealAfter uint64 // seconds

	a       *appliance.Appliance
	server  *httptest.Server
	session string
	spins   int
}

func (h *hallOfDevices) open() error {
	h.t.Helper()
	minimum := 1
	if h.entropy != nil {
		minimum = 2
	}
	a, err := appliance.Open(h.t.Context(), appliance.Config{
		Entropy: h.entropy, EntropyMinimum: minimum, TendEntropy: 20 * time.Millisecond,
		Dir: h.dir, Origin: "casino.example/devices", Release: "test", Keys: h.keys, Escrow: h.escrow, Reserve: 1, Log: slog.New(slog.DiscardHandler),
		// Epochs that end after a few draws use the seeds and the sealing key often.
		Limits: epoch.Limits{AgeSeconds: 600, Draws: 4, RevealDelaySeconds: h.revealAfter},
		Fatal:  func(err error) { h.t.Error(err) },
	})
	if err != nil {
		return err
	}
	h.a = a
	h.server = httptest.NewServer(api.New(a.House, api.Options{
		Tokens: api.Tokens{Operator: a.Tokens.Operator, Regulator: a.Tokens.Regulator, Auditor: a.Tokens.Auditor}, Log: slog.New(slog.DiscardHandler),
	}))
	return nil
}

func (h *hallOfDevices) close() {
	h.t.Helper()
	h.server.Close()
	if err := h.a.Close(context.Background()); err != nil {
		h.t.Error(err)
	}
}

func (h *hallOfDevices) post(token, key, path, body string) (status int, answer map[string]any) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), "POST", h.server.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + token}, "Idempotency-Key": {key}, "Content-Type": {"application/json"}}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Error(err)
		return 0, nil
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		h.t.Errorf("%s: %v", b, err)
	}
	if got.StatusCode == 503 && got.Header.Get("Retry-After") == "" {
		h.t.Errorf("503 without Retry-After: %s", b)
	}
	return got.StatusCode, answer
}

func (h *hallOfDevices) seat() {
	h.t.Helper()
	for _, c := range [][3]string{
		{"new", "/v1/players", `{"id":"alice","currency":"EUR"}`}, {"pay", "/v1/players/alice/deposits", `{"amount":1000000,"currency":"EUR"}`},
		{"seat", "/v1/sessions", `{"player":"alice","game":"lamplight-quay"}`},
	} {
		status, answer := h.post(h.a.Tokens.Operator, c[0], c[1], c[2])
		if status != 201 {
			h.t.Fatalf("%s: %d, %v", c[1], status, answer)
		}
		h.session, _ = answer["token"].(string)
	}
}

func (h *hallOfDevices) try(n int) int {
	h.t.Helper()
	status, answer := h.post(h.session, fmt.Sprint("spin-", n), "/v1/spins", `{"stake":20}`)
	if status != 201 && status != 503 {
		h.t.Errorf("spin %d: %d, %v", n, status, answer)
	}
	return status
}

// spin plays n rounds, each with its own key until it is answered.
func (h *hallOfDevices) spin(n int) {
	h.t.Helper()
	for range n {
		for h.try(h.spins) != 201 {
			if h.t.Context().Err() != nil || h.t.Failed() {
				h.t.FailNow()
			}
		}
		h.spins++
	}
}

// stops plays until the house refuses, and reports what was under way then: a
// round that is answered when the devices are back.
func (h *hallOfDevices) stops() (underWay chan int) {
	h.t.Helper()
	for range 100 {
		answered := make(chan int, 1)
		n := h.spins
		go func() { answered <- h.try(n) }()
		h.spins++
		for {
			select {
			case status := <-answered:
				if status == 503 {
					answered <- 503
					return answered
				}
			default:
				if h.ready() {
					continue
				}
				return answered
			}
			break
		}
	}
	h.t.Fatal("the house plays on without its devices")
	return nil
}

// over waits for the answer to what was under way. Where that is a refusal, the next
// spin asks again with its key: whatever became of it, it is played once.
func (h *hallOfDevices) over(underWay chan int) {
	h.t.Helper()
	switch status := <-underWay; status {
	case 201:
	case 503:
		h.spins--
	default:
		h.t.Errorf("what was under way was answered with %d", status)
	}
}

func (h *hallOfDevices) ready() bool {
	got, err := http.Get(h.server.URL + "/readyz")
	if err != nil {
		h.t.Error(err)
		return false
	}
	got.Body.Close()
	return got.StatusCode == 200
}

// check verifies the whole log as a regulator would.
func (h *hallOfDevices) check() *verify.Report {
	h.t.Helper()
	src, err := verify.HTTP(h.server.URL, h.a.Tokens.Regulator)
	if err != nil {
		h.t.Fatal(err)
	}
	report, err := verify.Log(h.t.Context(), src, verify.Options{VKey: h.a.Ledger.VKey()})
	if err != nil || !report.OK() {
		h.t.Fatalf("%v, %+v", err, report.Findings)
	}
	if report.Types["round.settled"] != uint64(h.spins) {
		h.t.Errorf("%d rounds in the log, %d were answered", report.Types["round.settled"], h.spins)
	}
	return report
}

// assurances are what entry 0 says of the keys.
func (h *hallOfDevices) assurances() map[string]string {
	h.t.Helper()
	e, err := h.a.Ledger.Entry(0)
	if err != nil {
		h.t.Fatal(err)
	}
	var created system.HouseCreated
	if err := entry.Decode(e.Leaf, &created); err != nil {
		h.t.Fatal(err)
	}
	said := map[string]string{}
	for _, k := range created.Keys {
		said[k.Role] = k.Assurance
	}
	return said
}

// All keys of a house are in an HSM. The token is pulled out while it plays: play
// stops with 503, what was under way is answered when the token is back, nothing
// is played twice, and the whole log verifies.
func TestHouseWithItsKeysInAnHSM(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("house")
	h := &hallOfDevices{t: t, dir: t.TempDir(), keys: appliance.KeyURIs{
		Checkpoint: hsm.URI("house", "checkpoint"), Seeds: hsm.URI("house", "seeds"), Exports: hsm.URI("house", "exports"), Seal: hsm.URI("house", "seal"),
	}}
	// A house is not founded on keys that are not there, and makes none in a device.
	if err := h.open(); !errors.Is(err, signer.ErrNoKey) || !strings.Contains(err.Error(), "keys.checkpoint") || !strings.Contains(err.Error(), "countroom keys init") {
		t.Fatalf("without keys: %v", err)
	}
	for uri, alg := range map[string]signer.Algorithm{h.keys.Checkpoint: signer.Ed25519, h.keys.Seeds: signer.ECDSAP256, h.keys.Exports: signer.ECDSAP256} {
		s, err := signer.Generate(t.Context(), uri, alg, signer.Options{})
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := signer.GenerateSealer(t.Context(), h.keys.Seal, signer.Options{})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}

	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(h.dir, "keys", "*")); len(found) != 3 {
		t.Errorf("keys/ holds %q, want token.key, vault.key and vault-period.key only", found)
	}
	for role, said := range h.assurances() {
		if said != "pkcs11" {
			t.Errorf("the %s key's assurance is %q in the log", role, said)
		}
	}
	h.seat()
	h.spin(10)
	for range 2 {
		back := hsm.Pull()
		underWay := h.stops()
		if status := h.try(1000); status != 503 {
			t.Errorf("without the token: %d", status)
		}
		back()
		h.over(underWay)
		h.spin(10)
	}
	// A restart goes on in the epoch: the token opens the sealed seed.
	h.close()
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	defer h.close()
	h.spin(10)
	report := h.check()
	if report.Rounds.Proven == 0 || report.Epochs.Revealed == 0 {
		t.Errorf("rounds %+v, epochs %+v", report.Rounds, report.Epochs)
	}
}

// Seeds and exports are signed by a TPM. Without it the epoch in use is played
// to its end, then play stops; with the power back it goes on.
func TestHouseWithSeedsSignedByATPM(t *testing.T) {
	device := swtpm.New(t)
	at := func(handle int) string { return fmt.Sprintf("tpm:socket=%s;handle=%#x", device.Socket, handle) }
	h := &hallOfDevices{t: t, dir: t.TempDir(), keys: appliance.KeyURIs{Seeds: at(0x81010001), Exports: at(0x81010002)}}
	for _, uri := range []string{h.keys.Seeds, h.keys.Exports} {
		s, err := signer.Generate(t.Context(), uri, signer.ECDSAP256, signer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if said := h.assurances(); said["checkpoint"] != "software" || said["seeds"] != "tpm" || said["exports"] != "tpm" {
		t.Errorf("the log says %v", said)
	}
	h.seat()
	h.spin(6)
	device.Stop()
	status := <-h.stops()
	for status == 201 { // the last round of the epoch in use was under way
		status = <-h.stops()
	}
	if status != 503 {
		t.Errorf("without the TPM: %d", status)
	}
	h.spins-- // nothing came of it
	device.Start()
	h.spin(6)
	h.check()
}

// A house escrows its seeds and goes away before it reveals any. From what is left
// of its log regulator and laboratory replay the epochs.
func TestHouseEscrowsItsSeeds(t *testing.T) {
	dir := t.TempDir()
	var keys []*escrow.Key
	h := &hallOfDevices{t: t, dir: filepath.Join(dir, "house"), revealAfter: 3600}
	for i, name := range []string{"regulator.pub", "laboratory.pub"} {
		private, public, err := escrow.NewKey([32]byte{1: byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		key, err := escrow.ParseKey(private)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), public, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, h.escrow = append(keys, key), append(h.escrow, filepath.Join(dir, name))
	}
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	h.seat()
	h.spin(6)
	src, err := verify.HTTP(h.server.URL, h.a.Tokens.Regulator)
	if err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(dir, "saved")
	saving, err := verify.Save(src, saved)
	if err != nil {
		t.Fatal(err)
	}
	opts := verify.Options{VKey: h.a.Ledger.VKey(), Seed: 1}
	report, err := verify.Log(t.Context(), saving, opts)
	if err == nil {
		err = saving.Done()
	}
	if err != nil || report.Seed == nil || report.Rounds.Proven != 0 {
		t.Fatalf("%v, %+v", err, report)
	}
	h.close()
	box, err := report.Seed.Take(keys[1])
	if err == nil {
		box, err = box.Take(keys[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	opts.Opened = []verify.Opened{{Name: "opened", Box: box}}
	report, err = verify.Log(t.Context(), verify.Dir(os.DirFS(saved)), opts)
	if err != nil || !report.OK() || report.Rounds.Proven != 4 || report.Epochs.Opened != 1 {
		t.Errorf("%v, %+v", err, report)
	}

	// Keys that would let one party open a seed alone, or are none, start no house.
	for what, names := range map[string][]string{
		"one": h.escrow[:1], "one twice": {h.escrow[0], h.escrow[0]}, "no file": {h.escrow[0], filepath.Join(dir, "none")}, "no key": {h.escrow[0], filepath.Join(dir, "house", "log.vkey")},
	} {
		other := &hallOfDevices{t: t, dir: t.TempDir(), escrow: names}
		if err := other.open(); err == nil || !strings.Contains(err.Error(), "escrow") {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				other.close()
			}
		}
	}
}

// What an operator gets wrong is told, with what to do, and no log is begun.
func TestDevicesThatAreNotAsConfigured(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("house")
	spy, calls := hsm.Spy()
	wrong := hsm.WritePIN("wrong", "161803")
	made, err := signer.Generate(t.Context(), hsm.URI("house", "seeds"), signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	var sum bytes.Buffer
	for _, c := range []struct {
		keys appliance.KeyURIs
		want error
		says string
	}{
		{appliance.KeyURIs{Checkpoint: "pkcs11:token=house;object=a?module-path=/nowhere/module.so"}, pkcs11.ErrModule, "is the device's software installed"},
		{appliance.KeyURIs{Checkpoint: hsm.URI("elsewhere", "a")}, pkcs11.ErrNoToken, `shows the tokens "house"`},
		{appliance.KeyURIs{Checkpoint: hsm.URI("house", "a")}, signer.ErrNoKey, "countroom keys init"},
		{appliance.KeyURIs{Checkpoint: hsm.URI("house", "seeds")}, pkcs11.ErrKey, "expected an Ed25519 key"},
		{appliance.KeyURIs{Seal: hsm.URI("house", "seeds")}, signer.ErrNoKey, "keys.seal"},
		{appliance.KeyURIs{Checkpoint: "tpm:device=/dev/tpmrm0;handle=0x81010001"}, nil, "a TPM has no Ed25519 keys"},
		{appliance.KeyURIs{Exports: "awskms://alias/exports"}, nil, "sigstore-kms-awskms"},
		// Twice, as a supervisor would start it: the PIN was tried once.
		{appliance.KeyURIs{Seeds: "pkcs11:token=house;object=seeds?module-path=" + spy + "&pin-source=" + wrong}, pkcs11.ErrPIN, wrong},
		{appliance.KeyURIs{Seeds: "pkcs11:token=house;object=seeds?module-path=" + spy + "&pin-source=" + wrong}, pkcs11.ErrPIN, wrong},
	} {
		h := &hallOfDevices{t: t, dir: t.TempDir(), keys: c.keys}
		err := h.open()
		if err == nil {
			h.close()
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.keys, err, c.says)
			continue
		}
		fmt.Fprintln(&sum, err)
	}
	if n := calls("C_Login"); n != 1 {
		t.Errorf("%d log-ins were tried with the wrong PIN, want 1", n)
	}
	t.Log(sum.String())
}
