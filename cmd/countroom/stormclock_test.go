package main

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"countroom/ledger"

	"golang.org/x/sys/unix"
)

// clockVariable names a file whose eight bytes are how far the wall clock of a
// process under test is off, in nanoseconds. Time namespaces do not shift that
// clock, and setting the machine's would move all processes on it.
const clockVariable = "COUNTROOM_TEST_CLOCK"

// testClock is the clock of a process under test: nil, the system's, without the
// variable.
func testClock() ledger.Clock {
	name := os.Getenv(clockVariable)
	if name == "" {
		return nil
	}
	os.Unsetenv(clockVariable)
	off, err := mapped(name)
	if err != nil {
		panic(err)
	}
	born := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Add(time.Duration(off.Load())), now.Sub(born)
	}
}

// mapped is a number in a file, shared between processes.
func mapped(name string) (*atomic.Int64, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*atomic.Int64)(unsafe.Pointer(&b[0])), nil
}

// skewed is the clock file of one server.
type skewed struct {
	name string
	off  *atomic.Int64
}

func newSkewed(t *testing.T, name string) *skewed {
	t.Helper()
	if err := os.WriteFile(name, binary.NativeEndian.AppendUint64(nil, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	off, err := mapped(name)
	if err != nil {
		t.Fatal(err)
	}
	return &skewed{name, off}
}
