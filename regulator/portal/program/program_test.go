package program

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// What the pages load is built from the sources that are here. Where the
// release of Go is the one that built it, it is built again, byte for byte.
func TestThePagesLoadWhatTheSourcesGive(t *testing.T) {
	kept, err := os.ReadFile("../assets/replay.sources")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := Sources(".")
	if err != nil {
		t.Fatal(err)
	}
	release, digest, _ := strings.Cut(strings.TrimSpace(string(kept)), " ")
	if _, now, _ := strings.Cut(sources, " "); digest != now {
		t.Fatal("regulator/portal/assets/replay.wasm.gz was built from other sources: make wasm")
	}
	if release != runtime.Version() {
		return // another release gives other bytes of the same sources
	}
	packed, err := os.ReadFile("../assets/replay.wasm.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > 3<<20 {
		t.Errorf("%d bytes are too much for a page to load", len(packed))
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	built, err := Wasm(".")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(loaded, built) {
		t.Errorf("regulator/portal/assets/replay.wasm.gz, %d bytes unpacked, is not what its sources give, %d bytes: make wasm", len(loaded), len(built))
	}
}
