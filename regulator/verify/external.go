package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/system"
	"countroom/rngcert/beacon"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// BeaconAhead is how far after a commitment the beacon's round may be.
const BeaconAhead = time.Hour

// outside is what the log says of the world outside the house, for the epoch
// that is committed and not yet active.
type outside struct {
	committed *epoch.Statement
	policy    string        // of the latest commitment
	chain     *beacon.Chain // nil: its description is wrong, which was found

	alarmed   uint64 // index of the latest alarm that the outside was missing
	missing   [32]byte
	witnesses map[string][32]byte // the key that each used last
	lastChain [32]byte
}

// announced holds what a commitment says of the outside.
func (r *replay) announced(index uint64, e *epoch.Committed, broken func(rule, expected, found string)) {
	st := e.Statement
	if was := r.outside.policy; st.Policy == epoch.PolicyNone && was != "" && was != st.Policy {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: epoch %d was committed to with nothing from outside, and the one before with policy %s", index, e.Epoch, was))
	}
	r.outside.policy, r.outside.committed, r.outside.chain = st.Policy, &st, nil
	if b := e.Beacon; b != nil {
		c, err := beacon.New(b.Public, b.Period, int64(b.Genesis), b.Group, b.ID)
		if err != nil {
			broken("beacon-chain", "the description of a chain", err.Error())
		} else if hash := c.Hash(); hash != b.Chain {
			broken("beacon-chain", hex.EncodeToString(hash[:])+", the hash of key and schedule", hex.EncodeToString(b.Chain[:]))
		} else {
			first, last := c.After(e.At.Std()), c.After(e.At.Std().Add(BeaconAhead))
			if b.Round < first || b.Round > last {
				broken("beacon-round", fmt.Sprintf("a round from %d, the first after %s, to %d", first, e.At, last), strconv.FormatUint(b.Round, 10))
			} else {
				r.outside.chain = c
			}
		}
		if b.Chain != r.outside.lastChain {
			r.report.Outside.Chains = append(r.report.Outside.Chains, fmt.Sprintf("%x from epoch %d on", b.Chain, e.Epoch))
			r.outside.lastChain = b.Chain
		}
	}
	last := ""
	for i := range e.Nonces {
		n := &e.Nonces[i]
		if i > 0 && n.Witness <= last {
			broken("witness-order", "a witness whose name is after "+last, n.Witness)
		}
		last = n.Witness
		msg, err := n.Message(r.v.Name(), e.Epoch)
		if err != nil || !ed25519.Verify(n.Key[:], msg, n.Signature[:]) {
			broken("witness-signature", "a signature of the key of "+n.Witness+" over its commitment", hex.EncodeToString(n.Signature[:]))
		}
		if was, ok := r.outside.witnesses[n.Witness]; !ok || was != n.Key {
			if r.outside.witnesses == nil {
				r.outside.witnesses = map[string][32]byte{}
			}
			r.outside.witnesses[n.Witness] = n.Key
			r.report.Outside.Witnesses = append(r.report.Outside.Witnesses, fmt.Sprintf("%s with key %x from epoch %d on", n.Witness, n.Key, e.Epoch))
		}
	}
}

// came holds what came from outside against what was announced.
func (r *replay) came(index uint64, e *epoch.Activated, broken func(rule, expected, found string)) {
	st := r.outside.committed
	if st == nil || st.Epoch != e.Epoch {
		return // the books will say so
	}
	origin := r.v.Name()
	var external [32]byte
	switch {
	case e.Policy == epoch.PolicyBeacon && st.Beacon != nil && len(e.Signature) == beacon.SignatureSize:
		external = chance.BeaconExternal(origin, e.Epoch, st.Beacon.Chain, st.Beacon.Round, e.Signature)
		if c := r.outside.chain; c != nil {
			if due := c.At(st.Beacon.Round); e.At.Std().Before(due) {
				broken("beacon-early", "not before "+due.Format(time.RFC3339)+", when the round is published", e.At.String())
			}
			if _, err := c.Verify(st.Beacon.Round, [beacon.SignatureSize]byte(e.Signature)); err != nil {
				broken("beacon-signature", "the signature of round "+strconv.FormatUint(st.Beacon.Round, 10)+" of the chain", hex.EncodeToString(e.Signature))
			}
		}
	case e.Policy == epoch.PolicyWitness && len(st.Nonces) > 0:
		nonces := make([]chance.WitnessNonce, len(e.Nonces))
		for i, n := range e.Nonces {
			nonces[i] = chance.WitnessNonce(n)
		}
		if len(nonces) != len(st.Nonces) {
			broken("witness-nonce", strconv.Itoa(len(st.Nonces))+" nonces, one of each witness", strconv.Itoa(len(nonces)))
			return
		}
		for i := range nonces {
			want := &st.Nonces[i]
			if got := nonces[i].Commitment(origin, e.Epoch); nonces[i].Witness != want.Witness || got != want.Commitment {
				broken("witness-nonce", "the nonce that "+want.Witness+" committed to", hex.EncodeToString(nonces[i].Nonce[:])+" of "+nonces[i].Witness)
			}
		}
		external = chance.WitnessExternal(origin, e.Epoch, nonces)
	case e.Downgraded(st.Policy):
		if r.outside.alarmed == 0 || r.outside.alarmed+1 != index || r.outside.missing != st.Commitment {
			broken("downgrade-alarm", "as the entry before an alarm that the outside is missing in epoch "+strconv.FormatUint(e.Epoch, 10), "none")
		}
		r.report.Outside.Downgraded++
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: epoch %d came into use with nothing from outside, though policy %s was committed to: the house could choose between two outcomes of it", index, e.Epoch, st.Policy))
		return
	default:
		return // policy none, or not in keeping with the commitment, which the books will say
	}
	if !bytes.Equal(e.External, external[:]) {
		broken("epoch-external", hex.EncodeToString(external[:])+", as it follows from the proof", hex.EncodeToString(e.External))
	}
}

// missing takes an alarm that the outside did not deliver.
func (r *replay) missing(index uint64, e *system.AlarmRaised, broken func(rule, expected, found string)) {
	r.outside.alarmed, r.outside.missing = index, e.About
	s := epoch.Now(r.rows)
	row := book.Get[epoch.Epoch](r.rows, epoch.Key(s.Ahead))
	if row == nil || row.Commitment != e.About {
		broken("alarm-about", "the commitment of the epoch that waits for the outside", hex.EncodeToString(e.About[:]))
	}
	if e.Count != 1 {
		broken("alarm-count", "1", strconv.FormatUint(e.Count, 10))
	}
}

// policy counts what an epoch came into use with.
func (r *replay) policy(policy string) {
	switch policy {
	case epoch.PolicyBeacon:
		r.report.Outside.Beacon++
	case epoch.PolicyWitness:
		r.report.Outside.Witness++
	default:
		r.report.Outside.None++
	}
}
