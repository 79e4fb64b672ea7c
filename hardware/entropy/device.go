package entropy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Device is a character device that gives noise, such as the kernel's door to
// a hardware generator, /dev/hwrng. The zero MinEntropyPerByte and Group are
// what is prudent when nothing better is known.
type Device struct {
	Named string
	Path  string
	// Group, where empty, is what the kernel says stands behind /dev/hwrng, and
	// the board where it says nothing.
	Group string
	// MinEntropyPerByte, where zero, is 1: what such a device gives may be raw.
	MinEntropyPerByte float64

	file *os.File
}

// Name returns the given name or "hwrng".
func (d *Device) Name() string { return named(d.Named, "hwrng") }

// Kind declares raw, physical noise.
func (d *Device) Kind() Kind {
	k := Kind{Physical: true, Group: d.Group, Assurance: "hwrng", MinEntropyPerByte: d.MinEntropyPerByte}
	if k.MinEntropyPerByte == 0 {
		k.MinEntropyPerByte = 1
	}
	if k.Group == "" {
		k.Group = GroupBoard
	}
	return k
}

// Read fills p. After an error the device is opened again, so that one that was
// pulled out and put back works.
func (d *Device) Read(_ context.Context, p []byte) (err error) {
	if d.file == nil {
		if d.file, err = os.Open(d.Path); err != nil {
			return err
		}
	}
	n, err := io.ReadFull(d.file, p)
	if err == nil {
		return nil
	}
	err = errors.Join(err, d.file.Close())
	d.file = nil
	return fmt.Errorf("%s: after %d of %d bytes: %w", d.Path, n, len(p), err)
}

// behindHwrng is the group of what the kernel reads /dev/hwrng from, by the name
// in /sys/class/misc/hw_random/rng_current: a TPM, or the host of a virtual
// machine, is no generator of the board's.
func behindHwrng(current string) string {
	switch current = strings.TrimSpace(current); {
	case strings.HasPrefix(current, "tpm"):
		return GroupTPM
	case strings.HasPrefix(current, "virtio"):
		return GroupHost
	}
	return GroupBoard
}
