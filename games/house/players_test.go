package house_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/epoch"
)

// One player in two sessions at one game, from 64 goroutines, each request sent
// twice at once: the log has one round per key, n without gaps, draws without
// gaps, and money that adds up.
func TestTwoSessionsOfOnePlayerAtOnce(t *testing.T) {
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 600, Draws: 100}))
	ref := create(t, h, "busy")
	const funds, workers, each = 10_000_000, 64, 6
	deposit(t, h, "busy", funds)
	var sessions [2]house.Session
	for i := range sessions {
		_, token := open(t, h, fmt.Sprintf("session %d", i), "busy")
		sessions[i] = seat(t, h, token)
	}
	stakes := slots.Bundled().Stakes
	var mu sync.Mutex
	got := map[uint64][]byte{} // leaf by entry
	replays := 0
	var wg sync.WaitGroup
	for w := range workers {
		for i := range each {
			key, stake := fmt.Sprintf("%d/%d", w, i), stakes[(w+i)%len(stakes)]
			for _, s := range sessions {
				wg.Go(func() {
					r, err := patient(t.Context(), h, s, key, stake)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if r.Replayed {
						replays++
					}
					if leaf, ok := got[r.Index]; ok && string(leaf) != string(r.Leaf) {
						t.Errorf("entry %d was answered as\n%s and as\n%s", r.Index, leaf, r.Leaf)
					}
					got[r.Index] = r.Leaf
				})
			}
		}
		if w%8 == 7 {
			wg.Wait() // 96 at once
		}
	}
	wg.Wait()
	if len(got) != workers*each || replays != workers*each {
		t.Errorf("%d rounds and %d replays for %d keys sent twice", len(got), replays, workers*each)
	}
	logged := all[rounds.Settled](t, h)
	if len(logged) != workers*each || h.Settled() != workers*each {
		t.Errorf("%d rounds in the log, %d counted", len(logged), h.Settled())
	}
	balance := int64(funds)
	for i, r := range logged {
		if r.Draw.N != uint64(i)+1 || r.Player != ref {
			t.Fatalf("round %d of the log: n %d of %s", i+1, r.Draw.N, r.Player)
		}
		balance += r.Payout.Amount - r.Stake.Amount
	}
	if got := view(t, h, "busy").Balance; got != balance {
		t.Errorf("balance %d, by the rounds %d", got, balance)
	}
	audit(t, h)

	list, err := h.Rounds(t.Context(), "busy", 1<<62, 5)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range list {
		if n := settled(t, r.Leaf).Draw.N; n != uint64(len(logged)-i) {
			t.Errorf("round %d from the end has n %d", i, n)
		}
	}
	if len(list) != 5 {
		t.Errorf("%d rounds, 5 were asked for", len(list))
	}
}

