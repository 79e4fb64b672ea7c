package logtest

import (
	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"
)

// SetNonce gives a player another standing nonce.
func (h *House) SetNonce(p Player) uint64 {
	return h.Append(&players.NonceSet{
		Header: entry.Header{Actor: players.SessionKey(p.Session), Request: h.Request(p.Ref.String())},
		Epoch:  epoch.Now(h.rows).Committed + 1, Nonce: [32]byte(h.bytes(32)), Player: p.Ref,
	})
}

// nonce is a player's standing nonce in an epoch.
func (h *House) nonce(p Player, n uint64) []byte {
	account, err := players.Find(h.rows, p.Ref)
	if err != nil {
		return nil // an insider's player
	}
	return account.NonceAt(n)
}
