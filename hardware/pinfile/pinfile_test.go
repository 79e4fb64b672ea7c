package pinfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/hardware/pinfile"
)

func TestOneLineOfItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	for content, want := range map[string]string{
		"1234\n": "1234", "12 34": "12 34", " 1 \n": " 1 ", strings.Repeat("x", 256) + "\n": strings.Repeat("x", 256),
		"": "", "\n": "", "1\n2\n": "", "1\n\n": "", "1\x002": "", strings.Repeat("x", 257): "", strings.Repeat("x", 1<<20): "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := pinfile.Read(path); got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, pinfile.ErrFile) {
			t.Errorf("%.20q: %.20q, %v", content, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := pinfile.Read(path); !errors.Is(err, pinfile.ErrFile) || !strings.Contains(err.Error(), "chmod 0600 "+path) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if _, err := pinfile.Read(filepath.Dir(path)); !errors.Is(err, pinfile.ErrFile) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := pinfile.Read(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
