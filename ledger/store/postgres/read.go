package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"countroom/ledger/store"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A scan takes pages of these sizes, so that its yield function runs while nothing is under way.
const (
	leavesPage = 256
	rowsPage   = 512
)

// get is what reads have in common: of the store, each for itself, and of a reader, all as of one moment.
type get func(f func(ctx context.Context, c querier) error) error

// read runs a query on a connection of its own, and again when the connection breaks: a query may be asked twice.
func (s *Store) read(f func(ctx context.Context, c querier) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	deadline := time.Now().Add(s.wait)
	for {
		err := s.readOnce(f)
		if err == nil || !s.worthAnother(err, deadline) {
			return err
		}
	}
}

func (s *Store) readOnce(f func(ctx context.Context, c querier) error) error {
	ctx := context.Background()
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("postgres: %w", redacted(err))
	}
	defer c.Release()
	return f(ctx, c)
}

// one reads a value that may not be there: then it is nil.
func (g get) one(sql string, args ...any) (value []byte, err error) {
	err = g(func(ctx context.Context, c querier) error {
		err := c.QueryRow(ctx, sql, args...).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			value, err = nil, nil
		}
		return err
	})
	return value, err
}

func (g get) row(folds uint32, key []byte) ([]byte, error) {
	return g.one("SELECT value FROM countroom.rows WHERE folds = $1 AND key = $2", int64(folds), key)
}

func (g get) vault(key []byte) ([]byte, error) {
	return g.one("SELECT value FROM countroom.vault WHERE key = $1", key)
}

func (g get) index(key []byte) ([]byte, error) {
	return g.one("SELECT value FROM countroom.index_rows WHERE key = $1", key)
}

func (g get) cursor() (next uint64, err error) {
	err = g(func(ctx context.Context, c querier) error {
		var n int64
		err := c.QueryRow(ctx, "SELECT next FROM countroom.index_cursor").Scan(&n)
		if err == nil && n < 0 {
			err = fmt.Errorf("postgres: %w: index cursor %d", store.ErrCorrupt, n)
		}
		next = uint64(n)
		return err
	})
	return next, err
}

func (g get) leaf(size, index uint64) ([]byte, error) {
	if index >= size {
		return nil, fmt.Errorf("%w: leaf %d of a log of size %d", store.ErrInvalid, index, size)
	}
	leaf, err := g.one("SELECT leaf FROM countroom.leaves WHERE index = $1", int64(index))
	if err == nil && leaf == nil {
		err = fmt.Errorf("postgres: %w: leaf %d is missing", store.ErrCorrupt, index)
	}
	return leaf, err
}

func (g get) tile(level int, index uint64) ([]byte, error) {
	if level < 0 || level > store.MaxTileLevel {
		return nil, fmt.Errorf("%w: tile level %d, want 0 to %d", store.ErrInvalid, level, store.MaxTileLevel)
	}
	if int64(index) < 0 {
		return nil, nil
	}
	data, err := g.one("SELECT data FROM countroom.tiles WHERE level = $1 AND index = $2", int16(level), int64(index))
	if err == nil && data != nil && len(data) != store.TileSize {
		err = fmt.Errorf("postgres: %w: tile %d of level %d has %d bytes", store.ErrCorrupt, index, level, len(data))
	}
	return data, err
}

// Row implements store.Store. The version of the folds is read with the row, since a swap may come between.
func (s *Store) Row(key []byte) ([]byte, error) {
	return get(s.read).one("SELECT value FROM countroom.rows WHERE folds = (SELECT folds FROM countroom.head) AND key = $1", key)
}

// Vault implements store.Store.
func (s *Store) Vault(key []byte) ([]byte, error) { return get(s.read).vault(key) }

// Index implements store.Store.
func (s *Store) Index(key []byte) ([]byte, error) { return get(s.read).index(key) }

// IndexCursor implements store.Store.
func (s *Store) IndexCursor() (uint64, error) { return get(s.read).cursor() }

// Leaf implements store.Store.
func (s *Store) Leaf(index uint64) ([]byte, error) {
	if s.closed.Load() {
		return nil, store.ErrClosed
	}
	return get(s.read).leaf(s.Head().Size, index)
}

// Tile implements store.Store.
func (s *Store) Tile(level int, index uint64) ([]byte, error) { return get(s.read).tile(level, index) }

// reader is a store.Reader: a transaction that sees one moment.
type reader struct {
	s    *Store
	head store.Head

	mu     sync.Mutex // one query at a time
	conn   *pgxpool.Conn
	tx     pgx.Tx
	closed bool
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() (store.Reader, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	deadline := time.Now().Add(s.wait)
	for {
		r, err := s.snapshot()
		if err == nil {
			return r, nil
		}
		if !s.worthAnother(err, deadline) {
			return nil, err
		}
	}
}

func (s *Store) snapshot() (_ *reader, err error) {
	ctx := context.Background()
	r := &reader{s: s}
	if r.conn, err = s.pool.Acquire(ctx); err != nil {
		return nil, fmt.Errorf("postgres: %w", redacted(err))
	}
	// Between commits, so that it shows no batch whose Commit has not returned.
	s.showMu.RLock()
	defer s.showMu.RUnlock()
	r.tx, err = r.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err == nil {
		r.head, err = readHead(ctx, r.tx)
	}
	if err != nil {
		r.end()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[r] = struct{}{}
	return r, nil
}

// end gives the connection back, once the query under way is over.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.tx != nil {
		// Of a transaction that only read nothing can be lost.
		_ = r.tx.Rollback(context.Background())
	}
	if r.conn != nil {
		r.conn.Release()
		r.conn = nil
	}
}

