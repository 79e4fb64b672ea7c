package portal_test

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/money"
	"countroom/regulator/portal"

	"golang.org/x/net/html"
)

// pages are all pages that need no name of anything.
var pages = []string{"/regulator/", "/regulator/search", "/regulator/search?least=0", "/regulator/games", "/regulator/revenue", "/regulator/seeds", "/regulator/events", "/regulator/consistency", "/regulator/consistency?from=3"}

func TestOnlyTheRegulatorGetsIn(t *testing.T) {
	w := open(t)
	s := w.seat("alice", "lamplight-quay")
	r := w.spin(s, 100)
	id := w.settled(r).ID.String()
	secret := w.settled(r).Player.String()
	all := append([]string{"/regulator/rounds/" + id, "/regulator/seeds/1", "/regulator/entries/3", "/regulator/nothing"}, pages...)
	shut := func(why string, cookie *http.Cookie) {
		t.Helper()
		for _, p := range all {
			req := must[*http.Request](t)(http.NewRequest("GET", w.url+p, nil))
			if cookie != nil {
				req.AddCookie(cookie)
			}
			resp := must[*http.Response](t)(http.DefaultClient.Do(req))
			resp.Body.Close()
			if resp.StatusCode != 401 {
				t.Errorf("%s: %s answers %d", why, p, resp.StatusCode)
			}
		}
	}
	shut("without a session", nil)
	for _, wrong := range []string{"", "operator-0123456789abcdef", token + "x", strings.Repeat("x", 5000)} {
		resp := must[*http.Response](t)(http.PostForm(w.url+"/regulator/", url.Values{"token": {wrong}}))
		resp.Body.Close()
		if resp.StatusCode != 401 || len(resp.Cookies()) != 0 {
			t.Errorf("the token %.40q: %d, cookies %v", wrong, resp.StatusCode, resp.Cookies())
		}
	}
	noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp := must[*http.Response](t)(noFollow.PostForm(w.url+"/regulator/rounds/"+id+"?x=1", url.Values{"token": {token}}))
	resp.Body.Close()
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/regulator/rounds/"+id+"?x=1" || len(resp.Cookies()) != 1 {
		t.Fatalf("signing in: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/regulator/" || strings.Contains(cookie.Value, token) {
		t.Errorf("the cookie is %v", cookie)
	}
	for i, change := range []func(v string) string{
		func(v string) string { return "" }, func(v string) string { return v[:len(v)-1] }, func(v string) string { return v + "A" },
		func(v string) string { return "B" + v[1:] }, func(v string) string { return v[:len(v)-4] + "AAAA" },
		func(v string) string { return "f" + v[1:] }, // an end that is later
	} {
		forged := *cookie
		forged.Value = change(cookie.Value)
		shut(fmt.Sprintf("forgery %d", i), &forged)
	}
	w.signIn()
	if body := w.read("/regulator/rounds/" + id); !strings.Contains(body, secret) {
		t.Error("the round's page lacks the player's reference")
	}
	for _, p := range pages {
		w.get(p, 200)
	}
	w.get("/regulator/nothing", 404)
	w.get("/regulator/rounds/"+secret, 404)
	w.get("/regulator/entries/1000000", 404)
	resp = must[*http.Response](t)(w.client.PostForm(w.url+"/regulator/sign-out", nil))
	resp.Body.Close()
	w.get("/regulator/", 401)
}

// Whatever outsiders and operators can name stays text, and nothing in a page
// could run even if it did not.
func TestNamesStayText(t *testing.T) {
	w := open(t)
	evil := w.seat("eve", "evil")
	r := w.spin(evil, 100)
	w.signIn()
	w.read("/regulator/")
	all := append([]string{fmt.Sprintf("/regulator/entries/%d", r.Index), "/regulator/entries/1", "/regulator/entries/3", "/regulator/seeds/1", "/verify"}, pages...)
	for _, q := range []string{attack, image, quoted, `" autofocus onfocus=alert(1) x="`, "javascript:alert(1)"} {
		v := url.QueryEscape(q)
		all = append(all, "/regulator/search?q="+v, "/regulator/search?from="+v, "/regulator/search?least="+v, "/regulator/search?currency="+v, "/regulator/search?kind="+v, "/regulator/search?below="+v,
			"/regulator/events?type="+v, "/regulator/consistency?from="+v+"&to="+v)
	}
	seen := ""
	for _, p := range all {
		resp := must[*http.Response](t)(w.client.Get(w.url + p))
		policy := resp.Header.Get("Content-Security-Policy")
		resp.Body.Close()
		if policy != portal.ContentSecurityPolicy || strings.Contains(policy, "unsafe-inline") || strings.Contains(policy, "'unsafe-eval'") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy is %q", p, policy)
		}
		body := w.get(p, resp.StatusCode)
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", p, resp.StatusCode)
		}
		harmless(t, p, body)
		seen += body
	}
	for _, name := range []string{"&lt;script&gt;alert(1)", "&lt;img src=x onerror=alert(2)&gt;", "&#39;&gt;&lt;svg onload=alert(3)&gt;"} {
		if !strings.Contains(seen, name) {
			t.Errorf("%s is nowhere: the test shows nothing", name)
		}
	}
}

