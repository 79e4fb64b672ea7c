package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/postgres"
	"countroom/ledger/store/postgres/postgrestest"
)

// writer commits one leaf after another and remembers what was acknowledged.
type writer struct {
	store *postgres.Store
	head  store.Head
	acked atomic.Uint64
}

func leafOf(i uint64) []byte { return fmt.Appendf(nil, `{"n":%d,"type":"test.entry"}`, i) }

func (w *writer) commit() error {
	next := w.head
	next.Size++
	next.At++
	next.Term, next.Folds = 1, 1
	next.Root[next.Size%32]++
	b := &store.Batch{Prev: w.head, Next: next, Leaves: [][]byte{leafOf(w.head.Size)}, Rows: []store.Row{{Key: []byte("n"), Value: fmt.Append(nil, next.Size)}}}
	if err := w.store.Commit(context.Background(), b); err != nil {
		return err
	}
	w.head = next
	w.acked.Store(next.Size)
	return nil
}

// until commits until done is closed.
func (w *writer) until(done chan struct{}) chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			if err := w.commit(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

func (w *writer) await(t *testing.T, size uint64) {
	t.Helper()
	for start := time.Now(); w.acked.Load() < size; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("%d batches were acknowledged, waited for %d", w.acked.Load(), size)
		}
	}
}

