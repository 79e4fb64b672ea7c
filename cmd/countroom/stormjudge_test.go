package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/ledger/replica"
	"countroom/ledger/replica/wal"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// judge holds all that is left of a storm against all that was heard in it.
func (s *storm) judge() {
	t, c := s.t, s.crowd
	for i, w := range c.wrong {
		if t.Errorf("%s", w); i == 10 {
			break
		}
	}
	for i, w := range sameAnswers(c.acts) {
		if t.Errorf("%s", w); i == 10 {
			break
		}
	}
	s.linearizable()
	s.until("both machines have all", func() bool { return s.status(s.a).Applied == s.status(s.b).Applied })
	s.sameHead()
	var known []verify.Known
	keys := map[string]bool{}
	settled := 0
	for _, a := range c.acts {
		if a.kind != "read" {
			known = append(known, verify.Known{Name: fmt.Sprintf("%s at %s", a.key, doorNames[a.door]), Data: a.answer})
			if a.kind == "spin" && !keys[a.key] {
				settled++
			}
			keys[a.key] = true
		}
	}
	for _, m := range s.members[:2] {
		src, err := verify.HTTP("http://"+m.addr, m.token("regulator"))
		if err != nil {
			t.Fatal(err)
		}
		vkey, err := os.ReadFile(filepath.Join(m.dir, "log.vkey"))
		if err != nil {
			t.Fatal(err)
		}
		report, err := verify.Log(context.Background(), src, verify.Options{VKey: strings.TrimSpace(string(vkey)), Known: known})
		if err != nil {
			t.Fatalf("verifying %s: %v", m.name, err)
		}
		for _, f := range report.Findings {
			t.Errorf("the log of %s: %+v", m.name, f)
		}
		if report.Known != uint64(len(known)) {
			t.Errorf("the log of %s: %d of %d receipts were compared", m.name, report.Known, len(known))
		}
		if got := report.Types["round.settled"]; got != uint64(settled) {
			t.Errorf("the log of %s has %d rounds, %d were acknowledged to clients who never gave up", m.name, got, settled)
		}
		out, err := exec.Command(filepath.Join(s.dir, "countroom-verify"), "log", "http://"+m.addr, "--vkey", filepath.Join(m.dir, "log.vkey"),
			"--token", filepath.Join(m.dir, "credentials", "regulator.key"), "--witness", filepath.Join(s.dir, "witness", "witness.vkey")).CombinedOutput()
		if err != nil {
			t.Errorf("countroom-verify log of %s: %v\n%s", m.name, err, out)
		}
		fmt.Printf("%s: %d entries, %d rounds, %d processes in the log, %d receipts hold; countroom-verify log passes\n",
			m.name, report.Size, report.Types["round.settled"], report.Types["house.active.v2"], report.Known)
		s.tails.leaves(t, src, report.Size)
	}
	s.inTheMirror(known)
	s.oneHistoryAtTheWitness()
	for _, m := range s.members {
		m.stop(15) // SIGTERM
	}
	for _, m := range s.members {
		s.tails.take(t, m.dir, m.name)
	}
	for _, w := range s.tails.wrong {
		t.Errorf("a round has two outcomes: %s", w)
	}
}

// linearizable wants one order of all that each player's clients did, in which
// each answer is what the account then was.
func (s *storm) linearizable() {
	acts := s.crowd.acts
	passive := 0
	for _, a := range acts {
		if a.passive {
			passive++
		}
	}
	fmt.Printf("%d reads said that they are as of what one machine knew\n", passive)
	for _, what := range []struct {
		name  string
		takes func(*act) bool
	}{
		{"commands", func(a *act) bool { return a.kind != "read" }},
		{"commands and reads", func(a *act) bool { return !a.passive }},
	} {
		start := time.Now()
		h := historyOf(acts, what.takes)
		got, info := porcupine.CheckOperationsVerbose(model, h, 5*time.Minute)
		fmt.Printf("porcupine: %d %s: %s, after %v\n", len(h), what.name, got, time.Since(start).Round(time.Millisecond))
		if got != porcupine.Ok {
			s.t.Errorf("%s are not linearizable: %s; stale reads: %s", what.name, got, strings.Join(stale(acts), "\n"))
			if f, err := os.Create(filepath.Join(os.TempDir(), "countroom-storm.html")); err == nil {
				if err = porcupine.Visualize(model, info, f); err == nil {
					s.t.Logf("see %s", f.Name())
				}
				f.Close()
			}
		}
	}
}

