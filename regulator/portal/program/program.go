// Package program builds package replay for a browser, the same bytes from the
// same sources by the same release of Go, and names the sources. Only the build
// and its test use it.
package program

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const pkg = "countroom/regulator/replay/wasm"

// Program is what a page loads to check with.
type Program struct {
	Packed  []byte // gzip
	Exec    []byte // wasm_exec.js of the Go release
	Sources string // what it was built from
}

// Build builds the program in a folder of the module.
func Build(dir string) (p Program, err error) {
	if p.Sources, err = Sources(dir); err != nil {
		return p, err
	}
	wasm, err := Wasm(dir)
	if err != nil {
		return p, err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(wasm)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return p, err
	}
	p.Packed = packed.Bytes()
	root, err := goCommand(dir, "env", "GOROOT")
	if err != nil {
		return p, err
	}
	p.Exec, err = os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	return p, err
}

// Wasm builds the program itself.
func Wasm(dir string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "wasm")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "replay.wasm")
	if _, err := goCommand(dir, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// Sources names what the program is made of: the release of Go, and a digest of
// the module's own files and of the modules it uses.
func Sources(dir string) (string, error) {
	list, err := goCommand(dir, "list", "-deps", "-json=ImportPath,Dir,GoFiles,Module,Standard", pkg)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for d := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			ImportPath, Dir string
			GoFiles         []string
			Standard        bool
			Module          *struct {
				Path, Version string
				Main          bool
			}
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return "", err
		}
		switch {
		case p.Standard:
		case p.Module == nil || !p.Module.Main:
			if p.Module != nil {
				fmt.Fprintf(h, "%s %s@%s\n", p.ImportPath, p.Module.Path, p.Module.Version)
			}
		default:
			for _, name := range p.GoFiles {
				b, err := os.ReadFile(filepath.Join(p.Dir, name))
				if err != nil {
					return "", err
				}
				fmt.Fprintf(h, "%s/%s %x\n", p.ImportPath, name, sha256.Sum256(b))
			}
		}
	}
	return runtime.Version() + " " + hex.EncodeToString(h.Sum(nil)), nil
}

// goCommand runs the go command for a browser.
func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWASM=", "GOEXPERIMENT=")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, said.Bytes())
	}
	return out, nil
}
