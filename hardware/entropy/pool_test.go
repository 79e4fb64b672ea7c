package entropy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
	reads atomic.Int64
}

func newDevice(t *testing.T, name string) *device {
	t.Helper()
	seed := make([]byte, drbg.MinEntropy)
	copy(seed, name)
	noise, err := drbg.New(seed, make([]byte, drbg.MinNonce), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &device{name: name, kind: Kind{MinEntropyPerByte: 4, Physical: true, Group: name, Assurance: "test"}, noise: noise}
}

func (d *device) Name() string { return d.name }
func (d *device) Kind() Kind   { return d.kind }
func (d *device) Read(ctx context.Context, p []byte) error {
	d.reads.Add(1)
	if d.fault != nil {
		return d.fault(ctx, p)
	}
	return d.noise.Generate(p, nil)
}

var errUnplugged = errors.New("device unplugged")

type fault struct {
	read   func(context.Context, []byte) error
	want   error
	reason string
}

// faults are the ways to fail that a Pool must notice within one read.
func faults(d *device) map[string]fault {
	return map[string]fault{
		"error": {func(context.Context, []byte) error { return errUnplugged }, errUnplugged, ReasonUnavailable},
		"stuck": {func(_ context.Context, p []byte) error {
			for i := range p {
				p[i] = 0xa7
			}
			return nil
		}, health.ErrRepetition, ReasonRepetition},
		"nothing written": {func(context.Context, []byte) error { return nil }, health.ErrRepetition, ReasonRepetition},
		"end": {func(_ context.Context, p []byte) error {
			n, err := io.ReadFull(strings.NewReader("all there is"), p)
			return fmt.Errorf("after %d bytes: %w", n, err)
		}, ErrShort, ReasonShort},
		"wrong PIN": {func(context.Context, []byte) error { return fmt.Errorf("%w: the PIN is wrong", ErrRefused) }, ErrRefused, ReasonRefused},
		"one value too often": {func(_ context.Context, p []byte) error {
			err := d.noise.Generate(p, nil)
			for i := range p {
				if i%2 == 0 {
					p[i] = 'x'
				}
			}
			return err
		}, health.ErrProportion, ReasonProportion},
		"short": {func(_ context.Context, p []byte) error {
			return d.noise.Generate(p[:len(p)-8], nil)
		}, health.ErrRepetition, ReasonRepetition},
		"one bit alive": {func(_ context.Context, p []byte) error {
			err := d.noise.Generate(p, nil)
			for i := range p {
				p[i] >>= 7
			}
			return err
		}, health.ErrRepetition, ReasonRepetition},
	}
}

// report is what a device that is in order contributes.
func (d *device) report(bytes int) SourceReport {
	return SourceReport{Name: d.name, Assurance: d.kind.Assurance, Conditioned: d.kind.Conditioned, Physical: d.kind.Physical, Group: d.kind.Group, Bytes: bytes, Healthy: true}
}

func TestSecretsComeFromAllSources(t *testing.T) {
	ctx := t.Context()
	a, b := newDevice(t, "a"), newDevice(t, "b")
	b.kind.MinEntropyPerByte, b.kind.Conditioned = 0.5, true
	pool, err := NewPool(ctx, Options{Personalisation: []byte("house")}, a, b)
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
		if want := []SourceReport{a.report(64), b.report(512)}; !slices.Equal(reports, want) {
			t.Fatalf("reports %+v, want %+v", reports, want)
		}
	}
	// Start-up test, nonce, and one read for each secret.
	if a.reads.Load() != 102 || b.reads.Load() != 102 {
		t.Errorf("%d and %d reads, want 102 each", a.reads.Load(), b.reads.Load())
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
		pool, err := NewPool(t.Context(), Options{Personalisation: []byte(personalisation)}, sources...)
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
		"one source less": first("house", "a"),
		"personalisation": first("other", "a", "b"),
	} {
		if other == base {
			t.Errorf("another %s gave the same secret", what)
		}
	}
}

// out tells which sources are, in words.
func out(states []State) string {
	var list []string
	for _, s := range states {
		if s.Failure != nil {
			list = append(list, s.Name+" "+s.Reason)
		}
	}
	return strings.Join(list, ", ")
}

