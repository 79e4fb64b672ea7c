package ledger

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"countroom/ledger/cosign"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"
)

// Open opens the log in the store: it rebuilds the edge of the tree, holds the
// head against the guard, signs it again, and starts to accept commands.
func Open(ctx context.Context, cfg Config) (_ *Ledger, err error) {
	if cfg.Clock == nil {
		cfg.Clock = systemClock()
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Fatal == nil {
		cfg.Fatal = func(err error) {
			cfg.Log.Error("the ledger stops", "error", err)
			os.Exit(1)
		}
	}
	if cfg.QueueMost == 0 {
		cfg.QueueMost = batchMost // more in a batch would not fit
	}
	if cfg.CacheRows == 0 {
		cfg.CacheRows = 1 << 18
	}
	if cfg.IndexRun == 0 {
		cfg.IndexRun = indexRun
	}
	if cfg.Signatures == 0 {
		cfg.Signatures = 1
	}
	if cfg.patience == 0 {
		cfg.patience = signerPatience
	}
	head := cfg.Store.Head()
	l := &Ledger{
		cfg: cfg, store: cfg.Store, books: cfg.Books, size: head.Size,
		wake: make(chan struct{}, 1), idle: make(chan struct{}), rows: newCache(cfg.CacheRows / 2),
		random: bufio.NewReaderSize(cfg.Random, 4096), number: 1,
		toCommit: make(chan *batch), flush: make(chan struct{}, 1),
		signedMore: make(chan struct{}), quit: make(chan struct{}), failed: make(chan struct{}), m: newMetrics(),
		unsigned: newUnsigned(),
	}
	l.tx.l = l
	l.follow.passive.Store(cfg.Passive)
	if !cfg.Passive {
		l.term.Store(head.Term + 1)
	}
	l.open = l.newBatch()
	l.durable.Store(head.Size)
	if err := l.openSigners(); err != nil {
		return nil, err
	}
	if err := l.openTree(); err != nil {
		return nil, err
	}
	if err := l.openFolds(ctx, head); err != nil {
		return nil, fmt.Errorf("building the books anew: %w", err)
	}
	if err := l.openChain(head.Size); err != nil {
		return nil, err
	}
	last, err := l.lastSigned()
	if err != nil {
		return nil, err
	}
	if err := l.openIndex(head); err != nil {
		return nil, fmt.Errorf("reading the newest entries: %w", err)
	}
	if cfg.Witnesses.Log == nil {
		cfg.Witnesses.Log = cfg.Log
	}
	if l.witnesses, err = cosign.Start(cfg.Witnesses, l.tree.Consistency, l.noteCosigned); err != nil {
		return nil, err
	}
	if l.witnesses.MustAwait() {
		l.cfg.Signatures = 1 // a witness is asked for one checkpoint at a time
	}
	defer func() {
		if err != nil {
			l.witnesses.Close()
		}
	}()
	if last != nil && l.witnesses.MustAwait() && l.witnesses.Enough(last.Checkpoint) {
		l.publish(last) // it was shown before; the head is when it is cosigned
	}
	switch {
	case cfg.Passive:
		if last != nil {
			l.publish(last)
		}
	case head.Size > 0:
		err := l.sign(store.Head{Term: l.term.Load(), Size: head.Size, Root: head.Root})
		switch {
		case err == nil:
		case cfg.ReadOnly && last != nil && !errors.Is(err, ErrFork):
			cfg.Log.Error("what was signed last is served", "error", err)
			l.publish(last)
		default:
			return nil, err
		}
	case cfg.Guard.Last().Size > 0:
		return nil, fmt.Errorf("%w: an empty store, but size %d was signed", ErrFork, cfg.Guard.Last().Size)
	}
	if !cfg.Passive {
		l.done.Add(stages)
		l.begin()
	}
	if cfg.ReadOnly {
		l.noSpace.Store(true)
		return l, nil
	}
	l.lookAtSpace()
	l.done.Add(3)
	go l.flushIndex()
	go l.watchSpace()
	go l.fillFilter()
	return l, nil
}

func (l *Ledger) openTree() (err error) {
	if l.applier, err = NewApplier(l.store, l.books); err != nil {
		return err
	}
	l.tree, l.driver = l.applier.tree, l.applier.driver
	l.follow.applier = l.applier
	if l.cfg.Local != nil {
		l.follow.applier = &Applier{store: l.cfg.Local, books: l.books, tree: l.tree, driver: trillian.New(l.cfg.Local, l.tree)}
	}
	l.driver.Shown = l.shown
	if !l.cfg.LeafHashes {
		return nil
	}
	l.driver.ByHash = func(h []byte) (uint64, bool, error) {
		if len(h) != 32 {
			return 0, false, nil
		}
		found, err := l.index.find(ByLeafHash, [16]byte(h[:16]), 1<<63, 1)
		if err != nil || len(found) == 0 {
			return 0, false, err
		}
		leaf, err := l.store.Leaf(found[0])
		if err != nil {
			return 0, false, err
		}
		return found[0], tlog.LeafHash(leaf) == tlog.Hash(h), nil
	}
	return nil
}

// lastSigned returns the checkpoint that was stored last, nil when there is
// none, and holds the key against it before anything is signed: another key
// would begin another log on top of this one.
func (l *Ledger) lastSigned() (*Signed, error) {
	cp, err := l.store.Checkpoint()
	if err != nil || cp == nil {
		return nil, err
	}
	c, err := l.signers.open(cp)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint key or the origin is not this log's: restore the key file that belongs to it: %w", err)
	}
	if root, err := l.tree.Root(c.Size); err != nil || root != c.Root {
		return nil, fmt.Errorf("%w: stored checkpoint of size %d: root %x, %v", store.ErrCorrupt, c.Size, c.Root, err)
	}
	return &Signed{Size: c.Size, Root: c.Root, Checkpoint: cp}, nil
}

