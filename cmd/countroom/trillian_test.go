package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countroom/hardware/certs"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	gtrillian "github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// readers makes the certificates of the API's readers as docs/trillian.md says.
func readers(t *testing.T) (authority string, me tls.Certificate) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/trillian.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, script := t.TempDir(), "set -e\n"
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "    openssl ") {
			script += line
		}
	}
	cmd := exec.Command("/bin/bash", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	me, err = tls.LoadX509KeyPair(filepath.Join(dir, "regulator.pem"), filepath.Join(dir, "regulator.key"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "readers.pem"), me
}

// logClient is a regulator's stock client of a house.
func logClient(t *testing.T, door string, roots *x509.CertPool, me tls.Certificate) *client.LogClient {
	t.Helper()
	conn, err := grpc.NewClient(door, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{me}})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client.New(trillian.TreeID, gtrillian.NewTrillianLogClient(conn), client.NewLogVerifier(rfc6962.DefaultHasher), types.LogRootV1{})
}

// Either machine of a pair shows its readers the same roots, whichever writes.
func TestTrilliansClientsOfAPair(t *testing.T) {
	cert, key, roots := certificate(t, t.TempDir())
	clients, me := readers(t)
	machine := func() (*server, *client.LogClient) {
		door := doors(t)
		s := newServer(t, "--reserve-mib", "64", "--trillian-listen", door, "--trillian-certificate", cert, "--trillian-key", key, "--trillian-clients", clients)
		s.env = []string{unhurriedVariable + "=1"}
		return s, logClient(t, door, roots, me)
	}
	a, ofA := machine()
	b, ofB := machine()
	p := trioOf(t, a, b, newServer(t, "--reserve-mib", "64"))
	p.w.env = a.env
	for _, s := range []*server{p.a, p.b, p.w} {
		p.consensus[s] = doors(t)
	}
	p.found(p.a.start, p.b.start, p.w.start)
	players := seat(p.a, 2)
	players.play()
	players.more(20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	same := func() {
		t.Helper()
		before := max(ofA.GetRoot().TreeSize, ofB.GetRoot().TreeSize)
		p.until("both show the same, and more than before", func() bool {
			for _, c := range []*client.LogClient{ofA, ofB} {
				if _, err := c.UpdateRoot(ctx); err != nil {
					t.Fatalf("%v\na:\n%s\nb:\n%s", err, p.a.log.String(), p.b.log.String())
				}
			}
			x, y := ofA.GetRoot(), ofB.GetRoot()
			if x.TreeSize != y.TreeSize || x.TreeSize <= before {
				return false
			}
			if string(x.RootHash) != string(y.RootHash) || x.TimestampNanos != y.TimestampNanos {
				t.Fatalf("%+v and %+v", x, y)
			}
			return true
		})
	}
	same()
	command(t, "pair", "switchover", "--data", p.a.dir)
	p.until("the other machine writes", func() bool { return p.status(p.b).Role.Term != 0 })
	players.more(20)
	players.leave()
	same()
}

// A regulator's stock Trillian client follows a house that plays, is killed and
// comes back, over mutual TLS; each root that it takes is signed by the house.
func TestTrilliansClientsFollowAHouse(t *testing.T) {
	t.Parallel()
	cert, key, roots := certificate(t, t.TempDir())
	clients, me := readers(t)
	door := doors(t)
	s := newServer(t, "--trillian-listen", door, "--trillian-certificate", cert, "--trillian-key", key, "--trillian-clients", clients)
	s.start()
	players := seat(s, 4)
	players.play()

	c := logClient(t, door, roots, me)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
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

// Certificates that are replaced while the house runs are those of its next reader, and
// files that hold none change nothing.
func TestRenewedCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certificate(t, dir)
	clients := filepath.Join(dir, "readers.pem")
	replace := func(name, with string) {
		t.Helper()
		b, err := os.ReadFile(with)
		if err == nil {
			err = os.WriteFile(name+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(name+".new", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(clients, cert)
	var said strings.Builder
	c := &trillianConfig{Listen: "127.0.0.1:0", Certificate: cert, Key: key, Clients: clients}
	files, err := certs.Watch(slog.New(slog.NewTextHandler(&said, nil)), c.credentials, cert, key, clients)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(want string) {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(want, filepath.Join(filepath.Dir(want), "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots, err := authorities(want)
		if err != nil {
			t.Fatal(err)
		}
		if s := files.Now(); len(s.certificate.Certificate) != 1 || !bytes.Equal(s.certificate.Certificate[0], pair.Certificate[0]) || !s.clients.Equal(roots) {
			t.Error("other certificates")
		}
	}
	first := filepath.Join(t.TempDir(), "cert.pem")
	replace(first, cert)
	replace(filepath.Join(filepath.Dir(first), "key.pem"), key)
	shows(first)
	next, nextKey, _ := certificate(t, t.TempDir())
	replace(cert, next) // its key is not there yet
	shows(first)
	if !strings.Contains(said.String(), "the former ones are shown on") {
		t.Errorf("it says %q", said.String())
	}
	replace(key, nextKey)
	replace(clients, next)
	shows(next)
	if err := os.Remove(clients); err != nil {
		t.Fatal(err)
	}
	shows(next)
	replace(clients, nextKey)
	shows(next)
	if n := strings.Count(said.String(), "level=ERROR"); n != 2 {
		t.Errorf("%d errors: %s", n, said.String())
	}
}
