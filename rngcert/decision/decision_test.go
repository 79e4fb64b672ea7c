package decision_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// What becomes of the epochs is told in package epoch's tests; here is what the
// officers sign.

const origin = "house.example/log"

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func approve(r officers.Approved, by ...string) officers.Approved {
	for _, name := range by {
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(key(name), officers.Message(origin, r.Type(), r.Subject()))})
	}
	return r
}

// halted are the books of a house with two officers, whose first epoch is active and halted.
func halted(t *testing.T) book.Memory {
	t.Helper()
	rows := book.Memory{}
	fold := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	fold(officers.Fold(rows, 0, &system.HouseCreated{Origin: origin}))
	for _, name := range []string{"anna", "bert"} {
		fold(officers.Fold(rows, 1, &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: key(name).Public().(ed25519.PublicKey)}))
	}
	fold(epoch.Fold(rows, 3, &epoch.Committed{Statement: epoch.Statement{
		Epoch: 1, Limits: epoch.Default, Minimum: 1, Policy: epoch.PolicyNone, Sources: []epoch.Source{{Bytes: 64, Group: "kernel", Healthy: true, Name: "linux-getrandom"}},
	}}))
	fold(epoch.Fold(rows, 4, &epoch.Activated{Epoch: 1, Policy: epoch.PolicyNone}))
	fold(epoch.Fold(rows, 5, &epoch.Halted{Epoch: 1}))
	return rows
}

func of(draws uint64) decision.Decision {
	return decision.Decision{Draws: draws, Epoch: 1, Reason: [32]byte{7}}
}

func TestTwoOfficersDecide(t *testing.T) {
	for _, r := range []officers.Approved{&decision.Ended{Decision: of(0)}, &decision.Abandoned{Decision: of(0)}} {
		if want := "epoch 1 draws 0 reason 07" + strings.Repeat("00", 31); r.Subject() != want {
			t.Errorf("the subject is %q", r.Subject())
		}
		var v *book.Violation
		for _, by := range [][]string{nil, {"anna"}, {"anna", "anna"}} {
			*r.Approval() = nil
			if err := decision.Fold(halted(t), 6, approve(r, by...)); !errors.As(err, &v) || v.Rule != "approvals" {
				t.Errorf("%s by %q: %v", r.Type(), by, err)
			}
		}
		*r.Approval() = nil
		rows := halted(t)
		if err := decision.Fold(rows, 6, approve(r, "anna", "bert")); err != nil {
			t.Error(err)
		}
		if now := epoch.Now(rows); now.Active != 0 || now.Halted != 0 {
			t.Errorf("%s leaves %+v", r.Type(), now)
		}
	}
}

// Whatever is in a leaf, what was read of it is what it says, and the books take it or name a rule.
func FuzzDecisions(f *testing.F) {
	for _, r := range []entry.Record{&epoch.Halted{Epoch: 1}, approve(&decision.Ended{Decision: of(0)}, "anna", "bert"), approve(&decision.Abandoned{Decision: of(1)}, "anna")} {
		r.Head().ID = entry.NewUUID([16]byte{1})
		r.Head().Request = entry.Request{Key: [32]byte{1}}
		leaf, err := entry.Append(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf)
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		for _, r := range []entry.Record{new(epoch.Halted), new(decision.Ended), new(decision.Abandoned)} {
			if entry.Decode(leaf, r) != nil {
				continue
			}
			if again, err := entry.Append(nil, r); err != nil || string(again) != string(leaf) {
				t.Errorf("written again it is %s, %v", again, err)
			}
			rows := halted(t)
			if err := errors.Join(epoch.Fold(rows, 6, r), decision.Fold(rows, 6, r)); err != nil && !errors.Is(err, book.ErrBroken) {
				t.Errorf("%v", err)
			}
		}
	})
}