// A source that is bad from the start is out, and the others do if they are
// enough.
func TestFaultAtStartUp(t *testing.T) {
	for name := range faults(newDevice(t, "bad")) {
		t.Run(name, func(t *testing.T) {
			good, bad := newDevice(t, "good"), newDevice(t, "bad")
			f := faults(bad)[name]
			bad.fault = f.read
			for minimum, enough := range map[int]bool{1: true, 2: false} {
				pool, err := NewPool(t.Context(), Options{Minimum: minimum}, good, bad)
				if err != nil {
					t.Fatal(err)
				}
				states := pool.States()
				if got := out(states); got != "bad "+f.reason || !errors.Is(states[1].Failure, f.want) || Groups(states) != 1 {
					t.Errorf("out: %q, %v; want bad %s and %v", got, states[1].Failure, f.reason, f.want)
				}
				secret, reports, err := pool.Secret(t.Context())
				if enough && (err != nil || !slices.Equal(reports, []SourceReport{good.report(64)})) {
					t.Errorf("one is enough: %+v, %v", reports, err)
				}
				if !enough && (!errors.Is(err, ErrTooFew) || !errors.Is(err, f.want) || secret != [32]byte{} || reports != nil) {
					t.Errorf("two are needed: %x, %+v, %v", secret, reports, err)
				}
			}
		})
	}
}

// A source that fails while it gives a secret contributes nothing to it; it stays
// out, though what it gives is good again, until it has passed the start-up test.
func TestFaultInService(t *testing.T) {
	for name := range faults(newDevice(t, "bad")) {
		t.Run(name, func(t *testing.T) {
			good, bad := newDevice(t, "good"), newDevice(t, "bad")
			pool, err := NewPool(t.Context(), Options{Minimum: 2}, good, bad)
			if err != nil {
				t.Fatal(err)
			}
			f := faults(bad)[name]
			bad.fault = f.read
			// A proportion takes a window to be seen; what it was before is sound.
			for range 20 {
				if _, _, err = pool.Secret(t.Context()); err != nil {
					break
				}
			}
			if !errors.Is(err, ErrTooFew) || !errors.Is(err, f.want) {
				t.Fatalf("got %v, want ErrTooFew and %v", err, f.want)
			}
			if got := out(pool.States()); got != "bad "+f.reason {
				t.Errorf("out: %q, want bad %s", got, f.reason)
			}
			if got := out(pool.Tend(t.Context())); got != "bad "+f.reason {
				t.Errorf("out, tried again in vain: %q, want bad %s", got, f.reason)
			}

			bad.fault = nil
			reads := good.reads.Load() + bad.reads.Load()
			secret, reports, err := pool.Secret(t.Context())
			if !errors.Is(err, ErrTooFew) || secret != [32]byte{} || reports != nil {
				t.Errorf("before the start-up test: %x, %+v, %v", secret, reports, err)
			}
			if good.reads.Load()+bad.reads.Load() != reads {
				t.Error("in vain the sources were read")
			}

			states := pool.Tend(t.Context())
			if name == "wrong PIN" { // a second try could lock the token
				if out(states) != "bad refused" || good.reads.Load()+bad.reads.Load() != reads+1 {
					t.Errorf("after a refusal: out %q, %d reads", out(states), good.reads.Load()+bad.reads.Load()-reads)
				}
				return
			}
			if out(states) != "" || Groups(states) != 2 {
				t.Fatalf("after the start-up test: %+v", states)
			}
			if _, reports, err = pool.Secret(t.Context()); err != nil || !slices.Equal(reports, []SourceReport{good.report(64), bad.report(64)}) {
				t.Errorf("after the start-up test: %+v, %v", reports, err)
			}
		})
	}
}

// Sources of one group count as one, however many they are.
func TestGroupsCount(t *testing.T) {
	a, b, c := newDevice(t, "a"), newDevice(t, "b"), newDevice(t, "c")
	b.kind.Group = "a"
	pool, err := NewPool(t.Context(), Options{Minimum: 2}, a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	a.fault = func(context.Context, []byte) error { return errUnplugged }
	if _, reports, err := pool.Secret(t.Context()); err != nil || !slices.Equal(reports, []SourceReport{b.report(64), c.report(64)}) {
		t.Errorf("one of a group is out: %+v, %v", reports, err)
	}
	c.fault = a.fault
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "1 independent, 2 needed") {
		t.Errorf("a group is out: %v", err)
	}
}

