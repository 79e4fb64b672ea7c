package edge

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"countroom/regulator/mirror"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
)

const token = "let-me-in"

// Who asks gets what the house would give, with what a cache has to know.
func TestServes(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 3})
	who := []logtest.Player{h.Join(100_000)}
	h.Play(who, 150)
	files := fstest.MapFS{}
	start := func(src verify.Source) (*mirror.Mirror, string) {
		dir := t.TempDir()
		m, err := mirror.Open(t.Context(), mirror.Config{Dir: dir, Source: src, VKeys: []string{h.VKey}, Leaves: true, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m, dir
	}
	round := func(m *mirror.Mirror) {
		t.Helper()
		if err := m.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	maps.Copy(files, h.Publish())
	m, _ := start(verify.Dir(files))
	mux := http.NewServeMux()
	Mount(mux, m, []string{"another", token})
	edge := httptest.NewServer(mux)
	defer edge.Close()
	get := func(path, bearer string) (int, http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequest("GET", edge.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, b
	}
	for path, want := range map[string]int{"/healthz": 503, "/log/checkpoint": 404, "/log/vkey": 200, "/log/tile/0/000": 404} {
		if code, _, _ := get(path, token); code != want {
			t.Errorf("%s before the first round: %d", path, code)
		}
	}
	round(m)
	h.Play(who, 500)
	maps.Copy(files, h.Publish())
	round(m)
	part := fmt.Sprintf("/log/tile/0/%03d.p/%d", h.Size()/256, h.Size()%256)
	smaller := fmt.Sprintf("/log/tile/0/%03d.p/%d", h.Size()/256, h.Size()%256-1)
	beyond := fmt.Sprintf("/log/tile/0/%03d.p/%d", h.Size()/256, h.Size()%256+1)
	for _, c := range []struct {
		path, token string
		code        int
		cache       string
	}{
		{"/log/checkpoint", "", 200, "no-cache"},
		{"/log/vkey", "", 200, "no-cache"},
		{"/log/tile/0/000", "", 200, "public, max-age=31536000, immutable"},
		{"/log/tile/0/000.p/7", "", 200, "public, max-age=3600, immutable"},
		{part, "", 200, "public, max-age=3600, immutable"},
		{smaller, "", 200, "public, max-age=3600, immutable"},
		{beyond, "", 404, "no-store"},
		{"/log/tile/0/0", "", 404, "no-store"},
		{"/log/tile/9/000", "", 404, "no-store"},
		{"/log/tile/0/x999/000", "", 404, "no-store"},
		{"/log/tile/0/%2e%2e/%2e%2e/vkey", "", 404, "no-store"},
		{"/log/blob/..%2fvkey", token, 404, "no-store"},
		{"/log/tile/entries/000", token, 200, "private, max-age=31536000, immutable"},
		{"/log/tile/entries/000.p/9", token, 200, "private, max-age=31536000, immutable"},
		{"/log/tile/entries/000", "", 401, "no-store"},
		{"/log/tile/entries/000", "guess", 401, "no-store"},
		{"/log/tile/entries/999", "guess", 401, "no-store"},
		{"/log/blob/00", "", 401, "no-store"},
		{"/log/evidence/", token, 404, "no-store"},
		{"/", "", 404, "no-store"},
		{"/healthz", "", 200, "no-cache"},
	} {
		code, header, body := get(c.path, c.token)
		if code != c.code || header.Get("Cache-Control") != c.cache {
			t.Errorf("%s: %d %q, expected %d %q", c.path, code, header.Get("Cache-Control"), c.code, c.cache)
		}
		if code >= 400 && header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %s", c.path, header.Get("Content-Type"), body)
		}
		if open := header.Get("Access-Control-Allow-Origin") == "*"; open != (code == 200 && c.token == "") {
			t.Errorf("%s: may every page read it? %t", c.path, open)
		}
	}
	if resp, err := http.Post(edge.URL+"/log/checkpoint", "text/plain", nil); err != nil || resp.StatusCode != 405 {
		t.Errorf("POST: %v", err)
	}
	if _, _, b := get("/metrics", ""); !strings.Contains(string(b), fmt.Sprintf("countroom_mirror_size %d\n", h.Size())) {
		t.Errorf("%s", b)
	}
	// The verifier takes it for the house, and so does another mirror.
	src, err := verify.HTTP(edge.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := verify.Log(t.Context(), src, verify.Options{VKey: h.VKey}); err != nil || !r.OK() || r.Size != h.Size() {
		t.Errorf("%v, %+v", err, r)
	}
	again, dir := start(src)
	round(again)
	if r, err := verify.Log(t.Context(), verify.Dir(os.DirFS(dir)), verify.Options{VKey: h.VKey}); err != nil || !r.OK() || r.Size != h.Size() {
		t.Errorf("%v, %+v", err, r)
	}
}
