package cdb

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countroom/regulator/vault"
)

// forgery is a vault on the bench of somebody who changes it and makes the manifests fit again.
type forgery struct {
	t         testing.TB
	dir       string
	manifests []*Manifest
	files     []map[string]*file // by delivery and name
	raw       []map[string][]byte
}

func forge(t testing.TB, dir string) *forgery {
	t.Helper()
	c, err := readChain(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	f := &forgery{t: t, dir: dir, manifests: c.list}
	for _, m := range c.list {
		files, raw := map[string]*file{}, map[string][]byte{}
		for _, of := range m.Files {
			data, err := os.ReadFile(filepath.Join(dir, nameOf(m.Sequence), of.Name))
			if err != nil {
				t.Fatal(err)
			}
			if raw[of.Name] = data; of.Records > 0 {
				if files[of.Name], err = parseFile(data); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.files, f.raw = append(f.files, files), append(f.raw, raw)
	}
	return f
}

// record changes the record of an entry.
func (f *forgery) record(index uint64, change func(r Record)) {
	f.t.Helper()
	for _, files := range f.files {
		for _, file := range files {
			for _, r := range file.records() {
				if r.head().Ledger.First == index && r.head().Action == ActionNew {
					change(r)
					return
				}
			}
		}
	}
	f.t.Fatalf("no record of entry %d", index)
}

// bets is the first file of bets of the first delivery.
func (f *forgery) bets() *file { return f.files[0][recordsName(Bets, 1)] }

// sign makes files and manifests anew.
func (f *forgery) sign() {
	f.t.Helper()
	last := zeros
	for i, m := range f.manifests {
		folder := filepath.Join(f.dir, nameOf(uint64(i)+1))
		for j := range m.Files {
			of := &m.Files[j]
			data := f.raw[i][of.Name]
			if file := f.files[i][of.Name]; file != nil {
				var err error
				if data, err = vault.Encode(file); err != nil {
					f.t.Fatal(err)
				}
				of.Records = len(file.records())
			}
			of.Bytes, of.SHA256 = int64(len(data)), vault.Digest(data)
			f.write(folder, of.Name, data)
		}
		m.Batch = batch(m.Files)
		if i > 0 {
			m.Previous = last
		}
		data, err := vault.Encode(m)
		if err != nil {
			f.t.Fatal(err)
		}
		f.write(folder, ManifestName, data)
		last = vault.Digest(data)
	}
}

func (f *forgery) write(folder, name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// path is a file of the first delivery.
func (f *forgery) path(name string) string { return filepath.Join(f.dir, nameOf(1), name) }

// change changes bytes of a file and nothing else.
func (f *forgery) change(name, old, with string) {
	f.t.Helper()
	data, err := os.ReadFile(f.path(name))
	if err != nil || !bytes.Contains(data, []byte(old)) {
		f.t.Fatalf("%s: %v, no %q", name, err, old)
	}
	f.write(filepath.Dir(f.path(name)), name, bytes.Replace(data, []byte(old), []byte(with), 1))
}

type fraud struct {
	name string
	do   func(f *forgery)
	rule string
}

// signed changes a vault and makes its manifests fit.
func signed(name, rule string, do func(f *forgery)) fraud {
	return fraud{name, func(f *forgery) { do(f); f.sign() }, rule}
}

// bet changes the fifth bet.
func bet(name string, do func(b *Bet)) fraud {
	return signed(name, "record-content", func(f *forgery) { do(f.bets().Bet[4]) })
}

var frauds = []fraud{
	{"a byte of a file", func(f *forgery) { f.change("bet-00001.xml", "<Stake>0", "<Stake>9") }, "file-digest"},
	{"a byte of the manifest", func(f *forgery) { f.change(ManifestName, `records="512"`, `records="511"`) }, "manifest-chain"},
	{"a digest in the manifest", func(f *forgery) { f.change(ManifestName, `sha256="`, `sha256="00`) }, "manifest-batch"},
	{"a file cut off", func(f *forgery) { os.Truncate(f.path("bet-00001.xml"), 1000) }, "file-digest"},
	{"a file taken away", func(f *forgery) { os.Remove(f.path("bet-00001.xml")) }, ""},
	{"a file too many", func(f *forgery) { f.write(filepath.Join(f.dir, nameOf(1)), "bet-00009.xml", f.raw[0]["bet-00001.xml"]) }, "files"},
	{"another folder in the vault", func(f *forgery) { os.Mkdir(filepath.Join(f.dir, "extra"), 0o755) }, "delivery"},
	{"the first delivery taken away", func(f *forgery) { os.RemoveAll(filepath.Join(f.dir, nameOf(1))) }, "manifest-sequence"},
	{"two deliveries exchanged", func(f *forgery) {
		one, two, three := filepath.Join(f.dir, nameOf(1)), filepath.Join(f.dir, nameOf(2)), filepath.Join(f.dir, "aside")
		os.Rename(one, three)
		os.Rename(two, one)
		os.Rename(three, two)
	}, "manifest-sequence"},
	{"a chain that begins elsewhere", func(f *forgery) { f.manifests[0].Previous = vault.Digest(nil); f.sign() }, "manifest-chain"},
	signed("another origin", "manifest-origin", func(f *forgery) { f.manifests[1].Origin = "elsewhere.example/log" }),
	signed("another origin in all", "file", func(f *forgery) {
		for _, m := range f.manifests {
			m.Origin = "elsewhere.example/log"
		}
	}),
	signed("a checkpoint that never was", "", func(f *forgery) {
		f.raw[0][vault.CheckpointName] = bytes.Replace(f.raw[0][vault.CheckpointName], []byte("\n"), []byte("\n1"), 1)
	}),
	signed("an older checkpoint in the manifest", "checkpoint", func(f *forgery) { f.manifests[0].Entries.Size-- }),
	signed("another root in the manifest", "checkpoint", func(f *forgery) { f.manifests[0].Entries.Root = zeros }),
	signed("a gap between deliveries", "manifest-range", func(f *forgery) { f.manifests[1].Entries.From++ }),
	signed("an entry in two deliveries", "manifest-range", func(f *forgery) { f.manifests[1].Entries.From-- }),
	signed("a range that ends early", "", func(f *forgery) { f.manifests[1].Entries.To -= 3 }),
	signed("a range that begins late", "", func(f *forgery) { f.manifests[0].Entries.From = 1 }),
	signed("a file out of its order", "files", func(f *forgery) { l := f.manifests[0].Files; l[1], l[2] = l[2], l[1] }),
	signed("fewer seeds left out", "omitted", func(f *forgery) { f.manifests[0].Omitted[0].Count-- }),
	signed("another reason to leave out", "omitted", func(f *forgery) { f.manifests[0].Omitted[1].Why = "lost" }),
	signed("rounds said to be left out", "omitted", func(f *forgery) {
		m := f.manifests[0]
		m.Omitted = append(m.Omitted, vault.Left{Type: "wallet.withdrawn", Count: 1, Why: "none of anybody's business"})
	}),
	signed("a type left out in silence", "omitted", func(f *forgery) { f.manifests[0].Omitted = f.manifests[0].Omitted[1:] }),

	bet("a stake", func(b *Bet) { b.Stake = "0.60" }),
	bet("a payout", func(b *Bet) { b.Payout = "1000.00" }),
	bet("a balance", func(b *Bet) { b.Balance = "0.01" }),
	bet("a currency", func(b *Bet) { b.Currency = "SEK" }),
	bet("a player", func(b *Bet) { b.Player = strings.Repeat("0", 32) }),
	bet("a session", func(b *Bet) { b.Session = b.ID }),
	bet("a game", func(b *Bet) { b.Game = "another" }),
	bet("another release of the game", func(b *Bet) { b.Enabled++ }),
	bet("a time", func(b *Bet) { b.DateTime = strings.Replace(b.DateTime, ":", "_", 1) }),
	bet("another day", func(b *Bet) { b.DateTime = "2026-03-09" + b.DateTime[10:] }),
	bet("a round number", func(b *Bet) { b.Round++ }),
	bet("a draw", func(b *Bet) { b.Draw++ }),
	bet("an epoch", func(b *Bet) { b.Epoch++ }),
	bet("an id", func(b *Bet) { b.ID = b.Session }),
	bet("an action", func(b *Bet) { b.Action = ActionReplace }),
	bet("a correction that it is none of", func(b *Bet) { b.Corrects = 1 }),
	bet("the leaf's hash", func(b *Bet) { b.Ledger.Leaf = zeros }),
	bet("the last of its entries", func(b *Bet) { b.Ledger.Last++ }),
	bet("the checkpoint of a record", func(b *Bet) { b.Ledger.Size-- }),
	bet("the root of a record", func(b *Bet) { b.Ledger.Root = zeros }),
	signed("a record's entry", "record-missing", func(f *forgery) { f.bets().Bet[4].Ledger.First++ }),
	signed("a round left out", "record-missing", func(f *forgery) { f.bets().Bet = slices.Delete(f.bets().Bet, 4, 5) }),
	signed("a round twice", "record-stranger", func(f *forgery) {
		b := f.bets()
		b.Bet = slices.Insert(b.Bet[:len(b.Bet)-1], 4, b.Bet[4])
	}),
	signed("two rounds exchanged", "record-missing", func(f *forgery) { b := f.bets().Bet; b[4], b[5] = b[5], b[4] }),
	signed("the last round left out", "record-missing", func(f *forgery) {
		b := f.files[1][recordsName(Bets, 1)]
		b.Bet = b.Bet[:len(b.Bet)-1]
	}),
	signed("a whole file left out", "record-missing", func(f *forgery) {
		delete(f.files[0], recordsName(Sessions, 1))
		f.manifests[0].Files = slices.DeleteFunc(f.manifests[0].Files, func(of vault.File) bool { return of.Name == recordsName(Sessions, 1) })
		os.Remove(f.path(recordsName(Sessions, 1)))
	}),
	signed("a record that no entry has", "record-stranger", func(f *forgery) {
		list := &f.files[0][recordsName(Transactions, 1)].Transaction
		ghost := *(*list)[len(*list)-1]
		ghost.Ledger.First, ghost.Ledger.Last = f.manifests[0].Entries.To+5, f.manifests[0].Entries.To+5
		*list = append(*list, &ghost)
	}),
	signed("more than 512 records", "file", func(f *forgery) { b := f.bets(); b.Bet = append(b.Bet, b.Bet[0]) }),
	signed("records of another type", "file", func(f *forgery) {
		b := f.bets()
		b.Bet, b.Game = b.Bet[1:], []*Game{{}}
	}),
	signed("a file of another delivery", "file", func(f *forgery) { f.bets().Delivery = 2 }),
	signed("a file under another number", "file", func(f *forgery) { f.bets().Number = 2 }),
	signed("another format", "file", func(f *forgery) { f.bets().Format = "countroom/vault/cdb/2" }),
	signed("a profile", "record-content", func(f *forgery) { f.files[0][recordsName(Profiles, 1)].Profile[0].Status = "closed" }),
	signed("a release's maths", "record-content", func(f *forgery) { f.files[0][recordsName(Games, 1)].Game[0].Maths = zeros }),
	signed("a session's end", "record-content", func(f *forgery) { f.files[0][recordsName(Sessions, 1)].Session[0].Expires = "" }),
	signed("a deposit", "record-content", func(f *forgery) { f.files[0][recordsName(Transactions, 1)].Transaction[0].Amount = "1.00" }),
	signed("a withdrawal for a deposit", "record-content", func(f *forgery) { f.files[0][recordsName(Transactions, 1)].Transaction[0].Type = "withdrawal" }),
	signed("the house's name", "record-content", func(f *forgery) { f.files[0][recordsName(Operators, 1)].Operator[0].Name = "x" }),

	signed("a cancellation among entries", "record-stranger", func(f *forgery) {
		c := f.files[2][recordsName(Cancellations, 1)]
		copied := *c
		copied.Delivery = 1
		name := recordsName(Cancellations, 1)
		f.files[0][name] = &copied
		f.manifests[0].Files = append(f.manifests[0].Files, vault.File{Name: name})
	}),
	signed("a replacement that says something else", "record-content", func(f *forgery) { f.files[2][recordsName(Bets, 1)].Bet[0].Payout = "5.00" }),
	signed("a correction of what was never delivered", "correction", func(f *forgery) {
		f.files[2][recordsName(Bets, 1)].Bet[0].Ledger.First = f.manifests[1].Entries.To + 1
	}),
	signed("a correction of another delivery's record", "correction", func(f *forgery) { f.files[2][recordsName(Bets, 1)].Bet[0].Corrects = 2 }),
	signed("a cancellation without a reason", "correction", func(f *forgery) { f.files[2][recordsName(Cancellations, 1)].Cancellation[0].Reason = "" }),
	signed("a cancellation of another type of record", "correction", func(f *forgery) { f.files[2][recordsName(Cancellations, 1)].Cancellation[0].Of = Games }),
	signed("a cancellation of an entry without a record", "correction", func(f *forgery) {
		l := &f.files[2][recordsName(Cancellations, 1)].Cancellation[0].Ledger
		l.First, l.Last = 1, 1
	}),
	signed("a record replaced and cancelled at once", "correction", func(f *forgery) {
		f.files[2][recordsName(Cancellations, 1)].Cancellation[0].Ledger = f.files[2][recordsName(Bets, 1)].Bet[0].Ledger
	}),
}

// Whatever somebody does to a delivered vault, even with manifests that fit, the audit finds it and says where.
func TestGauntlet(t *testing.T) {
	h, _ := house()
	log, honest := openLog(t, h), t.TempDir()
	for _, to := range []uint64{700, h.Size()} {
		if _, err := Deliver(t.Context(), log, honest, nil, to); err != nil {
			t.Fatal(err)
		}
	}
	bets := indexes(t, log, "round.settled", 700)
	if _, err := Correct(t.Context(), log, honest, []Correction{{Index: bets[30]}, {Index: bets[31], Cancel: "delivered-in-error"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Audit(t.Context(), log, os.DirFS(honest)); err != nil {
		t.Fatal(err)
	}
	for _, c := range frauds {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(honest)); err != nil {
				t.Fatal(err)
			}
			c.do(forge(t, dir))
			_, err := Audit(t.Context(), log, os.DirFS(dir))
			if err == nil || c.rule != "" && rule(err) != c.rule {
				t.Errorf("want %s: %v", c.rule, err)
			}
		})
	}
}
