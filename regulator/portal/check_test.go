package portal_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/api/browsertest"
	"countroom/ledger/tlog"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// answer is an answer as the house's API gives it.
func (w *world) answer(index uint64) string {
	w.t.Helper()
	r, err := w.house.Ledger.Entry(index)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"index": index, "leaf": json.RawMessage(r.Leaf), "receipt": string(r.Proof)})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func TestInABrowser(t *testing.T) {
	w := open(t)
	s := w.seat("alice", "lamplight-quay")
	first := w.spin(s, 100)
	early := string(w.house.Ledger.Signed().Checkpoint)
	w.revealed(s, 1)
	w.pass(10 * time.Minute) // so that the seed of the next round has as long to stay secret
	last := w.spin(s, 100)
	w.spin(w.seat("eve", "evil"), 20)
	b := browse(t, w)
	for _, c := range []struct {
		name string
		test func(*testing.T, *browser)
	}{
		{"a player checks a receipt", func(t *testing.T, b *browser) { playerChecks(t, b, first.Index, last.Index) }},
		{"a receipt that was tampered with is refused", func(t *testing.T, b *browser) { tampered(t, b, first.Index) }},
		{"a regulator checks a round without a network", func(t *testing.T, b *browser) { offline(t, b, first.Index) }},
		{"two checkpoints are held against each other", func(t *testing.T, b *browser) { checkpoints(t, b, early) }},
		{"the keyboard reaches everything", keyboard},
		{"light, dark, wide and narrow", func(t *testing.T, b *browser) { looks(t, b, first.Index) }},
		{"asked this server only, and the browser complains of nothing", quiet},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.T = t
			c.test(t, b)
		})
	}
}

func playerChecks(t *testing.T, b *browser, proven, fresh uint64) {
	b.open("/verify")
	b.put("#paste", b.w.answer(proven))
	if r := b.check(); r.Verdict != "open" || r.state("The house signed") != "open" {
		t.Errorf("without a key: %+v", r)
	}
	b.put("#vkey", b.w.house.Ledger.VKey())
	r := b.check()
	if r.Verdict != "holds" || len(r.Steps) != 8 {
		t.Fatalf("a good receipt: %+v", r)
	}
	t.Logf("checked in %.1f ms, again in %.1f", r.Milliseconds, browsertest.Eval[[]float64](b.Tab, `Array.from({length: 8}, () => { const start = performance.now(); countroom.check(document.querySelector("#vkey").value, document.querySelector("#paste").value, ""); return performance.now() - start; })`))
	if cells := browsertest.Eval[int](b.Tab, `document.querySelectorAll("[data-report] table.reels td").length`); cells < 15 {
		t.Errorf("%d cells of reels are shown", cells)
	}
	// The key was pinned: it is there after the page is loaded again.
	b.open("/verify")
	b.put("#paste", b.w.answer(fresh))
	if r := b.check(); r.Verdict != "open" || r.state("The seed gives") != "open" || r.state("The rules give") != "holds" {
		t.Errorf("a round whose seed is secret: %+v", r)
	}
	for index, status := range map[uint64]int{2: 200, proven: 404, 0: 404, 1 << 40: 404} { // rules are for everybody, other entries are not
		b.w.get(fmt.Sprintf("/verify/games/%d", index), status)
	}
	b.put("#paste", b.w.answer(2))
	if r := b.check(); r.Verdict != "holds" || len(r.Steps) != 3 {
		t.Errorf("an entry that is no round: %+v", r)
	}
}

