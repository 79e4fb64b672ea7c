package house_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// patience ends a test that hangs; no test waits for it otherwise.
const patience = 5 * time.Minute

// lamplight is the bundled game.
const lamplight = "lamplight-quay"

// limits sets the limits of new epochs.
func limits(l epoch.Limits) func(*ledger.Config, *house.Config) {
	return func(_ *ledger.Config, hc *house.Config) { hc.Limits = l }
}

// refused opens a house that should refuse to start, and returns why it did.
// Everything under it is closed again.
func refused(t *testing.T, dir string, options ...func(*ledger.Config, *house.Config)) error {
	t.Helper()
	s := &start{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The ledger of such a house is not closed before its store.
		dead := func(lc *ledger.Config, _ *house.Config) { lc.Fatal = func(error) {} }
		housetest.Open(s, dir, append(options, dead)...)
	}()
	<-ended
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	if s.err == nil {
		t.Fatal("the house started")
	}
	return s.err
}

// start is the testing.TB of a house whose failure to start is what is tested.
type start struct {
	testing.TB
	err      error
	cleanups []func()
}

func (s *start) Helper()          {}
func (s *start) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *start) Fatal(args ...any) {
	s.err = args[0].(error)
	runtime.Goexit()
}

// operators makes requests of the operator.
func operators(key, path, body string) house.Request {
	return house.Request{Key: key, Method: "POST", Path: path, Principal: "operator", Body: []byte(body)}
}

func create(t testing.TB, h *housetest.House, id string) entry.Ref {
	t.Helper()
	return createIn(t, h, id, "EUR")
}

func createIn(t testing.TB, h *housetest.House, id string, c money.Currency) entry.Ref {
	t.Helper()
	if _, err := h.CreatePlayer(t.Context(), operators("create "+id, "/v1/players", id), id, c); err != nil {
		t.Fatal(err)
	}
	return view(t, h, id).Ref
}

