package logtest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"time"

	"countroom/ledger/system"
	"countroom/rngcert/beacon/beacontest"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// Beacon is the public beacon of all houses of this package: a round every
// three seconds, since the first of 2026.
var Beacon = beacontest.New("logtest", 3, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())

// Witnesses are those of all houses of this package, by rising name.
var Witnesses = []Witness{{"laboratory"}, {"regulator"}}

// Witness is somebody outside who adds nonces to seeds.
type Witness struct{ Name string }

func (w Witness) key() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("logtest witness " + w.Name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Nonce is what the witness adds to an epoch.
func (w Witness) Nonce(origin string, n uint64) chance.WitnessNonce {
	return chance.WitnessNonce{Witness: w.Name, Nonce: sha256.Sum256([]byte("logtest nonce " + w.Name + origin + string(rune(n))))}
}

// Commit is the witness's signed commitment to its nonce of an epoch.
func (w Witness) Commit(origin string, n uint64) epoch.Nonce {
	nonce := w.Nonce(origin, n)
	return w.Sign(origin, n, nonce.Commitment(origin, n))
}

// Sign signs any commitment as the witness's.
func (w Witness) Sign(origin string, n uint64, commitment [32]byte) epoch.Nonce {
	c := epoch.Nonce{Commitment: commitment, Key: [32]byte(w.key().Public().(ed25519.PublicKey)), Witness: w.Name}
	c.Signature = [64]byte(ed25519.Sign(w.key(), must(c.Message(origin, n))))
	return c
}

// announce puts into a statement what its policy promises.
func (h *House) announce(st *epoch.Statement) {
	switch st.Policy {
	case epoch.PolicyBeacon:
		st.Beacon = &epoch.Beacon{
			Chain: Beacon.Hash(), Genesis: uint64(Beacon.Genesis), Group: Beacon.Seed, ID: Beacon.ID, Period: Beacon.Period,
			Public: Beacon.PublicKey, Round: Beacon.After(h.Now.Std()),
		}
	case epoch.PolicyWitness:
		for _, w := range Witnesses {
			st.Nonces = append(st.Nonces, w.Commit(h.cfg.Origin, st.Epoch))
		}
	}
}

// Activate takes an epoch into use with what the outside adds, for which it
// waits, or with an alarm and nothing.
func (h *House) Activate(n uint64) uint64 {
	s := h.secrets[n]
	if s == nil { // an insider's epoch that nothing was committed for
		return h.Append(&epoch.Activated{Epoch: n, Policy: epoch.PolicyNone})
	}
	if s.V1 {
		return h.Append(&epoch.ActivatedV1{Activated: epoch.Activated{Epoch: n, Policy: epoch.PolicyNone}})
	}
	st := &s.Statement
	r := &epoch.Activated{Epoch: n, Policy: st.Policy}
	var external [32]byte
	switch {
	case st.Policy == epoch.PolicyNone:
	case h.Missing:
		h.Missing, r.Policy = false, epoch.PolicyNone
		h.Append(&system.AlarmRaised{About: st.Commitment, Alarm: system.AlarmExternalMissing, Count: 1})
	case st.Beacon != nil:
		if due := Beacon.At(st.Beacon.Round); h.Now.Std().Before(due) {
			h.Wait(due.Sub(h.Now.Std()))
		}
		sig := Beacon.Sign(st.Beacon.Round)
		r.Signature = sig[:]
		external = chance.BeaconExternal(h.cfg.Origin, n, st.Beacon.Chain, st.Beacon.Round, sig[:])
	default:
		var nonces []chance.WitnessNonce
		for _, c := range st.Nonces {
			nonce := Witness{c.Witness}.Nonce(h.cfg.Origin, n)
			nonces, r.Nonces = append(nonces, nonce), append(r.Nonces, epoch.Shown(nonce))
		}
		external = chance.WitnessExternal(h.cfg.Origin, n, nonces)
	}
	if r.Policy != epoch.PolicyNone {
		r.External = external[:]
	}
	index := h.Append(r)
	s.Drawer = chance.NewDrawer(chance.DeriveKey(s.Secret, st.Commitment, r.External), h.cfg.Origin)
	return index
}
