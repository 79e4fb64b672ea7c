package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	diskBytes    = 768 << 20 // with room for all write-ahead logs that Pebble keeps
	reserveBytes = 64 << 20
)

// smallDisk is a file system of its own that can be filled up.
type smallDisk struct {
	t   *testing.T
	dir string
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system to fill it up, and only root can: run it as root")
	}
	d := &smallDisk{t, t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		t.Fatalf("mounting a tmpfs to fill it up: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *smallDisk) free() uint64 {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return st.Bavail * uint64(st.Bsize)
}

// fill lets somebody else's file take all but so many bytes.
func (d *smallDisk) fill(left uint64) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	var size int64
	for { // others write, too
		free := d.free()
		if free <= left {
			return
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, size, int64(free-left)); err {
		case nil:
			size += int64(free - left)
		case unix.ENOSPC:
		default:
			d.t.Fatal(err)
		}
	}
}

func (d *smallDisk) clear() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		d.t.Fatal(err)
	}
}

// await polls the server's readiness until it answers as wanted: "" is ready.
func (s *server) await(want string) {
	s.t.Helper()
	status, body := 0, []byte(nil)
	said := func() string { return fmt.Sprintf("/readyz gives %d %s\n%s", status, body, s.log.String()) }
	eventually(s.t, fmt.Sprintf("/readyz says %q", want), said, func() bool {
		if resp, err := http.Get(s.scheme + "://" + s.addr + "/readyz"); err == nil {
			status = resp.StatusCode
			body, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		return want == "" && status == http.StatusOK || want != "" && status == http.StatusServiceUnavailable && strings.Contains(string(body), want)
	})
}

// reads wants everything that takes no room.
func (t *table) reads() {
	t.s.t.Helper()
	t.hold()
	t.repeat(1 + len(t.acknowledged())/20)
	for path, who := range map[string]string{
		"/livez": "operator", "/log/checkpoint": "operator", "/log/vkey": "operator", "/log/tile/0/000.p/1": "operator", "/log/tile/entries/000.p/1": "auditor",
		"/v1/players/player-0": "operator", "/v1/players/player-0/rounds": "operator", "/v1/games": "operator", "/v1/epochs/1": "operator", "/metrics": "operator",
	} {
		if status, body := t.s.get(path, t.s.token(who)); status != http.StatusOK {
			t.s.t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
}

// refused wants new commands to be refused, and says what became of them.
func (t *table) refused() {
	t.s.t.Helper()
	client := &http.Client{Timeout: patience}
	for path, body := range map[string]string{"/v1/spins": `{"stake":20}`, "/v1/players": `{"id":"late","currency":"EUR"}`} {
		token := t.s.token("operator")
		if path == "/v1/spins" {
			token = t.tokens[0]
		}
		req, err := http.NewRequest("POST", "http://"+t.s.addr+path, strings.NewReader(body))
		if err != nil {
			t.s.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Idempotency-Key", fmt.Sprint("refused-", time.Now().UnixNano()))
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.s.t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var p struct{ Type, Outcome string }
		if err != nil || json.Unmarshal(raw, &p) != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Content-Type") != "application/problem+json" ||
			resp.Header.Get("Retry-After") == "" || p.Type != "/problems/no-space" || p.Outcome != "not-accepted" {
			t.s.t.Errorf("POST %s: %d, Retry-After %q: %s %v", path, resp.StatusCode, resp.Header.Get("Retry-After"), raw, err)
		}
	}
}

// A disk fills up, slowly and suddenly, while the house plays, stops and
// starts. Whatever was acknowledged stays, reads go on, and play goes on by
// itself once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	s := newServer(t, "--reserve-mib", fmt.Sprint(reserveBytes>>20), "--epoch-age", "2s", "--epoch-reveal-delay", "1s")
	s.dir = filepath.Join(disk.dir, "house")
	s.start()
	players := seat(s, 8)

	t.Log("Somebody else takes all there is, at once and under way, until a commit waits for room.")
	players.play()
	for tries := 0; !strings.Contains(s.log.String(), "what is written waits until there is room"); tries++ {
		if tries == 60 { // a log file that is used again has room for what a slow machine writes in a second
			t.Fatalf("no commit ever found the disk full\n%s", s.log.String())
		}
		players.more(100)
		disk.fill(0)
		s.await("no-space")
		players.refused()
		players.reads()
		disk.clear()
		s.await("")
	}
	players.more(100)

	t.Log("The reserve is reached.")
	from := len(s.log.String())
	disk.fill(reserveBytes - 1<<20)
	s.await("no-space")
	players.refused()
	players.reads()
	before := len(players.acknowledged())
	time.Sleep(time.Second)
	// Files that the house needs no more may be removed meanwhile, and then there is room.
	if n := len(players.acknowledged()) - before; n > 0 && !strings.Contains(s.log.String()[from:], "accepting=true") {
		t.Errorf("%d rounds were accepted below the reserve", n)
	}
	disk.clear()
	s.await("")
	players.more(100)

	t.Log("All is taken, and the process is stopped and started.")
	disk.fill(0)
	s.await("no-space")
	began := time.Now()
	err := s.signal(syscall.SIGTERM)
	t.Logf("stopped after %v: %v", time.Since(began).Round(time.Millisecond), err)
	s.launch()
	s.await("no-space")
	players.refused()
	players.reads()
	disk.clear()
	s.await("")
	players.more(100)

	players.leave()
	players.hold()
	players.repeat(1)
	report := players.verify()
	if got := report.Types["house.active"]; got != 2 {
		t.Errorf("%d openings for writing in the log, want 2: a new house, and one that got its room back", got)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}
