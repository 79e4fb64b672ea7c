package safe

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/regulator/vault"
	"countroom/regulator/vault/safe/tokentest"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// house is a log of three days: on the second, sessions of the first go on, and a new release of the game comes; on the
// third there is nothing but an account.
func house() *logtest.House {
	h := logtest.New(logtest.Config{Seed: 21, Step: 40 * time.Second})
	people := []logtest.Player{h.Join(200_000), h.Join(300_000), h.Register("JPY")}
	h.Deposit(people[2], 900_000)
	people[2].Session = h.Open(people[2])
	h.Play(people, 300)
	h.Withdraw(people[1], 1_005)
	h.Wait(6 * time.Hour)
	people[0].Session = h.Open(people[0]) // the others are over
	h.Play(people[:1], 60)
	h.Wait(50 * time.Minute)
	h.Play(people[:1], 40) // past midnight
	h.Disable("lamplight-quay")
	h.Enable("lamplight-quay")
	h.Play(people[:1], 20)
	h.Close(people[0])
	h.Change(people[0], players.Closed)
	h.Withdraw(people[0], h.Balance(people[0]))
	h.Wait(48 * time.Hour)
	h.Register("EUR")
	return h
}

var days = []string{"2026-03-01", "2026-03-02", "2026-03-03"}

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

// checked asks a token service about seals.
func checked(tokens *tokentest.Service) func(*Seal) error {
	return func(s *Seal) error { return tokens.Check(s.Origin, s.Day, s.Token, s.Manifest, s.Seal) }
}

func rule(err error) string {
	var d *vault.Difference
	if errors.As(err, &d) {
		return d.Rule
	}
	return ""
}

// tree reads all files below a folder, but for seals and the lock.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == ".lock" || e.Name() == SealName {
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

