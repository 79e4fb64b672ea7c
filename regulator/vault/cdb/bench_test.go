package cdb

import (
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
	for b.Loop() {
		if _, err := Deliver(b.Context(), log, b.TempDir(), nil, h.Size()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(h.Size())*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
