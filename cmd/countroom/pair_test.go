package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/replica"
)

// trio is a pair and its arbiter, each the real program in a process of its own.
type trio struct {
	t          *testing.T
	a, b, w    *server
	consensus  map[*server]string // addresses
	balancer   *exec.Cmd
	said       journal // by the balancer
	machines   []*server
	balancerAt string
}

// doors finds an address whose next port is free, too.
func doors(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePorts(t, 2))
}

// command runs a command of the operator.
func command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("countroom %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func newTrio(t *testing.T, args ...string) *trio { return foundedTrio(t, nil, args) }

func foundedTrio(t *testing.T, env, args []string) *trio {
	args = append([]string{"--reserve-mib", "64"}, args...)
	p := trioOf(t, newServer(t, args...), newServer(t, args...), newServer(t, args...))
	for _, s := range []*server{p.a, p.b, p.w} {
		p.consensus[s], s.env = doors(t), env
	}
	p.found(p.a.start, p.b.start, p.w.start)
	return p
}

// newUnhurriedTrio is a pair in which a writes until it is lost or hands over.
func newUnhurriedTrio(t *testing.T, args ...string) *trio {
	return foundedTrio(t, []string{unhurriedVariable + "=1"}, args)
}

// trioOf is three servers that are to be a pair and its arbiter.
func trioOf(t *testing.T, a, b, w *server) *trio {
	p := &trio{t: t, a: a, b: b, w: w, consensus: map[*server]string{}, machines: []*server{a, b}}
	for _, s := range []*server{a, b, w} {
		t.Cleanup(func() {
			if s.cmd != nil && s.cmd.ProcessState == nil {
				s.signal(syscall.SIGKILL)
			}
		})
	}
	return p
}

// found makes the pair, starting each member as told.
func (p *trio) found(a, b, w func()) {
	p.t.Helper()
	command(p.t, "pair", "init", "--data", p.a.dir, "--name", "a", "--address", p.consensus[p.a])
	a()
	p.join(p.b, "b")
	b()
	p.join(p.w, "w", "--arbiter")
	w()
	p.until("everybody has a vote", func() bool {
		voted := func(name string) bool { return strings.Contains(p.a.log.String(), `"a member has joined" name=`+name) }
		return voted("b") && voted("w") && p.whole(p.a) && p.whole(p.b)
	})
}

// whole reports that a member knows the other two.
func (p *trio) whole(s *server) bool { return len(p.status(s).Peers) == 2 }

func (p *trio) join(s *server, name string, more ...string) {
	p.t.Helper()
	via := "COUNTROOM_TEST_MAIN=1 " + os.Args[0] + " pair admit --data " + p.a.dir
	command(p.t, append([]string{"pair", "join", "--data", s.dir, "--name", name, "--address", p.consensus[s], "--via", via}, more...)...)
}

func (p *trio) until(what string, holds func() bool) {
	p.t.Helper()
	said := func() string {
		return fmt.Sprintf("a:\n%s\nb:\n%s\nw:\n%s", p.a.log.String(), p.b.log.String(), p.w.log.String())
	}
	eventually(p.t, what, said, holds)
}

// status asks as countroom pair status does, without a process for each look:
// what is waited for moves on faster than one starts.
func (p *trio) status(s *server) replica.Status {
	p.t.Helper()
	status, err := p.ask(s)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, s.log.String())
	}
	return status
}

// ask is the same of a server that may be away.
func (p *trio) ask(s *server) (status replica.Status, err error) {
	client := controlClient(s.dir)
	client.Timeout = time.Minute
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://countroom/pair/status")
	if err != nil {
		return status, err
	}
	defer resp.Body.Close()
	return status, json.NewDecoder(resp.Body).Decode(&status)
}

// writer finds the machine that writes, and the other one.
func (p *trio) writer() (writer, other *server) {
	p.t.Helper()
	p.until("a machine writes", func() bool {
		for i, s := range p.machines {
			if p.status(s).Role.Term != 0 {
				writer, other = s, p.machines[1-i]
				return true
			}
		}
		return false
	})
	return writer, other
}

