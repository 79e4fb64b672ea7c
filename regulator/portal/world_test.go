package portal_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countroom/api"
	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/rngcert/epoch"
)

const (
	token  = "regulator-0123456789abcdef"
	attack = `<script>alert(1)</script>`
	image  = `<img src=x onerror=alert(2)>`
	quoted = `'><svg onload=alert(3)>`
)

// world is a house that is served, whose outsiders mean ill: every name that
// somebody can choose is markup.
type world struct {
	t      testing.TB
	house  *housetest.House
	url    string
	client *http.Client
	ahead  *atomic.Int64
	keys   int
	seats  map[string]house.Session
}

func open(t testing.TB) *world { return openWith(t, 60) }

// openWith opens a house with so many draws to a seed.
func openWith(t testing.TB, draws uint64) *world {
	t.Helper()
	w := &world{t: t, ahead: new(atomic.Int64), seats: map[string]house.Session{}}
	start := time.Now()
	// It is noon: a page of days has one, unless a test lets more than half of one pass.
	w.pass(start.UTC().Truncate(24 * time.Hour).Add(36 * time.Hour).Sub(start))
	w.house = housetest.Open(t, t.TempDir(), func(lc *ledger.Config, hc *house.Config) {
		lc.Clock = func() (time.Time, time.Duration) {
			ahead := time.Duration(w.ahead.Load())
			return time.Now().Round(0).Add(ahead), time.Since(start) + ahead
		}
		hc.Limits = epoch.Limits{AgeSeconds: 600, Draws: draws, RevealDelaySeconds: 1}
		hc.SessionAge = 24 * time.Hour
		hc.Node, hc.Release = image, quoted
		evil := *slots.Bundled()
		evil.ID, evil.Name = "evil", attack
		hc.Games = append(hc.Games, &evil)
	})
	server := httptest.NewServer(api.New(w.house.House, api.Options{
		Tokens: api.Tokens{Operator: "operator-0123456789abcdef", Regulator: token}, Log: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client = &http.Client{Jar: jar}
	return w
}

func (w *world) request(method, path, principal, body string) house.Request {
	w.keys++
	return w.numbered(method, path, principal, body, w.keys)
}

func (w *world) numbered(method, path, principal, body string, key int) house.Request {
	return house.Request{Key: fmt.Sprint("key ", key), Method: method, Path: path, Principal: principal, Body: []byte(`"` + body + `"`)}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// seat gives a player money and a session at a game.
func (w *world) seat(id, game string) house.Session {
	w.t.Helper()
	ok := must[ledger.Receipt](w.t)
	ok(w.house.CreatePlayer(w.t.Context(), w.request("POST", "/v1/players", "operator", id), id, "EUR"))
	ok(w.house.Deposit(w.t.Context(), w.request("POST", "/v1/players/x/deposits", "operator", id), id, money.Money{Amount: 5_000_000, Currency: "EUR"}))
	return w.sit(id, game)
}

// sit opens a session.
func (w *world) sit(id, game string) house.Session {
	w.t.Helper()
	_, _, key, err := w.house.OpenSession(w.t.Context(), w.request("POST", "/v1/sessions", "operator", id+game), id, game)
	if err != nil {
		w.t.Fatal(err)
	}
	s := must[house.Session](w.t)(w.house.Seat(w.t.Context(), key))
	w.seats[id] = s
	return s
}

// spin plays a round.
func (w *world) spin(s house.Session, stake int64) ledger.Receipt {
	w.t.Helper()
	req := w.request("POST", "/v1/spins", s.Principal(), fmt.Sprint(stake))
	for deadline := time.Now().Add(5 * time.Minute); ; {
		r, err := w.house.Spin(w.t.Context(), req, s, stake)
		if !errors.Is(err, epoch.ErrNoEpoch) || time.Now().After(deadline) {
			return must[ledger.Receipt](w.t)(r, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// settled reads a round.
func (w *world) settled(r ledger.Receipt) *rounds.Settled {
	w.t.Helper()
	s := new(rounds.Settled)
	if err := entry.Decode(r.Leaf, s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// pass lets time pass.
func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// until waits for what goroutines of the house do.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waiting for %s in vain", what)
		}
	}
}

// revealed plays until the seed of an epoch is out. The epoch is over by then, by
// its age or its draws; that the house shows the seed takes it some time of ours, and
// none that outlives a session.
func (w *world) revealed(s house.Session, n uint64) {
	w.t.Helper()
	minutes := 0
	w.until(fmt.Sprintf("the seed of epoch %d", n), func() bool {
		if minutes++; minutes <= 60 {
			w.pass(time.Minute)
		}
		w.spin(s, 20)
		e, err := w.house.Epoch(w.t.Context(), n)
		return err == nil && e.Revealed.Leaf != nil
	})
}

// signIn signs the client in.
func (w *world) signIn() {
	w.t.Helper()
	resp := must[*http.Response](w.t)(w.client.PostForm(w.url+"/regulator/", url.Values{"token": {token}}))
	resp.Body.Close()
	if resp.StatusCode != 200 {
		w.t.Fatalf("signing in: %d", resp.StatusCode)
	}
}

// get reads a page.
func (w *world) get(path string, status int) string {
	w.t.Helper()
	resp := must[*http.Response](w.t)(w.client.Get(w.url + path))
	defer resp.Body.Close()
	b := must[[]byte](w.t)(io.ReadAll(resp.Body))
	if resp.StatusCode != status {
		w.t.Fatalf("%s: %d, want %d: %.500s", path, resp.StatusCode, status, b)
	}
	return string(b)
}

// read reads a page of the portal when its tally has caught up.
func (w *world) read(path string) (body string) {
	w.t.Helper()
	w.until("the tally", func() bool {
		body = w.get(path, 200)
		return !strings.Contains(body, "is still reading") && !strings.Contains(body, "is being replayed")
	})
	return body
}
