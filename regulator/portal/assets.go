package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// The checking program is built from package replay: "make wasm" writes it, and
// a test holds it against the sources. wasm_exec.js is Go's own, of the release
// that built it.
//
//go:generate go run ./build
//go:embed assets
var files embed.FS

// asset is a file as it is served.
type asset struct {
	contentType, tag string
	gzip             []byte
}

// assets are the public files by their names. None has anything of a house in
// it.
func assets() map[string]*asset {
	all := map[string]*asset{}
	for name, contentType := range map[string]string{
		"style.css": "text/css; charset=utf-8", "check.js": "text/javascript; charset=utf-8", "wasm_exec.js": "text/javascript; charset=utf-8",
		"icon.svg": "image/svg+xml", "replay.wasm": "application/wasm",
	} {
		a := &asset{contentType: contentType}
		if b, err := files.ReadFile("assets/" + name + ".gz"); err == nil {
			a.gzip = b
		} else if b, err = files.ReadFile("assets/" + name); err == nil {
			a.gzip = packed(b)
		} else {
			panic(err) // they are part of the program
		}
		sum := sha256.Sum256(a.gzip)
		a.tag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		all[name] = a
	}
	return all
}

func packed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a Buffer takes everything
	}
	return out.Bytes()
}

// file: a public file. All browsers that can check take gzip.
func (p *Portal) file(w http.ResponseWriter, r *http.Request) {
	a := p.public[r.PathValue("file")]
	if a == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache") // to be asked for again, and seldom sent again
	h.Set("ETag", a.tag)
	if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Length", strconv.Itoa(len(a.gzip)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.gzip)
	}
}
