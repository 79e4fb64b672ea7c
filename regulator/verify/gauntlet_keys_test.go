package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"

	"golang.org/x/mod/sumdb/note"
)

func init() { contradictions = append(contradictions, keyFrauds...) }

// introducing tampers with an introduction after its key was made and signed
// for, and before two officers approve of it.
func introducing(role string, change func(t *town, r *keys.Introduced)) func(t *town) uint64 {
	return func(t *town) uint64 {
		t.Officers()
		r := t.Introduction(role)
		change(t, r)
		t.Approve(r, "anna", "berta")
		return t.Append(r)
	}
}

var keyFrauds = []contradiction{
	{name: "a rotation by one officer", typ: "key.introduced", rule: "approvals", found: "1",
		commit: func(t *town) uint64 { t.Officers(); return t.Introduce(system.RoleCheckpoint, "anna") }},
	{name: "a rotation by the operator", typ: "key.introduced", rule: "approvals", found: "0",
		commit: func(t *town) uint64 { t.Officers(); return t.Introduce(system.RoleSeeds) }},
	{name: "a rotation in a house without officers", typ: "key.introduced", rule: "approvals", found: "anna",
		commit: func(t *town) uint64 { return t.Introduce(system.RoleSeeds, "anna", "berta") }},
	{name: "two officers approved of another key", typ: "key.introduced", rule: "approvals", expected: "anna",
		commit: func(t *town) uint64 {
			t.Officers()
			approvedOf, other := t.Introduction(system.RoleCheckpoint), t.Introduction(system.RoleCheckpoint)
			t.Approve(approvedOf, "anna", "berta")
			t.Approve(other, "anna", "berta")
			other.Approvals = approvedOf.Approvals
			return t.Append(other)
		}},
	{name: "two officers approved of a better protected key", typ: "key.introduced", rule: "approvals", expected: "software",
		commit: func(t *town) uint64 {
			t.Officers()
			r := t.Introduction(system.RoleCheckpoint)
			t.Approve(r, "anna", "berta")
			r.Assurance = "software"
			msg := r.Statement("logtest.example/house", t.VKey)
			old, _ := t.Signer(t.VKey).Sign(msg)
			now, _ := t.Signer(r.Public).Sign(msg)
			r.SignatureOld, r.SignatureNew = old, now
			return t.Append(r)
		}},
	{name: "a key is introduced without the old key's signature", typ: "key.introduced", rule: "key-statement", found: "only that of the new key",
		commit: introducing(system.RoleCheckpoint, func(_ *town, r *keys.Introduced) { r.SignatureOld = r.SignatureNew })},
	{name: "a key that nobody is known to hold", typ: "key.introduced", rule: "key-statement", found: "only that of the old key",
		commit: introducing(system.RoleSeeds, func(_ *town, r *keys.Introduced) { r.SignatureNew = r.SignatureOld })},
	{name: "a retired key introduces its successor", typ: "key.introduced", rule: "key-statement", found: "only that of the new key",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Rotate(system.RoleCheckpoint, "anna", "berta")
			r := t.Introduction(system.RoleCheckpoint)
			old, _ := t.Signer(t.VKey).Sign(r.Statement("logtest.example/house", t.VKey))
			r.SignatureOld = old
			t.Approve(r, "anna", "berta")
			return t.Append(r)
		}},
	{name: "a third key while two are in force", typ: "key.introduced", rule: "key-exchange", found: "2",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Introduce(system.RoleExports, "anna", "berta")
			return t.Introduce(system.RoleExports, "anna", "berta")
		}},
	{name: "a key for a role that there is not", typ: "key.introduced", rule: "key-exchange", expected: "doors",
		commit: introducing(system.RoleExports, func(_ *town, r *keys.Introduced) { r.Role = "doors" })},
	{name: "a key of another algorithm", typ: "key.introduced", rule: "key-new", found: "ed25519",
		commit: introducing(system.RoleSeeds, func(_ *town, r *keys.Introduced) { r.Algorithm = "ed25519" })},
	{name: "a checkpoint key of another log", typ: "key.introduced", rule: "key-new", found: "logtest.example/other",
		commit: introducing(system.RoleCheckpoint, func(_ *town, r *keys.Introduced) {
			r.Public = logtest.New(logtest.Config{Origin: "logtest.example/other"}).VKey
		})},
	{name: "a retired key comes back", typ: "key.introduced", rule: "key-new", found: "key of entry 0",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Rotate(system.RoleCheckpoint, "anna", "berta")
			r := t.Introduction(system.RoleCheckpoint)
			r.Public = t.VKey
			t.Approve(r, "anna", "berta")
			return t.Append(r)
		}},
	{name: "keys without end", typ: "key.introduced", rule: "keys-most", expected: "256",
		commit: func(t *town) uint64 {
			t.Officers()
			for len(keys.List(t.Rows())) < keys.Most {
				t.Rotate(system.RoleCheckpoint, "anna", "berta")
			}
			return t.Introduce(system.RoleCheckpoint, "anna", "berta")
		}},
	{name: "the only key is retired", typ: "key.retired", rule: "key-retired", found: "of 1",
		commit: func(t *town) uint64 { t.Officers(); return t.RetireKey(system.RoleSeeds, "anna", "berta") }},
	{name: "a key is retired by one officer", typ: "key.retired", rule: "approvals", found: "1",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Introduce(system.RoleCheckpoint, "anna", "berta")
			return t.RetireKey(system.RoleCheckpoint, "anna")
		}},
	{name: "a key is retired for a reason that no officer knows", typ: "key.retired", rule: "approvals", expected: "key.retired of checkpoint",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Introduce(system.RoleCheckpoint, "anna", "berta")
			r := &keys.Retired{Public: t.VKey, Role: system.RoleCheckpoint}
			return approved(t, r, func(r *keys.Retired) { r.Reason[0] ^= 1 }, "anna", "berta")
		}},
	{name: "a seed is signed by a retired key", typ: "seed.committed.v2", rule: "seed-signature", expected: "in force",
		commit: func(t *town) uint64 {
			t.Officers()
			honest := t.SeedsKey()
			t.Rotate(system.RoleSeeds, "anna", "berta")
			rotated := t.SetSeedsKey(honest)
			index := t.committed(func(*epoch.Statement) {})
			t.SetSeedsKey(rotated)
			return index
		}},
	{name: "a seed is signed by the key that is being replaced", typ: "seed.committed.v2", rule: "seed-signature", expected: "in force",
		commit: func(t *town) uint64 {
			t.Officers()
			honest := t.SeedsKey()
			t.Introduce(system.RoleSeeds, "anna", "berta")
			rotated := t.SetSeedsKey(honest)
			index := t.committed(func(*epoch.Statement) {})
			t.SetSeedsKey(rotated)
			return index
		}},
	{name: "a checkpoint by a key that the log does not lead to", typ: "checkpoint", rule: "checkpoint-signature", expected: "leads to",
		publish: func(t *town, files fstest.MapFS) {
			t.Signers = []note.Signer{t.Signer(t.Introduction(system.RoleCheckpoint).Public)}
			files["checkpoint"] = &fstest.MapFile{Data: t.Checkpoint()}
		}},
	{name: "a checkpoint by a retired key alone", typ: "checkpoint", rule: "checkpoint-signature", expected: "in force",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Rotate(system.RoleCheckpoint, "anna", "berta")
			return t.Size()
		},
		publish: func(t *town, files fstest.MapFS) {
			t.Signers = []note.Signer{t.Signer(t.VKey)}
			files["checkpoint"] = &fstest.MapFile{Data: t.Checkpoint()}
		}},
	{name: "a checkpoint by one of two keys in force", typ: "checkpoint", rule: "checkpoint-signature", expected: "in force",
		commit: func(t *town) uint64 {
			t.Officers()
			t.Introduce(system.RoleCheckpoint, "anna", "berta")
			return t.Size()
		},
		publish: func(t *town, files fstest.MapFS) {
			t.Signers = []note.Signer{t.Signer(t.VKey)}
			files["checkpoint"] = &fstest.MapFile{Data: t.Checkpoint()}
		}},
}

