package noncer

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/regulator/verify/logtest"
)

// kept is a witness over a directory, as a process starts it.
func kept(t *testing.T, dir string) (*Noncer, *Directory) {
	t.Helper()
	d, err := OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	n, err := New(Config{
		Name: "regulator", Public: key.Public().(ed25519.PublicKey), Secret: d.Secret, Journal: d,
		Sign:   func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil },
		Houses: map[string][]string{origin: {logtest.New(logtest.Config{Seed: 9}).VKey, logtest.Empty(logtest.Config{}).VKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, d
}

// What was committed to before a restart is shown after it, once more after
// another, and for one commitment of the house only, even if a crash cut the
// journal's last line short.
func TestPromisesOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nonces")
	n, d := kept(t, dir)
	promised, err := n.Commit(origin, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, answer := bound(n, same)
	if _, err := OpenDirectory(dir); err == nil || !strings.Contains(err.Error(), "another witness") {
		t.Errorf("two processes have one directory: %v", err)
	}
	d.Close()

	n, d = kept(t, dir)
	shown, err := n.Show(origin, answer)
	if err != nil || shown.Commitment(origin, 1) != promised.Commitment {
		t.Fatalf("after a restart: %v, %+v", err, shown)
	}
	d.Close()
	journal := filepath.Join(dir, journalName)
	f, err := os.OpenFile(journal, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"attempt":1,"epo`)
	f.Close()

	n, d = kept(t, dir)
	defer d.Close()
	if again, err := n.Show(origin, answer); err != nil || again != shown {
		t.Errorf("for the same commitment: %v, %+v", err, again)
	}
	second, err := n.Commit(origin, 1)
	if err != nil || second.Commitment == promised.Commitment {
		t.Fatalf("%v: a nonce that was shown is committed to again", err)
	}
	_, other := bound(n, same)
	if _, err := n.Show(origin, other); err != nil {
		t.Fatalf("after the cut line: %v", err)
	}
	b, err := os.ReadFile(journal)
	if err != nil || strings.Count(string(b), "\n") != 2 || strings.Contains(string(b), `"epo{`) {
		t.Errorf("%v: %s", err, b)
	}
	info, err := os.Stat(filepath.Join(dir, secretName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: the secret has mode %v", err, info.Mode())
	}
}

// A witness that lost a part of what it keeps does not go on as if it had not.
func TestHalfADirectoryIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"no journal":   func(dir string) error { return os.Remove(filepath.Join(dir, journalName)) },
		"no secret":    func(dir string) error { return os.Remove(filepath.Join(dir, secretName)) },
		"short secret": func(dir string) error { return os.Truncate(filepath.Join(dir, secretName), 31) },
		"long secret": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, secretName), make([]byte, 33), 0o600)
		},
	} {
		dir := t.TempDir()
		n, d := kept(t, dir)
		_, answer := bound(n, same)
		if _, err := n.Show(origin, answer); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if d, err := OpenDirectory(dir); err == nil {
			d.Close()
			t.Errorf("%s: the witness starts", name)
		}
	}
}

// After a write that failed nothing is shown before a restart: half a line may be
// at the end of the file.
func TestABrokenJournalStaysBroken(t *testing.T) {
	n, d := kept(t, t.TempDir())
	_, answer := bound(n, same)
	d.broken = errors.New("no space left on device")
	if _, err := n.Show(origin, answer); err == nil || len(n.shown) != 0 {
		t.Errorf("%v, %v", err, n.shown)
	}
	d.broken = nil
	d.Close() // every write fails now
	for range 2 {
		if _, err := n.Show(origin, answer); err == nil || d.broken == nil {
			t.Errorf("%v, %v", err, d.broken)
		}
	}
}
