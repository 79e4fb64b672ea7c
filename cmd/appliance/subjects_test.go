package appliance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/store"
	"countroom/ledger/store/postgres/postgrestest"
)

// kinds counts the rows of a machine's vault that are about players.
func (h *half) kinds(t *testing.T) map[string]int {
	t.Helper()
	r, err := h.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := map[string]int{}
	err = r.ScanVault([]byte("vault/"), func(row store.Row) error {
		n[strings.Split(string(row.Key), "/")[1]]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (h *half) oldestPeriod(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "keys", vaultPeriodKey))
	if err != nil {
		t.Fatal(err)
	}
	period, _, _ := strings.Cut(string(b), " ")
	return period
}

func oversee(t *testing.T, h *house.House, origin string) (approve func(r officers.Approved)) {
	t.Helper()
	key := func(name string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte(name))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	names := []string{"anna", "bert"}
	for _, name := range names {
		if _, err := h.Approve(t.Context(), &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: key(name).Public().(ed25519.PublicKey)}, house.Words{}); err != nil {
			t.Fatal(err)
		}
	}
	return func(r officers.Approved) {
		t.Helper()
		for _, name := range names {
			*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(key(name), officers.Message(origin, r.Type(), r.Subject()))})
		}
		if _, err := h.Approve(t.Context(), r, house.Words{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A player who is erased is erased on both machines, and both leave a period of the
// vault when the log says so. The one that takes over goes on with the vault as it is.
func TestAPairErasesAndLeavesPeriods(t *testing.T) {
	a, b := newHalves(t)
	ctx := t.Context()
	h := a.house()
	ask := func(key string) house.Request {
		return house.Request{Key: key, Method: "POST", Path: "/v1", Principal: "operator"}
	}
	refs := map[string]entry.Ref{}
	for _, id := range []string{"ann", "bob"} {
		if _, err := h.CreatePlayer(ctx, ask(id), id, "EUR"); err != nil {
			t.Fatal(err)
		}
		v, err := h.Player(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		refs[id] = v.Ref
		if _, err := h.RecordSubject(ctx, ask("of "+id), id, []house.Attribute{{Name: "name", Value: "the name of " + id}}); err != nil {
			t.Fatal(err)
		}
	}
	approve := oversee(t, h, "pair.example/log")
	if _, err := h.SetPlayerState(ctx, ask("close"), "ann", players.Closed, "as asked"); err != nil {
		t.Fatal(err)
	}
	same := func() map[string]int {
		t.Helper()
		var on, there map[string]int
		await(t, "both machines have the same log", func() bool { return a.store.Head().Size == b.store.Head().Size })
		on, there = a.kinds(t), b.kinds(t)
		for kind, n := range on {
			if there[kind] != n {
				t.Errorf("%d rows of kind %s on a, %d on b", n, kind, there[kind])
			}
		}
		return on
	}
	if n := same(); n["subject"] != 2 || n["value"] != 2 || n["words"] != 1 {
		t.Errorf("before: %v", n)
	}
	erasure, err := h.Erasure(ctx, refs["ann"])
	if err != nil {
		t.Fatal(err)
	}
	approve(erasure)
	if n := same(); n["subject"] != 1 || n["value"] != 1 || n["words"] != 0 || n["player-id"] != 1 || n["player"] != 1 {
		t.Errorf("after: %v", n)
	}
	for period, oldest := range []string{"0", "1", "2"} {
		if done, err := h.Rewrap(ctx); err != nil || done.Period != uint64(period+1) || done.Subjects != 1 {
			t.Fatalf("%+v, %v", done, err)
		}
		await(t, "b leaves the period too", func() bool { return b.oldestPeriod(t) == oldest })
		if got := a.oldestPeriod(t); got != oldest {
			t.Errorf("a has the key of period %s, want %s", got, oldest)
		}
	}
	if err := a.Switch(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, "b writes", func() bool { return b.Place().Here })
	h = b.house()
	if v, err := h.Subject(ctx, "bob"); err != nil || len(v.Attributes) != 1 || v.Attributes[0].Value != "the name of bob" {
		t.Errorf("bob on b: %+v, %v", v, err)
	}
	if v, err := h.SubjectOf(ctx, refs["ann"]); err != nil || v.Erased == 0 || v.Attributes[0].State != house.ValueErased {
		t.Errorf("ann on b: %+v, %v", v, err)
	}
	if done, err := h.Rewrap(ctx); err != nil || done.Period != 4 {
		t.Errorf("on b: %+v, %v", done, err)
	}
	await(t, "a, which follows, leaves the period too", func() bool { return a.oldestPeriod(t) == "3" })
}

// A house over PostgreSQL records, wraps anew and erases as one over its own disk does.
func TestAHouseOverPostgresErases(t *testing.T) {
	dsn := postgrestest.New(t).Database(t)
	dir := t.TempDir()
	ctx := t.Context()
	open := func() *Appliance {
		t.Helper()
		a, err := Open(ctx, Config{Dir: dir, Origin: "postgres.example/log", Release: "test", Log: slog.New(slog.DiscardHandler), Postgres: dsn, Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	ask := func(key string) house.Request {
		return house.Request{Key: key, Method: "POST", Path: "/v1", Principal: "operator"}
	}
	if _, err := a.House.CreatePlayer(ctx, ask("ann"), "ann", "EUR"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.House.RecordSubject(ctx, ask("name"), "ann", []house.Attribute{{Name: "name", Value: "Ann Example"}}); err != nil {
		t.Fatal(err)
	}
	if done, err := a.House.Rewrap(ctx); err != nil || done.Subjects != 1 || done.Lost != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	a = open()
	v, err := a.House.Subject(ctx, "ann")
	if err != nil || len(v.Attributes) != 1 || v.Attributes[0].Value != "Ann Example" {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := a.House.SetPlayerState(ctx, ask("close"), "ann", players.Closed, "as asked"); err != nil {
		t.Fatal(err)
	}
	erasure, err := a.House.Erasure(ctx, v.Ref)
	if err != nil {
		t.Fatal(err)
	}
	oversee(t, a.House, "postgres.example/log")(erasure)
	h := &half{Pair: &Pair{store: a.Store}}
	if n := h.kinds(t); n["subject"]+n["player-id"]+n["player"]+n["value"]+n["words"] != 0 {
		t.Errorf("the database has %v", n)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
