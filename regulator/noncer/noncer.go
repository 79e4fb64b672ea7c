// Package noncer is a witness of a house's seeds: somebody outside, such as the
// regulator, who adds to each seed a nonce that the house can neither know before
// it has bound itself to its own secret, nor choose.
//
// The house asks for a commitment to a nonce (POST /v1/nonces) before it makes
// the secret of an epoch. When its own commitment is in its log it shows the
// receipt of that entry, and gets the nonce (POST /v1/nonces/reveal). For one of
// its nonces a Noncer serves one commitment of the house and no other: whoever
// shows it a second one has lost or rewritten its log, and gets another nonce.
package noncer

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
)

// Refusals.
var (
	ErrHouse  = errors.New("noncer: not a house that this witness serves")
	ErrAnswer = errors.New("noncer: not the receipt of a commitment of that house to a nonce of this witness")
	ErrShown  = errors.New("noncer: the nonce was shown for another commitment of the house")
)

// Config is what a witness is made of.
type Config struct {
	Name   string // at most 64 plain characters
	Key    ed25519.PrivateKey
	Secret [32]byte          // the nonces follow from it
	Houses map[string]string // verifier keys by origin
	// Journal remembers for which commitments nonces were shown: what an earlier
	// witness of the same secret wrote, and then what this one does. What is
	// written must be durable when Write returns.
	Journal io.ReadWriter
}

// Noncer is a witness. Its methods may be called by any goroutine.
type Noncer struct {
	cfg Config

	mu    sync.Mutex
	shown map[subject][]tlog.Hash // leaves, by attempt
}

// subject is an epoch of a house.
type subject struct {
	origin string
	epoch  uint64
}

// line is a line of the journal.
type line struct {
	Attempt int    `json:"attempt"`
	Epoch   uint64 `json:"epoch"`
	Leaf    string `json:"leaf"`
	Origin  string `json:"origin"`
}

// New returns a witness that goes on after its journal.
func New(cfg Config) (*Noncer, error) {
	if cfg.Name == "" || len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("noncer: expected a name and an Ed25519 key")
	}
	for origin, vkey := range cfg.Houses {
		v, err := tlog.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("noncer: house %s: %w", origin, err)
		}
		if v.Name() != origin {
			return nil, fmt.Errorf("noncer: house %s: its key is that of %s", origin, v.Name())
		}
	}
	n := &Noncer{cfg: cfg, shown: map[subject][]tlog.Hash{}}
	d := json.NewDecoder(cfg.Journal)
	for {
		var l line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		s := subject{l.Origin, l.Epoch}
		leaf, hexErr := hex.DecodeString(l.Leaf)
		if err == nil && (hexErr != nil || len(leaf) != len(tlog.Hash{}) || l.Attempt != len(n.shown[s])) {
			err = errors.New("expected the next attempt and the hash of a leaf")
		}
		if err != nil {
			// A line that a crash cut short was never acted upon, but what came after
			// it would be lost: somebody has to look.
			return nil, fmt.Errorf("noncer: journal: %w", err)
		}
		n.shown[s] = append(n.shown[s], tlog.Hash(leaf))
	}
}

// Commit returns the signed commitment to the nonce that waits for the next
// secret of an epoch: the same one until it was shown.
func (n *Noncer) Commit(origin string, number uint64) (epoch.Nonce, error) {
	if n.cfg.Houses[origin] == "" {
		return epoch.Nonce{}, ErrHouse
	}
	n.mu.Lock()
	attempt := len(n.shown[subject{origin, number}])
	n.mu.Unlock()
	nonce := n.nonce(origin, number, attempt)
	c := epoch.Nonce{Commitment: nonce.Commitment(origin, number), Key: [32]byte(n.cfg.Key.Public().(ed25519.PublicKey)), Witness: n.cfg.Name}
	msg, err := c.Message(origin, number)
	if err != nil {
		return epoch.Nonce{}, fmt.Errorf("noncer: %w", err)
	}
	c.Signature = [64]byte(ed25519.Sign(n.cfg.Key, msg))
	return c, nil
}

// nonce is the nonce of an attempt at an epoch: nobody can tell it without the
// secret.
func (n *Noncer) nonce(origin string, number uint64, attempt int) chance.WitnessNonce {
	m := hmac.New(sha256.New, n.cfg.Secret[:])
	m.Write([]byte("countroom/witness-nonce/v1"))
	m.Write(binary.BigEndian.AppendUint64(nil, number))
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(attempt)))
	m.Write([]byte(origin))
	return chance.WitnessNonce{Nonce: [32]byte(m.Sum(nil)), Witness: n.cfg.Name}
}

// Show returns the nonce that a house's commitment waits for. answer is the
// house's saved answer for that entry: the leaf and its receipt.
func (n *Noncer) Show(origin string, answer []byte) (chance.WitnessNonce, error) {
	vkey := n.cfg.Houses[origin]
	if vkey == "" {
		return chance.WitnessNonce{}, ErrHouse
	}
	proofs, err := verify.Receipt(answer, vkey)
	if err != nil {
		return chance.WitnessNonce{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	var committed *epoch.Committed
	if len(proofs) == 1 {
		committed, _ = proofs[0].Record.(*epoch.Committed)
	}
	if committed == nil {
		return chance.WitnessNonce{}, ErrAnswer
	}
	leaf := tlog.LeafHash(proofs[0].Leaf)
	s := subject{origin, committed.Epoch}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, promised := range committed.Nonces {
		if promised.Witness != n.cfg.Name {
			continue
		}
		for attempt := range len(n.shown[s]) + 1 {
			nonce := n.nonce(origin, committed.Epoch, attempt)
			if nonce.Commitment(origin, committed.Epoch) != promised.Commitment {
				continue
			}
			if attempt == len(n.shown[s]) {
				if err := n.remember(s, attempt, leaf); err != nil {
					return chance.WitnessNonce{}, err
				}
			}
			if n.shown[s][attempt] != leaf {
				return chance.WitnessNonce{}, ErrShown
			}
			return nonce, nil
		}
	}
	return chance.WitnessNonce{}, ErrAnswer
}

// remember writes down for which leaf a nonce is shown, before it is.
func (n *Noncer) remember(s subject, attempt int, leaf tlog.Hash) error {
	b, err := json.Marshal(line{Attempt: attempt, Epoch: s.epoch, Leaf: hex.EncodeToString(leaf[:]), Origin: s.origin})
	if err != nil {
		return fmt.Errorf("noncer: journal: %w", err)
	}
	if _, err := n.cfg.Journal.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("noncer: journal: %w", err)
	}
	n.shown[s] = append(n.shown[s], leaf)
	return nil
}
