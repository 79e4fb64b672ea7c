// Package entropy gathers the entropy of seed secrets: sources behind one
// interface, and a Pool that tests their health and conditions what they give.
//
// A Pool never falls back. A source that fails is out, whatever it gives, until
// it has passed the start-up test again; and with fewer independent healthy
// sources than were asked for there is no secret.
package entropy

import "context"

// Source is one source of entropy: the kernel, a processor instruction, a
// device. A Pool never calls it from two goroutines at a time.
type Source interface {
	// Name tells this source from the others in entries and alarms: lower-case
	// ASCII, at most 64 characters.
	Name() string
	// Kind says what the source is; it never changes.
	Kind() Kind
	// Read fills all of p with bytes that no earlier call gave, or fails. A
	// later Read opens again what had to be closed. It should return soon after
	// ctx is done; a Pool does not wait for one that cannot.
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
	// Group names where the noise comes from, in lower-case ASCII, at most 32
	// characters. Sources of one group are not independent: together they count
	// as one.
	Group string
	// Assurance says what vouches for the source: "software", or the device.
	Assurance string
	// MinEntropyPerByte is the declared min-entropy of a byte in bits, above
	// 20/512 and at most 8. It sets the cut-offs of the health tests and how
	// many bytes make a secret. A declaration below the truth costs bytes and
	// makes false alarms rarer.
	MinEntropyPerByte float64
}

// Where noise comes from.
const (
	GroupKernel = "kernel"
	GroupCPU    = "cpu"
	GroupTPM    = "tpm"
	GroupHSM    = "hsm"
	GroupBoard  = "board"
	GroupHost   = "host" // whatever the machine that a virtual one runs on hands in
)

// SourceReport is what an entry records of one source's part in a secret.
type SourceReport struct {
	Name        string
	Assurance   string
	Conditioned bool
	Physical    bool
	Group       string
	// Bytes is how many bytes the source gave for this secret.
	Bytes int
	// Healthy is whether the source has passed all its tests since it last failed.
	Healthy bool
}

// State is how a source is.
type State struct {
	Name, Group string
	// Failure is why the source is out, nil while it is healthy.
	Failure error
	// Reason is Failure in one of the words below, or "".
	Reason string
}

// Reasons for which a source is out.
const (
	ReasonUnavailable = "unavailable" // it cannot be opened or read
	ReasonRefused     = "refused"     // it refuses: no second try before the next start
	ReasonShort       = "short-read"  // it gave fewer bytes than were asked for
	ReasonSlow        = "slow"        // it did not answer in time
	ReasonRepetition  = "repetition"  // repetition count test, which zeros fail, too
	ReasonProportion  = "proportion"  // adaptive proportion test
	ReasonRepeated    = "repeated"    // the same bytes as in the read before
)

// Groups counts the independent groups that have a healthy source.
func Groups(states []State) int {
	groups := map[string]bool{}
	for _, s := range states {
		if s.Failure == nil {
			groups[s.Group] = true
		}
	}
	return len(groups)
}
