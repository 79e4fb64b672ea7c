package rounds_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"countroom/games/rounds"
	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

var (
	ann = entry.Ref{0xaa}
	bob = entry.Ref{0xbb}
)

const (
	quay  = "lamplight-quay"
	mill  = "mill-race"
	first = `{"version":"1"}`
	later = `{"version":"2"}`
)

func enabled(game, definition string) *rounds.GameEnabled {
	return &rounds.GameEnabled{Game: game, Engine: "slots", Definition: []byte(definition), Maths: sha256.Sum256([]byte(definition)), Release: strings.Trim(definition, `{}":version`)}
}

func disabled(game string) *rounds.GameDisabled { return &rounds.GameDisabled{Game: game} }

// settled is round n of a player at a game whose definition stands in that
// entry.
func settled(player entry.Ref, game string, definition, n uint64) *rounds.Settled {
	return &rounds.Settled{
		Player: player, Game: game, Enabled: definition, Draw: rounds.Draw{N: n},
		Stake: money.Money{Amount: 100, Currency: "EUR"}, Payout: money.Money{Amount: 40, Currency: "EUR"},
	}
}

// Ann and Bob play two games, counted for each alone. The quay is taken out of
// play and comes back with another definition; Ann's rounds go on counting.
func story() []entry.Record {
	return []entry.Record{
		enabled(quay, first),
		settled(ann, quay, 0, 1),
		settled(bob, quay, 0, 1),
		settled(ann, quay, 0, 2),
		enabled(mill, first),
		settled(ann, mill, 4, 1),
		disabled(quay),
		settled(ann, mill, 4, 2),
		enabled(quay, later),
		settled(ann, quay, 8, 3),
		disabled(mill),
	}
}

// tell folds entries from entry 0 on.
func tell(t *testing.T, entries ...entry.Record) book.Memory {
	t.Helper()
	rows := book.Memory{}
	for i, r := range entries {
		if err := rounds.Fold(rows, uint64(i), r); err != nil {
			t.Fatalf("entry %d, %s: %v", i, r.Type(), err)
		}
	}
	return rows
}

var toldRows = fmt.Sprintf(`game/lamplight-quay {"enabled":8,"maths":"%[1]x","on":true}
game/mill-race {"enabled":4,"maths":"%[2]x","on":false}
games {"ids":["lamplight-quay","mill-race"]}
release/lamplight-quay/1 {"maths":"%[2]x"}
release/lamplight-quay/2 {"maths":"%[1]x"}
release/mill-race/1 {"maths":"%[2]x"}
round/aa000000000000000000000000000000/lamplight-quay {"last":9,"n":3}
round/aa000000000000000000000000000000/mill-race {"last":7,"n":2}
round/bb000000000000000000000000000000/lamplight-quay {"last":2,"n":1}`, sha256.Sum256([]byte(later)), sha256.Sum256([]byte(first)))

func TestStory(t *testing.T) {
	rows := tell(t, story()...)
	if got := booktest.Written(t, rounds.Kinds, rows); got != toldRows {
		t.Errorf("rows:\n%s\nwant:\n%s", got, toldRows)
	}
	for _, c := range []struct {
		player entry.Ref
		game   string
		want   uint64
	}{{ann, quay, 4}, {ann, mill, 3}, {bob, quay, 2}, {bob, mill, 1}} {
		if got := rounds.Next(rows, c.player, c.game); got != c.want {
			t.Errorf("next round of %s at %s: %d, want %d", c.player, c.game, got, c.want)
		}
	}
	for game, want := range map[string]error{quay: nil, mill: rounds.ErrGameDisabled, "nowhere": rounds.ErrUnknownGame} {
		if g, err := rounds.Playable(rows, game); !errors.Is(err, want) || (g == nil) != (want != nil) {
			t.Errorf("%s: %v, %v; want %v", game, g, err, want)
		}
	}
}

