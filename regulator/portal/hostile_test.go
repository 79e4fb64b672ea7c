package portal_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countroom/regulator/portal"
)

// What hostile readers send, each with the answer that it gets. Every answer, also
// one that is an error or a redirect, carries the policy, and none repeats what was
// sent as markup.
func TestHostileRequests(t *testing.T) {
	w := open(t)
	s := w.seat("alice", "lamplight-quay")
	id := w.settled(w.spin(s, 100)).ID.String()
	w.signIn()
	long := strings.Repeat("a", 1<<16)
	q := url.QueryEscape
	const (
		alert    = `role="alert"`
		asMarkup = "<script>alert"
	)
	for name, c := range map[string]struct {
		method, path string
		status       int
		says         string
	}{
		// Paths that lead out of the folder of public files, or to what is no page.
		"a path upwards":            {"GET", "/verify/../regulator/style.css", 0, ""},
		"a path upwards, escaped":   {"GET", "/verify/..%2f..%2fgo.mod", 404, ""},
		"escaped twice":             {"GET", "/verify/%252e%252e%252fgo.mod", 404, ""},
		"with backslashes":          {"GET", "/verify/..%5c..%5cgo.mod", 404, ""},
		"the templates themselves":  {"GET", "/verify/pages.html", 404, ""},
		"the packed program":        {"GET", "/verify/replay.wasm.gz", 404, ""},
		"an absolute path":          {"GET", "/verify/%2fetc%2fpasswd", 404, ""},
		"a path with a zero byte":   {"GET", "/verify/style.css%00", 404, ""},
		"a page that is none":       {"GET", "/regulator/" + q(attack), 404, "There is nothing here"},
		"a round of markup":         {"GET", "/regulator/rounds/" + q(attack), 404, "There is nothing here"},
		"a round of no id":          {"GET", "/regulator/rounds/" + id[:35] + "g", 404, "There is nothing here"},
		"a round of another case":   {"GET", "/regulator/rounds/" + strings.ToUpper(id), 404, "There is nothing here"},
		"an endless id":             {"GET", "/regulator/rounds/" + long, 404, "There is nothing here"},
		"entry -1":                  {"GET", "/regulator/entries/-1", 404, "There is nothing here"},
		"entry 0x1":                 {"GET", "/regulator/entries/0x1", 404, "There is nothing here"},
		"entry 2^64":                {"GET", "/regulator/entries/18446744073709551616", 404, "There is nothing here"},
		"entry 2^63":                {"GET", "/regulator/entries/9223372036854775808", 404, "There is nothing here"},
		"seed 0":                    {"GET", "/regulator/seeds/0", 404, "There is nothing here"},
		"seed of markup":            {"GET", "/regulator/seeds/" + q(image), 404, "There is nothing here"},
		"the rules of no game":      {"GET", "/verify/games/0", 404, ""},
		"the rules of entry -1":     {"GET", "/verify/games/-1", 404, ""},
		"a round as rules":          {"GET", "/verify/games/9", 404, ""},
		"a pack of markup":          {"GET", "/regulator/rounds/" + q(attack) + "/dispute-pack", 404, ""},
		"a negative amount":         {"GET", "/regulator/search?least=-1", 200, "Least amount: expected an amount"},
		"an amount beyond all":      {"GET", "/regulator/search?most=99999999999999999999", 200, "Most: expected an amount"},
		"an amount with an e":       {"GET", "/regulator/search?least=1e3", 200, "Least amount: expected an amount"},
		"an amount that is none":    {"GET", "/regulator/search?least=NaN", 200, "Least amount: expected an amount"},
		"too many decimals":         {"GET", "/regulator/search?least=1.234", 200, "Least amount: expected an amount"},
		"30 February":               {"GET", "/regulator/search?from=2026-02-30", 200, "From: expected a time"},
		"a date of words":           {"GET", "/regulator/search?to=yesterday", 200, "To: expected a time"},
		"the year 10000":            {"GET", "/regulator/search?to=10000-01-01", 200, "To: expected a time"},
		"a currency that is none":   {"GET", "/regulator/search?currency=" + q(attack), 200, "Currency: expected a code"},
		"a kind that is none":       {"GET", "/regulator/search?kind=all", 200, "Kind: expected rounds or money"},
		"below -1":                  {"GET", "/regulator/search?q=x&below=-1", 200, "Below: expected the number of an entry"},
		"a search of markup":        {"GET", "/regulator/search?q=" + q(attack), 200, alert},
		"an endless search":         {"GET", "/regulator/search?q=" + long, 200, alert},
		"a query that is none":      {"GET", "/regulator/search?q=%zz;x", 200, ""},
		"a thousand fields":         {"GET", "/regulator/search?" + strings.Repeat("q=a&", 1000), 200, ""},
		"consistency of words":      {"GET", "/regulator/consistency?from=" + q(attack) + "&to=2", 200, ""},
		"consistency of the future": {"GET", "/regulator/consistency?from=1&to=99999999", 200, ""},
		"consistency backwards":     {"GET", "/regulator/consistency?from=5&to=2", 200, ""},
		"an event of markup":        {"GET", "/regulator/events?type=" + q(attack), 200, ""},
		"PUT":                       {"PUT", "/regulator/", 405, "These pages are read"},
		"DELETE of a round":         {"DELETE", "/regulator/rounds/" + id, 405, "These pages are read"},
		"PATCH of a seed":           {"PATCH", "/regulator/seeds/1", 405, "These pages are read"},
		"TRACE":                     {"TRACE", "/regulator/", 405, "These pages are read"},
		"POST to the public page":   {"POST", "/verify", 405, "this page is read"},
		"POST of a public file":     {"POST", "/verify/style.css", 404, ""},
		"POST of a game's rules":    {"POST", "/verify/games/2", 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := must[*http.Request](t)(http.NewRequest(c.method, w.url+c.path, nil))
			resp := must[*http.Response](t)(w.client.Do(req))
			defer resp.Body.Close()
			body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
			if c.status != 0 && resp.StatusCode != c.status {
				t.Errorf("%d, expected %d", resp.StatusCode, c.status)
			}
			if resp.StatusCode >= 500 {
				t.Errorf("%d", resp.StatusCode)
			}
			if !strings.Contains(body, c.says) {
				t.Errorf("it does not say %q: %.300s", c.says, body)
			}
			if policy := resp.Header.Get("Content-Security-Policy"); policy != portal.ContentSecurityPolicy || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("the policy is %q", policy)
			}
			if strings.Contains(body, asMarkup) || strings.Contains(body, "<img src=x") || strings.Contains(body, "root:") {
				t.Errorf("it repeats what was sent: %.300s", body)
			}
			if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") && strings.Contains(body, "<html") {
				harmless(t, c.path, body)
			}
			if len(body) > 1<<20 {
				t.Errorf("%d bytes come of it", len(body))
			}
		})
	}
}

