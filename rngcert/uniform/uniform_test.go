package uniform

import "testing"

func TestLastEndsTheWholeClasses(t *testing.T) {
	for _, tt := range []struct{ n, want uint32 }{
		{1, 4294967295},
		{2, 4294967295},
		{3, 4294967294},
		{10, 4294967289},
		{37, 4294967288},
		{1 << 31, 4294967295},
		{1<<31 + 1, 1 << 31},
		{1<<32 - 1, 4294967294},
	} {
		if got := Last(tt.n); got != tt.want {
			t.Errorf("Last(%d) = %d, want %d", tt.n, got, tt.want)
		}
	}
}

func TestReduceAtTheEdge(t *testing.T) {
	for _, tt := range []struct {
		w, n uint32
		v    uint32
		ok   bool
	}{
		{0, 1, 0, true},
		{4294967295, 1, 0, true},
		{38, 37, 1, true},
		{4294967288, 37, 36, true},
		{4294967289, 37, 0, false},
		{4294967295, 37, 0, false},
		{4294967295, 1 << 31, 1<<31 - 1, true},
		{1 << 31, 1<<31 + 1, 1 << 31, true},
		{1<<31 + 1, 1<<31 + 1, 0, false},
	} {
		v, ok := Reduce(tt.w, tt.n)
		if v != tt.v || ok != tt.ok {
			t.Errorf("Reduce(%d, %d) = %d, %t, want %d, %t", tt.w, tt.n, v, ok, tt.v, tt.ok)
		}
	}
}

// FuzzReduce holds the 32-bit arithmetic against the rule in 64 bits.
func FuzzReduce(f *testing.F) {
	f.Add(uint32(0), uint32(1))
	f.Add(uint32(1<<32-1), uint32(37))
	f.Add(uint32(1<<31), uint32(1<<31+1))
	f.Fuzz(func(t *testing.T, w, n uint32) {
		if n == 0 {
			return
		}
		limit := uint64(1) << 32 / uint64(n) * uint64(n)
		if got := uint64(Last(n)) + 1; got != limit {
			t.Fatalf("Last(%d) + 1 = %d, want %d", n, got, limit)
		}
		v, ok := Reduce(w, n)
		if want := uint64(w) < limit; ok != want {
			t.Fatalf("Reduce(%d, %d) accepted: %t, want %t", w, n, ok, want)
		}
		if ok && v != w%n {
			t.Fatalf("Reduce(%d, %d) = %d, want %d", w, n, v, w%n)
		}
	})
}

func BenchmarkReduce(b *testing.B) {
	var sum, w uint32
	for b.Loop() {
		w += 0x9E3779B9
		v, _ := Reduce(w, 37)
		sum += v
	}
	_ = sum
}