func TestBrokenRules(t *testing.T) {
	// round is Ann's next at the quay, spoilt.
	round := func(spoil func(*rounds.Settled)) entry.Record {
		r := settled(ann, quay, 8, 4)
		spoil(r)
		return r
	}
	for name, r := range map[string]entry.Record{
		"to be spoilt":    round(func(*rounds.Settled) {}),
		"of no payout":    round(func(r *rounds.Settled) { r.Payout.Amount = 0 }),
		"of a cent":       round(func(r *rounds.Settled) { r.Stake.Amount, r.Payout.Amount = 1, 0 }),
		"of a new player": settled(entry.Ref{0xcc}, quay, 8, 1),
	} {
		if err := rounds.Fold(tell(t, story()...), 11, r); err != nil {
			t.Fatalf("a good round %s: %v", name, err)
		}
	}
	other := enabled("other", first)
	other.Definition[2]++
	unhashed := enabled("other", first)
	unhashed.Maths = [32]byte{}
	again := enabled(mill, later)
	again.Release = "1"
	swapped := enabled(mill, later)
	swapped.Maths = sha256.Sum256([]byte(first))
	for name, c := range map[string]struct {
		r    entry.Record
		rule string
	}{
		"enabled twice":                      {enabled(quay, later), "game-state"},
		"enabled again with another":         {enabled(quay, first), "game-state"},
		"disabled twice":                     {disabled(mill), "game-state"},
		"unknown game disabled":              {disabled("nowhere"), "game-state"},
		"definition changed by a bit":        {other, "game-maths"},
		"no hash":                            {unhashed, "game-maths"},
		"hash of the definition before":      {swapped, "game-maths"},
		"another definition of a release":    {again, "game-release"},
		"round at an unknown game":           {settled(ann, "nowhere", 8, 1), "game-enabled"},
		"round at a disabled game":           {settled(ann, mill, 4, 3), "game-enabled"},
		"round by the definition before":     {round(func(r *rounds.Settled) { r.Enabled = 0 }), "game-definition"},
		"round by another game's definition": {round(func(r *rounds.Settled) { r.Enabled = 4 }), "game-definition"},
		"round by a definition to come":      {round(func(r *rounds.Settled) { r.Enabled = 12 }), "game-definition"},
		"round number skipped":               {round(func(r *rounds.Settled) { r.Draw.N = 5 }), "round-number"},
		"round number again":                 {round(func(r *rounds.Settled) { r.Draw.N = 3 }), "round-number"},
		"round number from 0":                {round(func(r *rounds.Settled) { r.Draw.N = 0 }), "round-number"},
		"another player's round number":      {round(func(r *rounds.Settled) { r.Player = bob }), "round-number"},
		"first round numbered 0":             {settled(entry.Ref{0xcc}, quay, 8, 0), "round-number"},
		"a second step":                      {round(func(r *rounds.Settled) { r.Draw.Step = 1 }), "round-step"},
		"no stake":                           {round(func(r *rounds.Settled) { r.Stake.Amount = 0 }), "stake-and-payout"},
		"negative stake":                     {round(func(r *rounds.Settled) { r.Stake.Amount = -1 }), "stake-and-payout"},
		"negative payout":                    {round(func(r *rounds.Settled) { r.Payout.Amount = -1 }), "stake-and-payout"},
		"payout in other money":              {round(func(r *rounds.Settled) { r.Payout.Currency = "JPY" }), "stake-and-payout"},
		"stake in other money":               {round(func(r *rounds.Settled) { r.Stake.Currency = "JPY" }), "stake-and-payout"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := tell(t, story()...)
			booktest.Breaks(t, rounds.Fold(rows, 11, c.r), c.rule)
			if got := booktest.Written(t, rounds.Kinds, rows); got != toldRows {
				t.Errorf("the refused entry changed the rows:\n%s", got)
			}
		})
	}
}

// A house has at most GamesMost games; those it has may still come and go.
func TestAsManyGamesAsThereCanBe(t *testing.T) {
	rows := book.Memory{}
	names := make([]string, rounds.GamesMost)
	for i := range names {
		names[i] = fmt.Sprint("game-", i)
		if err := rounds.Fold(rows, uint64(i), enabled(names[i], first)); err != nil {
			t.Fatal(err)
		}
	}
	if all := book.Get[rounds.Games](rows, rounds.GamesKey); !slices.Equal(all.IDs, names) {
		t.Fatalf("the games are listed as %v", all.IDs)
	}
	booktest.Written(t, rounds.Kinds, rows) // the longest list can be stored and read
	booktest.Breaks(t, rounds.Fold(rows, 2000, enabled("one-more", first)), "games-most")
	for _, r := range []entry.Record{disabled(names[7]), enabled(names[7], later)} {
		if err := rounds.Fold(rows, 2001, r); err != nil {
			t.Error(err)
		}
	}
	if all := book.Get[rounds.Games](rows, rounds.GamesKey); !slices.Equal(all.IDs, names) {
		t.Errorf("a game that came back changed the list: %v", all.IDs)
	}
	booktest.Breaks(t, rounds.Fold(rows, 2002, enabled("one-more", first)), "games-most")
}

func TestResultIsPayoutLessStake(t *testing.T) {
	for _, c := range []struct{ stake, payout, want int64 }{{100, 0, -100}, {100, 100, 0}, {100, 250, 150}, {1, money.Max, money.Max - 1}, {money.Max, 0, -money.Max}} {
		r := &rounds.Settled{Stake: money.Money{Amount: c.stake, Currency: "EUR"}, Payout: money.Money{Amount: c.payout, Currency: "EUR"}}
		if got := r.Result(); got != (money.Money{Amount: c.want, Currency: "EUR"}) {
			t.Errorf("stake %d, payout %d: %v", c.stake, c.payout, got)
		}
	}
}

