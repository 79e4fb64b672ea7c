package portal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a tab that notes what a page asks for and complains of.
type browser struct {
	t   testing.TB
	ctx context.Context
	w   *world

	mu       sync.Mutex
	asked    []string
	complain []string
}

func browse(t testing.TB, w *world) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: make deps")
	}
	// Its files are where chromedp puts them and knows how to remove them: processes of
	// the browser that outlive it for a moment would have a test's own folder fail.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, w: w}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	call(b, audits.Enable, cdp.Empty{})
	return b
}

// note is told every event of the tab.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.complain = append(b.complain, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.complain = append(b.complain, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.complain = append(b.complain, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
	case *audits.EventIssueAdded:
		if g := e.Issue.Details.GenericIssueDetails; g != nil && g.ErrorType == audits.GenericIssueErrorTypeNavigationEntryMarkedSkippable {
			return // the tests lead it about without a hand at the mouse
		}
		details, err := json.Marshal(e.Issue.Details)
		b.complain = append(b.complain, fmt.Sprintf("%s: %s %v", e.Issue.Code, details, err))
	}
}

// heard returns what the tab noted since it was asked last.
func (b *browser) heard() (asked, complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked, complaints = b.asked, b.complain
	b.asked, b.complain = nil, nil
	return asked, complaints
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// call sends a command of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// eval returns the value of an expression in the page.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", js, err)
	}
	return v
}

// show loads a page in a window of a width, in a color scheme.
func (b *browser) show(path string, width int64, scheme string) {
	b.t.Helper()
	b.look(width, scheme)
	b.do(chromedp.Navigate(b.w.url + path))
}

// look changes the window's width and the color scheme.
func (b *browser) look(width int64, scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(chromedp.EmulateViewport(width, 800))
}

// open loads a page and waits for its checking program.
func (b *browser) open(path string) {
	b.t.Helper()
	b.show(path, 1280, "light")
	b.ready()
}

// ready waits until the checking program is there.
func (b *browser) ready() {
	b.t.Helper()
	eval[any](b, `new Promise((done) => { const look = () => "ready" in document.documentElement.dataset ? done(null) : setTimeout(look, 10); look(); })`)
}

// signIn signs in by the form.
func (b *browser) signIn() {
	b.t.Helper()
	b.show("/regulator/", 1280, "light")
	b.do(chromedp.SendKeys("#token", token+"\r"), chromedp.WaitVisible("header.bar"))
}

// put puts a text into a field.
func (b *browser) put(field, text string) {
	b.t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		b.t.Fatal(err)
	}
	eval[any](b, fmt.Sprintf(`{const e = document.querySelector(%q); e.value = %s; e.dispatchEvent(new Event("change")); null}`, field, quoted))
}

// report is what the page says of a check.
type report struct {
	Verdict      string
	Milliseconds float64
	Steps        []struct{ State, Title, Text string }
}

// said waits for a report.
func (b *browser) said() report {
	b.t.Helper()
	return eval[report](b, `new Promise((done) => { const look = () => {
		const r = document.querySelector("[data-report]");
		if (!r.dataset.verdict) return setTimeout(look, 10);
		done({Verdict: r.dataset.verdict, Milliseconds: Number(r.dataset.milliseconds), Steps: [...r.querySelectorAll(".steps > li")].map((e) =>
			({State: e.className, Title: e.querySelector("strong").textContent, Text: e.querySelector("p").textContent}))});
	}; look(); })`)
}

// check presses the button and waits for the report.
func (b *browser) check() report {
	b.t.Helper()
	eval[any](b, `{delete document.querySelector("[data-report]").dataset.verdict; document.querySelector("[data-report]").replaceChildren(); document.querySelector(".check button:not(.plain)").click(); null}`)
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
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}
