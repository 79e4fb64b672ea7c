package money

import (
	"errors"
	"testing"
)

func TestAddStaysInRange(t *testing.T) {
	for _, c := range []struct {
		a, b, sum int64
		err       error
	}{
		{1, 2, 3, nil},
		{Max, 0, Max, nil},
		{Max, 1, 0, ErrOverflow},
		{-Max, -1, 0, ErrOverflow},
		{Max, -Max, 0, nil},
		{1 << 62, 1 << 62, 0, ErrOverflow},
		{-1 << 63, -1 << 63, 0, ErrOverflow},
	} {
		sum, err := Add(c.a, c.b)
		if sum != c.sum || !errors.Is(err, c.err) {
			t.Errorf("Add(%d, %d) = %d, %v; want %d, %v", c.a, c.b, sum, err, c.sum, c.err)
		}
	}
}

func TestBalancedPerCurrency(t *testing.T) {
	p := func(amount int64, c Currency) Posting { return Posting{Account: "a", Amount: amount, Currency: c} }
	for _, c := range []struct {
		name string
		in   []Posting
		want error
	}{
		{"none", nil, nil},
		{"two legs", []Posting{p(-5, "EUR"), p(5, "EUR")}, nil},
		{"one leg", []Posting{p(-5, "EUR")}, ErrUnbalanced},
		{"across currencies", []Posting{p(-5, "EUR"), p(5, "USD")}, ErrUnbalanced},
		{"two currencies", []Posting{p(-5, "EUR"), p(7, "USD"), p(5, "EUR"), p(-7, "USD")}, nil},
		{"second currency off", []Posting{p(-5, "EUR"), p(5, "EUR"), p(7, "USD")}, ErrUnbalanced},
		{"overflow", []Posting{p(Max, "EUR"), p(Max, "EUR"), p(-Max, "EUR")}, ErrOverflow},
	} {
		if err := Balanced(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCurrencies(t *testing.T) {
	for code, digits := range map[string]int{"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3, "ISK": 0} {
		c, err := ParseCurrency(code)
		if err != nil || c.Digits() != digits {
			t.Errorf("%s: %v, %d digits; want %d", code, err, c.Digits(), digits)
		}
	}
	for _, bad := range []string{"", "eur", "EU", "EURO", "XXX", "DEM", "R U", " EU", "UR ", "EÜR"} {
		if c, err := ParseCurrency(bad); err == nil {
			t.Errorf("%q was taken for the currency %s", bad, c)
		}
	}
}
