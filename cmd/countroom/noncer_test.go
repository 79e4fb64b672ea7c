package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countroom/regulator/verify"
)

// regulator is the real witness in a process of its own.
type regulator struct {
	t       *testing.T
	program string
	dir     string
	addr    string
	vkey    string // file of the house's verifier key
	cmd     *exec.Cmd
	log     journal
}

func newRegulator(t *testing.T, vkey string) *regulator {
	t.Helper()
	dir := t.TempDir()
	// As `make build` does, so that what it built is not built again.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir, "countroom/cmd/countroom-witness")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := &regulator{t: t, program: filepath.Join(dir, "countroom-witness"), dir: filepath.Join(dir, "w1"), addr: freeAddress(t), vkey: vkey}
	t.Cleanup(w.kill)
	return w
}

func (w *regulator) start() {
	w.t.Helper()
	w.log.Reset()
	w.cmd = exec.Command(w.program, "--data", w.dir, "--name", "witness.example/w1", "--log", w.vkey, "--nonces", "--listen", w.addr)
	w.cmd.Stderr = &w.log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	for range 600 {
		if resp, err := http.Get("http://" + w.addr + "/healthz"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("the witness does not answer:\n%s", w.log.String())
}

func (w *regulator) kill() {
	if w.cmd != nil {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		w.cmd = nil
	}
}

// liar is what a house takes for a witness: it hands on what the witness says, and
// changes the nonces while it lies.
type liar struct {
	addr  string
	lying atomic.Bool
}

func newLiar(t *testing.T, w *regulator) *liar {
	l := &liar{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.addr})
	proxy.ModifyResponse = func(resp *http.Response) error {
		b, err := io.ReadAll(resp.Body)
		if at := bytes.Index(b, []byte(`"nonce":"`)); at >= 0 && l.lying.Load() {
			at += len(`"nonce":"`)
			b[at] = "0123456789abcdef0"[bytes.IndexByte([]byte("0123456789abcdef"), b[at])+1]
		}
		resp.Body = io.NopCloser(bytes.NewReader(b))
		return err
	}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of a witness that is killed on purpose
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy}
	go server.Serve(lis)
	t.Cleanup(func() { server.Close() })
	l.addr = lis.Addr().String()
	return l
}

// outside is what the verifier reads in the log about the outside, and how many alarms there are.
func (s *server) outside() (o verify.Outside, alarms uint64) {
	s.t.Helper()
	src, err := verify.HTTP("http://"+s.addr, s.token("regulator"))
	if err != nil {
		s.t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := verify.Log(context.Background(), src, verify.Options{VKey: strings.TrimSpace(string(vkey))})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range report.Findings {
		s.t.Errorf("finding: %+v", f)
	}
	return report.Outside, report.Types["alarm.raised"]
}

// eventually waits until the log says so.
func (s *server) eventually(what string, is func(o verify.Outside, alarms uint64) bool) {
	s.t.Helper()
	for range 120 {
		if is(s.outside()) {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	o, alarms := s.outside()
	s.t.Fatalf("%s: not in a minute: %+v, %d alarms\n%s", what, o, alarms, s.log.String())
}

// stopped waits until nobody can play for want of a seed.
func (s *server) stopped(players *table) {
	s.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second}
	for n := range 600 {
		key := fmt.Sprintf("stopped-%d", n)
		status, answer := s.post(client, "/v1/spins", players.tokens[0], key, `{"stake":20}`)
		if status == http.StatusServiceUnavailable {
			if !strings.Contains(s.log.String(), "what the outside adds to the seed has not come") {
				s.t.Errorf("refused with %s; the process says\n%s", answer, s.log.String())
			}
			return
		}
		if index, leaf, err := read(answer); err == nil {
			players.mu.Lock()
			players.rounds = append(players.rounds, round{0, key, index, leaf, answer})
			players.mu.Unlock()
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("still playing after half a minute\n%s", s.log.String())
}

// A house asks a real witness for a nonce for each seed. The witness is killed and
// comes back, and shows what it had promised; while it is away there is no play
// beyond the seed in use. The operator then chooses to go on without it: a witness
// that lies, and one that is gone, are each an alarm and a downgraded seed.
func TestSeedsWithAWitness(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--epoch-age", "1s", "--epoch-draws", "100", "--epoch-reveal-delay", "0s")
	s.start() // the house is founded, so that the witness can be given its verifier key
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	w := newRegulator(t, filepath.Join(s.dir, "log.vkey"))
	w.start()
	l := newLiar(t, w)
	named, err := os.ReadFile(filepath.Join(w.dir, "nonces.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.args = append(s.args, "--external-policy", "witness", "--external-witnesses", strings.TrimSpace(string(named))+"@http://"+l.addr, "--external-patience", "1s")
	s.start()
	players := seat(s, 2)
	players.play()
	s.eventually("seeds with the witness", func(o verify.Outside, _ uint64) bool { return o.Witness >= 2 })
	for range 2 {
		w.kill()
		w.start()
		players.more(50)
	}
	w.kill()
	s.stopped(players)
	w.start()
	players.more(150)
	players.leave()

	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	s.args = append(s.args, "--external-on-failure", "downgrade")
	l.lying.Store(true)
	s.start()
	before, alarms := s.outside()
	if before.Downgraded != 0 || before.None > 2 { // those of the house's first start
		t.Errorf("a seed without the witness: %+v", before)
	}
	players.play()
	s.eventually("a downgrade for the lie", func(o verify.Outside, a uint64) bool { return o.Downgraded > before.Downgraded && a > alarms })
	l.lying.Store(false)
	s.eventually("the witness's word again", func(o verify.Outside, _ uint64) bool { return o.Witness > before.Witness })
	w.kill()
	before, alarms = s.outside()
	s.eventually("a downgrade for the silence", func(o verify.Outside, a uint64) bool {
		return o.None > before.None && a > alarms
	})
	players.leave()
	players.repeat(1 + len(players.acknowledged())/20)
	report := players.verify()
	if report.Outside.Downgraded == 0 || len(report.Outside.Witnesses) != 1 || !strings.Contains(report.Outside.Witnesses[0], "witness.example/w1") {
		t.Errorf("%+v", report.Outside)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}
