// Package ledger is the one writer of a house's log. Commands run one after
// another in memory; a batch is what came in while the batch before was being
// made durable; Trillian's sequencer, the store's one commit and then the
// signer take each batch in turn; and nobody hears of an entry before a signed
// checkpoint covers it.
//
//	Update ─► queue ─► writer ─► open batch ─► committer ─► signing stage ─► receipts
//	                   (closures, folds)       (Trillian,   (guard,
//	                                            store)       checkpoint)
//
// The stages overlap: while a batch is committed and signed the next is being
// filled, and receipts are built by those who wait for them. Where signing is
// slow the committer goes on, and one signature covers what it committed
// meanwhile. No batch waits for a timer.
package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/cosign"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/trillian"

	"github.com/sigstore/sigstore/pkg/signature"
)

// What Update and reads refuse. Where an error is not ErrUnknownOutcome, the
// command was not accepted and left no trace.
var (
	ErrOverloaded     = errors.New("too many commands are waiting")
	ErrStopped        = errors.New("the ledger accepts no commands")
	ErrNoSpace        = errors.New("the disk is nearly full")
	ErrSigner         = errors.New("the signer does not answer")
	ErrWitnesses      = errors.New("not enough witnesses answer")
	ErrUnknownOutcome = errors.New("the outcome is not known yet: retry with the same key")
	ErrKeyReused      = errors.New("the idempotency key was used for another request")
	ErrNotFound       = errors.New("no such entry")
	ErrPassive        = errors.New("this machine of the pair is passive")

	errMissing = errors.New("a row has to be fetched first")
	errAwaits  = errors.New("an entry has to be durable and signed first")
)

// Books are the folds that the ledger runs; it knows nothing of their meaning.
type Books struct {
	Version uint32 // of the rows that Fold makes
	Kinds   book.Kinds
	Decode  func(leaf []byte) (entry.Record, error)
	Fold    func(rows book.Rows, index uint64, r entry.Record) error
	// Index appends the index rows of an entry to dst.
	Index func(dst []IndexRow, index uint64, r entry.Record) []IndexRow
}

// Config is what a ledger is made of.
type Config struct {
	Origin string // name of the log, in every checkpoint
	Store  store.Store
	Books  Books
	Guard  *Guard
	// Signer signs checkpoints; its key is Ed25519.
	Signer signature.Signer
	// MoreSigners are further keys for checkpoints, of a log that exchanged its own:
	// those sign that the log has in force.
	MoreSigners []signature.Signer
	// Signatures is how many the signer makes at once; default 1. More shorten the
	// answer where a signature takes long, as over a network.
	Signatures int
	// Witnesses cosign checkpoints; none by default.
	Witnesses cosign.Config

	Clock  Clock        // default the machine's
	Random io.Reader    // of entries' identities; default crypto/rand
	Log    *slog.Logger // default slog.Default
	// Fatal is called once when the ledger cannot go on: an ambiguous commit, a
	// fork, an index that cannot be written. It should end the process; the
	// restart finds out what happened. Default: log and exit with status 1.
	Fatal func(error)

	QueueMost int // callers that are let in at once; default 4096
	CacheRows int // rows kept in memory, roughly; default 1<<18
	IndexRun  int // index rows that are written at a time; default 12288
	// ReadOnly serves what is there and accepts nothing: the store was opened so, for want of room.
	ReadOnly bool
	// Passive opens the log as the second machine of a pair: it takes batches
	// through Apply and checkpoints through Learn, refuses commands with
	// ErrPassive and signs nothing, until Promote makes it the writer.
	Passive bool
	// Local is where Apply commits, if that is another way to what Store keeps:
	// on a pair, Store asks the other members first. Default Store.
	Local store.Store
	// Turn, if set, is called before a command is let in and again before it is
	// queued: a simulation holds it up there, so that it decides their order.
	Turn func(Command)
	// LeafHashes indexes entries by their leaf hash, which Trillian's gRPC API
	// needs for look-ups by hash and nothing else does. A log that was begun
	// without it has it for the entries from then on.
	LeafHashes bool

	patience time.Duration // with the signer, before play stops; default signerPatience
}

// batchMost bounds the entries of one batch, so that a batch always fits the
// store and nobody waits behind an endless one.
const (
	batchMost      = 4096
	batchMostBytes = 16 << 20
)

