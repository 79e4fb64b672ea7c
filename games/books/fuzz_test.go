package books_test

import (
	"bytes"
	"errors"
	"testing"

	"countroom/games/books"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// What can be read is written as it was, also by way of a record that held
// another entry before, and nothing makes the folding of what was read panic.
func FuzzDecode(f *testing.F) {
	used := map[string]entry.Record{}
	for _, r := range everyRecord() {
		leaf, err := entry.Append(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf)
		f.Add(example(f, r.Type()+".json"))
		used[r.Type()] = r
	}
	f.Add([]byte(`{"a":1,"type":"table.opened"}`))
	f.Fuzz(func(t *testing.T, leaf []byte) {
		r, err := books.Decode(leaf)
		if err != nil {
			if !errors.Is(err, entry.ErrFormat) {
				t.Fatalf("%v is no ErrFormat", err)
			}
			return
		}
		again, err := entry.Append(nil, r)
		if err != nil || !bytes.Equal(again, leaf) {
			t.Fatalf("read %q, written %q, %v", leaf, again, err)
		}
		if typ, err := entry.TypeOf(leaf); err != nil || typ != r.Type() {
			t.Fatalf("%q has the type %q, read as %q, %v", leaf, typ, r.Type(), err)
		}
		if err := entry.Decode(leaf, used[r.Type()]); err != nil {
			t.Fatalf("%q cannot be read into a used record: %v", leaf, err)
		}
		if again, err := entry.Append(nil, used[r.Type()]); err != nil || !bytes.Equal(again, leaf) {
			t.Fatalf("read %q into a used record, written %q, %v", leaf, again, err)
		}
		rows := tell(t, story())
		if err := books.Fold(rows, uint64(len(story())), r); err != nil {
			if !errors.Is(err, book.ErrBroken) {
				t.Fatalf("%v is no broken rule", err)
			}
			return
		}
		// The store reads what the fold leaves there.
		for key, row := range rows {
			value, err := entry.AppendObject(nil, row)
			if err != nil {
				t.Fatalf("after %q the row %s cannot be written: %v", leaf, key, err)
			}
			back, err := books.Kinds.Decode(key, value)
			if err != nil {
				t.Fatalf("after %q the row %s is not read: %v", leaf, key, err)
			}
			if again, err := entry.AppendObject(nil, back); err != nil || !bytes.Equal(again, value) {
				t.Fatalf("after %q the row %s is %q, read and written %q, %v", leaf, key, value, again, err)
			}
		}
	})
}

// A stored row that can be read is written as it was, and is of its key's book.
func FuzzRow(f *testing.F) {
	for key, row := range tell(f, story()) {
		value, err := entry.AppendObject(nil, row)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, value)
	}
	f.Add("tables/1", []byte(`{}`))
	f.Add("games", []byte(`{"ids":["a","a"]}`))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		row, err := books.Kinds.Decode(key, value)
		if err != nil {
			if row != nil {
				t.Fatalf("%q: %+v beside %v", value, row, err)
			}
			return
		}
		if again, err := entry.AppendObject(nil, row); err != nil || !bytes.Equal(again, value) {
			t.Fatalf("%s: read %q, written %q, %v", key, value, again, err)
		}
	})
}
