package verify

import (
	"testing"
	"time"

	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"
)

// Frauds with the nonces of players.
func init() {
	contradictions = append(contradictions, []contradiction{
		{name: "a nonce is set in another player's name", commit: func(t *town) uint64 {
			return with(t, func(r *players.NonceSet) { r.Player = t.who[1].Ref }, func() { t.SetNonce(t.who[0]) })
		}, typ: "player.nonce-set", rule: "nonce-session", expected: "the session's player"},
		{name: "an operator sets a player's nonce", commit: func(t *town) uint64 {
			return with(t, func(r *players.NonceSet) { r.Actor = "operator" }, func() { t.SetNonce(t.who[0]) })
		}, typ: "player.nonce-set", rule: "nonce-session", found: "unknown session"},
		{name: "a nonce counts before it can be too late for the house", commit: func(t *town) uint64 {
			return with(t, func(r *players.NonceSet) { r.Epoch-- }, func() { t.SetNonce(t.who[0]) })
		}, typ: "player.nonce-set", rule: "nonce-epoch"},
		{name: "a nonce is kept waiting", commit: func(t *town) uint64 {
			return with(t, func(r *players.NonceSet) { r.Epoch++ }, func() { t.SetNonce(t.who[0]) })
		}, typ: "player.nonce-set", rule: "nonce-epoch"},
	}...)
	afterReveals = append(afterReveals, []afterReveal{
		{"a player's nonce is left out of a draw", func(t *town) func() uint64 {
			t.waitForNonce()
			return drawn(func(t *town, _ [32]byte, p entry.Ref, n uint64) [32]byte {
				return t.drawer().Draw(lamplight, "1.0.0", p, n, 0, nil)
			})(t)
		}, "round.settled", "draw", "from the epoch's revealed secret", ""},
		{"a nonce is used before it counts", func(t *town) func() uint64 {
			t.Turn()
			t.SetNonce(t.who[0])
			account, _ := players.Find(t.Rows(), t.who[0].Ref)
			return drawn(func(t *town, _ [32]byte, p entry.Ref, n uint64) [32]byte {
				return t.drawer().Draw(lamplight, "1.0.0", p, n, 0, account.NonceAt(1<<40))
			})(t)
		}, "round.settled", "draw", "", ""},
	}...)
}

// waitForNonce sets the first player's nonce and plays until it counts.
func (t *town) waitForNonce() {
	t.SetNonce(t.who[0])
	for from := epoch.Now(t.Rows()).Committed + 1; epoch.Now(t.Rows()).Active < from; t.Turn() {
		t.end()
	}
}

// Nonces that were set anew, and those of one player beside none of another's.
func TestNoncesAreProven(t *testing.T) {
	h := newTown()
	h.SetNonce(h.who[0])
	h.SetNonce(h.who[1])
	h.more()
	h.SetNonce(h.who[0])
	h.more()
	h.SetNonce(h.who[0])
	h.more()
	h.Wait(10 * time.Second)
	h.Turn()
	r, err := check(t, h.House)
	mustHold(t, r, err)
	if r.Types["player.nonce-set"] != 4 || r.Rounds.Proven < 240 {
		t.Errorf("%v, %+v", r.Types, r.Rounds)
	}
}
