package house

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// vault encrypts what may not stand in the log: AES-256-GCM with a random
// nonce, the row's key as associated data. Rows are found under MACs of what
// they are about, so the keys tell nothing either.
//
// What is about one player is sealed under a key of his own, and that is wrapped
// under the key of a period. So erasing his key erases all of it, wherever copies
// are, once the period's key is gone too.
type vault struct {
	house  cipher.AEAD
	macKey [32]byte

	mu     sync.RWMutex
	oldest Ratchet                // what all keys of periods follow from
	now    uint64                 // the period that rows are wrapped in
	wraps  map[uint64]cipher.AEAD // of periods
}

func newVault(key [32]byte, oldest Ratchet) *vault {
	return &vault{house: newAEAD(mac(key, "countroom/vault/encryption/v1")), macKey: mac(key, "countroom/vault/names/v1"), oldest: oldest, now: oldest.Period, wraps: map[uint64]cipher.AEAD{}}
}

func mac(key [32]byte, label string) [32]byte {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(label))
	return [32]byte(m.Sum(nil))
}

func newAEAD(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (v *vault) mac(kind, about string) string {
	m := hmac.New(sha256.New, v.macKey[:])
	m.Write([]byte(kind))
	m.Write([]byte{0})
	m.Write([]byte(about))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// name returns the key of the row about something.
func (v *vault) name(kind, about string) string { return "vault/" + kind + "/" + v.mac(kind, about) }

// Kinds of rows that begin the keys of many.
const (
	kindPlayerID = "player-id"
	kindSubject  = "subject"
)

// subjectRow is the key of the row with a player's key.
func (v *vault) subjectRow(ref entry.Ref) string { return v.name(kindSubject, ref.String()) }

// playerRow is the key of the row with the operator's id of a player.
func (v *vault) playerRow(ref entry.Ref) string { return v.name("player", ref.String()) }

// idRow is the key of the row with the reference behind an operator's id.
func (v *vault) idRow(id string) string { return v.name(kindPlayerID, id) }

// valuesOf begins the keys of the rows with a player's recorded values.
func (v *vault) valuesOf(ref entry.Ref) string {
	return "vault/value/" + v.mac(kindSubject, ref.String()) + "/"
}

// wordsOf begins the keys of the rows with the operator's words about a player.
func (v *vault) wordsOf(ref entry.Ref) string {
	return "vault/words/" + v.mac(kindSubject, ref.String()) + "/"
}

// valueRow is the key of the row with a value that the log has a commitment to.
func (v *vault) valueRow(ref entry.Ref, commitment [32]byte) string {
	return v.valuesOf(ref) + v.mac("value", string(commitment[:]))
}

// wordsRow is the key of the row with words about a player that the log has a
// commitment to.
func (v *vault) wordsRow(ref entry.Ref, commitment [32]byte) string {
	return v.wordsOf(ref) + v.mac("reason", string(commitment[:]))
}

// seal encrypts what is about the house and not about a player.
func (v *vault) seal(key string, plain []byte) []byte { return seal(v.house, nil, key, plain) }

func seal(aead cipher.AEAD, dst []byte, key string, plain []byte) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, aead.NonceSize())...)
	rand.Read(dst[n:])
	return aead.Seal(dst, dst[n:], plain, []byte(key))
}

var errVault = errors.New("a vault row does not open: wrong vault key, or it was changed")

func (v *vault) open(key string, sealed []byte) ([]byte, error) { return open(v.house, key, sealed) }

func open(aead cipher.AEAD, key string, sealed []byte) ([]byte, error) {
	n := aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("%s: %w", key, errVault)
	}
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, errVault)
	}
	return plain, nil
}

// personal seals and opens what is about one player, under his own key.
type personal struct{ cipher.AEAD }

func newPersonal(key [32]byte) personal { return personal{newAEAD(key)} }

func (p personal) seal(key string, plain []byte) []byte { return seal(p, nil, key, plain) }

func (p personal) open(key string, sealed []byte) ([]byte, error) { return open(p, key, sealed) }

// Wrapped rows are a period's number (4 bytes), nonce, and what is sealed under
// that period's key.

