package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"
	"countroom/games"
	"countroom/games/books"
	"countroom/games/slots"
	"countroom/games/slots/par"
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

type checkJob struct{ URL, Token, VKey string }

type checkResult struct {
	Entries uint64
	Wall    time.Duration
	CPU     time.Duration
}

// replay verifies the whole log with every rule in a process of its own that
// has one core; the house serves it from another.
func replay(a *appliance.Appliance) error {
	s, err := serve(api.HTTPServer(api.New(a.House, api.Options{Tokens: api.Tokens{Regulator: a.Tokens.Regulator}, Log: slog.New(slog.DiscardHandler)})))
	if err != nil {
		return err
	}
	defer s.Close()
	in, err := json.Marshal(checkJob{"http://" + s.addr, a.Tokens.Regulator, a.Ledger.VKey()})
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
	heading("replay with every rule, over HTTP, one core for the verifier")
	fmt.Printf("  %8d entries  %9.0f entries/s  %9.0f per CPU second\n", r.Entries, float64(r.Entries)/r.Wall.Seconds(), float64(r.Entries)/r.CPU.Seconds())
	return nil
}

func checkLog(string) error {
	var job checkJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return err
	}
	src, err := verify.HTTP(job.URL, job.Token)
	if err != nil {
		return err
	}
	start, cpu := time.Now(), cpuTime()
	report, err := verify.Log(context.Background(), src, verify.Options{VKey: job.VKey})
	if err != nil {
		return err
	}
	if len(report.Findings) > 0 {
		return errors.New("the honest log of this benchmark does not verify: " + fmt.Sprint(report.Findings[0]))
	}
	return json.NewEncoder(os.Stdout).Encode(checkResult{report.Replayed, time.Since(start), cpuTime() - cpu})
}
