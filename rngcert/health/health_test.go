package health

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"
)

// Cut-offs computed apart from this package, by adding the binomial
// probabilities from 0 upward in 200 decimal digits.
func TestCutoffs(t *testing.T) {
	for _, c := range []struct {
		h                      float64
		repetition, proportion int
	}{
		{0.04, 501, 512}, {0.1, 201, 502}, {0.5, 41, 410}, {1, 21, 311}, {1.5, 15, 234}, {2, 11, 177},
		{3, 8, 103}, {4, 6, 62}, {5, 5, 39}, {6, 5, 25}, {7, 4, 18}, {7.5, 4, 15}, {8, 4, 13},
	} {
		m := monitor(t, c.h)
		if m.repetitionCutoff != c.repetition || m.proportionCutoff != c.proportion {
			t.Errorf("H %v: cut-offs %d and %d, want %d and %d", c.h, m.repetitionCutoff, m.proportionCutoff, c.repetition, c.proportion)
		}
	}
	// The figure implementations of the standard quote for H 1 and α 2^−30.
	if got := proportionCutoff(1, 30); got != 325 {
		t.Errorf("H 1, α 2^−30: cut-off %d, want 325", got)
	}
}

// For whole H the chance is a ratio of whole numbers, so the definition can be
// checked without rounding: C is the least c that is hit with chance α at most.
func TestProportionCutoffIsExact(t *testing.T) {
	for h := int64(1); h <= 8; h++ {
		others := big.NewInt(1<<h - 1)
		// ways is the number of windows, of 2^(H·W), with c hits or more.
		ways := func(c int) *big.Int {
			sum := new(big.Int)
			for k := c; k <= window; k++ {
				n := new(big.Int).Exp(others, big.NewInt(int64(window-k)), nil)
				sum.Add(sum, n.Mul(n, new(big.Int).Binomial(window, int64(k))))
			}
			return sum
		}
		atMost := new(big.Int).Lsh(big.NewInt(1), uint(h*window-alphaLog2))
		c := proportionCutoff(float64(h), alphaLog2)
		if ways(c).Cmp(atMost) > 0 {
			t.Errorf("H %d: %d hits are more likely than α", h, c)
		}
		if ways(c-1).Cmp(atMost) <= 0 {
			t.Errorf("H %d: %d hits would do", h, c-1)
		}
	}
}

func TestDeclaredEntropyIsChecked(t *testing.T) {
	for _, h := range []float64{-1, 0, 20.0 / 512, 8.0001, math.Inf(1), math.NaN()} {
		if _, err := NewMonitor(h); err == nil {
			t.Errorf("NewMonitor(%v) accepted", h)
		}
	}
	// The lowest declarations must still catch a dead source.
	m := monitor(t, math.Nextafter(20.0/512, 1))
	if err := m.Check(make([]byte, 2*window)); err == nil {
		t.Error("a constant source passed")
	}
}

func TestRepetition(t *testing.T) {
	m := monitor(t, 4) // cut-off 6
	for _, s := range []string{"\x00\x00\x00\x00\x00", "aaaaa", "bbbbb", "aaaaa"} {
		if err := m.Check([]byte(s)); err != nil {
			t.Fatalf("5 equal samples: %v", err)
		}
	}
	// The run goes on across calls.
	if err := m.Check([]byte("a")); !errors.Is(err, ErrRepetition) {
		t.Errorf("6 equal samples: got %v, want ErrRepetition", err)
	}
}

func TestProportion(t *testing.T) {
	m := monitor(t, 4) // cut-off 62
	// often returns one window that begins with 'x' and has n of them, none
	// next to another.
	often := func(n int) []byte {
		w := make([]byte, window)
		for i := range w {
			w[i] = byte(i)
			if w[i] == 'x' {
				w[i]++
			}
			if i%2 == 0 && i/2 < n {
				w[i] = 'x'
			}
		}
		return w
	}
	for range 3 {
		if err := m.Check(often(61)); err != nil {
			t.Fatalf("61 of 512: %v", err)
		}
	}
	// Each window counts anew; only the 62nd within one is a failure.
	failing := often(62)
	if err := m.Check(failing[:122]); err != nil {
		t.Fatalf("61 so far: %v", err)
	}
	if err := m.Check(failing[122:123]); !errors.Is(err, ErrProportion) {
		t.Errorf("62 of 512: got %v, want ErrProportion", err)
	}
}

func TestSoundSourcePasses(t *testing.T) {
	for _, h := range []float64{0.5, 1, 4, 6} {
		if err := monitor(t, h).Check(noise(1 << 19)); err != nil {
			t.Errorf("H %v: %v", h, err)
		}
	}
}

// A source of 2 bits in each byte is caught when it declares 4, and not when it
// declares 2.
func TestWeakSourceFails(t *testing.T) {
	weak := noise(1 << 14)
	for i := range weak {
		weak[i] &= 3
	}
	if err := monitor(t, 4).Check(weak); err == nil {
		t.Error("declared 4: passed")
	}
	if err := monitor(t, 2).Check(weak); err != nil {
		t.Errorf("declared 2: %v", err)
	}
}

