package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/hardware/pkcs11/softhsm"
	"countroom/hardware/tpm/swtpm"
	"countroom/ledger/dsse"
	"countroom/ledger/dsse/cosigntest"
	"countroom/ledger/keys"
	"countroom/regulator/verify"
)

// A demonstration becomes a house with its keys in devices while it plays: each key is exchanged for one that a token or
// a TPM makes and keeps, by two officers, and the key of the first day is retired. The seeds that follow and an
// examination are signed by the new ones; the key of the first day checks it all.
func TestKeysMoveIntoDevices(t *testing.T) {
	hsm, tpm := softhsm.New(t), swtpm.New(t)
	hsm.Add("house")
	s := newServer(t, "--epoch-age", "1s", "--epoch-reveal-delay", "0s")
	s.start()
	c := &ceremony{t: t, dir: t.TempDir(), data: s.dir}
	original, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
		c.does("", "officers", "enrol", name+".pub", "--data", c.data)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	players := seat(s, 1)
	device := "tpm:socket=" + tpm.Socket + ";handle="
	for i, move := range [][2]string{
		{"checkpoint", hsm.URI("house", "checkpoint")}, {"seeds", device + "0x81010001"}, {"exports", hsm.URI("house", "exports")}, {"exports", device + "0x81010002"},
	} {
		c.does("rotate.proposal", "keys", "rotate", "--role", move[0], "--to", move[1], "--make", "--data", c.data)
		c.approved("rotate.proposal")
		players.spin(client, 0, fmt.Sprintf("introduced-%d", i))
		c.does("retire.proposal", "keys", "retire", "--role", move[0], "--reason", "into a device", "--data", c.data)
		c.approved("retire.proposal")
		players.spin(client, 0, fmt.Sprintf("retired-%d", i))
	}
	// A TPM has no Ed25519, so no checkpoint key.
	c.refused("Ed25519", "keys", "rotate", "--role", "checkpoint", "--to", device+"0x81010003", "--make", "--data", c.data)
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	s.start()
	time.Sleep(1100 * time.Millisecond) // the age of an epoch: the next seed is signed in the TPM
	for n := range 4 {
		players.spin(client, 0, fmt.Sprintf("restarted-%d", n))
		time.Sleep(600 * time.Millisecond)
	}
	out := c.does("", "keys", "attest", "--data", c.data)
	if strings.Count(out, "signed ") != 3 || strings.Contains(out, "DEMONSTRATION") {
		t.Errorf("attest:\n%s", out)
	}
	report := players.verify()
	if report.Types["key.introduced"] != 4 || report.Types["key.retired"] != 4 {
		t.Errorf("%v", report.Types)
	}
	examination := filepath.Join(t.TempDir(), "exam")
	if said, status := examines(t, "rng", "certify", "--data", s.dir, "-o", examination, "--bit-sequences", "1", "--game-sequences", "1", "--game-draws", "10000"); status != 0 {
		t.Fatalf("ends with %d: %s", status, said)
	}
	x := examined(t, examination)
	ring, err := verify.NewKeyring(strings.TrimSpace(string(original)))
	if err == nil {
		err = ring.Follow([]byte(c.does("", "keys", "list", "--history", "--data", c.data)))
	}
	if err == nil {
		_, err = ring.Assessment(x)
	}
	if err != nil {
		t.Errorf("the examination by the first checkpoint key and the history: %v", err)
	}
	proofs, err := ring.Receipt(x.Answer)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range proofs {
		if e, ok := p.Record.(*keys.Introduced); ok && e.Assurance == "tpm" {
			key, err := dsse.ParseKey(e.Public)
			if err == nil {
				err = cosigntest.Verify(t, key.PEM(), x.Bundle, x.Report)
			}
			if err != nil {
				t.Errorf("the TPM's signature: %v", err)
			}
		}
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}
