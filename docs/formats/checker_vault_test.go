package formats_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"countroom/games/players"
	"countroom/ledger/money"
	"countroom/regulator/vault"
	"countroom/regulator/vault/cdb"
	"countroom/regulator/vault/safe"
	"countroom/regulator/vault/safe/tokentest"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// delivering is a house with two vaults: a databank of two deliveries and one of corrections, and a SAFE of two days.
type delivering struct {
	log, vkey      string // paths
	databank, safe string
	read           *vault.Log
	bets           []uint64 // of the first delivery
}

func openVaultLog(t *testing.T, h *logtest.House) *vault.Log {
	t.Helper()
	return must(vault.Open(t.Context(), verify.Dir(h.Publish()), must(verify.NewKeyring(h.VKey)), nil))
}

func deliver(t *testing.T) *delivering {
	t.Helper()
	h := logtest.New(logtest.Config{Seed: 11, Step: 40 * time.Second})
	people := []logtest.Player{h.Join(200_000), h.Join(300_000), h.Register("JPY")}
	h.Deposit(people[2], 900_000)
	people[2].Session = h.Open(people[2])
	h.SetNonce(people[0])
	h.Play(people, 24)
	h.Withdraw(people[1], 1_005)
	h.Close(people[0])
	h.Change(people[0], players.Closed)
	h.Disable(lamplight)
	h.Enable(lamplight)
	half := h.Size()
	h.Wait(10*time.Hour + 40*time.Minute)
	people[1].Session = h.Open(people[1])
	h.Play(people[1:2], 40) // past midnight
	h.Withdraw(people[1], 50)
	h.Wait(30 * time.Hour)
	h.Register("EUR")
	dir := t.TempDir()
	d := &delivering{log: filepath.Join(dir, "log"), vkey: filepath.Join(dir, "vkey"), databank: filepath.Join(dir, "cdb"), safe: filepath.Join(dir, "safe"), read: openVaultLog(t, h)}
	for name, f := range h.Publish() {
		write(t, filepath.Join(d.log, name), f.Data)
	}
	write(t, d.vkey, []byte(h.VKey+"\n"))
	for _, to := range []uint64{half, h.Size()} {
		must(cdb.Deliver(t.Context(), d.read, d.databank, nil, to))
	}
	for i := range half {
		if bytes.HasSuffix(h.Leaf(i), []byte(`"type":"round.settled"}`)) {
			d.bets = append(d.bets, i)
		}
	}
	must(cdb.Correct(t.Context(), d.read, d.databank, []cdb.Correction{{Index: d.bets[2]}, {Index: d.bets[3], Cancel: "delivered-in-error"}}))
	tokens := tokentest.New(1)
	for _, day := range []string{"2026-03-01", "2026-03-02"} {
		must(safe.Deliver(t.Context(), d.read, d.safe, day, tokens))
	}
	return d
}

// audit is the opinion of regulator/vault: what it reports, or the rule, and the exit status of countroom-verify.
func audit(t *testing.T, log *vault.Log, dir string) (report any, rule string, status int) {
	t.Helper()
	var err error
	if len(must(filepath.Glob(filepath.Join(dir, "delivery-*")))) > 0 {
		report, err = cdb.Audit(t.Context(), log, os.DirFS(dir))
	} else {
		report, err = safe.Audit(t.Context(), log, os.DirFS(dir), nil)
	}
	var d *vault.Difference
	switch {
	case errors.As(err, &d):
		return nil, d.Rule, 1
	case err != nil:
		return err, "", 2
	}
	return report, "", 0
}

// agreeOnVault holds the checker's answer against ours.
func agreeOnVault(t *testing.T, name string, log *vault.Log, dir string, second ended) (rule string, status int) {
	t.Helper()
	report, rule, status := audit(t, log, dir)
	var theirs map[string]any
	if second.Status != 2 {
		if err := json.Unmarshal([]byte(second.Out), &theirs); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, second.Out)
		}
	}
	if found, _ := theirs["rule"].(string); second.Status != status || found != rule {
		t.Errorf("%s: ours %d %q, %v; theirs %d %s", name, status, rule, report, second.Status, second.Out)
	}
	if status == 0 {
		var ours map[string]any
		if err := json.Unmarshal(must(json.Marshal(report)), &ours); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(ours, theirs) {
			t.Errorf("%s: two reports:\n%v\n%v", name, ours, theirs)
		}
	}
	return rule, status
}

