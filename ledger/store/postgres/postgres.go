// Package postgres keeps a log in a PostgreSQL database, for operators who run a highly available cluster of their own. A
// batch is one implicit transaction, sent in one go; the head moves in it by compare-and-swap, so of two processes on one
// log, or of two servers that both believe themselves primary, one goes on.
//
// # What is durable
//
// The store asks for synchronous_commit on its own connection, whatever the server or the role is set to, and refuses a
// server without fsync. With the DSN parameter countroom.replicated=1 it also refuses to commit while
// synchronous_standby_names is empty; it is for the operator to name enough standbys there. What was committed is then on a
// standby before Commit returns, and a promoted standby has it.
//
// # When a connection is lost
//
// A commit whose connection breaks may have happened. The store does not send it again blindly: it connects to whichever
// host of the DSN is primary, ends the old session there, waits for a write of its own to be durable, and reads the head. If
// it is the batch's, the commit happened; if it is the one before, the commit did not and cannot any more, and is sent again;
// if it is neither, the store is poisoned.
//
// Indexes and the rows of folds that are being built are written unsynced. The store is poisoned when a server it goes on
// with lacks some of them, since whoever wrote them does not write them again before its next start.
//
// Single reads may show a batch as soon as the server has made it durable, a moment before its Commit returns. PostgreSQL
// does not say how much room its disk has: Free reports no bound, and a full disk is a failed commit.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/store/gate"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sys/unix"
)

const (
	// replicatedParam in a DSN asks for a synchronous standby; it is not sent to the server.
	replicatedParam = "countroom.replicated"
	// connectTimeout is for one host, unless the DSN sets one: whole seconds, which is what a DSN can say, would make a
	// dead first host eat the time of a failover.
	connectTimeout = 700 * time.Millisecond
	// deadAfter is how long a peer may leave data unacknowledged.
	deadAfter = 3 * time.Second
	// defaultFailoverWait is how long a cluster may take to promote a standby before the store gives up.
	defaultFailoverWait = 30 * time.Second
	retryPause          = 50 * time.Millisecond
	readConnections     = 32
)

// SQLSTATEs of move_head.
const (
	codeHeadMoved     = "CR001"
	codeNotReplicated = "CR002"
	// codeLost is a division by zero, which stands for what is not there and should be.
	codeLost = "22012"
)

// Options of Open.
type Options struct {
	// DSN is a PostgreSQL connection string or URL; it may name several hosts, of which the primary is used.
	DSN string
	// Create makes the tables in a database that has none.
	Create bool
	// FailoverWait is how long reads and commits wait for a primary before they fail; default 30 seconds.
	FailoverWait time.Duration
	// Logger is told what an operator has to know; nil discards it.
	Logger *slog.Logger
}

