package verify

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"countroom/games/players"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// story is a short log with every type of entry, all of its draws proven.
type story struct {
	*logtest.House
	leaves [][]byte
	types  []string
	roots  []tlog.Hash // before each leaf
	byType map[string][]int
	who    []logtest.Player
	spare  entry.UUID // a session that nobody plays in
}

func newStory(t *testing.T) *story { return tell(t, (*story).laboratory) }

func tell(t *testing.T, end func(*story)) *story {
	h := logtest.Empty(logtest.Config{Seed: 21, Game: logtest.Small(), Limits: epoch.Limits{AgeSeconds: 60, Draws: 12, RevealDelaySeconds: 2}})
	h.V1 = true
	h.Begin()
	h.V1, h.Policy = false, epoch.PolicyBeacon
	s := &story{House: h, byType: map[string][]int{}}
	d := logtest.Small()
	d.ID = "small-two"
	h.Add(d)
	h.Enable("small-two")
	for range 3 {
		s.who = append(s.who, h.Join(2_000))
	}
	idle := h.Register("SEK")
	h.Open(idle)
	h.Register("NOK")
	for _, p := range s.who {
		h.SetNonce(p)
	}
	h.Play(s.who, 12)
	shown := h.Spin(s.who[0], logtest.Small().Stakes[0])
	h.Show(s.who[0], shown, true)
	h.Show(s.who[0], shown, false)
	h.Policy = epoch.PolicyWitness
	h.Play(s.who, 12)
	h.Policy = epoch.PolicyBeacon
	h.Play(s.who, 3)
	h.Alarm(entry.RequestKey("operator", "key-2"))
	h.Step(-time.Second)
	h.Restart()
	h.Withdraw(s.who[0], 100)
	h.Change(s.who[1], players.Suspended)
	h.Change(s.who[1], players.Open)
	s.spare = h.Open(s.who[2])
	h.Close(s.who[2])
	s.who[2].Session = h.Open(s.who[2])
	h.Wait(3 * time.Second)
	h.Play(s.who, 9)
	h.Missing = true
	h.Policy = ""
	h.Play(s.who, 5)
	h.Restore(h.Size())
	h.TakeOver("a", system.ReasonStart)
	h.Play(s.who, 1)
	h.TakeOver("b", system.ReasonTakeover)
	h.TakeOver("a", system.ReasonSwitchover)
	h.Disable("small-two")
	h.Wait(time.Minute)
	now := epoch.Now(h.Rows())
	h.Append(&epoch.Closed{Draws: now.Draws, Epoch: now.Active, Reason: epoch.ByTime})
	h.Wait(2 * time.Second)
	for n := now.Revealed + 1; n <= now.Active; n++ {
		h.Reveal(n)
	}
	h.Change(idle, players.Suspended)
	s.officers()
	s.keys()
	s.entropy()
	s.halts()
	s.subjects()
	end(s)

	if h.Size() >= tlog.TileWidth {
		t.Fatalf("%d entries are too many for one bundle", h.Size())
	}
	var b tlog.Builder
	for i := range h.Size() {
		leaf := h.Leaf(i)
		s.roots = append(s.roots, b.Root())
		b.Add(tlog.LeafHash(leaf))
		typ, err := entry.TypeOf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		s.leaves, s.types = append(s.leaves, leaf), append(s.types, typ)
		s.byType[typ] = append(s.byType[typ], int(i))
	}
	return s
}

// check verifies the log with one leaf changed, signed with the true key. The
// roots that later processes say they found are made to fit, since they would
// otherwise give away every change.
func (s *story) check(ctx context.Context, index int, leaf []byte) (*Report, error) {
	var b tlog.Builder
	var bundle, tile []byte
	var was, is []byte
	for i, l := range s.leaves {
		switch {
		case i == index:
			l = leaf
		case strings.HasPrefix(s.types[i], "house.active"):
			was, is = []byte(hex.EncodeToString(s.roots[i][:])), []byte(Hex(b.Root()).String())
			fallthrough
		case s.types[i] == "house.restored":
			l = bytes.Replace(l, was, is, 1)
		}
		hash := tlog.LeafHash(l)
		b.Add(hash)
		bundle, tile = tlog.AppendBundle(bundle, l), append(tile, hash[:]...)
	}
	n := len(s.leaves)
	files := fstest.MapFS{
		"checkpoint":           {Data: s.Sign(uint64(n), b.Root())},
		tlog.EntriesPath(0, n): {Data: bundle},
		tlog.TilePath(0, 0, n): {Data: tile},
	}
	maps.Copy(files, s.Blobs())
	return Log(ctx, Dir(files), Options{VKey: s.NewestVKey(), Workers: 1})
}

