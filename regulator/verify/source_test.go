package verify

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"countroom/games/books"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
)

// A house over HTTP, with gzip and a moment of overload: the same report as
// from files, which are kept.
func TestOverHTTP(t *testing.T) {
	h, _ := honest(600)
	files := h.Publish()
	var overloaded atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if overloaded.Add(1) == 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f := files[strings.TrimPrefix(r.URL.Path, "/brand/log/")]
		if f == nil {
			http.NotFound(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/entries/") {
			if r.Header.Get("Authorization") != "Bearer token" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(f.Data)
			z.Close()
			return
		}
		w.Write(f.Data)
	}))
	defer s.Close()
	src, err := HTTP(s.URL+"/brand/", "token")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	saving, err := Save(src, folder+"/log")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Log(t.Context(), saving, Options{VKey: h.VKey, Workers: 3})
	mustHold(t, r, err)
	if err := saving.Done(); err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		if kept, err := os.ReadFile(folder + "/log/" + name); err != nil || !bytes.Equal(kept, f.Data) {
			t.Errorf("%s: %d bytes kept of %d, %v", name, len(kept), len(f.Data), err)
		}
	}
	if _, err := Save(src, folder+"/log"); err == nil {
		t.Error("a saved log was written over")
	}
	src, _ = HTTP(s.URL+"/brand/log", "wrong")
	if r, err := Log(t.Context(), src, Options{VKey: h.VKey}); !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), "403") || !r.OK() {
		t.Errorf("with a wrong token: %v", err)
	}
	for _, bad := range []string{"", "house", "ftp://house", "https://", "https://house/?a=b", "https://house#x", "https://ho use"} {
		if _, err := HTTP(bad, ""); err == nil {
			t.Errorf("%q was taken for the URL of a house", bad)
		}
	}
}

// A few bytes on the wire that unpack to much more than an entry bundle can be.
func TestGzipBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 64 {
		z.Write(zeros)
	}
	z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	}))
	defer s.Close()
	src, err := HTTP(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	for path, limit := range map[string]int{"checkpoint": CheckpointMost, "tile/0/000": 8192, "tile/entries/000": BundleMost} {
		b, err := src.Read(t.Context(), nil, path, limit)
		if err == nil || !strings.Contains(err.Error(), "longer than") || len(b) > 2*limit {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
}

// A log that grew since its checkpoint holds full tiles where the checkpoint
// needs partial ones.
func TestGrownLog(t *testing.T) {
	h, who := honest(100)
	files := h.Publish()
	h.Play(who, 400)
	grown := h.Publish()
	grown["checkpoint"] = files["checkpoint"]
	r, err := Log(t.Context(), Dir(grown), Options{VKey: h.VKey})
	mustHold(t, r, err)
	if r.Size >= 256 || r.Replayed != r.Size {
		t.Errorf("size %d, replayed %d", r.Size, r.Replayed)
	}
}

// Whatever a house publishes, the verifier comes to an end without panic and
// never says that all is well with bytes that nobody signed.
func FuzzPublished(f *testing.F) {
	h, _ := honest(30)
	files := h.Publish()
	bundle := tlog.EntriesPath(0, int(h.Size()))
	tile := tlog.TilePath(0, 0, int(h.Size()))
	f.Add(files["checkpoint"].Data, files[bundle].Data, files[tile].Data)
	f.Add([]byte("x\n1\n\n— x y\n"), []byte{0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, checkpoint, entries, hashes []byte) {
		r, err := Log(t.Context(), Dir(fstest.MapFS{"checkpoint": {Data: checkpoint}, bundle: {Data: entries}, tile: {Data: hashes}}), Options{VKey: h.VKey, Workers: 1})
		same := bytes.Equal(entries, files[bundle].Data) && bytes.Equal(hashes, files[tile].Data)
		if err == nil && r.OK() && !same {
			t.Fatalf("%+v", r)
		}
	})
}

// The same for an insider, who signs whatever he wrote: every leaf goes through
// all rules.
func FuzzLeaf(f *testing.F) {
	base, who := honest(3)
	for i := range base.Size() {
		f.Add(base.Leaf(i), i%3 == 0)
	}
	base.Spin(who[0], 100)
	f.Fuzz(func(t *testing.T, leaf []byte, first bool) {
		if len(leaf) > tlog.MaxEntrySize {
			return
		}
		h := logtest.New(logtest.Config{Seed: 1})
		if first {
			h = logtest.Empty(logtest.Config{Seed: 1})
		}
		h.AppendLeaf(leaf)
		r, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Workers: 1})
		if err != nil && !errors.Is(err, ErrUnchecked) {
			t.Fatalf("%v, %+v", err, r)
		}
		if err != nil || !r.OK() {
			return
		}
		record, err := books.Decode(leaf)
		if err != nil {
			t.Fatalf("%q passed: %v", leaf, err)
		}
		if again, err := entry.Append(nil, record); err != nil || !bytes.Equal(again, leaf) || r.Types[record.Type()] == 0 {
			t.Fatalf("%q passed, but is written %q, %v", leaf, again, err)
		}
	})
}

// A saved answer proves entries of the log or nothing, spelled as it may be.
func FuzzAnswer(f *testing.F) {
	h, _ := honest(5)
	good := h.Answer(3)
	f.Add(good)
	f.Add([]byte(strings.Replace(string(good), `"leaf":{`, ` "le\u0061f" : { "actor" : "x", `, 1)))
	f.Add(append(append([]byte("["), good...), ",{}]"...))
	f.Add(h.Checkpoint())
	f.Add([]byte(`{"items":[{"leaf":{},"receipt":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		proofs, err := Receipt(data, h.VKey)
		for _, p := range proofs {
			if err == nil && (p.Index >= h.Size() || !bytes.Equal(p.Leaf, h.Leaf(p.Index))) {
				t.Fatalf("proven: %+v", p)
			}
		}
		r, err := check(t, h, Known{"fuzz", data})
		if err == nil && r.OK() && r.Known == 0 && len(data) > 0 {
			t.Fatalf("nothing was compared: %+v", r)
		}
	})
}

func TestDirHasNoFile(t *testing.T) {
	if _, err := Dir(fstest.MapFS{}).Read(t.Context(), nil, "checkpoint", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