// Store is a store.Store. It needs Close.
type Store struct {
	config     *pgx.ConnConfig
	replicated bool
	wait       time.Duration
	log        *slog.Logger
	pool       *pgxpool.Pool // for reads

	gate   gate.Gate
	closed atomic.Bool
	broken atomic.Pointer[error] // why the store is poisoned

	commitMu sync.Mutex // one synced write at a time; guards writer
	writer   *session
	auxMu    sync.Mutex // one unsynced write at a time; guards aux
	aux      *session
	showMu   sync.RWMutex // held by a commit; snapshots are taken between commits

	mu      sync.Mutex // guards what follows
	head    store.Head
	readers map[*reader]struct{}
	builder *foldsBuilder
	indexed uint64 // the index cursor as it was written last

	tidyMu  sync.Mutex         // guards what follows
	tidying context.CancelFunc // of the goroutine that deletes rows of other folds
	tidied  sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// session is a connection, with what names its server process for ever.
type session struct {
	*pgx.Conn
	pid   uint32
	began time.Time
	// unreplicated is set when the server said that it gave up waiting for a standby.
	unreplicated atomic.Bool
}

// Open opens the store in a database.
func Open(ctx context.Context, opts Options) (_ *Store, err error) {
	config, err := pgx.ParseConfig(opts.DSN)
	if err != nil {
		return nil, fmt.Errorf("postgres: the connection string: %w", redacted(err))
	}
	s := &Store{config: config, wait: opts.FailoverWait, log: opts.Logger, gate: gate.New(), readers: map[*reader]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.wait == 0 {
		s.wait = defaultFailoverWait
	}
	switch v, given := config.RuntimeParams[replicatedParam]; {
	case v == "1":
		s.replicated = true
	case given && v != "0":
		return nil, fmt.Errorf("postgres: the connection string: %s is %q, expected 0 or 1", replicatedParam, v)
	}
	delete(config.RuntimeParams, replicatedParam)
	config.RuntimeParams["application_name"] = "countroom"
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{KeepAlive: time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Not every socket has it; without it a dead peer is noticed later.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
		})
	}}
	config.DialFunc = dialer.DialContext
	poolConfig, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", redacted(err))
	}
	poolConfig.ConnConfig, poolConfig.MaxConns, poolConfig.AfterConnect = config.Copy(), readConnections, s.notBehind
	if s.pool, err = pgxpool.NewWithConfig(ctx, poolConfig); err != nil {
		return nil, fmt.Errorf("postgres: %w", redacted(err))
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.writer, err = s.connect(ctx, true); err != nil {
		return nil, fmt.Errorf("postgres: %w", redacted(err))
	}
	if err := s.checkServer(ctx); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, opts.Create); err != nil {
		return nil, err
	}
	// What this server shows may be on its own disk only, if it fell before a standby had it.
	if err := fence(ctx, s.writer); err != nil {
		return nil, fmt.Errorf("postgres: making sure that what is there is durable: %w", err)
	}
	if s.head, err = readHead(ctx, s.writer.Conn); err != nil {
		return nil, err
	}
	s.tidy()
	return s, nil
}

// redacted keeps a password that a library's error may quote out of it.
func redacted(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("cannot be read: expected postgres://user@host,host/database?… or key=value pairs")
	}
	return err
}

// connect opens a session with the primary.
func (s *Store) connect(ctx context.Context, synced bool) (*session, error) {
	c := &session{}
	config := s.config.Copy()
	config.RuntimeParams["synchronous_commit"] = "off"
	if synced {
		config.RuntimeParams["synchronous_commit"] = "on"
	}
	// "canceling wait for synchronous replication": committed here, and perhaps nowhere else.
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			c.unreplicated.Store(true)
		}
	}
	var err error
	if c.Conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	err = c.QueryRow(ctx, "SELECT pg_backend_pid(), backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").Scan(&c.pid, &c.began)
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// checkServer refuses a server that does not keep what it says it has.
func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var fsync, pages, names string
	err := s.writer.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_standby_names')`).Scan(&version, &fsync, &pages, &names)
	switch {
	case err != nil:
		return fmt.Errorf("postgres: settings of the server: %w", err)
	case version < 14_0000:
		return fmt.Errorf("postgres: the server is of version %d, expected 14 or later", version/10000)
	case fsync != "on" || pages != "on":
		return fmt.Errorf("postgres: fsync is %s and full_page_writes is %s, expected on: the server could lose what it acknowledged", fsync, pages)
	case s.replicated && names == "":
		return fmt.Errorf("postgres: synchronous_standby_names is empty, and %s=1 asks for a synchronous standby", replicatedParam)
	}
	return nil
}

// notBehind refuses a server that lacks what this store has seen durable: a standby that was promoted without having all.
func (s *Store) notBehind(ctx context.Context, conn *pgx.Conn) error {
	known := s.Head()
	if known.Size == 0 {
		return nil
	}
	head, err := readHead(ctx, conn)
	if err == nil && head.Size < known.Size {
		err = fmt.Errorf("postgres: %s has a log of size %d, and size %d was durable: it was promoted without having all", conn.Config().Host, head.Size, known.Size)
		s.log.Error("a server is behind", "error", err.Error())
	}
	return err
}

