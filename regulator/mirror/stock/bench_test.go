package stock

import (
	"testing"

	"countroom/regulator/mirror/stock/stocktest"

	"google.golang.org/grpc/credentials/insecure"
)

// What a stock Trillian over PostgreSQL takes from a mirror, until its signer has
// integrated all and each leaf was read back.
func BenchmarkStockTrillian(b *testing.B) {
	s := stocktest.Start(b)
	s.StopSigner()
	s.StartSigner("--batch_size=1000")
	conn, err := Dial(s.Address, insecure.NewCredentials())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	w := newWorld(b, conn, 1, 20_000)
	for b.Loop() {
		w.dir = b.TempDir()
		w.all(w.feeder(0))
	}
	b.ReportMetric(float64(w.house.Size())*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}