// What is refused leaves no entry and uses no key, and each refusal says why.
func TestRefusals(t *testing.T) {
	var c clock
	h := housetest.Open(t, t.TempDir(), c.option, limits(epoch.Limits{AgeSeconds: 600, Draws: 1000, RevealDelaySeconds: 3600}))
	ctx := t.Context()
	good := seated(t, h, "good", 1000)
	poor := seated(t, h, "poor", 10)
	suspended := seated(t, h, "suspended", 1000)
	closed := seated(t, h, "closed", 1000)
	createIn(t, h, "rich", "JPY")
	deposit(t, h, "rich", money.Max)
	_, token := open(t, h, "session of rich", "rich")
	rich := seat(t, h, token)
	leftID, token := open(t, h, "session that is left", "good")
	left := seat(t, h, token)
	if _, err := h.CloseSession(ctx, operators("leave", "/v1/sessions/close", ""), leftID); err != nil {
		t.Fatal(err)
	}
	for id, state := range map[string]players.State{"suspended": players.Suspended, "closed": players.Closed} {
		if _, err := h.SetPlayerState(ctx, operators("set "+id, "/v1/players/state", id), id, state, "for the test"); err != nil {
			t.Fatal(err)
		}
	}
	spin(t, h, good, "one", 20)
	eventually(t, "a second commitment", func() bool { return len(all[epoch.Committed](t, h)) == 2 })

	eur := func(n int64) money.Money { return money.Money{Amount: n, Currency: "EUR"} }
	spins := func(s house.Session, stake int64) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.Spin(ctx, req, s, stake)
			return err
		}
	}
	deposits := func(id string, m money.Money) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.Deposit(ctx, req, id, m)
			return err
		}
	}
	withdraws := func(id string, m money.Money) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.Withdraw(ctx, req, id, m)
			return err
		}
	}
	sits := func(id, game string) func(house.Request) error {
		return func(req house.Request) error {
			_, _, token, err := h.OpenSession(ctx, req, id, game)
			if token != "" {
				t.Error("a token came with a refusal")
			}
			return err
		}
	}
	sets := func(id string, to players.State) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.SetPlayerState(ctx, req, id, to, "words")
			return err
		}
	}
	games := func(id string, on bool) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.SetGameState(ctx, req, id, on, "words")
			return err
		}
	}
	creates := func(id string) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.CreatePlayer(ctx, req, id, "EUR")
			return err
		}
	}
	closes := func(id entry.UUID) func(house.Request) error {
		return func(req house.Request) error {
			_, err := h.CloseSession(ctx, req, id)
			return err
		}
	}
	reasons := []error{
		wallet.ErrFunds, slots.ErrStake, house.ErrBalanceFull, house.ErrCurrency, house.ErrPlayerExists, house.ErrGameState,
		players.ErrSuspended, players.ErrClosed, players.ErrUnchanged, players.ErrUnknownPlayer, players.ErrUnknownSession,
		players.ErrSessionClosed, players.ErrSessionExpired, rounds.ErrUnknownGame, rounds.ErrGameDisabled,
		epoch.ErrNoEpoch, ledger.ErrKeyReused,
	}
	number := 0
	refuse := func(name string, want error, scope string, run func(house.Request) error) {
		t.Helper()
		number++
		req := house.Request{Key: fmt.Sprintf("refused %d", number), Method: "POST", Path: "/", Principal: "somebody", Body: []byte(`{}`)}
		size := h.Ledger.Signed().Size
		for range 2 { // the second time for the same reason
			err := run(req)
			for _, r := range reasons {
				if errors.Is(err, r) != (r == want) {
					t.Errorf("%s: %v, expected %v", name, err, want)
					return
				}
			}
		}
		if now := h.Ledger.Signed().Size; now != size {
			t.Errorf("%s: the log grew from %d to %d", name, size, now)
		}
		key := entry.RequestKey(scope, req.Key)
		if found, err := h.Ledger.Find(ledger.ByKey, [16]byte(key[:16]), 1<<62, 1); err != nil || len(found) != 0 {
			t.Errorf("%s: the key leads to entries %d, %v", name, found, err)
		}
	}
	plays := func(name string, want error, s house.Session, stake int64) {
		t.Helper()
		refuse(name, want, s.Player().String(), spins(s, stake))
	}
	operates := func(name string, want error, run func(house.Request) error) {
		t.Helper()
		refuse(name, want, "operator", run)
	}

	plays("a spin without funds", wallet.ErrFunds, poor, 20)
	plays("a stake that is not offered", slots.ErrStake, good, 30)
	plays("a stake of nothing", slots.ErrStake, good, 0)
	plays("a negative stake", slots.ErrStake, good, -20)
	plays("a spin that could overflow the balance", house.ErrBalanceFull, rich, 20)
	plays("a spin of a suspended player", players.ErrSuspended, suspended, 20)
	plays("a spin of a closed account", players.ErrClosed, closed, 20)
	plays("a spin in a closed session", players.ErrSessionClosed, left, 20)
	operates("a withdrawal without funds", wallet.ErrFunds, withdraws("poor", eur(11)))
	operates("a deposit over the range", house.ErrBalanceFull, deposits("rich", money.Money{Amount: 1, Currency: "JPY"}))
	operates("a deposit in another currency", house.ErrCurrency, deposits("good", money.Money{Amount: 1, Currency: "JPY"}))
	operates("a withdrawal in another currency", house.ErrCurrency, withdraws("good", money.Money{Amount: 1, Currency: "JPY"}))
	operates("a player twice", house.ErrPlayerExists, creates("good"))
	operates("a deposit of nobody", players.ErrUnknownPlayer, deposits("nobody", eur(1)))
	operates("a withdrawal of nobody", players.ErrUnknownPlayer, withdraws("nobody", eur(1)))
	operates("a state of nobody", players.ErrUnknownPlayer, sets("nobody", players.Closed))
	operates("a session of nobody", players.ErrUnknownPlayer, sits("nobody", lamplight))
	operates("a session of a suspended player", players.ErrSuspended, sits("suspended", lamplight))
	operates("a session of a closed account", players.ErrClosed, sits("closed", lamplight))
	operates("a session at no game", rounds.ErrUnknownGame, sits("good", "no-such-game"))
	operates("a suspension twice", players.ErrUnchanged, sets("suspended", players.Suspended))
	operates("opening a closed account", players.ErrClosed, sets("closed", players.Open))
	operates("no such session", players.ErrUnknownSession, closes(entry.UUID{1}))
	operates("closing a closed session", players.ErrSessionClosed, closes(leftID))
	operates("enabling an enabled game", house.ErrGameState, games(lamplight, true))
	operates("enabling no game", rounds.ErrUnknownGame, games("no-such-game", true))
	operates("disabling no game", rounds.ErrUnknownGame, games("no-such-game", false))

	if _, err := h.SetGameState(ctx, operators("off", "/v1/games/state", "off"), lamplight, false, "maintenance"); err != nil {
		t.Fatal(err)
	}
	plays("a spin at a disabled game", rounds.ErrGameDisabled, good, 20)
	operates("a session at a disabled game", rounds.ErrGameDisabled, sits("good", lamplight))
	operates("disabling a disabled game", house.ErrGameState, games(lamplight, false))
	if _, err := h.SetGameState(ctx, operators("on", "/v1/games/state", "on"), lamplight, true, "done"); err != nil {
		t.Fatal(err)
	}

	// A refused key serves when the reason is gone.
	if _, err := try(ctx, h, poor, "again", 20); !errors.Is(err, wallet.ErrFunds) {
		t.Fatal(err)
	}
	deposit(t, h, "poor", 10)
	if r, err := try(ctx, h, poor, "again", 20); err != nil || r.Replayed {
		t.Errorf("the key that was refused: replayed %v, %v", r.Replayed, err)
	}

	forged := []string{"", "x", token[:len(token)-1], token + "A", token[:20] + "!" + token[21:]}
	genuine, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range genuine { // the session's id, then its MAC
		b := bytes.Clone(genuine)
		b[i] ^= 1
		forged = append(forged, base64.RawURLEncoding.EncodeToString(b))
	}
	for _, token := range forged {
		if _, err := h.Seat(ctx, token); !errors.Is(err, house.ErrToken) {
			t.Errorf("token %q: %v", token, err)
		}
	}

	c.ahead.Store(int64(12 * time.Hour))
	// By then the log grows by the end of the epoch, and by nothing else.
	eventually(t, "the end of epoch 1", func() bool { return len(all[epoch.Closed](t, h)) == 1 })
	plays("a spin in an expired session", players.ErrSessionExpired, good, 20)
	if r, err := try(ctx, h, good, "one", 20); err != nil || !r.Replayed {
		t.Errorf("a retry after the session's end: replayed %v, %v", r.Replayed, err)
	}
	audit(t, h)
}

