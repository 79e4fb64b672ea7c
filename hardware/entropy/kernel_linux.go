package entropy

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kernel is the Linux kernel's generator, getrandom(2). The first Read may wait,
// without heeding its context, until the kernel has gathered enough entropy
// after boot.
type Kernel struct{ Named string }

// Name returns the given name or "linux-getrandom".
func (k Kernel) Name() string { return named(k.Named, "linux-getrandom") }

// Kind declares 4 bits a byte, though the kernel's output is a stream cipher's
// and lacks nothing that could be measured. At 8 bits four equal bytes in a row,
// which is one chance in 2^24 at each byte, would now and then stop a sound house.
func (Kernel) Kind() Kind {
	return Kind{Conditioned: true, Physical: false, Group: GroupKernel, Assurance: "software", MinEntropyPerByte: 4}
}

// Read fills p.
func (Kernel) Read(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Getrandom(p, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("getrandom: %w", err)
		}
		p = p[n:]
	}
	return nil
}
