package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/regulator/disclosure"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"

	"github.com/rogpeppe/go-internal/testscript"
)

// known is a house that knows Ann and Bob, of whom Bob is erased, with the files
// that it might show.
func known() (h *logtest.House, first, second logtest.Player, files map[string][]byte) {
	h = logtest.New(logtest.Config{Seed: 13})
	h.Officers()
	first, second = h.Register("EUR"), h.Register("EUR")
	of := func(list []logtest.Known) (lines []disclosure.Line) {
		for _, k := range list {
			lines = append(lines, disclosure.Line{Attribute: k.Name, Index: k.Index, Player: k.Player, Salt: k.Salt, Value: k.Value})
		}
		return lines
	}
	lines := of(h.Record(first, "kyc", "refer", "name", "Ann Jones"))
	gone := of(h.Record(second, "name", "Bob Mill"))
	lines = append(lines, of(h.Record(first, "kyc", "passed"))...)
	h.Change(second, players.Closed)
	h.Erase(second, "anna", "berta")
	h.Rewrap()
	h.Play([]logtest.Player{h.Join(1_000)}, 5)
	file := func(lines ...disclosure.Line) (b []byte) {
		for _, l := range lines {
			b = l.Append(b)
		}
		return b
	}
	lie := lines[2]
	lie.Value = "failed"
	wild := lines[1]
	wild.Attribute = "phone"
	return h, first, second, map[string][]byte{
		"shown.jsonl":  file(lines...),
		"less.jsonl":   file(lines[1:]...),
		"false.jsonl":  file(lines[0], lines[1], lie),
		"other.jsonl":  file(append([]disclosure.Line{wild}, lines...)...),
		"erased.jsonl": file(append([]disclosure.Line{gone[0]}, lines...)...),
		"twice.jsonl":  file(append(lines, lines[0])...),
	}
}

func subjectsOf(ts *testscript.TestScript, _ bool, _ []string) {
	h, first, second, files := known()
	for name, f := range h.Publish() {
		write(ts, filepath.Join("log", filepath.FromSlash(name)), f.Data)
	}
	for name, data := range files {
		write(ts, name, data)
	}
	write(ts, "log.vkey", []byte(h.VKey+"\n"))
	write(ts, "another.vkey", []byte(logtest.New(logtest.Config{Seed: 12}).VKey))
	ts.Setenv("FIRST", first.Ref.String())
	ts.Setenv("SECOND", second.Ref.String())
	h.Tamper = nil
	h.Change(second, players.Open) // that nobody may
	for name, f := range h.Publish() {
		write(ts, filepath.Join("broken", filepath.FromSlash(name)), f.Data)
	}
}

// Whatever a disclosure holds, OK is said only of one that shows everything, and
// the terminal gets no commands.
func FuzzSubjects(f *testing.F) {
	h, _, _, files := known()
	type logged struct {
		index uint64
		r     entry.Record
	}
	var entries []logged
	log, err := verify.Log(f.Context(), verify.Dir(h.Publish()), verify.Options{VKey: h.VKey, Subjects: func(index uint64, r entry.Record) { entries = append(entries, logged{index, r}) }})
	if err != nil || len(entries) != 4 {
		f.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, data := range files {
		f.Add(data)
	}
	f.Add([]byte("\x1b[2J"))
	f.Fuzz(func(t *testing.T, file []byte) {
		check := disclosure.New()
		for _, e := range entries {
			check.Entry(e.index, e.r)
		}
		if disclosure.Read(bytes.NewReader(file), check.Line) != nil {
			return
		}
		var out bytes.Buffer
		r := check.Report()
		printSubjects(&out, r, log)
		if ok := strings.HasSuffix(out.String(), "\nOK\n"); ok != (r.Present == 3 && r.Erased == 1 && r.False == 0) {
			t.Fatalf("%+v:\n%s", r, &out)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && r < ' ' }) {
			t.Fatalf("%q", out.String())
		}
	})
}
