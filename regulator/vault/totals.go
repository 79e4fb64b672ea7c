package vault

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/export"
)

// PlayKey is a day (UTC) of a game in a currency.
type PlayKey struct{ Day, Game, Currency string }

// Play is what was played.
type Play struct {
	Rounds          uint64
	Stakes, Payouts int64
}

// CashKey is a day of a currency.
type CashKey struct{ Day, Currency string }

// Cash is what came in and went out.
type Cash struct {
	Deposits, Withdrawals         int64
	DepositCount, WithdrawalCount uint64
}

// Totals are what entries, or the records of a vault, come to for each day.
type Totals struct {
	Play map[PlayKey]Play
	Cash map[CashKey]Cash
}

// NewTotals returns those of nothing.
func NewTotals() *Totals { return &Totals{map[PlayKey]Play{}, map[CashKey]Cash{}} }

// Day is the day of an instant.
func Day(at entry.Time) string { return at.String()[:len(time.DateOnly)] }

// Add adds play.
func (t *Totals) Add(k PlayKey, p Play) error {
	sum := t.Play[k]
	sum.Rounds += p.Rounds
	if !add(&sum.Stakes, p.Stakes) || !add(&sum.Payouts, p.Payouts) {
		return &Difference{"totals", k.String(), "totals of 63 bits", "more"}
	}
	t.Play[k] = sum
	return nil
}

// AddCash adds a movement of money.
func (t *Totals) AddCash(k CashKey, c Cash) error {
	sum := t.Cash[k]
	sum.DepositCount += c.DepositCount
	sum.WithdrawalCount += c.WithdrawalCount
	if !add(&sum.Deposits, c.Deposits) || !add(&sum.Withdrawals, c.Withdrawals) {
		return &Difference{"totals", k.String(), "totals of 63 bits", "more"}
	}
	t.Cash[k] = sum
	return nil
}

// add adds an amount to a total, neither of which is ever below zero.
func add(sum *int64, amount int64) bool {
	*sum += amount
	return amount >= 0 && *sum >= 0
}

func (k PlayKey) String() string { return k.Day + " of " + k.Game + " in " + k.Currency }

func (k CashKey) String() string { return k.Day + " in " + k.Currency }

func (p Play) String() string {
	return fmt.Sprintf("%d rounds, stakes of %d and payouts of %d", p.Rounds, p.Stakes, p.Payouts)
}

func (c Cash) String() string {
	return fmt.Sprintf("%d deposits of %d and %d withdrawals of %d", c.DepositCount, c.Deposits, c.WithdrawalCount, c.Withdrawals)
}

// PlayKeys are the keys of play in order.
func (t *Totals) PlayKeys() []PlayKey {
	return slices.SortedFunc(maps.Keys(t.Play), func(a, b PlayKey) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Game, b.Game), cmp.Compare(a.Currency, b.Currency))
	})
}

// CashKeys are the keys of movements in order.
func (t *Totals) CashKeys() []CashKey {
	return slices.SortedFunc(maps.Keys(t.Cash), func(a, b CashKey) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Currency, b.Currency))
	})
}

// Reconcile names the first difference of what a vault comes to from what the log comes to.
func (t *Totals) Reconcile(vault *Totals) error {
	all := NewTotals()
	for _, of := range []*Totals{t, vault} {
		maps.Copy(all.Play, of.Play)
		maps.Copy(all.Cash, of.Cash)
	}
	for _, k := range all.PlayKeys() {
		if t.Play[k] != vault.Play[k] {
			return &Difference{"totals", k.String(), t.Play[k].String(), vault.Play[k].String()}
		}
	}
	for _, k := range all.CashKeys() {
		if t.Cash[k] != vault.Cash[k] {
			return &Difference{"totals", k.String(), t.Cash[k].String(), vault.Cash[k].String()}
		}
	}
	return nil
}

// Days splits a range of entries by their days.
func (l *Log) Days(from, to uint64, yield func(day string, from, to uint64) error) error {
	if from == to {
		return nil
	}
	last, err := l.Record(to - 1)
	if err != nil {
		return err
	}
	for from < to {
		r, err := l.Record(from)
		if err != nil {
			return err
		}
		day, end := Day(r.Head().At), to
		if day != Day(last.Head().At) {
			span, err := spanOf(day)
			if err != nil {
				return err
			}
			within, err := export.Between(entries{l: l}, to, span)
			if err != nil {
				return err
			}
			end = within.To
		}
		if end <= from { // times that go back, which is for a verifier to say
			return fmt.Errorf("entry %d: expected entries in the order of time", from)
		}
		if err := yield(day, from, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

func spanOf(day string) (*export.Span, error) {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return nil, err
	}
	start := entry.TimeOf(at)
	return export.SpanOf(start, start.Add(24*time.Hour)), nil
}

// Totals are what a range of entries comes to. They are those of the certificates that exports of the same entries
// hold, made by the same fold: a vault that reconciles says what an auditor's export says.
func (l *Log) Totals(ctx context.Context, from, to uint64) (*Totals, error) {
	t := NewTotals()
	unsigned := func([]byte) ([]byte, error) { return nil, nil } // the figures are all that is wanted
	err := l.Days(from, to, func(day string, from, to uint64) error {
		span, err := spanOf(day)
		if err != nil {
			return err
		}
		c, _, err := export.Certify(ctx, entries{l: l}, export.Request{Range: export.Range{From: from, To: to}, Span: span, Checkpoint: l.note}, export.Options{Sign: unsigned})
		if err != nil {
			return fmt.Errorf("the log on %s: %w", day, err)
		}
		for _, g := range c.Games {
			if err := t.Add(PlayKey{day, g.Game, g.Currency}, Play{g.Rounds, g.Stakes, g.Payouts}); err != nil {
				return err
			}
		}
		for _, m := range c.Cash {
			if err := t.AddCash(CashKey{day, m.Currency}, Cash{m.Deposits, m.Withdrawals, m.DepositCount, m.WithdrawalCount}); err != nil {
				return err
			}
		}
		return nil
	})
	return t, err
}
