package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countroom/ledger"
)

// two are the machines of a pair, joined by function calls instead of a network.
type two struct {
	mu      sync.Mutex
	writer  string // "a", "b" or ""
	changed chan struct{}
	relays  map[string]*Relay
	answers map[string]func(w http.ResponseWriter, r *http.Request, body string) // by machine
	cut     bool                                                                 // between the two
	sent    bool                                                                 // what is cut is cut after it arrived
	asked   []string
}

func newTwo() *two {
	t := &two{changed: make(chan struct{}), relays: map[string]*Relay{}, answers: map[string]func(http.ResponseWriter, *http.Request, string){}}
	for _, name := range []string{"a", "b"} {
		t.relays[name] = New(Config{
			Local: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				t.mu.Lock()
				t.asked = append(t.asked, name+" "+r.Method+" "+r.URL.String()+" "+string(body))
				answer := t.answers[name]
				t.mu.Unlock()
				if answer != nil {
					answer(w, r, string(body))
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Machine", name)
				w.WriteHeader(http.StatusCreated)
				fmt.Fprintf(w, "%s by %s for %s", body, name, r.Header.Get("Authorization"))
			}),
			Place: func() Place {
				t.mu.Lock()
				defer t.mu.Unlock()
				p := Place{Here: t.writer == name, Changed: t.changed}
				if t.writer != "" && !p.Here {
					p.Peer = t.writer
				}
				return p
			},
			Peer: t,
			Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
				w.WriteHeader(http.StatusServiceUnavailable)
				switch {
				case errors.Is(err, ledger.ErrUnknownOutcome):
					io.WriteString(w, unknown)
				case errors.Is(err, ledger.ErrPassive):
					io.WriteString(w, passive)
				default:
					io.WriteString(w, err.Error())
				}
			},
		})
	}
	return t
}

const (
	unknown = `{"type":"/problems/outcome-unknown","outcome":"outcome-unknown"}`
	passive = `{"type":"/problems/passive","outcome":"not-accepted"}`
)

// RoundTrip is the way between the machines.
func (t *two) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	cut, sent := t.cut, t.sent
	t.mu.Unlock()
	if cut && !sent {
		return nil, fmt.Errorf("no way: %w", ErrNotSent)
	}
	w := httptest.NewRecorder()
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), r.Body)
	in.Header = r.Header.Clone()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.relays[r.URL.Host].Door().ServeHTTP(w, in)
	}()
	select {
	case <-done:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if cut {
		return nil, errors.New("cut off while the answer was awaited")
	}
	return w.Result(), nil
}

// write makes a machine the one that writes.
func (t *two) write(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writer = name
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *two) answer(name string, f func(w http.ResponseWriter, r *http.Request, body string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers[name] = f
}

func (t *two) ask(name, method, path, body string) *http.Response {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer token")
	r.Header.Set("Idempotency-Key", "k")
	t.relays[name].ServeHTTP(w, r)
	return w.Result()
}

func expect(t *testing.T, resp *http.Response, status int, body string) {
	t.Helper()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status || string(b) != body {
		t.Errorf("%d %s, want %d %s", resp.StatusCode, b, status, body)
	}
}

func TestEitherMachineAnswers(t *testing.T) {
	p := newTwo()
	p.write("a")
	for _, asked := range []string{"a", "b"} {
		resp := p.ask(asked, "POST", "/v1/spins?x=1", `{"stake":20}`)
		expect(t, resp, 201, `{"stake":20} by a for Bearer token`)
		if resp.Header.Get("Machine") != "a" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", resp.Header)
		}
	}
	p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) { w.Header().Set("Content-Length", "77") })
	if got := p.ask("b", "HEAD", "/v1/games", "").Header.Get("Content-Length"); got != "77" {
		t.Errorf("HEAD was answered with the length %q", got)
	}
	p.answer("a", nil)
	// What each machine can say by itself it does say.
	for _, path := range []string{"/log/checkpoint", "/readyz", "/metrics", "/docs"} {
		if got := p.ask("b", "GET", path, "").Header.Get("Machine"); got != "b" {
			t.Errorf("%s was answered by %q", path, got)
		}
	}
	if p.asked[1] != `a POST /v1/spins?x=1 {"stake":20}` {
		t.Errorf("it arrived as %q", p.asked)
	}
}

