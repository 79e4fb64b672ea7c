package verify

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
)

// What servers do to a verifier that asks them for a log. Where nothing is signed
// the check fails with a reason and accuses nobody; where the house signed what
// does not fit, that is a finding. Neither takes memory or time without bound.
func TestHostileServers(t *testing.T) {
	h, _ := honest(600)
	files := h.Publish()
	stranger := logtest.New(logtest.Config{Seed: 5})
	stranger.Play([]logtest.Player{stranger.Join(10_000)}, 300)
	strangers := stranger.Publish()
	text, _, _ := strings.Cut(string(files["checkpoint"].Data), "\n\n")
	text += "\n"
	var zeros bytes.Buffer // 64 MB, in a few kB
	z := gzip.NewWriter(&zeros)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	const tile, entries = "tile/0/001", "tile/entries/001"
	edge := tlog.TilePath(0, h.Size()/256, int(h.Size()%256))
	edgeEntries := tlog.EntriesPath(h.Size()/256, int(h.Size()%256))
	type answer func(w http.ResponseWriter, r *http.Request)
	send := func(b []byte) answer {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(b) }
	}
	status := func(code int) answer {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	to := func(url string) answer {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", url)
			w.WriteHeader(http.StatusFound)
		}
	}
	var poured atomic.Int64
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 1<<16))
			if poured.Add(int64(n)); err != nil {
				return
			}
		}
	}
	bomb := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(zeros.Bytes())
	}
	circle := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	cutOff := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "8192")
		w.Write(make([]byte, 100))
	}
	var stop context.CancelCauseFunc
	errPatience := errors.New("out of patience")
	never := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		stop(errPatience)
		<-r.Context().Done()
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := w.Write([]byte{'x'}); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			if i >= 100 { // and on, but not so much that it is too long before the reader has heard
				stop(errPatience)
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	changed := func(path string) []byte {
		b := bytes.Clone(files[path].Data)
		b[len(b)-1] ^= 1
		return b
	}
	leaves, err := tlog.ParseBundle(files[entries].Data)
	if err != nil {
		t.Fatal(err)
	}
	var turned []byte
	for i := range leaves {
		turned = tlog.AppendBundle(turned, leaves[len(leaves)-1-i])
	}
	// The part is not there, and what is full begins otherwise.
	contradicts := func(part string, full []byte) answer {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, part) {
				w.WriteHeader(404)
				return
			}
			w.Write(full)
		}
	}
	for _, c := range []struct {
		name, path string
		do         answer
		is         error  // why it could not be checked
		says       string // of that error, or the rule of a finding when it is no error
	}{
		{"an endless checkpoint", "checkpoint", endless, ErrLong, ""},
		{"an endless tile", tile, endless, ErrLong, ""},
		{"endless entries", entries, endless, ErrLong, ""},
		{"a checkpoint that never comes", "checkpoint", never, errPatience, ""},
		{"a tile that drips", tile, drip, errPatience, ""},
		{"entries that drip", entries, drip, errPatience, ""},
		{"a tile that unpacks without end", tile, bomb, ErrLong, ""},
		{"a checkpoint that unpacks without end", "checkpoint", bomb, ErrLong, ""},
		{"a checkpoint moved to another house", "checkpoint", to("http://localhost:1/log/checkpoint"), ErrRedirected, ""},
		{"a tile by another scheme", tile, to("https://127.0.0.1/"), ErrRedirected, ""},
		{"entries from a file", entries, to("file:///etc/passwd"), ErrRedirected, ""},
		{"a tile in a circle", tile, circle, ErrRedirected, ""},
		{"no checkpoint", "checkpoint", status(404), fs.ErrNotExist, ""},
		{"no tile", tile, status(404), fs.ErrNotExist, ""},
		{"no entries", entries, status(410), ErrUnchecked, "410"},
		{"entries for others", entries, status(403), ErrToken, ""},
		{"no content", tile, status(204), ErrUnchecked, "204"},
		{"a tile too short", tile, send(files[tile].Data[:8160]), ErrUnchecked, "8160 bytes, want 8192"},
		{"a tile too long", tile, send(append(bytes.Clone(files[tile].Data), 0)), ErrLong, ""},
		{"an empty tile", tile, send(nil), ErrUnchecked, "0 bytes, want 8192"},
		{"a tile that is cut off", tile, cutOff, ErrUnchecked, "EOF"},
		{"fewer entries", entries, send(files[entries].Data[:2000]), tlog.ErrFormat, ""},
		{"entries too many", entries, send(append(bytes.Clone(files[entries].Data), 0, 1, 'x')), ErrUnchecked, ""},
		{"a bundle that says more than it has", entries, send([]byte{0xff, 0xff, '{'}), tlog.ErrFormat, ""},
		{"a page of HTML", "checkpoint", send([]byte("<html>\n\n</html>\n")), ErrUnchecked, "checkpoint"},
		{"a stranger's checkpoint", "checkpoint", send(stranger.Checkpoint()), ErrUnchecked, "not signed"},
		{"a signed line too many", "checkpoint", send(h.SignNote(text + "extension\n")), tlog.ErrFormat, "three lines"},
		{"a line put in", "checkpoint", send(bytes.Replace(files["checkpoint"].Data, []byte("\n\n"), []byte("\nx\n\n"), 1)), nil, "checkpoint-signature"},
		{"two checkpoints in one", "checkpoint", send(append(bytes.Clone(files["checkpoint"].Data), files["checkpoint"].Data...)), nil, "checkpoint-signature"},

		{"a changed tile", tile, send(changed(tile)), nil, "tile"},
		{"another tile", tile, send(files["tile/0/000"].Data), nil, "tile"},
		{"another house's tile", tile, send(strangers["tile/0/000"].Data), nil, "tile"},
		{"a part that the full tile contradicts", edge, contradicts(edge, files["tile/0/000"].Data), nil, "tile"},
		{"entries that the full bundle contradicts", edgeEntries, contradicts(edgeEntries, files["tile/entries/000"].Data), nil, "signed-root"},
		{"changed entries", entries, send(changed(entries)), nil, "signed-root"},
		{"entries in another order", entries, send(turned), nil, "signed-root"},
		{"another house's entries", entries, send(strangers["tile/entries/000"].Data), nil, "signed-root"},
		{"another root", "checkpoint", send(h.Sign(h.Size(), tlog.Hash{1})), nil, "signed-root"},
		{"an older root under this size", "checkpoint", send(h.Sign(h.Size(), tlog.Hash(mustRoot(t, h, h.Size()-1)))), nil, "signed-root"},
		{"the size signed without end", "checkpoint", send(h.Sign(1<<63, tlog.Hash{1})), fs.ErrNotExist, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			served := maps.Clone(files)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path := strings.TrimPrefix(r.URL.Path, "/log/")
				full, _, _ := strings.Cut(c.path, ".p/")
				switch f := served[path]; {
				case path == c.path || path == full:
					c.do(w, r)
				case f == nil:
					http.NotFound(w, r)
				default:
					w.Write(f.Data)
				}
			}))
			defer s.Close()
			src, err := HTTP(s.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stop = cancel
			poured.Store(0)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Log(ctx, src, Options{VKey: h.VKey, Workers: 2})
			runtime.ReadMemStats(&after)
			switch {
			case c.is != nil:
				if !errors.Is(err, c.is) || !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, expected %v that says %q", err, c.is, c.says)
				}
				if !r.OK() {
					t.Errorf("somebody is accused: %+v", r.Findings)
				}
			case err != nil:
				t.Errorf("%v, expected the finding %s", err, c.says)
			default:
				rules := ""
				for _, f := range r.Findings {
					rules += f.Rule + " "
				}
				if !strings.Contains(rules, c.says) {
					t.Errorf("found %q, expected %s", rules, c.says)
				}
			}
			// A bundle of the largest entries is 16 MB, and the kernel holds some on the way.
			if n := poured.Load(); n > 64<<20 {
				t.Errorf("%d bytes were taken", n)
			}
			if grew := after.TotalAlloc - before.TotalAlloc; grew > 200<<20 {
				t.Errorf("%d MB were allocated", grew>>20)
			}
		})
	}
}

func mustRoot(t *testing.T, h *logtest.House, size uint64) []byte {
	t.Helper()
	var b tlog.Builder
	for i := range size {
		b.Add(tlog.LeafHash(h.Leaf(i)))
	}
	root := b.Root()
	return root[:]
}
