package formats_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/rngcert/beacon/beacontest"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// publicBeacon is the beacon of the examples.
var publicBeacon = beacontest.New("countroom example", 3, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())

// witnesses of the examples, by rising name.
var witnesses = []string{"laboratory", "regulator"}

func witnessKey(name string) ed25519.PrivateKey {
	seed := fixed("witness key " + name)
	return ed25519.NewKeyFromSeed(seed[:])
}

func witnessNonce(name string, n uint64) chance.WitnessNonce {
	return chance.WitnessNonce{Nonce: fixed(fmt.Sprintf("nonce %s %d", name, n)), Witness: name}
}

// committed is what the house says of the secret of an epoch.
func (s *story) statement(n uint64) epoch.Statement {
	secret, salt, iv := fixed(fmt.Sprintf("secret %d", n)), fixed(fmt.Sprintf("salt %d", n)), fixed(fmt.Sprintf("iv %d", n))
	return epoch.Statement{
		Assurance: system.AssuranceSoftware, Commitment: chance.Commitment(origin, n, secret, salt), Epoch: n,
		Limits: epoch.Limits{AgeSeconds: 600, Draws: 3, RevealDelaySeconds: 120}, Policy: epoch.PolicyNone,
		Sealed: chance.Seal(fixed("seal key"), binary.BigEndian.AppendUint64([]byte(origin), n), [12]byte(iv[:12]), secret, salt),
	}
}

// signed is a signature of the seeds key: without a random source it is the
// deterministic one of RFC 6979.
func (s *story) sealed(msg []byte) []byte {
	digest := sha256.Sum256(msg)
	return must(s.seeds.Sign(nil, digest[:], crypto.SHA256))
}

// promise commits to the secret of an epoch and to what the outside will add.
func (s *story) promise(n uint64, change func(*epoch.Statement)) {
	s.t.Helper()
	st := s.statement(n)
	st.Limits.AgeSeconds, st.Minimum = 60, 2
	st.Sources = []epoch.Source{
		{Assurance: "software", Bytes: 64, Conditioned: true, Group: "kernel", Healthy: true, Name: "linux-getrandom"},
		{Assurance: "tpm", Bytes: 64, Conditioned: true, Group: "tpm", Healthy: true, Name: "tpm0", Physical: true},
	}
	change(&st)
	s.add(&epoch.Committed{Statement: st, Signature: s.sealed(must(st.Message(origin)))})
	s.promised = append(s.promised, st)
}

func (s *story) withBeacon(st *epoch.Statement) {
	st.Policy = epoch.PolicyBeacon
	st.Beacon = &epoch.Beacon{
		Chain: publicBeacon.Hash(), Genesis: uint64(publicBeacon.Genesis), Group: publicBeacon.Seed, ID: publicBeacon.ID, Period: publicBeacon.Period,
		Public: publicBeacon.PublicKey, Round: publicBeacon.After(s.now.Std()) + 1,
	}
}

func withWitnesses(st *epoch.Statement) {
	st.Policy = epoch.PolicyWitness
	for _, name := range witnesses {
		nonce := witnessNonce(name, st.Epoch)
		c := epoch.Nonce{Commitment: nonce.Commitment(origin, st.Epoch), Key: [32]byte(witnessKey(name).Public().(ed25519.PublicKey)), Witness: name}
		c.Signature = [64]byte(ed25519.Sign(witnessKey(name), must(c.Message(origin, st.Epoch))))
		st.Nonces = append(st.Nonces, c)
	}
}

// end closes the active epoch by its time.
func (s *story) end() {
	s.t.Helper()
	now := epoch.Now(s.rows)
	s.after(now.Limits.Age())
	s.add(&epoch.Closed{Draws: now.Draws, Epoch: now.Active, Reason: epoch.ByTime})
}

// outside goes on with epochs of which the outside is part, from the one that was
// committed last: one with a beacon, one with witnesses, and one whose beacon does
// not answer. Nobody plays.
func (s *story) outside() {
	s.t.Helper()
	round := s.promised[0].Beacon.Round
	sig := publicBeacon.Sign(round)
	external := chance.BeaconExternal(origin, 3, publicBeacon.Hash(), round, sig[:])
	s.end()
	s.add(&epoch.Activated{Epoch: 3, External: external[:], Policy: epoch.PolicyBeacon, Signature: sig[:]})
	s.promise(4, withWitnesses)

	s.end()
	activated := &epoch.Activated{Epoch: 4, Policy: epoch.PolicyWitness}
	var nonces []chance.WitnessNonce
	for _, name := range witnesses {
		nonces = append(nonces, witnessNonce(name, 4))
		activated.Nonces = append(activated.Nonces, epoch.Shown(witnessNonce(name, 4)))
	}
	external = chance.WitnessExternal(origin, 4, nonces)
	activated.External = external[:]
	s.add(activated)
	s.again() // with another minimum
	s.promise(5, func(st *epoch.Statement) {
		s.withBeacon(st)
		st.Minimum = 1
		st.Escrow = &epoch.Escrow{Recipients: []string{"laboratory", "regulator"}, Sealed: []byte("sealed to both")}
	})

	s.end()
	s.add(&system.AlarmRaised{About: s.promised[2].Commitment, Alarm: system.AlarmExternalMissing, Count: 1})
	s.add(&epoch.Activated{Epoch: 5, Policy: epoch.PolicyNone})
	s.promise(6, func(st *epoch.Statement) { st.Minimum = 1 })
	for n := epoch.Now(s.rows).Revealed + 1; n <= epoch.Now(s.rows).Closed; n++ {
		e := book.Get[epoch.Epoch](s.rows, epoch.Key(n))
		if due := e.ClosedAt.Add(e.Limits.RevealDelay()); s.now < due {
			s.after(due.Sub(s.now))
		}
		s.add(&epoch.Revealed{Epoch: n, Salt: fixed(fmt.Sprintf("salt %d", n)), Secret: fixed(fmt.Sprintf("secret %d", n))})
	}
}

// variants are entries of types that come in several forms, and statements.
func (s *story) variants(files map[string][]byte) {
	forms := map[string]int{}
	for _, leaf := range s.leaves {
		typ := must(entry.TypeOf(leaf))
		if typ == "seed.committed.v2" || typ == "seed.activated.v2" || typ == "alarm.raised" {
			forms[typ]++
			name := map[string]string{
				"seed.committed.v2 2": "committed-witness", "seed.committed.v2 3": "committed-escrow",
				"seed.activated.v2 2": "activated-witness", "seed.activated.v2 3": "activated-downgraded", "alarm.raised 2": "missing",
			}[fmt.Sprint(typ, " ", forms[typ])]
			if name != "" {
				files["examples/seeds/"+name+".json"] = leaf
			}
		}
	}
	files["examples/seeds/statement.json"] = must(s.promised[0].Message(origin))
	files["examples/seeds/nonce-statement.json"] = must(s.promised[1].Nonces[1].Message(origin, 4))
}
