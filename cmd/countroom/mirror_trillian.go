package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"countroom/regulator/mirror"
	"countroom/regulator/mirror/stock"

	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// exitDiffers is the exit status when a stock Trillian is not what the house signed.
const exitDiffers = 3

// stockFlags name the stock Trillian that a mirror feeds, if it does.
type stockFlags struct {
	address, ca, certificate, key string
	tree                          int64
	plaintext                     bool
}

func (f *stockFlags) declare(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "trillian", "", "host:port of the log server of a stock Trillian to feed")
	flags.Int64Var(&f.tree, "trillian-tree", 0, "tree of the stock Trillian, a PREORDERED_LOG (default one that the mirror makes there and remembers)")
	flags.StringVar(&f.ca, "trillian-ca", "", "PEM file with the authorities that sign the stock Trillian's certificate")
	flags.StringVar(&f.certificate, "trillian-certificate", "", "PEM file with the certificate to show to the stock Trillian")
	flags.StringVar(&f.key, "trillian-key", "", "PEM file with that certificate's key")
	flags.BoolVar(&f.plaintext, "trillian-plaintext", false, "reach a stock Trillian on another machine without TLS")
}

func (f *stockFlags) check(leaves bool) error {
	if f.address == "" {
		if *f != (stockFlags{}) {
			return errors.New("expected --trillian with the other flags of a stock Trillian")
		}
		return nil
	}
	host, _, err := net.SplitHostPort(f.address)
	switch {
	case err != nil:
		return fmt.Errorf("--trillian: %q: expected host:port", f.address)
	case !leaves:
		return errors.New("--trillian: a stock Trillian needs the entries: give --token")
	case f.tree < 0:
		return fmt.Errorf("--trillian-tree: %d: expected a tree's number", f.tree)
	case (f.certificate == "") != (f.key == ""):
		return errors.New("expected both --trillian-certificate and --trillian-key, or neither")
	case f.certificate != "" && f.ca == "":
		return errors.New("--trillian-certificate: expected --trillian-ca with it")
	case f.ca == "" && !f.plaintext && !isLoopback(host):
		return fmt.Errorf("--trillian: %s is another machine: give --trillian-ca, or --trillian-plaintext if the way there is private", f.address)
	}
	return nil
}

func (f *stockFlags) credentials() (credentials.TransportCredentials, error) {
	if f.ca == "" {
		return insecure.NewCredentials(), nil
	}
	roots, err := authorities(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--trillian-ca: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if f.certificate != "" {
		cert, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if err != nil {
			return nil, fmt.Errorf("--trillian-certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return credentials.NewTLS(cfg), nil
}

// open returns what feeds the stock Trillian, nil where there is none.
func (f *stockFlags) open(m *mirror.Mirror, dir string, log *slog.Logger) (feeder *stock.Feeder, hangUp func(), err error) {
	if f.address == "" {
		return nil, func() {}, nil
	}
	creds, err := f.credentials()
	if err != nil {
		return nil, nil, err
	}
	conn, err := stock.Dial(f.address, creds)
	if err != nil {
		return nil, nil, fmt.Errorf("--trillian: %w", err)
	}
	feeder, err = stock.Open(stock.Config{Mirror: m, Dir: filepath.Join(dir, "trillian"), Address: f.address, Conn: conn, Tree: f.tree, Log: log})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return feeder, func() { conn.Close() }, nil
}
