package house

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// vault encrypts what may not stand in the log: AES-256-GCM with a random
// nonce, the row's key as associated data. Rows are found under MACs of what
// they are about, so the keys tell nothing either.
type vault struct {
	aead   cipher.AEAD
	macKey [32]byte
}

func newVault(key [32]byte) vault {
	derive := func(label string) [32]byte {
		m := hmac.New(sha256.New, key[:])
		m.Write([]byte("countroom/vault/" + label + "/v1"))
		return [32]byte(m.Sum(nil))
	}
	secret := derive("encryption")
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return vault{aead: aead, macKey: derive("names")}
}

// name returns the key of the row about something.
func (v *vault) name(kind, about string) string {
	m := hmac.New(sha256.New, v.macKey[:])
	m.Write([]byte(kind))
	m.Write([]byte{0})
	m.Write([]byte(about))
	return "vault/" + kind + "/" + hex.EncodeToString(m.Sum(nil)[:16])
}

func (v *vault) seal(key string, plain []byte) []byte {
	nonce := make([]byte, v.aead.NonceSize(), v.aead.NonceSize()+len(plain)+v.aead.Overhead())
	rand.Read(nonce)
	return v.aead.Seal(nonce, nonce, plain, []byte(key))
}

var errVault = errors.New("a vault row does not open: wrong vault key, or it was changed")

func (v *vault) open(key string, sealed []byte) ([]byte, error) {
	n := v.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("%s: %w", key, errVault)
	}
	plain, err := v.aead.Open(nil, sealed[:n], sealed[n:], []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, errVault)
	}
	return plain, nil
}
