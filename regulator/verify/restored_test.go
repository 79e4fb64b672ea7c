package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
)

// twoHistories are a house that went back to a back-up of size n and played on,
// beside the history that it left, which is the same up to there.
func twoHistories(t *testing.T, change func(*system.HouseRestored)) (old, now *logtest.House, n uint64) {
	t.Helper()
	old, who := honest(40)
	now, again := honest(40)
	if n = old.Size(); n != now.Size() || string(old.Checkpoint()) != string(now.Checkpoint()) {
		t.Fatal("the two histories do not begin alike")
	}
	old.Play(who, 30)

	now.Wait(time.Hour)
	active := now.Restart()
	r := &system.HouseRestored{Backup: [32]byte{1, 2}, Reason: [32]byte{3}, Signed: old.Size(), Size: active}
	r.Root = rootAt(t, now, active)
	if change != nil {
		change(r)
	}
	now.Append(r)
	now.Play(again, 60)
	return old, now, n
}

// rootAt reads the root from the house.active that found it.
func rootAt(t *testing.T, h *logtest.House, active uint64) [32]byte {
	t.Helper()
	proofs, err := Receipt(h.Answer(active), h.VKey)
	if err != nil {
		t.Fatal(err)
	}
	return proofs[0].Record.(*system.HouseActive).Root
}

// named returns the findings of a rule.
func named(r *Report, rule string) (found []Finding) {
	for _, f := range r.Findings {
		if f.Rule == rule {
			found = append(found, f)
		}
	}
	return found
}

// A restored log holds by every rule, says what it was restored from, and
// what others kept of the time before the back-up is in it.
func TestRestoredLogHolds(t *testing.T) {
	old, now, n := twoHistories(t, nil)
	r, err := check(t, now, Known{"early", now.Answer(n - 3)})
	mustHold(t, r, err)
	want := fmt.Sprintf("entry %d: the log was restored from a back-up of size %d", n+1, n)
	if !slices.ContainsFunc(r.Warnings, func(w string) bool {
		return strings.HasPrefix(w, want) && strings.Contains(w, fmt.Sprintf("it had signed size %d", old.Size()))
	}) {
		t.Errorf("warnings %q, expected one that begins with %q", r.Warnings, want)
	}
	if r.Types["house.restored"] != 1 {
		t.Errorf("types %v", r.Types)
	}
}

// What others kept of the time after the back-up is evidence, and is named as
// what it is: each receipt once, whether the log has that size again or not.
func TestReceiptsThatARestoreLeftBehind(t *testing.T) {
	old, now, n := twoHistories(t, nil)
	lost := []uint64{n, n + 7, old.Size() - 1}
	var known []Known
	for _, i := range lost {
		known = append(known, Known{fmt.Sprintf("receipt-%d", i), old.Answer(i)})
	}
	known = append(known, Known{"old head", old.Checkpoint()}, Known{"kept entry, late head", old.Answer(n - 1)})
	for _, size := range []string{"longer than the old log", "shorter than the old log"} {
		if size == "shorter than the old log" {
			// A house that was restored and has not played much since.
			short, _ := honest(40)
			active := short.Restart()
			short.Append(&system.HouseRestored{Root: rootAt(t, short, active), Signed: active, Size: active})
			now = short
		}
		r, err := check(t, now, known...)
		if err != nil {
			t.Fatal(err)
		}
		got := named(r, "rolled-back")
		if len(got) != len(r.Findings) || len(got) != len(lost)+2 {
			t.Fatalf("%s: findings %+v", size, r.Findings)
		}
		for _, i := range lost {
			want := fmt.Sprintf("the log was restored from a back-up at size %d by entry %d; this receipt's entry was signed and is not in it any more", n, n+1)
			if !slices.ContainsFunc(got, func(f Finding) bool {
				return f.Index == i && f.Type == "receipt" && f.Found == want && strings.Contains(f.Expected, fmt.Sprintf("receipt-%d", i))
			}) {
				t.Errorf("%s: no finding names the receipt of entry %d: %+v", size, i, got)
			}
		}
		for _, name := range []string{"old head", "kept entry, late head"} {
			if !slices.ContainsFunc(got, func(f Finding) bool {
				return strings.Contains(f.Expected, name) && strings.Contains(f.Found, fmt.Sprintf("restored from a back-up at size %d by entry %d", n, n+1))
			}) {
				t.Errorf("%s: no finding names %s: %+v", size, name, got)
			}
		}
	}
}

// A restore is no excuse for what it cannot have caused.
func TestARestoreExcusesNothingBeforeIt(t *testing.T) {
	_, now, n := twoHistories(t, nil)
	r, err := check(t, now, Known{"fork", now.Sign(n-5, [32]byte{9})})
	if err != nil {
		t.Fatal(err)
	}
	if got := named(r, "fork"); len(got) != 1 || got[0].Index != n-5 {
		t.Errorf("findings %+v", r.Findings)
	}
}

// What a house says of its restore is held against the log.
func TestFalseWordsAboutARestore(t *testing.T) {
	for _, c := range []struct {
		rule   string
		change func(*system.HouseRestored)
	}{
		{"restored-root", func(r *system.HouseRestored) { r.Root[0] ^= 1 }},
		{"restored-head", func(r *system.HouseRestored) { r.Size--; r.Signed = r.Size }},
		{"restored-signed", func(r *system.HouseRestored) { r.Signed = r.Size - 1 }},
		{"actor", func(r *system.HouseRestored) { r.Actor = "operator" }},
	} {
		_, now, n := twoHistories(t, c.change)
		r, err := check(t, now)
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		if got := named(r, c.rule); len(got) != 1 || got[0].Index != n+1 || got[0].Type != "house.restored" {
			t.Errorf("%s: findings %+v", c.rule, r.Findings)
		}
	}
	h, who := honest(10)
	h.Play(who, 5)
	index := h.Append(&system.HouseRestored{Signed: h.Size(), Size: h.Size() - 1})
	r, err := check(t, h)
	if err != nil {
		t.Fatal(err)
	}
	if got := named(r, "restored-first"); len(got) != 1 || got[0].Index != index {
		t.Errorf("findings %+v", r.Findings)
	}
}
