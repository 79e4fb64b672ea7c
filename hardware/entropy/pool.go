package entropy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"countroom/rngcert/drbg"
	"countroom/rngcert/health"
)

var (
	// ErrTooFew reports that fewer independent groups of sources are healthy than
	// the Pool demands. It gives secrets again when they are back.
	ErrTooFew = errors.New("entropy: too few healthy sources")
	// ErrRepeated reports a source that gave the same bytes twice.
	ErrRepeated = errors.New("entropy: source repeats its output")
	// ErrSlow reports a source that did not answer in time.
	ErrSlow = errors.New("entropy: source does not answer")
	// ErrShort reports a source that gave fewer bytes than were asked for.
	ErrShort = errors.New("entropy: short read")
	// ErrRefused marks a failure that trying again could make worse, such as a
	// wrong PIN: the source stays out until the next start.
	ErrRefused = errors.New("entropy: source refuses")
)

// secretBits is the entropy that each source alone brings to each secret.
const secretBits = 256

// Options say how a Pool works; the zero value is one source and 5 seconds.
type Options struct {
	// Personalisation should name the house; it need not be secret.
	Personalisation []byte
	// Minimum is how many independent groups must have a healthy source.
	Minimum int
	// Patience is how long a read may take.
	Patience time.Duration
}

// Pool makes secrets from all of its healthy sources together: each secret comes
// from an HMAC_DRBG that has just been reseeded with at least 256 bits of
// declared min-entropy from every one of them, so it is sound while one source
// is. It is safe for concurrent use.
type Pool struct {
	opts Options

	// busy holds a token while the sources are used, which can take long.
	busy    chan struct{}
	sources []*watched
	drbg    *drbg.DRBG // nil until enough sources were healthy once
}

// watched is a source with what its tests remember.
type watched struct {
	Source
	patience time.Duration
	monitor  *health.Monitor
	// last is the hash of the head of the read before.
	last [sha256.Size]byte
	// failure stays until the start-up test is passed again.
	failure error
	// late is the read that was given up, while it has not come back.
	late chan struct{}

	// A source that fails again and again is tried less and less often: wait is
	// how many turns it is passed over, strikes how often it failed of late,
	// calm how many turns it has been healthy since.
	wait, strikes, calm int
}

// Turns of Tend.
const (
	waitMost = 64
	calmLong = 120
)

// selfTest is the generator's. A test replaces it.
var selfTest = drbg.SelfTest

