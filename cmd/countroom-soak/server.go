package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the real program, in a process of its own on loopback.
type server struct {
	cmd  *exec.Cmd
	dir  string
	addr string
	vkey string

	operator, regulator string // tokens
	ended               chan error
	tail                *tail
}

// tail keeps the last lines that the server wrote. It is read only after the
// server has ended.
type tail struct{ lines [][]byte }

func (t *tail) add(line []byte) {
	t.lines = append(t.lines, bytes.Clone(line))
	if len(t.lines) > 20 {
		t.lines = t.lines[1:]
	}
}

// startServer starts a new house in dir, which lets so many commands in at once.
// Its epochs are short, so that the verifier has revealed ones to prove.
func startServer(program, dir string, queueMost int) (*server, error) {
	s := &server{dir: dir, ended: make(chan error, 1), tail: new(tail)}
	s.cmd = exec.Command(program, "serve", "--quiet", "--data", dir, "--listen", "127.0.0.1:0", "--log-format", "json",
		"--epoch-age", "5s", "--epoch-reveal-delay", "1s", "--drain-delay", "100ms", "--queue-most", strconv.Itoa(queueMost))
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	serving := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			s.tail.add(lines.Bytes())
			var said struct{ Msg, Address string }
			if err := json.Unmarshal(lines.Bytes(), &said); err == nil && said.Msg == "serving" {
				serving <- said.Address
			}
		}
		s.ended <- s.cmd.Wait()
	}()
	select {
	case s.addr = <-serving:
	case err := <-s.ended:
		return nil, fmt.Errorf("the server ended at once: %w\n%s", err, bytes.Join(s.tail.lines, []byte("\n")))
	case <-time.After(time.Minute):
		s.cmd.Process.Kill()
		return nil, errors.New("the server does not serve after a minute")
	}
	for file, into := range map[string]*string{"log.vkey": &s.vkey, "credentials/operator.key": &s.operator, "credentials/regulator.key": &s.regulator} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			s.cmd.Process.Kill()
			return nil, err
		}
		*into = strings.TrimSpace(string(b))
	}
	return s, nil
}

// stop asks the server to stop and says how it ended.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("%w\n%s", err, bytes.Join(s.tail.lines, []byte("\n")))
		}
		return nil
	case <-time.After(time.Minute):
		s.cmd.Process.Kill()
		return errors.New("it does not stop within a minute")
	}
}

// metrics reads the server's figures that have no labels.
func (s *server) metrics() (map[string]float64, error) {
	client := http.Client{Timeout: answerMost}
	resp, err := client.Get("http://" + s.addr + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics: %s", resp.Status)
	}
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	m := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") || strings.Contains(name, "{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		m[name] = v
	}
	return m, lines.Err()
}