// meaningless are the fields of which some values no rule can know, since
// nothing else in the log shows them: entries.md has the same list. Each comes
// with a change that raises nothing.
var meaningless = []struct {
	types  string // "*" for all
	field  string
	change func(s *story, old string) string // of the value
}{
	{"*", "at", func(_ *story, old string) string {
		us, _ := strconv.Atoi(old[20:26])
		return fmt.Sprintf("%s%06dZ", old[:20], us+1)
	}},
	{"*", "id", always("00000000-0000-4000-8000-000000000000")},
	{asked, "fingerprint", always(strings.Repeat("5", 32))},
	{asked, "key", always(strings.Repeat("5", 64))},
	{"house.created", "keys[]", nil}, // leaves the last one out
	{"house.created", "keys[].assurance", always("a vault under the sea")},
	{"house.active", "node", always("b")},
	{"house.active", "release", always("another")},
	{"house.active.v2", "members[]", nil}, // leaves the last one out
	{"house.active.v2", "members[].name", always("aa")},
	{"house.active.v2", "members[].role", always("arbiter")},
	{"house.active.v2", "reason", func(_ *story, old string) string {
		return map[string]string{system.ReasonTakeover: system.ReasonSwitchover, system.ReasonSwitchover: system.ReasonTakeover}[old]
	}},
	{"house.active.v2", "release", always("another")},
	{"house.active.v2", "term", func(_ *story, old string) string {
		n, _ := strconv.Atoi(old)
		return strconv.Itoa(n + 1)
	}},
	{"house.restored", "backup", always(strings.Repeat("5", 64))},
	{"house.restored", "reason", always(strings.Repeat("5", 64))},
	{"house.restored", "signed", always("1000")},
	{"clock.stepped", "step_microseconds", always("1")},
	{"alarm.raised", "about", func(_ *story, old string) string { return old[:32] + strings.Repeat("5", 32) }},
	{"alarm.raised", "count", always("7")},
	{"player.created", "currency", always("JPY")},
	{"player.created", "player", always(strings.Repeat("5", 32))},
	{"player.state-changed", "player", func(s *story, _ string) string { return s.who[1].Ref.String() }},
	{"player.state-changed", "reason", always(strings.Repeat("5", 64))},
	{"player.state-changed", "state", always("closed")},
	{"subject.recorded", "attributes[]", nil}, // leaves the last one out
	{"subject.recorded", "attributes[].commitment", always(strings.Repeat("5", 64))},
	{"subject.recorded", "attributes[].name", func(_ *story, old string) string { return old + "a" }},
	{"subject.recorded", "player", func(s *story, _ string) string { return s.who[0].Ref.String() }},
	{"vault.rewrapped", "subjects", always("1")},
	{"session.opened", "expires", func(_ *story, old string) string { return old[:20] + "555555Z" }},
	{"session.opened", "game", always("small-two")},
	{"session.opened", "player", func(s *story, _ string) string { return s.who[0].Ref.String() }},
	{"session.closed", "session", func(s *story, _ string) string { return s.spare.String() }},
	{"game.enabled", "reason", always(strings.Repeat("5", 64))},
	{"game.disabled", "game", always("small")},
	{"game.disabled", "reason", always(strings.Repeat("5", 64))},
	{"entropy.failed", "reason", always("unavailable")},
	{"entropy.failed", "groups", always("7")},
	{"entropy.restored", "groups", always("7")},
	{"software.verified", "code", func(_ *story, old string) string { return old[:63] + "f" }},
	{"software.verified", "configuration", always(strings.Repeat("5", 64))},
	{"software.verified", "reason", always("asked")},
	{"seed.committed", "signature", otherSignature},
	{"seed.committed.v2", "signature", otherSignature},
	{"seed.halted", "reason", always(strings.Repeat("5", 64))},
	{approvedTypes, "approvals[].signature", otherSignature},
	{"key.introduced", "signature_new", otherSignature},
	{"key.introduced", "signature_old", otherSignature},
}

