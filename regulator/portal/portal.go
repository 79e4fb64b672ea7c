// Package portal is what regulators and players look at in a browser: pages
// under /regulator/ that show a house's log to whoever has the regulator's
// token, and the page at /verify on which anybody checks a receipt.
//
// It reads the log as anybody could who has it, and changes nothing. What it says
// is the house's word all the same; therefore each entry comes with its proof,
// which the reader's own browser checks, by package replay, under a key that the
// reader pinned.
//
// Pages are made on the server and work without script, but for the checking.
// They ask no other host for anything.
package portal

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countroom/ledger"
	"countroom/ledger/entry"
)

// Config of a portal.
type Config struct {
	Ledger *ledger.Ledger
	Token  string         // the regulator's; an empty one admits nobody
	Groups []ledger.Group // indexes from a player's reference to his entries
	Ready  func() error   // whether the house plays
	// Sign has the house's key for exports sign a statement.
	Sign func(ctx context.Context, payload []byte) (bundle []byte, err error)
	Log  *slog.Logger
}

// Portal serves the pages. It is an http.Handler.
type Portal struct {
	cfg    Config
	tally  *tally
	key    sessionKey
	mux    *http.ServeMux
	public map[string]*asset
}

// ContentSecurityPolicy of every page: nothing from elsewhere, no script or
// style in the page itself. WebAssembly is the checking.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// New returns a portal.
func New(cfg Config) *Portal {
	p := &Portal{cfg: cfg, tally: newTally(cfg.Ledger), key: newSessionKey(cfg.Token), mux: http.NewServeMux(), public: assets()}
	pages := map[string]func(r *http.Request) (*page, error){
		"/regulator/{$}":             p.overview,
		"/regulator/search":          p.searching,
		"/regulator/rounds/{id}":     p.round,
		"/regulator/entries/{index}": p.entry,
		"/regulator/games":           p.games,
		"/regulator/revenue":         p.revenue,
		"/regulator/seeds":           p.listSeeds,
		"/regulator/seeds/{n}":       p.seed,
		"/regulator/events":          p.events,
		"/regulator/consistency":     p.consistency,
	}
	for path, make := range pages {
		p.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { p.inside(w, r, make) })
	}
	p.mux.HandleFunc("/regulator/rounds/{id}/dispute-pack", p.pack)
	p.mux.HandleFunc("/regulator/sign-out", p.signOut)
	p.mux.HandleFunc("/regulator/", func(w http.ResponseWriter, r *http.Request) {
		p.inside(w, r, func(*http.Request) (*page, error) { return nil, ledger.ErrNotFound })
	})
	p.mux.HandleFunc("/regulator", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/regulator/", http.StatusSeeOther)
	})
	p.mux.HandleFunc("/verify", p.verify)
	p.mux.HandleFunc("/verify/{file}", p.file)
	p.mux.HandleFunc("GET /verify/games/{index}", p.game)
	return p
}

// ServeHTTP implements http.Handler.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", ContentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	p.mux.ServeHTTP(w, r)
}

// page is one page of the portal.
type page struct {
	Title    string
	Template string
	Here     string // the part of the portal that it belongs to
	Data     any

	// Of every page.
	Origin     string
	Size, AsOf uint64
	Behind     bool
	Made       string

	file []byte // instead of a page
}

// inside shows a page to who is signed in, and asks others to.
func (p *Portal) inside(w http.ResponseWriter, r *http.Request, make func(*http.Request) (*page, error)) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		p.signIn(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD, POST")
		p.show(w, r, http.StatusMethodNotAllowed, &page{Title: "Not that way", Template: "problem", Data: "These pages are read, and nothing else."})
		return
	}
	if !p.key.admits(r, time.Now()) {
		p.show(w, r, http.StatusUnauthorized, &page{Title: "Sign in", Template: "sign-in", Data: ""})
		return
	}
	p.catchUp()
	made, err := make(r)
	var wrong *badRequest
	switch {
	case err == nil && made.file != nil:
		PackHeader(w.Header(), r.PathValue("id"))
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(made.file)
	case err == nil:
		p.show(w, r, http.StatusOK, made)
	case errors.As(err, &wrong):
		p.show(w, r, http.StatusBadRequest, &page{Title: "That cannot be looked for", Template: "problem", Data: wrong.said})
	case errors.Is(err, ledger.ErrNotFound):
		p.show(w, r, http.StatusNotFound, &page{Title: "There is nothing here", Template: "problem", Data: "The log has no such entry, or this portal no such page."})
	default:
		p.cfg.Log.Warn("a page of the portal failed", "path", r.URL.Path, "error", err)
		p.show(w, r, http.StatusServiceUnavailable, &page{Title: "The log cannot be read now", Template: "problem", Data: "Try again in a moment. The house's own log says why."})
	}
}

// badRequest is an error that is said to the reader.
type badRequest struct{ said string }

func (e *badRequest) Error() string { return e.said }

// catchUpMost is how long a page waits for the tally to read on.
const catchUpMost = 50 * time.Millisecond

// catchUp lets the tally read on, and waits a little for it.
func (p *Portal) catchUp() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.tally.readOn(); err != nil && !errors.Is(err, ledger.ErrStopped) {
			p.cfg.Log.Warn("the portal cannot read the log", "error", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(catchUpMost):
	}
}

// show writes a page.
func (p *Portal) show(w http.ResponseWriter, r *http.Request, status int, made *page) {
	if s := p.cfg.Ledger.Signed(); s != nil {
		made.Size = s.Size
	}
	p.tally.mu.RLock()
	made.AsOf = p.tally.next
	p.tally.mu.RUnlock()
	made.Behind = made.AsOf < made.Size
	made.Origin = p.cfg.Ledger.Origin()
	made.Made = time.Now().UTC().Format("2 January 2006, 15:04:05 UTC")
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, made.Template, made); err != nil {
		p.cfg.Log.Error("a page of the portal could not be made", "page", made.Template, "error", err)
		http.Error(w, "this page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // a reader who has gone away is no concern of anybody
	}
}

// verify: the public page.
func (p *Portal) verify(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read, and nothing else", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	p.show(w, r, http.StatusOK, &page{Title: "Check a receipt", Template: "verify", Data: strings.TrimSpace(p.cfg.Ledger.VKey())})
}

// game: an answer about a game.enabled entry, also of a release that is not
// played any more. The rules of games are for everybody, and no other entry is
// shown here.
func (p *Portal) game(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	var text string
	if err == nil {
		var e ledger.Receipt
		if text, e, err = p.answer(index); err == nil {
			if typ, bad := entry.TypeOf(e.Leaf); bad != nil || typ != "game.enabled" {
				err = ledger.ErrNotFound
			}
		}
	}
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text))
}

// viewMost bounds a look at the books.
const viewMost = 5 * time.Second

func (p *Portal) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), viewMost)
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"count": count, "before": func(n uint64) uint64 { return n - 1 }, "after": func(n uint64) uint64 { return n + 1 },
}).ParseFS(files, "assets/*.html"))