func deposit(t testing.TB, h *housetest.House, id string, amount int64) {
	t.Helper()
	req := operators(fmt.Sprintf("deposit %d %s %d", amount, id, h.Ledger.Signed().Size), "/v1/players/"+id+"/deposits", fmt.Sprint(amount))
	if _, err := h.Deposit(t.Context(), req, id, money.Money{Amount: amount, Currency: view(t, h, id).Currency}); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, h *housetest.House, id string) house.PlayerView {
	t.Helper()
	v, err := h.Player(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// open opens a session and returns its id and token.
func open(t testing.TB, h *housetest.House, key, id string) (session entry.UUID, token string) {
	t.Helper()
	_, session, token, err := h.OpenSession(t.Context(), operators(key, "/v1/sessions", id), id, lamplight)
	if err != nil {
		t.Fatal(err)
	}
	return session, token
}

func seat(t testing.TB, h *housetest.House, token string) house.Session {
	t.Helper()
	s, err := h.Seat(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seated creates a player with money and a session.
func seated(t testing.TB, h *housetest.House, id string, amount int64) house.Session {
	t.Helper()
	create(t, h, id)
	deposit(t, h, id, amount)
	_, token := open(t, h, "session of "+id, id)
	return seat(t, h, token)
}

func bet(key string, s house.Session, stake int64) house.Request {
	return house.Request{Key: key, Method: "POST", Path: "/v1/spins", Principal: s.Principal(), Body: fmt.Appendf(nil, `{"stake":%d}`, stake)}
}

// try asks for a spin once.
func try(ctx context.Context, h *housetest.House, s house.Session, key string, stake int64) (ledger.Receipt, error) {
	return h.Spin(ctx, bet(key, s, stake), s, stake)
}

// patient asks for a spin until there is an epoch for it: one of few draws can
// be used up before the next is committed.
func patient(ctx context.Context, h *housetest.House, s house.Session, key string, stake int64) (ledger.Receipt, error) {
	for deadline := time.Now().Add(patience); ; {
		r, err := try(ctx, h, s, key, stake)
		if !errors.Is(err, epoch.ErrNoEpoch) || time.Now().After(deadline) {
			return r, err
		}
		time.Sleep(time.Millisecond)
	}
}

// spin asks likewise, must get a round, and returns it as the leaf has it.
func spin(t testing.TB, h *housetest.House, s house.Session, key string, stake int64) (ledger.Receipt, *rounds.Settled) {
	t.Helper()
	r, err := patient(t.Context(), h, s, key, stake)
	if err != nil {
		t.Fatal(err)
	}
	return r, settled(t, r.Leaf)
}

func settled(t testing.TB, leaf []byte) *rounds.Settled {
	t.Helper()
	s := new(rounds.Settled)
	if err := entry.Decode(leaf, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for what the house does by itself.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// leaves copies the signed log.
func leaves(t testing.TB, h *housetest.House) (list [][]byte) {
	t.Helper()
	err := h.Ledger.Leaves(0, h.Ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		list = append(list, bytes.Clone(leaf))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// all returns the entries of a type, in order.
func all[T any, P interface {
	*T
	entry.Record
}](t testing.TB, h *housetest.House) (list []*T) {
	t.Helper()
	for _, leaf := range leaves(t, h) {
		r, err := books.Decode(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := r.(P); ok {
			list = append(list, (*T)(r))
		}
	}
	return list
}

// life is what the log tells of one seed epoch.
type life struct {
	committed *epoch.Committed
	activated *epoch.Activated
	closed    *epoch.Closed
	revealed  *epoch.Revealed
	rounds    []*rounds.Settled
}

// audit reads the whole log and holds it against the rules of seeds, rounds and
// money, written here anew. It returns the epochs, the first being number 1.
func audit(t testing.TB, h *housetest.House) []*life {
	t.Helper()
	a := auditor{
		t: t, rows: book.Memory{}, machines: map[uint64]*slots.Machine{},
		nonces: map[entry.Ref][]*players.NonceSet{}, counts: map[string]uint64{}, balances: map[string]int64{}, keys: map[[32]byte]uint64{},
	}
	for i, leaf := range leaves(t, h) {
		r, err := books.Decode(leaf)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if err := books.Fold(a.rows, uint64(i), r); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		a.entry(uint64(i), r)
	}
	for account, balance := range a.balances {
		if strings.HasPrefix(account, "player/") && balance < 0 {
			t.Errorf("%s holds %d", account, balance)
		}
	}
	return a.epochs
}

type auditor struct {
	t        testing.TB
	rows     book.Memory
	seeds    *ecdsa.PublicKey
	machines map[uint64]*slots.Machine // by entry
	counts   map[string]uint64         // rounds by player and game
	balances map[string]int64          // by account and currency
	keys     map[[32]byte]uint64       // of requests, and their entries
	nonces   map[entry.Ref][]*players.NonceSet
	epochs   []*life
	active   uint64
	closed   uint64
	revealed uint64
	at       entry.Time
}

func (a *auditor) entry(i uint64, r entry.Record) {
	t := a.t
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("entry %d, %s: %s", i, r.Type(), fmt.Sprintf(format, args...))
	}
	head := r.Head()
	if head.At < a.at {
		wrong("its time %v is before %v", head.At, a.at)
	}
	a.at = head.At
	if !head.Request.IsZero() {
		if first, ok := a.keys[head.Request.Key]; ok {
			wrong("its key was used by entry %d", first)
		}
		a.keys[head.Request.Key] = i
	}
	of := func(n uint64) *life {
		t.Helper()
		if n == 0 || n > uint64(len(a.epochs)) {
			wrong("epoch %d was not committed", n)
		}
		return a.epochs[n-1]
	}
	switch r := r.(type) {
	case *system.HouseCreated:
		spki, err := hex.DecodeString(r.Key(system.RoleSeeds).Public)
		if err != nil {
			wrong("%v", err)
		}
		key, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			wrong("%v", err)
		}
		a.seeds = key.(*ecdsa.PublicKey)
	case *rounds.GameEnabled:
		d, err := slots.Parse(r.Definition)
		if err != nil {
			wrong("%v", err)
		}
		if a.machines[i], err = slots.Compile(d); err != nil {
			wrong("%v", err)
		}
	case *epoch.Committed:
		if r.Epoch != uint64(len(a.epochs))+1 {
			wrong("epoch %d after %d", r.Epoch, len(a.epochs))
		}
		if r.Epoch > max(a.active, a.closed)+1 {
			wrong("epoch %d is committed ahead of another", r.Epoch)
		}
		msg, err := r.Message(housetest.Origin)
		if err != nil {
			wrong("%v", err)
		}
		if hash := sha256.Sum256(msg); !ecdsa.VerifyASN1(a.seeds, hash[:], r.Signature) {
			wrong("the seeds key did not sign it")
		}
		a.epochs = append(a.epochs, &life{committed: r})
	case *epoch.Activated:
		e := of(r.Epoch)
		if a.active != 0 || r.Epoch != a.closed+1 {
			wrong("epoch %d, while %d is active and %d was closed", r.Epoch, a.active, a.closed)
		}
		e.activated, a.active = r, r.Epoch
	case *epoch.Closed:
		e := of(r.Epoch)
		if r.Epoch != a.active {
			wrong("epoch %d, while %d is active", r.Epoch, a.active)
		}
		if r.Draws != uint64(len(e.rounds)) {
			wrong("%d draws, %d rounds", r.Draws, len(e.rounds))
		}
		byDraws, byTime := r.Draws == e.committed.Limits.Draws, r.At >= e.activated.At.Add(e.committed.Limits.Age())
		if !(byDraws && r.Reason == "draws") && !(byTime && !byDraws && r.Reason == "time") {
			wrong("reason %s after %d draws and %v", r.Reason, r.Draws, r.At.Sub(e.activated.At))
		}
		e.closed, a.active, a.closed = r, 0, r.Epoch
	case *epoch.Revealed:
		e := of(r.Epoch)
		if r.Epoch != a.revealed+1 || e.closed == nil {
			wrong("epoch %d after %d, closed: %v", r.Epoch, a.revealed, e.closed != nil)
		}
		if r.At < e.closed.At.Add(e.committed.Limits.RevealDelay()) {
			wrong("%v after the closing", r.At.Sub(e.closed.At))
		}
		if chance.Commitment(housetest.Origin, r.Epoch, r.Secret, r.Salt) != e.committed.Commitment {
			wrong("the secret does not open the commitment")
		}
		d := chance.NewDrawer(chance.DeriveKey(r.Secret, e.committed.Commitment, e.activated.External), housetest.Origin)
		for _, s := range e.rounds {
			if d.Draw(s.Game, a.machines[s.Enabled].Definition().Version, s.Player, s.Draw.N, 0, a.nonce(s.Player, r.Epoch)) != s.Draw.R {
				wrong("r of draw %d does not follow from the secret", s.Draw.Number)
			}
		}
		e.revealed, a.revealed = r, r.Epoch
	case *players.NonceSet:
		if r.Epoch != uint64(len(a.epochs))+1 {
			wrong("a nonce from epoch %d on, after %d commitments", r.Epoch, len(a.epochs))
		}
		a.nonces[r.Player] = append(a.nonces[r.Player], r)
	case *wallet.Deposited:
		a.post(wrong, r.Postings)
	case *wallet.Withdrawn:
		a.post(wrong, r.Postings)
	case *rounds.Settled:
		if r.Draw.Epoch != a.active || a.active == 0 {
			wrong("a draw of epoch %d, while %d is active", r.Draw.Epoch, a.active)
		}
		e := of(a.active)
		if r.Draw.Number != uint64(len(e.rounds))+1 || r.Draw.Number > e.committed.Limits.Draws {
			wrong("draw %d after %d", r.Draw.Number, len(e.rounds))
		}
		count := r.Player.String() + " " + r.Game
		if r.Draw.N != a.counts[count]+1 {
			wrong("n %d after %d", r.Draw.N, a.counts[count])
		}
		a.counts[count]++
		var p books.Play
		if err := p.Round(a.machines[r.Enabled], r.Draw.R, r.Stake.Amount); err != nil {
			wrong("%v", err)
		}
		if !slices.Equal(p.Values, r.Draw.Values) || !bytes.Equal(p.Outcome, r.Outcome) || p.Payout != r.Payout.Amount {
			wrong("replay gives %v, %s and %d; the entry has %v, %s and %d", p.Values, p.Outcome, p.Payout, r.Draw.Values, r.Outcome, r.Payout.Amount)
		}
		a.post(wrong, r.Postings)
		e.rounds = append(e.rounds, r)
	}
}

// nonce is a player's standing nonce in an epoch.
func (a *auditor) nonce(player entry.Ref, n uint64) (nonce []byte) {
	for _, r := range a.nonces[player] {
		if r.Epoch <= n {
			nonce = r.Nonce[:]
		}
	}
	return nonce
}

func (a *auditor) post(wrong func(string, ...any), postings []money.Posting) {
	a.t.Helper()
	var sum int64
	for _, p := range postings {
		sum += p.Amount
		key := p.Account + " " + string(p.Currency)
		if a.balances[key] += p.Amount; a.balances[key] != p.Balance {
			wrong("%s holds %d, the entry says %d", key, a.balances[key], p.Balance)
		}
	}
	if sum != 0 || len(postings) != 2 {
		wrong("postings %v", postings)
	}
}
