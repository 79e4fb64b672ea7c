package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
)

// follower is what a ledger knows while it is passive. Whoever holds mu is the
// writer: he owns rows, keys, stamps and size.
type follower struct {
	passive atomic.Bool
	applier *Applier // to Config.Local
	mu      sync.Mutex
	ended   bool
	heard   *Signed // a checkpoint that covers more than has been applied
}

// end ends a ledger that was never promoted: nothing is applied any more.
func (f *follower) end(l *Ledger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.passive.Load() && !f.ended {
		f.ended = true
		close(l.flush)
	}
}

// Size is how many entries are durable here, signed or not.
func (l *Ledger) Size() uint64 { return l.durable.Load() }

// Passive reports whether the ledger takes batches instead of commands.
func (l *Ledger) Passive() bool { return l.follow.passive.Load() }

// Apply takes a batch that was committed by the active machine, with the newest
// checkpoint that the active had signed when it made it, nil for none. Rows,
// tiles, indexes and request keys follow from it as they do on the writer, by
// the same road, and stay in memory for the day this ledger is promoted.
//
// A batch that does not fit this log, or leads to another root, ends the ledger.
func (l *Ledger) Apply(ctx context.Context, b Batch, checkpoint []byte) error {
	l.follow.mu.Lock()
	defer l.follow.mu.Unlock()
	if !l.follow.passive.Load() {
		return errors.New("only a passive ledger applies what was committed elsewhere")
	}
	l.mu.Lock()
	err := l.stopped
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.apply(ctx, b, checkpoint); err != nil {
		err = fmt.Errorf("applying entries %d to %d of term %d: %w", b.Base, b.Base+uint64(len(b.Leaves))-1, b.Term, err)
		l.fail(err)
		return err
	}
	if checkpoint != nil {
		if err := l.learn(checkpoint); err != nil {
			return err
		}
	}
	return l.recall()
}

