// Package edge serves a mirror read-only, by the rules of the house: tiles and
// checkpoints to everybody, entries and blobs to readers with a token.
package edge

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/mirror"
	"countroom/regulator/verify"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What may be kept, by whom and how long. Neither tiles nor bundles of a width
// ever change, full or not; a part is of use only until the log has grown.
const (
	cacheHead    = "no-cache"
	cacheFull    = "public, max-age=31536000, immutable"
	cachePart    = "public, max-age=3600, immutable"
	cacheEntries = "private, max-age=31536000, immutable"
)

// Mount puts a mirror's resources on a mux. Readers are the bearer tokens that
// entries and blobs are served for; without any they are served to everybody. More
// are figures of what else the mirror does.
//
//	GET /log/…     the log, as the house serves it
//	GET /healthz   200 when there is a complete head
//	GET /metrics   for Prometheus
func Mount(mux *http.ServeMux, m *mirror.Mirror, readers []string, more ...prometheus.Collector) {
	s := &server{m, readers}
	registry := prometheus.NewRegistry()
	registry.MustRegister(append(more, collector{m})...)
	mux.HandleFunc("GET /log/checkpoint", s.serveHead)
	mux.HandleFunc("GET /log/cosigned", s.serveHead)
	mux.HandleFunc("GET /log/vkey", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, textType, cacheHead, []byte(m.VKey()+"\n"))
	})
	mux.HandleFunc("GET /log/tile/", s.serveTile)
	mux.HandleFunc("GET /log/blob/{digest}", s.serveBlob)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if m.Head() == nil {
			problem(w, http.StatusServiceUnavailable, "there is no complete head yet")
			return
		}
		answer(w, textType, cacheHead, []byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "a mirror is read-only")
			return
		}
		problem(w, http.StatusNotFound, "there is no such resource")
	})
}

const hashSize = len(tlog.Hash{})

const (
	textType  = "text/plain; charset=utf-8"
	octetType = "application/octet-stream"
)

