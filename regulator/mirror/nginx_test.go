package mirror

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/regulator/verify"
)

// The shipped configuration has a stock web server carry the reads: the verifier
// takes it for the house, and what is not the log's stays inside.
func TestAWebServerCarriesTheReads(t *testing.T) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("this test needs nginx: make deps: %v", err)
	}
	h, who := house(100)
	s, dir := open(t, h), t.TempDir()
	m := start(t, s.config(t, dir, h))
	round(t, m)
	h.Play(who, 500)
	h.Earnest()
	s.publish(h)
	round(t, m)

	address := freeAddress(t)
	shipped, err := os.ReadFile("../../deploy/nginx/countroom-mirror.conf")
	if err != nil {
		t.Fatal(err)
	}
	place := t.TempDir()
	conf := strings.NewReplacer("/var/lib/countroom-mirror", dir, "127.0.0.1:8086", address, "/etc/nginx/countroom-readers.map", filepath.Join(place, "readers.map")).Replace(string(shipped))
	main := "user root;\ndaemon off;\nworker_processes 1;\npid " + place + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"
	for _, folder := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += folder + "_temp_path " + filepath.Join(place, folder) + ";\n"
	}
	for name, text := range map[string]string{"nginx.conf": main + conf + "}\n", "readers.map": `"~^Bearer ` + token + `$" 1;` + "\n"} {
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-p", place, "-e", "stderr", "-c", filepath.Join(place, "nginx.conf"))
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	get := func(path string) (int, http.Header, string) {
		t.Helper()
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, string(b)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx ended: %v\n%s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not listen")
		}
	}
	for _, bearer := range []string{token, "guess", "LET-ME-IN", ""} {
		src, err := verify.HTTP("http://"+address, bearer)
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Log(t.Context(), src, verify.Options{VKey: h.VKey})
		if bearer == token && (err != nil || !r.OK() || r.Size != h.Size()) {
			t.Errorf("%v, %+v", err, r)
		}
		if bearer != token && !errors.Is(err, verify.ErrToken) {
			t.Errorf("%q: %v", bearer, err)
		}
	}
	for path, cache := range map[string]string{"/log/checkpoint": "no-cache", "/log/tile/0/000": "public, max-age=31536000, immutable"} {
		if code, header, _ := get(path); code != 200 || header.Get("Cache-Control") != cache || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d, %v", path, code, header)
		}
	}
	for _, path := range []string{"/", "/log/", "/log/.mirror/accepted", "/log/evidence/", "/log/checkpoints/", "/log/tile/../.mirror/accepted", "/log/tile/%2e%2e/.mirror/accepted"} {
		if code, _, body := get(path); code != 404 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _, _ := get("/log/tile/entries/000"); code != 401 {
		t.Errorf("entries without a token: %d", code)
	}
}

// freeAddress finds an address for a program to listen on later. Its port is below those
// that systems give to connections that are made (32768 and up on Linux), or one of them
// could have it by then.
func freeAddress(t *testing.T) string {
	t.Helper()
	for n := range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+(os.Getpid()*37+n)%22_000))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}
