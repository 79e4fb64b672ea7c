package verify

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"

	"countroom/ledger/dsse"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/rngcert/assessment"
)

// Examination is what a house handed out about an examination of its chance.
type Examination struct {
	Report, Page, Bundle []byte
	// Answer has entry 0, what was said of keys for exports since, and the entry rng.assessed, each with its receipt.
	Answer []byte
}

// Assessment checks an examination without the log: its entries are in it, the digests are those of the files, the key
// for exports that these entries say is in force signed the statement, and the verdict follows from the p-values. What
// is wrong is a *Finding or an ErrUnchecked. That no key was introduced or retired but those in the answer is the
// house's word: the log as a whole shows it.
func Assessment(x *Examination, vkey string) (*assessment.Assessed, error) {
	ring, err := NewKeyring(vkey)
	if err != nil {
		return nil, err
	}
	return ring.Assessment(x)
}

// Assessment checks an examination by the checkpoint keys of the ring.
func (ring *Keyring) Assessment(x *Examination) (*assessment.Assessed, error) {
	proofs, err := ring.Receipt(x.Answer)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(proofs, func(a, b Proof) int { return cmp.Compare(a.Index, b.Index) })
	var exports []string // in force, the newest last
	var created *system.HouseCreated
	var e *assessment.Assessed
	finding := Finding{Type: (*assessment.Assessed)(nil).Type()}
	for _, p := range proofs {
		switch r := p.Record.(type) {
		case *system.HouseCreated:
			if k := r.Key(system.RoleExports); p.Index == 0 && k != nil {
				created, exports = r, append(exports, k.Public)
			}
		case *keys.Introduced:
			if r.Role == system.RoleExports && e == nil {
				exports = append(exports, r.Public)
			}
		case *keys.Retired:
			if r.Role == system.RoleExports && e == nil {
				exports = slices.DeleteFunc(exports, func(public string) bool { return public == r.Public })
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
	if len(exports) == 0 {
		return e, broken("assessment-statement", "a statement signed by the exports key in force", "no such key")
	}
	key, err := dsse.ParseKey(exports[len(exports)-1])
	if err == nil {
		err = e.CheckStatement(created.Origin, key, x.Bundle)
	}
	if err != nil {
		return e, broken("assessment-statement", "the entry's statement, signed by the exports key in force", err.Error())
	}
	if err := e.CheckReport(created.Origin, x.Report); err != nil {
		return e, broken("assessment-report", "a report that says what the entry says, and whose verdict follows from it", err.Error())
	}
	if e.Outcome != "pass" && e.Outcome != "fail" {
		return e, errors.Join(broken("assessment-outcome", "pass or fail", e.Outcome))
	}
	return e, nil
}
