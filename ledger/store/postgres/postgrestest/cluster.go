// Package postgrestest runs real PostgreSQL servers for tests: initdb in a directory that goes with the test, Unix sockets
// and a loopback port, a standby that follows a primary.
package postgrestest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server of a test.
type Server struct {
	Port int
	dir  string
	bin  string
	cred *syscall.Credential
}

var databases atomic.Uint64

// patience, in seconds, is for a server on a busy machine.
const patience = "300"

// bin finds the programs of the newest PostgreSQL that Debian's package installed.
func bin(t testing.TB) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if path, err := exec.LookPath("initdb"); err == nil {
			return filepath.Dir(path)
		}
		t.Fatal("PostgreSQL is not installed (package postgresql): make deps")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

// credential is a user other than root, as whom PostgreSQL insists to run.
func credential(t testing.TB) *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// New starts a primary with further settings ("name=value"); it is stopped when the test ends.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t)
	s.run(t, "initdb", "-D", s.data(), "-U", "countroom", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	s.start(t, settings)
	return s
}

func newServer(t testing.TB) *Server {
	// Not the test's own directory: its name is too long for a Unix socket, and its parents are not another user's to enter.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{dir: dir, bin: bin(t), cred: credential(t), Port: freePort(t)}
	if s.cred != nil {
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.stop("immediate") })
	return s
}

var ports atomic.Uint32

// freePort finds a port that nobody listens on. It is below those that systems give to
// connections that are made, or one of them could have it while a server is down. Tests
// that look for ports of their own begin at the other end.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 31_999 - (os.Getpid()*37+int(ports.Add(1)))%22_000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, program), args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	if s.cred != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	}
	return c
}

func (s *Server) run(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		t.Fatalf("%s: %v\n%s%s", program, err, out, log)
	}
}

func (s *Server) start(t testing.TB, settings []string) {
	t.Helper()
	conf := &bytes.Buffer{}
	fmt.Fprintf(conf, "port=%d\nlisten_addresses='127.0.0.1'\nunix_socket_directories='%s'\nwal_level=replica\nhot_standby=on\nmax_connections=120\n", s.Port, s.dir)
	for _, set := range settings {
		fmt.Fprintln(conf, set)
	}
	if err := os.WriteFile(filepath.Join(s.data(), "postgresql.auto.conf"), conf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
}

// Start starts a server that was stopped.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.run(t, "pg_ctl", "start", "-w", "-t", patience, "-D", s.data(), "-l", filepath.Join(s.dir, "log"))
}

// Kill ends the server as a crash would.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.stop("immediate"); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) stop(mode string) error {
	return s.command("pg_ctl", "stop", "-w", "-t", patience, "-m", mode, "-D", s.data()).Run()
}

// Standby starts a server that follows this one under a name for synchronous_standby_names.
func (s *Server) Standby(t testing.TB, name string) *Server {
	t.Helper()
	b := newServer(t)
	b.run(t, "pg_basebackup", "-D", b.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "countroom", "-X", "stream", "-c", "fast", "--no-sync")
	if err := os.WriteFile(filepath.Join(b.data(), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.start(t, []string{fmt.Sprintf("primary_conninfo='host=127.0.0.1 port=%d user=countroom application_name=%s'", s.Port, name)})
	return b
}

// Promote makes a standby the primary.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.run(t, "pg_ctl", "promote", "-w", "-t", patience, "-D", s.data())
}

// Set changes a setting of a running server.
func (s *Server) Set(t testing.TB, name, value string) {
	t.Helper()
	s.Exec(t, "postgres", "ALTER SYSTEM SET "+name+" = '"+value+"'")
	s.Exec(t, "postgres", "SELECT pg_reload_conf()")
	for start := time.Now(); time.Since(start) < time.Minute; { // a reload is a signal
		if s.Ask(t, "postgres", "SELECT current_setting('"+name+"')") == value {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not become %s", name, value)
}

// Database makes a new database, waits until its standbys show it, and returns its DSN, with more hosts to try after this one.
func (s *Server) Database(t testing.TB, more ...*Server) string {
	t.Helper()
	name := fmt.Sprintf("house%d", databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	for _, m := range more {
		shows := func() bool {
			return m.Ask(t, "postgres", "SELECT count(*)::text FROM pg_database WHERE datname = '"+name+"'") == "1"
		}
		for start := time.Now(); !shows(); time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatalf("the standby has no %s", name)
			}
		}
	}
	return s.DSN(name, more...)
}

// DSN names a database on this server, or on whichever of more is primary. A server that is down refuses at once; one
// that is up may take its time on a busy machine.
func (s *Server) DSN(database string, more ...*Server) string {
	hosts := []string{"127.0.0.1:" + strconv.Itoa(s.Port)}
	for _, m := range more {
		hosts = append(hosts, "127.0.0.1:"+strconv.Itoa(m.Port))
	}
	return "postgres://countroom@" + strings.Join(hosts, ",") + "/" + database + "?sslmode=disable&connect_timeout=60"
}

// Exec runs a statement as superuser.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	s.connect(t, database, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql)
		return err
	})
}

// Ask returns one value as text.
func (s *Server) Ask(t testing.TB, database, sql string) (answer string) {
	t.Helper()
	s.connect(t, database, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, sql).Scan(&answer)
	})
	return answer
}

func (s *Server) connect(t testing.TB, database string, f func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, s.DSN(database))
	if err == nil {
		err = f(ctx, c)
		c.Close(ctx)
	}
	if err != nil {
		t.Fatalf("%s: %v", database, err)
	}
}
