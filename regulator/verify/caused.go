package verify

import (
	"strings"

	"countroom/games/certificates"
	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/assessment"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// Who may be the actor of an entry.
const (
	byHouse    = "house"
	byOperator = "operator"
	bySession  = "session/"
)

// caused holds who caused an entry against who may cause one of its type, and
// the request against that: what an operator or a player does is a request,
// what the house does of itself is none.
func (r *replay) caused(e entry.Record, broken func(rule, expected, found string)) {
	h := e.Head()
	var actor string
	switch e := e.(type) {
	case *rounds.Settled, *rounds.Displayed, *players.NonceSet:
		actor = bySession // the books know which
	case *players.Created, *players.StateChanged, *players.SessionOpened, *players.SessionClosed, *wallet.Deposited, *wallet.Withdrawn, *rounds.GameDisabled,
		*certificates.Certified, *epoch.Halted, *subjects.Recorded:
		actor = byOperator
	case officers.Approved:
		actor = officers.Actor(e)
	case *rounds.GameEnabled:
		// At the first start, before there is anybody to ask, it is the house.
		actor = byOperator
		if h.Actor == byHouse && r.active != nil && r.active.size == 1 && book.Get[rounds.Game](r.rows, rounds.GameKey(e.Game)) == nil {
			actor = byHouse
		}
	case *system.HouseCreated, *system.HouseActive, *system.PairActive, *system.HouseRestored, *system.ClockStepped, *system.AlarmRaised, *epoch.Committed, *epoch.CommittedV1, *epoch.Activated, *epoch.ActivatedV1, *epoch.Closed, *epoch.Revealed,
		*noise.Failed, *noise.Restored, *monitor.Alarmed, *monitor.Observed, *assessment.Assessed, *certificates.Production, *certificates.Verified, *subjects.Rewrapped:
		actor = byHouse
	}
	if h.Actor != actor && !(actor == bySession && strings.HasPrefix(h.Actor, bySession)) {
		broken("actor", actor, h.Actor)
	}
	switch asked := !h.Request.IsZero(); {
	case asked && actor == byHouse:
		broken("request", "no key and fingerprint: the house was not asked", "a request")
	case !asked && actor != byHouse:
		broken("request", "the key and fingerprint of a request", "none")
	}
}
