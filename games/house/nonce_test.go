package house_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/ledger"
	"countroom/rngcert/epoch"
)

// setNonce gives the session's player a nonce and returns the entry.
func setNonce(t *testing.T, h *housetest.House, s house.Session, key string, nonce byte) (ledger.Receipt, error) {
	t.Helper()
	req := house.Request{Key: key, Method: "PUT", Path: "/v1/nonce", Principal: s.Principal(), Body: []byte{nonce}}
	return h.SetNonce(t.Context(), req, s, [32]byte{nonce})
}

// A nonce is in the player's draws from an epoch on that was not committed to when
// he set it, through both of his sessions and a restart, and in nobody else's.
func TestANonceIsInThePlayersDraws(t *testing.T) {
	small, dir := limits(epoch.Limits{AgeSeconds: 600, Draws: 8, RevealDelaySeconds: 1}), t.TempDir()
	h := housetest.Open(t, dir, small)
	s := seated(t, h, "superstitious", 1_000_000)
	_, token := open(t, h, "second", "superstitious")
	twin, other := seat(t, h, token), seated(t, h, "other", 1_000_000)
	ahead := func(n uint64) { // of which a nonce counts from the next on
		t.Helper()
		eventually(t, fmt.Sprint("a commitment to epoch ", n), func() bool { return state(t, h).Ahead == n })
	}
	turned(t, h, s, 1)
	ahead(2)
	if _, err := setNonce(t, h, s, "first nonce", 7); err != nil {
		t.Fatal(err)
	}
	turned(t, h, twin, 2)
	ahead(3)
	if r, err := setNonce(t, h, twin, "second nonce", 8); err != nil {
		t.Fatal(err)
	} else if again, err := setNonce(t, h, twin, "second nonce", 8); err != nil || !again.Replayed || again.Index != r.Index {
		t.Errorf("the retry: %v, %+v", err, again)
	}
	turned(t, h, other, 3)
	turned(t, h, s, 4)
	h.Close()
	h = housetest.Open(t, dir, small)
	_, token = open(t, h, "third", "superstitious")
	s = seat(t, h, token)
	turned(t, h, s, 5)
	eventually(t, "four secrets", func() bool { return len(all[epoch.Revealed](t, h)) == 4 })
	set := all[players.NonceSet](t, h)
	if len(set) != 2 || set[0].Epoch != 3 || set[1].Epoch != 4 {
		t.Fatalf("%+v", set)
	}
	with := 0
	for n, e := range audit(t, h)[:4] { // which holds each draw against the nonces
		for _, r := range e.rounds {
			if r.Player == set[0].Player && uint64(n)+1 >= set[0].Epoch {
				with++
			}
		}
	}
	if with < 8 {
		t.Errorf("only %d draws with a nonce", with)
	}
}

// What a session may not do, it may not do to its player's nonce.
func TestNoncesAreRefused(t *testing.T) {
	h := housetest.Open(t, t.TempDir())
	s := seated(t, h, "left", 1000)
	id, token := open(t, h, "to close", "left")
	closed := seat(t, h, token)
	if _, err := h.CloseSession(t.Context(), operators("close", "/v1/sessions/close", ""), id); err != nil {
		t.Fatal(err)
	}
	if _, err := setNonce(t, h, closed, "a", 1); !errors.Is(err, players.ErrSessionClosed) {
		t.Error(err)
	}
	if _, err := h.SetPlayerState(context.Background(), operators("suspend", "/v1/players/state", ""), "left", players.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := setNonce(t, h, s, "b", 1); !errors.Is(err, players.ErrSuspended) {
		t.Error(err)
	}
	if n := len(all[players.NonceSet](t, h)); n != 0 {
		t.Errorf("%d nonces", n)
	}
}
