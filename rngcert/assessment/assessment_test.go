package assessment_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"countroom/ledger/dsse"
	"countroom/rngcert/assessment"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/report"
	"countroom/rngcert/sp80090b"
	"countroom/rngcert/verdict"
)

const origin = "casino.example/log"

// reported is a report of one raw source.
func reported(t *testing.T) []byte {
	t.Helper()
	hash := strings.Repeat("ab", 32)
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := &report.Document{
		Format: report.Format, Origin: origin, Release: "1.0.0", Code: hash, Configuration: strings.Repeat("cd", 32), Started: began, Finished: began,
		Sources: []report.Source{{Name: "noise", MinEntropyPerByte: 6}}, Games: []report.Game{},
		Report: laboratory.Report{
			Plan:    laboratory.Plan{Rule: verdict.Default, Raw: []laboratory.Raw{{Name: "source noise", BitsPerSymbol: 8, Declared: 6, Samples: 1_000_000}}},
			Outcome: verdict.Pass,
			Raw: []laboratory.RawReport{{Name: "source noise", Enough: true, Assessment: &sp80090b.Assessment{
				BitsPerSymbol: 8, Samples: 1_000_000, MinEntropy: 6.5, BitString: []sp80090b.Estimate{{Name: "Markov", MinEntropy: 0.8125}},
			}}},
		},
	}
	b, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEntryStatementAndReport(t *testing.T) {
	b := reported(t)
	r, payload, err := assessment.New(b, []byte("page"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Outcome != "pass" || hex.EncodeToString(r.Program[:]) != strings.Repeat("ab", 32) || len(r.Sources) != 1 || r.Report != sha256.Sum256(b) || r.Page != sha256.Sum256([]byte("page")) {
		t.Errorf("%+v", r)
	}
	raw := sha256.Sum256([]byte("exports"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := dsse.KeyOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(dsse.PAE(payload))
	sig, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	bundle := dsse.Bundle(&dsse.Envelope{Payload: payload, Signatures: [][]byte{sig}}, public)
	if err := r.CheckStatement(origin, public, bundle); err != nil {
		t.Error(err)
	}
	if err := r.CheckReport(origin, b); err != nil {
		t.Error(err)
	}
	if err := r.CheckReport("elsewhere.example", b); !errors.Is(err, assessment.ErrAssessment) {
		t.Errorf("of another log: %v", err)
	}
	if err := r.CheckStatement("elsewhere.example", public, bundle); !errors.Is(err, assessment.ErrAssessment) {
		t.Errorf("a statement about another log: %v", err)
	}
	for name, change := range map[string]func(r *assessment.Assessed){
		"outcome": func(r *assessment.Assessed) { r.Outcome = "fail" }, "code": func(r *assessment.Assessed) { r.Program[0]++ },
		"configuration": func(r *assessment.Assessed) { r.Configuration[0]++ }, "plan": func(r *assessment.Assessed) { r.Plan[0]++ },
	} {
		other := *r
		change(&other)
		if err := other.CheckStatement(origin, public, bundle); !errors.Is(err, assessment.ErrAssessment) {
			t.Errorf("%s: %v", name, err)
		}
		if err := other.CheckReport(origin, b); !errors.Is(err, assessment.ErrAssessment) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := *r
	other.Sources = []assessment.Source{{Name: "sound"}}
	if err := other.CheckReport(origin, b); !errors.Is(err, assessment.ErrAssessment) {
		t.Errorf("sources: %v", err)
	}
	if _, _, err := assessment.New([]byte("{}"), nil); !errors.Is(err, report.ErrReport) {
		t.Error(err)
	}
}
