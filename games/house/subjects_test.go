package house_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/store"
)

func record(t testing.TB, h *housetest.House, key, id string, list ...house.Attribute) ledger.Receipt {
	t.Helper()
	r, err := h.RecordSubject(t.Context(), operators(key, "/v1/players/"+id+"/subject", fmt.Sprint(list)), id, list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func known(t testing.TB, h *housetest.House, ref entry.Ref) (list []string) {
	t.Helper()
	err := h.Kept(t.Context(), ref, func(k house.Kept) error {
		list = append(list, fmt.Sprintf("%d %s %s %s", k.Index, k.Attribute, k.State, k.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func closed(t testing.TB, h *housetest.House, id string) {
	t.Helper()
	if _, err := h.SetPlayerState(t.Context(), operators("close "+id, "/v1/players/"+id+"/state", "closed"), id, players.Closed, "he wants to be erased"); err != nil {
		t.Fatal(err)
	}
}

func erase(t *testing.T, h *housetest.House, ref entry.Ref) (ledger.Receipt, error) {
	t.Helper()
	r, err := h.Erasure(t.Context(), ref)
	if err != nil {
		return ledger.Receipt{}, err
	}
	return decide(t, h, r, "anna", "bert")
}

// What is known of a player is in the log as commitments, in the vault under his
// own key, and after two officers have approved it is nowhere any more, not in a
// copy of the vault either once it is old enough. His entries stay.
func TestAPlayerIsRecordedAndErased(t *testing.T) {
	dir := t.TempDir()
	var st store.Store
	open := func() *housetest.House {
		return housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	}
	h := open()
	ctx := t.Context()
	staff(t, h)
	ann, bob := create(t, h, "ann"), create(t, h, "bob")
	first := record(t, h, "first", "ann", house.Attribute{Name: "name", Value: "Ann Example"}, house.Attribute{Name: "email", Value: "ann@example.org"})
	second := record(t, h, "second", "ann", house.Attribute{Name: "email", Value: "ann@example.net"}, house.Attribute{Name: "kyc", Value: "passed P4711XK"})
	other := record(t, h, "other", "bob", house.Attribute{Name: "name", Value: "Bob Example"})
	again, err := h.RecordSubject(ctx, operators("second", "/v1/players/ann/subject", "[{email ann@example.net} {kyc passed P4711XK}]"), "ann", []house.Attribute{{Name: "email", Value: "ann@example.net"}, {Name: "kyc", Value: "passed P4711XK"}})
	if err != nil || again.Index != second.Index {
		t.Errorf("asked for again it is entry %d, %v", again.Index, err)
	}
	want := []string{
		fmt.Sprint(first.Index, " email present ann@example.org"), fmt.Sprint(first.Index, " name present Ann Example"),
		fmt.Sprint(second.Index, " email present ann@example.net"), fmt.Sprint(second.Index, " kyc present passed P4711XK"),
	}
	if got := known(t, h, ann); !slices.Equal(got, want) {
		t.Errorf("of ann: %q", got)
	}
	if got := known(t, h, entry.Ref{}); !slices.Equal(got, append(slices.Clone(want), fmt.Sprint(other.Index, " name present Bob Example"))) {
		t.Errorf("of all: %q", got)
	}
	v, err := h.Subject(ctx, "ann")
	if err != nil || v.Commitments != 4 || len(v.Attributes) != 3 || v.Attributes[0].Value != "ann@example.net" || v.Attributes[2].Attribute != "name" || v.Erased != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	for _, leaf := range leaves(t, h) { // what is random in it is hexadecimal
		for _, word := range []string{"Ann", "example", "P4711XK"} {
			if bytes.Contains(leaf, []byte(word)) && !bytes.Contains(leaf, []byte(housetest.Origin)) {
				t.Errorf("%q is in a leaf: %s", word, leaf)
			}
		}
	}

	// He is erased only when nothing is left to be done with his account.
	early := func() error {
		t.Helper()
		_, err := decide(t, h, &subjects.Erased{Commitments: 4, Player: ann}, "anna", "bert")
		return err
	}
	if _, err := h.Erasure(ctx, ann); !errors.Is(err, house.ErrNotClosed) {
		t.Errorf("proposed while the account is open: %v", err)
	}
	if err := early(); !errors.Is(err, house.ErrNotClosed) {
		t.Errorf("while the account is open: %v", err)
	}
	deposit(t, h, "ann", 100)
	closed(t, h, "ann")
	if _, err := h.Erasure(ctx, ann); !errors.Is(err, house.ErrNotEmpty) || !strings.Contains(err.Error(), "1.00 EUR") {
		t.Errorf("proposed while he has money: %v", err)
	}
	if err := early(); !errors.Is(err, book.ErrBroken) {
		t.Errorf("while he has money: %v", err)
	}
	if _, err := h.Withdraw(ctx, operators("all", "/v1/players/ann/withdrawals", "100"), "ann", money.Money{Amount: 100, Currency: "EUR"}); err != nil {
		t.Fatal(err)
	}
	draft, err := h.Erasure(ctx, ann)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decide(t, h, draft, "anna"); !errors.Is(err, book.ErrBroken) {
		t.Errorf("with one officer: %v", err)
	}
	backup := stored(t, st)
	r, err := erase(t, h, ann)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := decide(t, h, &subjects.Erased{Commitments: 4, Player: ann}, "anna", "bert"); err != nil || again.Index != r.Index {
		t.Errorf("handed in again: entry %d, %v", again.Index, err)
	}
	if got := known(t, h, ann); len(got) != 4 || strings.Contains(strings.Join(got, " "), "Ann") || !strings.Contains(got[0], "erased") {
		t.Errorf("after entry %d: %q", r.Index, got)
	}
	if _, err := h.Player(ctx, "ann"); !errors.Is(err, players.ErrUnknownPlayer) {
		t.Errorf("his id: %v", err)
	}
	if v, err := h.SubjectOf(ctx, ann); err != nil || v.Erased != r.Index {
		t.Errorf("%+v, %v", v, err)
	}
	left := stored(t, st)
	gone := 0
	for key := range backup {
		if left[key] == nil {
			gone++
		}
	}
	if gone != 3+4+1 { // by which he is found, what was recorded, why his account was closed
		t.Errorf("%d rows are gone", gone)
	}
	if got := known(t, h, bob); len(got) != 1 || !strings.HasSuffix(got[0], "present Bob Example") {
		t.Errorf("of bob: %q", got)
	}

	// Another one of the same id is nobody's heir.
	if _, err := h.CreatePlayer(ctx, operators("heir", "/v1/players", "ann"), "ann", "EUR"); err != nil {
		t.Fatal(err)
	}
	heir := view(t, h, "ann")
	if heir.Ref == ann || heir.State != players.Open || heir.Balance != 0 {
		t.Errorf("%+v", heir)
	}
	if _, err := erase(t, h, ann); !errors.Is(err, players.ErrErased) {
		t.Errorf("a second time: %v", err)
	}

	// Who puts the old rows back finds them to open for one period more.
	readable := func() bool {
		t.Helper()
		h.Close()
		h = open()
		err := h.OpenRows(ctx, ann, backup)
		if err != nil && !errors.Is(err, house.ErrPeriodOver) {
			t.Fatal(err)
		}
		return err == nil
	}
	for i, want := range []bool{true, true, false} {
		if got := readable(); got != want {
			t.Errorf("in period %d what was erased in period 0 opens: %v", i, got)
		}
		rewrap(t, h)
	}
	if got := known(t, h, bob); len(got) != 1 || !strings.HasSuffix(got[0], "present Bob Example") {
		t.Errorf("of bob: %q", got)
	}
	audit(t, h)
}

// A row that is not there, or is another one's, is missing and not erased.
func TestWhatIsTakenFromTheVaultIsMissed(t *testing.T) {
	var st store.Store
	h := housetest.Open(t, t.TempDir(), func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	ann, bob := create(t, h, "ann"), create(t, h, "bob")
	record(t, h, "ann", "ann", house.Attribute{Name: "name", Value: "Ann"})
	before := stored(t, st)
	record(t, h, "email", "ann", house.Attribute{Name: "email", Value: "a@example.org"})
	record(t, h, "bob", "bob", house.Attribute{Name: "name", Value: "Bob"})
	var email string
	for key := range stored(t, st) {
		if strings.HasPrefix(key, "vault/value/") && before[key] == nil && strings.HasPrefix(key, prefixOf(before, "vault/value/")) {
			email = key
		}
	}
	put := func(rows map[string][]byte) {
		t.Helper()
		_, err := h.Ledger.Update(t.Context(), ledger.Command{Run: func(tx *ledger.Tx) error {
			for key, value := range rows {
				tx.PutVault(key, value)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	states := func(ref entry.Ref) string {
		t.Helper()
		var words []string
		for _, k := range known(t, h, ref) {
			words = append(words, strings.Fields(k)[2])
		}
		return strings.Join(words, " ")
	}
	if got := states(ann) + " " + states(bob); got != "present present present" {
		t.Fatalf("at first %s", got)
	}
	all := stored(t, st)
	put(map[string][]byte{email: nil})
	if got := states(ann); got != "present missing" {
		t.Errorf("without a row: %s", got)
	}
	for key, value := range before {
		if strings.HasPrefix(key, "vault/value/") {
			put(map[string][]byte{email: value})
		}
	}
	if got := states(ann); got != "present missing" {
		t.Errorf("with another one: %s", got)
	}
	put(map[string][]byte{email: all[email]})
	for key := range maps.Clone(before) {
		if strings.HasPrefix(key, "vault/subject/") {
			put(map[string][]byte{key: nil})
		}
	}
	if got := states(ann) + " " + states(bob); got != "missing missing missing" {
		t.Errorf("without their keys: %s", got)
	}
	put(all)
	if got := states(ann) + " " + states(bob); got != "present present present" {
		t.Errorf("with all of it back: %s", got)
	}
	if v, err := h.Subject(t.Context(), "bob"); err != nil || v.Attributes[0].Value != "Bob" {
		t.Errorf("%+v, %v", v, err)
	}
	many := make([]house.Attribute, subjects.Most)
	for i := range many {
		many[i] = house.Attribute{Name: fmt.Sprintf("a-%d", i), Value: "x"}
	}
	for i, bad := range []house.Attribute{{Name: "name"}, {Name: "name", Value: strings.Repeat("x", subjects.ValueMost+1)}, {Name: "name", Value: "a\x00b"}, {Name: "name", Value: "\xff"}, {Name: "Name", Value: "x"}} {
		size := h.Ledger.Signed().Size
		if _, err := h.RecordSubject(t.Context(), operators(fmt.Sprint("bad ", i), "/v1/players/bob/subject", "bad"), "bob", []house.Attribute{bad}); err == nil || h.Ledger.Signed().Size != size {
			t.Errorf("%.40q was recorded, and no disclosure of it can be read: %v", bad, err)
		}
	}
	if _, err := h.RecordSubject(t.Context(), operators("many", "/v1/players/bob/subject", "many"), "bob", many); !errors.Is(err, house.ErrAttributes) {
		t.Errorf("33 attributes: %v", err)
	}
	audit(t, h)
}

// prefixOf is what the key of one of the rows begins with, up to its last part.
func prefixOf(rows map[string][]byte, kind string) string {
	for key := range rows {
		if strings.HasPrefix(key, kind) {
			return key[:strings.LastIndexByte(key, '/')]
		}
	}
	return "nothing"
}

// A house that was restored has one's key and not the way to him from his id, as a
// back-up may that was made while rows were wrapped anew. His id was given to somebody
// new since; when he is erased that one stays who he is.
func TestAnErasureLeavesWhoHasTheIDSince(t *testing.T) {
	dir := t.TempDir()
	var st store.Store
	open := func() *housetest.House {
		return housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	}
	h := open()
	staff(t, h)
	old := create(t, h, "ann")
	closed(t, h, "ann")
	before := stored(t, st)
	rewrap(t, h)
	rewrap(t, h)
	putBack(t, h, before, "player-id")
	h.Close()
	h = open()
	if _, err := h.CreatePlayer(t.Context(), operators("again", "/v1/players", "ann"), "ann", "EUR"); err != nil {
		t.Fatal(err)
	}
	heir := view(t, h, "ann").Ref
	if _, err := erase(t, h, old); err != nil {
		t.Fatal(err)
	}
	h.Close()
	h = open()
	if got := view(t, h, "ann").Ref; got != heir {
		t.Errorf("the id leads to %s, expected %s", got, heir)
	}
	audit(t, h)
}
