package export

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// forgery is an export on the bench of somebody who changes it.
type forgery struct {
	t        *testing.T
	h        *logtest.House
	names    []string
	files    map[string][]byte
	manifest Manifest
	// sign signs what was changed, as does the house's key unless it is replaced. Without it the first bundle stays.
	sign      func(payload []byte) ([]byte, error)
	predicate string // type of the statement
	keep      bool   // the manifest as it was, whatever the files are
}

func take(t *testing.T, h *logtest.House, b []byte) *forgery {
	t.Helper()
	c, err := openContainer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f := &forgery{t: t, h: h, files: map[string][]byte{}, sign: h.SignExport, predicate: PredicateType}
	for i := range c.list {
		m := &c.list[i]
		f.names = append(f.names, m.name)
		if f.files[m.name], err = c.read(m.name, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	m, err := parseManifest(f.files[ManifestName])
	if err != nil {
		t.Fatal(err)
	}
	f.manifest = *m
	return f
}

// lines changes a file line by line.
func (f *forgery) lines(name string, change func(list []string) []string) {
	list := strings.Split(strings.TrimSuffix(string(f.files[name]), "\n"), "\n")
	f.files[name] = []byte(strings.Join(change(list), "\n") + "\n")
}

// replace changes the first of something in a file.
func (f *forgery) replace(name, old, with string) {
	f.t.Helper()
	if !bytes.Contains(f.files[name], []byte(old)) {
		f.t.Fatalf("%s has no %q", name, old)
	}
	f.files[name] = bytes.Replace(f.files[name], []byte(old), []byte(with), 1)
}

// drop leaves a file out.
func (f *forgery) drop(name string) {
	f.names = slices.DeleteFunc(f.names, func(n string) bool { return n == name })
}

// done is the export anew.
func (f *forgery) done() []byte {
	f.t.Helper()
	must := func(err error) {
		if err != nil {
			f.t.Helper()
			f.t.Fatal(err)
		}
	}
	if !f.keep {
		f.manifest.Files = nil
		for _, name := range f.names {
			if name != ManifestName && name != BundleName && name != CertificateName {
				f.manifest.Files = append(f.manifest.Files, File{int64(len(f.files[name])), name, dsse.SHA256(f.files[name]).SHA256})
			}
		}
		encoded, err := f.manifest.encode()
		must(err)
		f.files[ManifestName] = encoded
		if f.sign != nil {
			payload, err := dsse.NewStatement(f.predicate, f.manifest.predicate(), dsse.Subject{Name: ManifestName, Digest: dsse.SHA256(encoded)})
			must(err)
			f.files[BundleName], err = f.sign(payload)
			must(err)
		}
	}
	var out file
	p := &packer{out: &out}
	for _, name := range f.names {
		_, err := p.add(name, func(w io.Writer) error { _, err := w.Write(f.files[name]); return err })
		must(err)
	}
	_, err := p.end()
	must(err)
	return out.b
}

// fraud is what somebody does to an export, and what a check says of it.
type fraud struct {
	name     string
	of       string // "span" by default, "player", "everything"
	do       func(f *forgery) []byte
	rule     string
	evidence bool // the house signed for it
}

// resigned does something and has the house sign for it.
func resigned(do func(f *forgery)) func(f *forgery) []byte {
	return func(f *forgery) []byte { do(f); return f.done() }
}

// unsigned does something and leaves manifest and signature as they were.
func unsigned(do func(f *forgery)) func(f *forgery) []byte {
	return func(f *forgery) []byte { f.keep = true; do(f); return f.done() }
}

// raw does something to the bytes.
func raw(do func(b []byte) []byte) func(f *forgery) []byte {
	return func(f *forgery) []byte { f.keep = true; return do(f.done()) }
}

// renamed gives an entry another name, of the same length, in both headers.
func renamed(from, to string) func(f *forgery) []byte {
	return raw(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(from), []byte(to)) })
}

