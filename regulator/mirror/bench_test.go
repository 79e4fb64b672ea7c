package mirror

import (
	"os"
	"testing"

	"countroom/regulator/verify/logtest"
)

// What a new mirror takes to fetch a log over loopback, and a restarted one to look
// at what is there.
func BenchmarkMirror(b *testing.B) {
	h := logtest.New(logtest.Config{Seed: 3})
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, 20_000)
	s := open(b, h)
	run := func(b *testing.B, dir string) {
		m := start(b, s.config(b, dir, h))
		round(b, m)
		m.Close()
	}
	each := func(b *testing.B) { b.ReportMetric(float64(h.Size())*float64(b.N)/b.Elapsed().Seconds(), "entries/s") }
	b.Run("fetch", func(b *testing.B) {
		for b.Loop() {
			dir, err := os.MkdirTemp(b.TempDir(), "")
			if err != nil {
				b.Fatal(err)
			}
			run(b, dir)
		}
		each(b)
	})
	b.Run("restart", func(b *testing.B) {
		dir := b.TempDir()
		run(b, dir)
		b.ResetTimer()
		for b.Loop() {
			run(b, dir)
		}
		each(b)
	})
}
