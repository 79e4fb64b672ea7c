package verify

import (
	"fmt"

	"countroom/ledger/officers"
	"countroom/regulator/verify/logtest"
)

// An operator, or one officer, who does what takes two.

func init() { contradictions = append(contradictions, officerFrauds...) }

// approved tampers with what two officers approved of, after they did.
func approved[T officers.Approved](t *town, r T, change func(T), by ...string) uint64 {
	t.Approve(r, by...)
	change(r)
	return t.Append(r)
}

func enrolment(name string) *officers.Enrolled {
	o := logtest.OfficerOf(name)
	return &officers.Enrolled{Algorithm: o.Algorithm, Officer: name, Public: o.Public}
}

var officerFrauds = []contradiction{
	{name: "the operator enrols a third officer by himself", typ: "officer.enrolled", rule: "approvals", found: "0",
		commit: func(t *town) uint64 { t.Officers(); return t.Enrol("cora") }},
	{name: "one officer enrols another", typ: "officer.enrolled", rule: "approvals", found: "1",
		commit: func(t *town) uint64 { t.Officers(); return t.Enrol("cora", "anna") }},
	{name: "one officer signs twice", typ: "officer.enrolled", rule: "approvals", found: "anna and anna",
		commit: func(t *town) uint64 { t.Officers(); return t.Enrol("cora", "anna", "anna") }},
	{name: "an approval by somebody who was never enrolled", typ: "officer.enrolled", rule: "approvals", found: "emil",
		commit: func(t *town) uint64 { t.Officers(); return t.Enrol("cora", "anna", "emil") }},
	{name: "an approval by a retired officer", typ: "officer.enrolled", rule: "approvals", found: "berta",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Enrol("cora", "anna", "berta")
			t.RetireOfficer("berta", "anna", "cora")
			return t.Enrol("dora", "anna", "berta")
		}},
	{name: "an approval of another statement", typ: "officer.enrolled", rule: "approvals", expected: "anna",
		commit: func(t *town) uint64 {
			t.Officers()
			return approved(t, enrolment("cora"), func(r *officers.Enrolled) { r.Public = logtest.OfficerOf("emil").Public }, "anna", "berta")
		}},
	{name: "an approval of another action", typ: "officer.retired", rule: "approvals", expected: "officer.retired of cora",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Enrol("cora", "anna", "berta")
			r := &officers.Retired{Officer: "cora"}
			other := &officers.Enrolled{Officer: "cora"}
			t.Approve(other, "anna", "berta")
			t.Approve(r, "anna", "berta")
			r.Approvals = other.Approvals
			return t.Append(r)
		}},
	{name: "approvals in another order", typ: "officer.enrolled", rule: "approvals", expected: "sorted",
		commit: func(t *town) uint64 {
			t.Officers()
			return approved(t, enrolment("cora"), func(r *officers.Enrolled) {
				r.Approvals[0], r.Approvals[1] = r.Approvals[1], r.Approvals[0]
				r.Actor = officers.Actor(r)
			}, "anna", "berta")
		}},
	{name: "officers approve of the first one", typ: "officer.enrolled", rule: "approvals", expected: "none for the first two",
		commit: func(t *town) uint64 { return t.Enrol("anna", "berta", "cora") }},
	{name: "an officer's name that is none", typ: "officer.enrolled", rule: "officer-name", found: "Anna",
		commit: func(t *town) uint64 {
			return approved(t, enrolment("anna"), func(r *officers.Enrolled) { r.Officer = "Anna" })
		}},
	{name: "a retired officer's name comes back", typ: "officer.enrolled", rule: "officer-once", found: "berta",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Enrol("cora", "anna", "berta")
			t.RetireOfficer("berta", "anna", "cora")
			return t.Enrol("berta", "anna", "cora")
		}},
	{name: "one person under two names", typ: "officer.enrolled", rule: "officer-key", found: "anna",
		commit: func(t *town) uint64 {
			t.Enrol("anna")
			return approved(t, enrolment("emil"), func(r *officers.Enrolled) { r.Public = logtest.OfficerOf("anna").Public })
		}},
	{name: "an officer whose key is none", typ: "officer.enrolled", rule: "officer-key", found: "31",
		commit: func(t *town) uint64 {
			return approved(t, enrolment("anna"), func(r *officers.Enrolled) { r.Public = r.Public[1:] })
		}},
	{name: "officers without end", typ: "officer.enrolled", rule: "officers-most", expected: "64",
		commit: func(t *town) uint64 {
			t.Officers()
			for i := 2; i < officers.Most; i++ {
				t.Enrol(fmt.Sprintf("officer-%03d", i), "anna", "berta")
			}
			return t.Enrol("one-more", "anna", "berta")
		}},
	{name: "one officer is left", typ: "officer.retired", rule: "officers-least", found: "1",
		commit: func(t *town) uint64 { t.Officers(); return t.RetireOfficer("berta", "anna", "berta") }},
	{name: "somebody is retired who is no officer", typ: "officer.retired", rule: "officer-serving", found: "emil",
		commit: func(t *town) uint64 { t.Officers(); return t.RetireOfficer("emil", "anna", "berta") }},
	{name: "an officer's entry under the operator's name", typ: "officer.enrolled", rule: "actor", expected: "officer/anna",
		commit: func(t *town) uint64 {
			t.Officers()
			return approved(t, enrolment("cora"), func(r *officers.Enrolled) { r.Actor = "operator" }, "anna", "berta")
		}},
	{name: "an officer's entry that nobody asked for", typ: "officer.enrolled", rule: "request",
		commit: func(t *town) uint64 {
			t.Officers()
			return approved(t, enrolment("cora"), func(r *officers.Enrolled) { r.Request.Key, r.Request.Fingerprint = [32]byte{}, [16]byte{} }, "anna", "berta")
		}},
}

// officers come and go in the story of all types.
func (s *story) officers() {
	s.Officers()
	s.Enrol("cora", "anna", "berta")
	s.RetireOfficer("cora", "anna", "berta")
}

// approvedTypes are the types that officers approve of.
const approvedTypes = "key.introduced key.retired laboratory.recognised officer.enrolled officer.retired seed.abandoned seed.ended subject.erased"
