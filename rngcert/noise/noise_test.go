package noise

import (
	"errors"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// log takes records of this package, each under the next index.
type log struct {
	t    *testing.T
	rows book.Memory
	next uint64
}

func newLog(t *testing.T) *log { return &log{t, book.Memory{}, 10} }

func (l *log) add(r entry.Record) {
	l.t.Helper()
	if err := Fold(l.rows, l.next, r); err != nil {
		l.t.Fatalf("entry %d, %s: %v", l.next, r.Type(), err)
	}
	l.next++
}

// refused wants a record to break a rule and to change nothing.
func (l *log) refused(rule string, r entry.Record) {
	l.t.Helper()
	before := Now(l.rows)
	var v *book.Violation
	if err := Fold(l.rows, l.next, r); !errors.As(err, &v) || v.Rule != rule {
		l.t.Errorf("%s %+v: %v, want %s", r.Type(), r, err, rule)
	}
	if after := Now(l.rows); len(after.Out) != len(before.Out) || after.Groups != before.Groups || after.Minimum != before.Minimum {
		l.t.Errorf("%s left %+v, was %+v", rule, after, before)
	}
}

func (l *log) seed(minimum uint64, members ...Member) {
	l.t.Helper()
	if err := Seed(l.rows, members, minimum); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) playing(want bool) {
	l.t.Helper()
	if err := Playing(l.rows); (err == nil) != want || err != nil && !errors.Is(err, ErrStopped) {
		l.t.Errorf("play goes on: %v, want %v", err, want)
	}
	if err := Round(l.rows); (err == nil) != want {
		l.t.Errorf("a round: %v, want %v", err, want)
	}
}

func fails(source, group string, count, groups, minimum uint64) *Failed {
	return &Failed{Count: count, Group: group, Groups: groups, Minimum: minimum, Reason: "slow", Source: source}
}

func restored(source, group string, count, groups, minimum uint64) *Restored {
	return &Restored{Count: count, Group: group, Groups: groups, Minimum: minimum, Source: source}
}

var kernel, cpu, tpm = Member{"kernel", "getrandom"}, Member{"cpu", "rdseed"}, Member{"tpm", "tpm2"}

// Three sources, two of which must be in order: one may fail, two may not.
func TestPlayStopsAndGoesOn(t *testing.T) {
	l := newLog(t)
	l.playing(true)
	l.seed(2, kernel, cpu, tpm)
	l.add(fails("tpm2", "tpm", 1, 2, 2))
	l.playing(true)
	l.add(fails("rdseed", "cpu", 1, 1, 2))
	l.playing(false)
	l.add(restored("tpm2", "tpm", 1, 2, 2))
	l.playing(true)
	l.seed(2, kernel, tpm)
	l.add(restored("rdseed", "cpu", 1, 3, 2))
	l.seed(2, kernel, cpu, tpm)
	l.add(fails("rdseed", "cpu", 2, 2, 2))
	if n := Failures(l.rows, "rdseed"); n != 2 {
		t.Errorf("%d failures, want 2", n)
	}
}

// What each process says it says for itself; what was out stays out until it is
// said to be back.
func TestAnotherProcess(t *testing.T) {
	l := newLog(t)
	Begin(l.rows)
	if len(l.rows) != 0 {
		t.Errorf("a log without sources has %v", l.rows)
	}
	l.seed(2, kernel, cpu)
	l.add(fails("rdseed", "cpu", 1, 1, 2))
	l.playing(false)
	Begin(l.rows)
	l.playing(true) // until it has looked
	var v *book.Violation
	if err := Seed(l.rows, []Member{kernel, cpu}, 2); !errors.As(err, &v) || v.Rule != "entropy-listed" {
		t.Errorf("a seed from a source that is out: %v", err)
	}
	l.add(fails("rdseed", "cpu", 2, 1, 2))
	l.playing(false)
	Begin(l.rows)
	l.add(restored("rdseed", "board", 2, 2, 1)) // demands less, from another device of that name
	l.seed(1, kernel, Member{"board", "rdseed"})
	l.playing(true)
}

func TestRules(t *testing.T) {
	l := newLog(t)
	l.seed(2, kernel, cpu, tpm)
	l.refused("entropy-source", fails("The TPM", "tpm", 1, 2, 2))
	l.refused("entropy-source", fails("tpm2", "", 1, 2, 2))
	l.refused("entropy-reason", &Failed{Count: 1, Group: "tpm", Groups: 2, Minimum: 2, Reason: "moon", Source: "tpm2"})
	l.refused("entropy-count", fails("tpm2", "tpm", 2, 2, 2))
	l.refused("entropy-count", fails("tpm2", "tpm", 0, 2, 2))
	l.refused("entropy-group", fails("tpm2", "hsm", 1, 2, 2))
	l.refused("entropy-minimum", fails("tpm2", "tpm", 1, 2, 1))
	l.refused("entropy-minimum", fails("tpm2", "tpm", 1, 2, 0))
	l.refused("entropy-groups", fails("tpm2", "tpm", 1, 3, 2))
	l.refused("entropy-restored", restored("tpm2", "tpm", 1, 3, 2))
	l.add(fails("tpm2", "tpm", 1, 2, 2))
	l.refused("entropy-failed", fails("tpm2", "tpm", 2, 2, 2))
	l.refused("entropy-count", restored("tpm2", "tpm", 2, 3, 2))
	l.refused("entropy-group", restored("tpm2", "cpu", 1, 3, 2))
	l.refused("entropy-minimum", restored("tpm2", "tpm", 1, 3, 3))
	l.refused("entropy-groups", restored("tpm2", "tpm", 1, 2, 2))

	for what, c := range map[string]struct {
		rule    string
		minimum uint64
		members []Member
	}{
		"lists what is out": {"entropy-listed", 2, []Member{kernel, cpu, tpm}},
		"leaves one out":    {"entropy-left-out", 2, []Member{kernel}},
		"demands less":      {"entropy-minimum", 1, []Member{kernel, cpu}},
	} {
		var v *book.Violation
		if err := Seed(l.rows, c.members, c.minimum); !errors.As(err, &v) || v.Rule != c.rule {
			t.Errorf("a seed that %s: %v, want %s", what, err, c.rule)
		}
	}
	l.seed(2, kernel, cpu)
}

// Sources of one group are one.
func TestGroups(t *testing.T) {
	l := newLog(t)
	other := Member{"tpm", "tpm3"}
	l.seed(1, tpm, other)
	l.add(fails("tpm2", "tpm", 1, 1, 1))
	l.playing(true)
	l.add(fails("tpm3", "tpm", 1, 0, 1))
	l.playing(false)
	l.refused("entropy-groups", restored("tpm2", "tpm", 1, 2, 1))
	l.add(restored("tpm2", "tpm", 1, 1, 1))
	l.playing(true)
}

// Rows are shared: a fold never changes one that was put.
func TestRowsAreNotChangedInPlace(t *testing.T) {
	l := newLog(t)
	l.seed(2, kernel, cpu, tpm)
	l.add(fails("tpm2", "tpm", 1, 2, 2))
	row := l.rows[StateKey]
	before, err := entry.AppendObject(nil, row)
	if err != nil {
		t.Fatal(err)
	}
	l.add(fails("rdseed", "cpu", 1, 1, 2))
	l.add(restored("tpm2", "tpm", 1, 2, 2))
	Begin(l.rows)
	l.seed(2, kernel, tpm)
	if after, err := entry.AppendObject(nil, row); err != nil || string(after) != string(before) {
		t.Errorf("the row became %s, %v; it was %s", after, err, before)
	}
}
