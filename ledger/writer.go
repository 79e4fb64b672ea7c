package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// write is the writer: it runs what is queued and hands the open batch over as
// soon as the committer takes it.
func (l *Ledger) write() {
	defer l.done.Done()
	defer close(l.toCommit)
	var todo []*request
	for {
		if len(todo) == 0 {
			l.mu.Lock()
			todo, l.queue = l.queue, nil
			l.mu.Unlock()
		}
		for len(todo) > 0 && len(l.open.leaves) < batchMost && l.open.bytes < batchMostBytes {
			l.execute(todo[0])
			todo = todo[1:]
		}
		var hand chan *batch
		if len(l.open.waiters) > 0 || len(l.open.leaves) > 0 {
			hand = l.toCommit
		}
		wake := l.wake
		if len(todo) > 0 {
			wake = nil // the open batch is full
		}
		select {
		case <-wake:
		case hand <- l.open:
			l.number++
			l.open = l.newBatch()
			l.rows.age(l.durable.Load())
			l.keys.age(l.index.cursor(), l.size)
		case <-l.quit:
			l.mu.Lock()
			rest := append(l.queue, l.held...)
			l.queue, l.held, l.lost, l.gone = nil, nil, true, true
			l.mu.Unlock()
			l.giveUp(append(append(rest, todo...), l.open.waiters...))
			return
		}
	}
}

// giveUp answers requests whose fate is open.
func (l *Ledger) giveUp(rs []*request) {
	for _, r := range rs {
		r.err = ErrUnknownOutcome
	}
	l.answer(rs...)
}

// execute runs one command.
func (l *Ledger) execute(r *request) {
	for _, f := range r.fetched {
		// A row may have changed, and been dropped, since it was read.
		if l.rows.get(f.key) == nil && f.size >= l.rows.dropped {
			l.rows.add(f.key, f.row)
		}
	}
	r.fetched = nil
	tx := &l.tx
	tx.begin(r.cmd.Request)
	if !r.cmd.Request.IsZero() {
		index, found := l.keys.find([16]byte(r.cmd.Request.Key[:16]))
		if !found {
			index, found = r.keyIndex, r.keyFound
		}
		switch {
		case found:
			r.answered, r.index, r.replayed = true, index, true
			if s := l.signed.Load(); r.refused != nil && s != nil && index < s.Size {
				r.signed = s
				l.answer(r) // now, since the open batch may wait for room
				return
			}
			l.open.waiters = append(l.open.waiters, r)
			return
		case r.keySeen < l.keys.from:
			l.park(r, nil)
			return
		}
	}
	if r.refused != nil {
		r.err = r.refused
		l.answer(r)
		return
	}
	var step time.Duration
	wall, steady := l.cfg.Clock()
	l.stampsMu.Lock()
	tx.at, step = l.stamps.next(wall, steady)
	l.stampsMu.Unlock()
	if step != 0 {
		l.noteStep(step)
		tx.begin(r.cmd.Request)
	}
	mark := l.arena
	err := r.cmd.Run(tx)
	switch {
	case len(tx.missing) > 0:
		l.arena = mark
		l.park(r, tx.missing)
		return
	case errors.Is(err, errAwaits):
		l.keep(tx)
		l.hold(r, tx.awaits)
		return
	case err != nil:
		l.arena = mark
		r.err = err
	default:
		if tx.answer >= 0 {
			r.answered, r.index, r.leaf, r.record = true, l.size+uint64(tx.answer), tx.leaves[tx.answer], tx.records[tx.answer]
			if !tx.request.IsZero() {
				l.keys.add([16]byte(tx.request.Key[:16]), r.index)
			}
		}
		l.keep(tx)
	}
	l.open.waiters = append(l.open.waiters, r)
}

// Leaves are written into chunks, which their batches and answers keep alive.
// A chunk is left when an ordinary leaf might not fit, so that hardly any leaf
// is ever copied.
const (
	chunkBytes = 256 << 10
	leafRoom   = 4 << 10
)

func (l *Ledger) room() {
	if cap(l.arena)-len(l.arena) < leafRoom {
		l.arena = make([]byte, 0, chunkBytes)
	}
}

// keep makes a transaction's changes part of the open batch.
func (l *Ledger) keep(tx *Tx) {
	b := l.open
	l.size += uint64(len(tx.leaves))
	b.leaves = append(b.leaves, tx.leaves...)
	b.records = append(b.records, tx.records...)
	for _, leaf := range tx.leaves {
		b.bytes += len(leaf)
	}
	for _, c := range tx.changes {
		s := l.rows.get(c.key)
		if s == nil {
			s = l.rows.add(c.key, nil)
		}
		s.row, s.changed = c.row, l.size
		if s.batch == b.number {
			b.rows[s.pos].row = c.row
		} else {
			s.batch, s.pos = b.number, len(b.rows)
			b.rows = append(b.rows, dirty(c))
		}
	}
}

