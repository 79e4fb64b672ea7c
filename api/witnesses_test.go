package api

import (
	"crypto/ed25519"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/cosign"
	"countroom/ledger/tlog"
)

// A house that waits for a quorum gives nothing out that has none: neither the
// published checkpoint nor the receipt of a spin.
func TestWhatLeavesAHouseWithAQuorumIsCosigned(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	vkey, err := tlog.CosignerVKey("witness.example/w1", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	w1, err := tlog.NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, note, _ := strings.Cut(string(body), "\n\n")
		text, _, err := tlog.Text([]byte(note))
		if err != nil {
			t.Error(err)
			return
		}
		c := tlog.Cosignature{Name: w1.Name(), KeyHash: w1.KeyHash(), Time: 1767225600}
		copy(c.Sig[:], ed25519.Sign(key, tlog.CosignedMessage(c.Time, text)))
		rw.Write(c.AppendLine(nil))
	}))
	t.Cleanup(s.Close)
	w := open(t, func(l *ledger.Config, _ *house.Config) {
		l.Witnesses = cosign.Config{Policy: cosign.Quorum, Quorum: 1, Timeout: time.Minute, Witnesses: []cosign.Witness{{VKey: vkey, URL: s.URL}}}
	})
	cosigned := func(what string, msg []byte) {
		t.Helper()
		if good, _, err := tlog.Cosigned(msg, []*tlog.Cosigner{w1}); err != nil || len(good) != 1 {
			t.Errorf("%s: %v, %v\n%s", what, good, err, msg)
		}
	}
	token := w.player("p", 1000)
	a := w.post("/v1/spins", token, `{"stake":20}`).want(201)
	w.accepted(a)
	r, err := tlog.ParseReceipt([]byte(a.text("receipt")))
	if err != nil {
		t.Fatal(err)
	}
	cosigned("a receipt", r.Checkpoint)
	cosigned("/log/checkpoint", w.get("/log/checkpoint", "").want(200).body)
	cosigned("/log/cosigned", w.get("/log/cosigned", "").want(200).body)
	if m := string(w.get("/metrics", "").body); !strings.Contains(m, `countroom_cosignatures_total{witness="witness.example/w1"}`) {
		t.Error("no figures of the witness")
	}
}
