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
	"log/slog"
	"sync"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
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
	Public ed25519.PublicKey
	// Sign returns the signature of msg by the private half of Public.
	Sign   func(msg []byte) ([]byte, error)
	Secret [32]byte            // the nonces follow from it
	Houses map[string][]string // verifier keys by origin: any of them may have signed
	// Journal remembers for which commitments nonces were shown: what an earlier
	// witness of the same secret wrote, and then what this one does. What is
	// written must be durable when Write returns.
	Journal io.ReadWriter
	Log     *slog.Logger // default slog.Default
}

// Noncer is a witness. Its methods may be called by any goroutine.
type Noncer struct {
	cfg     Config
	houses  map[string][]note.Verifier
	answers *prometheus.CounterVec

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
	if cfg.Name == "" || len(cfg.Name) > nameMost || len(cfg.Public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("noncer: expected a name of at most %d characters and an Ed25519 key", nameMost)
	}
	houses := map[string][]note.Verifier{}
	for origin, vkeys := range cfg.Houses {
		if len(vkeys) == 0 {
			return nil, fmt.Errorf("noncer: house %s: expected a verifier key", origin)
		}
		for _, vkey := range vkeys {
			v, err := tlog.NewVerifier(vkey)
			if err != nil {
				return nil, fmt.Errorf("noncer: house %s: %w", origin, err)
			}
			if v.Name() != origin {
				return nil, fmt.Errorf("noncer: house %s: its key is that of %s", origin, v.Name())
			}
			houses[origin] = append(houses[origin], v)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	n := &Noncer{cfg: cfg, houses: houses, shown: map[subject][]tlog.Hash{}, answers: newAnswers()}
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

// nameMost is what an entry has room for.
const nameMost = 64

// Commit returns the signed commitment to the nonce that waits for the next
// secret of an epoch: the same one until it was shown.
func (n *Noncer) Commit(origin string, number uint64) (epoch.Nonce, error) {
	if n.cfg.Houses[origin] == nil {
		return epoch.Nonce{}, ErrHouse
	}
	n.mu.Lock()
	attempt := len(n.shown[subject{origin, number}])
	n.mu.Unlock()
	nonce := n.nonce(origin, number, attempt)
	c := epoch.Nonce{Commitment: nonce.Commitment(origin, number), Key: [32]byte(n.cfg.Public), Witness: n.cfg.Name}
	msg, err := c.Message(origin, number)
	if err != nil {
		return epoch.Nonce{}, fmt.Errorf("noncer: %w", err)
	}
	sig, err := n.cfg.Sign(msg)
	if err != nil {
		return epoch.Nonce{}, fmt.Errorf("noncer: signer: %w", err)
	}
	if !ed25519.Verify(n.cfg.Public, msg, sig) {
		return epoch.Nonce{}, errors.New("noncer: signer: expected a signature of the witness's key")
	}
	c.Signature = [64]byte(sig)
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
	if n.cfg.Houses[origin] == nil {
		return chance.WitnessNonce{}, ErrHouse
	}
	committed, leaf, err := n.proven(origin, answer)
	if err != nil {
		return chance.WitnessNonce{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
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

// proven is the commitment of a house that is in its signed tree.
func (n *Noncer) proven(origin string, answer []byte) (*epoch.Committed, tlog.Hash, error) {
	v, err := entry.Parse(answer)
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	object, hasLeaf := v.Get("leaf")
	text, hasReceipt := v.Get("receipt")
	if !hasLeaf || !hasReceipt || text.Kind != entry.KindString {
		return nil, tlog.Hash{}, errors.New("expected an object with a leaf and its receipt")
	}
	receipt, err := tlog.ParseReceipt([]byte(text.Text))
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	leaf := object.AppendCanonical(nil)
	for _, key := range n.houses[origin] {
		if _, err = receipt.Verify(leaf, key); err == nil {
			break
		}
	}
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	committed := new(epoch.Committed)
	if typ, err := entry.TypeOf(leaf); err != nil || typ != committed.Type() {
		return nil, tlog.Hash{}, fmt.Errorf("a leaf of type %q, expected %s", typ, committed.Type())
	}
	return committed, tlog.LeafHash(leaf), entry.Decode(leaf, committed)
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
