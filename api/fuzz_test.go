package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"countroom/ledger/entry"

	"github.com/labstack/echo/v4"
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

// A body is refused, or carried out as another reader understands it.
func FuzzBodies(f *testing.F) {
	w := open(f)
	token := w.player("p", 1<<40)
	var posts []string
	for _, r := range w.api.routes(nil) {
		if r.method == "POST" {
			posts = append(posts, r.path)
		}
	}
	for _, body := range []string{
		``, `{}`, `{"stake":20}`, `{"stake":1e2}`, `{"amount":100,"currency":"EUR"}`, `{"id":"a","currency":"EUR"}`, `{"state":"open","reason":"x"}`,
		`{"player":"p","game":"lamplight-quay"}`, `[`, `{"stake":20,"stake":20}`, "\xff", `{"a":"\ud800"}`, `{"stake":9007199254740993}`,
	} {
		for i := range posts {
			f.Add(body, "key", "application/json", uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, body, key, contentType string, route uint8) {
		path := posts[int(route)%len(posts)]
		post := func(body, contentType string) *answer {
			req := httptest.NewRequest("POST", strings.NewReplacer("/games/{id}", "/games/none", "{id}", "p").Replace(path), strings.NewReader(body))
			req.Header["Authorization"] = []string{"Bearer " + operatorToken}
			if path == "/v1/spins" {
				req.Header["Authorization"] = []string{"Bearer " + token}
			}
			req.Header["Idempotency-Key"] = []string{key}
			req.Header["Content-Type"] = []string{contentType}
			return w.serve(t, req)
		}
		a := post(body, contentType)
		if a.status != 201 {
			return
		}
		a.conforms("POST", path, body)
		// The entry is of the amount that another reader finds in the body.
		var read struct{ Amount, Stake *int64 }
		if err := json.Unmarshal([]byte(body), &read); err != nil {
			t.Fatalf("%s: accepted %q: %v", path, body, err)
		}
		leaf := a.leaf()
		for name, amount := range map[string]*int64{"amount": read.Amount, "stake": read.Stake} {
			if amount != nil && !strings.Contains(leaf, fmt.Sprintf(`"%s":{"amount":%d,`, name, *amount)) {
				t.Fatalf("%s: %q became %s", path, body, leaf)
			}
		}
		// A retry may spell the same body otherwise.
		canonical, err := entry.Canonical([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if again := post(string(canonical), "application/json"); again.status != 201 || again.leaf() != leaf || again.header.Get("Idempotency-Replayed") != "true" {
			t.Fatalf("%s: %q again is %d %s", path, canonical, again.status, again.body)
		}
	})
}

// A path leads somewhere or nowhere, whoever asks.
func FuzzPaths(f *testing.F) {
	w := open(f)
	token := w.player("p", 1000)
	w.grow(token, 20)
	methods := []string{"GET", "POST", "DELETE"}
	tokens := []string{operatorToken, auditorToken, token, "none"}
	for _, r := range w.api.routes(nil) {
		for i := range methods {
			f.Add(r.path, "", uint8(i))
		}
	}
	for _, path := range []string{
		"/v1/players/p", "/v1/players/p%00", "/v1/players/%2e%2e/x", "/v1/entries/18446744073709551615", "/log/tile/0/000.p/5", "/log/tile/entries/000.p/5",
		"/log/tile/entries/x018/x446/x744/x073/x709/x551/615", "/log/tile/63/x018/x446/x744/x073/x709/x551/615", "//", "/v1/epochs/1", "/v1/games/\xff",
		"/v1/players/p/rounds", "/v1/entries/3",
	} {
		for i := range tokens {
			f.Add(path, "limit=2&cursor=AAAAAAAAAAE", uint8(i*len(methods)))
		}
	}
	f.Fuzz(func(t *testing.T, path, query string, who uint8) {
		u, err := url.ParseRequestURI("http://house" + path)
		if err != nil {
			return // the server's own parser refuses it
		}
		u.RawQuery = query
		w.serve(t, &http.Request{
			Method: methods[int(who)%len(methods)], URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "house", Body: http.NoBody,
			Header: http.Header{"Authorization": {"Bearer " + tokens[int(who)/len(methods)%len(tokens)]}, "Idempotency-Key": {"k"}},
		})
	})
}

// What is read from a query is in range, and a cursor is read in the one
// spelling in which it was given out.
func FuzzPage(f *testing.F) {
	for _, query := range []string{
		"", "limit=1", "limit=100", "limit=101", "limit=0x10", "limit=%2B5", "limit=5&limit=6", "cursor=AAAAAAAAAAE", "cursor=AAAAAAAAAAF", "cursor=AAAA%0AAAAAAAE", "cursor=gAAAAAAAAAA",
		"cursor=__________8", "cursor=AAAAAAAAAAE=", "cursor=", "limit=1;cursor=2", "%zz",
	} {
		f.Add(query)
	}
	server := echo.New()
	f.Fuzz(func(t *testing.T, query string) {
		c := server.NewContext(&http.Request{URL: &url.URL{Path: "/", RawQuery: query}}, nil)
		at, limit, err := page(c, 7)
		if err != nil {
			var r *refusal
			if !errors.As(err, &r) || r.problem != invalid || r.field != "cursor" && r.field != "limit" {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		if limit < 1 || limit > 100 {
			t.Fatalf("%q: limit %d", query, limit)
		}
		if values := c.QueryParams(); !values.Has("cursor") {
			if at != 7 {
				t.Fatalf("%q: from %d", query, at)
			}
		} else if cursor := values.Get("cursor"); at < 1<<63 && string(appendCursor(nil, at)) != `"`+cursor+`"` || at > 1<<63 {
			t.Fatalf("%q: from %d, whose cursor is %s", query, at, appendCursor(nil, at))
		}
	})
}

var printable = regexp.MustCompile(`^[ -~]{1,255}$`)

// Headers mean what their grammar says, or nothing.
func FuzzHeaders(f *testing.F) {
	f.Add("key", "Bearer token", "application/json", "gzip")
	f.Add("", "bearer  x", "application/json; charset=utf-8", "gzip;q=0, *")
	f.Add("a\x00", "Basic dTpw", "Application/JSON;", "deflate, gzip;q=0.001")
	f.Add(strings.Repeat("k", 256), "BEARER \xff", "text/json", "x-gzip;q=NaN,gzip;q=nan,gzip ; q=-1")
	f.Fuzz(func(t *testing.T, key, authorization, contentType, acceptEncoding string) {
		r := &http.Request{Header: http.Header{"Idempotency-Key": {key}, "Authorization": {authorization}, "Content-Type": {contentType}, "Accept-Encoding": {acceptEncoding}}}
		if got, err := idempotencyKey(r); (err == nil) != printable.MatchString(key) || err == nil && got != key {
			t.Errorf("key %q is read as %q, %v", key, got, err)
		}
		scheme, want, _ := strings.Cut(authorization, " ")
		if got, err := bearer(r); (err == nil) != (strings.ToLower(scheme) == "bearer" && want != "") || err == nil && got != want {
			t.Errorf("%q is read as the token %q, %v", authorization, got, err)
		}
		mediaType, _, _ := strings.Cut(strings.ToLower(contentType), ";")
		if err := wantJSON(r); err == nil && strings.TrimSpace(mediaType) != "application/json" || err != nil && contentType == "application/json" {
			t.Errorf("%q: %v", contentType, err)
		}
		if got := acceptsGzip(r); got && !strings.Contains(strings.ToLower(acceptEncoding), "gzip") || !got && acceptEncoding == "gzip" {
			t.Errorf("%q accepts gzip: %t", acceptEncoding, got)
		}
	})
}
