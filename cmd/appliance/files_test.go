package appliance

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A machine that is switched off while it gives up the key of a period leaves that key,
// under one name or another. The next start writes it over, and takes no harm from
// a second name of the key that is needed still.
func TestNoKeyOfAPeriodIsLeftBehind(t *testing.T) {
	for _, c := range []struct {
		name string
		tidy func(path string) error
		want string
	}{
		{"a start", func(path string) error { return disk{}.TidyPrivate(path) }, "2 now\n"},
		{"the next period", func(path string) error { return disk{}.ReplacePrivate(path, []byte("3 next\n")) }, "3 next\n"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, vaultPeriodKey)
		private := func(name, text string) *os.File {
			t.Helper()
			name = filepath.Join(dir, name)
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		}
		private(vaultPeriodKey, "2 now\n")
		gone := []*os.File{private("."+vaultPeriodKey+".old", "1 before\n"), private("."+vaultPeriodKey+".4711", "1 before\n"), private("."+vaultPeriodKey+".1.tmp", "0 first\n")}
		private("seal.key", "another key\n")
		if err := os.Link(path, filepath.Join(dir, "."+vaultPeriodKey+".2.tmp")); err != nil {
			t.Fatal(err)
		}
		if err := c.tidy(path); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.want {
			t.Errorf("%s: the file has %q, %v", c.name, b, err)
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 2 {
			t.Errorf("%s: %v are left, %v", c.name, list, err)
		}
		for _, f := range gone {
			b := make([]byte, 64)
			n, _ := f.ReadAt(b, 0)
			if n == 0 || len(bytes.Trim(b[:n], "\x00")) > 0 {
				t.Errorf("%s: %s still holds %q", c.name, f.Name(), b[:n])
			}
		}
	}
	if err := (disk{}).TidyPrivate(filepath.Join(t.TempDir(), vaultPeriodKey)); err != nil {
		t.Errorf("where there is none yet: %v", err)
	}
}
