package backup

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"syscall"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/tlog"

	"golang.org/x/mod/sumdb/note"
)

// benchEntries is the size of the log that is backed up and restored, about.
const benchEntries = 200_000

func onDisk(b *testing.B) store.Store {
	b.Helper()
	st, err := pebble.Open(b.TempDir(), pebble.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	return st
}

// BenchmarkBackup writes and checks a back-up, as the command does.
func BenchmarkBackup(b *testing.B) {
	y := yardIn(b, onDisk(b), benchEntries)
	r, err := y.store.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.Run("write", func(b *testing.B) {
		start := cpu()
		defer func() { perCPU(b, start, y.Size()) }()
		for b.Loop() {
			sum, err := Write(io.Discard, r, y.Checkpoint(), tlog.Checkpoint{})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(sum.Bytes))
		}
	})
	stream, _ := y.backUp(tlog.Checkpoint{})
	b.Run("check", func(b *testing.B) {
		b.SetBytes(int64(len(stream)))
		start := cpu()
		defer func() { perCPU(b, start, y.Size()) }()
		for b.Loop() {
			if err := read(stream, y.verifier()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRestore makes a store of a back-up: folds, tree and disk included.
func BenchmarkRestore(b *testing.B) {
	y := yardIn(b, onDisk(b), benchEntries)
	stream, head := y.backUp(tlog.Checkpoint{})
	v := y.verifier()
	y.store.Close()
	runtime.GC()
	b.SetBytes(int64(len(stream)))
	start := cpu()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(stream))
		if err != nil {
			b.Fatal(err)
		}
		in, err := Verify([]note.Verifier{v}, nil, r)
		if err != nil {
			b.Fatal(err)
		}
		st := onDisk(b)
		if _, err := Restore(context.Background(), st, house.Books(), in, func(Summary) ([]store.Row, error) { return nil, nil }); err != nil {
			b.Fatal(err)
		}
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
	}
	perCPU(b, start, head.Size)
}

// perCPU gives the entries' CPU time beside the time by the clock, for machines
// that are not idle.
func perCPU(b *testing.B, start time.Duration, entries uint64) {
	b.ReportMetric(float64(entries)*float64(b.N)/(cpu()-start).Seconds(), "entries/cpu-s")
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
