// Package swtpm runs software TPMs for tests: the same commands, over a socket.
package swtpm

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TPM is a TPM that keeps its state when it is stopped and started.
type TPM struct {
	t   testing.TB
	dir string
	cmd *exec.Cmd
	out bytes.Buffer

	Socket string
}

// New makes a TPM and starts it.
func New(t testing.TB) *TPM {
	t.Helper()
	// The path of a unix socket is short.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	s := &TPM{t: t, dir: dir, Socket: filepath.Join(dir, "tpm")}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Start()
	return s
}

// Start powers the TPM on.
func (s *TPM) Start() {
	s.t.Helper()
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.dir, "--server", "type=unixio,path="+s.Socket,
		"--ctrl", "type=unixio,path="+s.Socket+".ctrl", "--flags", "not-need-init,startup-clear")
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("swtpm (make deps installs it): %v", err)
	}
	for range 12_000 {
		c, err := net.Dial("unix", s.Socket)
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("swtpm does not answer: %s", &s.out)
}

// Stop cuts the power.
func (s *TPM) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.cmd = nil
	os.Remove(s.Socket)
	os.Remove(s.Socket + ".ctrl")
}
