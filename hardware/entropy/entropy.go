// Package entropy gathers the entropy of seed secrets: sources behind one
// interface, and a Pool that tests their health and conditions what they give.
//
// A Pool never falls back. When any of its sources fails, none of the others,
// however good, makes up for it: the Pool ends and the operator decides.
package entropy

import "context"

// Source is one source of entropy: the kernel, a processor instruction, a
// device. A Pool calls it from one goroutine at a time.
type Source interface {
	// Name tells this source from the others in entries and alarms, in
	// lower-case ASCII.
	Name() string
	// Kind says what the source is; it never changes.
	Kind() Kind
	// Read fills all of p with bytes that no earlier call gave, or fails. It
	// returns soon after ctx is done.
	Read(ctx context.Context, p []byte) error
}

// Kind is what a source declares of itself.
type Kind struct {
	// Conditioned is whether the bytes went through a cryptographic function.
	// Health tests over such bytes notice a stuck interface, not a dying source:
	// the tests that count are inside the source.
	Conditioned bool
	// Physical is whether the noise comes from a dedicated physical process.
	Physical bool
	// Assurance says what vouches for the source: "software", or the device.
	Assurance string
	// MinEntropyPerByte is the declared min-entropy of a byte in bits, above
	// 20/512 and at most 8. It sets the cut-offs of the health tests and how
	// many bytes make a secret. A declaration below the truth costs bytes and
	// makes false alarms rarer.
	MinEntropyPerByte float64
}

// SourceReport is what an entry records of one source's part in a secret.
type SourceReport struct {
	Name        string
	Conditioned bool
	// Bytes is how many bytes the source gave for this secret.
	Bytes int
	// Healthy is whether the source has passed all its tests so far.
	Healthy bool
}