// Ledger is an open log. Its methods may be called by any goroutine.
type Ledger struct {
	cfg     Config
	store   store.Store
	books   Books
	applier *Applier
	tree    *tlog.Tree
	driver  *trillian.Log
	signers signers
	term    atomic.Uint64
	index   *indexer
	m       *Metrics
	follow  follower

	// The queue.
	inside  atomic.Int64 // callers that were let in and are not done
	mu      sync.Mutex
	queue   []*request
	held    []*request // what waits for a checkpoint before it runs again, in order
	waiting int        // requests that were let in and have no answer yet
	stopped error
	lost    bool // nothing more becomes durable
	gone    bool // the writer has ended
	wake    chan struct{}
	idle    chan struct{} // closed when stopped and nothing waits

	// The writer's own.
	stampsMu sync.Mutex // of the writer's stamps, which Now reads
	stamps   stamps
	tx       Tx
	size     uint64 // of the log with all that ran
	rows     *cache
	keys     *keys
	arena    []byte
	random   *bufio.Reader
	open     *batch
	number   uint64 // of the open batch

	durable   atomic.Uint64 // log size that is committed
	signed    atomic.Pointer[Signed]
	signerErr atomic.Pointer[error]
	noSpace   atomic.Bool

	signedMu   sync.Mutex
	signedMore chan struct{} // closed and replaced with each new checkpoint
	unsigned   *unsigned
	witnesses  *cosign.Group
	cosigned   atomic.Pointer[Signed]
	head       atomic.Pointer[shownHead] // of signed, for Trillian's clients

	toCommit  chan *batch
	flush     chan struct{}
	indexRows []IndexRow // the committer's, used again
	done      sync.WaitGroup
	quit      chan struct{}
	failed    chan struct{} // closed when nothing more is signed
	fatal     sync.Once
}

// Signed is a checkpoint that was signed and may be shown.
type Signed struct {
	Size       uint64
	Root       tlog.Hash
	Checkpoint []byte // signed note
}

// Command is a change of state.
type Command struct {
	// Reads names the rows that Run will most likely read. They are fetched
	// before the command is queued, so that it need not run twice.
	Reads []string
	// Request makes the command run once for ever; zero makes it run each time.
	Request entry.Request
	// Prepare, if set, is called once when the command is let in, before it is
	// queued: for work that need not be done in order, nor for what is refused.
	Prepare func()
	// Run decides on the writer. It is called again if a row has to be fetched, or
	// after Tx.Await, so it must not change anything outside; any other error leaves
	// no trace.
	Run func(tx *Tx) error
}

// Receipt is what a command is answered with.
type Receipt struct {
	Index    uint64
	Leaf     []byte // the canonical entry
	Proof    []byte // c2sp.org/tlog-proof@v1
	Replayed bool   // the answer of an earlier request with the same key
	// Record is the entry as a record, where it is at hand: what the command left
	// in it, or, of a replay, what was read from the leaf. Entry leaves it out.
	Record entry.Record
}

type request struct {
	cmd      Command
	fetched  []fetched
	keySeen  uint64 // the store's index was asked when it covered so much of the log
	keyFound bool
	keyIndex uint64
	refused  error // the answer unless the key has one already
	runs     int
	until    uint64 // the size that has to be signed before it runs again

	done     chan struct{}
	err      error
	answered bool
	index    uint64
	leaf     []byte
	record   entry.Record
	replayed bool
	signed   *Signed
}

type fetched struct {
	key  string
	row  book.Row
	size uint64 // of the log when the row was read
}

// batch is what the stages pass on.
type batch struct {
	number  uint64
	base    uint64
	leaves  [][]byte
	records []entry.Record
	rows    []dirty
	waiters []*request
	bytes   int
	head    store.Head    // after the commit
	over    chan struct{} // closed when its commands have their answers
}

type dirty struct {
	key string
	row book.Row
}

// ReadOnly reports whether the ledger only serves what is there.
func (l *Ledger) ReadOnly() bool { return l.cfg.ReadOnly }

// VKey is the verifier key of the log's checkpoints: while it is being exchanged,
// the new one.
func (l *Ledger) VKey() string { return l.signers.newest() }

// Origin is the log's name.
func (l *Ledger) Origin() string { return l.cfg.Origin }

// Term is the reign in which this ledger writes, 0 while it is passive.
func (l *Ledger) Term() uint64 { return l.term.Load() }

// Now is the log's time: what an entry made now would carry. Where the machine's
// clock was set back it is ahead of it.
func (l *Ledger) Now() entry.Time {
	l.stampsMu.Lock()
	s := l.stamps
	l.stampsMu.Unlock()
	at, _ := s.next(l.cfg.Clock())
	return at
}

