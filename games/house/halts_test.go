package house_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/rngcert/chance"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

func officerKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("officer " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// staff enrols two officers.
func staff(t *testing.T, h *housetest.House) {
	t.Helper()
	for _, name := range []string{"anna", "bert"} {
		if _, err := h.Approve(t.Context(), &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: officerKey(name).Public().(ed25519.PublicKey)}, house.Words{}); err != nil {
			t.Fatal(err)
		}
	}
}

var because = house.Words{Salt: [32]byte{5}, Text: "the token is gone"}

// decide has officers approve of what becomes of an epoch.
func decide(t *testing.T, h *housetest.House, r officers.Approved, by ...string) (ledger.Receipt, error) {
	t.Helper()
	msg := officers.Message(housetest.Origin, r.Type(), r.Subject())
	for _, name := range by {
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(officerKey(name), msg)})
	}
	return h.Approve(t.Context(), r, because)
}

func decided(n, draws uint64) decision.Decision {
	return decision.Decision{Draws: draws, Epoch: n, Reason: entry.Commitment(because.Salt, because.Text)}
}

func halt(t *testing.T, h *housetest.House, n uint64) error {
	t.Helper()
	_, err := h.HaltSeed(t.Context(), operators(fmt.Sprint("halt ", n, " ", h.Ledger.Signed().Size), "/seeds/halt", fmt.Sprintf(`{"epoch":%d}`, n)), n, "a suspicion")
	return err
}

func state(t *testing.T, h *housetest.House) (now epoch.State) {
	t.Helper()
	if err := h.Ledger.View(t.Context(), func(rows book.Reader) error { now = epoch.Now(rows); return nil }); err != nil {
		t.Fatal(err)
	}
	return now
}

// A seed is suspected to be known. The operator halts it: nobody plays, all else
// goes on, also after a restart. Two officers end it, play goes on with the next
// epoch, and the secret comes out in its time.
func TestAHaltedEpochIsEnded(t *testing.T) {
	dir := t.TempDir()
	options := limits(epoch.Limits{AgeSeconds: 600, Draws: 100, RevealDelaySeconds: 1})
	h := housetest.Open(t, dir, options)
	staff(t, h)
	create(t, h, "regular")
	deposit(t, h, "regular", 10_000)
	_, token := open(t, h, "session", "regular")
	spin(t, h, seat(t, h, token), "before", 20)
	eventually(t, "a second commitment", func() bool { return state(t, h).Ahead == 2 })
	if err := h.Ready(); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	if err := halt(t, h, 1); err != nil {
		t.Fatal(err)
	}
	if err := halt(t, h, 2); !errors.Is(err, book.ErrBroken) {
		t.Errorf("a second halt: %v", err)
	}
	for range 2 {
		if err := h.Ready(); !errors.Is(err, epoch.ErrHalted) {
			t.Errorf("ready: %v", err)
		}
		s := seat(t, h, token)
		if _, err := try(t.Context(), h, s, "while halted", 20); !errors.Is(err, epoch.ErrHalted) {
			t.Errorf("a spin: %v", err)
		}
		deposit(t, h, "regular", 5)
		create(t, h, fmt.Sprint("new at ", h.Ledger.Signed().Size))
		if now := state(t, h); now.Halted != 1 || now.Draws != 1 || now.Active != 1 || now.Committed != 2 {
			t.Fatalf("%+v", now)
		}
		h.Close()
		h = housetest.Open(t, dir, options)
	}
	if _, err := decide(t, h, &decision.Ended{Decision: decided(1, 1)}, "anna"); !errors.Is(err, book.ErrBroken) {
		t.Errorf("ended by one officer: %v", err)
	}
	if _, err := decide(t, h, &decision.Ended{Decision: decided(1, 2)}, "anna", "bert"); !errors.Is(err, book.ErrBroken) {
		t.Errorf("ended with a draw too many: %v", err)
	}
	first, err := decide(t, h, &decision.Ended{Decision: decided(1, 1)}, "anna", "bert")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := decide(t, h, &decision.Ended{Decision: decided(1, 1)}, "anna", "bert"); err != nil || !again.Replayed || again.Index != first.Index {
		t.Errorf("asked for again: entry %d, was %d: %v", again.Index, first.Index, err)
	}
	if _, r := spin(t, h, seat(t, h, token), "while halted", 20); r.Draw.Epoch != 2 || r.Draw.Number != 1 || r.Draw.N != 2 {
		t.Errorf("the next round: %+v", r.Draw)
	}
	if err := h.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	eventually(t, "the secret of epoch 1", func() bool { return len(all[epoch.Revealed](t, h)) == 1 })
	v, err := h.Epoch(t.Context(), 1)
	if err != nil || v.Closed.Index != first.Index || v.Halted.Leaf == nil || v.Abandoned.Leaf != nil || v.Revealed.Leaf == nil {
		t.Errorf("%+v, %v", v, err)
	}
}

