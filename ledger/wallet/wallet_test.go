package wallet_test

import (
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
)

var (
	ann = entry.Ref{0xaa}
	bob = entry.Ref{0xbb}
)

func eur(amount int64) money.Money { return money.Money{Amount: amount, Currency: "EUR"} }
func jpy(amount int64) money.Money { return money.Money{Amount: amount, Currency: "JPY"} }

// deposit and withdrawal are written by hand: the balances are those after the
// posting, the cashier's and the player's.
func deposit(player entry.Ref, m money.Money, cashier, cash int64) *wallet.Deposited {
	return &wallet.Deposited{Movement: wallet.Movement{Amount: m, Player: player, Postings: []money.Posting{
		{Account: "house/cashier", Amount: -m.Amount, Balance: cashier, Currency: m.Currency},
		{Account: "player/" + player.String() + "/cash", Amount: m.Amount, Balance: cash, Currency: m.Currency},
	}}}
}

func withdrawal(player entry.Ref, m money.Money, cash, cashier int64) *wallet.Withdrawn {
	return &wallet.Withdrawn{Movement: wallet.Movement{Amount: m, Player: player, Postings: []money.Posting{
		{Account: "player/" + player.String() + "/cash", Amount: -m.Amount, Balance: cash, Currency: m.Currency},
		{Account: "house/cashier", Amount: m.Amount, Balance: cashier, Currency: m.Currency},
	}}}
}

// Two players, two currencies; Bob takes out all he has.
func story() []entry.Record {
	return []entry.Record{
		deposit(ann, eur(500), -500, 500),
		deposit(bob, jpy(200), -200, 200),
		withdrawal(ann, eur(120), 380, -380),
		deposit(bob, eur(3), -383, 3),
		withdrawal(bob, jpy(200), 0, 0),
		deposit(ann, eur(1), -384, 381),
	}
}

func tell(t *testing.T, entries ...entry.Record) book.Memory {
	t.Helper()
	rows := book.Memory{}
	for i, r := range entries {
		if err := wallet.Fold(rows, r); err != nil {
			t.Fatalf("entry %d, %s: %v", i, r.Type(), err)
		}
	}
	return rows
}

const toldRows = `wallet/house/cashier/EUR {"balance":-384}
wallet/house/cashier/JPY {"balance":0}
wallet/player/aa000000000000000000000000000000/cash/EUR {"balance":381}
wallet/player/bb000000000000000000000000000000/cash/EUR {"balance":3}
wallet/player/bb000000000000000000000000000000/cash/JPY {"balance":0}`

func TestStory(t *testing.T) {
	rows := tell(t, story()...)
	if got := booktest.Written(t, wallet.Kinds, rows); got != toldRows {
		t.Errorf("rows:\n%s\nwant:\n%s", got, toldRows)
	}
	for _, c := range []struct {
		account  string
		currency money.Currency
		want     int64
	}{
		{wallet.Cash(ann), "EUR", 381}, {wallet.Cash(ann), "JPY", 0}, {wallet.Cash(bob), "JPY", 0},
		{wallet.Cashier, "EUR", -384}, {wallet.Hold("lamplight-quay"), "EUR", 0},
	} {
		if got := wallet.Balance(rows, c.account, c.currency); got != c.want {
			t.Errorf("%s has %d %s, want %d", c.account, got, c.currency, c.want)
		}
	}
}

