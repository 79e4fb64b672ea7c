package replica

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/ledger/replica/core"
)

// authority signs the certificates of a group.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the group"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (a *authority) node(t testing.TB, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: roots}
}

// overTCP lets a trio talk over the loopback with mutual TLS.
func overTCP(t testing.TB) *trio {
	ca := newAuthority(t)
	doors := map[string]net.Listener{}
	addrs := map[string]string{}
	for _, name := range []string{"A", "B", "W"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		doors[name], addrs[name] = l, l.Addr().String()
	}
	return newTrio(t, func(cfg *Config) {
		cfg.network, cfg.manual, cfg.Tick = nil, false, 4*tick
		cfg.TLS = ca.node(t, cfg.Name)
		cfg.Members = slices.Clone(cfg.Members)
		for i := range cfg.Members {
			cfg.Members[i].Address = addrs[cfg.Members[i].Name]
		}
		cfg.Listener, doors[cfg.Name] = doors[cfg.Name], nil
	})
}

// Three nodes over TCP: what is said is said on both machines, through the loss of each.
func TestOverTCP(t *testing.T) {
	c := overTCP(t)
	for i := range 50 {
		c.say(fmt.Sprint("spin ", i))
	}
	c.same("A", "B")
	for round := range 3 {
		a := c.active().self.Name
		c.close(a)
		c.say(fmt.Sprint("without ", a, round))
		c.open(a)
		c.say(fmt.Sprint("with ", a, round))
		c.same("A", "B")
	}
	c.close("W")
	c.say("without W")
	c.open("W")
	to := map[string]string{"A": "B", "B": "A"}[c.active().self.Name]
	must(t, c.active().Transfer(context.Background(), to))
	c.say("switched over")
	if got := c.same("A", "B"); len(got) != 58 {
		t.Fatalf("%d were said", len(got))
	}
}

// Who is not of the group is sent away, and told what to do.
func TestSentAway(t *testing.T) {
	c := overTCP(t)
	c.say("before")
	c.same("A", "B")
	ca := newAuthority(t)
	n := c.nodes["A"]
	members := n.Members()
	addr := members[slices.IndexFunc(members, func(m Member) bool { return m.Name == "A" })].Address
	good := c.nodes["W"].cfg.TLS
	call := func(cfg *tls.Config, change func(*hello)) string {
		cfg = cfg.Clone()
		cfg.ServerName, cfg.MinVersion = "A", tls.VersionTLS13
		conn, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		h := hello{oldest: 1, newest: 1, purpose: forMessages, origin: origin, from: "W", to: "A", instance: random(), last: 1 << 40}
		change(&h)
		if err := writeFrame(conn, 0, frameHello, appendHello(nil, h)); err != nil {
			return err.Error()
		}
		_, payload, err := readFrame(conn, 0)
		if err != nil {
			return err.Error()
		}
		return string(payload[1:])
	}
	for _, wrong := range []struct {
		name   string
		cfg    *tls.Config
		change func(*hello)
		say    string
	}{
		{"a certificate of another authority", ca.node(t, "W"), func(*hello) {}, "certificate"},
		{"no certificate", &tls.Config{RootCAs: good.RootCAs}, func(*hello) {}, ""}, // TLS ends before there is a word
		{"the certificate of another node", c.nodes["B"].cfg.TLS, func(*hello) {}, "the certificate is not for \"W\""},
		{"a node of another house", good, func(h *hello) { h.origin = "other.example/log" }, "check the addresses"},
		{"somebody who looks for B", good, func(h *hello) { h.to = "B" }, "this is node \"A\""},
		{"a version from the future", good, func(h *hello) { h.oldest, h.newest = 2, 3 }, "bring the machines to neighbouring versions"},
		{"a second node of a name", good, func(*hello) {}, "two nodes call themselves \"W\""},
		{"the node's own name", n.cfg.TLS, func(h *hello) { h.from = "A" }, "another node has the name \"A\""},
		{"nobody's member", c.nodes["B"].cfg.TLS, func(h *hello) { h.from = "C" }, "not for \"C\""},
	} {
		if said := call(wrong.cfg, wrong.change); !strings.Contains(said, wrong.say) || said == "\x01" {
			t.Errorf("%s is told %q, want %q", wrong.name, said, wrong.say)
		}
	}
	// A machine whose disk was put back comes back with less than it had; it stops.
	c.say("more")
	a := c.active().self.Name
	b := map[string]string{"A": "B", "B": "A"}[a]
	eventually(t, "what it had is remembered", func() bool { return c.nodes[a].peers.durable(b) > 1 })
	c.close(b)
	c.fs[b], c.tapes[b] = nil, nil
	back := c.open(b)
	eventually(t, "it stops", func() bool { return back.Err() != nil })
	// Either another node remembers, or the leader's word and its own log contradict each other first.
	if err := back.Err(); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "under a new name") {
		t.Fatalf("it stops with %v", err)
	}
	c.say("the others go on")
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	must(t, writeFrame(&buf, 3, frameMessage, []byte("hello there")))
	whole := buf.Bytes()
	if kind, b, err := readFrame(bytes.NewReader(whole), 3); err != nil || kind != frameMessage || string(b) != "hello there" {
		t.Fatal(kind, b, err)
	}
	if _, _, err := readFrame(bytes.NewReader(whole), 4); !errors.Is(err, errFrame) {
		t.Fatalf("out of its order: %v", err)
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, _, err := readFrame(bytes.NewReader(b), 3); err == nil {
				t.Fatalf("bit %d of byte %d is turned, and the frame is taken", bit, i)
			}
		}
		if _, _, err := readFrame(bytes.NewReader(whole[:i]), 3); err == nil {
			t.Fatalf("cut off at %d it is taken", i)
		}
	}
}

