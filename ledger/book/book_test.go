package book_test

import (
	"errors"
	"fmt"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// tally is the row of a counter.
type tally struct{ Count uint64 }

func (t *tally) Code(c *entry.Coder) { c.Uint("count", &t.Count) }

// label is the row of a name.
type label struct{ Text string }

func (l *label) Code(c *entry.Coder) { c.Text("text", &l.Text, 5) }

var kinds = book.Kinds{
	"tally":  func() book.Row { return new(tally) },
	"labels": func() book.Row { return new(label) },
}

// Rows are put, read, and come back from their stored form by the first element
// of their key.
func TestRowsComeBackByTheirKey(t *testing.T) {
	rows := book.Memory{}
	if rows.Get("tally/x") != nil || book.Get[tally](rows, "tally/x") != nil {
		t.Fatal("a row before one was put")
	}
	for _, c := range []struct {
		key  string
		row  book.Row
		json string
	}{
		{"tally/x", &tally{7}, `{"count":7}`},
		{"tally/x/y", &tally{8}, `{"count":8}`}, // the rest of the path is the book's own
		{"tally", &tally{9}, `{"count":9}`},     // a book of one row
		{"labels/tally/x", &label{"hello"}, `{"text":"hello"}`},
	} {
		rows.Put(c.key, c.row)
		stored, err := entry.AppendObject(nil, rows.Get(c.key))
		if err != nil || string(stored) != c.json {
			t.Errorf("%s is stored as %s, %v; want %s", c.key, stored, err, c.json)
		}
		back, err := kinds.Decode(c.key, stored)
		if err != nil || fmt.Sprintf("%T %v", back, back) != fmt.Sprintf("%T %v", c.row, c.row) {
			t.Errorf("%s came back as %T %v, %v", c.key, back, back, err)
		}
	}
	if len(rows) != 4 || book.Get[tally](rows, "tally/x").Count != 7 {
		t.Errorf("another row's Put changed this one: %v", rows)
	}
	rows.Put("tally/x", &tally{10})
	if len(rows) != 4 || book.Get[tally](rows, "tally/x").Count != 10 {
		t.Errorf("the copy that was put last is not the row: %v", rows)
	}
	first, _ := kinds.Decode("tally/x", []byte(`{"count":1}`))
	second, _ := kinds.Decode("tally/y", []byte(`{"count":2}`))
	if first.(*tally).Count != 1 || second.(*tally).Count != 2 {
		t.Error("two rows of one book share their memory")
	}
}

func TestStoredRowsAreReadStrictly(t *testing.T) {
	for name, c := range map[string]struct {
		key, stored string
		format      bool // the form is at fault, not the key
	}{
		"no such book":         {"talley/x", `{"count":7}`, false},
		"prefix of a book":     {"tall", `{"count":7}`, false},
		"no key":               {"", `{"count":7}`, false},
		"leading slash":        {"/tally/x", `{"count":7}`, false},
		"another book's row":   {"labels/x", `{"count":7}`, true},
		"nothing":              {"tally/x", ``, true},
		"cut off":              {"tally/x", `{"count":7`, true},
		"two rows":             {"tally/x", `{"count":7}{"count":7}`, true},
		"not canonical":        {"tally/x", `{"count": 7}`, true},
		"out of range":         {"tally/x", `{"count":9007199254740992}`, true},
		"longer than its form": {"labels/x", `{"text":"hello!"}`, true},
	} {
		row, err := kinds.Decode(c.key, []byte(c.stored))
		if err == nil || row != nil || errors.Is(err, entry.ErrFormat) != c.format {
			t.Errorf("%s: %v, %v", name, row, err)
		}
	}
}

func TestAViolationNamesItsRule(t *testing.T) {
	err := fmt.Errorf("entry 7: %w", book.Broken("balance", 5, "six"))
	var v *book.Violation
	if !errors.Is(err, book.ErrBroken) || !errors.As(err, &v) {
		t.Fatal(err)
	}
	if *v != (book.Violation{Rule: "balance", Expected: "5", Found: "six"}) {
		t.Errorf("%+v", *v)
	}
	if got, want := err.Error(), "entry 7: balance: expected 5, found six"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A table holds the same rows as a map, however they are put and looked for.
func TestATableIsAMap(t *testing.T) {
	table, memory := book.NewTable(), book.Memory{}
	for n := range uint64(2000) {
		key := fmt.Sprint("tally/", n*n%97)
		switch n % 3 {
		case 0:
			table.Put(key, &tally{n})
		case 1:
			book.Put(table, []byte(key), &tally{n})
		case 2:
			if got, want := book.Find[tally](table, []byte(key)), book.Find[tally](memory, []byte(key)); (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Fatalf("%s before %d: %v, want %v", key, n, got, want)
			}
			book.Put(table, []byte(key), &tally{n})
		}
		book.Put(memory, []byte(key), &tally{n})
		other := fmt.Sprint("tally/", n%101)
		if got, want := book.Get[tally](table, other), book.Get[tally](memory, other); (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Fatalf("%s after %d: %v, want %v", other, n, got, want)
		}
	}
	if table.Get("tally/none") != nil || book.Find[tally](table, []byte("tally/none")) != nil {
		t.Error("a row that was never put")
	}
}