func tampered(t *testing.T, b *browser, index uint64) {
	b.open("/verify")
	good := b.w.answer(index)
	for name, c := range map[string]struct{ from, to, step string }{
		"the stake":           {`"stake":{"amount":100,`, `"stake":{"amount":200,`, "The entry is in the log"},
		"a digit of the draw": {`"n":1,`, `"n":2,`, "The entry is in the log"},
		"the index":           {fmt.Sprintf("index %d\\n", index), fmt.Sprintf("index %d\\n", index+1), "The entry is in the log"},
		"the size":            {"countroom.example/test\\n", "countroom.example/test\\n1", "The house signed"},
		"the origin":          {"\\ncountroom.example/test\\n", "\\ncountroom.example/tset\\n", "The house signed"},
		"the form":            {`"receipt":"c2sp`, `"receipt":" c2sp`, "The answer can be read"},
		"the whole":           {`{`, `<img src=x onerror=alert(1)>{`, "The answer can be read"},
	} {
		bad := strings.Replace(good, c.from, c.to, 1)
		if bad == good {
			t.Fatalf("%s: %q is not in the answer", name, c.from)
		}
		b.put("#paste", bad)
		if r := b.check(); r.Verdict != "fails" || r.state(c.step) != "fails" && name != "the size" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// A receipt of another house is good, and not under this key.
	other := open(t)
	r := other.spin(other.seat("alice", "lamplight-quay"), 100)
	b.put("#paste", other.answer(r.Index))
	if r := b.check(); r.Verdict != "fails" || r.state("The house signed") != "fails" {
		t.Errorf("a receipt of another house: %+v", r)
	}
	b.put("#paste", good)
	if r := b.check(); r.Verdict != "holds" {
		t.Errorf("the good one: %+v", r)
	}
}

// offline cuts the network once the page is loaded.
func offline(t *testing.T, b *browser, index uint64) {
	b.signIn()
	b.open(fmt.Sprintf("/regulator/entries/%d", index))
	none := network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{{URLPattern: "", Latency: 0, DownloadThroughput: -1, UploadThroughput: -1, Offline: true}}}
	browsertest.Call(b.Tab, network.EmulateNetworkConditionsByRule, none)
	if reached := browsertest.Eval[bool](b.Tab, `fetch("/verify/icon.svg", {cache: "no-store"}).then(() => true, () => false)`); reached {
		t.Error("the network is not cut")
	}
	if r := b.check(); r.Verdict != "holds" || len(r.Steps) != 8 {
		t.Errorf("without a network: %+v", r)
	}
	// A house that shows another entry than it signed is caught by its reader.
	browsertest.Eval[any](b.Tab, `document.getElementById("answer").textContent = document.getElementById("answer").textContent.replace('"payout":{"amount":', '"payout":{"amount":9'); null`)
	if r := b.check(); r.Verdict != "fails" || r.state("The entry is in the log") != "fails" {
		t.Errorf("a page that shows another payout: %+v", r)
	}
	browsertest.Call(b.Tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{}})
	b.Heard() // it complains of the network that was cut
}

func checkpoints(t *testing.T, b *browser, early string) {
	b.open("/regulator/consistency")
	b.put("#one", early)
	if r := b.check(); r.Verdict != "holds" || len(r.Steps) != 2 {
		t.Errorf("an early checkpoint and the newest: %+v", r)
	}
	c, err := tlog.Peek([]byte(early))
	if err != nil {
		t.Fatal(err)
	}
	b.put("#one", strings.Replace(early, fmt.Sprintf("\n%d\n", c.Size), fmt.Sprintf("\n%d\n", c.Size-1), 1))
	if r := b.check(); r.Verdict != "fails" {
		t.Errorf("a checkpoint that was changed: %+v", r)
	}
	b.put("#one", "nonsense")
	if r := b.check(); r.Verdict != "fails" {
		t.Errorf("no checkpoint: %+v", r)
	}
}

// keyboard tabs through a page: everything that can be pressed gets the focus
// and shows that it has.
func keyboard(t *testing.T, b *browser) {
	for _, path := range []string{"/verify", "/regulator/", "/regulator/search", "/regulator/entries/2", "/regulator/consistency"} {
		b.open(path)
		want := browsertest.Eval[int](b.Tab, `[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0).length`)
		got := browsertest.Eval[int](b.Tab, `(() => { document.body.focus(); globalThis.reached = new Set(); globalThis.unseen = []; document.addEventListener("focusin", (e) => { reached.add(e.target); if (getComputedStyle(e.target).outlineStyle === "none") unseen.push(e.target.outerHTML.slice(0, 80)); }); return 0; })()`)
		for range 4*want + 20 { // fields of date and time have several parts
			b.Do(chromedp.KeyEvent("\t"))
			if got = browsertest.Eval[int](b.Tab, `reached.size`); got >= want {
				break
			}
		}
		if unseen := browsertest.Eval[[]string](b.Tab, `unseen`); got < want || len(unseen) != 0 {
			t.Errorf("%s: the keyboard reaches %d of %d, without a mark %q", path, got, want, unseen)
		}
		for what, js := range map[string]string{
			"fields without a name":  `[...document.querySelectorAll("input, select, textarea")].filter((e) => !e.ariaHidden && e.labels.length === 0).map((e) => e.id)`,
			"regions without a name": `[...document.querySelectorAll("section:not([aria-labelledby]), [role=region]:not([aria-label]):not([aria-labelledby]), svg:not([aria-labelledby])")].filter((e) => !["panel", "spin"].includes(e.className)).map((e) => e.outerHTML.slice(0, 80))`,
			"more than one h1":       `[...document.querySelectorAll("h1")].slice(1).map((e) => e.textContent)`,
			"an id twice":            `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`,
		} {
			if found := browsertest.Eval[[]string](b.Tab, js); len(found) != 0 {
				t.Errorf("%s has %s: %q", path, what, found)
			}
		}
	}
}

