package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"countroom/regulator/verify"

	// What the server is made of, for the test cache, which does not see what a
	// test builds.
	_ "countroom/api"
	_ "countroom/cmd/appliance"
)

// timed are the checks that say how long something takes. On a machine that
// others use they say more about the others, so here they are shown only; `make
// soak` holds them.
var timed = []string{"spins-bounded", "commands-not-starved", "reads-not-starved", "recovery"}

// The real server, in a process of its own, under twice its load.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	sources, err := filepath.Glob("../countroom/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("%d sources of the server, %v", len(sources), err)
	}
	for _, name := range sources { // these, too, are for the test cache
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	// As `make build` does, so that what it built is not built again; the race
	// detector would make the generator slower than the server.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir, "countroom/cmd/countroom", "countroom/cmd/countroom-soak")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	soak := exec.Command(filepath.Join(dir, "countroom-soak"), "-countroom", filepath.Join(dir, "countroom"), "-dir", dir, "-time", "10s", "-connections", "2000")
	var out, failure bytes.Buffer
	soak.Stdout, soak.Stderr = &out, &failure
	err = soak.Run()
	t.Logf("%s%s", &out, &failure)
	if failure.Len() > 0 {
		t.Fatal(err)
	}
	verdicts := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  (ok    |FAILED)  ([a-z-]+) `).FindAllStringSubmatch(out.String(), -1) {
		verdicts[m[2]] = m[1] != "FAILED"
	}
	failed := 0
	for _, c := range checks {
		ok, found := verdicts[c.name]
		if !found {
			t.Errorf("%s is not reported", c.name)
		}
		if !ok {
			failed++
		}
		if !ok && !slices.Contains(timed, c.name) {
			t.Errorf("%s failed", c.name)
		}
	}
	if code := soak.ProcessState.ExitCode(); (code == 0) != (failed == 0) || code > 1 {
		t.Errorf("%d checks failed, exit status %d", failed, code)
	}
}

// fine are figures that pass every check.
func fine() *figures {
	began := time.Now()
	c := cycleOf(1000, time.Minute)
	for _, p := range c.phases() {
		p.began = began
		p.sent.Store(uint64(p.rate * p.length.Seconds()))
		began = began.Add(p.length)
		for class := range p.good {
			for range 1000 {
				p.good[class].add(10 * time.Millisecond)
			}
		}
		for _, h := range p.curve {
			h.add(10 * time.Millisecond)
		}
	}
	f := &figures{
		connections: 1000, cycles: []cycle{c}, began: c.before.began, ended: began, faults: &faults{}, proofs: 10, acked: 100, ghosts: 5,
		report:    &verify.Report{Size: 100, Replayed: 100, Known: 10},
		witnessed: &witnessed{matched: 100},
	}
	for at := f.began; at.Before(f.ended); at = at.Add(watchEvery) {
		f.samples = append(f.samples, sample{at: at, queue: 500, resident: 300 << 20, goroutines: 2000, descriptors: 1000})
	}
	return f
}

func (f *figures) failed() (names []string) {
	for _, c := range checks {
		if _, ok := c.look(f); !ok {
			names = append(names, c.name)
		}
	}
	return names
}

// Each check fails by what it is for, and none by anything else.
func TestEachCheckCanFail(t *testing.T) {
	if failed := fine().failed(); len(failed) > 0 {
		t.Fatalf("of figures that are fine %q fail", failed)
	}
	slow := func(h *histogram) {
		for range 100 {
			h.add(time.Minute)
		}
	}
	spoil := map[string][]func(f *figures){
		"queue-bounded": {
			func(f *figures) { f.samples[len(f.samples)/2].queue = 601 },
			func(f *figures) { f.watchErr = errors.New("no answer") },
		},
		"memory-bounded": {
			func(f *figures) { f.samples[1].resident = 2 << 30 },
			func(f *figures) { // a leak in a long run
				f.ended = f.began.Add(10 * time.Minute)
				f.samples = nil
				for i := range 600 {
					f.samples = append(f.samples, sample{at: f.began.Add(time.Duration(i) * time.Second), queue: 1, resident: float64(300<<20 + i<<18), goroutines: 1, descriptors: 1})
				}
			},
		},
		"goroutines-bounded":      {func(f *figures) { f.samples[1].goroutines = 2501 }},
		"descriptors-bounded":     {func(f *figures) { f.samples[1].descriptors = 1501 }},
		"spins-bounded":           {func(f *figures) { slow(&f.cycles[0].twice.good[spins]) }},
		"commands-not-starved":    {func(f *figures) { slow(&f.cycles[0].twice.good[commands]) }},
		"reads-not-starved":       {func(f *figures) { slow(&f.cycles[0].twice.good[reads]) }},
		"recovery":                {func(f *figures) { slow(f.cycles[0].after.curve[20]) }},
		"receipts-verify":         {func(f *figures) { f.proofs = 0 }},
		"acknowledged-in-the-log": {func(f *figures) { f.witnessed.matched-- }, func(f *figures) { f.witnessed = nil }},
		"log-verifies": {
			func(f *figures) { f.auditErr = errors.New("no answer") },
			func(f *figures) { f.report.Findings = []verify.Finding{{}} },
			func(f *figures) { f.report.Replayed-- },
			func(f *figures) { f.report.Known = 0 },
		},
		"stops-cleanly": {func(f *figures) { f.stopErr = errors.New("exit status 2") }},
	}
	for _, c := range checks {
		ways := spoil[c.name]
		if _, otherwise := fine().faults.look(c.name); len(ways) == 0 && otherwise {
			name := c.name
			ways = append(ways, func(f *figures) { f.faults.add(name, "once") })
		}
		for i, way := range ways {
			f := fine()
			way(f)
			if failed := f.failed(); len(failed) != 1 || failed[0] != c.name {
				t.Errorf("%s, way %d: failed are %q", c.name, i, failed)
			}
		}
	}
}

// A server that does wrong is found out, by the check whose matter it is.
func TestWrongAnswersAreFound(t *testing.T) {
	answerOf := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("../../docs/formats/examples", name))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSpace(b)
	}
	good, vkey := answerOf("answer.json"), string(answerOf("log.vkey"))
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		fault  string // "" for none
	}{
		{"a good answer", reply(201, good), ""},
		{"a good refusal", refuse("1", `{"type":"/problems/overloaded","outcome":"not-accepted"}`), ""},
		{"a refusal that does not say when to come again", refuse("", `{"type":"/problems/overloaded","outcome":"not-accepted"}`), "refusals-well-formed"},
		{"a refusal that leaves open what happened", refuse("1", `{"type":"/problems/outcome-unknown","outcome":"outcome-unknown"}`), "refusals-well-formed"},
		{"a refusal that is no problem", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, "refusals-well-formed"},
		{"a server error", reply(500, []byte("{}")), "no-server-errors"},
		{"a cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no-connection-errors"},
		{"another status", reply(409, []byte("{}")), "answers-as-wanted"},
		{"no entry", reply(201, []byte("{}")), "answers-as-wanted"},
		{"no round", reply(201, bytes.Replace(good, []byte(`,"round":`), []byte(`,"x":`), 1)), "answers-as-wanted"},
		{"another leaf at the index", reply(201, bytes.Replace(good, []byte(`"leaf":{`), []byte(`"leaf":{"a":1,`), 1)), "answers-as-wanted"},
		{"a receipt that does not verify", reply(201, flip(good)), "receipts-verify"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := httptest.NewServer(c.answer)
			defer fake.Close()
			l := &load{server: &server{vkey: vkey}}
			w := &worker{load: l, conn: conn{addr: fake.Listener.Addr().String()}, rng: rand.New(rand.NewPCG(1, 2))}
			defer w.close()
			a := answer{body: good}
			if _, err := w.accept(&a); err != nil { // what the client has of this index
				t.Fatal(err)
			}
			p := newPhase("test", 0, time.Second)
			p.began = time.Now()
			for range 3 * sampled { // so that a receipt is looked at
				w.call(&mix[0], p, time.Now())
			}
			for name := range l.faults.count {
				if name != c.fault {
					t.Errorf("found %s: %s", name, l.faults.first[name])
				}
			}
			if c.fault != "" && l.faults.count[c.fault] == 0 {
				t.Errorf("%s was not found", c.fault)
			}
		})
	}
}

func reply(status int, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write(body)
	}
}

func refuse(retryAfter, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, body)
	}
}

// flip changes one character of the receipt's first hash.
func flip(answer []byte) []byte {
	b := bytes.Clone(answer)
	i := bytes.Index(b, []byte(`tlog-proof@v1\nindex`))
	i += bytes.Index(b[i:], []byte(`\n\n`)) - 10
	if b[i]++; b[i] > 'z' {
		b[i] = 'a'
	}
	return b
}

func TestHistogram(t *testing.T) {
	h := new(histogram)
	if h.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Millisecond}, {0.5, 500 * time.Millisecond}, {0.99, 990 * time.Millisecond}, {1, time.Second}} {
		if got := h.quantile(c.q); got < c.want || got > c.want*9/8 {
			t.Errorf("quantile %v: %v, expected %v to an eighth more", c.q, got, c.want)
		}
	}
	for d := time.Microsecond; d < time.Hour; d += d/5 + 1 {
		if i := bucketOf(d); bucketEnd(i) <= d || i > 0 && d >= 8*time.Microsecond && bucketEnd(i-1) > d {
			t.Errorf("%v is in bucket %d, which ends at %v", d, i, bucketEnd(i))
		}
	}
}