// A state that is cut off or changed anywhere is not taken.
func TestChunks(t *testing.T) {
	var buf bytes.Buffer
	c := &chunks{w: &buf}
	for i := range 5 {
		_, err := fmt.Fprintf(c, "piece %d", i)
		must(t, err)
	}
	must(t, c.put(nil))
	whole := buf.Bytes()
	if b, err := io.ReadAll(&unchunk{r: bytes.NewReader(whole)}); err != nil || string(b) != "piece 0piece 1piece 2piece 3piece 4" {
		t.Fatalf("%q, %v", b, err)
	}
	for i := range whole {
		if _, err := io.ReadAll(&unchunk{r: bytes.NewReader(whole[:i])}); !errors.Is(err, errState) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := io.ReadAll(&unchunk{r: bytes.NewReader(b)}); !errors.Is(err, errState) {
				t.Fatalf("bit %d of byte %d is turned: %v", bit, i, err)
			}
		}
	}
}

func FuzzFrame(f *testing.F) {
	var buf bytes.Buffer
	must(f, writeFrame(&buf, 0, frameHello, appendHello(nil, hello{oldest: 1, newest: 1, purpose: 1, origin: origin, from: "A", to: "B", have: []byte("x")})))
	f.Add(buf.Bytes())
	f.Add(appendReport(nil, core.Report{Fit: true, Durable: 7}))
	f.Add(appendStateHead(nil, stateHead{index: 1, term: 1, conf: core.Conf{Members: core.EncodeMembers(nil)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if kind, payload, err := readFrame(bytes.NewReader(b), 0); err == nil {
			var again bytes.Buffer
			must(t, writeFrame(&again, 0, kind, payload))
			if !bytes.HasPrefix(b, again.Bytes()) {
				t.Fatal("a frame has two encodings")
			}
			b = payload
		}
		if h, err := parseHello(b); err == nil && !bytes.Equal(appendHello(nil, h), b) {
			t.Fatalf("a hello has two encodings: %+v", h)
		}
		if r, err := parseReport(b); err == nil && !bytes.Equal(appendReport(nil, r), b) {
			t.Fatal("a report has two encodings")
		}
		_, _ = parseStateHead(b)
		_, _, _ = readStateOf(newReader(b))
	})
}
