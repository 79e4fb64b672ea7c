package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"

	"countroom/hardware/pkcs11"
	"countroom/hardware/tpm"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// makeIt ends an error about a key that is not there yet.
const makeIt = "make it with the device's own tool, or with countroom keys init"

func openPKCS11(ctx context.Context, uri string, alg Algorithm, create bool) (Signer, error) {
	u, err := pkcs11.ParseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	token, err := pkcs11.Open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	kind := map[Algorithm]pkcs11.Kind{Ed25519: pkcs11.Ed25519, ECDSAP256: pkcs11.P256}[alg]
	reach := token.Find
	if create {
		reach = token.Generate
	}
	k, err := reach(ctx, u, kind)
	if err != nil {
		return nil, errors.Join(absent(err, pkcs11.ErrNoKey), token.Close())
	}
	return &key{alg: alg, public: k.Public(), assurance: AssurancePKCS11, close: token.Close, sign: func(ctx context.Context, input []byte) ([]byte, error) {
		sig, err := k.Sign(ctx, input)
		if err != nil || alg == Ed25519 {
			return sig, err
		}
		return der(sig)
	}}, nil
}

// absent marks the error of a package about a missing key.
func absent(err, none error) error {
	if errors.Is(err, none) {
		return fmt.Errorf("%w: %w: %s", ErrNoKey, err, makeIt)
	}
	return fmt.Errorf("signer: %w", err)
}

func openTPM(ctx context.Context, uri string, alg Algorithm, create bool) (Signer, error) {
	u, err := tpm.ParseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	if alg != ECDSAP256 {
		return nil, fmt.Errorf("signer: %s: a TPM has no %v keys: only seeds and exports can be signed by one", uri, alg)
	}
	reach := tpm.Open
	if create {
		reach = tpm.Generate
	}
	k, err := reach(ctx, u)
	if err != nil {
		return nil, absent(err, tpm.ErrNoKey)
	}
	return &key{alg: alg, public: k.Public(), assurance: AssuranceTPM, close: k.Close, sign: func(ctx context.Context, digest []byte) ([]byte, error) {
		sig, err := k.Sign(ctx, [32]byte(digest))
		if err != nil {
			return nil, err
		}
		return der(sig[:])
	}}, nil
}

// der writes r ‖ s as others read an ECDSA signature: SEQUENCE { r, s INTEGER },
// RFC 3279, section 2.2.3.
func der(sig []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(sig[:len(sig)/2]))
		b.AddASN1BigInt(new(big.Int).SetBytes(sig[len(sig)/2:]))
	})
	return b.Bytes()
}

// openKMS takes sigstore's road to key services. This program links none of
// their libraries: sigstore starts the program sigstore-kms-NAME for NAME://.
func openKMS(ctx context.Context, uri string, alg Algorithm, create bool) (Signer, error) {
	if create {
		return nil, fmt.Errorf("signer: %s: a key of a service is made with the service's own tool", uri)
	}
	service, err := kms.Get(ctx, uri, crypto.SHA256)
	if none := (*kms.ProviderNotFoundError)(nil); errors.As(err, &none) {
		return nil, fmt.Errorf("signer: %s: expected the plug-in that sigstore names for it in PATH: %w", uri, err)
	}
	if err != nil {
		return nil, fmt.Errorf("signer: %s: %w", uri, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerMost)
	defer cancel()
	public, err := service.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("signer: %s: public key: %w", uri, err)
	}
	switch p := public.(type) {
	case ed25519.PublicKey:
		if alg != Ed25519 {
			err = errors.New("holds an Ed25519 key")
		}
	case *ecdsa.PublicKey:
		if alg != ECDSAP256 || p.Curve != elliptic.P256() {
			err = fmt.Errorf("holds an ECDSA key on %s", p.Curve.Params().Name)
		}
	default:
		err = fmt.Errorf("holds a %T", public)
	}
	if err != nil {
		return nil, fmt.Errorf("signer: %s: %w, expected one for %v", uri, err, alg)
	}
	return &key{alg: alg, public: public, assurance: AssuranceKMS, sign: func(ctx context.Context, input []byte) ([]byte, error) {
		opts := []signature.SignOption{options.WithContext(ctx)}
		message := input
		if alg == ECDSAP256 {
			opts = append(opts, options.WithDigest(input), options.WithCryptoSignerOpts(crypto.SHA256))
			message = nil
		}
		sig, err := service.SignMessage(bytes.NewReader(message), opts...)
		if err != nil {
			return nil, fmt.Errorf("signer: %s: %w", uri, err)
		}
		return sig, nil
	}}, nil
}