// Driver is the Trillian storage over this log: what others read by it is signed.
func (l *Ledger) Driver() *trillian.Log { return l.driver }

// Signed returns the newest checkpoint, or nil before the first.
func (l *Ledger) Signed() *Signed { return l.signed.Load() }

// Cosigned returns the newest checkpoint that is shown and has a cosignature, or
// nil. With a policy that waits for none it may be older than Signed.
func (l *Ledger) Cosigned() *Signed { return l.cosigned.Load() }

// Ready returns nil when commands are accepted.
func (l *Ledger) Ready() error {
	l.mu.Lock()
	err := l.stopped
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if l.follow.passive.Load() {
		return ErrPassive
	}
	if e := l.signerErr.Load(); e != nil {
		return *e // ErrSigner or ErrWitnesses
	}
	if l.noSpace.Load() {
		return ErrNoSpace
	}
	return nil
}

// Update runs a command and waits until its entries are durable and signed. An
// error of the command's own is returned only when all that it saw is durable
// and signed, too. When the context ends first the command may still be carried
// out: the error is then ErrUnknownOutcome.
func (l *Ledger) Update(ctx context.Context, cmd Command) (Receipt, error) {
	l.turn(cmd)
	r := &request{cmd: cmd, done: make(chan struct{})}
	if err := l.Ready(); err != nil {
		// An answer that was given before takes no room, and to say "not accepted" instead would be wrong.
		if !errors.Is(err, ErrNoSpace) || cmd.Request.IsZero() {
			return Receipt{}, err
		}
		r.refused = err
	}
	if err := l.lookUp(r); err != nil {
		return Receipt{}, err
	}
	if !l.letIn(r) {
		return Receipt{}, ErrOverloaded
	}
	given := false
	defer func() {
		if !given {
			l.inside.Add(-1)
		}
	}()
	if cmd.Prepare != nil && r.refused == nil {
		cmd.Prepare()
	}
	if err := l.fetchAbsent(r); err != nil {
		return Receipt{}, err
	}
	l.turn(cmd)
	if err := l.enqueue(r); err != nil {
		return Receipt{}, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		given = true // to the command, which goes on waiting
		go func() {
			<-r.done
			l.inside.Add(-1)
		}()
		return Receipt{}, fmt.Errorf("%w (%w)", ErrUnknownOutcome, context.Cause(ctx))
	}
	if r.err != nil {
		return Receipt{}, r.err
	}
	if !r.answered {
		return Receipt{}, nil
	}
	if r.replayed {
		return l.replay(r)
	}
	return l.receipt(Receipt{Index: r.index, Leaf: r.leaf, Record: r.record}, r.signed)
}

func (l *Ledger) turn(cmd Command) {
	if l.cfg.Turn != nil {
		l.cfg.Turn(cmd)
	}
}

// prepare does what needs no order: it asks the store for the request's key and
// for rows that are not in memory.
func (l *Ledger) prepare(r *request) error {
	if err := l.lookUp(r); err != nil {
		return err
	}
	return l.fetchAbsent(r)
}

func (l *Ledger) lookUp(r *request) (err error) {
	if !r.cmd.Request.IsZero() {
		r.keySeen = l.index.cursor()
		r.keyIndex, r.keyFound, err = l.index.key([16]byte(r.cmd.Request.Key[:16]))
	}
	return err
}

func (l *Ledger) fetchAbsent(r *request) error {
	if missing := l.rows.absent(nil, r.cmd.Reads); len(missing) > 0 {
		return l.fetch(r, missing)
	}
	return nil
}

func (l *Ledger) fetch(r *request, keys []string) error {
	r.fetched = r.fetched[:0]
	for _, k := range keys {
		size := l.store.Head().Size
		row, err := readRow(l.store, l.books.Kinds, k)
		if err != nil {
			return err
		}
		r.fetched = append(r.fetched, fetched{k, row, size})
	}
	return nil
}

func readRow(s store.Getter, kinds book.Kinds, key string) (book.Row, error) {
	if isVault(key) {
		v, err := s.Vault([]byte(key))
		if err != nil || v == nil {
			return nil, err
		}
		return &VaultRow{v}, nil
	}
	v, err := s.Row([]byte(key))
	if err != nil || v == nil {
		return nil, err
	}
	return kinds.Decode(key, v)
}

func (l *Ledger) enqueue(r *request) error {
	l.mu.Lock()
	if l.stopped != nil {
		l.mu.Unlock()
		return l.stopped
	}
	l.waiting++
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	l.rouse()
	return nil
}

