// Package booktest is what the tests of books share.
package booktest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// Written gives rows as they are stored, one a line, and demands that each is read
// as it was written.
func Written(t testing.TB, kinds book.Kinds, rows book.Memory) string {
	t.Helper()
	var lines []string
	for key, row := range rows {
		b, err := entry.AppendObject(nil, row)
		if err != nil {
			t.Fatalf("row %s: %v", key, err)
		}
		back, err := kinds.Decode(key, b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := entry.AppendObject(nil, back); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("row %s is stored as %s and again as %s, %v", key, b, again, err)
		}
		lines = append(lines, key+" "+string(b))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Breaks demands that an error tells of a rule that an entry breaks.
func Breaks(t testing.TB, err error, rule string) {
	t.Helper()
	var v *book.Violation
	if !errors.Is(err, book.ErrBroken) || !errors.As(err, &v) || v.Rule != rule {
		t.Errorf("%v; want %s broken", err, rule)
	}
}