// deliver has a vault of the house's three days.
func deliver(t testing.TB, log *vault.Log, tokens TokenService) string {
	t.Helper()
	dir := t.TempDir()
	for _, day := range days {
		if _, err := Deliver(t.Context(), log, dir, day, tokens); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A house delivers three days, each sealed; what it delivered reconciles, and the same log gives the same files.
func TestThreeDays(t *testing.T) {
	h := house()
	log, tokens := openLog(t, h), tokentest.New(1)
	dir := deliver(t, log, tokens)
	r, err := Audit(t.Context(), log, os.DirFS(dir), checked(tokens))
	if err != nil {
		t.Fatal(err)
	}
	if r.Days != 3 || r.Sealed != 3 || r.Unsealed != 0 || r.Rounds != 420 || r.Sessions != 5 || r.From != 0 || r.To != h.Size()-1 {
		t.Errorf("%+v", r)
	}
	sameTree(t, tree(t, dir), tree(t, deliver(t, log, nil)))

	second, err := os.ReadFile(filepath.Join(dir, days[1], recordsName(1)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseSessions(second)
	if err != nil || len(f.List) != 1 {
		t.Fatalf("%v", err)
	}
	s := f.List[0]
	if s.Opened != "" || s.Closed == "" || len(s.Software) != 2 || s.Software[1].Rounds != 20 || s.StakesJackpot != "0.0000000000" || !strings.HasSuffix(s.Stakes, "00000000") {
		t.Errorf("%+v", s)
	}
}

// Each type of entries is in records, or there is a reason why not.
func TestEveryType(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/formats/entries.md")
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]bool{"session.opened": true, "session.closed": true, "round.settled": true, "wallet.deposited": true, "wallet.withdrawn": true}
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
		beside, out := vault.Beside[r.Type()] != "", outside[r.Type()] != ""
		if n := map[bool]int{true: 1}; n[beside]+n[out]+n[in[r.Type()]] != 1 {
			t.Errorf("%s: in a record %v, beside %v, outside %v", r.Type(), in[r.Type()], beside, out)
		}
	}
	if types < 39 {
		t.Errorf("%d types", types)
	}
}

// Days come one after another, once each, when they are over.
func TestDays(t *testing.T) {
	h := house()
	log, dir := openLog(t, h), t.TempDir()
	for _, c := range []struct{ day, says string }{
		{"2026-03-09", "not over"}, {"yesterday", "expected a day"}, {"2026-02-30", "expected a day"},
	} {
		if _, err := Deliver(t.Context(), log, dir, c.day, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.day, err)
		}
	}
	if _, err := Deliver(t.Context(), log, dir, days[0], nil); err != nil {
		t.Fatal(err)
	}
	for _, day := range []string{days[0], days[2]} {
		if _, err := Deliver(t.Context(), log, dir, day, nil); err == nil || !strings.Contains(err.Error(), "expected "+days[1]) {
			t.Errorf("%s: %v", day, err)
		}
	}
}

// A session of very many entries has a file that is not too long to be read.
func TestFilesOfLongSessions(t *testing.T) {
	var list []*Session
	for i := range 1200 {
		list = append(list, &Session{Ledger: Ledger{Entries: strings.Repeat("1 ", i*i/8)}})
	}
	var all []*Session
	for some := range files(list) {
		size := 0
		for _, s := range some[:len(some)-1] {
			size += len(s.Ledger.Entries)
		}
		if len(some) == 0 || len(some) > RecordsMost || size >= filesAbout {
			t.Errorf("%d sessions of %d bytes", len(some), size)
		}
		all = append(all, some...)
	}
	if !slices.Equal(all, list) {
		t.Error("not all sessions, in their order")
	}
}

// slow is a token service that does something before it seals.
type slow struct {
	*tokentest.Service
	before func() error
}

func (s slow) Seal(ctx context.Context, token string, manifest [32]byte) (string, error) {
	if err := s.before(); err != nil {
		return "", err
	}
	return s.Service.Seal(ctx, token, manifest)
}

// Without the token service nothing is delivered under its final name; when it is back, the same is.
func TestTheTokenServiceIsAway(t *testing.T) {
	h := house()
	log, dir, tokens := openLog(t, h), t.TempDir(), tokentest.New(2)
	tokens.Away = true
	if _, err := Deliver(t.Context(), log, dir, days[0], tokens); !errors.Is(err, tokentest.ErrAway) {
		t.Errorf("%v", err)
	}
	tokens.Away = false
	broken := slow{tokens, func() error { return tokentest.ErrAway }}
	if _, err := Deliver(t.Context(), log, dir, days[0], broken); !errors.Is(err, tokentest.ErrAway) {
		t.Errorf("%v", err)
	}
	if files := tree(t, dir); len(files) != 0 {
		t.Errorf("%d files are left", len(files))
	}
	if _, err := Deliver(t.Context(), log, dir, days[0], tokens); err != nil {
		t.Fatal(err)
	}
	if issued, bound := tokens.Counts(); issued != 2 || bound != 1 {
		t.Errorf("%d tokens issued, %d bound", issued, bound)
	}
}

// A process that is killed after any file, or between the seal and the end, leaves nothing under a final name.
func TestCrashBetweenFiles(t *testing.T) {
	h := house()
	log := openLog(t, h)
	want := tree(t, deliver(t, log, nil))
	killed := errors.New("killed")
	for at := 1; ; at++ {
		dir, left, tokens := t.TempDir(), t.TempDir(), tokentest.New(3)
		w, err := open(t.Context(), log, dir)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		step := func() error {
			if steps++; steps == at {
				if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				return killed
			}
			return nil
		}
		w.wrote = step
		_, err = w.deliver(days[0], slow{tokens, step})
		w.dir.Close()
		if err == nil {
			if at < 6 {
				t.Fatalf("only %d steps", at)
			}
			break
		}
		if last, err := Last(os.DirFS(left)); err != nil || last != "" {
			t.Fatalf("killed at step %d: %q, %v", at, last, err)
		}
		for _, day := range days {
			if _, err := Deliver(t.Context(), log, left, day, tokens); err != nil {
				t.Fatal(err)
			}
		}
		sameTree(t, want, tree(t, left))
	}
}

// A mapping that gets something wrong is caught before its delivery is let go, although it agrees with itself.
func TestAWrongMappingIsRefused(t *testing.T) {
	h := house()
	log := openLog(t, h)
	for _, c := range []struct {
		name, rule, says string
		wrong            func(d *day)
	}{
		{"a payout", "totals", "payouts", func(d *day) { d.sessions[0].Payouts = "1.0000000000"; d.end.Play, _ = control(d.sessions) }},
		{"a round too few", "totals", "rounds", func(d *day) { d.sessions[0].Rounds--; d.end.Play, _ = control(d.sessions) }},
		{"another currency", "totals", "in EUR", func(d *day) { d.sessions[0].Currency = "SEK"; d.end.Play, _ = control(d.sessions) }},
		{"a control total", "record-content", "endofday", func(d *day) { d.end.Play[0].Rounds++ }},
		{"a deposit", "totals", "deposits", func(d *day) { d.end.Cash[0].Deposits = "7.0000000000" }},
		{"a session lost", "record-missing", "session.opened", func(d *day) { d.sessions = d.sessions[1:]; d.end.Play, _ = control(d.sessions) }},
		{"a session twice", "record-twice", "alone", func(d *day) { d.sessions = append(d.sessions, d.sessions[0]) }},
		{"deposits in no record", "record-missing", "wallet.deposited", func(d *day) { d.end.Cash = d.end.Cash[1:] }},
		{"an entry left out", "record-missing", "in a record", func(d *day) {
			l := &d.sessions[0].Ledger
			l.Entries = l.Entries[:strings.LastIndex(l.Entries, " ")]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := open(t.Context(), log, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer w.dir.Close()
			honest := w.take
			w.take = func(date string, from, to uint64) (*day, error) {
				d, err := honest(date, from, to)
				if err == nil {
					c.wrong(d)
				}
				return d, err
			}
			tokens := tokentest.New(4)
			_, err = w.deliver(days[0], tokens)
			if err == nil || rule(err) != c.rule || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if _, bound := tokens.Counts(); bound != 0 || len(tree(t, dir)) != 0 {
				t.Error("a refused delivery was sealed or is left")
			}
		})
	}
}

// The vault of a small house: what docs/vault-deliveries.md shows.
func TestGolden(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 1, Origin: "casino.example/log", Step: time.Second})
	p := h.Join(10_000)
	h.Play([]logtest.Player{p}, 3)
	h.Withdraw(p, 2_500)
	h.Close(p)
	h.Wait(24 * time.Hour)
	h.Register("EUR")
	log, dir, tokens := openLog(t, h), t.TempDir(), tokentest.New(9)
	if _, err := Deliver(t.Context(), log, dir, days[0], tokens); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "golden")
	os.Remove(filepath.Join(dir, ".lock"))
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(golden, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	sameTree(t, tree(t, golden), tree(t, dir))
	if r, err := Audit(t.Context(), log, os.DirFS(golden), checked(tokens)); err != nil || r.Sealed != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