func (r *reader) read(f func(ctx context.Context, c querier) error) error {
	if err := r.s.gate.Enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return store.ErrClosed
	}
	return f(context.Background(), r.tx)
}

func (r *reader) Head() store.Head                         { return r.head }
func (r *reader) Row(key []byte) ([]byte, error)           { return get(r.read).row(r.head.Folds, key) }
func (r *reader) Vault(key []byte) ([]byte, error)         { return get(r.read).vault(key) }
func (r *reader) Index(key []byte) ([]byte, error)         { return get(r.read).index(key) }
func (r *reader) IndexCursor() (uint64, error)             { return get(r.read).cursor() }
func (r *reader) Leaf(index uint64) ([]byte, error)        { return get(r.read).leaf(r.head.Size, index) }
func (r *reader) Tile(level int, i uint64) ([]byte, error) { return get(r.read).tile(level, i) }

// Close implements store.Reader.
func (r *reader) Close() error {
	if err := r.s.gate.Enter(); err != nil {
		return err
	}
	defer r.s.gate.Leave()
	r.s.mu.Lock()
	_, open := r.s.readers[r]
	delete(r.s.readers, r)
	r.s.mu.Unlock()
	if !open {
		return store.ErrClosed
	}
	r.end()
	return nil
}

// Leaves implements store.Reader.
func (r *reader) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	if from > to || to > r.head.Size {
		return fmt.Errorf("%w: leaves %d to %d of a log of size %d", store.ErrInvalid, from, to, r.head.Size)
	}
	for first := true; first || from < to; first = false {
		var page [][]byte
		err := r.read(func(ctx context.Context, c querier) error {
			rows, err := c.Query(ctx, "SELECT leaf FROM countroom.leaves WHERE index >= $1 AND index < $2 ORDER BY index", int64(from), int64(min(to, from+leavesPage)))
			if err != nil {
				return err
			}
			page, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
			return err
		})
		if err != nil {
			return err
		}
		if want := min(to-from, leavesPage); uint64(len(page)) != want {
			return fmt.Errorf("postgres: %w: %d of the %d leaves from %d on", store.ErrCorrupt, len(page), want, from)
		}
		for _, leaf := range page {
			if err := yield(from, leaf); err != nil {
				return stopped(err)
			}
			from++
		}
	}
	return nil
}

func stopped(err error) error {
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}

// ScanRows implements store.Reader.
func (r *reader) ScanRows(prefix []byte, yield func(store.Row) error) error {
	return r.scan("countroom.rows", &r.head.Folds, prefix, prefixEnd(prefix), false, yield)
}

// ScanVault implements store.Reader.
func (r *reader) ScanVault(prefix []byte, yield func(store.Row) error) error {
	return r.scan("countroom.vault", nil, prefix, prefixEnd(prefix), false, yield)
}

// ScanIndex implements store.Reader.
func (r *reader) ScanIndex(from, to []byte, reverse bool, yield func(store.Row) error) error {
	return r.scan("countroom.index_rows", nil, from, to, reverse, yield)
}

// prefixEnd is the first key after those that begin with prefix, nil when there is none.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for len(end) > 0 {
		if end[len(end)-1]++; end[len(end)-1] != 0 {
			return end
		}
		end = end[:len(end)-1]
	}
	return nil
}

func (r *reader) scan(table string, folds *uint32, from, to []byte, reverse bool, yield func(store.Row) error) error {
	// No key is empty, so that one is before the first.
	sql, first := "SELECT key, value FROM "+table+" WHERE key >= $1 AND ($2::bytea IS NULL OR key < $2) ORDER BY key LIMIT $3", append([]byte{}, from...)
	if reverse {
		sql = "SELECT key, value FROM " + table + " WHERE key >= $1 AND ($2::bytea IS NULL OR key < $2) ORDER BY key DESC LIMIT $3"
	}
	for {
		args := []any{first, to, rowsPage}
		if folds != nil {
			sql = "SELECT key, value FROM " + table + " WHERE folds = $4 AND key >= $1 AND ($2::bytea IS NULL OR key < $2) ORDER BY key LIMIT $3"
			args = append(args, int64(*folds))
		}
		var page []store.Row
		err := r.read(func(ctx context.Context, c querier) error {
			rows, err := c.Query(ctx, sql, args...)
			if err != nil {
				return err
			}
			page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r store.Row, err error) {
				err = row.Scan(&r.Key, &r.Value)
				return r, err
			})
			return err
		})
		if err != nil {
			return err
		}
		for _, row := range page {
			if err := yield(row); err != nil {
				return stopped(err)
			}
		}
		if len(page) < rowsPage {
			return nil
		}
		last := page[len(page)-1].Key
		if reverse {
			to = last
		} else {
			first = append(append([]byte(nil), last...), 0) // the next key there could be
		}
	}
}