func (l *Ledger) apply(ctx context.Context, b Batch, checkpoint []byte) error {
	if b.Base != l.size {
		return fmt.Errorf("%w: the log is at size %d", store.ErrConflict, l.size)
	}
	rows := &applying{l: l, at: map[string]int{}}
	records := make([]entry.Record, len(b.Leaves))
	for i, leaf := range b.Leaves {
		index := b.Base + uint64(i)
		record, err := l.books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		err = l.books.Fold(rows, index, record)
		if rows.err != nil {
			return rows.err
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		records[i] = record
	}
	head, err := l.follow.applier.commit(ctx, b, rows.changed, checkpoint)
	if err != nil {
		return err
	}
	l.size = head.Size
	// Rows of the vault are read by commands alone: none is in memory yet.
	for _, c := range rows.changed {
		l.cached(c.key).set(c.row, l.size)
	}
	for i, r := range records {
		if h := r.Head(); !h.Request.IsZero() {
			l.keys.add([16]byte(h.Request.Key[:16]), b.Base+uint64(i))
		}
	}
	if n := len(records); n > 0 {
		l.stampsMu.Lock()
		l.stamps = stamps{last: records[n-1].Head().At}
		l.stampsMu.Unlock()
	}
	if err := l.noteDurable(b.Base, records, head.Size); err != nil {
		return err
	}
	l.rows.age(l.size)
	l.keys.age(l.index.cursor(), l.size)
	l.m.entries.Add(float64(len(records)))
	return nil
}

// cached returns the slot of a row that is known to exist.
func (l *Ledger) cached(key string) *slot {
	if s := l.rows.get(key); s != nil {
		return s
	}
	return l.rows.add(key, nil)
}

func (s *slot) set(row book.Row, size uint64) { s.row, s.changed, s.batch = row, size, 0 }

// applying are the rows of a batch that is being applied, over those in memory
// and in the store.
type applying struct {
	l       *Ledger
	at      map[string]int // position in changed
	changed []dirty
	err     error
}

func (a *applying) Get(key string) book.Row {
	if i, ok := a.at[key]; ok {
		return a.changed[i].row
	}
	if s := a.l.rows.get(key); s != nil {
		return s.row
	}
	row, err := readRow(a.l.store, a.l.books.Kinds, key)
	if err != nil {
		if a.err == nil {
			a.err = err
		}
		return nil
	}
	a.l.rows.add(key, row)
	return row
}

func (a *applying) Put(key string, r book.Row) {
	if i, ok := a.at[key]; ok {
		a.changed[i].row = r
		return
	}
	a.at[key] = len(a.changed)
	a.changed = append(a.changed, dirty{key, r})
}

// Learn takes a checkpoint that the active machine signed. It is served as soon
// as what it covers has been applied here. One that contradicts this log ends
// the ledger: there are two histories.
func (l *Ledger) Learn(checkpoint []byte) error {
	l.follow.mu.Lock()
	defer l.follow.mu.Unlock()
	if !l.follow.passive.Load() {
		return nil // it signs its own
	}
	return l.learn(checkpoint)
}

func (l *Ledger) learn(checkpoint []byte) error {
	c, err := l.signers.open(checkpoint)
	if err != nil {
		return fmt.Errorf("a checkpoint of the active machine: %w", err)
	}
	s := &Signed{Size: c.Size, Root: c.Root, Checkpoint: checkpoint}
	if c.Size > l.durable.Load() {
		if l.follow.heard == nil || l.follow.heard.Size < c.Size {
			l.follow.heard = s
		}
		return nil
	}
	return l.show(s)
}

// recall shows the checkpoint that came before what it covers.
func (l *Ledger) recall() error {
	s := l.follow.heard
	if s == nil || s.Size > l.durable.Load() {
		return nil
	}
	l.follow.heard = nil
	return l.show(s)
}

func (l *Ledger) show(s *Signed) error {
	root, err := l.tree.Root(s.Size)
	if err == nil && root != s.Root {
		err = fmt.Errorf("%w: the active machine signed root %x at size %d, here it is %x", ErrFork, s.Root, s.Size, root)
		l.fail(err)
	}
	if err != nil {
		return err
	}
	if last := l.signed.Load(); last == nil || last.Size < s.Size {
		l.publish(s)
	}
	return nil
}

// Promote makes a passive ledger the log's writer, in a term above all before
// it. The head is signed again, in the new term and past this machine's own
// guard, before any command is let in. With ErrSigner the ledger is still
// passive, and another machine may do better.
func (l *Ledger) Promote(term uint64) error {
	l.follow.mu.Lock()
	defer l.follow.mu.Unlock()
	switch head := l.store.Head(); {
	case l.follow.ended:
		return ErrStopped
	case !l.follow.passive.Load():
		return fmt.Errorf("the ledger writes already, in term %d", l.Term())
	case term <= head.Term:
		return fmt.Errorf("term %d: expected one above %d, that of the head", term, head.Term)
	case head.Size > 0:
		if err := l.sign(store.Head{Term: term, Size: head.Size, Root: head.Root}); err != nil {
			return err
		}
	default:
		if last := l.cfg.Guard.Last(); last.Size > 0 {
			return fmt.Errorf("%w: an empty store, but size %d was signed", ErrFork, last.Size)
		}
	}
	l.mu.Lock()
	err := l.stopped
	if err == nil {
		l.done.Add(stages)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.term.Store(term)
	l.open = l.newBatch()
	l.follow.passive.Store(false)
	l.begin()
	return nil
}

// Durable is what Peek reads: books, vault and entries, without receipts.
type Durable interface {
	book.Reader
	Leaf(index uint64) ([]byte, error)
	// Vault yields the rows of the vault whose keys begin with a prefix, in the order of
	// their keys. They are valid until yield returns.
	Vault(prefix string, yield func(key string, value []byte) error) error
}

// Peek reads as of the newest durable head and does not wait for its signature:
// for what the machine itself must know before it can sign. What it reads must
// not be shown to anybody.
func (l *Ledger) Peek(read func(d Durable) error) error {
	s, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	v := &view{r: s, kinds: l.books.Kinds}
	err = read(peek{v, s})
	if v.err != nil {
		return v.err
	}
	return err
}

type peek struct {
	*view
	store.Reader
}

func (p peek) Get(key string) book.Row { return p.view.Get(key) }

func (p peek) Vault(prefix string, yield func(key string, value []byte) error) error {
	return p.ScanVault([]byte(prefix), func(row store.Row) error { return yield(string(row.Key), row.Value) })
}

// AwaitSigned returns the first checkpoint that covers more than a size, or the
// context's error.
func (l *Ledger) AwaitSigned(ctx context.Context, size uint64) (*Signed, error) {
	for {
		l.signedMu.Lock()
		more := l.signedMore
		l.signedMu.Unlock()
		if s := l.signed.Load(); s != nil && s.Size > size {
			return s, nil
		}
		select {
		case <-more:
		case <-l.quit:
			return nil, ErrStopped
		case <-l.failed:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
