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
	eventually(w.t, "the witness answers", w.log.String, func() bool {
		resp, err := http.Get("http://" + w.addr + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
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

// says waits until the log does.
func (s *server) says(what string, is func(o verify.Outside, alarms uint64) bool) {
	s.t.Helper()
	var o verify.Outside
	var alarms uint64
	said := func() string { return fmt.Sprintf("%+v, %d alarms\n%s", o, alarms, s.log.String()) }
	eventually(s.t, "there is "+what, said, func() bool {
		o, alarms = s.outside()
		return is(o, alarms)
	})
}

// stopped waits until nobody can play for want of a seed.
func (s *server) stopped(players *table) {
	s.t.Helper()
	client, n := &http.Client{Timeout: patience}, 0
	eventually(s.t, "nobody plays", s.log.String, func() bool {
		n++
		key := fmt.Sprintf("stopped-%d", n)
		status, answer := s.post(client, "/v1/spins", players.tokens[0], key, `{"stake":20}`)
		if status == http.StatusServiceUnavailable {
			return strings.Contains(s.log.String(), "what the outside adds to the seed has not come")
		}
		if index, leaf, err := read(answer); err == nil {
			players.mu.Lock()
			players.rounds = append(players.rounds, round{0, key, index, leaf, answer})
			players.mu.Unlock()
		}
		return false
	})
}

// A house asks a real witness for a nonce for each seed. The witness is killed and
// comes back, and shows what it had promised; while it is away there is no play
// beyond the seed in use. The operator then chooses to go on without it: a witness
// that lies, and one that is gone, are each an alarm and a downgraded seed.
func TestSeedsWithAWitness(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--epoch-age", "10m", "--epoch-draws", "100", "--epoch-reveal-delay", "0s")
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
	s.args = append(s.args, "--epoch-age", "1s", "--external-policy", "witness", "--external-witnesses", strings.TrimSpace(string(named))+"@http://"+l.addr, "--external-patience", "1s")
	s.start()
	players := seat(s, 2)
	players.play()
	s.says("seeds with the witness", func(o verify.Outside, _ uint64) bool { return o.Witness >= 2 })
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
	before, alarms := s.outside()
	if before.Downgraded != 0 || before.None > 2 { // those of the house's first start
		t.Errorf("a seed without the witness: %+v", before)
	}

	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	s.args = append(s.args, "--external-on-failure", "downgrade")
	l.lying.Store(true)
	s.start()
	players.play()
	s.says("a downgrade for the lie", func(o verify.Outside, a uint64) bool { return o.Downgraded > before.Downgraded && a > alarms })
	before, _ = s.outside()
	l.lying.Store(false)
	s.says("the witness's word again", func(o verify.Outside, _ uint64) bool { return o.Witness > before.Witness })
	before, alarms = s.outside()
	w.kill()
	s.says("a downgrade for the silence", func(o verify.Outside, a uint64) bool {
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
