package verify

import (
	"crypto/sha256"
	"errors"

	"countroom/ledger/dsse"
	"countroom/ledger/system"
	"countroom/rngcert/assessment"
)

// Examination is what a house handed out about an examination of its chance.
type Examination struct {
	Report, Page, Bundle []byte
	// Answer has the entry rng.assessed and entry 0, each with its receipt.
	Answer []byte
}

// Assessment checks an examination without the log: both entries are in it, the digests are those of the files, the key
// for exports in entry 0 signed the statement, and the verdict follows from the p-values. What is wrong is a *Finding or
// an ErrUnchecked.
func Assessment(x *Examination, vkey string) (*assessment.Assessed, error) {
	proofs, err := Receipt(x.Answer, vkey)
	if err != nil {
		return nil, err
	}
	var created *system.HouseCreated
	var e *assessment.Assessed
	finding := Finding{Type: (*assessment.Assessed)(nil).Type()}
	for _, p := range proofs {
		switch r := p.Record.(type) {
		case *system.HouseCreated:
			if p.Index == 0 {
				created = r
			}
		case *assessment.Assessed:
			e, finding.Index = r, p.Index
		}
	}
	if created == nil || e == nil {
		return nil, unchecked("expected receipts of entry 0 and of an rng.assessed")
	}
	broken := func(rule, expected, found string) error {
		finding.Rule, finding.Expected, finding.Found = rule, expected, found
		return &finding
	}
	for _, f := range []struct {
		name string
		data []byte
		want [32]byte
	}{{assessment.BundleName, x.Bundle, e.Bundle}, {assessment.ReportName, x.Report, e.Report}, {assessment.PageName, x.Page, e.Page}} {
		if sha256.Sum256(f.data) != f.want { // anybody may have changed a file
			return e, unchecked("%s is not the file that entry %d names", f.name, finding.Index)
		}
	}
	public := created.Key(system.RoleExports)
	if public == nil {
		return e, broken("assessment-statement", "a statement signed by the exports key in entry 0", "no such key")
	}
	key, err := dsse.ParseKey(public.Public)
	if err == nil {
		err = e.CheckStatement(created.Origin, key, x.Bundle)
	}
	if err != nil {
		return e, broken("assessment-statement", "the entry's statement, signed by the exports key in entry 0", err.Error())
	}
	if err := e.CheckReport(created.Origin, x.Report); err != nil {
		return e, broken("assessment-report", "a report that says what the entry says, and whose verdict follows from it", err.Error())
	}
	if e.Outcome != "pass" && e.Outcome != "fail" {
		return e, errors.Join(broken("assessment-outcome", "pass or fail", e.Outcome))
	}
	return e, nil
}