// faint lists texts whose contrast to what is behind them is below 4.5 (WCAG
// 2.2, 1.4.3), and what sticks out of the window.
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
		}
		return [255, 255, 255];
	};
	const out = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || e.closest("noscript, .hidden, option, datalist") || !e.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true, opacityProperty: true})) continue;
		const style = getComputedStyle(e);
		const [a, b] = [light(channels(e.closest("svg") ? style.fill : style.color).slice(0, 3)), light(behind(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) out.push(ratio.toFixed(2) + " " + e.className + ": " + texts.currentNode.data.trim().slice(0, 40));
	}
	for (const e of document.querySelectorAll("body *")) {
		if (e.checkVisibility() && !e.closest(".scroll, .hidden, .skip") && e.getBoundingClientRect().right > innerWidth + 0.5) out.push("sticks out: " + e.tagName + " " + e.className);
	}
	if (document.documentElement.scrollWidth > innerWidth) out.push("the page is wider than the window");
	return out;
})()`

func looks(t *testing.T, b *browser, index uint64) {
	for _, path := range append([]string{"/verify", fmt.Sprintf("/regulator/entries/%d", index), "/regulator/seeds/1"}, pages...) {
		b.show(path, 1280, "light")
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				b.look(width, scheme)
				if found := browsertest.Eval[[]string](b.Tab, faint); len(found) != 0 {
					t.Errorf("%s, %s, %d wide: %q", path, scheme, width, found[:min(len(found), 8)])
				}
			}
		}
	}
}

// quiet looks at all that the tests before it caused.
func quiet(t *testing.T, b *browser) {
	asked, complaints := b.Heard()
	if !slices.Contains(asked, b.w.url+"/verify/replay.wasm") {
		t.Errorf("the checking program was not asked for: %q", asked)
	}
	for _, a := range asked {
		if !strings.HasPrefix(a, b.w.url+"/") && !strings.HasPrefix(a, "data:image/svg+xml") && a != "about:blank" { // the browser's own icons of fields
			t.Errorf("a page asks for %s", a)
		}
	}
	if len(complaints) != 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	// That silence means something: each of these is noticed.
	b.open("/regulator/")
	browsertest.Eval[any](b.Tab, `document.body.insertAdjacentHTML("beforeend", "<i style='color:red'>x</i><img src='http://other.invalid/x.png' onerror='globalThis.broken=1'>"); null`)
	browsertest.Eval[any](b.Tab, `fetch("http://other.invalid/").catch(() => null)`)
	if ran := browsertest.Eval[bool](b.Tab, `new Promise((done) => { const s = document.createElement("script"); s.textContent = "globalThis.broken = 1"; document.body.append(s); setTimeout(() => done(globalThis.broken === 1), 50); })`); ran {
		t.Error("script in a page runs")
	}
	if ran := browsertest.Eval[string](b.Tab, `(() => { try { return (0, eval)("'ran'"); } catch (e) { return e.name; } })()`); ran == "ran" {
		t.Log("eval runs from the debugger, which is above the policy")
	}
	var all string
	b.w.until("the browser's complaints", func() bool {
		_, c := b.Heard()
		all += strings.Join(c, "\n")
		return strings.Contains(all, "style-src") && strings.Contains(all, "img-src") && strings.Contains(all, "connect-src") && strings.Contains(all, "script-src")
	})
}
