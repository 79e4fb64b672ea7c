// Package pinfile reads PINs and passphrases of devices and keys from files.
package pinfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrFile reports a file that does not hold one line for its owner alone.
var ErrFile = errors.New("pinfile: not usable")

const most = 256 // bytes: more than any device takes

// Read reads the one line of a file that only its owner may use.
func Read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%w: %s has mode %v, expected a regular file that only its owner may read: chmod 0600 %s", ErrFile, path, info.Mode(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+2))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrFile, path, err)
	}
	line := strings.TrimSuffix(string(b), "\n")
	if line == "" || len(line) > most || strings.ContainsAny(line, "\x00\n") {
		return "", fmt.Errorf("%w: %s: expected one line of 1 to %d bytes", ErrFile, path, most)
	}
	return line, nil
}
