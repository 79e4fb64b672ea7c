package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"countroom/ledger/store"

	"github.com/jackc/pgx/v5"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Next.Term > math.MaxInt64 || b.Next.Size > math.MaxInt64 {
		return fmt.Errorf("%w: Next.Term %d and Next.Size %d, want at most %d", store.ErrInvalid, b.Next.Term, b.Next.Size, math.MaxInt64)
	}
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	return s.move(ctx, b.Prev, b.Next, func(q *pgx.Batch) { queueBatch(q, b) })
}

// move commits what fill queues together with a move of the head.
func (s *Store) move(ctx context.Context, prev, next store.Head, fill func(*pgx.Batch)) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	if head := s.Head(); head != prev {
		return conflict(head, prev)
	}
	s.showMu.Lock()
	defer s.showMu.Unlock()
	// A write that has begun is not given up, so the caller's context ends here.
	if err := s.send(prev, next, fill); err != nil {
		return err
	}
	s.publish(next)
	return nil
}

func conflict(is, want store.Head) error {
	return fmt.Errorf("%w: it is term %d, size %d, root %x, not term %d, size %d, root %x", store.ErrConflict,
		is.Term, is.Size, is.Root, want.Term, want.Size, want.Root)
}

// send commits, and finds out what became of a commit whose connection was lost.
func (s *Store) send(prev, next store.Head, fill func(*pgx.Batch)) error {
	deadline := time.Now().Add(s.wait)
	var gone *session // whose commit may still be under way
	for {
		err := s.trySend(context.Background(), &gone, prev, next, fill)
		if err == nil || errors.Is(err, store.ErrConflict) || s.broken.Load() != nil {
			return err
		}
		if !s.worthAnother(err, deadline) {
			return s.poison(err)
		}
		s.log.Warn("a commit failed for want of its server and is looked after", "size", next.Size, "error", err.Error())
	}
}

func (s *Store) trySend(ctx context.Context, gone **session, prev, next store.Head, fill func(*pgx.Batch)) (err error) {
	if s.writer == nil || s.writer.IsClosed() {
		s.drop(&s.writer)
		if s.writer, err = s.connect(ctx, true); err != nil {
			return redacted(err)
		}
		if err = s.indexesThere(ctx, s.writer); err != nil {
			s.drop(&s.writer)
			return err
		}
	}
	c := s.writer
	if *gone != nil {
		head, err := s.settle(ctx, c, *gone)
		switch {
		case err != nil:
			return err
		case head == next:
			*gone = nil
			return nil // it happened
		case head != prev:
			return s.poison(fmt.Errorf("after a lost connection the head is term %d, size %d, root %x, neither before nor after the batch", head.Term, head.Size, head.Root))
		}
		*gone = nil
	}
	c.unreplicated.Store(false)
	b := &pgx.Batch{}
	queueMove(b, prev, next, s.replicated)
	fill(b)
	err = c.SendBatch(ctx, b).Close()
	if e := serverError(err); e != nil && !c.IsClosed() {
		// The server rolled the transaction back and says so.
		if e.Code != codeHeadMoved {
			return err
		}
		head, readErr := readHead(ctx, c.Conn)
		if readErr != nil {
			return readErr
		}
		s.publish(head)
		return conflict(head, prev)
	}
	if err != nil || c.unreplicated.Load() {
		if err == nil {
			err = errors.New("the server gave up waiting for its standby")
			s.drop(&s.writer)
		}
		*gone = c
	}
	return err
}

// settle makes sure that the session which sent a commit is over, and that what this server shows is durable, and reads the
// head: from then on it cannot be that batch which moves it.
func (s *Store) settle(ctx context.Context, c, gone *session) (store.Head, error) {
	// On another server the process of that number, if there is one, began at another time.
	const same = "pid = $1 AND backend_start = $2"
	if _, err := c.Exec(ctx, "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE "+same, gone.pid, gone.began); err != nil {
		return store.Head{}, err
	}
	var there bool
	if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE "+same+")", gone.pid, gone.began).Scan(&there); err != nil {
		return store.Head{}, err
	}
	if there {
		return store.Head{}, errors.New("the session that was lost is not over yet")
	}
	if err := fence(ctx, c); err != nil {
		return store.Head{}, fmt.Errorf("making sure that what is there is durable: %w", err)
	}
	return readHead(ctx, c.Conn)
}

func queueMove(q *pgx.Batch, prev, next store.Head, replicated bool) {
	q.Queue("SELECT countroom.move_head($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		int64(prev.Term), int64(prev.Size), prev.Root[:], prev.At, int64(prev.Folds),
		int64(next.Term), int64(next.Size), next.Root[:], next.At, int64(next.Folds), replicated)
}

func queueBatch(q *pgx.Batch, b *store.Batch) {
	if len(b.Leaves) > 0 {
		q.Queue("INSERT INTO countroom.leaves (index, leaf) SELECT $1 + n - 1, leaf FROM unnest($2::bytea[]) WITH ORDINALITY AS t (leaf, n)",
			int64(b.Prev.Size), notNull(b.Leaves))
	}
	if len(b.Tiles) > 0 {
		levels, indexes, data := make([]int16, len(b.Tiles)), make([]int64, len(b.Tiles)), make([][]byte, len(b.Tiles))
		for i, t := range b.Tiles {
			levels[i], indexes[i], data[i] = int16(t.Level), int64(t.Index), t.Data
		}
		q.Queue(`INSERT INTO countroom.tiles (level, index, data) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
			ON CONFLICT (level, index) DO UPDATE SET data = excluded.data`, levels, indexes, data)
	}
	folds := int64(b.Next.Folds)
	queueRows(q, "countroom.rows", &folds, b.Rows)
	queueRows(q, "countroom.vault", nil, b.Vault)
	if b.Checkpoint != nil {
		q.Queue("UPDATE countroom.checkpoint SET checkpoint = $1", b.Checkpoint)
	}
}

// notNull makes of an absent value an empty one.
func notNull(values [][]byte) [][]byte {
	out := values
	for i, v := range values {
		if v == nil {
			if &out[0] == &values[0] {
				out = append([][]byte(nil), values...)
			}
			out[i] = []byte{}
		}
	}
	return out
}

// queueRows puts and deletes rows of a table, of the space of a fold version if there is one. Where rows name a key twice
// the last one counts: a statement cannot touch a row twice.
func queueRows(q *pgx.Batch, table string, folds *int64, rows []store.Row) {
	last := map[string]int{}
	for i := range rows {
		last[string(rows[i].Key)] = i
	}
	var keys, values, deleted [][]byte
	for i := range rows {
		switch {
		case last[string(rows[i].Key)] != i:
		case rows[i].Value == nil:
			deleted = append(deleted, rows[i].Key)
		default:
			keys, values = append(keys, rows[i].Key), append(values, rows[i].Value)
		}
	}
	if len(keys) > 0 {
		if folds != nil {
			q.Queue("INSERT INTO "+table+" AS t (folds, key, value) SELECT $1, * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT (folds, key) DO UPDATE SET value = excluded.value",
				*folds, keys, values)
		} else {
			q.Queue("INSERT INTO "+table+" AS t (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value", keys, values)
		}
	}
	if len(deleted) > 0 {
		if folds != nil {
			q.Queue("DELETE FROM "+table+" WHERE folds = $1 AND key = ANY ($2::bytea[])", *folds, deleted)
		} else {
			q.Queue("DELETE FROM "+table+" WHERE key = ANY ($1::bytea[])", deleted)
		}
	}
}