// otherSignature is the second ECDSA signature that whoever has one has, too. Of
// an Ed25519 signature there is none.
func otherSignature(_ *story, old string) string {
	var sig struct{ R, S *big.Int }
	der, _ := hex.DecodeString(old)
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return old
	}
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	der, _ = asn1.Marshal(sig)
	return hex.EncodeToString(der)
}

// asked are the types that a request causes.
const asked = "game.certified game.disabled game.enabled key.introduced key.retired laboratory.recognised officer.enrolled officer.retired player.created player.nonce-set player.state-changed round.displayed round.settled seed.abandoned seed.ended seed.halted session.closed session.opened subject.erased subject.recorded wallet.deposited wallet.withdrawn"

func always(value string) func(*story, string) string {
	return func(*story, string) string { return value }
}

// isMeaningless tells whether the list has a field of a type.
func isMeaningless(typ, field string) bool {
	for _, m := range meaningless {
		if m.field == field && (m.types == "*" || slices.Contains(strings.Fields(m.types), typ)) {
			return true
		}
	}
	return false
}

// place is a value within a leaf: the member or element of parent at i.
type place struct {
	parent *entry.Value
	i      int
	field  string // its path, such as "postings[].amount"
}

func (p *place) value() *entry.Value {
	if p.parent.Kind == entry.KindObject {
		return &p.parent.Members[p.i].Value
	}
	return &p.parent.Items[p.i]
}

func (p *place) siblings() int { return len(p.parent.Members) + len(p.parent.Items) }

// places lists the values within a value.
func places(list []place, v *entry.Value, field string) []place {
	for i := range v.Items {
		list = places(append(list, place{v, i, field + "[]"}), &v.Items[i], field+"[]")
	}
	for i := range v.Members {
		name := v.Members[i].Name
		if field != "" {
			name = field + "." + name
		}
		list = places(append(list, place{v, i, name}), &v.Members[i].Value, name)
	}
	return list
}

// write gives the JSON of a value as it stands, canonical or not.
func write(b []byte, v *entry.Value) []byte {
	switch v.Kind {
	case entry.KindNumber:
		return append(b, v.Text...)
	case entry.KindString:
		return append(append(append(b, '"'), v.Text...), '"')
	case entry.KindArray:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = write(b, &v.Items[i])
		}
		return append(b, ']')
	case entry.KindObject:
		b = append(b, '{')
		for i := range v.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), v.Members[i].Name...), '"', ':')
			b = write(b, &v.Members[i].Value)
		}
		return append(b, '}')
	}
	return v.AppendCanonical(b)
}

