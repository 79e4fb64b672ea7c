package signer

import (
	"crypto/aes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
)

// sealing is how keys are encrypted in files: PBES2 (RFC 8018) with scrypt (RFC
// 7914) and AES-256 in CBC mode, which openssl reads. It costs 16 MiB and some
// tenths of a second at each start.
var sealing = &pkcs8.Opts{
	Cipher:  pkcs8.AES256CBC,
	KDFOpts: pkcs8.ScryptOpts{SaltSize: 16, CostParameter: 1 << 14, BlockSize: 8, ParallelizationParameter: 5},
}

var (
	oidPBES2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidAES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// checkSealed lets only such encryption past as the library can take: it asks
// for whatever work and memory a file names, and panics at a vector or length
// that do not fit the cipher.
func checkSealed(der []byte) error {
	var outer struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) != 0 || !outer.Algorithm.Algorithm.Equal(oidPBES2) {
		return errors.New("expected PKCS #8 encrypted with PBES2")
	}
	var scheme struct{ Derivation, Encryption pkix.AlgorithmIdentifier }
	if _, err := asn1.Unmarshal(outer.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return fmt.Errorf("PBES2: %w", err)
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Encryption.Parameters.FullBytes, &iv); err != nil || !scheme.Encryption.Algorithm.Equal(oidAES256CBC) || len(iv) != aes.BlockSize {
		return errors.New("PBES2: expected AES-256 in CBC mode with a vector of 16 bytes")
	}
	if n := len(outer.Data); n == 0 || n%aes.BlockSize != 0 {
		return fmt.Errorf("PBES2: %d encrypted bytes, expected whole blocks", n)
	}
	switch kdf := scheme.Derivation; {
	case kdf.Algorithm.Equal(oidScrypt):
		var p struct {
			Salt    []byte
			N, R, P int
		}
		// At most 128 MiB, and about the work of sealing.
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.N < 2 || p.N > 1<<20 || p.R < 1 || p.R > 1<<20 || p.P < 1 || p.P > 1<<20 || p.N*p.R*p.P > 1<<20 {
			return errors.New("PBES2: scrypt: expected a cost N·r·p of at most 1048576")
		}
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p struct {
			Salt       []byte
			Iterations int
		}
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.Iterations < 1 || p.Iterations > 2_000_000 {
			return errors.New("PBES2: PBKDF2: expected 1 to 2000000 iterations")
		}
	default:
		return fmt.Errorf("PBES2: key derivation %v, expected scrypt or PBKDF2", kdf.Algorithm)
	}
	return nil
}
