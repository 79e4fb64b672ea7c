package export

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"

	"github.com/parquet-go/parquet-go"
)

// ParquetWriter names the library whose bytes the Parquet tables are; another version of it may write others.
const ParquetWriter = "parquet-go v0.32.0"

// The tables, each as CSV and as Parquet. Amounts are in minor units. Text is without quotation marks, because entries
// are.
const (
	roundsTable       = "rounds"
	transactionsTable = "transactions"
	playersTable      = "players"
	revenueTable      = "ggr"
)

var tableNames = []string{roundsTable, transactionsTable, playersTable, revenueTable}

// roundRow is a round. At is in microseconds since 1970.
type roundRow struct {
	Index    int64  `parquet:"index"`
	At       int64  `parquet:"at,timestamp(microsecond)"`
	Round    string `parquet:"round"`
	Player   string `parquet:"player"`
	Actor    string `parquet:"actor"`
	Game     string `parquet:"game"`
	Enabled  int64  `parquet:"enabled"`
	N        int64  `parquet:"n"`
	Epoch    int64  `parquet:"epoch"`
	Draw     int64  `parquet:"draw"`
	Currency string `parquet:"currency"`
	Stake    int64  `parquet:"stake"`
	Payout   int64  `parquet:"payout"`
	Balance  int64  `parquet:"balance"`
}

const roundColumns = "index,at,round,player,actor,game,enabled,n,epoch,draw,currency,stake,payout,balance\n"

func (r *roundRow) csv(b []byte) []byte {
	b = comma(strconv.AppendInt(b, r.Index, 10))
	b = comma(entry.Time(r.At).Append(b))
	for _, s := range []string{r.Round, r.Player, r.Actor, r.Game} {
		b = comma(text(b, s))
	}
	for _, n := range []int64{r.Enabled, r.N, r.Epoch, r.Draw} {
		b = comma(strconv.AppendInt(b, n, 10))
	}
	b = comma(text(b, r.Currency))
	return line(b, r.Stake, r.Payout, r.Balance)
}

// transactionRow is money that came in or went out.
type transactionRow struct {
	Index    int64  `parquet:"index"`
	At       int64  `parquet:"at,timestamp(microsecond)"`
	ID       string `parquet:"id"`
	Kind     string `parquet:"kind"`
	Player   string `parquet:"player"`
	Currency string `parquet:"currency"`
	Amount   int64  `parquet:"amount"`
	Balance  int64  `parquet:"balance"`
}

const transactionColumns = "index,at,id,kind,player,currency,amount,balance\n"

func (r *transactionRow) csv(b []byte) []byte {
	b = comma(strconv.AppendInt(b, r.Index, 10))
	b = comma(entry.Time(r.At).Append(b))
	for _, s := range []string{r.ID, r.Kind, r.Player, r.Currency} {
		b = comma(text(b, s))
	}
	return line(b, r.Amount, r.Balance)
}

// playerRow is what moved on a player's account in a currency. Opening is the balance before the first of these
// entries, closing that after the last.
type playerRow struct {
	Player      string `parquet:"player"`
	Currency    string `parquet:"currency"`
	Opening     int64  `parquet:"opening"`
	Deposits    int64  `parquet:"deposits"`
	Withdrawals int64  `parquet:"withdrawals"`
	Rounds      int64  `parquet:"rounds"`
	Stakes      int64  `parquet:"stakes"`
	Payouts     int64  `parquet:"payouts"`
	Closing     int64  `parquet:"closing"`
}

const playerColumns = "player,currency,opening,deposits,withdrawals,rounds,stakes,payouts,closing\n"

func (r *playerRow) csv(b []byte) []byte {
	b = comma(text(comma(text(b, r.Player)), r.Currency))
	return line(b, r.Opening, r.Deposits, r.Withdrawals, r.Rounds, r.Stakes, r.Payouts, r.Closing)
}

// revenueRow is a day of a game in a currency: GGR is stakes less payouts. Days are UTC.
type revenueRow struct {
	Day      string `parquet:"day"`
	Game     string `parquet:"game"`
	Currency string `parquet:"currency"`
	Rounds   int64  `parquet:"rounds"`
	Stakes   int64  `parquet:"stakes"`
	Payouts  int64  `parquet:"payouts"`
	GGR      int64  `parquet:"ggr"`
}

