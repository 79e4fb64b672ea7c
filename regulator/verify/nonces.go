package verify

import (
	"countroom/games/players"
	"countroom/ledger/entry"
)

// nonces are the standing nonces that players set, by rising epoch.
type nonces map[entry.Ref][]players.Nonce

func (n nonces) set(r *players.NonceSet) {
	n[r.Player] = append(n[r.Player], players.Nonce{Epoch: r.Epoch, Nonce: r.Nonce})
}

// in returns what gives each player's nonce in an epoch.
func (n nonces) in(epoch uint64) func(entry.Ref) []byte {
	return func(player entry.Ref) []byte {
		if len(n) == 0 {
			return nil
		}
		row := players.Player{Nonces: n[player]}
		return row.NonceAt(epoch)
	}
}
