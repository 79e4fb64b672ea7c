package house

import (
	"context"

	"countroom/games/players"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"
)

// SetNonce gives the session's player a standing nonce, which enters his draws
// from the first epoch on that is not committed to yet.
func (h *House) SetNonce(ctx context.Context, req Request, session Session, nonce [32]byte) (ledger.Receipt, error) {
	s := session.s
	return h.update(ctx, ledger.Command{
		Reads: []string{s.actor, players.PlayerKey(s.player), epoch.StateKey}, Request: req.entry(s.scope),
		Run: func(tx *ledger.Tx) error {
			live, err := players.Live(tx, s.actor, tx.At())
			if err != nil {
				return err
			}
			if _, err := players.MayPlay(tx, live.Player); err != nil {
				return err
			}
			_, err = tx.Answer(&players.NonceSet{
				Header: entry.Header{Actor: s.actor}, Epoch: epoch.Now(tx).Committed + 1, Nonce: nonce, Player: s.player,
			})
			return err
		},
	})
}
