package money

import "testing"

func TestAmountsForPeople(t *testing.T) {
	for _, c := range []struct {
		m    Money
		want string
	}{
		{Money{0, "EUR"}, "0.00 EUR"}, {Money{5, "EUR"}, "0.05 EUR"}, {Money{-5, "EUR"}, "-0.05 EUR"}, {Money{123456, "EUR"}, "1,234.56 EUR"},
		{Money{-100000000, "USD"}, "-1,000,000.00 USD"}, {Money{1234, "JPY"}, "1,234 JPY"}, {Money{0, "JPY"}, "0 JPY"}, {Money{12, "KWD"}, "0.012 KWD"},
	} {
		if got := c.m.Decimal(); got != c.want {
			t.Errorf("%v is shown as %q, want %q", c.m, got, c.want)
		}
	}
	for _, c := range []struct {
		text     string
		currency Currency
		want     int64
		ok       bool
	}{
		{"12.5", "EUR", 1250, true}, {"12", "EUR", 1200, true}, {"0.05", "EUR", 5, true}, {".5", "EUR", 50, true}, {"12", "JPY", 12, true}, {"1.234", "KWD", 1234, true},
		{"12.345", "EUR", 0, false}, {"1.5", "JPY", 0, false}, {"", "EUR", 0, false}, {".", "EUR", 0, false}, {"-1", "EUR", 0, false}, {"1.2.3", "EUR", 0, false},
		{"1e3", "EUR", 0, false}, {"90071992547409.91", "EUR", Max, true}, {"90071992547409.92", "EUR", 0, false}, {"99999999999999999999999", "JPY", 0, false},
	} {
		if got, ok := ParseDecimal(c.text, c.currency); ok != c.ok || ok && got != c.want {
			t.Errorf("%q in %s: %d, %v, want %d, %v", c.text, c.currency, got, ok, c.want, c.ok)
		}
	}
}