// mutate changes one thing in a leaf. It returns what it did and to which
// fields.
func mutate(rnd *rand.Rand, leaf []byte) (mutant []byte, did string, fields []string) {
	for {
		v, err := entry.Parse(leaf)
		if err != nil {
			panic(err)
		}
		// Each member of the leaf has the same chance, however much is in it.
		i := rnd.IntN(len(v.Members))
		member := &v.Members[i]
		all := places([]place{{&v, i, member.Name}}, &member.Value, member.Name)
		p := all[rnd.IntN(len(all))]
		fields = []string{p.field}
		at := p.value()
		switch did = mutations[rnd.IntN(len(mutations))]; did {
		case "value":
			switch at.Kind {
			case entry.KindNumber:
				n, err := strconv.ParseInt(at.Text, 10, 64)
				if err != nil {
					panic(err)
				}
				at.Text = strconv.FormatInt(n+int64(2*rnd.IntN(2)-1), 10)
			case entry.KindString:
				if at.Text == "" {
					at.Text = "0"
					break
				}
				b := []byte(at.Text)
				j := rnd.IntN(len(b))
				b[j] = another(rnd, b[j])
				at.Text = string(b)
			case entry.KindTrue:
				at.Kind = entry.KindFalse
			case entry.KindFalse:
				at.Kind = entry.KindTrue
			}
		case "type":
			switch at.Kind {
			case entry.KindNumber:
				at.Kind = entry.KindString
			case entry.KindString:
				*at = entry.Value{Kind: entry.KindNumber, Text: strconv.Itoa(len(at.Text))}
			case entry.KindArray:
				*at = entry.Value{Kind: entry.KindObject}
			case entry.KindObject:
				*at = entry.Value{Kind: entry.KindArray, Items: []entry.Value{*at}}
			default:
				*at = entry.Value{Kind: entry.KindNull}
			}
		case "swap": // the values of two siblings
			q := p
			q.i = rnd.IntN(p.siblings())
			if p.parent.Kind == entry.KindObject {
				q.field = strings.TrimSuffix(p.field, p.parent.Members[p.i].Name) + p.parent.Members[q.i].Name
			}
			*at, *q.value() = *q.value(), *at
			fields = append(fields, q.field)
		case "reorder": // names and all
			if j := p.i + 1; p.parent.Kind == entry.KindObject && j < p.siblings() {
				m := p.parent.Members
				m[p.i], m[j] = m[j], m[p.i]
			}
		case "delete":
			if p.parent.Kind == entry.KindObject {
				p.parent.Members = slices.Delete(p.parent.Members, p.i, p.i+1)
			} else {
				p.parent.Items = slices.Delete(p.parent.Items, p.i, p.i+1)
			}
		case "duplicate":
			if p.parent.Kind == entry.KindObject {
				p.parent.Members = slices.Insert(p.parent.Members, p.i, p.parent.Members[p.i])
			} else {
				p.parent.Items = slices.Insert(p.parent.Items, p.i, p.parent.Items[p.i])
			}
		}
		if mutant = write(nil, &v); !bytes.Equal(mutant, leaf) {
			return mutant, did, fields
		}
	}
}

// mutations are what mutate does; half of the time it changes a value.
var mutations = []string{"value", "value", "value", "value", "value", "swap", "swap", "reorder", "delete", "duplicate", "type"}

// another returns a byte in the place of b, mostly one of the same kind, so that
// what is changed stays well formed.
func another(rnd *rand.Rand, b byte) byte {
	for _, kind := range []string{"0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		if strings.IndexByte(kind, b) >= 0 && rnd.IntN(8) > 0 {
			return kind[rnd.IntN(len(kind))]
		}
	}
	return byte(rnd.IntN(256))
}