// harmless reads a page as a browser would: no script or style of its own, no
// handler, and no way out of this house.
func harmless(t *testing.T, path, body string) {
	t.Helper()
	tokens := 0
	for z := html.NewTokenizer(strings.NewReader(body)); z.Next() != html.ErrorToken; {
		tag := z.Token()
		if tag.Type != html.StartTagToken && tag.Type != html.SelfClosingTagToken {
			continue
		}
		tokens++
		src := ""
		for _, a := range tag.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "autofocus" && tag.Data != "input" || a.Key == "srcdoc" {
				t.Errorf("%s has <%s %s=%q>", path, tag.Data, a.Key, a.Val)
			}
			if a.Key == "src" || a.Key == "href" || a.Key == "action" {
				if src = a.Val; !strings.HasPrefix(src, "/") && !strings.HasPrefix(src, "#") || strings.HasPrefix(src, "//") {
					t.Errorf("%s leads to %s", path, src)
				}
			}
		}
		if tag.Data == "script" && src != "/verify/check.js" && src != "/verify/wasm_exec.js" || tag.Data == "style" || tag.Data == "iframe" || tag.Data == "img" && src != "/verify/icon.svg" {
			t.Errorf("%s has <%s> of %q", path, tag.Data, src)
		}
	}
	if tokens < 20 {
		t.Errorf("%s has %d tags", path, tokens)
	}
}

func TestASearchFindsWhatIsThere(t *testing.T) {
	w := open(t)
	w.seat("bob", "evil")
	alice := w.seat("alice", "lamplight-quay")
	tens := 0 // rounds that staked 10 euros or paid them
	play := func(s house.Session, stake int64) *rounds.Settled {
		r := w.settled(w.spin(s, stake))
		about := func(n int64) bool { return n >= 999 && n <= 1001 }
		if about(r.Stake.Amount) || about(r.Payout.Amount) {
			tens++
		}
		return r
	}
	for range 70 {
		play(alice, 100)
	}
	w.pass(24 * time.Hour)
	alice, bob := w.sit("alice", "lamplight-quay"), w.sit("bob", "evil")
	big := play(alice, 1000)
	small := play(bob, 20)
	w.signIn()
	page := func(query string) (entries []string, body string) {
		body = w.read("/regulator/search?" + query)
		for _, m := range regexp.MustCompile(`<td class="number"><a href="/regulator/entries/(\d+)">`).FindAllStringSubmatch(body, -1) {
			entries = append(entries, m[1])
		}
		return entries, body
	}
	rows := func(query string) (entries []string) {
		entries, _ = page(query)
		return entries
	}
	if found := rows("least=9.99&most=10.01&kind=rounds"); len(found) != tens || tens == 0 {
		t.Errorf("rounds of 10 euros: %v, there are %d", found, tens)
	}
	if found := rows("kind=money"); len(found) != 2 {
		t.Errorf("deposits: %v", found)
	}
	if found := rows("least=50000&kind=money"); len(found) != 2 {
		t.Errorf("deposits by amount: %v", found)
	}
	if found := rows("least=10&currency=USD"); len(found) != 0 {
		t.Errorf("in another currency: %v", found)
	}
	day := big.At.Std().Format("2006-01-02T15:04:05")
	if found := rows("kind=rounds&from=" + url.QueryEscape(big.At.Std().Add(-time.Minute).Format("2006-01-02T15:04:05"))); len(found) != 2 {
		t.Errorf("rounds from %s on: %v", day, found)
	}
	if found := rows("kind=rounds&to=2001-01-01"); len(found) != 0 {
		t.Errorf("before there was a house: %v", found)
	}
	if found := rows("q=" + small.Player.String()); len(found) != 2 {
		t.Errorf("bob's entries: %v", found)
	}
	// Page by page everything is found once.
	seen := map[string]bool{}
	next := "kind=rounds"
	for range 5 {
		entries, body := page(next)
		for _, index := range entries {
			if seen[index] {
				t.Errorf("entry %s is on two pages", index)
			}
			seen[index] = true
		}
		m := regexp.MustCompile(`href="/regulator/search\?([^"]*below=[^"]*)"`).FindStringSubmatch(body)
		if m == nil {
			break
		}
		next = strings.ReplaceAll(m[1], "&amp;", "&")
	}
	if len(seen) != 72 {
		t.Errorf("%d rounds were found, there are 72", len(seen))
	}
	if body := w.get("/regulator/search?q="+big.ID.String(), 200); !strings.Contains(body, "As the player saw it") {
		t.Error("a round's id does not lead to it")
	}
	if body := w.get("/regulator/search?q=nobody", 200); !strings.Contains(body, `role="alert"`) {
		t.Error("a search for nothing says nothing")
	}
}