// fence returns when everything that the server has shown is durable, on the standbys too where there are any.
func fence(ctx context.Context, c *session) error {
	c.unreplicated.Store(false)
	if _, err := c.Exec(ctx, "UPDATE countroom.fence SET n = n + 1"); err != nil {
		return err
	}
	if c.unreplicated.Load() {
		return errors.New("the server gave up waiting for its standby")
	}
	return nil
}

func readHead(ctx context.Context, c querier) (h store.Head, err error) {
	var term, size, folds int64
	var root []byte
	if err = c.QueryRow(ctx, "SELECT term, size, root, at, folds FROM countroom.head").Scan(&term, &size, &root, &h.At, &folds); err != nil {
		return h, fmt.Errorf("postgres: reading the head: %w", err)
	}
	if len(root) != len(h.Root) || term < 0 || size < 0 || folds < 0 || folds > math.MaxUint32 {
		return h, fmt.Errorf("postgres: %w: the head is term %d, size %d, a root of %d bytes, folds %d", store.ErrCorrupt, term, size, len(root), folds)
	}
	h.Term, h.Size, h.Root, h.Folds = uint64(term), uint64(size), store.Hash(root), uint32(folds)
	return h, nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Head implements store.Store.
func (s *Store) Head() store.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

func (s *Store) publish(h store.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = h
}

func (s *Store) mayWrite(ctx context.Context) error {
	if why := s.broken.Load(); why != nil {
		return fmt.Errorf("%w: %w", store.ErrPoisoned, *why)
	}
	return ctx.Err()
}

// errLost says that a server died with something that this store takes to be there: it is written again after a start.
var errLost = errors.New("what was written and not yet synced is lost with its server")

// poison refuses every later write.
func (s *Store) poison(err error) error {
	if e := serverError(err); e != nil && e.Code == codeLost {
		err = fmt.Errorf("%w (%w)", errLost, err)
	}
	if s.broken.CompareAndSwap(nil, &err) {
		s.log.Error("a write failed and may or may not be durable; the store refuses further writes", "error", err.Error())
	}
	return fmt.Errorf("postgres: the write may or may not be durable: %w", err)
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint() (checkpoint []byte, err error) {
	err = s.read(func(ctx context.Context, c querier) error {
		return c.QueryRow(ctx, "SELECT checkpoint FROM countroom.checkpoint").Scan(&checkpoint)
	})
	return checkpoint, err
}

// SetCheckpoint implements store.Store.
func (s *Store) SetCheckpoint(checkpoint []byte) error {
	if len(checkpoint) > store.MaxBatch {
		return fmt.Errorf("%w: checkpoint has %d bytes, want at most %d", store.ErrInvalid, len(checkpoint), store.MaxBatch)
	}
	return s.unsynced(func(b *pgx.Batch) { b.Queue("UPDATE countroom.checkpoint SET checkpoint = $1", checkpoint) })
}

// WriteIndex implements store.Store. The server's write-ahead log has one order, so what a power cut takes is always a
// suffix.
func (s *Store) WriteIndex(next uint64, rows []store.Row) error {
	if _, err := store.CheckIndex(rows); err != nil {
		return err
	}
	size := s.Head().Size
	if next > size {
		return fmt.Errorf("%w: next %d is beyond log size %d", store.ErrInvalid, next, size)
	}
	before := s.index()
	err := s.unsynced(func(b *pgx.Batch) {
		b.Queue("SELECT 1 / count(*) FROM countroom.index_cursor WHERE next >= $1", int64(before))
		b.Queue("SELECT countroom.move_cursor($1)", int64(next))
		queueRows(b, "countroom.index_rows", nil, rows)
	})
	if pgErr := serverError(err); pgErr != nil && pgErr.Code == codeHeadMoved {
		return fmt.Errorf("%w: next %d is below the index cursor", store.ErrInvalid, next)
	}
	if err == nil {
		s.mu.Lock()
		s.indexed = next
		s.mu.Unlock()
	}
	return err
}

// index is the index cursor that this store takes to be there.
func (s *Store) index() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.indexed
}

// indexesThere poisons the store when a server that it goes on with lacks rows of the indexes: whoever wrote them does
// not write them again, and takes a key that is not found for one that was never used.
func (s *Store) indexesThere(ctx context.Context, c *session) error {
	before := s.index()
	if before == 0 {
		return nil
	}
	now, err := get(func(f func(context.Context, querier) error) error { return f(ctx, c) }).cursor()
	if err == nil && now < before {
		err = s.poison(fmt.Errorf("%w: the index cursor is %d and was %d", errLost, now, before))
	}
	return err
}

// ResetIndex implements store.Store.
func (s *Store) ResetIndex() error {
	s.mu.Lock()
	s.indexed = 0
	s.mu.Unlock()
	return s.unsynced(func(b *pgx.Batch) {
		b.Queue("UPDATE countroom.index_cursor SET next = 0")
		b.Queue("DELETE FROM countroom.index_rows")
	})
}

// unsynced sends what fill queues as one transaction that no one waits for to be on the disk. It may be sent twice when a
// connection breaks, which all that is written so can bear.
func (s *Store) unsynced(fill func(*pgx.Batch)) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.auxMu.Lock()
	defer s.auxMu.Unlock()
	if err := s.mayWrite(context.Background()); err != nil {
		return err
	}
	deadline := time.Now().Add(s.wait)
	for {
		err := s.sendUnsynced(fill)
		if err == nil {
			return nil
		}
		if pgErr := serverError(err); pgErr != nil && pgErr.Code == codeHeadMoved {
			return err
		}
		if !s.worthAnother(err, deadline) {
			return s.poison(err)
		}
	}
}

