package epoch_test

import (
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/rngcert/epoch"
)

// An epoch comes into use with what its policy promised, whole, or with nothing
// at all.
func TestPolicies(t *testing.T) {
	external, signature := make([]byte, 32), make([]byte, 48)
	shown := []epoch.Shown{{Witness: "regulator"}}
	beacon := func(s *epoch.Statement) { s.Policy, s.Beacon = epoch.PolicyBeacon, &epoch.Beacon{Round: 7} }
	witness := func(s *epoch.Statement) {
		s.Policy, s.Nonces = epoch.PolicyWitness, []epoch.Nonce{{Witness: "regulator"}}
	}
	for name, c := range map[string]struct {
		commit   func(*epoch.Statement)
		activate epoch.Activated
		rule     string
	}{
		"a beacon's round":             {beacon, epoch.Activated{External: external, Policy: "beacon", Signature: signature}, ""},
		"a beacon's round is missing":  {beacon, epoch.Activated{Policy: "none"}, ""},
		"a witness's nonce":            {witness, epoch.Activated{External: external, Nonces: shown, Policy: "witness"}, ""},
		"a witness is missing":         {witness, epoch.Activated{Policy: "none"}, ""},
		"nothing was promised":         {func(*epoch.Statement) {}, epoch.Activated{Policy: "none"}, ""},
		"less than 32 bytes":           {beacon, epoch.Activated{External: external[:31], Policy: "beacon", Signature: signature}, "epoch-policy"},
		"no external entropy":          {beacon, epoch.Activated{Policy: "beacon", Signature: signature}, "epoch-policy"},
		"no signature":                 {beacon, epoch.Activated{External: external, Policy: "beacon"}, "epoch-policy"},
		"half a signature":             {beacon, epoch.Activated{External: external, Policy: "beacon", Signature: signature[:24]}, "epoch-policy"},
		"a beacon's and a witness's":   {beacon, epoch.Activated{External: external, Nonces: shown, Policy: "beacon", Signature: signature}, "epoch-policy"},
		"a witness for the beacon":     {beacon, epoch.Activated{External: external, Nonces: shown, Policy: "witness"}, "epoch-policy"},
		"a beacon for the witness":     {witness, epoch.Activated{External: external, Policy: "beacon", Signature: signature}, "epoch-policy"},
		"a witness without a nonce":    {witness, epoch.Activated{External: external, Policy: "witness"}, "epoch-policy"},
		"a downgrade with something":   {beacon, epoch.Activated{External: external, Policy: "none"}, "epoch-policy"},
		"a downgrade with a signature": {beacon, epoch.Activated{Policy: "none", Signature: signature}, "epoch-policy"},
		"more than was promised":       {func(*epoch.Statement) {}, epoch.Activated{External: external, Policy: "beacon", Signature: signature}, "epoch-policy"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := book.Memory{}
			r := committed(1)
			c.commit(&r.Statement)
			if err := epoch.Fold(rows, 1, r); err != nil {
				t.Fatal(err)
			}
			c.activate.Epoch = 1
			err := epoch.Fold(rows, 2, &c.activate)
			if c.rule != "" {
				booktest.Breaks(t, err, c.rule)
			} else if err != nil {
				t.Error(err)
			} else if e := book.Get[epoch.Epoch](rows, epoch.Key(1)); len(e.External) != len(c.activate.External) || e.Policy != r.Policy {
				t.Errorf("the row says %+v", e)
			}
		})
	}
	// An older activation knows of no promise, and cannot break one.
	rows := book.Memory{}
	r := committed(1)
	beacon(&r.Statement)
	if err := epoch.Fold(rows, 1, r); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"none", "beacon"} {
		booktest.Breaks(t, epoch.Fold(rows, 2, &epoch.ActivatedV1{Activated: epoch.Activated{Epoch: 1, Policy: policy}}), "epoch-policy")
	}
}
