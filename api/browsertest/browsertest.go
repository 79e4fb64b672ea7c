// Package browsertest is a real browser, for the tests of pages.
package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
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

// Tab notes what its pages ask for and complain of.
type Tab struct {
	T   testing.TB // that fails; a subtest puts itself there
	Ctx context.Context

	mu       sync.Mutex
	asked    []string
	complain []string
}

// Open starts a browser that ends with the test.
func Open(t testing.TB) *Tab {
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
	b := &Tab{T: t, Ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	Call(b, audits.Enable, cdp.Empty{})
	return b
}

// note is told every event of the tab.
func (b *Tab) note(event any) {
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

// Heard returns what the tab asked for and complained of since it was asked last.
func (b *Tab) Heard() (asked, complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked, complaints = b.asked, b.complain
	b.asked, b.complain = nil, nil
	return asked, complaints
}

// Do takes steps, one after another.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.T.Helper()
	if err := chromedp.Do(b.Ctx, steps...); err != nil {
		b.T.Fatal(err)
	}
}

// Scheme has the reader prefer a color scheme, "light" or "dark".
func (b *Tab) Scheme(name string) {
	b.T.Helper()
	Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// Call sends a command of the DevTools protocol.
func Call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.T.Helper()
	r, err := chromedp.Call(b.Ctx, command, params)
	if err != nil {
		b.T.Fatal(err)
	}
	return r
}

// Eval returns the value of an expression in the page.
func Eval[T any](b *Tab, js string) T {
	b.T.Helper()
	v, err := chromedp.Run(b.Ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.T.Fatalf("%.200s: %v", js, err)
	}
	return v
}
