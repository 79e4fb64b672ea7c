package main

import (
	"context"
	"strings"
	"sync"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

// witnessed is the log as it is served to the verifier, with every leaf on its
// way held against what clients were told of its index.
type witnessed struct {
	verify.Source
	acked *acked

	mu      sync.Mutex
	counted map[uint64]bool // entries bundles, by number: some may be read twice
	matched uint64
	other   uint64
	first   uint64 // an index where another leaf was acknowledged
}

func (w *witnessed) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	start := len(buf)
	buf, err := w.Source.Read(ctx, buf, path, limit)
	if err != nil || !strings.HasPrefix(path, "tile/entries/") {
		return buf, err
	}
	r, err := tlog.ParsePath(path)
	if err != nil {
		return buf, err
	}
	leaves, err := tlog.ParseBundle(buf[start:])
	if err != nil {
		return buf, err
	}
	var matched, other, first uint64
	for i, leaf := range leaves {
		index := r.Index*tlog.TileWidth + uint64(i)
		switch w.acked.at(index) {
		case 0:
		case short(tlog.LeafHash(leaf)):
			matched++
		default:
			other, first = other+1, index
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.counted[r.Index] {
		w.counted[r.Index] = true
		w.matched += matched
		w.other += other
		if other > 0 {
			w.first = first
		}
	}
	return buf, nil
}

// audit verifies the whole log with the receipts that were kept.
func (l *load) audit(ctx context.Context) (*verify.Report, *witnessed, error) {
	src, err := verify.HTTP("http://"+l.addr, l.regulator)
	if err != nil {
		return nil, nil, err
	}
	w := &witnessed{Source: src, acked: &l.acked, counted: map[uint64]bool{}}
	report, err := verify.Log(ctx, w, verify.Options{VKey: l.vkey, Known: l.kept})
	return report, w, err
}
