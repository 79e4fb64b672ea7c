package appliance_test

import (
	"fmt"
	"testing"
	"time"

	"countroom/hardware/tpm/swtpm"
	"countroom/ledger/entry"
	"countroom/rngcert/noise"
)

// Seeds come from the kernel and a TPM, and both are demanded. The TPM is pulled
// out while the house plays: play stops at once, in the middle of an epoch, and
// says why; money still moves. It is put back, and play goes on by itself. A
// restart without it opens the house, and nobody plays. The log tells all of it, and
// a regulator finds nothing.
func TestATPMIsPulledOutDuringPlay(t *testing.T) {
	device := swtpm.New(t)
	h := &hallOfDevices{t: t, dir: t.TempDir(), entropy: []string{"getrandom", "tpm:socket=" + device.Socket}}
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	h.seat()
	h.spin(6)

	stopped := func(when string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Minute); ; {
			status, answer := h.post(h.session, fmt.Sprint("spin-", h.spins), "/v1/spins", `{"stake":20}`)
			switch {
			case status == 503 && answer["type"] == "/problems/entropy-failed" && answer["outcome"] == "not-accepted":
				return
			case status == 201: // before anybody noticed
				h.spins++
			case status != 503 || answer["type"] != "/problems/no-seed-epoch":
				t.Fatalf("%s: %d, %v", when, status, answer)
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s the house plays on", when)
			}
		}
	}
	device.Stop()
	stopped("without the TPM")
	if status, answer := h.post(h.a.Tokens.Operator, "pay-2", "/v1/players/alice/deposits", `{"amount":5,"currency":"EUR"}`); status != 201 {
		t.Errorf("a deposit without the TPM: %d, %v", status, answer)
	}
	device.Start()
	h.spin(6)

	device.Stop()
	stopped("without the TPM again")
	h.close()
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	defer h.close()
	stopped("after a start without the TPM")
	device.Start()
	h.spin(10)

	report := h.check()
	// Twice it was pulled out, and the second process said so, too.
	if failed, restored := report.Types["entropy.failed"], report.Types["entropy.restored"]; failed != 3 || restored != 2 {
		t.Errorf("%d failures and %d returns in the log, want 3 and 2", failed, restored)
	}
	if report.Epochs.OneSource != 0 {
		t.Errorf("%d epochs from one source", report.Epochs.OneSource)
	}
	var reasons []string
	err := h.a.Ledger.Leaves(0, h.a.Ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		var r noise.Failed
		if typ, err := entry.TypeOf(leaf); err != nil || typ != r.Type() {
			return err
		}
		err := entry.Decode(leaf, &r)
		reasons = append(reasons, fmt.Sprint(r.Source, " ", r.Reason, " ", r.Count, " ", r.Groups, "/", r.Minimum))
		return err
	})
	if err != nil || fmt.Sprint(reasons) != "[tpm2 unavailable 1 1/2 tpm2 unavailable 2 1/2 tpm2 unavailable 3 1/2]" {
		t.Errorf("the log says %v, %v", reasons, err)
	}
}