// Who has any key that a log's checkpoints were ever signed with can check all
// of it, before, during and after the exchange.
func TestVerifiersFollowRotations(t *testing.T) {
	h, who := honest(40)
	h.Officers()
	check := func(when string, vkeys ...string) {
		t.Helper()
		for i, vkey := range vkeys {
			r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: vkey})
			if err != nil || !r.OK() || len(r.Unchecked) > 0 {
				t.Errorf("%s, key %d: %v, %+v, %q", when, i, err, r.Findings, r.Unchecked)
			}
		}
	}
	first := h.VKey
	before := h.Answer(h.Size() - 1)
	h.Introduce(system.RoleCheckpoint, "anna", "berta")
	second := h.NewestVKey()
	h.Play(who, 20)
	check("both in force", first, second)
	between := h.Answer(h.Size() - 1)
	h.RetireKey(system.RoleCheckpoint, "anna", "berta")
	h.Play(who, 20)
	check("the first is retired", first, second)
	h.Rotate(system.RoleSeeds, "anna", "berta")
	h.Rotate(system.RoleExports, "anna", "berta")
	h.Rotate(system.RoleCheckpoint, "anna", "berta")
	third := h.NewestVKey()
	h.Play(who, 1200) // through several epochs
	check("twice exchanged", first, second, third)
	after := h.Answer(h.Size() - 1)

	// What was kept under any of the keys is compared.
	for i, vkey := range []string{first, second, third} {
		r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: vkey, Known: []Known{{"before", before}, {"between", between}, {"after", after}}})
		if err != nil || !r.OK() || r.Known != 3 {
			t.Errorf("key %d: %v, %+v, %d known", i, err, r.Findings, r.Known)
		}
	}
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: first})
	if mustHold(t, r, err); len(r.Keys) != 7 {
		t.Errorf("keys %+v", r.Keys)
	}
	for _, k := range r.Keys {
		if k.Demo != (k.Introduced == 0) {
			t.Errorf("%+v", k)
		}
	}
}

