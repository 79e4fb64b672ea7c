package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var schema1 string

// migrations lead from one version of the tables to the next, each in a transaction of its own. What a version wrote is
// never changed: a new one is added.
var migrations = []string{schema1}

// migrationLock is an advisory lock that keeps two starts from migrating at once.
const migrationLock = 0x636f756e74726f6f

// migrate brings the tables to this program's version. Tables of a later version are refused.
func (s *Store) migrate(ctx context.Context, create bool) error {
	c := s.writer
	return pgx.BeginFunc(ctx, c.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return fmt.Errorf("postgres: waiting for another start: %w", err)
		}
		var founded bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass('countroom.format') IS NOT NULL").Scan(&founded); err != nil {
			return fmt.Errorf("postgres: looking for the tables: %w", err)
		}
		version := 0
		switch {
		case founded:
			if err := tx.QueryRow(ctx, "SELECT version FROM countroom.format").Scan(&version); err != nil {
				return fmt.Errorf("postgres: version of the tables: %w", err)
			}
		case !create:
			return fmt.Errorf("postgres: no store in the database %s: %w", c.Config().Database, os.ErrNotExist)
		default:
			_, err := tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS countroom;
				CREATE TABLE countroom.format (single boolean PRIMARY KEY DEFAULT true CHECK (single), version integer NOT NULL);
				INSERT INTO countroom.format (version) VALUES (0)`)
			if err != nil {
				return fmt.Errorf("postgres: making the tables: %w", err)
			}
		}
		if version > len(migrations) {
			return fmt.Errorf("postgres: the tables are of version %d, this program knows version %d: run the program that wrote them, or a later one", version, len(migrations))
		}
		if version == len(migrations) {
			return nil
		}
		for _, m := range migrations[version:] {
			if _, err := tx.Exec(ctx, m); err != nil {
				return fmt.Errorf("postgres: making the tables: %w", err)
			}
		}
		if version == 0 && !create {
			return errors.New("postgres: the tables were begun and never finished")
		}
		_, err := tx.Exec(ctx, "UPDATE countroom.format SET version = $1", len(migrations))
		return err
	})
}
