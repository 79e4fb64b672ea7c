package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"countroom/rngcert/laboratory"
	"countroom/rngcert/report"
	"countroom/rngcert/sp80022"
	"countroom/rngcert/sp80090b"
	"countroom/rngcert/verdict"
)

// document is a report of an examination that was made once for all tests.
var document = sync.OnceValues(func() (*report.Document, error) {
	source := rand.NewChaCha8([32]byte{3})
	dice := rand.New(source)
	r, err := laboratory.Run(laboratory.Plan{
		Rule: verdict.Default,
		Bits: []laboratory.Bits{{Name: "source linux-getrandom", Sequences: 1, Length: sp80022.Least, Data: source}},
		Games: []laboratory.Game{{Name: "dice 1.0.0", Ranges: []uint32{6, 37}, Positions: []uint32{6, 37}, Sequences: 60, Draws: 10_000,
			Round: func(d []laboratory.Draw) ([]laboratory.Draw, error) {
				return append(d, laboratory.Draw{N: 6, V: dice.Uint32N(6)}, laboratory.Draw{N: 37, V: dice.Uint32N(37)}), nil
			}}},
	}, nil)
	if err != nil {
		return nil, err
	}
	// An assessment as of a source of raw noise, which would take long to make.
	r.Plan.Raw = []laboratory.Raw{{Name: "source noise", BitsPerSymbol: 8, Declared: 6, Samples: 1_000_000}}
	r.Raw = []laboratory.RawReport{{Name: "source noise", Enough: true, Assessment: &sp80090b.Assessment{
		BitsPerSymbol: 8, Samples: 1_000_000, MinEntropy: 6.5,
		Literal: []sp80090b.Estimate{{Name: "most common value", MinEntropy: 7.9}}, BitString: []sp80090b.Estimate{{Name: "Markov", MinEntropy: 0.8125}},
	}}}
	hash := strings.Repeat("ab", 32)
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &report.Document{
		Format: report.Format, Origin: "casino.example/log", Release: "1.0.0 sha256:" + hash[:32], Code: hash, Configuration: hash,
		Started: began, Finished: began.Add(90 * time.Second),
		Sources: []report.Source{{Name: "noise", MinEntropyPerByte: 6}, {Name: "linux-getrandom", Conditioned: true, MinEntropyPerByte: 8}},
		Games:   []report.Game{{Game: "dice", Release: "1.0.0", Maths: hash}}, Report: *r,
	}, nil
})