// While nobody writes, requests wait; when somebody does they are answered.
func TestRequestsAreHeldDuringAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTwo()
		start := time.Now()
		go func() {
			time.Sleep(700 * time.Millisecond)
			p.write("b")
		}()
		var both sync.WaitGroup
		for _, asked := range []string{"a", "b"} {
			both.Go(func() { expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 201, "1 by b for Bearer token") })
		}
		both.Wait()
		if took := time.Since(start); took > time.Second {
			t.Errorf("answered after %v", took)
		}
	})
}

// A command whose machine ceases to write is asked again where the next writes.
func TestAnOpenOutcomeIsAskedAgain(t *testing.T) {
	for name, lose := range map[string]func(p *two){
		"deposed here": func(p *two) {
			p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(503)
				io.WriteString(w, unknown)
				p.write("b")
			})
		},
		"stopped here": func(p *two) {
			p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.WriteHeader(503)
				io.WriteString(w, `{"type":"/problems/stopped","outcome":"not-accepted"}`)
				p.write("b")
			})
		},
		"hung, and another elected": func(p *two) {
			p.answer("a", func(w http.ResponseWriter, r *http.Request, _ string) {
				p.write("b")
				<-make(chan struct{})
			})
		},
	} {
		for _, asked := range []string{"a", "b"} {
			if asked == "a" && strings.HasPrefix(name, "hung") {
				continue // then the client has to ask the other machine
			}
			t.Run(name+", asked "+asked, func(t *testing.T) {
				p := newTwo()
				p.relays["a"].cfg.Hold, p.relays["b"].cfg.Hold = 5*time.Minute, 5*time.Minute // of ours
				p.write("a")
				lose(p)
				resp := p.ask(asked, "POST", "/v1/spins", "1")
				expect(t, resp, 201, "1 by b for Bearer token")
				if resp.Header.Get("Retry-After") != "" {
					t.Error("the first answer's headers are in the second")
				}
			})
		}
	}
}

// What is refused after the deadline says truly whether it may have been done.
func TestTheDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(p *two)
		method  string
		status  int
		body    string
	}{
		"nobody writes":            {func(*two) {}, "POST", 503, passive},
		"the writer is cut off":    {func(p *two) { p.write("a"); p.cut = true }, "POST", 503, passive},
		"its answer is cut off":    {func(p *two) { p.write("a"); p.cut, p.sent = true, true }, "POST", 503, unknown},
		"a read, and nobody":       {func(*two) {}, "GET", 201, " by b for Bearer token"},
		"the writer knows nothing": {func(p *two) { p.write("a"); p.answer("a", says(unknown)) }, "POST", 503, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTwo()
				c.prepare(p)
				body := ""
				if c.method == "POST" {
					body = "1"
				}
				start := time.Now()
				resp := p.ask("b", c.method, "/v1/x", body)
				if marked := resp.Header.Get(Passive) != ""; marked != (c.method == "GET") {
					t.Errorf("an answer to %s says it is as of what one machine knows: %v", c.method, marked)
				}
				expect(t, resp, c.status, c.body)
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("after %v", took)
				}
			})
		})
	}
}

func says(problem string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(503)
		io.WriteString(w, problem)
	}
}

// A machine that reaches nobody holds nothing back: the client is to ask the
// other one.
func TestNothingIsHeldInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTwo()
		var alone atomic.Bool
		p.relays["b"].cfg.Ready = func() error {
			if alone.Load() {
				return errors.New("alone")
			}
			return nil
		}
		start := time.Now()
		time.AfterFunc(time.Second, func() { alone.Store(true) })
		expect(t, p.ask("b", "POST", "/v1/spins", "1"), 503, passive)
		if took := time.Since(start); took < time.Second || took > 1200*time.Millisecond {
			t.Errorf("after %v", took)
		}
	})
}

