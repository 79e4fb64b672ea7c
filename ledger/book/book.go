// Package book is the frame of every fold: a book is a set of rows that the
// entries of the log, taken in order, determine and nothing else may change.
//
// The server keeps the same rows durably that a verifier keeps in memory, and
// both get them by the same fold, so that running the house, rebuilding it and
// auditing it are one code path.
package book

import (
	"errors"
	"fmt"
	"strings"

	"countroom/ledger/entry"
)

// Row is one row of a book. A row that was put is never changed again; a fold
// that changes it puts a changed copy. Rows are stored as canonical JSON.
type Row interface{ entry.Object }

// Reader is the state that a command may read. Keys are paths whose first
// element names the book: "wallet/player/<ref>/cash/EUR".
type Reader interface {
	// Get returns the row, or nil when there is none.
	Get(key string) Row
}

// Rows is the state that a fold, and nothing but a fold, changes.
type Rows interface {
	Reader
	Put(key string, r Row)
}

// Get returns the row of type *T, or nil when there is none.
func Get[T any, P interface {
	*T
	Row
}](rows Reader, key string) P {
	r := rows.Get(key)
	if r == nil {
		return nil
	}
	return r.(P)
}

// Find is Get of a key that is not a string yet: a Table finds a row without
// making it one.
func Find[T any, P interface {
	*T
	Row
}](rows Reader, key []byte) P {
	t, ok := rows.(*Table)
	if !ok {
		return Get[T, P](rows, string(key))
	}
	if t.find(key) {
		return t.rows[t.last].row.(P)
	}
	return nil
}

// Put puts a row whose key is not a string yet.
func Put(rows Rows, key []byte, r Row) {
	if t, ok := rows.(*Table); ok && t.find(key) {
		t.rows[t.last].row = r
		return
	}
	rows.Put(string(key), r)
}

// Kinds maps the first element of a key to an empty row of its book.
type Kinds map[string]func() Row

// Decode reads a stored row.
func (k Kinds) Decode(key string, value []byte) (Row, error) {
	name, _, _ := strings.Cut(key, "/")
	empty, ok := k[name]
	if !ok {
		return nil, fmt.Errorf("row %q: no such book", key)
	}
	r := empty()
	if err := entry.DecodeObject(value, r); err != nil {
		return nil, fmt.Errorf("row %q: %w", key, err)
	}
	return r, nil
}

// ErrBroken says that an entry breaks a rule of the log.
var ErrBroken = errors.New("rule broken")

// Violation names the rule that an entry breaks. It is an ErrBroken.
type Violation struct {
	Rule     string // short and stable, such as "balance"
	Expected string
	Found    string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s", v.Rule, v.Expected, v.Found)
}

func (v *Violation) Unwrap() error { return ErrBroken }

// Broken returns a Violation of rule.
func Broken(rule string, expected, found any) error {
	return &Violation{Rule: rule, Expected: fmt.Sprint(expected), Found: fmt.Sprint(found)}
}

// Table is Rows in memory for who folds millions of entries: a key is made once, and
// stays where it is while its row changes. It is for one goroutine.
type Table struct {
	at   map[string]int
	rows []tableRow
	last int // the row that was found last, which is often the next to be put
}

type tableRow struct {
	key string
	row Row
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{at: map[string]int{}} }

// find looks a key up.
func (t *Table) find(key []byte) bool {
	if t.last < len(t.rows) && t.rows[t.last].key == string(key) {
		return true
	}
	at, ok := t.at[string(key)]
	if ok {
		t.last = at
	}
	return ok
}

// Get returns the row, or nil.
func (t *Table) Get(key string) Row {
	if at, ok := t.at[key]; ok {
		t.last = at
		return t.rows[at].row
	}
	return nil
}

// Put sets the row.
func (t *Table) Put(key string, r Row) {
	at, ok := t.last, t.last < len(t.rows) && t.rows[t.last].key == key
	if !ok {
		at, ok = t.at[key]
	}
	if ok {
		t.rows[at].row = r
		return
	}
	t.at[key] = len(t.rows)
	t.rows = append(t.rows, tableRow{key, r})
}

// Memory is Rows in a map, for tests and for what is small.
type Memory map[string]Row

// Get returns the row, or nil.
func (m Memory) Get(key string) Row { return m[key] }

// Put sets the row.
func (m Memory) Put(key string, r Row) { m[key] = r }
