package games

import (
	"slices"
	"testing"
)

func TestSimulatedTakesTheUpperHalfFirst(t *testing.T) {
	words := []uint64{0x00000001_00000002, 0x00000003_00000004}
	got := draw(words, 100, 100, 100, 100)
	if want := []uint32{1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("drew %d, want %d", got, want)
	}
}

func TestSimulatedDiscardsWordsBeyondTheWholeClasses(t *testing.T) {
	// For 37 the words from 4294967289 are discarded.
	words := []uint64{4294967289<<32 | 4294967295, 4294967288<<32 | 5}
	got := draw(words, 37, 37)
	if want := []uint32{36, 5}; !slices.Equal(got, want) {
		t.Errorf("drew %d, want %d", got, want)
	}
}

// draw draws integers of the ranges from the words.
func draw(words []uint64, ranges ...uint32) (got []uint32) {
	s := NewSimulated(func() uint64 {
		w := words[0]
		words = words[1:]
		return w
	})
	for _, n := range ranges {
		got = append(got, s.Int(n))
	}
	return got
}
