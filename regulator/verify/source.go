package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"countroom/ledger/tlog"
)

// Limits on what a source may hand over, in bytes.
const (
	CheckpointMost = 64 << 10
	BundleMost     = tlog.TileWidth * (2 + tlog.MaxEntrySize)
)

// Source is a published log (c2sp.org/tlog-tiles).
type Source interface {
	// Read appends the resource at a path such as "checkpoint", "tile/0/001" or
	// "tile/entries/001.p/5" to buf. One longer than limit bytes is an error; one
	// that is not there is an fs.ErrNotExist. Several goroutines call it.
	Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error)
}

// appendAll appends all of r to buf, which may become limit bytes longer.
func appendAll(buf []byte, r io.Reader, path string, limit int) ([]byte, error) {
	start := len(buf)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf)-start > limit {
			return buf, fmt.Errorf("%s: %w %d bytes", path, ErrLong, limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// Dir is a log as plain files, as the working directory of a static web server
// would have it.
func Dir(fsys fs.FS) Source { return dir{fsys} }

type dir struct{ fs.FS }

func (d dir) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return buf, err
	}
	f, err := d.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	return appendAll(buf, f, path, limit)
}

// HTTP is the log of a house that serves it under base + "/log/". The token,
// which may be empty, goes with requests for entries only. The server may be
// hostile: it can make a check fail, but not make it take endless time for one
// resource or memory beyond the limits of one.
func HTTP(base, token string) (Source, error) { return over(base, "/log", token) }

// Resources are those under a URL that is no house's, such as a witness's for
// monitors, within the same bounds.
func Resources(base string) (Source, error) { return over(base, "", "") }

func over(base, folder, token string) (Source, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: expected the URL of a house, such as https://house.example", base)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(u.Path, folder) {
		u.Path += folder
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.ResponseHeaderTimeout = 30 * time.Second
	return &server{base: u, token: token, client: &http.Client{
		Transport: transport,
		Timeout:   2 * time.Minute,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != u.Host || req.URL.Scheme != u.Scheme || len(via) > 3 {
				return fmt.Errorf("%w to %s, which is not followed", ErrRedirected, req.URL.Redacted())
			}
			return nil
		},
	}}, nil
}

type server struct {
	base   *url.URL
	token  string
	client *http.Client
}

// What servers do that is no fault of the network.
var (
	ErrLong       = errors.New("longer than")
	ErrRedirected = errors.New("redirected")
	ErrToken      = errors.New("a regulator's or auditor's token is needed")
)

// attempts is how often a resource is asked for when a server is overloaded or
// the connection fails.
const attempts = 4

func (s *server) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	start := len(buf)
	for attempt := 1; ; attempt++ {
		b, again, err := s.get(ctx, buf[:start], path, limit)
		if err == nil || !again || attempt == attempts {
			return b, err
		}
		select {
		case <-time.After(100 * time.Millisecond << attempt):
		case <-ctx.Done():
			return b, context.Cause(ctx)
		}
	}
}

func (s *server) get(ctx context.Context, buf []byte, path string, limit int) (_ []byte, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(path).String(), nil)
	if err != nil {
		return buf, false, err
	}
	if s.token != "" && (strings.HasPrefix(path, "tile/entries/") || strings.HasPrefix(path, "blob/")) {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return buf, ctx.Err() == nil && !errors.Is(err, ErrRedirected), err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		// The transport has undone a gzip encoding by then, so the limit holds for
		// what is unpacked.
		buf, err = appendAll(buf, resp.Body, req.URL.Redacted(), limit)
		return buf, false, err
	case http.StatusNotFound:
		return buf, false, fmt.Errorf("%s: %w", req.URL.Redacted(), fs.ErrNotExist)
	case http.StatusUnauthorized, http.StatusForbidden:
		return buf, false, fmt.Errorf("%s: %s: %w", req.URL.Redacted(), resp.Status, ErrToken)
	}
	again = resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500
	return buf, again, fmt.Errorf("%s: %s", req.URL.Redacted(), resp.Status)
}

// Saving is a source that keeps what is read through it as plain files in a
// folder, for Dir. Done completes it: the checkpoint is written last, so that a
// folder that has one is whole.
type Saving struct {
	src        Source
	folder     string
	checkpoint []byte
}

// Save returns src, keeping in folder, which is made if need be.
func Save(src Source, folder string) (*Saving, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(folder, "checkpoint")); err == nil {
		return nil, fmt.Errorf("%s: holds a log already", folder)
	}
	return &Saving{src: src, folder: folder}, nil
}

// Read reads from the source and keeps what it got.
func (s *Saving) Read(ctx context.Context, buf []byte, path string, limit int) ([]byte, error) {
	start := len(buf)
	buf, err := s.src.Read(ctx, buf, path, limit)
	if err != nil {
		return buf, err
	}
	if path == "checkpoint" {
		s.checkpoint = append([]byte(nil), buf[start:]...)
		return buf, nil
	}
	return buf, s.write(path, buf[start:])
}

func (s *Saving) write(path string, data []byte) error {
	name := filepath.Join(s.folder, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// Done writes the checkpoint.
func (s *Saving) Done() error {
	if s.checkpoint == nil {
		return errors.New("there was no checkpoint to keep")
	}
	return s.write("checkpoint", s.checkpoint)
}
