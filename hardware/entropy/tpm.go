package entropy

import (
	"context"
	"errors"
	"fmt"

	"countroom/hardware/tpm"
)

// TPM is the generator of a TPM 2.0 (TPM2_GetRandom): a DRBG that the device
// seeds from a source of its own.
type TPM struct {
	Named string
	tpm.Random
}

// Name returns the given name or "tpm2".
func (t *TPM) Name() string { return named(t.Named, "tpm2") }

// Kind declares 4 bits a byte, for the same reason as Kernel does.
func (t *TPM) Kind() Kind {
	return Kind{Conditioned: true, Physical: true, Group: GroupTPM, Assurance: "tpm", MinEntropyPerByte: 4}
}

// Read fills p.
func (t *TPM) Read(ctx context.Context, p []byte) error {
	err := t.Random.Read(ctx, p)
	if errors.Is(err, tpm.ErrNoBytes) {
		err = fmt.Errorf("%w: %w", ErrShort, err)
	}
	return err
}