const revenueColumns = "day,game,currency,rounds,stakes,payouts,ggr\n"

func (r *revenueRow) csv(b []byte) []byte {
	b = comma(text(comma(text(comma(text(b, r.Day)), r.Game)), r.Currency))
	return line(b, r.Rounds, r.Stakes, r.Payouts, r.GGR)
}

func comma(b []byte) []byte { return append(b, ',') }

// text appends a field (RFC 4180). Entries' texts hold no quotation mark.
func text(b []byte, s string) []byte {
	if strings.IndexByte(s, ',') < 0 {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func line(b []byte, numbers ...int64) []byte {
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, '\n')
}

// table writes rows in both forms, the second by a goroutine of its own.
type table[T any] struct {
	csv   io.Writer
	row   func(*T, []byte) []byte
	buf   []byte
	batch []T
	free  chan []T
	full  chan []T
	done  chan error
}

const batchRows = 1024

// groupRows is how many rows a row group of a Parquet file has; a group is in memory until it is written.
const groupRows = 1 << 16

func newTable[T any](columns string, row func(*T, []byte) []byte, csv, columnar io.Writer) *table[T] {
	t := &table[T]{csv: csv, row: row, buf: []byte(columns), free: make(chan []T, 4), full: make(chan []T, 4), done: make(chan error, 1)}
	for range 3 {
		t.free <- make([]T, 0, batchRows)
	}
	t.batch = <-t.free
	go func() {
		w := parquet.NewGenericWriter[T](columnar, parquet.Compression(&parquet.Uncompressed), parquet.DataPageVersion(1), parquet.DefaultEncoding(&parquet.Plain),
			parquet.MaxRowsPerRowGroup(groupRows), parquet.CreatedBy("countroom", "1", ParquetWriter))
		var failed error
		for rows := range t.full {
			if failed == nil {
				_, failed = w.Write(rows)
			}
			t.free <- rows[:0]
		}
		t.done <- errors.Join(failed, w.Close())
	}()
	return t
}

func (t *table[T]) add(r T) error {
	t.buf = t.row(&r, t.buf)
	t.batch = append(t.batch, r)
	if len(t.batch) < cap(t.batch) {
		return nil
	}
	return t.flush()
}

func (t *table[T]) flush() error {
	t.full <- t.batch
	t.batch = <-t.free
	_, err := t.csv.Write(t.buf)
	t.buf = t.buf[:0]
	return err
}

// close writes what is left. It must be called.
func (t *table[T]) close() error {
	err := t.flush()
	close(t.full)
	return errors.Join(err, <-t.done)
}

// Tables folds the leaves of an export into its tables and into what a certificate says, and holds them against each
// other. A broken rule is a *Broken.
type Tables struct {
	complete bool

	rounds       *table[roundRow]
	transactions *table[transactionRow]
	out          func(name string) io.Writer

	players  map[accountKey]*playerRow
	revenue  map[revenueKey]*revenueRow
	balances map[accountKey]int64
	counts   map[countKey]uint64 // of rounds
	draws    map[uint64]*Draws
	cash     map[money.Currency]*Cash
	last     entry.Time
	refs     map[entry.Ref]string // the accounts of players
	at       struct {             // of the latest round, which the next one is likely to share
		day  int64
		text string
	}
}

type accountKey struct {
	account  string
	currency money.Currency
}

type countKey struct {
	player entry.Ref
	game   string
}

type revenueKey struct {
	day, game string
	currency  money.Currency
}

// Broken is a rule that the entries of an export break.
type Broken struct {
	Index                 uint64
	Rule, Expected, Found string
}

func (b *Broken) Error() string {
	return fmt.Sprintf("entry %d breaks %s: expected %s, found %s", b.Index, b.Rule, b.Expected, b.Found)
}

// newTables begins tables that are written to what out gives for the names of their files. Of a part of the entries
// only, balances and numbers have gaps.
func newTables(complete bool, out func(name string) io.Writer) *Tables {
	return &Tables{
		complete: complete, out: out,
		rounds:       newTable(roundColumns, (*roundRow).csv, out(roundsTable+".csv"), out(roundsTable+".parquet")),
		transactions: newTable(transactionColumns, (*transactionRow).csv, out(transactionsTable+".csv"), out(transactionsTable+".parquet")),
		players:      map[accountKey]*playerRow{}, revenue: map[revenueKey]*revenueRow{}, balances: map[accountKey]int64{}, counts: map[countKey]uint64{},
		draws: map[uint64]*Draws{}, cash: map[money.Currency]*Cash{}, refs: map[entry.Ref]string{},
	}
}

// entry takes the next entry.
func (t *Tables) entry(index uint64, r entry.Record) error {
	broken := func(rule, expected, found string) error { return &Broken{index, rule, expected, found} }
	head := r.Head()
	if head.At < t.last {
		return broken("time", "not before "+t.last.String(), head.At.String())
	}
	t.last = head.At
	switch r := r.(type) {
	case *rounds.Settled:
		return t.round(index, r, broken)
	case *wallet.Deposited:
		return t.movement(index, &r.Movement, "deposit", broken)
	case *wallet.Withdrawn:
		return t.movement(index, &r.Movement, "withdrawal", broken)
	}
	return nil
}

func (t *Tables) round(index uint64, r *rounds.Settled, broken func(rule, expected, found string) error) error {
	if t.complete {
		k := countKey{r.Player, r.Game}
		if n, ok := t.counts[k]; ok && r.Draw.N != n+1 {
			return broken("round-number", strconv.FormatUint(n+1, 10), strconv.FormatUint(r.Draw.N, 10))
		}
		t.counts[k] = r.Draw.N
		d := t.draws[r.Draw.Epoch]
		if d == nil {
			d = &Draws{Epoch: r.Draw.Epoch, First: r.Draw.Number, Last: r.Draw.Number - 1}
			t.draws[r.Draw.Epoch] = d
		}
		if r.Draw.Number != d.Last+1 {
			return broken("draw-number", strconv.FormatUint(d.Last+1, 10), strconv.FormatUint(r.Draw.Number, 10))
		}
		d.Last = r.Draw.Number
	}
	p, balance, err := t.account(r.Player, r.Stake.Currency, r.Postings, r.Payout.Amount-r.Stake.Amount, broken)
	if err != nil {
		return err
	}
	v := t.day(r)
	p.Rounds++
	v.Rounds++
	if !add(&p.Stakes, r.Stake.Amount) || !add(&p.Payouts, r.Payout.Amount) || !add(&v.Stakes, r.Stake.Amount) || !add(&v.Payouts, r.Payout.Amount) {
		return broken("totals", "totals of 63 bits", "more")
	}
	return t.rounds.add(roundRow{
		Index: int64(index), At: int64(r.At), Round: r.ID.String(), Player: p.Player, Actor: r.Actor, Game: v.Game, Enabled: int64(r.Enabled),
		N: int64(r.Draw.N), Epoch: int64(r.Draw.Epoch), Draw: int64(r.Draw.Number), Currency: v.Currency, Stake: r.Stake.Amount, Payout: r.Payout.Amount, Balance: balance,
	})
}

const dayMicroseconds = 24 * 60 * 60 * 1e6

// day is the row of a round's day, game and currency.
func (t *Tables) day(r *rounds.Settled) *revenueRow {
	if d := int64(r.At) / dayMicroseconds; t.at.text == "" || d != t.at.day {
		t.at.day, t.at.text = d, r.At.String()[:len("2006-01-02")]
	}
	k := revenueKey{t.at.text, r.Game, r.Stake.Currency}
	v := t.revenue[k]
	if v == nil {
		v = &revenueRow{Day: t.at.text, Game: r.Game, Currency: string(r.Stake.Currency)}
		t.revenue[k] = v
	}
	return v
}

func (t *Tables) movement(index uint64, r *wallet.Movement, kind string, broken func(rule, expected, found string) error) error {
	amount := r.Amount.Amount
	if kind == "withdrawal" {
		amount = -amount
	}
	p, balance, err := t.account(r.Player, r.Amount.Currency, r.Postings, amount, broken)
	if err != nil {
		return err
	}
	c := t.cash[r.Amount.Currency]
	if c == nil {
		c = &Cash{Currency: string(r.Amount.Currency)}
		t.cash[r.Amount.Currency] = c
	}
	here, all, count := &p.Deposits, &c.Deposits, &c.DepositCount
	if kind == "withdrawal" {
		here, all, count = &p.Withdrawals, &c.Withdrawals, &c.WithdrawalCount
	}
	*count++
	if !add(here, r.Amount.Amount) || !add(all, r.Amount.Amount) {
		return broken("totals", "totals of 63 bits", "more")
	}
	return t.transactions.add(transactionRow{
		Index: int64(index), At: int64(r.At), ID: r.ID.String(), Kind: kind, Player: p.Player, Currency: p.Currency, Amount: amount, Balance: balance,
	})
}

// account takes the postings of an entry, and returns the player's row and his balance after it.
func (t *Tables) account(ref entry.Ref, c money.Currency, postings []money.Posting, amount int64, broken func(rule, expected, found string) error) (*playerRow, int64, error) {
	account := t.refs[ref]
	if account == "" {
		account = wallet.Cash(ref)
		t.refs[ref] = account
	}
	name := account[len("player/") : len(account)-len("/cash")]
	own := -1
	for i := range postings {
		p := &postings[i]
		if strings.HasPrefix(p.Account, "player/") {
			own = i
		}
		k := accountKey{p.Account, p.Currency}
		before, known := t.balances[k]
		if t.complete {
			if known && p.Balance-p.Amount != before {
				return nil, 0, broken("balance", fmt.Sprintf("%s at %d %s before", p.Account, before, p.Currency), strconv.FormatInt(p.Balance-p.Amount, 10))
			}
			t.balances[k] = p.Balance
		}
	}
	if own < 0 || len(postings) != 2 || postings[own].Account != account || postings[own].Currency != c || postings[own].Amount != amount || postings[1-own].Amount != -amount {
		return nil, 0, broken("postings", fmt.Sprintf("two, one of them of %d %s to the player %s", amount, c, name), fmt.Sprint(postings))
	}
	k := accountKey{name, c}
	p := t.players[k]
	if p == nil {
		p = &playerRow{Player: name, Currency: string(c), Opening: postings[own].Balance - amount}
		t.players[k] = p
	}
	p.Closing = postings[own].Balance
	return p, p.Closing, nil
}

// add adds an amount to a total, neither of which is ever below zero.
func add(sum *int64, amount int64) bool {
	*sum += amount
	return amount >= 0 && *sum >= 0
}

// close writes the tables that have a row for many entries. It must be called, whatever came of the entries.
func (t *Tables) close() error {
	people := newTable(playerColumns, (*playerRow).csv, t.out(playersTable+".csv"), t.out(playersTable+".parquet"))
	days := newTable(revenueColumns, (*revenueRow).csv, t.out(revenueTable+".csv"), t.out(revenueTable+".parquet"))
	var errs []error
	for _, p := range t.sortedPlayers() {
		errs = append(errs, people.add(*p))
	}
	for _, v := range t.sortedRevenue() {
		v.GGR = v.Stakes - v.Payouts
		errs = append(errs, days.add(*v))
	}
	return errors.Join(append(errs, t.rounds.close(), t.transactions.close(), people.close(), days.close())...)
}

func (t *Tables) sortedPlayers() []*playerRow {
	list := make([]*playerRow, 0, len(t.players))
	for _, p := range t.players {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *playerRow) int {
		return cmp.Or(cmp.Compare(a.Player, b.Player), cmp.Compare(a.Currency, b.Currency))
	})
	return list
}

func (t *Tables) sortedRevenue() []*revenueRow {
	list := make([]*revenueRow, 0, len(t.revenue))
	for _, v := range t.revenue {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *revenueRow) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Game, b.Game), cmp.Compare(a.Currency, b.Currency))
	})
	return list
}
