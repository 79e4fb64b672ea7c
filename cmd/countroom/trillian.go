package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"countroom/api/logrpc"
	"countroom/ledger"
)

// trillianConfig is where Trillian's Log API is served, if it is.
type trillianConfig struct {
	Listen      string `yaml:"listen"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	Clients     string `yaml:"clients"`
}

func (c *trillianConfig) check() error {
	if *c == (trillianConfig{}) {
		return nil
	}
	if c.Listen == "" || c.Certificate == "" || c.Key == "" || c.Clients == "" {
		return errors.New("trillian: expected listen, certificate, key and clients, or none of them: the API is served over mutual TLS only")
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		return fmt.Errorf("trillian.listen: %q: expected host:port", c.Listen)
	}
	return nil
}

// credentials reads the certificates.
func (c *trillianConfig) credentials() (cert tls.Certificate, clients *x509.CertPool, err error) {
	if cert, err = tls.LoadX509KeyPair(c.Certificate, c.Key); err != nil {
		return cert, nil, fmt.Errorf("trillian.certificate: %w", err)
	}
	clients, err = authorities(c.Clients)
	if err != nil {
		return cert, nil, fmt.Errorf("trillian.clients: %w", err)
	}
	return cert, clients, nil
}

// renewing are the certificates as they are in their files. A house runs longer than
// certificates last.
type renewing struct {
	*trillianConfig
	log *slog.Logger

	mu      sync.Mutex
	seen    []os.FileInfo
	cert    tls.Certificate
	clients *x509.CertPool
}

// now returns them. Files that cannot be used change nothing.
func (r *renewing) now() (tls.Certificate, *x509.CertPool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []os.FileInfo
	for _, name := range []string{r.Certificate, r.Key, r.Clients} {
		info, err := os.Stat(name)
		if err != nil { // perhaps it is being replaced
			return r.cert, r.clients
		}
		found = append(found, info)
	}
	if slices.EqualFunc(found, r.seen, func(a, b os.FileInfo) bool {
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	}) {
		return r.cert, r.clients
	}
	cert, clients, err := r.credentials()
	switch {
	case err != nil:
		r.log.Error("Trillian's Log API goes on with the certificates that it had", "error", err)
	case r.seen != nil:
		r.log.Info("Trillian's Log API has new certificates")
		fallthrough
	default:
		r.cert, r.clients = cert, clients
	}
	r.seen = found
	return r.cert, r.clients
}

// authorities reads a PEM file of certificates that sign others.
func authorities(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: expected certificates in PEM", name)
	}
	return pool, nil
}

// logAPI is Trillian's Log API on its listener, nil where it is not served.
type logAPI struct {
	*logrpc.Server
	lis net.Listener
}

// open takes the listener.
func (c *trillianConfig) open(enter func() (*ledger.Ledger, func()), log *slog.Logger) (*logAPI, error) {
	if c.Listen == "" {
		return nil, nil
	}
	cert, clients, err := c.credentials()
	if err != nil {
		return nil, err
	}
	renewing := &renewing{trillianConfig: c, log: log, cert: cert, clients: clients}
	lis, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("trillian.listen: %w", err)
	}
	return &logAPI{logrpc.New(logrpc.Config{Certificate: cert, Clients: clients, Renewed: renewing.now, Enter: enter, Log: log}), lis}, nil
}

func (a *logAPI) serve(log *slog.Logger) {
	if a == nil {
		return
	}
	log.Info("serving Trillian's Log API", "address", a.lis.Addr().String())
	go func() {
		if err := a.Serve(a.lis); err != nil {
			log.Error("Trillian's Log API is not served any more", "error", err)
		}
	}()
}

// stop is called before the house is closed.
func (a *logAPI) stop(ctx context.Context) {
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a.Shutdown(ctx)
	a.lis.Close() // if it was never served
}