// whole wants every acknowledged leaf, once, and the row of the head.
func whole(t *testing.T, s *postgres.Store, acked uint64) {
	t.Helper()
	head := s.Head()
	if head.Size < acked {
		t.Fatalf("%d batches were acknowledged, the log has %d", acked, head.Size)
	}
	r, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Leaves(0, head.Size, func(i uint64, leaf []byte) error {
		if string(leaf) != string(leafOf(i)) {
			return fmt.Errorf("leaf %d is %q", i, leaf)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Row([]byte("n")); err != nil || string(n) != fmt.Sprint(head.Size) {
		t.Fatalf("the row says %q at size %d: %v", n, head.Size, err)
	}
}

// pair is a primary with a synchronous standby, and a DSN that names both.
func pair(t *testing.T) (primary, standby *postgrestest.Server, dsn string) {
	primary = postgrestest.New(t)
	standby = primary.Standby(t, "b")
	primary.Set(t, "synchronous_standby_names", "b")
	return primary, standby, primary.Database(t, standby)
}

// The primary dies while the writer writes, and the standby is promoted: the same store goes on as soon as the new primary
// has a standby of its own, and every batch is there once.
func TestPromotionWhileWriting(t *testing.T) {
	primary, standby, dsn := pair(t)
	s, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn + "&countroom.replicated=1", Create: true, FailoverWait: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &writer{store: s}
	done := make(chan struct{})
	ended := w.until(done)
	w.await(t, 50)
	primary.Kill(t)
	before := w.acked.Load()
	standby.Promote(t)
	third := standby.Standby(t, "c")
	if after := w.acked.Load(); after > before+1 { // the one that was under way may have been on both
		t.Fatalf("%d batches were acknowledged by one server alone", after-before)
	}
	standby.Set(t, "synchronous_standby_names", "c")
	w.await(t, before+50)
	if got := third.Ask(t, "postgres", "SELECT pg_is_in_recovery()::text"); got != "true" {
		t.Fatalf("the third server is in recovery: %s", got)
	}
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole(t, s, w.acked.Load())
}

// The standby is promoted while the primary is alive and believes in itself. What the old primary takes now is on its own
// disk only: the writer never hears of it, goes on at the new one, and what it acknowledges is there.
func TestSplitBrain(t *testing.T) {
	primary, standby, dsn := pair(t)
	s := open(t, dsn)
	defer s.Close()
	w := &writer{store: s}
	done := make(chan struct{})
	ended := w.until(done)
	w.await(t, 20)
	standby.Promote(t) // the commit under way waits for a standby that is gone
	before := w.acked.Load()
	time.Sleep(500 * time.Millisecond)
	if after := w.acked.Load(); after > before+1 { // the answer to one may have been on its way
		t.Fatalf("%d batches were acknowledged by a primary without its standby", after-before)
	}
	primary.Kill(t)
	w.await(t, before+20)
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole(t, s, w.acked.Load())
}

// Somebody ends the server process in the middle of commits, again and again: each commit happened or did not, and the
// writer knows which.
func TestSessionsAreEnded(t *testing.T) {
	server := postgrestest.New(t)
	dsn := server.Database(t)
	s := open(t, dsn)
	defer s.Close()
	w := &writer{store: s}
	done := make(chan struct{})
	ended := w.until(done)
	for n := range uint64(25) {
		w.await(t, 4*n)
		server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'countroom'")
	}
	w.await(t, w.acked.Load()+10)
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole(t, s, w.acked.Load())
}

// An administrator who cancels the wait for the standby makes the server say "committed" of what only it has. The store does
// not pass that on: it acknowledges when the standby is back.
func TestCancelledWait(t *testing.T) {
	primary, standby, dsn := pair(t)
	s := open(t, dsn)
	defer s.Close()
	w := &writer{store: s}
	done := make(chan struct{})
	ended := w.until(done)
	w.await(t, 10)
	standby.Kill(t)
	before := w.acked.Load()
	const waits = "FROM pg_stat_activity WHERE application_name = 'countroom' AND wait_event = 'SyncRep'"
	for range 3 {
		for start := time.Now(); primary.Ask(t, "postgres", "SELECT (count(*) > 0)::text "+waits) != "true"; time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > 5*time.Minute {
				t.Fatal("nobody waits for the standby")
			}
		}
		primary.Exec(t, "postgres", "SELECT pg_cancel_backend(pid) "+waits)
		time.Sleep(100 * time.Millisecond)
	}
	if after := w.acked.Load(); after > before+1 { // the answer to one may have been on its way
		t.Fatalf("%d batches were acknowledged without the standby", after-before)
	}
	standby.Start(t)
	w.await(t, before+10)
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole(t, s, w.acked.Load())
}

// A standby that was promoted without having all is no place to go on.
func TestPromotedTooEarly(t *testing.T) {
	primary := postgrestest.New(t)
	standby := primary.Standby(t, "b")
	dsn := primary.Database(t, standby)
	s, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn, Create: true, FailoverWait: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &writer{store: s}
	for range 10 {
		if err := w.commit(); err != nil {
			t.Fatal(err)
		}
	}
	at := primary.Ask(t, "postgres", "SELECT pg_current_wal_lsn()::text")
	for start := time.Now(); standby.Ask(t, "postgres", "SELECT (pg_last_wal_replay_lsn() >= '"+at+"')::text") != "true"; {
		if time.Since(start) > 5*time.Minute {
			t.Fatal("the standby does not follow")
		}
	}
	standby.Kill(t) // what comes now it never gets
	for range 10 {
		if err := w.commit(); err != nil {
			t.Fatal(err)
		}
	}
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	err = w.commit()
	if err == nil || errors.Is(err, store.ErrConflict) {
		t.Fatalf("a commit on a server that lacks ten batches gives %v", err)
	}
	if _, err := s.Row([]byte("n")); err == nil {
		t.Fatal("a row was read from a server that lacks ten batches")
	}
}

// Of two processes on one log the slower one is told, and nothing of its batch is there.
func TestTwoProcesses(t *testing.T) {
	server := postgrestest.New(t)
	dsn := server.Database(t)
	a, b := open(t, dsn), open(t, dsn)
	defer a.Close()
	defer b.Close()
	first, second := &writer{store: a}, &writer{store: b}
	for range 3 {
		if err := first.commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.commit(); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a commit on a head that has moved gives %v, want %v", err, store.ErrConflict)
	}
	if got := b.Head(); got != first.head {
		t.Fatalf("after a conflict the head is %+v, want %+v", got, first.head)
	}
	second.head = b.Head()
	if err := second.commit(); err != nil {
		t.Fatal(err)
	}
	whole(t, b, 4)
}

func TestRefusals(t *testing.T) {
	server := postgrestest.New(t)
	dsn := server.Database(t)
	refused := func(what, dsn, want string) {
		t.Helper()
		s, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one that says %q", what, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds the password: %v", what, err)
		}
	}
	refused("no store", dsn, "no store in the database")
	refused("a DSN that is none", "postgres://u:hunter2@[::1/db", "cannot be read")
	refused("nobody there", "postgres://u:hunter2@127.0.0.1:1/db", "refused")
	refused("a strange parameter", dsn+"&countroom.replicated=yes", "expected 0 or 1")
	refused("no standby is named", dsn+"&countroom.replicated=1", "synchronous_standby_names is empty")

	open(t, dsn).Close()
	database := dsn[strings.LastIndex(dsn, "/")+1 : strings.Index(dsn, "?")]
	server.Exec(t, database, "UPDATE countroom.format SET version = 99")
	refused("tables of the future", dsn, "version 99")

	server.Set(t, "fsync", "off")
	refused("a server that forgets", dsn, "fsync is off")
}

