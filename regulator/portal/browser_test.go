package portal_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"countroom/api/browsertest"

	"github.com/chromedp/chromedp"
)

// browser is a tab that shows a world's pages.
type browser struct {
	*browsertest.Tab
	w *world
}

func browse(t testing.TB, w *world) *browser {
	t.Helper()
	return &browser{browsertest.Open(t), w}
}

// show loads a page in a window of a width, in a color scheme.
func (b *browser) show(path string, width int64, scheme string) {
	b.T.Helper()
	b.look(width, scheme)
	b.Do(chromedp.Navigate(b.w.url + path))
}

// look changes the window's width and the color scheme.
func (b *browser) look(width int64, scheme string) {
	b.T.Helper()
	b.Scheme(scheme)
	b.Do(chromedp.EmulateViewport(width, 800))
}

// open loads a page and waits for its checking program.
func (b *browser) open(path string) {
	b.T.Helper()
	b.show(path, 1280, "light")
	b.ready()
}

// ready waits until the checking program is there.
func (b *browser) ready() {
	b.T.Helper()
	browsertest.Eval[any](b.Tab, `new Promise((done) => { const look = () => "ready" in document.documentElement.dataset ? done(null) : setTimeout(look, 10); look(); })`)
}

// signIn signs in by the form.
func (b *browser) signIn() {
	b.T.Helper()
	b.show("/regulator/", 1280, "light")
	b.Do(chromedp.SendKeys("#token", token+"\r"), chromedp.WaitVisible("header.bar"))
}

// put puts a text into a field.
func (b *browser) put(field, text string) {
	b.T.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		b.T.Fatal(err)
	}
	browsertest.Eval[any](b.Tab, fmt.Sprintf(`{const e = document.querySelector(%q); e.value = %s; e.dispatchEvent(new Event("change")); null}`, field, quoted))
}

// report is what the page says of a check.
type report struct {
	Verdict      string
	Milliseconds float64
	Steps        []struct{ State, Title, Text string }
}

// said waits for a report.
func (b *browser) said() report {
	b.T.Helper()
	return browsertest.Eval[report](b.Tab, `new Promise((done) => { const look = () => {
		const r = document.querySelector("[data-report]");
		if (!r.dataset.verdict) return setTimeout(look, 10);
		done({Verdict: r.dataset.verdict, Milliseconds: Number(r.dataset.milliseconds), Steps: [...r.querySelectorAll(".steps > li")].map((e) =>
			({State: e.className, Title: e.querySelector("strong").textContent, Text: e.querySelector("p").textContent}))});
	}; look(); })`)
}

// check presses the button and waits for the report.
func (b *browser) check() report {
	b.T.Helper()
	browsertest.Eval[any](b.Tab, `{delete document.querySelector("[data-report]").dataset.verdict; document.querySelector("[data-report]").replaceChildren(); document.querySelector(".check button:not(.plain)").click(); null}`)
	return b.said()
}

func (r report) state(title string) string {
	for _, s := range r.Steps {
		if strings.Contains(s.Title, title) {
			return s.State
		}
	}
	return ""
}

// shot is a picture of the whole page.
func (b *browser) shot() []byte {
	b.T.Helper()
	png, err := chromedp.Run(b.Ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.T.Fatal(err)
	}
	return png
}
