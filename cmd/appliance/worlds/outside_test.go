package worlds

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"countroom/games/house"
	"countroom/rngcert/beacon"
	"countroom/rngcert/beacon/beacontest"
	"countroom/rngcert/epoch"
)

// outside is what a world has around its house: in most nothing that is part of
// the seeds, in some a public beacon with a round each second.
type outside struct {
	beacon    *beacontest.Beacon // nil: policy none
	downgrade bool               // play goes on without what does not come
	fails     int                // in a thousand
}

// newOutside is drawn apart from the weather, which the seeds of old worlds keep.
// The worlds that are run twice have none: what looks after the outside goes on
// beside what looks after the seeds, and both read at once.
func newOutside(seed uint64) (o outside) {
	rnd := rand.New(rand.NewPCG(seed, 0xbeac04))
	if rnd.IntN(4) > 0 || seed >= 1000 {
		return o
	}
	o.beacon = beacontest.New("world", 1, 946_684_800-3600)
	o.downgrade, o.fails = rnd.IntN(2) == 0, rnd.IntN(500)
	return o
}

// turnBeacon is where the beacon's server is asked.
const turnBeacon turnKind = "beacon"

var errBeacon = errors.New("injected: the beacon does not answer")

// sky is the beacon as one life of the house sees it.
type sky struct{ p *process }

func (s sky) Chain(context.Context) (*beacon.Chain, error) { return s.p.w.outside.beacon.Chain, nil }

func (s sky) Round(_ context.Context, round uint64) (sig [beacon.SignatureSize]byte, err error) {
	if err := s.p.turn(turnBeacon, ""); err != nil {
		return sig, err
	}
	// The house asks when the round is due by the log's clock, which is the only
	// one here that is never set back.
	return s.p.w.outside.beacon.Sign(round), nil
}

// external is what the house asks for.
func (p *process) external() house.External {
	o := &p.w.outside
	if o.beacon == nil {
		return house.External{}
	}
	return house.External{Policy: epoch.PolicyBeacon, Beacon: sky{p}, Patience: 2 * time.Second, Downgrade: o.downgrade}
}