// The same key with the same body gets the same leaf, whatever happened since;
// with another body it is refused, and one alarm a minute says so in the log.
func TestKeysAreUsedOnce(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	ctx := t.Context()
	s := seated(t, h, "regular", 1000)
	first, _ := spin(t, h, s, "the key", 20)
	paid, err := h.Deposit(ctx, operators("a deposit", "/d", "7"), "regular", money.Money{Amount: 7, Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	made, session, token, err := h.OpenSession(ctx, operators("a session", "/s", "1"), "regular", lamplight)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetPlayerState(ctx, operators("the end", "/p", "1"), "regular", players.Suspended, "for the test"); err != nil {
		t.Fatal(err)
	}
	balance := view(t, h, "regular").Balance

	same := func(what string, r, was ledger.Receipt, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !r.Replayed || r.Index != was.Index || string(r.Leaf) != string(was.Leaf) {
			t.Errorf("%s: replayed %v, entry %d:\n%s\nwas entry %d:\n%s", what, r.Replayed, r.Index, r.Leaf, was.Index, was.Leaf)
		}
	}
	again, err := try(ctx, h, s, "the key", 20)
	same("a spin", again, first, err)
	again, err = try(ctx, h, seat(t, h, token), "the key", 20)
	same("a spin through a later session", again, first, err)
	again, err = h.Deposit(ctx, operators("a deposit", "/d", "7"), "regular", money.Money{Amount: 7, Currency: "EUR"})
	same("a deposit", again, paid, err)
	again, sessionAgain, tokenAgain, err := h.OpenSession(ctx, operators("a session", "/s", "1"), "regular", lamplight)
	same("a session", again, made, err)
	if sessionAgain != session || tokenAgain != token {
		t.Errorf("the session is %s with token %s; was %s with %s", sessionAgain, tokenAgain, session, token)
	}
	invalid := errors.New("stake: expected an integer")
	again, err = h.Refuse(ctx, bet("the key", s, 20), &s, invalid)
	same("a request found invalid only now", again, first, err)
	if _, err = h.Refuse(ctx, bet("a fresh key", s, 20), &s, invalid); !errors.Is(err, invalid) {
		t.Errorf("an invalid request under a fresh key: %v", err)
	}
	if n := len(all[system.AlarmRaised](t, h)); n != 0 {
		t.Errorf("%d alarms for mere retries", n)
	}

	for stake := range int64(6) {
		if _, err := try(ctx, h, s, "the key", 40+stake); !errors.Is(err, ledger.ErrKeyReused) {
			t.Errorf("another stake: %v", err)
		}
	}
	if _, err := h.Deposit(ctx, operators("a deposit", "/d", "8"), "regular", money.Money{Amount: 8, Currency: "EUR"}); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("another deposit: %v", err)
	}
	if _, err := h.Refuse(ctx, bet("the key", s, 21), &s, invalid); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("an invalid request under a used key: %v", err)
	}
	if got := view(t, h, "regular").Balance; got != balance {
		t.Errorf("the balance went from %d to %d", balance, got)
	}
	scope := s.Player().String()
	h.Close() // which waits for alarms under way
	h = housetest.Open(t, dir)
	alarms := all[system.AlarmRaised](t, h)
	if len(alarms) != 1 {
		t.Fatalf("%d alarms", len(alarms))
	}
	if a := alarms[0]; a.Alarm != system.AlarmKeyReused || a.Count != 1 || a.About != entry.RequestKey(scope, "the key") {
		t.Errorf("the alarm: %+v", a)
	}
	audit(t, h)
}

