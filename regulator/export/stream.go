package export

import (
	"bytes"
	"context"
	"runtime"
	"sync"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// batch is a run of leaves on its way from where they come from to where they are taken in order. Its memory is used
// again.
type batch struct {
	indexes []uint64
	leaves  [][]byte
	records [tlog.TileWidth]entry.Record
	failed  [tlog.TileWidth]error // why there is no record
	hashes  [tlog.TileWidth]tlog.Hash
	played  [tlog.TileWidth]played

	settled [tlog.TileWidth]rounds.Settled
	data    []byte
	ready   chan struct{}
}

var settledMark = []byte(`,"type":"round.settled"}`)

// hash takes the hashes of the leaves, which only a reader needs.
func (b *batch) hash() {
	for i, leaf := range b.leaves {
		b.hashes[i] = tlog.LeafHash(leaf)
	}
}

// decode reads the leaves; the frequent type is read into memory that is there.
func (b *batch) decode() {
	for i, leaf := range b.leaves {
		if bytes.HasSuffix(leaf, settledMark) {
			b.records[i], b.failed[i] = &b.settled[i], entry.Decode(leaf, &b.settled[i])
		} else {
			b.records[i], b.failed[i] = books.Decode(leaf)
		}
	}
}

// stream has leaves produced, decoded and worked on by several goroutines, and takes them in order. Records are each's
// until it returns. Memory is bounded: a few batches of the largest leaves.
func stream(ctx context.Context, produce func(yield func(index uint64, leaf []byte) error) error, worker func() func(*batch), each func(b *batch, i int) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	depth := 2*workers + 2
	free, todo, ordered := make(chan *batch, depth), make(chan *batch, depth), make(chan *batch, depth)
	for range depth {
		free <- &batch{ready: make(chan struct{}, 1)}
	}
	var failed error // of produce; read when ordered is closed
	running.Go(func() {
		defer close(todo)
		defer close(ordered)
		var b *batch
		ends := make([]int, 0, tlog.TileWidth)
		send := func() {
			start := 0
			for _, end := range ends {
				b.leaves = append(b.leaves, b.data[start:end:end])
				start = end
			}
			ordered <- b
			todo <- b
			b, ends = nil, ends[:0]
		}
		failed = produce(func(index uint64, leaf []byte) error {
			if b == nil {
				select {
				case b = <-free:
					b.indexes, b.leaves, b.data = b.indexes[:0], b.leaves[:0], b.data[:0]
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			b.indexes = append(b.indexes, index)
			b.data = append(b.data, leaf...)
			if ends = append(ends, len(b.data)); len(ends) == tlog.TileWidth {
				send()
			}
			return nil
		})
		if b != nil {
			send()
		}
	})
	for range workers {
		running.Go(func() {
			work := func(*batch) {}
			if worker != nil {
				work = worker()
			}
			for b := range todo {
				b.decode()
				work(b)
				b.ready <- struct{}{}
			}
		})
	}
	for b := range ordered {
		<-b.ready
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		for i := range b.leaves {
			if err := each(b, i); err != nil {
				return err
			}
		}
		free <- b
	}
	return failed
}