func (d *delivering) command(dir string) []string {
	return []string{"vault", dir, "--log", d.log, "--vkey", d.vkey}
}

// bench has a vault of somebody who changes it, and makes digests, manifests and their chain fit again. It knows files as
// text and nothing of the packages that made them.
type bench struct {
	t       *testing.T
	dir     string
	folders []string
	vault   *delivering
}

func (b *bench) read(name string) string {
	b.t.Helper()
	return string(must(os.ReadFile(filepath.Join(b.dir, name))))
}

// edit replaces a text that a file has.
func (b *bench) edit(name, old, with string) {
	b.t.Helper()
	text := b.read(name)
	if !strings.Contains(text, old) {
		b.t.Fatalf("%s has no %q\n%.2000s", name, old, text)
	}
	write(b.t, filepath.Join(b.dir, name), []byte(strings.Replace(text, old, with, 1)))
}

// records changes the elements right under a file's root.
func (b *bench) records(name string, change func(list []string) []string) {
	b.t.Helper()
	lines := strings.SplitAfter(b.read(name), "\n")
	var list []string
	for _, line := range lines[2 : len(lines)-2] {
		if strings.HasPrefix(line, "\t<") && !strings.HasPrefix(line, "\t</") {
			list = append(list, "")
		}
		list[len(list)-1] += line
	}
	text := strings.Join(lines[:2], "") + strings.Join(change(list), "") + lines[len(lines)-2]
	write(b.t, filepath.Join(b.dir, name), []byte(text))
}

// element changes one of them: text that it has for another.
func (b *bench) element(name string, number int, old, with string) {
	b.t.Helper()
	b.records(name, func(list []string) []string {
		if !regexp.MustCompile(old).MatchString(list[number]) {
			b.t.Fatalf("%s, element %d, has no %q\n%s", name, number, old, list[number])
		}
		list[number] = regexp.MustCompile(old).ReplaceAllString(list[number], with)
		return list
	})
}

var (
	listed      = regexp.MustCompile(`<File name="([^"]*)" bytes="[0-9]*" records="[0-9]*" sha256="[0-9a-f]*"></File>`)
	recordStart = regexp.MustCompile(`(?m)^\t<(?:[A-Z][A-Za-z_]* action=|Session |Spil>|Konto>)`)
	previousSum = regexp.MustCompile(`<Previous_SHA256>[0-9a-f]*<`)
	batchSum    = regexp.MustCompile(`<Batch_SHA256>[0-9a-f]*<`)
	jackpotsOf  = regexp.MustCompile(`<Udloest>([0-9]+)<`)
)

// sign makes manifests that fit.
func (b *bench) sign() {
	b.t.Helper()
	last := strings.Repeat("0", 64)
	for _, delivery := range b.folders {
		var batch strings.Builder
		m := listed.ReplaceAllStringFunc(b.read(delivery+"/manifest.xml"), func(one string) string {
			name := listed.FindStringSubmatch(one)[1]
			data := b.read(delivery + "/" + name)
			count := len(recordStart.FindAllString(data, -1))
			if n := jackpotsOf.FindStringSubmatch(data); n != nil {
				count = must(strconv.Atoi(n[1]))
			}
			sum := vault.Digest([]byte(data))
			fmt.Fprintf(&batch, "%s  %s\n", sum, name)
			return fmt.Sprintf(`<File name="%s" bytes="%d" records="%d" sha256="%s"></File>`, name, len(data), count, sum)
		})
		m = batchSum.ReplaceAllString(m, "<Batch_SHA256>"+vault.Digest([]byte(batch.String()))+"<")
		m = previousSum.ReplaceAllString(m, "<Previous_SHA256>"+last+"<")
		write(b.t, filepath.Join(b.dir, delivery, "manifest.xml"), []byte(m))
		last = vault.Digest([]byte(m))
	}
}

