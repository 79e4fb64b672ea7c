package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// ErrNoBytes reports a generator that answered with nothing.
var ErrNoBytes = errors.New("tpm: no bytes")

// Random is the generator of a TPM (TPM2_GetRandom). It is opened when it is first
// read, and again after it failed. One goroutine uses it at a time.
type Random struct {
	URI URI // without a handle

	device transport.TPMCloser
}

// Read fills p.
func (r *Random) Read(ctx context.Context, p []byte) (err error) {
	if r.device == nil {
		if r.device, err = open(r.URI); err != nil {
			r.device = nil
			return err
		}
	}
	for len(p) > 0 && err == nil {
		if err = ctx.Err(); err != nil {
			return err
		}
		var got *tpm2.GetRandomResponse
		// A TPM gives at most as many bytes as its largest hash has.
		if got, err = (tpm2.GetRandom{BytesRequested: uint16(min(len(p), 32))}).Execute(r.device); err == nil {
			n := copy(p, got.RandomBytes.Buffer)
			if p = p[n:]; n == 0 {
				err = fmt.Errorf("TPM2_GetRandom: %w", ErrNoBytes)
			}
		}
	}
	if err != nil {
		err = errors.Join(err, r.device.Close())
		r.device = nil
	}
	return err
}
