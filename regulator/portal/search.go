package portal

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
)

// Bounds of one page of a search.
const (
	foundMost   = 50
	scannedMost = 12 * blockEntries // entries that are read
	skippedMost = 1 << 16           // blocks that are passed over
	ofMost      = 4 * blockEntries  // entries of a player that are read
)

// query is what is searched for.
type query struct {
	Text     string // a round's or entry's id, an entry's index, or a player's reference
	From, To string // times, as a browser's field of date and time has them
	Least    string // amount
	Most     string
	Currency string
	Kind     string // "", "rounds" or "money"
	Below    string // index below which to go on

	player      entry.Ref
	ofPlayer    bool
	from, to    entry.Time
	least, most int64
	below       uint64

	settled rounds.Settled
}

// line is one found entry.
type line struct {
	Index  uint64
	Time   string
	Type   string
	Player string
	Game   string
	Stake  string
	Amount string // payout, or what was moved
}

// found is a page of what was found.
type found struct {
	Lines []line
	Next  template.URL // address of the next page, "" for none
	Said  string       // why the page ended before everything was looked at
}

func readQuery(v url.Values) *query {
	return &query{
		Text: strings.TrimSpace(v.Get("q")), From: v.Get("from"), To: v.Get("to"), Least: strings.TrimSpace(v.Get("least")), Most: strings.TrimSpace(v.Get("most")),
		Currency: strings.ToUpper(strings.TrimSpace(v.Get("currency"))), Kind: v.Get("kind"), Below: v.Get("below"),
	}
}

// fieldError names a field as the page does, and says what it may hold.
type fieldError struct{ field, expected string }

func (e fieldError) Error() string { return e.field + ": expected " + e.expected }

// values are the query as it stands in an address.
func (q *query) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"q": q.Text, "from": q.From, "to": q.To, "least": q.Least, "most": q.Most, "currency": q.Currency, "kind": q.Kind} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// empty tells whether nothing is searched for.
func (q *query) empty() bool { return len(q.values()) == 0 }

// check reads the fields. The error is for the reader.
func (q *query) check() error {
	if q.Currency == "" {
		q.Currency = "EUR"
	}
	currency, err := money.ParseCurrency(q.Currency)
	if err != nil {
		return fieldError{"Currency", "a code such as EUR"}
	}
	q.most = money.Max
	for _, f := range []struct {
		name, text string
		into       *int64
	}{{"Least amount", q.Least, &q.least}, {"Most", q.Most, &q.most}} {
		if f.text == "" {
			continue
		}
		n, ok := money.ParseDecimal(f.text, currency)
		if !ok {
			return fieldError{f.name, "an amount such as 12.50"}
		}
		*f.into = n
	}
	q.to = 1 << 62
	for _, f := range []struct {
		name, text string
		into       *entry.Time
	}{{"From", q.From, &q.from}, {"To", q.To, &q.to}} {
		if f.text == "" {
			continue
		}
		at, err := readTime(f.text)
		if err != nil {
			return fieldError{f.name, "a time such as 2026-03-01T12:00"}
		}
		*f.into = at
	}
	switch q.Kind {
	case "", "rounds", "money":
	default:
		return fieldError{"Kind", "rounds or money"}
	}
	q.below = 1 << 63
	if q.Below != "" {
		if q.below, err = strconv.ParseUint(q.Below, 10, 63); err != nil {
			return fieldError{"Below", "the number of an entry"}
		}
	}
	if b, err := hex.DecodeString(q.Text); err == nil && len(b) == len(q.player) {
		q.player, q.ofPlayer = entry.Ref(b), true
	}
	return nil
}

func readTime(s string) (entry.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02", time.RFC3339Nano} {
		if at, err := time.Parse(layout, s); err == nil {
			return entry.TimeOf(at), nil
		}
	}
	return 0, fmt.Errorf("%q: expected a date and time", s)
}

