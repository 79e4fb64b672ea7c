package chance

import "crypto/sha256"

// What the outside adds to an epoch, besides the formats of the package's
// comment; witnesses and their nonces are in the order of the commitment:
//
//	nonce commitment = SHA-256(frame("countroom/nonce-commitment/v1", origin, epoch, witness, nonce))
//	external         = SHA-256(frame("countroom/external-witness/v1", origin, epoch, witness, nonce, witness, nonce, …))
//	external         = SHA-256(frame("countroom/external-beacon/v1", origin, epoch, chain, round, signature))
const (
	nonceTag   = "countroom/nonce-commitment/v1"
	witnessTag = "countroom/external-witness/v1"
	beaconTag  = "countroom/external-beacon/v1"
)

// ExternalSize is the length of external entropy under every policy but none.
const ExternalSize = sha256.Size

// WitnessNonce is what a witness adds to an epoch.
type WitnessNonce struct {
	Nonce   [32]byte
	Witness string
}

// Commitment binds the witness to its nonce before the house has made the
// epoch's secret.
func (w *WitnessNonce) Commitment(origin string, epoch uint64) Hash {
	b := external(nonceTag, origin, epoch)
	b = appendField(b, w.Witness)
	b = appendField(b, w.Nonce[:])
	return sha256.Sum256(b)
}

// WitnessExternal is the external entropy that witnesses' nonces give together:
// it cannot be known before the last of them is.
func WitnessExternal(origin string, epoch uint64, nonces []WitnessNonce) Hash {
	b := external(witnessTag, origin, epoch)
	for i := range nonces {
		b = appendField(b, nonces[i].Witness)
		b = appendField(b, nonces[i].Nonce[:])
	}
	return sha256.Sum256(b)
}

// BeaconExternal is the external entropy that a round of a beacon gives.
func BeaconExternal(origin string, epoch uint64, chain Hash, round uint64, signature []byte) Hash {
	b := external(beaconTag, origin, epoch)
	b = appendField(b, chain[:])
	b = appendInt(b, round)
	b = appendField(b, signature)
	return sha256.Sum256(b)
}

func external(tag, origin string, epoch uint64) []byte {
	return appendInt(appendField(appendField(nil, tag), origin), epoch)
}