// A checkpoint that a retired key signed after its retirement is no evidence:
// whoever stole the key could have made it. One of before is.
func TestARetiredKeyProvesNothingLater(t *testing.T) {
	h, who := honest(40)
	h.Officers()
	early := h.Sign(h.Size(), [32]byte{9})
	forkAt := h.Size()
	h.Rotate(system.RoleCheckpoint, "anna", "berta")
	h.Play(who, 10)
	newest := h.NewestVKey()
	h.Signers = []note.Signer{h.Signer(h.VKey)}
	late := h.Sign(h.Size(), [32]byte{9})
	h.Signers = nil
	r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: newest, Known: []Known{{"late", late}}})
	if !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), "late proves nothing") || !r.OK() {
		t.Errorf("late: %v, %+v", err, r.Findings)
	}
	r, err = Log(t.Context(), Dir(h.Publish()), Options{VKey: newest, Known: []Known{{"early", early}}})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Rule != "fork" || r.Findings[0].Index != forkAt {
		t.Errorf("early: %v, %+v", err, r.Findings)
	}
}

// history is what a house gives of its checkpoint keys.
func history(h *logtest.House, of ...uint64) []byte {
	b := []byte(`{"items":[`)
	for i, index := range of {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, h.Answer(index)...)
	}
	return append(b, "]}"...)
}

// A receipt alone, by whatever key, with the history that leads to it.
func TestHistoryLeadsFromAnOldKey(t *testing.T) {
	h, who := honest(40)
	h.Officers()
	old := h.Answer(5)
	var list []uint64
	var vkeys = []string{h.VKey}
	for range 3 {
		list = append(list, h.Introduce(system.RoleCheckpoint, "anna", "berta"))
		list = append(list, h.RetireKey(system.RoleCheckpoint, "anna", "berta"))
		vkeys = append(vkeys, h.NewestVKey())
	}
	h.Play(who, 5)
	now, all := h.Answer(h.Size()-1), history(h, list...)
	for i, vkey := range vkeys {
		ring, err := NewKeyring(vkey)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ring.Receipt(now)
		if last := i == len(vkeys)-1; last != (err == nil) || !last && (!errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), "--history")) {
			t.Errorf("key %d without a history: %v", i, err)
		}
		if err := ring.Follow(all); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
		if _, err := ring.Receipt(now); err != nil {
			t.Errorf("key %d with the history: %v", i, err)
		}
		if _, err := ring.Receipt(old); (err == nil) != (i == 0) {
			t.Errorf("key %d, an old receipt: %v", i, err)
		}
	}
	ring, _ := NewKeyring(h.VKey)
	h.Signers = []note.Signer{h.Signer(h.VKey)}
	stolen := h.Answer(h.Size() - 1)
	h.Signers = nil
	var f *Finding
	if err := ring.Follow(all); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Receipt(stolen); !errors.As(err, &f) || f.Rule != "checkpoint-signature" || !strings.Contains(f.Found, "retired") {
		t.Errorf("a receipt by a retired key: %v", err)
	}

	// What does not lead on, or is not in the log, leads nowhere.
	evil := h.Introduction(system.RoleCheckpoint)
	evil.SignatureOld = evil.SignatureNew
	for name, data := range map[string][]byte{
		"nothing":               []byte("{}"),
		"an entry that is none": h.Answer(3),
		"a step is missing":     history(h, slices.Concat(list[:2], list[4:])...),
		"another house's":       history(logtest.New(logtest.Config{Seed: 99}), 1),
	} {
		ring, _ := NewKeyring(h.VKey)
		err := ring.Follow(data)
		if err == nil {
			_, err = ring.Receipt(now)
		}
		if !errors.Is(err, ErrUnchecked) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzHistory(f *testing.F) {
	h, _ := honest(20)
	h.Officers()
	list := []uint64{h.Introduce(system.RoleCheckpoint, "anna", "berta"), h.RetireKey(system.RoleCheckpoint, "anna", "berta")}
	f.Add(history(h, list...))
	f.Add(h.Answer(list[0]))
	f.Add([]byte(`{"items":[]}`))
	newest := h.NewestVKey()
	f.Fuzz(func(t *testing.T, data []byte) {
		ring, err := NewKeyring(h.VKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Follow(data); err != nil {
			if !errors.Is(err, ErrUnchecked) {
				t.Error(err)
			}
			if len(ring.keys) != 1 {
				t.Error("a history that was refused changed the ring")
			}
			return
		}
		for _, k := range ring.keys {
			if k.Public != h.VKey && k.Public != newest {
				t.Errorf("it led to %s", k.Public)
			}
		}
	})
}

// keys are exchanged in the story of all types.
func (s *story) keys() {
	s.Rotate(system.RoleSeeds, "anna", "berta")
	s.Rotate(system.RoleCheckpoint, "anna", "berta")
}