// A machine that was cut off, or asleep, believes for a while that it writes. It
// shows no account and refuses no command before the others have said so; what it
// accepted the log has.
func TestAMachineThatOnlyBelieves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTwo()
		p.write("a")
		deposed := errors.New("another machine writes")
		for _, asked := range []string{"a", "b"} {
			p.relays["a"].cfg.Confirm = func(context.Context) error { return deposed }
			p.answer("a", nil)
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 201, "1 by a for Bearer token")
			time.AfterFunc(time.Second, func() { p.write("b") })
			start := time.Now()
			expect(t, p.ask(asked, "GET", "/v1/x", ""), 201, " by b for Bearer token")
			p.write("a")
			p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(409) })
			time.AfterFunc(time.Second, func() { p.write("b") })
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 201, "1 by b for Bearer token")
			if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
				t.Errorf("after %v", took)
			}
			p.write("a")
			p.relays["a"].cfg.Confirm = func(context.Context) error { return nil }
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 409, "")
		}
	})
}

// A machine without room or signer gives way when the other one is fit: what it
// refuses is held until then, and told as it is when that does not come to pass.
func TestAMachineThatIsToGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const full = `{"type":"/problems/no-space","outcome":"not-accepted"}`
		for _, asked := range []string{"a", "b"} {
			p := newTwo()
			p.write("a")
			p.answer("a", says(full))
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 503, full)
			p.relays[asked].cfg.Spare = func() bool { return true }
			p.relays[asked].cfg.Hold = 4950 * time.Millisecond // no request is under way when it ends
			start := time.Now()
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 503, full)
			if took := time.Since(start); took < 4*time.Second {
				t.Errorf("held for %v", took)
			}
			time.AfterFunc(time.Second, func() { p.write("b") })
			expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 201, "1 by b for Bearer token")
		}
	})
}

// A refusal that the next machine would repeat goes to the client at once.
func TestARefusalIsPassedOn(t *testing.T) {
	const overloaded = `{"type":"/problems/overloaded","outcome":"not-accepted"}`
	for _, asked := range []string{"a", "b"} {
		p := newTwo()
		p.write("a")
		p.answer("a", says(overloaded))
		expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 503, overloaded)
		p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(409) })
		expect(t, p.ask(asked, "POST", "/v1/spins", "1"), 409, "")
	}
}

// A machine that takes no commands says "not accepted" without a look at the key. Of
// a command that another one may have carried out before, that is not passed on.
func TestARefusalAfterAnOpenOutcome(t *testing.T) {
	const silent = `{"type":"/problems/signer-silent","outcome":"not-accepted"}`
	for name, writer := range map[string]string{"here": "b", "there": "a"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTwo()
				p.write("a")
				p.answer("a", func(w http.ResponseWriter, _ *http.Request, _ string) {
					p.answer(writer, says(silent))
					p.mu.Lock()
					p.cut, p.sent = false, false
					p.mu.Unlock()
					p.write(writer)
				})
				p.cut, p.sent = true, true // the first answer is lost
				expect(t, p.ask("b", "POST", "/v1/spins", "1"), 503, unknown)
				expect(t, p.ask("b", "POST", "/v1/spins", "2"), 503, silent)
			})
		})
	}
}

// Whoever has hung up is not waited for, and his command not carried out again and
// again.
func TestAClientThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTwo()
		p.write("a")
		ctx, hangUp := context.WithCancel(t.Context())
		p.answer("a", func(w http.ResponseWriter, r *http.Request, _ string) {
			hangUp()
			says(unknown)(w, r, "")
		})
		start := time.Now()
		p.relays["a"].ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/v1/spins", strings.NewReader("1")))
		if took := time.Since(start); len(p.asked) != 1 || took > time.Second {
			t.Errorf("asked %d times in %v", len(p.asked), took)
		}
	})
}

// A request never goes to and fro: a door whose machine does not write says so.
func TestADoorRelaysNothing(t *testing.T) {
	p := newTwo()
	p.write("a")
	w := httptest.NewRecorder()
	p.relays["b"].Door().ServeHTTP(w, httptest.NewRequest("POST", "/v1/spins", strings.NewReader("1")))
	if w.Code != http.StatusMisdirectedRequest || len(p.asked) > 0 {
		t.Errorf("%d, asked %q", w.Code, p.asked)
	}
}

// A body that the API would refuse for its size is refused by it, and not read
// without bound.
func TestALongBodyIsCut(t *testing.T) {
	p := newTwo()
	p.write("a")
	p.answer("a", func(w http.ResponseWriter, _ *http.Request, body string) {
		fmt.Fprint(w, len(body))
	})
	expect(t, p.ask("b", "POST", "/v1/spins", strings.Repeat("x", 1<<20)), 200, fmt.Sprint(bodyMost+1))
}
