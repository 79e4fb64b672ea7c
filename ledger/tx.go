package ledger

import (
	"errors"
	"fmt"
	"strings"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Tx is what a command sees on the writer: it may read rows and append entries,
// nothing else. It is valid only while Command.Run runs.
type Tx struct {
	l       *Ledger
	at      entry.Time
	request entry.Request
	changes []change
	missing []string
	leaves  [][]byte
	records []entry.Record
	answer  int    // position in leaves of the entry that answers the command, or -1
	awaits  uint64 // the size that Await waits for
}

// begin readies the writer's one Tx for another command.
func (tx *Tx) begin(request entry.Request) {
	clear(tx.changes)
	clear(tx.leaves)
	clear(tx.records)
	tx.request, tx.answer, tx.awaits = request, -1, 0
	tx.changes, tx.missing, tx.leaves, tx.records = tx.changes[:0], tx.missing[:0], tx.leaves[:0], tx.records[:0]
}

type change struct {
	key string
	row book.Row
}

// At is the time that the command's entries carry.
func (tx *Tx) At() entry.Time { return tx.at }

// Size is the index that the next entry will have.
func (tx *Tx) Size() uint64 { return tx.l.size + uint64(len(tx.leaves)) }

// Get returns a row, or nil when there is none. If the row has to be fetched
// first, Get returns nil too, and the command will run again whatever it
// returned this time.
func (tx *Tx) Get(key string) book.Row {
	for i := range tx.changes {
		if tx.changes[i].key == key {
			return tx.changes[i].row
		}
	}
	s := tx.l.rows.get(key)
	if s == nil {
		tx.missing = append(tx.missing, key)
		return nil
	}
	return s.row
}

// Append adds an entry beside the command's answer. It fills in the header's
// time and identity; the actor is the caller's. An error says that the entry
// breaks a rule of the books, which is a fault of the command: it must return it.
func (tx *Tx) Append(r entry.Record) (index uint64, err error) {
	h := r.Head()
	h.At = tx.at
	h.ID = tx.l.newID()
	index = tx.Size()
	tx.l.room()
	n := len(tx.l.arena)
	if tx.l.arena, err = entry.Append(tx.l.arena, r); err != nil {
		return 0, err
	}
	leaf := tx.l.arena[n:len(tx.l.arena):len(tx.l.arena)]
	if err := tx.l.books.Fold((*folding)(tx), index, r); err != nil {
		if len(tx.missing) > 0 {
			return 0, errMissing
		}
		return 0, fmt.Errorf("%s: %w", r.Type(), err)
	}
	tx.leaves = append(tx.leaves, leaf)
	tx.records = append(tx.records, r)
	return index, nil
}

// Answer adds the entry that answers the command: it carries the command's
// request, and its leaf and receipt go to the caller.
func (tx *Tx) Answer(r entry.Record) (index uint64, err error) {
	if tx.answer >= 0 {
		return 0, fmt.Errorf("%s: a second answer to one command", r.Type())
	}
	r.Head().Request = tx.request
	if index, err = tx.Append(r); err == nil {
		tx.answer = len(tx.leaves) - 1
	}
	return index, err
}

// Await returns nil once the entry at an index is durable and signed. Before that
// it returns an error, which Run must return: what the command has appended stays,
// and when the entry is there Run is called again, from its beginning. The writer
// goes on meanwhile.
func (tx *Tx) Await(index uint64) error {
	if s := tx.l.signed.Load(); s != nil && index < s.Size {
		return nil
	}
	if tx.answer >= 0 {
		return errors.New("a command that has its answer awaits nothing")
	}
	tx.awaits = index + 1
	return errAwaits
}

// PutVault sets a row of the vault, whose key starts with "vault/", in the same
// commit as the command's entries, of which there may be none. Nil erases it.
func (tx *Tx) PutVault(key string, value []byte) {
	if !isVault(key) {
		panic("not a vault key: " + key)
	}
	(*folding)(tx).Put(key, &VaultRow{value})
}

// VaultRow is a row of the vault.
type VaultRow struct{ Value []byte }

// Code is never called: the vault is outside the log and stores bytes as they
// are.
func (*VaultRow) Code(*entry.Coder) { panic("a vault row has no JSON form") }

func isVault(key string) bool { return strings.HasPrefix(key, "vault/") }

// folding is the Tx as folds see it: they may also put rows.
type folding Tx

func (f *folding) Get(key string) book.Row { return (*Tx)(f).Get(key) }

func (f *folding) Put(key string, r book.Row) {
	for i := range f.changes {
		if f.changes[i].key == key {
			f.changes[i].row = r
			return
		}
	}
	f.changes = append(f.changes, change{key, r})
}
