package verify

import (
	"errors"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

const escrowOrigin = "logtest.example/house"

// parties are those to whom the house below escrows its seeds.
func parties(t *testing.T) (keys [2]*escrow.Key, to [2]*escrow.Recipient) {
	t.Helper()
	for i := range keys {
		private, public, err := escrow.NewKey([32]byte{1: byte(i + 1)})
		if err == nil {
			keys[i], err = escrow.ParseKey(private)
		}
		if err == nil {
			to[i], err = escrow.ParseRecipient(public)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return keys, to
}

// silentHouse escrows its seeds, plays for three epochs and reveals none. change
// alters what it seals.
func silentHouse(t *testing.T, change func(n uint64, s *logtest.Secret)) (*logtest.House, [2]*escrow.Key) {
	t.Helper()
	keys, to := parties(t)
	h := logtest.Empty(logtest.Config{Seed: 5, Limits: epoch.Limits{AgeSeconds: 600, Draws: 50, RevealDelaySeconds: 3600}})
	h.Commitment = func(st *epoch.Statement, s *logtest.Secret) {
		sealed := *s
		if change != nil {
			change(st.Epoch, &sealed)
		}
		box, err := escrow.Seal(escrowOrigin, st.Epoch, st.Commitment, sealed.Secret, sealed.Salt, to[0], to[1])
		if err != nil {
			t.Fatal(err)
		}
		st.Escrow = &epoch.Escrow{Recipients: box.Recipients, Sealed: box.Content}
	}
	h.Begin()
	h.Play([]logtest.Player{h.Join(50_000)}, 120)
	return h, keys
}

// openFrom finds an escrowed seed in the log and takes both layers off.
func openFrom(t *testing.T, h *logtest.House, n uint64, keys [2]*escrow.Key) *escrow.Box {
	t.Helper()
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Seed: n})
	if err != nil || !r.OK() {
		t.Fatalf("%v, %+v", err, r.Findings)
	}
	if r.Seed == nil {
		t.Fatalf("epoch %d: no escrowed seed", n)
	}
	box, err := r.Seed.Take(keys[1])
	if err == nil {
		box, err = box.Take(keys[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// The house reveals nothing. Regulator and laboratory open two of its seeds, and
// the draws of these epochs are proven, without the house.
func TestEpochsAreReplayedWithoutTheHouse(t *testing.T) {
	h, keys := silentHouse(t, nil)
	first, second := openFrom(t, h, 1, keys), openFrom(t, h, 2, keys)
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Opened: []Opened{{"first", first}, {"second", second}}})
	mustHold(t, r, err)
	if r.Epochs.Opened != 2 || r.Epochs.Revealed != 0 || r.Rounds.Proven != 100 || r.Rounds.Unproven != 20 {
		t.Errorf("epochs %+v, rounds %+v", r.Epochs, r.Rounds)
	}
	// Overdue secrets that others opened keep nothing from being checked.
	h.Wait(3 * 3600e9)
	h.Restart()
	h.Wait(3 * 3600e9)
	h.Restart()
	opts := Options{VKey: h.VKey, Opened: []Opened{{"first", first}, {"second", second}}}
	if r, err = Log(t.Context(), Dir(h.Publish()), opts); err != nil && !strings.Contains(err.Error(), "epoch 3") || !r.OK() {
		t.Errorf("overdue: %v, %+v", err, r.Findings)
	}
}

// A draw that does not follow from the opened seed is found, though the house
// never shows that seed.
func TestOpenedSeedConvictsTheHouse(t *testing.T) {
	h, keys := silentHouse(t, nil)
	box := openFrom(t, h, 3, keys)
	h.Draw = func([32]byte, entry.Ref, uint64) [32]byte { return [32]byte{1, 2, 3} }
	h.Play([]logtest.Player{h.Join(50_000)}, 5)
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Opened: []Opened{{"third", box}}})
	if err != nil || len(r.Findings) != 5 || r.Findings[0].Rule != "draw" {
		t.Errorf("%v, %+v", err, r.Findings)
	}
}

// What a house sealed in the place of its secret is evidence.
func TestEscrowThatDoesNotOpenToItsCommitment(t *testing.T) {
	h, keys := silentHouse(t, func(n uint64, s *logtest.Secret) {
		if n == 2 {
			s.Secret[0] ^= 1
		}
	})
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Opened: []Opened{{"second", openFrom(t, h, 2, keys)}}})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Rule != "escrow" || !strings.Contains(r.Findings[0].Found, "epoch 2") || r.Rounds.Proven != 0 {
		t.Errorf("%v, %+v", err, r.Findings)
	}
}

// What is no opened secret of this log says nothing against the house.
func TestOpenedSecretsOfOthers(t *testing.T) {
	h, keys := silentHouse(t, nil)
	half, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	other, elsewhere := *openFrom(t, h, 1, keys), *openFrom(t, h, 1, keys)
	other.Commitment[0] ^= 1
	elsewhere.Origin = "another.example/house"
	for what, box := range map[string]*escrow.Box{"sealed": half.Seed, "another commitment": &other, "another log": &elsewhere} {
		r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Opened: []Opened{{"file", box}}})
		if !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), "file") || !r.OK() || r.Epochs.Opened != 0 {
			t.Errorf("%s: %v, %+v", what, err, r.Findings)
		}
	}
}
