package entropy

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestKernel(t *testing.T) {
	pool, err := NewPool(t.Context(), Options{}, Kernel{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[[32]byte]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				secret, reports, err := pool.Secret(t.Context())
				if want := (SourceReport{Name: "linux-getrandom", Assurance: "software", Conditioned: true, Group: GroupKernel, Bytes: 64, Healthy: true}); err != nil || len(reports) != 1 || reports[0] != want {
					t.Errorf("got %+v and %v, want %+v", reports, err, want)
					return
				}
				mu.Lock()
				seen[secret] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 200 {
		t.Errorf("%d different secrets of 200", len(seen))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := pool.Secret(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func BenchmarkSecret(b *testing.B) {
	pool, err := NewPool(b.Context(), Options{}, Kernel{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := pool.Secret(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
