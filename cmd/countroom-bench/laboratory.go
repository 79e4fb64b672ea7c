package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"countroom/rngcert/battery"
	"countroom/rngcert/sp80022"
)

// laboratories measures the tests of chance on one core, each beside a plain pass over the same data: the time to
// look at every bit or draw once and count it. The time is that of the processor, whatever else runs on the machine.
func laboratories() error {
	heading("laboratory, one core")
	source := rand.NewChaCha8([32]byte{4})
	const sequences = 4
	data := make([]byte, sp80022.Least/8)
	var suite, pass time.Duration
	for range sequences {
		source.Read(data)
		bits := sp80022.Unpack(data)
		start := cpuTime()
		ones := 0
		for _, b := range bits {
			ones += int(b)
		}
		pass += cpuTime() - start
		start = cpuTime()
		if _, err := sp80022.Suite(bits); err != nil {
			return err
		}
		suite += cpuTime() - start
		runtime.KeepAlive(ones)
	}
	fmt.Printf("  SP 800-22, 1 Mbit          %8.1f ms  (a plain pass %.2f ms, 1:%.0f)\n", ms(suite)/sequences, ms(pass)/sequences, float64(suite)/float64(max(pass, 1)))
	const draws = 1_000_000
	dice := rand.New(source)
	for _, m := range []uint32{2, 37, 1_000_000} {
		s := battery.Stream{Name: "draws", M: m, Values: make([]uint32, draws)}
		for i := range s.Values {
			s.Values[i] = dice.Uint32N(m)
		}
		start := cpuTime()
		counts := make([]int, m)
		const passes = 10
		for range passes {
			for _, v := range s.Values {
				counts[v]++
			}
		}
		pass := (cpuTime() - start) / passes
		start = cpuTime()
		if _, err := battery.Run(s); err != nil {
			return err
		}
		took := cpuTime() - start
		runtime.KeepAlive(counts)
		fmt.Printf("  battery, range %-9d  %8.2f million draws/s  (a plain pass %.0f, 1:%.0f)\n", m, draws/took.Seconds()/1e6, draws/max(pass, 1).Seconds()/1e6, float64(took)/float64(max(pass, 1)))
	}
	return nil
}
