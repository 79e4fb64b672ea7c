package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/store/postgres/postgrestest"
	"countroom/regulator/verify"
)

// countroom runs a command of the program and returns what it printed.
func countroom(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := countroom(t, args...)
	if err != nil {
		t.Fatalf("countroom %q: %v\n%s", args, err, out)
	}
	return out
}

// refused wants a command to fail with a message that has all of these.
func refused(t *testing.T, want []string, args ...string) {
	t.Helper()
	out, err := countroom(t, args...)
	if err == nil {
		t.Fatalf("countroom %q was not refused:\n%s", args, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("countroom %q: %q is not in\n%s", args, w, out)
		}
	}
}

func save(t *testing.T, dir string, r round) string {
	t.Helper()
	name := filepath.Join(dir, r.key+".json")
	if err := os.WriteFile(name, r.answer, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// sizeOf reads the size that a back-up or a restore printed.
func sizeOf(t *testing.T, out string) (size uint64) {
	t.Helper()
	_, rest, _ := strings.Cut(out, "\n  size ")
	if _, err := fmt.Sscan(rest, &size); err != nil {
		t.Fatalf("no size in\n%s", out)
	}
	return size
}

// draw is what decided a round.
func draw(t *testing.T, leaf []byte) string {
	t.Helper()
	var r struct {
		Draw struct {
			Epoch, N uint64
			R        string
		}
	}
	if err := json.Unmarshal(leaf, &r); err != nil || r.Draw.R == "" {
		t.Fatalf("%s: %v", leaf, err)
	}
	return fmt.Sprintf("epoch %d n %d = %s", r.Draw.Epoch, r.Draw.N, r.Draw.R)
}

// A house is backed up while it plays, loses its whole disk, and comes back
// from its back-ups and its keys: with every entry that was backed up, under the
// same receipts. What was signed since is gone; that is refused when a receipt
// of it is shown, and said in the log, and proven by that receipt, when the
// operator accepts it. And a round that was lost is not drawn anew.
func TestBackedUpWhilePlayingAndRestored(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	table := seat(s, 8)
	table.play()
	table.more(200)
	away := t.TempDir()
	first, second := filepath.Join(away, "first"), filepath.Join(away, "second")
	size1 := sizeOf(t, mustRun(t, "backup", "--data", s.dir, "-o", first))
	table.more(200)
	out := mustRun(t, "backup", "--data", s.dir, "-o", second, "--since", first)
	size2 := sizeOf(t, out)
	if size2 <= size1 {
		t.Fatalf("sizes %d and %d", size1, size2)
	}
	table.more(100 + len(table.tokens)) // each may have had an answer on its way that the back-up has
	table.each(2)                       // of which one at most is in the back-up
	table.leave()
	if err := s.signal(syscall.SIGKILL); err == nil {
		t.Fatal("the server was not killed")
	}
	var early, late []round
	for _, r := range table.acknowledged() {
		if r.index < size2 {
			early = append(early, r)
		} else {
			late = append(late, r)
		}
	}
	if len(early) < 400 || len(late) < 100 {
		t.Fatalf("%d rounds before the back-up and %d after it", len(early), len(late))
	}

	// The disk is gone; the keys were kept elsewhere.
	keys := filepath.Join(away, "keys")
	if err := os.Rename(filepath.Join(s.dir, "keys"), keys); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	for _, r := range late[:1] {
		name := save(t, away, r)
		refused(t, []string{"rolls the log back", fmt.Sprintf("ends at size %d", size2), fmt.Sprintf("%s is a receipt of entry %d", name, r.index)},
			"restore", first, second, "--data", s.dir, "--keys", keys, "--known", name)
	}
	if list, err := os.ReadDir(s.dir); err != nil || len(list) > 0 {
		t.Fatalf("a refused restore left %v, %v", list, err)
	}
	known := []string{"restore", first, second, "--data", s.dir, "--keys", keys, "--accept-rollback", "the disk was lost",
		"--known", save(t, away, early[0]), "--known", save(t, away, late[0]), "--known", save(t, away, late[len(late)-1])}
	if out = mustRun(t, known...); sizeOf(t, out) != size2 || !strings.Contains(out, "ROLLED BACK") {
		t.Fatalf("restored:\n%s", out)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "credentials")); err == nil {
		t.Error("credentials came out of a back-up")
	}

	// The house plays on: sessions, balances and keys are what they were.
	s.start()
	table.rounds = early
	table.hold()
	table.repeat(17)
	lost := map[string]bool{}
	for _, r := range late {
		lost[draw(t, r.leaf)] = true
	}
	client := &http.Client{Timeout: 30 * time.Second}
	again := 0
	for p := range table.tokens { // the round that each player lost first
		table.spin(client, p, fmt.Sprintf("again-%d", p))
		if lost[draw(t, table.rounds[len(table.rounds)-1].leaf)] {
			again++
		}
	}
	if again != len(table.tokens) {
		t.Errorf("%d of %d players got the draw again that was lost: it was drawn anew", again, len(table.tokens))
	}
	report := table.verify()
	if report.Types["house.restored"] != 1 || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], fmt.Sprintf("back-up of size %d", size2)) ||
		!strings.Contains(report.Warnings[0], "and went back") {
		t.Errorf("warnings %q", report.Warnings)
	}

	// Who kept what was signed since has the proof, and it is called by its name.
	kept := verify.Known{Name: "kept", Data: late[3].answer}
	report = s.verifyWith(kept)
	want := fmt.Sprintf("the log was restored from a back-up at size %d by entry %d; this receipt's entry was signed and is not in it any more", size2, size2+1)
	if len(report.Findings) != 1 || report.Findings[0].Rule != "rolled-back" || report.Findings[0].Index != late[3].index || report.Findings[0].Found != want {
		t.Errorf("findings %+v", report.Findings)
	}
	// It is said once: another start says nothing of it.
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, s.log.String())
	}
	s.start()
	if report = table.verify(); report.Types["house.restored"] != 1 || report.Types["house.active"] != 3 {
		t.Errorf("entries %v", report.Types)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

func (s *server) verifyWith(known ...verify.Known) *verify.Report {
	s.t.Helper()
	src, err := verify.HTTP("http://"+s.addr, s.token("regulator"))
	if err != nil {
		s.t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := verify.Log(context.Background(), src, verify.Options{VKey: strings.TrimSpace(string(vkey)), Known: known})
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// rowsOf are all rows and vault rows of a house that stands, and its head.
func rowsOf(t *testing.T, dir string) (rows map[string]string, head store.Head) {
	t.Helper()
	st, err := pebble.Open(filepath.Join(dir, "store"), pebble.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows = map[string]string{}
	for kind, scan := range map[string]func([]byte, func(store.Row) error) error{"row ": r.ScanRows, "": r.ScanVault} {
		if err := scan(nil, func(row store.Row) error {
			rows[kind+string(row.Key)] = string(row.Value)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return rows, r.Head()
}

// A house that stands is backed up by the command alone, to a pipe too. What is
// restored has every row that the writer had made, and a restore into a place
// that knows better is refused.
func TestBackedUpWhileStanding(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	table := seat(s, 3)
	table.play()
	table.more(30)
	table.leave()
	s.post(http.DefaultClient, "/v1/players/player-1/state", s.token("operator"), "suspend", `{"state":"suspended","reason":"asked for it"}`)
	if err := s.signal(syscall.SIGKILL); err == nil {
		t.Fatal("the server was not killed")
	}
	away := t.TempDir()
	file := filepath.Join(away, "backup")
	size := sizeOf(t, mustRun(t, "backup", "--data", s.dir, "-o", file))
	was, head := rowsOf(t, s.dir)
	if last := table.acknowledged()[len(table.acknowledged())-1]; head.Size != size || last.index >= size {
		t.Fatalf("size %d backed up, %d in the store, entry %d acknowledged", size, head.Size, last.index)
	}

	backup := exec.Command(os.Args[0], "backup", "--data", s.dir, "-o", "-")
	backup.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	piped, err := backup.Output()
	if err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(away, "restored")
	restore := exec.Command(os.Args[0], "restore", "-", "--data", restored, "--keys", filepath.Join(s.dir, "keys"))
	restore.Env, restore.Stdin = backup.Env, bytes.NewReader(piped)
	if out, err := restore.CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprintf("%x", head.Root)) {
		t.Fatalf("restored from a pipe: %v\n%s", err, out)
	}
	now, restoredHead := rowsOf(t, restored)
	if now["vault/restored"] == "" {
		t.Error("nothing tells the next start of the restore")
	}
	delete(now, "vault/restored")
	if !maps.Equal(was, now) || len(was) < 20 {
		t.Errorf("%d rows and vault rows were backed up, %d restored, or they are other", len(was), len(now))
	}
	if restoredHead.Size != head.Size || restoredHead.Root != head.Root || restoredHead.Term != head.Term || restoredHead.Folds != head.Folds {
		t.Errorf("head %+v, was %+v", restoredHead, head)
	}
	for _, name := range []string{"keys/vault.key", "keys/checkpoint.pem", "guard"} {
		if info, err := os.Stat(filepath.Join(restored, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}

	// Where there is a house nothing is restored.
	refused(t, []string{"holds a house already"}, "restore", file, "--data", restored)
	// The guard stayed and saw more signed than the back-up has.
	s.start()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, s.log.String())
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "store")); err != nil {
		t.Fatal(err)
	}
	refused(t, []string{"the guard's record is of size", fmt.Sprintf("the back-up ends at size %d", size), "lets no shorter log be signed here"}, "restore", file, "--data", s.dir, "--accept-rollback", "no matter")
	if _, err := os.Stat(filepath.Join(s.dir, "store")); err == nil {
		t.Error("a store stands beside a guard that forbids it")
	}
	// A stranger's keys are refused, each for itself.
	for _, name := range []string{"checkpoint.pem", "seeds.pem", "exports.pem", "vault.key", "vault-period.key"} {
		other := newServer(t)
		other.start()
		if err := other.signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		strange := filepath.Join(other.dir, "keys")
		for _, k := range []string{"checkpoint.pem", "seeds.pem", "exports.pem", "vault.key", "vault-period.key", "seal.key", "token.key"} {
			if k == name {
				continue
			}
			b, err := os.ReadFile(filepath.Join(restored, "keys", k))
			if err == nil {
				err = os.WriteFile(filepath.Join(strange, k), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		place := filepath.Join(away, "strange")
		refused(t, []string{strings.TrimSuffix(strings.TrimSuffix(name, ".pem"), ".key")}, "restore", file, "--data", place, "--keys", strange)
		if list, err := os.ReadDir(place); err != nil || len(list) > 0 {
			t.Errorf("%s: %v is left, %v", name, list, err)
		}
	}
}

// Nobody but the owner of the data directory has a back-up made, and one that is
// cut off by a stop has no name.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	path := filepath.Join(s.dir, controlSocket)
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	away := t.TempDir()
	file := filepath.Join(away, "backup")
	mustRun(t, "backup", "--data", s.dir, "-o", file)
	refused(t, []string{"expected a file that does not exist"}, "backup", "--data", s.dir, "-o", file)
	if err := s.signal(syscall.SIGKILL); err == nil {
		t.Fatal("the server was not killed")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("a killed server took its socket along: what follows tests nothing")
	}
	mustRun(t, "backup", "--data", s.dir, "-o", file+"2") // the socket is there, the server is not
	s.start()
	mustRun(t, "backup", "--data", s.dir, "-o", file+"3", "--since", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file+"4", b, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, []string{"damaged"}, "restore", file+"4", "--data", filepath.Join(away, "restored"), "--keys", filepath.Join(s.dir, "keys"))
	list, err := filepath.Glob(filepath.Join(away, "*"))
	if hidden, _ := filepath.Glob(filepath.Join(away, ".*")); err != nil || len(hidden) > 0 || slices.Contains(list, "restored/store") {
		t.Errorf("left behind: %q, %q, %v", list, hidden, err)
	}
	// A house whose store alone is lost comes back where it stood: keys and guard
	// are there, and the guard lets it go on.
	if err := s.signal(syscall.SIGKILL); err == nil {
		t.Fatal("the server was not killed")
	}
	mustRun(t, "backup", "--data", s.dir, "-o", file+"5")
	if err := os.RemoveAll(filepath.Join(s.dir, "store")); err != nil {
		t.Fatal(err)
	}
	guard, err := os.ReadFile(filepath.Join(s.dir, "guard"))
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "restore", file+"5", "--data", s.dir)
	if b, err := os.ReadFile(filepath.Join(s.dir, "guard")); err != nil || !bytes.Equal(b, guard) {
		t.Errorf("the guard's record was changed, %v", err)
	}
	s.start()
	if r := s.verifyWith(); !r.OK() || r.Types["house.restored"] != 1 || strings.Contains(r.Warnings[0], "went back") {
		t.Errorf("findings %+v, warnings %q", r.Findings, r.Warnings)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// A house that has exchanged its checkpoint key comes back from its back-up and its keys: those of the ring are among
// them, and the log says which must be there.
func TestRestoredAfterAnExchangeOfKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	c := &ceremony{t: t, dir: t.TempDir(), data: s.dir}
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
		c.does("", "officers", "enrol", name+".pub", "--data", c.data)
	}
	players, client := seat(s, 1), &http.Client{Timeout: 30 * time.Second}
	players.spin(client, 0, "before")
	known := save(t, c.dir, players.acknowledged()[0])
	c.does("rotate.proposal", "keys", "rotate", "--role", "checkpoint", "--to", "file:"+filepath.Join(s.dir, "keys", "second.pem"), "--make", "--data", c.data)
	c.approved("rotate.proposal")
	c.does("retire.proposal", "keys", "retire", "--role", "checkpoint", "--reason", "yearly exchange", "--data", c.data)
	c.approved("retire.proposal")
	players.spin(client, 0, "after")
	file := filepath.Join(c.dir, "backup")
	mustRun(t, "backup", "--data", s.dir, "-o", file)
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(c.dir, "keys")
	if err := os.Rename(filepath.Join(s.dir, "keys"), keys); err != nil {
		t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(keys, "ring"), filepath.Join(c.dir, "ring")); err != nil {
		t.Fatal(err)
	}
	refused(t, []string{"not the key of this back-up"}, "restore", file, "--data", s.dir, "--keys", keys)
	if err := os.Rename(filepath.Join(c.dir, "ring"), filepath.Join(keys, "ring")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "restore", file, "--data", s.dir, "--keys", keys, "--known", known)
	if b, err := os.ReadFile(filepath.Join(s.dir, "log.vkey")); err != nil || !bytes.Equal(b, vkey) {
		t.Errorf("log.vkey is %s, was %s: %v", b, vkey, err)
	}
	s.start()
	players.spin(client, 0, "restored")
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, s.log.String())
	}
}

// A house that has its log in a database is backed up from there while it stands, or not at all: nothing is left in
// its directory that would keep it from starting. And nothing is restored beside the database.
func TestABackUpOfALogInADatabase(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.New(t).Database(t)
	s := newServer(t, "--store", dsn)
	s.start()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	refused(t, []string{"--config has to say so"}, "backup", "--data", s.dir, "-o", file)
	config := filepath.Join(t.TempDir(), "countroom.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "store: %q\n", dsn), 0o600); err != nil {
		t.Fatal(err)
	}
	size := sizeOf(t, mustRun(t, "backup", "--config", config, "--data", s.dir, "-o", file))
	refused(t, []string{"store: a restore makes a log in the data directory"}, "restore", file, "--config", config, "--data", t.TempDir(), "--keys", filepath.Join(s.dir, "keys"))
	if got := sizeOf(t, mustRun(t, "restore", file, "--data", t.TempDir(), "--keys", filepath.Join(s.dir, "keys"))); got != size {
		t.Errorf("restored to size %d, want %d", got, size)
	}
	s.start()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}
