package safe

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countroom/regulator/vault"
	"countroom/regulator/vault/safe/tokentest"
)

// forgery is the first day of a vault on the bench of somebody who changes it and makes the manifest fit again.
type forgery struct {
	t        testing.TB
	dir      string
	m        *Manifest
	list     *sessions
	end      EndOfDay
	jackpots Jackpots
	note     []byte
}

func forge(t testing.TB, dir string) *forgery {
	t.Helper()
	f := &forgery{t: t, dir: dir}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, days[0], name))
		must(err)
		return b
	}
	var err error
	f.m, err = parseManifest(data(ManifestName))
	must(err)
	f.list, err = parseSessions(data(recordsName(1)))
	must(err)
	must(vault.Decode(data(endName), &f.end))
	must(vault.Decode(data(jackpotsName), &f.jackpots))
	f.note = data(vault.CheckpointName)
	return f
}

func (f *forgery) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, days[0], name), data, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// sign makes files, manifest and seal anew; the seal's text stays the service's.
func (f *forgery) sign() {
	f.t.Helper()
	for i := range f.m.Files {
		of := &f.m.Files[i]
		var v any
		switch of.Name {
		case vault.CheckpointName:
		case endName:
			v, of.Records = &f.end, len(f.end.Play)+len(f.end.Cash)
		case jackpotsName:
			v, of.Records = &f.jackpots, int(f.jackpots.Triggers)
		case recordsName(1):
			v, of.Records = f.list, len(f.list.List)
		default:
			f.t.Fatalf("a file %s", of.Name)
		}
		data := f.note
		if v != nil {
			var err error
			if data, err = vault.Encode(v); err != nil {
				f.t.Fatal(err)
			}
		}
		of.Bytes, of.SHA256 = int64(len(data)), vault.Digest(data)
		f.write(of.Name, data)
	}
	data, err := vault.Encode(f.m)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(ManifestName, data)
}

// change changes bytes of a file and nothing else.
func (f *forgery) change(name, old, with string) {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, days[0], name))
	if err != nil || !bytes.Contains(data, []byte(old)) {
		f.t.Fatalf("%s: %v, no %q", name, err, old)
	}
	f.write(name, bytes.Replace(data, []byte(old), []byte(with), 1))
}

type fraud struct {
	name string
	do   func(f *forgery)
	rule string
}

func signed(name, rule string, do func(f *forgery)) fraud {
	return fraud{name, func(f *forgery) { do(f); f.sign() }, rule}
}

// session changes the second session.
func session(name string, do func(s *Session)) fraud {
	return signed(name, "record-content", func(f *forgery) { do(f.list.List[1]) })
}

