package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// serve calls the handler without a socket. The request is refused or done, and
// never the server's fault.
func (w *world) serve(t *testing.T, req *http.Request) *answer {
	t.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, req)
	resp := rec.Result()
	resp.Request = req
	a := read(t, resp)
	if a.status >= 500 {
		t.Fatalf("%s %q: %d %s", req.Method, req.URL.Path, a.status, a.body)
	}
	if a.status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %q: %d is no problem: %s", req.Method, req.URL.Path, a.status, a.body)
	}
	return a
}

func FuzzBodies(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `{"stake":20}`, `{"stake":1e2}`, `{"amount":100,"currency":"EUR"}`, `{"id":"a","currency":"EUR"}`, `{"state":"open","reason":"x"}`,
		`{"player":"p","game":"lamplight-quay"}`, `[`, `{"stake":20,"stake":20}`, "\xff", `{"a":"\ud800"}`, `{"stake":9007199254740993}`,
	} {
		f.Add(body, "key", "application/json")
	}
	w := open(f)
	token := w.player("p", 1<<40)
	f.Fuzz(func(t *testing.T, body, key, contentType string) {
		for _, r := range w.api.routes(nil) {
			if r.method != "POST" {
				continue
			}
			req := httptest.NewRequest("POST", strings.NewReplacer("/games/{id}", "/games/none", "{id}", "p").Replace(r.path), strings.NewReader(body))
			req.Header["Authorization"] = []string{"Bearer " + operatorToken}
			if r.path == "/v1/spins" {
				req.Header["Authorization"] = []string{"Bearer " + token}
			}
			req.Header["Idempotency-Key"] = []string{key}
			req.Header["Content-Type"] = []string{contentType}
			if a := w.serve(t, req); a.status == 201 {
				a.conforms("POST", r.path, body)
			}
		}
	})
}

func FuzzPaths(f *testing.F) {
	w := open(f)
	token := w.player("p", 1000)
	w.grow(token, 20)
	for _, r := range w.api.routes(nil) {
		f.Add(r.path, "", "Bearer "+operatorToken)
	}
	for _, path := range []string{
		"/v1/players/p", "/v1/players/p%00", "/v1/players/%2e%2e/x", "/v1/entries/18446744073709551615", "/log/tile/0/000.p/5", "/log/tile/entries/000.p/5",
		"/log/tile/entries/x018/x446/x744/x073/x709/x551/615", "/log/tile/63/x018/x446/x744/x073/x709/x551/615", "//", "/v1/epochs/1", "/v1/games/\xff",
	} {
		f.Add(path, "limit=2&cursor=AAAAAAAAAAE", "bearer "+regulatorToken)
	}
	f.Fuzz(func(t *testing.T, path, query, authorization string) {
		u, err := url.ParseRequestURI("http://house" + path)
		if err != nil {
			return // the server's own parser refuses it
		}
		u.RawQuery = query
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, auth := range []string{authorization, "Bearer " + operatorToken, "Bearer " + auditorToken, "Bearer " + token} {
				req := &http.Request{
					Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "house", Body: http.NoBody,
					Header: http.Header{"Authorization": {auth}, "Idempotency-Key": {"k"}},
				}
				w.serve(t, req)
			}
		}
	})
}
