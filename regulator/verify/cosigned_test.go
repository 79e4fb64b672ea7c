package verify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

type cosigner struct {
	*tlog.Cosigner
	vkey string
	key  ed25519.PrivateKey
}

func newCosigner(t *testing.T, name string, seed byte) cosigner {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	vkey, err := tlog.CosignerVKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlog.NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return cosigner{c, vkey, key}
}

// on adds the witness's cosignature of a text to a note.
func (c cosigner) on(t *testing.T, msg, of []byte, at time.Time) []byte {
	t.Helper()
	text, _, err := tlog.Text(of)
	if err != nil {
		t.Fatal(err)
	}
	s := tlog.Cosignature{Name: c.Name(), KeyHash: c.KeyHash(), Time: uint64(at.Unix())}
	copy(s.Sig[:], ed25519.Sign(c.key, tlog.CosignedMessage(s.Time, text)))
	return s.AppendLine(bytes.Clone(msg))
}

// answerUnder is a saved answer whose receipt has another note.
func answerUnder(t *testing.T, h *logtest.House, index uint64, note []byte) []byte {
	t.Helper()
	var a map[string]any
	if err := json.Unmarshal(h.Answer(index), &a); err != nil {
		t.Fatal(err)
	}
	r, err := tlog.ParseReceipt([]byte(a["receipt"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	a["receipt"] = string(tlog.AppendReceipt(nil, r.Index, r.Hashes, note))
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a regulator with the keys of two witnesses finds in a log and in a receipt.
func TestCosignatures(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 3})
	p := h.Join(1000)
	early := h.Checkpoint()
	index := h.Deposit(p, 5)
	note := h.Checkpoint()
	one, two := newCosigner(t, "witness.example/1", 1), newCosigner(t, "witness.example/2", 2)
	now := time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC)
	both := two.on(t, one.on(t, note, note, now), note, now.Add(time.Second))
	stolen := one.on(t, note, early, now) // it cosigned another checkpoint of this log
	second := tlog.Cosignature{Name: one.Name(), KeyHash: one.KeyHash(), Time: uint64(now.Unix())}
	forged := second.AppendLine(bytes.Clone(note))
	for _, c := range []struct {
		name       string
		note       []byte
		by         []string
		quorum     int
		good, rest int
		finding    bool
		unchecked  bool
		warned     bool
	}{
		{"nobody's", note, nil, 0, 0, 0, false, false, false},
		{"not asked for", both, nil, 0, 0, 2, false, false, false},
		{"both", both, []string{one.vkey, two.vkey}, 2, 2, 0, false, false, false},
		{"one of them", both, []string{two.vkey}, 1, 1, 1, false, false, false},
		{"too few", one.on(t, note, note, now), []string{one.vkey, two.vkey}, 2, 1, 0, false, true, false},
		{"none of a quorum", note, []string{one.vkey}, 1, 0, 0, false, true, false},
		{"of another checkpoint", stolen, []string{one.vkey}, 0, 0, 0, true, false, false},
		{"forged", forged, []string{one.vkey}, 1, 0, 0, true, false, false},
		{"forged, of a witness that does not count", forged, []string{two.vkey}, 0, 0, 1, false, false, false},
		{"before the entry was made", one.on(t, note, note, now.Add(-time.Hour)), []string{one.vkey}, 1, 1, 0, false, false, true},
		{"one key twice", both, []string{one.vkey, one.vkey}, 2, 0, 0, false, true, false},
		{"a quorum of strangers", both, nil, 1, 0, 0, false, true, false},
		{"no witness's key", both, []string{h.VKey}, 1, 0, 0, false, true, false},
	} {
		trust := verify.Trust{Witnesses: c.by, Quorum: c.quorum}
		ring, err := verify.NewKeyring(h.VKey)
		if err != nil {
			t.Fatal(err)
		}
		proofs, err := ring.ReceiptBy(answerUnder(t, h, index, c.note), trust)
		var f *verify.Finding
		if errors.As(err, &f) != c.finding || c.finding && f.Rule != "cosignature" || errors.Is(err, verify.ErrUnchecked) != c.unchecked {
			t.Errorf("%s: receipt: %v", c.name, err)
		}
		if err == nil && (len(proofs[0].Cosignatures.Good) != c.good || proofs[0].Cosignatures.Others != c.rest || (len(proofs[0].Warnings) > 0) != c.warned) {
			t.Errorf("%s: receipt: %+v, %q", c.name, proofs[0].Cosignatures, proofs[0].Warnings)
		}

		files := h.Publish()
		files["checkpoint"] = &fstest.MapFile{Data: c.note}
		report, err := verify.Log(context.Background(), verify.Dir(files), verify.Options{VKey: h.VKey, Trust: trust})
		if errors.Is(err, verify.ErrUnchecked) != c.unchecked || report.OK() == c.finding {
			t.Errorf("%s: log: %v, %+v", c.name, err, report.Findings)
		}
		if c.finding && (len(report.Findings) != 1 || report.Findings[0].Rule != "cosignature" || report.Replayed == 0) {
			t.Errorf("%s: log: %+v", c.name, report.Findings)
		}
		if err == nil && !c.finding && (len(report.Cosignatures.Good) != c.good || report.Cosignatures.Others != c.rest) {
			t.Errorf("%s: log: %+v", c.name, report.Cosignatures)
		}
		if err == nil && c.warned != (len(report.Warnings) > 0) {
			t.Errorf("%s: log: %q", c.name, report.Warnings)
		}
	}
}