var frauds = []fraud{
	{name: "cut off in the midst", do: raw(func(b []byte) []byte { return b[:len(b)/2] }), rule: "container"},
	{name: "its last byte is missing", do: raw(func(b []byte) []byte { return b[:len(b)-1] }), rule: "container"},
	{name: "bytes behind its end", do: raw(func(b []byte) []byte { return append(b, "PK"...) }), rule: "container"},
	{name: "bytes before its beginning", do: raw(func(b []byte) []byte { return append([]byte("#!/bin/sh\n"), b...) }), rule: "container"},
	{name: "nothing", do: raw(func([]byte) []byte { return nil }), rule: "container"},
	{name: "a path out of its folder", do: renamed("rounds.csv", "../nds.csv"), rule: "container"},
	{name: "an absolute path", do: renamed("rounds.csv", "/ounds.csv"), rule: "container"},
	{name: "a path with a backslash", do: renamed("rounds.csv", `..\nds.csv`), rule: "container"},
	{name: "a packed entry, as bombs are", do: raw(func(b []byte) []byte { b[8] = 8; return b }), rule: "container"},
	{name: "an entry of more bytes than the file has", do: raw(func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[30+len(leavesName)+4:], 1<<40)
		return b
	}), rule: "container"},
	{name: "an entry of 2^63 bytes", do: raw(func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[30+len(leavesName)+4:], 1<<63)
		return b
	}), rule: "container"},
	{name: "a directory that names another entry", do: raw(func(b []byte) []byte {
		at := bytes.LastIndex(b, []byte("players.csv"))
		copy(b[at:], "players.exe")
		return b
	}), rule: "container"},
	{name: "a file under another name", do: renamed("players.parquet", "revenue.parquet"), rule: "manifest-digest"},
	{name: "two entries of one name", do: renamed("rounds.csv", "checkpoint"), rule: "container"},
	{name: "another CRC", do: raw(func(b []byte) []byte {
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(CertificateName))
			if i < 0 {
				return b
			}
			i += at
			if binary.LittleEndian.Uint32(b[i-30:]) == localMagic {
				b[i-30+14] ^= 1
			} else {
				b[i-46+16] ^= 1
			}
			at = i + 1
		}
	}), rule: "container"},

	{name: "a leaf changed", do: unsigned(func(f *forgery) { f.replace(leavesName, `"payout":{"amount":`, `"payout":{"amount":9`) }), rule: "digest"},
	{name: "a byte of a leaf changed", do: unsigned(func(f *forgery) { f.files[leavesName][100] ^= 1 }), rule: "digest"},
	{name: "a file of a table left out", do: unsigned(func(f *forgery) { f.drop("ggr.csv") }), rule: "files"},
	{name: "two files exchanged", do: unsigned(func(f *forgery) {
		i := slices.Index(f.names, "ggr.csv")
		f.names[i], f.names[i-1] = f.names[i-1], f.names[i]
	}), rule: "files"},
	{name: "a table's cell changed, and the manifest with it", do: func(f *forgery) []byte {
		f.sign = nil
		f.replace("ggr.csv", "2026-03-01", "2026-03-02")
		return f.done()
	}, rule: "manifest-digest"},
	{name: "the manifest of another export", do: func(f *forgery) []byte {
		other, _ := write(f.t, f.h, nil)
		f.keep, f.files[ManifestName] = true, take(f.t, f.h, other).files[ManifestName]
		return f.done()
	}, rule: "manifest-digest"},
	{name: "manifest and signature of another export", do: func(f *forgery) []byte {
		other, _ := write(f.t, f.h, nil)
		from := take(f.t, f.h, other)
		f.keep, f.files[ManifestName], f.files[BundleName] = true, from.files[ManifestName], from.files[BundleName]
		return f.done()
	}, rule: "files"},
	{name: "signed by another key", do: func(f *forgery) []byte {
		f.sign = func(payload []byte) ([]byte, error) { return f.h.Statement(logtest.LaboratoryKey("x"), payload), nil }
		return f.done()
	}, rule: "statement-signature"},
	{name: "signed by the key for seeds", do: func(f *forgery) []byte {
		f.sign = func(payload []byte) ([]byte, error) { return f.h.Statement(f.h.SeedsKey(), payload), nil }
		return f.done()
	}, rule: "statement-signature"},
	{name: "no bundle", do: unsigned(func(f *forgery) { f.files[BundleName] = []byte("{}\n") }), rule: "statement"},
	{name: "a statement of another type", do: func(f *forgery) []byte {
		f.predicate = "https://slsa.dev/provenance/v1"
		return f.done()
	}, rule: "statement-type"},
	{name: "the certificate in place of the statement", do: unsigned(func(f *forgery) { f.files[BundleName] = f.files[CertificateName] }), rule: "statement-type"},
	{name: "an export of another house", do: func(f *forgery) []byte {
		h := logtest.New(logtest.Config{Seed: 8, Origin: "other.example/house"})
		b, _ := write(f.t, h, nil)
		return b
	}, rule: "origin"},
	{name: "an export of a house of the same name with other keys", do: func(f *forgery) []byte {
		h := logtest.New(logtest.Config{Seed: 8})
		b, _ := write(f.t, h, nil)
		return b
	}, rule: "keys"},
	{name: "a checkpoint with another line", do: unsigned(func(f *forgery) { f.replace(checkpointName, "\n\n", "\nTimestamp 1\n\n") }), rule: "checkpoint"},
	{name: "a checkpoint of another size", do: unsigned(func(f *forgery) {
		f.replace(checkpointName, fmt.Sprintf("\n%d\n", f.h.Size()), fmt.Sprintf("\n%d\n", f.h.Size()-1))
	}), rule: "keys"},
	{name: "a checkpoint of another key", do: func(f *forgery) []byte {
		other := logtest.New(logtest.Config{Seed: 9})
		note := other.Sign(f.manifest.Checkpoint.Size, headRoot(f))
		old := string(f.files[checkpointName])
		f.files[checkpointName] = note
		f.files[keysName] = bytes.ReplaceAll(f.files[keysName], quoted(old), quoted(string(note)))
		return f.done()
	}, rule: "keys"},
	{name: "no history of keys", do: unsigned(func(f *forgery) { f.files[keysName] = []byte("[]\n") }), rule: "keys"},
	{name: "a manifest of another format", do: resigned(func(f *forgery) { f.manifest.Format = "countroom/export/v2" }), rule: "manifest", evidence: true},
	{name: "a manifest of another size", do: resigned(func(f *forgery) { f.manifest.Checkpoint.Size++ }), rule: "manifest-checkpoint", evidence: true},
	{name: "a range beyond the log", do: resigned(func(f *forgery) { f.manifest.Range.To = f.h.Size() + 1 }), rule: "range", evidence: true},
	{name: "files without leaves", do: resigned(func(f *forgery) { f.names = f.names[1:] }), rule: "files", evidence: true},

	{name: "two leaves in another order", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string { l[3], l[4] = l[4], l[3]; return l })
	}), rule: "draw-number", evidence: true},
	{name: "a leaf left out", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string { return slices.Delete(l, 9, 10) })
		f.manifest.Entries--
	}), rule: "entries", evidence: true},
	{name: "a session's leaf left out, and the range made shorter", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string { return l[:len(l)-1] })
		f.manifest.Entries--
		f.manifest.Range.To--
	}), rule: "range-proof", evidence: true},
	{name: "a range that is shifted by one", do: resigned(func(f *forgery) {
		f.manifest.Range.From++
		f.manifest.Range.To++
	}), rule: "range-proof", evidence: true},
	{name: "a leaf of another log in place of one", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string {
			i := slices.IndexFunc(l, func(s string) bool { return strings.Contains(s, `"type":"seed.`) })
			l[i] = strings.Replace(l[i], `"id":"`, `"id":"0`, 1)
			l[i] = strings.Replace(l[i], `"id":"0`+l[i][strings.Index(l[i], `"id":"0`)+7:][:8], `"id":"0`+l[i][strings.Index(l[i], `"id":"0`)+7:][:7], 1)
			return l
		})
	}), rule: "range-proof", evidence: true},
	{name: "a round in between", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string {
			i := slices.IndexFunc(l, func(s string) bool { return strings.HasSuffix(s, string(settledMark)) })
			return slices.Insert(l, i+1, l[i])
		})
		f.manifest.Entries++
		f.manifest.Range.To++
	}), rule: "round-number", evidence: true},
	{name: "a payout changed in leaf and postings", do: resigned(func(f *forgery) {
		f.lines(leavesName, func(l []string) []string {
			i := slices.IndexFunc(l, func(s string) bool { return strings.HasSuffix(s, string(settledMark)) })
			var r rounds.Settled
			if err := entry.Decode([]byte(l[i]), &r); err != nil {
				f.t.Fatal(err)
			}
			r.Payout.Amount += 100
			for j := range r.Postings {
				p, d := &r.Postings[j], int64(100)
				if strings.HasPrefix(p.Account, "house/") {
					d = -d
				}
				p.Amount += d
				p.Balance += d
			}
			leaf, err := entry.Append(nil, &r)
			if err != nil {
				f.t.Fatal(err)
			}
			l[i] = string(leaf)
			return l
		})
	}), rule: "payout", evidence: true},
	{name: "the last line without its end", do: resigned(func(f *forgery) { f.files[leavesName] = f.files[leavesName][:len(f.files[leavesName])-1] }), rule: "line", evidence: true},
	{name: "a leaf without end", do: resigned(func(f *forgery) { f.files[leavesName] = bytes.Repeat([]byte("1"), 1<<20) }), rule: "line", evidence: true},
	{name: "a leaf that is not canonical", do: resigned(func(f *forgery) { f.replace(leavesName, `{"actor":`, `{ "actor":`) }), rule: "canonical", evidence: true},
	{name: "a range proof with one hash more", do: resigned(func(f *forgery) {
		f.replace(rangeName, `"left":[`, `"left":["`+strings.Repeat("0", 64)+`",`)
	}), rule: "range-proof", evidence: true},
	{name: "a table's cell changed, and signed by the house", do: resigned(func(f *forgery) {
		f.lines("rounds.csv", func(l []string) []string { l[5] = strings.Replace(l[5], ",EUR,", ",USD,", 1); return l })
	}), rule: "table", evidence: true},
	{name: "a row of a table left out", do: resigned(func(f *forgery) {
		f.lines("transactions.csv", func(l []string) []string { return l[:len(l)-1] })
	}), rule: "table", evidence: true},
	{name: "a row of a table too many", do: resigned(func(f *forgery) {
		f.lines("ggr.csv", func(l []string) []string { return append(l, l[1]) })
	}), rule: "table", evidence: true},
	{name: "a cell of a Parquet table changed", do: resigned(func(f *forgery) { f.files["players.parquet"][70] ^= 1 }), rule: "table", evidence: true},

	{name: "a span of which entries are left out at its end", do: resigned(func(f *forgery) { f.manifest.Span.To = "2026-03-01T15:00:00.000000Z" }), rule: "certificate"},
	{name: "a span that the entries go beyond", do: resigned(func(f *forgery) { f.manifest.Span.To = "2026-03-01T13:30:00.000000Z" }), rule: "span", evidence: true},
	{name: "a span without the entry after it", do: resigned(func(f *forgery) {
		f.lines(boundsName, func(l []string) []string { return l[:1] })
	}), rule: "span", evidence: true},
	{name: "a certificate of other sums, signed by the house", do: resigned(func(f *forgery) {
		e, err := dsse.Parse(f.files[CertificateName])
		if err != nil {
			f.t.Fatal(err)
		}
		var c Certificate
		if _, err := e.Statement(SpanPredicateType, &c); err != nil {
			f.t.Fatal(err)
		}
		c.Games[0].GGR--
		payload, err := c.statement(f.manifest.Files[0].SHA256)
		if err != nil {
			f.t.Fatal(err)
		}
		if f.files[CertificateName], err = f.h.SignExport(payload); err != nil {
			f.t.Fatal(err)
		}
	}), rule: "certificate", evidence: true},
	{name: "a certificate signed by another key", do: resigned(func(f *forgery) {
		e, err := dsse.Parse(f.files[CertificateName])
		if err != nil {
			f.t.Fatal(err)
		}
		f.files[CertificateName] = f.h.Statement(logtest.LaboratoryKey("x"), e.Payload)
	}), rule: "certificate"},
	{name: "a secret that the log does not have", do: resigned(func(f *forgery) {
		f.replace(seedsName, `"salt":"`, `"salt":"0`)
	}), rule: "inclusion", evidence: true},
	{name: "no seeds", do: resigned(func(f *forgery) { f.files[seedsName] = nil }), rule: "seeds", evidence: true},
	{name: "a secret before its commitment", do: resigned(func(f *forgery) {
		f.lines(seedsName, func(l []string) []string {
			return slices.DeleteFunc(l, func(s string) bool { return strings.Contains(s, `"type":"seed.activated`) })
		})
	}), rule: "seeds", evidence: true},
	{name: "seeds in another order", do: resigned(func(f *forgery) {
		f.lines(seedsName, func(l []string) []string { l[0], l[1] = l[1], l[0]; return l })
	}), rule: "order", evidence: true},
	{name: "no definitions of games", do: resigned(func(f *forgery) {
		f.files[gamesName] = nil
		f.drop(f.folder(gamesFolder))
	}), rule: "games", evidence: true},
	{name: "another definition as a file", do: resigned(func(f *forgery) {
		name := f.folder(gamesFolder)
		f.files[name] = append(f.files[name], '\n')
	}), rule: "games", evidence: true},

	{name: "completeness claimed of what a filter left", of: "player", do: resigned(func(f *forgery) { f.manifest.Complete = true }), rule: "complete", evidence: true},
	{name: "a filter taken back", of: "player", do: resigned(func(f *forgery) {
		f.manifest.Complete, f.manifest.Filter = true, Filter{}
	}), rule: "entries", evidence: true},
	{name: "an entry that the filter does not take", of: "player", do: resigned(func(f *forgery) {
		f.manifest.Filter.Player = strings.Repeat("0", 32)
	}), rule: "filter", evidence: true},
	{name: "two proofs exchanged", of: "player", do: resigned(func(f *forgery) {
		f.lines(proofsName, func(l []string) []string { l[1], l[2] = l[2], l[1]; return l })
	}), rule: "inclusion", evidence: true},
	{name: "an entry twice with its proof", of: "player", do: resigned(func(f *forgery) {
		for _, name := range []string{leavesName, proofsName} {
			f.lines(name, func(l []string) []string { return slices.Insert(l, 3, l[2]) })
		}
		f.manifest.Entries++
	}), rule: "order", evidence: true},
	{name: "a proof too many", of: "player", do: resigned(func(f *forgery) {
		f.lines(proofsName, func(l []string) []string { return append(l, l[0]) })
	}), rule: "line", evidence: true},
	{name: "another document", of: "everything", do: resigned(func(f *forgery) {
		name := f.folder(blobsFolder)
		f.files[name] = append(f.files[name], '\n')
	}), rule: "documents", evidence: true},
	{name: "a document left out", of: "everything", do: resigned(func(f *forgery) { f.drop(f.folder(blobsFolder)) }), rule: "files", evidence: true},
}

