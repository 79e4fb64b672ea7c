package vault

import (
	"fmt"
	"strconv"
	"strings"

	"countroom/ledger/money"
)

// digits are how many decimal places of a currency's unit its minor unit is (ISO 4217), where that is not 2.
var digits = map[money.Currency]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

func digitsOf(c money.Currency) int {
	if n, ok := digits[c]; ok {
		return n
	}
	return 2
}

// Decimal writes an amount of minor units in the unit of its currency, with so many decimal places: fewer than the
// currency has mean as many as it has.
func Decimal(amount int64, c money.Currency, places int) string {
	n := digitsOf(c)
	sign, magnitude := "", uint64(amount)
	if amount < 0 {
		sign, magnitude = "-", -uint64(amount)
	}
	s := strconv.FormatUint(magnitude, 10)
	if len(s) <= n {
		s = strings.Repeat("0", n+1-len(s)) + s
	}
	fraction := s[len(s)-n:] + strings.Repeat("0", max(0, places-n))
	if s = sign + s[:len(s)-n]; fraction == "" {
		return s
	}
	return s + "." + fraction
}

// ParseDecimal is the exact inverse of Decimal.
func ParseDecimal(s string, c money.Currency, places int) (int64, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	n := digitsOf(c)
	if len(fraction) >= n && len(s) <= 64 {
		if amount, err := strconv.ParseInt(whole+fraction[:n], 10, 64); err == nil && Decimal(amount, c, places) == s {
			return amount, nil
		}
	}
	return 0, fmt.Errorf("%.64q: expected an amount in %s with %d decimal places", s, c, max(places, n))
}