// What is no credential of the regulator's lets nobody in, in whatever place it comes.
func TestWhatIsNoCredential(t *testing.T) {
	w := open(t)
	post := func(contentType, body string) func(url string) *http.Request {
		return func(url string) *http.Request {
			req := must[*http.Request](t)(http.NewRequest("POST", url, strings.NewReader(body)))
			req.Header.Set("Content-Type", contentType)
			return req
		}
	}
	header := func(name, value string) func(url string) *http.Request {
		return func(url string) *http.Request {
			req := must[*http.Request](t)(http.NewRequest("GET", url, nil))
			req.Header.Set(name, value)
			return req
		}
	}
	const form = "application/x-www-form-urlencoded"
	for name, make := range map[string]func(url string) *http.Request{
		"the token in the address": func(u string) *http.Request {
			return must[*http.Request](t)(http.NewRequest("GET", u+"?token="+token, nil))
		},
		"in the address of a form":     func(u string) *http.Request { return post(form, "")(u + "?token=" + token) },
		"in a header of its own":       header("X-Token", token),
		"as a cookie":                  header("Cookie", "countroom-regulator="+token),
		"as a cookie without a MAC":    header("Cookie", "countroom-regulator=f_______"),
		"a cookie of zeros":            header("Cookie", "countroom-regulator="+strings.Repeat("A", 54)),
		"an endless cookie":            header("Cookie", "countroom-regulator="+strings.Repeat("A", 1<<15)),
		"the operator's":               post(form, "token=operator-0123456789abcdef"),
		"the operator's as a bearer":   header("Authorization", "Bearer operator-0123456789abcdef"),
		"all but the last letter":      post(form, "token="+token[:len(token)-1]),
		"in capitals":                  post(form, "token="+strings.ToUpper(token)),
		"with a zero byte":             post(form, "token="+token+"%00"),
		"the second of two":            post(form, "token=x&token="+token),
		"behind more than is read":     post(form, "x="+strings.Repeat("x", 1<<13)+"&token="+token),
		"as JSON":                      post("application/json", fmt.Sprintf(`{"token":%q}`, token)),
		"as text":                      post("text/plain", "token="+token),
		"none":                         post(form, ""),
		"many parts without end":       post("multipart/form-data; boundary=x", strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n", 1<<10)),
		"a form that cannot be parsed": post(form, "token=%zz"),
	} {
		t.Run(name, func(t *testing.T) {
			noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp := must[*http.Response](t)(noFollow.Do(make(w.url + "/regulator/search")))
			defer resp.Body.Close()
			body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
			if resp.StatusCode != 401 || len(resp.Cookies()) != 0 || !strings.Contains(body, "Sign in") {
				t.Errorf("%d with %v: %.200s", resp.StatusCode, resp.Cookies(), body)
			}
			if resp.Header.Get("Content-Security-Policy") != portal.ContentSecurityPolicy || strings.Contains(body, token) {
				t.Errorf("%v: %.200s", resp.Header, body)
			}
		})
	}
}
