package house_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/ledger"
	"countroom/ledger/store"
)

// What the operator calls a player, and why it did something, is nowhere to be
// read: not in the log, not in the vault, not in a file.
func TestTheOperatorsWordsAreNowhereInPlain(t *testing.T) {
	const id = "Jane.Roe-1971"
	words := []string{"chargeback by issuing bank", "appeal was upheld", "reel art misprinted", "art was corrected"}
	dir := t.TempDir()
	var st store.Store
	h := housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	s := seated(t, h, id, 1000)
	spin(t, h, s, "client key of Jane", 20)
	ctx := t.Context()
	for i, state := range []players.State{players.Suspended, players.Open} {
		if _, err := h.SetPlayerState(ctx, operators(words[i], "/v1/players/"+id+"/state", words[i]), id, state, words[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, on := range []bool{false, true} {
		if _, err := h.SetGameState(ctx, operators(words[2+i], "/v1/games/state", words[2+i]), lamplight, on, words[2+i]); err != nil {
			t.Fatal(err)
		}
	}
	var forbidden [][]byte
	for _, plain := range append(words, id, "client key of Jane") {
		forbidden = append(forbidden, []byte(plain), []byte(hex.EncodeToString([]byte(plain))))
	}
	clean := func(where string, b []byte) {
		t.Helper()
		for _, f := range forbidden {
			if bytes.Contains(b, f) {
				t.Errorf("%s holds %q", where, f)
			}
		}
	}

	for _, leaf := range leaves(t, h) {
		clean("a leaf", leaf)
	}
	snapshot, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	err = snapshot.ScanVault(nil, func(r store.Row) error {
		clean("a vault key", r.Key)
		clean("a vault row", r.Value)
		kinds[strings.Split(string(r.Key), "/")[1]]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if kinds["player-id"] != 1 || kinds["player"] != 1 || kinds["subject"] != 1 || kinds["words"] != 2 || kinds["reason"] != 3 { // the third: "first start"
		t.Errorf("the vault holds %v", kinds)
	}
	err = snapshot.ScanRows(nil, func(r store.Row) error {
		clean("a row's key", r.Key)
		clean("a row", r.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
	ref := view(t, h, id).Ref
	h.Close()
	files := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		clean(filepath.Base(path), b)
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}

	// Yet the house finds the player again.
	h = housetest.Open(t, dir)
	if got := view(t, h, id).Ref; got != ref {
		t.Errorf("after the restart %q is %s, was %s", id, got, ref)
	}
	if _, err := h.Player(ctx, strings.ToLower(id)); !errors.Is(err, players.ErrUnknownPlayer) {
		t.Errorf("another spelling: %v", err)
	}
	audit(t, h)
}
