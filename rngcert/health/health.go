// Package health watches a noise source with the continuous health tests of
// NIST SP 800-90B, section 4.4: the repetition count test and the adaptive
// proportion test, both over byte samples.
//
// The tests notice a source that is stuck or has lost most of its entropy. They
// do not measure entropy: a counter run through a cipher passes them.
package health

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
)

const (
	// StartupSamples is how many samples the start-up test takes (section 4.3).
	StartupSamples = 1024

	// alphaLog2 is −log2 of the chance that a sound source fails one test. The
	// standard proposes 20 to 40.
	alphaLog2 = 20

	// window is W of the adaptive proportion test for non-binary sources.
	window = 512
)

var (
	// ErrRepetition reports too many equal samples in a row (section 4.4.1).
	ErrRepetition = errors.New("health: repetition count test failed")
	// ErrProportion reports one value too often in a window (section 4.4.2).
	ErrProportion = errors.New("health: adaptive proportion test failed")
)

// Monitor runs both tests over the samples of one source. A failure stays until
// Reset. It is not safe for concurrent use.
type Monitor struct {
	repetitionCutoff int
	proportionCutoff int
	state
}

// state is what Reset clears.
type state struct {
	failure error
	started int // samples of the start-up test passed, up to StartupSamples

	last byte
	run  int // samples equal to last, last included; 0 before the first sample

	first     byte // of the window
	count     int  // samples of the window equal to first, first included
	remaining int  // samples of the window still to come
}

// NewMonitor returns a Monitor for a source that declares minEntropyPerByte bits
// of min-entropy in each byte: above 20/512, for below that even a constant source
// would pass, and at most 8. Of a sound source that just reaches what it
// declares, either test fails about one sample, or one window, in 2^20; declaring
// less than is there makes false alarms rarer.
func NewMonitor(minEntropyPerByte float64) (*Monitor, error) {
	const least = float64(alphaLog2) / window
	// Written so that a NaN is refused.
	if !(minEntropyPerByte > least && minEntropyPerByte <= 8) {
		return nil, fmt.Errorf("health: min-entropy of %v bits per byte, want above %.4f and at most 8", minEntropyPerByte, least)
	}
	return &Monitor{
		repetitionCutoff: repetitionCutoff(minEntropyPerByte, alphaLog2),
		proportionCutoff: proportionCutoff(minEntropyPerByte, alphaLog2),
	}, nil
}

// Check takes the next samples, in order and without gaps. It returns
// ErrRepetition or ErrProportion from the first failure on.
func (m *Monitor) Check(samples []byte) error {
	for len(samples) > 0 && m.failure == nil {
		// As much as belongs to one window, whose hits can be counted at once.
		part := samples[:min(len(samples), max(m.remaining, 1))]
		if m.remaining == 0 || !m.pass(part) {
			m.step(part)
		}
		samples = samples[len(part):]
	}
	return m.failure
}

// pass takes samples that all belong to the window under way, if none of them
// fails a test; otherwise it leaves everything as it was. Sound samples nearly
// always pass, and this is several times as fast as one step for each.
func (m *Monitor) pass(part []byte) bool {
	count := m.count + bytes.Count(part, []byte{m.first})
	if count >= m.proportionCutoff {
		return false
	}
	last, run := m.last, m.run
	for _, s := range part {
		if s != last {
			last, run = s, 1
			continue
		}
		if run++; run >= m.repetitionCutoff {
			return false
		}
	}
	m.last, m.run, m.count = last, run, count
	m.remaining -= len(part)
	m.started = min(m.started+len(part), StartupSamples)
	return true
}

// step takes samples one by one, as the standard tells it, up to the first that
// fails.
func (m *Monitor) step(samples []byte) {
	for _, s := range samples {
		if m.run > 0 && s == m.last {
			m.run++
		} else {
			m.last, m.run = s, 1
		}
		if m.run >= m.repetitionCutoff {
			m.failure = fmt.Errorf("%w: %d equal samples in a row, cut-off %d", ErrRepetition, m.run, m.repetitionCutoff)
			return
		}

		if m.remaining == 0 {
			m.first, m.count, m.remaining = s, 1, window-1
		} else {
			m.remaining--
			if s == m.first {
				m.count++
			}
		}
		if m.count >= m.proportionCutoff {
			m.failure = fmt.Errorf("%w: %d equal samples in a window of %d, cut-off %d", ErrProportion, m.count, window, m.proportionCutoff)
			return
		}
		m.started = min(m.started+1, StartupSamples)
	}
}

// Started reports whether the start-up test is over and passed and nothing has
// failed since. Samples taken before that must not be used.
func (m *Monitor) Started() bool { return m.failure == nil && m.started == StartupSamples }

// Reset forgets a failure and begins the start-up test again.
func (m *Monitor) Reset() { m.state = state{} }

// repetitionCutoff is C = 1 + ceil(−log2 α / H).
func repetitionCutoff(h float64, alphaLog2 int) int {
	return 1 + int(math.Ceil(float64(alphaLog2)/h))
}

// proportionCutoff is C = 1 + critbinom(W, 2^−H, 1−α): the least c for which W
// samples, each of them hitting with probability 2^−H, hit c times or more with
// probability α at most.
func proportionCutoff(h float64, alphaLog2 int) int {
	const precision = 256
	number := func(f float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(f) }
	hit := number(math.Exp2(-h))
	miss := new(big.Float).Sub(number(1), hit)
	odds := new(big.Float).Quo(miss, hit)
	alpha := number(math.Ldexp(1, -alphaLog2))

	// Add the probabilities of W, W−1, … hits until the sum exceeds α. They go
	// below the range of a float64, not of a big.Float.
	term := number(1)
	for range window {
		term.Mul(term, hit)
	}
	tail := new(big.Float).Copy(term)
	hits := window
	for hits > 0 && tail.Cmp(alpha) <= 0 {
		term.Mul(term, odds)
		term.Mul(term, number(float64(hits)))
		term.Quo(term, number(float64(window-hits+1)))
		tail.Add(tail, term)
		hits--
	}
	return hits + 1
}
