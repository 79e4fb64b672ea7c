package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"countroom/cmd/appliance"
	"countroom/games"
	"countroom/games/books"
	"countroom/games/slots"
	"countroom/games/slots/par"
	"countroom/ledger"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/rngcert/chance"
)

// simulation measures spins without a house, on one core: with the simulation
// generator, and with draws as in production.
func simulation() error {
	m, err := slots.Compile(slots.Bundled())
	if err != nil {
		return err
	}
	heading("simulation, one core")
	const fast = 5_000_000
	start := time.Now()
	stats, err := par.Simulate(context.Background(), m, games.NewSimulated(rand.NewChaCha8([32]byte{1}).Uint64), fast, nil)
	if err != nil {
		return err
	}
	fmt.Printf("  simulation generator (ChaCha8)  %6.2f million spins/s\n", float64(stats.Spins)/time.Since(start).Seconds()/1e6)
	const slow = 500_000
	d := chance.NewDrawer([32]byte{2}, "bench")
	var p books.Play
	spins := 0
	start = time.Now()
	for n := range uint64(slow) {
		if err := p.Round(m, d.Draw("lamplight-quay", "1.0.0", [16]byte{3}, n+1, 0, nil), 20); err != nil {
			return err
		}
		spins += len(p.Values) / 5
	}
	fmt.Printf("  production draws                %6.2f million spins/s\n", float64(spins)/time.Since(start).Seconds()/1e6)
	return nil
}

type checkJob struct{ Dir, VKey string }

type checkResult struct {
	Entries uint64
	Proven  uint64
	Wall    time.Duration
	CPU     time.Duration
}

// replay publishes the log as plain files and verifies it with every rule in a
// process of its own that has one core.
func replay(a *appliance.Appliance, dir string) error {
	defer os.RemoveAll(dir)
	if err := publish(a.Ledger, dir); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	in, err := json.Marshal(checkJob{dir, a.Ledger.VKey()})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-check", "-")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("verifier: %w", err)
	}
	var r checkResult
	if err := json.Unmarshal(out, &r); err != nil {
		return err
	}
	heading("replay with every rule, from plain files, one core for the verifier")
	fmt.Printf("  %8d entries, %d draws proven  %9.0f entries/s  %9.0f per CPU second\n", r.Entries, r.Proven, float64(r.Entries)/r.Wall.Seconds(), float64(r.Entries)/r.CPU.Seconds())
	return nil
}

// publish writes the log as a static web server would have it.
func publish(l *ledger.Ledger, dir string) error {
	write := func(path string, b []byte) error {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o644)
	}
	head := l.Signed()
	for n := uint64(0); n*tlog.TileWidth < head.Size; n++ {
		from, to := n*tlog.TileWidth, min((n+1)*tlog.TileWidth, head.Size)
		var b []byte
		if err := l.Leaves(from, to, func(_ uint64, leaf []byte) error {
			b = tlog.AppendBundle(b, leaf)
			return nil
		}); err != nil {
			return err
		}
		if err := write(tlog.EntriesPath(n, int(to-from)), b); err != nil {
			return err
		}
	}
	for level, size := 0, head.Size; size > 0; level, size = level+1, size/tlog.TileWidth {
		for n := uint64(0); n*tlog.TileWidth < size; n++ {
			width := int(min(size-n*tlog.TileWidth, tlog.TileWidth))
			b, err := l.Tile(level, n, width)
			if err != nil {
				return err
			}
			if err := write(tlog.TilePath(level, n, width), b); err != nil {
				return err
			}
		}
	}
	return write("checkpoint", head.Checkpoint)
}

func checkLog(string) error {
	var job checkJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return err
	}
	start, cpu := time.Now(), cpuTime()
	report, err := verify.Log(context.Background(), verify.Dir(os.DirFS(job.Dir)), verify.Options{VKey: job.VKey})
	if err != nil {
		return err
	}
	if len(report.Findings) > 0 {
		return errors.New("the honest log of this benchmark does not verify: " + fmt.Sprint(report.Findings[0]))
	}
	return json.NewEncoder(os.Stdout).Encode(checkResult{report.Replayed, report.Rounds.Proven, time.Since(start), cpuTime() - cpu})
}