// folder is the first file in a folder.
func (f *forgery) folder(name string) string {
	f.t.Helper()
	i := slices.IndexFunc(f.names, func(n string) bool { return strings.HasPrefix(n, name) })
	if i < 0 {
		f.t.Fatalf("nothing in %s", name)
	}
	return f.names[i]
}

func headRoot(f *forgery) tlog.Hash {
	c, err := tlog.Peek(f.files[checkpointName])
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Root
}

// quoted is a text as JSON has it, without quotation marks.
func quoted(s string) []byte { return bytes.ReplaceAll([]byte(s), []byte("\n"), []byte(`\n`)) }

// Each fraud on an export is found out, under its own name, and is held against the house only where it signed for it.
func TestGauntlet(t *testing.T) {
	h, people := house()
	honest := map[string][]byte{}
	honest["span"], _ = write(t, h, span(t, h))
	honest["player"], _ = write(t, h, func(q *Request) { q.Filter.Player = people[0].Ref.String() })
	honest["everything"], _ = write(t, h, nil)
	for of, b := range honest {
		f := take(t, h, b)
		if !bytes.Equal(f.done(), b) {
			t.Fatalf("%s: the forger does not give back what he took", of)
		}
	}
	for _, c := range frauds {
		t.Run(c.name, func(t *testing.T) {
			of := c.of
			if of == "" {
				of = "span"
			}
			forged := c.do(take(t, h, bytes.Clone(honest[of])))
			if bytes.Equal(forged, honest[of]) {
				t.Fatal("nothing was changed")
			}
			_, err := check(t, h, forged, nil)
			var r *Rejection
			if !errors.As(err, &r) {
				t.Fatalf("not rejected: %v", err)
			}
			if r.Rule != c.rule || r.Evidence != c.evidence {
				t.Errorf("%s, evidence %t (%v), expected %s, evidence %t", r.Rule, r.Evidence, r, c.rule, c.evidence)
			}
		})
	}
}

