package appliance_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/store"
	"countroom/rngcert/epoch"
)

// Law 5: within a seed epoch, round n of a player at a game has one outcome,
// whichever process draws it. A child process plays; whenever a round was drawn
// and is about to be, or has just been, committed, it writes down what it drew
// where the test can see it and is killed on the spot. Each next process plays
// on. Whatever any of them drew for one (epoch, player, game, n) must be one
// draw, though most of it never reached the log, and though stakes and requests
// differ from try to try.
func TestNoProcessDrawsARoundAnew(t *testing.T) {
	if dir := os.Getenv("COUNTROOM_REROLL_DIR"); dir != "" {
		playAndDie(t, dir)
		return
	}
	const lives = 40
	dir := t.TempDir()
	for life := range lives {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoProcessDrawsARoundAnew$")
		cmd.Env = append(os.Environ(), "COUNTROOM_REROLL_DIR="+dir, "COUNTROOM_REROLL_LIFE="+strconv.Itoa(life))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("life %d was not killed: %v\n%s", life, err, out)
		}
	}

	drawn := map[string]string{} // epoch, player, game, n → r, stops of everything
	uncommitted, again := 0, 0
	f, err := os.Open(filepath.Join(dir, "drawn"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		when, rest, _ := strings.Cut(lines.Text(), " ")
		where, what, _ := strings.Cut(rest, " = ")
		if when == "before" {
			uncommitted++
		}
		if was, ok := drawn[where]; ok {
			again++
			if was != what {
				t.Errorf("%s was drawn twice:\n%s\n%s", where, was, what)
			}
		}
		drawn[where] = what
	}
	if uncommitted < lives/4 || again < lives/8 {
		t.Fatalf("%d rounds were lost before their commit and %d were drawn again: the test did not test", uncommitted, again)
	}
	t.Logf("%d lives, %d rounds lost before their commit, %d drawn again, each as before", lives, uncommitted, again)
}

// deadly kills the process at the commit of a round.
type deadly struct {
	store.Store
	t      *testing.T
	dir    string
	before bool
	after  int // rounds to let pass
}

func (s *deadly) Commit(ctx context.Context, b *store.Batch) error {
	var drawn []string
	for _, leaf := range b.Leaves {
		var r rounds.Settled
		if typ, _ := entry.TypeOf(leaf); typ == r.Type() {
			if err := entry.Decode(leaf, &r); err != nil {
				return err
			}
			drawn = append(drawn, fmt.Sprintf("epoch %d player %s game %s n %d = r %s values %v", r.Draw.Epoch, r.Player, r.Game, r.Draw.N, hex.EncodeToString(r.Draw.R[:]), r.Draw.Values))
		}
	}
	if len(drawn) == 0 {
		return s.Store.Commit(ctx, b)
	}
	s.after--
	die := s.after < 0
	when := "after"
	if s.before && die {
		when = "before"
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "drawn"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, d := range drawn {
		fmt.Fprintln(f, when, d)
	}
	f.Close()
	if die && s.before {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	err = s.Store.Commit(ctx, b)
	if die {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return err
}

func playAndDie(t *testing.T, dir string) {
	life, err := strconv.Atoi(os.Getenv("COUNTROOM_REROLL_LIFE"))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(uint64(life), 7))
	ctx := context.Background()
	a, err := appliance.Open(ctx, appliance.Config{
		Dir: filepath.Join(dir, "house"), Release: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: epoch.Limits{AgeSeconds: 600, Draws: 1 << 20, RevealDelaySeconds: 120},
		Machine: appliance.Machine{WrapStore: func(s store.Store) store.Store {
			return &deadly{Store: s, t: t, dir: dir, before: rnd.IntN(3) > 0, after: rnd.IntN(4)}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	req := func(key string) house.Request {
		return house.Request{Key: key, Method: "POST", Path: "/", Principal: "operator"}
	}
	if _, err := a.House.CreatePlayer(ctx, req("create"), "p", "EUR"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.House.Deposit(ctx, req("deposit"), "p", money.Money{Amount: 10_000_000, Currency: "EUR"}); err != nil {
		t.Fatal(err)
	}
	_, _, token, err := a.House.OpenSession(ctx, req("session"), "p", "lamplight-quay")
	if err != nil {
		t.Fatal(err)
	}
	seat, err := a.House.Seat(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	stakes := []int64{20, 40, 100, 200, 500, 1000}
	for i := range 100 { // another request and another stake each time
		if _, err := a.House.Spin(ctx, req(fmt.Sprintf("life-%d-%d", life, i)), seat, stakes[rnd.IntN(len(stakes))]); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("survived a hundred rounds")
}