func TestFailureStaysUntilReset(t *testing.T) {
	m := monitor(t, 8)
	if m.Started() {
		t.Error("started before the first sample")
	}
	good := noise(2 * StartupSamples)
	for i, s := range good[:StartupSamples] {
		if m.Started() {
			t.Fatalf("started after %d samples", i)
		}
		if err := m.Check([]byte{s}); err != nil {
			t.Fatal(err)
		}
	}
	if !m.Started() {
		t.Fatal("not started after the start-up test")
	}
	first := m.Check(make([]byte, 4))
	if !errors.Is(first, ErrRepetition) {
		t.Fatalf("got %v, want ErrRepetition", first)
	}
	if err := m.Check(good); err != first {
		t.Errorf("good samples after a failure: got %v, want the failure", err)
	}
	if err := m.Check(nil); err != first {
		t.Errorf("no samples after a failure: got %v, want the failure", err)
	}
	if m.Started() {
		t.Error("started in spite of a failure")
	}
	m.Reset()
	if err := m.Check(good[:StartupSamples-1]); err != nil {
		t.Fatalf("after Reset: %v", err)
	}
	if m.Started() {
		t.Error("a Reset must ask for the whole start-up test again")
	}
	if err := m.Check(good[StartupSamples-1 : StartupSamples]); err != nil || !m.Started() {
		t.Errorf("after the second start-up test: %v, started %v", err, m.Started())
	}
}

func TestCallsMayCutTheStreamAnywhere(t *testing.T) {
	stream := append(noise(3000), bytes.Repeat([]byte{7}, 10)...)
	whole, pieces := monitor(t, 8), monitor(t, 8)
	want := whole.Check(stream)
	var got error
	for i, step := 0, 1; i < len(stream); step = step%97 + 1 {
		end := min(i+step, len(stream))
		got = pieces.Check(stream[i:end])
		i = end
	}
	if got == nil || want == nil || got.Error() != want.Error() {
		t.Errorf("in pieces %v, at once %v", got, want)
	}
}

func monitor(t *testing.T, h float64) *Monitor {
	t.Helper()
	m, err := NewMonitor(h)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// noise returns n bytes that look random and are the same each time.
func noise(n int) []byte {
	var out []byte
	for i := uint64(0); len(out) < n; i++ {
		block := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		out = append(out, block[:]...)
	}
	return out[:n]
}

// What is quick and what is slow come to the same: the samples that fail, the
// error, and what is remembered.
func TestQuickAndStepwiseAgree(t *testing.T) {
	for h, samples := range map[float64][]byte{8: noise(1 << 18), 4: noise(1 << 16), 1: bits(noise(1<<16), 0x03), 0.5: bits(noise(1<<16), 0x01)} {
		for _, fault := range []int{-1, 0, 1, 511, 512, 513, 30000, 40000} {
			data := bytes.Clone(samples)
			if fault >= 0 {
				clear(data[fault:min(fault+60, len(data))])
			}
			quick, slow := monitor(t, h), monitor(t, h)
			for at := 0; at < len(data); {
				n := min(1+(at*7919)%1500, len(data)-at)
				quick.Check(data[at : at+n])
				if slow.failure == nil {
					slow.step(data[at : at+n])
				}
				at += n
				if told(quick) != told(slow) {
					t.Fatalf("H %v, zeros at %d, after %d samples: %s, stepwise %s", h, fault, at, told(quick), told(slow))
				}
			}
		}
	}
}

// told is all that a Monitor remembers.
func told(m *Monitor) string {
	s := m.state
	s.failure = nil
	return fmt.Sprintf("%v %+v", m.failure, s)
}

// bits keeps some bits of each byte.
func bits(b []byte, mask byte) []byte {
	for i := range b {
		b[i] &= mask
	}
	return b
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("aaaaaabbbbbb"), uint16(5))
	f.Add(noise(2000), uint16(511))
	f.Add(make([]byte, 600), uint16(1))
	f.Fuzz(func(t *testing.T, samples []byte, cut uint16) {
		at := min(int(cut), len(samples))
		whole, parts := monitor(t, 4), monitor(t, 4)
		whole.step(samples)
		parts.Check(samples[:at])
		parts.Check(samples[at:])
		if told(whole) != told(parts) {
			t.Fatalf("cut at %d: %s, want %s", at, told(parts), told(whole))
		}
	})
}

// BenchmarkCheck is both tests over sound samples; BenchmarkPass, beside it, looks
// at each byte of the same memory once and does nothing else.
func BenchmarkCheck(b *testing.B) {
	m, err := NewMonitor(4)
	if err != nil {
		b.Fatal(err)
	}
	samples := noise(1 << 20)
	b.SetBytes(int64(len(samples)))
	for b.Loop() {
		if err := m.Check(samples); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPass(b *testing.B) {
	samples := noise(1 << 20)
	b.SetBytes(int64(len(samples)))
	var sum byte
	for b.Loop() {
		for _, s := range samples {
			sum += s
		}
	}
	_ = sum
}