func TestAClosedAccountIsPaidOutAndASuspendedOneWaits(t *testing.T) {
	h := housetest.Open(t, t.TempDir())
	ctx := t.Context()
	create(t, h, "leaving")
	deposit(t, h, "leaving", 500)
	one := money.Money{Amount: 100, Currency: "EUR"}
	number := 0
	move := func(f func(context.Context, house.Request, string, money.Money) (ledger.Receipt, error)) error {
		number++
		_, err := f(ctx, operators(fmt.Sprintf("move %d", number), "/m", "100"), "leaving", one)
		return err
	}
	for _, step := range []struct {
		state             players.State
		deposit, withdraw error
		balance           int64
	}{
		{players.Suspended, players.ErrSuspended, players.ErrSuspended, 500},
		{players.Open, nil, nil, 500},
		{players.Suspended, players.ErrSuspended, players.ErrSuspended, 500},
		{players.Closed, players.ErrClosed, nil, 400},
	} {
		number++
		if _, err := h.SetPlayerState(ctx, operators(fmt.Sprintf("set %d", number), "/s", string(step.state)), "leaving", step.state, "asked for"); err != nil {
			t.Fatal(err)
		}
		if err := move(h.Deposit); !errors.Is(err, step.deposit) {
			t.Errorf("%s: a deposit: %v, expected %v", step.state, err, step.deposit)
		}
		if err := move(h.Withdraw); !errors.Is(err, step.withdraw) {
			t.Errorf("%s: a withdrawal: %v, expected %v", step.state, err, step.withdraw)
		}
		if v := view(t, h, "leaving"); v.State != step.state || v.Balance != step.balance {
			t.Errorf("%s with %d, expected %s with %d", v.State, v.Balance, step.state, step.balance)
		}
	}
	for range 4 {
		if err := move(h.Withdraw); err != nil {
			t.Fatal(err)
		}
	}
	if err := move(h.Withdraw); !errors.Is(err, wallet.ErrFunds) {
		t.Errorf("more than there was: %v", err)
	}
	if list, err := h.Transactions(ctx, "leaving", 1<<62, 100); err != nil || len(list) != 8 {
		t.Errorf("%d transactions, %v", len(list), err)
	}
	audit(t, h)
}

