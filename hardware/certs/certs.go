// Package certs has what servers take from files that are replaced while they run:
// a house runs longer than its certificates last.
package certs

import (
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// Files is what was read from some files last.
type Files[T any] struct {
	names []string
	read  func() (T, error)
	log   *slog.Logger

	mu   sync.Mutex
	seen []os.FileInfo
	last T
}

// Watch reads files with read, now and whenever one of them is another than before.
func Watch[T any](log *slog.Logger, read func() (T, error), names ...string) (*Files[T], error) {
	f := &Files[T]{names: names, read: read, log: log}
	f.seen, _ = f.look() // of files that are replaced meanwhile the newer ones are read again
	var err error
	f.last, err = read()
	return f, err
}

// look tells whether all files are there.
func (f *Files[T]) look() (found []os.FileInfo, all bool) {
	for _, name := range f.names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, false
		}
		found = append(found, info)
	}
	return found, true
}

// Now returns what is in the files. While one is missing, or cannot be used, that is
// what was in them before.
func (f *Files[T]) Now() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, all := f.look()
	if !all || slices.EqualFunc(found, f.seen, same) {
		return f.last
	}
	f.seen = found
	next, err := f.read()
	if err != nil {
		f.log.Error("certificates were replaced by some that cannot be used: the former ones are shown on", "files", f.names, "error", err)
		return f.last
	}
	f.log.Info("certificates were renewed", "files", f.names)
	f.last = next
	return next
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Server is how a server shows the certificate of a file with the key of another.
func Server(log *slog.Logger, certificate, key string) (*tls.Config, error) {
	f, err := Watch(log, func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(certificate, key)
		return &c, err
	}, certificate, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.Now(), nil },
	}, nil
}