// What has nothing to do in a Pool's work still notices a source that dies.
func TestTendingNotices(t *testing.T) {
	a, b := newDevice(t, "a"), newDevice(t, "b")
	pool, err := NewPool(t.Context(), Options{}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	b.fault = func(context.Context, []byte) error { return errUnplugged }
	if got := out(pool.Tend(t.Context())); got != "b unavailable" {
		t.Errorf("out: %q", got)
	}
}

// A source that comes and goes is tried less and less often, and in time it is
// trusted again.
func TestAFlappingSourceIsLeftAlone(t *testing.T) {
	bad := newDevice(t, "bad")
	pool, err := NewPool(t.Context(), Options{}, newDevice(t, "good"), bad)
	if err != nil {
		t.Fatal(err)
	}
	// passed tells how many turns it is out after a failure.
	passed := func() (turns int) {
		bad.fault = func(context.Context, []byte) error { return errUnplugged }
		pool.Tend(t.Context())
		bad.fault = nil
		for out(pool.Tend(t.Context())) != "" {
			turns++
		}
		return turns
	}
	var got []int
	for range 9 {
		got = append(got, passed())
	}
	if want := []int{0, 1, 3, 7, 15, 31, 63, 64, 64}; !slices.Equal(got, want) {
		t.Errorf("turns out: %v, want %v", got, want)
	}
	for range calmLong {
		pool.Tend(t.Context())
	}
	if n := passed(); n != 0 {
		t.Errorf("after a long calm: out for %d turns", n)
	}
}

// A buffer that is handed out again and again looks random byte by byte.
func TestRepeatingSource(t *testing.T) {
	bad := newDevice(t, "bad")
	pool, err := NewPool(t.Context(), Options{}, bad)
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
	// The first secret wants a nonce, too, which is already the same again.
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !errors.Is(err, ErrRepeated) {
		t.Errorf("got %v, want ErrTooFew and ErrRepeated", err)
	}
	for range 3 {
		if got := out(pool.Tend(t.Context())); got != "bad repeated" {
			t.Errorf("the start-up test again: out %q", got)
		}
	}
}

// Giving up on a device says nothing about its health.
func TestCancelledReadIsNoFailure(t *testing.T) {
	slow := newDevice(t, "slow")
	pool, err := NewPool(t.Context(), Options{}, slow)
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
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrTooFew) || secret != [32]byte{} || reports != nil {
		t.Errorf("got %x, %+v and %v, want no secret and the context's error", secret, reports, err)
	}
	slow.fault = nil
	if _, _, err := pool.Secret(t.Context()); err != nil {
		t.Errorf("after the device came back: %v", err)
	}
}

// A device that hangs, heedless of any context, is out when patience ends and is
// asked nothing more until it has come to itself.
func TestAHangingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := newDevice(t, "good"), newDevice(t, "bad")
		pool, err := NewPool(t.Context(), Options{Patience: 3 * time.Second}, good, bad)
		if err != nil {
			t.Fatal(err)
		}
		awake := make(chan struct{})
		bad.fault = func(_ context.Context, p []byte) error {
			<-awake
			return bad.noise.Generate(p, nil)
		}
		start := time.Now()
		if _, reports, err := pool.Secret(t.Context()); err != nil || len(reports) != 1 || time.Since(start) != 3*time.Second {
			t.Errorf("%+v, %v after %v", reports, err, time.Since(start))
		}
		for range 2 {
			if got := out(pool.Tend(t.Context())); got != "bad slow" || bad.reads.Load() != 2 {
				t.Errorf("out %q after %d reads", got, bad.reads.Load())
			}
		}
		close(awake)
		synctest.Wait()
		if got := out(pool.Tend(t.Context())); got != "" || bad.reads.Load() != 3 {
			t.Errorf("when it came to itself: out %q after %d reads", got, bad.reads.Load())
		}
	})
}

func TestPoolRefusesBadSetUp(t *testing.T) {
	for what, set := range map[string]func(a, b *device) Options{
		"two sources of one name":      func(_, b *device) Options { b.name = "a"; return Options{} },
		"a name that no entry takes":   func(a, _ *device) Options { a.name = "A 1"; return Options{} },
		"no group":                     func(a, _ *device) Options { a.kind.Group = ""; return Options{} },
		"no declared min-entropy":      func(a, _ *device) Options { a.kind.MinEntropyPerByte = 0; return Options{} },
		"more groups than there are":   func(_, _ *device) Options { return Options{Minimum: 3} },
		"one group, and two are asked": func(_, b *device) Options { b.kind.Group = "a"; return Options{Minimum: 2} },
		"a minimum below one":          func(_, _ *device) Options { return Options{Minimum: -1} },
	} {
		a, b := newDevice(t, "a"), newDevice(t, "b")
		if _, err := NewPool(t.Context(), set(a, b), a, b); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := NewPool(t.Context(), Options{}); err == nil {
		t.Error("no sources: accepted")
	}
}

// A generator that does not give its known answers gives no secret: there is no pool, and so no house.
func TestNoPoolWithoutItsGenerator(t *testing.T) {
	broken := errors.New("known answer not reproduced")
	selfTest = func() error { return broken }
	defer func() { selfTest = drbg.SelfTest }()
	if p, err := NewPool(t.Context(), Options{}, Kernel{}); p != nil || !errors.Is(err, broken) {
		t.Errorf("%v, %v", p, err)
	}
}
