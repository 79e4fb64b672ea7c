package mirror

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"

	"golang.org/x/sys/unix"
)

// site is a house on the network, which keeps the parts of tiles that it ever
// published, and what a hostile one does instead.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	files   fstest.MapFS
	instead func(w http.ResponseWriter, r *http.Request) bool
	asked   map[string]int
}

const token = "let-me-in"

func open(t testing.TB, h *logtest.House) *site {
	s := &site{files: fstest.MapFS{}, asked: map[string]int{}}
	if h != nil {
		s.publish(h)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *site) publish(h *logtest.House) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.files, h.Publish())
	s.files["vkey"] = &fstest.MapFile{Data: []byte(h.VKey + "\n")}
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/log/")
	s.mu.Lock()
	f, instead := s.files[path], s.instead
	s.asked[path]++
	s.mu.Unlock()
	secret := strings.HasPrefix(path, "tile/entries/") || strings.HasPrefix(path, "blob/")
	switch {
	case instead != nil && instead(w, r):
	case secret && r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
	case f == nil:
		http.NotFound(w, r)
	default:
		w.Write(f.Data)
	}
}

// lie has the site do something else for a path; nil has it be honest again.
func (s *site) lie(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

func (s *site) config(t testing.TB, dir string, h *logtest.House) Config {
	src, err := verify.HTTP(s.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Dir: dir, Source: src, From: s.URL, VKeys: []string{h.VKey}, Leaves: true, Workers: 4,
		Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
}

func start(t testing.TB, cfg Config) *Mirror {
	t.Helper()
	m, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func round(t testing.TB, m *Mirror) {
	t.Helper()
	if err := m.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, m *Mirror, reason string) *Refusal {
	t.Helper()
	err := m.Round(t.Context())
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("%v, expected %s", err, reason)
	}
	return r
}

// holds has the verifier pass over the directory as it is.
func holds(t *testing.T, dir string, h *logtest.House) {
	t.Helper()
	r, err := verify.Log(t.Context(), verify.Dir(os.DirFS(dir)), verify.Options{VKey: h.VKey})
	if err != nil || !r.OK() || r.Size != h.Size() {
		t.Fatalf("size %d of %d, %v, %+v", r.Size, h.Size(), err, r.Findings)
	}
}

// files are those of the log in a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(path, "tile/") || strings.HasPrefix(path, "blob/") || path == "checkpoint" {
			b, err := os.ReadFile(filepath.Join(dir, path))
			all[path] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// same wants the directory to hold what the house publishes, byte for byte, and
// no more.
func same(t *testing.T, dir string, h *logtest.House) {
	t.Helper()
	got, want := files(t, dir), h.Publish()
	for name, f := range want {
		if got[name] != string(f.Data) {
			t.Errorf("%s: %d bytes, expected %d", name, len(got[name]), len(f.Data))
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is left over", name)
		}
	}
}

func house(rounds int) (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 3})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, rounds)
	return h, who
}

// A house plays; its mirror comes by now and then. What it holds at any time passes
// the verifier, and in the end is what the house publishes.
func TestFollowsAHouse(t *testing.T) {
	h, who := house(20)
	s, dir := open(t, h), t.TempDir()
	now := time.Now()
	cfg := s.config(t, dir, h)
	cfg.Clock = func() time.Time { return now }
	m := start(t, cfg)
	for _, more := range []int{0, 1, 100, 0, 200, 513, 3} {
		h.Play(who, more)
		s.publish(h)
		round(t, m)
		holds(t, dir, h)
	}
	h.Earnest() // with a laboratory and its certificates: blobs
	s.publish(h)
	now = now.Add(2 * time.Hour)
	round(t, m)
	holds(t, dir, h)
	if h.Size() < 768 || len(h.Blobs()) == 0 {
		t.Fatalf("%d entries and %d blobs are no test", h.Size(), len(h.Blobs()))
	}
	for n := (h.Size() - 1) / 256; n > 0; n-- { // only the house has the parts of full tiles
		if _, err := os.Stat(filepath.Join(dir, tlog.TilePath(0, n-1, 256)+".p")); err == nil {
			t.Errorf("parts of tile %d are left", n-1)
		}
	}
	got := files(t, dir)
	for name, f := range h.Publish() {
		if got[name] != string(f.Data) {
			t.Errorf("%s: %d bytes, expected %d", name, len(got[name]), len(f.Data))
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("%q, %v: expected one old checkpoint for each hour", kept, err)
	}
	// What was kept holds the log to its past.
	var known []verify.Known
	for _, name := range kept {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, verify.Known{Name: name, Data: b})
	}
	if r, err := verify.Log(t.Context(), verify.Dir(os.DirFS(dir)), verify.Options{VKey: h.VKey, Known: known}); err != nil || !r.OK() || r.Known != 2 {
		t.Errorf("%v, %+v", err, r)
	}
	for path, times := range s.asked {
		// A tile may be looked at once more when a head is held against the last one.
		if strings.HasPrefix(path, "tile/") && !strings.Contains(path, ".p/") && (times > 2 || times > 1 && strings.Contains(path, "entries")) {
			t.Errorf("%s was fetched %d times", path, times)
		}
	}
}

