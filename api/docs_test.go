package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/api/browsertest"
	"countroom/games/house/housetest"

	"github.com/chromedp/cdproto/accessibility"
	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func TestTheDocsAreServed(t *testing.T) {
	w := open(t)
	for name, contentType := range map[string]string{
		"/docs": "text/html; charset=utf-8", "/docs/style.css": "text/css; charset=utf-8", "/docs/script.js": "text/javascript; charset=utf-8", "/docs/icon.svg": "image/svg+xml",
	} {
		plain := w.do("GET", name, "", "Accept-Encoding", "identity").want(200)
		tag := plain.header.Get("ETag")
		if plain.header.Get("Content-Type") != contentType || plain.header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(tag, `W/"`) || plain.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the header is %v", name, plain.header)
		}
		policy := plain.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy is %s", name, policy)
		}
		packed := w.do("GET", name, "", "Accept-Encoding", "gzip").want(200)
		if packed.header.Get("Content-Encoding") != "gzip" || packed.header.Get("ETag") != tag || string(unpacked(t, packed.body)) != string(plain.body) {
			t.Errorf("%s: packed it is another, or %v", name, packed.header)
		}
		for _, have := range []string{tag, `"x", ` + tag, "*"} {
			if a := w.do("GET", name, "", "If-None-Match", have).want(304); len(a.body) != 0 || a.header.Get("ETag") != tag {
				t.Errorf("%s: to who has %s it is sent again", name, have)
			}
		}
		w.do("GET", name, "", "If-None-Match", `W/"x"`).want(200)
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 302 || rec.Header().Get("Location") != "/docs" {
		t.Errorf("/ leads with %d to %q", rec.Code, rec.Header().Get("Location"))
	}
}

