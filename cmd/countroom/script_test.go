package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// certificate makes a key pair for 127.0.0.1 and returns what trusts it.
func certificate(t *testing.T, dir string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(cert, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	return cert, key, roots
}

func TestServesTLS(t *testing.T) {
	cert, key, roots := certificate(t, t.TempDir())
	s := newServer(t, "--tls-certificate", cert, "--tls-key", key)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}, Timeout: time.Minute}
	s.scheme = "https"
	s.start()
	resp, err := s.client.Get("https://" + s.addr + "/log/vkey")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("%s over %s", resp.Status, resp.Proto)
	}
	s.client.CloseIdleConnections()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// Two processes never share a data directory, and what is in use says so.
func TestOneProcessPerDirectory(t *testing.T) {
	s := newServer(t)
	s.start()
	second := exec.Command(os.Args[0], "serve", "--data", s.dir, "--listen", "127.0.0.1:0")
	second.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another process") {
		t.Errorf("a second process: %v\n%s", err, out)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
	// A key file that was lost is not made anew: it would be another house's.
	if err := os.Remove(filepath.Join(s.dir, "keys", "checkpoint.pem")); err != nil {
		t.Fatal(err)
	}
	third := exec.Command(os.Args[0], "serve", "--data", s.dir, "--listen", "127.0.0.1:0")
	third.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	if out, err := third.CombinedOutput(); err == nil || !strings.Contains(string(out), "checkpoint.pem") {
		t.Errorf("without its key: %v\n%s", err, out)
	}
}
