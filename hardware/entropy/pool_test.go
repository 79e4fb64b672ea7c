package entropy

import (
	"context"
	"errors"
	"slices"
	"testing"

	"countroom/rngcert/drbg"
	"countroom/rngcert/health"
)

// device is a source for tests: sound until it is told to misbehave.
type device struct {
	name  string
	kind  Kind
	noise *drbg.DRBG
	// fault, when set, stands in for the sound read.
	fault func(ctx context.Context, p []byte) error
	reads int
}

func newDevice(t *testing.T, name string) *device {
	t.Helper()
	seed := make([]byte, drbg.MinEntropy)
	copy(seed, name)
	noise, err := drbg.New(seed, make([]byte, drbg.MinNonce), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &device{name: name, kind: Kind{MinEntropyPerByte: 4, Physical: true, Assurance: "test"}, noise: noise}
}

func (d *device) Name() string { return d.name }
func (d *device) Kind() Kind   { return d.kind }
func (d *device) Read(ctx context.Context, p []byte) error {
	d.reads++
	if d.fault != nil {
		return d.fault(ctx, p)
	}
	return d.noise.Generate(p, nil)
}

var errUnplugged = errors.New("device unplugged")

// faults are the ways to fail that a Pool must notice within one read.
func faults(d *device) map[string]struct {
	fault func(context.Context, []byte) error
	want  error
} {
	block := make([]byte, 64)
	d.noise.Generate(block, nil)
	return map[string]struct {
		fault func(context.Context, []byte) error
		want  error
	}{
		"error": {func(context.Context, []byte) error { return errUnplugged }, errUnplugged},
		"stuck": {func(_ context.Context, p []byte) error {
			for i := range p {
				p[i] = 0xa7
			}
			return nil
		}, health.ErrRepetition},
		"nothing written": {func(context.Context, []byte) error { return nil }, health.ErrRepetition},
		"short": {func(_ context.Context, p []byte) error {
			return d.noise.Generate(p[:len(p)-8], nil)
		}, health.ErrRepetition},
		"one bit alive": {func(_ context.Context, p []byte) error {
			err := d.noise.Generate(p, nil)
			for i := range p {
				p[i] &= 1
			}
			return err
		}, health.ErrRepetition},
	}
}

func TestSecretsComeFromAllSources(t *testing.T) {
	ctx := t.Context()
	a, b := newDevice(t, "a"), newDevice(t, "b")
	b.kind = Kind{MinEntropyPerByte: 0.5, Conditioned: true}
	pool, err := NewPool(ctx, []byte("house"), a, b)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]bool{}
	for range 100 {
		secret, reports, err := pool.Secret(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if seen[secret] || secret == [32]byte{} {
			t.Fatalf("secret %x came twice or is empty", secret)
		}
		seen[secret] = true
		// 256 bits at 4 and at 0.5 bits a byte.
		want := []SourceReport{{Name: "a", Bytes: 64, Healthy: true}, {Name: "b", Conditioned: true, Bytes: 512, Healthy: true}}
		if !slices.Equal(reports, want) {
			t.Fatalf("reports %+v, want %+v", reports, want)
		}
	}
	// Start-up test, entropy input, nonce, and one read for each secret.
	if a.reads != 103 || b.reads != 103 {
		t.Errorf("%d and %d reads, want 103 each", a.reads, b.reads)
	}
}

// With the same sources and personalisation a Pool repeats itself; a change in
// either source or in the personalisation changes the secret.
func TestEachInputCounts(t *testing.T) {
	first := func(personalisation string, names ...string) [32]byte {
		t.Helper()
		var sources []Source
		for _, name := range names {
			sources = append(sources, newDevice(t, name))
		}
		pool, err := NewPool(t.Context(), []byte(personalisation), sources...)
		if err != nil {
			t.Fatal(err)
		}
		secret, _, err := pool.Secret(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	base := first("house", "a", "b")
	if first("house", "a", "b") != base {
		t.Error("the same inputs gave another secret")
	}
	for what, other := range map[string][32]byte{
		"first source":    first("house", "c", "b"),
		"second source":   first("house", "a", "c"),
		"order":           first("house", "b", "a"),
		"personalisation": first("other", "a", "b"),
	} {
		if other == base {
			t.Errorf("another %s gave the same secret", what)
		}
	}
}

func TestFaultAtStartUp(t *testing.T) {
	for name := range faults(newDevice(t, "bad")) {
		t.Run(name, func(t *testing.T) {
			bad := newDevice(t, "bad")
			f := faults(bad)[name]
			bad.fault = f.fault
			pool, err := NewPool(t.Context(), nil, newDevice(t, "good"), bad)
			if pool != nil || !errors.Is(err, ErrUnhealthy) || !errors.Is(err, f.want) {
				t.Errorf("got %v, want ErrUnhealthy and %v", err, f.want)
			}
		})
	}
}

// One bad source ends the Pool, though the other is good and the bad one
// recovers.
func TestFaultInService(t *testing.T) {
	for name := range faults(newDevice(t, "bad")) {
		t.Run(name, func(t *testing.T) {
			good, bad := newDevice(t, "good"), newDevice(t, "bad")
			pool, err := NewPool(t.Context(), nil, good, bad)
			if err != nil {
				t.Fatal(err)
			}
			f := faults(bad)[name]
			bad.fault = f.fault
			secret, reports, err := pool.Secret(t.Context())
			if !errors.Is(err, ErrUnhealthy) || !errors.Is(err, f.want) || secret != [32]byte{} {
				t.Fatalf("got %x and %v, want no secret, ErrUnhealthy and %v", secret, err, f.want)
			}
			want := []SourceReport{{Name: "good", Bytes: 64, Healthy: true}, {Name: "bad"}}
			if !slices.Equal(reports, want) {
				t.Errorf("reports %+v, want %+v", reports, want)
			}

			bad.fault = nil
			reads := good.reads + bad.reads
			secret, reports, again := pool.Secret(t.Context())
			if again != err || secret != [32]byte{} {
				t.Errorf("afterwards: got %x and %v, want no secret and the same failure", secret, again)
			}
			want[0].Bytes = 0
			if !slices.Equal(reports, want) {
				t.Errorf("afterwards: reports %+v, want %+v", reports, want)
			}
			if good.reads+bad.reads != reads {
				t.Error("a failed Pool went on reading")
			}
		})
	}
}

// A buffer that is handed out again and again looks random byte by byte.
func TestRepeatingSource(t *testing.T) {
	bad := newDevice(t, "bad")
	pool, err := NewPool(t.Context(), nil, bad)
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	if err := bad.noise.Generate(buffer, nil); err != nil {
		t.Fatal(err)
	}
	bad.fault = func(_ context.Context, p []byte) error {
		for n := 0; n < len(p); {
			n += copy(p[n:], buffer)
		}
		return nil
	}
	if _, _, err := pool.Secret(t.Context()); err != nil {
		t.Fatalf("the first time the buffer is new: %v", err)
	}
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrUnhealthy) || !errors.Is(err, ErrRepeated) {
		t.Errorf("got %v, want ErrUnhealthy and ErrRepeated", err)
	}

	// From the start it does not get past NewPool.
	if _, err := NewPool(t.Context(), nil, bad); !errors.Is(err, ErrRepeated) {
		t.Errorf("at start-up: got %v, want ErrRepeated", err)
	}
}

// Giving up on a slow device says nothing about its health.
func TestCancelledReadIsNoFailure(t *testing.T) {
	slow := newDevice(t, "slow")
	pool, err := NewPool(t.Context(), nil, slow)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	slow.fault = func(ctx context.Context, _ []byte) error {
		cancel()
		<-ctx.Done()
		return errors.New("interrupted")
	}
	secret, reports, err := pool.Secret(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnhealthy) || secret != [32]byte{} {
		t.Errorf("got %x and %v, want no secret and the context's error", secret, err)
	}
	if want := []SourceReport{{Name: "slow", Healthy: true}}; !slices.Equal(reports, want) {
		t.Errorf("reports %+v, want %+v", reports, want)
	}
	slow.fault = nil
	if _, _, err := pool.Secret(t.Context()); err != nil {
		t.Errorf("after the device came back: %v", err)
	}
}

func TestPoolRefusesBadSetUp(t *testing.T) {
	if _, err := NewPool(t.Context(), nil); err == nil {
		t.Error("no sources: accepted")
	}
	if _, err := NewPool(t.Context(), nil, newDevice(t, "a"), newDevice(t, "a")); err == nil {
		t.Error("two sources of one name: accepted")
	}
	bad := newDevice(t, "a")
	bad.kind.MinEntropyPerByte = 0
	if _, err := NewPool(t.Context(), nil, bad); err == nil {
		t.Error("no declared min-entropy: accepted")
	}
}
