package appliance_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/money"
	"countroom/ledger/store/postgres/postgrestest"
	"countroom/regulator/verify"
)

func openOver(t testing.TB, dir, dsn string) *appliance.Appliance {
	t.Helper()
	a, err := appliance.Open(context.Background(), appliance.Config{
		Dir: dir, Release: "test", Log: slog.New(slog.DiscardHandler), Postgres: dsn, Fatal: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// table seats players with money.
func table(t testing.TB, a *appliance.Appliance, players int) []house.Session {
	t.Helper()
	ctx := context.Background()
	seats := make([]house.Session, players)
	var wg sync.WaitGroup
	for i := range seats {
		wg.Go(func() {
			id := "p" + strconv.Itoa(i)
			_, err := a.House.CreatePlayer(ctx, request(id), id, "EUR")
			if err == nil {
				_, err = a.House.Deposit(ctx, request(id+"-deposit"), id, money.Money{Amount: 1_000_000_000, Currency: "EUR"})
			}
			var token string
			if err == nil {
				_, _, token, err = a.House.OpenSession(ctx, request(id+"-session"), id, "lamplight-quay")
			}
			if err == nil {
				seats[i], err = a.House.Seat(ctx, token)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return seats
}

// A house keeps its log in PostgreSQL. While it is played in, the primary dies and the synchronous standby is promoted: the
// process goes on, players see a delay, every round they were told of is in the log, and the log verifies. Then a second
// process opens it.
func TestAHouseOverPostgres(t *testing.T) {
	primary := postgrestest.New(t)
	standby := primary.Standby(t, "b")
	primary.Set(t, "synchronous_standby_names", "b")
	dsn := primary.Database(t, standby)
	dir := t.TempDir()
	a := openOver(t, dir, dsn)
	seats := table(t, a, 4)

	var spins atomic.Uint64
	var mu sync.Mutex
	var told []ledger.Receipt
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i, s := range seats {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				r, err := a.House.Spin(context.Background(), request(fmt.Sprintf("spin-%d-%d", i, n)), s, 20)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				told = append(told, r)
				mu.Unlock()
				spins.Add(1)
			}
		})
	}
	await := func(n uint64) {
		t.Helper()
		for start := time.Now(); spins.Load() < n; time.Sleep(5 * time.Millisecond) {
			if time.Since(start) > 5*time.Minute || t.Failed() {
				t.Fatalf("%d spins of %d", spins.Load(), n)
			}
		}
	}
	await(100)
	primary.Kill(t)
	before := spins.Load()
	standby.Promote(t)
	await(before + 100)
	close(done)
	wg.Wait()

	check := func(a *appliance.Appliance) {
		t.Helper()
		server := httptest.NewServer(api.New(a.House, api.Options{Tokens: api.Tokens{Regulator: a.Tokens.Regulator}}))
		defer server.Close()
		src, err := verify.HTTP(server.URL, a.Tokens.Regulator)
		if err != nil {
			t.Fatal(err)
		}
		report, err := verify.Log(context.Background(), src, verify.Options{VKey: a.Ledger.VKey()})
		if err != nil || !report.OK() {
			t.Fatalf("the log does not verify: %+v, %v", report.Findings, err)
		}
		for _, r := range told {
			if e, err := a.Ledger.Entry(r.Index); err != nil || string(e.Leaf) != string(r.Leaf) {
				t.Fatalf("entry %d is not the one that was told of: %v", r.Index, err)
			}
		}
	}
	check(a)
	closeHouse(a)
	again := openOver(t, dir, dsn)
	defer closeHouse(again)
	check(again)
	seat, err := again.House.Seat(context.Background(), func() string {
		_, _, token, err := again.House.OpenSession(context.Background(), request("p0-session"), "p0", "lamplight-quay")
		if err != nil {
			t.Fatal(err)
		}
		return token
	}())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := again.House.Spin(context.Background(), request("spin-0-0"), seat, 20); err != nil || !r.Replayed {
		t.Fatalf("a spin that was answered is answered again: %+v, %v", r, err)
	}
}

// A house has its log in one place.
func TestOneLogInOnePlace(t *testing.T) {
	dir := t.TempDir()
	a := openOver(t, dir, "")
	closeHouse(a)
	_, err := appliance.Open(context.Background(), appliance.Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Postgres: "postgres://127.0.0.1:1/house"})
	if err == nil || !strings.Contains(err.Error(), "a log of its own") {
		t.Fatalf("got %v", err)
	}
}

// BenchmarkSpinsOverPostgres plays in process over a primary with a synchronous standby, both on this machine.
func BenchmarkSpinsOverPostgres(b *testing.B) {
	for _, callers := range []int{64, 256, 1024} {
		b.Run(strconv.Itoa(callers)+" callers", func(b *testing.B) { spinsOverPostgres(b, callers) })
	}
}

func spinsOverPostgres(b *testing.B, callers int) {
	primary := postgrestest.New(b, "shared_buffers=512MB", "max_wal_size=4GB")
	primary.Standby(b, "b")
	primary.Set(b, "synchronous_standby_names", "b")
	a := openOver(b, b.TempDir(), primary.Database(b)+"&countroom.replicated=1")
	defer closeHouse(a)
	seats := table(b, a, callers)
	run := b.N
	var next atomic.Int64
	latencies := make([][]time.Duration, callers)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, s := range seats {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(run) {
					return
				}
				began := time.Now()
				if _, err := a.House.Spin(context.Background(), request("bench-"+strconv.FormatInt(n, 36)+"-"+strconv.Itoa(run)), s, 20); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = append(latencies[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	report(b, latencies)
}

func report(b *testing.B, latencies [][]time.Duration) {
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "spins/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}
