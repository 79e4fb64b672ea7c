package formats_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

// each is a program that runs the checker on one list of arguments after another, and says how it ended and what it wrote.
const each = `
import contextlib, io, json, sys
sys.path.insert(0, "checker")
import check
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = check.main(json.loads(line))
        except SystemExit as end:
            status = end.code
    print(json.dumps({"Status": status, "Out": out.getvalue()}))
`

type ended struct {
	Status int
	Out    string
}

// checker runs the checker on lists of arguments.
func checker(t *testing.T, commands [][]string) []ended {
	t.Helper()
	var stdin []byte
	for _, args := range commands {
		stdin = append(append(stdin, must(json.Marshal(args))...), '\n')
	}
	out, status := python(t, stdin, "-c", each)
	if status != 0 {
		t.Fatalf("the checker ends with %d\n%s", status, out)
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	list := make([]ended, len(commands))
	for i := range list {
		if err := answers.Decode(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// parties are those of vectors/escrow.json of whom the inner has a P-256 key: private keys in PEM, the inner first.
func parties(t *testing.T) (private []string, to []*escrow.Recipient) {
	t.Helper()
	var list []escrowVector
	if err := json.Unmarshal(read(t, "vectors/escrow.json"), &list); err != nil {
		t.Fatal(err)
	}
	for _, k := range list[1].Keys {
		spki := must(x509.MarshalPKIXPublicKey(privateOf(t, k).PublicKey()))
		to = append(to, must(escrow.ParseRecipient(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))))
	}
	return list[1].Keys, to
}

// silent is a house that escrows its seeds, reveals none, and seals another secret in the second epoch if it is false.
func silent(t *testing.T, to []*escrow.Recipient, false bool) *logtest.House {
	t.Helper()
	h := logtest.Empty(logtest.Config{Seed: 5, Limits: epoch.Limits{AgeSeconds: 600, Draws: 30, RevealDelaySeconds: 3600}})
	h.Commitment = func(st *epoch.Statement, s *logtest.Secret) {
		sealed := *s
		if false && st.Epoch == 2 {
			sealed.Secret[0] ^= 1
		}
		box := must(escrow.Seal("logtest.example/house", st.Epoch, st.Commitment, sealed.Secret, sealed.Salt, to...))
		st.Escrow = &epoch.Escrow{Recipients: box.Recipients, Sealed: box.Content}
	}
	h.Begin()
	h.Play([]logtest.Player{h.Join(50_000)}, 70)
	return h
}

// sealedIn is what a log escrows of an epoch.
func sealedIn(t *testing.T, h *logtest.House, n uint64) *escrow.Box {
	t.Helper()
	r, err := verify.Log(t.Context(), verify.Dir(h.Publish()), verify.Options{VKey: h.VKey, Seed: n})
	if err != nil || !r.OK() || r.Seed == nil {
		t.Fatalf("epoch %d: %v, %+v", n, err, r)
	}
	return r.Seed
}

// taken takes layers off, as countroom-verify seed open does, and says with which status that ends.
func taken(box *escrow.Box, private ...string) (out []byte, status int) {
	var err error
	for _, text := range private {
		key, wrong := escrow.ParseKey([]byte(text))
		if wrong != nil {
			return nil, 2
		}
		if box, err = box.Take(key); err != nil {
			break
		}
	}
	if err == nil && box.Layers == 0 {
		_, _, err = box.Secret()
	}
	switch {
	case errors.Is(err, escrow.ErrSealed), errors.Is(err, escrow.ErrCommitment):
		return nil, 1
	case err != nil:
		return nil, 2
	}
	return must(box.Encode()), 0
}

// Both verifiers open escrowed seeds alike: from the log, from an answer and from what was handed on, with the right keys
// in their order and with no others, and only if layers and commitment are those of the log.
func TestCheckersAgreeOnEscrowedSeeds(t *testing.T) {
	t.Parallel()
	private, to := parties(t)
	inner, outer := private[0], private[1]
	foreign, _, err := escrow.NewKey([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	h, liar := silent(t, to, false), silent(t, to, true)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, of := range map[string]*logtest.House{"log": h, "false": liar} {
		for file, f := range of.Publish() {
			write(t, path(name+"/"+file), f.Data)
		}
	}
	var committed uint64
	for i := range h.Size() {
		if bytes.Contains(h.Leaf(i), []byte(`"epoch":2,"escrow"`)) {
			committed = i
		}
	}
	write(t, path("answer"), h.Answer(committed))
	write(t, path("vkey"), []byte(h.VKey+"\n"))
	write(t, path("another"), []byte(logtest.New(logtest.Config{Seed: 9}).VKey+"\n"))
	sealed := sealedIn(t, h, 2)
	half := must(sealed.Take(must(escrow.ParseKey([]byte(outer)))))
	open := must(half.Take(must(escrow.ParseKey([]byte(inner)))))
	// altered is a box that somebody changed on its way.
	altered := func(box *escrow.Box, change func(b *escrow.Box)) *escrow.Box {
		c := *box
		c.Recipients, c.Content = append([]string(nil), box.Recipients...), bytes.Clone(box.Content)
		change(&c)
		return &c
	}
	foreignID := must(escrow.ParseKey(foreign)).ID()
	type asked struct {
		name   string
		box    *escrow.Box
		from   []string // a log or an answer that has it; a file is written of the box where there is none
		keys   []string
		status int
	}
	fromLog := []string{path("log"), "--vkey", path("vkey"), "--epoch", "2"}
	cases := []asked{
		{"both layers from the log", sealed, fromLog, []string{outer, inner}, 0},
		{"both layers from an answer", sealed, []string{path("answer"), "--vkey", path("vkey")}, []string{outer, inner}, 0},
		{"the outer layer", sealed, fromLog, []string{outer}, 0},
		{"the inner layer of what was handed on", half, nil, []string{inner}, 0},
		{"the inner layer first", sealed, fromLog, []string{inner}, 2},
		{"the outer layer twice", half, nil, []string{outer}, 2},
		{"a layer when none is left", open, nil, []string{inner}, 2},
		{"a key of nobody concerned", sealed, fromLog, []string{string(foreign)}, 2},
		{"no key", sealed, fromLog, []string{"outer"}, 2},
		{"a key that is named and did not seal", altered(sealed, func(b *escrow.Box) { b.Recipients[1] = foreignID }), nil, []string{string(foreign)}, 1},
		{"another companion", altered(sealed, func(b *escrow.Box) { b.Recipients[0] = foreignID }), nil, []string{outer}, 1},
		{"an outer layer altered", altered(sealed, func(b *escrow.Box) { b.Content[60] ^= 1 }), nil, []string{outer}, 1},
		{"the outer layer's tag altered", altered(sealed, func(b *escrow.Box) { b.Content[len(b.Content)-1] ^= 1 }), nil, []string{outer}, 1},
		{"an outer layer cut short", altered(sealed, func(b *escrow.Box) { b.Content = b.Content[:20] }), nil, []string{outer}, 1},
		{"an ephemeral key of no order", altered(sealed, func(b *escrow.Box) { clear(b.Content[:32]) }), nil, []string{outer}, 1},
		{"an inner layer altered", altered(half, func(b *escrow.Box) { b.Content[70] ^= 1 }), nil, []string{inner}, 1},
		{"an ephemeral key that is no point", altered(half, func(b *escrow.Box) { b.Content[40] ^= 1 }), nil, []string{inner}, 1},
		{"another commitment", altered(half, func(b *escrow.Box) { b.Commitment[0] ^= 1 }), nil, []string{inner}, 1},
		{"another log", altered(half, func(b *escrow.Box) { b.Origin = "another.example/house" }), nil, []string{inner}, 1},
		{"another epoch", altered(half, func(b *escrow.Box) { b.Epoch++ }), nil, []string{inner}, 1},
		{"a house that sealed something else", sealedIn(t, liar, 2), []string{path("false"), "--vkey", path("vkey"), "--epoch", "2"}, []string{outer, inner}, 1},
	}
	var commands [][]string
	for i, c := range cases {
		if c.from == nil {
			c.from = []string{path(fmt.Sprint("handed-", i))}
			write(t, c.from[0], must(c.box.Encode()))
		}
		args := append([]string{"seed", "open"}, c.from...)
		args = append(args, "--out", path(fmt.Sprint("out-", i)), "--key")
		for j, k := range c.keys {
			name := path(fmt.Sprint("key-", i, "-", j))
			write(t, name, []byte(k))
			args = append(args, name)
		}
		commands = append(commands, args)
	}
	unchecked := len(commands)
	for _, more := range []string{ // of which regulator/verify has no part
		path("answer") + " --vkey " + path("another"), path("answer") + " --vkey " + path("vkey") + " --epoch 3", path("handed-3") + " --epoch 3",
		path("log") + " --vkey " + path("vkey") + " --epoch 99", path("log"), path("answer"), path("vkey"),
	} {
		commands = append(commands, append([]string{"seed", "open", "--out", path("none"), "--key", path("key-0-0")}, strings.Fields(more)...))
	}
	for i, second := range checker(t, commands) {
		name, want := "not checked", 2
		var first []byte
		if i < unchecked {
			c := cases[i]
			name, want = c.name, c.status
			var status int
			if first, status = taken(c.box, c.keys...); status != want {
				t.Errorf("%s: %d", name, status)
			}
		}
		if second.Status != want {
			t.Errorf("%s: the checker ends with %d, want %d\n%q\n%s", name, second.Status, want, commands[i], second.Out)
		}
		if wrote, err := os.ReadFile(path(fmt.Sprint("out-", i))); want == 0 && (err != nil || !bytes.Equal(wrote, first)) || want != 0 && err == nil {
			t.Errorf("%s: it wrote %q, %v; want %q", name, wrote, err, first)
		}
	}
}

// What others opened proves the draws of an epoch that the house never shows, or convicts the house, to both verifiers.
func TestCheckersAgreeOnOpenedSeeds(t *testing.T) {
	t.Parallel()
	private, to := parties(t)
	opened := func(h *logtest.House, n uint64) *escrow.Box {
		box := sealedIn(t, h, n)
		for i := range private {
			box = must(box.Take(must(escrow.ParseKey([]byte(private[len(private)-1-i])))))
		}
		return box
	}
	h, liar := silent(t, to, false), silent(t, to, true)
	first, second, third := opened(h, 1), opened(h, 2), opened(h, 3)
	honest := publish(h)
	with := func(p published, boxes ...*escrow.Box) published {
		p.secrets = nil
		for _, b := range boxes {
			p.secrets = append(p.secrets, must(b.Encode()))
		}
		return p
	}
	other, elsewhere, later := *first, *first, *first
	other.Commitment[0] ^= 1
	elsewhere.Origin = "another.example/house"
	later.Epoch = 99
	h.Draw = func([32]byte, entry.Ref, uint64) [32]byte { return [32]byte{1, 2, 3} }
	h.Play([]logtest.Player{h.Join(50_000)}, 5)
	h.Draw = nil
	invented := publish(h)
	abandoned := silent(t, to, false)
	abandoned.Officers()
	abandoned.Halt(3)
	abandoned.Abandon(3, "anna", "berta")
	logs := []published{
		with(honest), with(honest, first), with(honest, first, second), with(honest, second, third),
		with(honest, sealedIn(t, silent(t, to, false), 1)), with(honest, &other), with(honest, &elsewhere), with(honest, &later),
		with(publish(liar), opened(liar, 2)), with(publish(liar), opened(liar, 1)), with(invented, third), with(invented, first),
		with(publish(abandoned)), with(publish(abandoned), third),
	}
	want := []opinion{
		{}, {Proven: 30}, {Proven: 60}, {Proven: 40},
		{Status: 2}, {Status: 2}, {Status: 2}, {Status: 2},
		{Status: 1, First: finding{Rule: "escrow"}}, {Proven: 30}, {Status: 1, Proven: 10, First: finding{Rule: "draw"}}, {Proven: 30},
		{Status: 2}, {Proven: 10},
	}
	for i, theirs := range theirs(t, logs...) {
		o := ours(t, logs[i])
		agree(t, o, theirs)
		if o.Status != want[i].Status || o.Status != 2 && o.Proven != want[i].Proven || o.First.Rule != want[i].First.Rule {
			t.Errorf("log %d: %+v, want %+v", i, o, want[i])
		}
	}
}

// Receipts of a house that exchanged its key twice: from each verifier key, with each part of the history and with what is
// none, both verifiers come to the same.
func TestCheckersAgreeOnHistories(t *testing.T) {
	t.Parallel()
	h := newTown()
	h.Officers()
	vkeys, answers := []string{h.VKey}, [][]byte{h.Answer(h.Size() - 1)}
	var changes []uint64
	for range 2 {
		changes = append(changes, h.Introduce(system.RoleCheckpoint, "anna", "berta"))
		vkeys = append(vkeys, h.NewestVKey())
		answers = append(answers, h.Answer(h.Size()-1)) // both keys sign
		changes = append(changes, h.RetireKey(system.RoleCheckpoint, "anna", "berta"))
		h.Play(h.who, 20)
		answers = append(answers, h.Answer(h.Size()-1))
	}
	seeds := h.Introduce(system.RoleSeeds, "anna", "berta")
	list := func(receipts ...[]byte) []byte {
		return append(append([]byte(`{"items":[`), bytes.Join(receipts, []byte(","))...), "]}"...)
	}
	of := func(indexes ...uint64) []byte {
		var receipts [][]byte
		for _, i := range indexes {
			receipts = append(receipts, h.Answer(i))
		}
		return list(receipts...)
	}
	// A thief has the first key, long retired: he signs for a key of his own, and a history that says so.
	thief := newTown()
	thief.Officers()
	thief.Introduction(system.RoleCheckpoint) // so that his key is another than the house's second
	stolen := thief.Introduce(system.RoleCheckpoint, "anna", "berta")
	thief.Signers = append(thief.Signers, thief.Signer(thief.NewestVKey()))
	forged := thief.Answer(stolen)
	loot := thief.Answer(thief.Size() - 1)
	thief.Signers = append(thief.Signers[:0], thief.Signer(vkeys[0])) // and one that the retired key alone signed, of today
	thief.Play(thief.who, 60)
	answers = append(answers, loot, thief.Answer(thief.Size()-1))
	spoiled := bytes.Replace(h.Answer(changes[0]), []byte(`"signature_old":"`), []byte(`"signature_old":"00`), 1)
	spoiled = bytes.Replace(spoiled, []byte(`00","type"`), []byte(`","type"`), 1)
	histories := map[string][]byte{
		"none": nil, "all": of(changes...), "the first exchange": of(changes[:2]...), "the second": of(changes[2:]...),
		"introductions": of(changes[0], changes[2]), "retirements": of(changes[1], changes[3]),
		"out of order": of(changes[2], changes[3], changes[0], changes[1]), "another entry": of(3), "a key for seeds": of(append(changes, seeds)...),
		"no receipt": []byte("{}"), "no JSON": []byte("{"), "a statement that nobody signed": list(spoiled),
		"a leaf that is not in the log":          list(bytes.Replace(h.Answer(changes[0]), []byte(`"assurance":"`), []byte(`"assurance":"x`), 1)),
		"another's place":                        list(bytes.Replace(h.Answer(changes[1]), []byte(`"reason":"`), []byte(`"reason":"0`), 1), h.Answer(changes[0])),
		"a thief's":                              list(forged),
		"a thief's behind the honest":            list(bytes.TrimSuffix(bytes.TrimPrefix(of(changes...), []byte(`{"items":[`)), []byte("]}")), forged),
		"a thief's where the key was exchanged":  list(h.Answer(changes[0]), h.Answer(changes[1]), forged),
		"a thief's before the key was exchanged": list(forged, h.Answer(changes[0]), h.Answer(changes[1])),
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, strings.ReplaceAll(name, " ", "-")) }
	for i, vkey := range vkeys {
		write(t, path(fmt.Sprint("vkey ", i)), []byte(vkey+"\n"))
	}
	for i, data := range answers {
		write(t, path(fmt.Sprint("answer ", i)), data)
	}
	type asked struct {
		history      string
		vkey, answer int
	}
	var all []asked
	var commands [][]string
	for name, data := range histories {
		write(t, path(name), data)
		for v := range vkeys {
			for a := range answers {
				if v+a > 1 && a < 5 && (v+a)%3 != len(name)%3 { // a third of the rest will do
					continue
				}
				args := []string{"receipt", path(fmt.Sprint("answer ", a)), "--vkey", path(fmt.Sprint("vkey ", v)), "--json"}
				if data != nil {
					args = append(args, "--history", path(name))
				}
				all, commands = append(all, asked{name, v, a}), append(commands, args)
			}
		}
	}
	statuses := map[int]int{}
	for i, second := range checker(t, commands) {
		c := all[i]
		status, rule := 0, ""
		ring := must(verify.NewKeyring(vkeys[c.vkey]))
		err := error(nil)
		if data := histories[c.history]; data != nil {
			err = ring.Follow(data)
		}
		if err == nil {
			_, err = ring.Receipt(answers[c.answer])
		}
		var f *verify.Finding
		switch {
		case errors.As(err, &f):
			status, rule = 1, f.Rule
		case err != nil:
			status = 2
		}
		var theirs struct{ Findings []finding }
		if second.Status != 2 {
			if err := json.Unmarshal([]byte(second.Out), &theirs); err != nil {
				t.Fatalf("%v: %s", err, second.Out)
			}
		}
		if second.Status != status || rule != "" && (len(theirs.Findings) == 0 || theirs.Findings[0].Rule != rule) {
			t.Errorf("%+v: ours %d %v, theirs %d %s", c, status, err, second.Status, second.Out)
		}
		statuses[status]++
		if c.history == "all" && c.vkey == 0 && c.answer < 5 && status != 0 {
			t.Errorf("%+v: %v", c, err)
		}
		if strings.HasSuffix(c.history, "honest") && status == 0 && c.answer >= 5 {
			t.Errorf("%+v: a retired key led to another", c)
		}
	}
	if statuses[0] < 20 || statuses[1] < 2 || statuses[2] < 50 {
		t.Errorf("%v", statuses)
	}
}
