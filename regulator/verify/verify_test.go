package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// check verifies the log of a house as it stands.
func check(t *testing.T, h *logtest.House, known ...Known) (*Report, error) {
	t.Helper()
	return Log(t.Context(), Dir(h.Publish()), Options{VKey: h.VKey, Known: known})
}

func mustHold(t *testing.T, r *Report, err error) {
	t.Helper()
	if err != nil || !r.OK() || len(r.Unchecked) > 0 {
		t.Fatalf("%v, findings %+v, unchecked %q", err, r.Findings, r.Unchecked)
	}
}

// honest is a house at which several players played for a while.
func honest(rounds int) (*logtest.House, []logtest.Player) {
	h := logtest.New(logtest.Config{Seed: 1})
	var who []logtest.Player
	for range 5 {
		who = append(who, h.Join(50_000))
	}
	h.Play(who, rounds)
	return h, who
}

// An honest log of many rounds and epochs raises nothing, and its report says
// what was proven.
func TestHonestLog(t *testing.T) {
	const count = uint64(20_000)
	h := logtest.New(logtest.Config{Seed: 7, Limits: epoch.Limits{AgeSeconds: 300, Draws: count / 7, RevealDelaySeconds: 6}})
	var who []logtest.Player
	for range 50 {
		who = append(who, h.Join(50_000))
	}
	h.Play(who, int(count/2))
	h.Restart()
	h.Withdraw(who[0], h.Balance(who[0])/2)
	middle := h.Answer(h.Size() - 1)
	h.Close(who[1])
	who[1].Session = h.Open(who[1])
	h.Play(who, int(count/2))

	r, err := check(t, h, Known{"middle", middle}, Known{"head", h.Checkpoint()})
	mustHold(t, r, err)
	if r.Size != h.Size() || r.Replayed != r.Size || r.Known != 2 {
		t.Errorf("size %d, replayed %d of %d, known %d", r.Size, r.Replayed, h.Size(), r.Known)
	}
	if r.Types["round.settled"] != count || r.Rounds.Outcomes != count || r.Rounds.Proven+r.Rounds.Unproven != count || r.Rounds.Proven < count/2 || r.Rounds.Unproven == 0 {
		t.Errorf("rounds: %+v of %d", r.Rounds, r.Types["round.settled"])
	}
	if e := r.Epochs; e.Closed < 6 || e.Revealed < 5 || e.Revealed > e.Closed || e.Committed < e.Closed+1 {
		t.Errorf("epochs: %+v", e)
	}
	if len(r.Warnings) > 0 {
		t.Errorf("warnings: %q", r.Warnings)
	}
	if len(r.Games) != 1 || r.Games[0].Rounds != count || r.Games[0].Stakes.Big().Sign() <= 0 || len(r.Cash) != 1 {
		t.Errorf("totals: %+v, %+v", r.Games, r.Cash)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// A million rounds amid everything that happens to an honest house raise
// nothing, and each of them is recomputed and proven.
func TestHonestMillion(t *testing.T) {
	count := uint64(1_000_000)
	if raceOn {
		count = 50_000
	}
	h := logtest.New(logtest.Config{Seed: 31, Limits: epoch.Limits{AgeSeconds: 300, Draws: 2_000, RevealDelaySeconds: 30}})
	h.Live(int(count))
	h.Wait(time.Hour)
	h.Turn()
	h.Wait(time.Minute)
	h.Turn()
	r, err := check(t, h, Known{"head", h.Checkpoint()})
	mustHold(t, r, err)
	if r.Replayed != h.Size() || r.Types["round.settled"] != count || r.Rounds != (Rounds{Proven: count, Outcomes: count}) {
		t.Errorf("replayed %d of %d, %d rounds, %+v", r.Replayed, h.Size(), r.Types["round.settled"], r.Rounds)
	}
	if len(r.Types) != 21 {
		t.Errorf("not everything happened: %v", r.Types)
	}
	for _, w := range r.Warnings {
		if !strings.Contains(w, "restored from a back-up") {
			t.Error(w)
		}
	}
	byReason := map[string]int{}
	for i := range h.Size() {
		if leaf := h.Leaf(i); bytes.HasSuffix(leaf, []byte(`,"type":"seed.closed"}`)) {
			var c epoch.Closed
			if err := entry.Decode(leaf, &c); err != nil {
				t.Fatal(err)
			}
			byReason[c.Reason]++
		}
	}
	if byReason[epoch.ByDraws] == 0 || byReason[epoch.ByTime] == 0 {
		t.Errorf("epochs were closed by %v", byReason)
	}
	t.Logf("%d entries, %v, epochs closed by %v", h.Size(), r.Types, byReason)
}

// BenchmarkReplay replays an honest log with every rule. The entries' CPU time
// is given beside the time by the clock, for machines that are not idle.
func BenchmarkReplay(b *testing.B) {
	h := logtest.New(logtest.Config{Seed: 7, Step: time.Millisecond, Limits: epoch.Limits{AgeSeconds: 600, Draws: 20_000, RevealDelaySeconds: 1}})
	var who []logtest.Player
	for range 1000 {
		who = append(who, h.Join(50_000))
	}
	h.Play(who, 200_000)
	h.Wait(time.Minute)
	h.Turn()
	files := h.Publish()
	bytes := 0
	for i := range h.Size() {
		bytes += len(h.Leaf(i))
	}
	b.ReportAllocs()
	start, best := cpu(), time.Duration(1<<62)
	for b.Loop() {
		began := cpu()
		r, err := Log(context.Background(), Dir(files), Options{VKey: h.VKey})
		if err != nil || !r.OK() || r.Rounds.Proven < 180_000 {
			b.Fatalf("%v, %+v", err, r)
		}
		best = min(best, cpu()-began)
	}
	used := cpu() - start
	n := float64(h.Size()) * float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(n/used.Seconds(), "entries/cpu-s")
	b.ReportMetric(float64(h.Size())/best.Seconds(), "best-entries/cpu-s")
	b.ReportMetric(float64(bytes)/float64(h.Size()), "B/entry")
	b.ReportMetric(0, "ns/op")
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
