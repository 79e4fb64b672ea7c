package chance

import "testing"

// BenchmarkDraw5 is the random work of one slot spin: one draw, five reel stops.
func BenchmarkDraw5(b *testing.B) {
	d := NewDrawer([32]byte{1}, "example.com/house")
	player, nonce := [16]byte{2}, make([]byte, NonceSize)
	var x Expander
	var sum uint32
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		x.Reset(d.Draw("slots/orchard", "1.0.0", player, n, 0, nonce))
		sum += x.Int(20) + x.Int(30) + x.Int(40) + x.Int(50) + x.Int(60)
	}
	_ = sum
}

// BenchmarkDraw is the draw without its expansion, on all cores at once.
func BenchmarkDraw(b *testing.B) {
	d := NewDrawer([32]byte{1}, "example.com/house")
	nonce := make([]byte, NonceSize)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := uint64(1); pb.Next(); n++ {
			d.Draw("slots/orchard", "1.0.0", [16]byte{2}, n, 0, nonce)
		}
	})
}