// Each case spoils the next honest entry, which would be good as it is.
func TestBrokenRules(t *testing.T) {
	next := func() *wallet.Deposited { return deposit(ann, eur(50), -434, 431) }
	if err := wallet.Fold(tell(t, story()...), next()); err != nil {
		t.Fatalf("the entry to be spoilt is bad already: %v", err)
	}
	const annCash = 1 // of the postings
	for name, c := range map[string]struct {
		spoil func(*wallet.Deposited)
		rule  string
	}{
		"nothing moved": {func(r *wallet.Deposited) { *r = *deposit(ann, eur(0), -384, 381) }, "amount"},
		"negative":      {func(r *wallet.Deposited) { *r = *deposit(ann, eur(-50), -334, 331) }, "amount"},

		"one leg short":         {func(r *wallet.Deposited) { r.Postings[annCash].Amount-- }, "postings-balanced"},
		"both legs take":        {func(r *wallet.Deposited) { r.Postings[annCash].Amount = -50 }, "postings-balanced"},
		"one leg alone":         {func(r *wallet.Deposited) { r.Postings = r.Postings[:1] }, "postings-balanced"},
		"balanced across money": {func(r *wallet.Deposited) { r.Postings[annCash].Currency = "JPY" }, "postings-balanced"},
		"sum beyond range": {func(r *wallet.Deposited) {
			r.Postings = []money.Posting{{Account: "x", Amount: money.Max, Currency: "EUR"}, {Account: "y", Amount: 1, Currency: "EUR"}}
		}, "postings-balanced"},

		"no postings": {func(r *wallet.Deposited) { r.Postings = nil }, "postings"},
		"a third posting of nothing": {func(r *wallet.Deposited) {
			r.Postings = append(r.Postings, money.Posting{Account: wallet.Hold("x"), Currency: "EUR"})
		}, "postings"},
		"a second transfer": {func(r *wallet.Deposited) { r.Postings = append(r.Postings, r.Postings...) }, "postings"},
		"other order":       {func(r *wallet.Deposited) { slices.Reverse(r.Postings) }, "postings"},
		"another player":    {func(r *wallet.Deposited) { r.Postings[annCash].Account = wallet.Cash(bob) }, "postings"},
		"another source":    {func(r *wallet.Deposited) { r.Postings[0].Account = wallet.Hold("x") }, "postings"},
		"no account":        {func(r *wallet.Deposited) { r.Postings[annCash].Account = "" }, "postings"},
		"account's case":    {func(r *wallet.Deposited) { r.Postings[0].Account = "House/cashier" }, "postings"},
		"another currency": {func(r *wallet.Deposited) {
			r.Postings[0].Currency, r.Postings[1].Currency = "JPY", "JPY"
		}, "postings"},

		"less than said": {func(r *wallet.Deposited) { r.Amount.Amount = 51 }, "posting-amount"},
		"more than said": {func(r *wallet.Deposited) { r.Amount.Amount = 49 }, "posting-amount"},
		"turned round": {func(r *wallet.Deposited) {
			r.Postings[0].Amount, r.Postings[1].Amount = 50, -50
		}, "posting-amount"},

		"cashier's balance":      {func(r *wallet.Deposited) { r.Postings[0].Balance++ }, "balance"},
		"player's balance":       {func(r *wallet.Deposited) { r.Postings[annCash].Balance++ }, "balance"},
		"balance before":         {func(r *wallet.Deposited) { r.Postings[annCash].Balance = 381 }, "balance"},
		"balance of another":     {func(r *wallet.Deposited) { r.Player, r.Postings[1].Account = bob, wallet.Cash(bob) }, "balance"},
		"balance of other money": {func(r *wallet.Deposited) { *r = *deposit(ann, jpy(50), -434, 431) }, "balance"},
	} {
		t.Run(name, func(t *testing.T) {
			r := next()
			c.spoil(r)
			booktest.Breaks(t, wallet.Fold(tell(t, story()...), r), c.rule)
		})
	}
}

// No player goes below zero and no balance leaves ±(2^53−1), to the unit.
func TestBoundsOfBalances(t *testing.T) {
	hold := wallet.Hold("x")
	full := deposit(ann, eur(money.Max), -money.Max, money.Max)
	for name, c := range map[string]struct {
		before []entry.Record
		r      entry.Record
		rule   string // "": it is good
	}{
		"all a player has":           {story(), withdrawal(ann, eur(381), 0, -3), ""},
		"one more than a player has": {story(), withdrawal(ann, eur(382), -1, -2), "funds"},
		"a player who has nothing":   {nil, withdrawal(ann, eur(1), -1, 1), "funds"},
		"other money":                {story(), withdrawal(ann, jpy(1), -1, 1), "funds"},
		"another player's money":     {story(), withdrawal(bob, eur(4), -1, -380), "funds"},
		"a withdrawal that pays in":  {story(), withdrawal(ann, eur(-9), 390, -393), "amount"},
		"a withdrawal of nothing":    {story(), withdrawal(ann, eur(0), 381, -384), "amount"},
		"as much as there can be":    {nil, full, ""},
		"and one from the cashier":   {[]entry.Record{full}, deposit(bob, eur(1), -money.Max-1, 1), "funds"},
		"and all of it back":         {[]entry.Record{full}, withdrawal(ann, eur(money.Max), 0, 0), ""},
		"more than there can be":     {nil, deposit(ann, eur(money.Max+1), -money.Max-1, money.Max+1), "postings-balanced"},
	} {
		t.Run(name, func(t *testing.T) {
			err := wallet.Fold(tell(t, c.before...), c.r)
			if c.rule != "" {
				booktest.Breaks(t, err, c.rule)
			} else if err != nil {
				t.Error(err)
			}
		})
	}

	// The game pays a player who holds as much as can be written.
	rows := tell(t, full)
	postings := []money.Posting{
		{Account: hold, Amount: -1, Balance: -1, Currency: "EUR"},
		{Account: wallet.Cash(ann), Amount: 1, Balance: money.Max + 1, Currency: "EUR"},
	}
	booktest.Breaks(t, wallet.Post(rows, postings, hold, wallet.Cash(ann), eur(1)), "funds")
}

