package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/assessment"
	"countroom/rngcert/report"
)

// handedOut is what rng certify writes of the examination at an index, with the entries at others.
func handedOut(t *testing.T, h *logtest.House, index uint64, others ...uint64) *Examination {
	t.Helper()
	var e assessment.Assessed
	leaf := h.Leaf(index)
	if err := entry.Decode(leaf, &e); err != nil {
		t.Fatal(err)
	}
	blob := func(digest [32]byte) []byte {
		for _, f := range h.Blobs() {
			if sha256.Sum256(f.Data) == digest {
				return f.Data
			}
		}
		t.Fatal("no such blob")
		return nil
	}
	var list []json.RawMessage
	for _, at := range append(others, index) {
		list = append(list, h.Answer(at))
	}
	answer, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return &Examination{Report: blob(e.Report), Page: []byte("<!doctype html>\n"), Bundle: blob(e.Bundle), Answer: answer}
}

// An examination is checked by the key for exports that the log had in force then: entry 0's, or the one that came
// after it, with the entries that say so.
func TestExaminationsFollowTheExportsKey(t *testing.T) {
	town := newTown()
	town.Officers()
	first := town.Assess(nil, nil)
	introduced := town.Introduce(system.RoleExports, "anna", "berta")
	second := town.Assess(func(d *report.Document) { d.Finished = d.Finished.Add(1e9) }, nil)
	retired := town.RetireKey(system.RoleExports, "anna", "berta")
	third := town.Assess(func(d *report.Document) { d.Finished = d.Finished.Add(2e9) }, nil)
	for name, x := range map[string]*Examination{
		"by entry 0's":                          handedOut(t, town.House, first, 0),
		"by entry 0's, though another came":     handedOut(t, town.House, first, 0, introduced, retired),
		"by the new one":                        handedOut(t, town.House, second, introduced, 0),
		"by the new one, the old one's retired": handedOut(t, town.House, third, 0, introduced, retired),
	} {
		if _, err := Assessment(x, town.VKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var f *Finding
	if _, err := Assessment(handedOut(t, town.House, second, 0), town.VKey); !errors.As(err, &f) || f.Rule != "assessment-statement" {
		t.Errorf("without the entry that brings the key: %v", err)
	}
	x := handedOut(t, town.House, third, 0, introduced, retired)
	x.Bundle = bytes.Replace(x.Bundle, []byte("payload"), []byte("Payload"), 1)
	if _, err := Assessment(x, town.VKey); !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), assessment.BundleName) {
		t.Errorf("another bundle: %v", err)
	}
}
