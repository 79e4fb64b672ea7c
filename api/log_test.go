package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// grow spins until the log has at least a size.
func (w *world) grow(token string, size uint64) {
	w.t.Helper()
	for w.size() < size {
		w.post("/v1/spins", token, `{"stake":20}`).want(201)
	}
}

func (w *world) fetcher(token string) *client.HTTPFetcher {
	w.t.Helper()
	root, err := url.Parse(w.url + "/log/")
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(root, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	f.SetAuthorizationHeader("Bearer " + token)
	return f
}

func TestTesseraChecksTheWholeLog(t *testing.T) {
	w := open(t)
	w.grow(w.player("p", 1_000_000), 600)
	verifier, err := note.NewVerifier(strings.TrimSpace(string(w.get("/log/vkey", "").want(200).body)))
	if err != nil {
		t.Fatal(err)
	}
	check := func(token string) error {
		return fsck.New(housetest.Origin, verifier, w.fetcher(token), func(bundle []byte) (hashes [][]byte, err error) {
			var b api.EntryBundle
			if err := b.UnmarshalText(bundle); err != nil {
				return nil, err
			}
			for _, e := range b.Entries {
				hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
			}
			return hashes, nil
		}, fsck.Opts{N: 2}).Check(t.Context())
	}
	for _, token := range []string{auditorToken, regulatorToken} {
		if err := check(token); err != nil {
			t.Error(err)
		}
	}
	if err := check("nobody"); err == nil {
		t.Error("the entries were given to nobody")
	}
}

func TestTesseraProvesInclusionAndConsistency(t *testing.T) {
	w := open(t)
	token := w.player("p", 1_000_000)
	w.grow(token, 100)
	verifier, err := note.NewVerifier(w.house.Ledger.VKey())
	if err != nil {
		t.Fatal(err)
	}
	f := w.fetcher("")
	tracker, err := client.NewLogStateTracker(context.Background(), f.ReadTile, nil, verifier, housetest.Origin,
		client.UnilateralConsensus(f.ReadCheckpoint))
	if err != nil {
		t.Fatal(err)
	}
	w.grow(token, 530)
	if _, consistency, _, err := tracker.Update(t.Context()); err != nil || len(consistency) == 0 {
		t.Errorf("no consistency from 100 to %d: %v", w.size(), err)
	}
}

func TestCheckpointAndKey(t *testing.T) {
	w := open(t)
	least := w.size()
	a := w.get("/log/checkpoint", "").want(200)
	if a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("the checkpoint's header: %v", a.header)
	}
	v, err := tlog.NewVerifier(strings.TrimSuffix(string(w.get("/log/vkey", "").want(200).body), "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := tlog.Open(a.body, v); err != nil || c.Size < least || c.Size > w.size() || c.Origin != housetest.Origin {
		t.Errorf("the checkpoint is %+v, %v; want size %d to %d", c, err, least, w.size())
	}
}

func TestEveryWidthOfATileIsServedForEver(t *testing.T) {
	w := open(t)
	w.grow(w.player("p", 1_000_000), 300)
	size := int(w.size())
	full := w.get("/log/tile/0/000", "").want(200)
	if full.header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(full.header.Get("Cache-Control"), "immutable") || full.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("the tile's header: %v", full.header)
	}
	if len(full.body) != 256*32 {
		t.Fatalf("a full tile of %d bytes", len(full.body))
	}
	bundle := w.get("/log/tile/entries/000", auditorToken).want(200)
	leaves, err := tlog.ParseBundle(bundle.body)
	if err != nil || len(leaves) != 256 {
		t.Fatalf("a full bundle of %d entries: %v", len(leaves), err)
	}
	for i, leaf := range leaves {
		if h := tlog.LeafHash(leaf); !bytes.Equal(h[:], full.body[32*i:32*i+32]) {
			t.Fatalf("entry %d is not what the tile has the hash of", i)
		}
	}
	for _, width := range []int{1, 2, 17, 128, 255} {
		if a := w.get(fmt.Sprintf("/log/tile/0/000.p/%d", width), "").want(200); !bytes.Equal(a.body, full.body[:32*width]) {
			t.Errorf("width %d is no prefix of the tile", width)
		}
		a := w.get(fmt.Sprintf("/log/tile/entries/000.p/%d", width), regulatorToken).want(200)
		if !bytes.HasPrefix(bundle.body, a.body) {
			t.Errorf("width %d is no prefix of the bundle", width)
		}
		if got, err := tlog.ParseBundle(a.body); err != nil || len(got) != width {
			t.Errorf("width %d has %d entries: %v", width, len(got), err)
		}
	}
	w.get(fmt.Sprintf("/log/tile/0/001.p/%d", size-256), "").want(200)
	w.get(fmt.Sprintf("/log/tile/entries/001.p/%d", size-256), auditorToken).want(200)
	w.get("/log/tile/1/000.p/1", "").want(200)
	for _, beyond := range []string{
		fmt.Sprintf("0/001.p/%d", size-255), "0/001", "0/002.p/1", "1/000.p/2", "1/000", "2/000.p/1", "7/000.p/1", "8/000.p/1", "63/000.p/1", "64/000.p/1",
		"0/x001/000", "0/x018/x446/x744/x073/x709/x551/615", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/0", "0/00", "0/0000", "0/x000/001", "00/000.p/1",
		"-1/000.p/1", "0/000.p", "0/000.p/", "0/000/", "0/", "0", "entries", "0/000.p/1/", "0/+00.p/1", "data/000.p/1",
	} {
		w.get("/log/tile/"+beyond, "").refused(404, "not-found", "")
		if rest, ok := strings.CutPrefix(beyond, "0/"); ok {
			w.get("/log/tile/entries/"+rest, auditorToken).refused(404, "not-found", "")
		}
	}
	w.get("/log/blob/"+strings.Repeat("0", 64), auditorToken).refused(404, "not-found", "")
}