// The seal key is lost while the house is down. It opens all the same, answers
// what it answered before and takes deposits; nobody plays until two officers have
// abandoned what cannot be opened any more.
func TestALostSealKey(t *testing.T) {
	dir := t.TempDir()
	options := limits(epoch.Limits{AgeSeconds: 600, Draws: 2})
	h := housetest.Open(t, dir, options)
	staff(t, h)
	create(t, h, "regular")
	deposit(t, h, "regular", 10_000)
	_, token := open(t, h, "session", "regular")
	for i := range 3 {
		spin(t, h, seat(t, h, token), fmt.Sprint("before ", i), 20)
	}
	eventually(t, "a third commitment", func() bool { return state(t, h).Ahead == 3 && state(t, h).Revealed == 1 })
	h.Close()

	lost := func(_ *ledger.Config, hc *house.Config) {
		hc.Sealer = sealing{sha256.Sum256([]byte("another seal key"))}
	}
	h = housetest.Open(t, dir, options, lost)
	if err := h.Ready(); !errors.Is(err, house.ErrSealed) || !errors.Is(err, chance.ErrSealed) {
		t.Errorf("ready: %v", err)
	}
	s := seat(t, h, token)
	if _, err := try(t.Context(), h, s, "after", 20); !errors.Is(err, house.ErrSealed) {
		t.Errorf("a spin: %v", err)
	}
	if r, err := try(t.Context(), h, s, "before 0", 20); err != nil || !r.Replayed {
		t.Errorf("an old spin: %v", err)
	}
	deposit(t, h, "regular", 5)
	list, err := h.Seeds(t.Context())
	if err != nil || len(list) != 2 || list[0].Epoch != 2 || list[0].State != "active" || list[0].Draws != 1 || list[0].Sealed == nil || list[1].State != "ahead" || list[1].Sealed == nil {
		t.Fatalf("%+v, %v", list, err)
	}

	// The right key again, and all is as before.
	h.Close()
	h = housetest.Open(t, dir, options)
	if err := h.Ready(); err != nil {
		t.Errorf("with the right key again: %v", err)
	}
	h.Close()

	h = housetest.Open(t, dir, options, lost)
	for _, n := range []uint64{3, 2} { // the one ahead first
		draws := 3 - n
		if _, err := decide(t, h, &decision.Abandoned{Decision: decided(n, draws)}, "anna", "bert"); !errors.Is(err, book.ErrBroken) {
			t.Errorf("epoch %d is abandoned, and was not halted: %v", n, err)
		}
		if err := halt(t, h, n); err != nil {
			t.Fatal(err)
		}
		if _, err := decide(t, h, &decision.Abandoned{Decision: decided(n, draws)}, "anna", "bert"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		want := uint64(4 + i/2)
		if _, r := spin(t, h, s, fmt.Sprint("at last ", i), 20); r.Draw.Epoch != want || r.Draw.N != uint64(4+i) {
			t.Errorf("round %d: %+v", i, r.Draw)
		}
	}
	eventually(t, "the secret of epoch 4", func() bool { return len(all[epoch.Revealed](t, h)) == 2 })
	if r := all[epoch.Revealed](t, h)[1]; r.Epoch != 4 {
		t.Errorf("epoch %d was revealed", r.Epoch)
	}
	v, err := h.Epoch(t.Context(), 2)
	if err != nil || v.Abandoned.Leaf == nil || v.Closed.Index != v.Abandoned.Index || v.Revealed.Leaf != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

// A device that is away comes back: play resumes by itself.
func TestASecretThatOpensAgain(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	create(t, h, "regular")
	deposit(t, h, "regular", 1000)
	_, token := open(t, h, "session", "regular")
	spin(t, h, seat(t, h, token), "before", 20)
	h.Close()
	away := &absent{}
	away.gone.Store(true)
	h = housetest.Open(t, dir, func(_ *ledger.Config, hc *house.Config) { away.Sealer = hc.Sealer; hc.Sealer = away })
	s := seat(t, h, token)
	if _, err := try(t.Context(), h, s, "after", 20); !errors.Is(err, house.ErrSealed) {
		t.Fatalf("a spin: %v", err)
	}
	away.gone.Store(false)
	eventually(t, "a house that is ready", func() bool { return h.Ready() == nil })
	if _, r := spin(t, h, s, "after", 20); r.Draw.Epoch != 1 || r.Draw.Number != 2 {
		t.Errorf("%+v", r.Draw)
	}
	audit(t, h)
}

// A closed epoch whose secret opens is revealed in time: a halt could only keep it
// from that.
func TestNothingIsHaltedForNothing(t *testing.T) {
	h := housetest.Open(t, t.TempDir(), limits(epoch.Limits{AgeSeconds: 600, Draws: 1, RevealDelaySeconds: 3600}))
	s := seated(t, h, "regular", 1000)
	spin(t, h, s, "only", 20)
	eventually(t, "the end of epoch 1", func() bool { return state(t, h).Closed == 1 })
	if err := halt(t, h, 1); !errors.Is(err, house.ErrOpens) {
		t.Errorf("a halt of the closed epoch: %v", err)
	}
	for _, n := range []uint64{0, 99} {
		if err := halt(t, h, n); !errors.Is(err, book.ErrBroken) {
			t.Errorf("a halt of epoch %d: %v", n, err)
		}
	}
	spin(t, h, s, "next", 20)
}
