package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets that are at most an eighth wide, from
// 8 microseconds up. Its methods may be called by any goroutine.
type histogram struct {
	counts [8 * 32]atomic.Uint64
	most   atomic.Int64
}

func bucketOf(d time.Duration) int {
	v := max(uint64(d.Microseconds()), 8)
	exp := bits.Len64(v) - 4 // v>>exp is 8 to 15
	return min(8*exp+int(v>>exp)-8, 8*32-1)
}

// bucketEnd is the least duration beyond a bucket.
func bucketEnd(i int) time.Duration {
	return time.Duration(uint64(i%8+9)<<(i/8)) * time.Microsecond
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)].Add(1)
	for {
		most := h.most.Load()
		if int64(d) <= most || h.most.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

func (h *histogram) count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// quantile returns a duration that the given part of all durations does not
// exceed, 0 when there is none.
func (h *histogram) quantile(q float64) time.Duration {
	n := h.count()
	if n == 0 {
		return 0
	}
	rank, seen := uint64(q*float64(n-1)), uint64(0)
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen > rank {
			return min(bucketEnd(i), h.max())
		}
	}
	return h.max()
}

func (h *histogram) max() time.Duration { return time.Duration(h.most.Load()) }

// merge adds what another histogram has.
func (h *histogram) merge(o *histogram) {
	for i := range h.counts {
		h.counts[i].Add(o.counts[i].Load())
	}
	h.most.Store(max(h.most.Load(), o.most.Load()))
}