func (s *Store) sendUnsynced(fill func(*pgx.Batch)) (err error) {
	ctx := context.Background()
	if s.aux == nil {
		if s.aux, err = s.connect(ctx, false); err != nil {
			return redacted(err)
		}
		if err = s.notBehind(ctx, s.aux.Conn); err != nil {
			s.drop(&s.aux)
			return err
		}
	}
	b := &pgx.Batch{}
	fill(b)
	if err = s.aux.SendBatch(ctx, b).Close(); err != nil && s.aux.IsClosed() {
		s.drop(&s.aux)
	}
	return err
}

func (s *Store) drop(c **session) {
	if *c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		(*c).Close(ctx)
		*c = nil
	}
}

// worthAnother waits a moment and reports whether a failure is one that a new connection may mend.
func (s *Store) worthAnother(err error, deadline time.Time) bool {
	if s.closed.Load() || time.Now().After(deadline) || !lost(err) {
		return false
	}
	time.Sleep(retryPause)
	return true
}

// serverError returns what the server said, or nil when it said nothing.
func serverError(err error) *pgconn.PgError {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// lost reports whether an error means that there is no primary to talk to just now, rather than that it said no.
func lost(err error) bool {
	e := serverError(err)
	if e == nil {
		return !errors.Is(err, store.ErrCorrupt)
	}
	switch e.Code[:2] {
	case "57", "08", "53": // shutting down or starting, connections, out of connections or room
		return e.Code != "53100"
	}
	// 25006: it became a standby. A promoted server may be given its own standby in a moment.
	return e.Code == "25006" || e.Code == codeNotReplicated
}

// Free implements store.Store.
func (s *Store) Free() (store.FreeSpace, error) {
	if err := s.gate.Enter(); err != nil {
		return store.FreeSpace{}, err
	}
	defer s.gate.Leave()
	return store.FreeSpace{Available: math.MaxInt64}, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return store.ErrClosed
	}
	s.gate.Close()
	s.mu.Lock()
	readers := s.readers
	s.readers = nil
	s.mu.Unlock()
	for r := range readers {
		r.end()
	}
	s.release()
	return nil
}

func (s *Store) release() {
	s.stopTidying()
	s.drop(&s.writer)
	s.drop(&s.aux)
	s.pool.Close()
}