// What Transfer proposes, Post takes; proposing changes nothing.
func TestTransferProposes(t *testing.T) {
	hold, cash := wallet.Hold("x"), wallet.Cash(ann)
	for name, c := range map[string]struct {
		from, to string
		m        money.Money
		err      error
		balances [2]int64 // of from and to, afterwards
	}{
		"a win":              {hold, cash, eur(30), nil, [2]int64{-30, 411}},
		"a loss":             {hold, cash, eur(-30), nil, [2]int64{30, 351}},
		"a loss of all":      {hold, cash, eur(-381), nil, [2]int64{381, 0}},
		"nothing":            {hold, cash, eur(0), nil, [2]int64{0, 381}},
		"other money":        {hold, cash, jpy(4), nil, [2]int64{-4, 4}},
		"up to the top":      {hold, cash, eur(money.Max - 381), nil, [2]int64{381 - money.Max, money.Max}},
		"down to the bottom": {wallet.Cashier, cash, eur(money.Max - 384), nil, [2]int64{-money.Max, money.Max - 3}},

		"a loss of more than all": {hold, cash, eur(-382), wallet.ErrFunds, [2]int64{}},
		"out of an empty account": {wallet.Cash(bob), cash, jpy(1), wallet.ErrFunds, [2]int64{}},
		"over the top":            {hold, cash, eur(money.Max - 380), money.ErrOverflow, [2]int64{}},
		"under the bottom":        {wallet.Cashier, cash, eur(money.Max - 383), money.ErrOverflow, [2]int64{}},
		"beyond all amounts":      {hold, cash, eur(money.Max + 1), money.ErrOverflow, [2]int64{}},
		"the largest integer":     {hold, cash, eur(math.MaxInt64), money.ErrOverflow, [2]int64{}},
		"the least integer":       {hold, cash, eur(math.MinInt64), money.ErrOverflow, [2]int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			rows := tell(t, story()...)
			before := maps.Clone(rows)
			postings, err := wallet.Transfer(rows, c.from, c.to, c.m)
			if got := booktest.Written(t, wallet.Kinds, rows); got != toldRows || !maps.Equal(rows, before) {
				t.Fatalf("Transfer changed the rows:\n%s", got)
			}
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if c.err != nil {
				if postings != nil {
					t.Errorf("postings of a transfer that cannot be: %v", postings)
				}
				return
			}
			want := []money.Posting{
				{Account: c.from, Amount: -c.m.Amount, Balance: c.balances[0], Currency: c.m.Currency},
				{Account: c.to, Amount: c.m.Amount, Balance: c.balances[1], Currency: c.m.Currency},
			}
			if !slices.Equal(postings, want) {
				t.Fatalf("%v, want %v", postings, want)
			}
			if err := wallet.Post(rows, postings, c.from, c.to, c.m); err != nil {
				t.Fatal(err)
			}
			for i, account := range []string{c.from, c.to} {
				if got := wallet.Balance(rows, account, c.m.Currency); got != c.balances[i] {
					t.Errorf("%s has %d, want %d", account, got, c.balances[i])
				}
			}
		})
	}
}

// An entry of another book moves nothing.
func TestOtherEntriesMoveNothing(t *testing.T) {
	rows := tell(t, append(story(), &stranger{})...)
	if got := booktest.Written(t, wallet.Kinds, rows); got != toldRows {
		t.Errorf("rows:\n%s", got)
	}
}

type stranger struct{ entry.Header }

func (*stranger) Type() string      { return "stranger.came" }
func (*stranger) Code(*entry.Coder) {}
