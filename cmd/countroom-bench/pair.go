package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"countroom/cmd/appliance"
	"countroom/ledger/replica"
)

// machine is one of the pair's two, in this process.
type machine struct {
	*appliance.Pair
	mu   sync.Mutex
	open *appliance.Appliance
}

func (m *machine) now() *appliance.Appliance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

func (m *machine) start(ctx context.Context, dir string) error {
	seat, err := appliance.LoadSeat(dir)
	if err != nil {
		return err
	}
	m.Pair, err = appliance.OpenPair(ctx, appliance.Config{Dir: dir, Release: "bench", Log: slog.New(slog.DiscardHandler)}, appliance.PairConfig{
		Seat: seat, Hold: 5 * time.Second, Opened: func(a *appliance.Appliance) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.open = a
		},
	})
	if err != nil {
		return err
	}
	_, err = m.Serve(http.NotFoundHandler(), func(http.ResponseWriter, *http.Request, error) {})
	return err
}

// awaitWriter waits until a machine writes.
func awaitWriter(m *machine) {
	for !m.Place().Here {
		time.Sleep(time.Millisecond)
	}
}

// pairs measures a pair on this machine, three data directories on one disk,
// beside a single machine.
func pairs(ctx context.Context, o options, tmp string) error {
	var at [3]string
	for i := range at {
		var err error
		if at[i], err = freeDoors(); err != nil {
			return err
		}
	}
	dir := func(name string) string { return filepath.Join(tmp, "pair-"+name) }
	if err := appliance.InitPair(dir("a"), "", "a", at[0]); err != nil {
		return err
	}
	a, b := new(machine), new(machine)
	if err := a.start(ctx, dir("a")); err != nil {
		return err
	}
	defer func() { a.Close(ctx) }()
	awaitWriter(a)
	join := func(m replica.Member) error {
		j, err := appliance.NewJoiner(dir(m.Name), m)
		if err != nil {
			return err
		}
		request, err := j.Request()
		if err != nil {
			return err
		}
		answer, err := a.Admit(request, "")
		if err != nil {
			return err
		}
		return j.Accept(answer)
	}
	if err := join(replica.Member{Name: "b", Address: at[1]}); err != nil {
		return err
	}
	if err := b.start(ctx, dir("b")); err != nil {
		return err
	}
	defer func() { b.Close(ctx) }()
	if err := join(replica.Member{Name: "w", Address: at[2], Arbiter: true}); err != nil {
		return err
	}
	arbiter, err := appliance.LoadSeat(dir("w"))
	if err != nil {
		return err
	}
	w, err := replica.Open(arbiter.Config(dir("w")))
	if err != nil {
		return err
	}
	defer w.Close()
	for len(b.Node().Members()) < 3 || len(w.Members()) < 3 {
		time.Sleep(10 * time.Millisecond)
	}

	single, err := appliance.Open(ctx, appliance.Config{Dir: filepath.Join(tmp, "single"), Release: "bench", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer single.Close(ctx)
	alone, err := seat(ctx, single.House)
	if err != nil {
		return err
	}
	together, err := seat(ctx, a.now().House)
	if err != nil {
		return err
	}
	heading("pair: two machines and the arbiter on this one, beside a single machine")
	fmt.Println("  callers   spins/s   p50 ms   p99 ms   single/s   p50 ms   p99 ms   of single")
	for _, n := range o.callers {
		one, err := measure(n, o.length, spin(ctx, single.House, alone))
		if err != nil {
			return err
		}
		two, err := measure(n, o.length, spin(ctx, a.now().House, together))
		if err != nil {
			return err
		}
		fmt.Printf("  %7d  %8.0f  %7.2f  %7.2f  %9.0f  %7.2f  %7.2f  %10.2f\n", n, two.rate, ms(two.p50), ms(two.p99), one.rate, ms(one.p50), ms(one.p99), two.rate/one.rate)
	}
	return switchovers(ctx, a, b, together)
}

// switchovers hands over to and fro, and times each from the command to the next
// accepted spin.
func switchovers(ctx context.Context, writer, other *machine, seats []player) error {
	const times = 20
	var took []time.Duration
	for range times {
		start := time.Now()
		if err := writer.Switch(ctx); err != nil {
			return err
		}
		for {
			h := other.now().House
			session, err := h.Seat(ctx, seats[0].token)
			if err == nil && other.Place().Here {
				if err = spin(ctx, h, []player{{session: session}})(0); err == nil {
					break
				}
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(start))
		writer, other = other, writer
		for !other.now().Ledger.Passive() || other.now().Ledger.Ready() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	slices.Sort(took)
	fmt.Printf("  planned switchover until the next accepted spin: p50 %.0f ms, most %.0f ms of %d\n", ms(took[times/2]), ms(took[times-1]), times)
	return nil
}

// freeDoors finds an address whose next port is free, too.
func freeDoors() (string, error) {
	for {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, taken := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		if err := first.Close(); err != nil {
			return "", err
		}
		if taken == nil {
			return fmt.Sprintf("127.0.0.1:%d", port), second.Close()
		}
	}
}
