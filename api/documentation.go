package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"

	"countroom/api/docs"

	"github.com/labstack/echo/v4"
)

// documentFile is a file of the documentation as it is served.
type documentFile struct {
	contentType, tag []string
	plain, gzip      []byte
}

// documentation are the files of the page at /docs by their names; the page
// itself has none. They are made once and for all servers.
var documentation = sync.OnceValue(func() map[string]*documentFile {
	var kinds []docs.Problem
	for _, p := range problems {
		kinds = append(kinds, docs.Problem{Name: p.name, Status: p.status, Title: p.title, Meaning: p.about, Retry: p.retry, Outcome: p.outcome})
	}
	made, err := docs.Render(openAPI, kinds)
	if err != nil {
		panic(err) // what it is made of is part of the program
	}
	files := map[string]*documentFile{}
	for _, f := range made {
		sum := sha256.Sum256(f.Body)
		// Weak, since it stands for both encodings (RFC 9110, 8.8.3).
		tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		files[f.Name] = &documentFile{contentType: []string{f.Type}, tag: []string{tag}, plain: f.Body, gzip: compressed(f.Body)}
	}
	return files
})

// showDocs: GET /docs.
func (s *Server) showDocs(c echo.Context) error { return serveDocument(c, "") }

// showDocsFile: GET /docs/{file}.
func (s *Server) showDocsFile(c echo.Context) error { return serveDocument(c, c.Param("file")) }

// leadToDocs: GET /.
func (s *Server) leadToDocs(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Redirect(http.StatusFound, "/docs")
}

func serveDocument(c echo.Context, name string) error {
	f := documentation()[name]
	if f == nil {
		return notFound.with("")
	}
	h := c.Response().Header()
	h["Etag"] = f.tag
	h.Set("Cache-Control", "no-cache") // to be asked for again, and seldom sent again
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Security-Policy", docs.ContentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if known(c.Request(), f.tag[0]) {
		c.Response().WriteHeader(http.StatusNotModified)
		return nil
	}
	body := f.plain
	if acceptsGzip(c.Request()) {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	write(c, http.StatusOK, f.contentType, body)
	return nil
}

// known tells whether the client has what the tag stands for (RFC 9110,
// 13.1.2).
func known(r *http.Request, tag string) bool {
	for _, v := range r.Header["If-None-Match"] {
		if slices.ContainsFunc(strings.Split(v, ","), func(have string) bool {
			have = strings.TrimSpace(have)
			return have == "*" || have == tag
		}) {
			return true
		}
	}
	return false
}
