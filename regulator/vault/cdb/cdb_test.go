package cdb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/vault"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

// house is a log of two days with three players in two currencies, of whom one closes his account.
func house() (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 11, Step: 40 * time.Second})
	people := []logtest.Player{h.Join(200_000), h.Join(300_000), h.Register("JPY")}
	h.Deposit(people[2], 900_000)
	people[2].Session = h.Open(people[2])
	h.SetNonce(people[0])
	h.Play(people, 540)
	h.Withdraw(people[1], 1_005)
	h.Close(people[0])
	h.Change(people[0], players.Closed)
	h.Withdraw(people[0], h.Balance(people[0]))
	game := people[1:]
	h.Disable("lamplight-quay")
	h.Enable("lamplight-quay")
	h.Wait(10 * time.Hour)
	for i := range game {
		game[i].Session = h.Open(game[i])
	}
	h.Play(game, 100)
	return h, people
}

func openLog(t testing.TB, h *logtest.House) *vault.Log {
	t.Helper()
	ring, err := verify.NewKeyring(h.VKey)
	if err != nil {
		t.Fatal(err)
	}
	log, err := vault.Open(t.Context(), verify.Dir(h.Publish()), ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// rule is the rule of a difference, or nothing.
func rule(err error) string {
	var d *vault.Difference
	if errors.As(err, &d) {
		return d.Rule
	}
	return ""
}

// tree reads all files below a folder.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t testing.TB, a, b map[string]string) {
	t.Helper()
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs", name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files and %d", len(a), len(b))
	}
}

