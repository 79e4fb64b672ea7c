// Package stocktest runs a stock Trillian for tests: its own log server and log
// signer, as `make deps` builds them, over a PostgreSQL of their own.
package stocktest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/store/postgres/postgrestest"
)

// Server is a stock Trillian.
type Server struct {
	Address string // of the log server, for gRPC

	t        testing.TB
	db       *postgrestest.Server
	database string
	dsn      string
	bin      string // path of a program without its end
	version  string
	said     output
	signer   *exec.Cmd
}

// Start starts both programs, the log server with further arguments; they are
// stopped when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	module, version := source(t)
	s := &Server{t: t, db: postgrestest.New(t, "fsync=off", "synchronous_commit=off"), version: version}
	s.bin = filepath.Join(root(t), ".bin", "trillian_log_")
	s.dsn = s.db.Database(t)
	at := strings.LastIndexByte(s.dsn, '/')
	s.database, _, _ = strings.Cut(s.dsn[at+1:], "?")
	schema, err := os.ReadFile(filepath.Join(module, "storage", "postgresql", "schema", "storage.sql"))
	if err != nil {
		t.Fatal(err)
	}
	s.Exec(string(schema))
	s.Address = "127.0.0.1:" + strconv.Itoa(freePort(t))
	s.run("server", append(args, "--rpc_endpoint="+s.Address)...)
	s.StartSigner()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			c.Close()
			return s
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("the log server does not listen:\n%s", s.said.String())
	return nil
}

// StartSigner starts the signer again, with further arguments. It integrates a hundred
// leaves at a time, so that there are roots to compare.
func (s *Server) StartSigner(args ...string) {
	s.t.Helper()
	s.signer = s.run("signer", append([]string{"--rpc_endpoint=127.0.0.1:" + strconv.Itoa(freePort(s.t)), "--force_master", "--sequencer_interval=20ms", "--batch_size=100"}, args...)...)
}

// StopSigner kills the signer.
func (s *Server) StopSigner() {
	_ = s.signer.Process.Kill()
	_ = s.signer.Wait()
}

// Exec runs SQL on the stock Trillian's database.
func (s *Server) Exec(sql string) { s.t.Helper(); s.db.Exec(s.t, s.database, sql) }

// Ask returns one value of it as text.
func (s *Server) Ask(sql string) string { s.t.Helper(); return s.db.Ask(s.t, s.database, sql) }

// Said is what both programs have written.
func (s *Server) Said() string { return s.said.String() }

func (s *Server) run(program string, args ...string) *exec.Cmd {
	s.t.Helper()
	path := s.bin + program + "-" + s.version
	if _, err := os.Stat(path); err != nil {
		s.t.Fatalf("run make deps: %v", err)
	}
	cmd := exec.Command(path, append(args, "--storage_system=postgresql", "--quota_system=noop", "--http_endpoint=", "--postgresql_uri="+s.dsn, "--logtostderr")...)
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// output is written by two processes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// source is the folder of the module, where the schema of its database is, and its
// version.
func source(t testing.TB) (dir, version string) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/google/trillian").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	version, dir, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return dir, version
}

// root is the directory of go.mod, above that of the test.
func root(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
}

var portsTaken atomic.Uint32

// freePort finds a port that nobody listens on, for a program to listen on later. It is
// below those that systems give to connections that are made (32768 and up on Linux), or
// one of them could have it by then.
func freePort(t testing.TB) int {
	for range 1000 {
		port := 10_000 + (os.Getpid()*37+int(portsTaken.Add(1)))%22_000
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