// LeafMax is told to the byte by a leaf written by hand with each value at its
// longest; rounds as they are played stay below.
func TestLeafMaxIsTheLongest(t *testing.T) {
	const most = "9007199254740991"
	for _, c := range []struct {
		game            string
		drawn, outcomes int
	}{{quay, 5, 300}, {"g", 0, 1}, {strings.Repeat("x", 32), 160, 20000}} {
		drawn := strings.TrimSuffix(strings.Repeat("[4294967295,4294967295],", c.drawn), ",")
		outcome := strings.Repeat("7", c.outcomes)
		amount := `{"amount":` + most + `,"currency":"EUR"}`
		posting := `","amount":-` + most + `,"balance":-` + most + `,"currency":"EUR"}`
		player := strings.Repeat("0", 32)
		hash := strings.Repeat("0", 64)
		const uuid = "00000000-0000-4000-8000-000000000000"
		leaf := `{"actor":"session/` + uuid + `","at":"9999-12-31T23:59:59.999999Z",` +
			`"draw":{"epoch":` + most + `,"n":` + most + `,"number":` + most + `,"r":"` + hash + `","step":` + most + `,"values":[` + drawn + `]},` +
			`"enabled":` + most + `,"fingerprint":"0123456789abcdef0123456789abcdef","game":"` + c.game + `","id":"` + uuid + `","key":"` + hash + `",` +
			`"outcome":` + outcome + `,"payout":` + amount + `,"player":"` + player + `",` +
			`"postings":[{"account":"house/games/` + c.game + posting + `,{"account":"player/` + player + `/cash` + posting + `],` +
			`"stake":` + amount + `,"type":"round.settled"}`
		if err := entry.Decode([]byte(leaf), new(rounds.Settled)); err != nil {
			t.Fatalf("what is written by hand is no leaf: %v", err)
		}
		bound, err := rounds.LeafMax(c.game, c.drawn, c.outcomes)
		if err != nil || bound != uint64(len(leaf)) {
			t.Errorf("%s: LeafMax is %d, %v; the longest leaf has %d bytes", c.game, bound, err, len(leaf))
		}
	}
}

func TestRoundsStayBelowLeafMax(t *testing.T) {
	const drawn, outcomes = 60, 900
	bound, err := rounds.LeafMax(quay, drawn, outcomes)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	longest := uint64(0)
	for range 2000 {
		leaf, err := entry.Append(nil, aRound(random, drawn, outcomes))
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, uint64(len(leaf)))
	}
	if longest >= bound {
		t.Errorf("a round of %d bytes, LeafMax is %d", longest, bound)
	}
	if fewer, err := rounds.LeafMax(quay, drawn-1, outcomes); err != nil || fewer >= bound {
		t.Errorf("one draw fewer: %d, %v; with it %d", fewer, err, bound)
	}
	if shorter, err := rounds.LeafMax(quay, drawn, outcomes-1); err != nil || shorter != bound-1 {
		t.Errorf("one byte of outcome fewer: %d, %v; with it %d", shorter, err, bound)
	}
	if none, err := rounds.LeafMax(quay, drawn, 0); err != nil || none == 0 {
		t.Errorf("no outcome: %d, %v", none, err)
	}
}

// aRound is a round by the rules, its numbers of any length.
func aRound(random *rand.Rand, drawn, outcomes int) *rounds.Settled {
	upTo := func(most uint64) uint64 { return random.Uint64N(most+1) >> random.UintN(53) }
	var words [32]byte
	for i := range words {
		words[i] = byte(random.Uint32())
	}
	session, player := entry.NewUUID([16]byte(words[:16])), entry.Ref(words[16:])
	r := &rounds.Settled{
		Header: entry.Header{
			Actor: "session/" + session.String(), At: entry.Time(upTo(1 << 52)), ID: session,
			Request: entry.Request{Key: words, Fingerprint: [16]byte(words[:16])},
		},
		Draw:    rounds.Draw{Epoch: upTo(money.Max), N: upTo(money.Max), Number: upTo(money.Max), R: words},
		Enabled: upTo(money.Max), Game: quay, Outcome: bytes.Repeat([]byte("1"), 1+random.IntN(outcomes)),
		Payout: money.Money{Amount: int64(upTo(money.Max)), Currency: "EUR"}, Player: player,
		Stake: money.Money{Amount: int64(upTo(money.Max)), Currency: "EUR"},
	}
	for range random.IntN(drawn + 1) {
		v := random.Uint32()
		r.Draw.Values = append(r.Draw.Values, rounds.Drawn{Range: v, Value: v / 2})
	}
	result := r.Result()
	r.Postings = []money.Posting{
		{Account: "house/games/" + quay, Amount: -result.Amount, Balance: -int64(upTo(money.Max)), Currency: "EUR"},
		{Account: "player/" + player.String() + "/cash", Amount: result.Amount, Balance: int64(upTo(money.Max)), Currency: "EUR"},
	}
	return r
}

func TestLeafMaxOfWhatCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		game            string
		drawn, outcomes int
	}{
		"game's name too long": {strings.Repeat("x", 33), 5, 300},
		"too many integers":    {quay, rounds.MaxDrawn + 1, 300},
		"outcome too long":     {quay, 5, entry.MaxSize},
	} {
		if n, err := rounds.LeafMax(c.game, c.drawn, c.outcomes); err == nil {
			t.Errorf("%s: %d", name, n)
		}
	}
}