// NewPool runs the known-answer test of the generator and the start-up test of
// each source. A source that fails it is out as if it had failed later; what
// cannot be right at any time is an error. Source names must differ.
func NewPool(ctx context.Context, opts Options, sources ...Source) (*Pool, error) {
	if err := selfTest(); err != nil {
		return nil, err
	}
	if opts.Minimum == 0 {
		opts.Minimum = 1
	}
	if opts.Patience == 0 {
		opts.Patience = 5 * time.Second
	}
	p := &Pool{opts: opts, busy: make(chan struct{}, 1)}
	names, groups := make(map[string]bool), make(map[string]bool)
	for _, s := range sources {
		if !word(s.Name(), 64) || !word(s.Kind().Group, 32) {
			return nil, fmt.Errorf("entropy: source %q of group %q: expected lower-case letters, digits, . or -", s.Name(), s.Kind().Group)
		}
		if names[s.Name()] {
			return nil, fmt.Errorf("entropy: two sources named %q: give one another name", s.Name())
		}
		names[s.Name()], groups[s.Kind().Group] = true, true
		monitor, err := health.NewMonitor(s.Kind().MinEntropyPerByte)
		if err != nil {
			return nil, fmt.Errorf("entropy: source %s: %w", s.Name(), err)
		}
		p.sources = append(p.sources, &watched{Source: s, patience: opts.Patience, monitor: monitor})
	}
	if opts.Minimum < 1 || opts.Minimum > len(groups) {
		return nil, fmt.Errorf("entropy: a minimum of %d independent sources: expected 1 to %d, which there are", opts.Minimum, len(groups))
	}
	for _, s := range p.sources {
		if err := s.startUp(ctx); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	return p, nil
}

// Secret returns 256 bits and what each healthy source contributed. A source
// that fails meanwhile is out, and the secret comes from the others if they are
// enough; otherwise the error is ErrTooFew. When ctx is done first, the error is
// that of ctx, which says nothing about any source.
func (p *Pool) Secret(ctx context.Context) (secret [32]byte, reports []SourceReport, err error) {
	select {
	case p.busy <- struct{}{}:
		defer p.free()
	case <-ctx.Done():
		return secret, nil, fmt.Errorf("entropy: %w", ctx.Err())
	}
	entropy, reports, err := p.gather(ctx)
	if err != nil {
		return secret, nil, err
	}
	defer clear(entropy)
	if p.drbg == nil {
		// SP 800-90A, section 8.6.7: a nonce of fresh random bits.
		nonce, _, err := p.gather(ctx)
		if err != nil {
			return secret, nil, err
		}
		defer clear(nonce)
		if p.drbg, err = drbg.New(entropy, nonce, p.opts.Personalisation); err != nil {
			return secret, nil, fmt.Errorf("entropy: %w", err)
		}
		return p.generate(reports)
	}
	if err := p.drbg.Reseed(entropy, nil); err != nil {
		return secret, nil, fmt.Errorf("entropy: %w", err)
	}
	return p.generate(reports)
}

func (p *Pool) free() { <-p.busy }

func (p *Pool) generate(reports []SourceReport) (secret [32]byte, _ []SourceReport, err error) {
	if err := p.drbg.Generate(secret[:], nil); err != nil {
		return secret, nil, fmt.Errorf("entropy: %w", err)
	}
	return secret, reports, nil
}

// gather reads secretBits from each healthy source and joins them in the order
// of the sources. How long the part of a source is never changes, so which
// sources there were and the join determine each other.
func (p *Pool) gather(ctx context.Context) (entropy []byte, reports []SourceReport, err error) {
	defer func() {
		if err != nil {
			clear(entropy)
			entropy = nil
		}
	}()
	if err := p.enough(); err != nil { // before anything is read in vain
		return nil, nil, err
	}
	for _, s := range p.sources {
		if s.failure != nil {
			continue
		}
		b, err := s.take(ctx, s.secretBytes())
		if ctx.Err() != nil {
			return entropy, nil, fmt.Errorf("entropy: source %s: %w", s.Name(), ctx.Err())
		}
		if err != nil {
			continue
		}
		k := s.Kind()
		reports = append(reports, SourceReport{
			Name: s.Name(), Assurance: k.Assurance, Conditioned: k.Conditioned, Physical: k.Physical, Group: k.Group, Bytes: len(b), Healthy: true,
		})
		entropy = append(entropy, b...)
		clear(b)
	}
	return entropy, reports, p.enough()
}

// enough is ErrTooFew, with what is out, unless the healthy groups suffice.
func (p *Pool) enough() error {
	states := p.states()
	groups := Groups(states)
	if groups >= p.opts.Minimum {
		return nil
	}
	err := fmt.Errorf("%w: %d independent, %d needed", ErrTooFew, groups, p.opts.Minimum)
	for _, s := range states {
		if s.Failure != nil {
			err = fmt.Errorf("%w; %w", err, s.Failure)
		}
	}
	return err
}

// Tend lets each healthy source prove that it is alive, and each that is out
// try the start-up test again, and says how they are then. It is meant to be
// called every few seconds. When ctx is done first nothing more is tried.
func (p *Pool) Tend(ctx context.Context) []State {
	p.busy <- struct{}{}
	defer p.free()
	for _, s := range p.sources {
		if ctx.Err() != nil {
			break
		}
		switch {
		case s.failure == nil:
			if b, err := s.take(ctx, s.secretBytes()); err == nil {
				clear(b)
			}
			if s.calm++; s.calm >= calmLong {
				s.strikes = 0
			}
		case errors.Is(s.failure, ErrRefused):
		case s.wait > 0:
			s.wait--
		default:
			_ = s.startUp(ctx) // it is out until it passes
		}
	}
	return p.states()
}

// Minimum is how many independent groups the Pool demands.
func (p *Pool) Minimum() int { return p.opts.Minimum }

// States says how the sources are.
func (p *Pool) States() []State {
	p.busy <- struct{}{}
	defer p.free()
	return p.states()
}

func (p *Pool) states() []State {
	list := make([]State, len(p.sources))
	for i, s := range p.sources {
		list[i] = State{Name: s.Name(), Group: s.Kind().Group, Failure: s.failure, Reason: reason(s.failure)}
	}
	return list
}

// reason is a failure in one word.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{ErrRefused, ReasonRefused}, {ErrSlow, ReasonSlow}, {ErrShort, ReasonShort}, {ErrRepeated, ReasonRepeated},
		{health.ErrRepetition, ReasonRepetition}, {health.ErrProportion, ReasonProportion},
	} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	if err != nil {
		return ReasonUnavailable
	}
	return ""
}

