package entropy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"countroom/hardware/pkcs11"
)

// HSM is the generator of a PKCS #11 token (C_GenerateRandom): a DRBG that the
// device seeds from a source of its own, if it is one and not software.
type HSM struct {
	URI pkcs11.URI

	token *pkcs11.Token
}

// Name is "hsm-" and the token's label, as far as entries take it.
func (h *HSM) Name() string {
	label := []byte("hsm-" + strings.ToLower(h.URI.Token))
	for i := range label {
		if !word(string(label[i]), 1) {
			label[i] = '-'
		}
	}
	return string(label[:min(len(label), 64)])
}

// Kind declares 4 bits a byte, for the same reason as Kernel does.
func (h *HSM) Kind() Kind {
	return Kind{Conditioned: true, Physical: true, Group: GroupHSM, Assurance: "pkcs11", MinEntropyPerByte: 4}
}

// Read fills p. It needs no log-in, so no PIN is ever tried.
func (h *HSM) Read(ctx context.Context, p []byte) (err error) {
	if h.token == nil {
		if h.token, err = pkcs11.Open(ctx, h.URI); err != nil {
			h.token = nil
			return refusal(err)
		}
	}
	return refusal(h.token.Random(ctx, p))
}

// refusal marks what a second try cannot mend.
func refusal(err error) error {
	if errors.Is(err, pkcs11.ErrPIN) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
