package cdb

import (
	"syscall"
	"testing"
	"time"

	"countroom/regulator/verify/logtest"
)

// Entries a second of a delivery, with its audit.
func BenchmarkDeliver(b *testing.B) {
	h := logtest.New(logtest.Config{Seed: 1, Step: time.Second})
	people := []logtest.Player{h.Join(1 << 40), h.Join(1 << 40)}
	h.Play(people, 20_000)
	log := openLog(b, h)
	began := cpu()
	for b.Loop() {
		if _, err := Deliver(b.Context(), log, b.TempDir(), nil, h.Size()); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(h.Size()) * float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(n/(cpu()-began).Seconds(), "entries/cpu-s")
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
