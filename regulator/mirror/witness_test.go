package mirror

import (
	"crypto/ed25519"
	"testing"

	"countroom/ledger/tlog"
)

// witness is somebody who cosigns whatever he is shown.
type witness struct {
	vkey string
	key  ed25519.PrivateKey
	c    *tlog.Cosigner
}

func newWitness(t *testing.T) *witness {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	vkey, err := tlog.CosignerVKey("witness.example/w1", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlog.NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &witness{vkey, key, c}
}

func (w *witness) cosign(t *testing.T, note []byte) []byte {
	text, _, err := tlog.Text(note)
	if err != nil {
		t.Fatal(err)
	}
	s := tlog.Cosignature{Name: w.c.Name(), KeyHash: w.c.KeyHash(), Time: 1_800_000_000}
	copy(s.Sig[:], ed25519.Sign(w.key, tlog.CosignedMessage(s.Time, text)))
	return s.AppendLine(note)
}