var frauds = []fraud{
	{"a byte of a file", func(f *forgery) { f.change(recordsName(1), "<AntalSpil>", "<AntalSpil>1") }, "file-digest"},
	{"a byte of the manifest", func(f *forgery) { f.change(ManifestName, `bytes="`, `bytes="1`) }, "file-digest"},
	{"a file cut off", func(f *forgery) { os.Truncate(filepath.Join(f.dir, days[0], endName), 100) }, "file-digest"},
	{"a file taken away", func(f *forgery) { os.Remove(filepath.Join(f.dir, days[0], endName)) }, ""},
	{"a file too many", func(f *forgery) { f.write("notes.txt", []byte("x")) }, "files"},
	{"a day taken away", func(f *forgery) { os.RemoveAll(filepath.Join(f.dir, days[1])) }, "day"},
	{"a day under another's name", func(f *forgery) {
		os.RemoveAll(filepath.Join(f.dir, days[1]))
		os.CopyFS(filepath.Join(f.dir, days[1]), os.DirFS(filepath.Join(f.dir, days[0])))
	}, "day"},
	{"a manifest that fits, with the old seal", func(f *forgery) { f.sign(); f.change(ManifestName, "\n", "\n\n") }, "manifest"},
	{"a seal of another manifest", func(f *forgery) { f.change(SealName, "<Manifest_SHA256>", "<Manifest_SHA256>0") }, "seal"},
	{"a seal of another token", func(f *forgery) { f.change(SealName, "<Token>token-1", "<Token>token-2") }, "seal"},
	{"a seal that the service did not make", func(f *forgery) { f.change(SealName, "<Seal>", "<Seal>00") }, "seal"},
	{"a seal of words", func(f *forgery) { f.change(SealName, "<Seal>", "<Seal>it is fine ") }, "seal"},
	{"a seal of another day", func(f *forgery) { f.change(SealName, days[0], days[1]) }, "seal"},

	signed("another origin", "checkpoint", func(f *forgery) { f.m.Origin = "elsewhere.example/log" }),
	signed("another root", "checkpoint", func(f *forgery) { f.m.Entries.Root = strings.Repeat("0", 64) }),
	signed("a checkpoint that nobody signed", "", func(f *forgery) { f.note = bytes.Replace(f.note, []byte("\n"), []byte("\n1"), 1) }),
	signed("a day that ends early", "day", func(f *forgery) { f.m.Entries.To -= 2 }),
	signed("a day that begins late", "day", func(f *forgery) { f.m.Entries.From++ }),
	signed("the files in another order", "files", func(f *forgery) { slices.Reverse(f.m.Files) }),
	signed("no sessions", "record-missing", func(f *forgery) {
		f.m.Files = slices.Delete(f.m.Files, 1, 2)
		os.Remove(filepath.Join(f.dir, days[0], recordsName(1)))
	}),
	signed("fewer left out", "omitted", func(f *forgery) { f.m.Omitted[0].Count-- }),
	signed("another reason to leave out", "omitted", func(f *forgery) { f.m.Omitted[0].Why = "lost" }),
	signed("sessions of another day", "file", func(f *forgery) { f.list.Day = days[1] }),
	signed("another format", "file", func(f *forgery) { f.list.Format = "x" }),
	signed("a control total of another range", "file", func(f *forgery) { f.end.Ledger.To++ }),

	session("stakes", func(s *Session) { s.Stakes = "1.0000000000" }),
	session("payouts", func(s *Session) { s.Payouts = "1.0000000000" }),
	session("rounds", func(s *Session) { s.Rounds++ }),
	session("stakes for a jackpot", func(s *Session) { s.StakesJackpot = "1.0000000000" }),
	session("a jackpot won", func(s *Session) { s.WonJackpot = "1.0000000000" }),
	session("the player", func(s *Session) { s.Player = strings.Repeat("0", 32) }),
	session("the game", func(s *Session) { s.Game = "another" }),
	session("the currency", func(s *Session) { s.Currency = "SEK" }),
	session("its beginning", func(s *Session) { s.Opened = "" }),
	session("an end that was not", func(s *Session) { s.Closed = s.Last }),
	session("its first round", func(s *Session) { s.First = s.Last }),
	session("its last round", func(s *Session) { s.Last = s.First }),
	session("its day", func(s *Session) { s.Day = days[1] }),
	session("its id", func(s *Session) { s.ID = "x" }),
	session("its epochs", func(s *Session) { s.Chance.Last++ }),
	session("no epochs", func(s *Session) { s.Chance = nil }),
	session("its release", func(s *Session) { s.Software[0].Release = "9" }),
	session("its maths", func(s *Session) { s.Software[0].Maths = "" }),
	session("rounds of a release", func(s *Session) { s.Software[0].Rounds++ }),
	session("a release that was not played", func(s *Session) { s.Software = append(s.Software, s.Software[0]) }),
	session("its first entry", func(s *Session) { s.Ledger.First-- }),
	session("its last entry", func(s *Session) { s.Ledger.Last++ }),
	session("the hash of its entries", func(s *Session) { s.Ledger.Leaves = "" }),
	session("its checkpoint", func(s *Session) { s.Ledger.Size++ }),
	session("its root", func(s *Session) { s.Ledger.Root = "" }),
	session("entries in words", func(s *Session) { s.Ledger.Entries = "all" }),
	session("entries out of order", func(s *Session) { s.Ledger.Entries = "9 8" }),

	signed("an entry of another day", "record-stranger", func(f *forgery) { f.list.List[1].Ledger.Entries += " 999999" }),
	signed("an entry that is no play", "record-stranger", func(f *forgery) { f.list.List[1].Ledger.Entries = "1 " + f.list.List[1].Ledger.Entries }),
	signed("an entry left out", "record-missing", func(f *forgery) {
		l := &f.list.List[1].Ledger
		_, l.Entries, _ = strings.Cut(l.Entries, " ")
	}),
	signed("another's round too", "record-twice", func(f *forgery) { f.list.List[1].Ledger.Entries = f.list.List[0].Ledger.Entries }),
	signed("a session left out", "record-missing", func(f *forgery) { f.list.List = f.list.List[1:] }),
	signed("a session twice", "record-twice", func(f *forgery) { f.list.List = append(f.list.List, f.list.List[0]) }),
	signed("two sessions exchanged", "record-content", func(f *forgery) { l := f.list.List; l[0], l[1] = l[1], l[0] }),

	signed("a game's stakes", "record-content", func(f *forgery) { f.end.Play[0].Stakes = "0.0000000000" }),
	signed("a game's sessions", "record-content", func(f *forgery) { f.end.Play[0].Sessions-- }),
	signed("a game left out", "record-content", func(f *forgery) { f.end.Play = f.end.Play[1:] }),
	signed("deposits", "record-content", func(f *forgery) { f.end.Cash[0].Deposits = "0.0000000000" }),
	signed("withdrawals", "record-content", func(f *forgery) { f.end.Cash[0].WithdrawalCount = 0 }),
	signed("an account total left out", "record-missing", func(f *forgery) { f.end.Cash = f.end.Cash[:1] }),
	signed("jackpots that were not", "record-content", func(f *forgery) { f.jackpots.Triggers = 1 }),
}

// Whatever somebody does to a delivered day, even with a manifest that fits, the audit finds it and says where.
func TestGauntlet(t *testing.T) {
	log, tokens := openLog(t, house()), tokentest.New(1)
	honest := deliver(t, log, tokens)
	for _, c := range frauds {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(honest)); err != nil {
				t.Fatal(err)
			}
			c.do(forge(t, dir))
			_, err := Audit(t.Context(), log, os.DirFS(dir), checked(tokens))
			if err == nil || c.rule != "" && rule(err) != c.rule {
				t.Errorf("want %s: %v", c.rule, err)
			}
		})
	}
	// Made anew without a change, it has not the seal that it had: it is the same, to the byte.
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(honest)); err != nil {
		t.Fatal(err)
	}
	forge(t, dir).sign()
	if _, err := Audit(t.Context(), log, os.DirFS(dir), checked(tokens)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}
