package appliance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"countroom/hardware/signer"
	"countroom/hardware/tpm/swtpm"

	"github.com/prometheus/client_golang/prometheus"
)

// A key that falls silent is told once, when it is tried, and again when it is
// back; the figures say which.
func TestKeysAreTriedThoughNobodyNeedsThem(t *testing.T) {
	device := swtpm.New(t)
	uri := fmt.Sprintf("tpm:socket=%s;handle=0x81010001", device.Socket)
	made, err := signer.Generate(t.Context(), uri, signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	var said bytes.Buffer
	a, err := Open(t.Context(), Config{Dir: t.TempDir(), Keys: KeyURIs{Exports: uri}, Reserve: 1, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.Collectors()...)
	healthy := func() (list []string) {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all[0].Metric {
			list = append(list, fmt.Sprint(m.Label[1].GetValue(), "=", m.Gauge.GetValue()))
		}
		return list
	}
	log := slog.New(slog.NewTextHandler(&said, nil))
	for _, step := range []struct {
		do      func()
		healthy string
		errors  int
	}{
		{func() {}, "exports=1", 0}, {device.Stop, "exports=0", 1}, {func() {}, "exports=0", 1}, {device.Start, "exports=1", 1},
	} {
		step.do()
		a.health.look(log)
		if got := strings.Join(healthy(), " "); !strings.Contains(got, step.healthy) || !strings.Contains(got, "checkpoint=1") || !strings.Contains(got, "seal=1") {
			t.Errorf("%s, want %s", got, step.healthy)
		}
		if n := strings.Count(said.String(), "cannot be used"); n != step.errors {
			t.Errorf("told %d times, want %d:\n%s", n, step.errors, &said)
		}
	}
	if !strings.Contains(said.String(), "can be used again") {
		t.Errorf("the return was not told:\n%s", &said)
	}
	if err := a.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