// A house whose log breaks a rule in the range cannot make an export of it.
func TestABrokenLogIsNotExported(t *testing.T) {
	for name, tamper := range map[string]func(r *rounds.Settled){
		"round-number": func(r *rounds.Settled) { r.Draw.N += 2 },
		"draw-number":  func(r *rounds.Settled) { r.Draw.Number++ },
		"balance": func(r *rounds.Settled) {
			for i := range r.Postings {
				r.Postings[i].Balance += 7
			}
		},
	} {
		h := logtest.New(logtest.Config{Seed: 7})
		p := h.Join(100_000)
		h.Play([]logtest.Player{p}, 5)
		h.Tamper = func(_ uint64, r entry.Record) {
			if s, ok := r.(*rounds.Settled); ok {
				tamper(s)
			}
		}
		h.Play([]logtest.Player{p}, 1)
		h.Tamper = nil
		h.Play([]logtest.Player{p}, 5)
		_, err := Write(t.Context(), new(file), h.Tree(), Request{Range: Range{0, h.Size()}, Checkpoint: h.Checkpoint()}, Options{Sign: h.SignExport, Scratch: t.TempDir()})
		var b *Broken
		if !errors.As(err, &b) || b.Rule != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A house that lets a player's nonce not count, and draws as if he had none, does so in
// vain: of those draws the secret is out, and the nonce is in the export.
func TestADrawWithoutThePlayersNonceIsFound(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 7, Step: 20 * time.Second})
	p := h.Join(100_000)
	h.Play([]logtest.Player{p}, 5)
	set := h.SetNonce(p)
	h.Play([]logtest.Player{p}, 80)
	h.Draw = func(_ [32]byte, player entry.Ref, n uint64) [32]byte {
		d := slots.Bundled()
		return h.Secret(epoch.Now(h.Rows()).Active).Drawer.Draw(d.ID, d.Version, player, n, 0, nil)
	}
	fraud := h.Size()
	h.Play([]logtest.Player{p}, 1)
	h.Draw = nil
	h.Play([]logtest.Player{p}, 60)
	for name, change := range map[string]func(*Request){
		"everything":     nil,
		"the player":     func(q *Request) { q.Filter.Player = p.Ref.String() },
		"from the nonce": func(q *Request) { q.Range = Range{set, h.Size()} },
	} {
		b, _ := write(t, h, change)
		_, err := check(t, h, b, nil)
		var r *Rejection
		if !errors.As(err, &r) || r.Rule != "draw" || !r.Evidence {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without the nonce in it an export cannot tell.
	b, _ := write(t, h, func(q *Request) { q.Range = Range{set + 1, fraud + 1} })
	if _, err := check(t, h, b, nil); err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	h := logtest.New(logtest.Config{Seed: 7, Step: 20e9})
	p := h.Join(100_000)
	h.Play([]logtest.Player{p}, 4)
	for _, change := range []func(*Request){nil, func(q *Request) { q.Filter.Player = p.Ref.String() }, func(q *Request) { q.Range = Range{3, 9} }} {
		b, _ := write(f, h, change)
		f.Add(b)
		f.Add(b[:len(b)-100])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := check(t, h, b, nil)
		var rejected *Rejection
		if err == nil && (r.Manifest == nil || r.Manifest.Origin != h.Origin()) || errors.As(err, &rejected) && rejected.Rule == "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func FuzzProven(f *testing.F) {
	f.Add([]byte(`{"hashes":[],"index":0,"leaf":{}}`), true)
	f.Add((&proven{hashes: make([]tlog.Hash, 3), index: 7}).append(nil), false)
	f.Fuzz(func(t *testing.T, line []byte, leaf bool) {
		p, err := parseProven(line, leaf)
		if err == nil && !bytes.Equal(p.append(nil), line) {
			t.Errorf("%q is read as another line", line)
		}
	})
}