func made(t testing.TB) []byte {
	t.Helper()
	d, err := document()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKept(t *testing.T) {
	b := made(t)
	d, err := report.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if d.Report.Outcome != verdict.Pass {
		t.Errorf("%s: %+v", d.Report.Outcome, d.Report.Runs[0].Judgement)
	}
	if again, err := d.JSON(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("another document after it was kept: %v", err)
	}
}

// Whatever of the conclusions is changed does not follow any more from the p-values.
func TestChanged(t *testing.T) {
	b := made(t)
	for name, change := range map[string]func(d *report.Document){
		"the format":              func(d *report.Document) { d.Format = "countroom/rng-report/2" },
		"no hash of the code":     func(d *report.Document) { d.Code = "ab" },
		"no hash of the maths":    func(d *report.Document) { d.Games[0].Maths = "" },
		"finished before started": func(d *report.Document) { d.Finished = d.Started.Add(-1) },
		"another outcome":         func(d *report.Document) { d.Report.Outcome = verdict.Fail },
		"no rule":                 func(d *report.Document) { d.Report.Plan.Rule.Alpha = 0 },
		"a stricter rule":         func(d *report.Document) { d.Report.Plan.Rule.Alpha = 1e-3 },
		"a small p-value":         func(d *report.Document) { d.Report.Runs[0].Tests[0].P[0] = 1e-12 },
		"a small p-value, and what follows from it of the test": func(d *report.Document) {
			test := &d.Report.Runs[0].Tests[0]
			test.P[0] = 1e-12
			*test = laboratory.Concluded(*test)
		},
		"another level":                  func(d *report.Document) { d.Report.Runs[0].Judgement.Level = 1e-9 },
		"another uniformity":             func(d *report.Document) { p := 0.5; last(d).Uniformity = &p },
		"no uniformity":                  func(d *report.Document) { last(d).Uniformity = nil },
		"another count":                  func(d *report.Document) { last(d).Below++ },
		"a sequence less":                func(d *report.Document) { last(d).P = last(d).P[1:]; *last(d) = laboratory.Concluded(*last(d)) },
		"a p-value below 0":              func(d *report.Document) { last(d).P[3] = -1 },
		"no p-values":                    func(d *report.Document) { last(d).P = nil },
		"a sequence more of bits":        func(d *report.Document) { d.Report.Runs[0].Tests[0].P = append(d.Report.Runs[0].Tests[0].P, 0.5) },
		"a test less":                    func(d *report.Document) { d.Report.Runs[0].Tests = d.Report.Runs[0].Tests[1:] },
		"a test from elsewhere":          func(d *report.Document) { d.Report.Runs[0].Tests[0].Source = "another generator" },
		"another game":                   func(d *report.Document) { d.Report.Runs[0].Games[0].Name = "cards" },
		"no game":                        func(d *report.Document) { d.Report.Runs[0].Games = nil },
		"a planned range":                func(d *report.Document) { d.Report.Plan.Games[0].Ranges = []uint32{6, 37, 52} },
		"a source that was not examined": func(d *report.Document) { d.Sources[0].Name = "sound" },
		"a raw source as conditioned":    func(d *report.Document) { d.Sources[0].Conditioned = true },
		"a source that is not told":      func(d *report.Document) { d.Sources = nil },
		"a game that was not examined":   func(d *report.Document) { d.Games[0].Release = "1.0.1" },
		"no runs":                        func(d *report.Document) { d.Report.Runs = nil },
		"a run more":                     func(d *report.Document) { d.Report.Runs = append(d.Report.Runs, d.Report.Runs[0]) },
		"nothing planned":                func(d *report.Document) { d.Report.Plan.Bits, d.Report.Plan.Games = nil, nil },
		"more entropy":                   func(d *report.Document) { d.Report.Raw[0].Assessment.MinEntropy = 7 },
		"less entropy declared":          func(d *report.Document) { d.Report.Raw[0].Enough = false },
		"no assessment":                  func(d *report.Document) { d.Report.Raw[0].Assessment = nil },
		"a raw source less":              func(d *report.Document) { d.Report.Raw = nil },
	} {
		d := new(report.Document)
		if err := json.Unmarshal(b, d); err != nil {
			t.Fatal(err)
		}
		change(d)
		if err := d.Check(); !errors.Is(err, report.ErrReport) && !errors.Is(err, verdict.ErrRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"an unknown name":  bytes.Replace(b, []byte(`"origin"`), []byte(`"orogin"`), 1),
		"another spelling": bytes.Replace(b, []byte(`"origin"`), []byte(`"Origin"`), 1),
		"a space more":     append(bytes.Clone(b), ' '),
		"nothing":          nil,
		"too long":         make([]byte, report.Most+1),
	} {
		if _, err := report.Parse(data); !errors.Is(err, report.ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// last is the report of the last test, of a game.
func last(d *report.Document) *laboratory.TestReport {
	tests := d.Report.Runs[0].Tests
	return &tests[len(tests)-1]
}

// The page stands alone, and shows a plot of every test and a histogram of every range. COUNTROOM_PAGE names a
// folder to keep it in, for people to look at.
func TestPage(t *testing.T) {
	d, err := report.Parse(made(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Page()
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for _, bad := range []string{"<script", "src=", "href=", "url(", "http:", "https:", "ZgotmplZ", "NaN", "Inf", "<no value>"} {
		if strings.Contains(s, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, good := range []string{"prefers-color-scheme: dark", "@media print", "casino.example/log", "range 37", "interplay chi-square", "most common value", `class="bars"`, `class="strip"`, `class="plot"`} {
		if !strings.Contains(s, good) {
			t.Errorf("the page lacks %q", good)
		}
	}
	if dir := os.Getenv("COUNTROOM_PAGE"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "report.html"), b, 0o644); err != nil {
			t.Error(err)
		}
	}
	hostile := *d
	hostile.Origin = `"><script>alert(1)</script>`
	if b, err = hostile.Page(); err != nil || strings.Contains(string(b), "<script") {
		t.Errorf("a name that is no text: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":"countroom/rng-report/1"}`))
	f.Add([]byte(`{"format":"countroom/rng-report/1","report":{"runs":[{"tests":[{"p":[2]}]}]}}`))
	f.Add(made(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := report.Parse(data)
		if err != nil {
			return
		}
		if again, err := d.JSON(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%v: two spellings of one report", err)
		}
		if _, err := d.Page(); err != nil {
			t.Fatal(err)
		}
	})
}