// Without a token there are tiles and checkpoints, which everybody may read.
func TestTilesOnly(t *testing.T) {
	h, who := house(300)
	s, dir := open(t, h), t.TempDir()
	cfg := s.config(t, dir, h)
	cfg.Leaves, cfg.VKeys = false, nil // the key is the house's own word
	m := start(t, cfg)
	round(t, m)
	h.Play(who, 300)
	s.publish(h)
	round(t, m)
	for name, content := range files(t, dir) {
		if strings.HasPrefix(name, "tile/entries") {
			t.Errorf("%s: %d bytes", name, len(content))
		}
	}
	if _, err := evidence.Open(t.Context(), m.Head().Checkpoint, m.local()); err != nil || m.Head().Size != h.Size() {
		t.Errorf("size %d, %v", m.Head().Size, err)
	}
	m.Close()
	cfg.VKeys = []string{logtest.New(logtest.Config{Seed: 99}).VKey}
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("another house's key opened the mirror")
	}
	cfg.VKeys = nil
	start(t, cfg)
}

// A mirror can be killed at any read of the house and any moment after: what is
// there passes, or there is no checkpoint yet, and the next process goes on.
func TestStopsAnywhereAndGoesOn(t *testing.T) {
	h, who := house(290)
	s, dir := open(t, h), t.TempDir()
	stop := errors.New("stopped")
	steps := 0
	for n := 1; ; n++ {
		cfg := s.config(t, dir, h)
		ctx, cancel := context.WithCancelCause(t.Context())
		source := &counted{Source: cfg.Source, stop: func() { cancel(stop) }}
		source.left.Store(int64(n % 7))
		cfg.Source = source
		m := start(t, cfg)
		err := m.Round(ctx)
		cancel(nil)
		m.Close()
		// As a kill leaves it.
		if err := os.WriteFile(filepath.Join(dir, private, newMark+"half"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, statErr := os.Stat(filepath.Join(dir, "checkpoint")); statErr == nil {
			if r, err := verify.Log(t.Context(), verify.Dir(os.DirFS(dir)), verify.Options{VKey: h.VKey}); err != nil || !r.OK() {
				t.Fatalf("after stop %d: %v, %+v", n, err, r.Findings)
			}
		}
		if err == nil && m.Head().Size == h.Size() {
			if steps++; steps == 4 {
				break
			}
			h.Play(who, 150)
			s.publish(h)
		} else if err != nil && !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if n > 500 {
			t.Fatal("it never gets there")
		}
	}
	cfg := s.config(t, dir, h)
	m := start(t, cfg)
	round(t, m)
	holds(t, dir, h)
	if left, _ := filepath.Glob(filepath.Join(dir, private, newMark+"*")); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

// counted stops a mirror before the last read that is left; 0 lets it go on.
type counted struct {
	verify.Source
	left atomic.Int64
	stop func()
}

func (c *counted) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	if c.left.Add(-1) == 0 {
		c.stop()
	}
	return c.Source.Read(ctx, buf, path, limit)
}

// Every file is torn, lengthened, has a bit flipped or is lost: a start finds out
// and fetches it again.
func TestDamagedFilesAreFetchedAgain(t *testing.T) {
	h, _ := house(270)
	h.Earnest()
	s, dir := open(t, h), t.TempDir()
	m := start(t, s.config(t, dir, h))
	round(t, m)
	m.Close()
	same(t, dir, h)
	for name, content := range files(t, dir) {
		b := []byte(content)
		flipped := bytes.Clone(b)
		flipped[len(b)/2] ^= 1
		for what, damaged := range map[string][]byte{"torn": b[:len(b)/2], "longer": append(bytes.Clone(b), 0), "flipped": flipped, "empty": {}, "lost": nil} {
			path := filepath.Join(dir, name)
			err := os.WriteFile(path, damaged, 0o644)
			if damaged == nil {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := Open(t.Context(), s.config(t, dir, h))
			if err != nil {
				t.Fatalf("%s %s: %v", name, what, err)
			}
			if err := m.Round(t.Context()); err != nil {
				t.Fatalf("%s %s: %v", name, what, err)
			}
			m.Close()
			if again, err := os.ReadFile(path); err != nil || string(again) != content {
				t.Fatalf("%s %s: %d bytes, %v", name, what, len(again), err)
			}
			if m.Alarms() > 0 {
				t.Fatalf("%s %s: the house was blamed", name, what)
			}
		}
	}
	holds(t, dir, h)
}

// A disk on which nothing can be written stops the mirror and not what it serves.
func TestNothingCanBeWritten(t *testing.T) {
	h, who := house(100)
	s, dir := open(t, h), t.TempDir()
	m := start(t, s.config(t, dir, h))
	round(t, m)
	h.Play(who, 300)
	s.publish(h)
	held := filepath.Join(dir, private)
	if err := os.Rename(held, held+".away"); err != nil {
		t.Fatal(err)
	}
	if r := refused(t, m, Disk); r.Evidence != nil {
		t.Errorf("%+v", r.Evidence)
	}
	if m.Head().Size >= h.Size() {
		t.Error("a head that is not written down is served")
	}
	if err := os.Rename(held+".away", held); err != nil {
		t.Fatal(err)
	}
	round(t, m)
	holds(t, dir, h)
}

// The disk fills up while a log comes in, and is made larger.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system to fill it up, and only root can: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mounting a tmpfs to fill it up: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h, _ := house(600)
	s := open(t, h)
	m := start(t, s.config(t, dir, h))
	if r := refused(t, m, Disk); !errors.Is(r, unix.ENOSPC) || m.Head() != nil {
		t.Errorf("%v, head %v", r, m.Head())
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	round(t, m)
	holds(t, dir, h)
	m.Close()
}

func TestOneMirrorToADirectory(t *testing.T) {
	h, _ := house(1)
	s, dir := open(t, h), t.TempDir()
	start(t, s.config(t, dir, h))
	if _, err := Open(t.Context(), s.config(t, dir, h)); err == nil || !strings.Contains(err.Error(), "another mirror") {
		t.Error(err)
	}
}

// The log leads from key to key: a mirror that has entries follows, whether it was
// there meanwhile or begins with a key of long ago.
func TestKeysAreExchanged(t *testing.T) {
	h, who := house(100)
	s, dir, late := open(t, h), t.TempDir(), t.TempDir()
	m := start(t, s.config(t, dir, h))
	round(t, m)
	first := h.VKey
	h.Officers()
	h.Introduce(system.RoleCheckpoint, "anna", "berta")
	h.Play(who, 200)
	s.publish(h)
	round(t, m) // while both sign
	h.RetireKey(system.RoleCheckpoint, "anna", "berta")
	h.Play(who, 300)
	s.publish(h)
	round(t, m)
	holds(t, dir, h)
	if h.NewestVKey() == first {
		t.Fatal("the key was not exchanged")
	}
	for _, again := range []string{dir, late} {
		m.Close()
		cfg := s.config(t, again, h)
		cfg.VKeys = []string{first}
		m = start(t, cfg)
		round(t, m)
		holds(t, again, h)
		m.Close()
	}
	// The retired key signs no more, whoever has it now.
	signed := h.Signers
	h.Signers = append(h.Signers, h.Signer(first))
	h.Play(who, 10)
	s.publish(h)
	h.Signers = signed
	m = start(t, s.config(t, dir, h))
	refused(t, m, Signature)
	m.Close()
	// Without entries somebody has to say so.
	s.publish(h)
	cfg := s.config(t, t.TempDir(), h)
	cfg.Leaves, cfg.VKeys = false, []string{first}
	refused(t, start(t, cfg), Signature)
	cfg.Dir, cfg.VKeys = t.TempDir(), []string{first, h.NewestVKey()}
	round(t, start(t, cfg))
}

// evidenceOf reads what was kept, and has it checked as a stranger would.
func evidenceOf(t *testing.T, r *Refusal) evidence.Verdict {
	t.Helper()
	b, err := os.ReadFile(r.File)
	if err != nil {
		t.Fatal(err)
	}
	f, err := evidence.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Check(evidence.SignedBy(f.VKeys))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Two histories under one key: of one size, of a larger one, of a smaller one.
func TestForks(t *testing.T) {
	for name, c := range map[string]struct {
		more   int
		reason string
	}{"larger": {600, evidence.NotAPrefix}, "smaller": {20, evidence.NotAPrefix}} {
		t.Run(name, func(t *testing.T) {
			h, who := house(100)
			h.Play(who, 200)
			s, dir := open(t, h), t.TempDir()
			m := start(t, s.config(t, dir, h))
			round(t, m)
			before := files(t, dir)

			other, who2 := house(100)
			other.Deposit(who2[1], 77)
			other.Play(who2, c.more)
			s.mu.Lock()
			s.files = fstest.MapFS{}
			s.mu.Unlock()
			s.publish(other)
			r := refused(t, m, c.reason)
			if v := evidenceOf(t, r); !v.Proven || max(v.First.Size, v.Second.Size) != max(h.Size(), other.Size()) {
				t.Errorf("%+v", v)
			}
			if after := files(t, dir); !maps.Equal(before, after) || m.Alarms() != 1 {
				t.Errorf("%d files were %d, %d alarms", len(after), len(before), m.Alarms())
			}
			// It is said again by the next process, and once in the directory.
			m.Close()
			m = start(t, s.config(t, dir, h))
			refused(t, m, c.reason)
			if kept, _ := filepath.Glob(filepath.Join(dir, "evidence", "*")); len(kept) != 1 {
				t.Errorf("%q", kept)
			}
			// And what is true goes on.
			h.Play(who, 10)
			s.publish(h)
			round(t, m)
			holds(t, dir, h)
		})
	}
}

// What hostile servers do, each with its reason. Nothing of it is kept, and the
// mirror goes on as soon as the server is honest.
func TestHostileServers(t *testing.T) {
	h, who := house(300)
	held := h.Publish()
	h.Play(who, 700)
	now := h.Publish()
	other, _ := house(10)
	stranger := logtest.New(logtest.Config{Seed: 5})
	stranger.Play([]logtest.Player{stranger.Join(100_000)}, 300)
	oneByte := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	send := func(b []byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(b) }
	}
	changed := func(path string) []byte {
		b := bytes.Clone(now[path].Data)
		b[len(b)-1] ^= 1
		return b
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	away := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://localhost:1"+r.URL.Path, http.StatusFound)
	}
	circle := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	var zeros bytes.Buffer // 64 MB, in a few kB
	z := gzip.NewWriter(&zeros)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	bomb := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(zeros.Bytes())
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte{'x'}); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	}
	to := func(url string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", url)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
	cutOff := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "8192")
		w.Write(make([]byte, 100))
	}
	heads := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1 << 10 {
			w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1<<10))
		}
	}
	text, _, _ := strings.Cut(string(now["checkpoint"].Data), "\n\n")
	text += "\n"
	insert := func(line string) func(http.ResponseWriter, *http.Request) {
		return send(bytes.Replace(now["checkpoint"].Data, []byte("\n\n"), []byte("\n"+line+"\n\n"), 1))
	}
	strangers := stranger.Publish()
	edge := tlog.TilePath(0, h.Size()/256, int(h.Size()%256))
	fuller := tlog.TilePath(0, h.Size()/256, 256)
	// The part is not there any more, and the full tile begins otherwise.
	contradicts := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, edge) {
			w.WriteHeader(404)
			return
		}
		w.Write(now["tile/0/000"].Data)
	}
	last := tlog.EntriesPath(h.Size()/256, int(h.Size()%256))
	var swapped []byte // two entries of a bundle change places
	leaves, err := tlog.ParseBundle(now["tile/entries/002"].Data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range leaves {
		swapped = tlog.AppendBundle(swapped, leaves[(i+1)%len(leaves)])
	}
	forged := bytes.Clone(now["checkpoint"].Data)
	forged[len(forged)-6] ^= 1
	for _, c := range []struct {
		name, path string
		do         func(http.ResponseWriter, *http.Request)
		reason     string
	}{
		{"an endless checkpoint", "checkpoint", endless, Long},
		{"a checkpoint that never comes", "checkpoint", oneByte, Slow},
		{"no checkpoint", "checkpoint", status(404), Missing},
		{"an empty checkpoint", "checkpoint", send(nil), Malformed},
		{"a page of HTML", "checkpoint", send([]byte("<html>\n\nsign in</html>\n")), Malformed},
		{"a forged checkpoint", "checkpoint", send(forged), Signature},
		{"an unsigned size without end", "checkpoint", send(bytes.Replace(now["checkpoint"].Data, fmt.Appendf(nil, "\n%d\n", h.Size()), []byte("\n18446744073709551615\n"), 1)), Signature},
		{"a stranger's checkpoint", "checkpoint", send(stranger.Checkpoint()), Signature},
		{"the size signed without end", "checkpoint", send(h.Sign(1<<63, tlog.Hash{1})), Missing},
		{"another root", "checkpoint", send(h.Sign(h.Size(), tlog.Hash{1})), evidence.BadData},
		{"another root of the held size", "checkpoint", send(h.Sign(sizeOf(t, held), tlog.Hash{1})), evidence.TwoRoots},
		{"an older checkpoint", "checkpoint", send(other.Checkpoint()), evidence.Shrunk},
		{"an empty log", "checkpoint", send(h.Sign(0, (&tlog.Builder{}).Root())), evidence.Shrunk},
		{"a checkpoint moved away", "checkpoint", away, Redirected},
		{"a checkpoint in a circle", "checkpoint", circle, Redirected},
		{"an endless tile", "tile/0/001", endless, Long},
		{"a tile that never comes", "tile/0/001", oneByte, Slow},
		{"a tile too short", "tile/0/001", send(now["tile/0/001"].Data[:8160]), Malformed},
		{"a tile too long", "tile/0/001", send(append(bytes.Clone(now["tile/0/001"].Data), 0)), Long},
		{"another tile", "tile/0/001", send(now["tile/0/000"].Data), evidence.BadData},
		{"a changed tile", "tile/0/001", send(changed("tile/0/001")), evidence.BadData},
		{"a changed edge", edge, send(changed(edge)), evidence.BadData},
		{"a missing tile", "tile/0/001", status(404), Missing},
		{"a tile behind a token", "tile/0/001", status(403), Token},
		{"endless entries", "tile/entries/002", endless, Long},
		{"entries that never come", "tile/entries/002", oneByte, Slow},
		{"entries moved away", "tile/entries/002", away, Redirected},
		{"missing entries", "tile/entries/002", status(404), Missing},
		{"a wrong token", "tile/entries/002", status(401), Token},
		{"changed entries", "tile/entries/002", send(changed("tile/entries/002")), evidence.BadData},
		{"entries in another order", "tile/entries/002", send(swapped), evidence.BadData},
		{"fewer entries", "tile/entries/002", send(now["tile/entries/002"].Data[:2000]), Malformed},
		{"too few of the last entries", last, send(nil), Malformed},
		{"overload", "tile/0/001", status(503), Unreachable},
		{"a teapot", "tile/0/001", status(418), Unreachable},
		{"a line that breaks", "tile/entries/002", hangUp, Unreachable},
		{"a checkpoint that unpacks without end", "checkpoint", bomb, Long},
		{"a tile that unpacks without end", "tile/0/001", bomb, Long},
		{"entries that unpack without end", "tile/entries/002", bomb, Long},
		{"a checkpoint that drips", "checkpoint", drip, Slow},
		{"a tile that drips", "tile/0/001", drip, Slow},
		{"entries that drip", "tile/entries/002", drip, Slow},
		{"a signed line too many", "checkpoint", send(h.SignNote(text + "extension\n")), Malformed},
		{"an empty line that is signed", "checkpoint", send(h.SignNote(text + "\n")), Malformed},
		{"a line too few that is signed", "checkpoint", send(h.SignNote(text[:strings.LastIndexByte(text[:len(text)-1], '\n')+1])), Malformed},
		{"a size with a zero before it", "checkpoint", send(h.SignNote(strings.Replace(text, "\n", "\n0", 1))), Malformed},
		{"another house's name that is signed", "checkpoint", send(h.SignNote("another.example\n" + text[strings.IndexByte(text, '\n')+1:])), Signature},
		{"a line put in", "checkpoint", insert("extension"), Malformed},
		{"lines without end", "checkpoint", insert(strings.Repeat("x\n", 1<<16) + "x"), Long},
		{"lines ended twice", "checkpoint", send(bytes.ReplaceAll(now["checkpoint"].Data, []byte("\n"), []byte("\r\n"))), Malformed},
		{"two checkpoints in one", "checkpoint", send(append(bytes.Clone(now["checkpoint"].Data), now["checkpoint"].Data...)), Malformed},
		{"a checkpoint by another scheme", "checkpoint", to("https://127.0.0.1/log/checkpoint"), Redirected},
		{"a tile from a file", "tile/0/001", to("file:///etc/passwd"), Redirected},
		{"entries from within the network", "tile/entries/002", to("http://169.254.169.254/latest"), Redirected},
		{"a part that the full tile contradicts", edge + " " + fuller, contradicts, evidence.BadData},
		{"another house's tile", "tile/0/001", send(strangers["tile/0/000"].Data), evidence.BadData},
		{"another house's entries", "tile/entries/002", send(strangers["tile/entries/000"].Data), evidence.BadData},
		{"a tile that is cut off", "tile/0/001", cutOff, Unreachable},
		{"headers without end", "tile/0/001", heads, Unreachable},
		{"a part of the answer", "tile/0/001", status(206), Unreachable},
		{"nothing new, unasked", "checkpoint", status(304), Unreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, dir := open(t, nil), t.TempDir()
			s.files = maps.Clone(held)
			cfg := s.config(t, dir, h)
			cfg.Patience = time.Minute
			if c.reason == Slow || c.reason == Unreachable {
				cfg.Patience = 50 * time.Millisecond
			}
			m := start(t, cfg)
			m.src = patient{cfg.Source, time.Minute}
			round(t, m)
			m.src = patient{cfg.Source, cfg.Patience}
			before := m.Head().Size
			s.mu.Lock()
			maps.Copy(s.files, now)
			s.mu.Unlock()
			s.lie(func(w http.ResponseWriter, r *http.Request) bool {
				if !slices.Contains(strings.Fields(c.path), strings.TrimPrefix(r.URL.Path, "/log/")) {
					return false
				}
				c.do(w, r)
				return true
			})
			err := m.Round(t.Context())
			var r *Refusal
			if !errors.As(err, &r) || r.Reason != c.reason && !(c.reason == Unreachable && r.Reason == Slow) {
				t.Fatalf("%v, expected %s", err, c.reason)
			}
			if m.Head().Size != before {
				t.Errorf("size %d is served", m.Head().Size)
			}
			if (r.Evidence != nil) != (m.Alarms() > 0) || r.Evidence != nil && evidenceOf(t, r).Text == "" {
				t.Errorf("%d alarms, %+v", m.Alarms(), r)
			}
			for name, content := range files(t, dir) {
				if f := now[name]; name != "checkpoint" && (f == nil || string(f.Data) != content) && (held[name] == nil || string(held[name].Data) != content) {
					t.Errorf("%s was kept", name)
				}
			}
			s.lie(nil)
			m.src = patient{cfg.Source, time.Minute}
			round(t, m)
			holds(t, dir, h)
		})
	}
}

func sizeOf(t *testing.T, files fstest.MapFS) uint64 {
	c, err := tlog.Peek(files["checkpoint"].Data)
	if err != nil {
		t.Fatal(err)
	}
	return c.Size
}

// A head needs the cosignatures that are asked for.
func TestCosignatures(t *testing.T) {
	h, _ := house(5)
	s := open(t, h)
	w := newWitness(t)
	cfg := s.config(t, t.TempDir(), h)
	cfg.Trust = verify.Trust{Witnesses: []string{w.vkey}, Quorum: 1}
	m := start(t, cfg)
	refused(t, m, Cosignatures)
	s.mu.Lock()
	s.files["cosigned"] = &fstest.MapFile{Data: w.cosign(t, h.Checkpoint())}
	s.mu.Unlock()
	round(t, m)
	if good, _, err := tlog.Cosigned(m.Head().Note, m.cosigners); err != nil || len(good) != 1 {
		t.Errorf("%d, %v", len(good), err)
	}
	cfg.Trust.Quorum = 2
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("two of one witness")
	}
}