// secretBytes is how many bytes hold secretBits of declared min-entropy.
func (s *watched) secretBytes() int {
	return int(math.Ceil(secretBits / s.Kind().MinEntropyPerByte))
}

// startUp runs the start-up test. Its samples are thrown away, and the source is
// healthy if it passes and not otherwise.
func (s *watched) startUp(ctx context.Context) error {
	s.monitor.Reset()
	b, err := s.read(ctx, health.StartupSamples)
	clear(b)
	switch {
	case err == nil:
		s.failure, s.calm = nil, 0
	case ctx.Err() == nil:
		s.failure = err
	case s.failure == nil:
		s.failure = fmt.Errorf("entropy: source %s: the start-up test was not finished: %w", s.Name(), ctx.Err())
	}
	return err
}

// take reads n bytes of a healthy source. If it fails it is out.
func (s *watched) take(ctx context.Context, n int) ([]byte, error) {
	b, err := s.read(ctx, n)
	if err != nil && ctx.Err() == nil {
		s.failure, s.wait = err, min(1<<s.strikes-1, waitMost)
		s.strikes = min(s.strikes+1, 7)
	}
	return b, err
}

// read takes n bytes and tests them.
func (s *watched) read(ctx context.Context, n int) ([]byte, error) {
	b, err := s.timed(ctx, n)
	if err == nil {
		err = s.monitor.Check(b)
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name(), err)
	}
	// SP 800-90B's tests see single bytes. A device that hands out one buffer for
	// ever passes them, so, as FIPS 140-2, section 4.9.2, once asked, each read is
	// held against the one before.
	head := sha256.Sum256(b[:min(n, s.secretBytes())])
	if head == s.last {
		return nil, fmt.Errorf("source %s: %w", s.Name(), ErrRepeated)
	}
	s.last = head
	return b, nil
}

// timed reads n bytes within the source's patience. A device that hangs keeps
// the goroutine that reads it and nobody else: the source is asked nothing more
// until that has come back, and what it then brings is thrown away.
func (s *watched) timed(ctx context.Context, n int) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	slow := func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w within %v", ErrSlow, s.patience)
	}
	if s.late != nil {
		select {
		case <-s.late:
			s.late = nil
		case <-within.Done():
			return nil, slow()
		}
	}
	// Fresh zeros, so that what a source leaves unfilled fails the tests.
	b, done, err := make([]byte, n), make(chan struct{}), error(nil)
	go func() {
		defer close(done)
		err = s.Read(within, b)
	}()
	select {
	case <-done:
	case <-within.Done():
		s.late = done
		return nil, slow()
	}
	switch {
	case err == nil:
		return b, nil
	case within.Err() != nil:
		return nil, slow()
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: %w", ErrShort, err)
	}
	return nil, err
}
