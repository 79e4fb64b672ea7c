package formats_test

import (
	"encoding/hex"
	"fmt"

	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/rngcert/epoch"
)

// setNonce gives the player a standing nonce, which counts from the second epoch
// on.
func (s *story) setNonce(actor string) {
	s.t.Helper()
	nonce := fixed("nonce of player 4231")
	r := &players.NonceSet{Header: entry.Header{Actor: actor}, Epoch: epoch.Now(s.rows).Committed + 1, Nonce: nonce, Player: s.player}
	r.Request = s.asked(request{
		Scope: s.player.String(), Key: "nonce-1", Method: "PUT", Path: "/v1/nonce", Principal: "player/" + s.player.String() + "/" + gameID,
		Body: fmt.Sprintf(`{"nonce":"%s"}`, hex.EncodeToString(nonce[:])),
	})
	s.add(r)
}
