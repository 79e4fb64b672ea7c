package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/postgres"
	"countroom/ledger/store/postgres/postgrestest"
	"countroom/ledger/store/storetest"
)

func open(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), postgres.Options{DSN: dsn, Create: true, FailoverWait: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The contract, on a real server: a power cut is a server that is killed, a broken disk one on which no table may be
// written.
func TestStore(t *testing.T) {
	server := postgrestest.New(t, "fsync=on", "shared_buffers=64MB")
	storetest.Run(t, func(t testing.TB) storetest.Place {
		dsn := server.Database(t)
		database := dsn[strings.LastIndex(dsn, "/")+1 : strings.Index(dsn, "?")]
		role := "house_" + database
		server.Exec(t, database, "CREATE ROLE "+role+" LOGIN; GRANT CREATE ON DATABASE "+database+" TO "+role)
		dsn = strings.Replace(dsn, "countroom@", role+"@", 1)
		grant := func(what string) {
			server.Exec(t, database, what+" INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA countroom "+map[string]string{"GRANT": "TO", "REVOKE": "FROM"}[what]+" "+role)
		}
		return storetest.Place{
			Open: func(t testing.TB) store.Store { return open(t, dsn) },
			Crash: func(t testing.TB, s store.Store) {
				server.Kill(t)
				server.Start(t)
				_ = s.Close() // whatever it was doing
			},
			Break: func(t testing.TB) func() {
				grant("REVOKE")
				return func() { grant("GRANT") }
			},
		}
	})
}

// What SQL users see is what the ledger wrote.
func TestEntriesAreJSON(t *testing.T) {
	server := postgrestest.New(t)
	dsn := server.Database(t)
	s := open(t, dsn)
	defer s.Close()
	var leaves [][]byte
	for i := range 3 {
		leaves = append(leaves, fmt.Appendf(nil, `{"actor":"house","n":%d,"type":"test.entry"}`, i))
	}
	b := &store.Batch{Next: store.Head{Term: 1, Size: 3, Root: store.Hash{1}, At: 1, Folds: 1}, Leaves: leaves}
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	database := dsn[strings.LastIndex(dsn, "/")+1 : strings.Index(dsn, "?")]
	if got := server.Ask(t, database, `SELECT string_agg(entry->>'n', ',' ORDER BY index) FROM countroom.entries WHERE entry->>'type' = 'test.entry'`); got != "0,1,2" {
		t.Errorf("the view shows %q", got)
	}
}
