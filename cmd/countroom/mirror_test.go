package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

// A mirror follows a house that plays, each a process of its own. It is killed
// again and again, and the house once; whenever it stands, what it holds passes.
func TestAMirrorBesideAHouse(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--epoch-age", "2s", "--epoch-draws", "200", "--epoch-reveal-delay", "1s")
	s.start()
	players := seat(s, 4)
	players.play()
	dir, listen := filepath.Join(t.TempDir(), "mirror"), doors(t)
	vkey := filepath.Join(s.dir, "log.vkey")
	args := []string{"mirror", "--from", "http://" + s.addr, "--data", dir, "--vkey", vkey, "--token", filepath.Join(s.dir, "credentials", "auditor.key")}
	var said journal
	launch := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], append(args, "--interval", "20ms", "--listen", listen)...)
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	check := func() *verify.Report {
		t.Helper()
		b, err := os.ReadFile(vkey)
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Log(context.Background(), verify.Dir(os.DirFS(dir)), verify.Options{VKey: strings.TrimSpace(string(b))})
		if err != nil || !r.OK() {
			t.Fatalf("%v, %+v\n%s", err, r.Findings, said.String())
		}
		return r
	}
	size := uint64(0)
	for kill := range 6 {
		cmd := launch()
		size = mirrored(t, dir, size, &said)
		if kill == 3 {
			s.signal(syscall.SIGKILL) // the house, and the mirror carries the reads
			resp, err := http.Get("http://" + listen + "/log/checkpoint")
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("while the house is away: %v", err)
			}
			resp.Body.Close()
			s.start()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		check()
	}
	players.more(20)
	players.leave()
	once := exec.Command(os.Args[0], append(args, "--once")...)
	once.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	if out, err := once.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r := check(); r.Types["round.settled"] < uint64(len(players.acknowledged())) {
		t.Errorf("%d rounds of %d", r.Types["round.settled"], len(players.acknowledged()))
	}
	// SIGTERM is no failure.
	cmd := launch()
	eventually(t, "the mirror answers", said.String, func() bool {
		resp, err := http.Get("http://" + listen + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, s.log.String())
	}
}

// mirrored waits until a mirror holds more than a size.
func mirrored(t *testing.T, dir string, than uint64, said *journal) uint64 {
	t.Helper()
	size := than
	eventually(t, fmt.Sprintf("the mirror holds more than %d entries", than), said.String, func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil {
			return false
		}
		c, err := tlog.Peek(b)
		if err != nil {
			t.Fatal(err)
		}
		size = c.Size
		return size > than
	})
	return size
}