// Whatever single thing is changed in a log, under the true keys, is found or
// said not to be checkable, but for the fields that mean nothing to any rule.
func TestMutations(t *testing.T) {
	count := 10_000
	if raceOn {
		count = 1_000
	}
	s := newStory(t)
	r, err := s.check(t.Context(), -1, nil)
	mustHold(t, r, err)
	if r.Rounds.Unproven > 0 || r.Rounds.Proven == 0 {
		t.Fatalf("rounds %+v", r.Rounds)
	}
	types := slices.Sorted(maps.Keys(s.byType))
	text, err := os.ReadFile("../../docs/formats/entries.md")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile("(?m)^### `([^`]+)`").FindAllSubmatch(text, -1)
	rare := 0 // those that come after 16,384 rounds, whose every member a verifier computes
	for _, m := range told {
		if strings.HasPrefix(string(m[1]), "chance.") {
			rare++
		} else if !slices.Contains(types, string(m[1])) {
			t.Errorf("the story has no %s", m[1])
		}
	}
	if len(types)+rare != len(told) {
		t.Errorf("the story has the types %q, entries.md tells of %d", types, len(told))
	}
	var mu sync.Mutex
	var evidence, unchecked, silent int
	rules, kinds := map[string]int{}, map[string]int{}
	var running sync.WaitGroup
	const shards = 4
	for shard := range uint64(shards) {
		rnd := rand.New(rand.NewPCG(21, shard))
		running.Go(func() {
			for range count / shards {
				typ := types[rnd.IntN(len(types))]
				index := s.byType[typ][rnd.IntN(len(s.byType[typ]))]
				leaf, did, fields := mutate(rnd, s.leaves[index])
				r, err := s.check(t.Context(), index, leaf)
				mu.Lock()
				kinds[did]++
				switch {
				case err != nil && !errors.Is(err, ErrUnchecked):
					t.Errorf("%s of %s %q: %v", did, typ, fields, err)
				case !r.OK():
					evidence++
					rules[r.Findings[0].Rule]++
					// A key that nothing leads to any more is missed from entry 0 on.
					if f := r.Findings[0]; f.Index < uint64(index) && !(typ == "key.introduced" && f.Rule == "checkpoint-key") {
						t.Errorf("%s of %s %q in entry %d: a false accusation: %+v", did, typ, fields, index, r.Findings[0])
					}
				case err != nil:
					unchecked++
				default:
					silent++
					for _, field := range fields {
						if !isMeaningless(typ, field) {
							t.Errorf("%s of %s %q passed:\n%s\n%s", did, typ, fields, s.leaves[index], leaf)
						}
					}
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	t.Logf("%d mutations: %d evidence, %d could not be checked, %d without meaning; %v; first rules %v", count, evidence, unchecked, silent, kinds, rules)
	if evidence < count/2 || unchecked == 0 || silent == 0 {
		t.Errorf("%d evidence, %d unchecked, %d silent", evidence, unchecked, silent)
	}
}

// Each field that is said to mean nothing has a value that raises nothing.
func TestMeaninglessFields(t *testing.T) {
	// The one story has everything; in the other, less comes after what is changed.
	s, short := newStory(t), tell(t, func(*story) {})
	for _, m := range meaningless {
		types := strings.Fields(m.types)
		if m.types == "*" {
			types = slices.Sorted(maps.Keys(s.byType))
		}
		for _, typ := range types {
			if !slices.ContainsFunc(s.byType[typ], func(index int) bool { return s.passes(t, index, m.field, m.change) }) &&
				!slices.ContainsFunc(short.byType[typ], func(index int) bool { return short.passes(t, index, m.field, m.change) }) {
				t.Errorf("%s of %s: every entry shows the change", m.field, typ)
			}
		}
	}
}

// passes reports whether a change of a field in one leaf raises nothing.
func (s *story) passes(t *testing.T, index int, field string, change func(*story, string) string) bool {
	v, err := entry.Parse(s.leaves[index])
	if err != nil {
		t.Fatal(err)
	}
	all := places(nil, &v, "")
	found := false
	for _, p := range all {
		if p.field != field {
			continue
		}
		if found = true; change == nil {
			p.parent.Items = p.parent.Items[:len(p.parent.Items)-1]
			break
		}
		at := p.value()
		at.Text = change(s, at.Text)
		if field != "approvals[].signature" {
			break
		}
	}
	if !found {
		return false
	}
	leaf := write(nil, &v)
	if bytes.Equal(leaf, s.leaves[index]) {
		return false
	}
	r, err := s.check(t.Context(), index, leaf)
	return err == nil && r.OK()
}

// entries.md tells the same list.
func TestMeaninglessFieldsAreTold(t *testing.T) {
	text, err := os.ReadFile("../../docs/formats/entries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## What no rule can know\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var told, listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| ([^|]+) \\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		told = append(told, m[1]+": "+m[2])
	}
	for _, m := range meaningless {
		types := "`" + m.types + "`"
		switch m.types {
		case "*":
			types = "every type"
		case asked:
			types = "every type with a request"
		case approvedTypes:
			types = "every type with approvals"
		}
		listed = append(listed, types+": "+m.field)
	}
	if !slices.Equal(told, listed) {
		t.Errorf("entries.md tells\n%q, the verifier cannot know\n%q", told, listed)
	}
}
