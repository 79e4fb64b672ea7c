package house_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/store"
)

// A ratchet goes forward, each by itself and any number of steps at once, and
// never back.
func TestARatchetGoesForwardOnly(t *testing.T) {
	first := house.Ratchet{Key: [32]byte{1}}
	seen := map[[32]byte]bool{}
	step := first
	for period := range uint64(5) {
		at, err := first.At(period)
		if err != nil || at.Period != period || seen[at.Key] {
			t.Fatalf("period %d: %v, %v", period, at, err)
		}
		seen[at.Key] = true
		if step, err = step.At(period); err != nil || step != at {
			t.Fatalf("by steps it is %v, at once %v, %v", step, at, err)
		}
	}
	if _, err := step.At(3); !errors.Is(err, house.ErrPeriodOver) {
		t.Errorf("from period 4 back to 3: %v", err)
	}
	if _, err := first.At(1 << 31); err == nil || errors.Is(err, house.ErrPeriodOver) {
		t.Errorf("to a period of a made-up row: %v", err)
	}
	if again, err := house.ParseRatchet(step.Text()); err != nil || again != step {
		t.Errorf("%v is read as %v, %v", step, again, err)
	}
}

// stored returns the vault as it is in the store.
func stored(t testing.TB, st store.Store) map[string][]byte {
	t.Helper()
	snapshot, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	rows := map[string][]byte{}
	err = snapshot.ScanVault(nil, func(r store.Row) error {
		rows[string(r.Key)] = slices.Clone(r.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func putBack(t testing.TB, h *housetest.House, rows map[string][]byte, kind string) {
	t.Helper()
	_, err := h.Ledger.Update(t.Context(), ledger.Command{Run: func(tx *ledger.Tx) error {
		for key, value := range rows {
			if strings.HasPrefix(key, "vault/"+kind+"/") {
				tx.PutVault(key, value)
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func rewrap(t testing.TB, h *housetest.House) house.RewrappedVault {
	t.Helper()
	done, err := h.Rewrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// Wrapping the vault anew leaves every player known, and a copy of the vault from
// two periods before is of no use with the keys that the house has then.
func TestTheVaultIsWrappedAnewAndCopiesOfItGrowOld(t *testing.T) {
	dir := t.TempDir()
	var st store.Store
	open := func() *housetest.House {
		return housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	}
	h := open()
	refs := map[string]entry.Ref{}
	for i := range 300 { // more than one exchange's worth
		id := fmt.Sprintf("player-%d", i)
		refs[id] = create(t, h, id)
	}
	known := func() {
		t.Helper()
		for id, ref := range refs {
			if got := view(t, h, id).Ref; got != ref {
				t.Fatalf("%s is %s, was %s", id, got, ref)
			}
		}
	}
	before := stored(t, st)
	done := rewrap(t, h)
	if done.Period != 1 || done.Subjects != 300 || done.Lost != 0 {
		t.Errorf("%+v", done)
	}
	var said subjects.Rewrapped
	if err := entry.Decode(leaves(t, h)[done.Index], &said); err != nil || said.Period != 1 || said.Subjects != 300 {
		t.Errorf("entry %d says %+v, %v", done.Index, said, err)
	}
	for key, row := range stored(t, st) {
		if strings.HasPrefix(key, "vault/subject/") || strings.HasPrefix(key, "vault/player-id/") {
			if string(row[:4]) != "\x00\x00\x00\x01" || string(row) == string(before[key]) {
				t.Errorf("%s is of period %x", key, row[:4])
			}
		}
	}
	h.Close()
	h = open()
	known()

	// The period before is at hand still.
	putBack(t, h, before, "player-id")
	h.Close()
	h = open()
	known()

	// Wrapped again it is of the present, and after the next time it is not.
	if done := rewrap(t, h); done.Period != 2 || done.Lost != 0 {
		t.Errorf("%+v", done)
	}
	known()
	putBack(t, h, before, "player-id")
	h.Close()
	h = open()
	if _, err := h.Player(t.Context(), "player-7"); !errors.Is(err, house.ErrPeriodOver) {
		t.Errorf("a row of period 0 in period 2: %v", err)
	}
	if done := rewrap(t, h); done.Period != 3 || done.Subjects != 300 || done.Lost != 300 {
		t.Errorf("with 300 rows that do not open: %+v", done)
	}
	// An id that leads to nobody can be given again.
	if _, err := h.CreatePlayer(t.Context(), operators("again", "/v1/players", "player-8"), "player-8", "EUR"); err != nil {
		t.Fatal(err)
	}
	if got := view(t, h, "player-8").Ref; got == refs["player-8"] {
		t.Error("a new player has an old reference")
	}
	audit(t, h)
}

// A house is opened with an older key file than its log, and with another house's.
func TestKeysOfPeriodsCatchUpWithTheLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vault-period.key")
	h := housetest.Open(t, dir)
	ref := create(t, h, "ann")
	rewrap(t, h)
	rewrap(t, h)
	h.Close()
	kept, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(kept), "1 ") {
		t.Fatalf("the file in period 2 is %q, %v", kept, err)
	}
	if err := os.Remove(file); err != nil { // so the first key is there again
		t.Fatal(err)
	}
	h = housetest.Open(t, dir)
	if got := view(t, h, "ann").Ref; got != ref {
		t.Error("another player")
	}
	h.Close()
	if again, err := os.ReadFile(file); err != nil || string(again) != string(kept) {
		t.Errorf("the file is %q, was %q, %v", again, kept, err)
	}
	other := house.Ratchet{Period: 1, Key: [32]byte{9}}
	if err := os.WriteFile(file, other.Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, dir); !strings.Contains(err.Error(), "vault-period.key is not this house's") {
		t.Errorf("with the key of another house: %v", err)
	}
}

// What was begun is finished: by the process that starts next, without being asked.
func TestAnInterruptedRewrappingGoesOn(t *testing.T) {
	dir := t.TempDir()
	var turns int
	stop := errors.New("the machine is switched off")
	h := housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { lc.Fatal = func(error) {} })
	for i := range 300 {
		create(t, h, fmt.Sprintf("player-%d", i))
	}
	h.Close()
	h = housetest.Open(t, dir, func(_ *ledger.Config, hc *house.Config) {
		keep := hc.KeepVaultOldest
		hc.KeepVaultOldest = func(r house.Ratchet) error {
			if turns++; turns == 2 {
				return stop
			}
			return keep(r)
		}
	})
	rewrap(t, h)
	if _, err := h.Rewrap(t.Context()); err != nil || turns != 1 { // period 0 ended: its key was the file's
		t.Fatalf("%d, %v", turns, err)
	}
	if _, err := h.Rewrap(t.Context()); !errors.Is(err, stop) { // the entry is there, the key is not given up
		t.Fatal(err)
	}
	h.Close()
	h = housetest.Open(t, dir)
	h.Close()
	if b, err := os.ReadFile(filepath.Join(dir, "vault-period.key")); err != nil || !strings.HasPrefix(string(b), "2 ") {
		t.Errorf("the next start has left %q, %v", b, err)
	}

	// The rows of one period and of the next, and the mark that it is under way.
	h = housetest.Open(t, dir)
	if err := h.BeginRewrap(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	h.Close()
	h = housetest.Open(t, dir)
	for h.Period(t.Context()) != 4 {
		time.Sleep(time.Millisecond)
	}
	for i := range 300 {
		view(t, h, fmt.Sprintf("player-%d", i))
	}
	audit(t, h)
}

// A house from before players had keys of their own moves their rows at its first
// start, while it plays.
func TestAnOlderHousesVaultIsMoved(t *testing.T) {
	dir := t.TempDir()
	var st store.Store
	h := housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	ctx := t.Context()
	refs := map[string]entry.Ref{}
	for _, id := range []string{"ann", "bob", "cid"} {
		refs[id] = create(t, h, id)
	}
	change := func(id string, state players.State, words string) {
		t.Helper()
		if _, err := h.SetPlayerState(ctx, operators(words, "/v1/players/"+id+"/state", words), id, state, words); err != nil {
			t.Fatal(err)
		}
	}
	change("ann", players.Suspended, "asked for a pause")
	change("ann", players.Open, "the pause is over")
	if err := h.MakeOlder(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(stored(t, st)); n != 1+2*3+2+1 { // check, two rows a player, two reasons and that of the first start
		t.Errorf("an older vault has %d rows", n)
	}
	h.Close()

	h = housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	change("bob", players.Suspended, "said so by letter") // may be before or after his rows are moved
	for h.Period(ctx) != 1 {
		time.Sleep(time.Millisecond)
	}
	for id, ref := range refs {
		if got := view(t, h, id).Ref; got != ref {
			t.Errorf("%s is %s, was %s", id, got, ref)
		}
	}
	if words, err := h.Words(refs["ann"]); err != nil || len(words) != 2 || !slices.Contains(words, "asked for a pause") {
		t.Errorf("of ann it has %q, %v", words, err)
	}
	if words, err := h.Words(refs["bob"]); err != nil || len(words) != 1 {
		t.Errorf("of bob it has %q, %v", words, err)
	}
	kinds := map[string]int{}
	for key := range stored(t, st) {
		kinds[strings.Split(key, "/")[1]]++
	}
	if kinds["subject"] != 3 || kinds["words"] != 3 || kinds["reason"] != 1 || kinds["rewrapping"] != 0 || kinds["period"] != 1 {
		t.Errorf("the vault holds %v", kinds)
	}
	h.Close()
	h = housetest.Open(t, dir)
	view(t, h, "cid")
	audit(t, h)
}

// sliced is a store that takes so many slices of a vault's move, and at the next one
// the power goes: reached is closed, and once it is released nothing is committed.
type sliced struct {
	store.Store
	left              int
	reached, released chan struct{}
}

var errPower = errors.New("the power is gone")

func (s *sliced) Commit(ctx context.Context, b *store.Batch) error {
	moves := slices.ContainsFunc(b.Vault, func(r store.Row) bool {
		return bytes.HasPrefix(r.Key, []byte("vault/player-id/")) || bytes.HasPrefix(r.Key, []byte("vault/words/"))
	})
	if moves {
		if s.left--; s.left == -1 {
			close(s.reached)
			<-s.released
		}
		if s.left < 0 {
			return errPower
		}
	}
	return s.Store.Commit(ctx, b)
}

// The move of an older house's rows is cut off after each slice of it, again and
// again: whoever is known stays known, what was said about him opens, and the move
// comes to its end.
func TestAnOlderHousesMoveIsCutOffAfterEachSlice(t *testing.T) {
	const people, changes = 8, 17 // slices are one for each of the people, and two for more than 128 reasons
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	ctx := t.Context()
	refs := map[string]entry.Ref{}
	said := map[string][]string{}
	for i := range people {
		id := fmt.Sprintf("player-%d", i)
		refs[id] = create(t, h, id)
		for n := range changes {
			words, state := fmt.Sprintf("%s was looked at, time %d", id, n), players.Suspended
			if n%2 == 1 {
				state = players.Open
			}
			if _, err := h.SetPlayerState(ctx, operators(words, "/v1/players/"+id+"/state", words), id, state, words); err != nil {
				t.Fatal(err)
			}
			said[id] = append(said[id], words)
		}
	}
	if err := h.MakeOlder(ctx); err != nil {
		t.Fatal(err)
	}
	h.Close()

	// older counts the rows that are in the old form still, of each kind.
	older := func(rows map[string][]byte) (ids, reasons int) {
		for key, row := range rows {
			if strings.HasPrefix(key, "vault/player-id/") && len(row) == 12+16+16 {
				ids++
			}
			if strings.HasPrefix(key, "vault/reason/") {
				reasons++
			}
		}
		return ids, reasons - 1 // that of the first start is the house's own
	}
	check := func(h *housetest.House) {
		t.Helper()
		for id, ref := range refs {
			if got := view(t, h, id).Ref; got != ref {
				t.Errorf("%s is %s, was %s", id, got, ref)
			}
			if got, err := h.Reasons(ref); err != nil || !slices.Equal(got, said[id]) {
				t.Errorf("about %s it has %q, %v", id, got, err)
			}
		}
	}
	var cuts []string
	for done := false; !done; {
		cut := &sliced{left: 1, reached: make(chan struct{}), released: make(chan struct{})}
		h := housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) {
			cut.Store, lc.Store = lc.Store, cut
			lc.Fatal = func(error) {}
		})
		for !done {
			select {
			case <-cut.reached:
			case <-time.After(time.Millisecond):
				done = h.Period(ctx) == 1
				continue
			}
			break
		}
		check(h)
		rows := stored(t, cut.Store)
		ids, reasons := older(rows)
		cuts = append(cuts, fmt.Sprint(ids, " ", reasons))
		if n := len(cuts); done && (ids != 0 || reasons != 0 || rows["vault/rewrapping"] != nil) || n > people+2 {
			t.Fatalf("after %d starts players and reasons in the old form are %s", n, cuts)
		}
		close(cut.released)
		h.Close()
	}
	if want := people + 2; len(cuts) != want || !slices.Contains(cuts, "0 8") {
		t.Errorf("players and reasons in the old form were, start by start, %s: want %d starts", cuts, want)
	}
	h = housetest.Open(t, dir)
	check(h)
	audit(t, h)
}

// The house wraps its vault anew when the time has come.
func TestTheVaultIsWrappedAnewByItself(t *testing.T) {
	dir := t.TempDir()
	h := housetest.Open(t, dir)
	create(t, h, "ann")
	h.Close()
	h = housetest.Open(t, dir, func(_ *ledger.Config, hc *house.Config) { hc.VaultPeriod = 10 * time.Millisecond })
	for h.Period(t.Context()) < 3 {
		time.Sleep(time.Millisecond)
	}
	h.Close()
	// At leisure: who is slow sees two periods end while he reads one row.
	h = housetest.Open(t, dir)
	view(t, h, "ann")
	audit(t, h)
}
