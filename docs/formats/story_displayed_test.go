package formats_test

import (
	"encoding/hex"
	"fmt"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// showed has the player's client say what it showed of the latest round.
func (s *story) showed(actor, key string, truly bool) {
	s.t.Helper()
	r := &rounds.Displayed{Header: entry.Header{Actor: actor}, Displayed: s.displayed, Expected: s.displayed, Player: s.player, Round: s.latest.ID}
	if !truly {
		r.Displayed = fixed("another screen")
	}
	r.Request = s.asked(request{
		Scope: s.player.String(), Key: key, Method: "POST", Path: "/v1/rounds/" + r.Round.String() + "/displayed", Principal: "player/" + s.player.String() + "/" + gameID,
		Body: fmt.Sprintf(`{"sha256":"%s"}`, hex.EncodeToString(r.Displayed[:])),
	})
	s.add(r)
	if !truly {
		s.add(&system.AlarmRaised{About: r.Displayed, Alarm: system.AlarmDisplayed, Count: 1})
	}
}
