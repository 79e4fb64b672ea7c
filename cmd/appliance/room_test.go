package appliance_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/cmd/appliance"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
)

// No disk has so much room.
const tooMuch = 1 << 60

func openWith(t *testing.T, dir string, reserve uint64) (*appliance.Appliance, error) {
	t.Helper()
	return appliance.Open(t.Context(), appliance.Config{
		Dir: dir, Release: "test", Reserve: reserve, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Fatal: func(err error) { t.Error(err) },
	})
}

func TestNoHouseIsFoundedWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	if _, err := openWith(t, dir, tooMuch); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "MiB left and needs") {
		t.Fatalf("founded without room: %v", err)
	}
	a, err := openWith(t, dir, 1)
	if err != nil {
		t.Fatalf("and not founded afterwards: %v", err)
	}
	closeHouse(a)
}

// A house that is opened without room shows everything that was acknowledged
// and repeats its answers, writes nothing, and says when there is room.
func TestAHouseWithoutRoom(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	a, err := openWith(t, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	last, err := a.House.CreatePlayer(ctx, request("create"), "p", "EUR")
	if err != nil {
		t.Fatal(err)
	}
	closeHouse(a)

	if a, err = openWith(t, dir, tooMuch); err != nil {
		t.Fatal(err)
	}
	if !a.ReadOnly || !errors.Is(a.Ledger.Ready(), ledger.ErrNoSpace) {
		t.Fatalf("opened for writing; ready: %v", a.Ledger.Ready())
	}
	if e, err := a.Ledger.Entry(last.Index); err != nil || !bytes.Equal(e.Leaf, last.Leaf) {
		t.Errorf("the entry that was acknowledged last: %q, %v", e.Leaf, err)
	}
	if again, err := a.House.CreatePlayer(ctx, request("create"), "p", "EUR"); err != nil || again.Index != last.Index || !again.Replayed {
		t.Errorf("the command that was acknowledged last: entry %d, %v", again.Index, err)
	}
	if _, err := a.House.CreatePlayer(ctx, request("other"), "q", "EUR"); !errors.Is(err, ledger.ErrNoSpace) {
		t.Errorf("a new command: %v", err)
	}
	if v, err := a.House.Player(ctx, "p"); err != nil {
		t.Errorf("the player: %+v, %v", v, err)
	}
	waiting, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := a.AwaitRoom(waiting); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("there is room, it says: %v", err)
	}
	size := a.Ledger.Signed().Size
	closeHouse(a)

	if a, err = openWith(t, dir, 1); err != nil {
		t.Fatal(err)
	}
	defer closeHouse(a)
	e, err := a.Ledger.Entry(size)
	if err != nil {
		t.Fatal(err)
	}
	if typ, err := entry.TypeOf(e.Leaf); err != nil || typ != (*system.HouseActive)(nil).Type() {
		t.Errorf("the entry after the last acknowledged is a %s: %v", typ, err)
	}
	if _, err := a.House.CreatePlayer(ctx, request("other"), "q", "EUR"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
