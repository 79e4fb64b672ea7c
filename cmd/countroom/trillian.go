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
	"strconv"
	"time"

	"countroom/api/logrpc"
	"countroom/hardware/certs"
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

// shown is what clients are met with.
type shown struct {
	certificate tls.Certificate
	clients     *x509.CertPool
}

// credentials reads the certificates.
func (c *trillianConfig) credentials() (s shown, err error) {
	if s.certificate, err = tls.LoadX509KeyPair(c.Certificate, c.Key); err != nil {
		return s, fmt.Errorf("trillian.certificate: %w", err)
	}
	if s.clients, err = authorities(c.Clients); err != nil {
		return s, fmt.Errorf("trillian.clients: %w", err)
	}
	return s, nil
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
	files, err := certs.Watch(log, c.credentials, c.Certificate, c.Key, c.Clients)
	if err != nil {
		return nil, err
	}
	first := files.Now()
	renewed := func() (tls.Certificate, *x509.CertPool) {
		now := files.Now()
		return now.certificate, now.clients
	}
	lis, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("trillian.listen: %w", err)
	}
	return &logAPI{logrpc.New(logrpc.Config{Certificate: first.certificate, Clients: first.clients, Renewed: renewed, Enter: enter, Log: log}), lis}, nil
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
