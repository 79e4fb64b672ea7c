package system_test

import (
	"fmt"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
)

func created(format uint64) entry.Record { return &system.HouseCreated{Format: format} }

func active(size, term uint64) entry.Record { return &system.HouseActive{Size: size, Term: term} }

// pair is a machine "b" that takes over.
func pair(size, term uint64, members ...system.Member) entry.Record {
	return &system.PairActive{Members: members, Node: "b", Reason: system.ReasonTakeover, Size: size, Term: term}
}

func machine(name string) system.Member { return system.Member{Name: name, Role: system.RoleMachine} }

func arbiter(name string) system.Member { return system.Member{Name: name, Role: system.RoleArbiter} }

// The first process creates the house, a second one takes over; what is said
// about clocks and alarms in between changes no row.
var story = []entry.Record{
	created(1),
	active(1, 1),
	&system.ClockStepped{StepMicroseconds: -5},
	&system.AlarmRaised{Alarm: system.AlarmKeyReused, Count: 1},
	active(4, 2),
	pair(5, 7, machine("a"), machine("b"), arbiter("w")),
	active(6, 8),
}

// tell folds the first n entries of the story.
func tell(t *testing.T, n int) book.Memory {
	t.Helper()
	rows := book.Memory{}
	for i, r := range story[:n] {
		if err := system.Fold(rows, uint64(i), r); err != nil {
			t.Fatalf("entry %d, %s: %v", i, r.Type(), err)
		}
	}
	return rows
}

func TestStory(t *testing.T) {
	for n, want := range []string{
		``,
		`house {"format":1,"term":0}`,
		`house {"format":1,"term":1}`,
		`house {"format":1,"term":1}`,
		`house {"format":1,"term":1}`,
		`house {"format":1,"term":2}`,
		`house {"format":1,"term":7}`,
		`house {"format":1,"term":8}`,
	} {
		if got := booktest.Written(t, system.Kinds, tell(t, n)); got != want {
			t.Errorf("after %d entries:\n%s\nwant:\n%s", n, got, want)
		}
	}
}

func TestBrokenRules(t *testing.T) {
	for name, c := range map[string]struct {
		after int // entries of the story
		index uint64
		r     entry.Record
		rule  string
	}{
		"active before created":    {0, 0, active(0, 1), "house-created-first"},
		"created late":             {0, 1, created(1), "house-created-first"},
		"created twice":            {5, 5, created(1), "house-created-first"},
		"created twice as entry 0": {1, 0, created(1), "house-created-first"},
		"format of the future":     {0, 0, created(2), "format"},
		"format 0":                 {0, 0, created(0), "format"},
		"head too short":           {5, 5, active(4, 3), "active-head"},
		"head too long":            {5, 5, active(6, 3), "active-head"},
		"first term 0":             {1, 1, active(1, 0), "term"},
		"first term 2":             {1, 1, active(1, 2), "term"},
		"term again":               {5, 5, active(5, 2), "term"},
		"term back":                {5, 5, active(5, 1), "term"},
		"term skipped":             {5, 5, active(5, 4), "term"},
		"term beyond all integers": {5, 5, active(5, money.Max), "term"},

		"pair before created":  {0, 0, pair(0, 1, machine("b")), "house-created-first"},
		"pair: head too short": {6, 6, pair(5, 9, machine("b")), "active-head"},
		"pair: term again":     {6, 6, pair(6, 7, machine("b")), "term"},
		"pair: term back":      {6, 6, pair(6, 6, machine("b")), "term"},
		"pair: nobody":         {6, 6, pair(6, 9), "active-member"},
		"pair: a stranger":     {6, 6, pair(6, 9, machine("a")), "active-member"},
		"pair: an arbiter":     {6, 6, pair(6, 9, machine("a"), arbiter("b")), "active-member"},
		"pair: out of order":   {6, 6, pair(6, 9, machine("b"), machine("a")), "active-member"},
		"pair: a name twice":   {6, 6, pair(6, 9, machine("b"), arbiter("b")), "active-member"},
		"pair: another role":   {6, 6, pair(6, 9, machine("b"), system.Member{Name: "c", Role: "judge"}), "active-member"},
	} {
		t.Run(name, func(t *testing.T) {
			booktest.Breaks(t, system.Fold(tell(t, c.after), c.index, c.r), c.rule)
		})
	}
}

// breaks demands that err is a violation of the rule.
func TestKeysAreFoundByRole(t *testing.T) {
	r := &system.HouseCreated{Keys: []system.Key{{Role: system.RoleCheckpoint, Public: "a"}, {Role: system.RoleSeeds, Public: "b"}}}
	for role, want := range map[string]string{system.RoleCheckpoint: "a", system.RoleSeeds: "b"} {
		if k := r.Key(role); k == nil || k.Public != want {
			t.Errorf("%s: %v", role, k)
		}
	}
	if k := r.Key(system.RoleExports); k != nil {
		t.Errorf("a key that is not there: %v", k)
	}
}

// A house names at most 16 keys; no list is believed beyond that.
func TestKeysAreBounded(t *testing.T) {
	r := &system.HouseCreated{Header: entry.Header{ID: entry.NewUUID([16]byte{})}}
	for n := range 18 {
		_, err := entry.Append(nil, r)
		if (err == nil) != (n <= 16) {
			t.Errorf("%d keys: %v", n, err)
		}
		r.Keys = append(r.Keys, system.Key{Role: fmt.Sprint("role-", n)})
	}
}
