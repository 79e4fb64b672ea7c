package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"countroom/regulator/verify"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is also the program: a child with this variable runs main.
func TestMain(m *testing.M) {
	if os.Getenv("COUNTROOM_TEST_MAIN") != "" {
		os.Unsetenv("COUNTROOM_TEST_MAIN")
		main()
		os.Exit(0)
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
	cmd    *exec.Cmd
	log    bytes.Buffer
}

func newServer(t *testing.T, args ...string) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &server{t: t, dir: filepath.Join(t.TempDir(), "house"), scheme: "http", addr: l.Addr().String(), client: http.DefaultClient, args: args}
}

func (s *server) start() {
	s.t.Helper()
	s.log.Reset()
	s.cmd = exec.Command(os.Args[0], append([]string{"serve", "--quiet", "--data", s.dir, "--listen", s.addr, "--drain-delay", "100ms"}, s.args...)...)
	s.cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 600 {
		resp, err := s.client.Get(s.scheme + "://" + s.addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("not ready after 30 s:\n%s", s.log.String())
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
	for range 3000 {
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

type answered struct {
	Leaf  json.RawMessage
	Token string
}

// kill -9 under load, again and again: nothing that was acknowledged is lost,
// nothing happens twice, retries get their answer, and the verifier passes with
// every receipt that the players kept. COUNTROOM_KILLS sets how often.
func TestKilledUnderLoad(t *testing.T) {
	kills := 12
	if v := os.Getenv("COUNTROOM_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	const players = 16
	s := newServer(t, "--epoch-age", "2s", "--epoch-reveal-delay", "1s")
	s.start()
	operator := s.token("operator")

	var mu sync.Mutex
	acked := map[string]json.RawMessage{} // key → leaf
	var kept []verify.Known
	stop := make(chan struct{})
	var wg sync.WaitGroup
	tokens := make([]string, players)
	for p := range players {
		wg.Add(1)
		go func() {
			defer wg.Done()
			client := &http.Client{Timeout: 5 * time.Second}
			id := fmt.Sprintf("player-%d", p)
			s.until(client, "/v1/players", operator, "create-"+id, fmt.Sprintf(`{"id":%q,"currency":"EUR"}`, id))
			s.until(client, "/v1/players/"+id+"/deposits", operator, "deposit-"+id, `{"amount":100000000,"currency":"EUR"}`)
			var opened answered
			if err := json.Unmarshal(s.until(client, "/v1/sessions", operator, "session-"+id, fmt.Sprintf(`{"player":%q,"game":"lamplight-quay"}`, id)), &opened); err != nil {
				panic(err)
			}
			tokens[p] = opened.Token
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("%s-%d", id, n)
				raw := s.until(client, "/v1/spins", opened.Token, key, `{"stake":20}`)
				var a answered
				if err := json.Unmarshal(raw, &a); err != nil {
					panic(err)
				}
				mu.Lock()
				acked[key] = a.Leaf
				if len(kept) < 2000 {
					kept = append(kept, verify.Known{Name: key, Data: raw})
				}
				mu.Unlock()
			}
		}()
	}
	rnd := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for range kills {
		time.Sleep(time.Duration(50+rnd.IntN(500)) * time.Millisecond)
		s.signal(syscall.SIGKILL)
		s.start()
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	wg.Wait()

	// Every key, asked again, gives the very leaf that was acknowledged.
	client := &http.Client{Timeout: 5 * time.Second}
	for key, leaf := range acked {
		var p int
		fmt.Sscanf(key, "player-%d-", &p)
		status, raw := s.post(client, "/v1/spins", tokens[p], key, `{"stake":20}`)
		var a answered
		if err := json.Unmarshal(raw, &a); err != nil || status != http.StatusCreated || !bytes.Equal(a.Leaf, leaf) {
			t.Fatalf("%s asked again: %d, %v\n%s\nacknowledged:\n%s", key, status, err, a.Leaf, leaf)
		}
	}

	src, err := verify.HTTP("http://"+s.addr, s.token("regulator"))
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Log(context.Background(), src, verify.Options{VKey: strings.TrimSpace(string(vkey)), Known: kept})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("finding: %+v", f)
	}
	if got := report.Types["round.settled"]; got != uint64(len(acked)) {
		t.Errorf("%d rounds in the log, %d acknowledged to players who never gave up", got, len(acked))
	}
	if got := report.Types["house.active"]; got != uint64(kills)+1 {
		t.Errorf("%d processes in the log, %d were started", got, kills+1)
	}
	if len(acked) < 20*kills {
		t.Errorf("only %d rounds: that was no load", len(acked))
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
	t.Logf("%d kills, %d rounds, %d epochs revealed", kills, len(acked), report.Epochs.Revealed)
}