// inTheMirror wants the mirror to come to the end of the log, and all receipts in
// what it has.
func (s *storm) inTheMirror(known []verify.Known) {
	t := s.t
	s.mirror.kill()
	if out, err := s.mirrorOnce(); err != nil {
		t.Errorf("the mirror: %v\n%s", err, out)
		return
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Log(context.Background(), verify.Dir(os.DirFS(filepath.Join(s.dir, "mirror"))), verify.Options{VKey: strings.TrimSpace(string(vkey)), Known: known})
	if err != nil || !report.OK() || report.Known != uint64(len(known)) {
		t.Errorf("the mirror: %v, %+v", err, report)
		return
	}
	fmt.Printf("mirror: %d entries, %d receipts hold\n", report.Size, report.Known)
}

// oneHistoryAtTheWitness wants no conflict at the witness, and its checkpoint in
// the log.
func (s *storm) oneHistoryAtTheWitness() {
	s.witness.up()
	var metrics string
	s.until("the witness answers", func() bool {
		resp, err := http.Get("http://10.9.0.14:8090/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		metrics = string(b)
		return err == nil
	})
	if strings.Contains(metrics, "countroom_witness_conflicts_total{") {
		s.t.Errorf("the witness saw conflicts:\n%s", metrics)
	}
	if found, _ := filepath.Glob(filepath.Join(s.dir, "witness", "evidence", "*")); len(found) > 0 {
		s.t.Errorf("the witness has evidence: %v", found)
	}
}

// tails are all rounds that were ever worked out and written down, wherever that
// is found: in logs of the consensus with what was never committed, in what was
// kept of that, in published logs.
type tails struct {
	seen      map[string]string // draws by epoch, player, game and number
	committed map[string]bool   // those of them that a published log has
	wrong     []string
	files     int

	overwritten int // rounds in entries that gave way to others
}

// leaf takes a leaf, and reports whether it is a round.
func (x *tails) leaf(where string, leaf []byte, committed bool) bool {
	record, err := books.Decode(leaf)
	if err != nil {
		x.wrong = append(x.wrong, fmt.Sprintf("%s: %v", where, err))
		return false
	}
	r, ok := record.(*rounds.Settled)
	if !ok {
		return false
	}
	if x.seen == nil {
		x.seen, x.committed = map[string]string{}, map[string]bool{}
	}
	key := fmt.Sprintf("epoch %d, player %s, %s, round %d", r.Draw.Epoch, r.Player, r.Game, r.Draw.N)
	values, _ := json.Marshal(r.Draw.Values)
	draw := hex.EncodeToString(r.Draw.R[:]) + string(values)
	if was, ok := x.seen[key]; ok && was != draw {
		x.wrong = append(x.wrong, fmt.Sprintf("%s: %s was drawn as %s and as %s", where, key, was, draw))
	}
	x.seen[key] = draw
	if committed {
		x.committed[key] = true
	}
	return true
}

// leaves takes those of a published log.
func (x *tails) leaves(t *testing.T, src verify.Source, size uint64) {
	for from := uint64(0); from < size; from += tlog.TileWidth {
		b, err := src.Read(context.Background(), nil, tlog.EntriesPath(from/tlog.TileWidth, int(min(size-from, tlog.TileWidth))), 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := tlog.ParseBundle(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range bundle {
			x.leaf("the published log", leaf, true)
		}
	}
}

// take takes what a member has in its consensus log, and in what it kept of
// entries that gave way to others. The member does not run.
func (x *tails) take(t *testing.T, dir, name string) {
	t.Helper()
	origin, err := os.ReadFile(filepath.Join(dir, "pair", "seat.json"))
	if err != nil {
		t.Fatal(err)
	}
	var seat struct{ Origin string }
	if err := json.Unmarshal(origin, &seat); err != nil || seat.Origin == "" {
		t.Fatalf("%s: %v", origin, err)
	}
	consensus := filepath.Join(dir, "pair", "consensus")
	log, err := wal.Open(wal.Options{FS: vfs.Default, Dir: filepath.Join(consensus, "log"), Origin: seat.Origin, Node: replica.Member{Name: name}.ID(seat.Origin)})
	if err != nil {
		t.Errorf("the log of %s: %v", name, err)
		return
	}
	defer log.Close()
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	for first <= last {
		entries, err := log.Entries(first, last+1, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			x.entry(t, name, e)
		}
		first += uint64(len(entries))
	}
	x.files++
	kept, err := filepath.Glob(filepath.Join(consensus, "evidence", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range kept {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := wal.DecodeEntries(b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, e := range entries {
			x.overwritten += x.entry(t, name+" "+filepath.Base(file), e)
		}
		x.files++
	}
}

// entry takes the rounds of an entry, and counts them.
func (x *tails) entry(t *testing.T, where string, e *raftpb.Entry) (rounds int) {
	const head = 17 // docs/replication.md
	if e.GetType() != raftpb.EntryType_EntryNormal || len(e.Data) < head {
		return 0
	}
	b, err := replica.DecodeBatch(e.Data[head:])
	if err != nil {
		t.Errorf("%s: entry %d: %v", where, e.GetIndex(), err)
		return 0
	}
	for _, leaf := range b.Leaves {
		if x.leaf(fmt.Sprintf("%s, entry %d", where, e.GetIndex()), leaf, false) {
			rounds++
		}
	}
	return rounds
}