// The commands that the page shows, as a reader would run them: in a shell, one
// after another, against a house.
func TestTheDocsCommandsWork(t *testing.T) {
	w := open(t)
	page := string(w.do("GET", "/docs", "", "Accept-Encoding", "identity").want(200).body)
	commands := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)<h3 id="call-(\w+)">.*?<code class="curl">(.*?)</code>`).FindAllStringSubmatch(page, -1) {
		commands[m[1]] = unescape.Replace(m[2])
	}
	env := []string{"PATH=/usr/bin:/bin", "HOUSE=" + w.url, "OPERATOR=" + operatorToken, "REGULATOR=" + regulatorToken, "AUDITOR=" + auditorToken}
	dir := t.TempDir()
	ids := strings.NewReplacer()
	run := func(id string) *answer {
		t.Helper()
		command, ok := commands[id]
		if !ok {
			t.Fatalf("%s has no command", id)
		}
		delete(commands, id)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", ids.Replace(command)+" -D "+id+".header")
		cmd.Dir, cmd.Env = dir, env
		body, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v (make deps installs curl)", command, err)
		}
		header, err := os.Open(filepath.Join(dir, id+".header"))
		if err != nil {
			t.Fatal(err)
		}
		defer header.Close()
		resp, err := http.ReadResponse(bufio.NewReader(header), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return read(t, withRequest(resp))
	}
	for _, id := range []string{"createPlayer", "deposit"} {
		w.accepted(run(id).want(201))
	}
	session := run("openSession").want(201)
	env = append(env, "SESSION="+session.text("token"))
	spun := run("spin").want(201)
	w.accepted(spun)
	ids = strings.NewReplacer(example("SessionID"), session.text("id"), example("RoundID"), spun.text("round"))
	w.accepted(run("getRound").want(200))
	if a := run("getDisputePack"); a.status != 200 { // its body went into a file
		t.Errorf("getDisputePack: %d", a.status)
	}
	for _, id := range []string{"claimDisplayed", "withdraw", "setNonce", "recordSubject", "closeSession", "setPlayerState", "setGameState"} {
		w.accepted(run(id).want(201))
	}
	made := run("createExport").want(201)
	for made.text("state") != "done" {
		made = w.get("/v1/exports/"+made.text("id"), auditorToken).want(200)
	}
	ids = strings.NewReplacer(example("ExportID"), made.text("id"))
	run("getSpanCertificate").refused(404, "not-found", "") // it is no span of time
	if a := run("getExportFile"); a.status != 200 {         // its body went into a file
		t.Errorf("getExportFile: %d", a.status)
	}
	run("getEntry").refused(401, "session-over", "") // the session was closed just now
	if a := run("getBlob"); a.status != 404 {        // its body went into a file
		t.Errorf("getBlob: %d", a.status)
	}
	run("getCosignedCheckpoint").refused(404, "not-found", "") // a house without witnesses
	if a := run("root"); a.status != 302 {
		t.Errorf("root: %d", a.status)
	}
	rest := len(commands)
	for id := range commands {
		run(id).want(200)
	}
	if rest < 10 {
		t.Errorf("only %d commands were left", rest)
	}
}

func unpacked(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		b, err = io.ReadAll(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var unescape = strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&")

func example(parameter string) string {
	return at(document, "components", "parameters", parameter, "example").(string)
}

// browser is a tab that shows a house's reference.
type browser struct {
	*browsertest.Tab
	url string
}

func browse(t *testing.T) *browser {
	t.Helper()
	server := httptest.NewServer(New(housetest.Open(t, t.TempDir()).House, Options{}))
	t.Cleanup(server.Close)
	return &browser{browsertest.Open(t), server.URL}
}

// none demands that an expression finds nothing.
func (b *browser) none(what, js string) {
	b.T.Helper()
	if found := browsertest.Eval[[]string](b.Tab, js); len(found) != 0 {
		b.T.Errorf("%s: %q", what, found[:min(len(found), 10)])
	}
}

// show loads the page anew, in a window of a width, in a color scheme.
func (b *browser) show(width int64, scheme string) {
	b.T.Helper()
	b.Scheme(scheme)
	b.Do(chromedp.EmulateViewport(width, 800), chromedp.Navigate("about:blank"), chromedp.Navigate(b.url+"/docs"))
}

// faint lists texts whose contrast to what is behind them is below 4.5 (WCAG
// 2.2, 1.4.3), and counts those it looked at.
const faint = `(() => {
	const channels = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => {
		const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = channels(getComputedStyle(e).backgroundColor);
			if (c.length === 3) return c;
			if (c[3] !== 0) throw new Error("half transparent: " + e.className);
		}
		throw new Error("nothing is behind it");
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const out = {Looked: 0, Faint: []};
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || !e.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true, opacityProperty: true})) continue;
		out.Looked++;
		const [a, b] = [light(channels(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) out.Faint.push(ratio.toFixed(2) + " " + e.className + ": " + texts.currentNode.data.trim().slice(0, 40));
	}
	return out;
})()`

type contrast struct {
	Looked int
	Faint  []string
}

// wide lists what sticks out of the window.
const wide = `(() => {
	for (const d of document.querySelectorAll("details")) d.open = true;
	const out = [];
	for (const e of [document.documentElement, ...document.querySelectorAll("body *")]) {
		if (e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5) out.push(e.tagName + " " + e.className);
		if (getComputedStyle(e).overflowX === "auto" && e.scrollWidth > e.clientWidth) out.push(e.tagName + " scrolls sideways");
	}
	if (document.documentElement.scrollWidth > innerWidth) out.push("the page");
	return out;
})()`

// operations are the document's, by their ids: method and path.
func operations() map[string][2]string {
	all := map[string][2]string{}
	for path, item := range at(document, "paths").(map[string]any) {
		for method, op := range item.(map[string]any) {
			all[at(op, "operationId").(string)] = [2]string{strings.ToUpper(method), path}
		}
	}
	return all
}

func TestTheDocsInABrowser(t *testing.T) {
	b := browse(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *browser)
	}{
		{"has everything", docsAreComplete},
		{"the contents lead there", docsContentsLead},
		{"the keyboard reaches everything", docsByKeyboard},
		{"has named landmarks", docsLandmarks},
		{"light, dark, wide and narrow", docsLooks},
		{"the filter finds", docsFilter},
		{"copies", docsCopy},
		{"needs no script", docsWithoutScript},
		{"asked this server only, and the browser complains of nothing", docsWereQuiet},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.T = t
			c.test(t, b)
		})
	}
}

// docsWereQuiet looks at all that the tests before it caused.
func docsWereQuiet(t *testing.T, b *browser) {
	b.show(1280, "light")
	asked, complaints := b.Heard()
	own := map[string]int{}
	for _, a := range asked {
		path, ours := strings.CutPrefix(a, b.url)
		if !ours {
			t.Errorf("the page asks for %s", a)
		}
		own[path]++
	}
	if len(own) != 4 || own["/docs/style.css"] == 0 || own["/docs/script.js"] == 0 || own["/docs/icon.svg"] == 0 {
		t.Errorf("the page asks for %v", own)
	}
	if len(complaints) != 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	// That silence means something: each of these is noticed.
	browsertest.Eval[any](b.Tab, `document.body.insertAdjacentHTML("beforeend", "<i id=planted style='color:red'>x</i><img src='http://other.invalid/x.png'>"); null`)
	browsertest.Eval[any](b.Tab, `fetch("http://other.invalid/").catch(() => null)`)
	var all string
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		_, complaints = b.Heard()
		all += strings.Join(complaints, "\n")
		if strings.Contains(all, "style-src") && strings.Contains(all, "img-src") && strings.Contains(all, "connect-src") {
			break
		}
		browsertest.Eval[any](b.Tab, `new Promise((done) => setTimeout(done, 20))`)
	}
	for _, directive := range []string{"style-src", "img-src", "connect-src"} {
		if !strings.Contains(all, directive) {
			t.Errorf("a breach of %s is not noticed: %s", directive, all)
		}
	}
	if color := browsertest.Eval[string](b.Tab, `getComputedStyle(document.getElementById("planted")).color`); color == "rgb(255, 0, 0)" {
		t.Error("the policy lets inline style in")
	}
}

func docsAreComplete(t *testing.T, b *browser) {
	b.show(1280, "light")
	type section struct {
		Path, Method, Text, Curl string
		Answers                  []string
	}
	sections := browsertest.Eval[map[string]section](b.Tab, `Object.fromEntries([...document.querySelectorAll("article.call")].map((a) => [a.getAttribute("aria-labelledby").replace("call-", ""), {
		Path: a.querySelector(".path").textContent, Method: a.querySelector(".method").textContent, Text: a.textContent, Curl: a.querySelector(".curl").textContent,
		Answers: [...a.querySelectorAll(".answer > summary > .status")].map((s) => s.textContent),
	}]))`)
	all := operations()
	for id, op := range all {
		s, ok := sections[id]
		if !ok || s.Method != op[0] || s.Path != op[1] || !strings.Contains(s.Curl, "curl ") {
			t.Errorf("%s: %s %s is shown as %s %s", id, op[0], op[1], s.Method, s.Path)
		}
		documented := at(document, "paths", op[1], strings.ToLower(op[0]))
		for status := range at(documented, "responses").(map[string]any) {
			if !slices.Contains(s.Answers, status) {
				t.Errorf("%s: the answer %s is not shown", id, status)
			}
		}
		parameters, _ := at(documented, "parameters").([]any)
		for _, p := range parameters {
			if !strings.Contains(s.Text, at(p, "name").(string)) {
				t.Errorf("%s: the parameter %v is not shown", id, at(p, "name"))
			}
		}
	}
	if len(sections) != len(all) {
		t.Errorf("%d operations are shown, there are %d", len(sections), len(all))
	}
	for name := range at(document, "components", "schemas").(map[string]any) {
		b.none("the schema "+name, fmt.Sprintf(`document.getElementById("schema-%s") ? [] : ["is not there"]`, name))
	}
	text := browsertest.Eval[string](b.Tab, `document.querySelector("main").textContent`)
	for _, p := range problems {
		b.none("the problem "+p.name, fmt.Sprintf(`document.querySelector("#problem-%s a[href='/problems/%[1]s']") ? [] : ["is not there"]`, p.name))
		if !strings.Contains(text, p.title) || !strings.Contains(text, p.about) {
			t.Errorf("%s is not explained", p.name)
		}
	}
	b.none("ids that occur twice", `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`)
	b.none("links to nothing", `[...document.querySelectorAll("a[href^='#']")].map((a) => a.hash.slice(1)).filter((id) => !document.getElementById(id))`)
	b.none("marks of the text's form that are left over", `[...document.querySelectorAll("main p, main li, main dd")].map((e) => e.textContent).filter((s) => s.includes("\u0060") || s.includes("**"))`)
}

func docsContentsLead(t *testing.T, b *browser) {
	b.show(1280, "light")
	links := browsertest.Eval[[]string](b.Tab, `[...document.querySelectorAll("#contents a")].map((a) => a.hash)`)
	for id := range operations() {
		if !slices.Contains(links, "#call-"+id) {
			t.Errorf("%s is not in the contents", id)
		}
	}
	b.none("links that do not lead", `(async () => {
		const out = [];
		for (const a of document.querySelectorAll("#contents a")) {
			a.click();
			let top, leads = false;
			for (const start = performance.now(); !leads && performance.now() - start < 20_000; ) { // with the next frame, or when there is one
				await new Promise(requestAnimationFrame);
				top = document.getElementById(a.hash.slice(1)).getBoundingClientRect().top;
				leads = location.hash === a.hash && top >= document.querySelector(".bar").clientHeight && top <= innerHeight - 20;
			}
			if (!leads) out.push(a.hash + " is at " + top);
		}
		return out;
	})()`)
}

// spinAtTop is how far below the window's top the call of a spin is once it is led to, or
// when that takes too long: a browser scrolls with its next frame.
func (b *browser) spinAtTop() (top float64) {
	b.T.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		top = browsertest.Eval[float64](b.Tab, `document.getElementById("call-spin").getBoundingClientRect().top`)
		if top >= 40 && top <= 200 || time.Now().After(deadline) {
			return top
		}
	}
}

func docsByKeyboard(t *testing.T, b *browser) {
	type focus struct {
		Href, Outline string
		Inside        bool
	}
	here := func() focus {
		return browsertest.Eval[focus](b.Tab, `(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			return {Href: e.getAttribute("href") || e.tagName, Outline: s.outlineStyle + " " + s.outlineWidth, Inside: r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth};
		})()`)
	}
	for _, width := range []int64{1280, 360} {
		b.show(width, "light")
		var reached []string
		for range 120 {
			b.Do(chromedp.KeyEvent(kb.Tab))
			f := here()
			reached = append(reached, f.Href)
			if f.Outline != "solid 3px" || !f.Inside {
				t.Errorf("%d px: the focus at %s cannot be seen: %+v", width, f.Href, f)
			}
			if f.Href == "SUMMARY" && browsertest.Eval[bool](b.Tab, `!document.activeElement.parentElement.open && document.activeElement.closest("nav") !== null`) {
				b.Do(chromedp.KeyEvent(kb.Enter))
			}
			if f.Href == "#call-spin" {
				break
			}
		}
		if reached[0] != "#main" || !slices.Contains(reached, "#call-createPlayer") || !slices.Contains(reached, "INPUT") || reached[len(reached)-1] != "#call-spin" {
			t.Fatalf("%d px: the tab key reaches %q", width, reached)
		}
		b.Do(chromedp.KeyEvent(kb.Enter))
		if top := b.spinAtTop(); top < 40 || top > 200 {
			t.Errorf("%d px: Enter leads to %v below the top", width, top)
		}
	}
	b.show(1280, "light")
	b.Do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	skipped := func() bool { return browsertest.Eval[string](b.Tab, `document.activeElement.id`) == "main" }
	for deadline := time.Now().Add(time.Minute); !skipped() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if !skipped() {
		t.Error("the first link does not skip to the content")
	}
}

func docsLandmarks(t *testing.T, b *browser) {
	b.show(1280, "light")
	tree := browsertest.Call(b.Tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{Depth: new(int64(6))}) // deeper is what stands in the chapters
	value := func(v *accessibility.Value) (s string) {
		if v != nil && json.Unmarshal(v.Value, &s) != nil {
			return "" // a role or name is a string
		}
		return s
	}
	marks, articles := map[string][]string{}, 0
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		role, name := value(n.Role), value(n.Name)
		switch role {
		case "banner", "navigation", "main", "contentinfo", "region":
			marks[role] = append(marks[role], name)
		case "article":
			articles++
			if name == "" {
				t.Error("an article without a name")
			}
		}
	}
	if want := len(operations()) + len(at(document, "components", "schemas").(map[string]any)); articles != want {
		t.Errorf("%d articles, want %d", articles, want)
	}
	if !slices.Equal(marks["navigation"], []string{"Contents"}) || len(marks["banner"]) != 1 || len(marks["main"]) != 1 || len(marks["contentinfo"]) != 1 {
		t.Errorf("the landmarks are %q", marks)
	}
	for _, tag := range at(document, "tags").([]any) {
		if !slices.Contains(marks["region"], at(tag, "name").(string)) {
			t.Errorf("%v is no region: %q", at(tag, "name"), marks["region"])
		}
	}
	if slices.Contains(marks["region"], "") {
		t.Errorf("a region without a name: %q", marks["region"])
	}
	b.none("headings that skip a level", `[...document.querySelectorAll("main h1, main h2, main h3, main h4, main h5")].filter((h, i, all) => i > 0 && h.tagName[1] - all[i-1].tagName[1] > 1).map((h) => h.textContent)`)
	b.none("what has no name", `[...document.querySelectorAll("a, button, summary, input, img, [role=region]")].filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.getAttribute("alt") === "")).map((e) => e.outerHTML)`)
	b.none("the language", `document.documentElement.lang === "en" ? [] : [document.documentElement.lang]`)
}

func docsLooks(t *testing.T, b *browser) {
	b.show(1280, "light")
	for _, width := range []int64{1920, 1280, 1024, 768, 360} {
		b.Do(chromedp.EmulateViewport(width, 800))
		b.none(fmt.Sprintf("%d px: what sticks out", width), wide)
		if width != 1280 && width != 360 {
			continue
		}
		for scheme, want := range map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(14, 19, 24)"} {
			b.Scheme(scheme)
			if back := browsertest.Eval[string](b.Tab, `getComputedStyle(document.body).backgroundColor`); back != want {
				t.Errorf("%s: the page is %s", scheme, back)
			}
			if got := browsertest.Eval[contrast](b.Tab, faint); got.Looked < 1000 || len(got.Faint) != 0 {
				t.Errorf("%s, %d px: of %d texts these are faint: %q", scheme, width, got.Looked, got.Faint)
			}
		}
	}
	b.Scheme("dark")
	// That the measures measure.
	browsertest.Eval[any](b.Tab, `document.querySelector("h1").style.cssText = "color: #333; min-width: 3000px"; null`)
	if got := browsertest.Eval[contrast](b.Tab, faint); len(got.Faint) != 1 {
		t.Errorf("dark grey on black is not found faint: %q", got.Faint)
	}
	if out := browsertest.Eval[[]string](b.Tab, wide); len(out) == 0 {
		t.Error("a heading of 3000 pixels does not stick out")
	}
}

func docsFilter(t *testing.T, b *browser) {
	b.show(1280, "light")
	visible := func() []string {
		return browsertest.Eval[[]string](b.Tab, `[...document.querySelectorAll("#contents li a")].filter((a) => a.checkVisibility()).map((a) => a.hash)`)
	}
	all := visible()
	for _, c := range []struct{ typed, said, found string }{{"overloaded", "1 entry", "#problem-overloaded"}, {"post /v1/spins", "1 entry", "#call-spin"}, {"no such thing", "0 entries", ""}} {
		b.Do(chromedp.SendKeys(chromedp.ID("filter"), c.typed))
		if got := strings.Join(visible(), " "); got != c.found {
			t.Errorf("%s is found at %q", c.typed, got)
		}
		if said := browsertest.Eval[string](b.Tab, `document.getElementById("found").textContent`); said != c.said {
			t.Errorf("%s: it says %q", c.typed, said)
		}
		b.Do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, len(c.typed))))
	}
	if got := visible(); len(got) < 80 || !slices.Equal(got, all) {
		t.Errorf("without a filter %d of %d entries are shown", len(got), len(all))
	}
}

func docsCopy(t *testing.T, b *browser) {
	b.show(1280, "light")
	_, err := chromedp.CallBrowser(b.Ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Origin: b.url, Permission: &cdpbrowser.PermissionDescriptor{Name: "clipboard-read"}, Setting: cdpbrowser.PermissionSettingGranted,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Do(chromedp.Click(chromedp.CSS(".guide .copy")))
	// The page copies when it comes to it.
	got, want := "", "cd DIR\nexport HOUSE="+b.url+"\n"
	for deadline := time.Now().Add(time.Minute); !strings.HasPrefix(got, want) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		got = browsertest.Eval[string](b.Tab, `navigator.clipboard.readText()`)
	}
	if !strings.HasPrefix(got, want) {
		t.Errorf("copied is %q", got)
	}
}

func docsWithoutScript(t *testing.T, b *browser) {
	browsertest.Call(b.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	defer browsertest.Call(b.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	for _, width := range []int64{360, 1280} {
		b.show(width, "light")
		b.none("what only script can do", `[...document.querySelectorAll(".copy, .filter")].filter((e) => e.checkVisibility()).map((e) => e.className)`)
		links := browsertest.Eval[int](b.Tab, `[...document.querySelectorAll("#contents li a")].filter((a) => a.checkVisibility({contentVisibilityAuto: true})).length`)
		if width == 1280 && links < 80 {
			t.Errorf("on a wide screen %d entries of the contents are shown", links)
		}
		if width == 360 {
			b.Do(chromedp.Click(chromedp.CSS("#contents summary")), chromedp.Click(chromedp.CSS("#contents a[href='#call-spin']")))
			if top := b.spinAtTop(); top < 40 || top > 200 {
				t.Errorf("the contents lead to %v below the top", top)
			}
		}
	}
}