const (
	d1, d2, d3 = "delivery-00000001/", "delivery-00000002/", "delivery-00000003/"
	s1, s2     = "2026-03-01/", "2026-03-02/"
)

// vaultFraud is what somebody does to a vault. A signed one has manifests that fit.
type vaultFraud struct {
	name   string
	signed bool
	rule   string // none where it could not be checked
	do     func(b *bench)
}

// edited changes an element of a file, and signs.
func edited(name, rule, file string, number int, old, with string) vaultFraud {
	return vaultFraud{name, true, rule, func(b *bench) { b.element(file, number, old, with) }}
}

// manifested changes a manifest, and signs.
func manifested(name, rule, file, old, with string) vaultFraud {
	return vaultFraud{name, true, rule, func(b *bench) { b.edit(file+"manifest.xml", old, with) }}
}

func cut(number int) func([]string) []string {
	return func(list []string) []string { return slices.Delete(list, number, number+1) }
}

func swap(number int) func([]string) []string {
	return func(list []string) []string { list[number], list[number+1] = list[number+1], list[number]; return list }
}

var databankFrauds = []vaultFraud{
	{"a byte of a file", false, "file-digest", func(b *bench) { b.edit(d1+"bet-00001.xml", "<Stake>", "<Stake>9") }},
	{"a digest in a manifest", false, "manifest-batch", func(b *bench) { b.edit(d1+"manifest.xml", `sha256="`, `sha256="00`) }},
	{"a manifest changed behind the chain", false, "manifest-chain", func(b *bench) { b.edit(d1+"manifest.xml", `records="24"`, `records="23"`) }},
	{"a chain that begins elsewhere", false, "manifest-chain", func(b *bench) { b.edit(d1+"manifest.xml", "<Previous_SHA256>0", "<Previous_SHA256>1") }},
	{"a comment in a manifest", false, "manifest", func(b *bench) { b.edit(d3+"manifest.xml", "</ControlManifest>", "<!-- x --></ControlManifest>") }},
	{"an attribute that no manifest has", false, "manifest", func(b *bench) { b.edit(d3+"manifest.xml", ` kind="`, ` note="x" kind="`) }},
	{"a name space", false, "manifest", func(b *bench) { b.edit(d3+"manifest.xml", `<ControlManifest `, `<ControlManifest xmlns="x" `) }},
	{"a kind that is none", false, "manifest", func(b *bench) { b.edit(d3+"manifest.xml", `kind="corrections"`, `kind="news"`) }},
	{"a file named by a path", false, "manifest", func(b *bench) { b.edit(d3+"manifest.xml", `name="checkpoint"`, `name="../checkpoint"`) }},
	{"a file taken away", false, "", func(b *bench) { os.Remove(filepath.Join(b.dir, d1, "bet-00001.xml")) }},
	{"a manifest taken away", false, "", func(b *bench) { os.Remove(filepath.Join(b.dir, d2, "manifest.xml")) }},
	{"a file too many", false, "files", func(b *bench) { write(b.t, filepath.Join(b.dir, d1, "bet-00002.xml"), []byte("x")) }},
	{"another folder", false, "delivery", func(b *bench) { os.Mkdir(filepath.Join(b.dir, "extra"), 0o755) }},
	{"a first delivery taken away", false, "manifest-sequence", func(b *bench) { os.RemoveAll(filepath.Join(b.dir, d1)) }},
	{"two deliveries exchanged", false, "manifest-sequence", func(b *bench) {
		one, two := filepath.Join(b.dir, d1), filepath.Join(b.dir, d2)
		os.Rename(one, one[:len(one)-1]+"x")
		os.Rename(two, one)
		os.Rename(one[:len(one)-1]+"x", two)
	}},
	{"nothing but manifests that fit", true, "-", func(*bench) {}},
	manifested("another number", "manifest-sequence", d2, `sequence="2"`, `sequence="3"`),
	manifested("another origin", "manifest-origin", d2, `origin="`, `origin="x`),
	{"another origin in all", true, "file", func(b *bench) {
		for _, d := range []string{d1, d2, d3} {
			b.edit(d+"manifest.xml", `origin="`, `origin="x`)
		}
	}},
	{"a checkpoint that nobody signed", true, "", func(b *bench) { b.edit(d1+"checkpoint", "\n", "\n1") }},
	manifested("the size of another checkpoint", "checkpoint", d3, `size="`, `size="1`),
	manifested("another root", "checkpoint", d3, `root="`, `root="0`),
	{"a gap between deliveries", true, "manifest-range", func(b *bench) {
		text := b.read(d2 + "manifest.xml")
		from := regexp.MustCompile(`from="([0-9]+)"`).FindStringSubmatch(text)
		b.edit(d2+"manifest.xml", from[0], fmt.Sprintf(`from="%d"`, must(strconv.Atoi(from[1]))+1))
	}},
	manifested("a range that begins late", "record-stranger", d1, `from="0"`, `from="1"`),
	{"a file out of its order", true, "files", func(b *bench) {
		b.records(d1+"manifest.xml", func(list []string) []string { return swap(len(list) - 2)(list) })
	}},
	{"a file left out", true, "record-missing", func(b *bench) {
		os.Remove(filepath.Join(b.dir, d1, "session-00001.xml"))
		b.records(d1+"manifest.xml", func(list []string) []string {
			return slices.DeleteFunc(list, func(one string) bool { return strings.Contains(one, "session-00001") })
		})
	}},
	manifested("fewer left out", "omitted", d1, `type="seed.committed.v2" count="`, `type="seed.committed.v2" count="1`),
	manifested("another reason to leave out", "omitted", d1, `>operation of the house<`, `>lost<`),
	{"a type left out in silence", true, "omitted", func(b *bench) { b.records(d1+"manifest.xml", cut(3)) }},

	edited("a stake", "record-content", d1+"bet-00001.xml", 4, `<Stake>.*<`, `<Stake>0.61<`),
	edited("a payout", "record-content", d1+"bet-00001.xml", 4, `<Payout>.*<`, `<Payout>1000.00<`),
	edited("a balance", "record-content", d1+"bet-00001.xml", 4, `<Balance_After>`, `<Balance_After>1`),
	edited("a currency", "record-content", d1+"bet-00001.xml", 4, `<Currency>...<`, `<Currency>SEK<`),
	edited("a player", "record-content", d1+"bet-00001.xml", 4, `<Player_Profile_ID>.`, `<Player_Profile_ID>x`),
	edited("another day", "record-content", d1+"bet-00001.xml", 4, `2026-03-01`, `2026-03-09`),
	edited("a draw", "record-content", d1+"bet-00001.xml", 4, `<RNG_Draw>`, `<RNG_Draw>1`),
	edited("a correction that it is none of", "record-content", d1+"bet-00001.xml", 4, `action="new"`, `action="new" corrects="1"`),
	edited("a leaf's hash", "record-content", d1+"bet-00001.xml", 4, `leaf=".`, `leaf="x`),
	edited("the last of its entries", "record-content", d1+"bet-00001.xml", 4, `last="`, `last="1`),
	edited("the checkpoint of a record", "record-content", d1+"bet-00001.xml", 4, `size="`, `size="1`),
	edited("the house's name", "record-content", d1+"operator-00001.xml", 0, `<Log_Origin>`, `<Log_Origin>x`),
	edited("a profile", "record-content", d1+"profile-00001.xml", 0, `<Status>open`, `<Status>closed`),
	edited("a release's maths", "record-content", d1+"game-00001.xml", 0, `<Maths_SHA256>.`, `<Maths_SHA256>x`),
	edited("no release", "record-content", d1+"game-00001.xml", 0, `\t\t<Release>.*\n`, ``),
	edited("a session's end", "record-content", d1+"session-00001.xml", 0, `\t\t<Expires>.*\n`, ``),
	edited("a withdrawal for a deposit", "record-content", d1+"transaction-00001.xml", 0, `>deposit<`, `>withdrawal<`),
	edited("a record's entry", "record-missing", d1+"bet-00001.xml", 4, `first="`, `first="1`),
	{"a round left out", true, "record-missing", func(b *bench) { b.records(d1+"bet-00001.xml", cut(4)) }},
	{"the last round left out", true, "record-missing", func(b *bench) { b.records(d2+"bet-00001.xml", cut(39)) }},
	{"two rounds exchanged", true, "record-missing", func(b *bench) { b.records(d1+"bet-00001.xml", swap(4)) }},
	{"a round twice", true, "record-stranger", func(b *bench) {
		b.records(d1+"bet-00001.xml", func(list []string) []string { return slices.Insert(list, 4, list[4]) })
	}},
	{"a record that no entry has", true, "record-stranger", func(b *bench) {
		b.records(d1+"transaction-00001.xml", func(list []string) []string {
			return append(list, regexp.MustCompile(`first="[0-9]+`).ReplaceAllString(list[0], `first="9999`))
		})
	}},
	{"more than 512 records", true, "file", func(b *bench) {
		b.records(d1+"bet-00001.xml", func(list []string) []string { return slices.Repeat(list, 22) })
	}},
	{"records of another type", true, "file", func(b *bench) {
		game := regexp.MustCompile(`(?s)\t<Game .*?</Game>\n`).FindString(b.read(d1 + "game-00001.xml"))
		b.records(d1+"bet-00001.xml", func(list []string) []string { return append([]string{game}, list...) })
	}},
	{"no records", true, "file", func(b *bench) { b.records(d1+"game-00001.xml", func([]string) []string { return nil }) }},
	{"white space in a text", true, "record-content", func(b *bench) { b.edit(d1+"bet-00001.xml", "<Stake>", "<Stake> ") }},
	{"a space behind an element", true, "file", func(b *bench) { b.edit(d1+"bet-00001.xml", "</Stake>", "</Stake> ") }},
	{"a number with a zero", true, "file", func(b *bench) { b.edit(d1+"bet-00001.xml", "<Round_Number>", "<Round_Number>0") }},
	{"a file of another delivery", true, "file", func(b *bench) { b.edit(d1+"bet-00001.xml", `delivery="1"`, `delivery="2"`) }},
	{"a file under another number", true, "file", func(b *bench) { b.edit(d1+"bet-00001.xml", `number="1"`, `number="2"`) }},
	{"another format", true, "file", func(b *bench) { b.edit(d1+"bet-00001.xml", `cdb/1"`, `cdb/2"`) }},

	edited("a replacement that says something else", "record-content", d3+"bet-00001.xml", 0, `<Payout>.*<`, `<Payout>5.00<`),
	edited("a correction of what was never delivered", "correction", d3+"bet-00001.xml", 0, `first="[0-9]+`, `first="9999`),
	edited("a correction of another delivery", "correction", d3+"bet-00001.xml", 0, `corrects="1"`, `corrects="2"`),
	edited("a cancellation without a reason", "correction", d3+"cancellation-00001.xml", 0, `<Reason>.*<`, `<Reason><`),
	edited("a cancellation with free words", "correction", d3+"cancellation-00001.xml", 0, `<Reason>.*<`, `<Reason>He asked.<`),
	edited("a cancellation of another type", "correction", d3+"cancellation-00001.xml", 0, `<Record_Type>bet`, `<Record_Type>game`),
	edited("a cancellation of an entry without a record", "correction", d3+"cancellation-00001.xml", 0, `first="[0-9]+" last="[0-9]+"`, `first="1" last="1"`),
	{"a record replaced and cancelled at once", true, "correction", func(b *bench) {
		b.element(d3+"cancellation-00001.xml", 0, `first="[0-9]+"`, fmt.Sprintf(`first="%d"`, b.vault.bets[2]))
	}},
	{"a false record that a later delivery replaces", true, "-", func(b *bench) { b.element(d1+"bet-00001.xml", 2, `<Payout>.*<`, `<Payout>77.00<`) }},
	{"a false record that a later delivery cancels", true, "-", func(b *bench) { b.element(d1+"bet-00001.xml", 3, `<Stake>.*<`, `<Stake>77.00<`) }},
}

