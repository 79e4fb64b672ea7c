package watch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"countroom/regulator/verify"
)

// Severities of alerts.
const (
	Evidence = "evidence" // against the house, or against what was served in its name
	Alarm    = "alarm"    // somebody has to look
	Resolved = "resolved" // of an alarm: it is over
)

// Alert is one thing that a watch has to say. It is said once.
type Alert struct {
	Format   string `json:"format"` // countroom/alert/v1
	ID       string `json:"id"`     // the same for the same thing
	At       string `json:"at"`
	Origin   string `json:"origin"`
	Severity string `json:"severity"`
	Kind     string `json:"kind"` // short and stable
	Point    string `json:"point,omitempty"`
	Text     string `json:"text"`

	Finding *verify.Finding `json:"finding,omitempty"`
	// File is where the evidence is kept, Evidence its content where it is not long.
	File     string          `json:"evidence_file,omitempty"`
	Evidence json.RawMessage `json:"evidence,omitempty"`

	also string // another id of the same
}

// key names what an alert is about.
func (a *Alert) key(about string) {
	h := sha256.New()
	for _, s := range []string{a.Origin, a.Kind, a.Point, about} {
		fmt.Fprintf(h, "%d\n%s\n", len(s), s)
	}
	a.ID = fmt.Sprintf("%x", h.Sum(nil)[:16])
}

const (
	alertFormat = "countroom/alert/v1"
	// inlineMost bounds the evidence that goes with an alert.
	inlineMost = 256 << 10
	// outMost bounds the alerts that wait for a webhook, toldMost those that are
	// remembered, and textMost what one says.
	outMost  = 1000
	toldMost = 100_000
	textMost = 4000
)

// teller says each alert once: to the log at once, and to the webhook as soon as
// it listens. What it has said is remembered over restarts.
type teller struct {
	dir     string // "" remembers nothing
	webhook string
	client  *http.Client
	say     func(Alert)

	mu       sync.Mutex
	told     map[string]bool
	out      []Alert
	dropped  uint64
	failures uint64
	evidence int // alerts of this severity since the start
	counts   map[[2]string]uint64
}

func newTeller(dir, webhook string, say func(Alert)) (*teller, error) {
	t := &teller{dir: dir, webhook: webhook, say: say, told: map[string]bool{}, counts: map[[2]string]uint64{}}
	if webhook != "" {
		u, err := url.Parse(webhook)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("%q: expected the URL of a webhook", webhook)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxResponseHeaderBytes = 64 << 10
		t.client = &http.Client{Timeout: 10 * time.Second, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	b, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, id := range strings.Fields(string(b)) {
		if len(t.told) < toldMost {
			t.told[id] = true
		}
	}
	return t, nil
}

// tell takes an alert up unless it was told before.
func (t *teller) tell(a Alert) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.Format = alertFormat
	if len(a.Text) > textMost {
		a.Text = strings.ToValidUTF8(a.Text[:textMost], "") + "…"
	}
	if a.Severity == Evidence {
		t.evidence++
	}
	if (t.told[a.ID] || t.told[a.also]) && a.Severity == Evidence {
		return
	}
	t.counts[[2]string{a.Origin, a.Kind}]++
	t.say(a)
	if a.Severity == Evidence && len(t.told) < toldMost {
		t.told[a.ID] = true // in this process; deliver makes it last
		if a.also != "" {
			t.told[a.also] = true
		}
	}
	if len(t.out) == outMost {
		t.dropped++
		return
	}
	t.out = append(t.out, a)
}

// deliver posts what waits, in order, and remembers what arrived.
func (t *teller) deliver(ctx context.Context) error {
	t.mu.Lock()
	out := t.out
	t.mu.Unlock()
	sent := 0
	var failed error
	for _, a := range out {
		if t.webhook != "" {
			if failed = t.post(ctx, a); failed != nil {
				break
			}
		}
		sent++
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = t.out[sent:]
	if failed != nil {
		t.failures++
	}
	if sent == 0 || t.dir == "" {
		return failed
	}
	var lines []byte
	for _, a := range out[:sent] {
		if a.Severity == Evidence {
			lines = append(lines, a.ID+"\n"+a.also+"\n"...)
		}
	}
	return errors.Join(failed, appendTo(filepath.Join(t.dir, "told"), lines))
}

// appendTo adds lines to a file durably. One that a power cut tore is no id.
func appendTo(name string, lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte("\n"), lines...))
	return errors.Join(err, f.Sync(), f.Close())
}

func (t *teller) post(ctx context.Context, a Alert) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.webhook, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("webhook: %s", resp.Status)
	}
	return nil
}
