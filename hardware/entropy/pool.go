package entropy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"sync"

	"countroom/rngcert/drbg"
	"countroom/rngcert/health"
)

var (
	// ErrUnhealthy reports that a source of the Pool failed, now or earlier. The
	// Pool gives no secret any more.
	ErrUnhealthy = errors.New("entropy: source unhealthy")
	// ErrRepeated reports a source that gave the same bytes twice.
	ErrRepeated = errors.New("entropy: source repeats its output")
)

// secretBits is the entropy that each source alone brings to each secret.
const secretBits = 256

// Pool makes secrets from all of its sources together: each secret comes from an
// HMAC_DRBG that has just been reseeded with at least 256 bits of declared
// min-entropy from every source, so it is sound while one source is. It is safe
// for concurrent use.
type Pool struct {
	mu      sync.Mutex
	sources []*watched
	drbg    *drbg.DRBG
	failure error
}

// watched is a source with what its tests remember.
type watched struct {
	Source
	monitor *health.Monitor
	// last is the hash of the head of the read before.
	last [sha256.Size]byte
	// failed is set for good by the first failure of this source.
	failed bool
}

// NewPool runs the known-answer test of the generator and the start-up test of
// each source, and instantiates the generator. personalisation should name the
// house and the process; it need not be secret. Source names must differ.
func NewPool(ctx context.Context, personalisation []byte, sources ...Source) (*Pool, error) {
	if err := drbg.SelfTest(); err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, errors.New("entropy: no sources, want at least one")
	}
	p := &Pool{}
	names := make(map[string]bool)
	for _, s := range sources {
		if names[s.Name()] {
			return nil, fmt.Errorf("entropy: two sources named %q", s.Name())
		}
		names[s.Name()] = true
		monitor, err := health.NewMonitor(s.Kind().MinEntropyPerByte)
		if err != nil {
			return nil, fmt.Errorf("entropy: source %s: %w", s.Name(), err)
		}
		p.sources = append(p.sources, &watched{Source: s, monitor: monitor})
	}
	for _, s := range p.sources {
		// The samples of the start-up test are thrown away.
		if _, err := s.read(ctx, health.StartupSamples); err != nil {
			return nil, err
		}
	}
	entropy, _, err := p.gather(ctx)
	if err != nil {
		return nil, err
	}
	// SP 800-90A, section 8.6.7: a nonce of fresh random bits.
	nonce, _, err := p.gather(ctx)
	if err != nil {
		return nil, err
	}
	p.drbg, err = drbg.New(entropy, nonce, personalisation)
	clear(entropy)
	clear(nonce)
	if err != nil {
		return nil, fmt.Errorf("entropy: %w", err)
	}
	return p, nil
}

// Secret returns 256 bits and what each source contributed. When a source
// fails, the error is ErrUnhealthy, now and from then on, and the reports show
// which source it was. When ctx is done first, the error is that of ctx and a
// later call may succeed.
func (p *Pool) Secret(ctx context.Context) (secret [32]byte, reports []SourceReport, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return secret, p.reports(), p.failure
	}
	entropy, reports, err := p.gather(ctx)
	if err != nil {
		if errors.Is(err, ErrUnhealthy) {
			p.failure = err
		}
		return secret, reports, err
	}
	defer clear(entropy)
	if err := p.drbg.Reseed(entropy, nil); err != nil {
		return secret, reports, fmt.Errorf("entropy: %w", err)
	}
	if err := p.drbg.Generate(secret[:], nil); err != nil {
		return secret, reports, fmt.Errorf("entropy: %w", err)
	}
	return secret, reports, nil
}

// gather reads secretBits from each source, in the order of the sources, and
// joins them: their lengths never change, so the join is unambiguous.
func (p *Pool) gather(ctx context.Context) (entropy []byte, reports []SourceReport, err error) {
	taken := make([]int, len(p.sources))
	for i, s := range p.sources {
		b, err := s.read(ctx, s.secretBytes())
		if err != nil {
			clear(entropy)
			return nil, p.reports(taken...), err
		}
		taken[i] = len(b)
		entropy = append(entropy, b...)
		clear(b)
	}
	return entropy, p.reports(taken...), nil
}

// reports tells how the sources are; taken may be empty.
func (p *Pool) reports(taken ...int) []SourceReport {
	list := make([]SourceReport, len(p.sources))
	for i, s := range p.sources {
		list[i] = SourceReport{Name: s.Name(), Conditioned: s.Kind().Conditioned, Healthy: !s.failed}
		if i < len(taken) {
			list[i].Bytes = taken[i]
		}
	}
	return list
}

// secretBytes is how many bytes hold secretBits of declared min-entropy.
func (s *watched) secretBytes() int {
	return int(math.Ceil(secretBits / s.Kind().MinEntropyPerByte))
}

// read takes n bytes and tests them.
func (s *watched) read(ctx context.Context, n int) ([]byte, error) {
	// Fresh zeros, so that what a source leaves unfilled fails the tests.
	b := make([]byte, n)
	if err := s.Read(ctx, b); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("entropy: source %s: %w", s.Name(), ctx.Err())
		}
		return nil, s.fail(err)
	}
	if err := s.monitor.Check(b); err != nil {
		return nil, s.fail(err)
	}
	// SP 800-90B's tests see single bytes. A device that hands out one buffer for
	// ever passes them, so, as FIPS 140-2, section 4.9.2, once asked, each read is
	// held against the one before.
	head := sha256.Sum256(b[:min(n, s.secretBytes())])
	if head == s.last {
		return nil, s.fail(ErrRepeated)
	}
	s.last = head
	return b, nil
}

func (s *watched) fail(err error) error {
	s.failed = true
	return fmt.Errorf("%w: %s: %w", ErrUnhealthy, s.Name(), err)
}
