package appliance

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"countroom/ledger/backup"
	"countroom/ledger/tlog"
)

// A back-up of a pair's log is restored as a house of its own, in the term after the
// pair's last, and can be made a pair again.
func TestABackUpOfAPairIsRestored(t *testing.T) {
	a, b := newHalves(t)
	if err := a.Switch(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "b writes", func() bool { return b.Place().Here })
	snapshot, signed, err := b.now().Ledger.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	var stream bytes.Buffer
	if _, err := backup.Write(&stream, snapshot, signed.Checkpoint, tlog.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	dir, log := filepath.Join(t.TempDir(), "house"), slog.New(slog.NewTextHandler(&b.log, nil))
	if _, err := Restore(t.Context(), Restoration{Dir: dir, Keys: filepath.Join(b.dir, "keys"), Backups: []io.Reader{&stream}, Log: log}); err != nil {
		t.Fatal(err)
	}
	term := snapshot.Head().Term
	one, err := Open(t.Context(), Config{Dir: dir, Release: "test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if got := one.Ledger.Term(); got != term+1 {
		t.Errorf("it goes on in term %d after the pair's %d", got, term)
	}
	if err := one.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := InitPair(dir, "", "c", freeDoors(t)); err != nil {
		t.Fatal(err)
	}
	c := &half{dir: dir}
	c.start(t)
	defer c.stop(t)
	await(t, "c writes", func() bool { return c.Place().Here })
}