func TestBundlesAreCompressedOnRequest(t *testing.T) {
	w := open(t)
	w.grow(w.player("p", 1_000_000), 50)
	plain := w.do("GET", "/log/tile/entries/000.p/50", "", "Authorization", "Bearer "+auditorToken, "Accept-Encoding", "identity").want(200)
	for accept, want := range map[string]bool{
		"gzip": true, "GZIP": true, "br, gzip": true, "deflate, gzip;q=0.5": true, "gzip;q=1.0": true,
		"": false, "identity": false, "gzip;q=0": false, "br": false, "gzip;q=x": false, "xgzip": false, "*": false,
	} {
		a := w.do("GET", "/log/tile/entries/000.p/50", "", "Authorization", "Bearer "+auditorToken, "Accept-Encoding", accept).want(200)
		if got := a.header.Get("Content-Encoding") == "gzip"; got != want || a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: encoding %q, want gzip %v", accept, a.header.Get("Content-Encoding"), want)
			continue
		}
		body := a.body
		if want {
			if len(body) >= len(plain.body) {
				t.Errorf("%d bytes became %d", len(plain.body), len(body))
			}
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain.body) {
			t.Errorf("Accept-Encoding %q: another bundle", accept)
		}
	}
}

// An empty log has no house; a ledger that only reads an empty store shows what
// the world sees before the first checkpoint.
func TestBeforeTheFirstCheckpoint(t *testing.T) {
	w := open(t, func(l *ledger.Config, c *house.Config) { l.ReadOnly = true })
	w.get("/log/checkpoint", "").refused(404, "not-found", "")
	w.get("/log/cosigned", "").refused(404, "not-found", "")
	w.get("/log/tile/0/000.p/1", "").refused(404, "not-found", "")
	w.get("/log/tile/entries/000.p/1", auditorToken).refused(404, "not-found", "")
	w.get("/v1/entries/0", auditorToken).refused(404, "not-found", "")
	w.get("/readyz", "").refused(503, "no-space", "")
	w.post("/v1/players", operatorToken, `{"id":"p","currency":"EUR"}`).refused(503, "no-space", "")
	if resp, err := http.Get(w.url + "/log/vkey"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the key is not served: %v", err)
	}
}
