package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// place shows a log, and keeps the parts of tiles that it ever showed.
type place struct {
	mu    sync.Mutex
	files fstest.MapFS
	down  error
	reads int
}

func (p *place) show(files fstest.MapFS) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files == nil {
		p.files = fstest.MapFS{}
	}
	maps.Copy(p.files, files)
}

func (p *place) set(down error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *place) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	if p.down != nil {
		return buf, p.down
	}
	return verify.Dir(p.files).Read(ctx, buf, path, limit)
}

// post is a webhook.
type post struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []Alert
}

func newPost(t *testing.T) *post {
	p := &post{status: 204}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		var a Alert
		b, err := io.ReadAll(r.Body)
		if err := errors.Join(err, json.Unmarshal(b, &a)); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", b, err)
		}
		if w.WriteHeader(p.status); p.status == 204 {
			p.got = append(p.got, a)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *post) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// take returns what came since it was asked last: severity, kind and point of each.
func (p *post) take() (list []string, alerts []Alert) {
	p.mu.Lock()
	defer p.mu.Unlock()
	alerts, p.got = p.got, nil
	for _, a := range alerts {
		list = append(list, strings.TrimSpace(a.Severity+" "+a.Kind+" "+a.Point))
	}
	return list, alerts
}

// story is a house, its watch and what that says.
type story struct {
	t     *testing.T
	h     *logtest.House
	who   []logtest.Player
	house place
	post  *post
	now   time.Time
	cfg   Config
	w     *Watch
}

func newHouse() (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 41, Limits: epoch.Limits{AgeSeconds: 60, Draws: 100, RevealDelaySeconds: 2}})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, 50)
	return h, who
}

