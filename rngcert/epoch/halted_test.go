package epoch_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

const origin = "house.example/log"

func officerKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func halted(n uint64) *epoch.Halted { return &epoch.Halted{Epoch: n} }

func decided(n, draws uint64, at entry.Time) decision.Decision {
	return decision.Decision{Header: entry.Header{At: at}, Draws: draws, Epoch: n, Reason: [32]byte{7}}
}

func ended(n, draws uint64, at entry.Time, by ...string) *decision.Ended {
	r := &decision.Ended{Decision: decided(n, draws, at)}
	approve(r, by)
	return r
}

func abandoned(n, draws uint64, at entry.Time, by ...string) *decision.Abandoned {
	r := &decision.Abandoned{Decision: decided(n, draws, at)}
	approve(r, by)
	return r
}

func approve(r officers.Approved, by []string) {
	for _, name := range by {
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(officerKey(name), officers.Message(origin, r.Type(), r.Subject()))})
	}
}

// staffed is the story up to a step, told of a house that has two officers.
func staffed(t *testing.T, last string) (rows book.Memory, index uint64) {
	t.Helper()
	rows, index = tell(t, last)
	created := &system.HouseCreated{Origin: origin}
	if err := officers.Fold(rows, 0, created); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "bert"} {
		r := &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: officerKey(name).Public().(ed25519.PublicKey)}
		if err := officers.Fold(rows, 0, r); err != nil {
			t.Fatal(err)
		}
	}
	return rows, index
}

// What becomes of a halted epoch, and what comes after it.
func TestDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		after string
		then  []entry.Record
		want  epoch.State // but for limits and time
	}{
		"the active epoch ends early and is revealed": {"1 drew once", []entry.Record{
			halted(1), ended(1, 1, after(2), "anna", "bert"), committed(2), activated(2, after(3)), draw(2, 1, after(3)), revealed(1, after(32)),
		}, epoch.State{Active: 2, Closed: 1, Committed: 2, Draws: 1, Revealed: 1}},
		"the active epoch is abandoned": {"1 drew once", []entry.Record{
			halted(1), abandoned(1, 1, after(2), "anna", "bert"), committed(2), activated(2, after(3)),
		}, epoch.State{Active: 2, Closed: 1, Committed: 2, Revealed: 1}},
		"the active epoch is abandoned, and the one ahead comes into use": {"2 committed", []entry.Record{
			halted(1), abandoned(1, 1, after(2), "anna", "bert"), activated(2, after(3)), draw(2, 1, after(3)),
		}, epoch.State{Active: 2, Closed: 1, Committed: 2, Draws: 1, Revealed: 1}},
		"the one ahead is abandoned while another is active": {"2 committed", []entry.Record{
			halted(2), abandoned(2, 0, after(2), "anna", "bert"), draw(1, 2, after(2)), committed(3), closed(1, 2, epoch.ByDraws, after(3)), activated(3, after(4)), revealed(1, after(33)),
		}, epoch.State{Active: 3, Closed: 1, Committed: 3, Revealed: 2}},
		"the one ahead is abandoned between epochs": {"1 revealed", []entry.Record{
			closed(2, 1, epoch.ByTime, after(64)), halted(3), abandoned(3, 0, after(65), "anna", "bert"), committed(4), activated(4, after(66)), revealed(2, after(94)),
		}, epoch.State{Active: 4, Closed: 2, Committed: 4, Revealed: 3}},
		"a closed epoch is abandoned": {"1 closed", []entry.Record{
			halted(1), abandoned(1, 2, after(5), "anna", "bert"), activated(2, after(6)),
		}, epoch.State{Active: 2, Closed: 1, Committed: 2, Revealed: 1}},
		"an epoch that was ended is abandoned after all": {"1 drew once", []entry.Record{
			halted(1), ended(1, 1, after(2), "anna", "bert"), halted(1), abandoned(1, 1, after(3), "anna", "bert"), committed(2),
		}, epoch.State{Ahead: 2, Closed: 1, Committed: 2, Draws: 1, Revealed: 1}},
		"reveals go over the one that was abandoned": {"2 activated", []entry.Record{
			halted(2), abandoned(2, 0, after(5), "anna", "bert"), committed(3), activated(3, after(6)), revealed(1, after(33)), closed(3, 0, epoch.ByTime, after(66)), revealed(3, after(96)),
		}, epoch.State{Closed: 3, Committed: 3, Revealed: 3}},
		"what is due elsewhere comes out while another is halted": {"1 closed", []entry.Record{
			halted(2), revealed(1, after(33)),
		}, epoch.State{Ahead: 2, Closed: 1, Committed: 2, Draws: 2, Halted: 2, Revealed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			rows, index := staffed(t, c.after)
			for i, r := range c.then {
				if err := fold(rows, index+uint64(i), r); err != nil {
					t.Fatalf("step %d, %s: %v", i, r.Type(), err)
				}
			}
			got := epoch.Now(rows)
			got.ActivatedAt, got.Limits = 0, epoch.Limits{}
			if got != c.want {
				t.Errorf("%+v\nwant %+v", got, c.want)
			}
		})
	}
}

