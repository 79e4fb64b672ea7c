package house

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/rngcert/epoch"

	"github.com/sigstore/sigstore/pkg/signature"
)

// What officers' entries are refused for, beside the rules of the books.
var (
	ErrKeyAbsent = errors.New("the key is not at hand")
	ErrWords     = errors.New("the words are not those that the entry commits to")
)

// ring are the keys that this process can sign with.
type ring struct {
	mu      sync.Mutex
	keys    []system.Key
	signers map[string]signature.Signer // by public key
}

func (r *ring) init(cfg *Config) {
	r.keys, r.signers = slices.Clone(cfg.Keys), map[string]signature.Signer{}
	for public, s := range cfg.Signers {
		r.signers[public] = s
	}
	for _, k := range cfg.Keys {
		if k.Role == system.RoleSeeds && cfg.Signers == nil {
			r.signers[k.Public] = cfg.Seeds
		}
	}
}

func (r *ring) signer(public string) signature.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signers[public]
}

func (r *ring) has(want keys.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.keys, system.Key{Algorithm: want.Algorithm, Assurance: want.Assurance, Public: want.Public, Role: want.Role})
}

// AddKey puts a key at hand. It signs nothing but its own introduction before
// the log has it in force.
func (h *House) AddKey(k system.Key, s signature.Signer) error {
	if err := keys.Check(k.Role, h.cfg.Origin, k.Public); err != nil {
		return err
	}
	if k.Role == system.RoleCheckpoint {
		if _, err := h.ledger.AddSigner(s); err != nil {
			return err
		}
	}
	h.ring.mu.Lock()
	defer h.ring.mu.Unlock()
	if h.ring.signers[k.Public] == nil {
		h.ring.signers[k.Public] = s
		h.ring.keys = append(h.ring.keys, k)
	}
	return nil
}

// checkKeys refuses to go on without a key that the log has in force. Which they
// are is what the books say, from entry 0 on.
func (h *House) checkKeys() error {
	return h.ledger.Peek(func(d ledger.Durable) error {
		for _, k := range keys.List(d) {
			if k.Retired == 0 && !h.ring.has(k) {
				return fmt.Errorf("the %s key %s, which is in force in the log, is not at hand: restore the key file that belongs to this log", k.Role, k.Public)
			}
		}
		return nil
	})
}

// signerInForce returns what a role signs with now, and its public key.
func (h *House) signerInForce(ctx context.Context, role string) (s signature.Signer, public string, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		if k := keys.Current(rows, role); k != nil {
			public = k.Public
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if s = h.ring.signer(public); s == nil {
		return nil, public, fmt.Errorf("%s key %s: %w", role, public, ErrKeyAbsent)
	}
	return s, public, nil
}

// KeyView is a key of the log, and whether this process can sign with it.
type KeyView struct {
	keys.Key
	AtHand bool
}

// Keys returns all keys that the log ever had.
func (h *House) Keys(ctx context.Context) (list []KeyView, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		for _, k := range keys.List(rows) {
			list = append(list, KeyView{k, h.ring.signer(k.Public) != nil})
		}
		return nil
	})
	return list, err
}

// Officers returns all officers that the log ever had.
func (h *House) Officers(ctx context.Context) (list []officers.Officer, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		list = slices.Clone(officers.List(rows))
		return nil
	})
	return list, err
}

// Introduction is the entry that would bring a key at hand into use, signed by it
// and by the one that it is to replace, for officers to approve of.
func (h *House) Introduction(ctx context.Context, k system.Key) (*keys.Introduced, error) {
	old, replaces, err := h.signerInForce(ctx, k.Role)
	if err != nil {
		return nil, err
	}
	own := h.ring.signer(k.Public)
	if own == nil {
		return nil, fmt.Errorf("%s key %s: %w", k.Role, k.Public, ErrKeyAbsent)
	}
	r := &keys.Introduced{Algorithm: k.Algorithm, Assurance: k.Assurance, Public: k.Public, Role: k.Role}
	msg := r.Statement(h.cfg.Origin, replaces)
	if r.SignatureOld, err = old.SignMessage(bytes.NewReader(msg)); err != nil {
		return nil, fmt.Errorf("the key in force: %w", err)
	}
	if r.SignatureNew, err = own.SignMessage(bytes.NewReader(msg)); err != nil {
		return nil, fmt.Errorf("the new key: %w", err)
	}
	if by := r.CrossSigned(h.cfg.Origin, replaces); !by.Old || !by.New {
		return nil, errors.New("a key made a signature that does not verify")
	}
	return r, nil
}