// noteStep records that the clock jumped.
func (l *Ledger) noteStep(step time.Duration) {
	tx := &l.tx
	mark := l.arena
	_, err := tx.Append(&system.ClockStepped{Header: entry.Header{Actor: "house"}, StepMicroseconds: step.Microseconds()})
	if err != nil {
		l.arena = mark
		l.cfg.Log.Error("a step of the clock was not recorded", "step", step, "error", err)
		return
	}
	l.cfg.Log.Warn("the clock stepped", "step", step)
	l.keep(tx)
}

// parksMost bounds how often one command may be parked: rows that are fetched
// again and again say that memory is far too small for the load.
const parksMost = 64

// park fetches what a command lacked and queues it again; the writer goes on.
func (l *Ledger) park(r *request, missing []string) {
	r.runs++
	l.m.parked.Inc()
	keys := append([]string(nil), missing...)
	go func() {
		err := error(nil)
		if r.runs > parksMost {
			err = ErrOverloaded
		} else if err = l.prepare(r); err == nil && len(keys) > 0 {
			err = l.fetch(r, keys)
		}
		if err != nil {
			r.err = err
			l.answer(r)
			return
		}
		l.requeue(r)
	}()
}

// commitAll makes batches durable, one at a time, while the writer fills the
// next, and hands them to the signing stage.
func (l *Ledger) commitAll() {
	defer l.done.Done()
	defer close(l.flush)
	failed := false
	for b := range l.toCommit {
		if !failed && len(b.leaves)+len(b.rows) > 0 { // rows of the vault may come alone
			if err := l.commitBatch(b); err != nil {
				failed = true
				l.fail(fmt.Errorf("committing %d entries from %d on: %w", len(b.leaves), b.base, err))
			}
		}
		if failed || !l.unsigned.add(b) {
			failed = true
			l.giveUp(b.waiters)
			continue
		}
		l.answerSigned()
		// To begin a commit while a quick signature is under way would make more
		// and smaller batches, and each has its price. A slow one is not waited for.
		if !l.unsigned.slow.Load() {
			<-b.over
		}
	}
}

func (l *Ledger) commitBatch(b *batch) error {
	start := time.Now()
	var checkpoint []byte
	if s := l.signed.Load(); s != nil {
		checkpoint = s.Checkpoint
	}
	// Pebble's memtable takes keys in order at about half the price.
	slices.SortFunc(b.rows, func(a, b dirty) int { return strings.Compare(a.key, b.key) })
	// The context is not a caller's: a commit that has begun is not given up.
	made := Batch{Term: l.term.Load(), Base: b.base, Leaves: b.leaves}
	if n := len(b.records); n > 0 {
		made.At = int64(b.records[n-1].Head().At) * 1000
	}
	head, err := l.applier.commit(context.Background(), made, b.rows, checkpoint)
	if err != nil {
		return err
	}
	b.head = head
	if err := l.noteDurable(b.base, b.records, head.Size); err != nil {
		return err
	}
	l.m.commitSeconds.Observe(time.Since(start).Seconds())
	l.m.batchEntries.Observe(float64(len(b.leaves)))
	l.m.entries.Add(float64(len(b.leaves)))
	return nil
}

// noteDurable takes in entries that were committed: whoever is answered can look
// them up at once.
func (l *Ledger) noteDurable(base uint64, records []entry.Record, size uint64) (err error) {
	l.durable.Store(size)
	for i, r := range records {
		index := base + uint64(i)
		l.signers.note(index, r)
		if l.indexRows, err = l.appendIndexRows(l.indexRows[:0], index, r); err != nil {
			return err
		}
		l.index.add(l.indexRows, index)
	}
	if l.index.pending() > 8*l.cfg.IndexRun {
		l.flush <- struct{}{} // the index may lag, but not without bound
	} else {
		select {
		case l.flush <- struct{}{}:
		default:
		}
	}
	return nil
}

// flushIndex trails behind the commits and writes long runs of index rows.
func (l *Ledger) flushIndex() {
	defer l.done.Done()
	failed := false
	for range l.flush {
		if failed {
			continue // the ledger is ending
		}
		if err := l.index.flush(l.cfg.IndexRun); err != nil {
			failed = true
			l.fail(fmt.Errorf("writing indexes: %w", err))
		}
	}
}

// fillFilter readies the filter of request keys; until then each command asks
// the store.
func (l *Ledger) fillFilter() {
	defer l.done.Done()
	if err := l.index.filter.fill(l.store, l.quit); err != nil {
		l.cfg.Log.Warn("request keys are looked up in the store", "error", err)
	}
}

// lookAtSpace refuses commands, before they run, while the disk has less than
// the store's reserve.
func (l *Ledger) lookAtSpace() {
	free, err := l.store.Free()
	if err != nil {
		l.cfg.Log.Error("the disk's free space is not known", "error", err)
	}
	low := err != nil || free.Available < free.Reserve
	if was := l.noSpace.Swap(low); was != low {
		l.cfg.Log.Warn("free disk space", "available", free.Available, "reserve", free.Reserve, "accepting", !low)
	}
}

func (l *Ledger) watchSpace() {
	defer l.done.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.lookAtSpace()
		case <-l.quit:
			return
		}
	}
}