func newStory(t *testing.T, points ...Point) *story {
	s := &story{t: t, post: newPost(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.h, s.who = newHouse()
	s.house.show(s.h.Publish())
	s.cfg = Config{
		Dir: t.TempDir(), Webhook: s.post.URL, Metrics: filepath.Join(t.TempDir(), "watch.prom"), Workers: 2, Silence: time.Hour,
		Patience: 5 * time.Minute, Settle: time.Millisecond, Clock: func() time.Time { return s.now }, Log: slog.New(slog.DiscardHandler),
		Houses: []House{{VKey: s.h.VKey, Leaves: true, Points: append([]Point{{Name: "https://house.example", Source: &s.house}}, points...)}},
	}
	s.start()
	t.Cleanup(func() { s.w.Close() })
	return s
}

func (s *story) start() {
	s.t.Helper()
	w, err := Open(s.t.Context(), s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	w.teller.client.Timeout = time.Minute // of ours, on this machine, however much it has to do
	s.w = w
}

func (s *story) restart() {
	s.t.Helper()
	if err := s.w.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

// play lets the house go on and show it.
func (s *story) play(n int) {
	s.h.Play(s.who, n)
	s.house.show(s.h.Publish())
}

// says looks once, and wants these alerts.
func (s *story) says(want ...string) (Result, []Alert) {
	s.t.Helper()
	r := s.w.Round(s.t.Context())
	got, alerts := s.post.take()
	if !slices.Equal(got, want) {
		s.t.Fatalf("%q, expected %q; %v", got, want, r.Unchecked)
	}
	return r, alerts
}

func (s *story) quiet() {
	s.t.Helper()
	if r, _ := s.says(); r.Unchecked != nil || r.Evidence != 0 || s.w.Reports()[0].Replayed != s.h.Size() {
		s.t.Fatalf("%+v, %d of %d entries", r, s.w.Reports()[0].Replayed, s.h.Size())
	}
}

// proof has a stranger check the evidence of an alert, from the alert alone and
// from the file.
func (s *story) proof(a Alert) {
	s.t.Helper()
	file, err := os.ReadFile(a.File)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range [][]byte{a.Evidence, file} {
		f, err := evidence.Parse(b)
		if err != nil {
			s.t.Fatal(err)
		}
		if v, err := f.Check(evidence.SignedBy([]string{s.h.VKey})); err != nil || !v.Proven {
			s.t.Errorf("%+v, %v", v, err)
		}
	}
}

// An honest house is watched over a restart: nothing is said, every entry is gone
// through, and the house is asked for nothing twice.
func TestHonest(t *testing.T) {
	s := newStory(t)
	for _, n := range []int{0, 1, 0, 250, 300} {
		s.play(n)
		s.now = s.now.Add(time.Minute)
		s.quiet()
	}
	s.house.mu.Lock()
	before := s.house.reads
	s.house.mu.Unlock()
	s.restart()
	s.quiet()
	if asked := s.house.reads - before; asked != 1 {
		t.Errorf("after a restart the house was asked %d times, expected for its checkpoint", asked)
	}
	s.play(50)
	s.quiet()
	b, err := os.ReadFile(s.cfg.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf(`countroom_watch_size{origin="logtest.example/house"} %d`, s.h.Size()), fmt.Sprintf(`countroom_watch_checked{origin="logtest.example/house"} %d`, s.h.Size()),
		`countroom_watch_findings{origin="logtest.example/house"} 0`, `countroom_watch_ok{origin="logtest.example/house"} 1`, "# TYPE countroom_watch_alerts_total counter", "countroom_watch_alerts_waiting 0",
	} {
		if !strings.Contains(string(b), want+"\n") {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
}

// The house shows one history here and another there, under one key, whichever of
// them is ahead. The watch has the proof, tells it once, and not again after a
// restart, while it stays evidence.
func TestSplitView(t *testing.T) {
	for name, more := range map[string]int{"the other is behind": 3, "the other is ahead": 400} {
		t.Run(name, func(t *testing.T) {
			var mirror place
			s := newStory(t, Point{Name: "https://mirror.example", Source: &mirror})
			mirror.show(s.h.Publish())
			s.quiet()
			other, who := newHouse()
			other.Deposit(who[0], 1234) // for the eyes of the mirror's readers
			other.Play(who, more)
			mirror.show(other.Publish())
			s.play(100)
			r, alerts := s.says("evidence not-a-prefix https://mirror.example")
			if r.Evidence != 1 {
				t.Errorf("%+v", r)
			}
			s.proof(alerts[0])
			s.says()
			s.restart()
			if r, _ := s.says(); r.Evidence == 0 {
				t.Errorf("after a restart: %+v", r)
			}
			// The house itself goes on being checked.
			s.play(10)
			if s.says(); s.w.Reports()[0].Replayed != s.h.Size() {
				t.Errorf("%d of %d", s.w.Reports()[0].Replayed, s.h.Size())
			}
		})
	}
}

// Two roots of one size, of which a witness has the other.
func TestAWitnessCosignedAnother(t *testing.T) {
	var witness place
	s := newStory(t, Point{Name: "https://witness.example", Source: &witness, Witness: true})
	witness.show(fstest.MapFS{"checkpoint": {Data: s.h.Checkpoint()}})
	s.quiet()
	witness.show(fstest.MapFS{"checkpoint": {Data: s.h.Sign(s.h.Size(), tlog.Hash{7})}})
	_, alerts := s.says("evidence two-roots https://witness.example")
	s.proof(alerts[0])
}

// A witness cosigned more than the house shows to the watch, round after round;
// then the house shows it.
func TestTheHouseKeepsBack(t *testing.T) {
	var witness place
	s := newStory(t, Point{Name: "https://witness.example", Source: &witness, Witness: true})
	s.h.Play(s.who, 300)
	witness.show(fstest.MapFS{"checkpoint": {Data: s.h.Checkpoint()}})
	s.says()
	s.says()
	s.says("alarm behind https://witness.example")
	s.says()
	s.play(0)
	s.says("resolved behind https://witness.example")
	s.quiet()
}

// The house forks what it shows to the watch itself, and loses what it had shown.
func TestForkAndRollback(t *testing.T) {
	s := newStory(t)
	s.quiet()
	old := s.h.Publish()
	s.play(300)
	s.quiet()
	true1 := s.h.Publish()
	other, who := newHouse()
	other.Deposit(who[0], 1)
	other.Play(who, 600)
	s.house.show(other.Publish())
	r, alerts := s.says("evidence not-a-prefix https://house.example")
	if r.Unchecked == nil || r.Evidence != 1 {
		t.Errorf("%+v", r)
	}
	s.proof(alerts[0])
	other.Play(who, 10) // and grows, which is no news
	s.house.show(other.Publish())
	s.says()
	s.house.show(old)
	_, alerts = s.says("evidence shrunk https://house.example", "alarm unchecked")
	f, err := evidence.Parse(alerts[0].Evidence)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := f.Check(evidence.SignedBy([]string{s.h.VKey})); err != nil || v.Proven {
		t.Errorf("%+v, %v", v, err)
	}
	s.house.show(true1)
	s.says("resolved unchecked")
	// What goes on for days is said each day.
	s.house.show(other.Publish())
	s.says()
	s.now = s.now.Add(24 * time.Hour)
	s.says("evidence not-a-prefix https://house.example", "alarm silent")
}

// A rule that the house breaks is told with the entry, once, while the watch goes
// on; an alert waits until the webhook listens.
func TestFraud(t *testing.T) {
	s := newStory(t)
	s.quiet()
	s.h.Tamper = func(_ uint64, r entry.Record) { r.Head().Actor = "house" }
	at := s.h.Withdraw(s.who[1], 500)
	s.h.Tamper = nil
	s.play(5)
	s.post.answer(500)
	if r, _ := s.says(); r.Unchecked == nil || r.Evidence == 0 {
		t.Errorf("%+v", r)
	}
	s.post.answer(204)
	r := s.w.Round(t.Context())
	got, alerts := s.post.take()
	if len(got) == 0 || got[0] != "evidence finding" || alerts[0].Finding.Index != at || r.Evidence != len(got) {
		t.Fatalf("%q, %+v", got, r)
	}
	s.play(20)
	s.says()
	s.restart()
	if again, _ := s.says(); again.Evidence != r.Evidence {
		t.Errorf("%+v, expected %+v", again, r)
	}
}

// A secret that is due does not come out; then it does.
func TestMissingReveal(t *testing.T) {
	s := newStory(t)
	s.quiet()
	s.h.Turn()
	// Epoch 1 is closed by its age, and its secret kept back while time goes on.
	s.h.Wait(2 * time.Minute)
	seeds := epoch.Now(s.h.Rows())
	s.h.Append(&epoch.Closed{Draws: seeds.Draws, Epoch: 1, Reason: seeds.Due(s.h.Now)})
	for range 3 {
		s.h.Wait(10 * time.Minute)
		s.h.Deposit(s.who[0], 100)
	}
	s.house.show(s.h.Publish())
	_, alerts := s.says("alarm warning", "alarm incomplete")
	if !strings.Contains(alerts[1].Text, "has not come out") {
		t.Errorf("%+v", alerts)
	}
	s.says()
	s.h.Reveal(1)
	s.house.show(s.h.Publish())
	_, alerts = s.says("alarm warning", "resolved incomplete")
	if !strings.Contains(alerts[0].Text, "late reveal") {
		t.Errorf("%+v", alerts)
	}
}

// A heartbeat is missed, by the clock of the watch.
func TestSilence(t *testing.T) {
	s := newStory(t)
	s.quiet()
	s.now = s.now.Add(59 * time.Minute)
	s.quiet()
	s.now = s.now.Add(2 * time.Minute)
	s.says("alarm silent")
	s.says()
	s.play(1)
	s.says("resolved silent")
}

// Places that are away, slow, endless or of another form are said to be so when
// it lasts, and the house is watched meanwhile.
func TestHostilePlaces(t *testing.T) {
	stranger := logtest.New(logtest.Config{Seed: 5})
	for name, c := range map[string]struct {
		do  http.HandlerFunc
		why string
	}{
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "too-long"},
		"slow": {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }, "slow"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
		}, "redirected"},
		"missing":    {http.NotFound, "missing"},
		"a page":     {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>\n\n</html>\n") }, "signature"},
		"a stranger": {func(w http.ResponseWriter, _ *http.Request) { w.Write(stranger.Checkpoint()) }, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostile := httptest.NewServer(c.do)
			t.Cleanup(hostile.Close)
			src, err := verify.HTTP(hostile.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.why == "slow" {
				src = hasty{src}
			}
			s := newStory(t, Point{Name: "hostile", Source: src})
			for range failuresMost - 1 {
				s.play(1)
				s.says()
			}
			r, alerts := s.says("alarm unchecked hostile")
			if !strings.Contains(alerts[0].Text, c.why) && c.why != "signature" || r.Unchecked == nil || r.Evidence != 0 {
				t.Errorf("%+v, %+v", alerts, r)
			}
			if s.w.Reports()[0].Replayed != s.h.Size() {
				t.Errorf("the house was not watched meanwhile")
			}
		})
	}
}

// hasty has less patience than the watch.
type hasty struct{ verify.Source }

func (h hasty) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	return h.Source.Read(ctx, buf, path, limit)
}

// A house that is away, and comes back.
func TestUnreachable(t *testing.T) {
	s := newStory(t)
	s.quiet()
	s.house.set(errors.New("no route to host"))
	for range failuresMost - 1 {
		s.says()
	}
	s.says("alarm unchecked")
	s.says()
	s.house.set(nil)
	s.play(3)
	s.says("resolved unchecked")
}

// A house that never ends an answer has its turn and no more: the other one is
// watched, and this one is said not to be.
func TestEachHouseHasItsTurn(t *testing.T) {
	s := newStory(t)
	stuck := logtest.New(logtest.Config{Seed: 42})
	if err := s.w.Close(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Turn, s.cfg.Patience = 500*time.Millisecond, time.Hour
	s.cfg.Houses = append(s.cfg.Houses, House{VKey: stuck.VKey, Points: []Point{{Name: "https://stuck.example", Source: endless{}}}})
	s.start()
	told := false
	for deadline := time.Now().Add(5 * time.Minute); ; {
		r := s.w.Round(t.Context())
		_, alerts := s.post.take()
		for _, a := range alerts {
			told = told || a.Kind == "unchecked" && strings.Contains(a.Text, errTurn.Error())
		}
		if report := s.w.Reports()[0]; report != nil && report.Replayed == s.h.Size() && told {
			if r.Unchecked == nil {
				t.Error("everything is said to be checked")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v", r.Unchecked)
		}
		s.w.cfg.Turn += 100 * time.Millisecond // a machine may be too slow for any turn that is chosen before
	}
}

// endless never ends an answer.
type endless struct{}

func (endless) Read(ctx context.Context, buf []byte, _ string, _ int) ([]byte, error) {
	<-ctx.Done()
	return buf, context.Cause(ctx)
}

func TestNothingToWatch(t *testing.T) {
	h, _ := newHouse()
	point := Point{Name: "x", Source: &place{}}
	for name, cfg := range map[string]Config{
		"no house":              {},
		"no point":              {Houses: []House{{VKey: h.VKey}}},
		"a witness first":       {Houses: []House{{VKey: h.VKey, Points: []Point{{Name: "w", Source: &place{}, Witness: true}}}}},
		"no key":                {Houses: []House{{VKey: "x", Points: []Point{point}}}},
		"a webhook of a kind":   {Webhook: "mailto:x", Houses: []House{{VKey: h.VKey, Points: []Point{point}}}},
		"one house twice":       {Houses: []House{{VKey: h.VKey, Points: []Point{point}}, {VKey: h.VKey, Points: []Point{point}}}},
		"a quorum of strangers": {Trust: verify.Trust{Quorum: 1}, Houses: []House{{VKey: h.VKey, Points: []Point{point}}}},
	} {
		cfg.Dir = t.TempDir()
		if w, err := Open(t.Context(), cfg); err == nil {
			w.Close()
			t.Errorf("%s: it opened", name)
		}
	}
}

// Whatever a point shows, there is evidence only of what the key signed.
func FuzzPoint(f *testing.F) {
	h, who := newHouse()
	honest := h.Publish()
	f.Add(honest["checkpoint"].Data)
	f.Add(h.Sign(3, tlog.Hash{1}))
	f.Add([]byte("logtest.example/house\n5\n\n— x y\n"))
	h.Play(who, 3)
	signed := map[string]bool{string(honest["checkpoint"].Data): true}
	f.Fuzz(func(t *testing.T, checkpoint []byte) {
		var house, other place
		house.show(honest)
		other.show(fstest.MapFS{"checkpoint": {Data: checkpoint}})
		w, err := Open(t.Context(), Config{
			Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
			Houses: []House{{VKey: h.VKey, Points: []Point{{Name: "a", Source: &house}, {Name: "b", Source: &other}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		v, err := tlog.NewVerifier(h.VKey)
		if err != nil {
			t.Fatal(err)
		}
		_, unsigned := tlog.Open(checkpoint, v)
		if r := w.Round(t.Context()); r.Evidence > 0 && (unsigned != nil || signed[string(checkpoint)]) {
			t.Fatalf("%+v", r)
		}
	})
}