// What an epoch's row says of its halts and its end.
func TestRowsOfDecisions(t *testing.T) {
	rows, index := staffed(t, "1 drew once")
	for i, r := range []entry.Record{halted(1), ended(1, 1, after(2), "anna", "bert"), halted(1), abandoned(1, 1, after(3), "anna", "bert")} {
		if err := fold(rows, index+uint64(i), r); err != nil {
			t.Fatal(err)
		}
	}
	e := book.Get[epoch.Epoch](rows, epoch.Key(1))
	if e.ClosedIndex != index+1 || e.ClosedAt != after(2) || e.Draws != 1 || e.HaltedIndex != index+2 || e.AbandonedIndex != index+3 || e.RevealedIndex != 0 {
		t.Errorf("%+v, from entry %d", e, index)
	}
}

func TestBrokenDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		after string
		first []entry.Record
		r     entry.Record
		rule  string
	}{
		"halt before all":                {"created", nil, halted(0), "epoch-halt"},
		"halt what is unknown":           {"1 committed", nil, halted(2), "epoch-halt"},
		"halt what is revealed":          {"1 revealed", nil, halted(1), "epoch-halt"},
		"halt twice":                     {"1 activated", []entry.Record{halted(1)}, halted(1), "epoch-halt"},
		"halt another one":               {"2 committed", []entry.Record{halted(1)}, halted(2), "epoch-halt"},
		"halt what is abandoned":         {"1 committed", []entry.Record{halted(1), abandoned(1, 0, after(0), "anna", "bert")}, halted(1), "epoch-halt"},
		"draw while halted":              {"1 drew once", []entry.Record{halted(1)}, draw(1, 2, after(2)), "epoch-halted"},
		"draw while another is halted":   {"2 committed", []entry.Record{halted(2)}, draw(1, 2, after(2)), "epoch-halted"},
		"close while halted":             {"1 drew twice", []entry.Record{halted(1)}, closed(1, 2, epoch.ByDraws, after(3)), "epoch-halted"},
		"commit while halted":            {"1 activated", []entry.Record{halted(1)}, committed(2), "epoch-halted"},
		"activate while halted":          {"1 closed", []entry.Record{halted(1)}, activated(2, after(4)), "epoch-halted"},
		"activate what is halted":        {"1 committed", []entry.Record{halted(1)}, activated(1, after(4)), "epoch-halted"},
		"reveal what is halted":          {"1 closed", []entry.Record{halted(1)}, revealed(1, after(99)), "epoch-halted"},
		"end what is not halted":         {"1 drew once", nil, ended(1, 1, after(2), "anna", "bert"), "epoch-undecided"},
		"abandon what is not halted":     {"1 drew once", nil, abandoned(1, 1, after(2), "anna", "bert"), "epoch-undecided"},
		"abandon another than is halted": {"2 committed", []entry.Record{halted(2)}, abandoned(1, 1, after(2), "anna", "bert"), "epoch-undecided"},
		"decide twice":                   {"1 drew once", []entry.Record{halted(1), ended(1, 1, after(2), "anna", "bert")}, ended(1, 1, after(2), "anna", "bert"), "epoch-undecided"},
		"end a closed one":               {"1 closed", []entry.Record{halted(1)}, ended(1, 2, after(5), "anna", "bert"), "epoch-end"},
		"end the one ahead":              {"2 committed", []entry.Record{halted(2)}, ended(2, 0, after(5), "anna", "bert"), "epoch-end"},
		"end with a draw too many":       {"1 drew once", []entry.Record{halted(1)}, ended(1, 2, after(2), "anna", "bert"), "epoch-draws"},
		"abandon with a draw too few":    {"1 drew once", []entry.Record{halted(1)}, abandoned(1, 0, after(2), "anna", "bert"), "epoch-draws"},
		"abandon a closed one with none": {"1 closed", []entry.Record{halted(1)}, abandoned(1, 0, after(5), "anna", "bert"), "epoch-draws"},
		"end by one officer":             {"1 drew once", []entry.Record{halted(1)}, ended(1, 1, after(2), "anna"), "approvals"},
		"abandon by nobody":              {"1 drew once", []entry.Record{halted(1)}, abandoned(1, 1, after(2)), "approvals"},
		"activate what is abandoned":     {"1 closed", []entry.Record{halted(2), abandoned(2, 0, after(5), "anna", "bert")}, activated(2, after(6)), "epoch-activation"},
		"draw of what is abandoned":      {"1 drew once", []entry.Record{halted(1), abandoned(1, 1, after(2), "anna", "bert")}, draw(1, 2, after(3)), "draw-epoch"},
		"reveal what is abandoned":       {"1 closed", []entry.Record{halted(1), abandoned(1, 2, after(5), "anna", "bert")}, revealed(1, after(99)), "epoch-reveal"},
		"commit to it again":             {"1 committed", []entry.Record{halted(1), abandoned(1, 0, after(0), "anna", "bert")}, committed(1), "epoch-order"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, index := staffed(t, c.after)
			for i, r := range c.first {
				if err := fold(rows, index+uint64(i), r); err != nil {
					t.Fatalf("%s: %v", r.Type(), err)
				}
			}
			booktest.Breaks(t, fold(rows, index+uint64(len(c.first)), c.r), c.rule)
		})
	}
	// An approval of one thing is none of the other.
	rows, index := staffed(t, "1 drew once")
	if err := fold(rows, index, halted(1)); err != nil {
		t.Fatal(err)
	}
	r := ended(1, 1, after(2))
	r.Approvals = slices.Clone(abandoned(1, 1, after(2), "anna", "bert").Approvals)
	booktest.Breaks(t, fold(rows, index+1, r), "approvals")
}