// While the store is open its standbys are taken away by configuration: it stops rather than go on alone.
func TestStandbysTakenAway(t *testing.T) {
	primary, _, dsn := pair(t)
	s, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn + "&countroom.replicated=1", Create: true, FailoverWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &writer{store: s}
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	primary.Set(t, "synchronous_standby_names", "")
	err = w.commit()
	if err == nil || !strings.Contains(err.Error(), "synchronous_standby_names is empty") {
		t.Fatalf("got %v", err)
	}
	if err := w.commit(); !errors.Is(err, store.ErrPoisoned) {
		t.Fatalf("then %v, want %v", err, store.ErrPoisoned)
	}
	whole(t, s, 1)
}

// A server dies with what was not synced, and the store goes on with what is left: rows of a new fold version, or of the
// indexes, that it takes to be there. It does not, for nobody would write them again.
func TestWhatWasNotSyncedIsMissed(t *testing.T) {
	server := postgrestest.New(t)
	for what, lose := range map[string]struct {
		rows string // what the server has lost
		then func(s *postgres.Store, w *writer, fb store.FoldsBuilder) error
	}{
		"rows, before a swap": {"DELETE FROM countroom.rows WHERE folds = 2", func(_ *postgres.Store, w *writer, fb store.FoldsBuilder) error {
			return fb.Swap(t.Context(), w.head)
		}},
		"some, before others": {"DELETE FROM countroom.rows WHERE folds = 2 AND key <> 'a'", func(_ *postgres.Store, _ *writer, fb store.FoldsBuilder) error {
			return fb.Write([]store.Row{{Key: []byte("c"), Value: []byte("3")}})
		}},
		"indexes, before a commit": {"UPDATE countroom.index_cursor SET next = 1", func(_ *postgres.Store, w *writer, _ store.FoldsBuilder) error {
			return w.commit()
		}},
		"indexes, before others": {"UPDATE countroom.index_cursor SET next = 1", func(s *postgres.Store, _ *writer, _ store.FoldsBuilder) error {
			return s.WriteIndex(3, nil)
		}},
	} {
		dsn := server.Database(t)
		s := open(t, dsn)
		w := &writer{store: s}
		for range 3 {
			if err := w.commit(); err != nil {
				t.Fatal(err)
			}
		}
		fb, err := s.BuildFolds(2)
		for _, key := range []string{"a", "b"} {
			err = errors.Join(err, fb.Write([]store.Row{{Key: []byte(key), Value: []byte("1")}}))
		}
		if err = errors.Join(err, s.WriteIndex(2, []store.Row{{Key: []byte("k"), Value: []byte("1")}})); err != nil {
			t.Fatal(err)
		}
		database := dsn[strings.LastIndex(dsn, "/")+1 : strings.Index(dsn, "?")]
		server.Exec(t, database, lose.rows)
		server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'countroom'")
		if err := lose.then(s, w, fb); err == nil || !strings.Contains(err.Error(), "lost with its server") {
			t.Errorf("%s: %v", what, err)
		}
		if err := w.commit(); !errors.Is(err, store.ErrPoisoned) {
			t.Errorf("%s, and then a commit: %v", what, err)
		}
		s.Close()
		s = open(t, dsn)
		w.store = s
		if err := w.commit(); err != nil {
			t.Errorf("%s, and after a start: %v", what, err)
		}
		s.Close()
	}
}
