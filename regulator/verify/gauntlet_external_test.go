package verify

import (
	"testing"
	"time"

	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// Frauds with what the outside adds to a seed.
func init() {
	contradictions = append(contradictions, []contradiction{
		{name: "a beacon's round is named that is out already", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Round-- })
		}, typ: "seed.committed.v2", rule: "beacon-round", expected: "the first after 2026-"},
		{name: "a beacon's round is named of the far future", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Round += 2000 })
		}, typ: "seed.committed.v2", rule: "beacon-round"},
		{name: "a beacon whose key is not that of its chain", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Chain[0] ^= 1 })
		}, typ: "seed.committed.v2", rule: "beacon-chain", expected: "the hash of key and schedule"},
		{name: "a beacon without a key", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Public = [96]byte{1} })
		}, typ: "seed.committed.v2", rule: "beacon-chain", found: "public_key"},
		{name: "a beacon's round is skipped for the next", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, st *epoch.Statement) {
				st.Beacon.Round++
				sig := logtest.Beacon.Sign(st.Beacon.Round)
				external := chance.BeaconExternal(origin, r.Epoch, st.Beacon.Chain, st.Beacon.Round, sig[:])
				r.Signature, r.External = sig[:], external[:]
			})
		}, typ: "seed.activated.v2", rule: "beacon-signature", expected: "the signature of round"},
		{name: "a beacon's round is made up", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, st *epoch.Statement) {
				r.Signature[7] ^= 1
				external := chance.BeaconExternal(origin, r.Epoch, st.Beacon.Chain, st.Beacon.Round, r.Signature)
				r.External = external[:]
			})
		}, typ: "seed.activated.v2", rule: "beacon-signature"},
		{name: "other entropy is used than the beacon's", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, _ *epoch.Statement) { r.External[0] ^= 1 })
		}, typ: "seed.activated.v2", rule: "epoch-external", expected: "follows from the proof"},
		{name: "a round is used before it was published", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, st *epoch.Statement) {
				r.At = t.before
			})
		}, typ: "seed.activated.v2", rule: "beacon-early", expected: "when the round is published"},
		{name: "a witness is invented", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyWitness, func(st *epoch.Statement) {
				st.Nonces[1].Commitment[0] ^= 1
			})
		}, typ: "seed.committed.v2", rule: "witness-signature", expected: "the key of regulator"},
		{name: "a witness's commitment is used a second time", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyWitness, func(st *epoch.Statement) {
				st.Nonces[1] = logtest.Witnesses[1].Commit(origin, st.Epoch-1)
			})
		}, typ: "seed.committed.v2", rule: "witness-signature"},
		{name: "a witness is counted twice", commit: func(t *town) uint64 {
			return t.promised(epoch.PolicyWitness, func(st *epoch.Statement) { st.Nonces[0] = st.Nonces[1] })
		}, typ: "seed.committed.v2", rule: "witness-order"},
		{name: "a witness's nonce is exchanged", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyWitness, func(r *epoch.Activated, _ *epoch.Statement) {
				r.Nonces[0].Nonce[0] ^= 1
				t.derive(r)
			})
		}, typ: "seed.activated.v2", rule: "witness-nonce", expected: "laboratory committed to"},
		{name: "a witness's nonce is left out", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyWitness, func(r *epoch.Activated, _ *epoch.Statement) {
				r.Nonces = r.Nonces[:1]
				t.derive(r)
			})
		}, typ: "seed.activated.v2", rule: "witness-nonce", expected: "one of each witness"},
		{name: "other entropy is used than the witnesses'", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyWitness, func(r *epoch.Activated, _ *epoch.Statement) { r.External[31] ^= 1 })
		}, typ: "seed.activated.v2", rule: "epoch-external"},
		{name: "the outside is dropped and nobody is told", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, _ *epoch.Statement) {
				*r = epoch.Activated{Header: r.Header, Epoch: r.Epoch, Policy: epoch.PolicyNone}
			})
		}, typ: "seed.activated.v2", rule: "downgrade-alarm", expected: "as the entry before"},
		{name: "an alarm about the outside of an epoch that is in use", commit: func(t *town) uint64 {
			return t.Append(&system.AlarmRaised{About: t.Secret(epoch.Now(t.Rows()).Active).Statement.Commitment, Alarm: system.AlarmExternalMissing, Count: 1})
		}, typ: "alarm.raised", rule: "alarm-about", expected: "that waits for the outside"},
		{name: "half of a promise is kept", commit: func(t *town) uint64 {
			return t.activated(epoch.PolicyBeacon, func(r *epoch.Activated, _ *epoch.Statement) { r.Signature = nil })
		}, typ: "seed.activated.v2", rule: "epoch-policy", expected: "48 bytes"},
		{name: "fewer sources than the house asks for", commit: func(t *town) uint64 {
			return t.committed(func(st *epoch.Statement) { st.Minimum = 2 })
		}, typ: "seed.committed.v2", rule: "epoch-sources", expected: "2 independent groups", found: "1"},
	}...)
}

// promised changes the next commitment to a policy before it is signed.
func (t *town) promised(policy string, change func(st *epoch.Statement)) uint64 {
	t.Policy = policy
	index := t.committed(change)
	t.Policy = ""
	return index
}

// activated goes on to the activation of an epoch with a policy and changes it.
// The rest of the epoch is drawn as the change has it.
func (t *town) activated(policy string, change func(r *epoch.Activated, st *epoch.Statement)) uint64 {
	t.Policy = policy
	for t.Secret(epoch.Now(t.Rows()).Committed).Statement.Policy != policy {
		t.end()
		t.Turn()
	}
	t.Policy = ""
	t.end()
	t.before = t.Now
	n := epoch.Now(t.Rows()).Committed
	st := t.Secret(n).Statement
	if st.Beacon != nil {
		b := *st.Beacon
		st.Beacon = &b
	}
	return with(t, func(r *epoch.Activated) { change(r, &st) }, t.Turn)
}

// derive makes the external entropy fit changed nonces.
func (t *town) derive(r *epoch.Activated) {
	var nonces []chance.WitnessNonce
	for _, n := range r.Nonces {
		nonces = append(nonces, chance.WitnessNonce(n))
	}
	external := chance.WitnessExternal(origin, r.Epoch, nonces)
	r.External = external[:]
}

// Houses that keep what they promise, or say that they could not, hold; the
// report says what came from outside.
func TestTheOutside(t *testing.T) {
	h := newTown()
	for _, policy := range []string{epoch.PolicyBeacon, epoch.PolicyWitness, epoch.PolicyBeacon, epoch.PolicyNone} {
		h.Policy = policy
		h.Missing = policy == epoch.PolicyNone // the beacon's second round, which comes into use now
		h.end()
		h.Turn()
	}
	h.Policy = ""
	h.more()
	h.Wait(10 * time.Second)
	h.Turn()
	r, err := check(t, h.House)
	mustHold(t, r, err)
	o := r.Outside
	if o.Beacon != 1 || o.Witness != 1 || o.Downgraded != 1 || o.None < 4 || len(o.Chains) != 1 || len(o.Witnesses) != 2 || len(r.Warnings) != 2 {
		t.Errorf("%+v, warnings %q", o, r.Warnings)
	}
	if r.Rounds.Proven == 0 || r.Epochs.OneSource != r.Epochs.Committed {
		t.Errorf("%+v, %+v", r.Rounds, r.Epochs)
	}
}
