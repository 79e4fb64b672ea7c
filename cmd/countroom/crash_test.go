package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/replica"
	"countroom/ledger/replica/core"

	"github.com/rogpeppe/go-internal/testscript"
)

// unhurriedVariable lets a member of a pair take its time, for tests in which nobody else is to
// lead because the machine is busy.
const unhurriedVariable = "COUNTROOM_TEST_UNHURRIED"

// The test binary is also the program: a child with this variable runs main.
func TestMain(m *testing.M) {
	if os.Getenv("COUNTROOM_TEST_MAIN") != "" {
		os.Unsetenv("COUNTROOM_TEST_MAIN")
		underneath.Clock = testClock()
		if os.Getenv(unhurriedVariable) != "" {
			os.Unsetenv(unhurriedVariable)
			underneath.Consensus = func(rc *replica.Config) { rc.Tick = 6 * core.TickMillis * time.Millisecond }
		}
		main()
		os.Exit(0)
	}
	if at := os.Getenv("COUNTROOM_TEST_BALANCER"); at != "" { // what keepalived asks in its test
		panic(http.ListenAndServe(at, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	}
	testscript.Main(m, map[string]func(){"countroom": main})
}

// server is the real program in a process of its own.
type server struct {
	t      *testing.T
	dir    string
	scheme string
	addr   string
	client *http.Client // for readiness
	args   []string
	within []string // a command that puts the process where it is to run
	env    []string
	exe    string // default that of the test
	cmd    *exec.Cmd
	log    journal
}

// journal is what a process says, read while it goes on.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b.Reset()
}

func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	return &server{t: t, dir: filepath.Join(t.TempDir(), "house"), scheme: "http", addr: freeAddress(t), client: http.DefaultClient, args: args}
}

// launch starts a process without waiting for it.
func (s *server) launch() {
	s.t.Helper()
	s.log.Reset()
	s.cmd = s.process()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// process is the server's, not started yet.
func (s *server) process() *exec.Cmd {
	line := append(append(slices.Clone(s.within), cmp.Or(s.exe, os.Args[0]), "serve", "--quiet", "--data", s.dir, "--listen", s.addr, "--drain-delay", "100ms"), s.args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COUNTROOM_") }), "COUNTROOM_TEST_MAIN=1")
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Stderr = &s.log
	return cmd
}

func (s *server) start() {
	s.t.Helper()
	s.launch()
	eventually(s.t, "the server is ready", s.log.String, func() bool {
		resp, err := s.client.Get(s.scheme + "://" + s.addr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// patience is how long a test waits for what is bound to come, on whatever machine: it only
// ends a test that has failed.
const patience = 5 * time.Minute

// eventually waits for what is bound to come.
func eventually(t *testing.T, what string, said func() string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(25 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("in vain waited until %s\n%s", what, said())
		}
	}
}

func (s *server) signal(sig syscall.Signal) error {
	s.cmd.Process.Signal(sig)
	return s.cmd.Wait()
}

func (s *server) token(who string) string {
	b, err := os.ReadFile(filepath.Join(s.dir, "credentials", who+".key"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// post sends a command once; status 0 says that nothing came back.
func (s *server) post(client *http.Client, path, token, key, body string) (status int, answer []byte) {
	req, err := http.NewRequest("POST", "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, answer
}

// until retries one command until the house has answered it.
func (s *server) until(client *http.Client, path, token, key, body string) []byte {
	for start := time.Now(); time.Since(start) < patience; {
		status, answer := s.post(client, path, token, key, body)
		switch status {
		case http.StatusCreated:
			return answer
		case 0, http.StatusServiceUnavailable:
			time.Sleep(10 * time.Millisecond)
		default:
			panic(fmt.Sprintf("%s: %d %s", path, status, answer))
		}
	}
	panic(path + ": never answered")
}

// kill -9 under load, again and again: while the process plays, turns its seed
// epochs, starts and stops. Nothing that was acknowledged is lost, nothing
// happens twice, retries get their answer, and the verifier passes with every
// receipt that the players kept. COUNTROOM_KILLS sets how often.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	kills := 20
	if v := os.Getenv("COUNTROOM_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	// Epochs end after so few draws that one is turning most of the time.
	s := newServer(t, "--epoch-age", "2s", "--epoch-draws", "200", "--epoch-reveal-delay", "1s")
	s.start()
	players := seat(s, 8)
	players.play()
	opened := 1 // processes that said they were ready
	killed := map[string]int{}
	kill := func(when string) {
		s.signal(syscall.SIGKILL)
		killed[when]++
	}
	for n := 0; n < kills; n++ {
		time.Sleep(rand.N(400 * time.Millisecond))
		switch rand.IntN(4) {
		case 0:
			s.cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(rand.N(150 * time.Millisecond))
			kill("stopping")
		case 1:
			kill("playing")
			s.launch()
			time.Sleep(rand.N(300 * time.Millisecond))
			kill("starting")
			n++
		default:
			kill("playing")
		}
		s.start()
		opened++
		players.hold()
		players.repeat(1 + len(players.acknowledged())/50)
	}
	players.more(max(100, 20*kills-len(players.acknowledged()))) // on a slow machine the last process gets the load that the others had no time for
	players.leave()
	players.hold()
	players.repeat(1 + len(players.rounds)/10_000)
	report := players.verify()
	if got := report.Types["house.active"]; got < uint64(opened) || got > uint64(opened+killed["starting"]) {
		t.Errorf("%d processes in the log: %d were ready, %d were killed before", got, opened, killed["starting"])
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
	t.Logf("killed %v, %d rounds, %d epochs revealed", killed, len(players.rounds), report.Epochs.Revealed)
}
