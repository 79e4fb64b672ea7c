package worlds

import (
	"bufio"
	"flag"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

var (
	worldsFlag = flag.Int("worlds", defaultWorlds, "how many worlds TestWorlds runs")
	seedFlag   = flag.Uint64("seed", 0, "run the world of this seed only")
	tellFlag   = flag.Bool("tell", false, "print what happens while it does")
)

// One processor: which of two goroutines that are woken at the same instant comes
// first is then for the scheduler's queue to say and not for the machine's load,
// and a seed is one world.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

// Whatever happens in a world, the laws hold.
func TestWorlds(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = nil
		for seed := range uint64(*worldsFlag) {
			seeds = append(seeds, seed+1)
		}
	}
	sum := census{faults: map[string]int{}}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			o := run(t, seed, sabotage{})
			report(t, seed, &o)
			sum.add(&o.evidence.census)
		})
	}
	t.Logf("%d worlds: %+v", len(seeds), sum)
	if len(seeds) >= 100 {
		sum.wantRich(t)
	}
}

// wantRich wants all that can happen to have happened.
func (c *census) wantRich(t *testing.T) {
	t.Helper()
	for _, fault := range []string{string(turnSync), string(turnGuard), string(turnFile), string(turnEntropy), string(turnBeacon), faultHalt, faultLost, faultSigner, faultDisk, faultReads, faultClock} {
		if c.faults[fault] == 0 {
			t.Errorf("no fault of the kind %q in any world", fault)
		}
	}
	for what, n := range map[string]int{
		"crash": c.crashes, "refusal": c.refused, "answer 503": c.unavailable, "lost message": c.lost, "repeated answer": c.replayed, "secret revealed": c.epochs, "period of the vault": c.periods, "player erased": c.erased,
	} {
		if n == 0 {
			t.Errorf("no %s in any world", what)
		}
	}
}

func report(t *testing.T, seed uint64, o *outcome) {
	t.Helper()
	if o.violation != nil {
		t.Errorf("world %d breaks a law\n\n%s\n\nbroken: %v\n\nagain: go test ./cmd/appliance/worlds -run TestWorlds -seed %d", seed, o.tail(60), o.violation, seed)
	}
}

// Worlds that once were broken, or that broke a house.
func TestRegressions(t *testing.T) {
	f, err := os.Open("testdata/regressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		number, _, _ := strings.Cut(lines.Text(), " ")
		if number == "#" {
			continue
		}
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(number, func(t *testing.T) {
			o := run(t, seed, sabotage{})
			report(t, seed, &o)
		})
	}
}

// The same seed is the same world: what everybody heard, the log, the guard.
func TestSameSeedSameWorld(t *testing.T) {
	for seed := range uint64(twins) {
		a := run(t, 1000+seed, sabotage{})
		b := run(t, 1000+seed, sabotage{})
		if a.digest == b.digest {
			continue
		}
		for i := range min(len(a.said), len(b.said)) {
			if a.said[i] != b.said[i] {
				t.Errorf("world %d differs from itself at line %d:\n%s\n%s", 1000+seed, i, a.said[i], b.said[i])
				break
			}
		}
		t.Errorf("world %d differs from itself: %d and %d lines", 1000+seed, len(a.said), len(b.said))
	}
}

func (c *census) add(o *census) {
	c.entries += o.entries
	c.lives += o.lives
	c.crashes += o.crashes
	c.commands += o.commands
	c.accepted += o.accepted
	c.refused += o.refused
	c.unavailable += o.unavailable
	c.lost += o.lost
	c.replayed += o.replayed
	c.epochs += o.epochs
	c.periods += o.periods
	c.erased += o.erased
	for k, n := range o.faults {
		c.faults[k] += n
	}
}