// Chance knows neither stake nor request nor session nor balance. Of one stopped
// house two copies are started; what players do in them differs in all that the
// client or the house can choose, and each next round is the same.
func TestTheNextRoundIsTheSameWhateverIsStaked(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	h := housetest.Open(t, dir)
	create(t, h, "twin")
	deposit(t, h, "twin", 1_000_000)
	_, token := open(t, h, "session", "twin")
	for i := range 3 {
		spin(t, h, seat(t, h, token), fmt.Sprint(i), 100)
	}
	h.Close()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"checkpoint.pem", "seeds.pem", "exports.pem"} { // the copies are readable by all
		if err := os.Chmod(filepath.Join(other, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b := housetest.Open(t, dir), housetest.Open(t, other)
	create(t, b, "somebody else") // and another history
	deposit(t, b, "twin", 5_000_000)
	_, tokenB := open(t, b, "a new session", "twin")
	sa, sb := seat(t, a, token), seat(t, b, tokenB)
	for i := range 40 {
		ra, la := spin(t, a, sa, fmt.Sprint("low ", i), 20)
		rb, lb := spin(t, b, sb, fmt.Sprint("high ", i), 1000)
		if la.Draw.R != lb.Draw.R || la.Draw.N != lb.Draw.N || !slices.Equal(la.Draw.Values, lb.Draw.Values) {
			t.Fatalf("round %d:\n%s\n%s", i, ra.Leaf, rb.Leaf)
		}
		if stops := stopsOf(t, la.Outcome); len(stops) == 0 || !slices.Equal(stops, stopsOf(t, lb.Outcome)) {
			t.Errorf("round %d stops at %v and at %v", i, stops, stopsOf(t, lb.Outcome))
		}
		if la.Payout.Amount*50 != lb.Payout.Amount {
			t.Errorf("round %d pays %d of 20 and %d of 1000", i, la.Payout.Amount, lb.Payout.Amount)
		}
		if ra.Index == rb.Index {
			t.Errorf("the histories do not differ: both are entry %d", ra.Index)
		}
	}
	// Somebody else's rounds are others.
	deposit(t, b, "somebody else", 1000)
	_, token = open(t, b, "other session", "somebody else")
	_, foreign := spin(t, b, seat(t, b, token), "theirs", 20)
	for _, r := range all[rounds.Settled](t, a) {
		if r.Draw.R == foreign.Draw.R {
			t.Errorf("two players share the r of round %d", r.Draw.N)
		}
	}
	audit(t, a)
	audit(t, b)
}

// stopsOf returns where the reels stopped, spin after spin.
func stopsOf(t testing.TB, outcome []byte) (stops [][5]uint16) {
	t.Helper()
	var o struct {
		Spins []struct{ Stops [5]uint16 }
	}
	if err := json.Unmarshal(outcome, &o); err != nil {
		t.Fatal(err)
	}
	for _, s := range o.Spins {
		stops = append(stops, s.Stops)
	}
	return stops
}
