package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	gtrillian "github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// signed makes a certificate that an authority of certificate signs, in files.
func signedBy(t *testing.T, ca, caKey, dir string, template *x509.Certificate) (cert, key string) {
	t.Helper()
	by, err := tls.LoadX509KeyPair(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, by.Leaf, &private.PublicKey, by.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "signed.pem"), filepath.Join(dir, "signed-key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A regulator's stock Trillian client follows a house that plays, is killed and
// comes back, over mutual TLS; each root that it takes is signed by the house.
func TestTrilliansClientsFollowAHouse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, caKey, roots := certificate(t, dir)
	cert, key := signedBy(t, ca, caKey, dir, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	mine, mineKey := signedBy(t, ca, caKey, t.TempDir(), &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	me, err := tls.LoadX509KeyPair(mine, mineKey)
	if err != nil {
		t.Fatal(err)
	}
	door := doors(t)
	s := newServer(t, "--trillian-listen", door, "--trillian-certificate", cert, "--trillian-key", key, "--trillian-clients", ca)
	s.start()
	players := seat(s, 4)
	players.play()

	conn, err := grpc.NewClient(door, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{me}})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := client.New(trillian.TreeID, gtrillian.NewTrillianLogClient(conn), client.NewLogVerifier(rfc6962.DefaultHasher), types.LogRootV1{})
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := tlog.NewVerifier(strings.TrimSpace(string(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 6 {
		root, err := c.WaitForRootUpdate(ctx)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.log.String())
		}
		if signed, err := tlog.Open(root.Metadata, v); err != nil || signed.Size != root.TreeSize || string(signed.Root[:]) != string(root.RootHash) {
			t.Fatalf("a root of size %d: %+v, %v", root.TreeSize, signed, err)
		}
		leaves, err := c.ListByIndex(ctx, int64(root.TreeSize)-1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.WaitForInclusion(ctx, leaves[0].LeafValue); err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			s.signal(syscall.SIGKILL)
			s.start()
		}
	}
	resp, err := http.Get("http://" + s.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	figures, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || !strings.Contains(string(figures), `countroom_trillian_calls_total{code="OK",method="GetLatestSignedLogRoot"}`) {
		t.Errorf("no figures of the calls: %v", err)
	}
	players.leave()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}
