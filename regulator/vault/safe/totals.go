package safe

import (
	"cmp"
	"maps"
	"slices"

	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/regulator/vault"
)

// accounts are the movements of money as records, by currency.
func accounts(cash map[money.Currency]*movements, under tlog.Checkpoint) (list []Cash) {
	for _, c := range slices.Sorted(maps.Keys(cash)) {
		m := cash[c]
		list = append(list, Cash{
			Currency: string(c), Ledger: m.ledger(under), DepositCount: m.DepositCount, Deposits: vault.Decimal(m.Deposits, c, places),
			WithdrawalCount: m.WithdrawalCount, Withdrawals: vault.Decimal(m.Withdrawals, c, places),
		})
	}
	return list
}

// figures reads a session's amounts, as they stand in its record.
func (s *Session) figures() (stakes, payouts int64, err error) {
	c := money.Currency(s.Currency)
	if stakes, err = vault.ParseDecimal(s.Stakes, c, places); err != nil {
		return 0, 0, err
	}
	payouts, err = vault.ParseDecimal(s.Payouts, c, places)
	return stakes, payouts, err
}

// control is what sessions come to, by game and currency.
func control(list []*Session) ([]Play, error) {
	all := map[playKey]*sums{}
	sessions := map[playKey]uint64{}
	for _, s := range list {
		if s.Rounds == 0 {
			continue
		}
		stakes, payouts, err := s.figures()
		if err != nil {
			return nil, err
		}
		k := playKey{s.Game, money.Currency(s.Currency)}
		if all[k] == nil {
			all[k] = new(sums)
		}
		sessions[k]++
		t := all[k]
		t.rounds, t.stakes, t.payouts = t.rounds+int64(s.Rounds), t.stakes+stakes, t.payouts+payouts
	}
	var out []Play
	for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b playKey) int {
		return cmp.Or(cmp.Compare(a.game, b.game), cmp.Compare(a.currency, b.currency))
	}) {
		t := all[k]
		out = append(out, Play{
			Game: k.game, Currency: string(k.currency), Sessions: sessions[k], Rounds: uint64(t.rounds),
			Stakes: vault.Decimal(t.stakes, k.currency, places), Payouts: vault.Decimal(t.payouts, k.currency, places),
		})
	}
	return out, nil
}

// totals are what the records of a delivery come to.
func totals(list []*Session, end *EndOfDay) (*vault.Totals, error) {
	t := vault.NewTotals()
	for _, s := range list {
		if s.Rounds == 0 {
			continue
		}
		stakes, payouts, err := s.figures()
		if err != nil {
			return nil, err
		}
		if err := t.Add(vault.PlayKey{Day: s.Day, Game: s.Game, Currency: s.Currency}, vault.Play{Rounds: s.Rounds, Stakes: stakes, Payouts: payouts}); err != nil {
			return nil, err
		}
	}
	for _, c := range end.Cash {
		in, err := vault.ParseDecimal(c.Deposits, money.Currency(c.Currency), places)
		if err != nil {
			return nil, err
		}
		out, err := vault.ParseDecimal(c.Withdrawals, money.Currency(c.Currency), places)
		if err != nil {
			return nil, err
		}
		if err := t.AddCash(vault.CashKey{Day: end.Day, Currency: c.Currency}, vault.Cash{Deposits: in, Withdrawals: out, DepositCount: c.DepositCount, WithdrawalCount: c.WithdrawalCount}); err != nil {
			return nil, err
		}
	}
	return t, nil
}