// requeue puts a parked command back; it has its place already.
func (l *Ledger) requeue(r *request) {
	l.mu.Lock()
	gone := l.gone
	if !gone {
		l.queue = append(l.queue, r)
	}
	l.mu.Unlock()
	if gone {
		l.giveUp([]*request{r})
		return
	}
	l.rouse()
}

// hold lets a command wait until so much is signed that it can run again.
func (l *Ledger) hold(r *request, until uint64) {
	r.until = until
	l.mu.Lock()
	s := l.signed.Load()
	lost, held := l.lost, s == nil || s.Size < until
	switch {
	case lost:
	case held:
		l.held = append(l.held, r)
	default: // it was signed meanwhile
		l.queue = append(l.queue, r)
	}
	l.mu.Unlock()
	switch {
	case lost:
		l.giveUp([]*request{r})
	case !held:
		l.rouse()
	}
}

// release queues the commands again that waited for no more than is signed, in
// the order in which they came.
func (l *Ledger) release(size uint64) {
	l.mu.Lock()
	before := len(l.held)
	l.held = slices.DeleteFunc(l.held, func(r *request) bool {
		if r.until > size {
			return false
		}
		l.queue = append(l.queue, r)
		return true
	})
	released := len(l.held) < before
	l.mu.Unlock()
	if released {
		l.rouse()
	}
}

func (l *Ledger) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// answer ends a request.
func (l *Ledger) answer(rs ...*request) {
	for _, r := range rs {
		close(r.done)
	}
	l.mu.Lock()
	l.waiting -= len(rs)
	l.noteIdle()
	l.mu.Unlock()
}

// noteIdle tells Close when it need not wait any more; under mu.
func (l *Ledger) noteIdle() {
	if l.stopped == nil || l.waiting > 0 {
		return
	}
	select {
	case <-l.idle:
	default:
		close(l.idle)
	}
}

// replay answers a request whose key was seen before.
func (l *Ledger) replay(r *request) (Receipt, error) {
	if r.signed == nil || r.index >= r.signed.Size {
		return Receipt{}, ErrUnknownOutcome // a ledger that is read-only may have found no signer for its newest entries
	}
	leaf, err := l.store.Leaf(r.index)
	if err != nil {
		return Receipt{}, err
	}
	record, err := l.books.Decode(leaf)
	if err != nil {
		return Receipt{}, err
	}
	was, is := record.Head().Request, r.cmd.Request
	if was.Key != is.Key {
		return Receipt{}, fmt.Errorf("two request keys share their first half: %x and %x", was.Key, is.Key)
	}
	if was.Fingerprint != is.Fingerprint {
		return Receipt{}, ErrKeyReused
	}
	return l.receipt(Receipt{Index: r.index, Leaf: leaf, Record: record, Replayed: true}, r.signed)
}

func (l *Ledger) receipt(r Receipt, s *Signed) (Receipt, error) {
	var path [64]tlog.Hash
	hashes, err := l.tree.Inclusion(path[:0], r.Index, s.Size)
	if err != nil {
		return Receipt{}, err
	}
	r.Proof = tlog.AppendReceipt(make([]byte, 0, 64+45*len(hashes)+len(s.Checkpoint)), r.Index, hashes, s.Checkpoint)
	return r, nil
}

// Close stops accepting commands, waits for those that were accepted, and
// closes nothing that it was given. When the context ends first, waiting
// commands are given up with ErrUnknownOutcome, and a commit may still be under
// way: the store lets go of it when it is closed.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.stopped == nil {
		l.stopped = ErrStopped
	}
	l.noteIdle()
	l.mu.Unlock()
	var err error
	select {
	case <-l.idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.follow.end(l)
	l.witnesses.Close()
	ended := make(chan struct{})
	go func() {
		l.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return err
}

// fail ends the ledger: what waits cannot be known any more.
func (l *Ledger) fail(err error) {
	l.fatal.Do(func() {
		l.mu.Lock()
		l.stopped = fmt.Errorf("%w: %w", ErrStopped, err)
		held := l.held
		l.held, l.lost = nil, true
		l.mu.Unlock()
		close(l.failed)
		l.giveUp(held)
		l.cfg.Fatal(err)
	})
}

func (l *Ledger) newID() entry.UUID {
	var b [16]byte
	if _, err := io.ReadFull(l.random, b[:]); err != nil {
		panic(fmt.Sprintf("no random identities: %v", err)) // crypto/rand does not fail
	}
	return entry.NewUUID(b)
}
