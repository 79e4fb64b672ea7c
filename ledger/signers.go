package ledger

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"countroom/ledger/entry"
	ring "countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
)

// signers are the keys at hand for checkpoints, and which of them the log has in
// force at which size: all that are sign. Which they are follows from the books,
// never from entry 0 alone nor from what happens to be configured.
type signers struct {
	mu    sync.Mutex
	first string                 // verifier key that a log without keys in its books is signed with
	pool  map[string]note.Signer // by verifier key
	chain []ring.Key             // of the log, as of what is durable
}

// signerOf returns the note signer of a key and its verifier key.
func signerOf(origin string, s signature.Signer) (note.Signer, string, error) {
	pub, err := s.PublicKey()
	if err != nil {
		return nil, "", fmt.Errorf("checkpoint key: %w", err)
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok {
		return nil, "", fmt.Errorf("checkpoint key: expected Ed25519, got %T", pub)
	}
	n, err := tlog.NewSigner(origin, key, func(msg []byte) ([]byte, error) { return s.SignMessage(bytes.NewReader(msg)) })
	if err != nil {
		return nil, "", err
	}
	vkey, err := tlog.VKey(origin, key)
	return n, vkey, err
}

// AddSigner gives the ledger another key for checkpoints. It signs from the
// entry on that brings it into force, and not before.
func (l *Ledger) AddSigner(s signature.Signer) (vkey string, err error) {
	n, vkey, err := signerOf(l.cfg.Origin, s)
	if err != nil {
		return "", err
	}
	l.signers.mu.Lock()
	defer l.signers.mu.Unlock()
	if l.signers.pool[vkey] == nil {
		l.signers.pool[vkey] = n
	}
	return vkey, nil
}

// TrySigners has each key that the next checkpoint needs sign something that is none,
// and says which of them cannot. It is an ErrSigner.
func (l *Ledger) TrySigners() error {
	list, err := l.signers.at(math.MaxUint64)
	for _, s := range list {
		if _, bad := s.Sign([]byte("countroom/fit/v1")); bad != nil {
			err = errors.Join(err, fmt.Errorf("%s+%08x: %w", s.Name(), s.KeyHash(), bad))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSigner, err)
	}
	return nil
}

func (l *Ledger) openSigners() error {
	l.signers.pool = map[string]note.Signer{}
	for _, s := range append([]signature.Signer{l.cfg.Signer}, l.cfg.MoreSigners...) {
		vkey, err := l.AddSigner(s)
		if err != nil {
			return err
		}
		if l.signers.first == "" {
			l.signers.first = vkey
		}
	}
	return nil
}

// openChain reads the log's keys from its books.
func (l *Ledger) openChain(size uint64) error {
	if size == 0 || l.books.Kinds[ring.RingKey] == nil {
		return nil
	}
	row, err := readRow(l.store, l.books.Kinds, ring.RingKey)
	if err != nil {
		return err
	}
	known, ok := row.(*ring.Ring)
	if !ok {
		return nil
	}
	for _, k := range known.Keys {
		if k.Role == system.RoleCheckpoint {
			l.signers.chain = append(l.signers.chain, k)
		}
	}
	_, err = l.signers.at(size)
	return err
}

// note takes in an entry that is durable.
func (s *signers) note(index uint64, r entry.Record) {
	switch r := r.(type) {
	case *system.HouseCreated:
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, k := range r.Keys {
			if k.Role == system.RoleCheckpoint {
				s.chain = append(s.chain, ring.Key{Public: k.Public, Role: k.Role})
			}
		}
	case *ring.Introduced:
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Role == system.RoleCheckpoint {
			s.chain = append(s.chain, ring.Key{Public: r.Public, Role: r.Role, Introduced: index})
		}
	case *ring.Retired:
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.chain {
			if s.chain[i].Public == r.Public && r.Role == system.RoleCheckpoint {
				s.chain[i].Retired = index
			}
		}
	}
}

// at returns the signers of a checkpoint of a size.
func (s *signers) at(size uint64) (list []note.Signer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.chain {
		if !k.InForce(size) {
			continue
		}
		n := s.pool[k.Public]
		if n == nil {
			return nil, fmt.Errorf("the checkpoint key or the origin is not this log's: restore the key file that belongs to it: %s is in force", k.Public)
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		list = append(list, s.pool[s.first])
	}
	return list, nil
}

// newest is the verifier key that checkpoints are signed with from now on.
func (s *signers) newest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Backward(s.chain) {
		if k.Retired == 0 {
			return k.Public
		}
	}
	return s.first
}

// open opens a checkpoint that any key of the log signed.
func (s *signers) open(msg []byte) (c tlog.Checkpoint, err error) {
	s.mu.Lock()
	vkeys := []string{s.first}
	for _, k := range slices.Backward(s.chain) {
		vkeys = append(vkeys, k.Public)
	}
	for vkey := range s.pool { // those that are about to be introduced
		vkeys = append(vkeys, vkey)
	}
	s.mu.Unlock()
	for _, vkey := range vkeys {
		v, bad := tlog.NewVerifier(vkey)
		if bad != nil {
			return c, bad
		}
		if c, err = tlog.Open(msg, v); !errors.Is(err, tlog.ErrSignature) {
			return c, err
		}
	}
	return c, err
}
