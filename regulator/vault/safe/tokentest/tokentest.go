// Package tokentest is a token service for tests: a stand-in for the authority's, whose own protocol is not public. It
// binds each token once and signs what it bound.
package tokentest

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Errors of the service.
var (
	ErrAway  = errors.New("the token service is away")
	ErrToken = errors.New("expected a token that was issued and not bound")
)

// Service is a token service in memory. It may be away.
type Service struct {
	Away bool

	mu     sync.Mutex
	key    ed25519.PrivateKey
	issued map[string]string // what for
	bound  map[string]string // to which manifest
}

// New returns a service with a key of its own.
func New(seed byte) *Service {
	var s [ed25519.SeedSize]byte
	s[0] = seed
	return &Service{key: ed25519.NewKeyFromSeed(s[:]), issued: map[string]string{}, bound: map[string]string{}}
}

// Issue gives a token out.
func (s *Service) Issue(_ context.Context, origin, day string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Away {
		return "", ErrAway
	}
	token := fmt.Sprintf("token-%d", len(s.issued)+1)
	s.issued[token] = origin + " " + day
	return token, nil
}

// Seal binds a token.
func (s *Service) Seal(_ context.Context, token string, manifest [32]byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := hex.EncodeToString(manifest[:])
	switch {
	case s.Away:
		return "", ErrAway
	case s.issued[token] == "" || s.bound[token] != "":
		return "", ErrToken
	}
	s.bound[token] = digest
	return hex.EncodeToString(ed25519.Sign(s.key, s.message(token))), nil
}

func (s *Service) message(token string) []byte {
	return []byte(strings.Join([]string{"tokentest", token, s.issued[token], s.bound[token]}, "\n"))
}

// Check says whether a seal is the service's.
func (s *Service) Check(origin, day, token, manifest, seal string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sig, err := hex.DecodeString(seal)
	if err != nil || s.issued[token] != origin+" "+day || s.bound[token] != manifest || !ed25519.Verify(s.key.Public().(ed25519.PublicKey), s.message(token), sig) {
		return errors.New("a seal that the token service did not make")
	}
	return nil
}

// Counts are how many tokens were issued, and how many bound.
func (s *Service) Counts() (issued, bound int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.issued), len(s.bound)
}