var safeFrauds = []vaultFraud{
	{"a byte of a file", false, "file-digest", func(b *bench) { b.edit(s1+"sessions-00001.xml", "<AntalSpil>", "<AntalSpil>1") }},
	{"a file taken away", false, "", func(b *bench) { os.Remove(filepath.Join(b.dir, s1, "endofday.xml")) }},
	{"a file too many", false, "files", func(b *bench) { write(b.t, filepath.Join(b.dir, s1, "notes.txt"), []byte("x")) }},
	{"a day under another's name", false, "day", func(b *bench) {
		os.RemoveAll(filepath.Join(b.dir, s2))
		os.CopyFS(filepath.Join(b.dir, s2), os.DirFS(filepath.Join(b.dir, s1)))
	}},
	{"a day left out", false, "day", func(b *bench) { os.Rename(filepath.Join(b.dir, s2), filepath.Join(b.dir, "2026-03-03")) }},
	{"another folder", false, "delivery", func(b *bench) { os.Mkdir(filepath.Join(b.dir, "march"), 0o755) }},
	{"a line too many in a manifest", false, "manifest", func(b *bench) { b.edit(s1+"manifest.xml", "\n", "\n\n") }},
	{"a day that is none", false, "manifest", func(b *bench) { b.edit(s1+"manifest.xml", `day="2026-03-01"`, `day="2026-03-32"`) }},
	{"a seal of another manifest", false, "seal", func(b *bench) { b.edit(s1+"tampertoken.xml", "<Manifest_SHA256>", "<Manifest_SHA256>0") }},
	{"a seal of another day", false, "seal", func(b *bench) { b.edit(s1+"tampertoken.xml", "2026-03-01", "2026-03-02") }},
	{"a seal of words", false, "seal", func(b *bench) { b.edit(s1+"tampertoken.xml", "<Seal>", "<Seal>it is fine ") }},
	{"no seal", false, "-", func(b *bench) { os.Remove(filepath.Join(b.dir, s1, "tampertoken.xml")) }},
	{"nothing but manifests that fit", true, "-", func(*bench) {}},
	manifested("another origin", "checkpoint", s1, `origin="`, `origin="x`),
	manifested("another root", "checkpoint", s1, `root="`, `root="0`),
	{"a checkpoint that nobody signed", true, "", func(b *bench) { b.edit(s1+"checkpoint", "\n", "\n1") }},
	manifested("a day that begins late", "day", s1, `from="0"`, `from="1"`),
	{"the files in another order", true, "files", func(b *bench) {
		b.records(s1+"manifest.xml", func(list []string) []string { return swap(len(list) - 2)(list) })
	}},
	{"no sessions", true, "record-missing", func(b *bench) {
		os.Remove(filepath.Join(b.dir, s1, "sessions-00001.xml"))
		b.records(s1+"manifest.xml", func(list []string) []string {
			return slices.DeleteFunc(list, func(one string) bool { return strings.Contains(one, "sessions-00001") })
		})
	}},
	manifested("fewer left out", "omitted", s1, `type="game.enabled" count="`, `type="game.enabled" count="1`),
	manifested("another reason to leave out", "omitted", s1, `>proof of chance<`, `>lost<`),
	{"sessions of another day", true, "file", func(b *bench) { b.edit(s1+"sessions-00001.xml", `day="2026-03-01"`, `day="2026-03-02"`) }},
	{"another format", true, "file", func(b *bench) { b.edit(s1+"sessions-00001.xml", `safe/1"`, `safe/2"`) }},
	{"a control total of another range", true, "file", func(b *bench) { b.edit(s1+"endofday.xml", `to="`, `to="1`) }},
	edited("stakes", "record-content", s1+"sessions-00001.xml", 1, `<IndskudSpil>`, `<IndskudSpil>1`),
	edited("payouts", "record-content", s1+"sessions-00001.xml", 1, `<GevinstSpil>`, `<GevinstSpil>1`),
	edited("rounds", "record-content", s1+"sessions-00001.xml", 1, `<AntalSpil>`, `<AntalSpil>1`),
	edited("a jackpot won", "record-content", s1+"sessions-00001.xml", 1, `<GevinstJackpot>0`, `<GevinstJackpot>1`),
	edited("the player", "record-content", s1+"sessions-00001.xml", 1, `<SpillerPseudonym>.`, `<SpillerPseudonym>x`),
	edited("its beginning", "record-content", s1+"sessions-00001.xml", 1, `\t\t<SessionStart>.*\n`, ``),
	edited("its first round", "record-content", s1+"sessions-00001.xml", 1, `<FoersteSpil>2026`, `<FoersteSpil>2025`),
	edited("its id", "record-content", s1+"sessions-00001.xml", 1, `<Session id=".`, `<Session id="x`),
	edited("its epochs", "record-content", s1+"sessions-00001.xml", 1, `last_epoch="`, `last_epoch="1`),
	edited("no epochs", "record-content", s1+"sessions-00001.xml", 1, `\t\t<RNG.*\n`, ``),
	edited("its maths", "record-content", s1+"sessions-00001.xml", 1, `sha256=".`, `sha256="x`),
	edited("rounds of a release", "record-content", s1+"sessions-00001.xml", 1, `rounds="`, `rounds="1`),
	edited("the hash of its entries", "record-content", s1+"sessions-00001.xml", 1, `leaves=".`, `leaves="x`),
	edited("its checkpoint", "record-content", s1+"sessions-00001.xml", 1, `size="`, `size="1`),
	edited("entries in words", "record-content", s1+"sessions-00001.xml", 1, `entries="[^"]*"`, `entries="all"`),
	edited("entries out of order", "record-content", s1+"sessions-00001.xml", 1, `entries="[^"]*"`, `entries="9 8"`),
	edited("an entry of another day", "record-stranger", s1+"sessions-00001.xml", 1, `entries="([^"]*)"`, `entries="$1 99999"`),
	edited("an entry that is no play", "record-stranger", s1+"sessions-00001.xml", 1, `entries="`, `entries="1 `),
	edited("an entry left out", "record-missing", s1+"sessions-00001.xml", 1, `entries="[0-9]+ `, `entries="`),
	{"a session left out", true, "record-missing", func(b *bench) { b.records(s1+"sessions-00001.xml", cut(0)) }},
	{"a session twice", true, "record-twice", func(b *bench) {
		b.records(s1+"sessions-00001.xml", func(list []string) []string { return append(list, list[0]) })
	}},
	{"two sessions exchanged", true, "record-content", func(b *bench) { b.records(s1+"sessions-00001.xml", swap(0)) }},
	edited("a game's stakes", "record-content", s1+"endofday.xml", 1, `<IndskudSpil>`, `<IndskudSpil>1`),
	edited("a game's sessions", "record-content", s1+"endofday.xml", 1, `<AntalSessioner>`, `<AntalSessioner>1`),
	{"a game left out", true, "record-content", func(b *bench) { b.records(s1+"endofday.xml", cut(1)) }},
	{"an account total left out", true, "record-missing", func(b *bench) { b.records(s1+"endofday.xml", cut(3)) }},
	edited("deposits", "record-content", s1+"endofday.xml", 3, `<Indbetalinger>`, `<Indbetalinger>1`),
	edited("jackpots that were not", "record-content", s1+"jackpots.xml", 1, `>0<`, `>1<`),
}