// fits tells whether an entry is one that is searched for, and how it is shown.
func (q *query) fits(index uint64, leaf []byte) (l line, ok bool, err error) {
	typ, err := entry.TypeOf(leaf)
	if err != nil {
		return l, false, err
	}
	if !q.ofPlayer && typ != "round.settled" && typ != "wallet.deposited" && typ != "wallet.withdrawn" {
		return l, false, nil
	}
	var r entry.Record
	if typ == "round.settled" { // the frequent one into memory that is there
		q.settled = rounds.Settled{Draw: rounds.Draw{Values: q.settled.Draw.Values[:0]}, Postings: q.settled.Postings[:0]}
		r, err = &q.settled, entry.Decode(leaf, &q.settled)
	} else {
		r, err = books.Decode(leaf)
	}
	if err != nil {
		return l, false, err
	}
	at := r.Head().At
	if at < q.from || at > q.to {
		return l, false, nil
	}
	var amount, other int64
	var currency money.Currency
	switch r := r.(type) {
	case *rounds.Settled:
		amount, other, currency = r.Payout.Amount, r.Stake.Amount, r.Stake.Currency
		ok = q.Kind != "money"
	case *wallet.Deposited:
		amount, other, currency = r.Amount.Amount, r.Amount.Amount, r.Amount.Currency
		ok = q.Kind != "rounds"
	case *wallet.Withdrawn:
		amount, other, currency = r.Amount.Amount, r.Amount.Amount, r.Amount.Currency
		ok = q.Kind != "rounds"
	}
	if q.Least != "" || q.Most != "" {
		within := func(n int64) bool { return n >= q.least && n <= q.most }
		ok = ok && currency == money.Currency(q.Currency) && (within(amount) || within(other))
	}
	if ok {
		l = lineOf(index, r)
	}
	return l, ok, nil
}

// lineOf is how a found entry is shown.
func lineOf(index uint64, r entry.Record) line {
	l := line{Index: index, Time: moment(r.Head().At), Type: r.Type()}
	switch r := r.(type) {
	case *rounds.Settled:
		l.Player, l.Game, l.Stake, l.Amount = r.Player.String(), r.Game, r.Stake.Decimal(), r.Payout.Decimal()
	case *wallet.Deposited:
		l.Player, l.Amount = r.Player.String(), r.Amount.Decimal()
	case *wallet.Withdrawn:
		l.Player, l.Amount = r.Player.String(), money.Money{Amount: -r.Amount.Amount, Currency: r.Amount.Currency}.Decimal()
	}
	return l
}

// search looks for entries, newest first.
func (t *tally) search(q *query, groups []ledger.Group) (*found, error) {
	if q.ofPlayer {
		return t.searchPlayer(q, groups)
	}
	t.mu.RLock()
	blocks, next := slices.Clone(t.blocks), t.next // the last one still changes
	t.mu.RUnlock()
	// Log time does not go back, so a span of time is a span of blocks.
	last := sort.Search(len(blocks), func(i int) bool { return blocks[i].begins > q.to }) - 1
	f := &found{}
	scanned, skipped := 0, 0
	for b := last; b >= 0; b-- {
		from := uint64(b) * blockEntries
		to := min(from+blockEntries, next, q.below)
		if from >= to {
			continue
		}
		if b+1 < len(blocks) && blocks[b+1].begins < q.from {
			break
		}
		if q.Least != "" && blocks[b].most < q.least {
			if skipped++; skipped < skippedMost {
				continue
			}
		}
		if scanned >= scannedMost || skipped >= skippedMost {
			f.goOn(q, to, fmt.Sprintf("%d entries were read; there may be more below entry %d.", scanned, to))
			return f, nil
		}
		var part []line
		err := t.ledger.Leaves(from, to, func(index uint64, leaf []byte) error {
			scanned++
			l, ok, err := q.fits(index, leaf)
			if ok {
				part = append(part, l)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.Reverse(part)
		f.Lines = append(f.Lines, part...)
		if len(f.Lines) > foundMost {
			f.Lines = f.Lines[:foundMost]
			f.goOn(q, f.Lines[foundMost-1].Index, "")
			return f, nil
		}
	}
	return f, nil
}

// searchPlayer looks through a player's entries.
func (t *tally) searchPlayer(q *query, groups []ledger.Group) (*found, error) {
	f := &found{}
	var all []uint64
	for _, g := range groups {
		list, err := t.ledger.Find(g, q.player, q.below, ofMost)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	slices.Reverse(all)
	for i, index := range all {
		if i == ofMost {
			f.goOn(q, all[i-1], fmt.Sprintf("%d entries of the player were read; there may be more.", ofMost))
			return f, nil
		}
		var leaf []byte
		err := t.ledger.Leaves(index, index+1, func(_ uint64, b []byte) error {
			leaf = slices.Clone(b)
			return nil
		})
		if err != nil {
			return nil, err
		}
		l, ok, err := q.fits(index, leaf)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if len(f.Lines) == foundMost {
			f.goOn(q, f.Lines[foundMost-1].Index, "")
			return f, nil
		}
		f.Lines = append(f.Lines, l)
	}
	return f, nil
}

func (f *found) goOn(q *query, below uint64, said string) {
	v := q.values()
	v.Set("below", strconv.FormatUint(below, 10))
	f.Next, f.Said = template.URL("/regulator/search?"+v.Encode()), said // Encode leaves nothing that needs an escape
}
