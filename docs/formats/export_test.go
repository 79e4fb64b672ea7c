package formats_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/export"
	"countroom/regulator/verify/logtest"
)

// altered is a log of which a house exports something else than it has.
type altered struct {
	*logtest.Tree
	index    uint64
	old, new string
}

func (l *altered) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	return l.Tree.Leaves(from, to, func(index uint64, leaf []byte) error {
		if index == l.index && to > from+1 { // not where it is proven
			leaf = bytes.Replace(leaf, []byte(l.old), []byte(l.new), 1)
		}
		return yield(index, leaf)
	})
}

// Both verifiers have one opinion of exports: of honest ones, of those that somebody changed, and of those that a house
// signed although they are false. The bytes of Parquet tables are for ours alone.
func TestCheckersAgreeOnExports(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 21, Step: 20 * time.Second})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, 60)
	h.SetNonce(who[0])
	h.Play(who, 120)
	h.Withdraw(who[1], 100)
	first, second := h.Officers()
	h.Rotate("exports", first, second)
	h.Assess(nil, nil)
	round := h.Spin(who[0], 20)
	h.Play(who, 40)
	one := entry.TimeOf(time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC))
	span := export.SpanOf(one, one.Add(time.Hour))
	hour, err := export.Between(h.Tree(), h.Size(), span)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	vkey := filepath.Join(dir, "vkey")
	write(t, vkey, []byte(h.VKey+"\n"))
	made := func(req export.Request, log export.Log, sign func([]byte) ([]byte, error)) []byte {
		t.Helper()
		req.Checkpoint = h.Checkpoint()
		f, err := os.Create(filepath.Join(dir, "made"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := export.Write(t.Context(), f, log, req, export.Options{Sign: sign, Scratch: dir}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	all := export.Request{Range: export.Range{To: h.Size()}}
	byPlayer := all
	byPlayer.Filter.Player = who[0].Ref.String()
	honest := made(export.Request{Range: hour, Span: span}, h.Tree(), h.SignExport)
	replaced := func(old, new string) []byte {
		t.Helper()
		b := bytes.Replace(honest, []byte(old), []byte(new), 1)
		if bytes.Equal(b, honest) {
			t.Fatalf("there is no %q", old)
		}
		return b
	}
	id := `"id":"` + string(h.Leaf(round)[bytes.Index(h.Leaf(round), []byte(`"id":"`))+6])
	for _, c := range []struct {
		name string
		data []byte
		rule string
	}{
		{"an hour", honest, ""},
		{"everything", made(all, h.Tree(), h.SignExport), ""},
		{"a range", made(export.Request{Range: export.Range{From: 33, To: 171}}, h.Tree(), h.SignExport), ""},
		{"nothing", made(export.Request{Range: export.Range{From: 3, To: 3}}, h.Tree(), h.SignExport), ""},
		{"a player", made(byPlayer, h.Tree(), h.SignExport), ""},
		{"cut off", honest[:len(honest)-40], "container"},
		{"longer", append(bytes.Clone(honest), 0), "container"},
		{"a path", replaced("rounds.csv", "../nds.csv"), "container"},
		{"packed", append(append(bytes.Clone(honest[:8]), 8), honest[9:]...), "container"},
		{"a leaf changed", replaced(`"payout":{"amount":`, `"payout":{"amounx":`), "digest"},
		{"a table changed", replaced("\n2026-03-01,", "\n2026-03-02,"), "digest"},
		{"another key", made(all, h.Tree(), func(payload []byte) ([]byte, error) { return h.Statement(logtest.LaboratoryKey("x"), payload), nil }), "statement-signature"},
		{"another house", func() []byte {
			o := logtest.New(logtest.Config{Seed: 22, Origin: "other.example/house"})
			req, was := export.Request{Range: export.Range{To: o.Size()}, Checkpoint: o.Checkpoint()}, filepath.Join(dir, "other")
			f, err := os.Create(was)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := export.Write(t.Context(), f, o.Tree(), req, export.Options{Sign: o.SignExport, Scratch: dir}); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(was)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}(), "origin"},
		{"a leaf that the log does not have", made(all, &altered{h.Tree(), round, id, `"id":"` + string('0'+(id[6]+1)%10)}, h.SignExport), "range-proof"},
		{"a filtered leaf that the log does not have", made(byPlayer, &altered{h.Tree(), round, id, `"id":"` + string('0'+(id[6]+1)%10)}, h.SignExport), "inclusion"},
	} {
		path := filepath.Join(dir, "x.zip")
		write(t, path, c.data)
		report, err := export.Check(t.Context(), bytes.NewReader(c.data), int64(len(c.data)), export.CheckOptions{VKey: h.VKey})
		var r *export.Rejection
		if err != nil && !errors.As(err, &r) {
			t.Fatalf("%s: %v", c.name, err)
		}
		out, status := python(t, nil, "checker/check.py", "export", path, "--vkey", vkey)
		var theirs struct {
			Rule                     string
			Evidence                 bool
			Rounds, Outcomes, Proven uint64
			Certificate              json.RawMessage
		}
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		if r != nil {
			want := map[bool]int{true: 1, false: 2}[r.Evidence]
			if r.Rule != c.rule || theirs.Rule != r.Rule || theirs.Evidence != r.Evidence || status != want {
				t.Errorf("%s: ours %v, theirs %d %s", c.name, r, status, out)
			}
			continue
		}
		ours, theirNumbers := fmt.Sprint(report.Rounds, report.Outcomes, report.Proven), fmt.Sprint(theirs.Rounds, theirs.Outcomes, theirs.Proven)
		if c.rule != "" || theirs.Rule != "" || status != 0 || ours != theirNumbers || (report.Certificate != nil) != (string(theirs.Certificate) != "null") {
			t.Errorf("%s: ours %s, theirs %d %s", c.name, ours, status, out)
		}
	}
}