// Both verifiers hold deliveries against the log by the same rules: honest ones of both kinds, and such that somebody
// changed, with manifests that do and do not fit.
func TestCheckersAgreeOnVaults(t *testing.T) {
	t.Parallel()
	d := deliver(t)
	for _, c := range []struct {
		dir    string
		frauds []vaultFraud
	}{{d.databank, databankFrauds}, {d.safe, safeFrauds}} {
		dirs, commands := []string{c.dir}, [][]string{d.command(c.dir)}
		for _, f := range c.frauds {
			b := &bench{t: t, dir: t.TempDir(), vault: d}
			if err := os.CopyFS(b.dir, os.DirFS(c.dir)); err != nil {
				t.Fatal(err)
			}
			for _, e := range must(os.ReadDir(b.dir)) {
				if e.IsDir() {
					b.folders = append(b.folders, e.Name())
				}
			}
			if f.do(b); f.signed {
				b.sign()
			}
			dirs, commands = append(dirs, b.dir), append(commands, d.command(b.dir))
		}
		for i, second := range checker(t, commands) {
			want := vaultFraud{name: "honest", rule: "-"}
			if i > 0 {
				want = c.frauds[i-1]
			}
			rule, status := agreeOnVault(t, want.name, d.read, dirs[i], second)
			if right := map[string]int{"-": 0, "": 2}; rule == "" && right[want.rule] != status || rule != "" && rule != want.rule {
				t.Errorf("%s: %d %q, want %q", want.name, status, rule, want.rule)
			}
		}
	}
}

