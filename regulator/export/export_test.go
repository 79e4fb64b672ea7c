package export

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/games/slots"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/regulator/verify/logtest"

	"github.com/parquet-go/parquet-go"
)

// house is a log of three hours with two players, of whom one sets a nonce.
func house() (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 7, Step: 20 * time.Second})
	people := []logtest.Player{h.Join(20_000), h.Join(30_000)}
	h.Play(people, 100)
	h.SetNonce(people[0])
	h.Play(people, 150)
	h.Withdraw(people[1], h.Balance(people[1])/2)
	h.Assess(nil, nil)
	h.Play(people, 100)
	return h, people
}

// file is a file in memory.
type file struct{ b []byte }

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	if end := int(at) + len(p); end > len(f.b) {
		f.b = append(f.b, make([]byte, end-len(f.b))...)
	}
	return copy(f.b[at:], p), nil
}

func write(t testing.TB, h *logtest.House, change func(*Request)) ([]byte, *Summary) {
	t.Helper()
	req := Request{Range: Range{0, h.Size()}, Checkpoint: h.Checkpoint()}
	if change != nil {
		change(&req)
	}
	var out file
	sum, err := Write(t.Context(), &out, h.Tree(), req, Options{Sign: h.SignExport, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Bytes != int64(len(out.b)) {
		t.Fatalf("%d bytes, the summary says %d", len(out.b), sum.Bytes)
	}
	return out.b, sum
}

func check(t testing.TB, h *logtest.House, b []byte, certificate []byte) (*Report, error) {
	t.Helper()
	return Check(t.Context(), bytes.NewReader(b), int64(len(b)), CheckOptions{VKey: h.VKey, Certificate: certificate})
}

// span is the hour from one o'clock, when the house is in the midst of its play.
func span(t testing.TB, h *logtest.House) func(*Request) {
	t.Helper()
	at := entry.TimeOf(time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC))
	s := SpanOf(at, at.Add(time.Hour))
	r, err := Between(h.Tree(), h.Size(), s)
	if err != nil {
		t.Fatal(err)
	}
	return func(q *Request) { q.Range, q.Span = r, s }
}

func TestExport(t *testing.T) {
	h, people := house()
	whole := func(*Request) {}
	for _, c := range []struct {
		name   string
		change func(*Request)
		holds  func(r *Report) bool
	}{
		{"everything", whole, func(r *Report) bool {
			return r.Manifest.Complete && r.Manifest.Entries == h.Size() && r.Rounds == 350 && r.Outcomes == 350 && r.Proven > 300 && r.Proven+r.Unproven == 350
		}},
		{"a range", func(q *Request) { q.Range = Range{77, 310} }, func(r *Report) bool {
			return r.Manifest.Complete && r.Manifest.Entries == 233 && r.Rounds > 100 && r.Outcomes == r.Rounds
		}},
		{"nothing", func(q *Request) { q.Range = Range{5, 5} }, func(r *Report) bool { return r.Manifest.Entries == 0 }},
		{"an hour", span(t, h), func(r *Report) bool {
			return r.Certificate != nil && r.Certificate.Players == 2 && len(r.Certificate.Games) == 1 && r.Certificate.Games[0].Rounds == r.Rounds && r.Rounds > 80
		}},
		{"a player", func(q *Request) { q.Filter.Player = people[0].Ref.String() }, func(r *Report) bool {
			return !r.Manifest.Complete && r.Rounds > 100 && r.Rounds < 250 && r.Certificate == nil
		}},
		{"a player's rounds in an hour", func(q *Request) {
			span(t, h)(q)
			q.Filter = Filter{Player: people[1].Ref.String(), Type: "round.settled"}
		}, func(r *Report) bool { return r.Rounds > 0 && r.Rounds == r.Manifest.Entries && r.Certificate == nil }},
		{"deposits", func(q *Request) { q.Filter.Type = "wallet.deposited" }, func(r *Report) bool { return r.Rounds == 0 && r.Manifest.Entries >= 2 }},
		{"a game", func(q *Request) { q.Filter.Game = slots.Bundled().ID }, func(r *Report) bool { return r.Rounds == 350 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := write(t, h, c.change)
			r, err := check(t, h, b, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !c.holds(r) || len(r.Tables) != 8 || len(r.Unchecked) > 0 {
				t.Errorf("%+v\n%+v", r, r.Manifest)
			}
			if again, _ := write(t, h, c.change); !bytes.Equal(again, b) {
				t.Error("the same range under the same checkpoint gave other bytes")
			}
		})
	}
}

// An export made later under a checkpoint that was kept is the same.
func TestReproducible(t *testing.T) {
	h, people := house()
	kept, size := h.Checkpoint(), h.Size()
	change := func(q *Request) { q.Range, q.Checkpoint = Range{10, size - 3}, kept }
	b, _ := write(t, h, change)
	h.Play(people, 70)
	if again, _ := write(t, h, change); !bytes.Equal(again, b) {
		t.Error("other bytes when the log had grown")
	}
}

// Stock tools open it: the archive, its tables, and openssl the signature.
func TestStockTools(t *testing.T) {
	h, _ := house()
	b, sum := write(t, h, span(t, h))
	path := filepath.Join(t.TempDir(), "a.zip")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	python := `import sys,zipfile; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print("\n".join(z.namelist()))`
	out, err := exec.Command("python3", "-c", python, path).CombinedOutput()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	var names []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, names) || len(names) != len(sum.Manifest.Files)+3 {
		t.Errorf("python3 has %q, archive/zip %q", got, names)
	}
	rows, err := csv.NewReader(bytes.NewReader(files["rounds.csv"])).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	columnar, err := parquet.Read[roundRow](bytes.NewReader(files["rounds.parquet"]), int64(len(files["rounds.parquet"])))
	if err != nil {
		t.Fatal(err)
	}
	if len(columnar) != len(rows)-1 || len(columnar) < 80 {
		t.Fatalf("%d rows as CSV, %d as Parquet", len(rows)-1, len(columnar))
	}
	for i := range columnar {
		if line := strings.TrimSuffix(string(columnar[i].csv(nil)), "\n"); line != strings.Join(rows[i+1], ",") {
			t.Fatalf("row %d: %s as Parquet, %s as CSV", i, line, rows[i+1])
		}
	}
	e, err := dsse.Parse(files[BundleName])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"pae": dsse.PAE(e.Payload), "sig": e.Signatures[0], "key": exportsKey(t, h).PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-verify", "key", "-signature", "sig", "pae")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Verified OK") {
		t.Errorf("openssl: %v\n%s", err, out)
	}
}

