package chance

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

const sealTag = "countroom/sealed-secret/v1"

const (
	sealIVSize  = 12
	sealTagSize = 16
	// SealedSize is the length of a sealed secret, in bytes.
	SealedSize = sealIVSize + 32 + 32 + sealTagSize
)

// ErrSealed reports a sealed secret that does not open: wrong key, wrong
// context, or changed bytes. Which of them it was cannot be told.
var ErrSealed = errors.New("chance: sealed secret does not open")

// Seal encrypts the secret and salt of an epoch so that a restarted house can go
// on with it. context names what the secret belongs to, such as origin and epoch,
// and Open asks for the same. iv must never repeat under one sealKey; drawn at
// random it may serve for 2^32 seals (SP 800-38D, section 8.3).
//
// The seal does not bind the commitment: who opens it computes Commitment again.
func Seal(sealKey [32]byte, context []byte, iv [12]byte, secret, salt [32]byte) []byte {
	var plain [64]byte
	copy(plain[:32], secret[:])
	copy(plain[32:], salt[:])
	out := append(make([]byte, 0, SealedSize), iv[:]...)
	out = sealAEAD(sealKey).Seal(out, iv[:], plain[:], SealData(context))
	clear(plain[:])
	return out
}

// Open undoes Seal. It answers ErrSealed to anything else.
func Open(sealKey [32]byte, context, sealed []byte) (secret, salt [32]byte, err error) {
	if len(sealed) != SealedSize {
		return secret, salt, fmt.Errorf("%w: %d bytes, want %d", ErrSealed, len(sealed), SealedSize)
	}
	plain, err := sealAEAD(sealKey).Open(nil, sealed[:sealIVSize], sealed[sealIVSize:], SealData(context))
	if err != nil {
		return secret, salt, ErrSealed
	}
	copy(secret[:], plain[:32])
	copy(salt[:], plain[32:])
	clear(plain)
	return secret, salt, nil
}

func sealAEAD(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(fmt.Sprintf("chance: AES-256: %v", err)) // only a wrong key length can fail
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("chance: AES-256-GCM: %v", err)) // only a wrong block size can fail
	}
	return aead
}

// SealData is the associated data of a seal, for devices that hold the key
// themselves.
func SealData(context []byte) []byte {
	return appendField(appendField(nil, sealTag), context)
}