// A log in which everything happens is delivered with each of its entries, to both kinds of vault, after keys were exchanged.
func TestCheckersAgreeOnVaultsOfALife(t *testing.T) {
	t.Parallel()
	h := logtest.New(logtest.Config{Seed: 5, Limits: epoch.Limits{AgeSeconds: 60, Draws: 100, RevealDelaySeconds: 5}})
	h.Live(300)
	h.Officers()
	h.Restart()
	history := h.Introduce("checkpoint", "anna", "berta")
	retired := h.RetireKey("checkpoint", "anna", "berta")
	h.Wait(24 * time.Hour)
	h.Register("EUR")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, f := range h.Publish() {
		write(t, path("log/"+name), f.Data)
	}
	write(t, path("vkey"), []byte(h.VKey+"\n"))
	write(t, path("history"), fmt.Appendf(nil, "[%s,%s]", h.Answer(history), h.Answer(retired)))
	ring := must(verify.NewKeyring(h.VKey))
	if err := ring.Follow(must(os.ReadFile(path("history")))); err != nil {
		t.Fatal(err)
	}
	log := must(vault.Open(t.Context(), verify.Dir(h.Publish()), ring, nil))
	must(cdb.Deliver(t.Context(), log, path("cdb"), nil, h.Size()))
	first := must(log.Record(0)).Head().At
	must(safe.Deliver(t.Context(), log, path("safe"), vault.Day(first), nil))
	var commands [][]string
	for _, name := range []string{"cdb", "safe"} {
		commands = append(commands, []string{"vault", path(name), "--log", path("log"), "--vkey", path("vkey"), "--history", path("history")})
	}
	commands = append(commands, []string{"vault", path("cdb"), "--log", path("log"), "--vkey", path("vkey")})
	answers := checker(t, commands)
	for i, name := range []string{"cdb", "safe"} {
		if rule, status := agreeOnVault(t, name, log, path(name), answers[i]); status != 0 {
			t.Errorf("%s: %d %s", name, status, rule)
		}
	}
	if answers[2].Status != 2 || !strings.Contains(answers[2].Out, "+") {
		t.Errorf("without the history: %d %s", answers[2].Status, answers[2].Out)
	}
}

// The page has each type of entry that is in no record, with its reason, and each currency whose places are not two.
func TestDeliveriesPageListsWhatTheCodeHas(t *testing.T) {
	page := documents(t)["deliveries.md"]
	for typ, why := range vault.Beside {
		row := regexp.MustCompile("(?m)^\\| " + regexp.QuoteMeta(why) + " \\|.*`" + regexp.QuoteMeta(typ) + "`")
		if !row.MatchString(page) {
			t.Errorf("deliveries.md has no %s: %s", typ, why)
		}
	}
	for n := range 26 * 26 * 26 {
		c, err := money.ParseCurrency(string([]byte{'A' + byte(n/676), 'A' + byte(n/26%26), 'A' + byte(n%26)}))
		if err != nil {
			continue
		}
		_, fraction, _ := strings.Cut(vault.Decimal(0, c, 0), ".")
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.* %s `, len(fraction), c))
		if row.MatchString(page) == (len(fraction) == 2) {
			t.Errorf("deliveries.md has not that %s has %d places", c, len(fraction))
		}
	}
}
