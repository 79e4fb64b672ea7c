package keys

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
	"countroom/ledger/tlog"
)

const origin = "casino.example/log"

func private(name string) (key ed25519.PrivateKey, vkey string) {
	seed := sha256.Sum256([]byte(name))
	key = ed25519.NewKeyFromSeed(seed[:])
	vkey, err := tlog.VKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return key, vkey
}

func approve(r officers.Approved, by ...string) {
	for _, name := range by {
		key, _ := private(name)
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(key, officers.Message(origin, r.Type(), r.Subject()))})
	}
}

// founded are the books of a house with one checkpoint key and two officers.
func founded(t *testing.T) (rows book.Memory, fold func(index uint64, r entry.Record) error) {
	t.Helper()
	rows = book.Memory{}
	fold = func(index uint64, r entry.Record) error {
		return errors.Join(officers.Fold(rows, index, r), Fold(rows, index, r))
	}
	_, first := private("first")
	if err := fold(0, &system.HouseCreated{Origin: origin, Keys: []system.Key{{Algorithm: "ed25519", Assurance: "software", Public: first, Role: system.RoleCheckpoint}}}); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"anna", "berta"} {
		key, _ := private(name)
		if err := fold(uint64(1+i), &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: key.Public().(ed25519.PublicKey)}); err != nil {
			t.Fatal(err)
		}
	}
	return rows, fold
}

func introduction(from, to string) *Introduced {
	old, replaced := private(from)
	key, public := private(to)
	r := &Introduced{Algorithm: officers.Ed25519, Assurance: "pkcs11", Public: public, Role: system.RoleCheckpoint}
	msg := r.Statement(origin, replaced)
	r.SignatureOld, r.SignatureNew = ed25519.Sign(old, msg), ed25519.Sign(key, msg)
	return r
}

// From one key to the next: both are in force between the two entries, and the
// size of a checkpoint tells which sign it.
func TestAKeyIsExchanged(t *testing.T) {
	rows, fold := founded(t)
	_, first := private("first")
	r := introduction("first", "second")
	approve(r, "anna", "berta")
	if err := fold(10, r); err != nil {
		t.Fatal(err)
	}
	old := &Retired{Public: first, Role: system.RoleCheckpoint}
	approve(old, "anna", "berta")
	if err := fold(20, old); err != nil {
		t.Fatal(err)
	}
	all := List(rows)
	for size, want := range map[uint64]string{1: "first", 10: "first", 11: "first second", 20: "first second", 21: "second", 1000: "second"} {
		var got []string
		for i, name := range []string{"first", "second"} {
			if all[i].InForce(size) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("size %d: %q in force, want %q", size, got, want)
		}
	}
	if k := Current(rows, system.RoleCheckpoint); k == nil || k.Public != r.Public || k.Demo() || !all[0].Demo() {
		t.Errorf("current %+v of %+v", k, all)
	}
	if Current(rows, system.RoleSeeds) != nil {
		t.Error("a key for seeds comes from nowhere")
	}
}

func TestIntroductionsThatBreakRules(t *testing.T) {
	for name, c := range map[string]struct {
		rule string
		r    func() *Introduced
	}{
		"by nobody": {"approvals", func() *Introduced { return introduction("first", "second") }},
		"by one":    {"approvals", func() *Introduced { r := introduction("first", "second"); approve(r, "anna"); return r }},
		"by a key that is not in force": {"key-statement", func() *Introduced {
			r := introduction("other", "second")
			approve(r, "anna", "berta")
			return r
		}},
		"the same key": {"key-new", func() *Introduced { r := introduction("first", "first"); approve(r, "anna", "berta"); return r }},
		"no role":      {"key-exchange", func() *Introduced { r := introduction("first", "second"); r.Role = "doors"; return r }},
	} {
		_, fold := founded(t)
		var v *book.Violation
		if err := fold(10, c.r()); !errors.As(err, &v) || v.Rule != c.rule {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecords(f *testing.F) {
	r := introduction("first", "second")
	approve(r, "anna", "berta")
	for _, r := range []entry.Record{r, &Retired{Public: r.Public, Role: r.Role}} {
		r.Head().ID = entry.NewUUID([16]byte{1})
		r.Head().Request = entry.Request{Key: [32]byte{1}}
		leaf, err := entry.Append(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf)
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		for _, r := range []entry.Record{new(Introduced), new(Retired)} {
			if entry.Decode(leaf, r) != nil {
				continue
			}
			if again, err := entry.Append(nil, r); err != nil || string(again) != string(leaf) {
				t.Errorf("written again it is %s, %v", again, err)
			}
			_, fold := founded(t)
			if err := fold(10, r); err != nil && !errors.Is(err, book.ErrBroken) {
				t.Error(err)
			}
		}
	})
}