// balance starts HAProxy with the shipped configuration.
func (p *trio) balance() {
	p.t.Helper()
	p.balancerAt = freeAddress(p.t)
	program, err := exec.LookPath("haproxy")
	if err != nil {
		p.t.Fatalf("this test needs HAProxy: make deps: %v", err)
	}
	p.balancer = exec.Command(program, "-f", "../../deploy/haproxy/haproxy.cfg", "-db")
	p.balancer.Env = append(os.Environ(), "COUNTROOM_BIND="+p.balancerAt, "COUNTROOM_A="+p.a.addr, "COUNTROOM_B="+p.b.addr)
	p.balancer.Stdout, p.balancer.Stderr = &p.said, &p.said
	if err := p.balancer.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.balancer.Process.Kill()
		p.balancer.Wait()
	})
	p.until("the balancer answers", func() bool {
		resp, err := http.Get("http://" + p.balancerAt + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// at is the pair as its players see it: at the balancer, with a's credentials.
func (p *trio) at() *server {
	return &server{t: p.t, dir: p.a.dir, scheme: "http", addr: p.balancerAt, client: http.DefaultClient}
}

// switchOver lets the machine that does not write take over, asking one of them. It may be
// refused for once, or have the machines change places back, where a busy one has lost its place
// by itself.
func (p *trio) switchOver(asked *server) (writer, other *server) {
	p.t.Helper()
	p.until("the machines change places", func() bool {
		writer, other = p.writer()
		if out, err := countroom(p.t, "pair", "switchover", "--data", asked.dir); err != nil {
			p.t.Logf("switchover: %v\n%s", err, out)
			return false
		}
		for range 100 {
			if p.status(other).Role.Term != 0 {
				return true
			}
			time.Sleep(50 * time.Millisecond)
		}
		return false
	})
	return other, writer
}

// watcher plays one spin after another and notes how long each took and what
// came in between.
type watcher struct {
	mu     sync.Mutex
	last   time.Time // of an answer
	gap    time.Duration
	errors map[string]int // what a client saw that was no answer
	slow   map[string]int // the same, when there had been no answer for longer than an election may take
	stop   chan struct{}
	done   sync.WaitGroup
}

// electedWithin is how long the longest election takes that clients are kept from seeing: on a
// machine that is too busy for that, a balancer has nobody to ask.
const electedWithin = 1500 * time.Millisecond

func watch(s *server, token string) *watcher {
	w := &watcher{errors: map[string]int{}, slow: map[string]int{}, stop: make(chan struct{}), last: time.Now()}
	client := &http.Client{Timeout: patience}
	for player := range 4 {
		w.done.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("watch-%d-%d", player, n)
				for {
					select {
					case <-w.stop:
						return
					default:
					}
					asked := time.Now()
					status, answer := s.post(client, "/v1/players/player-0/deposits", token, key, `{"amount":1,"currency":"EUR"}`)
					now := time.Now()
					w.mu.Lock()
					if status == http.StatusCreated {
						w.gap = max(w.gap, now.Sub(w.last))
						w.last = now
						w.mu.Unlock()
						break
					}
					saw, what := w.errors, fmt.Sprintf("%d %.200s", status, answer)
					if now.Sub(w.last) > electedWithin {
						saw = w.slow
					}
					if now.Sub(asked) >= defaults().Pair.Hold {
						what = "held, " + what
					}
					saw[what]++
					w.mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return w
}

// longest returns the longest time without an answer since it was asked last.
func (w *watcher) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap := max(w.gap, time.Since(w.last))
	w.gap = 0
	return gap
}

// leave ends it, and returns what the clients saw.
func (w *watcher) leave() map[string]int {
	close(w.stop)
	w.done.Wait()
	return w.errors
}

// balanced wants clients of the balancer to have seen no error. What they saw while nobody wrote
// for longer than an election may take, or because the balancer's checks, of 200 ms each, ran out
// of time, is told of the machine, not of the pair.
func (p *trio) balanced(w *watcher) {
	p.t.Helper()
	seen := w.leave()
	if len(w.slow) > 0 {
		p.t.Logf("nobody had written for more than %v when clients of the balancer saw %v", electedWithin, w.slow)
	}
	if len(seen) == 0 {
		return
	}
	if said := p.said.String(); strings.Contains(said, "has no server available") && timedOut.MatchString(said) {
		p.t.Logf("checks of the balancer ran out of time, and its clients saw %v\n%s", seen, said)
		for saw := range seen {
			if strings.Contains(saw, "503 Service Unavailable") { // the balancer's own page
				delete(seen, saw)
			}
		}
	}
	if len(seen) > 0 {
		p.t.Errorf("clients of the balancer saw %v\n%s", seen, p.said.String())
	}
}

var timedOut = regexp.MustCompile(`is DOWN, reason: Layer\d timeout`)

// The machine that writes is killed under load, again and again, and comes back
// while play goes on; now and then it hands over as planned. Clients of the
// balancer see delays and no error, every acknowledged round is in the log, on
// both machines, and both logs are the same and hold. COUNTROOM_KILLS sets how
// often.
func TestAPairSurvivesItsMachines(t *testing.T) {
	kills := 4
	if v := os.Getenv("COUNTROOM_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	p := newTrio(t, "--epoch-age", "5s", "--epoch-draws", "500", "--epoch-reveal-delay", "1s")
	p.balance()
	at := p.at()
	players := seat(at, 6)
	players.play()
	w := watch(at, at.token("operator"))
	var failovers, switchovers []time.Duration
	for n := range kills {
		time.Sleep(200*time.Millisecond + rand.N(300*time.Millisecond))
		writer, other := p.writer()
		w.longest()
		if n%2 == 1 {
			writer, other = p.switchOver(p.machines[n%4/2])
			players.more(20)
			switchovers = append(switchovers, w.longest())
		}
		writer.signal(syscall.SIGKILL)
		p.until("the other machine writes", func() bool { return p.status(other).Role.Term != 0 })
		players.more(20)
		failovers = append(failovers, w.longest())
		writer.start()
		p.until("the machine that was killed follows", func() bool {
			now := p.status(other) // first: play goes on meanwhile
			back := p.status(writer)
			return back.Applied >= now.Applied && len(back.Peers) == 2
		})
	}
	players.more(max(50, 50*kills-len(players.acknowledged())))
	players.leave()
	p.balanced(w)
	p.until("both machines have all", func() bool { return p.status(p.a).Applied == p.status(p.b).Applied })
	t.Logf("without an answer at most, over %d kills: %v; over switchovers: %v; %d rounds", kills, failovers, switchovers, len(players.rounds))
	p.sameHead()
	for _, s := range p.machines {
		// Each machine is asked for itself: the published log is its own.
		players.s = s
		players.hold()
		report := players.verify()
		if report.Types["house.active.v2"] < uint64(kills) {
			t.Errorf("%d processes in the log, after %d kills", report.Types["house.active.v2"], kills)
		}
	}
	players.s = at
	players.repeat(1 + len(players.rounds)/200)
}

// The machine that writes is frozen for longer than an election takes, under
// load. Another one writes meanwhile; when the frozen one wakes up it still
// believes in itself, and acknowledges nothing that the log does not have.
func TestAPairSurvivesAFrozenWriter(t *testing.T) {
	p := newTrio(t)
	p.balance()
	at := p.at()
	players := seat(at, 4)
	players.play()
	w := watch(at, at.token("operator"))
	players.more(20)
	writer, other := p.writer()
	direct := watch(writer, at.token("operator")) // clients that know no other machine
	players.more(20)
	was := p.status(writer).Role.Term
	writer.cmd.Process.Signal(syscall.SIGSTOP)
	p.until("the other machine writes", func() bool { return p.status(other).Role.Term != 0 })
	players.more(20)
	writer.cmd.Process.Signal(syscall.SIGCONT)
	p.until("the frozen machine follows", func() bool {
		role := p.status(writer).Role
		return role.Leader != "" && (role.Term == 0 || role.Term != was)
	})
	players.more(20)
	// Who knows no other machine may wait for longer than a request is held.
	seen := direct.leave()
	for saw, n := range direct.slow {
		seen[saw] += n
	}
	for saw, n := range seen {
		if strings.HasPrefix(saw, "held, 503 ") && strings.Contains(saw, "/problems/passive") {
			continue
		}
		saw = strings.TrimPrefix(saw, "held, ")
		if !strings.HasPrefix(saw, "503 ") || !strings.Contains(saw, "/problems/outcome-unknown") {
			t.Errorf("clients of the frozen machine saw %d times %s", n, saw)
		}
	}
	players.leave()
	p.balanced(w)
	p.sameHead()
	players.hold()
	players.verify()
	players.repeat(1)
}

// sameHead waits until both machines publish a log of the same size, and wants
// one root of them.
func (p *trio) sameHead() {
	p.t.Helper()
	var bodies [2]string
	p.until("both machines publish the same size", func() bool {
		var sizes [2]string
		for i, s := range p.machines {
			_, note := s.get("/log/checkpoint", s.token("auditor"))
			body, _, _ := strings.Cut(string(note), "\n\n")
			bodies[i] = body
			sizes[i], _, _ = strings.Cut(strings.TrimPrefix(body, strings.Split(body, "\n")[0]+"\n"), "\n")
		}
		return sizes[0] == sizes[1]
	})
	if bodies[0] != bodies[1] {
		p.t.Fatalf("two heads of one size:\n%s\n%s", bodies[0], bodies[1])
	}
}

// What would make two pairs of one, or give keys away, is refused before
// anything is changed.
func TestAPairRefuses(t *testing.T) {
	refused := func(what, says string, args ...string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v\n%s\nwant %q", what, err, out, says)
		}
	}
	p := newUnhurriedTrio(t)
	admit := "COUNTROOM_TEST_MAIN=1 " + os.Args[0] + " pair admit --data "
	empty := func() string { return filepath.Join(t.TempDir(), "new") }
	refused("a name twice", "are not used twice", "pair", "join", "--data", empty(), "--name", "b", "--address", doors(t), "--via", admit+p.a.dir)
	refused("the passive machine admits", "ask \"a\"", "pair", "join", "--data", empty(), "--name", "c", "--address", doors(t), "--via", admit+p.b.dir)
	refused("a directory with a house", "expected a directory that is empty", "pair", "join", "--data", p.b.dir, "--name", "c", "--address", doors(t), "--via", admit+p.a.dir)
	refused("init of a machine of a pair", "in a pair already", "pair", "init", "--data", p.b.dir, "--name", "c", "--address", doors(t))
	refused("no address", "expected host:port", "pair", "init", "--data", empty(), "--name", "c", "--address", "nowhere")
	refused("nobody there", "start countroom serve first", "pair", "status", "--data", empty())
	refused("no pair", "not in a pair", "pair", "status", "--data", func() string {
		single := newServer(t, "--reserve-mib", "64")
		single.start()
		t.Cleanup(func() { single.signal(syscall.SIGTERM) })
		return single.dir
	}())
	refused("the writer removes itself", "does not remove itself", "pair", "remove", "a", "--data", p.a.dir)

	// The door of a machine is for the other machine: TLS without its certificate
	// ends before a request.
	host, port, _ := net.SplitHostPort(p.consensus[p.a])
	n, _ := strconv.Atoi(port)
	resp, err := http.Get(fmt.Sprintf("http://%s/v1/games", net.JoinHostPort(host, strconv.Itoa(n+1))))
	if err == nil {
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("the door answered %d %s", resp.StatusCode, b)
		}
	}
	// A stop hands over first, and is clean.
	if err := p.a.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.a.log.String())
	}
	p.until("b writes", func() bool { return strings.Contains(p.b.log.String(), "this machine writes") })
	if !strings.Contains(p.b.log.String(), "planned=true") {
		t.Errorf("b took over as if a had been lost:\n%s", p.b.log.String())
	}
}