// The sums, and what the portal says of the seeds, against what was played.
func TestTheSumsAreThoseOfTheLog(t *testing.T) {
	w := open(t)
	s := w.seat("alice", "lamplight-quay")
	var stake, payout int64
	for range 80 {
		r := w.settled(w.spin(s, 200))
		stake, payout = stake+r.Stake.Amount, payout+r.Payout.Amount
	}
	w.signIn()
	in := func(n int64) string { return money.Money{Amount: n, Currency: "EUR"}.Decimal() }
	games := w.read("/regulator/games")
	// One house in so many hundred is so lucky that it is outside of its band.
	theory, _ := slots.TheoryOf(slots.Bundled().Hash())
	z := (float64(payout)/float64(stake) - float64(theory.ReturnMillionths)/1e6) / math.Sqrt(float64(theory.VarianceMillionths)/1e6/80)
	band := "inside the band"
	if math.Abs(z) > 2.575829 {
		band = "outside the band"
	}
	for _, want := range []string{in(stake), in(payout), "95.6369 %", band, `<path class="wide"`} {
		if !strings.Contains(games, want) {
			t.Errorf("the page of games lacks %q", want)
		}
	}
	if m := regexp.MustCompile(`([+-][0-9.]+) standard deviations`).FindStringSubmatch(html.UnescapeString(games)); m == nil {
		t.Error("the page of games does not say how far the return is from the theory")
	} else if said, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(said-z) > 0.006 {
		t.Errorf("the page of games says %s standard deviations, these are %.3f", m[1], z)
	}
	if body := w.read("/regulator/revenue"); !strings.Contains(body, "<strong>"+in(stake-payout)+"</strong>") || !strings.Contains(body, "100,000.00 EUR") && !strings.Contains(body, "50,000.00 EUR") {
		t.Error("the page of revenue has other sums")
	}
	w.revealed(s, 1)
	if body := w.read("/regulator/seeds"); !strings.Contains(body, "all 60 draws follow from the seed") {
		t.Error("the first epoch was not replayed")
	}
	if body := w.read("/regulator/seeds/1"); !strings.Contains(body, "Secret") {
		t.Error("the secret that is out is not shown")
	}
}

func FuzzSearch(f *testing.F) {
	f.Add("q=1&least=2.5&most=3&from=2026-01-01T00:00&to=2026-02-01&currency=EUR&kind=money&below=9")
	f.Add("q=00000000000000000000000000000000&below=18446744073709551615")
	f.Add("least=99999999999999999999999&from=%00")
	w := open(f)
	w.spin(w.seat("alice", "lamplight-quay"), 100)
	w.signIn()
	f.Fuzz(func(t *testing.T, query string) {
		req, err := http.NewRequest("GET", w.url+"/regulator/search?"+query, nil)
		if err != nil {
			return
		}
		resp, err := w.client.Do(req)
		if err != nil {
			return
		}
		resp.Body.Close()
		if resp.StatusCode != 200 && resp.StatusCode != 404 && resp.StatusCode != 400 {
			t.Errorf("%q: %d", query, resp.StatusCode)
		}
	})
}
