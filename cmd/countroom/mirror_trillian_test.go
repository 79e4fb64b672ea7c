package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/regulator/mirror/stock/stocktest"
)

// A mirror follows a house that plays, and feeds a stock Trillian over TLS, each a
// process of its own. It is killed in the middle of it; then somebody changes a leaf in
// the stock Trillian's database, and the mirror raises an alarm.
func TestAMirrorFeedsAStockTrillian(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t, t.TempDir())
	trillian := stocktest.Start(t, "--tls_cert_file="+cert, "--tls_key_file="+key)
	s := newServer(t)
	s.start()
	players := seat(s, 4)
	players.play()
	dir, listen := filepath.Join(t.TempDir(), "mirror"), doors(t)
	args := []string{
		"mirror", "--from", "http://" + s.addr, "--data", dir, "--vkey", filepath.Join(s.dir, "log.vkey"), "--token", filepath.Join(s.dir, "credentials", "auditor.key"),
		"--trillian", trillian.Address, "--trillian-ca", cert,
	}
	run := func(more ...string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], append(args, more...)...)
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
		return cmd
	}
	once := func() (code int, said string) {
		t.Helper()
		out, err := run("--once").CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if exit != nil {
			code = exit.ExitCode()
		}
		return code, string(out)
	}
	var said journal
	follow := func() *exec.Cmd {
		cmd := run("--interval", "20ms", "--listen", listen)
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	sizes := func() (size uint64) {
		fmt.Sscan(trillian.Ask("SELECT COALESCE(max(TreeSize), 0)::text FROM TreeHead"), &size)
		return size
	}
	for kill, size := 0, uint64(0); kill < 3; kill++ {
		cmd := follow()
		for start := time.Now(); sizes() <= size; time.Sleep(20 * time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("the stock Trillian stands at %d\n%s\n%s", size, said.String(), trillian.Said())
			}
		}
		size = sizes()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	players.more(10)
	players.leave()
	if code, said := once(); code != 0 || !strings.Contains(said, "the stock Trillian is what the house signed") {
		t.Fatalf("exit status %d:\n%s\n%s", code, said, trillian.Said())
	}
	trees := trillian.Ask("SELECT count(*)::text FROM Trees")
	if trees != "1" {
		t.Errorf("%s trees were made", trees)
	}
	trillian.Exec("UPDATE LeafData SET LeafValue = 'x' WHERE LeafIdentityHash = (SELECT LeafIdentityHash FROM SequencedLeafData WHERE SequenceNumber = 20)")
	code, alarm := once()
	if code != exitDiffers || !strings.Contains(alarm, "ALARM") || !strings.Contains(alarm, "leaf 20") {
		t.Errorf("exit status %d:\n%s", code, alarm)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "evidence", "bad-data-*.json")); err != nil || len(files) != 1 {
		t.Errorf("evidence: %v, %v", files, err)
	}
	// The one that follows says so in its figures, and when it ends.
	said.Reset()
	cmd := follow()
	figure := func() string {
		resp, err := http.Get("http://" + listen + "/metrics")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	for start := time.Now(); !strings.Contains(figure(), "\ncountroom_mirror_trillian_alarm 1\n"); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("no alarm:\n%s", said.String())
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitDiffers || !strings.Contains(said.String(), "ALARM") {
		t.Errorf("%v\n%s", err, said.String())
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// What a stock Trillian is reached by is looked at before anything is done.
func TestWhatAStockTrillianNeeds(t *testing.T) {
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{[]string{"--trillian", "127.0.0.1:8090"}, "--token"},
		{[]string{"--trillian", "127.0.0.1", "--token", "x"}, "host:port"},
		{[]string{"--trillian", "trillian.example:8090", "--token", "x"}, "--trillian-ca"},
		{[]string{"--trillian", "127.0.0.1:8090", "--token", "x", "--trillian-certificate", "c", "--trillian-ca", "a"}, "--trillian-key"},
		{[]string{"--trillian", "127.0.0.1:8090", "--token", "x", "--trillian-certificate", "c", "--trillian-key", "k"}, "--trillian-ca"},
		{[]string{"--trillian", "127.0.0.1:8090", "--token", "x", "--trillian-tree", "-1"}, "--trillian-tree"},
		{[]string{"--trillian-tree", "5"}, "--trillian"},
	} {
		cmd := mirrorCommand()
		cmd.SetArgs(append([]string{"--from", "http://127.0.0.1:1", "--data", t.TempDir()}, c.flags...))
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want one that names %s", c.flags, err, c.says)
		}
	}
}