// A house delivers its first day, then the rest; what it delivered reconciles, and the same log gives the same files.
func TestTwoDeliveries(t *testing.T) {
	h, _ := house()
	log := openLog(t, h)
	first, err := log.Before(entry.TimeOf(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	twice := func() string {
		dir := t.TempDir()
		for _, to := range []uint64{first, h.Size()} {
			if _, err := Deliver(t.Context(), log, dir, nil, to); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dir := twice()
	r, err := Audit(t.Context(), log, os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if r.From != 0 || r.To != h.Size() || r.Deliveries != 2 || r.Records[Bets] != 640 || r.Records[Operators] != 1 || r.Records[Profiles] != 4 || r.Records[Games] != 3 || r.Records[Sessions] != 6 || r.Records[Transactions] != 5 {
		t.Errorf("%+v", r)
	}
	records := r.Omitted
	for _, n := range r.Records {
		records += n
	}
	if records != h.Size() {
		t.Errorf("%d records and omitted of %d entries", records, h.Size())
	}
	files := tree(t, dir)
	sameTree(t, files, tree(t, twice()))
	for _, name := range []string{"delivery-00000001/bet-00002.xml", "delivery-00000002/bet-00001.xml", "delivery-00000002/manifest.xml"} {
		if files[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	for name, data := range files {
		if n := strings.Count(data, "<Ledger "); n > RecordsMost {
			t.Errorf("%s has %d records", name, n)
		}
	}

	if _, err := Deliver(t.Context(), log, dir, nil, h.Size()); !errors.Is(err, ErrNothing) {
		t.Errorf("the same again: %v", err)
	}
	gap := h.Size() - 1
	if _, err := Deliver(t.Context(), log, dir, &gap, h.Size()); err == nil || !strings.Contains(err.Error(), "where the last delivery ended") {
		t.Errorf("with a gap: %v", err)
	}
	if _, err := Deliver(t.Context(), log, t.TempDir(), nil, h.Size()+1); err == nil {
		t.Error("beyond the checkpoint")
	}
}

// Each type of entries has a record, or a reason to have none.
func TestEveryType(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/formats/entries.md")
	if err != nil {
		t.Fatal(err)
	}
	types := 0
	for line := range strings.Lines(string(doc)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "### `")
		if !ok {
			continue
		}
		types++
		r, err := books.New(strings.TrimSuffix(name, "`"))
		if err != nil {
			t.Fatal(err)
		}
		record, why, err := recordOf(1, nil, r, tlog.Checkpoint{})
		if err != nil && !strings.Contains(err.Error(), "no posting") { // an empty record of money has none
			t.Errorf("%s: %v", r.Type(), err)
		}
		if (record == nil) != (why != "") {
			t.Errorf("%s: %v, %q: expected a record, or a reason to have none", r.Type(), record, why)
		}
	}
	if types < 39 {
		t.Errorf("%d types", types)
	}
}

// A process that is killed after any file leaves nothing under a final name, and the next one makes what it would have.
func TestCrashBetweenFiles(t *testing.T) {
	h, _ := house()
	log := openLog(t, h)
	whole := t.TempDir()
	for _, to := range []uint64{400, h.Size()} {
		if _, err := Deliver(t.Context(), log, whole, nil, to); err != nil {
			t.Fatal(err)
		}
	}
	want := tree(t, whole)
	killed := errors.New("killed")
	for at := 1; ; at++ {
		dir, left := t.TempDir(), t.TempDir()
		if _, err := Deliver(t.Context(), log, dir, nil, 400); err != nil {
			t.Fatal(err)
		}
		w, err := open(t.Context(), log, dir)
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		w.wrote = func() error {
			if files++; files == at {
				if err := os.CopyFS(left, os.DirFS(dir)); err != nil { // as a kill would leave it
					t.Fatal(err)
				}
				return killed
			}
			return nil
		}
		_, err = w.deliver(nil, h.Size())
		w.dir.Close()
		if err == nil {
			if at < 5 {
				t.Fatalf("only %d files", at)
			}
			break
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		names, err := vault.List(os.DirFS(left), deliveryName.MatchString)
		if err != nil || len(names) != 1 {
			t.Fatalf("killed after file %d: %v, %v", at, names, err)
		}
		if _, err := Deliver(t.Context(), log, left, nil, h.Size()); err != nil {
			t.Fatal(err)
		}
		sameTree(t, want, tree(t, left))
	}
}

// Two processes do not write one vault.
func TestOneWriter(t *testing.T) {
	h, _ := house()
	log, dir := openLog(t, h), t.TempDir()
	w, err := open(t.Context(), log, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Deliver(t.Context(), log, dir, nil, 10); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
	w.dir.Close()
	if _, err := Deliver(t.Context(), log, dir, nil, 10); err != nil {
		t.Error(err)
	}
}

// A mapping that gets something wrong is caught before its delivery is let go, although it agrees with itself.
func TestAWrongMappingIsRefused(t *testing.T) {
	h, _ := house()
	log := openLog(t, h)
	for _, c := range []struct {
		name, rule, says string
		wrong            func(r Record) Record
	}{
		{"payouts lost", "totals", "payouts of 0", func(r Record) Record {
			if b, ok := r.(*Bet); ok {
				b.Payout = vault.Decimal(0, "EUR", places)
				if b.Currency == "JPY" {
					b.Payout = "0.00"
				}
			}
			return r
		}},
		{"a stake doubled", "totals", "lamplight-quay", func(r Record) Record {
			if b, ok := r.(*Bet); ok && b.Round == 7 && b.Currency == "EUR" {
				b.Stake = "999.00"
			}
			return r
		}},
		{"yen taken for cents", "totals", "in JPY", func(r Record) Record {
			if b, ok := r.(*Bet); ok && b.Currency == "JPY" && b.Round == 3 {
				b.Stake = "1.00"
			}
			return r
		}},
		{"an amount that is none", "", "decimal places", func(r Record) Record {
			if b, ok := r.(*Bet); ok {
				b.Stake = "1e3"
			}
			return r
		}},
		{"deposits as withdrawals", "totals", "0 deposits", func(r Record) Record {
			if b, ok := r.(*Transaction); ok {
				b.Type = "withdrawal"
			}
			return r
		}},
		{"rounds on another day", "totals", "2026-03-02 of lamplight-quay in EUR", func(r Record) Record {
			if b, ok := r.(*Bet); ok && b.Round > 1 {
				b.DateTime = strings.Replace(b.DateTime, "2026-03-02", "2026-03-04", 1)
			}
			return r
		}},
		{"another game", "totals", "of another in", func(r Record) Record {
			if b, ok := r.(*Bet); ok && b.Round == 99 {
				b.Game = "another"
			}
			return r
		}},
		{"rounds left out", "totals", "0 rounds", func(r Record) Record {
			if _, ok := r.(*Bet); ok {
				return nil
			}
			return r
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := open(t.Context(), log, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer w.dir.Close()
			w.record = func(index uint64, leaf []byte, r entry.Record, under tlog.Checkpoint) (Record, string, error) {
				record, why, err := recordOf(index, leaf, r, under)
				if record != nil {
					if record = c.wrong(record); record == nil {
						why = "forgotten"
					}
				}
				return record, why, err
			}
			if _, err = w.deliver(nil, h.Size()); err == nil || rule(err) != c.rule || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if files := tree(t, dir); len(files) != 0 {
				t.Errorf("%d files of a refused delivery are left", len(files))
			}
		})
	}
}

// A record that an older program delivered wrongly is replaced, another cancelled; the chain goes on, and only with the
// corrections does the vault reconcile.
func TestCorrections(t *testing.T) {
	h, _ := house()
	log, dir := openLog(t, h), t.TempDir()
	if _, err := Deliver(t.Context(), log, dir, nil, 500); err != nil {
		t.Fatal(err)
	}
	bets := indexes(t, log, "round.settled", 500)
	f := forge(t, dir)
	f.record(bets[3], func(r Record) { r.(*Bet).Stake = "0.30" })
	f.sign()
	if _, err := Audit(t.Context(), log, os.DirFS(dir)); rule(err) != "record-content" || !strings.Contains(err.Error(), "Stake") {
		t.Fatalf("%v", err)
	}
	if _, err := Correct(t.Context(), log, dir, []Correction{{Index: bets[9], Cancel: "delivered-in-error"}, {Index: bets[3]}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Deliver(t.Context(), log, dir, nil, h.Size()); err != nil {
		t.Fatal(err)
	}
	r, err := Audit(t.Context(), log, os.DirFS(dir))
	if err != nil || r.Replaced != 1 || r.Cancelled != 1 || r.Deliveries != 3 || r.To != h.Size() {
		t.Fatalf("%+v, %v", r, err)
	}

	for _, c := range []struct {
		name string
		list []Correction
		says string
	}{
		{"what was never delivered", []Correction{{Index: h.Size() + 3}}, "expected one that was delivered"},
		{"an entry without a record", []Correction{{Index: 1}}, "in no record"},
		{"the same twice", []Correction{{Index: bets[4]}, {Index: bets[4], Cancel: "twice"}}, "corrected in delivery"},
		{"a cancelled one", []Correction{{Index: bets[9]}}, "corrected in delivery 2"},
		{"words", []Correction{{Index: bets[4], Cancel: "Mrs Smith asked"}}, "expected a reason"},
		{"nothing", nil, "nothing to deliver"},
	} {
		if _, err := Correct(t.Context(), log, dir, c.list); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := Correct(t.Context(), log, dir, []Correction{{Index: bets[3], Cancel: "not-reportable"}}); err != nil {
		t.Errorf("a replaced one is cancelled: %v", err)
	}
	if r, err = Audit(t.Context(), log, os.DirFS(dir)); err != nil || r.Cancelled != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// indexes are the entries of a type before an index.
func indexes(t testing.TB, log *vault.Log, typ string, to uint64) (list []uint64) {
	t.Helper()
	if err := log.Records(0, to, func(index uint64, _ []byte, r entry.Record) error {
		if r.Type() == typ {
			list = append(list, index)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// The house's key does not vouch for another log, and a log that is not what its root says is not read.
func TestAnotherLog(t *testing.T) {
	h, _ := house()
	other := logtest.New(logtest.Config{Seed: 3, Origin: "elsewhere.example/log"})
	dir := t.TempDir()
	if _, err := Deliver(t.Context(), openLog(t, h), dir, nil, h.Size()); err != nil {
		t.Fatal(err)
	}
	if _, err := Audit(context.Background(), openLog(t, other), os.DirFS(dir)); err == nil {
		t.Error("another house's vault")
	}
	if _, err := Deliver(t.Context(), openLog(t, other), dir, nil, 3); err == nil || !strings.Contains(err.Error(), "vault of") {
		t.Errorf("another house's delivery: %v", err)
	}
}
