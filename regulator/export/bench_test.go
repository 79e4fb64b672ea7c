package export

import (
	"bytes"
	"context"
	"syscall"
	"testing"
	"time"

	"countroom/regulator/verify/logtest"
)

// What an export costs, written and checked: megabytes a second by the clock and of
// processor time, for machines that are not idle.
func BenchmarkExport(b *testing.B) {
	h := logtest.New(logtest.Config{Seed: 7, Step: time.Millisecond})
	var people []logtest.Player
	for range 1000 {
		people = append(people, h.Join(50_000))
	}
	h.Play(people, 100_000)
	tree, req := indexed{Tree: h.Tree()}, Request{Range: Range{0, h.Size()}, Checkpoint: h.Checkpoint()}
	keys, err := tree.Tree.Keys(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	tree.keys = keys
	var written file
	if _, err := Write(b.Context(), &written, tree, req, Options{Sign: h.SignExport, Scratch: b.TempDir()}); err != nil {
		b.Fatal(err)
	}
	for name, work := range map[string]func(b *testing.B) int64{
		"write": func(b *testing.B) int64 {
			sum, err := Write(b.Context(), new(discard), tree, req, Options{Sign: h.SignExport, Scratch: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			return sum.Bytes
		},
		"check": func(b *testing.B) int64 {
			if _, err := Check(b.Context(), bytes.NewReader(written.b), int64(len(written.b)), CheckOptions{VKey: h.VKey}); err != nil {
				b.Fatal(err)
			}
			return int64(len(written.b))
		},
	} {
		b.Run(name, func(b *testing.B) {
			var size int64
			began := cpu()
			for b.Loop() {
				size += work(b)
			}
			b.ReportMetric(float64(size)/1e6/b.Elapsed().Seconds(), "MB/s")
			b.ReportMetric(float64(size)/1e6/(cpu()-began).Seconds(), "MB/cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// indexed is a log that finds its keys' entries without reading all of it, as a
// house does.
type indexed struct {
	*logtest.Tree
	keys []uint64
}

func (i indexed) Keys(context.Context) ([]uint64, error) { return i.keys, nil }

// discard is a disk that is never full.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