func answer(w http.ResponseWriter, contentType, cache string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", cache)
	if !strings.HasPrefix(cache, "private") {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// problem answers with an RFC 9457 problem, as the house does.
func problem(w http.ResponseWriter, status int, detail string) {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		b = nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b)
}

func (s *server) serveHead(w http.ResponseWriter, _ *http.Request) {
	h := s.mirror.Head()
	if h == nil {
		problem(w, http.StatusNotFound, "there is no complete head yet")
		return
	}
	answer(w, textType, cacheHead, h.Note)
}

// admitted holds a request for entries to the rule of the house.
func (s *server) admitted(w http.ResponseWriter, r *http.Request) bool {
	if !s.mirror.Leaves() {
		problem(w, http.StatusNotFound, "this mirror has tiles only")
		return false
	}
	if len(s.readers) == 0 {
		return true
	}
	given := sha256.Sum256([]byte(bearer(r.Header.Get("Authorization"))))
	good := 0
	for _, token := range s.readers {
		want := sha256.Sum256([]byte(token))
		good |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	if good == 0 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		problem(w, http.StatusUnauthorized, "entries need a reader's token")
	}
	return good == 1
}

func (s *server) serveTile(w http.ResponseWriter, r *http.Request) {
	res, err := tlog.ParsePath(strings.TrimPrefix(r.URL.EscapedPath(), "/log/"))
	entries := err == nil && res.Kind == tlog.KindEntries
	if entries && !s.admitted(w, r) {
		return
	}
	h := s.mirror.Head()
	if err != nil || h == nil || res.Level > 7 || !within(res, h.Size) {
		problem(w, http.StatusNotFound, "there is no such tile under the head of this mirror")
		return
	}
	data := s.resource(r, res, h.Size)
	if data == nil {
		problem(w, http.StatusNotFound, "the tile is not there")
		return
	}
	cache := cacheFull
	switch {
	case entries:
		cache = cacheEntries
	case res.Width < tlog.TileWidth:
		cache = cachePart
	}
	answer(w, octetType, cache, data)
}

// within reports whether a resource is under a head.
func within(r tlog.Resource, size uint64) bool {
	have := size >> (8 * r.Level)
	full := have / tlog.TileWidth
	return r.Index < full || r.Index == full && uint64(r.Width) <= have%tlog.TileWidth
}

// resource reads a tile or bundle. A part that is not there by itself begins a
// larger one that is.
func (s *server) resource(r *http.Request, res tlog.Resource, size uint64) []byte {
	newest := tlog.TileWidth
	if have := size >> (8 * res.Level); res.Index == have/tlog.TileWidth {
		newest = int(have % tlog.TileWidth)
	}
	for _, width := range []int{res.Width, newest, tlog.TileWidth} {
		if res.Kind == tlog.KindTile {
			if data := s.mirror.Stored(r.Context(), tlog.TilePath(res.Level, res.Index, width), width*hashSize); len(data) == width*hashSize {
				return data[:res.Width*hashSize]
			}
			continue
		}
		data := s.mirror.Stored(r.Context(), tlog.EntriesPath(res.Index, width), verify.BundleMost)
		if leaves, err := tlog.ParseBundle(data); err == nil && len(leaves) == width {
			if width == res.Width {
				return data
			}
			var part []byte
			for _, leaf := range leaves[:res.Width] {
				part = tlog.AppendBundle(part, leaf)
			}
			return part
		}
	}
	return nil
}

func (s *server) serveBlob(w http.ResponseWriter, r *http.Request) {
	if !s.admitted(w, r) {
		return
	}
	name := r.PathValue("digest")
	digest, err := hex.DecodeString(name)
	if err == nil && len(digest) == sha256.Size && hex.EncodeToString(digest) == name {
		if data := s.mirror.Stored(r.Context(), verify.BlobPath([32]byte(digest)), verify.BlobMost); data != nil {
			answer(w, octetType, cacheEntries, data)
			return
		}
	}
	problem(w, http.StatusNotFound, "there is no such blob")
}

type server struct {
	mirror  *mirror.Mirror
	readers []string
}

// bearer returns the token of an Authorization header.
func bearer(header string) string {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// Server returns an HTTP server with limits on what a client may hold up.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

// collector shows what a mirror counts.
type collector struct{ mirror *mirror.Mirror }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("countroom_mirror_"+name, help, labels, nil)
}

var (
	sizeDesc     = desc("size", "Entries under the newest complete head.")
	doneDesc     = desc("done_seconds", "Unix time of the last round in which everything that the house shows was here. Alarm when it is old.")
	evidenceDesc = desc("evidence_files", "Files of evidence in the directory. Alarm on any.")
	missingDesc  = desc("missing_blobs", "Blobs that entries name and the house does not give.")
	damagedDesc  = desc("damaged_files_total", "Files of the directory that were damaged and fetched again.")
	refusalsDesc = desc("refusals_total", "Rounds that came to nothing, by reason.", "reason")
	fetchedDesc  = desc("fetched_total", "Files that were verified and kept.", "kind")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sizeDesc, doneDesc, evidenceDesc, missingDesc, damagedDesc, refusalsDesc, fetchedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	n := c.mirror.Counts()
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(sizeDesc, float64(n.Size))
	gauge(doneDesc, float64(n.Done))
	gauge(evidenceDesc, float64(n.Evidence))
	gauge(missingDesc, float64(n.Missing))
	ch <- prometheus.MustNewConstMetric(damagedDesc, prometheus.CounterValue, float64(n.Damaged))
	for reason, v := range n.Refusals {
		ch <- prometheus.MustNewConstMetric(refusalsDesc, prometheus.CounterValue, float64(v), reason)
	}
	for kind, v := range n.Fetched {
		ch <- prometheus.MustNewConstMetric(fetchedDesc, prometheus.CounterValue, float64(v), kind)
	}
}