// carried has a key that is about to come into force carried to the other machine.
func (h *House) carried(ctx context.Context, k *keys.Introduced) error {
	if h.cfg.Carry == nil {
		return nil
	}
	known := false
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		known = slices.ContainsFunc(keys.List(rows), func(one keys.Key) bool { return one.Public == k.Public })
		return nil
	})
	if err != nil || known { // what was done already is answered as it was
		return err
	}
	return h.cfg.Carry(ctx, k.Role, k.Public)
}

// Attest has a key at hand sign a challenge, in a form in which it signs nothing
// else.
func (h *House) Attest(public string, challenge [32]byte) ([]byte, error) {
	s := h.ring.signer(public)
	if s == nil {
		return nil, fmt.Errorf("key %s: %w", public, ErrKeyAbsent)
	}
	return s.SignMessage(bytes.NewReader(Attestation(h.cfg.Origin, challenge)))
}

// Attestation is what a key signs to show that it is there: canonical JSON.
func Attestation(origin string, challenge [32]byte) []byte {
	return fmt.Appendf(nil, `{"challenge":"%x","origin":"%s","tag":"countroom/key-attestation/v1"}`, challenge, origin)
}

// Words are what officers give as a reason, with the salt of the commitment to
// them.
type Words struct {
	Salt [32]byte
	Text string
}

// Reasoned is an entry that commits to officers' words.
type Reasoned interface{ Because() [32]byte }

// Approve appends an entry that officers approved of; the books hold their
// signatures. Asked for again it is answered with the same entry for ever.
func (h *House) Approve(ctx context.Context, r officers.Approved, words Words) (ledger.Receipt, error) {
	var vaultKey string
	var sealed []byte
	switch k := r.(type) {
	case *subjects.Erased:
		return h.erase(ctx, k)
	case *keys.Introduced:
		if h.ring.signer(k.Public) == nil { // or nobody could sign from then on
			return ledger.Receipt{}, fmt.Errorf("%s key %s: %w", k.Role, k.Public, ErrKeyAbsent)
		}
		if err := h.carried(ctx, k); err != nil { // nor could the other machine of a pair, if it took over
			return ledger.Receipt{}, err
		}
	case Reasoned:
		reason := k.Because()
		if entry.Commitment(words.Salt, words.Text) != reason {
			return ledger.Receipt{}, ErrWords
		}
		vaultKey = h.vault.name("reason", string(reason[:]))
		sealed = h.vault.seal(vaultKey, append(words.Salt[:], words.Text...))
	}
	defer h.seeds.rouse() // it may have decided about an epoch
	return h.approved(ctx, r, []string{keys.RingKey, epoch.StateKey}, func(tx *ledger.Tx) {
		if vaultKey != "" {
			tx.PutVault(vaultKey, sealed)
		}
	})
}

// approved appends an entry that officers approved of, and what goes beside it.
func (h *House) approved(ctx context.Context, r officers.Approved, reads []string, beside func(*ledger.Tx)) (ledger.Receipt, error) {
	actor, msg := officers.Actor(r), officers.Message(h.cfg.Origin, r.Type(), r.Subject())
	key := entry.Commitment([32]byte{}, string(msg))
	req := Request{Key: r.Type() + " " + hex.EncodeToString(key[:]), Method: "POST", Path: "/approved", Principal: actor, Body: msg}
	*r.Head() = entry.Header{Actor: actor}
	return h.update(ctx, ledger.Command{Reads: append(reads, officers.RosterKey), Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		beside(tx)
		_, err := tx.Answer(r)
		return err
	}})
}
