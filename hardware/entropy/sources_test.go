package entropy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for uri, want := range map[string]struct {
		name, group string
		conditioned bool
		h           float64
	}{
		"getrandom":               {"linux-getrandom", GroupKernel, true, 4},
		"getrandom?name=kernel-2": {"kernel-2", GroupKernel, true, 4},
		"hwrng:/dev/noise":        {"hwrng", GroupBoard, false, 1},
		"hwrng:/dev/noise?group=usb&min-entropy=0.5":   {"hwrng", "usb", false, 0.5},
		"hwrng:/dev/noise?name=left.1&min-entropy=8":   {"left.1", GroupBoard, false, 8},
		"tpm:device=/dev/tpmrm0":                       {"tpm2", GroupTPM, true, 4},
		"tpm:socket=/run/swtpm/sock?name=tpm-emulator": {"tpm-emulator", GroupTPM, true, 4},
	} {
		s, err := Parse(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if k := s.Kind(); s.Name() != want.name || k.Group != want.group || k.Conditioned != want.conditioned || k.MinEntropyPerByte != want.h {
			t.Errorf("%s: %s %+v, want %+v", uri, s.Name(), k, want)
		}
	}
	for _, uri := range []string{
		"", "urandom", "getrandom:", "getrandom?", "getrandom?name=", "getrandom?name=A", "getrandom?name=a&name=b", "getrandom?min-entropy=8",
		"rdseed:1", "rdseed?group=board", "hwrng", "hwrng:", "hwrng:dev/hwrng", "hwrng:/dev/hwrng?min-entropy=9", "hwrng:/dev/hwrng?min-entropy=NaN",
		"hwrng:/dev/hwrng?min-entropy=0.04", "hwrng:/dev/hwrng?min-entropy=", "hwrng:/dev/hwrng?quality=1", "hwrng:/dev/hwrng?%zz",
		"pkcs11:nothing", "pkcs11:token=a?pin-value=1", "tpm:", "tpm:device=", "tpm:device=tpmrm0", "tpm:handle=/dev/tpmrm0", "tpm:socket=/a?name=" + strings.Repeat("a", 65),
	} {
		if s, err := Parse(uri); err == nil {
			t.Errorf("%q: accepted as %+v", uri, s)
		} else if !strings.Contains(err.Error(), "entropy source") {
			t.Errorf("%q: the error does not say where it comes from: %v", uri, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, uri := range []string{"getrandom", "rdseed?name=a", "hwrng:/dev/hwrng?group=board&min-entropy=1", "tpm:device=/dev/tpmrm0", "tpm:socket=/s", "a:b?c=d;e", "pkcs11:token=A%20B?module-path=/m.so", "pkcs11:"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		s, err := Parse(uri)
		if err != nil {
			return
		}
		k := s.Kind()
		if !word(s.Name(), 64) || !word(k.Group, 32) || k.Assurance == "" || !(k.MinEntropyPerByte >= minEntropyLeast && k.MinEntropyPerByte <= 8) {
			t.Errorf("%q: %q %+v", uri, s.Name(), k)
		}
	})
}

func TestBehindHwrng(t *testing.T) {
	for current, want := range map[string]string{"tpm-rng-0\n": GroupTPM, "virtio_rng.0\n": GroupHost, "intel\n": GroupBoard, "none": GroupBoard, "": GroupBoard} {
		if got := behindHwrng(current); got != want {
			t.Errorf("%q: %s, want %s", current, got, want)
		}
	}
}

// A device on a busy machine is waited for, and one that is known to hang is not.
const (
	patience   = 2 * time.Minute
	impatience = 200 * time.Millisecond
)

// fresh reads from a source twice, what a secret takes, and wants bytes that
// pass the tests.
func fresh(t *testing.T, s Source) {
	t.Helper()
	pool, err := NewPool(t.Context(), Options{Patience: patience}, s)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]bool{}
	for range 20 {
		secret, reports, err := pool.Secret(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := s.Kind()
		if len(reports) != 1 || reports[0].Name != s.Name() || reports[0].Group != k.Group || reports[0].Physical != k.Physical || reports[0].Assurance != k.Assurance || !reports[0].Healthy {
			t.Fatalf("reports: %+v", reports)
		}
		seen[secret] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d different secrets of 20", len(seen))
	}
}

func TestRDSEED(t *testing.T) {
	s, err := Parse("rdseed")
	if err != nil {
		t.Skip("RDSEED: ", err)
	}
	fresh(t, s)
}

func TestHwrng(t *testing.T) {
	f, err := os.Open("/dev/hwrng")
	if err == nil {
		_, err = f.Read(make([]byte, 1))
		f.Close()
	}
	if err != nil {
		t.Skip("/dev/hwrng: ", err)
	}
	s, err := Parse("hwrng:/dev/hwrng")
	if err != nil {
		t.Fatal(err)
	}
	fresh(t, s)
}

// pipe is a device file of the test's own: what is written to it is what it
// gives.
func pipe(t *testing.T) (path string, in *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "noise")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return path, in
}

// A device file that ends is short, one that is gone unavailable, one that says
// nothing slow, and one that is put back works again.
func TestADeviceIsPulledOutAndPutBack(t *testing.T) {
	path, in := pipe(t)
	noise := newDevice(t, "noise").noise
	feed := func(n int) {
		t.Helper()
		b := make([]byte, n)
		noise.Generate(b, nil)
		if _, err := in.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Parse("hwrng:" + path + "?min-entropy=4")
	if err != nil {
		t.Fatal(err)
	}
	feed(1024)
	pool, err := NewPool(t.Context(), Options{Patience: patience}, s)
	if err != nil {
		t.Fatal(err)
	}
	works := func() {
		t.Helper()
		feed(1024)
		if states := pool.Tend(t.Context()); states[0].Failure != nil {
			t.Fatalf("after it was put back: %+v", states)
		}
		feed(128)
		if _, _, err := pool.Secret(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	feed(128)
	if _, _, err := pool.Secret(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Nothing comes. The reader that hangs is let go by what comes later, which
	// nobody gets.
	pool.sources[0].patience = impatience
	if states := pool.Tend(t.Context()); states[0].Reason != ReasonSlow {
		t.Fatalf("a device that says nothing: %+v", states)
	}
	pool.sources[0].patience = patience
	feed(64)
	works()

	// A regular file in its place ends after a few bytes.
	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	s.(*Device).file.Close() // the device goes away under its reader
	states := pool.Tend(t.Context())
	if states[0].Reason != ReasonUnavailable {
		t.Fatalf("a device that went away: %+v", states)
	}
	for range 3 { // it failed twice of late, and is passed over once
		states = pool.Tend(t.Context())
	}
	if states[0].Reason != ReasonUnavailable || !errors.Is(states[0].Failure, os.ErrNotExist) {
		t.Fatalf("a device that is gone: %+v", states)
	}
	if err := os.WriteFile(path, []byte("not much of a device"), 0o600); err != nil {
		t.Fatal(err)
	}
	if states := pool.Tend(t.Context()); states[0].Reason != ReasonShort {
		t.Fatalf("a device that gives little: %+v", states)
	}
	if err := os.Rename(away, path); err != nil {
		t.Fatal(err)
	}
	works()
}

// emulator is swtpm, a TPM 2.0 in software.
type emulator struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
}

func startTPM(t *testing.T) *emulator {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Fatal("swtpm is missing: make deps")
	}
	// A path of a socket is short.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	e := &emulator{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		e.stop()
		os.RemoveAll(dir)
	})
	e.start()
	return e
}

func (e *emulator) start() {
	e.t.Helper()
	os.Remove(e.socket)
	e.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+e.dir, "--server", "type=unixio,path="+e.socket,
		"--ctrl", "type=unixio,path="+filepath.Join(e.dir, "c"), "--flags", "not-need-init,startup-clear")
	var said bytes.Buffer
	e.cmd.Stderr = &said
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	for range 12_000 {
		if c, err := net.Dial("unix", e.socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	e.t.Fatalf("swtpm does not start: %s", &said)
}

func (e *emulator) stop() {
	if e.cmd != nil {
		e.cmd.Process.Signal(syscall.SIGCONT)
		e.cmd.Process.Kill()
		e.cmd.Wait()
		e.cmd = nil
	}
}

func TestTPM(t *testing.T) {
	e := startTPM(t)
	s, err := Parse("tpm:socket=" + e.socket)
	if err != nil {
		t.Fatal(err)
	}
	fresh(t, s)
	long := make([]byte, 1000)
	if err := s.Read(t.Context(), long); err != nil || bytes.Contains(long, make([]byte, 16)) {
		t.Errorf("1000 bytes: %v, %x", err, long)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Read(ctx, long); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A TPM is pulled out, put back, hangs and comes to itself. Meanwhile there is
// no secret, though the kernel's generator is well.
func TestATPMIsPulledOut(t *testing.T) {
	e := startTPM(t)
	s, err := Parse("tpm:socket=" + e.socket)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := NewPool(t.Context(), Options{Minimum: 2, Patience: patience}, Kernel{}, s)
	if err != nil {
		t.Fatal(err)
	}
	both := func(when string) {
		t.Helper()
		if _, reports, err := pool.Secret(t.Context()); err != nil || len(reports) != 2 {
			t.Fatalf("%s: %+v, %v", when, reports, err)
		}
	}
	both("at first")

	e.stop()
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "tpm2") {
		t.Fatalf("without the TPM: %v", err)
	}
	if states := pool.Tend(t.Context()); states[1].Reason != ReasonUnavailable || states[0].Failure != nil {
		t.Fatalf("without the TPM: %+v", states)
	}
	e.start()
	if states := pool.Tend(t.Context()); states[1].Failure != nil {
		t.Fatalf("after the TPM was put back: %+v", states)
	}
	both("after the TPM was put back")

	if err := e.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pool.sources[1].patience = impatience
	if _, _, err := pool.Secret(t.Context()); !errors.Is(err, ErrTooFew) || !errors.Is(err, ErrSlow) {
		t.Fatalf("while the TPM hangs: %v", err)
	}
	pool.sources[1].patience = patience
	if err := e.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it failed twice of late, and is passed over once
		pool.Tend(t.Context())
	}
	both("after the TPM came to itself")
}
