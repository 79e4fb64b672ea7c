package entropy

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// TPM is the generator of a TPM 2.0 (TPM2_GetRandom): a DRBG that the device
// seeds from a source of its own.
type TPM struct {
	Named string
	// Device is such as /dev/tpmrm0; Socket, of which one is set, a unix socket.
	Device, Socket string

	tpm transport.TPMCloser
}

// Name returns the given name or "tpm2".
func (t *TPM) Name() string { return named(t.Named, "tpm2") }

// Kind declares 4 bits a byte, for the same reason as Kernel does.
func (t *TPM) Kind() Kind {
	return Kind{Conditioned: true, Physical: true, Group: GroupTPM, Assurance: "tpm", MinEntropyPerByte: 4}
}

// Read fills p.
func (t *TPM) Read(ctx context.Context, p []byte) (err error) {
	if t.tpm == nil {
		if t.Socket != "" {
			t.tpm, err = linuxudstpm.Open(t.Socket)
		} else {
			t.tpm, err = linuxtpm.Open(t.Device)
		}
		if err != nil {
			t.tpm = nil
			return err
		}
	}
	for len(p) > 0 && err == nil {
		var r *tpm2.GetRandomResponse
		if err = ctx.Err(); err != nil {
			return err
		}
		// A TPM gives at most as many bytes as its largest hash has.
		if r, err = (tpm2.GetRandom{BytesRequested: uint16(min(len(p), 32))}).Execute(t.tpm); err == nil {
			n := copy(p, r.RandomBytes.Buffer)
			if p = p[n:]; n == 0 {
				err = fmt.Errorf("TPM2_GetRandom: %w: no bytes", ErrShort)
			}
		}
	}
	if err != nil {
		err = errors.Join(err, t.tpm.Close())
		t.tpm = nil
	}
	return err
}