// period returns what the rows of a period are wrapped with.
func (v *vault) period(n uint64) (cipher.AEAD, error) {
	v.mu.RLock()
	w, oldest := v.wraps[n], v.oldest
	v.mu.RUnlock()
	if w != nil {
		return w, nil
	}
	r, err := oldest.At(n)
	if err != nil {
		return nil, err
	}
	w = newAEAD(mac(r.Key, "countroom/vault/wrapping/v1"))
	v.mu.Lock()
	defer v.mu.Unlock()
	if n < v.oldest.Period {
		return nil, fmt.Errorf("%w: period %d", ErrPeriodOver, n)
	}
	if len(v.wraps) > 8 {
		clear(v.wraps) // rows of made-up periods
	}
	v.wraps[n] = w
	return w, nil
}

// current is the period that rows are wrapped in.
func (v *vault) current() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.now
}

// first is the oldest period of which there is the key.
func (v *vault) first() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.oldest.Period
}

// enter has rows wrapped in a period from now on.
func (v *vault) enter(period uint64) error {
	if _, err := v.period(period); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = period
	return nil
}

// forget gives up the keys of all periods before one, once keep has written down
// the key that is the oldest then.
func (v *vault) forget(before uint64, keep func(Ratchet) error) error {
	v.mu.RLock()
	oldest := v.oldest
	v.mu.RUnlock()
	if oldest.Period >= before {
		return nil
	}
	next, err := oldest.At(before)
	if err != nil {
		return err
	}
	if keep != nil {
		if err := keep(next); err != nil {
			return fmt.Errorf("the vault's key of period %d: %w", before, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.oldest, v.now = next, max(v.now, next.Period)
	for n := range v.wraps {
		if n < before {
			delete(v.wraps, n)
		}
	}
	return nil
}

// wrap seals a row under the key of the current period.
func (v *vault) wrap(key string, plain []byte) ([]byte, error) {
	n := v.current()
	w, err := v.period(n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return seal(w, binary.BigEndian.AppendUint32(make([]byte, 0, 4+12+len(plain)+16), uint32(n)), key, plain), nil
}

// periodOf is the period that a row was wrapped in.
func periodOf(sealed []byte) (uint64, bool) {
	if len(sealed) < 4 {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint32(sealed)), true
}

// unwrap opens such a row.
func (v *vault) unwrap(key string, sealed []byte) ([]byte, error) {
	n, ok := periodOf(sealed)
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, errVault)
	}
	w, err := v.period(n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return open(w, key, sealed[4:])
}

// over tells whether a row was wrapped in a period whose key is gone, so that
// nobody will ever open it.
func (v *vault) over(sealed []byte) bool {
	n, ok := periodOf(sealed)
	v.mu.RLock()
	defer v.mu.RUnlock()
	return ok && len(sealed) != oldRef && n < v.oldest.Period
}

// oldRef is the length of a row with a player's reference that is sealed under the
// house's key: as houses did before each player had a key of his own.
const oldRef = 12 + 16 + 16

// ref opens the row with the reference behind an operator's id.
func (v *vault) ref(key string, sealed []byte) (ref entry.Ref, err error) {
	var plain []byte
	if len(sealed) == oldRef {
		plain, err = v.open(key, sealed)
	} else {
		plain, err = v.unwrap(key, sealed)
	}
	if err == nil && len(plain) != len(ref) {
		err = fmt.Errorf("%s: %w", key, errVault)
	}
	if err != nil {
		return ref, err
	}
	return entry.Ref(plain), nil
}

// personal opens the row with a player's key.
func (v *vault) personal(key string, sealed []byte) (personal, error) {
	plain, err := v.unwrap(key, sealed)
	if err == nil && len(plain) != 32 {
		err = fmt.Errorf("%s: %w", key, errVault)
	}
	if err != nil {
		return personal{}, err
	}
	return newPersonal([32]byte(plain)), nil
}

// vaultRow returns a row of the vault, nil when there is none.
func vaultRow(rows book.Reader, key string) []byte {
	if r := book.Get[ledger.VaultRow](rows, key); r != nil {
		return r.Value
	}
	return nil
}

// seated are the rows of a new player.
type seated struct{ subject, player, id []byte }

// seat makes the rows by which a player is found, with a new key of his own.
func (v *vault) seat(ref entry.Ref, id string) (rows seated, err error) {
	key := random[[32]byte]()
	if rows.subject, err = v.wrap(v.subjectRow(ref), key[:]); err != nil {
		return rows, err
	}
	if rows.id, err = v.wrap(v.idRow(id), ref[:]); err != nil {
		return rows, err
	}
	rows.player = newPersonal(key).seal(v.playerRow(ref), []byte(id))
	return rows, nil
}
