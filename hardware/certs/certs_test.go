package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/hardware/certs"
)

// write writes a certificate of a number, and its key.
func write(t *testing.T, certificate, key string, number int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), DNSNames: []string{"house.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	put(t, certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	put(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}))
}

// put replaces a file as those do who renew certificates: by another of its name.
func put(t *testing.T, name string, b []byte) {
	t.Helper()
	err := os.WriteFile(name+".new", b, 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Who connects is shown what is in the files then, or was before they were spoiled.
func TestAServerRenewsItsCertificate(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	if _, err := certs.Server(log, certificate, key); err == nil {
		t.Error("a server opens without its files")
	}
	write(t, certificate, key, 1)
	cfg, err := certs.Server(log, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(want int64) {
		t.Helper()
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		server := tls.Server(a, cfg)
		failed := make(chan error, 1)
		go func() { failed <- server.Handshake() }()
		client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		// What the server sends after the handshake is read, or it waits.
		go client.Read(make([]byte, 1))
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if got := client.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("certificate %d is shown, want %d", got, want)
		}
	}
	shown(1)
	write(t, certificate, key, 2)
	shown(2)
	shown(2)
	put(t, certificate, []byte("nothing"))
	shown(2)
	shown(2)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	shown(2)
	write(t, certificate, key, 3)
	shown(3)
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 || strings.Count(said.String(), "renewed") != 2 {
		t.Errorf("it says %s", said.String())
	}
}