func exportsKey(t testing.TB, h *logtest.House) dsse.Key {
	t.Helper()
	signed, err := h.SignExport([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	var k dsse.Key
	for _, key := range keys.List(h.Rows()) {
		if key.Role == "exports" {
			if k, err = dsse.ParseKey(key.Public); err != nil {
				t.Fatal(err)
			}
		}
	}
	e, err := dsse.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(k); err != nil {
		t.Fatal(err)
	}
	return k
}

// A certificate that was handed out alone is held against an export of its span.
func TestCertificateAlone(t *testing.T) {
	h, people := house()
	req := Request{Checkpoint: h.Checkpoint()}
	span(t, h)(&req)
	opts := Options{Sign: h.SignExport, Scratch: t.TempDir()}
	c, signed, err := Certify(t.Context(), h.Tree(), req, opts)
	if err != nil {
		t.Fatal(err)
	}
	h.Play(people, 20) // the export is of a later checkpoint
	b, sum := write(t, h, span(t, h))
	if _, err := check(t, h, b, signed); err != nil {
		t.Error(err)
	}
	if c.Checkpoint == sum.Certificate.Checkpoint || c.Range != sum.Certificate.Range {
		t.Errorf("%v, then %v", c, sum.Certificate)
	}
	part, _ := write(t, h, func(q *Request) { span(t, h)(q); q.Span = nil })
	if _, err := check(t, h, part, signed); rule(err) != "certificate" {
		t.Errorf("without a span in the export: %v", err)
	}
	c.Games[0].Stakes++
	forged, err := c.statement(sum.Manifest.Files[0].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	signed, err = h.SignExport(forged)
	if err != nil {
		t.Fatal(err)
	}
	var r *Rejection
	if _, err := check(t, h, b, signed); !errors.As(err, &r) || r.Rule != "certificate" || !r.Evidence {
		t.Errorf("a certificate with another total: %v", err)
	}
}

// What cannot be exported says why.
func TestRefusals(t *testing.T) {
	h, _ := house()
	last := entry.TimeOf(h.Now.Std())
	if _, err := Between(h.Tree(), h.Size(), SpanOf(last.Add(-time.Hour), last.Add(time.Hour))); !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), "not over") {
		t.Errorf("a span that is not over: %v", err)
	}
	for name, change := range map[string]func(*Request){
		"a range beyond the log":  func(q *Request) { q.Range.To++ },
		"a range backwards":       func(q *Request) { q.Range = Range{5, 4} },
		"a player that is no ref": func(q *Request) { q.Filter.Player = "alice" },
		"a type with a quote":     func(q *Request) { q.Filter.Type = `"` },
		"no checkpoint":           func(q *Request) { q.Checkpoint = nil },
	} {
		req := Request{Range: Range{0, h.Size()}, Checkpoint: h.Checkpoint()}
		change(&req)
		if _, err := Write(t.Context(), new(file), h.Tree(), req, Options{Sign: h.SignExport, Scratch: t.TempDir()}); err == nil {
			t.Errorf("%s was exported", name)
		}
	}
	stop := errors.New("no room")
	req := Request{Range: Range{0, h.Size()}, Checkpoint: h.Checkpoint()}
	opts := Options{Sign: h.SignExport, Scratch: t.TempDir(), Progress: func(uint64, uint64) error { return stop }}
	if _, err := Write(t.Context(), new(file), h.Tree(), req, opts); !errors.Is(err, stop) {
		t.Errorf("progress that ends the work: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, new(file), h.Tree(), req, Options{Sign: h.SignExport, Scratch: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is over: %v", err)
	}
}

func rule(err error) string {
	var r *Rejection
	if errors.As(err, &r) {
		return r.Rule
	}
	return ""
}
