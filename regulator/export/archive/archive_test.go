package archive_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/export"
	"countroom/regulator/export/archive"
	"countroom/regulator/verify/logtest"
)

// house is a log in memory that exports are made of.
type house struct {
	*logtest.Tree
	h    *logtest.House
	room error
	hold chan struct{} // nil: signs at once

	fails error // of the key
}

func (h *house) Checkpoint() []byte { return h.h.Checkpoint() }
func (h *house) Room() error        { return h.room }

func (h *house) Sign(payload []byte) ([]byte, error) {
	if h.hold != nil {
		<-h.hold
	}
	if h.fails != nil {
		return nil, h.fails
	}
	return h.h.SignExport(payload)
}

func (h *house) Vouch(checkpoint []byte) error {
	v, err := tlog.NewVerifier(h.h.VKey)
	if err == nil {
		_, err = tlog.Open(checkpoint, v)
	}
	return err
}

func open(t *testing.T) (*archive.Archive, *house, string) {
	h := logtest.New(logtest.Config{Seed: 5})
	h.Play([]logtest.Player{h.Join(10_000)}, 30)
	dir := filepath.Join(t.TempDir(), "exports")
	w := &house{Tree: h.Tree(), h: h}
	return archive.New(dir, w), w, dir
}

func ask(from, to uint64) archive.Ask { return archive.Ask{From: &from, To: &to} }

// await waits until an export is not under way any more.
func await(t *testing.T, a *archive.Archive, id string) archive.Status {
	t.Helper()
	for {
		st, err := a.Status(id)
		if err != nil {
			t.Fatal(err)
		}
		if st.State != archive.Waiting && st.State != archive.Running {
			return st
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAnExportIsMadeOnce(t *testing.T) {
	a, w, dir := open(t)
	defer a.Close()
	st, err := a.Request(ask(0, 20))
	if err != nil {
		t.Fatal(err)
	}
	st = await(t, a, st.ID)
	if st.State != archive.Done || st.Done != 20 {
		t.Fatalf("%+v", st)
	}
	again, err := a.Request(ask(0, 20))
	if err != nil || again.ID != st.ID || again.State != archive.Done {
		t.Errorf("%+v, %v", again, err)
	}
	f, err := a.Open(st.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := export.Check(t.Context(), f, st.Bytes, export.CheckOptions{VKey: w.h.VKey}); err != nil {
		t.Error(err)
	}
	first, err := io.ReadAll(io.NewSectionReader(f, 0, st.Bytes))
	if err != nil {
		t.Fatal(err)
	}

	// Another process finds it; lost, it is made again.
	next := archive.New(dir, w)
	defer next.Close()
	if st, err := next.Request(ask(0, 20)); err != nil || st.State != archive.Done || st.Bytes != int64(len(first)) {
		t.Errorf("%+v, %v", st, err)
	}
	if err := os.Remove(filepath.Join(dir, st.ID+".zip")); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Open(st.ID); !errors.Is(err, archive.ErrUnknown) {
		t.Errorf("a lost file: %v", err)
	}
	if _, err := next.Request(ask(0, 20)); err != nil {
		t.Fatal(err)
	}
	await(t, next, st.ID)
	if b, err := os.ReadFile(filepath.Join(dir, st.ID+".zip")); err != nil || string(b) != string(first) {
		t.Errorf("made again it is another: %v", err)
	}
}

func TestOldExportsGo(t *testing.T) {
	a, _, dir := open(t)
	defer a.Close()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "1.part"), []byte("of a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		st, err := a.Request(ask(i, 20))
		if err != nil {
			t.Fatal(err)
		}
		await(t, a, st.ID)
		at := time.Now().Add(-time.Hour + time.Duration(i)*time.Second)
		if err := os.Chtimes(filepath.Join(dir, st.ID+".zip"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 16 {
		t.Errorf("%d files are kept: %v", len(list), err)
	}
}

func TestRefusals(t *testing.T) {
	a, w, _ := open(t)
	size := w.h.Size()
	one := uint64(1)
	other := logtest.New(logtest.Config{Seed: 6}).Checkpoint()
	for name, q := range map[string]archive.Ask{
		"beyond the log":          ask(0, size+1),
		"backwards":               ask(5, 4),
		"half a range":            {From: &one},
		"both kinds":              {From: &one, To: &one, After: "2026-03-01T12:00:00Z", Before: "2026-03-01T13:00:00Z"},
		"no times":                {After: "noon", Before: "one"},
		"not over":                {After: "2026-03-01T12:00:00Z", Before: "2026-03-02T12:00:00Z"},
		"a filter that is none":   {From: &one, To: &one, Filter: export.Filter{Player: "alice"}},
		"another's checkpoint":    {From: &one, To: &one, Checkpoint: other},
		"no checkpoint":           {From: &one, To: &one, Checkpoint: []byte("x")},
		"times of a nanosecond's": {After: "2026-03-01T12:00:00.000000001Z", Before: "2026-03-01T12:00:01Z"},
	} {
		if _, err := a.Request(q); !errors.Is(err, archive.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.room = errors.New("no room")
	if _, err := a.Request(ask(0, 1)); !errors.Is(err, w.room) {
		t.Errorf("without room: %v", err)
	}
	w.room = nil
	a.Close()
	if _, err := a.Request(ask(0, 1)); err == nil {
		t.Error("a closed archive takes requests")
	}
	if _, _, err := a.Certify(t.Context(), archive.Ask{After: "2026-03-01T12:00:00Z", Before: "2026-03-01T12:00:00.1Z"}); err == nil {
		t.Error("a closed archive certifies")
	}
	if _, err := a.Status("x"); !errors.Is(err, archive.ErrUnknown) {
		t.Errorf("no export: %v", err)
	}
}

// While the key does not sign, exports wait, and more than a few are refused.
func TestTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w, _ := open(t)
		w.hold = make(chan struct{})
		var ids []string
		refused := 0
		for i := range uint64(12) {
			st, err := a.Request(ask(0, i))
			if errors.Is(err, archive.ErrBusy) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, st.ID)
			synctest.Wait()
		}
		if refused != 3 { // one is made, eight wait
			t.Errorf("%d of 12 were refused", refused)
		}
		close(w.hold)
		for _, id := range ids {
			if st := await(t, a, id); st.State != archive.Done {
				t.Errorf("%+v", st)
			}
		}
		a.Close()
	})
}

// What fails says why, leaves nothing behind, and can be asked for again.
func TestFailure(t *testing.T) {
	a, w, dir := open(t)
	defer a.Close()
	w.fails = errors.New("the device is gone")
	st, err := a.Request(ask(0, 3))
	if err != nil {
		t.Fatal(err)
	}
	if st = await(t, a, st.ID); st.State != archive.Failed || !strings.Contains(st.Why, "the device is gone") {
		t.Errorf("%+v", st)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%v is left: %v", list, err)
	}
	w.fails = nil
	again, err := a.Request(ask(0, 3))
	if err != nil || again.ID != st.ID {
		t.Fatalf("%+v, %v", again, err)
	}
	if st = await(t, a, st.ID); st.State != archive.Done || st.Why != "" {
		t.Errorf("%+v", st)
	}
}