// hashedFrom returns from which entry on the index by leaf hash is complete: a row of
// the empty name says where it was begun. Where the entries before this start were
// indexed without their hashes it begins again.
func (l *Ledger) hashedFrom(cursor uint64) (from uint64, err error) {
	if cursor > 0 {
		h, err := l.leafHash(cursor - 1)
		if err != nil {
			return 0, err
		}
		last, err := l.index.find(ByLeafHash, [16]byte(h[:16]), cursor, 1)
		if err != nil {
			return 0, err
		}
		begun, err := l.index.find(ByLeafHash, [16]byte{}, cursor, 1)
		if err != nil {
			return 0, err
		}
		if len(last) == 1 && last[0] == cursor-1 && len(begun) == 1 {
			return begun[0], nil
		}
	}
	l.index.tail = append(l.index.tail, IndexRow{ByLeafHash, [16]byte{}, cursor})
	return cursor, nil
}

// openIndex reads the entries that the stored indexes do not cover yet.
func (l *Ledger) openIndex(head store.Head) error {
	cursor, err := l.store.IndexCursor()
	if err != nil {
		return err
	}
	l.index = &indexer{store: l.store, filter: newFilter(), next: cursor, written: cursor}
	from := cursor
	if l.cfg.LeafHashes {
		if l.driver.HashedFrom, err = l.hashedFrom(cursor); err != nil {
			return err
		}
	}
	r, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	l.keys = newKeys(from, l.cfg.IndexRun/4)
	var rows []IndexRow
	var last entry.Record
	start := from
	if head.Size > 0 && start == head.Size {
		start-- // the last entry's time is needed in any case
	}
	err = r.Leaves(start, head.Size, func(i uint64, leaf []byte) error {
		record, err := l.books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("%w: entry %d: %v", store.ErrCorrupt, i, err)
		}
		last = record
		if i < from {
			return nil
		}
		if rows, err = l.appendIndexRows(rows[:0], i, record); err != nil {
			return err
		}
		l.index.add(rows, i)
		if h := record.Head(); !h.Request.IsZero() {
			l.keys.add([16]byte(h.Request.Key[:16]), i)
		}
		if l.cfg.ReadOnly {
			return nil
		}
		return l.index.flush(l.cfg.IndexRun)
	})
	if last != nil {
		l.stamps.last = last.Head().At
	}
	return err
}

// begin starts the writer's stages, which are counted in done already.
func (l *Ledger) begin() {
	go l.write()
	go l.commitAll()
	go l.signAll()
}

const stages = 3
